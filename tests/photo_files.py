"""Photos for tests, written with exactly the metadata a test is about."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational


def rational(value: float, denominator: int = 1_000_000) -> IFDRational:
    """`value` as an EXIF rational."""
    return IFDRational(round(value * denominator), denominator)


def dms(degrees: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Unsigned decimal degrees as degrees, minutes, seconds, to 1e-6 of a second."""
    micro = round(abs(degrees) * 3600 * 1_000_000)
    minutes, seconds = divmod(micro, 60_000_000)
    whole, minutes = divmod(minutes, 60)
    return IFDRational(whole, 1), IFDRational(minutes, 1), IFDRational(seconds, 1_000_000)


def gps(lat: float, lon: float) -> dict[int, Any]:
    """A GPS directory for a position."""
    return {
        ExifTags.GPS.GPSLatitudeRef: "S" if lat < 0 else "N",
        ExifTags.GPS.GPSLatitude: dms(lat),
        ExifTags.GPS.GPSLongitudeRef: "W" if lon < 0 else "E",
        ExifTags.GPS.GPSLongitude: dms(lon),
    }


def photo(
    gps: Mapping[int, Any] | None = None,
    *,
    shade: int = 0,
    format: str = "JPEG",
    size: tuple[int, int] = (16, 12),
    image_tags: Mapping[Any, Any] | None = None,
    photo_tags: Mapping[Any, Any] | None = None,
    xmp: str | None = None,
) -> bytes:
    """The bytes of a photo; `shade` makes the pixels differ."""
    picture = Image.frombytes("RGB", (4, 3), random.Random(shade).randbytes(36)).resize(size)
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(photo_tags or {})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps or {})
    out = io.BytesIO()
    options: dict[str, Any] = {}
    if image_tags or photo_tags or gps:
        # As bytes: given an Exif, some of Pillow's writers drop its sub-directories.
        exif.update(image_tags or {})
        options["exif"] = exif.tobytes()
    if xmp is not None:
        options["xmp"] = xmp.encode()
    picture.save(out, format, **options)
    return out.getvalue()


def photos_at(
    folder: Path, places: Iterable[tuple[float, float]], *, first: int = 0, **options: Any
) -> list[Path]:
    """Files of different photos at these places: `0.jpg` and so on, or from the `first` on."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, place in enumerate(places, first):
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(photo(gps(*place), shade=number, **options))
    return paths


def xmp(attributes: str = "", elements: str = "") -> str:
    """An XMP packet with one description."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:cc="http://creativecommons.org/ns#" '
        f"{attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    )


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims `side` × `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def iptc(jpeg: bytes, records: Mapping[int, str | bytes | list[str]], digest: bytes = b"") -> bytes:
    """A JPEG with fields of IPTC record 2, and the digest of what they were if given."""
    fields = b""
    for number, values in records.items():
        for value in values if isinstance(values, list) else [values]:
            data = value.encode() if isinstance(value, str) else value
            fields += struct.pack(">BBBH", 0x1C, 2, number, len(data)) + data

    def resource(code: int, content: bytes) -> bytes:
        return (
            b"8BIM"
            + struct.pack(">HHI", code, 0, len(content))
            + content
            + b"\0" * (len(content) % 2)
        )

    content = b"Photoshop 3.0\0" + resource(0x0404, fields)
    if digest:
        content += resource(0x0425, digest)
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]
