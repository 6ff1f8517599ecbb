"""Answers as GeoJSON (RFC 7946)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import antimeridian
import numpy as np
import shapely
from shapely import LineString, MultiLineString
from shapely.geometry import mapping

from geosearch.export.estimates import Estimate, EstimatedRegion
from geosearch.files import replacing
from geosearch.sphere import destination, great_circle_km, initial_bearing

#: About a centimetre on the ground.
_DECIMALS = 7
_LINE_STEP_KM = 100.0

Feature = dict[str, Any]


def estimates_geojson(
    estimates: Iterable[Estimate], *, truth: bool = False, regions: bool = False
) -> dict[str, Any]:
    """A FeatureCollection of answers; see `estimate_features` for what is in it."""
    return {
        "type": "FeatureCollection",
        "features": [
            feature
            for estimate in estimates
            for feature in estimate_features(estimate, truth=truth, regions=regions)
        ],
    }


def write_estimates_geojson(
    path: Path, estimates: Iterable[Estimate], *, truth: bool = False, regions: bool = False
) -> int:
    """Write `estimates_geojson` to a file, one feature a line, and return how many answers.

    Only one answer is held in memory. The file appears when it is complete.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    return _write(
        path, (estimate_features(each, truth=truth, regions=regions) for each in estimates)
    )


def write_errors_geojson(path: Path, estimates: Iterable[Estimate]) -> int:
    """Write the error lines of answers to a file, one feature a line; returns how many lines.

    Answers without an estimate or a known truth have no line, and are left out.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    lines = (error_feature(estimate) for estimate in estimates)
    return _write(path, ([line] for line in lines if line is not None))


def _write(path: Path, groups: Iterable[Iterable[Feature]]) -> int:
    """Write a FeatureCollection; returns how many groups of features there were."""
    count, separator = 0, "\n"
    with replacing(path) as part, part.open("w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        for group in groups:
            count += 1
            for feature in group:
                stream.write(separator + json.dumps(feature, ensure_ascii=False, allow_nan=False))
                separator = ",\n"
        stream.write("\n]}\n")
    return count


def estimate_features(estimate: Estimate, *, truth: bool, regions: bool) -> Iterator[Feature]:
    """The features of one answer, told apart by their property `kind`.

    `estimate` is the Point, with a null geometry where there were no neighbours. With `truth`
    and a known true position, `error` is the great-circle line from the estimate to it. With
    `regions`, each `region` is a highest-density MultiPolygon.
    """
    key = {"localization_id": estimate.localization_id, "photo": estimate.photo}
    properties = {
        "kind": "estimate",
        **key,
        "method": estimate.method,
        "model": estimate.model,
        "score": estimate.score,
        "radius_km_50": estimate.radius_50_km,
        "radius_km_90": estimate.radius_90_km,
    }
    if estimate.truth is not None:
        lat, lon = estimate.truth
        properties |= {"truth_lat": lat, "truth_lon": lon, "error_km": estimate.error_km}
    if estimate.evaluation_id is not None:
        properties["evaluation_id"] = estimate.evaluation_id
    properties["created_at"] = estimate.created_at.isoformat()
    yield _feature(_point(estimate.position), properties)
    if truth and (line := error_feature(estimate)) is not None:
        yield line
    if regions:
        for region in estimate.regions:
            yield _feature(_polygons(region), _region_properties(region, key))


def error_feature(estimate: Estimate) -> Feature | None:
    """The great-circle line from an estimate to the truth; None where either is unknown.

    It is a LineString, or a MultiLineString where the antimeridian cuts it (RFC 7946, 3.1.9).
    """
    if estimate.position is None or estimate.truth is None:
        return None
    properties = {
        "kind": "error",
        "localization_id": estimate.localization_id,
        "photo": estimate.photo,
        "method": estimate.method,
        "error_km": estimate.error_km,
        "score": estimate.score,
    }
    return _feature(_geometry(great_circle_line(estimate.position, estimate.truth)), properties)


def great_circle_line(
    start: tuple[float, float], end: tuple[float, float]
) -> LineString | MultiLineString:
    """The shortest way between two positions (lat, lon), cut where it meets the antimeridian.

    It has a vertex at least every 100 km, because GeoJSON's own lines are straight in degrees.
    """
    distance = float(great_circle_km(*start, *end))
    steps = max(2, int(distance // _LINE_STEP_KM) + 2)
    lat, lon = destination(*start, initial_bearing(*start, *end), np.linspace(0.0, distance, steps))
    lat[[0, -1]], lon[[0, -1]] = (start[0], end[0]), (start[1], end[1])
    line = LineString(np.column_stack([lon, lat]))
    return antimeridian.fix_line_string(line, great_circle=True)


def _feature(geometry: dict[str, Any] | None, properties: dict[str, Any]) -> Feature:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _point(position: tuple[float, float] | None) -> dict[str, Any] | None:
    if position is None:
        return None
    lat, lon = position
    return {"type": "Point", "coordinates": [round(lon, _DECIMALS), round(lat, _DECIMALS)]}


def _polygons(region: EstimatedRegion) -> dict[str, Any]:
    return _geometry(shapely.orient_polygons(region.geometry, exterior_cw=False))


def _geometry(shape: shapely.Geometry) -> dict[str, Any]:
    rounded = shapely.transform(shape, lambda points: np.round(points, _DECIMALS))
    geometry: dict[str, Any] = mapping(rounded)
    return geometry


def _region_properties(region: EstimatedRegion, key: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "region", **key, "level": region.level, "area_km2": region.area_km2}
