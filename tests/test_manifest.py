"""Manifests of every kind give the same photos; bad rows are rejects, bad manifests errors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geosearch.errors import InputError, Reason
from geosearch.ingest.camera_view import VIEW_FIELDS
from geosearch.ingest.manifests import COLUMNS, count_rows, read_manifest
from geosearch.ingest.positions import Position
from geosearch.ingest.records import Candidate, Rejection

ROWS: list[dict[str, Any]] = [
    {
        "uri": "a.jpg",
        "lat": 51.5,
        "lon": -0.125,
        "author": "Ada",
        "taken_at": "2020-05-04T18:39:11+02:00",
        "licence": "CC0-1.0",
        "accuracy_m": 12.5,
        "title": 'A "bridge"; over, water',
        "source_id": "42",
    },
    {"uri": "sub/b.jpg", "lat": -90.0, "lon": 180.0},
    {"uri": "https://example.org/c.jpg"},
]


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    import csv

    names = list({name: None for row in rows for name in row})
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path.with_suffix(".csv")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    names = list({name: None for row in rows for name in row})
    table = pyarrow.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    pyarrow.parquet.write_table(table, path.with_suffix(".parquet"), row_group_size=2)
    return path.with_suffix(".parquet")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path.with_suffix(".jsonl")


def write_geojson(path: Path, rows: list[dict[str, Any]]) -> Path:
    features = []
    for row in rows:
        properties = {name: value for name, value in row.items() if name not in ("lat", "lon")}
        point = {"type": "Point", "coordinates": [row["lon"], row["lat"]]} if "lat" in row else None
        features.append({"type": "Feature", "geometry": point, "properties": properties})
    document = {"type": "FeatureCollection", "features": features}
    path.with_suffix(".geojson").write_text(json.dumps(document), encoding="utf-8")
    return path.with_suffix(".geojson")


Writer = Callable[[Path, list[dict[str, Any]]], Path]
WRITERS = [write_csv, write_parquet, write_jsonl, write_geojson]


def read(path: Path) -> list[Candidate | Rejection]:
    return list(read_manifest(str(path)))


def only(path: Path) -> Candidate | Rejection:
    (item,) = read(path)
    return item


@pytest.mark.parametrize("write", WRITERS)
def test_all_kinds_give_the_same_candidates(write: Writer, tmp_path: Path) -> None:
    path = write(tmp_path / "photos", ROWS)
    assert read(path) == [
        Candidate(
            uri=str(tmp_path / "a.jpg"),
            origin=f"{path}#1",
            position=Position(51.5, -0.125, "manifest", 12.5),
            author="Ada",
            taken_at=datetime(2020, 5, 4, 16, 39, 11, tzinfo=UTC),
            licence="CC0-1.0",
            title='A "bridge"; over, water',
            source_id="42",
        ),
        Candidate(
            uri=str(tmp_path / "sub" / "b.jpg"),
            origin=f"{path}#2",
            position=Position(-90, 180, "manifest"),
        ),
        Candidate(uri="https://example.org/c.jpg", origin=f"{path}#3"),
    ]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"lat": 0.0, "lon": 0.0}, Reason.ZERO_ZERO),
        ({"lat": 91.0, "lon": 0.0}, Reason.OUT_OF_RANGE),
        ({"lat": 10.0, "lon": -180.5}, Reason.OUT_OF_RANGE),
        ({"lat": math.nan, "lon": math.nan}, Reason.NOT_A_NUMBER),
        ({"lat": 10.0, "lon": None}, Reason.INCOMPLETE),
        ({"lat": 10.0, "lon": 10.0, "uri": ""}, Reason.BAD_ROW),
    ],
)
def test_a_bad_row_is_a_reject_named_by_its_number(
    write: Writer, row: dict[str, Any], reason: Reason, tmp_path: Path
) -> None:
    path = write(tmp_path / "photos", [ROWS[0], {"uri": "bad.jpg"} | row, ROWS[0]])
    first, bad, last = read(path)
    assert isinstance(bad, Rejection)
    assert (bad.uri, bad.stage, bad.reason) == (f"{path}#2", "manifest", reason)
    assert isinstance(first, Candidate)
    assert isinstance(last, Candidate)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(lat=st.floats(), lon=st.floats(), kind=st.sampled_from(WRITERS))
def test_any_numbers_are_a_position_on_earth_or_a_reject(
    lat: float, lon: float, kind: Writer, tmp_path: Path
) -> None:
    item = only(kind(tmp_path / "photos", [{"uri": "a.jpg", "lat": lat, "lon": lon}]))
    if isinstance(item, Rejection):
        assert item.stage == "manifest"
        assert not (abs(lat) <= 90 and abs(lon) <= 180) or (lat == 0 and lon == 0)
    else:
        assert item.position is not None
        assert (item.position.lat, item.position.lon) == (lat, lon)


#: Columns that say of a position that it is an estimate: tests/test_estimated_positions.py.
MARKS = {"position_source", "localization_id"}


@pytest.mark.parametrize(
    "field",
    sorted(COLUMNS.keys() - MARKS - {"lat_ref", "lon_ref", "offset", "epsg", "altitude_ref"}),
)
def test_every_alias_is_understood_in_any_case(field: str, tmp_path: Path) -> None:
    values = {"lat": "1.5", "lon": "2.5", "accuracy_m": "3.5", "taken_at": "2020-01-02"}
    values |= dict.fromkeys(VIEW_FIELDS, "4.5") | {"direction_reference": "M"}
    for alias in COLUMNS[field]:
        row = {"uri": "a.jpg", "lat": "9", "lon": "9"}
        row.pop(field, None)
        row[alias.upper()] = values.get(field, "value")
        item = only(write_csv(tmp_path / alias, [row]))
        assert isinstance(item, Candidate)
        position = item.position
        assert position is not None
        found = {
            "uri": Path(item.uri).name,
            "lat": position.lat,
            "lon": position.lon,
            "accuracy_m": position.accuracy_m,
            "taken_at": item.taken_at,
            "author": item.author,
            "licence": item.licence,
            "title": item.title,
            "source_id": item.source_id,
            **{name: getattr(item, name) for name in VIEW_FIELDS},
        }
        expected = {
            "lat": 1.5,
            "lon": 2.5,
            "accuracy_m": 3.5,
            "taken_at": datetime(2020, 1, 2),  # its zone is that of the position
            **dict.fromkeys(VIEW_FIELDS, 4.5),
            "direction_reference": "magnetic",
        }
        assert found[field] == expected.get(field, "value")


def test_a_path_goes_before_a_url_and_a_feature_geometry_before_its_properties(
    tmp_path: Path,
) -> None:
    row = {"url": "https://example.org/a.jpg", "file": "a.jpg", "lat": 1.0, "lon": 2.0}
    item = only(write_csv(tmp_path / "both", [row]))
    assert item.uri == str(tmp_path / "a.jpg")
    feature = {
        "type": "Feature",
        "properties": {"file": "a.jpg", "lat": 50, "lon": 60},
        "geometry": {"type": "Point", "coordinates": [2, 1, 300]},
    }
    item = only(write_jsonl(tmp_path / "features", [feature]))
    assert isinstance(item, Candidate)
    assert item.position == Position(1, 2, "manifest")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_may_have_any_usual_delimiter_a_bom_and_blank_lines(
    delimiter: str, tmp_path: Path
) -> None:
    text = f"file{delimiter}LAT{delimiter}Lng\r\n\r\na.jpg{delimiter}1.5{delimiter}2.5\r\n\r\n"
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    item = only(tmp_path / "a.csv")
    assert isinstance(item, Candidate)
    assert item.position == Position(1.5, 2.5, "manifest")


def test_csv_of_a_decimal_comma_country_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file;lat;lon\na.jpg;51,25;-0,5\n")
    item = only(tmp_path / "a.csv")
    assert isinstance(item, Candidate)
    assert item.position == Position(51.25, -0.5, "manifest")


def test_csv_rows_that_are_no_rows_are_rejects(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b"file,lat,lon,title\na.jpg,1,2\nb.jpg,one,2,t\nc.jpg,1,2,caf\xe9\n"
    )
    short, text, latin = read(tmp_path / "a.csv")
    assert isinstance(short, Rejection)
    assert (short.reason, short.message) == (Reason.BAD_ROW, "line 2: 3 cells, 4 columns")
    assert isinstance(text, Rejection)
    assert text.reason == Reason.NOT_A_NUMBER
    assert isinstance(latin, Candidate)
    assert latin.title == "caf\\xe9"


def test_a_jsonl_line_that_is_no_object_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"file": "a.jpg"\n[1]\n{"file": "b.jpg"}\n')
    broken, array, good = read(tmp_path / "a.jsonl")
    assert isinstance(broken, Rejection)
    assert isinstance(array, Rejection)
    assert good == Candidate(str(tmp_path / "b.jpg"), origin=f"{tmp_path / 'a.jsonl'}#3")


def test_a_geojson_line_is_a_reject_and_other_coordinates_an_error(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}
    feature = {"type": "Feature", "geometry": line, "properties": {"file": "a.jpg"}}
    document: dict[str, Any] = {"type": "FeatureCollection", "features": [feature]}
    (tmp_path / "a.geojson").write_text(json.dumps(document))
    item = only(tmp_path / "a.geojson")
    assert isinstance(item, Rejection)
    assert item.reason == Reason.BAD_ROW
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
    (tmp_path / "a.geojson").write_text(json.dumps(document | {"crs": crs}))
    with pytest.raises(InputError, match="3857"):
        read(tmp_path / "a.geojson")
    crs["properties"] = {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}
    (tmp_path / "a.geojson").write_text(json.dumps(document | {"crs": crs}))
    assert len(read(tmp_path / "a.geojson")) == 1


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_a_missing_column_is_an_error_that_names_what_is_there_and_what_is_wanted(
    write: Writer, tmp_path: Path
) -> None:
    path = write(tmp_path / "photos", [{"file": "a.jpg", "latt": 1.0, "lon": 2.0}])
    with pytest.raises(InputError) as raised:
        read(path)
    text = str(raised.value)
    assert str(path) in text
    assert "file, latt, lon" in text
    assert "latitude" in text


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.geojson"])
def test_a_manifest_that_is_not_what_its_ending_says_is_an_error(name: str, tmp_path: Path) -> None:
    for content in (b"", b"\x00\xff\x00\xff" * 10):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)


def test_uris_are_relative_to_the_manifest_wherever_it_is(tmp_path: Path) -> None:
    rows = [{"uri": uri} for uri in ("../x.jpg", "/abs/y.jpg", "file:///abs/z%20z.jpg")]
    path = write_jsonl(tmp_path / "photos", rows)
    assert [item.uri for item in read(path)] == [
        str(tmp_path.parent / "x.jpg"),
        "/abs/y.jpg",
        "/abs/z z.jpg",
    ]
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/photos.csv", b"file,lat,lon\nsub/a.jpg,1,2\n")
    (item,) = read_manifest("memory://bucket/photos.csv")
    assert item.uri == "memory://bucket/sub/a.jpg"


def test_rows_are_counted_without_reading_where_the_format_knows(tmp_path: Path) -> None:
    assert count_rows(str(write_parquet(tmp_path / "photos", ROWS))) == 3
    assert count_rows(str(write_csv(tmp_path / "photos", ROWS))) is None


@pytest.mark.parametrize("name", ["q.doc", "manifest"])
def test_a_manifest_of_an_unknown_ending_is_an_error_that_names_the_known(name: str) -> None:
    with pytest.raises(InputError, match=r"\.parquet"):
        list(read_manifest(f"/folder/{name}"))


@pytest.mark.parametrize(
    "date", ["0001-01-01", "9999-12-31T23:59:59-12:00", "1799-12-31T23:59:59", "2200-01-01"]
)
def test_a_date_outside_1800_to_2199_is_left_out(date: str, tmp_path: Path) -> None:
    row = {"file": "a.jpg", "lat": 1.0, "lon": 2.0, "taken_at": date}
    item = only(write_jsonl(tmp_path / "photos", [row]))
    assert isinstance(item, Candidate)
    assert (item.taken_at, item.warnings) == (None, ("taken_at",))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"lat": 10**400}, Reason.NOT_A_NUMBER),
        ({"file": "file://[::1/x.jpg"}, Reason.BAD_ROW),
    ],
)
def test_a_value_nobody_can_mean_is_a_reject(
    row: dict[str, Any], reason: Reason, tmp_path: Path
) -> None:
    good = {"file": "a.jpg", "lat": 1.0, "lon": 2.0}
    bad, after = read(write_jsonl(tmp_path / "photos", [good | row, good]))
    assert isinstance(bad, Rejection)
    assert bad.reason == reason
    assert isinstance(after, Candidate)


@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
def test_parquet_times_are_read_to_the_microsecond_and_beyond_9999_are_rejects(
    zone: str | None, tmp_path: Path
) -> None:
    def times(unit: str, *values: int) -> list[Candidate | Rejection]:
        columns = {
            "file": ["a.jpg"] * len(values),
            "lat": [1.0] * len(values),
            "lon": [2.0] * len(values),
            "date": pyarrow.array(values, pyarrow.timestamp(unit, zone)),
        }
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
        return read(tmp_path / "a.parquet")

    (exact,) = times("ns", 1_500_000_000_123_456_789)
    assert isinstance(exact, Candidate)
    assert exact.taken_at == datetime(2017, 7, 14, 2, 40, 0, 123456, UTC if zone else None)
    far, near = times("ms", 10**15, 1_500_000_000_000)
    assert isinstance(far, Rejection)
    assert far.reason == Reason.BAD_ROW
    assert isinstance(near, Candidate)
    assert near.taken_at == datetime(2017, 7, 14, 2, 40, tzinfo=UTC if zone else None)


def test_a_local_manifest_may_have_signs_of_a_url_in_its_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "zip::a", [{"file": "a.jpg", "lat": 1, "lon": 2}])
    assert only(path).uri == str(tmp_path / "a.jpg")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_csv_in_utf_16_is_an_error_that_says_so(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,lat,lon\na.jpg,1,2\n", encoding=encoding)
    with pytest.raises(InputError, match="not UTF-8"):
        read(tmp_path / "a.csv")
