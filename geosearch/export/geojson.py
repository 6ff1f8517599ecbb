"""Layers as GeoJSON (RFC 7946)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from geosearch.layers.layer_rows import LayerRows

#: About a centimetre on the ground.
_DECIMALS = 7

# Times are all that JSON does not know of itself.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=datetime.isoformat).encode


def write_geojson(path: Path, parts: list[LayerRows]) -> None:
    """Write one FeatureCollection, a feature a line; the property `kind` tells layers apart.

    A row without a position is a feature with a null geometry. Memory holds one batch.
    """
    separator = "\n"
    with path.open("w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        for rows in parts:
            for batch in rows.batches:
                for feature in _features(rows, batch):
                    stream.write(separator + feature)
                    separator = ",\n"
        stream.write("\n]}\n")


def _features(rows: LayerRows, batch: pa.RecordBatch) -> Iterator[str]:
    shapes = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
    shapes = shapely.transform(shapes, lambda points: np.round(points, _DECIMALS))
    shapes = shapely.orient_polygons(shapes, exterior_cw=False)
    values = batch.select(rows.fields.names).to_pylist()
    for row, geometry in zip(values, shapely.to_geojson(shapes), strict=True):
        properties = {"kind": rows.layer.kind, **row}
        text = _encode(properties)
        yield f'{{"type": "Feature", "geometry": {geometry or "null"}, "properties": {text}}}'
