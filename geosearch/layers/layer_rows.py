"""The rows of layers, streamed from their views as Arrow batches."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.layers.layer import PHOTOS, Layer
from geosearch.layers.selection import Selection
from geosearch.retrieval import Filter
from geosearch.retrieval.algebra import check_references

#: Rows held in memory at once.
BATCH_ROWS = 10_000

#: Columns of other types are written as text.
_TYPES = {
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "double precision": pa.float64(),
    "integer": pa.int32(),
    "real": pa.float32(),
    "text": pa.string(),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
}

_COLUMNS = """
SELECT attname, format_type(atttypid, NULL), coalesce(col_description(attrelid, attnum), '')
FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND attname <> 'geom'
ORDER BY attnum
"""

_ROWS = """
SELECT {columns}, ST_AsBinary(layer.geom) FROM {view} AS layer {condition} ORDER BY {order}
"""

# Filters are written for embeddings, of whose columns the view lacks these two. A LEFT JOIN costs
# nothing where the filter asks for neither.
_FILTERED = """
LEFT JOIN (SELECT id AS photo_id, collection_id FROM geosearch.photos) AS filtered
    ON photo_id = layer.id
WHERE {}
"""
_SELECTED = "WHERE layer.{} IN (SELECT id FROM geosearch.localizations WHERE {})"


@dataclass(frozen=True)
class LayerRows:
    """Rows of a layer, with the columns and comments of its view.

    Last in the schema is `geometry`: WKB in degrees of longitude and latitude, or null. The batches
    hold a cursor of the connection that they are read by, until they are closed.
    """

    layer: Layer
    schema: pa.Schema
    batches: Generator[pa.RecordBatch]

    @property
    def fields(self) -> pa.Schema:
        """The schema without the geometry."""
        return self.schema.remove(len(self.schema) - 1)


def read_photos(connection: Connection, where: Filter) -> LayerRows:
    """The photos that have a position and pass the filter, in the order of their ids.

    Raises
    ------
    NotFoundError
        A collection or country does not exist.
    InputError
        The filter asks for estimated positions, which are of answers: `read_answers`.
    """
    check_references(where)
    condition, parameters = where.compile(connection)
    return _read(connection, PHOTOS, sql.SQL(_FILTERED).format(condition), parameters)


def read_all(connection: Connection, layer: Layer) -> LayerRows:
    """All rows of a layer."""
    return _read(connection, layer, sql.SQL(""), {})


def read_answers(connection: Connection, layer: Layer, selection: Selection) -> LayerRows:
    """The rows of the selected answers in a layer of answers, in the order of their ids.

    Raises
    ------
    NotFoundError
        A selected id or evaluation does not exist.
    """
    selection.check(connection)
    condition: sql.Composable = sql.SQL("")
    if selection != Selection():
        key = sql.Identifier(str(layer.answer))
        condition = sql.SQL(_SELECTED).format(key, selection.condition)
    return _read(connection, layer, condition, selection.parameters)


def view_columns(connection: Connection, view: str) -> list[tuple[str, str, str]]:
    """Name, type and comment of each column but the geometry."""
    return connection.execute(_COLUMNS, (f"geosearch.{view}",)).fetchall()


def _read(
    connection: Connection, layer: Layer, condition: sql.Composable, parameters: dict[str, Any]
) -> LayerRows:
    columns = view_columns(connection, layer.view)
    # GDAL writes such comments into files that have a place for them.
    fields = [
        pa.field(name, _TYPES.get(kind, pa.string()), metadata={"GDAL:OGR:comment": comment})
        for name, kind, comment in columns
    ]
    schema = pa.schema([*fields, pa.field("geometry", pa.binary())])
    query = sql.SQL(_ROWS).format(
        columns=sql.SQL(", ").join(
            sql.SQL("{}" if kind in _TYPES else "{}::text").format(sql.Identifier("layer", name))
            for name, kind, _ in columns
        ),
        view=sql.Identifier("geosearch", layer.view),
        condition=condition,
        order=sql.SQL(layer.order),
    )
    return LayerRows(layer, schema, _batches(connection, schema, query, parameters))


def _batches(
    connection: Connection, schema: pa.Schema, query: sql.Composed, parameters: dict[str, Any]
) -> Generator[pa.RecordBatch]:
    # Named: the server keeps the result, and gives it out in batches.
    with connection.cursor(name="layer", binary=True) as cursor:
        cursor.execute(query, parameters)
        while rows := cursor.fetchmany(BATCH_ROWS):
            columns = zip(zip(*rows, strict=True), schema, strict=True)
            yield pa.record_batch(
                [pa.array(column, each.type) for column, each in columns], schema=schema
            )
