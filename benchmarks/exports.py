"""Exports of many photos: processor time and memory by format, beside GDAL's own ogr2ogr.

Both write the same rows of the same database to the same format, each in a process of its own and
in turns. Memory is the largest that the process had; that it does not follow the rows shows when
--rows takes several values. ogr2ogr is left out where it is not installed, or lacks a format.

    python benchmarks/exports.py --rows 100000 1000000
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from scratch import scratch_database

from geosearch.database.collection_rows import ensure_collection
from geosearch.database.connection import Database

FORMATS = {
    ".gpkg": "GPKG",
    ".parquet": "Parquet",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".kml": "KML",
    ".csv": "CSV",
}

_MAKE_PHOTOS = """
INSERT INTO geosearch.photos (collection_id, uri, sha256, size_bytes, width, height, format, geom,
    position_source, author, taken_at, licence, accuracy_m, title)
SELECT %(collection)s, '/photos/' || i || '.jpg', sha256(i::text::bytea), 1, 4000, 3000, 'JPEG',
    ST_SetSRID(ST_Point(random() * 360 - 180, random() * 170 - 85), 4326), 'exif',
    'author ' || i %% 1000, timestamptz '2010-01-01 00:00Z' + i * interval '5 minutes', 'CC-BY-4.0',
    10, 'Photo ' || i
FROM generate_series((SELECT count(*) FROM geosearch.photos) + 1, %(rows)s) AS i
"""

_SELECT = """
SELECT photos.id, name AS collection, uri, title, author, licence, taken_at, accuracy_m,
    position_source, source_id, width, height, geom
FROM geosearch.photos JOIN geosearch.collections ON collections.id = collection_id
ORDER BY photos.id
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    options = parser.parse_args()
    print(
        f"{'rows':>9} {'format':<9} {'writer':<9} {'s':>7} {'cpu s':>7} {'MiB':>6} {'file MB':>8}"
    )
    with scratch_database() as database, TemporaryDirectory() as folder:
        for rows in sorted(options.rows):
            make_photos(database, rows)
            for ending in options.formats:
                for writer, command in commands(database, Path(folder) / f"x{ending}").items():
                    output = Path(command.pop(0))
                    seconds, processor, mebibytes, code = run(command)
                    if code:
                        continue
                    print(
                        f"{rows:>9,} {ending:<9} {writer:<9} {seconds:>7.1f} "
                        f"{processor:>7.1f} {mebibytes:>6.0f} "
                        f"{output.stat().st_size / 1e6:>8.1f}",
                        flush=True,
                    )
                    output.unlink()


def make_photos(database: Database, rows: int) -> None:
    with database.connection() as connection:
        collection = ensure_collection(connection, "benchmark")
        connection.execute(_MAKE_PHOTOS, {"collection": collection, "rows": rows})
        connection.execute("ANALYZE geosearch.photos_open")


def commands(database: Database, output: Path) -> dict[str, list[str]]:
    """Writer → file and command."""
    ours = str(output.with_stem("geosearch"))
    geosearch = [str(Path(sys.executable).with_name("geosearch")), "export", "photos", "-o", ours]
    os.environ["GEOSEARCH_DATABASE_URL"] = database.url
    found = {"geosearch": [ours, *geosearch]}
    if shutil.which("ogr2ogr"):
        theirs = str(output.with_stem("ogr2ogr"))
        source = [f"PG:{database.url}", "-sql", _SELECT, "-nln", "photos"]
        driver = FORMATS[output.suffix]
        found["ogr2ogr"] = [theirs, "ogr2ogr", "-f", driver, theirs, *source]
    return found


def run(command: list[str]) -> tuple[float, float, float, int]:
    """Seconds, processor seconds, largest memory in MiB, exit code."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, processor = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return seconds, processor, usage.ru_maxrss / 1024, process.returncode


if __name__ == "__main__":
    main()
