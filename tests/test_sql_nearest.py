"""Neighbours in SQL: the rows, the strategy and the recall that `geosearch.retrieval` gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql
from psycopg.rows import dict_row
from shapely import MultiPolygon, box

from geosearch.database.connection import Database
from geosearch.retrieval import Neighbours, nearest, recall
from geosearch.retrieval.facts import forget
from geosearch.retrieval.filters import EVERYTHING, Filter, Near, Photos, where
from geosearch.retrieval.indexes import build_index
from geosearch.retrieval.recall import tune
from tests import rows
from tests.rows import START, add_embeddings, add_model, add_photos, add_varied_photos, places

DIMENSION = 16
COUNT = 2400
MODEL = "test/model"
looks = partial(rows.looks, dimension=DIMENSION)


@dataclass
class World:
    """Photos all over the Earth that look like their surroundings."""

    database: Database
    model: int
    ids: list[int]

    def query(self, seed: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([9, seed])
        return np.asarray(looks(rng, *places(rng, 1))[0])

    def sql(self, query: NDArray[np.float32], k: int, **arguments: Any) -> list[dict[str, Any]]:
        """What `geosearch.nearest` gives, called with these named arguments."""
        with self.database.connection() as connection:
            return call(
                connection, "nearest", query=HalfVector(query), model=MODEL, k=k, **arguments
            )


def call(connection: psycopg.Connection[Any], function: str, **given: Any) -> list[dict[str, Any]]:
    """The rows of a function of schema geosearch, called with named arguments."""
    named = sql.SQL(", ").join(
        sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in given
    )
    statement = sql.SQL("SELECT * FROM {}({})").format(sql.Identifier("geosearch", function), named)
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, given).fetchall()


def random_search(test: Callable[..., None]) -> Callable[..., None]:
    """Give a test conditions, numbers of neighbours and queries, all drawn at random."""
    drawn = given(asked=conditions(), k=st.integers(1, 200), seed=st.integers(0, 1000))
    return real_database(drawn(test))


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    rng = np.random.default_rng(7)
    with module_database.connection() as connection:
        model = add_model(connection, DIMENSION, MODEL)
        photos = []
        for collection in ("north", "south"):
            lat, lon = places(rng, COUNT // 2)
            photos += add_varied_photos(connection, rng, lat, lon, collection)
            add_embeddings(connection, model, photos[-len(lat) :], looks(rng, lat, lon))
        connection.execute("ANALYZE geosearch.embeddings_open")
    return World(module_database, model, [photo.photo_id for photo in photos])


@pytest.fixture(scope="module")
def indexed(world: World) -> World:
    """The same world with an index; exact search is said to be slow, so that the index is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "CURVE_SAMPLE", 50)
        patch.setattr(recall, "SWEEP_SAMPLE", 5)
        build_index(world.database, world.model, DIMENSION)
        tune(world.database, world.model, 0.97, 50)
    with world.database.connection() as connection:
        connection.execute("UPDATE geosearch.tunings SET exact_fixed_ms = 0, exact_row_ms = 0.1")
    forget(world.database)
    return world


longitudes = st.floats(-180, 180).map(lambda value: round(value, 3))
latitudes = st.floats(-90, 90).map(lambda value: round(value, 3))
moments = st.integers(0, 1400).map(lambda days: START + timedelta(days=days))


@st.composite
def conditions(draw: st.DrawFn) -> tuple[dict[str, Any], Filter]:
    """Arguments of `geosearch.nearest`, and the filter of Python that says the same."""
    arguments: dict[str, Any] = {}
    python: dict[str, Any] = {}
    wanted = EVERYTHING
    if draw(st.booleans()):
        west, east = sorted((draw(longitudes), draw(longitudes)))
        south, north = sorted((draw(latitudes), draw(latitudes)))
        # At the edge of the map too, the box has an area.
        west, south = min(west, 179.999), min(south, 89.999)
        area = MultiPolygon([box(west, south, max(east, west + 1e-3), max(north, south + 1e-3))])
        python["within"] = area
        arguments["within"] = f"SRID=4326;{area.wkt}"
    if draw(st.booleans()):
        near = draw(latitudes), draw(longitudes), draw(st.floats(100, 15_000))
        wanted = Near(*near)
        arguments |= {"near": f"SRID=4326;POINT({near[1]} {near[0]})", "near_km": near[2]}
    if draw(st.booleans()):
        python["after"] = arguments["taken_after"] = draw(moments)
    if draw(st.booleans()):
        python["before"] = arguments["taken_before"] = draw(moments) + timedelta(days=1500)
    for theirs, ours, names in (
        ("collections", "collections", ["north", "south"]),
        ("authors", "authors", ["author 1", "author 2", "nobody"]),
        ("exclude_authors", "not_authors", ["author 1", "author 3"]),
        ("licences", "licences", ["CC 1", "CC 2"]),
    ):
        if draw(st.integers(0, 3)) == 0:
            chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
            python[theirs] = arguments[ours] = chosen
    if draw(st.integers(0, 3)) == 0:
        python["accuracy_m"] = arguments["accuracy_m"] = draw(st.integers(10, 90))
    if draw(st.integers(0, 3)) == 0:
        ids = draw(st.lists(st.integers(1, COUNT), min_size=1, max_size=5))
        wanted = wanted & ~Photos(*ids)
        arguments["not_photos"] = ids
    return arguments, wanted & where(**python)


real_database = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def same_photos(rows: list[dict[str, Any]], found: Neighbours) -> None:
    """The same photos in the same order, with the same columns."""
    assert [row["photo_id"] for row in rows] == found.photo_id.tolist()
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert tuple(row["uri"] for row in rows) == found.uri
    np.testing.assert_allclose([row["distance"] for row in rows], found.distance, atol=1e-12)


@random_search
def test_exact_search_gives_the_rows_of_python(
    world: World, asked: tuple[dict[str, Any], Filter], k: int, seed: int
) -> None:
    arguments, wanted = asked
    rows = world.sql(world.query(seed), k, exact=True, **arguments)
    found = nearest(world.database, world.model, world.query(seed), k, wanted, exact=True)
    same_photos(rows, found)
    assert {row["strategy"] for row in rows} <= {"exact"}
    assert {row["matches"] for row in rows} <= {found.plan.matches}
    assert {row["expected_recall"] for row in rows} <= {1.0}


@random_search
def test_automatic_search_chooses_as_python_does_and_is_never_short(
    indexed: World, asked: tuple[dict[str, Any], Filter], k: int, seed: int
) -> None:
    arguments, wanted = asked
    query = indexed.query(seed)
    rows = indexed.sql(query, k, **arguments)
    found = nearest(indexed.database, indexed.model, query, k, wanted)
    same_photos(rows, found)
    if rows:
        assert rows[0]["strategy"] == found.plan.strategy
        assert rows[0]["expected_recall"] == pytest.approx(found.plan.expected_recall)
        assert rows[0]["matches"] == found.plan.matches


def test_both_ways_of_searching_were_tried(indexed: World) -> None:
    anywhere = [indexed.sql(indexed.query(seed), 20)[0] for seed in range(5)]
    assert {row["strategy"] for row in anywhere} == {"ann"}
    assert all(row["expected_recall"] >= 0.97 for row in anywhere)
    half = indexed.sql(indexed.query(1), 5, taken_after=START + timedelta(days=1000))
    assert half[0]["strategy"] == "ann"
    few = indexed.sql(indexed.query(1), 5, authors=["author 1"], collections=["north"])
    assert few[0]["strategy"] == "exact"
    assert few[0]["reason"] == "few matching photos: all were compared"


def test_a_region_far_from_the_query_is_searched_exactly(indexed: World) -> None:
    rng = np.random.default_rng(5)
    query = looks(rng, np.array([0.0]), np.array([0.0]))[0]
    far = "SRID=4326;MULTIPOLYGON(((110 -80,180 -80,180 80,110 80,110 -80)))"
    rows = indexed.sql(query, 50, within=far)
    found = indexed.sql(query, 50, within=far, exact=True)
    assert [row["photo_id"] for row in rows] == [row["photo_id"] for row in found]
    assert rows[0]["expected_recall"] == 1


def test_the_index_is_used_through_the_parent_table(indexed: World) -> None:
    read = (
        "SELECT idx_scan, seq_tup_read FROM pg_stat_xact_user_tables WHERE relid = to_regclass(%s)"
    )
    partition = f"geosearch.embeddings_m{indexed.model}"
    query = HalfVector(indexed.query(3))
    with indexed.database.connection() as connection:
        before = connection.execute(read, (partition,)).fetchone()
        found = call(connection, "nearest", query=query, model=MODEL, k=20)
        after = connection.execute(read, (partition,)).fetchone()
    assert before is not None
    assert found[0]["strategy"] == "ann"
    assert after == (before[0] + 1, before[1])


def test_settings_are_as_before_when_the_function_is_left(indexed: World) -> None:
    names = ("hnsw.ef_search", "hnsw.iterative_scan", "enable_sort", "enable_seqscan", "jit")
    show = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    with indexed.database.connection() as connection:
        connection.execute("SET LOCAL hnsw.ef_search = 77")
        connection.execute("SET LOCAL enable_sort = on")
        before = connection.execute(show).fetchone()
        call(connection, "nearest", query=HalfVector(indexed.query(3)), model=MODEL, k=20)
        with pytest.raises(psycopg.errors.InvalidParameterValue), connection.transaction():
            call(connection, "nearest", query=HalfVector(indexed.query(3)), model=MODEL, k=0)
        assert connection.execute(show).fetchone() == before
    assert before is not None
    assert before[0] == "77"


def test_neighbours_of_a_stored_photo_are_others(world: World) -> None:
    with world.database.connection() as connection:
        (own,) = connection.execute(
            "SELECT embedding FROM geosearch.embeddings WHERE photo_id = %s", (world.ids[5],)
        ).fetchall()
        rows = call(connection, "nearest_to_photo", photo=world.ids[5], model=MODEL, k=10)
        excluded = call(
            connection,
            "nearest_to_photo",
            photo=world.ids[5],
            model=MODEL,
            k=9,
            not_photos=[rows[0]["photo_id"]],
        )
    found = world.sql(own[0].to_numpy(), 11, exact=True)
    assert found[0]["photo_id"] == world.ids[5]
    assert [row["photo_id"] for row in rows] == [row["photo_id"] for row in found[1:]]
    assert [row["photo_id"] for row in excluded] == [row["photo_id"] for row in found[2:]]


def test_files_of_the_same_bytes_are_no_neighbours_of_a_photo(database: Database) -> None:
    rng = np.random.default_rng(2)
    lat, lon = places(rng, 5)
    with database.connection() as connection:
        model = add_model(connection, DIMENSION, MODEL)
        photos = add_photos(connection, lat, lon) + add_photos(
            connection, lat[:1], lon[:1], collection="copies"
        )
        connection.execute(
            "UPDATE geosearch.photos SET sha256 = "
            "(SELECT sha256 FROM geosearch.photos WHERE id = %s) WHERE id = %s",
            (photos[0].photo_id, photos[5].photo_id),
        )
        vectors = looks(rng, lat, lon)
        add_embeddings(connection, model, photos, np.vstack([vectors, vectors[:1]]))
        rows = call(connection, "nearest_to_photo", photo=photos[0].photo_id, model=MODEL, k=10)
    assert {row["photo_id"] for row in rows} == {photo.photo_id for photo in photos[1:5]}


def test_a_query_may_be_a_vector_as_localizations_keep_it(world: World) -> None:
    text = str(world.query(1).tolist())
    statement = "SELECT array_agg(photo_id ORDER BY rank) FROM geosearch.nearest(%s::{}, %s, 10)"
    with world.database.connection() as connection:
        one, other = (
            connection.execute(statement.format(kind), (text, MODEL)).fetchone()
            for kind in ("vector", "halfvec")
        )
    assert one == other


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"k": 0}, "k is 0", "Choose 1 to 1000"),
        ({"k": 1001}, "k is 1001", "Choose 1 to 1000"),
        ({"k": None}, "k is NULL", "Choose 1 to 1000"),
        ({"model": "nothing"}, "the model 'nothing'", "Models here: test/model"),
        ({"query": "[1,2,3]"}, "has 3 dimensions, the model test/model has 16", "the same model"),
        ({"query": None}, "embedding is NULL", "Give an embedding by this model"),
        ({"query": str([0] * DIMENSION)}, "embedding is zero", "Give an embedding"),
        ({"within": "SRID=3857;POLYGON((0 0,1 0,1 1,0 0))"}, "SRID 3857", "ST_Transform"),
        ({"within": "POLYGON((0 0,500 0,1 1,0 0))"}, "within has no SRID and is bey", "ST_SetSRID"),
        ({"near": "POINT(2600000 1200000)", "near_km": 1}, "near has no SRID", "ST_Transform"),
        ({"near": "SRID=2056;POINT(8 47)", "near_km": 1}, "near is in SRID 2056", "ST_Transform"),
        ({"within": "SRID=4326;POINT(0 0)"}, "a POINT", "Give a Polygon"),
        ({"within": "SRID=4326;POLYGON EMPTY"}, "an empty POLYGON", "with an area"),
        ({"within": "SRID=4326;POLYGON((0 0,1 1,1 0,0 1,0 0))"}, "Self-intersection", "MakeValid"),
        ({"within": "SRID=4326;POLYGON((0 0,190 0,1 1,0 0))"}, "beyond the Earth", "cut polygons"),
        ({"near": "SRID=4326;POINT(0 0)"}, "go together", "a distance in kilometres"),
        (
            {"near": "SRID=4326;POINT(0 91)", "near_km": 1},
            "near reaches beyond the Earth",
            "longitude, lat",
        ),
        ({"near": "SRID=4326;POINT(0 0)", "near_km": -1}, "near_km is -1", "half the globe"),
        ({"taken_after": START, "taken_before": START}, "not earlier", "Swap them"),
        ({"collections": ["nowhere"]}, "no collection 'nowhere'", "north, south"),
        ({"authors": []}, "empty array", "at least one name"),
        ({"accuracy_m": -1}, "accuracy_m is -1", "Give metres"),
    ],
)
def test_errors_say_what_is_wrong_and_what_to_do(
    world: World, arguments: dict[str, Any], message: str, hint: str
) -> None:
    given = {"query": str([1] * DIMENSION), "model": MODEL} | arguments
    with (
        world.database.connection() as connection,
        pytest.raises(psycopg.DataError) as raised,
        connection.transaction(),
    ):
        call(connection, "nearest", **given)
    assert message in str(raised.value.diag.message_primary)
    assert hint in str(raised.value.diag.message_hint)


@pytest.mark.parametrize(
    "conditions",
    [{"within": "POLYGON((0 0,90 0,90 60,0 60,0 0))"}, {"near": "POINT(20 10)", "near_km": 4000.0}],
)
def test_a_geometry_without_srid_is_in_wgs_84(world: World, conditions: dict[str, Any]) -> None:
    given = {"query": str([1] * DIMENSION), "model": MODEL, "k": 50}
    told = {
        name: f"SRID=4326;{value}" if isinstance(value, str) else value
        for name, value in conditions.items()
    }
    with world.database.connection() as connection:
        found, expected = (
            call(connection, "nearest", **given, **each) for each in (conditions, told)
        )
    assert found == expected
    assert found


def test_a_photo_without_embedding_is_an_error(world: World) -> None:
    with (
        world.database.connection() as connection,
        pytest.raises(psycopg.DataError, match="photo 999999 is not embedded") as raised,
        connection.transaction(),
    ):
        call(connection, "nearest_to_photo", photo=999_999, model=MODEL)
    assert "no such photo" in str(raised.value.diag.message_hint)


def test_borders_are_found_by_any_name(world: World) -> None:
    with world.database.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute(
            """
            INSERT INTO geosearch.borders (kind, name, aliases, iso_a2, geom, source) VALUES
            ('country', 'Nowhere', '{Erewhon}', 'NW',
             'SRID=4326;MULTIPOLYGON(((0 0,40 0,40 40,0 40,0 0)))', 'test')
            """
        )
        for name in ("nowhere", "Erewhon", " NW "):
            found = connection.execute("SELECT ST_Area(geosearch.border(%s))", (name,)).fetchone()
            assert found == (1600,)
        with pytest.raises(psycopg.DataError, match="no country or region 'Atlantis'"):
            connection.execute("SELECT geosearch.border('Atlantis')")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("2010-06-30 12:00", ""), ("2010-06-30 14:00+02", ""), ("2010-06-30 12:00", "::timestamp"),
        ("2010-06-30 12:00Z", "::timestamptz"),
    ],
)  # fmt: skip
def test_a_moment_without_a_zone_is_utc_in_every_session(
    world: World, given: str, kind: str
) -> None:
    ask = sql.SQL("SELECT count(*) FROM geosearch.nearest({})").format(
        sql.SQL("%(query)s, {}, 1000, exact => true, taken_before => {}").format(MODEL, given)
        + sql.SQL(kind)
    )
    query = HalfVector(world.query(1))
    with world.database.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute(
            "UPDATE geosearch.photos SET taken_at = timestamptz '2010-06-30 11:59Z' "
            "+ make_interval(mins => 2 * (id %% 2)::integer) WHERE id = ANY (%s)",
            (world.ids[:10],),
        )
        connection.execute(
            "UPDATE geosearch.photos SET taken_at = NULL WHERE id <> ALL (%s)", (world.ids[:10],)
        )
        found = set()
        for zone in ("UTC", "Pacific/Auckland", "America/New_York"):
            connection.execute("SELECT set_config('timezone', %s, true)", (zone,))
            found.add(connection.execute(ask, {"query": query}).fetchone())
    assert found == {(5,)}
