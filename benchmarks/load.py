"""Bulk load of embeddings: geosearch's binary COPY beside psql's \\copy of the same bytes.

Both fill the same table, with its indexes and constraints, in rounds that alternate within one
run; the ratio of the medians is what counts.

    python benchmarks/load.py --rows 20000 --dimension 1280
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
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

#: Rows of one transaction in geosearch's path, as `geosearch embed` commits them.
CHUNK = 2048


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


def measure(database: Database, rows: int, dimension: int, rounds: int) -> dict[str, float]:
    """Median rates of both paths over alternating rounds, and their ratio."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(rows, dimension)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        with database.connection() as connection:
            lat, lon = rng.uniform(-90, 90, rows), rng.uniform(-180, 180, rows)
            model, photos = add_photos(connection, dimension, lat, lon)
        file = Path(folder) / "embeddings.pgcopy"
        file.write_bytes(HEADER + encode_rows(model, photos, embeddings) + TRAILER)
        for _ in range(rounds):
            ours.append(timed(database, model, lambda: load(database, model, photos, embeddings)))
            theirs.append(timed(database, model, lambda: psql_copy(database.url, model, file)))
    fast, reference = rows / statistics.median(ours), rows / statistics.median(theirs)
    return {
        "rows": rows,
        "dimension": dimension,
        "geosearch_rows_per_s": fast,
        "psql_rows_per_s": reference,
        "ratio": fast / reference,
    }


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
    for start in range(0, len(photos), CHUNK):
        with database.connection() as connection:
            copy_embeddings(
                connection,
                model,
                photos[start : start + CHUNK],
                embeddings[start : start + CHUNK],
            )


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
    main()
