"""Layers into files; the format follows from the file's ending."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from geosearch.atomic_files import replacing
from geosearch.errors import InputError
from geosearch.export.gdal import write_flatgeobuf, write_geopackage
from geosearch.export.geojson import write_geojson
from geosearch.export.geoparquet import write_geoparquet
from geosearch.export.kml import write_kml
from geosearch.export.table import write_csv
from geosearch.layers.layer_rows import LayerRows
from geosearch.waiting import Progress

#: Formats of one layer, and formats of one or several.
_OF_ONE: dict[str, Callable[[Path, LayerRows], None]] = {
    ".parquet": write_geoparquet,
    ".fgb": write_flatgeobuf,
    ".kml": write_kml,
    ".csv": write_csv,
}
_OF_SEVERAL: dict[str, Callable[[Path, list[LayerRows]], None]] = {
    ".gpkg": write_geopackage,
    ".geojson": write_geojson,
    ".json": write_geojson,
}
ENDINGS = (*_OF_SEVERAL, *_OF_ONE)

#: Formats without a place for a row without a position.
_LOCATED_ONLY = {".fgb"}


def write_layers(
    path: Path,
    parts: list[LayerRows],
    progress: Progress | None = None,
    *,
    safe_csv: bool = True,
) -> dict[str, int]:
    """Write layers to a file, whole or not at all; returns the number of rows of each.

    Rows are streamed: memory does not grow with them. A GeoPackage that exists keeps its other
    layers; any other file is replaced. FlatGeobuf has no rows without a position. `progress` is
    called with the rows written so far. `safe_csv`: text in a .csv begins no formula.

    Raises
    ------
    InputError
        The ending is none of `ENDINGS`, the format holds only one layer, or the file cannot be
        written.
    MissingExtraError
        The format needs pyogrio.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"{path} has no ending that geosearch writes", f"Endings: {', '.join(ENDINGS)}."
        )
    if len(parts) > 1 and ending not in _OF_SEVERAL:
        raise InputError(
            f"{path}: {ending} holds one layer only",
            f"Export layers one by one, or all to one of: {', '.join(_OF_SEVERAL)}.",
        )
    written: dict[str, int] = {}

    def counted(rows: LayerRows) -> Generator[pa.RecordBatch]:
        written[rows.layer.name] = 0
        for every in rows.batches:
            located_only = ending in _LOCATED_ONLY
            batch = every.filter(every["geometry"].is_valid()) if located_only else every
            yield batch
            written[rows.layer.name] += batch.num_rows
            if progress is not None:
                progress(sum(written.values()), None)

    with ExitStack() as sources, replacing(path) as part:
        for rows in parts:
            # Left open after an error, it would be closed whenever it is collected as garbage, when
            # somebody else may be using the connection.
            sources.enter_context(closing(rows.batches))
        parts = [replace(rows, batches=counted(rows)) for rows in parts]
        if ending == ".gpkg" and path.exists():
            shutil.copyfile(path, part)  # GDAL adds to it
        if ending in _OF_SEVERAL:
            _OF_SEVERAL[ending](part, parts)
        elif ending == ".csv":
            write_csv(part, parts[0], safe=safe_csv)
        else:
            _OF_ONE[ending](part, parts[0])
    return written
