"""Builds of indexes, and first uses of models, that meet each other or are cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql

from geosearch.database import leases
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import create_embedding_table, embedding_table
from geosearch.errors import DatabaseError
from geosearch.features import Description, model_rows
from geosearch.features.model_rows import register_model
from geosearch.retrieval import indexes, nearest, recall
from geosearch.retrieval.indexes import HnswIndex, build_index, find_index, index_name
from geosearch.retrieval.indexing import index_model, rebuild_indexes
from tests.rows import add_embeddings, add_model, add_photos
from tests.test_embed import DESCRIPTION


def add_world(database: Database, count: int = 400, dimension: int = 16) -> int:
    """A model with so many random embeddings."""
    rng = np.random.default_rng(3)
    with database.connection() as connection:
        model = add_model(connection, dimension)
        photos = add_photos(connection, rng.uniform(-80, 80, count), rng.uniform(-180, 180, count))
        vectors = rng.normal(size=(count, dimension)).astype(np.float32)
        add_embeddings(connection, model, photos, vectors)
    return model


def found(database: Database, model: int) -> HnswIndex | None:
    with database.connection() as connection:
        return find_index(connection, model)


def hnsw_indexes(database: Database) -> list[tuple[str, bool]]:
    """Name and validity of all there are."""
    with database.connection() as connection:
        return connection.execute(
            """
            SELECT c.relname, i.indisvalid FROM pg_class AS c
            JOIN pg_index AS i ON i.indexrelid = c.oid JOIN pg_am AS a ON a.oid = c.relam
            WHERE a.amname = 'hnsw'
            """
        ).fetchall()


@pytest.mark.parametrize("other", [DESCRIPTION, replace(DESCRIPTION, weights_sha256="11")])
def test_two_runs_may_bring_new_models_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, other: Description
) -> None:
    both = threading.Barrier(2)

    def create_together(connection: Connection, model_id: int) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(1)
        create_embedding_table(connection, model_id)

    monkeypatch.setattr(model_rows, "create_embedding_table", create_together)

    def register(description: Description) -> int:
        with database.connection() as connection:
            return register_model(connection, description).id

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(register, (DESCRIPTION, other))
    assert (first == second) == (other == DESCRIPTION)


def test_a_second_run_does_not_index_the_same_model(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(recall, "CURVE_SAMPLE", 5)
    monkeypatch.setattr(recall, "SWEEP_SAMPLE", 1)
    model = add_world(database)
    refused: list[str] = []

    def index_again(*_: object) -> None:
        if not refused:
            with pytest.raises(DatabaseError, match="another run is indexing") as error:
                index_model(database, model, 16, rebuild=True)
            refused.append(error.value.message)

    assert index_model(database, model, 16, 0.9, 5, force=True, progress=index_again).needed
    assert refused
    assert index_model(database, model, 16, 0.9, 5, rebuild=True).needed


@pytest.mark.parametrize("error", [psycopg.errors.DiskFull, KeyboardInterrupt])
def test_a_build_that_fails_leaves_the_index_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    model = add_world(database)
    build_index(database, model, 16)
    before = found(database, model)

    class Fails:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> None:
            # Searches have the old one all the while.
            assert found(database, model) == before

        def __exit__(self, *_: object) -> None:
            raise error("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(indexes, "_watched", Fails)
        with pytest.raises((DatabaseError, KeyboardInterrupt)):
            build_index(database, model, 16, rebuild=True)
    assert before is not None
    assert found(database, model) == before
    assert hnsw_indexes(database) == [(index_name(model), True)]
    assert build_index(database, model, 16, rebuild=True).built
    assert found(database, model) != before
    assert hnsw_indexes(database) == [(index_name(model), True)]


INTERRUPTED = """
import signal, sys
from geosearch.database.connection import Database
from geosearch.retrieval.indexes import build_index

# What a shell starts in the background ignores it, and so does all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Database(sys.argv[1]) as database:
    build_index(database, int(sys.argv[2]), 128, rebuild=True)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_stopped_costs_nothing_but_itself(
    database: Database, stop: signal.Signals
) -> None:
    model = add_world(database, 5000, 128)
    build_index(database, model, 128)
    before = found(database, model)
    stop_build(database, model, stop)
    assert found(database, model) == before
    if stop == signal.SIGINT:
        assert hnsw_indexes(database) == [(index_name(model), True)]
    # What a killed build left is done again, as it was asked for.
    assert build_index(database, model, 128).built == (stop == signal.SIGKILL)
    assert hnsw_indexes(database) == [(index_name(model), True)]


def stop_build(database: Database, model: int, stop: signal.Signals) -> None:
    """Stop a build once it is at work, and before the new index takes the place of the old one."""
    root = Path(__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, database.url, str(model)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        # While it reads, no index is dropped.
        with Database(database.url) as own, own.connection() as reader:
            reader.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(embedding_table(model))
            )
            while not building(database):
                assert process.poll() is None, "it ended before it was stopped"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(stop)
            time.sleep(1.5)  # until it, or its backend, has heard
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def building(database: Database) -> bool:
    with database.connection() as connection:
        return connection.execute("SELECT FROM pg_stat_progress_create_index").rowcount > 0


def test_an_index_whose_photos_have_all_moved_is_rebuilt_and_no_longer_measured(
    database: Database,
) -> None:
    model = add_world(database)
    index_model(database, model, 16, 0.9, 5, force=True)
    before = found(database, model)
    with database.connection() as connection:
        set_private(connection, "test", private=True)
    rebuild_indexes(database)
    after = found(database, model)
    assert before is not None
    assert after is not None
    assert after.file_number != before.file_number
    assert len(nearest(database, model, np.ones(16, np.float32), 7)) == 7
    with database.connection() as connection:
        assert connection.execute("SELECT FROM geosearch.tunings").fetchall() == []
