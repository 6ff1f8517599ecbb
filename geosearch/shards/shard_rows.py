"""The shards there are, and how their owner reaches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from geosearch.database.collection_rows import owns_tables
from geosearch.database.connection import Connection, Database
from geosearch.database.schema import SCHEMA
from geosearch.errors import NotAllowedError, NotFoundError
from geosearch.json_record import Record

#: Options of foreign servers and user mappings that libpq knows.
REACHED_BY = ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert")


@dataclass(frozen=True)
class Shard(Record, id=""):
    """A shard: the photos that belong there (`filter`) and the number that are (None: it cannot be
    reached, for the `trouble`).

    `extent`: west, south, east, north of all references there, in degrees. `moving`: photos that
    are there and count here, as a move was cut short, or they were changed since.
    """

    id: int
    name: str
    server: str
    filter: dict[str, Any] | None
    extent: tuple[float, float, float, float] | None
    photos: int | None
    bytes: int | None
    moving: int
    trouble: str | None

    @property
    def state(self) -> str:
        """In words."""
        if self.trouble is not None:
            return f"cannot be reached: {self.trouble}"
        return f"{self.moving:,} photos are between here and there" if self.moving else "ready"


def list_shards(database: Database) -> list[Shard]:
    """All shards; what they take up on disk, and their filters, for the tables' owner alone."""
    with database.connection() as connection:
        owned = owns_tables(connection)
        rows = connection.execute(
            sql.SQL(_LIST).format(sql.SQL("filter" if owned else "NULL::jsonb"))
        ).fetchall()
        return [
            Shard(
                key,
                name,
                server,
                said,
                None if box[0] is None else tuple(box),
                None if trouble else _photos(connection, key),
                None if trouble or not owned else _bytes(connection, name),
                moving,
                trouble,
            )
            for key, name, server, said, moving, trouble, *box in rows
        ]


_LIST = """
SELECT s.id, s.name,
    (
        SELECT string_agg(split_part(o, '=', 2), ':' ORDER BY o)
        FROM pg_foreign_server AS f, unnest(f.srvoptions) AS o
        WHERE f.srvname = geosearch.shard_server(s.name)
            AND split_part(o, '=', 1) IN ('host', 'port')
    ),
    {}, cardinality(s.coming || s.leaving), geosearch.shard_trouble(s.id),
    ST_XMin(s.extent), ST_YMin(s.extent), ST_XMax(s.extent), ST_YMax(s.extent)
FROM geosearch.shards AS s ORDER BY s.id
"""


def _photos(connection: Connection, key: int) -> int:
    counted = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(SCHEMA, f"photos_s{key}"))
    ).fetchone()
    assert counted is not None
    return int(counted[0])


def _bytes(connection: Connection, name: str) -> int | None:
    try:
        with psycopg.connect(_conninfo(connection, name)) as there:
            row = there.execute(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
                "WHERE relnamespace = 'geosearch'::regnamespace AND relkind = 'r'"
            ).fetchone()
    except psycopg.Error:  # it may be reached by the server alone
        return None
    return None if row is None else int(row[0])


def find_shard(connection: Connection, name: str) -> int:
    """The id of a shard.

    Raises
    ------
    NotFoundError
        There is none; the message lists those that exist.
    """
    rows = connection.execute("SELECT name, id FROM geosearch.shards ORDER BY id").fetchall()
    known = {str(each): int(key) for each, key in rows}
    if name not in known:
        names = ", ".join(known) or "none yet; geosearch shards add NAME --url URL makes one"
        raise NotFoundError(f"there is no shard {name!r}", f"Shards: {names}")
    return known[name]


def require_owner(connection: Connection) -> None:
    """Raise `NotAllowedError` for a login that does not own the tables."""
    if not owns_tables(connection):
        raise NotAllowedError(
            "this login may not manage shards",
            "Run it as the owner of the tables, who also upgrades the schema and builds indexes.",
        )


def open_shard(connection: Connection, name: str) -> Database:
    """The database of a shard, as its owner's mapping says; for the owner of the tables."""
    return Database(_conninfo(connection, name), label=f"of the shard {name}")


def _conninfo(connection: Connection, name: str) -> str:
    rows = connection.execute(
        """
        SELECT split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)
        FROM pg_user_mappings AS u JOIN pg_foreign_server AS f ON f.oid = u.srvid,
            unnest(f.srvoptions || u.umoptions) AS o
        WHERE f.srvname = geosearch.shard_server(%s)
        """,
        (name,),
    )
    return make_conninfo(**{key: value for key, value in rows if key in REACHED_BY})
