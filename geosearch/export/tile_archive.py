"""Layers as one file of vector tiles (PMTiles 3), for maps that are served without a server."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

from psycopg import sql

from geosearch import __version__
from geosearch.atomic_files import replacing
from geosearch.database.connection import Connection
from geosearch.errors import InputError
from geosearch.installation import optional
from geosearch.layers.layer import LAYERS, Layer
from geosearch.layers.layer_rows import view_columns
from geosearch.waiting import Progress

#: Most that a zoom may be: cells of a tile are some metres wide there.
MOST_ZOOM = 18
#: Tiles asked for in one statement.
_AT_ONCE = 64

# Layers of one tile, one after the other, are a tile again.
_TILES = """
SELECT t.x, t.y, string_agg(
    geosearch.mvt(
        %(z)s, t.x, t.y, json_build_object('layer', l.name, 'answer', %(answer)s::bigint)
    ),
    '' ORDER BY l.number
) AS tile
FROM unnest(%(x)s::integer[], %(y)s::integer[]) AS t (x, y),
    unnest(%(layers)s::text[]) WITH ORDINALITY AS l (name, number)
GROUP BY t.x, t.y
"""

_EXTENT = """
SELECT ST_XMin(box), greatest(ST_YMin(box), -85.05), ST_XMax(box), least(ST_YMax(box), 85.05)
FROM (SELECT ST_Extent(geom) AS box FROM ({}) AS shapes) AS extent
"""

#: Types of columns → what a field of a tile is; all others are text.
_KINDS = {"boolean": "Boolean"} | dict.fromkeys(
    ("bigint", "double precision", "integer", "numeric", "real", "smallint"), "Number"
)


def write_tiles(
    connection: Connection,
    path: Path,
    layers: Sequence[Layer],
    *,
    answer: int | None = None,
    max_zoom: int = 12,
    progress: Progress | None = None,
) -> int:
    """Write the tiles of layers, from zoom 0 to `max_zoom`, whole or not at all; returns how many.

    A tile holds what `geosearch.mvt` gives of each layer, of all answers or of one; tiles in which
    nothing is are left out. `progress` is called with the tiles written so far.

    Raises
    ------
    InputError
        The zoom is out of range, nothing is in the layers, or the file cannot be written.
    MissingExtraError
        The package pmtiles is not installed.
    """
    if not 0 <= max_zoom <= MOST_ZOOM:
        raise InputError(f"`max_zoom`: {max_zoom} is no zoom", f"Choose 0 to {MOST_ZOOM}.")
    writer = optional("writing .pmtiles", "gis", "pmtiles.writer")
    tile = optional("writing .pmtiles", "gis", "pmtiles.tile")
    count = 0
    with replacing(path) as part, part.open("wb") as file, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        archive = writer.Writer(file)
        for z, x, y, content in _tiles(connection, layers, answer, max_zoom):
            archive.write_tile(tile.zxy_to_tileid(z, x, y), gzip.compress(content, mtime=0))
            count += 1
            if progress is not None:
                progress(count, None)
        if count == 0:
            raise InputError("there is nothing in these layers", "Choose other `layers`.")
        west, south, east, north = _extent(connection, layers)
        archive.finalize(
            {
                "tile_type": tile.TileType.MVT,
                "tile_compression": tile.Compression.GZIP,
                "min_lon_e7": round(west * 1e7),
                "min_lat_e7": round(south * 1e7),
                "max_lon_e7": round(east * 1e7),
                "max_lat_e7": round(north * 1e7),
                "center_zoom": 0,
                "center_lon_e7": round((west + east) / 2 * 1e7),
                "center_lat_e7": round((south + north) / 2 * 1e7),
            },
            {
                "name": ", ".join(layer.title for layer in layers),
                "description": " ".join(layer.about for layer in layers),
                "generator": f"geosearch {__version__}",
                "vector_layers": [
                    {
                        "id": layer.name,
                        "description": layer.about,
                        "minzoom": 0,
                        "maxzoom": max_zoom,
                        "fields": {"count": "Number", **_fields(connection, layer)},
                    }
                    for layer in layers
                ],
            },
        )
    return count


def find_layers(names: Sequence[str]) -> list[Layer]:
    """Layers by name. Raises InputError for one that there is not."""
    for name in names:
        if name not in LAYERS:
            raise InputError(f"there is no layer {name!r}", f"Layers: {', '.join(LAYERS)}.")
    return [LAYERS[name] for name in dict.fromkeys(names)]


def _tiles(
    connection: Connection, layers: Sequence[Layer], answer: int | None, max_zoom: int
) -> Iterator[tuple[int, int, int, bytes]]:
    """Tiles in which something is, zoom by zoom: what is in a tile is in the one above it."""
    wanted = [(0, 0)]
    for z in range(max_zoom + 1):
        found: list[tuple[int, int]] = []
        for start in range(0, len(wanted), _AT_ONCE):
            x, y = zip(*wanted[start : start + _AT_ONCE], strict=True)
            values = {
                "z": z,
                "x": list(x),
                "y": list(y),
                "layers": [layer.name for layer in layers],
                "answer": answer,
            }
            for column, row, content in connection.execute(_TILES, values):
                if content:
                    found.append((column, row))
                    yield z, column, row, bytes(content)
        wanted = [(2 * x + i, 2 * y + j) for x, y in found for i in (0, 1) for j in (0, 1)]


def _extent(connection: Connection, layers: Sequence[Layer]) -> tuple[float, float, float, float]:
    """West, south, east and north of all that is in layers, as far as Web Mercator shows it."""
    shapes = (
        sql.SQL("SELECT geom FROM {}").format(sql.Identifier("geosearch", layer.view))
        for layer in layers
    )
    query = sql.SQL(_EXTENT).format(sql.SQL(" UNION ALL ").join(shapes))
    ((west, south, east, north),) = connection.execute(query).fetchall()
    return west, south, east, north


def _fields(connection: Connection, layer: Layer) -> dict[str, str]:
    columns = view_columns(connection, layer.view)
    return {name: _KINDS.get(kind, "String") for name, kind, _ in columns if name != "id"}
