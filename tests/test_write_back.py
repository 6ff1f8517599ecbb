"""Positions written back to where the photos are, which the next ingest reads as they were."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from psycopg.conninfo import make_conninfo

from geosearch.client import Geosearch
from geosearch.database.collection_rows import (
    ensure_collection,
    set_private,
    set_reviewed_references,
)
from geosearch.database.connection import Database
from geosearch.errors import InputError, MissingExtraError, NotAllowedError, NotFoundError, Reason
from geosearch.images import open_image, register_heif
from geosearch.ingest import ingest
from geosearch.localization.reviews import decide
from geosearch.retrieval.filters import where
from geosearch.write_back.embed_target import Embedded
from geosearch.write_back.targets import Found, Known
from geosearch.write_back.write_back_run import WrittenBack, write_back

from .command_line import CommandLine
from .photo_files import gps, photo, xmp
from .rows import fetch

#: Needs all digits, and a minute that is carried.
HERE = (46.9999999999, -7.4474321)
THERE = (-33.5, 151.25)
EXIFTOOL = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")


class LogRow(NamedTuple):
    """A row of `geosearch.write_backs`."""

    target: str
    path: str
    old: Any
    new: Any
    sha256: bytes | None
    written: bool
    reason: str | None


class World:
    """A folder and its collection."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder, self.name = database, folder, folder.name
        self.gs = Geosearch(database)

    def add(self, **files: bytes) -> None:
        """Write files, `a_jpg` as a.jpg, and ingest the folder."""
        self.add_named({name.replace("_", "."): data for name, data in files.items()})

    def add_named(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)
            os.utime(self.folder / name, (1, 1))  # one that has just been written is not known yet
        ingest(self.database, [self.folder], collection=self.name)

    def correct(self, lat: float, lon: float, accuracy_m: float | None = None) -> None:
        """Say where all photos were taken."""
        self.gs.correct_positions(lat, lon, to_accuracy_m=accuracy_m, collection=self.name)

    def accept(self, file: str, at: tuple[float, float] | None = None, **options: Any) -> int:
        """Accept an answer on a photo; its id."""
        lat, lon = at or HERE
        ((key,),) = fetch(self.database, ANSWER, lon, lat, None, self.photo_id(file))
        with self.database.connection() as connection:
            decide(connection, key, "accept", **options)
        return int(key)

    def write(self, **options: Any) -> WrittenBack:
        return self.gs.write_back(collection=self.name, **options)

    def ingested(self, name: str = "again") -> dict[str, tuple[Any, ...]]:
        """What a fresh ingest of the folder has for each photo: position, source, accuracy."""
        name = f"{self.name} {name}"
        ingest(self.database, [self.folder], collection=name)
        rows = fetch(
            self.database,
            "SELECT regexp_replace(uri, '.*/', ''), ST_Y(coalesce(geom, estimate)),"
            " ST_X(coalesce(geom, estimate)), position_source, accuracy_m FROM geosearch.photos"
            " JOIN geosearch.collections AS c ON c.id = collection_id WHERE c.name = %s",
            name,
        )
        return {file: tuple(rest) for file, *rest in rows}

    def log(self) -> list[LogRow]:
        """What the log says of this collection."""
        rows = fetch(
            self.database,
            "SELECT target, path, old, new, w.sha256, written_at IS NOT NULL, reason"
            " FROM geosearch.write_backs AS w JOIN geosearch.collections AS c"
            " ON c.id = collection_id WHERE c.name = %s ORDER BY w.id",
            self.name,
        )
        return [LogRow(*row) for row in rows]

    def photo_id(self, file: str) -> int:
        ((key,),) = fetch(
            self.database,
            "SELECT p.id FROM geosearch.photos AS p JOIN geosearch.collections AS c"
            " ON c.id = collection_id WHERE c.name = %s AND uri LIKE '%%/' || %s",
            self.name,
            file,
        )
        return int(key)

    def bytes(self) -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in sorted(self.folder.iterdir())}


@pytest.fixture
def world(module_database: Database, tmp_path: Path) -> World:
    return World(module_database, tmp_path)


def near(point: tuple[float, float]) -> Any:
    return pytest.approx(point, abs=1e-7, rel=0)


FORMATS = {
    "a.jpg": "JPEG",
    "b.png": "PNG",
    "c.tif": "TIFF",
    "d.webp": "WEBP",
    "e.heic": "HEIF",
    "f.avif": "AVIF",
    "g.mpo": "MPO",
}


def of_all_formats() -> dict[str, bytes]:
    register_heif()
    return {name: photo(shade=n, format=kind) for n, (name, kind) in enumerate(FORMATS.items())}


def test_sidecars_are_read_again_as_they_were_and_photos_stay_as_they_are(world: World) -> None:
    files = of_all_formats()
    world.add_named(files)
    world.correct(*HERE, accuracy_m=12.3)
    done = world.write()
    assert (done.written, done.there, done.kept, done.failures) == (len(files), 0, 0, ())
    assert {name: world.bytes()[name] for name in files} == files
    found = world.ingested()
    assert set(found) == set(files)
    for lat, lon, source, accuracy in found.values():
        assert (lat, lon) == near(HERE)
        assert (source, accuracy) == ("xmp", pytest.approx(12.3))
    assert (world.folder / "a.jpg.xmp").read_text().count("corrected") == 1
    # Nothing is left to do, and nothing is done.
    before = world.bytes()
    again = world.write()
    assert (again.written, again.there) == (0, len(files))
    assert world.bytes() == before
    log = world.log()
    assert {(row.target, row.written, row.reason) for row in log} == {("sidecar", True, None)}
    assert (log[0].old, log[0].new["lat"], log[0].new["source"]) == (None, HERE[0], "corrected")
    assert log[0].sha256 == hashlib.sha256(before["a.jpg.xmp"]).digest()


def test_names_of_the_place_come_with_it(world: World) -> None:
    world.add(a_jpg=photo(), b_jpg=photo(shade=1))
    world.correct(46.948, 7.4474)
    world.gs.correct_positions(0.5, -30.5, ids=[world.photo_id("b.jpg")])  # at sea
    world.write()
    for part in ("City>Bern<", "CountryName>Switzerland<", "CountryCode>CH<"):
        assert part in (world.folder / "a.jpg.xmp").read_text()
    assert "LocationCreated>" not in (world.folder / "b.jpg.xmp").read_text()


WAYS = [
    {},
    {"csv": "out.csv"},
    pytest.param({"embed": True}, marks=[EXIFTOOL, pytest.mark.system]),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_reviewed_guess_is_one_wherever_it_is_read_until_somebody_moves_it(
    world: World, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]
) -> None:
    monkeypatch.chdir(world.folder)
    world.add(a_jpg=photo(shade=100 + len(str(way))))
    answer = world.accept("a.jpg")
    assert world.write(**way).written == 1
    source = world.folder / way.get("csv", "")
    with world.database.connection() as connection:
        for name, references in (("apart", False), ("believing", True)):
            ensure_collection(connection, f"{world.name} {name}")
            set_reviewed_references(connection, f"{world.name} {name}", references)
    if "csv" in way:
        (row,) = csv.DictReader(source.open())
        assert (row["position_source"], row["localization_id"]) == ("reviewed", str(answer))
    for name, wanted in (("apart", (None, "estimate")), ("believing", ("geom", None))):
        world.gs.ingest(str(source), collection=f"{world.name} {name}")
        ((geom, estimate, by, lat, lon),) = fetch(
            world.database,
            "SELECT CASE WHEN geom IS NOT NULL THEN 'geom' END,"
            " CASE WHEN estimate IS NOT NULL THEN 'estimate' END, position_source,"
            " ST_Y(coalesce(geom, estimate)), ST_X(coalesce(geom, estimate))"
            " FROM geosearch.photos JOIN geosearch.collections AS c ON c.id = collection_id"
            " WHERE c.name = %s AND localization_id IS NULL",
            f"{world.name} {name}",
        )
        assert ((geom, estimate), by, (lat, lon)) == (wanted, "reviewed", near(HERE))
    # What is decided here, or taken back, is not what was decided elsewhere.
    sources = "SELECT position_source FROM geosearch.photos WHERE uri LIKE %s ORDER BY id"
    world.gs.review(answer, "reject")
    assert fetch(world.database, sources, f"{world.folder}/a.jpg") == [
        *[(None,), ("reviewed",), ("reviewed",)]
    ]
    if not way:
        file = world.folder / "a.jpg.xmp"
        file.write_bytes(file.read_bytes().replace(b">46,", b">47,"))
        found = world.ingested("moved")["a.jpg"]
        assert (found[0], found[2]) == (pytest.approx(HERE[0] + 1), "xmp")


@pytest.mark.parametrize("way", [WAYS[0], WAYS[2]])
def test_what_is_taken_back_does_not_come_again_and_the_next_run_takes_it_out(
    world: World, capsys: pytest.CaptureFixture[str], way: dict[str, Any]
) -> None:
    described = xmp('exif:GPSLatitude="1,0.0N" exif:GPSLongitude="1,0.0E"').encode()
    beside = {} if way else {"b.jpg.xmp": described}
    before = photo(gps(1, 1), shade=1) if way else photo(shade=151)
    world.add_named({"a.jpg": photo(shade=150 + 2 * len(way)), "b.jpg": before, **beside})
    answers = [world.accept(name, overwrite=name == "b.jpg") for name in ("a.jpg", "b.jpg")]
    assert world.write(**way, overwrite=True).written == 2
    if not way:  # another program has put it down again
        file = world.folder / "a.jpg.xmp"
        file.write_bytes(file.read_bytes().replace(b"26.84592600W", b"26.8459W"))
    for answer, name in zip(answers, ("a.jpg", "b.jpg"), strict=True):
        undone = CommandLine(world.database.url, capsys)("review", "undo", answer)
        assert f"1 file says so still: {world.folder}/{name}" in undone.err.replace("\n", "")
    known = {photo.uri: (photo.position_source, photo.lat) for photo in world.gs.photos()}
    for update in (False, True):
        ingest(world.database, [world.folder], collection=world.name, update=update)
        assert {p.uri: (p.position_source, p.lat) for p in world.gs.photos()} == known
    assert str(world.write(**way, dry_run=True)).endswith("; would take back 2")
    assert world.write(**way).taken_back == 2
    found = world.ingested()
    assert found["a.jpg"][:1] == (None,)
    assert found["b.jpg"][:2] == near((1, 1))
    assert found["b.jpg"][2] == ("exif" if way else "xmp")
    assert not any(b"LocationCreated" in data for data in world.bytes().values())
    again = world.write(**way)
    assert (again.taken_back, again.written, again.there) == (0, 0, 0)
    # What is decided then is written as ever, and nothing else asks for --overwrite.
    world.accept("a.jpg", THERE)
    world.write(**way)
    world.accept("a.jpg")
    assert (world.write(**way).written, world.ingested("at last")["a.jpg"][:2]) == (1, near(HERE))


@EXIFTOOL
@pytest.mark.system
@pytest.mark.parametrize("first", [{}, {"embed": True}])
def test_what_was_written_beside_the_photo_and_into_it_is_taken_out_of_both(
    world: World, first: dict[str, Any]
) -> None:
    world.add(a_jpg=photo(shade=160 + len(first)))
    answer = world.accept("a.jpg")
    assert (world.write().written, world.write(embed=True).written) == (1, 1)
    world.gs.undo_review(answer)
    ways: list[dict[str, Any]] = [{}, {"embed": True}]
    for way in sorted(ways, key=lambda way: way != first):
        assert world.write(**way).taken_back == 1
    assert world.ingested()["a.jpg"][0] is None
    assert all(row.old is None for row in world.log()[:2])


@EXIFTOOL
@pytest.mark.system
def test_a_guess_is_no_position_to_go_back_to(world: World) -> None:
    world.add(a_jpg=photo(shade=170))
    answer = world.accept("a.jpg")
    assert world.write(embed=True).written == 1
    world.gs.review(answer, "move", THERE)
    assert world.write().written == 1  # the photo itself says the first guess
    for _ in range(2):
        world.gs.undo_review(answer)
    assert (world.write().taken_back, world.write(embed=True).taken_back) == (1, 1)
    assert world.ingested()["a.jpg"][0] is None


def test_what_was_reviewed_is_written_and_comes_back_as_no_news(world: World) -> None:
    """Also where it is no reference: to a fresh ingest it is the same, and to this one."""
    world.add(a_jpg=photo())
    key = world.photo_id("a.jpg")
    answer = world.accept("a.jpg")
    assert world.write().written == 1
    found = world.ingested()["a.jpg"]
    assert (found[:2], found[2:]) == (near(HERE), ("reviewed", 500))
    assert f"position reviewed by answer {answer}" in world.bytes()["a.jpg.xmp"].decode()
    summary = ingest(world.database, [world.folder], collection=world.name, update=True)
    assert (summary.seen, summary.updated) == (1, 0)
    (shown,) = world.gs.photos(ids=[key])
    assert (shown.position_source, shown.localization_id) == ("reviewed", answer)


def test_only_what_was_corrected_is_written(world: World) -> None:
    world.add(a_jpg=photo(gps(*THERE)), b_jpg=photo(shade=1))
    before = world.bytes()
    assert str(world.write()) == "wrote 0 positions (sidecar)"
    assert world.bytes() == before


def test_another_position_is_kept_unless_it_is_to_be_overwritten(world: World) -> None:
    described = xmp('exif:GPSLatitude="1,0.0N" exif:GPSLongitude="1,0.0E"').encode()
    world.add_named({"a.jpg": photo(gps(*THERE)), "b.jpg": photo(shade=1), "b.jpg.xmp": described})
    world.correct(*HERE)
    before = world.bytes()
    assert (world.write().kept, world.write(dry_run=True).kept) == (2, 2)
    assert "2 are said to be elsewhere there, which only overwriting replaces" in str(world.write())
    assert world.bytes() == before
    assert world.write(overwrite=True, dry_run=True).written == 2
    assert world.bytes() == before
    assert world.write(overwrite=True).written == 2
    assert world.bytes()["a.jpg"] == before["a.jpg"]
    assert all(found[:2] == near(HERE) for found in world.ingested().values())
    assert [row.old["lat"] for row in world.log()] == [pytest.approx(THERE[0]), 1.0]


def test_the_sidecar_that_is_there_is_used_where_it_is_of_this_photo_alone(world: World) -> None:
    empty = xmp('my:note="x" xmlns:my="urn:mine"').encode()
    world.add_named(
        {
            "a.jpg": photo(),
            "a.xmp": empty,
            "b.jpg": photo(shade=1),
            "b.png": photo(shade=2, format="PNG"),
            "b.XMP": empty,
            "c.jpg": photo(shade=3),
            "c.jpg.xmp": empty,
            "c.xmp": empty,
        }
    )
    world.correct(*HERE)
    assert world.write().written == 4
    files = world.bytes()
    assert sorted(name for name in files if name.lower().endswith(".xmp")) == [
        *("a.xmp", "b.XMP", "b.jpg.xmp", "b.png.xmp", "c.jpg.xmp", "c.xmp")
    ]
    assert files["b.XMP"] == files["c.xmp"] == empty
    assert b'my:note="x"' in files["a.xmp"]
    assert b'my:note="x"' in files["c.jpg.xmp"]
    assert all(found[:2] == near(HERE) for found in world.ingested().values())


def test_all_copies_of_a_photo_are_written(world: World) -> None:
    world.add_named({"2020/a.jpg": photo(), "album/a.jpg": photo()})
    world.correct(*HERE)
    ingest(world.database, [world.folder], collection=world.name)
    assert world.write().written == 2
    assert len(list(world.folder.rglob("*.xmp"))) == 2


def broken(world: World) -> dict[str, Reason]:
    """Make each of these files one that cannot be written to."""
    folder = world.folder
    (folder / "gone.jpg").unlink()
    (folder / "changed.jpg").write_bytes(photo(shade=99))
    (folder / "link.jpg").rename(folder / "target")
    (folder / "link.jpg").symlink_to(folder / "target")
    (folder / "linked.jpg.xmp").symlink_to(folder / "elsewhere.xmp")
    (folder / "bad.jpg.xmp").write_bytes(b"<x:xmpmeta")
    (folder / "folder.jpg.xmp").mkdir()
    return {
        "gone.jpg": Reason.UNREADABLE,
        "changed.jpg.xmp": Reason.UNREADABLE,
        "link.jpg": Reason.NOT_WRITABLE,
        "linked.jpg.xmp": Reason.NOT_WRITABLE,
        "bad.jpg.xmp": Reason.BAD_XMP,
        "folder.jpg.xmp": Reason.UNREADABLE,
    }


def test_what_cannot_be_written_is_said_of_each_and_stops_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("gone", "changed", "link", "linked", "bad", "folder", "good")
    world.add_named({f"{name}.jpg": photo(shade=n) for n, name in enumerate(names)})
    world.correct(*HERE)
    reasons = broken(world)
    run = CommandLine(world.database.url, capsys)
    for words in (("--dry-run",), ("--yes",), ("--yes",)):
        ran = run("write-back", "--collection", world.name, "--json", *words)
        assert ran.code == 3
        said = ran.json()
        assert {Path(each["path"]).name: each["reason"] for each in said["failures"]} == reasons
    assert said["there"] == 1
    ran = run("write-back", "--collection", world.name)
    assert (ran.code, "nobody is there to ask" in ran.err) == (2, True)
    ran = run("write-back", "--collection", world.name, "--dry-run")
    assert "would write 0 positions (sidecar); 1 is there already; 6 cannot be" in ran.out
    assert "bad.jpg.xmp" in ran.out
    ran = run("write-back", "--collection", world.name, "--sidecar", "--embed")
    assert (ran.code, "exclude one another" in ran.err) == (2, True)
    assert not (world.folder / "elsewhere.xmp").exists()
    # Of each the last failure alone is kept.
    log = {Path(row.path).name: row.reason for row in world.log()}
    assert log == {**reasons, "good.jpg.xmp": None}
    assert [row.written for row in world.log()].count(True) == 1
    assert len(world.log()) == 7


@EXIFTOOL
@pytest.mark.system
def test_exif_is_read_again_as_it_was_and_the_picture_is_the_same(world: World) -> None:
    files = of_all_formats()
    world.add_named(files)
    world.correct(*HERE, accuracy_m=12.5)
    done = world.write(embed=True)
    assert done.failures == ()
    assert done.written == len(files)
    now = world.bytes()
    assert {name: now[f"{name}_original"] for name in files} == files
    for name, data in files.items():
        assert now[name] != data
        assert open_image(now[name]).tobytes() == open_image(data).tobytes()
    # It is known by its new bytes: nothing comes twice, and nothing goes.
    ids = [world.photo_id(name) for name in files]
    summary = ingest(world.database, [world.folder], collection=world.name)
    assert (summary.added, summary.duplicates) == (0, len(files))
    assert [world.photo_id(name) for name in files] == ids
    for lat, lon, source, accuracy in world.ingested().values():
        assert (lat, lon) == near(HERE)
        assert (source, accuracy) == ("exif", 12.5)
    assert (world.write(embed=True).there, world.write(embed=True).written) == (len(files), 0)
    # The backup is what the photo was before its first change.
    world.correct(*THERE)
    assert world.write(embed=True, overwrite=True).written == len(files)
    assert {name: world.bytes()[f"{name}_original"] for name in files} == files


@EXIFTOOL
def test_nothing_is_embedded_that_a_sidecar_would_hide_or_that_exiftool_cannot(
    world: World,
) -> None:
    described = xmp('exif:GPSLatitude="1,0.0N" exif:GPSLongitude="1,0.0E"').encode()
    world.add_named({"a.jpg": photo(), "a.jpg.xmp": described, "b.jpg": photo(shade=1)})
    world.correct(*HERE)
    (world.folder / "b.jpg").write_bytes(photo(shade=2))
    before = world.bytes()
    done = world.write(embed=True, overwrite=True)
    assert [each.reason for each in done.failures] == [Reason.NOT_WRITABLE, Reason.UNREADABLE]
    assert world.bytes() == before


@EXIFTOOL
def test_what_another_program_writes_meanwhile_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(a_jpg=photo())
    world.correct(*HERE)
    edited, find = photo(shade=9), Embedded.find

    def found_before_an_edit(self: Embedded, known: Known, uri: str) -> Found:
        found = find(self, known, uri)
        (world.folder / "a.jpg").write_bytes(edited)
        return found

    monkeypatch.setattr(Embedded, "find", found_before_an_edit)
    (failure,) = world.write(embed=True).failures
    assert "has just been changed" in failure.message
    assert world.bytes() == {"a.jpg": edited}


@EXIFTOOL
def test_copies_are_embedded_too_and_stay_one_photo(world: World) -> None:
    world.add_named({"2020/a.jpg": photo(), "album/a.jpg": photo()})
    world.correct(*HERE)
    ingest(world.database, [world.folder], collection=world.name)
    assert world.write(embed=True).written == 2
    summary = ingest(world.database, [world.folder], collection=world.name)
    assert (summary.added, summary.unlocated, summary.duplicates) == (0, 0, 2)


@EXIFTOOL
def test_a_photo_that_two_collections_have_is_embedded_once(world: World) -> None:
    world.add(a_jpg=photo())
    ingest(world.database, [world.folder], collection=f"{world.name} too")
    copies = "SELECT id FROM geosearch.photos WHERE uri = %s"
    ids = [key for (key,) in fetch(world.database, copies, str(world.folder / "a.jpg"))]
    world.gs.correct_positions(*HERE, ids=ids)
    done = world.gs.write_back(ids=ids, embed=True)
    assert (done.written, done.there, done.failures) == (1, 1, ())


def test_what_a_killed_run_only_meant_to_write_gives_no_photo_other_bytes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/false")
    world.add(a_jpg=photo(gps(*HERE)))
    world.correct(*HERE)
    key = world.photo_id("a.jpg")
    fetch(
        world.database,
        "INSERT INTO geosearch.write_backs"
        " (photo_id, collection_id, shelf, target, path, new, sha256)"
        " SELECT id, collection_id, shelf, 'embed', uri, '{}', sha256('never')"
        " FROM geosearch.photos WHERE id = %s RETURNING id",
        key,
    )
    assert world.write(embed=True).there == 1
    ((kept,),) = fetch(world.database, "SELECT sha256 FROM geosearch.photos WHERE id = %s", key)
    assert kept == hashlib.sha256((world.folder / "a.jpg").read_bytes()).digest()


def test_a_folder_that_cannot_be_listed_stops_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_named({"closed/a.jpg": photo(), "open/b.jpg": photo(shade=1)})
    world.correct(*HERE)
    listed = os.listdir

    def refuse(folder: Path) -> list[str]:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "listdir", refuse)  # root lists all
    done = world.write()
    assert done.written == 1
    assert [each.reason for each in done.failures] == [Reason.NOT_WRITABLE]
    assert "listed" in done.failures[0].message


def test_without_exiftool_it_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add(a_jpg=photo())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtraError, match="needs exiftool"):
        world.write(embed=True)


def test_a_table_has_the_positions_and_is_a_manifest(world: World) -> None:
    world.add(a_jpg=photo())
    world.correct(*HERE, accuracy_m=3)
    file = world.folder / "out.csv"
    assert world.write(csv=file, dry_run=True).written == 1
    assert not file.exists()
    assert world.write(csv=file).written == 1
    (row,) = csv.DictReader(file.open())
    assert row["sha256"] == hashlib.sha256((world.folder / "a.jpg").read_bytes()).hexdigest()
    assert (float(row["lat"]), float(row["lon"]), row["accuracy_m"]) == (*HERE, "3.0")
    assert row["position_source"] == "corrected"
    with pytest.raises(InputError, match="is there already"):
        world.write(csv=file)
    assert world.write(csv=file, overwrite=True).written == 1
    ingest(world.database, [file], collection=f"{world.name} again")
    assert world.ingested()["a.jpg"][:2] == HERE


ANSWER = """
INSERT INTO geosearch.localizations (photo_uri, photo_sha256, model, method, parameters, filter,
    plan, software, query_embedding, estimate, radius_90_km, modes, elapsed_ms,
    probability_within_km, collection_ids, confident, calibration_fits)
SELECT uri, sha256, '{}', 'density', '{}', '{}', '{}', '{}', '[1]',
    ST_SetSRID(ST_Point(%s, %s), 4326), 0.5, '[]', '{}', %s::jsonb, '{}',
    uri NOT LIKE '%%/doubtful.jpg', CASE WHEN uri LIKE '%%/unfit.jpg' THEN 'no' ELSE 'unsure' END
FROM geosearch.photos WHERE id = %s RETURNING id
"""


REVIEW = """
INSERT INTO geosearch.reviews (localization_id, photo_uri, photo_sha256, decision, point, shown,
    collection_ids, recorded_by)
SELECT id, photo_uri, photo_sha256, %s, CASE %s WHEN 'accept' THEN estimate END, '{}', '{}', %s
FROM geosearch.localizations WHERE photo_uri = %s RETURNING id
"""


def test_probable_answers_are_written_as_estimates_and_stay_so(
    world: World, monkeypatch: pytest.MonkeyPatch, statements: list[str]
) -> None:
    monkeypatch.setattr("geosearch.write_back.write_back_run._PAGE", 4)
    names = (
        *("sure", "unsure", "rejected", "known", "later", "doubtful", "unfit"),
        *("reconsidered", "disputed"),
    )
    world.add_named({f"{name}.jpg": photo(shade=n) for n, name in enumerate(names)})
    world.gs.correct_positions(*THERE, ids=[world.photo_id("known.jpg")])
    for name in names:
        share = '{"1": 0.5}' if name == "unsure" else '{"0.5": 0.96, "25": 0.99}'
        fetch(world.database, ANSWER, HERE[1], HERE[0], share, world.photo_id(f"{name}.jpg"))
    fetch(world.database, ANSWER, HERE[1], HERE[0], '{"25": 0.99}', world.photo_id("later.jpg"))
    for name, decision, who in (
        ("rejected", "reject", "ann"),
        *(("reconsidered", each, "ann") for each in ("reject", "accept")),
        *(("disputed", each, who) for each, who in (("unsure", "bob"), ("accept", "ann"))),
    ):
        fetch(world.database, REVIEW, decision, decision, who, str(world.folder / f"{name}.jpg"))
    # As of one whose word gives a private photo no place.
    fetch(
        world.database,
        "UPDATE geosearch.all_photos AS p SET estimate = NULL, position_source = NULL,"
        " accuracy_m = NULL, localization_id = NULL FROM geosearch.collections AS c"
        " WHERE c.id = collection_id AND c.name = %s AND position_source = 'reviewed'"
        " RETURNING p.id",
        world.name,
    )
    assert world.write(dry_run=True).written == 1
    done = world.write(estimates=True, min_probability=0.95)
    assert done.written == 3
    # The answers on a page of photos are looked for, and not those on all of them for each page.
    looked = [each for each in statements if "latest_answers" in each]
    assert len(looked) >= 3
    assert all("l.photo_sha256 = ANY(" in each for each in looked)
    found = world.ingested()
    assert found["sure.jpg"][:2] == near(HERE)
    assert found["sure.jpg"][2:] == ("estimated", 500.0)
    assert found["known.jpg"][2] == "xmp"
    assert found["reconsidered.jpg"][2] == "estimated"
    refused = ("unsure", "rejected", "later", "doubtful", "unfit", "disputed")
    assert {found[f"{name}.jpg"][0] for name in refused} == {None}
    # Once somebody knows, it is a position; and no estimate takes its place.
    world.gs.correct_positions(*HERE, ids=[world.photo_id("sure.jpg")])
    assert world.write().written == 1
    assert world.ingested("once more")["sure.jpg"][2] == "xmp"


# ---- who may, and what others planted -----------------------------------------------------------


def as_role(world: World, role: str) -> Database:
    return Database(make_conninfo(world.database.url, options=f"-c role=geosearch_{role}"))


def test_an_ingester_writes_public_photos_back_and_an_owner_private_ones_too(world: World) -> None:
    world.add(a_jpg=photo())
    world.correct(*HERE)
    for role in ("reader", "analyst"):
        with as_role(world, role) as database, pytest.raises(NotAllowedError, match="ingester"):
            write_back(database, where(collection=world.name))
    with world.database.connection() as connection:
        set_private(connection, world.name, private=True)
    with as_role(world, "ingester") as database:
        with pytest.raises(NotFoundError):
            write_back(database, where(collection=world.name))
        with pytest.raises(NotFoundError, match="no photo"):
            write_back(database, ids=[world.photo_id("a.jpg")])
    with as_role(world, "owner") as database:
        assert write_back(database, where(collection=world.name)).written == 1
    (row,) = fetch(
        world.database,
        "SELECT w.shelf = c.id, written_by FROM geosearch.all_write_backs AS w"
        " JOIN geosearch.all_collections AS c ON c.id = collection_id WHERE c.name = %s",
        world.name,
    )
    assert row == (True, "geosearch_owner")
    with world.database.connection() as connection:
        set_private(connection, world.name, private=False)
    with as_role(world, "ingester") as database:
        assert write_back(database, where(collection=world.name)).there == 1


@pytest.mark.parametrize("embed", [False, pytest.param(True, marks=EXIFTOOL)])
def test_a_row_that_names_a_file_it_does_not_know_writes_nothing(world: World, embed: bool) -> None:
    """Who adds rows has not therefore the file, nor a right to write beside it."""
    world.add(a_jpg=photo())
    world.correct(*HERE)
    key = world.photo_id("a.jpg")
    fetch(world.database, "DELETE FROM geosearch.all_files WHERE photo_id = %s RETURNING uri", key)
    other = world.folder.parent / f"{world.name} other"
    other.mkdir()
    (other / "a.jpg").write_bytes(photo(shade=1))
    (other / "-overwrite_original.jpg").write_bytes(photo(shade=1))
    for planted in (
        *(f"{other}/a.jpg", f"{other}/../{other.name}/a.jpg", "a.jpg", "-overwrite_original.jpg"),
        *(f"file://{other}/a.jpg", f"tar://{other}/a.tar!/a.jpg", "https://127.0.0.1:1/a.jpg"),
        *("/dev/stdin", "/proc/self/mem", f"{other}", f"{other}/a.jpg\n-b"),
    ):
        fetch(
            world.database,
            "UPDATE geosearch.all_photos SET uri = %s WHERE id = %s RETURNING id",
            planted,
            key,
        )
        done = world.write(embed=embed, overwrite=True)
        assert (done.written, len(done.failures)) == (0, 1), planted
    assert sorted(each.name for each in other.iterdir()) == ["-overwrite_original.jpg", "a.jpg"]
    assert (other / "a.jpg").read_bytes() == photo(shade=1)


# ---- Immich -------------------------------------------------------------------------------------


class ImmichStub:
    """What its API documents of the calls that are made: assets by id, and what was asked."""

    def __init__(self) -> None:
        self.assets: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.answer: Callable[[str], tuple[int, Any] | None] = lambda _: None

    def add(self, data: bytes, path: str, position: tuple[float, float] | None = None) -> str:
        key = str(uuid4())
        lat, lon = position or (None, None)
        self.assets[key] = {
            "id": key,
            "checksum": base64.b64encode(hashlib.sha1(data).digest()).decode(),
            "originalPath": path,
            "exifInfo": {"latitude": lat, "longitude": lon, "make": "x"},
        }
        return key

    def position(self, key: str) -> tuple[Any, Any]:
        exif = self.assets[key]["exifInfo"]
        return exif["latitude"], exif["longitude"]

    def reply(self, method: str, path: str, key: str | None, body: Any) -> tuple[int, Any]:
        self.asked.append((method, path, body))
        if key != "secret":
            return 401, {"message": "Invalid API key"}
        if (own := self.answer(path)) is not None:
            return own
        if (method, path) == ("POST", "/api/search/metadata"):
            items = [each for each in self.assets.values() if self._fits(each, body)]
            shown = [each if body.get("withExif") else {**each, "exifInfo": None} for each in items]
            return 200, {"assets": {"items": shown, "total": len(items), "nextPage": None}}
        asset = self.assets.get(path.removeprefix("/api/assets/"))
        if asset is None:
            return 400, {"message": "Not found or no asset.update access"}
        if method == "PUT":
            asset["exifInfo"] |= body
        return 200, asset

    @staticmethod
    def _fits(asset: dict[str, Any], body: dict[str, Any]) -> bool:
        if "checksum" in body:
            return bool(asset["checksum"] == body["checksum"])
        return body["originalPath"] in asset["originalPath"]


@pytest.fixture
def immich(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ImmichStub, str]]:
    """A stub of an Immich server, and its URL."""
    stub = ImmichStub()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            key = self.headers.get("x-api-key")
            status, value = stub.reply(self.command, self.path, key, body)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", value)
            self.end_headers()
            self.wfile.write(value if isinstance(value, bytes) else json.dumps(value).encode())

        do_GET = do_POST = do_PUT = _reply  # noqa: N815 - as http.server calls them

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setenv("GEOSEARCH_IMMICH_KEY", "secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield stub, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_photos_in_immich_get_their_positions(world: World, immich: tuple[ImmichStub, str]) -> None:
    stub, url = immich
    files = {name: photo(shade=n) for n, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "d.jpg"))}
    world.add_named(files)
    world.correct(*HERE)
    by_bytes = stub.add(files["a.jpg"], "/elsewhere/1.jpg")
    placed = stub.add(files["b.jpg"], "/elsewhere/2.jpg", THERE)
    stub.add(b"", f"{world.folder}/c.jpg.bak")
    by_path = stub.add(b"", f"{world.folder}/c.jpg")
    (world.folder / "c.jpg").unlink()  # it is only where Immich sees it
    asked = {"immich": url + "/"}
    first = world.write(**asked, dry_run=True)
    assert not any(method == "PUT" for method, _, _ in stub.asked)
    done = world.write(**asked)
    for found in (first, done):
        assert (found.written, found.kept, found.there) == (2, 1, 0)
        assert [Path(each.path).name for each in found.failures] == ["d.jpg"]
    assert stub.position(by_bytes) == stub.position(by_path) == HERE
    assert stub.position(placed) == THERE
    assert world.write(**asked).there == 2
    assert world.write(**asked, overwrite=True).written == 1
    assert stub.position(placed) == HERE
    assert {row.path for row in world.log() if row.written} == {
        f"{url}/photos/{key}" for key in (by_bytes, by_path, placed)
    }


def test_an_immich_that_does_not_do_as_it_says_is_told_of(
    world: World, immich: tuple[ImmichStub, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, url = immich
    data = photo()
    world.add(a_jpg=data)
    world.correct(*HERE)
    asset = stub.assets[stub.add(data, "/1.jpg")]
    hostile = {**asset, "id": "../../users"}  # as if it were a part of an address
    answers: tuple[Callable[[str], tuple[int, Any] | None], ...] = (
        lambda path: (500, {}) if "search" in path else None,
        lambda path: (200, []) if "search" in path else None,
        lambda path: (200, b"<html>") if "search" in path else None,
        lambda path: (302, "http://127.0.0.1:1/") if "search" in path else None,
        lambda path: (200, {"exifInfo": {"latitude": "x"}}) if "assets" in path else None,
        lambda path: (200, {"assets": {"items": [hostile]}}) if "search" in path else None,
    )
    for answer in answers:
        stub.answer = answer
        done = world.write(immich=url)
        assert {each.reason for each in done.failures} <= {Reason.NOT_WRITABLE, Reason.UNREADABLE}
        assert (done.written, len(done.failures)) == (0, 1)
    stub.answer = lambda _: None
    monkeypatch.setenv("GEOSEARCH_IMMICH_KEY", "another")
    with pytest.raises(InputError, match="refuses the key"):
        world.write(immich=url)
    monkeypatch.delenv("GEOSEARCH_IMMICH_KEY")
    with pytest.raises(InputError, match="GEOSEARCH_IMMICH_KEY is not set"):
        world.write(immich=url)
    monkeypatch.setenv("GEOSEARCH_IMMICH_KEY", "secret")
    for address in ("file:///etc/passwd", "photos.example.org", "ftp://x/"):
        with pytest.raises(InputError, match="no address"):
            world.write(immich=address)
    with pytest.raises(InputError, match="does not answer"):
        world.write(immich="http://127.0.0.1:1")


@pytest.mark.parametrize("url", ["https://me:hidden@photos.example.org", "me:hidden@example.org"])
def test_an_address_with_a_password_is_refused_and_not_printed(
    world: World, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("GEOSEARCH_IMMICH_KEY", "secret")
    with pytest.raises(InputError, match="a user or a password") as refused:
        world.write(immich=url)
    assert "hidden" not in str(refused.value)


def test_what_is_asked_for_must_make_sense(world: World) -> None:
    world.add(a_jpg=photo())
    for options, said in (
        ({"embed": True, "csv": "x.csv"}, "exclude one another"),
        ({"estimates": True}, "go together"),
        ({"min_probability": 0.5}, "go together"),
        ({"estimates": True, "min_probability": 2}, "out of range"),
        ({"immich": "https://x", "estimates": True, "min_probability": 0.5}, "cannot tell"),
    ):
        with pytest.raises(InputError, match=said):
            world.write(**options)
    with pytest.raises(InputError, match="which photos"):
        write_back(world.database)
    with pytest.raises(NotFoundError, match="no photo 999999"):
        write_back(world.database, ids=[999_999])
