"""XMP packets: the position, author and licence of photos that carry them only there.

Forms: XMP Specification Part 2 (ISO 16684-1, GPSCoordinate): `51,30.123N` or `51,30,7N`, as an
attribute or an element; also the decimal forms other writers use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.positions import (
    Position,
    checked,
    from_parts,
    measured_or_guessed,
    numbers,
    sign,
)
from geosearch.ingest.records import shortened

_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_CC = "{http://creativecommons.org/ns#}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"

_HEMISPHERE = re.compile(r"\s*([NSEW])\s*$", re.IGNORECASE)

Properties = dict[str, str]


def read_xmp(packet: bytes | str | None) -> Properties:
    """Property name → text of an XMP packet; empty if there is none or it is not XML."""
    if not packet:
        return {}
    try:
        data = packet if isinstance(packet, bytes) else packet.encode("utf-8", "replace")
        root = ElementTree.fromstring(data.strip(b"\0 \r\n"))
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError):
        return {}
    found: Properties = {}
    for name, value in _properties(root):
        found.setdefault(name, shortened(value))
    return found


def _properties(root: Element) -> Iterator[tuple[str, str]]:
    for description in root.iter(f"{_RDF}Description"):
        yield from description.attrib.items()
        for child in description:
            items = (item.text for item in child.iter(f"{_RDF}li") if item.text)
            text = next(items, None) or child.text or child.get(f"{_RDF}resource")
            yield child.tag, text or ""


def xmp_position(properties: Properties) -> Position | None:
    """The position in XMP; None if there is neither latitude nor longitude.

    Raises
    ------
    PhotoRejected
        It has one that cannot be believed; the reason says why.
    """
    lat, lon = (properties.get(f"{_EXIF}GPS{axis}") for axis in ("Latitude", "Longitude"))
    if not lat and not lon:
        return None
    return checked(
        _coordinate("latitude", lat, properties.get(f"{_EXIF}GPSLatitudeRef")),
        _coordinate("longitude", lon, properties.get(f"{_EXIF}GPSLongitudeRef")),
        measured_or_guessed("xmp", properties.get(f"{_EXIF}GPSProcessingMethod")),
    )


def _coordinate(
    axis: Literal["latitude", "longitude"], text: str | None, reference: str | None
) -> float:
    if not text:
        raise PhotoRejected(Reason.INCOMPLETE, f"half a position: the {axis} is missing")
    letter = _HEMISPHERE.search(text)
    if letter:
        text, reference = text[: letter.start()], letter.group(1)
    parts = numbers(axis, text)
    if reference is None and len(parts) == 1 and text.lstrip()[:1] in "+-":
        # A signed decimal needs no letter; an unsigned one may have lost it.
        return parts[0]
    return sign(axis, reference) * from_parts(axis, parts)


def author(properties: Properties) -> str | None:
    """`dc:creator`, if any."""
    return properties.get(f"{_DC}creator") or None


def licence(properties: Properties) -> str | None:
    """`cc:license`, else `dc:rights`, if any."""
    return properties.get(f"{_CC}license") or properties.get(f"{_DC}rights") or None
