"""A position put into XMP of others: it is read as written, and nothing else is changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from xml.etree.ElementTree import canonicalize, tostring
from xml.sax.saxutils import escape, quoteattr

import pytest
from defusedxml import ElementTree
from hypothesis import event, given, settings
from hypothesis import strategies as st

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.positions import Position
from geosearch.ingest.xmp import RDF, read_xmp, subject_of, xmp_position
from geosearch.write_back.xmp_edit import EMPTY, Entry, Names, put_position

from .photo_files import xmp

ENTRY = Entry("2026-11-28T12:00:00+00:00", "geosearch 1", "position reviewed")
BERN = Names("Bern", "Canton of Bern", "Switzerland", "CH")
HERE = Position(46.948, -7.4474, "corrected", 12.5)
READ = replace(HERE, source="xmp")
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def put(packet: bytes, position: Position = HERE, *, rename: bool = False) -> bytes:
    return put_position(packet, position, BERN, ENTRY, rename=rename)


def read(packet: bytes) -> Position:
    found = xmp_position(read_xmp(packet))
    assert found is not None
    return found


@pytest.mark.parametrize("lat", [90.0, -90.0, 0.0, 1e-8, -1e-8, 59.99999999999, 46.9480123])
@pytest.mark.parametrize("lon", [180.0, -180.0, 1e-8, -0.5, 179.9999999999, 7.4474123])
def test_an_empty_packet_holds_any_position(lat: float, lon: float) -> None:
    found = read(put(EMPTY, Position(lat, lon, "xmp")))
    assert abs(found.lat - lat) < 1e-9
    assert abs(found.lon - lon) < 1e-9


def test_a_new_packet_says_where_how_well_and_since_when() -> None:
    packet = put(EMPTY).decode()
    for part in (
        "<exif:GPSLatitude>46,56.88000000N</exif:GPSLatitude>",
        "<exif:GPSLongitude>7,26.84400000W</exif:GPSLongitude>",
        "<exif:GPSProcessingMethod>MANUAL</exif:GPSProcessingMethod>",
        "<exif:GPSHPositioningError>25/2</exif:GPSHPositioningError>",
        '<Iptc4xmpExt:LocationCreated><rdf:Bag><rdf:li rdf:parseType="Resource">'
        "<Iptc4xmpExt:City>Bern</Iptc4xmpExt:City>"
        "<Iptc4xmpExt:ProvinceState>Canton of Bern</Iptc4xmpExt:ProvinceState>"
        "<Iptc4xmpExt:CountryName>Switzerland</Iptc4xmpExt:CountryName>"
        "<Iptc4xmpExt:CountryCode>CH</Iptc4xmpExt:CountryCode></rdf:li></rdf:Bag>",
        'stEvt:softwareAgent="geosearch 1" stEvt:parameters="position reviewed"',
    ):
        assert part in packet
    assert read(packet.encode()).accuracy_m == 12.5


def test_what_was_said_of_another_position_goes_and_a_history_grows() -> None:
    old = xmp(
        'exif:GPSLatitude="1,2.0S" exif:GPSLatitudeRef="S" exif:GPSHPositioningError="3/1" ',
        "<exif:GPSLongitude>1,2.0W</exif:GPSLongitude><exif:GPSLongitudeRef>W</exif:GPSLongitudeRef>"
        "<exif:GPSLongitude>8,2.0W</exif:GPSLongitude>",
    ).encode()
    once = put(old, Position(46.5, 7.5, "xmp"))
    assert read(once) == Position(46.5, 7.5, "xmp", None)
    twice = put(once, HERE)
    assert read(twice) == READ
    assert twice.count(b"<rdf:li ") == 3  # one place, two entries
    assert twice.count(b"GPSLatitude=") == 1


def test_names_that_are_there_stay_unless_they_are_of_another_place() -> None:
    first = put_position(EMPTY, HERE, Names("Genève"), ENTRY, rename=False)
    assert b">Gen&#232;ve<" in first
    assert b">Gen&#232;ve<" in put(first)
    again = put(first, rename=True)
    assert (again.count(b":City>"), again.count(b">Bern<")) == (2, 1)
    # Those that were written with the position that goes are others' no more, laid out as they may.
    spaced = first.replace(b"<Ipt", b"\n  <Ipt").replace(b"</rdf", b"\n </rdf")
    for ours, left in ((Names("Genève"), 0), (BERN, 2)):
        gone = put_position(spaced, None, Names(), ENTRY, rename=False, replaced=ours)
        assert (gone.count(b":City>"), xmp_position(read_xmp(gone))) == (left, None)
        assert b"GPS" not in gone


def test_other_prefixes_quotes_and_encodings_are_taken_as_they_are() -> None:
    text = (
        "<?xml version='1.0' encoding='UTF-16'?>"
        "<m:xmpmeta xmlns:m='adobe:ns:meta/'><r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        "<r:Description xmlns:e = 'http://ns.adobe.com/exif/1.0/'\n e:GPSLatitude\t=\n'1,2.0N'"
        " exif:x='é' xmlns:exif='urn:other' />"
        "</r:RDF></m:xmpmeta>"
    )
    done = put(text.encode("utf-16")).decode("utf-16")
    assert read_xmp(done)["{urn:other}x"] == "é"
    assert xmp_position(read_xmp(done)) == READ
    assert "e:GPSLatitude\t=\n" in done
    assert "<e:GPSLongitude>" in done


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>' + xmp(
    elements="<dc:title>&b;</dc:title>"
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + xmp(elements="&a;")
SEVERAL = f"<all>{xmp()[xmp().index('<x:') :].partition('<?')[0] * 2}</all>"


@pytest.mark.parametrize(
    "packet",
    [
        BOMB,
        OUTSIDE,
        SEVERAL,
        "<x:xmpmeta",
        "nothing of RDF",
        "<a/>",
        xmp(elements="<exif:GPSLatitude>1"),
        xmp().replace("<rdf:Description", "<rdf:Other").replace("</rdf:Description", "</rdf:Other"),
        xmp('xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmpMM:History="once"'),
        xmp("", f"<rdf:li>{'<a>' * 200_000}"),
        # Only who resolves its entities sees that this is a latitude too.
        xmp('exif:GPSLatitude="1,2.0N"').replace("exif/1.0/", "exif/1.0&#47;"),
        xmp().encode("utf-8") + b"\xff",
        xmp().encode() + b"\0" * 8,
    ],
)
def test_what_cannot_be_edited_is_refused(packet: str | bytes) -> None:
    data = packet.encode() if isinstance(packet, str) else packet
    with pytest.raises(PhotoRejected) as refused:
        put(data)
    assert refused.value.reason == Reason.BAD_XMP


# ---- whatever others wrote ----------------------------------------------------------------------

NAMESPACES = {
    "exif": "http://ns.adobe.com/exif/1.0/",
    "e": "http://ns.adobe.com/exif/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "Iptc4xmpExt": IPTC.strip("{}"),
    "my": "urn:mine",
}
NAMES = st.sampled_from(
    [
        *(f"{prefix}:GPS{name}" for prefix in ("exif", "e") for name in ("Latitude", "Longitude")),
        *("exif:GPSLatitudeRef", "exif:GPSProcessingMethod", "exif:GPSHPositioningError"),
        *("exif:GPSAltitude", "dc:title", "my:note", "my:other", "my:GPSLatitude"),
        *("xmpMM:History", "Iptc4xmpExt:LocationCreated", "xmpMM:DocumentID"),
    ]
)
TEXTS = st.one_of(
    st.sampled_from(["1,2.5N", "181,0E", "geosearch estimate", "3/1", "", "a/b>", "]]", "é\n"]),
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["C"]), max_size=8
    ),
)
SPACES = st.sampled_from([" ", "\n  ", "\t"])


@st.composite
def element(draw: st.DrawFn) -> str:
    name, text = draw(NAMES), escape(draw(TEXTS))
    kind = draw(st.sampled_from(["text", "empty", "list", "struct", "comment", "cdata"]))
    if kind == "empty":
        return f"<{name}/>"
    if kind == "list":
        seq = draw(st.sampled_from(["Seq", "Bag", "Alt"]))
        items = "".join(
            f"<rdf:li>{escape(each)}</rdf:li>" for each in draw(st.lists(TEXTS, max_size=2))
        )
        return f"<{name}><rdf:{seq}>{items}</rdf:{seq}></{name}>"
    inside = {
        "text": text,
        "struct": f'<rdf:Description my:GPSLatitude="x">{text}<my:a/></rdf:Description>',
        "comment": f"<!-- <exif:GPSLatitude>> -->{text}",
        "cdata": "<![CDATA[<exif:GPSLatitude>]]>",
    }[kind]
    return f"<{name}>{inside}</{name}>"


@st.composite
def packets(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A packet, and what of it is to be found in whatever is made of it, letter by letter."""
    descriptions, kept = "", ["<!-- <exif:GPSLatitude> -->"]
    for _ in range(draw(st.integers(1, 3))):
        about = draw(st.sampled_from(['rdf:about=""', "", "rdf:about='uuid:1'"]))
        said = draw(st.dictionaries(NAMES, TEXTS, max_size=4))
        attributes = [f"{draw(SPACES)}{name}={quoteattr(text)}" for name, text in said.items()]
        elements = draw(st.lists(element(), max_size=4))
        kept += [
            part for part in (*attributes, *elements) if part.strip(" \n\t<").startswith("my:")
        ]
        inner = draw(SPACES).join(elements)
        descriptions += f"<rdf:Description {about}{''.join(attributes)}" + (
            f"{draw(SPACES)}>{inner}{draw(SPACES)}</rdf:Description>" if inner else "/>"
        )
    declared = " ".join(f'xmlns:{name}="{uri}"' for name, uri in NAMESPACES.items())
    before = draw(
        st.sampled_from(["", '<?xml version="1.0"?>\n', "<!-- <exif:GPSLatitude> -->", "\ufeff"])
    )
    packet = (
        f"{before}<x:xmpmeta xmlns:x='adobe:ns:meta/' {declared}>"
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"{descriptions}</rdf:RDF></x:xmpmeta>{draw(SPACES)}"
    )
    return packet, [part for part in kept if part in packet]


OURS = {
    f"{{{NAMESPACES[name.partition(':')[0]]}}}{name.partition(':')[2]}"
    for name in (
        *(f"exif:GPS{each}" for each in ("Latitude", "Longitude", "LatitudeRef", "LongitudeRef")),
        *("exif:GPSProcessingMethod", "exif:GPSHPositioningError"),
        *("xmpMM:History", "Iptc4xmpExt:LocationCreated"),
    )
}


def without_ours(text: str) -> str:
    """All that the XML of a packet says but for what is ours to change."""
    root = ElementTree.fromstring(text.strip("\ufeff"))
    for rdf in root.iter(f"{RDF}RDF"):
        found = rdf.findall(f"{RDF}Description")
        subject = subject_of([each.get(f"{RDF}about", "") for each in found])
        for each in found:
            if each.get(f"{RDF}about", "") == subject:
                for name in OURS & set(each.keys()):
                    del each.attrib[name]
                for child in [child for child in each if child.tag in OURS]:
                    each.remove(child)
    return canonicalize(tostring(root, "unicode"), strip_text=True)


@settings(max_examples=200)
@given(
    packets(),
    st.floats(-90, 90),
    st.floats(-180, -1e-3) | st.floats(1e-3, 180),  # (0, 0) is no position
    st.sampled_from(["utf-8", "utf-16"]),
    st.booleans(),
)
def test_the_position_is_read_as_written_and_the_rest_is_as_it_was(
    given: tuple[str, list[str]], lat: float, lon: float, encoding: str, rename: bool
) -> None:
    packet, kept = given
    position = Position(lat, lon, "xmp", 7.25)
    try:
        done = put(packet.encode(encoding), position, rename=rename)
    except PhotoRejected as refused:
        event(f"refused: {refused.message[:60]}")
        return
    event("edited")
    assert read(done).is_at(position)
    text = done.decode(encoding)
    assert without_ours(text) == without_ours(packet)
    for part, count in Counter(kept).items():
        assert text.count(part) >= count
