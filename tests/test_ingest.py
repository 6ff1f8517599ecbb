"""Ingest into the database: what is stored, what is rejected, and what running it again does."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import psycopg
import pytest
from PIL import ExifTags

from geosearch.database.connection import Database
from geosearch.errors import DatabaseError, InputError, NotFoundError, PhotoRejected, Reason
from geosearch.ingest import IngestSummary, ingest, ingest_run
from geosearch.ingest.examine import examine
from geosearch.ingest.records import Candidate, Rejection
from geosearch.ingest.rejects import list_rejects
from geosearch.parallel import ordered_map
from geosearch.storage import read_bytes

from .photo_files import bomb, gps, photo, xmp

#: Everything of a collection but ids, runs and times of writing.
_PHOTOS = """
    SELECT uri, sha256, size_bytes, width, height, format, ST_Y(geom), ST_X(geom), position_source,
        accuracy_m, taken_at, author, licence, title, source_id, exif
    FROM geosearch.photos
    ORDER BY uri
"""
_REJECTS = """
    SELECT r.uri, r.stage, r.reason, r.message, p.uri
    FROM geosearch.rejects r
    LEFT JOIN geosearch.photos p ON p.id = r.photo_id
    ORDER BY r.uri
"""


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connection() as connection:
        return connection.execute(query).fetchall()


def content(database: Database) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    return rows(database, _PHOTOS), rows(database, _REJECTS)


def write(folder: Path, **files: bytes) -> Path:
    """Write files named by keyword; `_` in a name stands for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def manifest(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def assert_adds_up(summary: IngestSummary) -> None:
    """Every item seen is accounted for once."""
    ended = (
        summary.added
        + summary.duplicates
        + summary.rejected
        + summary.unlocated
        + summary.estimated
    )
    assert summary.seen == ended
    assert summary.rejected == sum(summary.by_reason.values())
    assert summary.kept_unlocated <= summary.rejected + summary.unlocated


def counts(summary: IngestSummary) -> dict[str, Any]:
    assert_adds_up(summary)
    found = summary.to_json()
    del found["run_id"], found["unchanged"]  # how fast a test runs decides it: test_unchanged.py
    return {name: count for name, count in found.items() if count}


# ---- real files ---------------------------------------------------------------------------------


@pytest.mark.system
def test_hard_files_have_the_positions_exiftool_reads(
    module_database: Database, shared_data: Path
) -> None:
    folder = shared_data / "exif_hard"
    summary = ingest(module_database, [folder], collection="hard")
    assert_adds_up(summary)
    assert summary.seen == 49
    assert summary.added == 22
    with module_database.connection() as connection:
        positions = {
            Path(uri).name: (lat, lon)
            for uri, lat, lon in connection.execute(
                "SELECT uri, ST_Y(geom), ST_X(geom) FROM geosearch.photos WHERE geom IS NOT NULL"
            )
        }
    reasons = {
        Path(reject.uri).name: reject.reason
        for reject in list_rejects(module_database, collection="hard")
    }
    with (folder / "expected.csv").open(newline="") as stream:
        expected = {row["file"]: row for row in csv.DictReader(stream)}
    assert len(expected) == 49
    for file, row in expected.items():
        if not row["lat"]:
            assert file not in positions
        elif (float(row["lat"]), float(row["lon"])) == (0, 0):
            assert file not in positions
            assert reasons[file] == Reason.ZERO_ZERO
        else:
            lat, lon = float(row["lat"]), float(row["lon"])
            if file == "drewnoakes__jpg_FLIR_iPhone_device.jpg":
                # The table gives the FLIR record's degrees without its letter, which is W.
                lon = -lon
            assert positions[file] == pytest.approx((lat, lon), abs=1e-5), file
        if row["case"] == "undecodable":
            assert reasons[file] in (Reason.UNDECODABLE, Reason.TRUNCATED)


def test_the_open_photos_are_ingested_by_their_manifest(
    database: Database, shared_data: Path
) -> None:
    path = shared_data / "photos_open" / "photos.csv"
    assert counts(ingest(database, [path], collection="open")) == {"seen": 434, "added": 434}
    with path.open(newline="") as stream:
        expected = sorted(
            (str(path.parent / row["file"]), float(row["lat"]), float(row["lon"]), row["licence"])
            for row in csv.DictReader(stream)
        )
    stored = rows(
        database,
        "SELECT uri, ST_Y(geom), ST_X(geom), licence FROM geosearch.photos "
        "WHERE position_source = 'manifest' AND ST_SRID(geom) = 4326",
    )
    assert sorted(stored) == expected


# ---- what is stored -----------------------------------------------------------------------------


def test_a_photo_is_stored_with_all_that_is_known_of_it(database: Database, tmp_path: Path) -> None:
    data = photo(gps(-33.5, 151.25), size=(40, 30))
    folder = write(tmp_path / "photos", a_jpg=data)
    summary = ingest(
        database, [folder], collection="c", author="Ada", licence="CC0-1.0", decode=False
    )
    ((*stored, exif),) = rows(database, _PHOTOS)
    assert stored == [
        *(str(folder / "a.jpg"), hashlib.sha256(data).digest(), len(data), 40, 30, "JPEG"),
        *(-33.5, 151.25, "exif", None, None, "Ada", "CC0-1.0", None, None),
    ]
    assert exif["GPSLatitude"] == [33, 30, 0]
    ((kind, sources, finished, run_counts),) = rows(
        database, "SELECT kind, sources, finished_at IS NOT NULL, counts FROM geosearch.runs"
    )
    assert (kind, sources, finished) == ("ingest", [str(folder)], True)
    assert run_counts == summary.to_json()


def test_a_manifest_goes_before_exif_and_exif_fills_what_it_leaves_out(
    database: Database, tmp_path: Path
) -> None:
    write(tmp_path, a_jpg=photo(gps(1, 2), shade=1), b_jpg=photo(gps(3, 4), shade=2), c_jpg=photo())
    path = manifest(
        tmp_path / "m.csv",
        "file,lat,lon,author,date,accuracy_m,id,title",
        "a.jpg,10,20,Grace,2001-02-03,5,007,Bridge",
        "b.jpg,,,,,,,",
        "c.jpg,,,,,,,",
    )
    assert counts(ingest(database, [path], collection="c", author="Ada")) == {
        "seen": 3,
        "added": 2,
        "unlocated": 1,
        "kept_unlocated": 1,
    }
    a, b, c = rows(database, _PHOTOS)
    assert a[6:15] == (
        # midnight in Chad
        *(10.0, 20.0, "manifest", 5.0, datetime(2001, 2, 2, 23, tzinfo=UTC), "Grace"),
        *(None, "Bridge", "007"),
    )
    assert b[6:15] == (3.0, 4.0, "exif", None, None, "Ada", None, None, None)
    assert c[6:15] == (None, None, None, None, None, "Ada", None, None, None)


def test_what_cannot_be_used_is_a_reject_row_with_file_stage_and_reason(
    database: Database, tmp_path: Path
) -> None:
    good = photo(gps(1, 2), size=(300, 200))
    folder = write(
        tmp_path / "photos",
        bomb_png=bomb(60_000),
        empty_jpg=b"",
        good_jpg=good,
        text_jpg=b"not a photo",
        truncated_jpg=good[: len(good) - 200],
        zero_jpg=photo(gps(0, 0)),
    )
    path = manifest(tmp_path / "m.csv", "file,lat,lon", "gone.jpg,1,2", "x.jpg,1,200", "x.jpg,a,2")
    summary = ingest(database, [folder, path], collection="c")
    assert counts(summary) == {
        "seen": 9,
        "added": 1,
        "kept_unlocated": 1,
        "rejected": 8,
        "by_reason": {
            "not_a_number": 1,
            "out_of_range": 1,
            "too_large": 1,
            "truncated": 1,
            "undecodable": 2,
            "unreadable": 1,
            "zero_zero": 1,
        },
    }
    found = list_rejects(database, collection="c")
    assert [(reject.uri, reject.stage, reject.reason) for reject in found] == [
        (str(folder / "bomb.png"), "decode", "too_large"),
        (str(folder / "empty.jpg"), "decode", "undecodable"),
        (str(folder / "text.jpg"), "decode", "undecodable"),
        (str(folder / "truncated.jpg"), "decode", "truncated"),
        (str(folder / "zero.jpg"), "position", "zero_zero"),
        (str(tmp_path / "gone.jpg"), "read", "unreadable"),
        (f"{path}#2", "manifest", "out_of_range"),
        (f"{path}#3", "manifest", "not_a_number"),
    ]
    assert {reject.run_id for reject in found} == {summary.run_id}
    assert len(list_rejects(database, stage="manifest", limit=1)) == 1


def test_rejects_of_an_unknown_collection_or_stage_are_errors(database: Database) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        list_rejects(database, collection="nowhere")
    with pytest.raises(InputError, match="lunch"):
        list_rejects(database, stage="lunch")


def test_photos_without_a_usable_position_are_kept_unless_asked_otherwise(
    database: Database, tmp_path: Path
) -> None:
    folder = write(tmp_path / "photos", bare_jpg=photo(), text_jpg=b"no", zero_jpg=photo(gps(0, 0)))
    without = ingest(database, [folder], collection="c", skip_unlocated=True)
    assert counts(without) == {
        "seen": 3,
        "unlocated": 1,
        "rejected": 2,
        "by_reason": {"undecodable": 1, "zero_zero": 1},
    }
    assert rows(database, _PHOTOS) == []
    kept = ingest(database, [folder], collection="c")
    assert counts(kept) == counts(without) | {"kept_unlocated": 2}
    stored, rejects = content(database)
    assert [(row[0], row[6], row[8]) for row in stored] == [
        (str(folder / "bare.jpg"), None, None),
        (str(folder / "zero.jpg"), None, None),
    ]
    assert [(row[2], row[4]) for row in rejects] == [
        ("undecodable", None),
        ("zero_zero", str(folder / "zero.jpg")),
    ]
    again = ingest(database, [folder], collection="c")
    assert counts(again) == {
        "seen": 3,
        "duplicates": 1,
        "rejected": 2,
        "by_reason": {"undecodable": 1, "zero_zero": 1},
    }
    assert content(database) == (stored, rejects)


def test_texts_too_long_for_an_index_are_cut_wherever_they_stand(
    database: Database, tmp_path: Path
) -> None:
    # Characters of four bytes without a pattern: nothing an index could compress.
    long = "".join(chr(0x10000 + n * 7919 % 60_000) for n in range(9000))
    write(
        tmp_path,
        a_jpg=photo(gps(1, 2), shade=1, image_tags={ExifTags.Base.Artist: "x" * 9000}),
        b_jpg=photo(shade=2, xmp=xmp(f'dc:creator="{long}"')),
        c_jpg=photo(shade=3),
    )
    path = manifest(
        tmp_path / "m.csv",
        *("file,lat,lon,author,licence,title,id", "a.jpg,,,,,,", "b.jpg,1,2,,,,"),
        "c.jpg,1,2" + f",{long}" * 4,
    )
    assert counts(ingest(database, [path], collection="c")) == {"seen": 3, "added": 3}
    a, b, c = (row[11:15] for row in rows(database, _PHOTOS))
    assert a[0] == "x" * 1000
    assert b[0] == long[:500]
    assert c == (long[:500],) * 4


def test_a_uri_too_long_for_an_index_is_a_reject(database: Database, tmp_path: Path) -> None:
    name = "é" * 2000 + ".jpg"
    path = manifest(tmp_path / "m.csv", "file,lat,lon", f"{name},1,2")
    for _ in range(2):
        assert counts(ingest(database, [path], collection="c"))["by_reason"] == {"bad_row": 1}
    (reject,) = list_rejects(database)
    assert (reject.uri, reject.stage) == (f"{path}#1", "manifest")
    found = examine(Candidate(f"/{name}"))
    assert isinstance(found, Rejection)
    assert (found.uri, found.reason) == ("/" + "é" * 999, Reason.BAD_ROW)


# To psycopg a full disk is an OperationalError, as a lost connection is.
_DISK_FULL = """
    CREATE FUNCTION geosearch.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the disk is full' USING ERRCODE = 'disk_full';
    END
    $$;
    CREATE TRIGGER disk_full BEFORE INSERT ON geosearch.all_photos
    EXECUTE FUNCTION geosearch.disk_full();
"""


def test_only_a_database_that_went_away_is_said_to_be_lost(
    database: Database, tmp_path: Path
) -> None:
    folder = write(tmp_path, a_jpg=photo(gps(1, 2)))
    with database.connection() as connection:
        connection.execute(_DISK_FULL)
    with pytest.raises(DatabaseError, match="refused: the disk is full"):
        ingest(database, [folder], collection="c")
    with database.connection() as connection:
        connection.execute("DROP TRIGGER disk_full ON geosearch.all_photos")

    def terminate(done: int, total: int | None) -> None:
        if done == 1:
            with psycopg.connect(database.url) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    with pytest.raises(DatabaseError, match="lost"):
        ingest(database, [folder], collection="c", progress=terminate)


@pytest.mark.parametrize("name", ["latin\udce9", "a\0b", "n" * 1001])
def test_a_collection_that_cannot_be_named_so_is_an_error(
    database: Database, tmp_path: Path, name: str
) -> None:
    folder = write(tmp_path, a_jpg=photo(gps(1, 2)))
    with pytest.raises(InputError, match="collection: "):
        ingest(database, [folder], collection=name)
    with pytest.raises(InputError, match="collection: "):
        list_rejects(database, collection=name)


def test_a_folder_whose_name_is_not_unicode_is_recorded(database: Database, tmp_path: Path) -> None:
    folder = write(tmp_path / "latin\udce9", a_jpg=photo(gps(1, 2)))
    assert counts(ingest(database, [folder], collection="c"))["rejected"] == 1
    assert rows(database, "SELECT sources FROM geosearch.runs") == [
        ([str(tmp_path / "latin\\xe9")],)
    ]


# ---- running it again ---------------------------------------------------------------------------


def test_a_second_run_changes_nothing(database: Database, tmp_path: Path) -> None:
    files = {f"p{n}_jpg": photo(gps(n, n), shade=n) for n in range(1, 20)}
    folder = write(tmp_path / "photos", **files, zero_jpg=photo(gps(0, 0)))
    assert counts(ingest(database, [folder], collection="c"))["added"] == 19
    before = content(database)
    again = ingest(database, [folder], collection="c")
    assert counts(again) == {
        "seen": 20,
        "duplicates": 19,
        "rejected": 1,
        "by_reason": {"zero_zero": 1},
    }
    assert content(database) == before


def test_the_same_bytes_are_one_photo_per_collection_and_the_first_wins(
    database: Database, tmp_path: Path
) -> None:
    write(tmp_path, a_jpg=photo(gps(1, 2)), b_jpg=photo(gps(1, 2)))
    path = manifest(tmp_path / "m.csv", "file,lat,lon", "b.jpg,10,20", "a.jpg,30,40")
    assert counts(ingest(database, [path], collection="c")) == {
        "seen": 2,
        "added": 1,
        "duplicates": 1,
    }
    assert counts(ingest(database, [tmp_path], collection="c")) == {
        "seen": 2,
        "duplicates": 2,
        "unread": {".csv": 1},
    }
    ((uri, *_),) = rows(database, _PHOTOS)
    assert uri == str(tmp_path / "b.jpg")
    assert rows(database, "SELECT ST_Y(geom), ST_X(geom) FROM geosearch.photos") == [(10, 20)]
    assert counts(ingest(database, [path], collection="other"))["added"] == 1


def test_a_photo_kept_without_a_position_gains_one_from_a_later_manifest(
    database: Database, tmp_path: Path
) -> None:
    folder = write(tmp_path / "photos", zero_jpg=photo(gps(0, 0)))
    ingest(database, [folder], collection="c")
    path = manifest(tmp_path / "m.csv", "file,lat,lon,accuracy_m", "photos/zero.jpg,10,20,3")
    assert counts(ingest(database, [path], collection="c")) == {"seen": 1, "added": 1}
    ((uri, *_, lat, lon, source, accuracy),) = (row[:10] for row in rows(database, _PHOTOS))
    assert (uri, lat, lon, source, accuracy) == (str(folder / "zero.jpg"), 10, 20, "manifest", 3)
    assert rows(database, _REJECTS) == []
    # The folder again: the photo is there, its (0, 0) no longer matters.
    assert counts(ingest(database, [folder], collection="c")) == {"seen": 1, "duplicates": 1}
    assert rows(database, _REJECTS) == []


def test_a_reject_goes_when_the_photo_or_the_row_is_mended(
    database: Database, tmp_path: Path
) -> None:
    write(tmp_path, a_jpg=b"broken", b_jpg=photo(gps(1, 2), shade=1))
    path = manifest(tmp_path / "m.csv", "file,lat,lon", "a.jpg,1,2", "b.jpg,1,999")
    ingest(database, [path], collection="c")
    assert len(rows(database, _REJECTS)) == 2
    write(tmp_path, a_jpg=photo(shade=2))
    manifest(path, "file,lat,lon", "a.jpg,1,2", "b.jpg,1,99")
    assert counts(ingest(database, [path], collection="c")) == {"seen": 2, "added": 2}
    assert rows(database, _REJECTS) == []


@pytest.mark.parametrize("batch", [1, 500])
def test_an_edited_photo_replaces_what_was_stored_of_it(
    database: Database, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_run, "_BATCH", batch)
    files = {f"{name}_jpg": photo(gps(1, 2), shade=n) for n, name in enumerate("abcd")}
    folder = write(tmp_path / "photos", **files)
    ingest(database, [folder], collection="c")
    ingest(database, [folder], collection="other")
    # a is edited, b becomes a copy of d, c loses its position.
    edited = photo(gps(3, 4), shade=9)
    write(folder, a_jpg=edited, b_jpg=files["d_jpg"], c_jpg=photo(shade=8))
    expected = {"seen": 4, "added": 1, "duplicates": 2, "unlocated": 1, "replaced": 2}
    assert counts(ingest(database, [folder], collection="c", dry_run=True)) == expected
    assert counts(ingest(database, [folder], collection="c")) == expected
    stored = rows(
        database,
        "SELECT uri, sha256, ST_Y(geom) FROM geosearch.photos "
        "WHERE collection_id = (SELECT id FROM geosearch.collections WHERE name = 'c') "
        "ORDER BY uri",
    )
    assert stored == [
        (str(folder / "a.jpg"), hashlib.sha256(edited).digest(), 3),
        (str(folder / "c.jpg"), hashlib.sha256(files["c_jpg"]).digest(), 1),
        (str(folder / "d.jpg"), hashlib.sha256(files["d_jpg"]).digest(), 1),
    ]
    again = counts(ingest(database, [folder], collection="c"))
    assert again == {"seen": 4, "duplicates": 3, "unlocated": 1}
    # The other collection still holds what the files were.
    assert rows(database, "SELECT count(*) FROM geosearch.photos") == [(7,)]


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_batches_do_not_change_the_result(
    database: Database, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_run, "_BATCH", batch)
    same = photo(gps(0, 0))
    write(tmp_path, a_jpg=same, b_jpg=same, c_jpg=same, d_jpg=photo(gps(5, 6)), e_jpg=photo())
    path = manifest(
        tmp_path / "m.csv", "file,lat,lon", "a.jpg,,", "b.jpg,10,20", "a.jpg,30,40", "c.jpg,,",
        *("d.jpg,,", "e.jpg,,", "e.jpg,7,8"),
    )  # fmt: skip
    for _ in range(2):
        ingest(database, [path], collection="c")
        stored = [(Path(row[0]).name, row[6], row[7]) for row in rows(database, _PHOTOS)]
        assert stored == [("a.jpg", 10, 20), ("d.jpg", 5, 6), ("e.jpg", 7, 8)]
        # c.jpg has no position of its own, and is another file than the one that was stored.
        assert [Path(row[0]).name for row in rows(database, _REJECTS)] == ["c.jpg"]


def test_a_dry_run_counts_like_a_real_one_and_writes_nothing(
    database: Database, tmp_path: Path
) -> None:
    files = {f"p{n}_jpg": photo(gps(n % 7 + 1, 1), shade=n % 7) for n in range(20)}
    folder = write(tmp_path / "photos", **files, zero_jpg=photo(gps(0, 0)))
    dry = ingest(database, [folder], collection="c", dry_run=True)
    assert dry.run_id is None
    assert content(database) == ([], [])
    assert rows(database, "SELECT count(*) FROM geosearch.collections") == [(0,)]
    assert rows(database, "SELECT count(*) FROM geosearch.runs") == [(0,)]
    assert counts(dry) == counts(ingest(database, [folder], collection="c"))


_DRIVER = """
import sys
from geosearch.database.connection import Database
from geosearch.ingest import ingest, ingest_run

ingest_run._BATCH = 10
with Database(sys.argv[1]) as database:
    ingest(database, sys.argv[2:], collection="c",
           progress=lambda done, total: print(done, flush=True))
"""


def test_a_killed_run_run_again_equals_one_clean_run(
    database: Database, empty_url: str, tmp_path: Path
) -> None:
    from geosearch.database import migrations

    folder = tmp_path / "photos"
    for n in range(300):
        kind = n % 10
        where = None if kind == 3 else gps(0, 0) if kind == 5 else gps(n / 10 + 1, n / 5)
        data = photo(where, shade=n // 20 if kind == 5 else n, size=(200, 150))
        write(folder, **{f"p{n:03}_jpg": data[:300] if kind == 9 else data})
    path = manifest(
        tmp_path / "m.csv",
        "file,lat,lon",
        *(f"photos/p{n:03}.jpg,{n % 90},{500 if n % 4 == 0 else 50}" for n in range(0, 300, 3)),
    )
    for stop in (25, 120, 333):
        process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, database.url, str(folder), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= stop:
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        _wait_until_alone(database)
    killed = content(database)
    assert len(killed[0]) > 0
    summary = ingest(database, [folder, path], collection="c")
    assert_adds_up(summary)
    assert summary.duplicates > 0

    migrations.upgrade(empty_url)
    with Database(empty_url) as clean:
        ingest(clean, [folder, path], collection="c")
        expected = content(clean)
        assert content(database) == expected
        assert killed[0] != expected[0]
        unfinished = "SELECT count(*) FROM geosearch.runs WHERE finished_at IS NULL"
        assert rows(database, unfinished) == [(3,)]


def test_a_run_after_one_killed_before_its_count_counts_what_is_there(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a_jpg=photo(gps(10, 20)), b_jpg=photo(gps(30, 40), shade=1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest_run, "refresh_coverage", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(database, [tmp_path], collection="c")
    counted = "SELECT cell_km, sum(photos)::int FROM geosearch.coverage GROUP BY 1 ORDER BY 1"
    assert rows(database, counted) == []
    assert ingest(database, [tmp_path], collection="c").added == 0
    assert [photos for _, photos in rows(database, counted)] == [2, 2]


def _wait_until_alone(database: Database) -> None:
    # The server notices the death of a client a moment later, and only then drops its locks.
    others = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    deadline = time.monotonic() + 10
    while rows(database, others) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- sources ------------------------------------------------------------------------------------


def test_a_folder_is_searched_by_extension_without_hidden_files(
    database: Database, tmp_path: Path
) -> None:
    write(tmp_path, a_JPG=photo(gps(1, 1), shade=1), notes_txt=b"x", m_csv=b"x")
    write(tmp_path / "sub" / "deep", b_webp=photo(gps(1, 2), format="WEBP"))
    write(tmp_path / ".hidden", c_jpg=photo(gps(1, 3), shade=3))
    (tmp_path / ".d.jpg").write_bytes(photo(gps(1, 4), shade=4))
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nothing")
    assert counts(ingest(database, [tmp_path], collection="c")) == {
        "seen": 4,
        "added": 2,
        "rejected": 2,
        "by_reason": {"unreadable": 2},
        "unread": {".csv": 1, ".txt": 1},
    }


def test_links_to_folders_are_followed_once(database: Database, tmp_path: Path) -> None:
    write(tmp_path / "real", a_jpg=photo(gps(1, 1)))
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "real")
    (root / "other").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    assert counts(ingest(database, [root], collection="c")) == {"seen": 1, "added": 1}


def test_odd_file_names_are_stored_or_rejected_never_mangled(
    database: Database, tmp_path: Path
) -> None:
    names = ["new\nline.jpg", 'quote\'s "x".jpg', "çé 日本.jpg", "a#b?c.jpg", "%41.jpg"]
    for n, name in enumerate(names):
        (tmp_path / name).write_bytes(photo(gps(1, 1), shade=n))
    with open(os.fsencode(tmp_path) + b"/latin\xe9.jpg", "wb") as stream:  # noqa: PTH123
        stream.write(photo(gps(1, 1), shade=99))
    summary = ingest(database, [tmp_path], collection="c")
    assert counts(summary)["added"] == len(names)
    assert sorted(row[0] for row in rows(database, _PHOTOS)) == sorted(
        str(tmp_path / name) for name in names
    )
    (reject,) = list_rejects(database)
    assert (Path(reject.uri).name, reject.reason) == ("latin\\xe9.jpg", "unreadable")
    assert "UTF-8" in reject.message


def test_a_folder_that_cannot_be_listed_is_a_reject(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "open", a_jpg=photo(gps(1, 1)))
    locked = tmp_path / "locked"
    locked.mkdir()
    scandir = os.scandir

    def refusing(path: str) -> Any:  # root may list every folder, so permissions cannot be used
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert counts(ingest(database, [tmp_path], collection="c"))["rejected"] == 1
    (reject,) = list_rejects(database)
    assert (reject.uri, reject.stage, reject.reason) == (str(locked), "read", "unreadable")


def test_buckets_are_listed_and_read(database: Database) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/ingest/photos/a.jpg", photo(gps(1, 1), shade=1))
    memory.pipe("/ingest/photos/sub/b.jpg", photo(gps(2, 2), shade=2))
    memory.pipe("/ingest/photos/.c.jpg", photo(gps(2, 2), shade=3))
    memory.pipe("/ingest/m.csv", b"file,lat,lon\nphotos/a.jpg,50,60\nphotos/none.jpg,1,2\n")
    folder, path = "memory://ingest/photos", "memory://ingest/m.csv"
    assert counts(ingest(database, [path], collection="c")) == {
        "seen": 2,
        "added": 1,
        "rejected": 1,
        "by_reason": {"unreadable": 1},
    }
    assert counts(ingest(database, [folder], collection="c")) == {
        "seen": 2,
        "added": 1,
        "duplicates": 1,
    }


def test_a_file_over_the_size_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geosearch import settings

    monkeypatch.setenv("GEOSEARCH_MAX_BYTES", "1000")
    settings.image_settings.cache_clear()
    try:
        (tmp_path / "big.jpg").write_bytes(bytes(1001))
        with pytest.raises(PhotoRejected) as raised:
            read_bytes(str(tmp_path / "big.jpg"))
    finally:
        settings.image_settings.cache_clear()
    assert raised.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("sources", "message"),
    [([], "nothing"), (["no/such/folder"], "no/such/folder"), ([__file__], "neither")],
)
def test_a_source_that_cannot_be_one_is_an_error(
    database: Database, sources: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ingest(database, sources, collection="c")


@pytest.mark.parametrize("name", ["bad.csv", "bad.parquet"])
def test_a_bad_manifest_is_an_error_before_anything_is_written(
    database: Database, tmp_path: Path, name: str
) -> None:
    folder = write(tmp_path / "photos", a_jpg=photo(gps(1, 1)))
    path = manifest(tmp_path / name, "latitude,longitude", "1,2")
    with pytest.raises(InputError, match=name):
        ingest(database, [folder, path], collection="c", progress=lambda done, total: None)
    assert content(database) == ([], [])
    assert rows(database, "SELECT count(*) FROM geosearch.collections") == [(0,)]


# ---- the run of an ingest ------------------------------------------------------------------------


def test_progress_counts_to_the_total(database: Database, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", **{f"p{n}_jpg": photo(gps(1, 1), shade=n) for n in range(5)})
    seen: list[tuple[int, int | None]] = []
    ingest(database, [folder], collection="c", progress=lambda *call: seen.append(call))
    assert seen == [(done, 5) for done in range(6)]
    path = manifest(tmp_path / "m.csv", "file,lat,lon", "a/p1.jpg,1,2")
    seen.clear()
    ingest(database, [folder, path], collection="c", progress=lambda *call: seen.append(call))
    assert seen[-1] == (6, None)


def test_work_in_flight_is_bounded_and_results_are_in_order() -> None:
    taken = 0

    def numbers() -> Any:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    def slow_when_even(number: int) -> int:
        time.sleep(0.002 * (number % 2 == 0))
        return number

    results = ordered_map(slow_when_even, numbers(), workers=3)
    for expected in range(50):
        assert next(results) == expected
        assert taken <= expected + 2 + 3 * 4
    results.close()


def test_an_interrupted_run_keeps_its_batches_and_stops_its_threads(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    monkeypatch.setattr(ingest_run, "_BATCH", 5)
    folder = write(tmp_path, **{f"p{n:02}_jpg": photo(gps(1, 1), shade=n) for n in range(40)})

    def interrupt(done: int, total: int | None) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(database, [folder], collection="c", progress=interrupt)
    assert rows(database, "SELECT count(*) FROM geosearch.photos") == [(10,)]
    assert not [t for t in threading.enumerate() if t.name.startswith("geosearch-read")]
    assert counts(ingest(database, [folder], collection="c")) == {
        "seen": 40,
        "added": 30,
        "duplicates": 10,
    }


def test_two_ingests_of_the_same_folder_at_once_store_each_photo_once(
    database: Database, tmp_path: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    folder = write(tmp_path, **{f"p{n:02}_jpg": photo(gps(1, 1), shade=n) for n in range(60)})
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: ingest(database, [folder], collection="c"), range(2)))
    assert sum(summary.added for summary in both) == 60
    assert sum(summary.duplicates for summary in both) == 60
    assert rows(database, "SELECT count(*) FROM geosearch.photos") == [(60,)]
