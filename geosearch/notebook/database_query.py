"""A query in SQL by whoever writes Python: values as parameters, rows with their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg
import shapely
from psycopg import sql
from psycopg.types import TypeInfo
from psycopg.types.shapely import register_shapely

from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.notebook.frames import Records

#: The one SQLSTATE of its class that is not about the statement itself: a right that is missing.
_NO_RIGHT = "42501"


def read_rows(
    database: Database, query: LiteralString | sql.SQL | sql.Composed, values: Mapping[str, Any]
) -> Records[dict[str, Any]]:
    """The rows of one statement, and the errors, as of `geosearch.client.Geosearch.sql`."""
    sent = {name: _placed(value) for name, value in values.items()}
    with database.connection() as connection, connection.cursor() as cursor:
        for name in ("geography", "geometry"):  # the last is what shapes are sent as
            found = TypeInfo.fetch(connection, name)
            if found is not None:
                register_shapely(found, cursor)
        try:
            cursor.execute(query, sent or None)
        except psycopg.ProgrammingError as error:
            if error.sqlstate == _NO_RIGHT:
                raise
            said = error.diag.message_primary or str(error)
            remedy = error.diag.message_hint or "Write values as %(name)s and give name=value."
            raise InputError(f"the query cannot be run: {said}", remedy) from error
        names = [column.name for column in cursor.description or ()]
        rows = cursor.fetchall() if names else []
        if cursor.nextset():
            raise InputError("these are several statements", "Give one at a time.")
    if len(set(names)) < len(names):
        raise InputError(f"columns share a name: {', '.join(names)}", "Name them apart, with AS.")
    return Records((dict(zip(names, row, strict=True)) for row in rows), names)


def _placed(value: Any) -> Any:
    plain = isinstance(value, shapely.Geometry) and not shapely.get_srid(value)
    return shapely.set_srid(value, 4326) if plain else value
