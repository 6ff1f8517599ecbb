"""Ingest and embedding in one: the same as one after the other, but each photo is read once."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image

from geosearch import images, storage
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import InputError, NotFoundError
from geosearch.features import Backbone, embed
from geosearch.features.embedded_ingest import EmbeddedIngest, ingest_and_embed
from geosearch.features.preprocessing import Preprocessing
from geosearch.ingest import ingest, ingest_run
from tests.command_line import CommandLine
from tests.photo_files import gps, photo, photos_at
from tests.rows import fetch
from tests.test_embed import DESCRIPTION, MeanColours, backbone, put, stored, write_photos


def write_album(folder: Path) -> None:
    """Photos of each kind that a run meets: good, bad, large, lying, unlocated, twice."""
    folder.mkdir()
    large = (1600, 1200)
    files = {
        "good.jpg": photo(gps(1, 2), size=(300, 200)),
        "large.jpg": photo(gps(1, 3), shade=1, size=large),
        "lying.jpg": photo(gps(1, 4), image_tags={ExifTags.Base.Orientation: 6}, size=large),
        "picture.png": photo(gps(1, 5), shade=2, format="PNG", size=(300, 200)),
        "unlocated.jpg": photo(shade=3, size=large),
        "twice.jpg": photo(gps(1, 2), size=(300, 200)),
        "cut.jpg": photo(gps(1, 6), shade=4, size=large)[:4000],
        "none.jpg": b"no photo",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    # The network gives nothing for black; what tells nothing of a place is noted of queries.
    located = Image.Exif()
    located.get_ifd(ExifTags.IFD.GPSInfo).update(gps(1, 7))
    Image.new("RGB", (64, 64)).save(folder / "black.jpg", exif=located)
    Image.new("RGB", (64, 64), "#808080").save(folder / "grey.jpg")
    # A guess, which somebody reviewed elsewhere, makes no reference either.
    said = {ExifTags.GPS.GPSProcessingMethod: b"ASCII\0\0\0geosearch reviewed at 1.0,8.0"}
    located.get_ifd(ExifTags.IFD.GPSInfo).update(gps(1, 8) | said)
    Image.new("RGB", (64, 64), "#909090").save(folder / "reviewed.jpg", exif=located)


def finer() -> Backbone:
    """Of enough pixels to see that a picture tells nothing of a place."""
    pixels = Preprocessing(96, 96, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Backbone(replace(DESCRIPTION, preprocessing=pixels), MeanColours())


def rows(database: Database, collection: str) -> dict[str, list[Any]]:
    """What is stored of a collection, but for numbers and times of rows."""
    without = "to_jsonb(t) - '{id,photo_id,collection_id,run_id,created_at}'::text[]"
    of_photo = "JOIN geosearch.photos AS p ON p.id = t.photo_id"
    tables = {
        "photos": f"{without} FROM geosearch.photos AS t",
        "embeddings": f"uri, {without} FROM geosearch.embeddings AS t {of_photo}",
        "queries": f"uri, {without} FROM geosearch.queries AS t {of_photo}",
        "thumbnails": f"uri, {without} FROM geosearch.thumbnails AS t {of_photo}",
        "rejects": f"photo_id IS NULL, {without} FROM geosearch.rejects AS t",
    }
    where = "WHERE t.collection_id = (SELECT id FROM geosearch.collections WHERE name = %s)"
    return {
        name: fetch(database, f"SELECT {columns} {where} ORDER BY uri", collection)
        for name, columns in tables.items()
    }


@pytest.mark.parametrize("options", [{}, {"thumbnails": True}, {"decode": False}])
def test_the_rows_are_those_of_ingest_and_then_embed(
    database: Database, tmp_path: Path, options: dict[str, Any]
) -> None:
    write_album(tmp_path / "album")
    ingest(database, [tmp_path / "album"], collection="two steps", **options)
    apart = embed(database, finer(), collection="two steps")

    once = ingest_and_embed(
        database, [tmp_path / "album"], collection="one step", model=finer(), **options
    )

    both = [rows(database, name) for name in ("two steps", "one step")]
    assert both[0] == both[1]
    assert all(both[1][table] for table in ("embeddings", "queries", "rejects"))
    assert {row[1]["low_information"] for row in both[1]["queries"]} == {"blank", "smooth"}
    assert bool(both[1]["thumbnails"]) is bool(options.get("thumbnails"))
    counts = ("pending", "embedded", "rejected", "gone", "skipped")
    assert [getattr(once.embedding, name) for name in counts] == [
        getattr(apart, name) for name in counts
    ]
    assert once.embedded == once.embedding.embedded


def test_a_photo_is_read_and_decoded_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, loaded = Counter[str](), Counter[str]()
    reading, loading = storage._read, images._load

    def counted_read(uri: str, most: int) -> bytes:
        read[uri] += 1
        return reading(uri, most)

    def counted_load(image: Image.Image, *how: Any) -> None:
        loaded[str(image.size)] += 1
        loading(image, *how)

    for number in range(20):
        size = (400 + number, 300)
        (tmp_path / f"{number}.jpg").write_bytes(photo(gps(1, number), shade=number, size=size))
    monkeypatch.setattr(storage, "_read", counted_read)
    monkeypatch.setattr(images, "_load", counted_load)
    done = ingest_and_embed(database, [tmp_path], collection="c", model=backbone())
    assert (done.added, done.embedded) == (20, 20)
    assert read == {str(tmp_path / f"{number}.jpg"): 1 for number in range(20)}
    assert set(loaded.values()) == {1}
    assert len(loaded) == 20


def test_what_was_there_without_an_embedding_is_embedded_too(
    database: Database, tmp_path: Path
) -> None:
    put(database, tmp_path / "a", 5)
    put(database, tmp_path / "b", 3, "another collection")
    (tmp_path / "a" / "new.jpg").write_bytes(photo(gps(1, 1), shade=99))
    seen: list[tuple[int, int | None]] = []

    first = ingest_and_embed(
        database,
        [tmp_path / "a"],
        collection="test",
        model=backbone(),
        progress=lambda done, total: seen.append((done, total)),
    )

    assert (first.seen, first.added, first.embedded) == (6, 1, 1)
    assert (first.embedding.pending, first.embedding.embedded) == (6, 6)
    assert (6, 6) in seen
    assert seen[-1] == (5, 5)
    assert len(stored(database)) == 6
    again = ingest_and_embed(
        database, [tmp_path / "a"], collection="test", model=backbone(), rehash=True
    )
    assert (again.duplicates, again.embedded, again.embedding.pending) == (6, 0, 0)


def test_a_run_that_ends_early_leaves_no_photo_without_its_embedding(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_run, "_BATCH", 16)
    folder, batches = tmp_path / "photos", count()
    write_photos(folder, 160)

    def fail() -> None:
        if next(batches) == 6:
            while fetch(database, "SELECT count(*) FROM geosearch.photos") == [(0,)]:
                time.sleep(0.01)  # what came before is on its way
            raise MemoryError

    with pytest.raises(MemoryError):
        ingest_and_embed(database, [folder], collection="test", model=backbone(before=fail))
    ((photos,),) = fetch(database, "SELECT count(*) FROM geosearch.photos")
    assert 0 < photos == len(stored(database)) < 160

    ingest(database, [folder], collection="test")
    assert embed(database, backbone(), collection="test").embedded == 160 - photos


def test_from_the_command_line_and_from_python(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geosearch, gs = CommandLine(database.url, capsys), Geosearch(database)
    photos_at(tmp_path, [(1, 0), (1, 1), (1, 2)])
    (tmp_path / "none.jpg").write_bytes(b"no photo")
    first = gs.ingest(tmp_path / "0.jpg", collection="c", embed=True, device="cpu")
    assert isinstance(first, EmbeddedIngest)
    assert (first.embedded, first.embedding.model) == (1, "packaged/efficientnet-lite0")
    ran = geosearch("ingest", tmp_path, "--collection", "c", "--embed", "--json")
    assert ran.code == 3
    assert ran.json()["embedded"] == ran.json()["embedding"]["embedded"] == 2

    several = geosearch(
        *("ingest", tmp_path, "--collection", "c", "--embed"),
        *("--model", "packaged/efficientnet-lite0+views5"),
    )
    assert "views5: 3 photos embedded" in several.out
    assert "next: geosearch index --model packaged/efficientnet-lite0+views5" in several.out
    assert fetch(database, "SELECT count(*) FROM geosearch.embeddings") == [(6,)]

    for wrong, said in (
        (("--model", "torchvision/resnet50"), "--embed"),
        (("--embed", "--dry-run"), "--dry-run writes nothing"),
    ):
        refused = geosearch("ingest", tmp_path, "--collection", "d", *wrong)
        assert refused.code == 2
        assert said in refused.err
    with pytest.raises(NotFoundError):
        gs.ingest(tmp_path, collection="d", embed="external:nobody")
    with pytest.raises(InputError, match="dry_run"):
        gs.ingest(tmp_path, collection="d", embed=True, dry_run=True)
    assert fetch(database, "SELECT name FROM geosearch.collections") == [("c",)]
