"""When a photo was taken: what its clocks say, which of them is believed, and in which zone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from geosearch.ingest.positions import Position
from geosearch.ingest.records import Zone, is_believable

# No two places on earth have clocks further apart from UTC; a clock may be an hour off in summer.
_FURTHEST = timedelta(hours=15)
# GPS counts from its first day; no camera with a receiver is older than the second date.
_FIRST_OF_GPS = datetime(1980, 1, 6, tzinfo=UTC)
_FIRST_RECEIVERS = datetime(1990, 1, 1, tzinfo=UTC)

_TIME = re.compile(
    r"(?:(?P<year>\d{4})(?P<by>[-:/. ]?)(?P<month>\d{1,2})(?P=by)(?P<day>\d{1,2})"
    r"|(?P<one>\d{1,2})(?P<of>[/.-])(?P<two>\d{1,2})(?P=of)(?P<last>\d{4}))"
    r"(?:(?:\s*T|[\s,]+)(?P<hour>\d{1,2}):?(?P<minute>\d{2})"
    r"(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
    r"(?:\s*(?P<half>[AP])\.?M\.?)?\s*(?P<zone>Z|UTC|GMT|(?:UTC|GMT)?[-+]\d{1,2}(?::?\d{2})?)?)?",
    re.IGNORECASE | re.ASCII,
)
_OFFSET = re.compile(r"(?:UTC|GMT)?([-+])(\d{1,2}):?(\d{2})?", re.IGNORECASE | re.ASCII)
_UNIX = re.compile(r"\d{9,10}(?:\.\d+)?|\d{13}", re.ASCII)


def read_time(text: str) -> datetime | None:
    """The moment in a text: naive where it names no zone; None where it is not one for certain.

    ISO 8601 and the forms near it, those of EXIF and IPTC, seconds since 1970, and days first
    where that is sure: 01/02/2021 could be either. A year or a month is no moment.
    """
    text = text.strip(" \0\r\n\t")
    if _UNIX.fullmatch(text):
        seconds = float(text)
        return datetime.fromtimestamp(seconds / 1000 if seconds >= 1e12 else seconds, UTC)
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day = _day(found)
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (found["half"] in "pP")
    past_midnight = (hour, minute, second) == (24, 0, 0)
    if day is None or minute > 59 or second > 60 or (hour > 23 and not past_midnight):
        return None
    zone = read_offset(found["zone"] or "")
    if zone is None and found["zone"]:
        return None
    micro = int((found["fraction"] or "")[:6].ljust(6, "0"))
    try:
        moment = day + timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micro)
        return moment.replace(tzinfo=zone)
    except (ValueError, OverflowError):
        return None


def _day(found: re.Match[str]) -> datetime | None:
    if found["year"]:
        year, month, day = found["year"], found["month"], found["day"]
        if not found["by"] and len(month + day) < 4:
            return None
    else:
        year, day, month = found["last"], found["one"], found["two"]
        if found["of"] == "/" and int(month) > 12:
            day, month = month, day
        elif found["of"] != "." and max(int(day), int(month)) <= 12 and day != month:
            return None  # which is the month?
    try:
        return datetime(int(year), int(month), int(day))
    except ValueError:
        return None


def read_offset(text: str) -> timezone | None:
    """The zone in a text such as `+02:00`, `-0330` or `Z`; None where it is none."""
    text = text.strip(" \0")
    if text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    size = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
    return timezone(-size if found[1] == "-" else size) if size <= _FURTHEST else None


def with_zone(time: datetime, zone: timezone | None) -> datetime:
    """The time, in the zone unless it names its own."""
    return time if time.tzinfo or zone is None else time.replace(tzinfo=zone)


def believed(camera: datetime | None, gps: datetime | None) -> datetime | None:
    """The better of a camera's clock (naive where its zone is not known) and a receiver's (UTC).

    ==========================  ===========================  =======  ===========================
    the camera's clock          the receiver's clock         believe  why
    ==========================  ===========================  =======  ===========================
    none                        from 1980-01-06              GPS
    any                         before 1980-01-06, or none   camera   there was no GPS
    before 1990                 from 1990                    GPS      the camera's was never set
    names its zone              any                          camera   it was set with care
    no zone, within 15 hours    any                          GPS      the difference is the zone
    no zone, further off        any                          camera   no fix, or its weeks ran over
    ==========================  ===========================  =======  ===========================
    """
    if gps is None or gps < _FIRST_OF_GPS:
        return camera
    if camera is None:
        return gps
    shown = with_zone(camera, UTC)
    if shown < _FIRST_RECEIVERS <= gps:
        return gps
    return gps if camera.tzinfo is None and abs(shown - gps) <= _FURTHEST else camera


def first_believable(times: Iterable[datetime | None]) -> datetime | None:
    """The first time that there is, of the years 1800 to 2199."""
    return next((time for time in times if time and is_believable(with_zone(time, UTC))), None)


def settled(time: datetime, position: Position | None) -> tuple[datetime, Zone]:
    """The time in UTC, and how its zone is known: it names it, or the position does, or neither."""
    if time.tzinfo is not None:
        return time.astimezone(UTC), "known"
    zone = None
    if position is not None and not position.is_estimate:
        zone = zone_at(position.lat, position.lon)
    if zone is None:
        return time.replace(tzinfo=UTC), "assumed"
    return time.replace(tzinfo=zone).astimezone(UTC), "position"


def rezoned(
    time: datetime | None, zone: Zone | None, before: Position | None, after: Position
) -> dict[str, Any]:
    """Columns of a settled time, of a photo whose position is another now: its clock is the same.

    None of a time that names its zone, of no time, and by an estimate.
    """
    if time is None or zone in (None, "known") or after.is_estimate:
        return {}
    there = zone_at(before.lat, before.lon) if zone == "position" and before else None
    found, how = settled(time.astimezone(there or UTC).replace(tzinfo=None), after)
    return {"taken_at": found, "taken_at_zone": how}


def zone_at(lat: float, lon: float) -> ZoneInfo | None:
    """The zone of clocks at a position in degrees; None if it is not known."""
    import tzfpy  # takes memory, and many photos name their zone

    try:
        return ZoneInfo(tzfpy.get_tz(lon, lat))
    except (ZoneInfoNotFoundError, ValueError):
        return None
