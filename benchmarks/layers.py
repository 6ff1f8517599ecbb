"""Time to the first screen of a map at three zooms: all photos, by view, by cells, by tile.

Rows are fetched as QGIS does: a binary cursor, 2,000 rows at a time, geometry and key of what the
screen shows. `project` is what the project of `geosearch export qgis` shows at that scale: cells
of 222 km, cells of 56 km, photos. Half of the photos are in towns, on one of which the smaller
screens are centred. All in turns, in one run; the median is printed.

    python benchmarks/layers.py
    python benchmarks/layers.py --rows 1000000
"""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass

from arguments import read_arguments
from psycopg.types.json import Json
from scratch import scratch_database

from geosearch.database.collection_rows import ensure_collection
from geosearch.database.connection import Connection
from geosearch.database.coverage import refresh_coverage

#: Screen → degrees of longitude and latitude that it shows, and the zoom of the tile at its middle.
SCREENS = {"world": (360.0, 180.0, 0), "country": (10.0, 6.0, 6), "city": (0.4, 0.25, 10)}
#: What the project shows there, as in geosearch/gis/map_layers.py.
SHOWN = {
    "world": "geosearch.gis_coverage WHERE cell_km = 222 AND",
    "country": "geosearch.gis_coverage WHERE cell_km = 56 AND",
    "city": "geosearch.gis_photos WHERE",
}
FETCH = 2000

_MAKE_PHOTOS = """
WITH towns AS MATERIALIZED (
    SELECT i, random() * 360 - 180 AS lon, degrees(asin(random() * 1.8 - 0.9)) AS lat
    FROM generate_series(0, greatest(1, %(rows)s / 500)) AS i
)
INSERT INTO geosearch.photos (collection_id, uri, sha256, size_bytes, width, height, format, geom,
    position_source, author, taken_at)
SELECT %(collection)s, '/photos/' || number || '.jpg', sha256(number::text::bytea), 1, 4000, 3000,
    'JPEG',
    ST_SetSRID(
        CASE WHEN number %% 2 = 0 THEN
            ST_Point(random() * 360 - 180, degrees(asin(random() * 1.8 - 0.9)))
        ELSE
            ST_Point(
                greatest(-180, least(180, lon + (random() - 0.5) / 2)), lat + (random() - 0.5) / 2
            )
        END,
        4326
    ),
    'exif', 'author ' || number %% 1000, timestamptz '2010-01-01 00:00Z' + number * interval '5 min'
FROM generate_series(1, %(rows)s) AS number
JOIN towns ON towns.i = number %% (greatest(1, %(rows)s / 500) + 1)
"""


@dataclass(frozen=True)
class Result:
    """Median time in milliseconds and the rows, or bytes of a tile, that came."""

    screen: str
    what: str
    ms: float
    rows: int | None
    tile_bytes: int | None


def main() -> None:
    arguments = read_arguments(__doc__, rows=100_000, rounds=5)
    with scratch_database() as database, database.connection() as connection:
        collection = ensure_collection(connection, "benchmark")
        connection.execute("SELECT setseed(0.5)")
        connection.execute(_MAKE_PHOTOS, {"collection": collection, "rows": arguments.rows})
        connection.execute("ANALYZE geosearch.photos_open")
        start = time.perf_counter()
        cells = refresh_coverage(connection)
        first_s = time.perf_counter() - start
        connection.execute("ANALYZE geosearch.coverage_open")
        start = time.perf_counter()
        refresh_coverage(connection)
        again_s = time.perf_counter() - start
        town = connection.execute(
            "SELECT ST_X(geom), ST_Y(geom) FROM geosearch.photos "
            "WHERE uri LIKE '%1.jpg' AND abs(ST_Y(geom)) < 50 ORDER BY id LIMIT 1"
        ).fetchone()
        assert town is not None
        results = measure(connection, arguments.rounds, town)
    if arguments.json:
        coverage = {"cells": cells, "first_s": first_s, "again_s": again_s}
        print(json.dumps({"coverage": coverage, "screens": [asdict(each) for each in results]}))
        return
    print(
        f"{arguments.rows:,} photos; coverage of {cells:,} cells counted in {first_s:.1f} s, "
        f"again in {again_s:.1f} s"
    )
    print(f"{'screen':<9}{'what':<16}{'ms':>9}{'rows':>11}{'tile kB':>9}")
    for each in results:
        rows = "" if each.rows is None else f"{each.rows:,}"
        size = "" if each.tile_bytes is None else f"{each.tile_bytes / 1000:.1f}"
        print(f"{each.screen:<9}{each.what:<16}{each.ms:>9.1f}{rows:>11}{size:>9}")


def measure(connection: Connection, rounds: int, town: tuple[float, float]) -> list[Result]:
    """Everything once per round, after one round that does not count."""
    times: dict[tuple[str, str], list[float]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for number in range(rounds + 1):
        for screen, (width, height, zoom) in SCREENS.items():
            x, y = (0.0, 0.0) if screen == "world" else town
            bounds = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            for what, source in (
                ("table", "geosearch.photos WHERE"),
                ("view", "geosearch.gis_photos WHERE"),
                ("project", SHOWN[screen]),
            ):
                start = time.perf_counter()
                sizes[screen, what] = fetch(connection, source, bounds)
                if number:
                    times.setdefault((screen, what), []).append(time.perf_counter() - start)
            for layer in ("photos", "coverage"):
                start = time.perf_counter()
                sizes[screen, f"tile {layer}"] = tile(connection, zoom, bounds, layer)
                if number:
                    times.setdefault((screen, f"tile {layer}"), []).append(
                        time.perf_counter() - start
                    )
    return [
        Result(
            screen,
            what,
            1000 * statistics.median(found),
            None if what.startswith("tile") else sizes[screen, what],
            sizes[screen, what] if what.startswith("tile") else None,
        )
        for (screen, what), found in times.items()
    ]


def fetch(connection: Connection, source: str, bounds: tuple[float, float, float, float]) -> int:
    """Rows on a screen, read as QGIS's PostgreSQL provider reads them."""
    count = 0
    with connection.cursor(name="screen", binary=True) as cursor:
        cursor.execute(
            f"SELECT ST_AsBinary(geom, 'NDR'), id FROM {source} "  # noqa: S608
            "geom && ST_MakeEnvelope(%s, %s, %s, %s, 4326)",
            bounds,
        )
        while rows := cursor.fetchmany(FETCH):
            count += len(rows)
    return count


def tile(
    connection: Connection, z: int, bounds: tuple[float, float, float, float], layer: str
) -> int:
    """Bytes of the tile at the middle of a screen."""
    west, south, east, north = bounds
    x = int(((west + east) / 2 + 180) / 360 * 2**z)
    lat = math.radians((south + north) / 2)
    y = int((0.5 - math.atanh(math.sin(lat)) / (2 * math.pi)) * 2**z)
    row = connection.execute(
        "SELECT geosearch.mvt(%s, %s, %s, %s)", (z, x, y, Json({"layer": layer}))
    ).fetchone()
    assert row is not None
    return len(row[0])


if __name__ == "__main__":
    main()
