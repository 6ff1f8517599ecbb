"""Layers as GeoParquet 1.1: https://geoparquet.org/releases/v1.1.0/."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import shapely

from geosearch.layers.layer_rows import LayerRows


def write_geoparquet(path: Path, rows: LayerRows) -> None:
    """Write one layer; its geometry is WKB, and its bounds are in the metadata.

    Without a coordinate reference system named there, coordinates are longitude and latitude of
    WGS 84, as all are here. Memory holds one batch.
    """
    bounds = np.full(4, np.nan)
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for batch in rows.batches:
            writer.write_batch(batch)
            shapes = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
            reach = shapely.total_bounds(shapes)
            bounds = np.r_[np.fmin(bounds[:2], reach[:2]), np.fmax(bounds[2:], reach[2:])]
        writer.add_key_value_metadata({"geo": json.dumps(_metadata(rows, bounds))})


def _metadata(rows: LayerRows, bounds: np.ndarray) -> dict[str, object]:
    column: dict[str, object] = {"encoding": "WKB", "geometry_types": [rows.layer.geometry_type]}
    if np.isfinite(bounds).all():
        column["bbox"] = bounds.tolist()
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
