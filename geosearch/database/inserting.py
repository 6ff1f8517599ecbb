"""Rows into tables by the names of their columns; and the rows that every run begins and ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from geosearch.database.connection import Connection
from geosearch.database.schema import SCHEMA
from geosearch.versions import software_versions

Row = Mapping[str, Any]


def insert(connection: Connection, table: str, row: Row) -> int:
    """Insert a row and give its id; objects and lists become JSON."""
    statement = insert_statement(table, row) + sql.SQL(" RETURNING id")
    values = {
        name: Jsonb(value) if isinstance(value, dict | list) else value
        for name, value in row.items()
    }
    found = connection.execute(statement, values).fetchone()
    assert found is not None
    return int(found[0])


def insert_all(
    connection: Connection, table: str, rows: Sequence[Row], **forms: LiteralString
) -> None:
    """Insert rows of the same columns, in one round trip; `forms` as in `insert_statement`."""
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(insert_statement(table, rows[0], **forms), rows)


def insert_statement(table: str, columns: Iterable[str], **forms: LiteralString) -> sql.Composed:
    """The statement that inserts such a row, its values by name.

    `forms` say what the value of a column passes through, e.g. `geom="ST_GeomFromWKB({})"`.
    """
    values = {
        name: sql.SQL(forms.get(name, "{}")).format(sql.Placeholder(name)) for name in columns
    }
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(SCHEMA, table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(values.values()),
    )


def start_run(
    connection: Connection, kind: str, collection_id: int | None, options: Row, **more: Any
) -> int:
    """The id of a run that begins: `ingest`, `embed` or `train`, on a collection or on all."""
    row = {"kind": kind, "collection_id": collection_id, "options": dict(options)}
    return insert(connection, "runs", {"sources": [], "software": software_versions()} | row | more)


def note_run(connection: Connection, run_id: int, counts: Row) -> None:
    """Record what a run has done so far."""
    connection.execute(
        "UPDATE geosearch.runs SET counts = %s WHERE id = %s", (Jsonb(dict(counts)), run_id)
    )


def finish_run(
    connection: Connection, run_id: int, counts: Row, model_id: int | None = None
) -> None:
    """Record the end of a run, its counts, and the model where it made one."""
    connection.execute(
        "UPDATE geosearch.runs SET finished_at = now(), counts = %s, "
        "model_id = coalesce(%s, model_id) WHERE id = %s",
        (Jsonb(dict(counts)), model_id, run_id),
    )
