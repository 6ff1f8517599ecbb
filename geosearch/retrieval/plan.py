"""How a neighbour query will run: exact or approximate, and why. The planner never chooses.

Left to itself PostgreSQL answers a filtered neighbour query from the HNSW index and silently
returns a few of the rows that match; so geosearch counts the matches first and decides.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.partitions import partition
from geosearch.retrieval.filters import Filter
from geosearch.retrieval.indexes import find_index

Strategy = Literal["exact", "ann"]

#: Up to this many matching rows, reading them all is exact and costs milliseconds.
EXACT_ROWS = 20_000
#: pgvector's largest `hnsw.ef_search`.
MAX_EF_SEARCH = 1000


@dataclass(frozen=True)
class Plan:
    """One query's plan and, once it ran, what came of it.

    `matches` is exact up to the bound of the count, `matches_exact` says so. `rows_scanned` is
    the number of embeddings compared, None where the index does not tell.
    """

    strategy: Strategy
    reason: str
    total: int
    matches: int
    matches_exact: bool
    settings: dict[str, str] = field(default_factory=dict)
    index: str | None = None
    index_file: int | None = None
    rows_scanned: int | None = None
    truncated: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def make_plan(
    connection: Connection, model_id: int, k: int, where: Filter, *, exact: bool = False
) -> Plan:
    """Decide how to find `k` neighbours among the photos that pass `where`."""
    total = _estimated_rows(connection, model_id)
    index = find_index(connection, model_id)
    if exact or index is None:
        matches = _count(connection, model_id, where, None)
        return Plan(
            "exact",
            "exact search was asked for" if exact else "the model has no HNSW index",
            total,
            matches,
            True,
            rows_scanned=matches,
        )
    if where.selects or total <= EXACT_ROWS:
        matches = _count(connection, model_id, where, EXACT_ROWS + 1)
        if matches <= EXACT_ROWS:
            reason = f"{matches} matching photos are few enough to compare all"
            return Plan("exact", reason, total, matches, True, rows_scanned=matches)
        matches = max(_estimated_matches(connection, model_id, where), EXACT_ROWS)
    else:
        matches = total
    share = min(1.0, matches / max(total, 1))
    # Four times k keeps recall of unfiltered search high; a filter discards candidates, so the
    # list grows as the matching share falls.
    ef_search = min(MAX_EF_SEARCH, max(k, int(max(4 * k, 200) / share)))
    settings = {
        "hnsw.ef_search": str(ef_search),
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": str(max(20_000, int(4 * ef_search / share))),
        "hnsw.scan_mem_multiplier": "16",
    }
    reason = f"about {matches} matching photos of {total}"
    return Plan("ann", reason, total, matches, False, settings, index.name, index.file_number)


def _estimated_rows(connection: Connection, model_id: int) -> int:
    row = connection.execute(
        "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass",
        (f"geosearch.embeddings_m{model_id}",),
    ).fetchone()
    if row is None or row[0] < 0:  # never analysed
        return _count(connection, model_id, Filter(), None)
    return int(row[0])


def _count(connection: Connection, model_id: int, where: Filter, limit: int | None) -> int:
    condition, values = where.compile(connection)
    row = connection.execute(
        sql.SQL(
            "SELECT count(*) FROM (SELECT FROM {table} WHERE {condition} LIMIT {limit}) AS t"
        ).format(table=partition(model_id), condition=condition, limit=sql.Literal(limit)),
        values,
    ).fetchone()
    return 0 if row is None else int(row[0])


def _estimated_matches(connection: Connection, model_id: int, where: Filter) -> int:
    condition, values = where.compile(connection)
    with connection.cursor() as cursor:
        row = cursor.execute(
            sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {table} WHERE {condition}").format(
                table=partition(model_id), condition=condition
            ),
            values,
        ).fetchone()
    return 0 if row is None else int(row[0][0]["Plan"]["Plan Rows"])
