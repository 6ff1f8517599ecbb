"""PMTiles: all tiles of layers in one file, as the function gives them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from pmtiles.reader import MmapSource, Reader, all_tiles
from psycopg.types.json import Json

from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.errors import InputError
from geosearch.export.tile_archive import find_layers, write_tiles
from tests.command_line import CommandLine
from tests.rows import add_photos
from tests.vector_tiles import read_tile

PLACES = [(46.0, 8.0), (46.001, 8.0), (-33.0, 151.0), (0.0, -180.0)]


@pytest.fixture(scope="module")
def filled(module_database: Database) -> Database:
    with module_database.connection() as connection:
        add_photos(connection, *zip(*PLACES, strict=True))
        refresh_coverage(connection)
    return module_database


def test_every_tile_is_that_of_the_function(filled: Database, tmp_path: Path) -> None:
    path = tmp_path / "photos.pmtiles"
    with filled.connection() as connection:
        count = write_tiles(
            connection, path, find_layers(["photos", "coverage", "photos"]), max_zoom=6
        )
        with path.open("rb") as file:
            source = MmapSource(file)
            tiles = list(all_tiles(source))
            assert len(tiles) == count
            for (z, x, y), content in tiles:
                row = connection.execute(
                    "SELECT geosearch.mvt(%(z)s, %(x)s, %(y)s, %(a)s)"
                    " || geosearch.mvt(%(z)s, %(x)s, %(y)s, %(b)s)",
                    {
                        **{"z": z, "x": x, "y": y},
                        **{"a": Json({"layer": "photos"}), "b": Json({"layer": "coverage"})},
                    },
                ).fetchone()
                assert row == (gzip.decompress(content),)
            header, said = Reader(source).header(), Reader(source).metadata()
    for z in range(7):
        layers = [
            layer
            for (zoom, _, _), content in tiles
            if zoom == z
            for layer in read_tile(gzip.decompress(content))
            if layer.name == "photos"
        ]
        assert sum(f.properties["count"] for one in layers for f in one.features) == len(PLACES)
    assert (header["min_zoom"], header["max_zoom"], header["clustered"]) == (0, 6, False)
    assert header["min_lon_e7"] == -180e7
    named = {each["id"]: each["fields"] for each in said["vector_layers"]}
    assert list(named) == ["photos", "coverage"]
    assert named["photos"]["accuracy_m"] == "Number"
    assert named["photos"]["taken_at"] == "String"


def test_the_command_says_what_it_wrote(
    filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine(filled.url, capsys)
    path = tmp_path / "photos.pmtiles"
    done = run("export", "tiles", "-o", path, "--max-zoom", 2, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["tiles"] == 7  # 1, then 3 of 4, then 3 of 16
    assert path.read_bytes()[:7] == b"PMTiles"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "photos.mbtiles"], ".pmtiles"),
        (["-o", "a.pmtiles", "--layer", "photo"], "no layer 'photo'"),
        (["-o", "a.pmtiles", "--layer", "estimates"], "nothing in these layers"),
        (["-o", "a.pmtiles", "--max-zoom", "19"], "no zoom"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(
    filled: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CommandLine(filled.url, capsys)("export", "tiles", *arguments)
    assert done.code == InputError.exit_code
    assert told in done.err
    assert list(tmp_path.iterdir()) == []
