"""Neighbour retrieval: exact search equals brute force, automatic search never returns too few
and has the recall it quotes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql
from shapely.geometry import box

from geosearch.database.connection import Database
from geosearch.database.copying import PhotoKey
from geosearch.errors import InputError, NotFoundError
from geosearch.retrieval import (
    EVERYTHING,
    Filter,
    Neighbours,
    nearest,
    recall,
)
from geosearch.retrieval.explained import explain
from geosearch.retrieval.facts import facts, forget
from geosearch.retrieval.filters import (
    BoundingBox,
    ByAuthors,
    InCollections,
    Near,
    SameBytes,
    where,
)
from geosearch.retrieval.indexes import build_index, find_index, index_name
from geosearch.retrieval.recall import check, tune
from geosearch.retrieval.search import Search, run
from geosearch.sphere import great_circle_km
from tests import rows
from tests.rows import add_embeddings, add_model, add_photos, places, set_rule

COUNT, DIMENSION = 8000, 24
looks = partial(rows.looks, dimension=DIMENSION)


@dataclass(repr=False)
class World:
    """A database of random photos that look like their places, and the same photos in memory."""

    database: Database
    model: int
    photos: list[PhotoKey]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    authors: NDArray[np.str_]
    vectors: NDArray[np.float32]

    def passing(self, condition: Filter) -> NDArray[np.bool_]:
        """Which photos pass, for the filters used here."""
        if condition == EVERYTHING:
            return np.ones(COUNT, dtype=bool)
        if isinstance(condition, Near):
            distance = great_circle_km(self.lat, self.lon, condition.lat, condition.lon)
            return np.asarray(distance <= condition.km)
        if isinstance(condition, ByAuthors):
            return np.isin(self.authors, condition.names)
        assert isinstance(condition, BoundingBox)
        west, south, east, north = condition.value
        inside = (self.lon >= west) & (self.lon <= east)
        if west > east:
            inside = (self.lon >= west) | (self.lon <= east)
        return np.asarray(inside & (self.lat >= south) & (self.lat <= north))

    def brute_force(self, query: NDArray[np.float32], condition: Filter) -> NDArray[np.int64]:
        """Ids of all photos that pass, nearest first."""
        ids = np.array([photo.photo_id for photo in self.photos])
        order = np.lexsort((ids, self.distances(query)))
        return np.asarray(ids[order][self.passing(condition)[order]])

    def distances(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distances of all photos, by NumPy on the stored values."""
        stored = self.vectors.astype(np.float64)
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

    def query(self, seed: int) -> NDArray[np.float32]:
        """What a photo from somewhere would look like."""
        rng = np.random.default_rng([9, seed])
        return np.asarray(looks(rng, *places(rng, 1))[0])


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    rng = np.random.default_rng(7)
    lat, lon = places(rng, COUNT)
    authors = np.array([f"author {number}" for number in rng.integers(0, 10, COUNT)])
    vectors = looks(rng, lat, lon)
    with module_database.connection() as connection:
        model = add_model(connection, DIMENSION)
        names = [str(author) for author in authors]
        photos = add_photos(connection, lat, lon, authors=names)
        add_embeddings(connection, model, photos, vectors)
        connection.execute("ANALYZE geosearch.embeddings_open")
        rows = connection.execute("SELECT embedding FROM geosearch.embeddings ORDER BY photo_id")
        # As stored, in float16: rounding them here could go the other way.
        stored = np.array([row[0].to_numpy() for row in rows], dtype=np.float32)
    return World(module_database, model, photos, lat, lon, authors, stored)


@pytest.fixture(scope="module", autouse=True)
def small_samples() -> Iterator[None]:
    """Fewer queries than a real tuning measures: these worlds are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "CURVE_SAMPLE", 50)
        patch.setattr(recall, "SWEEP_SAMPLE", 5)
        yield


@pytest.fixture(scope="module")
def indexed(world: World) -> World:
    """The same world with an index tuned for recall 0.97 of 50.

    In so small a world exact search nearly always wins; here it must not.
    """
    build_index(world.database, world.model, DIMENSION)
    tune(world.database, world.model, 0.97, 50)
    set_rule(world.database, few_least=1, few_most=100, exact_row_ms=1)
    return world


longitudes = st.floats(-180, 180).map(lambda value: round(value, 3))
latitudes = st.floats(-90, 90).map(lambda value: round(value, 3))


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    south, north = sorted((draw(latitudes), draw(latitudes)))
    return draw(
        st.sampled_from(
            [
                EVERYTHING,
                BoundingBox(draw(longitudes), south, draw(longitudes), north),
                Near(draw(latitudes), draw(longitudes), draw(st.floats(1, 15_000))),
                ByAuthors("author 1", "author 2", "author 3"),
            ]
        )
    )


real_database = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@real_database
@given(condition=filters(), k=st.integers(1, 200), seed=st.integers(0, 1000))
def test_exact_search_equals_brute_force(
    world: World, condition: Filter, k: int, seed: int
) -> None:
    found = nearest(world.database, world.model, world.query(seed), k, condition, exact=True)
    expected = world.brute_force(world.query(seed), condition)
    world.check_exact(world.query(seed), found, expected[:k])
    assert found.plan.matches == found.plan.rows_scanned == len(expected)
    assert found.plan.expected_recall == 1
    assert np.all(np.diff(found.distance) >= 0)


def test_neighbours_carry_uri_position_and_distance(world: World) -> None:
    found = nearest(world.database, world.model, world.vectors[5], 1)
    assert found.photo_id[0] == world.photos[5].photo_id
    assert found.uri == ("/photo/test/5.jpg",)
    assert (found.lat[0], found.lon[0]) == (world.lat[5], world.lon[5])
    assert found.distance[0] == pytest.approx(0, abs=1e-6)


@real_database
@given(condition=filters(), k=st.integers(1, 200), seed=st.integers(0, 1000))
def test_automatic_search_never_returns_too_few(
    indexed: World, condition: Filter, k: int, seed: int
) -> None:
    found = nearest(indexed.database, indexed.model, indexed.query(seed), k, condition)
    expected = indexed.brute_force(indexed.query(seed), condition)
    assert len(found) == min(k, len(expected))
    assert np.isin(found.photo_id, expected).all()
    if found.plan.strategy == "exact":
        indexed.check_exact(indexed.query(seed), found, expected[:k])


def test_answers_have_the_recall_they_quote(indexed: World) -> None:
    rng = np.random.default_rng(1)
    quoted, had = [], []
    for seed in range(150):
        lat, lon = places(rng, 1)
        condition = [
            EVERYTHING,
            Near(float(lat[0]), float(lon[0]), float(rng.uniform(2000, 12_000))),
            ByAuthors(*(f"author {number}" for number in range(1 + seed % 7))),
        ][seed % 3]
        query = indexed.query(seed)
        found = nearest(indexed.database, indexed.model, query, 50, condition)
        if found.plan.strategy != "ann":
            continue
        assert found.plan.expected_recall is not None
        assert found.plan.expected_recall >= 0.97
        truth = indexed.brute_force(query, condition)[:50]
        quoted.append(found.plan.expected_recall)
        had.append(np.isin(truth, found.photo_id).mean())
    assert len(had) > 75
    assert np.mean(had) >= np.mean(quoted) - 2 * np.std(had) / np.sqrt(len(had))


def add_indexed(database: Database, seed: int) -> tuple[int, NDArray[np.float32]]:
    """A model with an index of which nothing is measured, and a query slow without it."""
    set_rule(database, exact_row_ms=1)
    rng = np.random.default_rng(seed)
    lat, lon = places(rng, 2000)
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
        add_embeddings(connection, model, add_photos(connection, lat, lon), looks(rng, lat, lon))
    build_index(database, model, DIMENSION)
    return model, looks(rng, lat, lon)[0]


def test_an_untuned_index_is_used_and_its_recall_said_to_be_unknown(database: Database) -> None:
    model, query = add_indexed(database, 3)
    found = nearest(database, model, query, 10)
    assert found.plan.strategy == "ann"
    assert found.plan.expected_recall is None


def test_the_recall_of_an_index_that_was_rebuilt_in_another_way_is_unknown(
    database: Database,
) -> None:
    model, query = add_indexed(database, 4)
    tune(database, model, 0.9, 10)
    in_sql = "SELECT DISTINCT expected_recall IS NULL FROM geosearch.nearest(%s, %s, 10)"
    index = sql.Identifier("geosearch", index_name(model))
    again = sql.SQL("REINDEX INDEX {}").format(index)
    coarser = sql.SQL("ALTER INDEX {} SET (m = 4); REINDEX INDEX {}").format(index, index)
    for rebuild, unknown in ((sql.SQL("SELECT 1"), False), (again, False), (coarser, True)):
        with database.connection() as connection:
            connection.execute(rebuild)
        forget(database)
        assert (nearest(database, model, query, 10).plan.expected_recall is None) == unknown
        with database.connection() as connection:
            row = connection.execute(in_sql, (HalfVector(query), "test/model")).fetchone()
        assert row == (unknown,)


def test_after_a_reindex_the_recall_that_is_quoted_holds(database: Database) -> None:
    model, _ = add_indexed(database, 5)
    tune(database, model, 0.9, 10)
    with database.connection() as connection:
        index = sql.Identifier("geosearch", index_name(model))
        connection.execute(sql.SQL("REINDEX INDEX {}").format(index))
    assert check(database, model).holds


def test_the_plan_for_the_index_really_uses_it(indexed: World) -> None:
    explained = explain(indexed.database, indexed.model, indexed.query(1), 10)
    assert explained.plan.strategy == "ann"
    assert any(f"Index Scan using {explained.plan.index} " in line for line in explained.postgresql)


def test_an_explanation_does_not_repeat_the_query(indexed: World) -> None:
    query = indexed.query(1)
    for condition in (EVERYTHING, ~ByAuthors("author 1")):
        explained = explain(indexed.database, indexed.model, query, 10, condition)
        shown = "\n".join(explained.postgresql)
        assert f"… {DIMENSION} numbers]'::halfvec" in shown
        assert shown.count(",") < DIMENSION


def test_matches_behind_an_index_search_are_an_estimate(indexed: World) -> None:
    for condition in (EVERYTHING, ~ByAuthors("author 1")):
        found = nearest(indexed.database, indexed.model, indexed.query(1), 10, condition)
        assert found.plan.strategy == "ann"
        assert not found.plan.matches_exact


def test_even_the_first_search_of_a_connection_is_not_compiled(world: World) -> None:
    with Database(world.database.url) as fresh, fresh.searcher() as connection:
        known = facts(fresh, connection, world.model)
        run(connection, Search(connection, known, world.query(1), 5).exact())
        assert connection.execute("SHOW jit").fetchone() == ("off",)


def test_a_search_that_fails_leaves_no_settings_behind(indexed: World) -> None:
    with Database(indexed.database.url, pool_size=1) as alone:
        expected = nearest(alone, indexed.model, indexed.query(1), 5)
        with alone.searcher() as connection:
            known = facts(alone, connection, indexed.model)
            search = Search(connection, known, indexed.query(1)[:3], 5)
            with pytest.raises(psycopg.Error, match="different halfvec dimensions"):
                run(connection, search.exact())
            assert connection.planner is None
        again = nearest(alone, indexed.model, indexed.query(1), 5)
        assert again.photo_id.tolist() == expected.photo_id.tolist()
        assert again.plan == expected.plan


@pytest.mark.parametrize("query", [np.zeros(24), np.full(24, 1e6), np.full(24, np.nan)])
def test_a_query_without_direction_is_refused(world: World, query: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="zero or not finite"):
        nearest(world.database, world.model, query.astype(np.float32), 5)


def test_the_share_of_matching_photos_is_estimated(indexed: World) -> None:
    for condition in (Near(0, 0, 9000), BoundingBox(150, -90, -150, 90), ByAuthors("author 1")):
        with indexed.database.searcher() as connection:
            known = facts(indexed.database, connection, indexed.model)
            search = Search(connection, known, indexed.query(1), 10, condition)
            met = run(connection, search.exact_if_few(1))
        assert not met.complete
        assert met.share == pytest.approx(indexed.passing(condition).mean(), rel=0.5)


def test_a_region_far_from_the_query_is_searched_exactly(indexed: World) -> None:
    rng = np.random.default_rng(5)
    query = looks(rng, np.array([0.0]), np.array([0.0]))[0]
    condition = BoundingBox(130, -50, -130, 50)
    found = nearest(indexed.database, indexed.model, query, 50, condition)
    assert found.plan.strategy == "exact"
    assert "all matching photos were compared" in found.plan.reason
    indexed.check_exact(query, found, indexed.brute_force(query, condition)[:50])


def test_a_filter_that_nothing_passes_answers_with_no_neighbours(indexed: World) -> None:
    found = nearest(
        indexed.database, indexed.model, indexed.query(1), 10, where(within=box(0, 0, 1e-6, 1e-6))
    )
    assert len(found) == 0
    assert found.plan.matches == 0
    assert found.plan.strategy == "empty"


def test_a_query_can_be_kept_from_finding_itself(indexed: World) -> None:
    with indexed.database.connection() as connection:
        row = connection.execute(
            "SELECT encode(sha256, 'hex') FROM geosearch.photos WHERE id = %s",
            (indexed.photos[5].photo_id,),
        ).fetchone()
    assert row is not None
    without = ~SameBytes(str(row[0]))
    found = nearest(indexed.database, indexed.model, indexed.vectors[5], 10, without)
    assert indexed.photos[5].photo_id not in found.photo_id
    assert len(found) == 10


def test_a_query_of_another_model_is_an_error(indexed: World) -> None:
    with pytest.raises(InputError, match=f"25 dimensions, those of the model have {DIMENSION}"):
        nearest(indexed.database, indexed.model, np.ones(25, dtype=np.float32), 1)


def test_a_box_may_be_an_array() -> None:
    assert where(bbox=np.array([1.0, 2.0, 3.0, 4.0])) == BoundingBox(1, 2, 3, 4)


def test_k_out_of_range_and_unknown_collections_are_errors(indexed: World) -> None:
    for k in (0, 1001):
        with pytest.raises(InputError, match="k: "):
            nearest(indexed.database, indexed.model, indexed.query(1), k)
    with pytest.raises(NotFoundError, match="no collection 'nowhere'"):
        nearest(indexed.database, indexed.model, indexed.query(1), 1, InCollections("nowhere"))


def test_recall_is_measured_again_after_inserts_and_deletes(database: Database) -> None:
    rng = np.random.default_rng(4)
    lat, lon = places(rng, 3000)
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
        photos = add_photos(connection, lat, lon)
        add_embeddings(connection, model, photos[:2500], looks(rng, lat[:2500], lon[:2500]))
    build_index(database, model, DIMENSION)
    tuning, checks = tune(database, model, 0.9, 20)
    assert tuning.rows == 2500
    assert all(item.complete for item in checks)
    assert {item.placement for item in checks} == {"none", "near", "far"}
    assert check(database, model).holds
    with database.connection() as connection:
        add_embeddings(connection, model, photos[2500:], looks(rng, lat[2500:], lon[2500:]))
        connection.execute("DELETE FROM geosearch.photos WHERE id <= %s", (photos[400].photo_id,))
    health = check(database, model)
    assert health.tuned_rows == 2500
    assert health.rows == pytest.approx(2599, rel=0.1)
    assert 0.8 < health.recall <= 1
    assert all(item.complete for item in health.checks)
    with database.connection() as connection:
        connection.execute(f"DROP INDEX geosearch.embeddings_m{model}_hnsw")
        connection.execute(
            f"""
            CREATE INDEX embeddings_m{model}_hnsw ON geosearch.embeddings_m{model}
            USING hnsw ((embedding::halfvec({DIMENSION})) halfvec_cosine_ops)
            WITH (m = 2, ef_construction = 4)
            """
        )
    poor = check(database, model)
    assert poor.recall < poor.target - 2 * poor.standard_error
    assert not poor.holds


def test_a_recall_out_of_range_and_a_model_that_is_not_there_are_refused(
    indexed: World,
) -> None:
    with pytest.raises(InputError, match="recall: "):
        tune(indexed.database, indexed.model, 1.5, 10)
    with pytest.raises(NotFoundError, match="no model 999999"):
        tune(indexed.database, 999_999, 0.9, 10)


def test_a_recall_tuned_with_too_few_photos_to_tell_is_said_to_be_unknown(
    database: Database,
) -> None:
    rng = np.random.default_rng(5)
    lat, lon = places(rng, 600)
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
        photos = add_photos(connection, lat, lon)
    build_index(database, model, DIMENSION)
    with pytest.raises(NotFoundError, match="has no embeddings"):
        tune(database, model, 0.9, 50)
    with database.connection() as connection:
        add_embeddings(connection, model, photos[:20], looks(rng, lat[:20], lon[:20]))
    tune(database, model, 0.9, 50)
    with database.connection() as connection:
        add_embeddings(connection, model, photos[20:], looks(rng, lat[20:], lon[20:]))
        connection.execute("ANALYZE geosearch.embeddings_open")
    with pytest.raises(NotFoundError, match="tuned with 20 embeddings, now there are 600"):
        check(database, model)
    found = nearest(database, model, looks(rng, lat, lon)[0], 50)
    assert found.plan.strategy == "exact"
    assert "find less than the recall asked for" in found.plan.reason


def test_building_again_does_nothing_unless_asked(database: Database) -> None:
    rng = np.random.default_rng(6)
    lat, lon = places(rng, 500)
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
        add_embeddings(connection, model, add_photos(connection, lat, lon), looks(rng, lat, lon))
    assert build_index(database, model, DIMENSION).built
    with database.connection() as connection:
        before = find_index(connection, model)
    assert not build_index(database, model, DIMENSION).built
    built = build_index(database, model, DIMENSION, rebuild=True)
    with database.connection() as connection:
        after = find_index(connection, model)
    assert built.rows == 500
    assert before is not None
    assert after is not None
    assert after.file_number != before.file_number


def test_embeddings_too_long_for_hnsw_are_indexed_by_their_signs_and_ranked_whole(
    database: Database,
) -> None:
    rng = np.random.default_rng(8)
    lat, lon = places(rng, 400)
    vectors = rng.normal(size=(400, 4100)).astype(np.float32)
    vectors[200:] = vectors[:200] + 0.3 * rng.normal(size=(200, 4100)).astype(np.float32)
    with database.connection() as connection:
        model = add_model(connection, 4100)
        photos = add_photos(connection, lat, lon)
        add_embeddings(connection, model, photos, vectors)
    build_index(database, model, 4100)
    set_rule(database, exact_row_ms=1)
    query = vectors[7] / np.linalg.norm(vectors[7])
    found = nearest(database, model, query, 2)
    assert found.plan.strategy == "ann"
    assert list(found.photo_id) == [photos[7].photo_id, photos[207].photo_id]
    exact = nearest(database, model, query, 2, exact=True)
    np.testing.assert_allclose(found.distance, exact.distance, atol=1e-6)
    assert "… 4100 bits'" in "\n".join(explain(database, model, query, 2).postgresql)
