"""Evaluations in the database: a row with the first answers, its figures after the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from geosearch.database.connection import Connection
from geosearch.database.inserting import insert, insert_all
from geosearch.features.model_rows import Model
from geosearch.localization.answer import Failure
from geosearch.localization.several_models import name_of
from geosearch.retrieval import Filter
from geosearch.versions import software_versions


def start(
    connection: Connection,
    queries: str,
    models: Sequence[Model],
    parameters: Mapping[str, Any],
    where: Filter,
) -> int:
    """The id of a new evaluation; its figures stay NULL until `finish`."""
    row = {
        "queries": queries,
        "model_id": models[0].id,
        "model": name_of(models),
        "method": parameters["method"],
        "parameters": dict(parameters),
        "filter": where.to_json(),
        "software": software_versions(),
    }
    return insert(connection, "evaluations", row)


def join(connection: Connection, keys: Sequence[int], first: int) -> None:
    """Mark evaluations as made on the neighbours of the one that has the answers."""
    connection.execute(
        "UPDATE geosearch.evaluations SET sweep_id = %s WHERE id = ANY(%s)", (first, list(keys))
    )


def finish(
    connection: Connection, key: int, columns: Mapping[str, Any], failures: Sequence[Failure]
) -> None:
    """Store what is known at the end, by column, and the queries that could not be used."""
    given = {
        name: Jsonb(value) if isinstance(value, dict) else value for name, value in columns.items()
    }
    statement = sql.SQL("UPDATE geosearch.evaluations SET {} WHERE id = {}").format(
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in given
        ),
        sql.Placeholder("key"),
    )
    connection.execute(statement, given | {"key": key})
    rows = [
        {"evaluation_id": key, "uri": item.photo, "reason": item.reason, "message": item.message}
        for item in failures
    ]
    insert_all(connection, "evaluation_failures", rows)
