"""Leaves: a part of the world is searched in the indexes that it touches, with a known recall."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.database.copying import PhotoKey
from geosearch.errors import InputError
from geosearch.retrieval import leaves, nearest, recall
from geosearch.retrieval.explained import explain
from geosearch.retrieval.facts import forget
from geosearch.retrieval.filters import BoundingBox, Filter, where
from geosearch.retrieval.indexes import build, build_index
from geosearch.retrieval.indexing import index_model, rebuild_indexes, restore_indexes
from geosearch.retrieval.leaves import FAMILIES, LEAF_OPTIONS, Leaf, cut, find_leaves, grow_leaves
from geosearch.retrieval.neighbours import Neighbours
from geosearch.retrieval.recall import check
from geosearch.retrieval.tuning import EF_SEARCHES, RANKS, Point, Tuning, load_tuning, save_tuning
from tests.rows import (
    START,
    add_embeddings,
    add_model,
    add_photos,
    add_varied_photos,
    fetch,
    places,
    set_rule,
)

COUNT, DIMENSION = 2400, 16
#: Photos like the query, everywhere and at any time.
FAR = where(bbox=(-100, -60, 20, 40))
EARLY = where(before=START + timedelta(days=900))
SOME = where(authors=["author 2", "author 5"])


@dataclass
class World:
    """Photos whose likes are all over the world, and their index with its leaves."""

    database: Database
    model: int
    photos: list[PhotoKey]
    vectors: NDArray[np.float32]

    def leaves(self) -> list[Leaf]:
        with self.database.connection() as connection:
            return find_leaves(connection, self.model)

    def files(self) -> dict[str, int]:
        """The file of each leaf's index that is there."""
        rows = fetch(
            self.database,
            "SELECT c.relname, pg_relation_filenode(c.oid) FROM pg_class AS c "
            "WHERE c.relname ~ '_(place|time|author)[0-9]+_hnsw(_new)?$'",
        )
        return dict(rows)

    def grow(self, *families: str) -> int:
        """How many leaves were built."""
        return grow_leaves(self.database, self.model, DIMENSION, families).built

    def measured(self) -> None:
        """As if leaves were fast and found all, and nothing else was."""
        points = [
            Point(
                ef_search,
                ranks := (*(rank for rank in RANKS if rank < ef_search), ef_search),
                (1.0,) * len(ranks),
                ef_search / 1000,
            )
            for ef_search in EF_SEARCHES
        ]
        tuning = Tuning(0.9, 100, 9, COUNT, LEAF_OPTIONS, 0.0, 1.0, tuple(points))
        with self.database.connection() as connection:
            for family, level in {
                (leaf.family, leaf.level) for leaf in find_leaves(connection, self.model)
            }:
                save_tuning(connection, self.model, replace(tuning, family=family, level=level), 1)
        set_rule(self.database, exact_row_ms=1, few_least=20, few_most=20)

    def search(self, condition: Filter, seed: int = 1, k: int = 10) -> Neighbours:
        return nearest(self.database, self.model, self.vectors[seed], k, condition)


def add_world(database: Database, count: int = COUNT) -> World:
    rng = np.random.default_rng(4)
    lat, lon = places(rng, count)
    vectors = np.abs(rng.normal(size=(count, DIMENSION))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
        photos = add_varied_photos(connection, rng, lat, lon, "test")
        add_embeddings(connection, model, photos, vectors)
    build_index(database, model, DIMENSION)
    return World(database, model, photos, vectors)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves, "LEAF_ROWS", 100)
    monkeypatch.setattr(recall, "CURVE_SAMPLE", 20)
    monkeypatch.setattr(recall, "LEAF_SAMPLE", 20)
    monkeypatch.setattr(recall, "SWEEP_SAMPLE", 2)


@pytest.fixture(scope="module")
def grown(module_database: Database) -> World:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves, "LEAF_ROWS", 120)
        world = add_world(module_database)
        world.grow(*FAMILIES)
    world.measured()
    return world


@pytest.mark.parametrize(
    "condition", [FAR, EARLY, SOME, FAR & EARLY, FAR | where(bbox=(100, 0, 150, 60))]
)
def test_a_part_is_searched_in_its_leaves_and_finds_what_exact_search_does(
    grown: World, condition: Filter
) -> None:
    had = []
    for seed in range(8):
        found = grown.search(condition, seed)
        exact = nearest(grown.database, grown.model, grown.vectors[seed], 10, condition, exact=True)
        assert found.plan.strategy == "leaves"
        assert len(found) == 10
        assert found.plan.expected_recall == 1
        assert not found.plan.matches_exact
        assert "leaves by" in found.plan.reason
        had.append(np.isin(exact.photo_id, found.photo_id).mean())
    assert np.mean(had) > 0.95


def test_the_family_that_a_filter_selects_by_is_taken(grown: World) -> None:
    for condition, family in ((FAR, "place"), (EARLY, "time"), (SOME, "author")):
        assert grown.search(condition).plan.reason.endswith(f"leaves by {family}")


def test_postgresql_takes_the_indexes_of_the_leaves_and_no_other(grown: World) -> None:
    for condition in (FAR, EARLY, SOME):
        explained = explain(grown.database, grown.model, grown.vectors[1], 10, condition)
        plan = "\n".join(explained.postgresql)
        assert explained.plan.leaves is not None
        assert explained.plan.leaves == plan.count(f"Index Scan using embeddings_m{grown.model}_")
        assert "m1_hnsw" not in plan
        assert "Seq Scan on embeddings" not in plan


def test_a_leaf_that_holds_most_of_the_likes_is_searched_deeper(grown: World) -> None:
    # Of one leaf as many are wanted as it has, and more than its share.
    (leaf, *_) = [each for each in grown.leaves() if each.family == "place"]
    west, south, east, north = leaf.bounds
    wide = where(bbox=(west, south, min(east + 60, 180), min(north + 60, 90)))
    found = grown.search(wide, k=120)
    exact = nearest(grown.database, grown.model, grown.vectors[1], 120, wide, exact=True)
    assert found.plan.strategy == "leaves"
    assert found.plan.rows_scanned is not None
    assert np.isin(exact.photo_id, found.photo_id).mean() > 0.95


def test_a_leaf_whose_index_is_gone_is_not_relied_on(grown: World) -> None:
    lost, *_, other = [leaf for leaf in grown.leaves() if leaf.family == "place"]
    with grown.database.connection() as connection:
        connection.execute(f"ALTER INDEX geosearch.{lost.name} RENAME TO away_hnsw")
    forget(grown.database)
    found = {leaf.name: grown.search(BoundingBox(*leaf.bounds)) for leaf in (lost, other)}
    with grown.database.connection() as connection:
        connection.execute(f"ALTER INDEX geosearch.away_hnsw RENAME TO {lost.name}")
    forget(grown.database)
    assert found[lost.name].plan.strategy != "leaves"
    assert found[other.name].plan.strategy == "leaves"


@given(
    st.lists(
        st.tuples(st.integers(-1800, 1800), st.integers(-900, 900)),
        unique_by=(lambda place: place[0], lambda place: place[1]),
        max_size=60,
    ),
    st.integers(1, 20),
)
def test_parts_hold_every_place_and_at_most_so_many(
    drawn: list[tuple[int, int]], most: int
) -> None:
    keys = np.array(drawn, dtype=np.float64).reshape(-1, 2) / 10
    parts = cut(keys, "place", (-180, -90, 180, 90), most)
    inside = np.array(
        [(keys >= part[:2]).all(axis=1) & (keys <= part[2:]).all(axis=1) for part in parts]
    ).reshape(len(parts), -1)
    assert inside.any(axis=0).all()
    assert (inside.sum(axis=1) <= most).all()
    area = sum((part[2] - part[0]) * (part[3] - part[1]) for part in parts)
    assert area == pytest.approx(360 * 180)


def test_leaves_that_have_grown_too_large_are_cut_and_the_others_left_alone(
    database: Database,
) -> None:
    world = add_world(database, 800)
    assert world.grow("place") >= 4
    before = world.files()
    assert world.grow("place") == 0
    assert world.files() == before
    # Many more at one place.
    rng = np.random.default_rng(6)
    leaf = world.leaves()[0]
    low, high = np.array(leaf.bounds).reshape(2, 2)
    lon, lat = rng.uniform(low, high, (400, 2)).T
    vectors = np.abs(rng.normal(size=(400, DIMENSION))).astype(np.float32)
    with database.connection() as connection:
        more = add_photos(connection, lat, lon, prefix="more")
        add_embeddings(connection, world.model, more, vectors)
    assert world.grow("place") > 1
    after = world.files()
    assert {name: file for name, file in before.items() if name != leaf.name} == {
        name: file for name, file in after.items() if name in before
    }
    assert leaf.name not in after
    assert len(after) == len(world.leaves())
    world.measured()
    found = nearest(database, world.model, vectors[7], 10, BoundingBox(*leaf.bounds))
    assert found.plan.strategy == "leaves"
    assert found.photo_id[0] == more[7].photo_id


def test_a_build_that_was_stopped_goes_on_where_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = add_world(database, 800)
    made = build
    count = 0

    def stopped(*arguments: object, **more: object) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        made(*arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(leaves, "build", stopped)
        with pytest.raises(KeyboardInterrupt):
            world.grow("place")
    there = world.files()
    assert len(there) == 2
    all_of_them = len(world.leaves())
    assert world.grow("place") == all_of_them - 2
    assert there.items() <= world.files().items()


def test_families_come_and_go_and_are_remembered(database: Database) -> None:
    world = add_world(database, 400)

    def index(families: list[str] | None) -> set[str]:
        done = index_model(database, world.model, DIMENSION, 0.9, 5, leaves=families, force=True)
        assert done.leaves is not None
        assert done.leaves.count == len(world.files())
        return {leaf.family for leaf in world.leaves()}

    assert index(["time", "place"]) == {"time", "place"}
    assert index(None) == {"time", "place"}
    measured = fetch(database, "SELECT family, level FROM geosearch.tunings ORDER BY family")
    assert measured == [("place", 0), ("time", 0), (None, None)]
    assert check(database, world.model).leaves[0].recall > 0.8
    assert index(["author"]) == {"author"}
    assert index([]) == set()
    with pytest.raises(InputError, match="leaves by 'authors'"):
        index(["authors"])


def test_a_lost_leaf_is_built_again_and_all_are_where_photos_have_gone(database: Database) -> None:
    world = add_world(database, 800)
    world.grow("place")
    before = world.files()
    lost = next(iter(before))
    with database.connection() as connection:
        connection.execute(f"DROP INDEX geosearch.{lost}")
    assert restore_indexes(database) == [lost]
    after = world.files()
    assert {name for name in before if after[name] != before[name]} == {lost}
    with database.connection() as connection:
        set_private(connection, "test", private=True)
    rebuild_indexes(database)
    assert not set(world.files().values()) & set(after.values())
    assert not set(world.files()) - set(after)


def test_a_leaf_built_in_another_way_is_not_used_and_a_check_tells(database: Database) -> None:
    world = add_world(database, 1600)
    index_model(database, world.model, DIMENSION, 0.97, 20, leaves=["place"], force=True)
    assert check(database, world.model).leaves[0].holds
    with database.connection() as connection:
        assert load_tuning(connection, world.model) is not None
        for leaf in find_leaves(connection, world.model):
            connection.execute(f"DROP INDEX geosearch.{leaf.name}")
            connection.execute(
                f"CREATE INDEX {leaf.name} ON geosearch.embeddings_m{world.model} USING hnsw "
                f"((embedding::halfvec({DIMENSION})) halfvec_ip_ops) "
                f"WITH (m = 2, ef_construction = 4) WHERE {leaf.condition}"
            )
    set_rule(database, exact_row_ms=1, few_least=20, few_most=20)
    assert world.search(FAR).plan.strategy != "leaves"
    health = check(database, world.model)
    assert not health.leaves[0].holds
    assert not health.holds


def test_long_embeddings_have_no_leaves(database: Database) -> None:
    with database.connection() as connection:
        model = add_model(connection, 4100)
    assert grow_leaves(database, model, 4100, ("place",)).count == 0
