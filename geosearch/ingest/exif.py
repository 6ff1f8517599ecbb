"""EXIF of an opened image: position, time, author, licence, and all tags as JSON.

Field meanings: Exif 3.0 (CIPA DC-008-2023), sections 4.6.6 (GPS) and 4.6.5 (Exif IFD).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.camera_view import View, field_of_view, north
from geosearch.ingest.photo_times import read_offset, read_time, with_zone
from geosearch.ingest.positions import (
    Axis,
    Position,
    believed_accuracy,
    checked,
    coordinate,
    from_parts,
    sign,
)
from geosearch.ingest.records import LONGEST_TEXT, cleaned, decoded, shortened

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

_UTF_16 = frozenset(range(0x9C9B, 0x9CA0))  # XPTitle, XPComment, XPAuthor, XPKeywords, XPSubject
# UserComment; GPSProcessingMethod and GPSAreaInformation
_PREFIXED = frozenset({0x9286, 27, 28})
_OFFSET_TIME = ExifTags.Base.OffsetTime

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
    method = as_text(gps.get(base.GPSProcessingMethod, ""), base.GPSProcessingMethod)
    accuracy = believed_accuracy(_number(gps.get(base.GPSHPositioningError)))
    return checked(lat, lon, "exif", accuracy).marked(method)


def _coordinate(axis: Axis, value: Any, reference: Any) -> float:
    if value is None:
        raise PhotoRejected(Reason.INCOMPLETE, f"half a position: the {axis} is missing")
    if isinstance(value, str | bytes):
        return coordinate(axis, as_text(value), reference)
    values = value if isinstance(value, tuple | list) else (value,)
    if any(_denominator(part) == 0 for part in values):
        raise PhotoRejected(Reason.ZERO_DENOMINATOR, f"{axis} has a denominator of zero")
    return sign(axis, reference) * from_parts(axis, [_number(part) for part in values])


def _denominator(value: Any) -> int:
    return value.denominator if isinstance(value, IFDRational) else 1


def _number(value: Any) -> float:
    """The number, NaN for anything that is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return math.nan


def view(exif: Exif, width: int, height: int) -> View:
    """How the camera stood, of a picture of these sides as stored."""
    base, gps = ExifTags.GPS, exif.gps
    focal = _number(exif.photo.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if exif.image.get(ExifTags.Base.Orientation) in (5, 6, 7, 8):  # on its side
        width, height = height, width
    altitude = _number(gps.get(base.GPSAltitude))
    below = _number(_first_byte(gps.get(base.GPSAltitudeRef))) in (1, 3)
    return View(
        direction_deg=_number(gps.get(base.GPSImgDirection)),
        direction_reference=north(as_text(gps.get(base.GPSImgDirectionRef, ""))),
        field_of_view_deg=field_of_view(focal, width, height),
        altitude_m=-altitude if below else altitude,
    )


def _first_byte(value: Any) -> Any:
    return value[0] if isinstance(value, bytes) and value else value


def original_time(exif: Exif) -> datetime | None:
    """When the picture was taken by the camera's clock, naive where no zone is named."""
    tag = ExifTags.Base
    return _camera_time(exif, tag.DateTimeOriginal, tag.SubsecTimeOriginal, tag.OffsetTimeOriginal)


def digitized_time(exif: Exif) -> datetime | None:
    """When the picture became a file by the camera's clock, naive where no zone is named."""
    tag = ExifTags.Base
    return _camera_time(
        exif, tag.DateTimeDigitized, tag.SubsecTimeDigitized, tag.OffsetTimeDigitized
    )


def _camera_time(exif: Exif, clock: int, fraction: int, offset: int) -> datetime | None:
    def find(tag: int) -> str:
        # Some programs write them in the directory of the image.
        return text(exif, tag) or ""

    time = read_time(find(clock))
    if time is None:
        return None
    digits = find(fraction)
    if digits.isdecimal() and digits.isascii() and not time.microsecond:
        time = time.replace(microsecond=int(digits[:6].ljust(6, "0")))
    # OffsetTime is that of the last change; a camera that writes only this one means them all.
    return with_zone(time, read_offset(find(offset)) or read_offset(find(_OFFSET_TIME)))


def gps_time(gps: Tags) -> datetime | None:
    """The receiver's clock, UTC."""
    date, time = gps.get(ExifTags.GPS.GPSDateStamp), gps.get(ExifTags.GPS.GPSTimeStamp)
    day = read_time(as_text(date).replace("-", ":")) if isinstance(date, str | bytes) else None
    if day is None or not isinstance(time, tuple | list) or len(time) != 3:
        return None
    hours, minutes, seconds = (_number(part) for part in time)
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 61):
        return None
    midnight = day.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    with suppress(OverflowError):
        return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return None


def text(exif: Exif, tag: int) -> str | None:
    """The text of a tag, wherever it stands; None if there is none."""
    for tags in (exif.photo, exif.image):
        value = tags.get(tag)
        if isinstance(value, str | bytes) or (tag in _UTF_16 and value is not None):
            found = shortened(as_text(value, tag).replace("\0", " "))
            if found:
                return found
    return None


def as_text(value: Any, tag: int | None = None) -> str:
    """A text as it was meant; Pillow takes every byte for a letter of Latin-1.

    The tags of Windows are UTF-16. Comments begin with eight bytes that name the character set.
    """
    if isinstance(value, tuple | list):
        value = bytes(part for part in value if isinstance(part, int) and 0 <= part < 256)
    if tag in _UTF_16 and isinstance(value, bytes):
        return _utf_16(value)
    if tag in _PREFIXED and isinstance(value, bytes):
        return _prefixed(value)
    if isinstance(value, str):
        try:
            return decoded(value.encode("latin-1"))
        except UnicodeEncodeError:
            return value
    return decoded(bytes(value))


def _prefixed(value: bytes) -> str:
    kind, content = value[:8].rstrip(b"\0 ").upper(), value[8:]
    if kind == b"UNICODE":
        return _utf_16(content) if b"\0" in content else _utf_16_or_8(content)
    if kind == b"JIS":
        for encoding in ("iso2022_jp", "shift_jis", "euc_jp"):
            with suppress(UnicodeDecodeError):
                return content.decode(encoding)
    if kind in (b"", b"ASCII", b"JIS"):
        return decoded(content)
    return decoded(value)  # without its prefix


def _utf_16_or_8(data: bytes) -> str:
    return data.decode("ascii") if data.isascii() else _utf_16(data)


def _utf_16(data: bytes) -> str:
    """UTF-16 in the order that the zeros of plain letters show, little end first by default."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    big = data[::2].count(0) > data[1::2].count(0)
    return data.decode("utf-16-be" if big else "utf-16-le", "replace").rstrip("\0")


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
                found[names.get(tag, f"0x{tag:04x}")] = _json(value, tag)
    return found or None


def _json(value: Any, tag: int | None = None) -> Any:
    if isinstance(value, bool | int) and abs(value) < 2**63:
        return value
    if isinstance(value, float | int | IFDRational):
        number = _number(value)
        return number if math.isfinite(number) else None
    if isinstance(value, bytes) and tag not in _UTF_16 | _PREFIXED:
        content = value.rstrip(b"\0")
        if content.isascii() and content.decode("ascii").isprintable():
            return content.decode("ascii")[:LONGEST_TEXT]
        return value[:_MOST_BYTES].hex() + ("…" if len(value) > _MOST_BYTES else "")
    if isinstance(value, tuple | list) and tag not in _UTF_16:
        return [_json(part) for part in value[:_LONGEST_LIST]]
    is_text = isinstance(value, str | bytes | tuple | list)
    said = as_text(value, tag) if is_text else str(value)
    return cleaned(said.rstrip("\0").replace("\0", " "))[:LONGEST_TEXT]
