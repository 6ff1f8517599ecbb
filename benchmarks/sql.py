"""Places found in SQL alone beside those of Python: are they the same, and what do they cost.

Photos all over the Earth that look like their surroundings, half of them in clusters as photos
are. Each query is localized by `geosearch.localize` in SQL, and by `nearest` and `locate` in
Python, in turn, on the same database and in the same run. Both give an estimate, an agreement and
two radii; neither draws regions. The same again by a calibration, fitted to other queries: both
then give probabilities and presence besides.

    python benchmarks/sql.py
    python benchmarks/sql.py --rows 100000 --queries 200 --json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from scratch import scratch_database
from scratch_rows import add_photos

from geosearch.calibration import Calibrated, Calibration, Fitted
from geosearch.calibration.calibration_fit import fit
from geosearch.calibration.calibration_rows import count_passing, latest_calibration, save
from geosearch.calibration.domain import Domain
from geosearch.calibration.labelled_example import Example
from geosearch.database.connection import Connection, Database
from geosearch.database.copying import copy_embeddings
from geosearch.density import locate, modes
from geosearch.density.kernel import Mixture
from geosearch.density.modes import find_modes
from geosearch.density.weights import neighbour_weights
from geosearch.retrieval import EVERYTHING, nearest
from geosearch.retrieval.filters import Near
from geosearch.retrieval.indexes import build_index
from geosearch.sphere import destination, great_circle_km, unit_vectors
from geosearch.thresholds import WORLD_KM

Array = NDArray[np.float64]
T = TypeVar("T")

DIMENSION = 256
K = 100
#: What SQL may take beside Python, and how far apart their estimates may be.
RATIO, METRES = 3.0, 1.0
#: Answers of each system before those that count.
WARM_UP = 10
#: Queries that the calibration is fitted to.
LABELLED = 60
#: In this order, or in the other.
SYSTEMS = ("sql", "python", "calibrated_sql", "calibrated_python")


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
    calibrated_sql_p50_ms: float
    calibrated_sql_p95_ms: float
    calibrated_python_p50_ms: float
    calibrated_python_p95_ms: float
    calibrated_ratio: float
    farthest_probability: float
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
        calibrate(database, model)
        result = measure(database, model, arguments.rows, arguments.queries, arguments.cases)
    if arguments.json:
        print(json.dumps(asdict(result)))
        return
    print(
        f"{result.rows:,} photos of {DIMENSION} dimensions, k = {K}, {result.queries} queries, "
        f"{result.by_index} of them answered by the index"
    )
    print(f"{'':18}{'p50 ms':>10}{'p95 ms':>10}")
    for name, p50, p95 in (
        ("SQL", result.sql_p50_ms, result.sql_p95_ms),
        ("Python", result.python_p50_ms, result.python_p95_ms),
        ("calibrated SQL", result.calibrated_sql_p50_ms, result.calibrated_sql_p95_ms),
        ("calibrated Python", result.calibrated_python_p50_ms, result.calibrated_python_p95_ms),
    ):
        print(f"{name:18}{p50:10.1f}{p95:10.1f}")
    print(f"ratio of p50 {result.ratio:.2f} (at most {RATIO}): {passed(result.ratio <= RATIO)}")
    print(
        f"ratio of p50, calibrated {result.calibrated_ratio:.2f}; probabilities and presences "
        f"apart by at most {result.farthest_probability:.1e}"
    )
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
    times: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    farthest = farthest_radius = farthest_probability = 0.0
    by_index = 0
    with database.own_connection(autocommit=True) as connection:
        known = latest_calibration(connection, model)
        assert known is not None
        for number, query in enumerate(vectors):
            ways: dict[str, Callable[[], Answer]] = {
                "sql": partial(in_sql, connection, query, K),
                "python": partial(in_python, database, model, query),
                "calibrated_sql": partial(in_sql, connection, query, None),
                "calibrated_python": partial(calibrated, database, model, query, known.fitted),
            }
            found: dict[str, Answer] = {}
            for name in SYSTEMS if number % 2 else SYSTEMS[::-1]:
                ms, found[name] = timed(ways[name])
                if number >= WARM_UP:
                    times[name].append(ms)
            if number < WARM_UP:
                continue
            by_index += {one.strategy for one in found.values()} == {"ann"}
            for prefix in ("", "calibrated_"):
                ours, theirs = found[f"{prefix}sql"], found[f"{prefix}python"]
                farthest = max(farthest, apart_m(ours.lat, ours.lon, theirs.lat, theirs.lon))
                for radius, other in zip(ours.radii_km, theirs.radii_km, strict=True):
                    farthest_radius = max(farthest_radius, abs(radius / other - 1))
                for share, other in zip(ours.shares, theirs.shares, strict=True):
                    farthest_probability = max(farthest_probability, abs(share - other))
        random_farthest = compare_modes(connection, cases)
    p50 = {name: float(np.median(values)) for name, values in times.items()}
    p95 = {name: float(np.percentile(values, 95)) for name, values in times.items()}
    return Result(
        rows=rows,
        queries=queries,
        k=K,
        by_index=by_index,
        sql_p50_ms=p50["sql"],
        sql_p95_ms=p95["sql"],
        python_p50_ms=p50["python"],
        python_p95_ms=p95["python"],
        ratio=p50["sql"] / p50["python"],
        calibrated_sql_p50_ms=p50["calibrated_sql"],
        calibrated_sql_p95_ms=p95["calibrated_sql"],
        calibrated_python_p50_ms=p50["calibrated_python"],
        calibrated_python_p95_ms=p95["calibrated_python"],
        calibrated_ratio=p50["calibrated_sql"] / p50["calibrated_python"],
        farthest_probability=farthest_probability,
        farthest_m=farthest,
        farthest_radius_share=farthest_radius,
        random_cases=cases,
        random_farthest_m=random_farthest,
    )


def calibrate(database: Database, model: int) -> None:
    """Store a calibration, fitted to queries and to copies without the references near them."""
    rng = np.random.default_rng(4)
    lat, lon = anywhere(rng, LABELLED)
    present, absent = [], []
    for place, query in zip(zip(lat, lon, strict=True), looks(rng, lat, lon), strict=True):
        truth = float(place[0]), float(place[1])
        found = nearest(database, model, query, K)
        present.append(Example(found.lat, found.lon, found.distance, truth))
        hidden = nearest(database, model, query, K, ~Near(*truth, present[-1].near_km))
        absent.append(Example(hidden.lat, hidden.lon, hidden.distance, truth))
    fitted = fit(present, absent)
    with database.connection() as connection:
        references = count_passing(connection, model, EVERYTHING)
        made, held = f"{datetime.now(UTC):%Y-%m-%d}", {"50": 0.5, "90": 0.9}
        domain = Domain("made up", LABELLED, made, references, EVERYTHING.to_json(), held)
        save(
            connection,
            Calibration(
                model_id=model,
                model="benchmark",
                where=EVERYTHING,
                fitted=replace(fitted, domain=domain),
                figures={},
                queries="made up",
                options={},
                n_fit=LABELLED,
                n_check=LABELLED,
                failed=0,
                software={},
            ),
        )


@dataclass(frozen=True)
class Answer:
    """Estimate in degrees, two radii, probabilities with the presence last, and the strategy."""

    lat: float
    lon: float
    radii_km: tuple[float, float]
    shares: tuple[float, ...]
    strategy: str


_LOCALIZE = """
SELECT
    ST_Y(estimate), ST_X(estimate), radius_50_km, radius_90_km, probability_within_km, presence,
    strategy
FROM geosearch.localize(%s, 'benchmark', %s)
"""


def in_sql(connection: Connection, query: NDArray[np.float32], k: int | None) -> Answer:
    """With `k`, without calibration."""
    row = connection.execute(_LOCALIZE, (HalfVector(query), k), prepare=True).fetchone()
    assert row is not None
    lat, lon, half, most, within, presence, strategy = row
    shares = () if k else (*(within[str(km)] for km in WORLD_KM), presence)
    return Answer(lat, lon, (half, most), shares, strategy)


def in_python(database: Database, model: int, query: NDArray[np.float32]) -> Answer:
    found = nearest(database, model, query, K)
    place = locate(found.lat, found.lon, found.distance, regions=False)
    radii = place.radius_km[0.5], place.radius_km[0.9]
    return Answer(place.lat, place.lon, radii, (), found.plan.strategy)


def calibrated(
    database: Database, model: int, query: NDArray[np.float32], fitted: Fitted
) -> Answer:
    found = nearest(database, model, query, fitted.k)
    places = found.lat, found.lon, found.distance
    answer = Calibrated(fitted, *places, fitted.place(*places))
    judged = answer.judge((0.5, 0.9), regions=False)
    answer.fits()
    shares = *judged.probability_within_km.values(), answer.presence or 0.0
    radii = judged.radius_km[0.5], judged.radius_km[0.9]
    return Answer(*answer.estimate, radii, shares, found.plan.strategy)


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
