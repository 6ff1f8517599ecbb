"""Layers as CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import shapely

from geosearch.layers.layer_rows import LayerRows


def write_csv(path: Path, rows: LayerRows, *, safe: bool = True) -> None:
    """Write one layer with a header; points as `lat` and `lon`, other geometry as WKT.

    Times are UTC. What is unknown is empty, and an empty text is `""`. Memory holds one batch.
    With `safe`, an apostrophe stands before text that a spreadsheet would compute.
    """
    points = rows.layer.geometry_type == "Point"
    where = {"lat": pa.float64(), "lon": pa.float64()} if points else {"geometry": pa.string()}
    schema = pa.schema([*rows.fields, *pa.schema(where)])
    with pyarrow.csv.CSVWriter(path, schema) as writer:
        for batch in rows.batches:
            shapes = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
            written = _coordinates(shapes) if points else [_wkt(shapes)]
            fields = batch.columns[:-1]
            columns = [*(map(_inert, fields) if safe else fields), *written]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _inert(column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return column
    formula = pc.match_substring_regex(column, r"^[=+\-@\t\r\n]")
    return pc.if_else(formula, pc.binary_join_element_wise("'", column, ""), column)


def _coordinates(shapes: np.ndarray) -> list[pa.Array]:
    return [pa.array(get(shapes), from_pandas=True) for get in (shapely.get_y, shapely.get_x)]


def _wkt(shapes: np.ndarray) -> pa.Array:
    return pa.array(shapely.to_wkt(shapes, rounding_precision=-1), pa.string())
