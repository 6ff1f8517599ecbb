"""What was measured of a model's index: recall and time by search setting, cost of exact search.

Recall is measured by rank: of the `rank` nearest photos, the share that the index finds with a
given `hnsw.ef_search`. A filtered search takes the index's candidates in order until `k` of them
pass; if the k-th stood at rank r, the recall at r is what the answer may be expected to have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import class_row

from geosearch.database.connection import Connection
from geosearch.database.inserting import insert, insert_all

#: pgvector's largest `hnsw.ef_search`.
MAX_EF_SEARCH = 1000
#: Distances that differ by less are the same: float32 sums are no finer.
TIE = 1e-6
#: Ranks and settings the curve is measured at.
RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 600, 800, 1000)
EF_SEARCHES = (20, 40, 70, 100, 150, 200, 300, 400, 600, 800, 1000)


@dataclass(frozen=True)
class Point:
    """One setting of the curve: recall by rank, and the typical time in milliseconds."""

    ef_search: int
    ranks: tuple[int, ...]
    recalls: tuple[float, ...]
    ms: float


@dataclass(frozen=True)
class Tuning:
    """What was measured of a model's index, and the recall its searches aim at.

    Or of the leaves of a `family` and `level`. `id` is its row, None where there is none; `points`
    are there where they were just measured.
    """

    target: float
    k: int
    sample: int
    rows: int
    index_definition: str
    exact_fixed_ms: float
    exact_row_ms: float
    points: tuple[Point, ...] = ()
    id: int | None = None
    family: str | None = None
    level: int | None = None


_OF = ("family", "level")
_FIGURES = ("target", "k", "sample", "rows", "index_definition", "exact_fixed_ms", "exact_row_ms")


def load_tuning(connection: Connection, model_id: int) -> Tuning | None:
    """What was last measured of the model's index over all, None where nothing was."""
    found = [tuning for tuning in load_tunings(connection, model_id) if tuning.family is None]
    return found[0] if found else None


def load_tunings(connection: Connection, model_id: int) -> list[Tuning]:
    """What was last measured of the model, its leaves too."""
    figures = sql.SQL(", ").join(map(sql.Identifier, (*_FIGURES, *_OF, "id")))
    found = sql.SQL("SELECT {} FROM geosearch.tunings WHERE model_id = %s ORDER BY id").format(
        figures
    )
    with connection.cursor(row_factory=class_row(Tuning)) as cursor:
        return cursor.execute(found, (model_id,)).fetchall()


def save_tuning(connection: Connection, model_id: int, tuning: Tuning, k: int) -> Tuning:
    """Replace what was measured of the model, and give it as stored.

    Where no setting finds the first `k` at the recall aimed at, the best there is becomes the aim.
    """
    connection.execute(
        "DELETE FROM geosearch.tunings WHERE model_id = %s AND family IS NOT DISTINCT FROM %s "
        "AND level IS NOT DISTINCT FROM %s",
        (model_id, tuning.family, tuning.level),
    )
    figures = {name: getattr(tuning, name) for name in (*_FIGURES, *_OF)}
    key = insert(connection, "tunings", {"model_id": model_id, **figures})
    points = [
        {"tuning_id": key, "ef_search": point.ef_search, "ms": point.ms}
        | {"rank": rank, "recall": recall}
        for point in tuning.points
        for rank, recall in zip(point.ranks, point.recalls, strict=True)
    ]
    insert_all(connection, "recall_points", points)
    best = connection.execute(
        "UPDATE geosearch.tunings SET target = least(target, (SELECT greatest(max(recall), 1e-9) "
        "FROM geosearch.recall_curve(id, %s))) WHERE id = %s RETURNING target",
        (k, key),
    ).fetchone()
    assert best is not None
    return replace(tuning, target=best[0], id=key)


def search_setting(connection: Connection, tuning: Tuning, rank: int) -> tuple[int, float] | None:
    """The least `ef_search` that finds the first `rank` at the recall aimed at, and its recall."""
    row = connection.execute(
        """
        SELECT s.ef_search, r.recall
        FROM geosearch.search_setting(%(id)s, %(rank)s) AS s,
            geosearch.found_recall(%(id)s, s.ef_search, %(rank)s) AS r
        """,
        {"id": tuning.id, "rank": rank},
    ).fetchone()
    return None if row is None or row[0] is None else (int(row[0]), float(row[1]))


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
