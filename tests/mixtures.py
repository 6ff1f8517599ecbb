"""Random neighbours in some clusters, at any scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray

from geosearch.density import locate
from geosearch.sphere import destination, great_circle_km

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Neighbours at bearings (degrees) and distances (km) from a centre, with cosine distances."""

    centre: tuple[float, float]
    bearing: Array
    km: Array
    distance: Array

    def positions(self, factor: float = 1) -> tuple[Array, Array]:
        """Latitudes and longitudes, `factor` times nearer to the centre."""
        return destination(*self.centre, self.bearing, self.km / factor)

    def offset_km(self, lat: float, lon: float, factor: float = 1) -> float:
        """How far a point is from the centre, on the scale of `factor` 1."""
        return factor * float(great_circle_km(*self.centre, lat, lon))


@st.composite
def mixtures(draw: st.DrawFn) -> Spread:
    """Neighbours within some 500 km, where the sphere bends little, with one clear best mode."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    k, count = draw(st.integers(4, 100)), draw(st.integers(1, 6))
    x, y = 200 * rng.normal(size=(2, count))[:, rng.integers(0, count, k)]
    spread = 10 ** rng.uniform(1, 2)
    x, y = x + spread * rng.normal(size=k), y + spread * rng.normal(size=k)
    centre = draw(st.sampled_from([(0.0, 0.0), (47.0, 8.0), (-33.0, 179.9), (89.0, 20.0)]))
    made = Spread(
        centre,
        np.degrees(np.arctan2(x, y)),
        np.hypot(x, y),
        np.sort(rng.uniform(0.15, 0.4, k)),
    )
    # Of two that are equally dense, a bent distance could decide.
    best, *others = locate(*made.positions(), made.distance, levels=(), regions=False).modes
    assume(not others or best.density > 1.05 * others[0].density)
    return made
