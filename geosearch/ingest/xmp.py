"""XMP packets: the position, author and licence of photos that carry them only there.

Forms: XMP Specification Part 2 (ISO 16684-1, GPSCoordinate): `51,30.123N` or `51,30,7N`, as an
attribute or an element; also the decimal forms other writers use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial, reduce
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.camera_view import View, north
from geosearch.ingest.positions import (
    Axis,
    Position,
    believed_accuracy,
    checked,
    coordinate,
)
from geosearch.ingest.records import shortened

EXIF = "{http://ns.adobe.com/exif/1.0/}"
DC = "{http://purl.org/dc/elements/1.1/}"
CC = "{http://creativecommons.org/ns#}"
PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
XMP = "{http://ns.adobe.com/xap/1.0/}"
_GPANO = "{http://ns.google.com/photos/1.0/panorama/}"
_DJI = "{http://www.dji.com/drone-dji/1.0/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DESCRIPTION = f"{RDF}Description"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

_PACKET = re.compile(r"<(?:\w+:)?(x[am]pmeta|RDF)\b.*?</(?:\w+:)?\1\s*>", re.DOTALL)
_NOTHING = re.compile(r"(?:<\?(?:(?!\?>).)*\?>|[\s\0\ufeff])*", re.DOTALL)
XML_FORBIDS = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# With the widths of their letters: after junk a letter may begin at any byte.
_ENCODINGS = (("utf-8", 1), ("utf-16-be", 2), ("utf-16-le", 2), ("utf-32-be", 4), ("utf-32-le", 4))

Properties = dict[str, str]


def read_xmp(packet: bytes | str | None) -> Properties:
    """Property name → text of an XMP packet; empty if there is none.

    Only what is said of this picture: neither of what it is made from, nor of what it shows.

    Raises
    ------
    PhotoRejected
        `bad_xmp`: there is one that cannot be parsed.
    """
    text = packet if isinstance(packet, str) else _decoded(packet or b"")
    if _NOTHING.fullmatch(text):
        return {}
    packets = _PACKET.search(text)
    try:
        if packets is None:
            raise ValueError("no RDF in it")
        xml = XML_FORBIDS.sub("", packets[0]).encode("utf-8", "replace")
        root = ElementTree.fromstring(xml)
        found = dict(_properties(root))
    except Exception as error:  # of hostile XML the parser raises more than it says
        said = f"the XMP cannot be parsed: {error}"
        raise PhotoRejected(Reason.BAD_XMP, said) from error
    return {name: shortened(value) for name, value in found.items()}


def _decoded(packet: bytes) -> str:
    for encoding, width in _ENCODINGS:
        for skipped in range(width):
            text = packet[skipped:].decode(encoding, "replace")
            if _PACKET.search(text):
                return text
    return packet.decode("utf-8", "replace")


def _properties(root: Element) -> Iterator[tuple[str, str]]:
    """The properties of the picture, those said last first."""
    descriptions = [each for rdf in root.iter(f"{RDF}RDF") for each in rdf.findall(_DESCRIPTION)]
    abouts = [each.get(f"{RDF}about", "") for each in descriptions]
    subject = subject_of(abouts)
    for description, about in reversed(list(zip(descriptions, abouts, strict=True))):
        if about == subject:
            yield from ((child.tag, _text(child)) for child in reversed(description))
            yield from description.attrib.items()


def subject_of(abouts: Sequence[str]) -> str:
    """Which of these the picture is, by what the descriptions of a packet are about."""
    return "" if "" in abouts else next(iter(abouts), "")


def _text(element: Element) -> str:
    """The text of a simple property; of a list its items, of alternatives the default."""
    for kind in ("Alt", "Seq", "Bag"):
        items = [each for each in element.findall(f"{RDF}{kind}/{RDF}li") if each.text]
        if items and kind == "Alt":
            default = (each for each in items if each.get(_LANG) == "x-default")
            return next(default, items[0]).text or ""
        if items:
            return "; ".join(each.text or "" for each in items)
    return element.text or element.get(f"{RDF}resource") or ""


def xmp_position(properties: Mapping[str, str]) -> Position | None:
    """The position in XMP; None if there is neither latitude nor longitude.

    Raises
    ------
    PhotoRejected
        It has one that cannot be believed; the reason says why.
    """
    lat, lon = (properties.get(f"{EXIF}GPS{axis}") for axis in ("Latitude", "Longitude"))
    if not lat and not lon:
        return _dji_position(properties)
    return checked(
        _coordinate("latitude", lat, properties.get(f"{EXIF}GPSLatitudeRef")),
        _coordinate("longitude", lon, properties.get(f"{EXIF}GPSLongitudeRef")),
        "xmp",
        believed_accuracy(_number(properties, f"{EXIF}GPSHPositioningError")),
    ).marked(properties.get(f"{EXIF}GPSProcessingMethod"))


def xmp_view(properties: Mapping[str, str]) -> View:
    """How the camera stood: as EXIF in XMP says, a drone of DJI, or a panorama."""
    number = partial(_number, properties)
    altitude = number(f"{EXIF}GPSAltitude")
    if altitude is not None and properties.get(f"{EXIF}GPSAltitudeRef", "").strip() in ("1", "3"):
        altitude = -altitude
    whole, part = (
        number(f"{_GPANO}{name}WidthPixels") for name in ("FullPano", "CroppedAreaImage")
    )
    views = (
        View(
            direction_deg=number(f"{EXIF}GPSImgDirection"),
            direction_reference=north(properties.get(f"{EXIF}GPSImgDirectionRef", "")),
            altitude_m=altitude,
            field_of_view_deg=360 * part / whole if part and whole else None,
        ),
        View(
            direction_deg=number(f"{_DJI}GimbalYawDegree"),
            direction_reference="true",
            pitch_deg=number(f"{_DJI}GimbalPitchDegree"),
            altitude_m=number(f"{_DJI}AbsoluteAltitude"),
        ),
        # Of the aircraft, where its camera does not turn.
        View(direction_deg=number(f"{_DJI}FlightYawDegree"), direction_reference="true"),
        View(
            direction_deg=number(f"{_GPANO}PoseHeadingDegrees"),
            pitch_deg=number(f"{_GPANO}PosePitchDegrees"),
        ),
    )
    return reduce(View.or_else, views)


def _number(properties: Mapping[str, str], name: str) -> float | None:
    over, _, under = properties.get(name, "").partition("/")
    try:
        return float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError):
        return None


def _dji_position(properties: Mapping[str, str]) -> Position | None:
    """The position that drones of DJI write: signed decimals, the longitude often misspelt."""
    lat = properties.get(f"{_DJI}GpsLatitude")
    lon = properties.get(f"{_DJI}GpsLongitude") or properties.get(f"{_DJI}GpsLongtitude")
    if not lat and not lon:
        return None
    return checked(_signed("latitude", lat), _signed("longitude", lon), "xmp")


def _signed(axis: Axis, text: str | None) -> float:
    unsigned = text is not None and text.strip()[:1].isdigit()
    return _coordinate(axis, f"+{text.strip()}" if text and unsigned else text, None)


def _coordinate(axis: Axis, text: str | None, reference: str | None) -> float:
    if not text:
        raise PhotoRejected(Reason.INCOMPLETE, f"half a position: the {axis} is missing")
    return coordinate(axis, text, reference)
