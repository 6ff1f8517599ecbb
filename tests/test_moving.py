"""A collection under an HNSW index becomes private: recall stays true, and kills do no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from geosearch.database import migrations
from geosearch.database.connection import Database
from geosearch.database.role_grants import grant_role
from geosearch.retrieval import nearest
from geosearch.retrieval.indexes import build_index
from tests.conftest import create_database, running_server
from tests.rows import add_embeddings, add_model, add_photos

pytestmark = pytest.mark.system

DIMENSION, OPEN, SECRET, K = 32, 3000, 1500, 10
MODEL = 1
SECRET_IDS = frozenset(range(OPEN + 1, OPEN + SECRET + 1))


@dataclass
class World:
    """A server of its own, which may be killed, with a public and a private-to-be collection."""

    url: str
    #: Stored embeddings, as those by which recall is measured.
    queries: np.ndarray[Any, np.dtype[np.float32]]

    def of(self, login: str) -> Database:
        return Database(make_conninfo(self.url, user=login) if login else self.url)

    def value(self, statement: LiteralString) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
        return None if row is None else row[0]

    def command(self, verb: str) -> subprocess.Popen[bytes]:
        root = Path(__file__).parent.parent
        return subprocess.Popen(
            [sys.executable, "-m", "geosearch", "collections", verb, "secret"],
            env=os.environ | {"PYTHONPATH": str(root), "GEOSEARCH_DATABASE_URL": self.url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    rng = np.random.default_rng(8)
    queries: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    with running_server() as server:
        url = create_database(server.url)
        migrations.upgrade(url)
        with Database(url) as database:
            with database.connection() as connection:
                for role in ("reader", "owner"):
                    connection.execute(f"CREATE ROLE some_{role} LOGIN".encode())
                    grant_role(connection, role, f"some_{role}")
                add_model(connection, DIMENSION)
                for name, count in (("open", OPEN), ("secret", SECRET)):
                    places = rng.uniform((-60, -170), (60, 170), (count, 2)).T
                    photos = add_photos(connection, *places, collection=name)
                    vectors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
                    add_embeddings(connection, MODEL, photos, vectors)
                    queries.append(vectors[:30])
            build_index(database, MODEL, DIMENSION)
            with database.connection() as connection:  # what it is to be measured for
                connection.execute(
                    "INSERT INTO geosearch.tunings (model_id, target, k, sample, rows,"
                    " index_definition, exact_fixed_ms, exact_row_ms)"
                    " VALUES (1, 0.9, %s, 1, 1, 'another', 1, 1)",
                    (K,),
                )
        yield World(url, np.concatenate(queries))


INDEX_FILE: LiteralString = (
    "SELECT pg_relation_filenode(indexrelid) FROM pg_index "
    "WHERE indexrelid = to_regclass('geosearch.embeddings_m1_hnsw') AND indisvalid"
)
PRIVATE: LiteralString = "SELECT private FROM geosearch.all_collections WHERE name = 'secret'"


def met(world: World, login: str) -> set[int]:
    """Photos that exact searches meet."""
    with world.of(login) as database:
        found = [nearest(database, MODEL, query, K, exact=True) for query in world.queries]
    return {int(photo) for each in found for photo in each.photo_id}


def recalls(world: World, login: str) -> tuple[float, float, set[str]]:
    """Mean recall found and quoted, and the strategies."""
    found: list[float] = []
    quoted: list[float] = []
    strategies: set[str] = set()
    with world.of(login) as database:
        for query in world.queries:
            exact = nearest(database, MODEL, query, K, exact=True)
            answer = nearest(database, MODEL, query, K)
            found.append(len(set(answer.photo_id) & set(exact.photo_id)) / K)
            assert answer.plan.expected_recall is not None
            quoted.append(answer.plan.expected_recall)
            strategies.add(answer.plan.strategy)
    return float(np.mean(found)), float(np.mean(quoted)), strategies


def make_exact_search_dear(world: World) -> None:
    """As if there were millions of photos: the index is taken."""
    world.value("UPDATE geosearch.tunings SET exact_row_ms = 10 RETURNING 1")


def test_recall_is_as_quoted_for_owner_and_reader_once_a_collection_has_moved(world: World) -> None:
    before = world.value(INDEX_FILE)
    for verb, private in (("private", True), ("public", False)):
        assert world.command(verb).wait(120) == 0
        assert world.value(PRIVATE) == private
        make_exact_search_dear(world)
        for login in ("", "some_owner", "some_reader"):
            found, quoted, strategies = recalls(world, login)
            assert strategies == {"ann"}, login
            assert quoted >= 0.9
            assert found >= quoted - 0.05, login
            told = bool(met(world, login) & SECRET_IDS)
            assert told == (login != "some_reader" or not private), login
        if private:
            # The graph is another, of public photos alone, and was measured itself.
            after = world.value(INDEX_FILE)
            assert after not in (None, before)
            assert world.value("SELECT index_definition FROM geosearch.tunings") != "another"
            assert world.value("SELECT rows FROM geosearch.indexes") == OPEN
            assert world.value("SELECT count(*) FROM geosearch.embeddings_m1") == OPEN


STAGES: dict[str, LiteralString] = {
    "moving": "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() "
    "AND query LIKE '%geosearch.set_private(%'",
    "building": "SELECT pid FROM pg_stat_progress_create_index "
    "WHERE relid = 'geosearch.embeddings_m1'::regclass",
}


@pytest.mark.parametrize("victim", ["program", "backend"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_in_the_middle_leaves_it_public_or_private(
    world: World, stage: str, victim: str
) -> None:
    world.value("DELETE FROM geosearch.tunings RETURNING 1")  # to measure takes longest
    assert world.command("public").wait(120) == 0
    if world.value(INDEX_FILE) is None:
        with world.of("") as database:
            build_index(database, MODEL, DIMENSION)
    process = world.command("private")
    try:
        deadline = time.monotonic() + 60
        with psycopg.connect(world.url, autocommit=True) as connection:
            while not (found := connection.execute(STAGES[stage]).fetchone()):
                assert process.poll() is None, "it ended before it was killed"
                assert time.monotonic() < deadline
        os.kill(found[0] if victim == "backend" else process.pid, signal.SIGKILL)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode != 0
    recovered(world)
    private = world.value(PRIVATE)
    assert private == (stage == "building")
    for login in ("some_owner", "some_reader"):
        told = bool(met(world, login) & SECRET_IDS)
        assert told == (login == "some_owner" or not private), login
    assert world.command("private").wait(120) == 0
    assert world.value(INDEX_FILE) is not None
    assert world.value("SELECT count(*) FROM geosearch.embeddings_m1") == OPEN
    assert world.value("SELECT count(*) FROM geosearch.all_embeddings") == OPEN + SECRET


def recovered(world: World) -> None:
    """Wait for the server, and for what a killed program had asked for to end."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if not world.value(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                "AND pid <> pg_backend_pid() AND query LIKE '%geosearch%'"
            ):
                return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
        time.sleep(0.1)
