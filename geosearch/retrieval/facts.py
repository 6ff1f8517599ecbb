"""What a plan rests on, for one model: rows, places, index, measurements. Cached for a moment."""

from __future__ import annotations

import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import embedding_table
from geosearch.errors import NotFoundError
from geosearch.retrieval.indexes import HnswIndex, find_index
from geosearch.retrieval.tuning import UNMEASURED, Tuning, load_tuning

#: Seconds for which facts are believed: a query must not cost more than its search.
_FRESH_S = 2.0
#: Seconds for which a sample of the photos' places is believed, and its size.
_PLACES_FRESH_S, _PLACES = 60.0, 2000


@dataclass(frozen=True)
class Facts:
    """Embeddings of the model (estimated), their dimension, its index if it has one, what was
    measured of it, and the places of some of them: latitudes and longitudes (2, n) in degrees.

    `hidden`: row-level security may hide photos from this login.
    """

    model_id: int
    dimension: int
    total: int
    index: HnswIndex | None
    tuning: Tuning
    places: NDArray[np.float64]
    places_read_at: float
    hidden: bool = False


_known: WeakKeyDictionary[Database, dict[int, tuple[float, Facts]]] = WeakKeyDictionary()


def facts(database: Database, connection: Connection, model_id: int) -> Facts:
    """The model's facts, at most two seconds old."""
    known = _known.setdefault(database, {})
    read_at, found = known.get(model_id, (0.0, None))
    now = time.monotonic()
    if found is None or now - read_at > _FRESH_S:
        index = find_index(connection, model_id)
        tuning = UNMEASURED if index is None else load_tuning(connection, model_id)
        if index is not None and tuning.index_file != index.file_number:
            tuning = UNMEASURED  # what was measured was another index: it was rebuilt since
        dimension, rows = _dimension(connection, model_id), _rows(connection, model_id)
        if found is None or now - found.places_read_at > _PLACES_FRESH_S:
            places, places_read_at = _places(connection, model_id, rows), now
        else:
            places, places_read_at = found.places, found.places_read_at
        hidden = _hidden(connection, model_id)
        found = Facts(model_id, dimension, rows, index, tuning, places, places_read_at, hidden)
        known[model_id] = (now, found)
    return found


def forget(database: Database) -> None:
    """Read the facts again at the next query: an index was built or measured."""
    _known.pop(database, None)


def _dimension(connection: Connection, model_id: int) -> int:
    row = connection.execute(
        "SELECT dimension FROM geosearch.models WHERE id = %s", (model_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"there is no model {model_id}", "Models: geosearch models list")
    return int(row[0])


def _rows(connection: Connection, model_id: int) -> int:
    row = connection.execute(
        "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)",
        (f"geosearch.embeddings_m{model_id}",),
    ).fetchone()
    if row is not None and row[0] > 0:
        return int(row[0])
    # Never analysed: a new partition, or an empty one.
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(embedding_table(model_id))
    ).fetchone()
    return 0 if row is None else int(row[0])


def _hidden(connection: Connection, model_id: int) -> bool:
    row = connection.execute(
        "SELECT row_security_active(%s)", (f"geosearch.embeddings_m{model_id}",)
    ).fetchone()
    return row is not None and bool(row[0])


def _places(connection: Connection, model_id: int, rows: int) -> NDArray[np.float64]:
    """Latitudes and longitudes of about 2,000 photos, or of all."""
    statement = sql.SQL(
        "SELECT ST_Y(geom), ST_X(geom) FROM {} TABLESAMPLE SYSTEM (%s) REPEATABLE (0)"
    ).format(embedding_table(model_id))
    percent = min(100.0, 100.0 * _PLACES / max(rows, 1))
    found = connection.execute(statement, (percent,)).fetchall()
    return np.array(found, dtype=np.float64).reshape(-1, 2).T.copy()
