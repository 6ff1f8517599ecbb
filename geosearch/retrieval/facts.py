"""What a plan rests on, for one model: rows, places, index, the rule. Cached for a moment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import embedding_table
from geosearch.errors import NotFoundError
from geosearch.retrieval.indexes import HnswIndex

#: Seconds for which facts are believed: a query must not cost more than its search.
_FRESH_S = 2.0


@dataclass(frozen=True)
class Facts:
    """Embeddings of the model (estimated), their dimension, its index if it has one, what was
    measured of that (`tuning`, an id), and the places of some of them: latitudes and longitudes
    (2, n) in degrees.

    All of the open shelf. `private`: the shelves of private collections that this login may read,
    and the number of embeddings on each, which are compared one by one. `sample`, `most` and
    `probe` are numbers of the rule; `decided` is what it has decided since.
    """

    model_id: int
    dimension: int
    total: int
    private: dict[int, int]
    index: HnswIndex | None
    tuning: int | None
    sample: int
    most: float
    probe: int
    places: NDArray[np.float64]
    decided: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)


_known: WeakKeyDictionary[Database, dict[int, tuple[float, Facts]]] = WeakKeyDictionary()


def facts(database: Database, connection: Connection, model_id: int) -> Facts:
    """The model's facts, at most two seconds old."""
    known = _known.setdefault(database, {})
    read_at, found = known.get(model_id, (0.0, None))
    now = time.monotonic()
    if found is None or now - read_at > _FRESH_S:
        row = connection.execute(_FACTS, (model_id,)).fetchone()
        if row is None or row[0] is None:
            raise NotFoundError(f"there is no model {model_id}", "Models: geosearch models list")
        dimension, rows, private, private_rows, *indexed, tuning, wanted, sample, most, probe = row
        found = Facts(
            model_id,
            dimension,
            rows,
            dict(zip(private, private_rows, strict=True)),
            None if indexed[0] is None else HnswIndex(*indexed),
            tuning,
            sample,
            most,
            probe,
            _places(connection, model_id, rows, wanted),
        )
        known[model_id] = (now, found)
    return found


def forget(database: Database) -> None:
    """Read the facts again at the next query: an index was built or measured."""
    _known.pop(database, None)


_FACTS = """
SELECT
    f.dimension, f.total, f.private, f.private_rows, f.index_name, f.index_file, f.quantized,
    f.tuning, r.places, r.sample, r.most, r.probe
FROM geosearch.search_facts(%s) AS f, geosearch.search_rule() AS r
"""


def _places(connection: Connection, model_id: int, rows: int, wanted: int) -> NDArray[np.float64]:
    """Latitudes and longitudes of about `wanted` photos, or of all; always of the same pages."""
    statement = sql.SQL(
        "SELECT ST_Y(geom), ST_X(geom) FROM {} TABLESAMPLE SYSTEM (%s) REPEATABLE (0)"
    ).format(embedding_table(model_id))
    percent = 100 * min(1.0, wanted / max(rows, 1))
    found = connection.execute(statement, (percent,)).fetchall()
    return np.array(found, dtype=np.float64).reshape(-1, 2).T.copy()
