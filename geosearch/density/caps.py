"""How much of a mixture lies within a spherical cap, and how large a cap holds a given share.

Seen from a cap's centre, a von Mises-Fisher kernel at angular distance d has along the angle θ,
with the azimuth integrated out, the density

    2π C sin θ exp(-κ (1 - cos(θ - d))) I₀ᵉ(κ sin θ sin d)

where I₀ᵉ is the exponentially scaled Bessel function exp(-x) I₀(x). It is a smooth bump a few
bandwidths wide, so Gauss-Legendre quadrature over that stretch gives a cap's mass to 1e-7.
For d = 0 the integral is (1 - exp(-κ (1 - cos r))) / (1 - exp(-2κ)). Only the distance of a kernel
counts, so kernels at nearly the same distance are taken as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geosearch.density.kernel import Mixture
from geosearch.sphere import EARTH_RADIUS_KM, Array

#: Beyond this many bandwidths a kernel has less than 1e-7 of its mass.
REACH = 5.7

#: Kernels of one bandwidth whose distances differ by less than this many bandwidths are as one.
CLOSE = 0.02

#: A share met to this is met: between far kernels many radii hold the same.
ENOUGH = 1e-7

#: The most steps in search of a radius: bisection alone needs fewer.
MOST_STEPS = 60


def _polynomial() -> Array:
    """Coefficients of √(1 + x) I₀ᵉ(x) as a polynomial of (x - 4) / (x + 4), right to 5e-9."""
    t = np.polynomial.chebyshev.chebpts1(21)
    x = 4 * (1 + t) / (1 - t)
    turns = np.cos(np.linspace(0, 2 * np.pi, 1024, endpoint=False))
    bessel = np.exp(-x[:, None] * (1 - turns)).mean(axis=1)
    fitted = np.polynomial.chebyshev.chebfit(t, np.sqrt(1 + x) * bessel, len(t) - 1)
    return np.asarray(np.polynomial.chebyshev.cheb2poly(fitted))


_BESSEL = _polynomial()
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(28)


def cap_mass(mixture: Mixture, centre: Array, radius: float) -> float:
    """Share of the mixture within `radius` radians of the unit vector `centre` (3,)."""
    return _Rings.of(mixture, centre, close=0.0).within(radius)


def cap_radii_km(mixture: Mixture, centre: Array, shares: Sequence[float]) -> list[float]:
    """Great-circle radii round the unit vector `centre` (3,) that hold shares of the mixture.

    Shares are in (0, 1) and met to about 1e-5, by Newton's method, safeguarded by bisection
    where hardly any mass lies.
    """
    if not len(shares):
        return []
    rings = _Rings.of(mixture, centre, close=CLOSE)
    return [rings.radius(share) * EARTH_RADIUS_KM for share in shares]


@dataclass(frozen=True, slots=True, eq=False)
class _Rings:
    """Kernels (k,) by their angle to a centre, with concentration, weight and reach (an angle)."""

    angle: Array
    kappa: Array
    weight: Array
    reach: Array

    @classmethod
    def of(cls, mixture: Mixture, centre: Array, close: float) -> _Rings:
        apart = mixture.centres - centre
        angle = 2 * np.arcsin(np.minimum(np.sqrt((apart**2).sum(axis=1)) / 2, 1.0))
        kappa, weight = mixture.kappa, mixture.weights
        order = np.lexsort((angle, kappa))
        angle, kappa, weight = angle[order], kappa[order], weight[order]
        if close:
            step = np.floor(angle * np.sqrt(kappa) / close)
            changes = (np.diff(step) != 0) | (np.diff(kappa) != 0)
            first = np.flatnonzero(np.r_[True, changes])
            total = np.add.reduceat(weight, first)
            mean = np.add.reduceat(weight * angle, first) / np.maximum(total, 1e-300)
            present = total > ENOUGH / len(weight)
            angle, kappa, weight = mean[present], kappa[first][present], total[present]
        return cls(angle, kappa, weight, REACH / np.sqrt(kappa))

    def within(self, radius: float) -> float:
        """Share within a radius."""
        inside = self.angle + self.reach <= radius
        partly = (self.angle - self.reach < radius) > inside
        held = float(self.weight[inside].sum())
        if not partly.any():
            return held
        angle, kappa, reach = self.angle[partly], self.kappa[partly], self.reach[partly]
        start = np.maximum(angle - reach, 0.0)
        half = (np.minimum(np.minimum(angle + reach, np.pi), radius) - start) / 2
        theta = start[:, None] + half[:, None] * (1 + _NODES)
        masses = half * (_profile(kappa[:, None], angle[:, None], theta) @ _NODE_WEIGHTS)
        return held + float(self.weight[partly] @ masses)

    def radius(self, share: float) -> float:
        """Angle within which a share lies."""
        # A kernel of its own has half of its mass within 1.18 bandwidths.
        median = np.hypot(self.angle, 1.18 / np.sqrt(self.kappa))
        order = np.argsort(median)
        held = np.cumsum(self.weight[order]) - self.weight[order] / 2
        radius = min(float(np.interp(share, held, median[order])), 3.0)
        low, high = 0.0, np.pi
        for _ in range(MOST_STEPS):
            excess = self.within(radius) - share
            if abs(excess) <= ENOUGH:
                break
            low, high = (low, radius) if excess > 0 else (radius, high)
            near = np.abs(self.angle - radius) <= self.reach
            profile = _profile(self.kappa[near], self.angle[near], np.array(radius))
            slope = float(self.weight[near] @ profile)
            step = -excess / slope if slope > 0 else np.inf
            radius = radius + step if low < radius + step < high else (low + high) / 2
        return radius


def _profile(kappa: Array, away: Array, theta: Array) -> Array:
    """Density along the angles `theta` of kernels at angles `away`, broadcast."""
    sines = np.sin(theta)
    density: Array = (
        (kappa / -np.expm1(-2 * kappa))
        * sines
        * np.exp(-2 * kappa * np.sin((theta - away) / 2) ** 2)
        * _i0e(kappa * sines * np.sin(away))
    )
    return density


def _i0e(x: Array) -> Array:
    values = np.polynomial.polynomial.polyval((x - 4) / (x + 4), _BESSEL)
    return np.asarray(values / np.sqrt(1 + x))
