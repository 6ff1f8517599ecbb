"""How far a photographer gets in a time: standing, on foot, by road or by air.

From one photo to another, τ hours apart, the photographer went by one of four `MODES`. By mode m
the second photo is near the first by a von Mises-Fisher kernel of the bandwidth

    σₘ(τ) = √(floor² + (vₘ τ / (1 + τ/T))²),   v of standing is 0

so that the reach grows with the speed v at first and ends at vT: who is away for a week is not
seven times as far as who is away for a day. The probability of a mode depends on the time: a
softmax of aₘ + bₘ log(1 + τ), τ in hours. Nothing here depends on which of the photos comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from geosearch.density import Mixture
from geosearch.density.kernel import BANDWIDTH_RANGE_KM, squared_chords
from geosearch.density.products import log_constant
from geosearch.json_record import Record
from geosearch.softmax import log_softmax
from geosearch.sphere import EARTH_RADIUS_KM, Array, lat_lon, unit_vectors

MODES = ("stationary", "walk", "drive", "fly")

#: Share of the uniform density where nothing is known: no place is impossible.
_UNIFORM_SHARE = 0.01

#: The smallest spread of photos that are all at one place, kilometres.
_LEAST_SPREAD_KM = 0.1


@dataclass(frozen=True)
class Spread(Record):
    """Where the photos are, all together: one kernel at their mean, as wide as they are spread.

    `log_level` is the log density, per steradian, at which they usually lie in it.
    """

    lat: float
    lon: float
    km: float
    log_level: float

    @classmethod
    def of(cls, lat: Array, lon: Array) -> Self:
        """That of positions in degrees (n,), n at least 1."""
        points = unit_vectors(lat, lon)
        mean = points.mean(axis=0)
        length = float(np.linalg.norm(mean))
        centre = mean / length if length > 1e-9 else points[0]
        drop = float(squared_chords(points, centre[None]).mean()) / 2  # mean of 1 - cos
        # Banerjee et al., JMLR 6, 2005, with 1 - R̄ taken from chords.
        kappa = (1 - drop) * (3 - (1 - drop) ** 2) / max(drop * (2 - drop), 1e-12)
        km = EARTH_RADIUS_KM / np.sqrt(max(kappa, 1e-12))
        km = float(np.clip(km, _LEAST_SPREAD_KM, BANDWIDTH_RANGE_KM[1]))
        kappa = (EARTH_RADIUS_KM / km) ** 2
        middle = lat_lon(centre)
        level = float(log_constant(np.array(kappa))) - kappa * drop
        return cls(float(middle[0]), float(middle[1]), km, level)

    @property
    def mixture(self) -> Mixture:
        """The density; a little of it is uniform over the Earth."""
        return Mixture.at([self.lat], [self.lon], [1.0], self.km).with_background(_UNIFORM_SHARE)


#: Anywhere on the Earth.
ANYWHERE = Spread(0.0, 0.0, BANDWIDTH_RANGE_KM[1], -float(np.log(4 * np.pi)))


@dataclass(frozen=True)
class Movement(Record):
    """The model above, and what it was fitted to; the defaults are for where there is too little.

    Parameters
    ----------
    floor_km
        The bandwidth for no time at all: how far apart a subject and another lie.
    speeds_kmh
        On foot, by road, by air.
    hours
        T.
    mode_logits, mode_slopes
        aₘ and bₘ in the order of `MODES`; those of standing are 0.
    steady
        Between a photo before and one after: the probability that the way from the one to the other
        went at a steady speed, besides what the two tell each on its own.
    wander
        The bandwidth half-way on a steady way, as a share of its length.
    doubt
        The probability that another photo tells nothing: a wrong clock, somebody else's.
    spread
        Where the photos are, if time tells nothing.
    photos
        How many photos it was fitted to; 0 for the defaults.
    """

    floor_km: float = 0.1
    speeds_kmh: tuple[float, ...] = (2.0, 30.0, 400.0)
    hours: float = 8.0
    mode_logits: tuple[float, ...] = (0.0, 0.5, 0.0, -5.0)
    mode_slopes: tuple[float, ...] = (0.0, 0.0, 0.5, 1.0)
    steady: float = 0.3
    wander: float = 0.2
    doubt: float = 0.05
    spread: Spread = ANYWHERE
    photos: int = 0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        given: dict[str, Any] = {
            name: tuple(item) if isinstance(item, Sequence) else item
            for name, item in value.items()
        }
        return cls(**(given | {"spread": Spread(**value["spread"])}))

    def widths_km(self, hours: Array, accuracy_km: Array | float = 0.0) -> Array:
        """Bandwidths (..., 4) of the modes after so many hours (...), 0 or more.

        `accuracy_km` (...) is the standard deviation of the position that is known.
        """
        reach = self.reach_hours(hours)[..., None] * np.array((0.0, *self.speeds_kmh))
        noise = np.asarray(accuracy_km, float)[..., None]
        widths: Array = np.sqrt(self.floor_km**2 + noise**2 + reach**2)
        return np.clip(widths, *BANDWIDTH_RANGE_KM)

    def reach_hours(self, hours: Array) -> Array:
        """The hours (...) that count: τ / (1 + τ/T)."""
        return np.asarray(hours / (1 + hours / self.hours))

    def log_shares(self, hours: Array) -> Array:
        """Log probabilities (..., 4) of the modes after so many hours (...)."""
        slopes = np.log1p(hours)[..., None] * np.array(self.mode_slopes)
        return log_softmax(np.array(self.mode_logits) + slopes)
