"""A position put into a packet of XMP, of which all else stays as it is, byte for byte.

Forms: XMP Specification Part 2 (GPSCoordinate, ResourceEvent); IPTC Photo Metadata Standard
(LocationCreated, a bag of structures).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from xml.sax.saxutils import escape, quoteattr

from defusedxml import ElementTree

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.positions import Position
from geosearch.ingest.xmp import EXIF, RDF, XML_FORBIDS, read_xmp, subject_of, xmp_position

_NAMESPACES = {
    "exif": EXIF.strip("{}"),
    "rdf": RDF.strip("{}"),
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
#: Degrees are written in minutes with so many decimals: 2e-10 degrees.
_DECIMALS = 8
_HISTORY, _LOCATION = "xmpMM:History", "Iptc4xmpExt:LocationCreated"

#: What a sidecar begins as.
EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    f' <rdf:RDF xmlns:rdf="{_NAMESPACES["rdf"]}">\n'
    '  <rdf:Description rdf:about=""'
    + "".join(f'\n    xmlns:{name}="{uri}"' for name, uri in _NAMESPACES.items() if name != "rdf")
    + "/>\n </rdf:RDF>\n</x:xmpmeta>\n"
    '<?xpacket end="w"?>\n'
).encode()

# Of XML that has been parsed, without a DTD: so quotes are closed, and there is nothing else.
_TOKEN = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    r"|<(?P<close>/?)(?P<name>[^\s/>]+)(?P<attributes>(?:\s+[^\s=]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*)"
    r"\s*(?P<empty>/?)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"\s+([^\s=]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before that of UTF-16, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class Names:
    """Where a position is, by name; empty where there is none."""

    city: str = ""
    province: str = ""
    country: str = ""
    country_code: str = ""


@dataclass(frozen=True)
class Entry:
    """What the history of a photo says of a change: when (ISO 8601), by which program, why."""

    when: str
    program: str
    why: str


def put_position(
    packet: bytes,
    position: Position | None,
    names: Names,
    entry: Entry,
    *,
    rename: bool,
    replaced: Names | None = None,
) -> bytes:
    """The packet with this position, how it was found (`GPSProcessingMethod`), and its names.

    Without a position where that is None. Names that are there stay, unless `rename`, or if they
    are those of the position `replaced`. What was changed is an entry of its history.

    Raises
    ------
    PhotoRejected
        `bad_xmp`: it is no XMP, or of a form that cannot be changed without touching the rest.
    """
    before = read_xmp(packet)
    text, encoding = _decoded(packet)
    edited = _Edit(text)
    for axis, letters in (("Latitude", "NS"), ("Longitude", "EW")):
        degrees = None if position is None else position.lat if axis == "Latitude" else position.lon
        edited.set(f"exif:GPS{axis}", None if degrees is None else _degrees(degrees, letters))
        # No property of XMP, but some write them; what they say must not contradict.
        letter = None if degrees is None else letters[degrees < 0]
        edited.set(f"exif:GPS{axis}Ref", letter, only_there=True)
    accuracy_m = None if position is None else position.accuracy_m
    edited.set("exif:GPSProcessingMethod", None if position is None else position.method)
    edited.set("exif:GPSHPositioningError", _rational(accuracy_m))
    edited.set_location(names, rename=rename, replaced=replaced)
    edited.add_entry(entry)
    after = edited.text().encode(encoding)
    _check(before, read_xmp(after), position)
    return after


def _degrees(degrees: float, letters: str) -> str:
    """`51,30.12300000N`."""
    whole, minutes = divmod(round(abs(degrees) * 60 * 10**_DECIMALS), 60 * 10**_DECIMALS)
    letter = letters[degrees < 0]
    return f"{whole},{minutes // 10**_DECIMALS}.{minutes % 10**_DECIMALS:0{_DECIMALS}}{letter}"


def _rational(metres: float | None) -> str | None:
    if metres is None:
        return None
    found = Fraction(str(metres)).limit_denominator(10_000)
    return f"{found.numerator}/{found.denominator}" if found > 0 else None


def _decoded(packet: bytes) -> tuple[str, str]:
    encoding = next((name for bom, name in _BOMS if packet.startswith(bom)), "utf-8")
    try:
        text = packet.decode(encoding)
        ElementTree.fromstring(text, forbid_dtd=True)
    except Exception as error:  # of hostile XML the parser raises more than it says
        raise _refused(f"it is no XML in UTF-8 or UTF-16 without a DTD: {error}") from error
    return text, encoding


def _check(before: Mapping[str, str], after: Mapping[str, str], position: Position | None) -> None:
    """See that what can be read of it is the position, and of all else what it was."""
    ours = {
        _expanded(name)
        for name in (
            *(f"exif:GPS{each}" for each in ("Latitude", "Longitude", "ProcessingMethod")),
            *(f"exif:GPS{each}" for each in ("LatitudeRef", "LongitudeRef", "HPositioningError")),
            *(_HISTORY, _LOCATION),
        )
    }
    same = {name: value for name, value in before.items() if name not in ours}
    if same != {name: value for name, value in after.items() if name not in ours}:
        raise _refused("other properties would not be read as before")
    read = xmp_position(after)
    if position is not None and (read is None or not read.is_as(position)):
        raise _refused("the position would be read as another")


def _refused(why: str) -> PhotoRejected:
    return PhotoRejected(Reason.BAD_XMP, f"the XMP cannot be edited: {why}")


def _expanded(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"


@dataclass
class _Element:
    """An element of the text: where it begins, where its content begins and ends, where it ends.

    `attributes` are their names and the places of name and value, and of the value in its quotes.
    """

    written: str
    name: str
    begin: int
    inner: int
    prefixes: Mapping[str, str]
    attributes: Sequence[tuple[str, tuple[int, int], tuple[int, int]]]
    outer: int = 0
    end: int = 0
    children: list[_Element] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether it is written as one tag, `<a/>`."""
        return self.inner == self.outer == self.end


def _elements(text: str) -> Iterator[_Element]:
    """All elements of well-formed XML, each when it ends."""
    open_ones: list[_Element] = []
    for token in _TOKEN.finditer(text):
        if token["name"] is None:
            continue
        if token["close"]:
            ended = open_ones.pop()
            ended.outer, ended.end = token.span()
            yield ended
            continue
        found = list(_ATTRIBUTE.finditer(text, token.start("attributes"), token.end("attributes")))
        prefixes = dict(open_ones[-1].prefixes if open_ones else {"xml": "xml"})
        for one in found:
            prefix, _, local = one[1].partition(":")
            if prefix == "xmlns":
                prefixes[local] = one[2][1:-1]
        element = _Element(
            token["name"],
            _resolved(token["name"], prefixes, prefixes.get("", "")),
            *token.span(),
            prefixes,
            [(_resolved(o[1], prefixes), o.span(), (o.start(2), o.end(2))) for o in found],
        )
        if open_ones:
            open_ones[-1].children.append(element)
        if token["empty"]:
            element.outer = element.end = element.inner
            yield element
        else:
            open_ones.append(element)


def _resolved(name: str, prefixes: Mapping[str, str], default: str = "") -> str:
    prefix, colon, local = name.rpartition(":")
    uri = prefixes.get(prefix, prefix) if colon else default
    return f"{{{uri}}}{local}" if uri else local


class _Edit:
    """Changes of a text, put together at the end; places are those of the text as it was."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._changes: list[tuple[int, int, str]] = []
        self._new: list[str] = []
        packets = [each for each in _elements(text) if each.name == f"{RDF}RDF"]
        if len(packets) != 1:
            raise _refused(f"{len(packets)} RDF in it")
        found = [each for each in packets[0].children if each.name == f"{RDF}Description"]
        abouts = [self._attribute(each, f"{RDF}about") for each in found]
        subject = subject_of(abouts)
        self._descriptions = [
            each for each, about in zip(found, abouts, strict=True) if about == subject
        ]
        if not self._descriptions:
            raise _refused("it describes nothing")

    def set(self, name: str, value: str | None, *, only_there: bool = False) -> None:
        """Give a simple property this value wherever it is said, or one more; None takes it out."""
        there = False
        for element, attribute in self._said(name):
            there = True
            if attribute is not None:
                (begin, end), value_at = attribute
                if value is None:
                    self._changes.append((begin, end, ""))
                else:
                    self._changes.append((*value_at, _quoted(value)))
            else:
                new = "" if value is None else self._element(name, value)
                self._changes.append((element.begin, element.end, new))
        if not there and not only_there and value is not None:
            self._new.append(self._element(name, value))

    def set_location(self, names: Names, *, rename: bool, replaced: Names | None) -> None:
        """Say by names where the photo was taken; others than those `replaced` stay."""
        there = list(self._said(_LOCATION))
        texts = [self._text[each.begin : each.end] for each, _ in there]
        ours = replaced and re.sub(r"\s+(?=<)", "", self._location(replaced))
        if there and not rename and [re.sub(r"\s+(?=<)", "", each) for each in texts] != [ours]:
            return
        new = self._location(names)
        for element, attribute in there:
            if attribute is not None:
                raise _refused(f"its {_LOCATION} is no list")
            self._changes.append((element.begin, element.end, new))
            new = ""
        if new:
            self._new.append(new)

    def _location(self, names: Names) -> str:
        said = {
            "City": names.city,
            "ProvinceState": names.province,
            "CountryName": names.country,
            "CountryCode": names.country_code,
        }
        parts = "".join(
            self._element(f"Iptc4xmpExt:{name}", value) for name, value in said.items() if value
        )
        rdf = self._prefix("rdf")
        item = f'<{rdf}:li {rdf}:parseType="Resource">{parts}</{rdf}:li>'
        return self._around(_LOCATION, f"<{rdf}:Bag>{item}</{rdf}:Bag>") if parts else ""

    def add_entry(self, entry: Entry) -> None:
        """Add an entry to the history."""
        rdf, own = self._prefix("rdf"), self._declared("stEvt")
        event = self._prefix("stEvt")
        said = {"action": "edited", "changed": "/metadata", "when": entry.when}
        said |= {"softwareAgent": entry.program, "parameters": entry.why}
        attributes = "".join(f" {event}:{name}={_quoted(text)}" for name, text in said.items())
        item = f"<{rdf}:li{own}{attributes}/>"
        there = next(self._said(_HISTORY), None)
        if there is None:
            self._new.append(self._around(_HISTORY, f"<{rdf}:Seq>{item}</{rdf}:Seq>"))
            return
        history, attribute = there
        lists = [each for each in history.children if each.name == f"{RDF}Seq"]
        if attribute is not None or len(lists) != 1 or len(history.children) != 1:
            raise _refused(f"its {_HISTORY} is no list")
        self._append(lists[0], item)

    def text(self) -> str:
        """The text with all changes."""
        if self._new:
            self._append(self._descriptions[0], "".join(f"\n   {each}" for each in self._new))
        parts, at = [], 0
        for begin, end, new in sorted(self._changes):
            if begin < at:
                raise _refused("one property inside another")
            parts += [self._text[at:begin], new]
            at = end
        return "".join([*parts, self._text[at:]])

    def _append(self, element: _Element, new: str) -> None:
        """Put `new` behind what is in an element."""
        if element.empty:
            tag = self._text[element.begin : element.end]
            slash = element.begin + tag.rindex("/")
            self._changes.append((slash, element.end, f">{new}</{element.written}>"))
        else:
            last = element.children[-1].end if element.children else element.inner
            self._changes.append((last, last, new))

    def _said(
        self, name: str
    ) -> Iterator[tuple[_Element, tuple[tuple[int, int], tuple[int, int]] | None]]:
        """Where a property is said: an element of its own, or an attribute, by its places."""
        wanted = _expanded(name)
        for each in self._descriptions:
            for attribute, whole, value in each.attributes:
                if attribute == wanted:
                    yield each, (whole, value)
            yield from ((child, None) for child in each.children if child.name == wanted)

    def _attribute(self, element: _Element, name: str) -> str:
        for found, _, (begin, end) in element.attributes:
            if found == name:
                return self._text[begin + 1 : end - 1]
        return ""

    def _prefix(self, standard: str) -> str:
        """What a namespace goes by in all descriptions of the photo, else by the standard."""
        uri = _NAMESPACES[standard]
        bound = [
            {prefix for prefix, known in each.prefixes.items() if prefix and known == uri}
            for each in self._descriptions
        ]
        return min(set.intersection(*bound), default=standard)

    def _declared(self, standard: str) -> str:
        """The declaration of a namespace, where a description of the photo lacks it."""
        uri, prefix = _NAMESPACES[standard], self._prefix(standard)
        if all(each.prefixes.get(prefix) == uri for each in self._descriptions):
            return ""
        return f' xmlns:{prefix}="{uri}"'

    def _element(self, name: str, value: str) -> str:
        return self._around(name, _ascii(escape(value)))

    def _around(self, name: str, content: str) -> str:
        prefix, _, local = name.partition(":")
        own, tag = self._declared(prefix), f"{self._prefix(prefix)}:{local}"
        return f"<{tag}{own}>{content}</{tag}>"


def _ascii(xml: str) -> str:
    # Whatever a reader takes the encoding for, these are the letters.
    return XML_FORBIDS.sub("", xml).encode("ascii", "xmlcharrefreplace").decode()


def _quoted(value: str) -> str:
    return _ascii(quoteattr(value))
