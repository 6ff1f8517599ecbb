"""Views for GIS and vector tiles: complete, thinned by zoom, right to the unit."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Json

from geosearch.database.connection import Database
from geosearch.localization.answer_rows import save
from tests.answers import make_answer, unanswered
from tests.rows import add_photos
from tests.vector_tiles import Feature, TileLayer, read_tile

BERLIN = make_answer([52.5, 52.6, 52.4], [13.4, 13.3, 13.5], photo="/b.jpg", truth=(48.9, 2.3))
FIJI = make_answer([-17.0, -17.5], [179.9, -179.8], photo="/f.jpg")
POLE = make_answer([89.9], [0.0], photo="/p.jpg", bandwidth_km=500.0)
#: In the Alps: two a metre apart and one by itself; then ends of the Earth, and above the tiles.
PHOTOS = [
    (46.0, 8.0),
    (46.00001, 8.0),
    (46.0, 9.0),
    (0.0, 180.0),
    (0.0, -180.0),
    (85.05, 10.0),
    (85.2, 10.0),
    (-90.0, 0.0),
]


@pytest.fixture(scope="module")
def filled(module_database: Database) -> tuple[Database, list[int]]:
    """A database of photos and answers, and the ids of the answers."""
    with module_database.connection() as connection:
        add_photos(connection, *zip(*PHOTOS, strict=True), authors=["ada", *[None] * 7])
        add_photos(connection, [47.0], [8.0], collection="unlocated")
        connection.execute(
            "UPDATE geosearch.photos SET geom = NULL, position_source = NULL "
            "WHERE uri LIKE '/photo/unlocated/%'"
        )
        ids = save(connection, [BERLIN, FIJI, POLE, unanswered("/none.jpg")])
    return module_database, ids


def tile(database: Database, z: int, x: int, y: int, **query: Any) -> TileLayer | None:
    with database.connection() as connection:
        row = connection.execute(
            "SELECT geosearch.mvt(%s, %s, %s, %s)", (z, x, y, Json(query))
        ).fetchone()
    assert row is not None
    layers = read_tile(row[0])
    return layers[0] if layers else None


def features(database: Database, z: int, x: int, y: int, **query: Any) -> list[Feature]:
    found = tile(database, z, x, y, **query)
    return [] if found is None else found.features


def column_and_row(lat: float, lon: float, z: int) -> tuple[float, float]:
    """Web Mercator in tiles."""
    turn = math.asinh(math.tan(math.radians(lat))) / (2 * math.pi)
    return (lon + 180) / 360 * 2**z, (0.5 - turn) * 2**z


def test_the_world_counts_every_photo_that_web_mercator_shows(
    filled: tuple[Database, list[int]],
) -> None:
    found = tile(filled[0], 0, 0, 0)
    assert found is not None
    assert (found.name, found.extent) == ("photos", 4096)
    # Without those above 85.05° and at the pole; the three in the Alps are one.
    assert sorted(each.properties["count"] for each in found.features) == [1, 1, 1, 3]
    (alps,) = (each for each in found.features if each.properties["count"] == 3)
    assert alps.id is None
    assert alps.properties == {"count": 3}
    x, y = column_and_row(46.0, 25 / 3, 0)
    assert alps.points == [(round(x * 4096), round(y * 4096))]


def test_zooming_in_takes_groups_apart(filled: tuple[Database, list[int]]) -> None:
    counts = {}
    for z in (0, 5, 10, 24):
        x, y = column_and_row(46.0, 8.0, z)
        shown = features(filled[0], z, int(x), int(y))
        counts[z] = sorted(each.properties["count"] for each in shown)
    assert counts == {0: [1, 1, 1, 3], 5: [1, 2], 10: [2], 24: [1]}


def test_a_photo_by_itself_tells_what_it_is(filled: tuple[Database, list[int]]) -> None:
    database, _ = filled
    x, y = column_and_row(46.0, 8.0, 24)
    (photo,) = features(database, 24, int(x), int(y))
    with database.connection() as connection:
        row = connection.execute("SELECT id FROM geosearch.photos WHERE author = 'ada'").fetchone()
    assert row == (photo.id,)
    properties = photo.properties
    assert (properties["author"], properties["collection"]) == ("ada", "test")
    assert properties["uri"] == "/photo/test/0.jpg"
    assert "title" not in properties  # unknown
    (u, v) = ((part % 1) * 4096 for part in (x, y))
    assert photo.points == [(round(u), round(v))]


@given(st.integers(0, 12))
def test_every_photo_is_in_one_tile(filled: tuple[Database, list[int]], z: int) -> None:
    seen = 0
    columns = {
        (min(int(x), 2**z - 1), int(y))
        for lat, lon in PHOTOS[:6]
        for x, y in [column_and_row(lat, lon, z)]
    }
    for x, y in columns:
        seen += sum(each.properties["count"] for each in features(filled[0], z, x, y))
    assert seen == 6


def test_a_tile_has_no_more_points_than_cells(database: Database) -> None:
    with database.connection() as connection:
        connection.execute(
            """
            WITH c AS (INSERT INTO geosearch.collections (name) VALUES ('grid') RETURNING id)
            INSERT INTO geosearch.photos (collection_id, uri, sha256, size_bytes, width, height,
                format, geom, position_source)
            SELECT c.id, i || '.jpg', sha256(i::text::bytea), 1, 1, 1, 'JPEG',
                ST_SetSRID(ST_Point(i % 200 * 1.79 - 179, i / 200 * 1.7 - 85), 4326), 'exif'
            FROM c, generate_series(0, 19999) AS i
            """
        )
    shown = features(database, 0, 0, 0)
    assert 3000 < len(shown) <= 64 * 64
    assert sum(each.properties["count"] for each in shown) == 20000


def test_estimates_and_neighbours_of_one_answer(filled: tuple[Database, list[int]]) -> None:
    database, (berlin, fiji, *_) = filled
    assert sum(e.properties["count"] for e in features(database, 0, 0, 0, layer="estimates")) == 2
    (estimate,) = features(database, 0, 0, 0, layer="estimates", answer=berlin)
    assert estimate.id == berlin
    assert estimate.properties["photo"] == "/b.jpg"
    assert estimate.properties["agreement"] == pytest.approx(BERLIN.agreement)
    west, east = features(database, 0, 0, 0, layer="neighbours", answer=fiji)
    assert {west.properties["rank"], east.properties["rank"]} == {1, 2}
    places = [column_and_row(-17.5, -179.8, 0), column_and_row(-17.0, 179.9, 0)]
    expected = [(round(x * 4096), round(y * 4096)) for x, y in places]
    assert sorted(west.points + east.points) == expected


def test_regions_are_drawn_with_the_smaller_on_top(filled: tuple[Database, list[int]]) -> None:
    database, (berlin, fiji, pole, _) = filled
    large, small = features(database, 4, 8, 5, layer="regions", answer=berlin)
    assert (large.properties["level"], small.properties["level"]) == (0.9, 0.5)
    assert large.properties["localization_id"] == berlin
    assert large.properties["photo"] == "/b.jpg"
    # They end at the buffer around the tile.
    for x, y in large.points + small.points:
        assert -64 <= x <= 4096 + 64
        assert -64 <= y <= 4096 + 64
    # Across the antimeridian, at both sides of the world, and round the pole, along its top.
    xs = {
        x
        for each in features(database, 0, 0, 0, layer="regions", answer=fiji)
        for x, _ in each.points
    }
    assert min(xs) <= 0
    assert max(xs) >= 4096
    tops = features(database, 0, 0, 0, layer="regions", answer=pole)
    assert min(y for each in tops for _, y in each.points) <= 0


def test_tiles_show_photos_of_a_time_and_of_a_collection(database: Database) -> None:
    year = [datetime(2010 + n, 1, 1, tzinfo=UTC) for n in range(3)]
    with database.connection() as connection:
        add_photos(connection, [10, 30, 50], [10, 30, 50], collection="a", taken_at=year)
        add_photos(connection, [-30], [30], collection="b")
    asked: list[tuple[dict[str, str], int]] = [
        ({}, 4),
        ({"collection": "a"}, 3),
        ({"after": "2011-01-01"}, 2),
        ({"after": "2011-01-01", "before": "2012-01-01"}, 1),
        ({"collection": "b", "after": "2011-01-01"}, 0),
    ]
    for query, count in asked:
        assert len(features(database, 0, 0, 0, **query)) == count, query


def test_tiles_show_answers_of_a_model(filled: tuple[Database, list[int]]) -> None:
    shown = features(filled[0], 0, 0, 0, layer="estimates")
    (model,) = {each.properties["model"] for each in shown if "model" in each.properties}
    assert features(filled[0], 0, 0, 0, layer="estimates", model=model) == shown
    assert features(filled[0], 0, 0, 0, layer="estimates", model="another") == []


def test_empty_tiles_are_empty(filled: tuple[Database, list[int]]) -> None:
    with filled[0].connection() as connection:
        row = connection.execute("SELECT geosearch.mvt(10, 100, 700)").fetchone()
    assert row == (b"",)
    assert features(filled[0], 0, 0, 0, layer="estimates", answer=12345) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 8, 0), "no tile 3/8/0"),
        ((3, 0, -1), "no tile 3/0/-1"),
        ((25, 0, 0), "no tile 25/0/0"),
        ((0, 0, None), "no tile 0/0/"),
        ((0, 0, 0, {"layer": "photo"}), "no layer 'photo'"),
        ((0, 0, 0, {"layer": "photos; DROP TABLE geosearch.photos"}), "no layer"),
        ((0, 0, 0, [1]), "no JSON object"),
        ((0, 0, 0, {"answer": "1 OR true"}), "answer is '1 OR true'"),
        ((0, 0, 0, {"after": "yesterday"}), 'after: expected a date or time.*found "yesterday"'),
        ((0, 0, 0, {"author": "ada"}), "layer photos cannot be asked for 'author'"),
        ((0, 0, 0, {"layer": "coverage", "after": "2020"}), "cannot be asked for 'after'"),
    ],
)
def test_tiles_and_layers_that_do_not_exist_are_refused(
    filled: tuple[Database, list[int]], arguments: tuple[Any, ...], message: str
) -> None:
    with (
        filled[0].connection() as connection,
        pytest.raises(psycopg.errors.InvalidParameterValue, match=message) as raised,
        connection.transaction(),
    ):
        connection.execute(
            f"SELECT geosearch.mvt({', '.join(['%s'] * len(arguments))})",
            [Json(each) if isinstance(each, dict | list) else each for each in arguments],
        )
    assert raised.value.diag.message_hint


def test_every_view_has_an_id_first_a_typed_geometry_and_a_comment(database: Database) -> None:
    with database.connection() as connection:
        rows = connection.execute(
            """
            SELECT c.relname, obj_description(c.oid), c.reloptions,
                (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = 1),
                (SELECT array_agg(type || ' ' || srid) FROM geometry_columns
                 WHERE f_table_schema = 'geosearch' AND f_table_name = c.relname)
            FROM pg_class AS c
            WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relname LIKE 'gis%'
                AND c.relkind = 'v'
            ORDER BY c.relname
            """
        ).fetchall()
    assert {row[0] for row in rows} >= {
        "gis_photos",
        "gis_estimates",
        "gis_regions",
        "gis_neighbours",
    }
    for name, comment, options, first, geometry in rows:
        assert comment, name
        assert first == "id", name
        assert options == ["security_invoker=true"], name
        (kind,) = geometry
        assert kind in ("POINT 4326", "MULTIPOLYGON 4326", "MULTILINESTRING 4326"), name
