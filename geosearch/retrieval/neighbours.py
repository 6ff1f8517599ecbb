"""Nearest neighbours of a query among one model's embeddings: one SQL query, by the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from geosearch.database.connection import Connection, Database
from geosearch.database.partitions import partition
from geosearch.errors import InputError
from geosearch.retrieval.facts import Facts, facts
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.indexes import indexed_expression
from geosearch.retrieval.plan import AT_ONCE, Plan, estimate, exact_plan, make_plan
from geosearch.retrieval.tuning import MAX_EF_SEARCH


@dataclass(frozen=True)
class Neighbours:
    """k neighbours, nearest first: ids, uris, degrees, cosine distances (0 to 2), and the plan."""

    photo_id: NDArray[np.int64]
    uri: tuple[str, ...]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    distance: NDArray[np.float64]
    plan: Plan

    def __len__(self) -> int:
        return len(self.photo_id)

    def first(self, k: int) -> Neighbours:
        """The `k` nearest of them."""
        columns = ("photo_id", "uri", "lat", "lon", "distance")
        return replace(self, **{name: getattr(self, name)[:k] for name in columns})

    def to_json(self) -> list[dict[str, Any]]:
        """The neighbours in order of rank, as JSON."""
        return [
            {
                "rank": index + 1,
                "photo_id": int(self.photo_id[index]),
                "uri": self.uri[index],
                "lat": float(self.lat[index]),
                "lon": float(self.lon[index]),
                "distance": float(self.distance[index]),
            }
            for index in range(len(self))
        ]


def nearest(
    database: Database,
    model_id: int,
    query: NDArray[np.float32],
    k: int,
    where: Filter = EVERYTHING,
    *,
    exact: bool = False,
) -> Neighbours:
    """The `k` photos nearest to `query` (D,) that pass `where`; fewer only if fewer match.

    A filter that passes few photos is answered exactly, at once. Otherwise the cheaper of exact
    search and the index is taken; an index search that comes back short, or whose last neighbour
    stood too far down for the recall aimed at, is followed by exact search.

    Raises
    ------
    InputError
        `k` is out of range, or the query is not a finite vector.
    NotFoundError
        A collection or country in the filter does not exist.
    """
    if not 1 <= k <= MAX_EF_SEARCH:
        raise InputError(f"--k {k} is out of range", f"Choose 1 to {MAX_EF_SEARCH}.")
    if query.ndim != 1 or not np.isfinite(query).all():
        raise InputError("the query embedding is not a finite vector")
    with database.connection() as connection:
        known = facts(database, connection, model_id)
        if exact or known.index is None:
            reason = "exact search was asked for" if exact else "the model has no index"
            plan = exact_plan(known, known.total, reason)
            return _collect(*_exact(connection, known, query, k, where, plan, None))
        matches = known.total
        if where.selects:
            plan = exact_plan(known, 0, "few matching photos: all were compared")
            bound = max(AT_ONCE, k)
            rows, plan = _exact(connection, known, query, k, where, plan, bound)
            if plan.matches_exact:
                return _collect(rows, plan)
            matches = max(bound, estimate(connection, known, where))
        plan = make_plan(known, k, where, matches)
        if plan.strategy == "exact":
            return _collect(*_exact(connection, known, query, k, where, plan, None))
        rows, plan = by_index(connection, known, query, k, where, plan)
    target = known.tuning.target
    sure = target is None or plan.expected_recall is None or plan.expected_recall >= target
    if len(rows) >= k and sure:
        return _collect(rows, plan)
    short = f"the index gave {len(rows)} of {k}" if len(rows) < k else "at too low a recall"
    # In a transaction of its own: the first one's settings forbid the plans this one needs.
    with database.connection() as connection:
        plan = exact_plan(known, plan.matches, f"{short}, so all matching photos were compared")
        return _collect(*_exact(connection, known, query, k, where, plan, None))


Rows = Sequence[tuple[Any, ...]]

# Without the index's cast or operator the HNSW index does not apply: all matching rows are
# compared, up to a bound that says the estimate was wrong.
_EXACT = """
WITH matching AS MATERIALIZED (
    SELECT photo_id, geom, embedding <=> %(query)s AS distance
    FROM {table}
    WHERE {condition}
    LIMIT %(bound)s
), nearest AS (
    SELECT photo_id, geom, distance FROM matching ORDER BY distance, photo_id LIMIT %(k)s
)
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance,
    (SELECT count(*) FROM matching)
FROM nearest AS n
JOIN geosearch.photos AS p ON p.id = n.photo_id
ORDER BY n.distance, n.photo_id
"""


def _exact(
    connection: Connection,
    known: Facts,
    query: NDArray[np.float32],
    k: int,
    where: Filter,
    plan: Plan,
    bound: int | None,
) -> tuple[Rows, Plan]:
    """Rows, and the plan with what was met; `matches_exact` is False if the bound was hit."""
    statement, values = exact_query(connection, known, query, k, where, bound)
    rows = _fetch(connection, statement, values)
    matches = int(rows[0][5]) if rows else 0
    plan = replace(
        plan,
        strategy="exact" if matches else "empty",
        matches=matches,
        matches_exact=bound is None or matches < bound,
        rows_scanned=matches,
    )
    return rows, plan


def exact_query(
    connection: Connection,
    known: Facts,
    query: NDArray[np.float32],
    k: int,
    where: Filter,
    bound: int | None,
) -> tuple[sql.Composed, dict[str, Any]]:
    """The statement of an exact search over at most `bound` matching photos, its parameters."""
    condition, values = where.compile(connection)
    values |= {"query": HalfVector(query), "k": k, "bound": bound}
    return sql.SQL(_EXACT).format(table=partition(known.model_id), condition=condition), values


# The expression of the index, ascending, with LIMIT and nothing else in ORDER BY: any other form
# is answered by a sequential scan. Candidates come without the filter, so that their ranks, and
# with them the recall, are known; the filter then takes the first k that pass.
_INDEX = """
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance, n.rank
FROM (
    SELECT photo_id, geom, distance, rank
    FROM (
        SELECT *, row_number() OVER (ORDER BY distance) AS rank
        FROM (
            SELECT photo_id, collection_id, geom, accuracy_m, taken_at, author, licence,
                embedding <=> %(query)s AS distance
            FROM {table}
            ORDER BY {order}
            LIMIT %(candidates)s
        ) AS found
    ) AS candidates
    WHERE {condition}
    ORDER BY rank
    LIMIT %(k)s
) AS n
JOIN geosearch.photos AS p ON p.id = n.photo_id
ORDER BY n.distance, n.photo_id
"""

# The choice was made in the plan; every other access path sorts. What is switched off counts as
# very expensive, which would have every query compiled: a fifth of a second each.
SETTINGS = """
SELECT
    set_config('hnsw.ef_search', %s, true),
    set_config('hnsw.iterative_scan', 'strict_order', true),
    set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', 'off', true),
    set_config('jit', 'off', true)
"""


def by_index(
    connection: Connection,
    known: Facts,
    query: NDArray[np.float32],
    k: int,
    where: Filter,
    plan: Plan,
) -> tuple[Rows, Plan]:
    """Rows (id, uri, lat, lon, distance, rank) of an index search, and the plan with its recall."""
    statement, values = index_query(connection, known, query, k, where, plan)
    with connection.pipeline():
        connection.execute(SETTINGS, (str(plan.ef_search),), prepare=True)
        rows = _fetch(connection, statement, values)
    assert plan.ef_search is not None
    last = int(rows[-1][5]) if rows else k
    return rows, replace(
        plan,
        rows_scanned=plan.candidates,
        expected_recall=known.tuning.recall(plan.ef_search, max(last, k)),
    )


def index_query(
    connection: Connection,
    known: Facts,
    query: NDArray[np.float32],
    k: int,
    where: Filter,
    plan: Plan,
) -> tuple[sql.Composed, dict[str, Any]]:
    """The statement of an index search and its parameters."""
    condition, values = where.compile(connection)
    expression, _ = indexed_expression(len(query))
    quantized = known.index is not None and known.index.quantized
    order = (
        sql.SQL("{} <~> binary_quantize(%(query)s::halfvec)")
        if quantized
        else sql.SQL("{} <=> %(query)s")
    ).format(expression)
    values |= {"query": HalfVector(query), "k": k, "candidates": plan.candidates}
    statement = sql.SQL(_INDEX).format(
        table=partition(known.model_id), order=order, condition=condition
    )
    return statement, values


def _fetch(
    connection: Connection, statement: sql.Composed, values: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """Rows of a statement, prepared: parsing and planning cost as much as a small search.

    In one round trip with the beginning and the end of the transaction.
    """
    with connection.pipeline():
        cursor = connection.execute(statement, values, prepare=True)
        connection.commit()
        return cursor.fetchall()


def _collect(rows: Rows, plan: Plan) -> Neighbours:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    return Neighbours(
        photo_id=np.array(columns[0], dtype=np.int64),
        uri=tuple(columns[1]),
        lat=np.array(columns[2], dtype=np.float64),
        lon=np.array(columns[3], dtype=np.float64),
        distance=np.array(columns[4], dtype=np.float64),
        plan=plan,
    )
