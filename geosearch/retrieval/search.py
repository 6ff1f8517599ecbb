"""What PostgreSQL is asked for one query, and under which settings: exactly, or by the index."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import Cursor, sql

from geosearch.database.connection import Planner, SearchConnection
from geosearch.database.embedding_tables import OPEN, embeddings_on, photos_on
from geosearch.retrieval.facts import ChangedError, Facts
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.indexes import indexed_expression
from geosearch.retrieval.plan import LeafPlan

#: id, uri, latitude, longitude, distance
Rows = Sequence[tuple[Any, ...]]

T = TypeVar("T")


class Asked(NamedTuple):
    """A statement, what it is planned for, and the number of its columns."""

    statement: str
    values: dict[str, Any]
    planner: Planner
    columns: int


#: Work that asks one statement after the other, and is sent the rows of each: here by `run`, on
#: several servers at once by `shard_search`.
Steps: TypeAlias = Generator[Asked, Rows, T]


@dataclass(frozen=True)
class Compared:
    """What an exact search met: the nearest rows, and how many photos it compared.

    `complete`: these are all that match. `share` is the share of all photos that pass the filter,
    by a sample, where one was taken.
    """

    rows: Rows
    matches: int
    complete: bool = True
    share: float | None = None


# Without the index's cast or operator the HNSW index does not apply: matching rows are compared.
# A row without a photo where none match: it says whether the facts are true.
_EXACT = """
WITH matching AS MATERIALIZED (
    SELECT photo_id, embedding <=> %(query)s AS distance
    FROM {table} AS embeddings
    WHERE {condition}
    {limit}
)
SELECT n.photo_id, p.uri, ST_Y(p.geom), ST_X(p.geom), n.distance, met.matches {watch}
FROM (SELECT count(*) AS matches FROM matching) AS met
LEFT JOIN (
    (
        SELECT photo_id, distance
        FROM matching
        ORDER BY distance, photo_id
        LIMIT {k}
    ) AS n
    JOIN {photos} AS p ON p.id = n.photo_id
) ON true
ORDER BY n.distance, n.photo_id
"""
_LIMIT = "LIMIT %(bound)s"

# PostgreSQL's own estimate is off by orders of magnitude for circles, for boxes that cross ±180°,
# and wherever conditions depend on each other. Always the same pages: the same plan each time.
_SAMPLED = """
SELECT count(*) FROM {table} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0) WHERE {condition}
"""

# Both in one round trip: what the sample says decides how many rows are compared.
_EXACT_IF_FEW = """
WITH sampled AS MATERIALIZED ({sampled})
SELECT (SELECT count FROM sampled), found.* {watch}
FROM ({exact}) AS found
ORDER BY found.distance, found.photo_id
"""
_LIMIT_BY_SAMPLE = (
    "LIMIT (CASE WHEN (SELECT count FROM sampled) > %(passing)s THEN 0 ELSE %(bound)s END)"
)

# The expression of the index, ascending, with LIMIT and nothing else in ORDER BY: any other form
# is answered by a sequential scan. Numbers are literals, and the plan is made once: with unknown
# ones PostgreSQL would plan for a tenth of all rows.
_INDEX = """
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance {watch}
FROM (
    SELECT photo_id, geom, embedding <=> %(query)s AS distance
    FROM {table}
    ORDER BY {order}
    LIMIT {k}
) AS n
JOIN {photos} AS p ON p.id = n.photo_id
ORDER BY n.distance, n.photo_id
"""

_CANDIDATES = """
SELECT photo_id, collection_id, geom, accuracy_m, taken_at, author, licence,
    embedding <=> %(query)s AS distance, {place} AS place
FROM {table}
ORDER BY {order}
LIMIT {candidates}
"""

# Candidates come without the filter, so that their ranks, and with them the recall, are known;
# the filter then takes the first k that pass. Where their place is the index's own expression, no
# more of them are fetched.
_FILTERED_INDEX = """
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance, n.rank {watch}
FROM (
    SELECT photo_id, geom, distance, rank
    FROM (
        SELECT *, row_number() OVER (ORDER BY place) AS rank
        FROM ({candidates}) AS found
    ) AS candidates
    WHERE {condition}
    ORDER BY place
    LIMIT {k}
) AS n
JOIN {photos} AS p ON p.id = n.photo_id
ORDER BY n.distance, n.photo_id
"""

_LEAF = """
(
    SELECT {number} AS leaf, photo_id, collection_id, geom, accuracy_m, taken_at, author, licence,
        embedding <=> %(query)s AS distance
    FROM {table}
    WHERE {leaf}
    ORDER BY {leaf_order}
    LIMIT {rank}
)
"""

# A leaf was searched deep enough if it gave a candidate beyond the k-th of all that pass. What
# stands on the border of two is in both.
_LEAVES = """
WITH candidate AS MATERIALIZED ({candidates}), best AS MATERIALIZED (
    SELECT DISTINCT ON (distance, photo_id) photo_id, distance
    FROM (
        SELECT photo_id, distance FROM candidate WHERE {condition}
        UNION ALL SELECT * FROM unnest(%(met)s::bigint[], %(met_distances)s::float8[])
    ) AS found
    ORDER BY distance, photo_id
    LIMIT {k}
), reached AS (
    SELECT c.leaf, count(*) FILTER (WHERE c.distance <= last.distance) AS rank
    FROM candidate AS c, (
        SELECT CASE count(*) WHEN {k} THEN max(distance) ELSE 'Infinity' END FROM best
    ) AS last (distance)
    GROUP BY c.leaf
)
SELECT n.photo_id, p.uri, ST_Y(p.geom), ST_X(p.geom), n.distance, met.rank, met.short {watch}
FROM (
    SELECT
        max(rank) FILTER (WHERE rank < {rank}) AS rank,
        array_agg(leaf ORDER BY leaf) FILTER (WHERE rank >= {rank}) AS short
    FROM reached
) AS met
LEFT JOIN (best AS n JOIN {photos} AS p ON p.id = n.photo_id) ON true
ORDER BY n.distance, n.photo_id
"""

_PROBE = "SELECT count(*) FILTER (WHERE {condition}) {watch} FROM ({candidates}) AS found"

# The choice was made in the plan; every other access path sorts. What is switched off counts as
# very expensive, which would have every query compiled: a fifth of a second each.
_SETTINGS = """
SELECT
    set_config('hnsw.ef_search', %(ef_search)s, %(local)s),
    set_config('hnsw.iterative_scan', 'strict_order', %(local)s),
    set_config('enable_seqscan', %(others)s, %(local)s),
    set_config('enable_bitmapscan', %(others)s, %(local)s),
    set_config('enable_sort', %(others)s, %(local)s),
    set_config('plan_cache_mode', %(mode)s, %(local)s),
    set_config('jit', 'off', %(local)s)
"""
_EF_SEARCH = "SELECT set_config('hnsw.ef_search', %(ef_search)s, %(local)s)"


class Search:
    """One query (D,) for `k` neighbours among the photos that pass `where`, as steps for `run`.

    Only the open shelf has an index: of others, `exact` alone is to be asked. `compiled` is what
    `where` compiled to before.

    Raises
    ------
    NotFoundError
        A collection or country in the filter does not exist.
    """

    def __init__(
        self,
        connection: SearchConnection,
        known: Facts,
        query: NDArray[np.float32],
        k: int,
        where: Filter = EVERYTHING,
        *,
        shelves: tuple[int, ...] = (OPEN,),
        compiled: tuple[sql.Composable, dict[str, Any]] | None = None,
    ) -> None:
        self._known = known
        self._where = where
        condition, values = compiled or where.compile(connection)
        self._values = values | {"query": HalfVector(query)}
        self._quantized = known.index is not None and known.index.quantized
        order = _order(len(query), self._quantized)
        self._parts = {
            "table": _table(known.model_id, shelves),
            "photos": _photos(shelves),
            "condition": _text(condition),
            "order": order,
            "leaf_order": f"embedding::halfvec({len(query)}) <#> %(query)s",
            "place": "embedding <=> %(query)s" if self._quantized else order,
            "k": str(int(k)),
            "watch": f", {known.watch}",
        }

    def exact(self) -> Steps[Compared]:
        """All matching photos."""
        return self._compared((yield from self._fetch(self._exact_statement(), Planner(), 6)))

    def exact_if_few(self, few: int) -> Steps[Compared]:
        """All matching photos, if a sample says that they are at most `few`.

        If it says that they are more, none are compared; if they turn out to be over twice as
        many, not all.
        """
        total = max(self._known.total, 1)
        bound = self._values["bound"] = 2 * few
        # Planning takes as long as comparing a hundred photos.
        planner = Planner(one_plan=self._where.one_plan)
        share = self._places_that_may_pass()
        if share * total <= few:
            # Where they are says enough, and the table need not be sampled.
            statement = self._exact_statement(_LIMIT)
            met = self._compared((yield from self._fetch(statement, planner, 6)))
            return replace(met, complete=met.matches < bound)
        if self._where.decided_by_places:
            return Compared([], 0, complete=False, share=share)
        sampled = min(1.0, self._known.sample / total)
        most = self._values["passing"] = math.ceil(few * sampled)
        statement = self._format(
            _EXACT_IF_FEW,
            sampled=self._format(_SAMPLED, percent=repr(100 * sampled)),
            exact=self._exact_statement(_LIMIT_BY_SAMPLE, watch=""),
        )
        found = yield from self._fetch(statement, planner, 7)
        passing = int(found[0][0])
        met = self._compared([row[1:] for row in found])
        return replace(
            met,
            complete=passing <= most and met.matches < bound,
            share=min(1.0, passing / (sampled * total)),
        )

    def by_index(self, ef_search: int) -> Steps[Rows]:
        """Rows found by the index, each with its rank among all photos, from 1.

        Without a filter the first k; with one, those that pass among the first `ef_search`.
        """
        planner = Planner(ef_search, one_plan=True)
        statement = self._index_statement(ef_search)
        if self._ranked:
            return (yield from self._fetch(statement, planner, 6))
        rows = yield from self._fetch(statement, planner, 5)
        return [(*row, rank) for rank, row in enumerate(rows, start=1)]

    def by_leaves(
        self, plan: LeafPlan, met: Rows = ()
    ) -> Steps[tuple[Rows, int | None, list[int]]]:
        """The nearest that pass of the first candidates of leaves, and of those `met` before.

        The deepest rank that one of them has in its leaf; and the leaves, by their numbers from 1,
        that are to be searched deeper.
        """
        self._values |= {"met": [row[0] for row in met], "met_distances": [row[4] for row in met]}
        planner = Planner(plan.ef_search, one_plan=True)
        rows = yield from self._fetch(self._leaf_statement(plan), planner, 7)
        *_, rank, short = rows[0]
        return [row[:5] for row in rows if row[0] is not None], rank, short or []

    def of_leaf(self, condition: str, rank: int, ef_search: int) -> Steps[list[tuple[int, float]]]:
        """Ids and distances of the first `rank` photos that one leaf finds."""
        statement = "SELECT photo_id, distance {watch} FROM {leaf} AS leaf"
        rows = yield from self._fetch(
            self._format(statement, leaf=self._leaf(1, condition, rank)),
            Planner(ef_search, one_plan=True),
            2,
        )
        return [(int(key), float(distance)) for key, distance in rows]

    def likes(self) -> Steps[float]:
        """Share of the photos most like the query that pass the filter."""
        probe = self._known.probe
        statement = self._format(_PROBE, candidates=self._candidates(probe))
        ((passing,),) = yield from self._fetch(statement, Planner(probe, one_plan=True), 1)
        return float(passing / probe)

    def explain(
        self, connection: SearchConnection, ef_search: int | None, leaves: LeafPlan | None = None
    ) -> list[str]:
        """PostgreSQL's plan, run and timed, by the index at this setting, leaves, or exactly."""
        if leaves is not None:
            self._values |= {"met": [], "met_distances": []}
            statement = self._leaf_statement(leaves)
        elif ef_search is None:
            statement = self._exact_statement()
        else:
            statement = self._index_statement(ef_search)
        explained = "EXPLAIN (ANALYZE, BUFFERS) " + statement
        planner = Planner(ef_search, one_plan=ef_search is not None)
        asked = Asked(explained, self._values, planner, 1)
        return [str(line) for (line,) in ask(connection, asked, prepare=False).fetchall()]

    @property
    def _ranked(self) -> bool:
        # Candidates by bits must be ranked by the whole embedding.
        return self._where != EVERYTHING or self._quantized

    def _places_that_may_pass(self) -> float:
        """Share of the photos, by the sample of their places, that may pass the filter."""
        places = self._known.places
        passing = np.count_nonzero(self._where.may_pass(*places))
        return float(passing / places.shape[1]) if places.size else 1.0

    def _exact_statement(self, limit: str = "", **parts: str) -> str:
        return self._format(_EXACT, limit=limit, **parts)

    def _index_statement(self, ef_search: int) -> str:
        if self._ranked:
            return self._format(_FILTERED_INDEX, candidates=self._candidates(ef_search))
        return self._format(_INDEX)

    def _leaf_statement(self, plan: LeafPlan) -> str:
        candidates = [
            self._leaf(number, condition, plan.rank)
            for number, condition in enumerate(plan.conditions, start=1)
        ]
        return self._format(_LEAVES, candidates=" UNION ALL ".join(candidates), rank=str(plan.rank))

    def _leaf(self, number: int, condition: str, rank: int) -> str:
        return self._format(_LEAF, number=str(number), leaf=condition, rank=str(rank))

    def _candidates(self, count: int) -> str:
        return self._format(_CANDIDATES, candidates=str(count))

    def _format(self, template: str, **parts: str) -> str:
        return template.format(**(self._parts | parts))

    @staticmethod
    def _compared(rows: Rows) -> Compared:
        return Compared([row for row in rows if row[0] is not None], int(rows[0][5]))

    def _fetch(self, statement: str, planner: Planner, columns: int) -> Steps[Rows]:
        """Rows of a statement, of which one more column says whether the facts are still true."""
        rows = yield Asked(statement, self._values, planner, columns + 1)
        asked = rows or (yield Asked(f"SELECT {self._known.watch}", {}, planner, 1))
        if not asked[0][-1]:
            raise ChangedError
        return [row[:-1] for row in rows]


def run(connection: SearchConnection, steps: Steps[T]) -> T:
    """What the steps come to, asked one by one."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(ask(connection, asked).fetchall())
    except StopIteration as end:
        return cast("T", end.value)


def ask(
    connection: SearchConnection, asked: Asked, *, prepare: bool = True
) -> Cursor[tuple[Any, ...]]:
    """A statement, prepared: parsing and planning cost as much as a small search.

    In one round trip with the settings it needs, where the last one had others; behind a pooler
    always, and then they end with it: what is sent in one round trip is one transaction.
    """
    with nullcontext() if connection.planner == asked.planner else connection.pipeline():
        cursor = send(connection, asked, prepare=prepare)
    has_run(connection, asked)
    return cursor


def send(
    connection: SearchConnection, asked: Asked, *, prepare: bool = True
) -> Cursor[tuple[Any, ...]]:
    """A statement, behind settings where it needs others: then within a pipeline.

    After the pipeline, `has_run` is to be told.
    """
    settings = settings_of(connection.planner, asked.planner)
    if settings is not None:
        connection.planner = None  # should this fail
        local = {"local": connection.pooled}
        connection.execute(settings.statement.encode(), settings.values | local, prepare=True)
    return connection.execute(asked.statement.encode(), asked.values, prepare=prepare, binary=True)


def has_run(connection: SearchConnection, asked: Asked) -> None:
    """A statement that was sent came back: what it was planned for still holds."""
    connection.planner = None if connection.pooled else asked.planner


def settings_of(before: Planner | None, planner: Planner) -> Asked | None:
    """What sets a connection up for statements like this; None where it is, as they were last."""
    if before == planner:
        return None
    by_index_again = before is not None and None not in (before.ef_search, planner.ef_search)
    values = {
        "ef_search": str(planner.ef_search or 40),
        "others": "on" if planner.ef_search is None else "off",
        "mode": "force_generic_plan" if planner.one_plan else "auto",
        "local": False,
    }
    if by_index_again:
        return Asked(_EF_SEARCH, values, planner, 1)
    return Asked(_SETTINGS, values, planner, 7)


@lru_cache(maxsize=64)
def _order(dimension: int, quantized: bool) -> str:
    expression, _ = indexed_expression(dimension)
    by = "<~> binary_quantize(%(query)s::halfvec)" if quantized else "<=> %(query)s"
    return f"{_text(expression)} {by}"


@lru_cache(maxsize=64)
def _table(model_id: int, shelves: tuple[int, ...]) -> str:
    return _text(embeddings_on(model_id, shelves))


@lru_cache(maxsize=64)
def _photos(shelves: tuple[int, ...]) -> str:
    return _text(photos_on(shelves))


def _text(part: sql.Composable) -> str:
    """Rendered here, once: composing statements would take as long as a small search."""
    return part.as_string()
