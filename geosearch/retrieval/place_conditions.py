"""Conditions on where a photo was taken: in a box, a circle, a polygon, a country."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from geosearch.borders import find_border
from geosearch.database.connection import Connection
from geosearch.errors import InputError
from geosearch.retrieval.algebra import (
    AnyOf,
    Condition,
    Degrees,
    Measured,
    Passing,
    Statement,
)
from geosearch.retrieval.areas import read_area, split
from geosearch.retrieval.reach import Box, Reach
from geosearch.sphere import EARTH_RADIUS_KM, great_circle_km

#: No two points are farther apart, in kilometres.
HALF_GLOBE_KM = math.pi * EARTH_RADIUS_KM
#: Metres of PostGIS's sphere (the mean radius of WGS 84) for a kilometre of ours, so that
#: distances mean the same in all of geosearch.
_SPHERE_METRES = (2 * 6378137.0 + 6356752.314245179) / 3 / EARTH_RADIUS_KM


@dataclass(frozen=True)
class BoundingBox(Measured):
    """In this box, edges included; degrees. West above east crosses the ±180° meridian.

    Raises
    ------
    InputError
        A value is out of range, or south is above north.
    """

    west: float
    south: float
    east: float
    north: float
    name = "bbox"
    decided_by_places = True

    def __post_init__(self) -> None:
        super().__post_init__()
        west, south, east, north = self.value
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
            raise InputError(
                f"`bbox`: {','.join(map(str, self.value))} is not west,south,east,north",
                "In degrees: longitudes in -180..180, latitudes in -90..90, south below north.",
            )

    def condition(self, statement: Statement) -> str:
        """By the index on positions."""
        boxes = [_in_box(statement, *bounds) for bounds in self._boxes()]
        return boxes[0] if len(boxes) == 1 else f"({' OR '.join(boxes)})"

    def may_pass(self, lat: Degrees, lon: Degrees) -> Passing:
        """Those in the box."""
        return reduce(np.logical_or, [_in_bounds(lat, lon, *bounds) for bounds in self._boxes()])

    def reach(self, connection: Connection) -> Reach:  # noqa: ARG002
        """The box."""
        return Reach(tuple(self._boxes()))

    def _boxes(self) -> list[Box]:
        """As boxes of which none crosses ±180°."""
        west, south, east, north = map(float, self.value)
        # 180° and -180° are one meridian: a box that ends there holds photos on either side.
        if west == -180 and east < 180:
            west = 180.0
        elif east == 180 and west > -180:
            east = -180.0
        spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        return [(left, south, right, north) for left, right in spans]


def _in_box(statement: Statement, west: float, south: float, east: float, north: float) -> str:
    # Boxes for the index, which rounds them to float32; coordinates to be exact. Two points have
    # the box of the rectangle, which is all that && looks at.
    corners = statement.bind(f"SRID=4326;MULTIPOINT({west!r} {south!r},{east!r} {north!r})")
    box = statement.bind(f"({east!r},{north!r}),({west!r},{south!r})")
    return f"(geom && {corners}::geometry AND geom::point <@ {box}::box)"


def _in_bounds(
    lat: Degrees, lon: Degrees, west: float, south: float, east: float, north: float
) -> Passing:
    passing: Passing = (lat >= south) & (lat <= north) & (lon >= west) & (lon <= east)
    return passing


@dataclass(frozen=True)
class Near(Measured):
    """Within a great-circle distance in kilometres of a point in degrees.

    Raises
    ------
    InputError
        The point is not on the Earth, or the radius not between 0 and half the globe.
    """

    lat: float
    lon: float
    km: float
    name = "near"
    decided_by_places = True

    def __post_init__(self) -> None:
        super().__post_init__()
        lat, lon, km = self.value
        if not (-90 <= lat <= 90 and -180 <= lon <= 180 and 0 < km <= math.ceil(HALF_GLOBE_KM)):
            raise InputError(
                f"`near`: {','.join(map(str, self.value))} is not latitude,longitude,kilometres",
                "For example 47.37,8.54,50; at most half the globe, 20016 km.",
            )

    def condition(self, statement: Statement) -> str:
        """On the sphere, not the spheroid."""
        centre = f"SRID=4326;POINT({float(self.lon)!r} {float(self.lat)!r})"
        metres = statement.bind(self.km * _SPHERE_METRES)
        return f"ST_DWithin(geom::geography, {statement.bind(centre)}::geography, {metres}, false)"

    def may_pass(self, lat: Degrees, lon: Degrees) -> Passing:
        """Those in the circle, or nearly."""
        passing: Passing = great_circle_km(self.lat, self.lon, lat, lon) <= 1.000001 * self.km
        return passing

    def reach(self, connection: Connection) -> Reach:  # noqa: ARG002
        """The boxes of the circle."""
        return Reach(circle_boxes(*self.value))


@dataclass(frozen=True)
class Within(Condition):
    """In a Polygon or MultiPolygon, boundary included; longitude, latitude in degrees.

    Edges are straight in longitude and latitude, as in GeoJSON. A polygon ends at ±180°.

    Raises
    ------
    InputError
        It is not a valid polygon on the Earth.
    """

    area: BaseGeometry
    name = "within"

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", read_area(self.area))

    @property
    def value(self) -> dict[str, Any]:
        """GeoJSON."""
        return dict(mapping(self.area))

    def condition(self, statement: Statement) -> str:
        """Index and exact test in one."""
        return _intersects([self.area], statement)

    def may_pass(self, lat: Degrees, lon: Degrees) -> Passing:
        """Those in the polygon's box."""
        return _in_bounds(lat, lon, *self.area.bounds)

    def reach(self, connection: Connection) -> Reach:  # noqa: ARG002
        """The box of each part: that of all may be most of the Earth."""
        return Reach(_part_boxes(self.area))

    def __str__(self) -> str:
        return f"within a polygon of {shapely.get_num_coordinates(self.area)} points"


class Country(AnyOf):
    """In one of these countries (name or ISO code) or regions, by the borders loaded."""

    name = "country"

    def condition(self, statement: Statement) -> str:
        """By geometry, as `Within`."""
        borders = [find_border(statement.connection, name) for name in self.names]
        return _intersects(borders, statement)

    def reach(self, connection: Connection) -> Reach:
        """The box of each part."""
        borders = [find_border(connection, name) for name in self.names]
        return Reach(tuple(box for border in borders for box in _part_boxes(border)))


def circle_boxes(lat: float, lon: float, km: float) -> tuple[Box, ...]:
    """Boxes that hold a circle, a little wide: one, or two where it crosses ±180°.

    As `circle_boxes` in SQL, so that both plan alike.
    """
    reach = 1.000001 * math.degrees(km / EARTH_RADIUS_KM)
    south, north, half = max(lat - reach, -90.0), min(lat + reach, 90.0), 180.0
    if south > -90 and north < 90:
        sine = math.sin(math.radians(reach)) / math.cos(math.radians(lat))
        half = 1.000001 * math.degrees(math.asin(min(1.0, sine)))
    west, east = lon - half, lon + half
    boxes = [(max(west, -180.0), south, min(east, 180.0), north)]
    if west < -180:
        boxes.append((west + 360, south, 180.0, north))
    elif east > 180:
        boxes.append((-180.0, south, east - 360, north))
    return tuple(boxes)


def _part_boxes(area: BaseGeometry) -> tuple[Box, ...]:
    return tuple(tuple(part.bounds) for part in shapely.get_parts(area))


def _intersects(areas: Iterable[BaseGeometry], statement: Statement) -> str:
    tests = [
        f"ST_Intersects(geom, {statement.bind_geometry(piece)})"
        for area in areas
        for piece in split(area)
    ]
    return f"({' OR '.join(tests)})"
