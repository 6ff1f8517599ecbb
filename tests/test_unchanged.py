"""An ingest opens only what changed; a collection is kept in step with a folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from geosearch import storage
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.deletion.missing_photos import delete_missing
from geosearch.deletion.photo_deletion import delete_photos
from geosearch.errors import InputError
from geosearch.ingest import IngestSummary, examine, ingest
from geosearch.ingest.watching import changes
from geosearch.retrieval.filters import where
from geosearch.settings import ImageSettings
from geosearch.storage import read_bytes
from tests.command_line import CommandLine
from tests.photo_files import gps, photo
from tests.rows import fetch
from tests.test_ingest import counts, manifest

Read = Callable[..., tuple[IngestSummary, list[str]]]


@pytest.fixture
def read(database: Database, tmp_path: Path) -> Read:
    """Ingests the folder, or what else is named; gives the names of the files that were opened."""

    def run(*sources: Path, **options: Any) -> tuple[IngestSummary, list[str]]:
        opened: list[str] = []

        def reading(uri: str) -> bytes:
            opened.append(Path(uri).name)
            return read_bytes(uri)

        with patch.object(examine, "read_bytes", reading):
            options = {"skip_unlocated": True} | options
            summary = ingest(database, sources or [tmp_path], collection="c", **options)
        return summary, sorted(opened)

    return run


def put(file: Path, data: bytes, *, age: float = 60) -> Path:
    """A file that was last changed so many seconds ago."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    then = time.time() - age
    os.utime(file, (then, then))
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photo, a copy of it, one without a position, and one that is broken."""
    put(tmp_path / "a.jpg", photo(gps(1, 2), shade=1))
    put(tmp_path / "copy.jpg", photo(gps(1, 2), shade=1))
    put(tmp_path / "nowhere.jpg", photo(shade=2))
    put(tmp_path / "broken.jpg", b"no picture")
    return tmp_path


def test_unchanged_files_are_not_opened_and_count_as_what_they_were(
    database: Database, folder: Path, read: Read
) -> None:
    first, opened = read()
    assert (first.unchanged, len(opened)) == (0, 4)
    again, opened = read()
    assert (again.unchanged, opened) == (4, [])
    assert counts(again) == {
        "seen": 4,
        "duplicates": 2,
        "unlocated": 1,
        "rejected": 1,
        "by_reason": {"undecodable": 1},
    }
    # The reject is one still, and says which run saw it last.
    assert fetch(database, "SELECT uri, run_id FROM geosearch.rejects") == [
        (str(folder / "broken.jpg"), again.run_id)
    ]
    assert len(read(rehash=True)[1]) == 4
    assert len(read(skip_unlocated=False)[1]) == 4  # which would store what was not
    assert read(skip_unlocated=False)[1] == []


def test_what_changed_is_read(database: Database, folder: Path, read: Read) -> None:
    read()
    put(folder / "a.jpg", photo(gps(3, 4), shade=1), age=30)
    put(folder / "nowhere.jpg", photo(shade=2), age=10)  # only its time
    put(folder / "new.jpg", photo(gps(5, 6), shade=3))
    summary, opened = read()
    assert opened == ["a.jpg", "copy.jpg", "new.jpg", "nowhere.jpg"]
    # The copy is one no more.
    assert (summary.added, summary.replaced, summary.unchanged) == (3, 1, 1)
    assert read()[1] == []


def test_a_file_changed_just_now_may_change_again(tmp_path: Path, read: Read) -> None:
    put(tmp_path / "a.jpg", photo(gps(1, 2)), age=0.1)
    read()
    assert read()[1] == ["a.jpg"]


def test_what_may_fare_better_is_read_each_time(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.jpg", photo(gps(1, 2)))
    with monkeypatch.context() as limited:
        limited.setenv("GEOSEARCH_MAX_BYTES", "10")
        limited.setattr(storage, "image_settings", ImageSettings)
        for _ in range(2):
            assert read()[0].by_reason == {"too_large": 1}
    assert read()[0].added == 1


def test_rows_of_a_manifest_are_read_when_they_say_something_else(
    tmp_path: Path, read: Read
) -> None:
    put(tmp_path / "a.jpg", photo(shade=1))
    put(tmp_path / "b.jpg", photo(shade=2))
    table = manifest(tmp_path / "m.csv", "file,lat,lon", "a.jpg,1,2", "b.jpg,,")
    assert counts(read(table)[0]) == {"seen": 2, "added": 1, "unlocated": 1}
    manifest(table, "file,lat,lon", "broken,1", "a.jpg,1,2", "b.jpg,3,4")
    summary, opened = read(table)
    assert opened == ["b.jpg"]
    assert (summary.added, summary.duplicates, summary.rejected) == (1, 1, 1)
    # Row 1 was no row then, and is an unchanged file now: its reject goes.
    manifest(table, "file,lat,lon", "a.jpg,1,2", "b.jpg,3,4")
    summary, opened = read(table)
    assert (opened, summary.rejected) == ([], 0)
    assert read(table)[0].duplicates == 2


def test_photos_that_were_deleted_are_read_again(
    database: Database, folder: Path, read: Read
) -> None:
    read()
    delete_photos(database, where(collection="c"))
    assert read()[1] == ["a.jpg", "copy.jpg"]


def test_a_moved_file_takes_its_photo_along(database: Database, folder: Path, read: Read) -> None:
    read()
    before = fetch(database, "SELECT id FROM geosearch.photos")
    (folder / "copy.jpg").unlink()
    (folder / "old").mkdir()
    (folder / "a.jpg").rename(folder / "old" / "z.jpg")
    summary, _ = read()
    assert (summary.moved, summary.duplicates, summary.added) == (1, 1, 0)
    ((key, uri),) = fetch(database, "SELECT id, uri FROM geosearch.photos")
    assert ([(key,)], uri) == (before, str(folder / "old" / "z.jpg"))


def test_a_copy_takes_the_place_of_the_file_that_is_gone(
    database: Database, folder: Path, read: Read
) -> None:
    read()
    (folder / "a.jpg").unlink()
    summary, opened = read()
    assert (opened, summary.moved) == (["copy.jpg"], 1)
    assert fetch(database, "SELECT uri FROM geosearch.photos") == [(str(folder / "copy.jpg"),)]


def test_a_copy_read_before_its_original_was_edited_is_read_again(
    tmp_path: Path, database: Database, read: Read
) -> None:
    put(tmp_path / "b.jpg", photo(gps(1, 2)))
    read()
    put(tmp_path / "a.jpg", photo(gps(1, 2)))
    put(tmp_path / "b.jpg", photo(gps(3, 4)))
    read()
    assert (read()[0].added, read()[0].unchanged) == (1, 2)
    assert len(fetch(database, "SELECT FROM geosearch.photos")) == 2


def test_files_follow_their_collection_to_its_shelf(
    database: Database, folder: Path, read: Read
) -> None:
    read()
    for private in (True, False):
        with database.connection() as connection:
            set_private(connection, "c", private=private)
        assert read()[0].unchanged == 4
    assert fetch(database, "SELECT count(*), max(shelf) FROM geosearch.files") == [(4, 0)]


# ---- a folder that is watched -------------------------------------------------------------------


def test_a_folder_is_read_when_it_has_changed_and_come_to_rest(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", b"1")
    steps: Iterator[Callable[[], object]] = iter(
        [
            lambda: None,
            lambda: put(tmp_path / "b.jpg", b"half"),
            lambda: put(tmp_path / "b.jpg", b"half and half"),
            lambda: None,  # it rests: the second time
            lambda: None,
            lambda: (tmp_path / "a.jpg").unlink(),
            lambda: None,  # the third
        ]
    )
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        next(steps)()

    found = changes(tmp_path, interval=5, wait=wait)
    assert [len(waited) for _ in zip(range(3), found, strict=False)] == [0, 4, 7]
    assert set(waited) == {5}
    with pytest.raises(InputError, match="cannot be watched"):
        next(changes("https://example.org/a.jpg"))


def test_watching_ends_in_words_and_removes_what_is_gone(
    database: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(database.url, capsys)
    words = ("ingest", folder, "--collection", "c", "--watch", "--remove-missing", "--json")
    looks: Iterator[Callable[[], object]] = iter([(folder / "nowhere.jpg").unlink, lambda: None])

    def wait(_: float) -> None:
        next(looks, interrupt)()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with patch("geosearch.ingest.watching.changes", partial(changes, wait=wait)):
        done = command(*words)
    assert done.code == 0
    assert "The same command goes on from here" in done.err
    passes = [json.loads(text) for text in done.out.replace("}\n{", "}\0{").split("\0")]
    assert [each["seen"] for each in passes] == [4, 3]


def test_photos_whose_files_are_gone_are_removed_unless_all_are(
    database: Database, folder: Path, read: Read
) -> None:
    put(folder / "b.jpg", photo(gps(5, 6), shade=5))
    read()
    for name in ("a.jpg", "copy.jpg", "broken.jpg"):
        (folder / name).unlink()
    assert delete_missing(database, folder, collection="c") == 1
    assert fetch(database, "SELECT uri FROM geosearch.photos") == [(str(folder / "b.jpg"),)]
    assert fetch(database, "SELECT FROM geosearch.rejects") == []
    (folder / "b.jpg").unlink()
    with pytest.raises(InputError, match="none of the 1 photos"):
        delete_missing(database, folder, collection="c")
