"""Many queries at once: one pass over the embeddings gives each what a search alone gives."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosearch.database.connection import Database
from geosearch.errors import InputError, NotFoundError
from geosearch.retrieval import EVERYTHING, Filter, batch, nearest, where
from geosearch.retrieval.batch import BatchNeighbours, nearest_batch
from tests.rows import add_embeddings, add_model, add_photos

COUNT = 2000
DIMENSION = 24
#: Float32 sums of unit vectors differ by less.
TOLERANCE = 1e-6


@dataclass
class World:
    """Random photos, one in ten of them embedded like an earlier one."""

    database: Database
    model: int
    photo_id: NDArray[np.int64]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    vectors: NDArray[np.float32]

    def distances(self, queries: NDArray[np.float32]) -> NDArray[np.float64]:
        """Cosine distances (n, COUNT) of what is stored, in float64."""
        stored = self.vectors.astype(np.float16).astype(np.float64)
        wanted = queries.astype(np.float16).astype(np.float64)
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        return np.asarray(1 - wanted @ stored.T)


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    rng = np.random.default_rng(3)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, COUNT)))
    lon = rng.uniform(-180, 180, COUNT)
    vectors = random_units(rng, COUNT)
    copies = rng.choice(np.arange(COUNT // 2, COUNT), COUNT // 10, replace=False)
    vectors[copies] = vectors[rng.integers(0, COUNT // 2, len(copies))]
    with module_database.connection() as connection:
        model = add_model(connection, DIMENSION)
        photos = add_photos(connection, lat, lon)
        add_embeddings(connection, model, photos, vectors)
        connection.execute("ANALYZE geosearch.embeddings_open")
    ids = np.array([photo.photo_id for photo in photos])
    return World(module_database, model, ids, lat, lon, vectors)


def random_units(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    vectors = rng.normal(size=(count, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def assert_best(
    found: BatchNeighbours,
    distances: NDArray[np.float64],
    photo_id: NDArray[np.int64],
    k: int,
) -> None:
    """`found` are the k smallest of `distances` (n, m) of photos (m,), up to float32 error."""
    for row, true in enumerate(distances):
        count = min(k, len(photo_id))
        assert found.count[row] == count
        ids, given_distance = found.photo_id[row, :count], found.distance[row, :count]
        assert len(set(ids.tolist())) == count
        position = {int(key): index for index, key in enumerate(photo_id)}
        own = true[[position[int(key)] for key in ids]]
        np.testing.assert_allclose(given_distance, own, atol=TOLERANCE)
        np.testing.assert_allclose(given_distance, np.sort(true)[:count], atol=TOLERANCE)
        assert np.all(np.diff(given_distance) >= 0)
        assert np.all(found.photo_id[row, count:] == -1)
        assert np.all(np.isinf(found.distance[row, count:]))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    k=st.integers(1, 60),
    block_rows=st.integers(1, 900),
    query_rows=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_any_division_into_blocks_gives_the_k_smallest_distances(
    world: World, n: int, k: int, block_rows: int, query_rows: int, seed: int
) -> None:
    queries = random_units(np.random.default_rng(seed), n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "QUERY_ROWS", query_rows)
        found = nearest_batch(world.database, world.model, queries, k, block_rows=block_rows)
    assert found.matches.tolist() == [COUNT] * n
    assert_best(found, world.distances(queries), world.photo_id, k)


FILTERS = {
    "everything": EVERYTHING,
    "box over 180°": where(bbox=(150, -60, -150, 60)),
    "circle": where(near=(80, 10, 2000)),
    "nothing": where(bbox=(0, 0, 1e-9, 1e-9)),
    "an author, excluded": where(exclude_authors=("nobody's",)),
}


@pytest.mark.parametrize("name", FILTERS)
def test_it_gives_what_exact_search_gives_each_query(world: World, name: str) -> None:
    queries = random_units(np.random.default_rng(11), 25)
    found = nearest_batch(world.database, world.model, queries, 30, FILTERS[name])
    for row, query in enumerate(queries):
        alone = nearest(world.database, world.model, query, 30, FILTERS[name], exact=True)
        count = found.count[row]
        assert count == len(alone)
        assert found.matches[row] == alone.plan.matches
        np.testing.assert_allclose(found.distance[row, :count], alone.distance, atol=TOLERANCE)
        # Where neighbouring distances differ by more than float error, order must be the same.
        clear = np.ones(count, dtype=bool)
        close = np.diff(alone.distance) < TOLERANCE
        clear[:-1] &= ~close
        clear[1:] &= ~close
        if count == 30:
            clear[-1] = False
        np.testing.assert_array_equal(found.photo_id[row, :count][clear], alone.photo_id[clear])


@pytest.mark.parametrize("block_rows", [64, 100, 4096])
def test_equal_embeddings_come_in_order_of_their_ids(database: Database, block_rows: int) -> None:
    rng = np.random.default_rng(5)
    vectors = np.repeat(random_units(rng, 3), [700, 50, 250], axis=0)
    order = rng.permutation(len(vectors))
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
        photos = add_photos(connection, np.zeros(1000), np.zeros(1000))
        ids = np.array([photo.photo_id for photo in photos])
        # Loaded in another order than that of the ids.
        add_embeddings(connection, model, [photos[i] for i in order], vectors[order])
    queries = np.concatenate([vectors[[0, 700, 750]], random_units(rng, 6)])
    found = nearest_batch(database, model, queries, 300, block_rows=block_rows)
    np.testing.assert_array_equal(found.photo_id[0], ids[:300])
    np.testing.assert_array_equal(found.photo_id[1, :50], ids[700:750])
    np.testing.assert_array_equal(found.photo_id[2, :250], ids[750:])
    for row, query in enumerate(queries):
        alone = nearest(database, model, query, 300, EVERYTHING, exact=True)
        np.testing.assert_array_equal(found.photo_id[row], alone.photo_id)


def test_more_neighbours_than_photos_are_not_made_up(world: World) -> None:
    queries = random_units(np.random.default_rng(2), 4)
    found = nearest_batch(world.database, world.model, queries, COUNT + 10, block_rows=300)
    assert found.photo_id.shape == (4, COUNT + 10)
    assert_best(found, world.distances(queries), world.photo_id, COUNT + 10)


def test_each_query_can_have_photos_of_its_own_excluded(world: World) -> None:
    queries = world.vectors[:30]
    distances = world.distances(queries)
    nearest_five = world.photo_id[np.argsort(distances, axis=1)[:, :5]]
    excluded = [set(map(int, ids[: row % 6])) for row, ids in enumerate(nearest_five)]
    found = nearest_batch(
        world.database, world.model, queries, 20, excluded=excluded, block_rows=128
    )
    assert found.count.tolist() == [20] * 30
    for row, ids in enumerate(excluded):
        keep = ~np.isin(world.photo_id, list(ids))
        one = BatchNeighbours(
            found.photo_id[[row]], found.distance[[row]], found.count[[row]], found.matches[[row]]
        )
        assert_best(one, distances[[row]][:, keep], world.photo_id[keep], 20)
        assert one.matches == [COUNT - len(ids)]


@pytest.mark.parametrize("block_rows", [64, 640, COUNT])
def test_a_torch_device_gives_the_same(
    world: World, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "QUERY_ROWS", 8)
    queries = random_units(np.random.default_rng(8), 20)
    found = [
        nearest_batch(
            world.database, world.model, queries, 50, block_rows=block_rows, device=device
        )
        for device in ("cpu", "cpu:0")  # NumPy; PyTorch
    ]
    for each in found:
        assert_best(each, world.distances(queries), world.photo_id, 50)
    np.testing.assert_allclose(found[1].distance, found[0].distance, atol=TOLERANCE)


def test_no_queries_have_no_neighbours(world: World) -> None:
    found = nearest_batch(world.database, world.model, np.empty((0, DIMENSION), np.float32), 5)
    assert found.photo_id.shape == (0, 5)


def test_an_empty_model_has_no_neighbours(database: Database) -> None:
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
    found = nearest_batch(database, model, np.ones((2, DIMENSION), np.float32), 5)
    assert found.count.tolist() == [0, 0]
    assert found.matches.tolist() == [0, 0]


def test_progress_counts_the_embeddings(world: World) -> None:
    seen: list[tuple[int, int | None]] = []
    nearest_batch(
        world.database,
        world.model,
        world.vectors[:2],
        5,
        block_rows=900,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(960, None), (1920, None), (2000, None)]


def test_an_interrupted_pass_leaves_the_connection_usable(world: World) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    for _ in range(20):  # more often than the pool has connections
        with pytest.raises(KeyboardInterrupt):
            nearest_batch(
                world.database,
                world.model,
                world.vectors[:2],
                5,
                block_rows=50,
                progress=interrupt,
            )
    found = nearest_batch(world.database, world.model, world.vectors[:2], 5)
    assert found.matches.tolist() == [COUNT, COUNT]


def test_memory_does_not_grow_with_the_rows(world: World) -> None:
    def peak(chosen: Filter) -> int:
        tracemalloc.start()
        nearest_batch(world.database, world.model, world.vectors[:8], 5, chosen, block_rows=100)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    some, every = where(bbox=(-180, -90, -90, 90)), EVERYTHING
    peak(every)
    assert peak(every) < 1.2 * peak(some) + 10_000


def test_bad_queries_are_named(world: World) -> None:
    good = world.vectors[:3].copy()
    with pytest.raises(InputError, match="k: 0"):
        nearest_batch(world.database, world.model, good, 0)
    with pytest.raises(InputError, match=f"{DIMENSION} dimensions"):
        nearest_batch(world.database, world.model, good[:, :5], 1)
    good[1] = 0
    with pytest.raises(InputError, match="query 1 is zero or not finite"):
        nearest_batch(world.database, world.model, good, 1)
    good[1], good[2, 0] = 1, np.nan
    with pytest.raises(InputError, match="query 2 is zero or not finite"):
        nearest_batch(world.database, world.model, good, 1)
    with pytest.raises(ValueError, match="3 queries but 1 sets"):
        nearest_batch(world.database, world.model, world.vectors[:3], 1, excluded=[{1}])
    with pytest.raises(NotFoundError, match="model 12345"):
        nearest_batch(world.database, 12345, world.vectors[:3], 1)
