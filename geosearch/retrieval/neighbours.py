"""Nearest neighbours of a query among one model's embeddings: one SQL query."""

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
from geosearch.retrieval.filters import Filter
from geosearch.retrieval.plan import MAX_EF_SEARCH, Plan, make_plan


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
    where: Filter | None = None,
    *,
    exact: bool = False,
) -> Neighbours:
    """The `k` photos nearest to `query` (D,) that pass `where`; fewer only if fewer match.

    An approximate search that comes back short is followed by an exact one.

    Raises
    ------
    InputError
        `k` is out of range, or the query is not a finite vector.
    NotFoundError
        A collection in the filter does not exist.
    """
    if not 1 <= k <= MAX_EF_SEARCH:
        raise InputError(f"--k {k} is out of range", f"Choose 1 to {MAX_EF_SEARCH}.")
    if query.ndim != 1 or not np.isfinite(query).all():
        raise InputError("the query embedding is not a finite vector")
    where = where or Filter()
    with database.connection() as connection:
        plan = make_plan(connection, model_id, k, where, exact=exact)
        rows = _search(connection, model_id, query, k, where, plan)
    if plan.strategy == "ann" and len(rows) < k:
        reason = f"the index gave {len(rows)} of {k}, so all matching photos were compared"
        # In a transaction of its own: the first one's settings forbid the plans this one needs.
        with database.connection() as connection:
            plan = make_plan(connection, model_id, k, where, exact=True)
            rows = _search(connection, model_id, query, k, where, plan)
        plan = replace(plan, reason=reason)
    return _collect(rows, plan)


def _search(
    connection: Connection,
    model_id: int,
    query: NDArray[np.float32],
    k: int,
    where: Filter,
    plan: Plan,
) -> list[tuple[Any, ...]]:
    condition, values = where.compile(connection)
    if plan.strategy == "ann":
        settings = _FORCE_INDEX | plan.settings
        connection.execute(
            sql.SQL("SELECT {}").format(
                sql.SQL(", ").join(
                    sql.SQL("set_config({}, {}, true)").format(name, value)
                    for name, value in settings.items()
                )
            )
        )
    statement = sql.SQL(_ANN if plan.strategy == "ann" else _EXACT).format(
        table=partition(model_id),
        condition=condition,
        dimension=sql.Literal(len(query)),
    )
    values |= {"query": HalfVector(query), "k": k}
    return connection.execute(statement, values).fetchall()


# The expression of the HNSW index, ascending, with LIMIT and nothing else in ORDER BY: any other
# form is answered by a sequential scan. Ties are broken outside.
_ANN = """
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance
FROM (
    SELECT photo_id, geom, embedding::halfvec({dimension}) <=> %(query)s AS distance
    FROM {table}
    WHERE {condition}
    ORDER BY embedding::halfvec({dimension}) <=> %(query)s
    LIMIT %(k)s
) AS n
JOIN geosearch.photos AS p ON p.id = n.photo_id
ORDER BY n.distance, n.photo_id
"""

# Without the index's cast the HNSW index does not apply: every matching row is compared.
_EXACT = """
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance
FROM (
    SELECT photo_id, geom, embedding <=> %(query)s AS distance
    FROM {table}
    WHERE {condition}
    ORDER BY distance, photo_id
    LIMIT %(k)s
) AS n
JOIN geosearch.photos AS p ON p.id = n.photo_id
ORDER BY n.distance, n.photo_id
"""

# The choice was made in the plan; every other access path sorts. What is switched off counts as
# very expensive, which would have every query compiled: a fifth of a second each.
_FORCE_INDEX = {
    "enable_sort": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}


def _collect(rows: Sequence[tuple[Any, ...]], plan: Plan) -> Neighbours:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    return Neighbours(
        photo_id=np.array(columns[0], dtype=np.int64),
        uri=tuple(columns[1]),
        lat=np.array(columns[2], dtype=np.float64),
        lon=np.array(columns[3], dtype=np.float64),
        distance=np.array(columns[4], dtype=np.float64),
        plan=plan,
    )
