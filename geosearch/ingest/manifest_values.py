"""Values of a manifest's cells, typed or as text: texts, numbers, degrees, times."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.photo_times import first_believable, read_offset, read_time, with_zone
from geosearch.ingest.positions import Axis, coordinate
from geosearch.ingest.records import decoded
from geosearch.installation import optional

_MEASURE = re.compile(
    r"([-+]?\d+(?:[.,]\d+)?)\s*(?:deg|degrees|°|m|metres|meters)?\.?\s*((?:Above|Below) .*)?",
    re.IGNORECASE | re.ASCII,
)
_EMPTY = {"", "-", "na", "n/a", "nan", "null", "none"}


def text(value: Any) -> str | None:
    """A value as text, `123` for the float 123.0; None where it is missing, or has no one text."""
    if isinstance(value, bytes):
        value = decoded(value)
    elif isinstance(value, float | Decimal):
        if not math.isfinite(value):
            return None
        value = f"{value:.0f}" if value == value.__floor__() else value
    elif isinstance(value, date):
        value = value.isoformat()
    elif isinstance(value, list | tuple):
        value = "; ".join(filter(None, map(text, value)))
    elif isinstance(value, Mapping):
        return None
    found = "" if value is None else str(value).strip()
    return None if found.lower() in _EMPTY else found


def number(name: str, value: Any) -> float | None:
    """A number, with a decimal comma or point; None where it is missing.

    Raises
    ------
    PhotoRejected
        `not_a_number`.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str | bytes):
        said = (value if isinstance(value, str) else decoded(value)).strip()
        if said.lower() in _EMPTY - {"nan"}:
            return None
        if said.count(",") == 1 and "." not in said:
            said = said.replace(",", ".")
        value = said
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise PhotoRejected(
            Reason.NOT_A_NUMBER, f"{name} is not a number: {str(value)[:80]!r}"
        ) from None


def degrees(axis: Axis, name: str, value: Any, reference: Any) -> float | None:
    """Degrees as a number, or as text such as `33.8S` and `51 deg 30' 7.5" N`; None where missing.

    Raises
    ------
    PhotoRejected
        `not_a_number`, or as `coordinate`.
    """
    hemisphere = text(reference)
    try:
        found = number(name, value)
    except PhotoRejected:
        said = text(value) if isinstance(value, str | bytes) else None
        if said is None or not any(letter.isdigit() for letter in said):
            raise
        return coordinate(axis, said, hemisphere)
    if found is None or hemisphere is None:
        return found
    return coordinate(axis, repr(found), hemisphere)


def point(geometry: Any) -> tuple[Any, Any]:
    """Latitude and longitude of a point of GeoJSON.

    Raises
    ------
    PhotoRejected
        It is none.
    """
    found = geometry.get("coordinates") if isinstance(geometry, Mapping) else None
    if not isinstance(found, list) or geometry.get("type") != "Point" or len(found) < 2:
        raise PhotoRejected(Reason.BAD_ROW, "the geometry is not a Point")
    return found[1], found[0]


def unprojected(epsg: Any, northing: Any, easting: Any) -> tuple[float | None, float | None]:
    """Latitude and longitude of coordinates in the system with this EPSG code; None where missing.

    Raises
    ------
    PhotoRejected
        `not_a_number`, or there is no such system.
    MissingExtraError
        The extra `gis` is not installed.
    """
    y, x = number("northing", northing), number("easting", easting)
    code = (text(epsg) or "").upper().removeprefix("EPSG:")
    if y is None or x is None or code == "4326":
        return y, x
    warp = optional(f"coordinates in EPSG:{code}", "gis", "rasterio.warp")
    try:
        (lon,), (lat,) = warp.transform(f"EPSG:{code}", "EPSG:4326", [x], [y])
    except Exception as error:  # rasterio's errors have no base of their own
        raise PhotoRejected(Reason.BAD_ROW, f"EPSG:{code}: {error}") from error
    return float(lat), float(lon)


def metres(value: Any) -> float | None:
    """An accuracy, `5 m` too; None where it is missing.

    Raises
    ------
    PhotoRejected
        It is no number, or none of metres.
    """
    if isinstance(value, str):
        value = value.strip().removesuffix("m")
    found = number("accuracy_m", value)
    if found is None or math.isnan(found):
        return None
    if not 0 <= found < 1e9:
        raise PhotoRejected(Reason.BAD_ROW, f"accuracy_m is {found}")
    return found


def measure(name: str, value: Any) -> float | None:
    """Degrees or metres, with or without their unit: `65.5 deg`, `12 m Below Sea Level`.

    Raises
    ------
    PhotoRejected
        `not_a_number`.
    """
    said = text(value) if isinstance(value, str | bytes) else None
    found = None if said is None else _MEASURE.fullmatch(said)
    if found is None:
        return number(name, value)
    metres = float(found[1].replace(",", "."))
    return -metres if is_below(found[2]) else metres


def is_below(reference: Any) -> bool:
    """Whether what is said beside an altitude means one below the sea: `1`, `Below Sea Level`."""
    said = text(reference) or ""
    return said in ("1", "3") or said.lower().startswith("below")


def moment(value: Any, offset: Any) -> datetime | None:
    """A time, naive where neither it nor `offset` names a zone; None where it is missing.

    Raises
    ------
    PhotoRejected
        It is none for certain, or not of the years 1800 to 2199.
    """
    said = text(value)
    if said is None:
        return None
    time = value if isinstance(value, datetime) else read_time(said)
    if isinstance(value, int | float) and not isinstance(value, bool) and time is None:
        time = datetime.fromtimestamp(value, UTC) if 0 <= value < 1e10 else None
    found = first_believable([time and with_zone(time, read_offset(text(offset) or ""))])
    if found is None:
        raise PhotoRejected(Reason.BAD_ROW, f"taken_at is no time for certain: {said[:80]!r}")
    return found
