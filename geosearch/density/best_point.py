"""The point of a density that is likeliest to be near enough, where near has several meanings.

A mode may be a needle: dense, and hardly any mass in it. Who counts answers within 1, 25 and 200 km
wants the point y with the greatest mean probability, over these radii r, of an error of at most r.
With caps softened to kernels of the same area, of κᵣ = 2(R/r)², that is in closed form

    U(y) = Σᵣ Σᵢ wᵢ (κᵢᵣ/κᵣ) exp(-κᵢᵣ(1 - xᵢ·y)),   1/κᵢᵣ = 1/κᵢ + 1/κᵣ

and climbed by the same fixed point as modes are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geosearch.density.kernel import Mixture, squared_chords
from geosearch.density.levels import CLOSE, LIGHTEST
from geosearch.density.modes import Mode, find_modes
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon

#: Steps of the climb from the best of the kernels' centres.
_STEPS = 30


def best_point(mixture: Mixture, within_km: Sequence[float]) -> Array:
    """The unit vector (3,) with the greatest mean probability of an error within distances, km."""
    mixture = mixture.without_lightest(LIGHTEST).condensed(CLOSE)
    radii = 2 * (EARTH_RADIUS_KM / np.asarray(within_km, float)) ** 2
    kappa = 1 / (1 / mixture.kappa + 1 / radii[:, None])  # (r, k)
    heights = mixture.weights * kappa / radii[:, None]

    def pulls(points: Array) -> Array:
        falls = squared_chords(points, mixture.centres)[:, None] / 2
        return np.asarray(heights * np.exp(-kappa * falls))  # (n, r, k)

    best = mixture.centres[[pulls(mixture.centres).sum(axis=(1, 2)).argmax()]]
    for _ in range(_STEPS):
        moved = (pulls(best) * kappa).sum(axis=1) @ mixture.centres
        best = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(best[0])


def modes_from(mixture: Mixture, estimate: Array) -> tuple[Mode, ...]:
    """The modes of a mixture, first the one nearest to an estimate, a unit vector (3,)."""
    lat, lon = lat_lon(estimate)
    found = find_modes(mixture.without_lightest(LIGHTEST).condensed(CLOSE))
    mine = min(found, key=lambda mode: float(great_circle_km(lat, lon, mode.lat, mode.lon)))
    return mine, *(mode for mode in found if mode is not mine)
