"""Positions in FLIR thermal photos, which keep them outside EXIF.

A FLIR JPEG spreads one FFF file over APP1 segments (`FLIR\\0`, 1 byte, number, last number). FFF:
64 bytes of header, then a directory of 32-byte entries; record type 0x2b is the GPS record, its
hemisphere letters at 8 and 10, its degrees (doubles) at 16 and 24.
"""

from __future__ import annotations

import struct

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.positions import Position, checked, sign

_SEGMENT = b"FLIR\0"
_GPS_RECORD = 0x2B
_MOST_RECORDS = 1000


def flir_position(applist: list[tuple[str, bytes]]) -> Position | None:
    """The position in the APP segments of a JPEG; None without a valid FLIR GPS record.

    Raises
    ------
    PhotoRejected
        There is one that cannot be believed; the reason says why.
    """
    segments = {
        content[6]: content[8:]
        for name, content in applist
        if name == "APP1" and content.startswith(_SEGMENT) and len(content) > 8
    }
    file = b"".join(segments[number] for number in sorted(segments))
    if not file.startswith(b"FFF\0"):
        return None
    try:
        record = _gps_record(file)
        if record is None:
            return None
        valid, lat_letter, lon_letter, lat, lon = record
    except struct.error:  # a directory that points outside the file
        return None
    if not valid:
        return None
    if lat < 0 or lon < 0:
        raise PhotoRejected(Reason.OUT_OF_RANGE, f"negative FLIR degrees: {lat} {lon}")
    return checked(sign("latitude", lat_letter) * lat, sign("longitude", lon_letter) * lon, "exif")


def _gps_record(file: bytes) -> tuple[int, bytes, bytes, float, float] | None:
    # The header's version is 100 to 199 in the byte order of the directory.
    order = ">" if 100 <= struct.unpack_from(">I", file, 0x14)[0] < 200 else "<"
    start, count = struct.unpack_from(f"{order}II", file, 0x18)
    for entry in range(min(count, _MOST_RECORDS)):
        kind, offset = struct.unpack_from(f"{order}H10xI", file, start + 32 * entry)
        if kind == _GPS_RECORD:
            little = file[offset : offset + 4] == b"\1\0\0\0"
            return struct.unpack_from(f"{'<' if little else '>'}I4x2s2s4xdd", file, offset)
    return None
