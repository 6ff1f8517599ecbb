"""Photos moved to a shard, or home again, while searches go on.

A batch is copied first and switched then, in one commit on this side: `shards.coming` and
`shards.leaving` say which rows there do not count. A kill leaves both as they are, and the next
move goes on from there. What was begun before a batch was announced may read a mixture, so it is
waited for, as by CREATE INDEX CONCURRENTLY.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import sql

from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import create_embedding_table
from geosearch.database.leases import only_one
from geosearch.database.schema import SCHEMA
from geosearch.errors import DatabaseError
from geosearch.json_record import Record
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.indexes import count_rows
from geosearch.retrieval.indexing import Aim, index_aims, index_model, rebuild_indexes
from geosearch.retrieval.photo_list import chosen_photos
from geosearch.shards.shard_rows import find_shard, open_shard, require_owner
from geosearch.waiting import Progress

#: Photos in one transaction.
BATCH = 1_000
#: Seconds between looks at whether older transactions have ended.
_LOOK_S = 0.02


@dataclass(frozen=True)
class ShardMove(Record):
    """What came of a move: so many photos are on the shard, or home again."""

    shard: str
    home: bool
    photos: int

    def __str__(self) -> str:
        where = f"home from {self.shard}" if self.home else f"on the shard {self.shard}"
        return f"{self.photos:,} photos are {where} now"


def move_to_shard(
    database: Database,
    name: str,
    where: Filter = EVERYTHING,
    *,
    batch: int = BATCH,
    index: bool = True,
    progress: Progress | None = None,
) -> ShardMove:
    """Move the public references that belong on a shard, and pass `where`, there.

    With all that is theirs; afterwards each model that is indexed here is indexed there too, and
    measured, unless `index` is false. Photos without a known position stay.

    Raises
    ------
    NotFoundError
        There is no such shard, or collection or country in the filter.
    ShardError
        It cannot be reached. What was moved is there, and the next move goes on.
    DatabaseError
        Another run moves photos there, or this login does not own the tables.
    """
    with _moving(database, name) as (key, aims):
        with database.connection() as connection:
            said = connection.execute(
                "SELECT filter FROM geosearch.shards WHERE id = %s", (key,)
            ).fetchone()
        belonging = Filter.from_json((said or ({},))[0]) & where
        _make_models(database, key, name)
        total = _count(database, belonging, "photos_open")
        moved = 0
        while _announce(database, key, belonging, batch):
            _wait_for_older(database)
            with database.connection() as connection:
                sent = connection.execute("SELECT geosearch.send_photos(%s)", (key,)).fetchone()
            moved += sent[0] if sent else 0
            if progress is not None:
                progress(moved, max(total, moved))
        _finish(database, name, aims if index else [], moved)
    return ShardMove(name, False, moved)


def move_home(
    database: Database,
    name: str,
    where: Filter = EVERYTHING,
    *,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> ShardMove:
    """Move the photos of a shard that pass `where` back to the open shelf; as `move_to_shard`."""
    with _moving(database, name) as (key, aims):
        total, moved = _count(database, where, f"photos_s{key}"), 0
        while True:
            with database.connection() as connection:
                page, values = _page(connection, where, f"photos_s{key}")
                home = connection.execute(
                    sql.SQL("SELECT geosearch.call_home(ARRAY({}), %(shard)s)").format(page),
                    values | {"page": batch, "shard": key},
                ).fetchone()
            if home is None or not home[0]:
                break
            moved += len(home[0])
            _settle(database, key)
            if progress is not None:
                progress(moved, max(total, moved))
        _finish(database, name, aims, moved)
    return ShardMove(name, True, moved)


@contextmanager
def _moving(database: Database, name: str) -> Iterator[tuple[int, list[Aim]]]:
    """One move at a time; first, what one before left between here and there is settled."""
    refusal = DatabaseError(
        f"another run moves photos to or from the shard {name}", "Wait for it to end."
    )
    with database.connection() as connection:
        require_owner(connection)
        key = find_shard(connection, name)
        aims = index_aims(connection)
    with only_one(database, f"shard {name}", refusal):
        _settle(database, key)
        yield key, aims


def _settle(database: Database, key: int) -> None:
    """Delete on the shard what counts here, once nobody reads it there any more."""
    _wait_for_older(database)
    with database.connection() as connection:
        connection.execute("SELECT geosearch.forget_leaving(%s)", (key,))


def _announce(database: Database, key: int, where: Filter, batch: int) -> int:
    """Say which photos are the next to go: they count here until they are all there."""
    with database.connection() as connection:
        page, values = _page(connection, where, "photos_open")
        row = connection.execute(
            sql.SQL(
                "UPDATE geosearch.shards SET coming = ARRAY({}) WHERE id = %(shard)s "
                "RETURNING cardinality(coming)"
            ).format(page),
            values | {"page": batch, "shard": key},
        ).fetchone()
        connection.execute("UPDATE geosearch.shelf_changes SET number = number + 1")
    return int(row[0]) if row else 0


def _page(
    connection: Connection, where: Filter, table: str
) -> tuple[sql.Composed, dict[str, object]]:
    """Ids of the next references of a table that pass."""
    chosen, values = chosen_photos(connection, where, (), sql.Identifier(SCHEMA, table))
    ids = sql.SQL("SELECT photo_id FROM ({} AND geom IS NOT NULL ORDER BY photo_id LIMIT %(page)s)")
    return ids.format(chosen) + sql.SQL(" AS page"), values


def _count(database: Database, where: Filter, table: str) -> int:
    with database.connection() as connection:
        chosen, values = chosen_photos(connection, where, (), sql.Identifier(SCHEMA, table))
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM ({} AND geom IS NOT NULL) AS chosen").format(chosen),
            values,
        ).fetchone()
    return int(row[0]) if row else 0


def _wait_for_older(database: Database) -> None:
    """Until every transaction of this database that is open now has ended."""
    with database.own_connection(autocommit=True) as connection:
        older = connection.execute(_OPEN).fetchall()
        while older:
            time.sleep(_LOOK_S)
            left = set(connection.execute(_OPEN).fetchall())
            older = [each for each in older if each in left]


# Of the snapshots of others only superusers are told. Autovacuum reads no views.
_OPEN = """
SELECT l.virtualtransaction FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.granted AND a.datname = current_database()
    AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
"""


def _make_models(database: Database, key: int, name: str) -> None:
    """What photos refer to, there as here: collections and models, with their tables."""
    with database.connection() as connection:
        for table, source, whose in (
            ("collections", "all_collections", "NOT private"),
            ("models", "models", "true"),
        ):
            columns = connection.execute(
                "SELECT geosearch.columns_of(%s)", (f"{table}_f{key}",)
            ).fetchone()
            assert columns is not None
            there = sql.Identifier(SCHEMA, f"{table}_f{key}")
            parts = {
                "there": there,
                "here": sql.Identifier(SCHEMA, source),
                "columns": sql.SQL(columns[0]),
                "whose": sql.SQL(whose),
            }
            renamed = "UPDATE {there} AS t SET name = h.name FROM {here} AS h WHERE t.id = h.id"
            connection.execute(sql.SQL(renamed + " AND t.name <> h.name").format(**parts))
            connection.execute(
                sql.SQL(
                    "INSERT INTO {there} ({columns}) SELECT {columns} FROM {here} WHERE {whose} "
                    "AND id NOT IN (SELECT id FROM {there})"
                ).format(**parts)
            )
        models = connection.execute(
            "SELECT id FROM geosearch.models "
            "WHERE to_regclass(format('geosearch.embeddings_m%s', id)) IS NOT NULL"
        ).fetchall()
        opened = open_shard(connection, name)
    with opened as shard, shard.connection() as other:
        for (model,) in models:
            create_embedding_table(other, model)


def _finish(database: Database, name: str, aims: list[Aim], moved: int) -> None:
    """Coverage counted again, indexes as the photos are now, here and there."""
    with database.connection() as connection:
        opened = open_shard(connection, name)
        connection.execute("SELECT geosearch.refresh_coverage()")
    if moved:
        rebuild_indexes(database, aims)
    with opened as shard:
        with shard.connection() as there:
            there.execute("SELECT geosearch.refresh_coverage()")
        for aim in aims:
            with shard.connection() as there:
                rows = count_rows(there, aim.model_id)
            if rows:
                tuned = (aim.target, aim.k) if aim.target and aim.k else ()
                index_model(shard, aim.model_id, aim.dimension, *tuned, force=True)
