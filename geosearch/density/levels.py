"""Levels of a density: which share of the probability lies where the density is higher.

The highest-density region at a level is {f >= t}, and the threshold t is the (1 - level)-quantile
of f(X) for X drawn from f itself (Hyndman 1996, The American Statistician 50(2)). Here X takes
values on a fixed lattice of points of equal mass in each kernel, so the answer is the same each
time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geosearch.density.kernel import Mixture
from geosearch.sphere import Array

#: The lightest components, of this weight together, leave no visible trace in a region.
LIGHTEST = 1e-3

#: Components closer than about this many bandwidths are one here.
CLOSE = 0.5

#: Points by which the thresholds are found.
LATTICE_POINTS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Log densities (n,) at the points of a lattice, highest first, and the level of each.

    `mixture` is what the densities are of: the given one without its lightest components, those
    close together as one.
    """

    mixture: Mixture
    log_density: Array
    level: Array

    @classmethod
    def of(cls, mixture: Mixture) -> Levels:
        """The levels of a mixture."""
        mixture = mixture.without_lightest(LIGHTEST).condensed(CLOSE)
        points, mass = mixture.lattice(LATTICE_POINTS)
        log_density = mixture.log_density(points)
        order = np.argsort(-log_density, kind="stable")
        mass = mass[order]
        return cls(mixture, log_density[order], np.cumsum(mass) - mass / 2)

    def threshold(self, level: float) -> float:
        """Log density per steradian that the region at a level, in (0, 1), reaches everywhere."""
        return float(np.interp(level, self.level, self.log_density))

    def level_of(self, log_density: float) -> float:
        """Share of the probability, in [0, 1], that lies where the density is higher than this."""
        found = np.interp(-log_density, -self.log_density, self.level, left=0.0, right=1.0)
        return float(found)


def level_at(mixture: Mixture, lat: float, lon: float) -> float:
    """The smallest level, in [0, 1], whose highest-density region contains a point in degrees.

    Over many answers whose regions hold what they say, the levels at the true places are evenly
    spread: a region at level p then holds the truth in a share p of the cases.
    """
    levels = Levels.of(mixture)
    return levels.level_of(levels.mixture.log_at(lat, lon))
