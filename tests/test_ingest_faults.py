"""Faults found in real files, by their kind: nothing lost, nothing false, no run ended."""

from __future__ import annotations

import os
import subprocess
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geosearch import images
from geosearch.database.connection import Database
from geosearch.errors import Reason
from geosearch.ingest import ingest, metadata
from geosearch.ingest.examine import examine
from geosearch.ingest.exif import read_exif
from geosearch.ingest.records import Candidate, Photo, Rejection
from geosearch.ingest.rejects import list_rejects

from .photo_files import gps, photo, xmp


@pytest.mark.parametrize(
    "error",
    [KeyError(262), RecursionError(), MemoryError(), ZeroDivisionError(), AssertionError("x")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["examine.read_bytes", "metadata.read_exif", "xmp.shortened"])
def test_whatever_one_file_raises_is_its_reject(
    where: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    file = tmp_path / "a.jpg"
    file.write_bytes(photo(gps(1, 2), xmp=xmp('dc:creator="A"')))
    monkeypatch.setattr(f"geosearch.ingest.{where}", fail)
    found = examine(Candidate(str(file)))
    assert isinstance(found, Rejection)
    assert (found.uri, found.reason) == (str(file), Reason.UNDECODABLE)
    assert type(error).__name__ in found.message


def test_a_run_goes_on_after_a_file_that_raises(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, format in enumerate(("JPEG", "PNG", "JPEG")):
        data = photo(gps(1, 2), shade=number, format=format)
        (tmp_path / f"{number}.jpg").write_bytes(data)
    real = read_exif

    def fail_once(image: Any) -> Any:
        if image.format == "PNG":
            raise KeyError(262)
        return real(image)

    monkeypatch.setattr(metadata, "read_exif", fail_once)
    summary = ingest(database, [tmp_path], collection="a")
    assert (summary.seen, summary.added, summary.rejected) == (3, 2, 1)
    (reject,) = list_rejects(database)
    assert (Path(reject.uri).name, reject.stage) == ("1.jpg", "decode")


def test_folders_may_nest_deeper_than_python_calls(database: Database, tmp_path: Path) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)  # step by step: the kernel takes no path of this length at once
    try:
        for _ in range(1_200):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
        Path("a.jpg").write_bytes(photo(gps(1, 2)))
    finally:
        os.chdir(here)
    (tmp_path / "z.jpg").write_bytes(photo(gps(1, 2), shade=1))
    try:
        summary = ingest(database, [tmp_path], collection="a")
    finally:  # Python's own way to remove folders calls itself for each
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)
    assert (summary.seen, summary.added) == (2, 1)
    assert summary.by_reason == {"bad_row": 1}  # its path does not fit an index


def test_folders_of_systems_are_left_out_and_other_files_counted(
    database: Database, tmp_path: Path
) -> None:
    shades = iter(range(100))

    def put(name: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photo(gps(1, 2), shade=next(shades)))

    for folder in ("@eaDir", "#recycle", "$RECYCLE.BIN", ".thumbnails", ".Trash-1000", "__MACOSX"):
        put(f"2019/{folder}/a.jpg")
    for name in ("2019/a.jpg", "2019/b.JFIF", "2020/a.jpg", "2020/old/c.jpg", "2020/c_edit.jpg"):
        put(name)
    for name in ("2019/a.CR3", "2019/b.x3f", "2019/b.jxl", "2020/b.jxl", "notes"):
        put(name)
    summary = ingest(database, [tmp_path], collection="a", dry_run=True)
    assert (summary.seen, summary.added) == (5, 5)
    assert summary.unread == {".cr3": 1, ".x3f": 1, ".jxl": 2, "no ending": 1}
    for exclude, left in ((["old"], 4), (["2019/*"], 3), (["*_edit.*", "2020/old/*"], 3)):
        summary = ingest(database, [tmp_path], collection="a", exclude=exclude, dry_run=True)
        assert summary.added == left


def test_a_name_of_a_manifest_is_found_as_it_is_on_the_disk(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / unicodedata.normalize("NFD", "é.jpg")).write_bytes(photo(shade=1))
    (tmp_path / unicodedata.normalize("NFC", "ü.jpg")).write_bytes(photo(shade=2))
    rows = ["sub\\\\é.jpg", unicodedata.normalize("NFD", "ü.jpg"), "C:\\\\Users\\\\x.jpg", "y.jpg"]
    text = "".join(f'{{"file": "{name}", "lat": 1, "lon": 2}}\n' for name in rows)
    (tmp_path / "m.jsonl").write_text(text)
    summary = ingest(database, [tmp_path / "m.jsonl"], collection="a")
    assert (summary.added, summary.rejected) == (2, 2)
    said = [reject.message for reject in list_rejects(database)]
    assert sum("Windows" in message for message in said) == 1
    with database.connection() as connection:
        found = connection.execute("SELECT uri FROM geosearch.photos").fetchall()
    assert all(Path(uri).exists() for (uri,) in found)


#: What photos of the folder of faults say: position, time, its zone, author, licence; or a defect.
PHOTOS: dict[str, tuple[Any, ...] | Reason] = {
    "01_photometric3.jpg": (None, None, None, None, None),
    "03_16bit_a.png": ((48, 2), None, None, None, None),
    "04_utf8_artist_copyright.jpg": (
        *((48, 2), "2021-06-15T12:30:00Z", "position", "Jürgen", "© 2021 Jürgen"),
    ),
    "05_gps_1970.jpg": ((51.5, -0.12), "2018-09-21T17:49:01Z", "position", None, None),
    "06_dto_with_zone.jpg": ((48.8566, 2.3522), "2015-02-01T13:42:59Z", "known", None, None),
    "06_offsettime_only.jpg": ((48.8566, 2.3522), "2021-06-15T12:30:00Z", "known", None, None),
    "07_xmp_location_shown.jpg": (None, "2021-06-15T14:30:00Z", "assumed", None, None),
    "07_xmp_ref_contradict.jpg": Reason.CONTRADICTION,
    "10_big_xmp.png": ((49.9134072, 16.6134169), None, None, "Žofie", None),
    "17_xmp_dji_only.jpg": (
        *((44.5135795, -64.3007844), "2021-06-15T17:30:00Z", "position", None, None),
    ),
    "18_xmp_ok.jpg": ((49.9134072, 16.6134169), None, None, "Ann", None),
    "18_xmp_utf16be.jpg": ((49.9134072, 16.6134169), None, None, "Ann", None),
    "19_no_eoi.jpg": ((48.8566, 2.3522), "2021-06-15T12:30:00Z", "position", None, None),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_that_was_read_wrongly(name: str, shared_data: Path) -> None:
    file = shared_data / "ingest_faults" / name
    if not file.exists():
        pytest.skip(f"there is no {file}")
    found = examine(Candidate(str(file)))
    expected = PHOTOS[name]
    assert isinstance(found, Photo)
    if isinstance(expected, Reason):
        assert found.defect is not None
        assert found.defect.reason == expected
        return
    place, time, *rest = expected
    position = found.position and (found.position.lat, found.position.lon)
    assert position == (place and pytest.approx(place))
    assert found.taken_at == (time and datetime.fromisoformat(time))
    assert [found.taken_at_zone, found.author, found.licence] == rest


def test_a_picture_of_sixteen_bits_is_not_all_white(shared_data: Path) -> None:
    file = shared_data / "ingest_faults" / "03_16bit_a.png"
    if not file.exists():
        pytest.skip(f"there is no {file}")
    pixels = np.asarray(images.decode(images.open_image(file.read_bytes())))
    assert pixels.min() < 100 < 150 < pixels.max()
