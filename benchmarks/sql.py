"""Places found in SQL alone beside those of Python: are they the same, and what do they cost.

Photos all over the Earth that look like their surroundings, half of them in clusters as photos
are. Each query is localized by `geosearch.localize` in SQL, and by `nearest` and `locate` in
Python, in turn, on the same database and in the same run. Both give an estimate, an agreement and
two radii; neither draws regions.

    python benchmarks/sql.py
    python benchmarks/sql.py --rows 100000 --queries 200 --json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from scratch import scratch_database
from scratch_rows import add_photos

from geosearch.database.connection import Connection, Database
from geosearch.database.copying import copy_embeddings
from geosearch.density import Place, locate, modes
from geosearch.density.kernel import Mixture
from geosearch.density.modes import find_modes
from geosearch.density.weights import neighbour_weights
from geosearch.retrieval import Plan, nearest
from geosearch.retrieval.indexes import build_index
from geosearch.sphere import destination, great_circle_km, unit_vectors

Array = NDArray[np.float64]
T = TypeVar("T")

DIMENSION = 256
K = 100
#: What SQL may take beside Python, and how far apart their estimates may be.
RATIO, METRES = 3.0, 1.0
#: Answers of each system before those that count.
WARM_UP = 10


@dataclass(frozen=True)
class Result:
    """Both systems over all queries; times in milliseconds, distances in metres."""

    rows: int
    queries: int
    k: int
    by_index: int
    sql_p50_ms: float
    sql_p95_ms: float
    python_p50_ms: float
    python_p95_ms: float
    ratio: float
    farthest_m: float
    farthest_radius_share: float
    random_cases: int
    random_farthest_m: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--cases", type=int, default=1000, help="random cases of the density alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    modes.PATIENCE = 0  # machine code from the first answer
    with scratch_database() as database:
        model = fill(database, arguments.rows)
        result = measure(database, model, arguments.rows, arguments.queries, arguments.cases)
    if arguments.json:
        print(json.dumps(asdict(result)))
        return
    print(
        f"{result.rows:,} photos of {DIMENSION} dimensions, k = {K}, {result.queries} queries, "
        f"{result.by_index} of them answered by the index"
    )
    print(f"{'':8}{'p50 ms':>10}{'p95 ms':>10}")
    print(f"{'SQL':8}{result.sql_p50_ms:10.1f}{result.sql_p95_ms:10.1f}")
    print(f"{'Python':8}{result.python_p50_ms:10.1f}{result.python_p95_ms:10.1f}")
    print(f"ratio of p50 {result.ratio:.2f} (at most {RATIO}): {passed(result.ratio <= RATIO)}")
    print(
        f"estimates apart by at most {result.farthest_m:.4f} m, in {result.random_cases:,} random "
        f"cases {result.random_farthest_m:.4f} m (at most {METRES:g}): "
        + passed(max(result.farthest_m, result.random_farthest_m) <= METRES)
    )
    print(f"radii apart by at most {result.farthest_radius_share:.1e} of themselves")


def passed(met: bool) -> str:
    return "met" if met else "NOT MET"


def fill(database: Database, rows: int) -> int:
    """A model with photos, half of them in clusters, and an index that was not measured; its id."""
    rng = np.random.default_rng(1)
    lat, lon = anywhere(rng, rows)
    towns = max(1, rows // 100)
    crowded = rng.random(rows) < 0.5
    town = rng.integers(0, towns, rows)
    around = destination(
        lat[:towns][town], lon[:towns][town], rng.uniform(0, 360, rows), rng.exponential(20, rows)
    )
    lat, lon = np.where(crowded, around[0], lat), np.where(crowded, around[1], lon)
    with database.connection() as connection:
        model, photos = add_photos(connection, DIMENSION, lat, lon)
        for start in range(0, rows, 5000):
            part = slice(start, start + 5000)
            copy_embeddings(connection, model, photos[part], looks(rng, lat[part], lon[part]))
        connection.execute("ANALYZE geosearch.photos_open, geosearch.embeddings_open")
    build_index(database, model, DIMENSION)
    return model


def measure(database: Database, model: int, rows: int, queries: int, cases: int) -> Result:
    """Both systems answer every query in turn; the one that begins changes."""
    rng = np.random.default_rng(2)
    lat, lon = anywhere(rng, queries + WARM_UP)
    vectors = looks(rng, lat, lon)
    times: dict[str, list[float]] = {"sql": [], "python": []}
    farthest = farthest_radius = 0.0
    by_index = 0
    with database.connection() as connection:
        for number, query in enumerate(vectors):
            by_sql = partial(in_sql, connection, query)
            by_python = partial(in_python, database, model, query)
            if number % 2:
                sql_ms, found = timed(by_sql)
                python_ms, (place, plan) = timed(by_python)
            else:
                python_ms, (place, plan) = timed(by_python)
                sql_ms, found = timed(by_sql)
            if number < WARM_UP:
                continue
            times["sql"].append(sql_ms)
            times["python"].append(python_ms)
            by_index += plan.strategy == found[5] == "ann"
            farthest = max(farthest, apart_m(found[0], found[1], place.lat, place.lon))
            for level, radius in ((0.5, found[3]), (0.9, found[4])):
                share = abs(radius / place.radius_km[level] - 1)
                farthest_radius = max(farthest_radius, share)
        random_farthest = compare_modes(connection, cases)
    p50 = {name: float(np.median(values)) for name, values in times.items()}
    p95 = {name: float(np.percentile(values, 95)) for name, values in times.items()}
    return Result(
        rows,
        queries,
        K,
        by_index,
        p50["sql"],
        p95["sql"],
        p50["python"],
        p95["python"],
        p50["sql"] / p50["python"],
        farthest,
        farthest_radius,
        cases,
        random_farthest,
    )


_LOCALIZE = """
SELECT ST_Y(estimate), ST_X(estimate), agreement, radius_50_km, radius_90_km, strategy
FROM geosearch.localize(%s, 'benchmark', %s)
"""


def in_sql(
    connection: Connection, query: NDArray[np.float32]
) -> tuple[float, float, float, float, float, str]:
    row = connection.execute(_LOCALIZE, (HalfVector(query), K), prepare=True).fetchone()
    assert row is not None
    lat, lon, agreement, half, most, strategy = row
    return lat, lon, agreement, half, most, strategy


def in_python(database: Database, model: int, query: NDArray[np.float32]) -> tuple[Place, Plan]:
    found = nearest(database, model, query, K)
    return locate(found.lat, found.lon, found.distance, regions=False), found.plan


def compare_modes(connection: Connection, cases: int) -> float:
    """The greatest distance in metres between modes found by both, over random neighbours."""
    rng = np.random.default_rng(3)
    poles_and_edges = unit_vectors([90, -90, 10, -60, 89.9], [0, 0, 180, -180, 180])
    farthest = 0.0
    for number in range(cases):
        clusters = rng.normal(size=(int(rng.integers(1, 15)), 3))
        clusters[0] = poles_and_edges[number % 5]
        clusters /= np.linalg.norm(clusters, axis=1, keepdims=True)
        own = rng.integers(0, len(clusters), K)
        spread = 10 ** rng.uniform(-4, -0.5, len(clusters))
        points = clusters[own] + spread[own][:, None] * rng.normal(size=(K, 3))
        lat = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
        lon = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
        weights = neighbour_weights(np.sort(rng.uniform(0.2, 0.6, K)), "power:10")
        bandwidth_km = float(rng.choice([1, 25, 200, 1000]))
        (mode, *_) = find_modes(Mixture.of_neighbours(lat, lon, weights, bandwidth_km))
        row = connection.execute(
            "SELECT lat, lon FROM geosearch.density_mode(%s, %s, %s, %s)",
            (lat.tolist(), lon.tolist(), weights.tolist(), bandwidth_km),
            prepare=True,
        ).fetchone()
        assert row is not None
        farthest = max(farthest, apart_m(row[0], row[1], mode.lat, mode.lon))
    return farthest


def timed(answer: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    given = answer()
    return 1000 * (time.perf_counter() - started), given


def apart_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    return 1000 * float(great_circle_km(lat, lon, other_lat, other_lon))


def anywhere(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    return np.degrees(np.arcsin(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)


def looks(rng: np.random.Generator, lat: Array, lon: Array) -> NDArray[np.float32]:
    """Embeddings: waves over the sphere, alike for near places, and noise."""
    waves = np.random.default_rng(0).normal(size=(3, DIMENSION)) * np.geomspace(2, 40, DIMENSION)
    vectors = np.sin(unit_vectors(lat, lon) @ waves) + rng.normal(size=(len(lat), DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, np.float32)


if __name__ == "__main__":
    main()
