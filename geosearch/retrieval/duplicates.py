"""Neighbours that are not the query itself: without its file, its near-duplicates, its author's.

A reference that shows the query's own scene a second time makes an answer look better than the
method is, so evaluations leave such references out, and say how many they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from psycopg import sql

from geosearch.arguments import check_range, settle
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.defaults import DUPLICATE_DISTANCE
from geosearch.json_record import Record
from geosearch.query import Query
from geosearch.retrieval.conditions import ByAuthors, Photos, SameBytes
from geosearch.retrieval.exact import ExactSearch
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.neighbours import Neighbours, nearest
from geosearch.retrieval.tuning import MAX_EF_SEARCH

#: Distances computed in one pass differ from pgvector's by less than this.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Exclusions(Record):
    """Which references must not answer a query.

    Parameters
    ----------
    same_bytes
        Those whose file is the query's, byte by byte.
    duplicate_distance
        Those at a smaller cosine distance (0 to 2) from the query; None and False exclude none,
        True those at a smaller one than `DUPLICATE_DISTANCE`.
    same_author
        Those by the query's author, where that is known.

    Raises
    ------
    InputError
        The distance is out of range.
    """

    same_bytes: bool = False
    duplicate_distance: float | None = None
    same_author: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.duplicate_distance, bool):
            usual = DUPLICATE_DISTANCE if self.duplicate_distance else None
            object.__setattr__(self, "duplicate_distance", usual)
        settle(self)
        check_range("duplicate_distance", self.duplicate_distance, 0, 2, above=True)

    def __bool__(self) -> bool:
        return self.same_bytes or self.duplicate_distance is not None or self.same_author

    def known(self, query: Query) -> Filter:
        """The filter that leaves out what can be named before the search."""
        kept = EVERYTHING
        if self.same_bytes:
            kept &= ~SameBytes(query.sha256.hex())
        if self.same_author and query.author:
            kept &= ~ByAuthors(query.author)
        return kept


#: Every reference may answer.
NOTHING = Exclusions()


@dataclass(frozen=True)
class Excluded(Record):
    """References that passed the filter and were left out, each counted under one reason."""

    same_bytes: int = 0
    duplicates: int = 0
    author: int = 0

    def __add__(self, other: Excluded) -> Excluded:
        return Excluded(
            self.same_bytes + other.same_bytes,
            self.duplicates + other.duplicates,
            self.author + other.author,
        )

    def __str__(self) -> str:
        named = (
            (self.same_bytes, "with the query's bytes"),
            (self.duplicates, "near-duplicates"),
            (self.author, "by its author"),
        )
        return ", ".join(f"{count:,} {what}" for count, what in named if count) or "none"


@dataclass(frozen=True)
class Found:
    """The neighbours of a query, the filter that passes just what could become one, and counts.

    `excluded` is None if nothing was to be excluded.
    """

    neighbours: Neighbours
    where: Filter
    excluded: Excluded | None

    def first(self, k: int) -> Found:
        """With the `k` nearest of the neighbours."""
        return replace(self, neighbours=self.neighbours.first(k))


def nearest_others(
    database: Database,
    model_id: int,
    query: Query,
    k: int,
    where: Filter = EVERYTHING,
    exclusions: Exclusions = NOTHING,
    *,
    exact: bool = False,
) -> Found:
    """The `k` photos nearest to the query that pass `where` and are not excluded.

    Near-duplicates are found by the search itself: it is repeated without those it met until it
    meets none, so that k neighbours remain.

    Raises
    ------
    InputError, NotFoundError
        As `geosearch.retrieval.nearest`.
    """
    if not exclusions:
        found = nearest(database, model_id, query.embedding, k, where, exact=exact)
        return Found(found, where, None)
    allowed = where & exclusions.known(query)
    duplicates: list[int] = []
    size = k
    while True:
        narrowed = _without(allowed, duplicates)
        found = nearest(database, model_id, query.embedding, size, narrowed, exact=exact)
        close = _closer(found, exclusions.duplicate_distance)
        if not close and size == k:
            break
        duplicates += close
        # Where all that was found is a duplicate, there may be many more.
        wide = bool(close) and len(close) == len(found)
        size = min(MAX_EF_SEARCH, 4 * size) if wide else k
    counts = _count(database, model_id, query, where, exclusions, len(duplicates))
    return Found(found, narrowed, counts)


class ExactOthers:
    """`nearest_others` of many queries, compared with all photos, in few passes over these.

    Another pass is made for as long as the last one met near-duplicates.

    Parameters
    ----------
    device
        `cpu`, or a PyTorch device such as `cuda`.
    """

    def __init__(
        self,
        database: Database,
        model_id: int,
        queries: Sequence[Query],
        k: int,
        where: Filter = EVERYTHING,
        exclusions: Exclusions = NOTHING,
        *,
        device: str = "cpu",
    ) -> None:
        self._database, self._model_id, self._queries, self._k = database, model_id, queries, k
        self._where, self._exclusions = where, exclusions
        named = _named(database, model_id, queries, exclusions)
        embeddings = np.stack([query.embedding for query in queries])
        self._duplicates: list[list[int]] = [[] for _ in queries]
        size = k
        while True:
            self._search = ExactSearch(
                database,
                model_id,
                embeddings,
                size,
                where,
                excluded=[
                    ids.union(more) if more else ids
                    for ids, more in zip(named, self._duplicates, strict=True)
                ],
                device=device,
            )
            if exclusions.duplicate_distance is None:
                return
            close = self._search.closer(exclusions.duplicate_distance - _ROUNDING)
            if not any(close):
                return
            for ids, more in zip(self._duplicates, close, strict=True):
                ids += more
            if max(map(len, close)) >= size:
                size = min(MAX_EF_SEARCH, 4 * size)

    def neighbours(self, number: int) -> Found:
        """What `nearest_others` gives for query `number`, searching alone."""
        found = self._search.neighbours(number).first(self._k)
        if not self._exclusions:
            return Found(found, self._where, None)
        query = self._queries[number]
        if _closer(found, self._exclusions.duplicate_distance):  # by a rounding error
            return nearest_others(
                self._database,
                self._model_id,
                query,
                self._k,
                self._where,
                self._exclusions,
                exact=True,
            )
        duplicates = self._duplicates[number]
        allowed = self._where & self._exclusions.known(query)
        left_out = (query, self._where, self._exclusions, len(duplicates))
        counts = _count(self._database, self._model_id, *left_out)
        return Found(found, _without(allowed, duplicates), counts)


def _without(where: Filter, photo_ids: Iterable[int]) -> Filter:
    ids = sorted(photo_ids)
    return where & ~Photos(*ids) if ids else where


def _closer(found: Neighbours, distance: float | None) -> list[int]:
    """Ids of the neighbours at a smaller distance."""
    if distance is None:
        return []
    return [int(key) for key in found.photo_id[found.distance < distance]]


def _named(
    database: Database,
    model_id: int,
    queries: Sequence[Query],
    exclusions: Exclusions,
) -> list[frozenset[int]]:
    """Ids of the photos excluded by bytes or author, for each query."""
    own: dict[bytes, set[int]] = {}
    theirs: dict[str, frozenset[int]] = {}
    with database.connection() as connection:
        if exclusions.same_bytes:
            for key, digest in connection.execute(
                "SELECT id, sha256 FROM geosearch.photos WHERE sha256 = ANY(%s)",
                ([query.sha256 for query in queries],),
            ):
                own.setdefault(bytes(digest), set()).add(int(key))
        if exclusions.same_author:
            statement = sql.SQL(
                "SELECT author, array_agg(photo_id) FROM {} AS embeddings "
                "WHERE author = ANY(%s) GROUP BY author"
            ).format(visible_embeddings(connection, model_id, estimated=True))
            names = sorted({query.author for query in queries if query.author})
            for name, ids in connection.execute(statement, (names,)):
                theirs[name] = frozenset(ids)
    nobody = frozenset[int]()
    return [
        theirs.get(query.author or "", nobody).union(own.get(query.sha256, ()))
        if query.sha256 in own
        else theirs.get(query.author or "", nobody)
        for query in queries
    ]


_COUNT = """
SELECT count(*) FILTER (WHERE own), count(*) FILTER (WHERE NOT own)
FROM (
    SELECT photo_id = ANY(%(own)s) AS own
    FROM {table} AS embeddings
    WHERE (photo_id = ANY(%(own)s) OR author = %(author)s) AND {condition}
) AS excluded
"""


def _count(
    database: Database,
    model_id: int,
    query: Query,
    where: Filter,
    exclusions: Exclusions,
    duplicates: int,
) -> Excluded:
    author = query.author if exclusions.same_author else None
    with database.connection() as connection:
        own = (
            connection.execute(
                "SELECT id FROM geosearch.photos WHERE sha256 = %s", (query.sha256,)
            ).fetchall()
            if exclusions.same_bytes
            else []
        )
        if not own and not author:
            return Excluded(duplicates=duplicates)
        condition, values = where.compile(connection)
        table = visible_embeddings(connection, model_id, estimated=where.includes_estimated)
        statement = sql.SQL(_COUNT).format(table=table, condition=condition)
        values |= {"own": [key for (key,) in own], "author": author or None}
        row = connection.execute(statement, values).fetchone()
    assert row is not None
    return Excluded(int(row[0]), duplicates, int(row[1]))
