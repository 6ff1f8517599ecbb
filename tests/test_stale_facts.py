"""A search after another process changed what it goes by: nothing is missed, nothing refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from geosearch.database.collection_rows import set_private, share
from geosearch.database.connection import Database
from geosearch.database.role_grants import grant_role, revoke_role
from geosearch.errors import NotFoundError
from geosearch.retrieval import facts, nearest
from geosearch.retrieval.filters import EVERYTHING, where
from geosearch.retrieval.indexes import build_index
from tests.conftest import create_database, drop_database
from tests.rows import add_embeddings, add_model, add_photos

DIMENSION, EACH = 8, 40
MODEL = 1
LOGINS = ("owner", "friend", "reader")
FILTERS = (EVERYTHING, where(collection="open"), where(bbox=(-180, -90, 180, 90)))
QUERY = np.ones(DIMENSION, np.float32)


@dataclass
class World:
    """One process that changes things, and one for each login, which remembers what it read."""

    other: Database
    logins: dict[str, str]
    searching: dict[str, Database]


@pytest.fixture
def world(
    server_url: str, template_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setattr(facts, "_FRESH_S", 1e9)  # as if all came at once
    suffix = uuid4().hex[:10]
    logins = {role: f"geosearch_test_{role}_{suffix}" for role in LOGINS}
    url = create_database(server_url, template_database)
    rng = np.random.default_rng(3)
    with ExitStack() as stack:
        other = stack.enter_context(Database(url))
        with other.connection() as connection:
            for role, login in logins.items():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
                grant_role(connection, "reader" if role == "friend" else role, login)
            model = add_model(connection, DIMENSION)
            assert model == MODEL
            for name in ("open", "one", "two"):
                places = rng.uniform((-60, -170), (60, 170), (EACH, 2)).T
                photos = add_photos(connection, *places, collection=name)
                vectors = rng.normal(size=(EACH, DIMENSION)).astype(np.float32)
                add_embeddings(connection, model, photos, vectors)
        build_index(other, model, DIMENSION)
        searching = {
            role: stack.enter_context(Database(make_conninfo(url, user=login)))
            for role, login in logins.items()
        }
        yield World(other, logins, searching)
    drop_database(url)
    with psycopg.connect(server_url, autocommit=True) as connection:
        for login in logins.values():
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


def private(name: str, wanted: bool) -> Callable[[World], None]:
    def change(world: World) -> None:
        with world.other.connection() as connection:
            set_private(connection, name, private=wanted)

    return change


def shared(name: str, wanted: bool) -> Callable[[World], None]:
    def change(world: World) -> None:
        with world.other.connection() as connection:
            share(connection, name, world.logins["friend"], shared=wanted)

    return change


def becomes_owner(wanted: bool) -> Callable[[World], None]:
    def change(world: World) -> None:
        with world.other.connection() as connection:
            (grant_role if wanted else revoke_role)(connection, "owner", world.logins["friend"])

    return change


def does(statement: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        with world.other.connection() as connection:
            connection.execute(statement.encode())

    return change


def rebuilds(world: World) -> None:
    build_index(world.other, MODEL, DIMENSION)


#: In this order, each after a search by everybody.
CHANGES: tuple[Callable[[World], None], ...] = (
    private("one", True),
    shared("one", True),
    private("two", True),
    shared("one", False),
    becomes_owner(True),
    private("one", False),
    becomes_owner(False),
    does("DROP INDEX geosearch.embeddings_m1_hnsw"),
    rebuilds,
    does("REINDEX INDEX geosearch.embeddings_m1_hnsw"),
    rebuilds,
    does("DELETE FROM geosearch.all_photos WHERE id % 3 = 0"),
    private("two", False),
    private("one", True),
)


def test_a_search_after_a_change_by_another_goes_by_what_is_now(world: World) -> None:
    for number, change in enumerate((lambda _: None, *CHANGES)):
        change(world)
        for role, database in world.searching.items():
            with Database(database.url) as fresh:
                for wanted in FILTERS:
                    found = nearest(database, MODEL, QUERY, 3 * EACH, wanted)
                    now = nearest(fresh, MODEL, QUERY, 3 * EACH, wanted, exact=True)
                    about = (number, role, str(wanted), found.plan)
                    assert found.photo_id.tolist() == now.photo_id.tolist(), about
                    assert found.plan.matches == now.plan.matches, about


def test_a_search_of_a_model_that_is_gone_says_so(world: World) -> None:
    for database in world.searching.values():
        assert len(nearest(database, MODEL, QUERY, 5)) == 5
    does("DROP TABLE geosearch.embeddings_m1")(world)
    does("DELETE FROM geosearch.models")(world)
    for database in world.searching.values():
        with pytest.raises(NotFoundError, match="no model 1"):
            nearest(database, MODEL, QUERY, 5)


def test_searches_while_a_collection_moves_see_it_before_or_after(world: World) -> None:
    """The owner all photos, each time; others all, or those that are public."""
    rebuilds(world)
    done = threading.Event()
    wrong: list[str] = []
    searches: dict[str, set[int]] = {role: set() for role in LOGINS}

    def search(role: str) -> None:
        while not done.is_set():
            try:
                found = nearest(world.searching[role], MODEL, QUERY, 3 * EACH)
            except Exception as error:
                wrong.append(f"{role}: {error!r}")
                return
            searches[role].add(len(found))

    threads = [threading.Thread(target=search, args=(role,)) for role in LOGINS]
    for thread in threads:
        thread.start()
    for wanted in (True, False) * 6:
        private("one", wanted)(world)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert searches["owner"] == {3 * EACH}
    assert searches["reader"] == searches["friend"] == {2 * EACH, 3 * EACH}


def test_a_move_that_is_the_victim_of_a_deadlock_begins_again(world: World) -> None:
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation IS NOT NULL)"
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(world.other.url) as reading,
        psycopg.connect(world.other.url, autocommit=True) as watching,
    ):
        reading.execute("SET deadlock_timeout = '1min'")  # so that the other is the victim
        reading.execute("SELECT FROM geosearch.photos LIMIT 1")
        moving = pool.submit(private("one", wanted=True), world)
        while not moving.done() and watching.execute(waits).fetchone() == (False,):
            time.sleep(0.01)
        reading.execute("UPDATE geosearch.all_collections SET description = '' WHERE name = 'one'")
        reading.commit()
        moving.result()
    assert len(nearest(world.searching["reader"], MODEL, QUERY, 3 * EACH)) == 2 * EACH
