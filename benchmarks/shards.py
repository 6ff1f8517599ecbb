"""What shards cost: the same questions to a database on three servers, and to one on one.

Photos all over the Earth look like their surroundings; a third lies east, a third west, each on a
server of its own on loopback, the rest here. Asked in turns, in one run; medians. `bare` is what
the machine can do: the statements that gave the answer alone, prepared, by a thread and a
connection to each server that gave a part of it, against that one on one server. `fdw` is the other
way to ask a shard: its foreign table in order of distance, with hnsw.ef_search an option of the
server, and the plan PostgreSQL's own.

    python benchmarks/shards.py
    python benchmarks/shards.py --rows 100000 --dimension 512
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from scratch_rows import add_photos

from geosearch.database import migrations
from geosearch.database.connection import Database
from geosearch.database.copying import copy_embeddings
from geosearch.database.server import PrivateServer
from geosearch.retrieval import nearest
from geosearch.retrieval.facts import facts
from geosearch.retrieval.filters import EVERYTHING, Filter, where
from geosearch.retrieval.indexing import index_model
from geosearch.retrieval.search import Search, ask
from geosearch.shards.shard_moves import move_to_shard
from geosearch.shards.shard_setup import add_shard
from geosearch.sphere import unit_vectors

K, RECALL = 100, 0.98
#: Rounds before the measured ones.
WARM = 6
#: What a search may take, in times of that on one server.
MOST = {"unfiltered": 1.5, "region": 1.1}
SHARDS = {"east": (60.0, -90.0, 180.0, 90.0), "west": (-180.0, -90.0, -60.0, 90.0)}
#: West, south, east, north of a small and a large region inside one shard.
REGIONS: dict[str, tuple[float, float, float, float]] = {
    "region 1 %": (90.0, 10.0, 105.0, 24.0),
    "region 16 %": (65.0, -30.0, 178.0, 30.0),
}
EF_SEARCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(server()) for name in ("here", *SHARDS)}
        for each in servers.values():
            migrations.upgrade(each.url)
        here = servers["here"].url
        fill(here, rng, arguments.rows, arguments.dimension)
        admin = here.replace("/geosearch?", "/postgres?")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("CREATE DATABASE whole TEMPLATE geosearch")
        whole = stack.enter_context(Database(here.replace("/geosearch?", "/whole?")))
        sharded = stack.enter_context(Database(here))
        for name, box in SHARDS.items():
            add_shard(sharded, name, servers[name].tcp_url() or "", where(bbox=box))
            started = time.perf_counter()
            moved = move_to_shard(sharded, name, index=False).photos
            seconds = time.perf_counter() - started
            print(f"{moved:,} photos moved in {seconds:.1f} s: {moved / seconds:,.0f}/s")
            with Database(servers[name].url) as shard:
                index_model(shard, 1, arguments.dimension, RECALL, K, force=True)
        index_model(sharded, 1, arguments.dimension, RECALL, K, force=True, rebuild=True)
        shards = {name: stack.enter_context(Database(servers[name].url)) for name in SHARDS}
        measure(whole, sharded, shards, rng, arguments.dimension, arguments.rounds)
        measure_foreign(whole, sharded, rng, arguments.dimension, arguments.rounds)


@contextmanager
def server() -> Iterator[PrivateServer]:
    """A private server that listens on loopback, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="geosearch-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        made = PrivateServer(Path(name), durable=False)
        made.start(port)
        try:
            yield made
        finally:
            made.stop()


def looks(rng: np.random.Generator, rows: int, dimension: int) -> tuple[Any, ...]:
    """Places all over the Earth, and embeddings (rows, dimension) that are like them."""
    lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, rows))), rng.uniform(-180, 180, rows)
    noise = rng.normal(size=(rows, dimension - 3)) / np.sqrt(dimension - 3)
    vectors = np.hstack([unit_vectors(lat, lon), noise]).astype(np.float32)
    return lat, lon, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill(url: str, rng: np.random.Generator, rows: int, dimension: int) -> None:
    """Photos of model 1, indexed and measured."""
    lat, lon, vectors = looks(rng, rows, dimension)
    with Database(url) as database:
        with database.connection() as connection:
            model, photos = add_photos(connection, dimension, lat, lon)
            copy_embeddings(connection, model, photos, vectors)
        index_model(database, model, dimension, RECALL, K, force=True)


def measure(
    whole: Database,
    sharded: Database,
    shards: dict[str, Database],
    rng: np.random.Generator,
    dimension: int,
    rounds: int,
) -> None:
    """Each question to both, in turns."""
    asked: dict[str, Filter] = {"unfiltered": EVERYTHING}
    asked |= {name: where(bbox=box) for name, box in REGIONS.items()}
    print(
        f"{'question':<14} {'one ms':>8} {'shards ms':>10} {'ratio':>6} {'bare one':>9} "
        f"{'bare shards':>12} {'ratio':>6} recall and claimed"
    )
    for name, passing in asked.items():
        queries = looks(rng, rounds + WARM, dimension)[2]
        times: dict[str, list[float]] = {}
        recalls, claimed = [], []
        with ExitStack() as stack:
            plan = nearest(sharded, 1, queries[0], K, passing).plan
            asking = [shards[part.name] for part in plan.shards]
            if name == "unfiltered":  # of a region inside one shard nothing is here
                asking.append(sharded)
            turns: dict[str, Callable[..., Any]] = {
                "one": partial(nearest, whole, 1, k=K, where=passing),
                "three": partial(nearest, sharded, 1, k=K, where=passing),
                "bare one": stack.enter_context(bare([whole], queries[0], passing)),
                "bare three": stack.enter_context(bare(asking, queries[0], passing)),
            }
            for number, query in enumerate(queries):
                for which in list(turns) if number % 2 else list(turns)[::-1]:
                    taken, found = timed(partial(turns[which], query=query))
                    if number >= WARM:
                        times.setdefault(which, []).append(taken)
                    if which == "three":
                        truth = nearest(whole, 1, query, K, passing, exact=True)
                        same = np.isin(found.photo_id, truth.photo_id).mean()
                        recalls.append(float(same))
                        claimed.append(found.plan.expected_recall or 0)
        one, three, bare_one, bare_three = (
            statistics.median(times[which]) for which in ("one", "three", "bare one", "bare three")
        )
        most = MOST[name.split()[0]]
        verdict = "holds" if three <= most * one else "FAILS"
        print(
            f"{name:<14} {one:>8.2f} {three:>10.2f} {three / one:>6.2f} {bare_one:>9.2f} "
            f"{bare_three:>12.2f} {bare_three / bare_one:>6.2f} {np.mean(recalls):>7.3f} "
            f"{min(claimed):>8.3f}  at most {most}: {verdict}"
        )


@contextmanager
def bare(
    databases: Sequence[Database], query: NDArray[np.float32], passing: Filter
) -> Iterator[Callable[..., None]]:
    """What asks all databases at once for the neighbours of a query, by nothing but a statement."""
    plans = [nearest(database, 1, query, K, passing).plan for database in databases]
    with ExitStack() as stack, ThreadPoolExecutor(len(databases)) as threads:
        databases = [stack.enter_context(Database(each.url)) for each in databases]
        connections = [stack.enter_context(database.searcher()) for database in databases]
        known = [facts(*each, 1) for each in zip(databases, connections, strict=True)]

        def ask_one(place: int, query: NDArray[np.float32]) -> None:
            search = Search(connections[place], known[place], query, K, passing)
            ef_search = plans[place].ef_search
            steps = search.exact() if ef_search is None else search.by_index(ef_search)
            ask(connections[place], next(steps)).fetchall()

        def ask_all(query: NDArray[np.float32]) -> None:
            list(threads.map(partial(ask_one, query=query), range(len(databases))))

        yield ask_all


def measure_foreign(
    whole: Database, sharded: Database, rng: np.random.Generator, dimension: int, rounds: int
) -> None:
    """A foreign table in order of distance, with and without a region."""
    with psycopg.connect(sharded.url, autocommit=True) as connection:
        connection.execute(
            'ALTER SERVER "geosearch shard east" '
            f"OPTIONS (ADD options '-c hnsw.ef_search={EF_SEARCH}')".encode()
        )
    with psycopg.connect(sharded.url, autocommit=True) as connection:
        register_vector(connection)
        for name, box in {"east": SHARDS["east"], **REGIONS}.items():
            region = "geom && ST_MakeEnvelope({},{},{},{},4326)".format(*box)
            condition = "true" if name == "east" else region
            statement = (
                f"SELECT photo_id FROM geosearch.embeddings_f1 WHERE model_id = 1 AND {condition} "  # noqa: S608
                f"ORDER BY embedding::halfvec({dimension}) <=> %s LIMIT {K}"
            )
            recalls, times = [], []
            for query in looks(rng, rounds, dimension)[2]:
                taken, rows = timed(partial(fetch, connection, statement, query))
                truth = nearest(whole, 1, query, K, where(bbox=box), exact=True)
                recalls.append(np.isin(truth.photo_id, [key for (key,) in rows]).mean())
                times.append(taken)
            print(
                f"fdw {name:<12} {statistics.median(times):>8.2f} ms, recall {np.mean(recalls):.3f}"
            )


def fetch(connection: Any, statement: str, query: NDArray[np.float32]) -> Any:
    return connection.execute(statement.encode(), (HalfVector(query),)).fetchall()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and what came of it."""
    started = time.perf_counter()
    done = work()
    return 1000 * (time.perf_counter() - started), done


if __name__ == "__main__":
    main()
