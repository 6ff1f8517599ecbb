"""HNSW indexes: one per model, on its partition of `embeddings`, and how others are built there."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from geosearch.database.connection import Connection, Database, backend, pooled
from geosearch.database.embedding_tables import embedding_table
from geosearch.database.refusals import refused
from geosearch.errors import DatabaseError

#: pgvector's limit for HNSW over halfvec; longer embeddings are indexed by their signs.
MAX_DIMENSION = 4000
M = 16
# pgvector's default of 64 leaves photos that no search finds: on 100,000 GeoCLIP vectors recall@100
# stopped at 0.993 whatever ef_search; with 200 it was 0.997 at ef_search 150.
EF_CONSTRUCTION = 200
#: Parallel builds are unsafe before this version (CVE-2026-3172).
PARALLEL_BUILD_SINCE = (0, 8, 2)
#: VACUUM may damage an HNSW index before this version.
SAFE_VACUUM_SINCE = (0, 8, 4)
#: Most memory a build asks for; beyond it the graph spills and the build slows down.
MAX_BUILD_BYTES = 8 * 1024**3

#: What an index's name ends in while it is built.
_UNFINISHED = "_new"

#: Called with (phase, done, total); total is 0 while unknown.
BuildProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class HnswIndex:
    """A valid HNSW index. `file_number` changes whenever it is rebuilt, `definition` does not.

    `quantized`: over the signs of the embedding's components, to be ranked again.
    """

    name: str
    file_number: int
    quantized: bool
    definition: str


@dataclass(frozen=True)
class Built:
    """What `build_index` did."""

    name: str
    rows: int
    seconds: float
    bytes: int
    built: bool
    serial: bool
    pgvector: str


def index_name(model_id: int) -> str:
    """Name of a model's HNSW index."""
    return f"embeddings_m{model_id}_hnsw"


def find_index(connection: Connection, model_id: int) -> HnswIndex | None:
    """The model's HNSW index, None where there is none or its build was cut off."""
    row = connection.execute(
        "SELECT index_name, index_file, quantized, index_definition "
        "FROM geosearch.search_facts(%s)",
        (model_id,),
    ).fetchone()
    return None if row is None or row[0] is None else HnswIndex(*row)


def build_index(
    database: Database,
    model_id: int,
    dimension: int,
    *,
    rebuild: bool = False,
    progress: BuildProgress | None = None,
) -> Built:
    """Build the model's HNSW index while reads and writes go on; nothing to do if it is there.

    Only one process may do so at a time. Behind a pooler, writes wait.

    Raises
    ------
    DatabaseError
        The build failed, which leaves the index as it was.
    """
    name = index_name(model_id)
    with database.connection() as connection:
        version = _pgvector_version(connection)
        rows = count_rows(connection, model_id)
        needed = rebuild or cut_off(connection, name) or not find_index(connection, model_id)
    serial = _numbers(version) < PARALLEL_BUILD_SINCE
    started = time.perf_counter()
    if needed:
        expression, operators = indexed_expression(dimension)
        over = sql.SQL("(({}) {})").format(expression, sql.SQL(operators))
        build(database, name, model_id, over, build_bytes(rows, dimension), progress)
    seconds = time.perf_counter() - started
    with database.connection() as connection:
        if needed:
            connection.execute(
                _RECORD,
                {
                    "model": model_id,
                    "name": name,
                    "m": M,
                    "ef": EF_CONSTRUCTION,
                    "rows": rows,
                    "serial": serial,
                    "seconds": seconds,
                    "pgvector": version,
                },
            )
        row = connection.execute(
            "SELECT pg_relation_size(format('geosearch.%%I', %s::text)::regclass)", (name,)
        ).fetchone()
    size = 0 if row is None else int(row[0])
    return Built(name, rows, seconds, size, needed, serial, version)


_RECORD = """
INSERT INTO geosearch.indexes (model_id, name, m, ef_construction, rows, serial, build_s, pgvector)
VALUES (%(model)s, %(name)s, %(m)s, %(ef)s, %(rows)s, %(serial)s, %(seconds)s, %(pgvector)s)
ON CONFLICT (model_id) DO UPDATE SET
    m = excluded.m, ef_construction = excluded.ef_construction, rows = excluded.rows,
    serial = excluded.serial, build_s = excluded.build_s, pgvector = excluded.pgvector,
    created_at = now()
"""


def build(
    database: Database,
    name: str,
    model_id: int,
    over: sql.Composable,
    memory: int,
    progress: BuildProgress | None,
    *,
    condition: sql.Composable | None = None,
) -> None:
    """An HNSW index over a model's embeddings, or those that meet a condition.

    Beside the one of its name that is there, which serves until the new one takes its name.
    """
    final, new = (sql.Identifier("geosearch", name + end) for end in ("", _UNFINISHED))
    table = embedding_table(model_id)
    # CONCURRENTLY cannot run in a transaction, and settings outside one would stay with a pooler's
    # backend: there writes wait for the index.
    with database.own_connection(autocommit=True) as connection:
        in_turn = pooled(connection)
        concurrently = sql.SQL("" if in_turn else "CONCURRENTLY")
        drop = sql.SQL("DROP INDEX {} IF EXISTS {}").format(concurrently, new)
        create = sql.SQL(
            "CREATE INDEX {} {} ON {} USING hnsw {} WITH (m = {}, ef_construction = {}) {}"
        ).format(
            concurrently,
            sql.Identifier(name + _UNFINISHED),
            table,
            over,
            sql.Literal(M),
            sql.Literal(EF_CONSTRUCTION),
            sql.SQL("") if condition is None else sql.SQL("WHERE {}").format(condition),
        )
        serial = _numbers(_pgvector_version(connection)) < PARALLEL_BUILD_SINCE
        try:
            with connection.transaction() if in_turn else nullcontext():
                connection.execute(
                    "SELECT set_config('maintenance_work_mem', %s, %s)",
                    (f"{memory // 1024}kB", in_turn),
                )
                # Killed, it would build on, and be in the way of the next.
                connection.execute(
                    "SELECT set_config('client_connection_check_interval', '500ms', %s)", (in_turn,)
                )
                if serial:
                    connection.execute(
                        "SELECT set_config('max_parallel_maintenance_workers', '0', %s)", (in_turn,)
                    )
                connection.execute(drop)
                with _watched(database, backend(connection), progress):
                    connection.execute(create)
            if condition is None:
                connection.execute(sql.SQL("ANALYZE {}").format(table))
            with connection.transaction():
                connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(final))
                connection.execute(
                    sql.SQL("ALTER INDEX {} RENAME TO {}").format(new, sql.Identifier(name))
                )
        except BaseException as error:
            lost = connection.closed
            _drop_unfinished(database, connection, drop)
            if isinstance(error, psycopg.Error) and not lost:
                raise refused(error, f"building {name} failed") from error
            raise


def _drop_unfinished(database: Database, connection: Connection, drop: sql.Composed) -> None:
    """An invalid index is of no use to searches and costs every write."""
    try:
        connection.execute(drop)
    except psycopg.Error:
        # Its backend has not heard of the stop yet, but hears that nobody waits.
        connection.close()
        with (
            suppress(psycopg.Error, DatabaseError),
            database.own_connection(autocommit=True) as another,
        ):
            another.execute(drop)


def cut_off(connection: Connection, name: str) -> bool:
    """Whether a build was killed before its index had its name."""
    found = connection.execute("SELECT to_regclass(%s)", (f"geosearch.{name}{_UNFINISHED}",))
    return found.fetchone() != (None,)


def spills(connection: Connection, model_id: int, dimension: int) -> str | None:
    """A warning if the graph of a build will not fit the memory a build may have."""
    rows = count_rows(connection, model_id)
    needed = _graph_bytes(rows, dimension)
    if needed <= MAX_BUILD_BYTES:
        return None
    return (
        f"the graph of {rows:,} embeddings takes about {needed / 1e9:.0f} GB, more than the "
        f"{MAX_BUILD_BYTES / 1e9:.0f} GB a build uses: it will be several times slower"
    )


def outdated(connection: Connection) -> str | None:
    """A warning if the pgvector that is installed may damage indexes."""
    version = _pgvector_version(connection)
    if _numbers(version) >= SAFE_VACUUM_SINCE:
        return None
    return (
        f"pgvector {version}: VACUUM may damage HNSW indexes before 0.8.4; update it, then run "
        "geosearch index --rebuild"
    )


def indexed_expression(dimension: int) -> tuple[sql.Composed, str]:
    """What a model's index is over, and its operator class; queries repeat it to the letter."""
    if dimension <= MAX_DIMENSION:
        expression = sql.SQL("embedding::halfvec({})")
        operators = "halfvec_cosine_ops"
    else:
        expression = sql.SQL("binary_quantize(embedding)::bit({})")
        operators = "bit_hamming_ops"
    return expression.format(sql.Literal(dimension)), operators


def build_bytes(rows: int, dimension: int) -> int:
    """Memory for a build, bytes: the whole graph, within bounds."""
    return min(MAX_BUILD_BYTES, max(64 * 1024**2, _graph_bytes(rows, dimension)))


def _graph_bytes(rows: int, dimension: int) -> int:
    vector = 2 * dimension if dimension <= MAX_DIMENSION else dimension // 8
    return rows * (vector + 8 * 2 * M + 256) * 5 // 4


@contextmanager
def _watched(database: Database, pid: int, progress: BuildProgress | None) -> Iterator[None]:
    """Report `pg_stat_progress_create_index` of another backend from a thread."""
    done = threading.Event()

    def poll(report: BuildProgress) -> None:
        while not done.wait(0.2):
            row = None
            # Without an answer there is nothing to report; the build itself says what is wrong.
            with suppress(DatabaseError), database.connection() as connection:
                row = connection.execute(_PROGRESS, (pid,)).fetchone()
            if row is not None:
                report(str(row[0]), int(row[1]), int(row[2]))

    thread = threading.Thread(target=poll, args=(progress,), daemon=True)
    if progress is not None:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join()


_PROGRESS = """
SELECT
    phase,
    CASE WHEN blocks_total > 0 THEN blocks_done ELSE tuples_done END,
    CASE WHEN blocks_total > 0 THEN blocks_total ELSE tuples_total END
FROM pg_stat_progress_create_index WHERE pid = %s
"""


def _pgvector_version(connection: Connection) -> str:
    row = connection.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    ).fetchone()
    return "0" if row is None else str(row[0])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def count_rows(connection: Connection, model_id: int) -> int:
    """Embeddings of the model."""
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(embedding_table(model_id))
    ).fetchone()
    return 0 if row is None else int(row[0])
