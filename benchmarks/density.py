"""Density: time per photo and difference of the answers, beside other ways to the same place.

All find the densest place of the same weighted neighbours with a bandwidth of 200 km, in turn for
each photo. Times are medians of processor time, which waiting for other processes does not add
to; those of the slow grids are of the first photos only:

- `geosearch, modes`: all modes with their mass, by `locate` in machine code, as many answers are
  given; `NumPy`: the same as one answer is given; `regions`: the outlines for 50 % and 90 %.
- `authors' grid`: method im2gps, whose answers differ by design.
- `SciPy, grid`: scipy.stats.vonmises_fisher at the resolution of the authors' grid, on points 1°
  apart all over the globe and 0.1° apart round the best of them. It finds one mode.
- `SciPy, same points`: the same function on just those points at which our climb evaluates the
  density: all modes, but what led to the points is not counted.
- `scikit-learn, grid`: its KernelDensity with the haversine metric, if it is installed.

    OMP_NUM_THREADS=1 python benchmarks/density.py
    OMP_NUM_THREADS=1 python benchmarks/density.py --photos 50 --k 100 --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.stats import vonmises_fisher

from geosearch.density import Mixture, climb, locate, modes, neighbour_weights
from geosearch.density.regions import highest_density_regions
from geosearch.installation import remedy
from geosearch.sphere import EARTH_RADIUS_KM, Array, destination, great_circle_km, unit_vectors

try:
    from sklearn.neighbors import KernelDensity
except ImportError:
    KernelDensity = None

BANDWIDTH_KM = 200.0
KAPPA = (EARTH_RADIUS_KM / BANDWIDTH_KM) ** 2

#: Half the side of the fine grid: the coarse one is off by a cell at most.
WINDOW_DEG = 1.0

Neighbours = tuple[Array, Array, Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20, help="photos of each kind")
    parser.add_argument("--on-grids", type=int, default=2, help="photos of these for the grids")
    parser.add_argument("--k", type=int, nargs="+", default=[100, 1000], help="neighbours")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()

    modes.PATIENCE = 0
    results = []
    for k in arguments.k:
        for kind, draw in KINDS.items():
            photos = [draw(np.random.default_rng([k, i]), k) for i in range(arguments.photos)]
            results.append({"k": k, "neighbours": kind, **measure(photos, arguments.on_grids)})
            if not arguments.json:
                show(results[-1])
    if arguments.json:
        print(json.dumps(results, indent=2))
    elif KernelDensity is None:
        print(f"scikit-learn: not installed ({remedy('bench')})")


def cities(rng: np.random.Generator, k: int) -> Neighbours:
    """Clusters of all sizes round a few places, and a fifth anywhere."""
    count = int(rng.integers(3, 15))
    centre_lat, centre_lon = _anywhere(rng, count)
    of = rng.choice(count, k, p=rng.dirichlet(np.full(count, 0.6)))
    spread = np.exp(rng.uniform(np.log(1), np.log(400), count))[of]
    away = spread * rng.rayleigh(1, k)
    lat, lon = destination(centre_lat[of], centre_lon[of], rng.uniform(0, 360, k), away)
    stray, (far_lat, far_lon) = rng.random(k) < 0.2, _anywhere(rng, k)
    return np.where(stray, far_lat, lat), np.where(stray, far_lon, lon), _distances(rng, k)


def one_place(rng: np.random.Generator, k: int) -> Neighbours:
    """All at one position."""
    lat, lon = _anywhere(rng, 1)
    return np.repeat(lat, k), np.repeat(lon, k), _distances(rng, k)


def continent(rng: np.random.Generator, k: int) -> Neighbours:
    """Evenly within 2,000 km of a place."""
    away = 2000 * np.sqrt(rng.uniform(0, 1, k))
    lat, lon = destination(*_anywhere(rng, 1), rng.uniform(0, 360, k), away)
    return lat, lon, _distances(rng, k)


KINDS = {"cities": cities, "one place": one_place, "continent": continent}


def _anywhere(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    return np.degrees(np.arcsin(rng.uniform(-0.7, 0.9, count))), rng.uniform(-180, 180, count)


def _distances(rng: np.random.Generator, k: int) -> Array:
    return np.sort(rng.gamma(20, 0.02, k))


def measure(photos: list[Neighbours], on_grids: int) -> dict[str, Any]:
    """Median milliseconds of each way, and kilometres from our answer."""
    ways: dict[str, Callable[[Neighbours], tuple[float, float] | None]] = {
        "geosearch, modes": ours,
        "geosearch, NumPy": by_numpy,
        "geosearch, regions": regions,
        "authors' grid": authors_grid,
        "SciPy, same points": scipy_same_points,
        "SciPy, grid": lambda photo: on_grid(photo, scipy_density),
    }
    if KernelDensity is not None:
        ways["scikit-learn, grid"] = lambda photo: on_grid(photo, scikit_density)
    times: dict[str, list[float]] = {way: [] for way in ways}
    apart: dict[str, list[float]] = {way: [] for way in ways}
    for number, photo in enumerate(photos):
        answer = ours(photo)
        _points_climbed(photo)
        for way, run in ways.items():
            if number >= on_grids and way.endswith(", grid"):
                continue
            started = time.process_time()
            other = run(photo)
            times[way].append(1000 * (time.process_time() - started))
            if other is not None:
                apart[way].append(float(great_circle_km(*answer, *other)))
    return {
        "ms": {way: statistics.median(taken) for way, taken in times.items() if taken},
        "km_from_ours": {
            way: {"median": statistics.median(found), "largest": max(found)}
            for way, found in apart.items()
            if found and way != "geosearch, modes"
        },
    }


def ours(photo: Neighbours) -> tuple[float, float]:
    place = locate(*photo, bandwidth_km=BANDWIDTH_KM, levels=(), regions=False)
    return place.lat, place.lon


def by_numpy(photo: Neighbours) -> tuple[float, float]:
    with patch.object(modes, "_climber", lambda _: climb.climb):
        return ours(photo)


def regions(photo: Neighbours) -> None:
    lat, lon, distance = photo
    weights = neighbour_weights(distance, "power:10")
    highest_density_regions(Mixture.at(lat, lon, weights, BANDWIDTH_KM), (0.5, 0.9))


def authors_grid(photo: Neighbours) -> tuple[float, float]:
    place = locate(*photo, method="im2gps", levels=(), regions=False)
    return place.lat, place.lon


def on_grid(
    photo: Neighbours, density: Callable[[Neighbours, Array, Array], Array]
) -> tuple[float, float]:
    """The densest point of a grid of 1°, then of one of 0.1° round it."""
    lat, lon = np.arange(-89.5, 90), np.arange(-179.5, 180)
    best = _densest(photo, density, lat, lon)
    fine = np.arange(-WINDOW_DEG, WINDOW_DEG + 0.05, 0.1)
    around = np.clip(best[0] + fine, -90, 90), best[1] + fine / np.cos(np.radians(best[0]))
    return _densest(photo, density, *around)


def _densest(
    photo: Neighbours,
    density: Callable[[Neighbours, Array, Array], Array],
    lat: Array,
    lon: Array,
) -> tuple[float, float]:
    rows, columns = (axis.ravel() for axis in np.meshgrid(lat, lon, indexing="ij"))
    best = int(density(photo, rows, columns).argmax())
    return float(rows[best]), float(columns[best])


def scipy_density(photo: Neighbours, lat: Array, lon: Array) -> Array:
    return _scipy_at(photo, unit_vectors(lat, lon))


def _scipy_at(photo: Neighbours, points: Array) -> Array:
    weights = neighbour_weights(photo[2], "power:10")
    total = np.zeros(len(points))
    for centre, weight in zip(unit_vectors(*photo[:2]), weights, strict=True):
        total += weight * vonmises_fisher.pdf(points, centre, KAPPA)
    return total


def scikit_density(photo: Neighbours, lat: Array, lon: Array) -> Array:
    model = KernelDensity(bandwidth=BANDWIDTH_KM / EARTH_RADIUS_KM, metric="haversine")
    model.fit(
        np.radians(np.column_stack(photo[:2])),
        sample_weight=neighbour_weights(photo[2], "power:10"),
    )
    scores: Array = model.score_samples(np.radians(np.column_stack([lat, lon])))
    return scores


def scipy_same_points(photo: Neighbours) -> None:
    for points in _points_climbed(photo):
        _scipy_at(photo, points)


def _points_climbed(photo: Neighbours) -> list[Array]:
    """The points of every step of our climb, recorded beforehand."""
    key = photo[0].tobytes()
    if key not in _CLIMBED:
        found: list[Array] = []
        step = climb.step

        def record(kernels: Array, state: Array, longest: float) -> Array:
            found.append(state[: climb.REACH].T)
            return step(kernels, state, longest)

        with patch.object(climb, "step", record):
            by_numpy(photo)
        _CLIMBED[key] = found
    return _CLIMBED[key]


_CLIMBED: dict[bytes, list[Array]] = {}


def show(result: dict[str, Any]) -> None:
    print(f"\nk = {result['k']}, neighbours: {result['neighbours']}")
    base = result["ms"]["geosearch, modes"]
    print(f"{'':26}{'ms':>10}{'ratio':>9}{'km from ours: median':>24}{'largest':>10}")
    for way, taken in result["ms"].items():
        line = f"{way:26}{taken:10.2f}{taken / base:9.1f}"
        apart = result["km_from_ours"].get(way)
        if apart:
            line += f"{apart['median']:24.2f}{apart['largest']:10.2f}"
        print(line)


if __name__ == "__main__":
    main()
