"""Manifests as people have them: every line counts, nothing is guessed, values become text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geosearch.database.connection import Database
from geosearch.errors import InputError, Reason
from geosearch.evaluation.queries import manifest_queries
from geosearch.ingest import ingest
from geosearch.ingest.manifests import Reading, read_manifest
from geosearch.ingest.positions import Position
from geosearch.ingest.records import Candidate, Rejection

from .photo_files import photo

Item = Candidate | Rejection


def read(path: Path, data: str | bytes | None = None, **reading: Any) -> list[Item]:
    if data is not None:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    given: dict[str, Any] = {"columns": None, "encoding": None, "exclude": None} | reading
    return list(read_manifest(str(path), Reading.of(**given)))


def names(items: list[Item]) -> list[str | None]:
    """The file of each row, None for a reject."""
    return [Path(item.uri).name if isinstance(item, Candidate) else None for item in items]


def place(item: Item) -> tuple[float, float]:
    assert isinstance(item, Candidate)
    assert item.position is not None
    return item.position.lat, item.position.lon


# ---- no row vanishes ----------------------------------------------------------------------------


def test_tsv_has_no_quotes_unless_its_header_has(tmp_path: Path) -> None:
    rows = 'file\tlat\tlon\ttitle\na\t1\t2\t"Sunset\nb\t1\t2\tplain\nc\t1\t2\t5" lens\n'
    items = read(tmp_path / "a.tsv", rows)
    assert names(items) == ["a", "b", "c"]
    titles = [item.title for item in items if isinstance(item, Candidate)]
    assert titles == ['"Sunset', "plain", '5" lens']
    quoted = '"file"\t"lat"\t"lon"\t"title"\n"a"\t"1"\t"2"\t"one\ttwo"\n'
    (item,) = read(tmp_path / "a.tsv", quoted)
    assert isinstance(item, Candidate)
    assert item.title == "one\ttwo"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_lines_may_end_in_any_way(name: str, end: str, tmp_path: Path) -> None:
    by = "\t" if name == "a.tsv" else ","
    lines = [f"file{by}lat{by}lon", f"a{by}1{by}2", f"b{by}3{by}4"]
    if name == "a.jsonl":
        lines = [json.dumps({"file": file, "lat": 1, "lon": 2}) for file in "ab"]
    assert names(read(tmp_path / name, end.join(lines) + end)) == ["a", "b"]


@pytest.mark.parametrize(
    ("lines", "expected", "line"),
    [
        # never closed: its line is at fault, those below it are rows
        (['a,1,2,"Sunset', "b,1,2,x", "c,1,2,y"], [None, "b", "c"], 2),
        # closed further down: between are rows
        (['a,1,2,"Sunset', "b,1,2,x", 'c,1,2,the view"', "d,1,2,y"], [None, "b", "c", "d"], 2),
        (["a,1,2,x", 'b,1,2,"Sunset', 'c,1,2,view"'], ["a", None, "c"], 3),
        # something follows the quote that closes
        (['a,1,2,"Sun" set', "b,1,2,x"], [None, "b"], 2),
        (['a,1,2,"Sunset', 'b,1,2,"x"', "c,1,2,y"], [None, "b", "c"], 2),
        # cells too many, and too few
        (["a,1,2,x,y", "b,1,2", "c,1,2,x"], [None, None, "c"], 2),
    ],
)
def test_a_quote_that_is_at_fault_costs_its_line_alone_and_the_line_is_named(
    lines: list[str], expected: list[str | None], line: int, tmp_path: Path
) -> None:
    items = read(tmp_path / "a.csv", "\n".join(["file,lat,lon,title", *lines]) + "\n")
    assert names(items) == expected
    reject = next(item for item in items if isinstance(item, Rejection))
    assert (reject.reason, f"line {line}:" in reject.message) == (Reason.BAD_ROW, True)


def test_quotes_may_hold_commas_quotes_and_ends_of_lines(tmp_path: Path) -> None:
    text = 'title,file,lat,lon\n"a ""b"", c\nsecond line\n\nfourth",a,1,2\nplain,b,1,2\n'
    first, second = read(tmp_path / "a.csv", text)
    assert isinstance(first, Candidate)
    assert first.title == 'a "b", c\nsecond line\n\nfourth'
    assert names([second]) == ["b"]
    last = 'file,lat,lon,title\na,1,2,"one\ntwo"\nb,1,2,x\n'
    assert names(read(tmp_path / "a.csv", last)) == ["a", "b"]


def test_a_header_with_a_quote_that_is_not_closed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1"):
        read(tmp_path / "a.csv", 'file,lat,"lon\na,1,2\n')


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    cells=st.lists(
        st.tuples(
            st.text("ab\"',;\t \\é\0", max_size=8).map(lambda text: f"x{text}"), st.booleans()
        ),
        max_size=8,
    ),
    name=st.sampled_from(["a.csv", "a.tsv"]),
)
def test_rows_and_rejects_are_the_lines_of_the_file(
    cells: list[tuple[str, bool]], name: str, tmp_path: Path
) -> None:
    by = "," if name == "a.csv" else "\t"
    lines = [
        by.join([f"{number}.jpg", "1", "2", f'"{cell}' if opens else cell])
        for number, (cell, opens) in enumerate(cells)
    ]
    text = "\n".join([by.join(["file", "lat", "lon", "title"]), *lines]) + "\n"
    items = read(tmp_path / name, text)
    assert [item.origin for item in items] == [
        f"{tmp_path / name}#{number}" for number in range(1, len(lines) + 1)
    ]


def test_a_damaged_part_of_parquet_is_rejects_for_its_rows(tmp_path: Path) -> None:
    count = 3000
    table = pyarrow.table(
        {
            "file": [f"{number:06}" for number in range(count)],
            "lat": [float(number % 90) + 0.5 for number in range(count)],
            "lon": [1.0] * count,
        }
    )
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=1000, compression="zstd")
    data = bytearray(path.read_bytes())
    part = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(0)
    start = part.dictionary_page_offset or part.data_page_offset
    data[start : start + part.total_compressed_size] = bytes(part.total_compressed_size)
    items = read(path, bytes(data))
    assert len(items) == count
    assert [isinstance(item, Candidate) for item in items] == (
        [True] * 1000 + [False] * 1000 + [True] * 1000
    )


# ---- which column is which ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    ["file,x,y,w,h,GPSLatitude,GPSLongitude", "file,x,y,lat,lon", "file,lat,latitude,lon,lng"],
)
def test_columns_that_could_all_be_the_position_are_an_error_that_names_them(
    header: str, tmp_path: Path
) -> None:
    row = ",".join(["a", *["1"] * header.count(",")])
    wanted = {name for name in header.split(",") if name not in ("file", "w", "h")}
    if "w" in header.split(","):  # a box in the picture is none
        assert place(read(tmp_path / "a.csv", f"{header}\n{row}\n")[0]) == (1, 1)
        return
    with pytest.raises(InputError, match="columns lat=…,lon=…") as raised:
        read(tmp_path / "a.csv", f"{header}\n{row}\n")
    assert all(name in str(raised.value) for name in wanted)


def test_a_box_in_a_picture_is_no_position(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column for lat, lon"):
        read(tmp_path / "a.csv", "file,x,y,w,h\na,1,2,3,4\n")
    assert place(read(tmp_path / "a.csv", "file,x,y\na,1,2\n")[0]) == (2, 1)


@pytest.mark.parametrize("columns", ["lat=Breite, lon=Länge,author=wer", None])
def test_columns_may_be_named(columns: str | None, tmp_path: Path) -> None:
    given = columns or {"lat": "Breite", "lon": "Länge", "author": "wer"}
    csv = "file,lat,lon,Breite,Länge,wer,author\na,9,9,1,2,Ada,Bob\n"
    (item,) = read(tmp_path / "a.csv", csv, columns=given)
    assert isinstance(item, Candidate)
    assert (place(item), item.author) == ((1, 2), "Ada")
    line = '{"file": "a", "Breite": 1, "Länge": 2, "wer": "Ada"}\n'
    (item,) = read(tmp_path / "a.jsonl", line, columns=given)
    assert place(item) == (1, 2)


@pytest.mark.parametrize(
    ("columns", "said"),
    [("lat", "field=column"), ("latt=x", "no field is called latt"), ("lat=z", "no column is")],
)
def test_columns_that_cannot_be_are_an_error(columns: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path / "a.csv", "file,x,y\na,1,2\n", columns=columns)


@pytest.mark.parametrize("code", ["25832", "EPSG:25832"])
def test_coordinates_may_be_projected(code: str, tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    csv = "file,northing,easting\na,5500000,500000\nb,,\nc,x,1\n"
    columns = {"lat": "northing", "lon": "easting", "epsg": code}
    first, second, third = read(tmp_path / "a.csv", csv, columns=columns)
    assert place(first) == pytest.approx((49.65254, 9.0), abs=1e-5)
    assert isinstance(second, Candidate)
    assert second.position is None
    assert isinstance(third, Rejection)
    csv = f"file,y,x,epsg\na,5500000,500000,{code}\nb,1,2,\nc,1,2,1\nd,1,2,4326\n"
    first, second, third, fourth = read(tmp_path / "a.csv", csv)
    assert place(first) == pytest.approx((49.65254, 9.0), abs=1e-5)
    assert (place(second), place(fourth)) == ((1, 2), (1, 2))
    assert isinstance(third, Rejection)
    assert "EPSG:1" in third.message


@pytest.mark.parametrize(
    ("lat", "lon", "expected"),
    [
        ("33.8S", "151.2E", (-33.8, 151.2)),
        ("S33.8", "E 151.2", (-33.8, 151.2)),
        ("33° 51' 36\" S", "151° 12' 36\" E", (-33.86, 151.21)),
        ("51 deg 30' 36.00\" N", "0 deg 7' 30.00\" W", (51.51, -0.125)),
        ("51°30′36″N", "0°7′30″W", (51.51, -0.125)),
        ("51d 30m 36s N", "0d 7m 30s W", (51.51, -0.125)),
        ("-33.8", "+151.2", (-33.8, 151.2)),
        ("51,25", "-0,5", (51.25, -0.5)),
    ],
)
def test_degrees_may_be_text(
    lat: str, lon: str, expected: tuple[float, float], tmp_path: Path
) -> None:
    line = json.dumps({"file": "a", "lat": lat, "lon": lon})
    assert place(read(tmp_path / "a.jsonl", line)[0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"lat": "33.8S", "gps_latitude_ref": "North"}, Reason.CONTRADICTION),
        ({"lat": "-33.8", "gps_latitude_ref": "N"}, Reason.CONTRADICTION),
        ({"lat": "33.8E"}, Reason.MISSING_REFERENCE),
        ({"lat": "33 51 36"}, Reason.MISSING_REFERENCE),
        ({"lat": "north"}, Reason.NOT_A_NUMBER),
    ],
)
def test_degrees_that_say_two_things_are_a_reject(
    row: dict[str, str], reason: Reason, tmp_path: Path
) -> None:
    (item,) = read(tmp_path / "a.jsonl", json.dumps({"file": "a", "lon": "2"} | row))
    assert isinstance(item, Rejection)
    assert item.reason == reason


EXIFTOOL = {
    "SourceFile": "a.jpg",
    "DateTimeOriginal": "2021:06:15 14:30:00",
    "OffsetTimeOriginal": "+02:00",
    "GPSLatitude": "33 deg 51' 36.00\" S",
    "GPSLongitude": "151 deg 12' 36.00\" E",
    "GPSHPositioningError": "5 m",
    "Artist": "Ada",
    "Copyright": "CC0",
}


def test_what_exiftool_writes_is_read(tmp_path: Path) -> None:
    document = read(tmp_path / "a.json", json.dumps([EXIFTOOL]))
    header = ",".join(EXIFTOOL)
    row = ",".join('"' + value.replace('"', '""') + '"' for value in EXIFTOOL.values())
    numbers = EXIFTOOL | {"GPSLatitude": -33.86, "GPSLatitudeRef": "S", "GPSLongitude": 151.21}
    groups = {
        "SourceFile": "a.jpg",
        **{f"EXIF:{name}": value for name, value in EXIFTOOL.items() if name != "SourceFile"},
        "EXIF:GPSLatitude": 33.86,
        "EXIF:GPSLatitudeRef": "S",
        "EXIF:GPSLongitude": 151.21,
        "EXIF:GPSLongitudeRef": "E",
        "Composite:GPSLatitude": -33.86,
        "Composite:GPSLongitude": 151.21,
    }
    for (item,) in (
        document,
        read(tmp_path / "a.csv", f"{header}\n{row}\n"),
        read(tmp_path / "b.json", json.dumps([numbers])),
        read(tmp_path / "c.json", json.dumps([groups])),
    ):
        assert isinstance(item, Candidate)
        assert place(item) == pytest.approx((-33.86, 151.21))
        assert item.position is not None
        assert item.position.accuracy_m == 5
        assert item.taken_at == datetime(2021, 6, 15, 12, 30, tzinfo=UTC)
        assert (item.author, item.licence) == ("Ada", "CC0")


def test_geoparquet_has_its_position_in_its_geometry(tmp_path: Path) -> None:
    points = [shapely.Point(2, 1), shapely.Point(4, 3), None, shapely.LineString([(0, 0), (1, 1)])]
    wkb = [point and shapely.to_wkb(point) for point in points]
    table = pyarrow.table({"file": ["a", "b", "c", "d"], "place": wkb, "lat": [9.0] * 4})

    def write(crs: Any) -> Path:
        about = {"encoding": "WKB", "geometry_types": []} | crs
        geo = {"version": "1.1.0", "primary_column": "place", "columns": {"place": about}}
        meta = {"geo": json.dumps(geo)}
        pyarrow.parquet.write_table(table.replace_schema_metadata(meta), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    for crs in ({}, {"crs": None}, {"crs": {"id": {"authority": "OGC", "code": "CRS84"}}}):
        items = read(write(crs))
        assert names(items) == ["a", "b", "c", None]
        assert place(items[0]) == (1, 2)
        assert isinstance(items[2], Candidate)
    with pytest.raises(InputError, match="3857"):
        read(write({"crs": {"id": {"authority": "EPSG", "code": 3857}}}))


# ---- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([123.0], "123"),
        ([11_923_649_263.0], "11923649263"),
        ([1.5], "1.5"),
        ([float("nan")], None),
        ([b"J\xc3\xbcrgen"], "Jürgen"),
        ([Decimal("123.00")], "123"),
        ([Decimal("1.25")], "1.25"),
        ([7], "7"),
        ([{"id": 1, "name": "x"}], None),
        ([["Ada", "Grace"]], "Ada; Grace"),
        (pyarrow.array(["Ada"]).dictionary_encode(), "Ada"),
        (pyarrow.array(["Ada"], pyarrow.large_string()), "Ada"),
    ],
    ids=str,
)
def test_typed_values_become_the_text_they_mean(values: Any, text: str, tmp_path: Path) -> None:
    columns = {"file": ["a"], "lat": [1.0], "lon": [2.0], "author": values, "id": values}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    (item,) = read(tmp_path / "a.parquet")
    assert isinstance(item, Candidate)
    assert (item.author, item.source_id) == (text, text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("taken_at", text)
            for text in ("last summer", "0000-00-00 00:00:00", "2021", "05/06/2021")
        ),
        *(("accuracy_m", text) for text in ("-1", "high", "1e12")),
    ],
)
def test_an_unreadable_time_or_accuracy_is_left_out_with_a_warning(
    field: str, value: str, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(photo())
    (tmp_path / "m.csv").write_text(f"file,lat,lon,{field}\na,1,2,{value}\n")
    summary = ingest(database, [tmp_path / "m.csv"], collection="c")
    assert (summary.added, summary.rejected, summary.warnings) == (1, 0, {field: 1})


def test_a_reader_of_queries_settles_their_times(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,lat,lon,taken_at\na.jpg,35.7,139.8,2020-01-02 09:00\n")
    (query,) = manifest_queries(tmp_path / "a.csv").queries
    assert query.taken_at == datetime(2020, 1, 2, tzinfo=UTC)


# ---- how it is written --------------------------------------------------------------------------


def test_a_manifest_that_is_not_utf_8_says_so_and_is_read_when_told(tmp_path: Path) -> None:
    text = "file,lat,lon,author\ncafé.jpg,1,2,José\n"
    for encoding in ("latin-1", "cp1252"):
        (item,) = read(tmp_path / "a.csv", text.encode(encoding))
        assert isinstance(item, Rejection)
        assert "encoding" in item.message
        assert "not UTF-8" in item.message
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-8-sig"):
        (item,) = read(tmp_path / "a.csv", text.encode(encoding), encoding=encoding)
        assert isinstance(item, Candidate)
        assert (Path(item.uri).name, item.author) == ("café.jpg", "José")
    line = json.dumps({"file": "café.jpg"}, ensure_ascii=False).encode("latin-1")
    assert names(read(tmp_path / "a.jsonl", line, encoding="latin-1")) == ["café.jpg"]
    with pytest.raises(InputError, match="encoding utf-16"):
        read(tmp_path / "a.csv", text.encode("utf-16"))
    for unknown in ("latin-99", "base64"):
        with pytest.raises(InputError, match="no encoding"):
            read(tmp_path / "a.csv", text, encoding=unknown)


@pytest.mark.parametrize("hint", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_hint_for_spreadsheets_is_no_row(hint: str, tmp_path: Path) -> None:
    (item,) = read(tmp_path / "a.csv", f"{hint}\r\nfile;lat;lon\r\na;48,85;2,35\r\n")
    assert place(item) == (48.85, 2.35)


FAULTS = {
    "02_quotes_silent.tsv": 5,
    "02_quotes_lost.tsv": 12,
    "08_bbox_xy.csv": 1,
    "09_floatids.parquet": 2,
    "11_cr.csv": 2,
    "12_times.csv": 12,
    "14_geoparquet.parquet": 1,
    "15_sep.csv": 1,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_manifest_whose_rows_were_lost(name: str, shared_data: Path) -> None:
    path = shared_data / "ingest_faults" / name
    if not path.exists():
        pytest.skip(f"there is no {path}")
    items = read(path)
    assert len(items) == FAULTS[name]
    assert all(isinstance(item, Candidate) and item.position for item in items)
    if name == "08_bbox_xy.csv":
        assert place(items[0]) == (-33.8688, 151.2093)
    if name == "09_floatids.parquet":
        assert isinstance(items[0], Candidate)
        assert (items[0].author, items[0].source_id) == ("123", "11923649263")
    if name == "14_geoparquet.parquet":
        assert items[0].position == Position(48.8566, 2.3522, "manifest")  # type: ignore[union-attr]
