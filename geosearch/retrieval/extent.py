"""How far apart the photos are that a search may find."""

from __future__ import annotations

import numpy as np
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.retrieval.filters import Filter
from geosearch.sphere import great_circle_km

#: Photos that are looked at, always the same ones.
_SAMPLE = 1000

_PLACES = """
SELECT ST_Y(geom), ST_X(geom) FROM {table} AS embeddings
WHERE {condition} ORDER BY hashint8(photo_id) LIMIT %(sample)s
"""


def apart_km(connection: Connection, model_id: int, where: Filter) -> float | None:
    """Median distance between two photos that pass a filter, kilometres; None without two."""
    condition, values = where.compile(connection)
    statement = sql.SQL(_PLACES).format(
        table=visible_embeddings(connection, model_id), condition=condition
    )
    rows = connection.execute(statement, {**values, "sample": _SAMPLE}).fetchall()
    if len(rows) < 2:
        return None
    lat, lon = np.array(rows, dtype=np.float64).T
    first, second = np.triu_indices(len(rows), 1)
    return float(np.median(great_circle_km(lat[first], lon[first], lat[second], lon[second])))
