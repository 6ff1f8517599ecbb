"""Polygons as users give them: shapely geometries, WKT, GeoJSON, or a file of GeoJSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import MultiPolygon, shape
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from geosearch.arguments import check_wgs84, path
from geosearch.errors import InputError, unusable_file
from geosearch.storage import parse_json, read_json

#: Pieces of an area are separated by gaps of more than this in longitude.
_GAP_DEG = 10.0
_WKT = re.compile(
    r"(?P<prefix>(SRID=(?P<srid>\d+)\s*;)?\s*)(MULTI)?(POLYGON|POINT|LINESTRING)", re.I
)

#: What is read as an area: a geometry of shapely or of the like, GeoJSON, WKT; where a person
#: names it, also a path.
Area: TypeAlias = BaseGeometry | Mapping[str, Any] | str | PathLike[str]


def read_area(given: Area) -> BaseGeometry:
    """A valid Polygon or MultiPolygon, longitude/latitude in degrees.

    `given` is a shapely geometry or another with `__geo_interface__`, a GeoJSON geometry, Feature
    or FeatureCollection, as an object or as text, or WKT. The polygons of several features are
    united. What says that it is not in WGS 84 is refused. No file is opened: a filter may have
    been stored by somebody else.

    Raises
    ------
    InputError
        It cannot be read, or is no valid polygon on the Earth; says what is wrong and where.
    """
    if isinstance(given, BaseGeometry):
        return check_area(given, "the geometry")
    shown: Any = getattr(given, "__geo_interface__", given)
    if isinstance(shown, Mapping | list):
        return _from_geojson(shown, "the GeoJSON")
    text = path("within", given).strip()
    if wkt := _WKT.match(text):
        check_wgs84("`within`: the WKT", int(wkt["srid"] or 0))
        try:
            return check_area(shapely.from_wkt(text[wkt.end("prefix") :]), "the WKT")
        except ShapelyError as error:
            raise InputError(f"`within`: the WKT cannot be read: {error}") from error
    if not text.startswith("{"):
        raise InputError(
            f"`within`: {text[:80]!r} is neither WKT nor GeoJSON",
            "Give a geometry: a file is opened only where `within` itself is its name.",
        )
    try:
        document = parse_json(text)
    except ValueError as error:
        raise InputError(f"`within`: {text[:80]}: not JSON: {error}") from error
    return _from_geojson(document, "the GeoJSON")


def read_area_file(given: Area) -> Area:
    """What is in the GeoJSON file that a path names; anything else as it is given.

    Raises
    ------
    InputError
        It is neither WKT nor GeoJSON nor a file that can be read, or that is no area.
    """
    if not isinstance(given, str | PathLike):
        return given
    text = path("within", given).strip()
    if text.startswith("{") or _WKT.match(text):
        return text
    try:
        document = read_json(Path(text))
    except OSError as error:
        raise unusable_file(
            f"`within`: {given!r} is neither WKT nor a readable file: {error.strerror}",
            error,
            "Give a GeoJSON file, or POLYGON(...) in longitude latitude order.",
        ) from error
    except ValueError as error:
        raise InputError(f"`within`: {given}: not JSON: {error}") from error
    return _from_geojson(document, str(given))


def check_area(geometry: BaseGeometry, name: str) -> BaseGeometry:
    """`geometry` itself, if it is a valid Polygon or MultiPolygon on the Earth.

    Raises
    ------
    InputError
        It is not; the message calls it `name`.
    """
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise InputError(
            f"`within`: {name} is a {geometry.geom_type}", "Give a Polygon or MultiPolygon."
        )
    check_wgs84(f"`within`: {name}", int(shapely.get_srid(geometry)))
    if geometry.is_empty:
        raise InputError(f"`within`: {name} is empty", "Give a polygon with an area.")
    if not geometry.is_valid:
        raise InputError(
            f"`within`: {name} is not valid: {explain_validity(geometry)}",
            "Repair it, for example with shapely.make_valid or ST_MakeValid.",
        )
    west, south, east, north = geometry.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise InputError(
            f"`within`: {name} reaches {west:g},{south:g},{east:g},{north:g}, beyond the Earth",
            "Coordinates are longitude, latitude in degrees; cut polygons at ±180°.",
        )
    return geometry


def split(area: BaseGeometry) -> list[BaseGeometry]:
    """`area` in pieces far apart in longitude, so that the box of each is narrow.

    An index searches boxes: that of France with all its islands is most of the Earth.
    """
    parts = shapely.get_parts(area)
    west, _, east, _ = shapely.bounds(parts).T
    order = np.argsort(west)
    reached = np.maximum.accumulate(east[order])
    gaps = np.flatnonzero(west[order][1:] > reached[:-1] + _GAP_DEG) + 1
    return [MultiPolygon(list(group)) for group in np.split(parts[order], gaps)]


def _from_geojson(document: Any, name: str) -> BaseGeometry:
    if isinstance(document, Mapping):
        check_wgs84(f"`within`: {name}", document.get("crs"))
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
            f"`within`: {name}: not GeoJSON ({type(error).__name__}: {error})",
            "It must hold a Polygon or MultiPolygon, alone or in Features.",
        ) from error
    if not geometries:
        raise InputError(f"`within`: {name}: it holds no features", "Give at least one polygon.")
    if len(geometries) == 1:
        return check_area(geometries[0], name)
    return shapely.union_all(
        [check_area(item, f"{name}, feature {n}") for n, item in enumerate(geometries, start=1)]
    )
