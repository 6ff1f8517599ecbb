"""EXIF of an opened image: position, time, author, licence, and all tags as JSON.

Field meanings: Exif 3.0 (CIPA DC-008-2023), sections 4.6.6 (GPS) and 4.6.5 (Exif IFD).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.positions import (
    Position,
    checked,
    from_parts,
    measured_or_guessed,
    numbers,
    sign,
)
from geosearch.ingest.records import LONGEST_TEXT, cleaned, is_believable, shortened

_MOST_BYTES = 64
_LONGEST_LIST = 64
_MOST_TAGS = 500

# Pointers to other IFDs, the layout of TIFF pixels, and embedded documents: not for a JSON column.
_NOT_KEPT = {
    *(ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop, ExifTags.IFD.MakerNote),
    *(273, 279, 288, 289, 324, 325, 330),  # strips, free blocks, tiles, sub-IFDs
    *(700, 33723, 34377, 34675),  # XMP, IPTC, Photoshop resources, ICC profile
    *(0x0201, 0x0202, 0xC4A5),  # thumbnail, print image matching
}

Tags = Mapping[int, Any]


@dataclass(frozen=True)
class Exif:
    """The three directories of EXIF that matter here: tag number → value."""

    image: Tags = field(default_factory=dict)
    photo: Tags = field(default_factory=dict)
    gps: Tags = field(default_factory=dict)


def read_exif(image: Image.Image) -> Exif:
    """EXIF of an opened image; empty where there is none or it cannot be parsed at all.

    A PNG is decoded, because its EXIF may stand after the pixels.
    """
    try:
        found = image.getexif()
    except Exception:  # of hostile files, Pillow's plugins raise all there is
        return Exif()
    return Exif(
        _readable(found),
        _directory(found, ExifTags.IFD.Exif),
        _directory(found, ExifTags.IFD.GPSInfo),
    )


def _directory(found: Image.Exif, tag: int) -> Tags:
    try:
        return _readable(found.get_ifd(tag))
    except Exception:  # as above
        return {}


def _readable(tags: Mapping[int, Any]) -> Tags:
    """The tags whose values can be read; Pillow reads a value when it is asked for."""
    found = {}
    for tag in tags:
        with suppress(Exception):
            found[tag] = tags[tag]
    return found


def gps_position(gps: Tags) -> Position | None:
    """The position in a GPS directory; None if it has neither latitude nor longitude.

    Raises
    ------
    PhotoRejected
        It has one that cannot be believed; the reason says why.
    """
    base = ExifTags.GPS
    if base.GPSLatitude not in gps and base.GPSLongitude not in gps:
        return None
    lat = _coordinate("latitude", gps.get(base.GPSLatitude), gps.get(base.GPSLatitudeRef))
    lon = _coordinate("longitude", gps.get(base.GPSLongitude), gps.get(base.GPSLongitudeRef))
    source = measured_or_guessed("exif", gps.get(base.GPSProcessingMethod))
    return checked(lat, lon, source, _accuracy(gps.get(base.GPSHPositioningError)))


def _coordinate(axis: Literal["latitude", "longitude"], value: Any, reference: Any) -> float:
    if value is None:
        raise PhotoRejected(Reason.INCOMPLETE, f"half a position: the {axis} is missing")
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        parts = numbers(axis, value)
    else:
        values = value if isinstance(value, tuple | list) else (value,)
        if any(_denominator(part) == 0 for part in values):
            raise PhotoRejected(Reason.ZERO_DENOMINATOR, f"{axis} has a denominator of zero")
        parts = [_number(part) for part in values]
    degrees = from_parts(axis, parts)
    return sign(axis, reference) * degrees


def _denominator(value: Any) -> int:
    return value.denominator if isinstance(value, IFDRational) else 1


def _number(value: Any) -> float:
    """The number, NaN for anything that is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return math.nan


def _accuracy(value: Any) -> float | None:
    metres = _number(value)
    # 0 and huge values are what devices write when they do not know.
    return metres if 0 < metres < 1e7 else None


def taken_at(exif: Exif) -> datetime | None:
    """When the photo was taken; None if not known, or not of the years 1800 to 2199.

    The camera's clock where it names its zone, else the GPS clock (UTC), else the camera's clock
    taken as UTC.
    """
    clocks = (_zoned_clock(exif), _gps_clock(exif.gps), _camera_clock(exif)[0])
    return next((clock for clock in clocks if clock and is_believable(clock)), None)


def _camera_clock(exif: Exif) -> tuple[datetime | None, timedelta | None]:
    """The camera's clock taken as UTC, and its distance from UTC where it names one."""
    tag = ExifTags.Base
    clock = _clock(exif.photo.get(tag.DateTimeOriginal))
    offset = _offset(exif.photo.get(tag.OffsetTimeOriginal))
    if clock is None:
        clock = _clock(exif.photo.get(tag.DateTimeDigitized))
        offset = _offset(exif.photo.get(tag.OffsetTimeDigitized))
    return clock, offset


def _zoned_clock(exif: Exif) -> datetime | None:
    clock, offset = _camera_clock(exif)
    if clock is None or offset is None:
        return None
    try:
        return clock - offset
    except OverflowError:
        return None


def _clock(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.strptime(value.strip(" \0")[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return found.replace(tzinfo=UTC)


def _offset(value: Any) -> timedelta | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.strptime(value.strip(" \0"), "%z").utcoffset()
    except ValueError:
        return None


def _gps_clock(gps: Tags) -> datetime | None:
    date, time = gps.get(ExifTags.GPS.GPSDateStamp), gps.get(ExifTags.GPS.GPSTimeStamp)
    if not isinstance(date, str) or not isinstance(time, tuple | list) or len(time) != 3:
        return None
    hours, minutes, seconds = (_number(part) for part in time)
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 61):
        return None
    try:
        day = datetime.strptime(date.strip(" \0").replace("-", ":"), "%Y:%m:%d")
        return day.replace(tzinfo=UTC) + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except (ValueError, OverflowError):
        return None


def author(exif: Exif) -> str | None:
    """The `Artist`, if any."""
    return _text(exif.image.get(ExifTags.Base.Artist))


def licence(exif: Exif) -> str | None:
    """The `Copyright` notice, if any."""
    return _text(exif.image.get(ExifTags.Base.Copyright))


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return shortened(value.replace("\0", " ")) or None


def as_json(exif: Exif) -> dict[str, Any] | None:
    """All tags by name, fit for a jsonb column; None if there are none.

    NaN becomes null, bytes text or hex, long values are cut; maker notes are left out.
    """
    found: dict[str, Any] = {}
    for tags, names in (
        (exif.image, ExifTags.TAGS),
        (exif.photo, ExifTags.TAGS),
        (exif.gps, ExifTags.GPSTAGS),
    ):
        for tag, value in tags.items():
            if len(found) == _MOST_TAGS:
                return found
            if tag not in _NOT_KEPT or names is ExifTags.GPSTAGS:
                found[names.get(tag, f"0x{tag:04x}")] = _json(value)
    return found or None


def _json(value: Any) -> Any:
    if isinstance(value, bool | int) and abs(value) < 2**63:
        return value
    if isinstance(value, float | int | IFDRational):
        number = _number(value)
        return number if math.isfinite(number) else None
    if isinstance(value, bytes):
        text = value.rstrip(b"\0")
        if text.isascii() and text.decode("ascii").isprintable():
            return text.decode("ascii")[:LONGEST_TEXT]
        return value[:_MOST_BYTES].hex() + ("…" if len(value) > _MOST_BYTES else "")
    if isinstance(value, tuple | list):
        return [_json(part) for part in value[:_LONGEST_LIST]]
    return cleaned(str(value).rstrip("\0").replace("\0", " "))[:LONGEST_TEXT]
