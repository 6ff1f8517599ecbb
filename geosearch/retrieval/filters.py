"""Filters on reference photos: what a user may ask, and its SQL over the embeddings table."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import shapely
from psycopg import sql
from shapely.errors import ShapelyError
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from geosearch.database.collections import find_collection
from geosearch.database.connection import Connection
from geosearch.errors import InputError


@dataclass(frozen=True)
class Filter:
    """Which reference photos may become neighbours. All conditions must hold.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees. West above east crosses the ±180° meridian.
    near
        Latitude, longitude in degrees and a great-circle radius in kilometres.
    within
        Polygon or MultiPolygon, longitude/latitude in degrees; its boundary counts as inside.
    after, before
        Taken at or after, and strictly before. Photos without a time match neither.
    collections
        Names; empty means all.
    exclude_authors
        Photos by these authors are left out; photos without an author stay in.
    exclude_sha256
        Photos with these bytes (hex sha256) are left out: a query must not find itself.

    Raises
    ------
    InputError
        A value is out of range, or the geometry is not a valid polygon.
    """

    bbox: tuple[float, float, float, float] | None = None
    near: tuple[float, float, float] | None = None
    within: BaseGeometry | None = None
    after: datetime | None = None
    before: datetime | None = None
    collections: tuple[str, ...] = ()
    exclude_authors: tuple[str, ...] = ()
    exclude_sha256: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
                raise InputError(
                    f"--bbox {','.join(map(str, self.bbox))} is not west,south,east,north",
                    "In degrees: longitudes in -180..180, latitudes in -90..90, south below north.",
                )
        if self.near is not None:
            lat, lon, km = self.near
            if not (-90 <= lat <= 90 and -180 <= lon <= 180 and 0 < km < 25_000):
                raise InputError(
                    f"--near {','.join(map(str, self.near))} is not latitude,longitude,kilometres",
                    "For example: --near 47.37,8.54,50",
                )
        if self.within is not None:
            _check_polygon(self.within)
        if self.after is not None and self.before is not None and self.after >= self.before:
            raise InputError(
                f"--after {self.after} is not earlier than --before {self.before}",
                "Swap them, or leave one out.",
            )

    @property
    def selects(self) -> bool:
        """True if any condition but the exclusions is set: only these can leave few photos."""
        return any(
            getattr(self, field.name)
            for field in fields(self)
            if not field.name.startswith("exclude_")
        )

    def compile(self, connection: Connection) -> tuple[sql.Composable, dict[str, Any]]:
        """SQL condition over the columns of `embeddings`, and its parameters.

        Raises
        ------
        NotFoundError
            A collection does not exist.
        """
        conditions: list[str] = []
        values: dict[str, Any] = {}
        if self.bbox is not None:
            # `&&` alone compares boxes rounded to float32; the coordinates make it exact.
            conditions.append(_BBOX if self.bbox[0] <= self.bbox[2] else _BBOX_OVER_180)
            values |= dict(zip(("west", "south", "east", "north"), self.bbox, strict=True))
        if self.near is not None:
            conditions.append(_NEAR)
            values |= {
                "near_lat": self.near[0],
                "near_lon": self.near[1],
                "near_m": 1000 * self.near[2],
            }
        if self.within is not None:
            conditions.append("ST_Intersects(geom, ST_GeomFromWKB(%(within)s, 4326))")
            values["within"] = shapely.to_wkb(self.within)
        if self.after is not None:
            conditions.append("taken_at >= %(after)s")
            values["after"] = self.after
        if self.before is not None:
            conditions.append("taken_at < %(before)s")
            values["before"] = self.before
        if self.collections:
            conditions.append("collection_id = ANY(%(collections)s)")
            values["collections"] = [find_collection(connection, name) for name in self.collections]
        if self.exclude_authors:
            conditions.append("(author IS NULL OR author <> ALL(%(exclude_authors)s))")
            values["exclude_authors"] = list(self.exclude_authors)
        if self.exclude_sha256:
            digests = [bytes.fromhex(digest) for digest in self.exclude_sha256]
            rows = connection.execute(
                "SELECT id FROM geosearch.photos WHERE sha256 = ANY(%s)", (digests,)
            )
            same = [row[0] for row in rows]
            if same:
                conditions.append("photo_id <> ALL(%(exclude_photos)s)")
                values["exclude_photos"] = same
        if not conditions:
            return sql.SQL("true"), values
        return sql.SQL("\n  AND ").join(map(sql.SQL, conditions)), values

    def to_json(self) -> dict[str, Any]:
        """What is set, as JSON; `from_json` reads it back."""
        written: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or value == ():
                continue
            if isinstance(value, BaseGeometry):
                value = mapping(value)
            elif isinstance(value, datetime):
                value = value.isoformat()
            elif isinstance(value, tuple):
                value = list(value)
            written[field.name] = value
        return written

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Filter:
        """Read back what `to_json` wrote."""
        read: dict[str, Any] = {}
        for name, item in value.items():
            if name == "within":
                read[name] = shape(item)
            elif name in ("after", "before"):
                read[name] = datetime.fromisoformat(item)
            else:
                read[name] = tuple(item)
        return cls(**read)


_BBOX = """(geom && ST_MakeEnvelope(%(west)s, %(south)s, %(east)s, %(north)s, 4326)
    AND ST_X(geom) BETWEEN %(west)s AND %(east)s
    AND ST_Y(geom) BETWEEN %(south)s AND %(north)s)"""

_BBOX_OVER_180 = """((geom && ST_MakeEnvelope(%(west)s, %(south)s, 180, %(north)s, 4326)
     OR geom && ST_MakeEnvelope(-180, %(south)s, %(east)s, %(north)s, 4326))
    AND (ST_X(geom) >= %(west)s OR ST_X(geom) <= %(east)s)
    AND ST_Y(geom) BETWEEN %(south)s AND %(north)s)"""

# On the sphere, not the spheroid: distances mean the same in all of geosearch.
_NEAR = """ST_DWithin(
        geom::geography,
        ST_SetSRID(ST_Point(%(near_lon)s, %(near_lat)s), 4326)::geography,
        %(near_m)s,
        false
    )"""


def parse_numbers(option: str, text: str, names: str) -> tuple[float, ...]:
    """Comma-separated numbers of a command-line option, as many as `names` has."""
    parts = text.split(",")
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) != len(names.split(",")):
        raise InputError(f"{option} {text!r} cannot be read", f"Give it as {option} {names}")
    return numbers


def parse_time(option: str, text: str) -> datetime:
    """An ISO 8601 date or time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{option} {text!r} is not a date: {error}", f"For example: {option} 2015-06-30"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_area(text: str) -> BaseGeometry:
    """A polygon from a GeoJSON file (geometry, Feature or FeatureCollection) or WKT."""
    if text.lstrip()[:7].upper() in ("POLYGON", "MULTIPO"):
        try:
            return shapely.from_wkt(text)
        except ShapelyError as error:
            raise InputError(f"--within: the WKT cannot be read: {error}") from error
    path = Path(text)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"--within {text!r} is neither WKT nor a readable file: {error.strerror}",
            "Give a GeoJSON file, or POLYGON(...) in longitude latitude order.",
        ) from error
    except ValueError as error:
        raise InputError(f"--within {path}: not JSON: {error}") from error
    return shapely.union_all(_geojson_polygons(path, document))


def _geojson_polygons(path: Path, document: Any) -> list[BaseGeometry]:
    try:
        if document["type"] == "FeatureCollection":
            members = [feature["geometry"] for feature in document["features"]]
        elif document["type"] == "Feature":
            members = [document["geometry"]]
        else:
            members = [document]
        geometries = [shape(member) for member in members]
    except (KeyError, TypeError, ValueError, AttributeError, ShapelyError) as error:
        raise InputError(
            f"--within {path}: not GeoJSON ({type(error).__name__}: {error})",
            "It must hold a Polygon or MultiPolygon, alone or in Features.",
        ) from error
    if not geometries:
        raise InputError(f"--within {path}: it holds no features")
    for number, geometry in enumerate(geometries, start=1):
        _check_polygon(geometry, f"{path}, feature {number}")
    return geometries


def _check_polygon(geometry: BaseGeometry, where: str = "the geometry") -> None:
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise InputError(
            f"--within: {where} is a {geometry.geom_type}", "Give a Polygon or MultiPolygon."
        )
    if geometry.is_empty:
        raise InputError(f"--within: {where} is empty")
    if not geometry.is_valid:
        raise InputError(f"--within: {where} is not valid: {explain_validity(geometry)}")
    west, south, east, north = geometry.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise InputError(
            f"--within: {where} reaches {west:g},{south:g},{east:g},{north:g}, beyond the Earth",
            "Coordinates are longitude, latitude in degrees; cut polygons at ±180°.",
        )
