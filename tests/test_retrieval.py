"""Neighbour retrieval: what it returns equals brute force, and it never returns too few."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql
from shapely import contains_xy
from shapely.geometry import Polygon, box

from geosearch.database.connection import Database
from geosearch.database.copying import PhotoKey
from geosearch.database.partitions import partition
from geosearch.errors import InputError, NotFoundError
from geosearch.retrieval import Filter, Neighbours, nearest, neighbours, plan
from geosearch.retrieval.indexes import build_index, find_index
from tests.rows import add_embeddings, add_model, add_photos

COUNT = 3000
DIMENSION = 16
START = datetime(2010, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A database full of random photos, and the same photos in memory."""

    database: Database
    model: int
    photos: list[PhotoKey]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    days: NDArray[np.int64]
    authors: NDArray[np.str_]
    vectors: NDArray[np.float32]

    def brute_force(self, query: NDArray[np.float32], where: Filter) -> NDArray[np.int64]:
        """Ids of all photos that pass, nearest first."""
        keep = np.ones(COUNT, dtype=bool)
        if where.bbox is not None:
            west, south, east, north = where.bbox
            inside = (self.lon >= west) & (self.lon <= east)
            if west > east:
                inside = (self.lon >= west) | (self.lon <= east)
            keep &= inside & (self.lat >= south) & (self.lat <= north)
        if where.near is not None:
            keep &= _kilometres(self.lat, self.lon, *where.near[:2]) <= where.near[2]
        if where.within is not None:
            keep &= contains_xy(where.within, self.lon, self.lat)
        if where.after is not None:
            keep &= self.days >= (where.after - START).days
        if where.before is not None:
            keep &= self.days < (where.before - START).days
        for author in where.exclude_authors:
            keep &= self.authors != author
        ids = np.array([photo.photo_id for photo in self.photos])
        order = np.lexsort((ids, self.distances(query)))
        return np.asarray(ids[order][keep[order]])

    def distances(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distances of all photos, by NumPy on the stored float16 values."""
        stored = self.vectors.astype(np.float16).astype(np.float64)
        wanted = query.astype(np.float16).astype(np.float64)
        lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(wanted)
        return np.asarray(1 - stored @ wanted / lengths)

    def check_exact(
        self, query: NDArray[np.float32], found: Neighbours, expected: NDArray[np.int64]
    ) -> None:
        """The same photos in the same order, but for distances that float32 cannot tell apart."""
        distance = dict(
            zip([photo.photo_id for photo in self.photos], self.distances(query), strict=True)
        )
        assert len(set(found.photo_id)) == len(expected)
        np.testing.assert_allclose(
            [distance[key] for key in found.photo_id],
            [distance[key] for key in expected],
            atol=1e-6,
        )


def _kilometres(
    lat: NDArray[np.float64], lon: NDArray[np.float64], lat0: float, lon0: float
) -> NDArray[np.float64]:
    a, b, c = np.radians(lat), np.radians(lat0), np.radians(lon - lon0)
    half = np.sin((a - b) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(c / 2) ** 2
    return np.asarray(2 * 6371.0 * np.arcsin(np.sqrt(half)))


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    rng = np.random.default_rng(7)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, COUNT)))
    lon = rng.uniform(-180, 180, COUNT)
    days = rng.integers(0, 2000, COUNT)
    authors = np.array([f"author {number}" for number in rng.integers(0, 10, COUNT)])
    vectors = rng.normal(size=(COUNT, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with module_database.connection() as connection:
        model = add_model(connection, DIMENSION)
        photos = add_photos(
            connection,
            lat,
            lon,
            authors=[str(author) for author in authors],
            taken_at=[START + timedelta(days=int(day)) for day in days],
        )
        add_embeddings(connection, model, photos, vectors)
        connection.execute("ANALYZE geosearch.embeddings")
    return World(module_database, model, photos, lat, lon, days, authors, vectors)


def _query(seed: int) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).normal(size=DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


longitudes = st.floats(-180, 180).map(lambda value: round(value, 3))
latitudes = st.floats(-90, 90).map(lambda value: round(value, 3))


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Any combination of conditions."""
    south, north = sorted((draw(latitudes), draw(latitudes)))
    west, east = draw(longitudes), draw(longitudes)
    day = draw(st.integers(0, 1990))
    polygon = None
    if west < east and south < north:
        polygon = Polygon([(west, south), (east, south), (east, north)])
    return Filter(
        bbox=draw(st.sampled_from([None, (west, south, east, north)])),
        near=draw(st.sampled_from([None, (south, east, draw(st.floats(1, 20_000)))])),
        within=draw(st.sampled_from([None, polygon])),
        after=draw(st.sampled_from([None, START + timedelta(days=day)])),
        before=draw(st.sampled_from([None, START + timedelta(days=day + 9)])),
        exclude_authors=draw(st.sampled_from([(), ("author 1", "author 2")])),
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=filters(), k=st.integers(1, 200), seed=st.integers(0, 1000))
def test_exact_search_equals_brute_force(world: World, where: Filter, k: int, seed: int) -> None:
    found = nearest(world.database, world.model, _query(seed), k, where, exact=True)
    expected = world.brute_force(_query(seed), where)
    world.check_exact(_query(seed), found, expected[:k])
    assert found.plan.matches == len(expected)
    assert np.all(np.diff(found.distance) >= 0)


def test_neighbours_carry_uri_position_and_distance(world: World) -> None:
    found = nearest(world.database, world.model, world.vectors[5], 1)
    assert found.photo_id[0] == world.photos[5].photo_id
    assert found.uri == ("/photo/test/5.jpg",)
    assert (found.lat[0], found.lon[0]) == (world.lat[5], world.lon[5])
    assert found.distance[0] == pytest.approx(0, abs=1e-6)


@pytest.fixture
def indexed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The same world with an HNSW index, and a low bound so that it is used."""
    build_index(world.database, world.model, DIMENSION)
    monkeypatch.setattr(plan, "EXACT_ROWS", 100)
    return world


def test_the_index_answers_unfiltered_queries_with_high_recall(indexed: World) -> None:
    shares = []
    for seed in range(20):
        found = nearest(indexed.database, indexed.model, _query(seed), 50)
        assert found.plan.strategy == "ann"
        assert len(found) == 50
        expected = indexed.brute_force(_query(seed), Filter())[:50]
        shares.append(np.isin(expected, found.photo_id).mean())
    assert np.mean(shares) > 0.95


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=filters(), k=st.integers(1, 200), seed=st.integers(0, 1000))
def test_automatic_search_never_returns_too_few(
    indexed: World, where: Filter, k: int, seed: int
) -> None:
    found = nearest(indexed.database, indexed.model, _query(seed), k, where)
    expected = indexed.brute_force(_query(seed), where)
    assert len(found) == min(k, len(expected))
    assert np.isin(found.photo_id, expected).all()
    if found.plan.strategy == "exact":
        indexed.check_exact(_query(seed), found, expected[:k])


def test_the_approximate_plan_really_uses_the_hnsw_index(indexed: World) -> None:
    where = Filter(bbox=(-100, -60, 100, 60))
    with indexed.database.connection() as connection:
        chosen = plan.make_plan(connection, indexed.model, 10, where)
        assert chosen.strategy == "ann"
        condition, values = where.compile(connection)
        for name, value in (neighbours._FORCE_INDEX | chosen.settings).items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        rows = connection.execute(
            sql.SQL("EXPLAIN ")
            + sql.SQL(neighbours._ANN).format(
                table=partition(indexed.model),
                condition=condition,
                dimension=sql.Literal(DIMENSION),
            ),
            values | {"query": HalfVector(_query(1)), "k": 10},
        ).fetchall()
    text = "\n".join(row[0] for row in rows)
    assert f"Index Scan using embeddings_m{indexed.model}_hnsw" in text


def test_a_filter_that_nothing_passes_answers_with_no_neighbours(indexed: World) -> None:
    found = nearest(
        indexed.database, indexed.model, _query(1), 10, Filter(within=box(0, 0, 1e-6, 1e-6))
    )
    assert len(found) == 0
    assert found.plan.matches == 0
    assert found.plan.strategy == "exact"


def test_a_query_can_be_kept_from_finding_itself(indexed: World) -> None:
    with indexed.database.connection() as connection:
        row = connection.execute(
            "SELECT encode(sha256, 'hex') FROM geosearch.photos WHERE id = %s",
            (indexed.photos[5].photo_id,),
        ).fetchone()
    assert row is not None
    where = Filter(exclude_sha256=(str(row[0]),))
    found = nearest(indexed.database, indexed.model, indexed.vectors[5], 10, where)
    assert indexed.photos[5].photo_id not in found.photo_id
    assert len(found) == 10


def test_k_out_of_range_and_unknown_collections_are_errors(indexed: World) -> None:
    for k in (0, 1001):
        with pytest.raises(InputError, match="--k"):
            nearest(indexed.database, indexed.model, _query(1), k)
    with pytest.raises(NotFoundError, match="no collection 'nowhere'"):
        nearest(indexed.database, indexed.model, _query(1), 1, Filter(collections=("nowhere",)))


def test_building_again_does_nothing_unless_asked(indexed: World) -> None:
    with indexed.database.connection() as connection:
        before = find_index(connection, indexed.model)
    assert not build_index(indexed.database, indexed.model, DIMENSION).built
    phases: list[str] = []
    built = build_index(
        indexed.database,
        indexed.model,
        DIMENSION,
        rebuild=True,
        progress=lambda phase, done, total: phases.append(phase),
    )
    with indexed.database.connection() as connection:
        after = find_index(connection, indexed.model)
    assert built.built
    assert built.rows == COUNT
    assert before is not None
    assert after is not None
    assert after.file_number != before.file_number


def test_more_dimensions_than_hnsw_takes_is_a_clear_error(world: World) -> None:
    with pytest.raises(InputError, match="4001 dimensions"):
        build_index(world.database, world.model, 4001)
