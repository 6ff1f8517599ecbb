"""The field's test sets: tables, folders of images, positions in JPEG comments."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import EXIT_SOME_REJECTED, InputError, Reason
from geosearch.evaluation import Labelled
from geosearch.evaluation.sets import SETS, read_set
from tests.command_line import CommandLine

TABLE = """IMG_ID,AUTHOR,LAT,LON
11_aa_1@N00.jpg,cut off_1@N00,10.5,-20.25
22_bb_2@N01.jpg,2@N01,-33,151
33_cc_3@N02.jpg,3@N02,91,0
44_dd_4@N03.jpg,4@N03,here,there
55_ee_5@N04.jpg,5@N04,1,2
"""


def touch(folder: Path, names: Iterable[str]) -> Path:
    """Empty files: reading a set looks at names only."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


def photo(*comments: str) -> bytes:
    """A JPEG with comment segments."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(stream, "JPEG")
    data = stream.getvalue()
    segments = b"".join(
        b"\xff\xfe" + (len(text.encode()) + 2).to_bytes(2, "big") + text.encode()
        for text in comments
    )
    return data[:2] + segments + data[2:]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "table.csv"
    file.write_text(TABLE)
    return file


def test_a_table_names_queries_missing_images_and_images_without_label(
    table: Path, tmp_path: Path
) -> None:
    names = ["11_aa_1@N00.jpg", "sub/22_bb_2@N01.jpg", "33_cc_3@N02.jpg", "99_zz_9@N09.jpg"]
    folder = touch(tmp_path / "images", names)
    found = read_set("im2gps3k", folder, table)
    assert found.name == "im2gps3k"
    assert found.queries == (
        Labelled(str(folder / "11_aa_1@N00.jpg"), (10.5, -20.25), "1@N00"),
        Labelled(str(folder / "sub" / "22_bb_2@N01.jpg"), (-33.0, 151.0), "2@N01"),
    )
    assert [(item.photo, item.reason) for item in found.failures] == [
        (str(folder / "33_cc_3@N02.jpg"), Reason.OUT_OF_RANGE),
        ("44_dd_4@N03.jpg", Reason.NOT_A_NUMBER),
        ("55_ee_5@N04.jpg", Reason.MISSING),
        (str(folder / "99_zz_9@N09.jpg"), Reason.UNLABELLED),
    ]


def test_an_image_at_its_path_goes_before_another_of_its_name(tmp_path: Path) -> None:
    folder = touch(tmp_path / "images", ["a/1.jpg", "b/1.jpg"])
    table = tmp_path / "table.csv"
    table.write_text("IMG_ID,LAT,LON\nb/1.jpg,1,1\na/1.jpg,2,2\n")
    found = read_set("yfcc26k", folder, table)
    assert [(query.uri, query.truth[0]) for query in found.queries] == [
        (str(folder / "b/1.jpg"), 1),
        (str(folder / "a/1.jpg"), 2),
    ]


def test_the_page_of_a_photo_gives_its_author(tmp_path: Path) -> None:
    folder = touch(tmp_path / "images", ["1.jpg", "2.jpg", "3.jpg"])
    table = tmp_path / "table.csv"
    table.write_text(
        "IMG_ID,LAT,LON,PhotoPageURL\n"
        "1.jpg,1,1,http://www.flickr.com/photos/7@N05/1/\n"
        "2.jpg,2,2,http://www.flickr.com/photos/an_alias/2/\n"
        "3.jpg,3,3,\n"
    )
    found = read_set("yfcc4k", folder, table)
    assert [query.author for query in found.queries] == ["7@N05", "an_alias", None]


def test_positions_are_read_from_jpeg_comments(tmp_path: Path) -> None:
    files = {
        "1_a_5@N00.jpg": photo("photo: 1 a 3", "latitude: -16.663606", "longitude: 145.563537"),
        "2.jpg": photo("owner: 6@N01", "title: latitude 7", "latitude 48.5\nlongitude -3e-1"),
        "3.jpg": photo("latitude: 10"),
        "4.jpg": photo(),
        "5.jpg": photo("latitude: 95", "longitude: 3"),
        "6.jpg": b"not a photo",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    found = read_set("im2gps", tmp_path)
    assert found.queries == (
        Labelled(str(tmp_path / "1_a_5@N00.jpg"), (-16.663606, 145.563537), "5@N00"),
        Labelled(str(tmp_path / "2.jpg"), (48.5, -0.3), "6@N01"),
    )
    assert [(Path(item.photo).name, item.reason) for item in found.failures] == [
        ("3.jpg", Reason.UNLABELLED),
        ("4.jpg", Reason.UNLABELLED),
        ("5.jpg", Reason.OUT_OF_RANGE),
        ("6.jpg", Reason.UNDECODABLE),
    ]


def test_what_cannot_be_read_is_said(table: Path, tmp_path: Path) -> None:
    folder = touch(tmp_path / "images", ["11_aa_1@N00.jpg"])
    with pytest.raises(InputError, match="set_name: 'paris'"):
        read_set("paris", folder, table)
    with pytest.raises(InputError, match="carry no positions"):
        read_set("yfcc4k", folder)
    with pytest.raises(InputError, match="there is no"):
        read_set("im2gps", tmp_path / "elsewhere", table)
    with pytest.raises(InputError, match="none of the photos there is part of im2gps"):
        read_set("im2gps", touch(tmp_path / "others", ["x.jpg"]), table)
    with pytest.raises(InputError, match=r"cannot read the table .*no\.csv"):
        read_set("im2gps", folder, tmp_path / "no.csv")
    table.write_text("uri,lat,lon\na,1,2\n")
    with pytest.raises(InputError, match="has no column IMG_ID, LAT, LON"):
        read_set("im2gps", folder, table)


REAL = {
    "im2gps": "im2gps237_gt.csv",
    "im2gps3k": "im2gps3k_gt.csv",
    "yfcc4k": "yfcc4k_gt.csv",
    "yfcc26k": "yfcc25600_gt.csv",
}


@pytest.mark.parametrize("name", REAL)
def test_the_published_tables_are_read_whole(name: str, shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "tables" / REAL[name]
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    # A thousand suffice to see that each row finds its image; 40 of them are not there.
    there, absent = rows[:960], rows[960:1000] if len(rows) > 1000 else rows[200:]
    there = [row for row in there if row not in absent]
    folder = touch(tmp_path, (row["IMG_ID"] for row in there))
    found = read_set(name, folder, table)
    assert len(found) == len(there)
    missing = [item.photo for item in found.failures]
    assert {item.reason for item in found.failures} == {Reason.MISSING}
    assert len(found) + len(missing) == len(rows) == SETS[name].labels
    assert missing[: len(absent)] == [row["IMG_ID"] for row in absent]
    for query, row in zip(found.queries, there, strict=True):
        assert query.uri == str(folder / row["IMG_ID"])
        assert query.truth == (float(row["LAT"]), float(row["LON"]))
        assert query.author is not None
        assert re.fullmatch(r"\d+@N\d+", query.author)


def test_the_published_positions_survive_as_comments(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "tables" / "im2gps237_gt.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        lines = (f"latitude: {row['LAT']}", f"longitude: {row['LON']}", "accuracy: 16")
        (tmp_path / row["IMG_ID"]).write_bytes(photo(*lines))
    by_comment = read_set("im2gps", tmp_path)
    by_table = read_set("im2gps", tmp_path, shared_data / "tables" / "im2gps237_gt.csv")
    assert not by_comment.failures
    assert sorted(by_comment.queries, key=lambda query: query.uri) == sorted(
        by_table.queries, key=lambda query: query.uri
    )
    assert len(by_comment) == 237


def test_a_set_is_evaluated_with_what_is_missing_listed(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gs = Geosearch(database)
    references, images = tmp_path / "references", tmp_path / "images"
    references.mkdir()
    images.mkdir()
    lines = ["uri,lat,lon,author"]
    for number, hue in enumerate(range(0, 360, 60)):
        name = f"{number}.png"
        Image.new("RGB", (64, 64), f"hsl({hue}, 80%, 50%)").save(references / name)
        lines.append(f"{name},{hue / 6},{hue / 3},{number}@N00")
    (references / "manifest.csv").write_text("\n".join(lines))
    gs.ingest(references / "manifest.csv", collection="colours")
    gs.embed()
    for name, hue in (("1_a_7@N00.png", 61), ("2_b_2@N00.png", 121), ("9_z_9@N09.png", 5)):
        Image.new("RGB", (64, 64), f"hsl({hue}, 80%, 50%)").save(images / name)
    table = tmp_path / "table.csv"
    table.write_text(
        "IMG_ID,LAT,LON\n1_a_7@N00.png,10,20\n2_b_2@N00.png,20,40\n3_c_3@N00.png,30,60\n"
    )
    command = CommandLine(database.url, capsys)
    options = ("evaluate", table, "--set", "im2gps", "--images", images, "--method", "nearest")
    ran = command(*options, "--include-duplicates", "--k", 3, "--json")
    assert ran.code == EXIT_SOME_REJECTED
    printed = ran.json()
    assert printed["n"] == 2
    assert printed["missing"] == ["3_c_3@N00.png"]
    assert printed["unlabelled"] == [str(images / "9_z_9@N09.png")]
    # The first finds its colour; of the second, the reference of that colour is by its author.
    assert printed["excluded"] == {"same_bytes": 0, "duplicates": 0, "author": 1}
    assert printed["accuracy"]["1"] == 0.5
    assert "237 labels as published; here are 3" in ran.err
    shown = command(*options)
    assert shown.code == EXIT_SOME_REJECTED
    assert "missing: 3_c_3@N00.png" in shown.err
