"""Copies of embeddings on this machine: exact search by them finds what the database holds."""

from __future__ import annotations

import shutil
import stat
from itertools import count
from pathlib import Path
from typing import LiteralString, NamedTuple
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from psycopg import sql

from geosearch.database.connection import Connection, Database
from geosearch.database.role_grants import grant_role
from geosearch.errors import DatabaseError
from geosearch.retrieval import EVERYTHING, Filter, batch, embedding_copy, where
from geosearch.retrieval.batch import BatchNeighbours, nearest_batch
from geosearch.retrieval.embedding_blocks import Block
from geosearch.retrieval.embedding_copy import PART_ROWS, EmbeddingCopy
from geosearch.retrieval.facts import forget
from tests.rows import add_embeddings, add_model, add_photos

DIMENSION = 8
QUERIES = np.eye(DIMENSION, dtype=np.float32)
#: Photos that lie in three parts, forty in each.
COUNT, PARTS = 120, 3
ROW_BYTES = 4 * DIMENSION + 8


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are kept; even small models are copied."""
    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path / "cache"))
    for module in (batch, embedding_copy):
        monkeypatch.setattr(module, "LEAST_VALUES", 1)
    return tmp_path / "cache" / "embeddings"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first ids of parts that were read from the database."""
    parts: list[int] = []
    fetch = EmbeddingCopy._fetch

    def noted(copy: EmbeddingCopy, part: embedding_copy.Part) -> Block:
        parts.append(part.first)
        return fetch(copy, part)

    monkeypatch.setattr(EmbeddingCopy, "_fetch", noted)
    return parts


#: Numbers of parts of 4,096 ids that no test has used.
unused = count(1)


class World(NamedTuple):
    """A model, and the numbers of the parts that photos embedded with it lie in."""

    database: Database
    model: int
    parts: list[int]

    def execute(self, statement: LiteralString, connection: Connection | None = None) -> None:
        """Execute it, in a transaction of its own or in this."""
        filled = sql.SQL(statement).format(
            model=sql.SQL(f"embeddings_m{self.model}"), part=sql.Literal(f"of {self.parts[1]}")
        )
        if connection is not None:
            connection.execute(filled)
            return
        with self.database.connection() as own:
            own.execute(filled)

    def found(self, chosen: Filter = EVERYTHING) -> BatchNeighbours:
        """The neighbours of some queries."""
        forget(self.database)
        return nearest_batch(self.database, self.model, QUERIES, 20, chosen)

    def check(self, chosen: Filter = EVERYTHING) -> None:
        """What is found by the copy is what is found without one."""
        by_copy = self.found(chosen)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GEOSEARCH_COPY_BYTES", "0")
            assert_same(by_copy, self.found(chosen))


@pytest.fixture
def world(module_database: Database) -> World:
    return make_world(module_database)


def make_world(database: Database) -> World:
    with database.connection() as connection:
        model = add_model(connection, DIMENSION)
        parts = [next(unused) for _ in range(PARTS)]
        for number in parts:
            fill(connection, model, number)
    return World(database, model, parts)


def fill(
    connection: Connection, model: int, number: int, wanted: int = COUNT // PARTS, start: int = 1000
) -> None:
    """Embedded photos in a part, in a collection of its own."""
    rng = np.random.default_rng(number)
    connection.execute(
        "SELECT setval('geosearch.photos_id_seq', %s)", (number * PART_ROWS + start,)
    )
    lat, lon = rng.uniform(-90, 90, wanted), rng.uniform(-180, 180, wanted)
    name = f"of {number}"
    photos = add_photos(connection, lat, lon, prefix=f"from {start}", collection=name)
    add_embeddings(connection, model, photos, units(rng, wanted))


def units(rng: np.random.Generator, wanted: int) -> NDArray[np.float32]:
    vectors = rng.normal(size=(wanted, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def assert_same(one: BatchNeighbours, other: BatchNeighbours) -> None:
    np.testing.assert_array_equal(one.photo_id, other.photo_id)
    np.testing.assert_allclose(one.distance, other.distance, atol=1e-6)
    np.testing.assert_array_equal(one.matches, other.matches)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_second_pass_reads_the_copy(world: World, folder: Path, fetched: list[int]) -> None:
    first = world.found()
    assert fetched == [number * PART_ROWS for number in world.parts]
    assert len(files(folder)) == PARTS
    assert_same(world.found(), first)
    assert len(fetched) == PARTS
    world.check()


def test_only_parts_that_changed_are_read_again(
    world: World, folder: Path, fetched: list[int]
) -> None:
    world.found()
    before = files(folder)
    world.execute(
        "DELETE FROM geosearch.all_photos WHERE uri = '/from 1000/' || {part} || '/5.jpg'"
    )
    fetched.clear()
    world.check()
    assert fetched == [world.parts[1] * PART_ROWS]
    after = files(folder)
    assert len(after) == PARTS
    assert len({*before} & {*after}) == PARTS - 1  # nothing is left of the old part


CHANGES: dict[str, LiteralString] = {
    "embed again": "UPDATE geosearch.all_embeddings SET embedding = '[1,0,0,0,0,0,0,0]' "
    "WHERE photo_id = (SELECT min(photo_id) FROM geosearch.{model})",
    "embed one again": "UPDATE geosearch.{model} SET embedding = '[0,1,0,0,0,0,0,0]' "
    "WHERE photo_id = (SELECT max(photo_id) FROM geosearch.{model})",
    "delete": "DELETE FROM geosearch.all_photos WHERE id % 7 = 3",
    "delete embeddings": "DELETE FROM geosearch.{model} WHERE photo_id % 5 = 2",
    "unlocate": "UPDATE geosearch.all_photos SET geom = NULL, position_source = NULL "
    "WHERE id % 6 = 1",
    "locate": "UPDATE geosearch.all_photos SET geom = 'SRID=4326;POINT(1 2)', "
    "position_source = 'manifest' WHERE geom IS NULL",
    "move": "UPDATE geosearch.all_photos SET geom = 'SRID=4326;POINT(3 4)' "
    "WHERE id % 4 = 1 AND geom IS NOT NULL",
    "hide": "SELECT geosearch.set_private(id, true) FROM geosearch.collections WHERE name = {part}",
    "show": "SELECT geosearch.set_private(id, false) FROM geosearch.collections "
    "WHERE name = {part}",
    "empty": "TRUNCATE geosearch.{model}",
}

FILTERS = [
    EVERYTHING,
    where(bbox=(-90, -90, 90, 90)),
    where(exclude_authors=("nobody",)),
    where(near=(0, 0, 3000)),
    where(bbox=(0, 0, 1e-9, 1e-9)),
]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_changes_it_finds_what_is_there(
    module_database: Database, data: st.DataObject
) -> None:
    world = make_world(module_database)
    world.found()
    for step in range(data.draw(st.integers(1, 4), "changes")):
        change = data.draw(st.sampled_from(["add", *CHANGES]), "change")
        with module_database.connection() as connection:
            if change == "add":
                number = data.draw(st.sampled_from(world.parts), "part")
                fill(connection, world.model, number, 3, 2000 + 10 * step)
            else:
                world.execute(CHANGES[change], connection)
            if change != "empty" and data.draw(st.booleans(), "undone"):
                connection.rollback()
        world.check(data.draw(st.sampled_from(FILTERS), "filter"))


@pytest.mark.parametrize("chosen", FILTERS)
def test_a_filter_chooses_among_what_is_copied(
    world: World, chosen: Filter, fetched: list[int]
) -> None:
    world.found()
    fetched.clear()
    world.check(chosen)
    assert not fetched


def test_a_filtered_pass_makes_no_copy(world: World, folder: Path) -> None:
    world.check(FILTERS[1])
    assert not files(folder)


@pytest.mark.parametrize("copied", [True, False])
def test_a_pass_sees_nothing_of_what_happens_meanwhile(world: World, copied: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOSEARCH_COPY_BYTES", "1000000" if copied else "0")
        before = world.found()
    seen = 0

    def change(done: int, _: int | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            with psycopg.connect(world.database.url) as other:
                other.execute("DELETE FROM geosearch.all_photos WHERE id % 2 = 0")

    during = nearest_batch(world.database, world.model, QUERIES, 20, block_rows=64, progress=change)
    assert seen == 2
    assert_same(during, before)
    world.check()
    assert world.found().matches[0] == COUNT / 2


def test_those_who_embed_into_one_part_do_not_wait(world: World) -> None:
    world.found()
    photos = []
    with world.database.connection() as connection:
        for start in (2000, 3000):
            photos.append(add_photos(connection, [1, 2], [3, 4], prefix=f"new {start}"))
    vectors = units(np.random.default_rng(9), 2)
    url = world.database.url
    with psycopg.connect(url) as one, psycopg.connect(url) as other:
        for connection in (one, other):
            connection.execute("SET lock_timeout = '2s'")
        add_embeddings(one, world.model, photos[0], vectors)
        add_embeddings(other, world.model, photos[1], vectors)
        other.commit()
        world.check()
        one.commit()
    world.check()
    assert world.found().matches[0] == COUNT + 4


def test_copies_are_for_their_user_alone(world: World, folder: Path) -> None:
    world.found()
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(folder)} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_of_private_collections_nothing_is_copied(world: World, folder: Path) -> None:
    world.found()
    world.execute(CHANGES["hide"])
    world.check()
    hidden, there = world.parts[1] * PART_ROWS, [int(f.name.split("-")[0]) for f in files(folder)]
    assert len(there) == PARTS - 1
    assert hidden not in there


def test_a_login_without_rights_gets_nothing_from_a_copy(world: World) -> None:
    login = f"geosearch_test_reader_{uuid4().hex[:10]}"
    mine = psycopg.conninfo.make_conninfo(world.database.url, user=login)
    with world.database.connection() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        grant_role(connection, "reader", login)
    with Database(mine) as reader:
        own = world._replace(database=reader)
        assert_same(own.found(), world.found())
        with world.database.connection() as connection:
            connection.execute(
                sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(login))
            )
        with pytest.raises(DatabaseError):
            own.found()


def test_what_is_not_needed_any_more_is_removed(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there() -> set[int]:
        return {int(path.parent.name) for path in files(folder)}

    other = make_world(world.database)
    other.found()
    world.found()
    assert there() == {world.model, other.model}
    # More than one copy takes, less than both: the one that was used longest ago goes.
    monkeypatch.setenv("GEOSEARCH_COPY_BYTES", str((COUNT + 10) * ROW_BYTES))
    world.found()
    assert there() == {world.model}
    monkeypatch.delenv("GEOSEARCH_COPY_BYTES")
    other.found()
    world.execute(f"SELECT geosearch.delete_model({world.model:d})")
    other.found()
    assert there() == {other.model}
    third = make_world(world.database)
    monkeypatch.setattr(embedding_copy, "UNUSED_S", -1)
    third.found()
    assert there() == {third.model}


def test_no_more_than_allowed_is_copied(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = COUNT // PARTS * ROW_BYTES
    monkeypatch.setenv("GEOSEARCH_COPY_BYTES", str(2 * part + 1))
    for _ in range(2):
        world.check()
        assert sum(path.stat().st_size for path in files(folder)) == 2 * part


@pytest.mark.parametrize("fault", ["cut short", "gone", "no folder"])
def test_a_copy_that_cannot_be_used_is_done_without(world: World, folder: Path, fault: str) -> None:
    world.found()
    for path in files(folder):
        if fault == "cut short":
            path.write_bytes(path.read_bytes()[:-3])
        else:
            path.unlink()
    if fault == "no folder":
        shutil.rmtree(folder)
        folder.write_text("in the way")
    world.check()


def test_blocks_end_where_parts_do_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BLOCK_VALUES", 64 * DIMENSION)
    with world.database.connection() as connection:
        fill(connection, world.model, next(unused), 300)
    world.check()
    world.check()
