"""What was measured of a model's index: recall and time by search setting, cost of exact search.

Recall is measured by rank: of the `rank` nearest photos, the share that the index finds with a
given `hnsw.ef_search`. A filtered search takes the index's candidates in order until `k` of them
pass; if the k-th stood at rank r, the recall at r is what the answer may be expected to have.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geosearch.database.connection import Connection

#: pgvector's largest `hnsw.ef_search`.
MAX_EF_SEARCH = 1000
#: Distances that differ by less are the same: float32 sums are no finer.
TIE = 1e-6
#: Ranks and settings the curve is measured at.
RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 600, 800, 1000)
EF_SEARCHES = (20, 40, 70, 100, 150, 200, 300, 400, 600, 800, 1000)


@dataclass(frozen=True)
class Point:
    """One setting of the curve: recall by rank, and the median time in milliseconds."""

    ef_search: int
    ranks: tuple[int, ...]
    recalls: tuple[float, ...]
    ms: float

    def recall(self, rank: int) -> float:
        """Recall of the first `rank` photos, between the measured ranks by logarithm."""
        if rank > self.ranks[-1]:
            return 0.0
        # Plain Python: for two numbers NumPy would take ten times as long, in every search.
        upper = bisect_left(self.ranks, rank)
        if upper == 0 or self.ranks[upper] == rank:
            return self.recalls[upper]
        low, high = self.ranks[upper - 1], self.ranks[upper]
        part = math.log(rank / low) / math.log(high / low)
        return (1 - part) * self.recalls[upper - 1] + part * self.recalls[upper]


@dataclass(frozen=True)
class Tuning:
    """The curve of a model, the recall aimed at, and the cost of comparing rows exactly.

    `points` is empty where nothing was measured: then settings follow a rule of thumb and recall
    is unknown. `index_file` is the index the figures belong to.
    """

    target: float | None = None
    k: int = 100
    sample: int = 0
    rows: int = 0
    index_file: int | None = None
    exact_fixed_ms: float = 0.5
    exact_row_ms: float = 0.001
    points: Mapping[int, Point] = field(default_factory=dict)

    def setting(self, rank: int) -> int | None:
        """The least `ef_search` that finds the first `rank` photos at the target recall."""
        if rank > MAX_EF_SEARCH:
            return None
        if self.target is None or not self.points:
            return min(MAX_EF_SEARCH, max(2 * rank, 200))
        for ef_search, point in sorted(self.points.items()):
            if ef_search >= rank and point.recall(rank) >= self.target:
                return ef_search
        return None

    def recall(self, ef_search: int, rank: int) -> float | None:
        """Measured recall of the first `rank` photos at a setting; None where not measured."""
        point = self.points.get(ef_search)
        return None if point is None else point.recall(rank)

    def index_ms(self, ef_search: int) -> float:
        """Expected time of an index search, milliseconds."""
        point = self.points.get(ef_search)
        return 0.01 * ef_search if point is None else point.ms

    def exact_ms(self, rows: int) -> float:
        """Expected time of comparing `rows` photos, milliseconds."""
        return self.exact_fixed_ms + self.exact_row_ms * rows

    def exact_rows(self, ms: float) -> int:
        """How many photos can be compared in `ms` milliseconds."""
        return max(0, int((ms - self.exact_fixed_ms) / self.exact_row_ms))


UNMEASURED = Tuning()


def load_tuning(connection: Connection, model_id: int) -> Tuning:
    """What was last measured of the model, `UNMEASURED` where nothing was."""
    row = connection.execute(
        """
        SELECT target, k, sample, rows, index_file, exact_fixed_ms, exact_row_ms, id
        FROM geosearch.tunings WHERE model_id = %s
        """,
        (model_id,),
    ).fetchone()
    if row is None:
        return UNMEASURED
    points: dict[int, tuple[list[int], list[float], float]] = {}
    for ef_search, rank, recall, ms in connection.execute(
        "SELECT ef_search, rank, recall, ms FROM geosearch.recall_points "
        "WHERE tuning_id = %s ORDER BY ef_search, rank",
        (row[7],),
    ):
        ranks, recalls, _ = points.setdefault(ef_search, ([], [], ms))
        ranks.append(rank)
        recalls.append(recall)
    target, k, sample, rows, index_file, exact_fixed_ms, exact_row_ms, _ = row
    return Tuning(
        target,
        k,
        sample,
        rows,
        index_file,
        exact_fixed_ms,
        exact_row_ms,
        points={
            ef: Point(ef, tuple(ranks), tuple(recalls), ms)
            for ef, (ranks, recalls, ms) in points.items()
        },
    )


def save_tuning(connection: Connection, model_id: int, tuning: Tuning) -> None:
    """Replace what was measured of the model."""
    connection.execute("DELETE FROM geosearch.tunings WHERE model_id = %s", (model_id,))
    row = connection.execute(
        """
        INSERT INTO geosearch.tunings
            (model_id, target, k, sample, rows, index_file, exact_fixed_ms, exact_row_ms)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
        """,
        (
            model_id,
            tuning.target,
            tuning.k,
            tuning.sample,
            tuning.rows,
            tuning.index_file,
            tuning.exact_fixed_ms,
            tuning.exact_row_ms,
        ),
    ).fetchone()
    assert row is not None
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO geosearch.recall_points (tuning_id, ef_search, rank, recall, ms) "
            "VALUES (%s, %s, %s, %s, %s)",
            [
                (row[0], point.ef_search, rank, recall, point.ms)
                for point in tuning.points.values()
                for rank, recall in zip(point.ranks, point.recalls, strict=True)
            ],
        )


def recall_by_rank(
    found: NDArray[np.float64], truth: NDArray[np.float64], ranks: tuple[int, ...]
) -> NDArray[np.float64]:
    """Share of the first r true neighbours among all found, for each query and rank (n, ranks).

    `found` (n, e) and `truth` (n, t) are distances, infinite where rows are short. By distance, so
    that of photos alike, any will do.
    """
    columns = []
    for rank in ranks:
        last = truth[:, rank - 1, np.newaxis]
        columns.append(np.minimum((found <= last + TIE).sum(axis=1), rank) / rank)
    return np.stack(columns, axis=1)
