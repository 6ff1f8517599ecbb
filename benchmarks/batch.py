"""Many queries at once, beside the bare work: exact in one pass, one at a time, eight at a time.

Exact: `nearest_batch` beside the matrix product alone, on the same vectors held in memory; it reads
them from the server, makes a copy of them on this machine, or reads that copy.
Searches: `nearest` beside the prepared pgvector query with the same settings. Both sides take
turns within one run; the ratios of the medians are what counts. Vectors are random, of 32 latent
dimensions.

    python benchmarks/batch.py --rows 50000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql
from scratch import scratch_database
from scratch_rows import add_photos

from geosearch.database.connection import Connection, Database
from geosearch.database.copying import copy_embeddings
from geosearch.database.embedding_tables import embedding_table
from geosearch.retrieval import nearest
from geosearch.retrieval.batch import BLOCK_VALUES, QUERY_ROWS, nearest_batch
from geosearch.retrieval.filters import InCollections
from geosearch.retrieval.indexes import build_index

K = 100
CONNECTIONS = 8
Vectors = NDArray[np.float32]
Held = AbstractContextManager[None]

_BARE = """
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance
FROM (
    SELECT photo_id, geom, embedding::halfvec({dimension}) <=> %(query)s AS distance
    FROM {table}
    ORDER BY embedding::halfvec({dimension}) <=> %(query)s
    LIMIT {k}
) AS n
JOIN geosearch.photos AS p ON p.id = n.photo_id
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000, help="of the exact pass")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of a round of searches")
    parser.add_argument("--exact-only", action="store_true", help="build no index")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    vectors, queries = make_vectors(arguments.rows, arguments.queries, arguments.dimension)
    with scratch_database() as database:
        model = load(database, vectors)
        result = {"rows": arguments.rows, "dimension": arguments.dimension}
        result |= measure_exact(database, model, vectors, queries, arguments.rounds)
        result |= measure_memory(database, model, queries)
        if not arguments.exact_only:
            build_index(database, model, arguments.dimension)
            result |= measure_searches(
                database, model, queries, arguments.rounds, arguments.seconds
            )
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{os.cpu_count()} cores, k = {K}")
    for name, value in result.items():
        text = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
        print(f"{name:<44} {text:>12}")


def make_vectors(rows: int, queries: int, dimension: int) -> tuple[Vectors, Vectors]:
    """References and held-out queries, unit vectors."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(32, dimension)).astype(np.float32)
    made = rng.normal(size=(rows + queries, 32)).astype(np.float32) @ spread
    made += rng.normal(size=made.shape).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made[:rows], made[rows:]


def load(database: Database, vectors: Vectors) -> int:
    """A model with these embeddings; one photo in four is in the collection `quarter`."""
    with database.connection() as connection:
        rng = np.random.default_rng(1)
        lat, lon = rng.uniform(-90, 90, len(vectors)), rng.uniform(-180, 180, len(vectors))
        model, photos = add_photos(connection, vectors.shape[1], lat, lon)
        connection.execute("INSERT INTO geosearch.collections (name) VALUES ('quarter')")
        quarter = [
            photo._replace(collection_id=2) if photo.photo_id % 4 == 0 else photo
            for photo in photos
        ]
        copy_embeddings(connection, model, quarter, vectors)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return model


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_exact(
    database: Database, model: int, vectors: Vectors, queries: Vectors, rounds: int
) -> dict[str, float]:
    """Passes beside the product alone, in equal blocks; for all queries and for 100.

    Without a copy of the embeddings, making one, and from one; the product over float32 in memory
    and over float16 in a file.
    """
    stored = vectors.astype(np.float16)
    memory = stored.astype(np.float32)
    rows = BLOCK_VALUES // stored.shape[1]

    def product(chosen: Vectors, source: NDArray[np.floating]) -> None:
        scores = np.empty((QUERY_ROWS, rows), np.float32)
        for start in range(0, len(source), rows):
            block = source[start : start + rows].astype(np.float32, copy=False)
            for first in range(0, len(chosen), QUERY_ROWS):
                part = chosen[first : first + QUERY_ROWS]
                np.matmul(part, block.T, out=scores[: len(part), : len(block)])

    result: dict[str, float] = {}
    with TemporaryDirectory() as folder, copies_of(None):
        file = Path(folder) / "halves"
        stored.tofile(file)
        halves = np.memmap(file, np.float16, "r", shape=stored.shape)
        nearest_batch(database, model, queries[:1], K)
        for count in dict.fromkeys((len(queries), 100)):
            chosen = queries[:count]
            one_pass = partial(nearest_batch, database, model, chosen, K)
            ways: dict[str, tuple[Callable[[], object], Callable[[], Held]]] = {
                "product": (partial(product, chosen, memory), nullcontext),
                "product_halves": (partial(product, chosen, halves), nullcontext),
                "without_copy": (one_pass, partial(copies_of, 0)),
                "first_pass": (one_pass, partial(copies_of, None)),
                "later_pass": (one_pass, nullcontext),
            }
            times: dict[str, list[float]] = {name: [] for name in ways}
            processor: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(rounds + 1):
                for name, (way, copies) in ways.items():
                    with copies():
                        started = time.process_time()
                        taken = seconds(way)
                    if number:  # the first warms up
                        times[name].append(taken)
                        processor[name].append(time.process_time() - started)
            median = {name: statistics.median(given) for name, given in times.items()}
            for name, value in median.items():
                result[f"{name}_s_{count}_queries"] = value
                if name != "product":
                    result[f"{name}_ratio_{count}_queries"] = median["product"] / value
            # Of this process, least of the rounds: what other programs do tells less on it.
            result[f"later_pass_processor_ratio_{count}_queries"] = min(processor["product"]) / min(
                processor["later_pass"]
            )
    return result


@contextmanager
def copies_of(most: int | None) -> Iterator[None]:
    """Copies of embeddings in an empty folder, of so many bytes at most, or as many as usual."""
    before = {
        name: os.environ.get(name) for name in ("GEOSEARCH_CACHE_DIR", "GEOSEARCH_COPY_BYTES")
    }
    with TemporaryDirectory() as folder:
        os.environ |= {
            "GEOSEARCH_CACHE_DIR": folder,
            "GEOSEARCH_COPY_BYTES": "" if most is None else str(most),
        }
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ[name] = value or ""


def measure_memory(database: Database, model: int, queries: Vectors) -> dict[str, float]:
    """Peak resident memory of a process that makes one pass, over a quarter and over all rows."""
    spawn = multiprocessing.get_context("spawn")
    result: dict[str, float] = {}
    with copies_of(None):
        for name in ("quarter", "all", "all_again"):
            with ProcessPoolExecutor(1, spawn) as process:
                peak = process.submit(peak_mib, database.url, model, queries, name == "quarter")
                result[f"resident_mib_{name}"] = peak.result()
    return result


def peak_mib(url: str, model: int, queries: Vectors, quarter: bool) -> float:
    with Database(url) as database:
        if quarter:
            nearest_batch(database, model, queries, K, InCollections("quarter"))
        else:
            nearest_batch(database, model, queries, K)
    # Not getrusage: its maximum is that of the parent until this process outgrows it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak) / 1024


def measure_searches(
    database: Database, model: int, queries: Vectors, rounds: int, length: float
) -> dict[str, float]:
    """Time of one call, and calls per second with eight connections."""
    plan = nearest(database, model, queries[0], K).plan
    if plan.strategy != "ann":
        raise SystemExit(f"the plan is {plan.strategy} ({plan.reason}): give more --rows")

    def ours(query: Vectors) -> None:
        nearest(database, model, query, K)

    with bare_search(database, model, queries, plan.ef_search) as bare:
        single = {"bare": list[float](), "geosearch": list[float]()}
        for number in range(400):
            query = queries[number % len(queries)]
            for name, call in (("bare", bare), ("geosearch", ours)):
                single[name].append(1000 * seconds(lambda call=call, query=query: call(query)))  # type: ignore[misc]
        rates = {"bare": list[float](), "geosearch": list[float]()}
        for _ in range(rounds):
            rates["bare"].append(rate(bare, queries, length))
            rates["geosearch"].append(rate(ours, queries, length))
    one = {name: statistics.median(times[20:]) for name, times in single.items()}
    many = {name: statistics.median(given) for name, given in rates.items()}
    return {
        "ef_search": plan.ef_search or 0,
        "bare_p50_ms": one["bare"],
        "nearest_p50_ms": one["geosearch"],
        "p50_ratio": one["geosearch"] / one["bare"],
        "bare_per_s": many["bare"],
        "nearest_per_s": many["geosearch"],
        "throughput_ratio": many["geosearch"] / many["bare"],
    }


@contextmanager
def bare_search(
    database: Database, model: int, queries: Vectors, ef_search: int | None
) -> Iterator[Callable[[Vectors], None]]:
    """The prepared query on a connection for each thread, with the same settings."""
    statement = sql.SQL(_BARE).format(
        table=embedding_table(model), dimension=sql.Literal(queries.shape[1]), k=sql.Literal(K)
    )
    local = threading.local()
    opened: list[Connection] = []

    def search(query: Vectors) -> None:
        if not hasattr(local, "connection"):
            local.connection = psycopg.connect(database.url, autocommit=True)
            opened.append(local.connection)
            register_vector(local.connection)
            local.connection.execute(f"SET hnsw.ef_search = {ef_search}")
            local.connection.execute("SET hnsw.iterative_scan = strict_order")
            local.connection.execute("SET enable_seqscan = off")
            local.connection.execute("SET enable_bitmapscan = off")
            local.connection.execute("SET enable_sort = off")
            local.connection.execute("SET plan_cache_mode = force_generic_plan")
            local.connection.execute("SET jit = off")
        local.connection.execute(statement, {"query": HalfVector(query)}, prepare=True).fetchall()

    try:
        yield search
    finally:
        for connection in opened:
            connection.close()


def rate(call: Callable[[Vectors], None], queries: Vectors, length: float) -> float:
    """Calls per second of as many threads as there are connections."""
    until = time.perf_counter() + length

    def work(first: int) -> int:
        done = 0
        while time.perf_counter() < until:
            call(queries[(first + CONNECTIONS * done) % len(queries)])
            done += 1
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        total = sum(pool.map(work, range(CONNECTIONS)))
    return total / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
