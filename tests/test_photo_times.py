"""Which clock of a photo is believed, in which zone: a table, row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags

from geosearch.ingest.examine import examine
from geosearch.ingest.photo_times import believed, read_time, settled
from geosearch.ingest.positions import Position
from geosearch.ingest.records import Candidate, Photo, Zone

from .photo_files import gps, iptc, photo, xmp

GPS = ExifTags.GPS
TAG = ExifTags.Base
PARIS = gps(48.8566, 2.3522)
TOKYO = gps(35.68, 139.77)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        # EXIF and what cameras make of it
        ("2021:06:15 14:30:00", "2021-06-15T14:30:00"),
        ("2021:06:15 14:30:00\0", "2021-06-15T14:30:00"),
        ("2021:06:15 14:30:00.25", "2021-06-15T14:30:00.25"),
        ("2021:06:15 14:30:00+02:00", "2021-06-15T14:30:00+02:00"),
        ("2021:06:15 14:30:00Z", "2021-06-15T14:30:00Z"),
        ("2021:06:15 24:00:00", "2021-06-16T00:00:00"),
        ("2021:06:15 02:30:00 PM", "2021-06-15T14:30:00"),
        ("2021:06:15 12:30:00 AM", "2021-06-15T00:30:00"),
        # ISO 8601, strict and loose
        ("2021-06-15T14:30:00.123456789Z", "2021-06-15T14:30:00.123456Z"),
        ("2021-06-15T14:30+0200", "2021-06-15T14:30:00+02:00"),
        ("2021-06-15T14:30-03", "2021-06-15T14:30:00-03:00"),
        ("2021-06-15 14:30:00 UTC", "2021-06-15T14:30:00Z"),
        ("2021-06-15 14:30:00.0", "2021-06-15T14:30:00"),
        ("20210615T143000Z", "2021-06-15T14:30:00Z"),
        ("20210615", "2021-06-15T00:00:00"),
        ("2021-06-15", "2021-06-15T00:00:00"),
        ("2021-6-5", "2021-06-05T00:00:00"),
        # IPTC
        ("20210615 143000+0200", "2021-06-15T14:30:00+02:00"),
        # spreadsheets
        ("2021/06/15 14:30:00", "2021-06-15T14:30:00"),
        ("15/06/2021 14:30", "2021-06-15T14:30:00"),
        ("06/15/2021 2:30 pm", "2021-06-15T14:30:00"),
        ("05.06.2021 14:30", "2021-06-05T14:30:00"),
        ("05/05/2021", "2021-05-05T00:00:00"),
        # seconds and milliseconds since 1970
        ("1623767400", "2021-06-15T14:30:00Z"),
        ("1623767400.5", "2021-06-15T14:30:00.5Z"),
        ("1623767400000", "2021-06-15T14:30:00Z"),
    ],
)
def test_a_time_is_read_in_the_forms_it_comes_in(text: str, time: str) -> None:
    found = read_time(text)
    assert found is not None
    assert (found, found.tzinfo is None) == (at(time), at(time).tzinfo is None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "yesterday", "0000:00:00 00:00:00", "    :  :     :  :  "),
        *("0000-00-00 00:00:00", "2021", "2021-06", "05/06/2021", "2021-02-30", "2021:13:01"),
        *("2021-06-15 25:00", "2021-06-15 14:61", "2021-06-15 14:30 CEST", "2021:06:15 13:00 PM"),
        *("2021-06-15T14:30+99:00", "12345", "٢٠٢١-٠٦-١٥"),
    ],
)
def test_what_is_no_moment_for_certain_is_none(text: str) -> None:
    assert read_time(text) is None


@given(st.text(max_size=30) | st.text("0123456789:-/. TZ+APM", max_size=30))
def test_no_text_raises(text: str) -> None:
    assert read_time(text) is None or isinstance(read_time(text), datetime)


@given(st.datetimes(min_value=datetime(1000, 1, 1)), st.integers(-14 * 60, 14 * 60) | st.none())
def test_what_python_writes_is_read_back(time: datetime, minutes: int | None) -> None:
    if minutes is not None:
        time = time.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert read_time(time.isoformat()) == time


NOON = "2019-04-07T12:00:00"


@pytest.mark.parametrize(
    ("camera", "receiver", "expected"),
    [
        (None, None, None),
        (None, "2019-04-07T10:00Z", "2019-04-07T10:00Z"),
        (None, "1979-12-31T10:00Z", None),  # before there was GPS
        (NOON, None, NOON),
        (NOON, "2019-04-07T10:00:07Z", "2019-04-07T10:00:07Z"),  # two hours: the zone
        (NOON, "2019-04-07T01:00Z", "2019-04-07T01:00Z"),  # Auckland in summer
        (NOON, "2019-04-07T23:00Z", "2019-04-07T23:00Z"),  # Samoa
        (NOON, "2019-04-06T20:00Z", NOON),  # a fix of the day before
        (NOON, "1999-08-22T10:00Z", NOON),  # 1,024 weeks before
        (NOON, "1970-01-01T00:00Z", NOON),
        (NOON, "1899-12-30T00:00Z", NOON),
        (NOON, "2038-11-21T10:00Z", NOON),  # 1,024 weeks after
        (NOON + "+02:00", "2019-04-07T03:00Z", NOON + "+02:00"),
        (NOON + "+02:00", "1999-08-22T10:00Z", NOON + "+02:00"),
        ("1970-01-01T00:00:00", "2019-04-07T10:00Z", "2019-04-07T10:00Z"),  # never set
        ("1980-01-01T00:00:00+00:00", "2019-04-07T10:00Z", "2019-04-07T10:00Z"),
        ("1970-01-01T00:00:00", "1970-01-01T00:00Z", "1970-01-01T00:00:00"),
        ("1935-05-01T12:00:00", None, "1935-05-01T12:00:00"),  # a scan
    ],
)
def test_which_clock_is_believed(
    camera: str | None, receiver: str | None, expected: str | None
) -> None:
    clocks = [None if text is None else at(text) for text in (camera, receiver, expected)]
    assert believed(clocks[0], clocks[1]) == clocks[2]


@pytest.mark.parametrize(
    ("time", "position", "expected", "zone"),
    [
        ("2021-06-15T14:30+02:00", None, "2021-06-15T12:30Z", "known"),
        ("2021-06-15T14:30", Position(48.85, 2.35, "exif"), "2021-06-15T12:30Z", "position"),
        ("2021-01-15T14:30", Position(48.85, 2.35, "exif"), "2021-01-15T13:30Z", "position"),
        ("2021-06-15T14:30", Position(35.7, 139.8, "exif"), "2021-06-15T05:30Z", "position"),
        ("2021-06-15T14:30", Position(27.7, 85.3, "exif"), "2021-06-15T08:45Z", "position"),
        ("2021-06-15T14:30", Position(30.0, -30.0, "exif"), "2021-06-15T16:30Z", "position"),
        ("2021-06-15T14:30", Position(48.85, 2.35, "estimated"), "2021-06-15T14:30Z", "assumed"),
        ("2021-06-15T14:30", None, "2021-06-15T14:30Z", "assumed"),
    ],
)
def test_a_zone_is_named_or_that_of_the_position_or_assumed(
    time: str, position: Position | None, expected: str, zone: Zone
) -> None:
    assert settled(at(time), position) == (at(expected), zone)


@given(st.floats(-90, 90), st.floats(-180, 180), st.datetimes(datetime(1800, 1, 2)))
def test_everywhere_on_earth_has_a_zone(lat: float, lon: float, time: datetime) -> None:
    if time.year < 2200:
        found, zone = settled(time, Position(lat, lon, "exif"))
        assert zone == "position"
        assert abs(found.replace(tzinfo=None) - time) <= timedelta(hours=16)


CLOCK = {TAG.DateTimeOriginal: "2021:06:15 14:30:00"}


@pytest.mark.parametrize(
    ("parts", "expected", "zone"),
    [
        ({"photo_tags": CLOCK}, "14:30", "assumed"),
        ({"photo_tags": CLOCK, "gps": PARIS}, "12:30", "position"),
        ({"photo_tags": CLOCK, "gps": TOKYO}, "05:30", "position"),
        (
            {"photo_tags": CLOCK | {TAG.OffsetTimeOriginal: "-04:00"}, "gps": PARIS},
            "18:30",
            "known",
        ),
        ({"photo_tags": CLOCK | {TAG.OffsetTime: "+02:00"}}, "12:30", "known"),
        ({"photo_tags": CLOCK | {TAG.OffsetTimeOriginal: "   :  "}}, "14:30", "assumed"),
        ({"photo_tags": CLOCK | {TAG.SubsecTimeOriginal: "25"}}, "14:30:00.25", "assumed"),
        ({"photo_tags": {TAG.DateTimeOriginal: "2021:06:15 14:30:00+01:00"}}, "13:30", "known"),
        ({"photo_tags": {TAG.DateTimeOriginal: "2021-06-15T14:30:00Z"}}, "14:30", "known"),
        ({"image_tags": CLOCK}, "14:30", "assumed"),
        (
            {
                "photo_tags": CLOCK,
                "gps": PARIS
                | {GPS.GPSDateStamp: "1970:01:18", GPS.GPSTimeStamp: (19.0, 5.0, 52.0)},
            },
            "12:30",
            "position",
        ),
        (
            {
                "photo_tags": CLOCK,
                "gps": {GPS.GPSDateStamp: "2021-06-15", GPS.GPSTimeStamp: (11.0, 30.0, 0.5)},
            },
            "11:30:00.5",
            "known",
        ),
        ({"xmp": xmp('exif:DateTimeOriginal="2021-06-15T14:30:00+02:00"')}, "12:30", "known"),
        (
            {
                "xmp": xmp(
                    'xmlns:p="http://ns.adobe.com/photoshop/1.0/" '
                    'p:DateCreated="2021-06-15T14:30:00.25"'
                )
            },
            "14:30:00.25",
            "assumed",
        ),
        (
            {"xmp": xmp('xmlns:x="http://ns.adobe.com/xap/1.0/" x:CreateDate="2021-06-15T14:30Z"')},
            "14:30",
            "known",
        ),
        ({"iptc": {55: "20210615", 60: "143000+0200"}}, "12:30", "known"),
        ({"iptc": {55: "20210615", 60: "143000"}}, "14:30", "assumed"),
        ({"iptc": {55: "20210615"}}, "00:00", "assumed"),
        # EXIF goes before XMP and IPTC
        (
            {
                "photo_tags": CLOCK,
                "xmp": xmp('exif:DateTimeOriginal="2020-01-01"'),
                "iptc": {55: "20200101"},
            },
            "14:30",
            "assumed",
        ),
    ],
)
def test_the_clocks_of_a_photo(
    parts: dict[str, Any], expected: str, zone: Zone, tmp_path: Path
) -> None:
    records = parts.pop("iptc", None)
    data = photo(**parts)
    (tmp_path / "a.jpg").write_bytes(iptc(data, records) if records else data)
    found = examine(Candidate(str(tmp_path / "a.jpg")))
    assert isinstance(found, Photo)
    assert (found.taken_at, found.taken_at_zone) == (at(f"2021-06-15T{expected}Z"), zone)


def test_a_time_of_a_manifest_is_in_the_zone_of_its_position(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(photo_tags=CLOCK))
    candidate = Candidate(
        str(tmp_path / "a.jpg"),
        position=Position(35.7, 139.8, "manifest"),
        taken_at=datetime(2020, 1, 2, 9),
    )
    found = examine(candidate)
    assert isinstance(found, Photo)
    assert (found.taken_at, found.taken_at_zone) == (datetime(2020, 1, 2, tzinfo=UTC), "position")
