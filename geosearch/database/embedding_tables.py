"""Where photos and embeddings lie: shelves, one for all public collections, one for each private.

`photos_open`, and `embeddings_m<model>`, are those of the open shelf; `photos_c<collection>`, and
`embeddings_c<collection>_m<model>`, of a private one. A login has rights on the shelves that it may
see and on no others: sql/0001/roles/shelves.sql.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.schema import SCHEMA
from geosearch.database.shard_calls import shard_ids

#: The shelf of the public collections.
OPEN = 0
#: In place of a shelf: the photos of all of them whose positions were estimated.
ESTIMATED = -1
#: And: the photos on shards.
ELSEWHERE = -2
#: Names of the tables of private ones, as a regular expression of PostgreSQL and of Python.
PRIVATE_SHELF = "_c[0-9]+(_m[0-9]+)?$"
#: Columns of embeddings and of photos that every reader may read.
_EMBEDDINGS = (
    "photo_id, model_id, collection_id, geom, accuracy_m, taken_at, author, licence, embedding"
)
_PHOTOS = "id, uri, sha256, geom, author"


def embedding_table(model_id: int, shelf: int = OPEN) -> sql.Identifier:
    """The qualified table of one model's embeddings on a shelf."""
    own = "" if shelf == OPEN else f"c{shelf}_"
    return sql.Identifier(SCHEMA, f"embeddings_{own}m{model_id}")


def create_embedding_table(connection: Connection, model_id: int) -> None:
    """Create a model's tables where they are missing; they take only the model's dimension."""
    connection.execute("SELECT geosearch.create_embedding_table(%s)", (model_id,))


def stored_embedding(
    connection: Connection, model_id: int, sha256: bytes
) -> tuple[NDArray[np.float32], str | None] | None:
    """The embedding (D,) of a photo with these bytes, in half precision; None if there is none.

    And why its picture can hardly tell a place, if it was looked at and cannot.
    """
    row = connection.execute(
        """
        SELECT found.embedding, found.low_information
        FROM geosearch.photos
            JOIN (
                SELECT photo_id, model_id, embedding, low_information FROM geosearch.embeddings
                UNION ALL
                SELECT photo_id, model_id, embedding, low_information FROM geosearch.queries
            ) AS found ON found.photo_id = photos.id
        WHERE photos.sha256 = %s AND found.model_id = %s
        ORDER BY found.low_information
        LIMIT 1
        """,
        (sha256, model_id),
    ).fetchone()
    return None if row is None else (np.asarray(row[0].to_numpy(), np.float32), row[1])


def private_shelves(connection: Connection) -> tuple[int, ...]:
    """The shelves of private collections that this login may read."""
    row = connection.execute("SELECT geosearch.private_shelves()").fetchone()
    return tuple(row[0]) if row is not None else ()


def embeddings_on(model_id: int, shelves: Sequence[int]) -> sql.Composable:
    """What to select one model's embeddings from, on these shelves; give it an alias."""
    return _union(
        _EMBEDDINGS,
        [
            embedding_table(model_id, each) if each >= OPEN else _of_model(each, model_id)
            for each in shelves
        ],
    )


def photos_on(shelves: Sequence[int]) -> sql.Composable:
    """What to select photos from, on these shelves; give it an alias."""
    if ESTIMATED in shelves:
        return sql.SQL(
            "(SELECT id, uri, sha256, coalesce(geom, estimate) AS geom, author FROM {})"
        ).format(sql.Identifier(SCHEMA, "photos_here"))
    names = ["photos_open" if shelf == OPEN else f"photos_c{shelf}" for shelf in shelves]
    return _union(_PHOTOS, [sql.Identifier(SCHEMA, name) for name in names])


def visible_shelves(connection: Connection, *, estimated: bool = False) -> tuple[int, ...]:
    """The shelves that this login may see, those of shards as one."""
    elsewhere = (ELSEWHERE,) if shard_ids(connection) else ()
    more = (*elsewhere, *((ESTIMATED,) if estimated else ()))
    return (OPEN, *private_shelves(connection), *more)


def visible_embeddings(
    connection: Connection, model_id: int, *, estimated: bool = False
) -> sql.Composable:
    """What to select one model's embeddings from: all this login may see; give it an alias."""
    return embeddings_on(model_id, visible_shelves(connection, estimated=estimated))


def visible_vectors(
    connection: Connection, model_id: int, photo_ids: Sequence[int]
) -> dict[int, NDArray[np.float32]]:
    """One model's embeddings (D,) of these photos, as far as this login may see any.

    Of photos without any position, known, reviewed or estimated, there are none.
    """
    rows = connection.execute(
        sql.SQL("SELECT photo_id, embedding FROM {} AS e WHERE photo_id = ANY(%s)").format(
            visible_embeddings(connection, model_id, estimated=True)
        ),
        (list(photo_ids),),
    )
    return {key: np.asarray(embedding.to_numpy(), np.float32) for key, embedding in rows}


def writable_tables(connection: Connection, *names: str) -> dict[str, sql.Identifier]:
    """Where this login writes `photos`, `rejects` and the like: all, or the open shelf."""
    rows = connection.execute(
        "SELECT name, has_table_privilege('geosearch.all_' || name, 'INSERT') "
        "FROM unnest(%s::text[]) AS name",
        (list(names),),
    )
    return {
        name: sql.Identifier(SCHEMA, f"all_{name}" if whole else f"{name}_open")
        for name, whole in rows
    }


def _of_model(shelf: int, model_id: int) -> sql.Composed:
    """What is as if of a shelf."""
    table = "queries_here" if shelf == ESTIMATED else "embeddings_elsewhere"
    return sql.SQL("{} WHERE model_id = {} AND geom IS NOT NULL").format(
        sql.Identifier(SCHEMA, table), sql.Literal(model_id)
    )


def _union(columns: str, tables: Sequence[sql.Composable]) -> sql.Composable:
    if len(tables) == 1 and isinstance(tables[0], sql.Identifier):
        return tables[0]
    select = sql.SQL("SELECT {} FROM {{}}".format(columns))  # noqa: S608, UP032 - constants above
    return sql.SQL("({})").format(sql.SQL(" UNION ALL ").join(map(select.format, tables)))
