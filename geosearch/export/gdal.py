"""Layers as GeoPackage and FlatGeobuf, by GDAL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from geosearch.errors import InputError
from geosearch.installation import optional
from geosearch.layers.layer_rows import LayerRows
from geosearch.layers.styles import read_style

# Readers of the time of QGIS 3.22 warn of newer versions, of which nothing is used here.
_DATASET_OPTIONS = {"GPKG": {"VERSION": "1.2"}}

_STYLES_TABLE = """
CREATE TABLE IF NOT EXISTS layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    f_table_catalog TEXT(256),
    f_table_schema TEXT(256),
    f_table_name TEXT(256),
    f_geometry_column TEXT(256),
    styleName TEXT(30),
    styleQML TEXT,
    styleSLD TEXT,
    useAsDefault BOOLEAN,
    description TEXT,
    owner TEXT(30),
    ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
"""

_REGISTER_STYLES = """
INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier)
VALUES ('layer_styles', 'attributes', 'layer_styles')
"""

_INSERT_STYLE = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,
    styleName, styleQML, styleSLD, useAsDefault, description)
VALUES ('', '', :layer, 'geom', 'geosearch', :qml, '', 1, 'The style of geosearch')
"""


def write_geopackage(path: Path, parts: list[LayerRows]) -> None:
    """Write layers with their styles into a GeoPackage; one of the same name is replaced.

    QGIS applies the style by itself. Other layers of the file stay. Memory holds a few batches.
    """
    for rows in parts:
        options = {"GEOMETRY_NAME": "geom", "FID": "id", "IDENTIFIER": rows.layer.name}
        _write(path, rows, "GPKG", options)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(_STYLES_TABLE)
        connection.execute(_REGISTER_STYLES)
        for name in (rows.layer.name for rows in parts):
            connection.execute(
                "DELETE FROM layer_styles WHERE f_table_name = ? AND styleName = 'geosearch'",
                (name,),
            )
            connection.execute(_INSERT_STYLE, {"layer": name, "qml": read_style(name)})


def write_flatgeobuf(path: Path, rows: LayerRows) -> None:
    """Write one layer with its spatial index, for which every row must have a position."""
    _write(path, rows, "FlatGeobuf", {})


def _write(path: Path, rows: LayerRows, driver: str, options: dict[str, str]) -> None:
    pyogrio = optional(f"writing {path.suffix}", "gis", "pyogrio", "pyogrio.errors")
    source = _Source(rows)
    layer = rows.layer
    try:
        pyogrio.write_arrow(
            source.reader,
            path,
            layer=layer.name,
            driver=driver,
            geometry_name="geometry",
            geometry_type=layer.geometry_type,
            crs="EPSG:4326",
            dataset_options=_DATASET_OPTIONS.get(driver, {}),
            layer_options=options,
        )
    except Exception as error:
        if source.error is not None:  # what GDAL makes of it has lost the kind and the remedy
            raise source.error from None
        if isinstance(error, pyogrio.errors.DataSourceError | pyogrio.errors.DataLayerError):
            raise InputError(
                f"GDAL cannot write the layer {layer.name}: {error}",
                "Give another path, or remove the file there.",
            ) from error
        raise


class _Source:
    """Batches as the stream that GDAL pulls, with the error that ended it, if one did."""

    def __init__(self, rows: LayerRows) -> None:
        self.error: BaseException | None = None
        watched = self._watched(rows.batches)
        self.reader = pa.RecordBatchReader.from_batches(rows.schema, watched)

    def _watched(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:
            self.error = error
            raise
