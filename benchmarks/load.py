"""Bulk load of embeddings: geosearch's binary COPY beside psql's \\copy of the same bytes.

All fill an emptied table with the same columns, indexes and foreign keys, that of a model, in
rounds that alternate within one run; the ratio of the medians is what counts. psql sends rows that
are encoded already; geosearch encodes them, a transaction per chunk. An import from a file has its
photos to find and to lock besides, and to bring each vector to length 1. Its peak memory is that of
a process that does nothing else.

    python benchmarks/load.py --rows 20000 --dimension 1280
    python benchmarks/load.py --rows 1000000 --dimension 512 --rounds 1
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from arguments import read_arguments
from numpy.typing import NDArray
from psycopg import sql
from scratch import scratch_database
from scratch_rows import add_photos

from geosearch.database.connection import Database
from geosearch.database.copying import (
    COLUMNS,
    HEADER,
    TRAILER,
    PhotoKey,
    copy_embeddings,
    encode_rows,
)
from geosearch.database.embedding_tables import embedding_table
from geosearch.features.embedding_import import import_embeddings
from geosearch.features.model_rows import find_model

#: Rows of one transaction in geosearch's path, as `geosearch embed` commits them.
CHUNK = 2048

#: A collection of the photos before one.
_QUARTER = """
WITH made AS (INSERT INTO geosearch.collections (name) VALUES ('quarter') RETURNING id)
INSERT INTO geosearch.photos (collection_id, uri, sha256, size_bytes, width, height, format, geom,
    position_source, author, taken_at)
SELECT made.id, uri, sha256, size_bytes, width, height, format, geom,
    position_source, author, taken_at
FROM geosearch.photos, made WHERE photos.id < %s ORDER BY photos.id
"""


def main() -> None:
    arguments = read_arguments(__doc__, rows=20_000, dimension=1280, rounds=5)

    with scratch_database() as database:
        result = measure(database, arguments.rows, arguments.dimension, arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['rows']} embeddings of {result['dimension']}, {os.cpu_count()} cores")
    print(f"geosearch COPY   {result['geosearch_rows_per_s']:>10,.0f} rows/s")
    print(f"psql \\copy       {result['psql_rows_per_s']:>10,.0f} rows/s")
    print(f"ratio            {result['ratio']:>10.2f}")
    for kind in ("npy", "parquet"):
        rate, ratio = result[f"{kind}_rows_per_s"], result[f"{kind}_ratio"]
        few, many = result[f"{kind}_quarter_mb"], result[f"{kind}_mb"]
        print(f"import .{kind:<9}{rate:>10,.0f} rows/s, ratio {ratio:.2f}", end="; ")
        print(f"peak {few:,.0f} MB for a quarter of the rows, {many:,.0f} MB for all")


def measure(database: Database, rows: int, dimension: int, rounds: int) -> dict[str, float]:
    """Median rates of both paths over alternating rounds, and their ratio."""
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((rows, dimension), np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        with database.connection() as connection:
            lat, lon = rng.uniform(-90, 90, rows), rng.uniform(-180, 180, rows)
            model, photos = add_photos(connection, dimension, lat, lon)
            connection.execute(_QUARTER, (photos[rows // 4].photo_id,))
        file = Path(folder) / "embeddings.pgcopy"
        with file.open("wb") as stream:
            stream.write(HEADER)
            for some, vectors in chunks(photos, embeddings):
                stream.write(encode_rows(model, some, vectors))
            stream.write(TRAILER)
        imports = files(Path(folder), embeddings)
        memory = {
            f"{kind}{part}": peak_mb(database.url, path, f"{kind}{part}")
            for kind, paths in imports.items()
            for part, path in zip(("_quarter_mb", "_mb"), paths, strict=True)
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in imports}
        for _ in range(rounds):
            ours.append(timed(database, model, lambda: load(database, model, photos, embeddings)))
            theirs.append(timed(database, model, lambda: psql_copy(database.url, model, file)))
            for kind, (_, path) in imports.items():
                work = partial(bring, database, path, f"{kind}_mb")
                with database.connection() as connection:
                    external = find_model(connection, f"external:{kind}_mb").id
                seconds[kind].append(timed(database, external, work))
    fast, reference = rows / statistics.median(ours), rows / statistics.median(theirs)
    rates = {kind: rows / statistics.median(each) for kind, each in seconds.items()}
    return memory | {
        **{f"{kind}_rows_per_s": rate for kind, rate in rates.items()},
        **{f"{kind}_ratio": rate / reference for kind, rate in rates.items()},
        "rows": rows,
        "dimension": dimension,
        "geosearch_rows_per_s": fast,
        "psql_rows_per_s": reference,
        "ratio": fast / reference,
    }


def files(folder: Path, embeddings: NDArray[np.float32]) -> dict[str, list[Path]]:
    """A quarter and all of the embeddings as .npy and as Parquet, called as their collections."""
    made: dict[str, list[Path]] = {"npy": [], "parquet": []}
    for name, count in (("quarter", len(embeddings) // 4), ("benchmark", len(embeddings))):
        some = embeddings[:count]
        made["npy"].append(folder / f"{name}.npy")
        np.save(made["npy"][-1], some)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(some.ravel()), some.shape[1])
        uris = [f"/benchmark/{number}" for number in range(1, count + 1)]
        made["parquet"].append(folder / f"{name}.parquet")
        table = pa.table({"uri": uris, "embedding": lists})
        pq.write_table(table, made["parquet"][-1], row_group_size=10_000)
    return made


def bring(database: Database, path: Path, model: str) -> None:
    """geosearch's path from a file: by row of a matrix, by uri of a table."""
    match = "row" if path.suffix == ".npy" else "uri"
    import_embeddings(database, path, model=model, collection=path.stem, match=match)


def peak_mb(url: str, path: Path, model: str) -> float:
    """The peak memory of a process that imports a file."""
    ran = subprocess.run(
        [sys.executable, __file__, "--alone", url, path, model],
        capture_output=True,
        check=True,
        text=True,
    )
    return float(ran.stdout)


def alone(url: str, path: str, model: str) -> None:
    """Import a file, and print the peak memory of that."""
    with Database(url) as database:
        bring(database, Path(path), model)
    # Not by getrusage, which counts the memory of the process that made this one.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    print(int(peak) / 1024)


def timed(database: Database, model: int, work: Callable[[], None]) -> float:
    """Seconds of one load into the emptied partition."""
    with database.connection() as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(embedding_table(model)))
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def load(
    database: Database, model: int, photos: list[PhotoKey], embeddings: NDArray[np.float32]
) -> None:
    """geosearch's path: encode and COPY, a transaction per chunk."""
    for some, vectors in chunks(photos, embeddings):
        with database.connection() as connection:
            copy_embeddings(connection, model, some, vectors)


def chunks(
    photos: list[PhotoKey], embeddings: NDArray[np.float32]
) -> Iterator[tuple[list[PhotoKey], NDArray[np.float32]]]:
    """The rows of each transaction."""
    for start in range(0, len(photos), CHUNK):
        yield photos[start : start + CHUNK], embeddings[start : start + CHUNK]


def psql_copy(url: str, model: int, file: Path) -> None:
    """The peer: psql reads the encoded file."""
    psql = shutil.which("psql")
    assert psql is not None, "psql is not installed"
    columns = ", ".join(COLUMNS)
    subprocess.run(
        [
            psql,
            url,
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            f"\\copy geosearch.embeddings_m{model} ({columns}) from '{file}' (format binary)",
        ],
        check=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        alone(*sys.argv[2:])
    else:
        main()
