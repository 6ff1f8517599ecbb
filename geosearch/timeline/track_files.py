"""Tracks in files: where somebody was when, by GPX, KML, GeoJSON or Google's timeline.

Read with defusedxml and the standard library: no entity is expanded and no document type taken.
GPX: points of tracks and routes, and waypoints, that have a time. KML: `gx:Track`, and placemarks
of a point with a `TimeStamp`. GeoJSON: points with a `time` or `timestamp`, and lines with times in
`coordTimes`, `times` or `coordinateProperties.times`. Google: `Records.json` of Takeout
(`locations` with `latitudeE7`), and the export of a phone (`semanticSegments` with `timelinePath`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from geosearch.arguments import Paths, paths
from geosearch.errors import InputError, unusable_file
from geosearch.sphere import Array, unit_vectors
from geosearch.storage import regular
from geosearch.timeline.timeline_prior import Fix, Moment

#: The largest file that is read: years of a phone.
LARGEST_MIB = 256

#: The standard deviation of a position where nothing is said of it, kilometres.
_RECEIVER_KM = 0.01

#: A track tells nothing so long before its first position and after its last.
_REACH_HOURS = 24.0

#: A position and its time: seconds since 1970, degrees, degrees, and kilometres.
_Point = tuple[float, float, float, float]

_GPX_POINTS = ("trkpt", "rtept", "wpt")

_DEGREES = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*°?\s*,\s*(-?\d+(?:\.\d+)?)\s*°?\s*", re.ASCII)


@dataclass(frozen=True, eq=False)
class Track:
    """Where somebody was: `hours` since 1970 (n,), rising, degrees and kilometres of accuracy."""

    name: str
    sha256: str
    hours: Array
    lat: Array
    lon: Array
    accuracy_km: Array

    def __len__(self) -> int:
        return len(self.hours)

    def at(self, hours: Array) -> Array:
        """Vectors (n, 3) to where it was at times (n,), on a straight way from one to the next."""
        axes = self._vectors.T
        return np.stack([np.interp(hours, self.hours, axis) for axis in axes], axis=-1)

    def away(self, hours: Array) -> Array:
        """Hours (n,) from times (n,) to the nearest position."""
        after = np.clip(np.searchsorted(self.hours, hours), 1, max(len(self) - 1, 1))
        ends = self.hours[np.minimum(np.stack([after - 1, after]), len(self) - 1)]
        return np.asarray(np.abs(ends - hours).min(axis=0))

    @cached_property
    def _vectors(self) -> Array:
        return unit_vectors(self.lat, self.lon)

    def moment(self, hours: float) -> Moment:
        """The positions just before and just after a time in hours since 1970."""
        after = int(np.searchsorted(self.hours, hours, "right"))
        return Moment(self._fix(after - 1, hours), self._fix(after, hours))

    def _fix(self, index: int, hours: float) -> Fix | None:
        if not 0 <= index < len(self) or abs(self.hours[index] - hours) > _REACH_HOURS:
            return None
        return Fix(
            abs(float(self.hours[index] - hours)),
            float(self.lat[index]),
            float(self.lon[index]),
            float(self.accuracy_km[index]),
        )


def read_tracks(files: Paths) -> Track:
    """The tracks of .gpx, .kml, .geojson and .json files, as one.

    Positions off the Earth and those without a time are left out.

    Raises
    ------
    InputError
        A file cannot be read, is too large, is none of these, or has no position with a time.
    """
    tracks = [_read_track(file) for file in paths("track", files)]
    if not tracks:
        raise InputError("`track` names no file", "Give one, or leave it out.")
    if len(tracks) == 1:
        return tracks[0]
    hours, lat, lon, accuracy = (
        np.concatenate([getattr(track, name) for track in tracks])
        for name in ("hours", "lat", "lon", "accuracy_km")
    )
    hours, first = np.unique(hours, return_index=True)
    joined = hashlib.sha256("".join(track.sha256 for track in tracks).encode()).hexdigest()
    names = ", ".join(track.name for track in tracks)
    return Track(names, joined, hours, lat[first], lon[first], accuracy[first])


def _read_track(name: str) -> Track:
    data = _read(name)
    kind = Path(name).suffix.lower()
    readers: dict[str, Callable[[bytes], Iterator[_Point]]] = {
        ".gpx": _gpx,
        ".kml": _kml,
        ".geojson": _json,
        ".json": _json,
    }
    if kind not in readers:
        raise InputError(
            f"{name}: no track is known by the ending {kind!r}",
            "Give a .gpx, .kml or .geojson file, or the .json of Google's timeline.",
        )
    try:
        points = [point for point in readers[kind](data) if _possible(point)]
    except Exception as error:  # of hostile files, parsers raise all there is
        why = _why(error) if data.strip() else "it is empty"
        raise InputError(
            f"{name}: not a track that can be read: {why}",
            "Export the track again, or convert it to GPX.",
        ) from error
    if not points:
        raise InputError(
            f"{name}: no position in it has a time, so it cannot say where a photo was taken",
            "Export the track with times.",
        )
    times, first = np.unique(np.array([point[0] for point in points]), return_index=True)
    lat, lon, accuracy = np.array(points)[first, 1:].T
    return Track(
        Path(name).name, hashlib.sha256(data).hexdigest(), times / 3600, lat, lon, accuracy
    )


def _why(error: Exception) -> str:
    """In words, why a file cannot be read."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException

    match error:
        case InputError():
            return error.message
        case DefusedXmlException():
            return "it has a document type or entities (<!DOCTYPE>), which no track needs"
        case ParseError():
            line, column = error.position
            return f"its XML breaks off or is wrong at line {line}, column {column + 1}"
        case json.JSONDecodeError():
            return f"its JSON breaks off or is wrong at line {error.lineno}, column {error.colno}"
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeError() | LookupError():
            return "its text is in no encoding that is known"
    return "its parts are not those of a track"


def _read(name: str) -> bytes:
    most = LARGEST_MIB << 20
    try:
        with regular(Path(name)).open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise unusable_file(f"{name}: {error.strerror or error}", error) from error
    if len(data) > most:
        raise InputError(f"{name}: a track of over {LARGEST_MIB} MiB", "Give a part of it.")
    return data


def _possible(point: _Point) -> bool:
    seconds, lat, lon, accuracy = point
    return (
        abs(lat) <= 90
        and abs(lon) <= 180
        and (lat, lon) != (0, 0)
        and 0 < seconds < 8e9
        and 0 <= accuracy < 1e4
    )


def _seconds(text: Any) -> float:
    """A time as seconds since 1970, UTC where no zone is named; 0 if it is none."""
    from geosearch.ingest.photo_times import read_time, with_zone  # loads what reads pictures

    try:
        found = read_time(str(text or ""))
        return 0.0 if found is None else with_zone(found, UTC).timestamp()
    except (ValueError, OverflowError):  # in no year that there is
        return 0.0


def _number(field: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f'"{field}" is {str(value)[:40]!r}, which is no number') from None


def _objects(field: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InputError(f'"{field}" is no list of objects')
    return value


def _elements(data: bytes) -> Iterator[Any]:
    """The elements of XML as they end, children first; each is let go then, if in no point."""
    from defusedxml import ElementTree

    above: list[Any] = []
    points = 0  # those that an element is in, or is
    for event, element in ElementTree.iterparse(
        BytesIO(data), events=("start", "end"), forbid_dtd=True
    ):
        is_point = _local(element) in (*_GPX_POINTS, "Track", "Placemark")
        if event == "start":
            above.append(element)
            points += is_point
            continue
        yield element
        above.pop()
        if is_point:
            points -= 1
            element.clear()
        if above and not points:
            above[-1].remove(element)


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _children(element: Any, name: str) -> list[str]:
    return [str(each.text or "") for each in element.iter() if _local(each) == name]


def _gpx(data: bytes) -> Iterator[_Point]:
    for element in _elements(data):
        if _local(element) in _GPX_POINTS:
            for text in _children(element, "time")[:1]:
                lat, lon = (_number(field, element.get(field, "nan")) for field in ("lat", "lon"))
                yield _seconds(text), lat, lon, _RECEIVER_KM


def _kml(data: bytes) -> Iterator[_Point]:
    for element in _elements(data):
        if _local(element) == "Track":
            times, places = _children(element, "when"), _children(element, "coord")
            yield from _points(times, (place.split() for place in places))
        elif _local(element) == "Placemark":
            points = [each for each in element.iter() if _local(each) == "Point"]
            places = [text for each in points for text in _children(each, "coordinates")]
            times = [
                text
                for each in element.iter()
                if _local(each) == "TimeStamp"
                for text in _children(each, "when")
            ]
            yield from _points(times, (place.strip().split(",") for place in places))


def _points(times: Iterable[Any], places: Iterable[Sequence[Any] | None]) -> Iterator[_Point]:
    """Of places that are longitude, latitude and more; what is less is none."""
    for time, place in zip(times, places, strict=False):
        if place and len(place) > 1:
            lon, lat = (_number("coordinates", each) for each in place[:2])
            yield _seconds(time), lat, lon, _RECEIVER_KM


def _json(data: bytes) -> Iterator[_Point]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise InputError("a track in JSON is an object: GeoJSON, or Google's timeline")
    if "locations" in value:
        return _takeout(_objects("locations", value["locations"]))
    if "semanticSegments" in value:
        return _phone(_objects("semanticSegments", value["semanticSegments"]))
    return _geojson(value)


def _takeout(records: Iterable[Mapping[str, Any]]) -> Iterator[_Point]:
    for each in records:
        if "latitudeE7" not in each or "longitudeE7" not in each:
            continue
        time = each.get("timestamp")
        stamp = _number("timestampMs", each.get("timestampMs", 0)) / 1000
        # Of the accuracy, Google says that 68 % lie within it.
        accuracy = _number("accuracy", each.get("accuracy", 1000 * _RECEIVER_KM)) / 1000 / 1.5
        lat, lon = (_number(name, each[name]) / 1e7 for name in ("latitudeE7", "longitudeE7"))
        yield stamp if time is None else _seconds(time), lat, lon, accuracy


def _phone(segments: Iterable[Mapping[str, Any]]) -> Iterator[_Point]:
    for segment in segments:
        for each in _objects("timelinePath", segment.get("timelinePath", [])):
            found = _DEGREES.fullmatch(str(each.get("point", "")))
            if found is not None:
                yield _seconds(each.get("time")), float(found[1]), float(found[2]), _RECEIVER_KM


def _geojson(value: Mapping[str, Any]) -> Iterator[_Point]:
    features = [value]
    if value.get("type") == "FeatureCollection":
        features = _objects("features", value.get("features") or [])
    for feature in features:
        geometry, said = feature.get("geometry") or {}, feature.get("properties") or {}
        places, kind = geometry.get("coordinates") or [], geometry.get("type")
        more = (said.get("coordinateProperties") or {}).get("times")
        times: Any = said.get("coordTimes") or said.get("times") or more or []
        if kind == "Point":
            places, times = [places], [said.get("time") or said.get("timestamp")]
        elif kind == "MultiLineString":
            parts = times if times and isinstance(times[0], list) else [times]
            places, times = [*chain(*places)], [*chain(*parts)]
        yield from _points(times, places)
