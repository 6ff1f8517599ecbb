"""Embeddings out of the database, into files that others read, and `import_embeddings`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import path as as_path
from geosearch.atomic_files import replacing
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.features.backbones import Backbone
from geosearch.features.external_vectors import BLOCK
from geosearch.features.model_rows import find_model
from geosearch.json_record import Record
from geosearch.parallel import batched

# Of photos without a known position, too: what is imported by counting rows counts all photos.
_ALL = """
FROM (
    SELECT photo_id, model_id, collection_id, embedding FROM geosearch.embeddings
    UNION ALL SELECT photo_id, model_id, collection_id, embedding FROM geosearch.queries
) AS e
"""
_OF = """
WHERE e.model_id = %(model)s
    AND (%(collection)s::bigint IS NULL OR e.collection_id = %(collection)s)
"""
_COUNT = f"SELECT count(*) {_ALL} {_OF}"
_ROWS = f"""
SELECT p.id, p.uri, p.source_id, p.sha256, ST_AsBinary(p.geom), e.embedding
{_ALL} JOIN geosearch.photos AS p ON p.id = e.photo_id {_OF}
ORDER BY e.photo_id
"""
#: Of a row: id, uri, source_id, sha256, WKB if the position is known, and the vector (D).
_Row = tuple[int, str, str | None, bytes, bytes | None, NDArray[np.float32]]


@dataclass(frozen=True)
class Exported(Record):
    """What was written: embeddings, and beside a matrix the uris of its rows."""

    file: str
    keys: str | None
    rows: int
    dimension: int


def export_embeddings(
    database: Database,
    output: str | PathLike[str],
    *,
    model: str | Backbone,
    collection: str | None = None,
) -> Exported:
    """Write the embeddings of a model, in the order of their photos' ids.

    Those of photos without a known position, too, which have no geometry then. `output` ends in
    .parquet (GeoParquet with id, uri, source_id and sha256), .npy or .safetensors (float32, and the
    uris in OUTPUT.txt), or .tsv (`uri`, tab, pgvector's text). Memory does not grow with the rows;
    the file is written whole or not at all.

    Raises
    ------
    InputError
        The ending is of no format, there is nothing to write, or the file cannot be written.
    NotFoundError
        There is no such model or collection.
    """
    file = Path(as_path("output", output))
    writer = _WRITERS.get(file.suffix.lower())
    if writer is None:
        raise InputError(f"`output`: no format is known by the ending {file.suffix!r}", _HELP)
    with database.own_connection() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = find_model(connection, model)
        key = None if collection is None else find_collection(connection, collection)
        values = {"model": row.id, "collection": key}
        ((count,),) = connection.execute(_COUNT, values).fetchall()
        if not count:
            raise InputError(
                f"there are no embeddings of {row.name} here",
                "Embed its photos, or name another model or collection: geosearch models list",
            )
        with connection.cursor("embeddings", binary=True) as cursor:
            cursor.itersize = BLOCK
            rows: Iterator[_Row] = (
                (*rest, np.asarray(vector.to_numpy(), np.float32))
                for *rest, vector in cursor.execute(_ROWS, values)
            )
            keys = file.with_name(f"{file.name}.txt") if file.suffix.lower() in _MATRICES else None
            with replacing(file) as part:
                if keys is None:
                    writer(part, rows, count, row.dimension)
                else:
                    with replacing(keys) as lines, lines.open("w", encoding="utf-8") as stream:
                        writer(part, _noted(rows, stream), count, row.dimension)
    return Exported(str(file), str(keys) if keys else None, int(count), row.dimension)


def _noted(rows: Iterator[_Row], stream: IO[str]) -> Iterator[_Row]:
    """The rows, with the uri of each in a line."""
    for row in rows:
        stream.write(f"{_line(row[1])}\n")
        yield row


def _line(uri: str) -> str:
    if re.search(r"[\t\n\r]", uri):
        raise InputError(f"the uri {uri!r} does not fit in a line", "Export to .parquet.")
    return uri


def _npy(part: Path, rows: Iterator[_Row], count: int, dimension: int) -> None:
    with part.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, dimension)}
        np.lib.format.write_array_header_1_0(stream, header)
        _append(stream, rows)


def _safetensors(part: Path, rows: Iterator[_Row], count: int, dimension: int) -> None:
    about = {
        "dtype": "F32",
        "shape": [count, dimension],
        "data_offsets": [0, 4 * count * dimension],
    }
    header = json.dumps({"embeddings": about}).encode()
    header += b" " * (-len(header) % 8)
    with part.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        _append(stream, rows)


def _append(stream: IO[bytes], rows: Iterator[_Row]) -> None:
    for block in batched(rows, BLOCK):
        stream.write(np.stack([row[5] for row in block]).astype("<f4").tobytes())


def _text(part: Path, rows: Iterator[_Row], _count: int, _dimension: int) -> None:
    with part.open("w", encoding="utf-8") as stream:
        for row in rows:
            numbers = ",".join(map(str, row[5].tolist()))
            stream.write(f"{_line(row[1])}\t[{numbers}]\n")


def _parquet(part: Path, rows: Iterator[_Row], _count: int, dimension: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields: dict[str, Any] = {
        "id": pa.int64(),
        "uri": pa.string(),
        "source_id": pa.string(),
        "sha256": pa.string(),
        "geometry": pa.binary(),
        "embedding": pa.list_(pa.float32(), dimension),
    }
    schema = pa.schema(fields)
    column = {"encoding": "WKB", "geometry_types": ["Point"]}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for block in batched(rows, BLOCK):
            *columns, vectors = map(list, zip(*block, strict=True))
            columns[3] = [digest.hex() for digest in columns[3]]
            flat = pa.array(np.concatenate(vectors))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, dimension))
            writer.write_batch(pa.record_batch(columns, schema=schema))
        writer.add_key_value_metadata({"geo": json.dumps(geo)})


_MATRICES = (".npy", ".safetensors")
_WRITERS: dict[str, Callable[[Path, Iterator[_Row], int, int], None]] = {
    ".npy": _npy,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".tsv": _text,
}
_HELP = f"Give a file ending in {', '.join(_WRITERS)}."
