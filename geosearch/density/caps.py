"""How much of a mixture lies within a spherical cap, and how large a cap holds a given share.

Seen from a cap's centre, a von Mises-Fisher kernel at angular distance d has along the angle θ,
with the azimuth integrated out, the density

    2π C sin θ exp(-κ (1 - cos(θ - d))) I₀ᵉ(κ sin θ sin d)

where I₀ᵉ is the exponentially scaled Bessel function exp(-x) I₀(x). It is a smooth bump a few
bandwidths wide, so Gauss-Legendre quadrature over that stretch gives a cap's mass to 1e-9.
For d = 0 the integral is (1 - exp(-κ (1 - cos r))) / (1 - exp(-2κ)).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import i0e

from geosearch.density.kernel import Mixture
from geosearch.sphere import EARTH_RADIUS_KM, Array

#: Beyond this many bandwidths a kernel has less than 1e-10 of its mass.
REACH = 6.8

#: The lightest components, of this weight together, are left out of radii.
LIGHTEST = 1e-9

#: A share met to this is met: between far kernels many radii hold the same.
ENOUGH = 1e-10

#: Points of the lattice on which a radius is first looked for.
LATTICE_POINTS = 256

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(36)


def cap_mass(mixture: Mixture, centre: Array, radius: float) -> float:
    """Share of the mixture within `radius` radians of the unit vector `centre` (3,)."""
    return _cap_mass(mixture, _angles(mixture.centres, centre), radius)


def cap_radius_km(mixture: Mixture, centre: Array, share: float) -> float:
    """Great-circle radius round the unit vector `centre` (3,) that holds `share` of the mixture.

    `share` is in (0, 1). The radius is found to 1e-8 of the bandwidth, by Newton's method from
    an estimate on the mixture's lattice, safeguarded by bisection where hardly any mass lies.
    """
    mixture = mixture.without_lightest(LIGHTEST)
    angles = _angles(mixture.centres, centre)
    points, mass = mixture.lattice(LATTICE_POINTS)
    lattice_angles = _angles(points, centre)
    order = np.argsort(lattice_angles)
    radius = float(np.interp(share, np.cumsum(mass[order]), lattice_angles[order]))
    low, high, tolerance = 0.0, np.pi, 1e-8 * float(mixture.bandwidth.min())
    while high - low > tolerance:
        excess = _cap_mass(mixture, angles, radius) - share
        low, high = (low, radius) if excess > 0 else (radius, high)
        slope = float((mixture.weights @ _profile(mixture, angles[:, None], np.array(radius)))[0])
        step = -excess / slope if slope > 0 else np.inf
        if abs(step) <= tolerance or abs(excess) <= ENOUGH:
            break
        radius = radius + step if low < radius + step < high else (low + high) / 2
    return radius * EARTH_RADIUS_KM


def _angles(points: Array, centre: Array) -> Array:
    chords = cdist(centre[None], points)[0]
    angles: Array = 2 * np.arcsin(np.minimum(chords / 2, 1.0))
    return angles


def _profile(mixture: Mixture, away: Array, theta: Array) -> Array:
    """Density along the angles `theta` (k, n) of the kernels, which are at angles `away` (k, 1)."""
    kappa, sines = mixture.kappa[:, None], np.sin(theta)
    density: Array = (
        (2 * np.pi * np.exp(mixture.log_constant))[:, None]
        * sines
        * np.exp(-2 * kappa * np.sin((theta - away) / 2) ** 2)
        * i0e(kappa * sines * np.sin(away))
    )
    return density


def _cap_mass(mixture: Mixture, angles: Array, radius: float) -> float:
    reach = REACH * mixture.bandwidth
    inside = angles + reach <= radius
    partly = ~inside & (angles - reach < radius)
    if not partly.any():
        return float(mixture.weights[inside].sum())
    away, reach, cut = angles[partly], reach[partly], mixture.where(partly)
    start = np.maximum(away - reach, 0.0)
    half = (np.minimum(np.minimum(away + reach, np.pi), radius) - start) / 2
    theta = start[:, None] + half[:, None] * (1 + _NODES)
    masses = half * (_profile(cut, away[:, None], theta) @ _NODE_WEIGHTS)
    return float(mixture.weights[inside].sum() + cut.weights @ masses)
