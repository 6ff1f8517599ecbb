"""Photos on shards, as far as writers of photos are concerned: they are called home first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.schema import SCHEMA

#: A statement that selects ids of photos from a table, and its values.
Chosen = tuple[sql.Composable, Sequence[Any] | Mapping[str, Any]]


def shard_ids(connection: Connection) -> list[int]:
    """The shards there are."""
    rows = connection.execute("SELECT id FROM geosearch.shards ORDER BY id").fetchall()
    return [int(key) for (key,) in rows]


def tables_on(shard: int, *names: str) -> dict[str, sql.Identifier]:
    """Where `photos`, `files` and the like of a shard are read."""
    return {name: sql.Identifier(SCHEMA, f"{name}_s{shard}") for name in names}


def call_home(connection: Connection, choose: Callable[[sql.Identifier], Chosen]) -> None:
    """Have the photos of shards that are chosen on the open shelf, where they can be changed."""
    for shard in shard_ids(connection):
        chosen, values = choose(tables_on(shard, "photos")["photos"])
        statement = sql.SQL("SELECT geosearch.call_home(ARRAY({}), {})")
        connection.execute(statement.format(chosen, sql.Literal(shard)), values)
