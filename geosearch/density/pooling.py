"""Densities of one place by several models, as one: a logarithmic opinion pool.

What two models make of one picture is not independent: they are misled alike. So their densities
p₁, p₂, … are not multiplied as they are, but each to a power w of its own,

    p(y) ∝ Π pᵢ(y)^wᵢ

(Genest and Zidek, Combining probability distributions, Statistical Science 1, 1986). Where the
powers sum to 1, nothing gets surer than they are on average; independent ones have 1 each. As a
mixture: all their kernels, and what a kernel weighs is multiplied by the ratio of the product to
the mean of the densities, Σ wᵢ pᵢ / Σ wᵢ, at its centre. That is exact as far as the ratio changes
little within a kernel; there are as many kernels as before, where a product has as many as pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geosearch.density.best_point import best_point, modes_from
from geosearch.density.kernel import Mixture, log_sum
from geosearch.density.place import Place
from geosearch.density.products import lean, united
from geosearch.sphere import Array, lat_lon


@dataclass(frozen=True, eq=False)
class Candidates:
    """All kernels of several densities, and what each density says at the centre of each.

    `kernels` have the weights that they have in their own density, number `owner` (k,), and `logs`
    (n, k) are the log densities of all n at their centres.
    """

    kernels: Mixture
    owner: NDArray[np.intp]
    logs: Array

    @classmethod
    def of(cls, densities: Sequence[Mixture]) -> Candidates:
        """Those of densities, without their lightest kernels and close ones as one."""
        kept = [lean(each) for each in densities]
        kernels = united([(1.0, each) for each in kept])
        owner = np.repeat(np.arange(len(kept)), [len(each.weights) for each in kept])
        return cls(kernels, owner, np.stack([each.log_density(kernels.centres) for each in kept]))

    @cached_property
    def _log_own(self) -> Array:
        return np.asarray(np.log(self.kernels.weights))

    def log_weights(self, powers: Array) -> Array:
        """Logs (k,) of the kernels' weights, which sum to 1, where the densities have powers."""
        shares = np.log(powers / powers.sum())
        mean = log_sum((self.logs + shares[:, None]).T.copy())
        logs = self._log_own + shares[self.owner] + powers @ self.logs - mean
        return np.asarray(logs - log_sum(logs.copy()))


@dataclass(frozen=True, eq=False)
class PooledDensity:
    """The pool of several densities, which share (n,) of it each one's kernels are, and its point.

    `within_km` are the distances within which the estimate should be.
    """

    mixture: Mixture
    shares: Array
    within_km: Sequence[float]

    @classmethod
    def of(
        cls, densities: Sequence[Mixture], powers: Sequence[float], within_km: Sequence[float]
    ) -> Self:
        """That of densities to these powers."""
        found = Candidates.of(densities)
        weights = np.exp(found.log_weights(np.asarray(powers, float)))
        mixture = Mixture(found.kernels.centres, weights, found.kernels.kappa)
        shares = np.array([weights[found.owner == each].sum() for each in range(len(densities))])
        return cls(mixture, shares, within_km)

    @cached_property
    def _point(self) -> Array:
        return best_point(self.mixture, self.within_km)

    @property
    def estimate(self) -> tuple[float, float]:
        """The point that is most probably near enough, degrees."""
        lat, lon = lat_lon(self._point)
        return float(lat), float(lon)

    def place(self, weights: Array) -> Place:
        """The place without radii and regions; `weights` (k,) are those of all neighbours."""
        modes = modes_from(self.mixture, self._point)
        return Place(*self.estimate, modes[0].mass, {}, modes, weights, {})
