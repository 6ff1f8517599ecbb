"""How large the highest-density region is that just holds a point: what a searcher has to search.

The region {f ≥ t} of a mixture f = Σ w_i k_i lies within the caps {m_i k_i ≥ t}, m_i being the
weight of all kernels that are felt in cap i: of these none exceeds the largest. A cap of chord c
has on the unit sphere the area πc², and points spread evenly over each of the caps, those in
several caps counted once in all, give the area of any part of their union (Karp and Luby, 1983).
It holds for any t: for a truth far from all kernels as well.
"""

from __future__ import annotations

import numpy as np

from geosearch.density.kernel import Mixture, numbered, on_spirals, squared_chords
from geosearch.density.levels import CLOSE, LIGHTEST
from geosearch.sphere import EARTH_RADIUS_KM, Array

#: Points over all caps, at first and at most, and how many should lie in the region.
_POINTS, _MOST_POINTS, _ENOUGH = 512, 8192, 64

#: Beyond so many bandwidths a kernel is not felt.
_FELT = 6.0

#: Caps get smaller as fewer kernels are felt in them, so often.
_ROUNDS = 3


def area_at(mixture: Mixture, lat: float, lon: float) -> float:
    """Area, km², of the smallest highest-density region that contains a point in degrees.

    Of one kernel it is that of the cap which reaches to the point. Of several it is right to some
    per cent; a region far smaller than the kernels may come out as 0.
    """
    mixture = mixture.without_lightest(LIGHTEST).condensed(CLOSE)
    log_density = mixture.log_at(lat, lon)
    apart = np.sqrt(squared_chords(mixture.centres, mixture.centres))
    felt = np.ones(len(apart))
    for _ in range(_ROUNDS):
        squared = 2 * (np.log(mixture.peaks * felt) - log_density) / mixture.kappa
        squared = np.clip(squared, 0.0, 4.0)
        felt = (apart <= np.sqrt(squared)[:, None] + _FELT * mixture.bandwidth) @ mixture.weights
    centres, squared = mixture.centres[squared > 0], squared[squared > 0]
    if len(squared) <= 1:
        return float(np.pi * squared.sum() * EARTH_RADIUS_KM**2)
    points = _POINTS
    while True:
        inside, steradians = _inside(mixture, log_density, centres, squared, points)
        if inside >= _ENOUGH or points >= _MOST_POINTS:
            return steradians * EARTH_RADIUS_KM**2
        points *= 4


def _inside(
    mixture: Mixture, log_density: float, centres: Array, squared: Array, points: int
) -> tuple[int, float]:
    """How many points over the caps are as dense, and the area, in steradians, of those that are.

    `squared` (k,) are the squared chords of the caps round `centres` (k, 3).
    """
    count = np.maximum(4, np.ceil(points * squared / squared.sum())).astype(int)
    cap, rank = numbered(count)
    drop = (rank + 0.5) / count[cap] * squared[cap] / 2
    vectors = on_spirals(centres[cap], rank, drop)
    dense = mixture.log_density(vectors) >= log_density
    vectors, cap = vectors[dense], cap[dense]
    covers = (squared_chords(vectors, centres) <= squared * (1 + 1e-9)).sum(axis=1)
    shares = np.pi * (squared / count)[cap] / np.maximum(covers, 1)
    return len(cap), float(shares.sum())
