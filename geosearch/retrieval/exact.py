"""Exact neighbours of many queries, found in one pass and described one query at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from geosearch.database.connection import Database
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.retrieval.batch import nearest_batch
from geosearch.retrieval.facts import facts
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.neighbours import ASKED_FOR, Neighbours, check_k, exact_neighbours
from geosearch.retrieval.search import Compared

#: Neighbours beyond the k-th, among which pgvector's own distances may find a nearer one.
_SPARE = 8

# Distances are computed again by pgvector, so that an answer's neighbours, their order and their
# weights do not depend on how they were found.
_DESCRIBE = """
SELECT n.photo_id, p.uri, ST_Y(n.geom), ST_X(n.geom), n.distance
FROM (
    SELECT photo_id, geom, embedding <=> %(query)s AS distance
    FROM {table} AS embeddings
    WHERE photo_id = ANY(%(ids)s)
    ORDER BY distance, photo_id
    LIMIT %(k)s
) AS n
JOIN geosearch.photos AS p ON p.id = n.photo_id AND p.id = ANY(%(ids)s)
ORDER BY n.distance, n.photo_id
"""


class ExactSearch:
    """Exact neighbours of many queries, found in one pass when made, described one by one.

    Parameters and errors are those of `nearest_batch` and `nearest`.
    """

    def __init__(
        self,
        database: Database,
        model_id: int,
        queries: NDArray[np.float32],
        k: int,
        where: Filter = EVERYTHING,
        *,
        excluded: Sequence[Collection[int]] | None = None,
        device: str = "cpu",
    ) -> None:
        self._database, self._queries, self._k = database, queries, k
        check_k(k)
        with database.searcher() as connection:
            self._total = facts(database, connection, model_id).total
            table = visible_embeddings(connection, model_id, estimated=where.includes_estimated)
            self._describe = sql.SQL(_DESCRIBE).format(table=table)
        self._found = nearest_batch(
            database, model_id, queries, k + _SPARE, where, excluded=excluded, device=device
        )

    def closer(self, distance: float) -> list[list[int]]:
        """For each query, ids of the neighbours at a smaller cosine distance, up to rounding."""
        return [
            ids[near].tolist()
            for ids, near in zip(self._found.photo_id, self._found.distance < distance, strict=True)
        ]

    def neighbours(self, number: int) -> Neighbours:
        """The neighbours of query `number`: the same as those of `nearest`, searching alone."""
        ids = self._found.photo_id[number, : self._found.count[number]]
        query = self._queries[number]
        with self._database.connection() as connection:
            rows = connection.execute(
                self._describe,
                {"ids": ids.tolist(), "query": HalfVector(query), "k": self._k},
            ).fetchall()
        met = Compared(rows, int(self._found.matches[number]))
        return exact_neighbours(met, self._total, ASKED_FOR)
