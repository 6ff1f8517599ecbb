"""Photos that are there more than once, by their bytes or by how they look, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import dict_row

from geosearch.arguments import check_range
from geosearch.audit.audit_rows import stated_photos
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import visible_vectors
from geosearch.database.inserting import insert_all
from geosearch.defaults import APART_M, APART_S, DEFAULT_MODEL, DUPLICATE_DISTANCE
from geosearch.features.backbones import Backbone
from geosearch.features.model_rows import Model, find_model
from geosearch.features.places_model import refuse_places
from geosearch.json_record import Record
from geosearch.parallel import batched, ordered_map
from geosearch.retrieval import EVERYTHING, Filter, nearest
from geosearch.retrieval.conditions import IncludeEstimated
from geosearch.retrieval.tuning import MAX_EF_SEARCH
from geosearch.waiting import Progress

#: Photos read at once, and neighbours looked at: more only where all of them are duplicates.
_BATCH, _NEIGHBOURS = 256, 16

_SAME_BYTES = """
SELECT DISTINCT least(asked.photo_id, others.id), greatest(asked.photo_id, others.id)
FROM ({asked}) AS asked
JOIN geosearch.photos AS others ON others.sha256 = asked.sha256 AND others.id <> asked.photo_id
"""

_ASKED = "SELECT photo_id, sha256 FROM ({photos}) AS embeddings WHERE {condition}"

_LIST = """
SELECT id, photo_id, photo, collection, lat, lon, position_source, taken_at, licence, other_id,
    other, other_collection, other_lat, other_lon, other_position_source, other_taken_at,
    other_licence, same_bytes, distance, apart_m, seconds_apart
FROM geosearch.gis_duplicates AS pairs
WHERE EXISTS (SELECT FROM ({asked}) AS asked WHERE asked.photo_id IN (pairs.photo_id, other_id))
ORDER BY photo_id, other_id
"""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Duplicate(Record):
    """Two photos of the same, as they are now; positions in degrees, distances in metres.

    `distance` is the cosine distance of their embeddings. `differs` names what is not the same of
    both: position, time, licence. An estimated position, as `position_source` says, is none.
    """

    id: int
    photo_id: int
    photo: str
    collection: str
    lat: float | None
    lon: float | None
    position_source: str | None
    taken_at: datetime | None
    licence: str | None
    other_id: int
    other: str
    other_collection: str
    other_lat: float | None
    other_lon: float | None
    other_position_source: str | None
    other_taken_at: datetime | None
    other_licence: str | None
    same_bytes: bool
    distance: float | None
    apart_m: float | None
    seconds_apart: float | None
    differs: tuple[str, ...]


def find_duplicates(
    database: Database,
    *,
    model: str | Backbone = DEFAULT_MODEL,
    where: Filter = EVERYTHING,
    duplicate_distance: float = DUPLICATE_DISTANCE,
    progress: Progress | None = None,
) -> int:
    """Record which visible photos are the same as those that pass `where`; how many pairs.

    Two are the same whose files are equal, byte by byte, or whose embeddings are nearer than
    `duplicate_distance`, a cosine distance: each photo is searched for, by the index where there is
    one. What one found of these photos before is replaced at the end.

    Raises
    ------
    InputError
        The distance is out of range.
    NotFoundError
        Nothing is embedded with this model, or a collection or country does not exist.
    """
    check_range("duplicate_distance", duplicate_distance, 0, 2, above=True)
    with database.connection() as connection:
        row = find_model(connection, model)
        refuse_places(row.name, "there are no copies")
        condition, values = where.compile(connection)
        stated = stated_photos(connection)
        asked = sql.SQL(_ASKED).format(photos=stated, condition=condition)
        same = set(connection.execute(sql.SQL(_SAME_BYTES).format(asked=asked), values))
        photos = [key for key, _ in connection.execute(asked, values)]
    near = _near_pairs(database, row, photos, duplicate_distance, progress)
    rows = [
        {
            "photo_id": pair[0],
            "other_id": pair[1],
            "same_bytes": pair in same,
            "distance": near.get(pair),
            "model_id": row.id if pair in near else None,
        }
        for pair in sorted({*same, *near})
    ]
    with database.connection() as connection:
        connection.execute(
            "DELETE FROM geosearch.duplicates WHERE recorded_by = current_user "
            "AND (photo_id = ANY(%(ids)s) OR other_id = ANY(%(ids)s))",
            {"ids": photos},
        )
        insert_all(connection, "duplicates", rows)
    return len(rows)


def list_duplicates(
    connection: Connection,
    where: Filter = EVERYTHING,
    *,
    apart_m: float = APART_M,
    apart_s: float = APART_S,
    alike: bool = False,
) -> list[Duplicate]:
    """The recorded pairs with a photo that passes `where`, and what differs.

    Positions differ that are more than `apart_m` metres apart, or of which one is not known; times
    more than `apart_s` seconds. Pairs that differ in nothing are left out unless `alike`.

    Raises
    ------
    InputError, NotFoundError
        As `find_duplicates`.
    """
    check_range("apart_m", apart_m, 0)
    check_range("apart_s", apart_s, 0)
    condition, values = where.compile(connection)
    asked = sql.SQL(_ASKED).format(photos=stated_photos(connection), condition=condition)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.SQL(_LIST).format(asked=asked), values).fetchall()
    found = [Duplicate(**row, differs=_differs(row, apart_m, apart_s)) for row in rows]
    return found if alike else [each for each in found if each.differs]


def _differs(row: dict[str, Any], apart_m: float, apart_s: float) -> tuple[str, ...]:
    def apart(value: float | None, most: float, one: object, other: object) -> bool:
        return (one is None) != (other is None) if value is None else value > most

    found = {
        "position": apart(row["apart_m"], apart_m, row["lat"], row["other_lat"]),
        "time": apart(row["seconds_apart"], apart_s, row["taken_at"], row["other_taken_at"]),
        "licence": row["licence"] != row["other_licence"],
    }
    return tuple(name for name, differs in found.items() if differs)


def _near_pairs(
    database: Database,
    model: Model,
    photos: list[int],
    distance: float,
    progress: Progress | None,
) -> dict[Pair, float]:
    """The pairs of a photo asked about and one nearer to it, with their distances."""

    def search(photo: tuple[int, NDArray[np.float32]]) -> dict[Pair, float]:
        key, embedding = photo
        k = _NEIGHBOURS
        while True:
            found = nearest(database, model.id, embedding, k, IncludeEstimated())
            close = np.flatnonzero(found.distance < distance).tolist()
            if len(close) < k or k == MAX_EF_SEARCH:
                break
            k = min(MAX_EF_SEARCH, 4 * k)
        ids = found.photo_id.tolist()
        return {
            (min(key, ids[n]), max(key, ids[n])): float(found.distance[n])
            for n in close
            if ids[n] != key
        }

    pairs: dict[Pair, float] = {}
    embedded = _embeddings(database, model, photos)
    for done, more in enumerate(ordered_map(search, embedded, database.pool_size), start=1):
        pairs |= more
        if progress is not None:
            progress(done, len(photos))
    return pairs


def _embeddings(
    database: Database, model: Model, photos: list[int]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Those of the photos that have one, read some at a time."""
    for batch in batched(photos, _BATCH):
        with database.connection() as connection:
            found = visible_vectors(connection, model.id, batch)
        yield from found.items()
