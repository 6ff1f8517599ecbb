"""The layers that can be exported: what a row of each is, and its rows, streamed as Arrow batches.

A batch has the fields of its layer and, last, `geometry`: WKB in degrees of longitude and
latitude, or null.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import shapely
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.export.estimates import Selection
from geosearch.export.lines import great_circle_line
from geosearch.retrieval import Filter

#: Rows held in memory at once.
BATCH_ROWS = 10_000

_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, eq=False)
class Layer:
    """A table with a geometry.

    `kind` is what one of its rows is; `query` gives the fields and the geometry, with a place for
    the condition on its source. Where `great_circle`, that geometry is a line of two points, which
    becomes the shortest way between them. The first field is the key, and `label` the field that
    names a row to people.
    """

    name: str
    kind: str
    geometry_type: str
    fields: pa.Schema
    label: str
    query: str
    great_circle: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The fields and the geometry."""
        return self.fields.append(pa.field("geometry", pa.binary()))

    @property
    def key(self) -> str:
        """The field that identifies a row."""
        return str(self.fields.names[0])


#: A layer and its rows.
Part: TypeAlias = tuple[Layer, Iterator[pa.RecordBatch]]

PHOTOS = Layer(
    name="photos",
    kind="photo",
    geometry_type="Point",
    fields=pa.schema(
        {
            "id": pa.int64(),
            "collection": pa.string(),
            "uri": pa.string(),
            "title": pa.string(),
            "author": pa.string(),
            "licence": pa.string(),
            "taken_at": _TIME,
            "accuracy_m": pa.float32(),
            "position_source": pa.string(),
            "source_id": pa.string(),
            "width": pa.int32(),
            "height": pa.int32(),
        }
    ),
    label="title",
    # Filters are written for embeddings, which call it photo_id. Only what readers may read.
    query="""
SELECT photo_id, collections.name, uri, title, author, licence, taken_at, accuracy_m,
    position_source, source_id, width, height, ST_AsBinary(geom)
FROM (
    SELECT id AS photo_id, collection_id, uri, title, author, licence, taken_at, accuracy_m,
        position_source, source_id, width, height, geom
    FROM geosearch.photos
) AS photos
JOIN geosearch.collections ON collections.id = collection_id
WHERE geom IS NOT NULL AND ({condition})
ORDER BY photo_id
""",
)

ESTIMATES = Layer(
    name="estimates",
    kind="estimate",
    geometry_type="Point",
    fields=pa.schema(
        {
            "localization_id": pa.int64(),
            "photo": pa.string(),
            "method": pa.string(),
            "model": pa.string(),
            "score": pa.float64(),
            "radius_km_50": pa.float64(),
            "radius_km_90": pa.float64(),
            "confident": pa.bool_(),
            "truth_lat": pa.float64(),
            "truth_lon": pa.float64(),
            "error_km": pa.float64(),
            "evaluation_id": pa.int64(),
            "created_at": _TIME,
        }
    ),
    label="photo",
    query="""
SELECT id, photo_uri, method, model ->> 'name', score, radius_50_km, radius_90_km, confident,
    ST_Y(truth), ST_X(truth), error_km, evaluation_id, created_at, ST_AsBinary(estimate)
FROM geosearch.localizations
WHERE {condition}
ORDER BY id
""",
)

REGIONS = Layer(
    name="regions",
    kind="region",
    geometry_type="MultiPolygon",
    fields=pa.schema(
        {
            "id": pa.int64(),
            "localization_id": pa.int64(),
            "photo": pa.string(),
            "level": pa.float64(),
            "area_km2": pa.float64(),
        }
    ),
    label="photo",
    # The level is stored as float4. The largest first: in the order of the rows, the small ones
    # are drawn on top.
    query="""
SELECT regions.id, localization_id, photo_uri, round(level::numeric, 4)::float8, area_km2,
    ST_AsBinary(geom)
FROM (SELECT * FROM geosearch.localizations WHERE {condition}) AS answers
JOIN geosearch.localization_regions AS regions ON localization_id = answers.id
ORDER BY localization_id, level DESC
""",
)

_NEIGHBOUR_FIELDS = {
    "id": pa.int64(),
    "localization_id": pa.int64(),
    "photo": pa.string(),
    "rank": pa.int32(),
    "neighbour_id": pa.int64(),
    "neighbour": pa.string(),
    "distance": pa.float64(),
    "weight": pa.float64(),
}

NEIGHBOURS = Layer(
    name="neighbours",
    kind="neighbour",
    geometry_type="Point",
    fields=pa.schema(_NEIGHBOUR_FIELDS),
    label="neighbour",
    query="""
SELECT neighbours.id, localization_id, photo_uri, rank, photo_id, uri, distance, weight,
    ST_AsBinary(geom)
FROM (SELECT * FROM geosearch.localizations WHERE {condition}) AS answers
JOIN geosearch.localization_neighbours AS neighbours ON localization_id = answers.id
ORDER BY localization_id, rank
""",
)

LINES = Layer(
    name="lines",
    kind="line",
    geometry_type="MultiLineString",
    fields=pa.schema(_NEIGHBOUR_FIELDS),
    label="neighbour",
    query="""
SELECT neighbours.id, localization_id, photo_uri, rank, photo_id, uri, distance, weight,
    ST_AsBinary(ST_MakeLine(estimate, geom))
FROM (
    SELECT * FROM geosearch.localizations WHERE estimate IS NOT NULL AND ({condition})
) AS answers
JOIN geosearch.localization_neighbours AS neighbours ON localization_id = answers.id
ORDER BY localization_id, rank
""",
    great_circle=True,
)

ERRORS = Layer(
    name="errors",
    kind="error",
    geometry_type="MultiLineString",
    fields=pa.schema(
        {
            "localization_id": pa.int64(),
            "photo": pa.string(),
            "method": pa.string(),
            "error_km": pa.float64(),
            "score": pa.float64(),
            "evaluation_id": pa.int64(),
        }
    ),
    label="photo",
    query="""
SELECT id, photo_uri, method, error_km, score, evaluation_id,
    ST_AsBinary(ST_MakeLine(estimate, truth))
FROM geosearch.localizations
WHERE estimate IS NOT NULL AND truth IS NOT NULL AND ({condition})
ORDER BY id
""",
    great_circle=True,
)

LAYERS = {layer.name: layer for layer in (PHOTOS, ESTIMATES, REGIONS, NEIGHBOURS, LINES, ERRORS)}


def read_photos(connection: Connection, where: Filter) -> Iterator[pa.RecordBatch]:
    """The photos that have a position and pass the filter, in the order of their ids."""
    condition, parameters = where.compile(connection)
    yield from _read(connection, PHOTOS, condition, parameters)


def read_answers(
    connection: Connection, layer: Layer, selection: Selection
) -> Iterator[pa.RecordBatch]:
    """The rows of the selected answers in any layer but `PHOTOS`, in the order of their ids.

    Raises
    ------
    NotFoundError
        A selected id or evaluation does not exist.
    """
    selection.check(connection)
    yield from _read(connection, layer, selection.condition, selection.parameters)


def _read(
    connection: Connection, layer: Layer, condition: sql.Composable, parameters: dict[str, Any]
) -> Iterator[pa.RecordBatch]:
    query = sql.SQL(layer.query).format(condition=condition)
    schema = layer.schema
    # Named: the server keeps the result, and gives it out in batches.
    with connection.cursor(name=f"export_{layer.name}", binary=True) as cursor:
        cursor.execute(query, parameters)
        while rows := cursor.fetchmany(BATCH_ROWS):
            *values, geometry = zip(*rows, strict=True)
            if layer.great_circle:
                geometry = _great_circles(geometry)
            columns = (*values, geometry)
            yield pa.record_batch(
                [pa.array(column, each.type) for column, each in zip(columns, schema, strict=True)],
                schema=schema,
            )


def _great_circles(lines: tuple[bytes, ...]) -> tuple[bytes, ...]:
    ends = shapely.get_coordinates(shapely.from_wkb(np.array(lines, object))).reshape(-1, 2, 2)
    ways = [great_circle_line((y1, x1), (y2, x2)) for (x1, y1), (x2, y2) in ends.tolist()]
    return tuple(shapely.to_wkb(np.array(ways, object)))
