"""Layers for GIS: coverage counts every photo once, lines follow great circles."""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.types.json import Json

from geosearch.database.connection import Connection, Database
from geosearch.database.coverage import refresh_coverage
from geosearch.errors import NotFoundError
from geosearch.export.layer_files import write_layers
from geosearch.ingest import ingest
from geosearch.layers.layer import ESTIMATES, LAYERS, Layer
from geosearch.layers.layer_rows import read_answers
from geosearch.layers.selection import Selection
from geosearch.localization.answer_rows import save
from geosearch.sphere import great_circle_km, unit_vectors
from tests.answers import make_answer, unanswered
from tests.command_line import CommandLine
from tests.photo_files import gps, photo
from tests.rows import add_photos
from tests.vector_tiles import Feature, read_tile

ROOT = Path(__file__).parent.parent
BERLIN = make_answer([52.5, 52.6, 52.4], [13.4, 13.3, 13.5], photo="/b.jpg", truth=(48.9, 2.3))
FIJI = make_answer([-17.0, -17.5], [179.9, -179.8], photo="/f.jpg", truth=(-13.8, -171.8))
NOWHERE = unanswered("/none.jpg")
EARTH_KM2 = 4 * np.pi * 6371.0**2

positions = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


def rows(connection: Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return connection.execute(query, values).fetchall()


def cells(connection: Connection) -> list[tuple[str, int, int, int]]:
    """Collection, size of cell, number of cell, photos."""
    found = rows(
        connection,
        "SELECT name, cell_km, cell, photos FROM geosearch.coverage "
        "JOIN geosearch.collections ON collections.id = collection_id ORDER BY cell, name",
    )
    return [(row[0], row[1], row[2], row[3]) for row in found]


def test_the_cells_of_a_grid_share_the_earth_evenly(module_database: Database) -> None:
    with module_database.connection() as connection:
        bands = rows(connection, "SELECT * FROM geosearch.coverage_bands()")
    first = 1
    for size in (222, 56):
        grid = [band for band in bands if band[0] == size]
        total = sum(band[3] for band in grid)
        assert abs(np.sqrt(EARTH_KM2 / total) - size) < 0.5
        assert (grid[0][4], grid[-1][5]) == (-90.0, 90.0)
        for below, above in itertools.pairwise(grid):
            assert below[5] == above[4]
        for *_, number, count, south, north in grid:
            assert number == first
            first += count
            share = (np.sin(np.radians(north)) - np.sin(np.radians(south))) / 2 / count
            assert share * total == pytest.approx(1, rel=1e-6)
            # About as wide as high, round the poles within a factor of three.
            middle = np.radians((south + north) / 2)
            assert 1 / 3 < (north - south) / (360 / count * np.cos(middle)) < 3


@given(st.lists(positions, min_size=1, max_size=20))
@example([(90.0, 0.0), (-90.0, 180.0), (0.0, 180.0), (0.0, -180.0), (51.0, 7.0)])
def test_every_photo_is_counted_in_the_one_cell_that_holds_it(
    module_database: Database, places: list[tuple[float, float]]
) -> None:
    with module_database.connection() as connection, connection.transaction(force_rollback=True):
        lat, lon = zip(*places, strict=True)
        add_photos(connection, lat, lon)
        refresh_coverage(connection)
        for size in (222, 56):
            found = rows(
                connection,
                "SELECT photos, (SELECT count(*) FROM geosearch.photos "
                "WHERE ST_DWithin(photos.geom, coverage.geom, 1e-9)) "
                "FROM geosearch.coverage WHERE cell_km = %s",
                size,
            )
            assert sum(counted for counted, _ in found) == len(places)
            # A photo on an edge is in both of its cells, and is counted in one.
            assert all(counted <= inside for counted, inside in found)


def test_a_refresh_counts_what_changed_and_leaves_the_rest(database: Database) -> None:
    with database.connection() as connection:
        add_photos(connection, [46.9, 46.91, -33.9], [8.0, 8.01, 18.4], collection="a")
        add_photos(connection, [46.9], [8.0], collection="b")
        assert refresh_coverage(connection) == 6
        before = cells(connection)
        assert sorted((name, size, photos) for name, size, _, photos in before) == [
            ("a", 56, 1),
            ("a", 56, 2),
            ("a", 222, 1),
            ("a", 222, 2),
            ("b", 56, 1),
            ("b", 222, 1),
        ]
        stamps = dict(rows(connection, "SELECT id, created_at FROM geosearch.coverage"))
        connection.execute("DELETE FROM geosearch.photos WHERE uri LIKE '/photo/a/2%'")
        connection.execute("DELETE FROM geosearch.photos WHERE uri LIKE '/photo/a/1%'")
    with database.connection() as connection:
        assert refresh_coverage(connection, "b") == 2
        assert cells(connection) == before  # those of another collection are not touched
        assert refresh_coverage(connection, "a") == 2
        assert {(name, photos) for name, _, _, photos in cells(connection)} == {("a", 1), ("b", 1)}
        after = dict(rows(connection, "SELECT id, created_at FROM geosearch.coverage"))
    same = [key for key in after if after[key] == stamps.get(key)]
    assert (len(after), len(same)) == (4, 2)


def test_the_layer_adds_the_collections_up(database: Database) -> None:
    with database.connection() as connection:
        add_photos(connection, [46.9, 46.91], [8.0, 8.01], collection="a")
        add_photos(connection, [46.9], [8.0], collection="b")
        refresh_coverage(connection)
        found = rows(
            connection,
            "SELECT cell_km, photos, collections, ST_Contains(geom, "
            "ST_SetSRID(ST_Point(8, 46.9), 4326)) FROM geosearch.gis_coverage ORDER BY cell_km",
        )
    assert found == [(56, 3, "a, b", True), (222, 3, "a, b", True)]


def test_an_ingest_counts_its_photos(database: Database, tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(photo(gps(47.0, 8.0), shade=1))
    ingest(database, [tmp_path], collection="mine")
    with database.connection() as connection:
        assert {row[::3] for row in cells(connection)} == {("mine", 1)}
        refreshed = cells(connection)
    (tmp_path / "two.jpg").write_bytes(photo(gps(47.0, 8.0), shade=2))
    ingest(database, [tmp_path], collection="mine", dry_run=True)
    with database.connection() as connection:
        assert cells(connection) == refreshed
    ingest(database, [tmp_path], collection="mine")
    with database.connection() as connection:
        assert {row[::3] for row in cells(connection)} == {("mine", 2)}


def test_the_command_counts_again(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with database.connection() as connection:
        add_photos(connection, [47.0, -33.9], [8.0, 18.4])
    run = CommandLine(database.url, capsys)
    assert run("layers", "refresh").out == "all collections: 4 cells with photos\n"
    assert run("layers", "refresh", "--collection", "test", "--json").json() == {
        "collection": "test",
        "cells": 4,
    }
    unknown = run("layers", "refresh", "--collection", "tset")
    assert unknown.code == NotFoundError.exit_code
    assert "no collection 'tset'" in unknown.err


def test_an_unknown_collection_is_refused_in_sql_too(module_database: Database) -> None:
    with (
        module_database.connection() as connection,
        pytest.raises(psycopg.errors.InvalidParameterValue, match="no collection 'tset'"),
        connection.transaction(),
    ):
        connection.execute("SELECT geosearch.refresh_coverage('tset')")


def sql_line(
    database: Database, start: Sequence[float], end: Sequence[float]
) -> shapely.MultiLineString:
    with database.connection() as connection:
        ((found,),) = rows(
            connection,
            "SELECT ST_AsBinary(geosearch.great_circle_line("
            "ST_SetSRID(ST_Point(%s, %s), 4326), ST_SetSRID(ST_Point(%s, %s), 4326)))",
            start[1],
            start[0],
            end[1],
            end[0],
        )
    line = shapely.from_wkb(found)
    assert isinstance(line, shapely.MultiLineString)
    return line


@given(positions, positions)
@example((10.0, 20.0), (-10.0, -160.0))
@example((-17.0, 179.0), (10.0, -178.0))
@example((90.0, 0.0), (-90.0, 0.0))
@example((0.0, 149.5), (82.0, -31.0))
@example((47.0, 8.0), (47.0, 8.0))
@example((0.0, -180.0), (1.0, -180.0))
@example((0.0, 179.9999999999), (60.0, 180.0))
@example((0.0, -180.0), (30.0, -10.0))
@example((0.0, -2.5e-130), (1.0, 180.0))
@example((0.0, 0.0), (3.0e-200, 2.5e-262))
@example((51.0, -92.0), (88.0, 89.0))
@example((19.0, -60.0), (-89.0, 121.0))
@example((-51.0, -60.0), (-82.0, 120.25))
@example((48.0, 160.0), (-48.0, -20.001))
def test_lines_follow_the_great_circle_from_end_to_end(
    module_database: Database, start: tuple[float, float], end: tuple[float, float]
) -> None:
    line = sql_line(module_database, start, end)
    distance = float(great_circle_km(*start, *end))
    # In unit vectors, for which there are no poles and no antimeridian.
    parts = [shapely.get_coordinates(part) for part in line.geoms]
    points = np.concatenate([unit_vectors(part[:, 1], part[:, 0]) for part in parts])
    ends = unit_vectors([start[0], end[0]], [start[1], end[1]])
    assert np.linalg.norm(points[[0, -1]] - ends, axis=1).max() < 1e-6
    steps = 6371 * 2 * np.arcsin(np.linalg.norm(np.diff(points, axis=0), axis=1).clip(0, 2) / 2)
    assert steps.sum() == pytest.approx(distance, rel=1e-6, abs=0.01)
    if distance < 20_000:
        assert steps.max() < 100.001
    for part in parts:
        assert np.abs(part[:, 0]).max() <= 180
        if distance < 20_000 and np.abs(part[:, 1]).max() < 89:
            assert np.abs(np.diff(part[:, 0])).max() < 180


@pytest.fixture(scope="module")
def answered(module_database: Database) -> tuple[Database, list[int]]:
    """A database of answers, and their ids."""
    with module_database.connection() as connection:
        return module_database, save(connection, [BERLIN, FIJI, NOWHERE])


def test_there_is_a_line_to_every_neighbour_of_an_estimate(
    answered: tuple[Database, list[int]],
) -> None:
    database, (berlin, fiji, _) = answered
    with database.connection() as connection:
        found = rows(
            connection,
            "SELECT l.localization_id, l.rank, l.photo, l.neighbour, ST_NumGeometries(l.geom), "
            "n.rank = l.rank AND n.geom = ST_EndPoint(ST_GeometryN(l.geom, -1)) OR "
            "n.geom = ST_EndPoint(ST_GeometryN(l.geom, ST_NumGeometries(l.geom))) "
            "FROM geosearch.gis_lines AS l JOIN geosearch.gis_neighbours AS n USING (id) "
            "ORDER BY 1, 2",
        )
    assert [row[:4] for row in found] == [
        (berlin, 1, "/b.jpg", "/photos/0.jpg"),
        (berlin, 2, "/b.jpg", "/photos/1.jpg"),
        (berlin, 3, "/b.jpg", "/photos/2.jpg"),
        (fiji, 1, "/f.jpg", "/photos/0.jpg"),
        (fiji, 2, "/f.jpg", "/photos/1.jpg"),
    ]
    assert all(ends_there for *_, ends_there in found)
    # Of Fiji's two, on either side of the antimeridian, one line is cut.
    assert sorted(row[4] for row in found if row[0] == fiji) == [1, 2]


def test_an_error_is_as_long_as_it_says(answered: tuple[Database, list[int]]) -> None:
    database, (berlin, fiji, _) = answered
    with database.connection() as connection:
        found = rows(
            connection,
            "SELECT id, error_km, ST_Length(geom::geography, false) / 1000 "
            "FROM geosearch.gis_errors ORDER BY id",
        )
    assert [row[0] for row in found] == [berlin, fiji]
    for _, error_km, length in found:
        # PostGIS's sphere is 6371.0088 km, ours 6371 km.
        assert length == pytest.approx(error_km, rel=1e-5)


def columns(connection: Connection, layer: Layer) -> list[tuple[Any, ...]]:
    """Name, type and comment of every column of a layer's view, the geometry last."""
    return rows(
        connection,
        "SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum) "
        "FROM pg_attribute WHERE attrelid = %s::regclass ORDER BY attnum",
        f"geosearch.{layer.view}",
    )


def test_every_view_is_a_layer_and_says_the_same(module_database: Database) -> None:
    with module_database.connection() as connection:
        views = rows(
            connection,
            """
            SELECT relname, obj_description(oid) FROM pg_class
            WHERE relnamespace = 'geosearch'::regnamespace AND relname LIKE 'gis\\_%%'
            """,
        )
        assert dict(views) == {layer.view: layer.about for layer in LAYERS.values()}
        for layer in LAYERS.values():
            (key, kind, _), *others, (last, geometry, _) = columns(connection, layer)
            assert (key, kind in ("bigint", "integer"), last) == ("id", True, "geom")
            assert geometry == f"geometry({layer.geometry_type},4326)"
            assert {layer.label, layer.answer or key} <= {key, *(name for name, *_ in others)}
            connection.execute(f"SELECT FROM geosearch.{layer.view} ORDER BY {layer.order}")


def test_every_column_of_every_view_is_explained(module_database: Database) -> None:
    with module_database.connection() as connection:
        for layer in LAYERS.values():
            assert [name for name, _, said in columns(connection, layer) if not said] == []


def test_a_column_is_added_by_the_view_alone(database: Database, tmp_path: Path) -> None:
    with database.connection() as connection:
        (answer,) = save(connection, [BERLIN])
        ((view,),) = rows(connection, "SELECT pg_get_viewdef('geosearch.gis_estimates'::regclass)")
        connection.execute("DROP VIEW geosearch.gis_estimates")
        connection.execute(
            "CREATE VIEW geosearch.gis_estimates AS "
            + re.sub(r"(\S+ AS geom)", r"'here'::text AS nearby, \1", view)
        )
        connection.execute("COMMENT ON COLUMN geosearch.gis_estimates.nearby IS 'Where it is.'")
        read = read_answers(connection, ESTIMATES, Selection())
        assert read.schema.field("nearby").metadata == {b"GDAL:OGR:comment": b"Where it is."}
        write_layers(tmp_path / "estimates.csv", [read])
    assert ',"here",' in (tmp_path / "estimates.csv").read_text()
    (tile,) = features(database, 0, 52.5, 13.4, "estimates", answer)
    assert tile.properties["nearby"] == "here"


@pytest.mark.parametrize("layer", [layer for layer in LAYERS.values() if layer.answer])
def test_rows_of_answers_are_those_of_the_view(
    answered: tuple[Database, list[int]], layer: Layer
) -> None:
    database, (berlin, *_) = answered
    with database.connection() as connection:
        named = [name for name, *_ in columns(connection, layer)]
        for chosen in (Selection(), Selection(ids=(berlin,)), Selection(last=1)):
            read = read_answers(connection, layer, chosen)
            assert read.schema.names == [*named[:-1], "geometry"]
            found = [tuple(row.values()) for batch in read.batches for row in batch.to_pylist()]
            query = (
                f"SELECT {', '.join(named[:-1])}, ST_AsBinary(geom) FROM geosearch.{layer.view} "  # noqa: S608
                f"WHERE {layer.answer} = ANY(%s) ORDER BY {layer.order}"
            )
            assert found == rows(connection, query, chosen.find(connection))


def test_the_documentation_has_the_tables_of_the_views(module_database: Database) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts/layer-tables"],
        env=os.environ | {"GEOSEARCH_DATABASE_URL": module_database.url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.count("| `geom` |") == len(LAYERS)
    assert ran.stdout in (ROOT / "docs/layers.md").read_text("utf-8")


def features(
    database: Database, z: int, lat: float, lon: float, layer: str, answer: int | None = None
) -> list[Feature]:
    """What the tile at a position shows."""
    x = int((lon + 180) / 360 * 2**z)
    y = int((0.5 - math.atanh(math.sin(math.radians(lat))) / (2 * math.pi)) * 2**z)
    with database.connection() as connection:
        ((tile,),) = rows(
            connection,
            "SELECT geosearch.mvt(%s, %s, %s, %s)",
            *(z, x, y, Json({"layer": layer, "answer": answer})),
        )
    return [each for found in read_tile(tile) for each in found.features]


@pytest.mark.parametrize(("z", "size"), [(0, 222), (4, 222), (5, 56), (9, 56)])
def test_tiles_show_coverage_by_the_grid_of_their_zoom(
    database: Database, z: int, size: int
) -> None:
    with database.connection() as connection:
        add_photos(connection, [0.3, 0.3, 0.3], [0.1, 0.1, 0.6])
        refresh_coverage(connection)
    shown = features(database, z, 0.3, 0.4, "coverage")
    assert {each.properties["cell_km"] for each in shown} == {size}
    assert sorted(each.properties["photos"] for each in shown) == ([3] if size == 222 else [1, 2])


def test_tiles_show_lines_and_errors_of_an_answer(answered: tuple[Database, list[int]]) -> None:
    database, (berlin, fiji, _) = answered
    assert len(features(database, 8, 52.5, 13.4, "lines")) == 3
    assert features(database, 8, 52.5, 13.4, "lines", fiji) == []
    shown = features(database, 8, 52.5, 13.4, "lines", berlin)
    assert [each.properties["rank"] for each in shown] == [1, 2, 3]
    (error,) = features(database, 0, 52.5, 13.4, "errors", berlin)
    assert error.id == berlin
    assert error.properties["error_km"] == pytest.approx(BERLIN.error_km)
