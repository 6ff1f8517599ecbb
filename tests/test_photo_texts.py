"""Author, licence, title and places: in the letters they were written in, by their standards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags

from geosearch.ingest.examine import examine
from geosearch.ingest.exif import Exif, as_json, text
from geosearch.ingest.records import Candidate, Photo

from .photo_files import iptc, photo, xmp

TAG = ExifTags.Base


def read(data: bytes, folder: Path) -> Photo:
    (folder / "a.jpg").write_bytes(data)
    found = examine(Candidate(str(folder / "a.jpg")))
    assert isinstance(found, Photo)
    return found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Jürgen © 2021".encode(), "Jürgen © 2021"),
        ("日本語".encode(), "日本語"),
        ("Jürgen".encode("latin-1"), "Jürgen"),
        ("“Jürgen” 5 €".encode("cp1252"), "“Jürgen” 5 €"),
        (b"Ada\0editor", "Ada editor"),
    ],
)
def test_letters_of_exif_are_utf_8_else_those_of_western_computers(
    written: bytes, meant: str, tmp_path: Path
) -> None:
    found = read(photo(image_tags={TAG.Artist: written, TAG.Copyright: written}), tmp_path)
    assert (found.author, found.licence) == (meant, meant)
    assert found.exif is not None
    assert found.exif["Artist"] == meant


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1))
def test_any_text_in_utf_8_comes_back(said: str) -> None:
    # Pillow reads each byte as a letter.
    exif = Exif(image={TAG.Artist: said.encode().decode("latin-1")})
    assert text(exif, TAG.Artist) == said[:1000].encode()[:2000].decode(errors="ignore")


@pytest.mark.parametrize("end", ["\0", ""])
@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_the_tags_of_windows_are_utf_16(order: str, end: str, tmp_path: Path) -> None:
    tags = {
        TAG.XPAuthor: ("Jürgen" + end).encode(order),
        TAG.XPTitle: ("Zürich" + end).encode(order),
    }
    found = read(photo(image_tags=tags), tmp_path)
    assert (found.author, found.title) == ("Jürgen", "Zürich")
    assert found.exif is not None
    assert found.exif["XPTitle"] == "Zürich"


@pytest.mark.parametrize(
    "comment",
    [
        b"ASCII\0\0\0" + b"caf" + "é".encode(),
        b"UNICODE\0" + "café".encode("utf-16-le"),
        b"UNICODE\0" + "café".encode("utf-16-be"),
        b"UNICODE\0" + "café".encode("utf-16"),
        b"\0" * 8 + "café".encode(),
        b"\0" * 8 + "café".encode("latin-1"),
    ],
)
def test_a_comment_is_read_by_its_prefix(comment: bytes) -> None:
    assert as_json(Exif(photo={TAG.UserComment: comment})) == {"UserComment": "café"}


def test_a_comment_of_the_japanese_standard_is_read() -> None:
    comment = b"JIS\0\0\0\0\0" + "日本".encode("iso2022_jp")
    assert as_json(Exif(photo={TAG.UserComment: comment})) == {"UserComment": "日本"}


LANGUAGES = (
    '<dc:{}><rdf:Alt><rdf:li xml:lang="de">Brücke</rdf:li>'
    '<rdf:li xml:lang="x-default">Bridge</rdf:li></rdf:Alt></dc:{}>'
)


@pytest.mark.parametrize(
    ("parts", "records", "expected"),
    [
        ({}, {80: "Jürgen", 116: "© Jürgen", 120: "Brücke"}, ("Jürgen", "© Jürgen", "Brücke")),
        ({}, {80: ["Ada", "Grace"]}, ("Ada; Grace", None, None)),
        ({}, {80: "Jürgen".encode("cp1252")}, ("Jürgen", None, None)),
        ({}, {5: "Name", 120: "Caption"}, (None, None, "Name")),
        ({"xmp": xmp(elements=LANGUAGES.format("title", "title"))}, {}, (None, None, "Bridge")),
        ({"xmp": xmp(elements=LANGUAGES.format("rights", "rights"))}, {}, (None, "Bridge", None)),
        # EXIF before XMP before IPTC
        (
            {
                "image_tags": {TAG.Artist: "E", TAG.Copyright: "E", TAG.ImageDescription: "E"},
                "xmp": xmp('dc:creator="X" dc:rights="X" dc:description="X"'),
            },
            {80: "I", 116: "I", 120: "I"},
            ("E", "E", "E"),
        ),
        (
            {"xmp": xmp('dc:creator="X" dc:rights="X" dc:description="X"')},
            {80: "I", 116: "I", 120: "I"},
            ("X", "X", "X"),
        ),
        ({"image_tags": {TAG.Artist: "   "}}, {80: "I"}, ("I", None, None)),
        ({"image_tags": {TAG.ImageDescription: "OLYMPUS DIGITAL CAMERA"}}, {}, (None, None, None)),
        ({"image_tags": {TAG.ImageDescription: '{"MAPLatitude": 1}'}}, {}, (None, None, None)),
        # a licence before a notice of copyright
        (
            {"image_tags": {TAG.Copyright: "E"}, "xmp": xmp('cc:license="CC0"')},
            {},
            (None, "CC0", None),
        ),
    ],
)
def test_author_licence_and_title_by_the_order_of_the_standards(
    parts: dict[str, Any],
    records: dict[int, Any],
    expected: tuple[str | None, ...],
    tmp_path: Path,
) -> None:
    found = read(iptc(photo(**parts), records), tmp_path)
    assert (found.author, found.licence, found.title) == expected


@pytest.mark.parametrize(("changed", "author"), [(False, "X"), (True, "I")])
def test_iptc_that_was_changed_after_the_xmp_goes_before_it(
    changed: bool, author: str, tmp_path: Path
) -> None:
    field = b"\x1c\x02\x50\0\1I"
    digest = hashlib.md5(b"something else" if changed else field).digest()
    data = iptc(photo(xmp=xmp('dc:creator="X"')), {80: "I"}, digest)
    assert read(data, tmp_path).author == author


def test_place_names_and_dates_of_iptc_are_kept_beside_exif(tmp_path: Path) -> None:
    records = {90: "Zürich", 101: "Schweiz", 100: "CHE", 95: "ZH", 55: "20210615"}
    found = read(iptc(photo(image_tags={TAG.Make: "m"}), records), tmp_path)
    assert found.exif == {
        "Make": "m",
        "IPTC": {
            "City": "Zürich",
            "Country-PrimaryLocationName": "Schweiz",
            "Country-PrimaryLocationCode": "CHE",
            "Province-State": "ZH",
            "DateCreated": "20210615",
        },
    }


@given(st.binary(max_size=200))
def test_no_iptc_raises(content: bytes) -> None:
    data = photo()
    segment = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(content).to_bytes(4, "big") + content
    data = data[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    from geosearch.images import open_image
    from geosearch.ingest.metadata import Metadata

    metadata = Metadata.of(open_image(data))
    for said in (metadata.author(), metadata.title(), metadata.licence()):
        assert said is None or (said and "\0" not in said)
