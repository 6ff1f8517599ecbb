"""Levels that hold what they say: a density's own levels, corrected on labelled queries.

If the true places of n queries have the levels u (the mass where the density is higher), then the
region at the ⌈(n + 1) p⌉-th smallest of the u holds the truth of another query with probability
p or slightly more, whatever the density is worth (split conformal prediction with highest-density
regions: Izbicki, Shimizu and Stern, CD-split and HPD-split, JMLR 23, 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from geosearch.density.caps import cap_mass, cap_radii_km
from geosearch.density.kernel import Mixture
from geosearch.density.levels import level_at
from geosearch.density.regions import Region, highest_density_regions
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon

#: Nominal levels at which a map is stored; between them it is linear.
NOMINAL = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.99)

#: Raw levels stay so far from 0 and 1, where there is no region, and from one another.
_MARGIN = 1e-4


@dataclass(frozen=True)
class LevelMap:
    """The density's own level `raw[i]` for each of `NOMINAL`, ascending."""

    raw: tuple[float, ...] = NOMINAL

    @classmethod
    def cautious(cls) -> LevelMap:
        """For where nothing is known: of what the density itself leaves out, the square root."""
        return cls(tuple(1 - (1 - level) ** 2 for level in NOMINAL))

    @classmethod
    def fitted(cls, levels: Array) -> LevelMap:
        """The map under which the levels (n,) of true places would be evenly spread."""
        ordered, n = np.sort(levels), len(levels)
        ranks = np.ceil((n + 1) * np.array(NOMINAL)).astype(int)
        raw = np.append(ordered, 1.0)[np.minimum(ranks, n + 1) - 1]
        steps = _MARGIN * np.arange(len(raw))
        raw = np.maximum.accumulate(np.maximum(raw, _MARGIN) - steps) + steps
        return cls(
            tuple(float(value) for value in np.minimum(raw, 1 - _MARGIN + steps - steps[-1]))
        )

    def raw_level(self, level: float) -> float:
        """The density's own level of the region that holds `level`."""
        return float(np.interp(level, (0.0, *NOMINAL, 1.0), (0.0, *self.raw, 1.0)))

    def level(self, raw_level: float) -> float:
        """What the region at the density's own level holds."""
        return float(np.interp(raw_level, (0.0, *self.raw, 1.0), (0.0, *NOMINAL, 1.0)))


@dataclass(frozen=True)
class LevelCorrection:
    """What a density says by corrected levels: by regions, and by caps round its estimate.

    `region_levels` correct the levels of regions, `radius_levels` those of caps. Estimates are unit
    vectors (3,).
    """

    region_levels: LevelMap = field(default_factory=LevelMap)
    radius_levels: LevelMap = field(default_factory=LevelMap)

    @staticmethod
    def maps_fitted(levels: Array) -> tuple[LevelMap, LevelMap]:
        """Both maps, from the `own_levels` (n, 2) of true places."""
        return LevelMap.fitted(levels[:, 0]), LevelMap.fitted(levels[:, 1])

    @staticmethod
    def maps_read(value: Mapping[str, Any]) -> tuple[LevelMap, LevelMap]:
        """Both maps, out of JSON."""
        regions, radii = value["region_levels"], value["radius_levels"]
        return LevelMap(tuple(regions["raw"])), LevelMap(tuple(radii["raw"]))

    def level_of(self, mixture: Mixture, lat: float, lon: float) -> float:
        """The level of the smallest region that contains a point in degrees."""
        return self.region_levels.level(level_at(mixture, lat, lon))

    def probability_within(self, mixture: Mixture, estimate: Array, km: float) -> float:
        """Probability of an error of at most so many kilometres."""
        held = cap_mass(mixture, estimate, km / EARTH_RADIUS_KM)
        return self.radius_levels.level(min(1.0, held))

    def radii_km(
        self, mixture: Mixture, estimate: Array, levels: Sequence[float]
    ) -> dict[float, float]:
        """Level → radius round the estimate that holds that share, kilometres."""
        shares = [self.radius_levels.raw_level(level) for level in levels]
        return dict(zip(levels, cap_radii_km(mixture, estimate, shares), strict=True))

    def regions(self, mixture: Mixture, levels: Sequence[float]) -> dict[float, Region]:
        """Level → the smallest area that holds that share."""
        raw = {level: self.region_levels.raw_level(level) for level in levels}
        found = highest_density_regions(mixture, list(raw.values()))
        return {level: replace(found[own], level=level) for level, own in raw.items()}


def own_levels(
    mixture: Mixture, estimate: Array, truth: tuple[float, float]
) -> tuple[float, float]:
    """A density's own levels of the truth, in degrees: by density, and by distance from the
    estimate, a unit vector (3,).
    """
    away = float(great_circle_km(*lat_lon(estimate), *truth))
    return level_at(mixture, *truth), cap_mass(mixture, estimate, away / EARTH_RADIUS_KM)
