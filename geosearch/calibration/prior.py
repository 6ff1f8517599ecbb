"""Where a photo may be of which nothing is known: wherever the references are, or anywhere.

Some of the references' positions, each with a kernel as wide as the distance to the third nearest
of the others: wide where they are sparse, narrow where they crowd, at every scale (an adaptive
kernel density; Silverman, Density Estimation for Statistics and Data Analysis, 1986, § 5.2). A
little of it is uniform over the Earth: no place is impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geosearch.density import Mixture
from geosearch.density.kernel import squared_chords
from geosearch.sphere import EARTH_RADIUS_KM, Array, chord_km, great_circle_km, unit_vectors

#: Positions kept, and the share of the uniform density.
KEPT, UNIFORM_SHARE = 100, 0.01

#: A kernel reaches to the position that is so many-th nearest.
_NTH = 3


@dataclass(frozen=True)
class Prior:
    """Positions in degrees, each with the bandwidth of its kernel in kilometres."""

    lat: tuple[float, ...]
    lon: tuple[float, ...]
    km: tuple[float, ...]

    @classmethod
    def fitted(cls, positions: Sequence[tuple[float, float]]) -> Prior:
        """The prior of references at `positions` in degrees; the same for the same order."""
        chosen = np.random.default_rng(0).permutation(len(positions))[:KEPT]
        lat, lon = np.array([positions[index] for index in np.sort(chosen)]).T
        points = unit_vectors(lat, lon)
        nth = min(_NTH, len(points) - 1)
        chords = np.sqrt(np.partition(squared_chords(points, points), nth, axis=1)[:, nth])
        km = chord_km(chords)
        # Of many photos at one spot the spacing is nothing: a tenth of what is usual stands for it.
        km = np.maximum(km, 0.1 * np.median(km)) if km.max() > 0 else np.full(len(km), 1.0)
        km = np.maximum(km, 1e-3)
        return cls(*(tuple(float(value) for value in values) for values in (lat, lon, km)))

    @cached_property
    def mixture(self) -> Mixture:
        """The density."""
        centres = unit_vectors(self.lat, self.lon)
        kappa = (EARTH_RADIUS_KM / np.array(self.km)) ** 2
        each = np.full(len(centres), 1 / len(centres))
        return Mixture(centres, each, kappa).with_background(UNIFORM_SHARE)

    @cached_property
    def scale_km(self) -> float:
        """The references' scale: the median distance of two of them, kilometres."""
        lat, lon = np.array(self.lat), np.array(self.lon)
        apart = great_circle_km(lat[:, None], lon[:, None], lat, lon)
        return float(np.median(apart[np.triu_indices(len(lat), 1)])) if len(lat) > 1 else 1.0


def log_prior(prior: Prior, points: Array) -> Array:
    """Log density (n,) per steradian of the prior at unit vectors (n, 3)."""
    return prior.mixture.log_density(points)
