"""Raw files of cameras: the largest picture that the camera put inside, a JPEG, and their EXIF.

It is found by its marks and not by the tables of each maker, so one way does for all. DNG, CR2,
NEF, ARW and their kin are TIFF, RW2 and ORF but for their first bytes; RAF holds JPEGs with EXIF.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

from PIL.TiffImagePlugin import ImageFileDirectory_v2

_TIFF = (b"II*\0", b"MM\0*")
_OTHERS = {b"IIU\0": b"II*\0", b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*"}
_RAF = b"FUJIFILMCCD-RAW"
_PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 262, 330, 50706
_OF_SENSORS = (32803, 34892)
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_SHOWN = (0xC0, 0xC1, 0xC2)  # not 0xC3: the pixels of the sensor, without loss
_MOST_STARTS, _MOST_SEGMENTS = 1000, 100


def is_raw(data: bytes) -> bool:
    """Whether the bytes are those of a raw file, which a reader of TIFF takes for its thumbnail."""
    if data[:4] in _OTHERS or data.startswith(_RAF):
        return True
    if data[:4] not in _TIFF:
        return False
    if data[8:10] == b"CR":
        return True
    try:
        first = _directory(data, None)
        parts = first.get(_SUB_IFDS, ())
        parts = parts if isinstance(parts, tuple) else (parts,)
        found = [first, *(_directory(data, offset) for offset in parts[:8])]
    except Exception:  # of hostile files Pillow's plugins raise all there is
        return False
    return _DNG_VERSION in first or any(each.get(_PHOTOMETRIC) in _OF_SENSORS for each in found)


def raw_preview(data: bytes) -> tuple[bytes, bytes | None] | None:
    """The JPEG in a raw file with the most pixels, and the EXIF of the file itself; None without.

    The EXIF is as TIFF; it is None where that of the JPEG is the one there is.
    """
    best = max(_jpegs(data), default=None)
    if best is None:
        return None
    _, start, end = best
    if data.startswith(_RAF):
        return data[start:end], None
    return data[start:end], _OTHERS.get(data[:4], data[:4]) + data[4:]


def _directory(data: bytes, offset: int | None) -> Any:
    tags = ImageFileDirectory_v2(data[:8])
    stream = io.BytesIO(data)
    stream.seek(tags.next if offset is None else offset)
    tags.load(stream)
    return tags


def _jpegs(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Pixels, start and end of each picture of JPEG in the bytes."""
    start = -1
    for _ in range(_MOST_STARTS):
        start = data.find(_START, start + 1)
        if start < 0:
            return
        found = _frame(data, start + 2)
        if found is not None:
            pixels, scan = found
            end = data.find(_END, scan)
            if end < 0:
                return
            yield pixels, start, end + 2


def _frame(data: bytes, place: int) -> tuple[int, int] | None:
    """The pixels of a JPEG and where its scan begins, from its first segment on."""
    pixels = 0
    for _ in range(_MOST_SEGMENTS):
        if place + 9 > len(data) or data[place] != 0xFF:
            return None
        kind, length = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        if kind in _SHOWN:
            height, width = struct.unpack_from(">HH", data, place + 5)
            pixels = height * width
        if kind == 0xDA:
            return (pixels, place) if pixels else None
        place += 2 + length
    return None
