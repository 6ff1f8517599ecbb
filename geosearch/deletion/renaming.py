"""Other names for collections, models and partitions: also in the filters that name them."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg import sql

from geosearch.database.collection_rows import check_name, find_collection
from geosearch.database.connection import Connection, Database
from geosearch.database.schema import SCHEMA
from geosearch.deletion.deleted import require_right
from geosearch.errors import InputError
from geosearch.features.external_model import PREFIX as EXTERNAL
from geosearch.features.model_rows import find_model
from geosearch.features.places_model import PREFIX as PLACES
from geosearch.features.whitening import PREFIX as WHITENED
from geosearch.geocells.geocell_rows import check_partition_name, find_partition
from geosearch.retrieval.facts import forget

#: What was computed, and its columns in which others are named.
_NAMING = {
    "localizations": ("filter", "parameters", "calibration", "evidence"),
    "localization_models": ("filter",),
    "evaluations": ("filter", "parameters"),
    "calibrations": ("filter", "parameters"),
    "partitions": ("filter",),
    "whitenings": ("filter",),
}


def rename_collection(database: Database, old: str, new: str) -> None:
    """Give a collection another name; what was computed with filters that name it follows.

    Raises
    ------
    NotFoundError
        There is no such collection.
    InputError
        The new name is impossible or taken.
    DatabaseError
        This login may not.
    """
    check_name(new)
    with database.connection() as connection:
        key = find_collection(connection, old)
        require_right(connection, "all_collections", "collections")
        _set_name(connection, "all_collections", key, new, "collection")
        _rename_in_records(connection, "collections", old, new)


def rename_partition(database: Database, old: str, new: str) -> None:
    """Give a partition another name; answers and evaluations by it follow. As above."""
    check_partition_name(new)
    with database.connection() as connection:
        key = find_partition(connection, old).id
        require_right(connection, "all_partitions", "partitions")
        _set_name(connection, "all_partitions", key, new, "partition")
        _rename_in_records(connection, "partitions", old, new)


def rename_model(database: Database, old: str, new: str) -> None:
    """Give a model, by name or id, another name. What was computed keeps the name of its time.

    Photos are embedded by the spec as before: weights, not names, tell models apart.

    Raises
    ------
    NotFoundError
        There is no such model.
    InputError
        The new name is empty, a number, or that of another model; or begins as those of whitened
        or external models or of places do, and it is none, or the other way round.
    DatabaseError
        This login may not.
    """
    if not new.strip() or new.isdecimal() or "\0" in new:
        raise InputError(f"a model cannot have the name {new!r}", "Give one that is no number.")
    with database.connection() as connection:
        model = find_model(connection, old)
        key = model.id
        for prefix in (WHITENED, EXTERNAL, PLACES):
            own = model.name.startswith(prefix)
            if new.startswith(prefix) != own:
                raise InputError(
                    f"names that begin with {prefix} are of models of their kind, and of no others",
                    f"{old} needs a name with it." if own else "Leave it out.",
                )
        require_right(connection, "models", "models")
        there = connection.execute(
            "SELECT FROM geosearch.models WHERE name = %s AND id <> %s", (new, key)
        ).fetchone()
        if there is not None:
            raise _taken("model", new)
        _set_name(connection, "models", key, new, "model")
    forget(database)


def _set_name(
    connection: Connection, table: LiteralString, key: int | None, new: str, kind: str
) -> None:
    statement = sql.SQL("UPDATE {} SET name = %s WHERE id = %s").format(
        sql.Identifier(SCHEMA, table)
    )
    try:
        with connection.transaction():
            connection.execute(statement, (new, key))
    except psycopg.errors.UniqueViolation as error:
        raise _taken(kind, new) from error


def _taken(kind: str, name: str) -> InputError:
    return InputError(f"there is a {kind} {name!r} already", "Choose another name.")


def _rename_in_records(connection: Connection, key: str, old: str, new: str) -> None:
    values: dict[str, Any] = {"key": key, "old": old, "new": new}
    for table, columns in _NAMING.items():
        for column in columns:
            connection.execute(
                sql.SQL(
                    "UPDATE {table} SET {column} = changed.said FROM ("
                    "SELECT id, geosearch.with_renamed({column}, %(key)s, %(old)s, %(new)s) AS said"
                    " FROM {table}) AS changed "
                    "WHERE changed.id = {table}.id AND changed.said <> {table}.{column}"
                ).format(
                    table=sql.Identifier(SCHEMA, f"all_{table}"), column=sql.Identifier(column)
                ),
                values,
            )
