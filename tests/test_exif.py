"""Metadata of photos: the right position, or the right reason for none; never an exception."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from geosearch import images
from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.examine import examine
from geosearch.ingest.exif import Exif, as_json, gps_position
from geosearch.ingest.flir import flir_position
from geosearch.ingest.positions import Position
from geosearch.ingest.records import Candidate, Photo, Rejection
from geosearch.ingest.xmp import read_xmp, xmp_position
from geosearch.installation import remedy

from .photo_files import bomb, dms, gps, photo, rational, xmp

GPS = ExifTags.GPS
TAG = ExifTags.Base


def examined(data: bytes, folder: Path) -> Photo | Rejection:
    file = folder / "photo"
    file.write_bytes(data)
    return examine(Candidate(str(file)))


def read(data: bytes, folder: Path) -> Photo:
    found = examined(data, folder)
    assert isinstance(found, Photo)
    return found


def defect(data: bytes, folder: Path) -> Reason:
    found = read(data, folder)
    assert found.position is None
    assert found.defect is not None
    assert found.defect.stage == "position"
    return found.defect.reason


# ---- positions in EXIF --------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180))
@example(lat=-90.0, lon=-180.0)
@example(lat=90.0, lon=180.0)
@example(lat=59.99999999, lon=-59.99999999)
def test_a_written_position_is_read_back(lat: float, lon: float, tmp_path: Path) -> None:
    if abs(lat) < 1e-9 and abs(lon) < 1e-9:
        lat = 1.0
    position = read(photo(gps(lat, lon)), tmp_path).position
    assert position is not None
    assert position.source == "exif"
    assert position.lat == pytest.approx(lat, abs=1e-9)
    assert position.lon == pytest.approx(lon, abs=1e-9)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_format_carries_a_position(format: str, tmp_path: Path) -> None:
    images.register_heif()
    found = read(photo(gps(-33.5, 151.25), format=format, size=(64, 48)), tmp_path)
    assert found.position == Position(-33.5, 151.25, "exif")
    assert (found.format, found.width, found.height) == (format, 64, 48)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({GPS.GPSLatitude: dms(0), GPS.GPSLongitude: dms(0)}, Reason.ZERO_ZERO),
        ({GPS.GPSLatitude: (IFDRational(0, 0),) * 3}, Reason.ZERO_DENOMINATOR),
        (
            {GPS.GPSLongitude: (rational(11), rational(5), IFDRational(7, 0))},
            Reason.ZERO_DENOMINATOR,
        ),
        ({GPS.GPSLatitude: (rational(1),) * 4}, Reason.NOT_A_NUMBER),
        ({GPS.GPSLatitudeRef: None}, Reason.MISSING_REFERENCE),
        ({GPS.GPSLatitudeRef: ""}, Reason.MISSING_REFERENCE),
        ({GPS.GPSLatitudeRef: "E"}, Reason.MISSING_REFERENCE),
        ({GPS.GPSLongitudeRef: "?"}, Reason.MISSING_REFERENCE),
        ({GPS.GPSLatitude: dms(90.01)}, Reason.OUT_OF_RANGE),
        ({GPS.GPSLongitude: dms(180.01)}, Reason.OUT_OF_RANGE),
        ({GPS.GPSLatitude: (rational(10), rational(60), rational(0))}, Reason.OUT_OF_RANGE),
        ({GPS.GPSLatitude: (rational(10), rational(5), rational(61))}, Reason.OUT_OF_RANGE),
        ({GPS.GPSLatitude: None}, Reason.INCOMPLETE),
        ({GPS.GPSLongitude: None}, Reason.INCOMPLETE),
    ],
)
def test_a_position_that_cannot_be_believed_has_its_reason(
    change: dict[int, Any], reason: Reason, tmp_path: Path
) -> None:
    tags = gps(47.5, 11.25) | change
    data = photo({tag: value for tag, value in tags.items() if value is not None})
    assert defect(data, tmp_path) == reason


def test_degrees_written_as_text_are_read_as_exiftool_reads_them() -> None:
    text = gps(1, 1) | {
        GPS.GPSLatitude: "52,00000,50,00000,34,01180",
        GPS.GPSLongitude: b"11 30 36\0",
    }
    position = gps_position(text)
    assert position is not None
    assert (position.lat, position.lon) == pytest.approx((52 + 50 / 3600, 11.51))
    with pytest.raises(PhotoRejected) as raised:
        gps_position(text | {GPS.GPSLatitude: "north"})
    assert raised.value.reason == Reason.NOT_A_NUMBER


@given(
    st.dictionaries(
        st.integers(0, 7),
        st.one_of(
            st.none(),
            st.text(max_size=30),
            st.binary(max_size=30),
            st.floats(),
            st.integers(),
            st.lists(st.floats() | st.integers(), max_size=4).map(tuple),
            st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda pair: IFDRational(*pair)),
        ),
    )
)
def test_no_gps_directory_raises_anything_but_a_rejection(tags: dict[int, Any]) -> None:
    try:
        position = gps_position(tags)
    except PhotoRejected:
        return
    assert position is None or (abs(position.lat) <= 90 and abs(position.lon) <= 180)


def test_a_photo_without_gps_has_no_position_and_no_defect(tmp_path: Path) -> None:
    for data in (photo(), photo(image_tags={TAG.Make: "maker"}), photo({GPS.GPSAltitude: 3.0})):
        found = read(data, tmp_path)
        assert (found.position, found.defect) == (None, None)


@pytest.mark.parametrize("reference", ["n", "North", "N\0"])
def test_the_hemisphere_may_be_written_loosely(reference: str, tmp_path: Path) -> None:
    found = read(photo(gps(47.5, 11.25) | {GPS.GPSLatitudeRef: reference}), tmp_path)
    assert found.position == Position(47.5, 11.25, "exif")


def test_degrees_may_be_decimal_or_carry_sixty_seconds(tmp_path: Path) -> None:
    decimal = gps(1, 1) | {GPS.GPSLatitude: (rational(47.5),)}
    rounded = gps(1, 1) | {GPS.GPSLatitude: (rational(47), rational(29), rational(60))}
    for tags in (decimal, rounded):
        position = read(photo(tags), tmp_path).position
        assert position is not None
        assert position.lat == pytest.approx(47.5, abs=1e-12)


def test_the_positioning_error_is_the_accuracy(tmp_path: Path) -> None:
    for value, accuracy in ((rational(4.5), 4.5), (rational(0), None), (IFDRational(1, 0), None)):
        found = read(photo(gps(1, 2) | {GPS.GPSHPositioningError: value}), tmp_path)
        assert found.position == Position(1, 2, "exif", accuracy)


# ---- XMP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lat", "lon", "position"),
    [
        ("51,30.5N", "0,7.5W", (51 + 30.5 / 60, -7.5 / 60)),
        ("51,30,36S", "12,6,36E", (-51.51, 12.11)),
        ("51.51 N", "12.11 e", (51.51, 12.11)),
        ("-51.51", "+12.11", (-51.51, 12.11)),
        ("51 deg 30' 36.00\" S", "12 deg 6' 36.00\" W", (-51.51, -12.11)),
    ],
)
def test_xmp_coordinates_are_read_in_the_forms_writers_use(
    lat: str, lon: str, position: tuple[float, float]
) -> None:
    escaped = lat.replace('"', "&quot;"), lon.replace('"', "&quot;")
    as_attributes = xmp(f'exif:GPSLatitude="{escaped[0]}" exif:GPSLongitude="{escaped[1]}"')
    as_elements = xmp(
        elements=f"<exif:GPSLatitude>{lat}</exif:GPSLatitude>"
        f"<exif:GPSLongitude>{lon}</exif:GPSLongitude>"
    )
    for packet in (as_attributes, as_elements):
        found = xmp_position(read_xmp(packet.encode()))
        assert found is not None
        assert (found.lat, found.lon) == pytest.approx(position, abs=1e-9)
        assert found.source == "xmp"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ('exif:GPSLatitude="51,30.5" exif:GPSLongitude="0,7.5W"', Reason.MISSING_REFERENCE),
        ('exif:GPSLatitude="51.5" exif:GPSLongitude="12.1E"', Reason.MISSING_REFERENCE),
        ('exif:GPSLatitude="N" exif:GPSLongitude="12.1E"', Reason.NOT_A_NUMBER),
        ('exif:GPSLatitude="0,0N" exif:GPSLongitude="0,0E"', Reason.ZERO_ZERO),
        ('exif:GPSLatitude="91,0N" exif:GPSLongitude="0,0E"', Reason.OUT_OF_RANGE),
        ('exif:GPSLatitude="51,75N" exif:GPSLongitude="0,0E"', Reason.OUT_OF_RANGE),
        ('exif:GPSLatitude="51,7N"', Reason.INCOMPLETE),
    ],
)
def test_a_bad_xmp_position_has_its_reason(attributes: str, reason: Reason) -> None:
    with pytest.raises(PhotoRejected) as raised:
        xmp_position(read_xmp(xmp(attributes)))
    assert raised.value.reason == reason


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_xmp_is_the_fallback_in_every_format(format: str, tmp_path: Path) -> None:
    images.register_heif()
    packet = xmp('exif:GPSLatitude="51,30N" exif:GPSLongitude="12,15W"')
    if format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet)
        Image.new("RGB", (64, 48)).save(tmp_path / "xmp.png", pnginfo=info)
        data = (tmp_path / "xmp.png").read_bytes()
    elif format == "TIFF":
        Image.new("RGB", (64, 48)).save(tmp_path / "xmp.tif", tiffinfo={700: packet.encode()})
        data = (tmp_path / "xmp.tif").read_bytes()
    else:
        data = photo(format=format, size=(64, 48), xmp=packet)
    assert read(data, tmp_path).position == Position(51.5, -12.25, "xmp")


def test_a_good_xmp_position_stands_in_for_a_bad_exif_position(tmp_path: Path) -> None:
    packet = xmp('exif:GPSLatitude="51,30N" exif:GPSLongitude="12,15W"')
    assert read(photo(gps(0, 0), xmp=packet), tmp_path).position == Position(51.5, -12.25, "xmp")
    assert read(photo(gps(3, 4), xmp=packet), tmp_path).position == Position(3, 4, "exif")
    bad = xmp('exif:GPSLatitude="91,30N" exif:GPSLongitude="12,15W"')
    assert defect(photo(gps(0, 0), xmp=bad), tmp_path) == Reason.ZERO_ZERO


@pytest.mark.parametrize("packet", [b"", None, b"\0\0", "<?xpacket begin=''?> <?xpacket end='w'?>"])
def test_no_xmp_says_nothing(packet: bytes | str | None) -> None:
    assert read_xmp(packet) == {}


def test_xmp_that_is_no_xml_or_an_entity_bomb_is_bad_xmp(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><RDF>&d;</RDF>'
    deep = "<RDF>" * 10_000 + "</RDF>" * 10_000
    for packet in (b"<x", b"\xff\xfe\x00", bomb, "<a>" * 10_000, deep, "<RDF><a></RDF>"):
        with pytest.raises(PhotoRejected) as raised:
            read_xmp(packet)
        assert raised.value.reason == Reason.BAD_XMP
    assert defect(photo(xmp="<RDF><a></RDF>"), tmp_path) == Reason.BAD_XMP
    # It says nothing of a position that stands elsewhere.
    assert read(photo(gps(3, 4), xmp="<x"), tmp_path).position == Position(3, 4, "exif")


@given(st.binary(max_size=50) | st.text(max_size=50))
def test_no_xmp_packet_raises_anything_but_a_rejection(packet: bytes | str) -> None:
    with suppress(PhotoRejected):
        assert isinstance(read_xmp(packet), dict)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-32-be"),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: b"junk\0" + text.encode() + b"<after>\xff\0",
        lambda text: b"odd" + text.encode("utf-16-be"),
        lambda text: text.replace("Ann", "An\x01n").encode(),
        lambda text: text + text,
        lambda text: text.replace("x:xmpmeta", "x:xapmeta"),
        lambda text: text.replace("rdf:", "r:").replace("xmlns:rdf", "xmlns:r"),
    ],
)
def test_a_packet_is_found_whatever_its_letters_and_whatever_is_around_it(wrap: Any) -> None:
    text = xmp('exif:GPSLatitude="51,30N" exif:GPSLongitude="12,15W" dc:creator="Ann"')
    found = read_xmp(wrap(text))
    assert xmp_position(found) == Position(51.5, -12.25, "xmp")
    assert found["{http://purl.org/dc/elements/1.1/}creator"] == "Ann"


SHOWN = '<rdf:Description exif:GPSLatitude="1,0N" exif:GPSLongitude="2,0E" dc:creator="Other"/>'


@pytest.mark.parametrize(
    "elements",
    [
        '<i:LocationShown xmlns:i="i"><rdf:Bag><rdf:li rdf:parseType="Resource">'
        "<exif:GPSLatitude>1,0N</exif:GPSLatitude><exif:GPSLongitude>2,0E</exif:GPSLongitude>"
        "</rdf:li></rdf:Bag></i:LocationShown>",
        f'<m:Pantry xmlns:m="m"><rdf:Bag><rdf:li>{SHOWN}</rdf:li></rdf:Bag></m:Pantry>',
        f'<m:DerivedFrom xmlns:m="m">{SHOWN}</m:DerivedFrom>',
    ],
    ids=["LocationShown", "Pantry", "DerivedFrom"],
)
def test_only_the_description_of_this_picture_counts(elements: str) -> None:
    assert xmp_position(read_xmp(xmp(elements=elements))) is None
    own = read_xmp(xmp('exif:GPSLatitude="51,30N" exif:GPSLongitude="12,15W"', elements))
    assert xmp_position(own) == Position(51.5, -12.25, "xmp")


def test_a_description_of_another_resource_does_not_count() -> None:
    other = SHOWN.replace("<rdf:Description", '<rdf:Description rdf:about="uuid:1"')
    for packet in (
        xmp().replace("</rdf:RDF>", f"{_named(other)}</rdf:RDF>"),
        xmp().replace("<rdf:Description", f"{_named(other)}<rdf:Description", 1),
    ):
        assert xmp_position(read_xmp(packet)) is None


def _named(element: str) -> str:
    spaces = (
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    )
    return element.replace("<rdf:Description", f"<rdf:Description {spaces}")


@pytest.mark.parametrize(
    ("latitude", "reference"),
    [("18,32.7N", "S"), ("18,32.7S", "North"), ("-18.5N", ""), ("-18.5", "N"), ("N 18.5", "S")],
)
def test_hemispheres_that_contradict_one_another_are_a_reject(
    latitude: str, reference: str, tmp_path: Path
) -> None:
    said = f'exif:GPSLatitude="{latitude}" exif:GPSLongitude="12,15W"'
    if reference:
        said += f' exif:GPSLatitudeRef="{reference}"'
    assert defect(photo(xmp=xmp(said)), tmp_path) == Reason.CONTRADICTION
    tags = gps(1, 2) | {GPS.GPSLatitude: latitude, GPS.GPSLatitudeRef: reference or "S"}
    if reference:
        with pytest.raises(PhotoRejected) as raised:
            gps_position(tags)
        assert raised.value.reason == Reason.CONTRADICTION


def test_a_drone_of_dji_says_its_place_in_signed_decimals() -> None:
    for name in ("GpsLongitude", "GpsLongtitude"):
        for sign in ("", "+", "-"):
            packet = xmp(
                'xmlns:d="http://www.dji.com/drone-dji/1.0/" '
                f'd:GpsLatitude="{sign}44.5" d:{name}="-64.25"'
            )
            degrees = -44.5 if sign == "-" else 44.5
            assert xmp_position(read_xmp(packet)) == Position(degrees, -64.25, "xmp")


# ---- FLIR ---------------------------------------------------------------------------------------


def test_a_flir_record_gives_its_own_hemisphere(shared_data: Path) -> None:
    file = shared_data / "exif_hard" / "drewnoakes__jpg_FLIR_iPhone_device.jpg"
    found = examine(Candidate(str(file)))
    assert isinstance(found, Photo)
    assert found.position is not None
    # The record says N and W, in unsigned degrees: Los Angeles.
    assert found.position.lat == pytest.approx(34.0754261592891)
    assert found.position.lon == pytest.approx(-118.254268165533)


@given(st.binary(max_size=300))
def test_no_flir_segment_raises_anything_but_a_rejection(content: bytes) -> None:
    for data in (content, b"FFF\0" + content):
        assert flir_position([("APP1", b"FLIR\0\1\0\0" + data), ("APP1", content)]) is None


# ---- time, author, licence, JSON ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo_tags", "gps_tags", "taken_at"),
    [
        ({TAG.DateTimeOriginal: "2020:05:04 18:39:11", TAG.OffsetTimeOriginal: "-04:00"}, {}, 22),
        ({TAG.DateTimeOriginal: "2020:05:04 18:39:11"}, {}, 18),
        ({TAG.DateTimeDigitized: "2020:05:04 18:39:11"}, {}, 18),
        (
            {TAG.DateTimeOriginal: "2020:05:04 18:39:11"},
            {GPS.GPSDateStamp: "2020:05:04", GPS.GPSTimeStamp: (16.0, 39.0, 11.0)},
            16,
        ),
        (
            {TAG.DateTimeOriginal: "2020:05:04 18:39:11", TAG.OffsetTimeOriginal: "+01:00"},
            {GPS.GPSDateStamp: "2020:05:04", GPS.GPSTimeStamp: (16.0, 39.0, 11.0)},
            17,
        ),
    ],
)
def test_the_time_is_utc_by_the_best_clock(
    photo_tags: dict[int, Any], gps_tags: dict[int, Any], taken_at: int, tmp_path: Path
) -> None:
    found = read(photo(gps_tags, photo_tags=photo_tags), tmp_path)
    assert found.taken_at == datetime(2020, 5, 4, taken_at, 39, 11, tzinfo=UTC)


@pytest.mark.parametrize("clock", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_an_unset_clock_is_no_time(clock: str, tmp_path: Path) -> None:
    assert read(photo(photo_tags={TAG.DateTimeOriginal: clock}), tmp_path).taken_at is None


def test_author_and_licence_come_from_exif_and_xmp(tmp_path: Path) -> None:
    tags = {TAG.Artist: "Ada", TAG.Copyright: "All rights reserved"}
    found = read(photo(image_tags=tags), tmp_path)
    assert (found.author, found.licence) == ("Ada", "All rights reserved")
    packet = xmp(
        elements="<dc:creator><rdf:Seq><rdf:li>Grace</rdf:li></rdf:Seq></dc:creator>"
        '<cc:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>'
    )
    found = read(photo(image_tags={TAG.Copyright: "see XMP"}, xmp=packet), tmp_path)
    assert found.author == "Grace"
    assert found.licence == "https://creativecommons.org/licenses/by/4.0/"


def test_the_json_of_exif_is_fit_for_jsonb(tmp_path: Path) -> None:
    tags = {
        TAG.Make: "a\0b",
        TAG.Model: "x" * 5000,
        TAG.XResolution: IFDRational(1, 0),
    }
    photo_tags = {
        TAG.UserComment: b"ASCII\0\0\0\xff\x00" * 50,
        TAG.MakerNote: b"secret" * 100,
        TAG.ExposureTime: IFDRational(1, 8),
        0xFDE8: "unknown tag",
    }
    found = read(photo(gps(1, 2), image_tags=tags, photo_tags=photo_tags), tmp_path).exif
    assert found is not None
    text = json.dumps(found, allow_nan=False)
    assert "\\u0000" not in text
    assert len(text) < 3000
    assert found["ExposureTime"] == 0.125
    assert found["XResolution"] is None
    assert found["GPSLatitude"] == [1, 0, 0]
    assert found["0xfde8"] == "unknown tag"
    assert len(found["Model"]) == 1000
    assert "MakerNote" not in found


@given(
    st.dictionaries(
        st.integers(0, 0xFFFF),
        st.text(max_size=20) | st.binary(max_size=20) | st.floats() | st.integers(),
    )
)
def test_any_tags_become_strict_json_without_nul(tags: dict[int, Any]) -> None:
    text = json.dumps(as_json(Exif(image=tags, photo=tags, gps=tags)), allow_nan=False)
    assert "\\u0000" not in text
    json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8")  # no stray surrogates


# ---- hostile files ------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.binary(max_size=300))
def test_no_bytes_raise(data: bytes, tmp_path: Path) -> None:
    found = examined(data, tmp_path)
    assert isinstance(found, Rejection)
    assert found.stage == "decode"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    format=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_no_damage_to_a_photo_raises_or_leaves_the_earth(
    format: str, changes: list[tuple[float, int]], tmp_path: Path
) -> None:
    data = bytearray(photo(gps(47.5, 11.25), format=format, image_tags={TAG.Artist: "Ada"}))
    for where, value in changes:
        data[int(where * len(data))] = value
    found = examined(bytes(data), tmp_path)
    if isinstance(found, Photo) and found.position is not None:
        assert abs(found.position.lat) <= 90
        assert abs(found.position.lon) <= 180
        assert math.isfinite(found.position.lat + found.position.lon)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_a_truncated_photo_is_rejected_in_decoding(format: str, tmp_path: Path) -> None:
    images.register_heif()
    data = photo(gps(47.5, 11.25), format=format, size=(400, 300))
    found = examined(data[: int(len(data) * 0.8)], tmp_path)
    assert isinstance(found, Rejection)
    assert (found.stage, found.reason) in {
        ("decode", Reason.TRUNCATED),
        ("decode", Reason.UNDECODABLE),
    }


def test_a_decompression_bomb_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(60_000))
    found = examine(Candidate(str(tmp_path / "bomb.png")))
    assert isinstance(found, Rejection)
    assert (found.stage, found.reason) == ("decode", Reason.TOO_LARGE)


def test_the_pixel_limit_holds_where_pillow_would_stop_earlier(tmp_path: Path) -> None:
    # 15,000² = 225 million pixels: beyond Pillow's own limit, within GEOSEARCH_MAX_PIXELS.
    assert images.open_image(bomb(15_000)).size == (15_000, 15_000)


def test_heic_without_its_extra_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What open_image sees without the extra: no decoder for the brand.
    monkeypatch.setattr(images, "register_heif", lambda: False)
    found = examined(b"\0\0\0\x18ftypheic" + bytes(100), tmp_path)
    assert isinstance(found, Rejection)
    assert (found.stage, found.reason) == ("decode", Reason.UNSUPPORTED)
    assert remedy("heic") in found.message


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("0001:01:01 00:00:00", None),
        ("9999:12:31 23:59:59", None),
        ("1799:12:31 23:59:59", None),
        ("1800:01:01 00:00:00", datetime(1800, 1, 1, tzinfo=UTC)),
        ("2199:12:31 23:59:59", datetime(2199, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_clock_outside_1800_to_2199_tells_no_time(
    clock: str, expected: datetime | None, tmp_path: Path
) -> None:
    assert read(photo(photo_tags={TAG.DateTimeOriginal: clock}), tmp_path).taken_at == expected
