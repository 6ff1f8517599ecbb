"""Modes of a mixture of von Mises-Fisher kernels: its local maxima, found from every neighbour.

From each neighbour, mean shift climbs the density f: y moves to the direction of
Σ wᵢ κᵢ Cᵢ xᵢ exp(κᵢ y·xᵢ), a fixed point of which is a stationary point of f. Mean shift never
descends but slows down as it arrives, so where log f is concave Newton's method on the
tangent plane takes over (if its step is short, to stay in the basin). A trajectory that comes
to rest on a saddle is pushed off it along the direction in which the density rises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from geosearch.density.kernel import Mixture
from geosearch.sphere import Array, lat_lon, tangent_basis

#: All lengths below are in bandwidths.
ARRIVED = 1e-8  # a step shorter than this ends a trajectory
LONGEST_NEWTON_STEP = 0.5
SAME_TRAJECTORY = 1e-3  # trajectories this close end in the same mode
SAME_MODE = 1e-2
NUDGE = 0.1  # how far to push off a saddle

#: Steps after which Newton's method is given up for mean shift alone, and at which all stop.
NEWTON_STEPS, MOST_STEPS = 100, 1000


@dataclass(frozen=True, slots=True)
class Mode:
    """A local maximum of the density.

    Latitude and longitude in degrees, `mass` the share of the neighbours' weight that climbs to
    this mode, `density` the density per steradian there.
    """

    lat: float
    lon: float
    mass: float
    density: float


def find_modes(mixture: Mixture) -> tuple[Mode, ...]:
    """All modes of the mixture that its components climb to, the densest first."""
    # Neighbours at one position are one start; most photos of a sight are.
    points, route = np.unique(mixture.centres, axis=0, return_inverse=True)
    mass = np.bincount(route.ravel(), weights=mixture.weights).astype(np.float64)
    ends, mass = _climb(mixture, points, mass)
    density = np.exp(mixture.log_density(ends))
    order = np.lexsort((-mass, -density))
    lat, lon = lat_lon(ends)
    return tuple(Mode(*map(float, (lat[i], lon[i], mass[i], density[i]))) for i in order)


def _climb(mixture: Mixture, points: Array, mass: Array) -> tuple[Array, Array]:
    """Follow all trajectories to their ends; those that meet go on as one."""
    bandwidth = float(mixture.bandwidth.min())
    tolerance = max(ARRIVED * bandwidth, 1e-15)
    points, moving = points.copy(), np.ones(len(points), bool)
    for count in range(MOST_STEPS):
        here = points[moving]
        there = _step(mixture, here, newton=count < NEWTON_STEPS)
        points[moving] = there
        moving[moving] = np.linalg.norm(there - here, axis=1) > tolerance
        if not moving.any():
            break
        points, mass, moving = _merge(points, mass, moving, SAME_TRAJECTORY * bandwidth)
    points, mass, _ = _merge(points, mass, moving, SAME_MODE * bandwidth)
    return points, mass


def _step(mixture: Mixture, points: Array, newton: bool) -> Array:
    """One step uphill from each of `points` (n, 3)."""
    centres, kappa = mixture.centres, mixture.kappa
    logs = mixture.log_kernels(cdist(points, centres, "sqeuclidean"))
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    mean = (shares * kappa) @ centres
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    # A mean of zero points nowhere: only a perfectly balanced mixture has one, at rest.
    shifted = np.where(length > 0, mean / np.where(length > 0, length, 1.0), points)

    # Gradient and Hessian of log f in an orthonormal basis of each tangent plane.
    basis = np.stack(tangent_basis(points), axis=1)
    gradient = np.einsum("nij,nj->ni", basis, mean)
    products = (centres[:, :, None] * centres[:, None, :]).reshape(-1, 9)
    second = basis @ ((shares * kappa**2) @ products).reshape(-1, 3, 3) @ basis.swapaxes(1, 2)
    level = np.einsum("nj,nj->n", mean, points)
    hessian = second - gradient[:, :, None] * gradient[:, None, :]
    hessian -= level[:, None, None] * np.eye(2)
    curvature, axes = np.linalg.eigh(hessian)
    local = shares @ kappa  # the concentration that counts here
    bandwidth = 1 / np.sqrt(local)

    slope = np.einsum("nij,ni->nj", axes, gradient)
    concave = curvature[:, 1] < -1e-6 * local
    newton_slope = np.where(concave[:, None], -slope / np.where(curvature < 0, curvature, -1), 0)
    chosen = concave & (np.linalg.norm(newton_slope, axis=1) <= LONGEST_NEWTON_STEP * bandwidth)
    resting = np.linalg.norm(shifted - points, axis=1) <= 1e-6 * bandwidth
    saddle = resting & (curvature[:, 1] > 1e-6 * local)
    off_saddle = np.stack([np.zeros_like(bandwidth), NUDGE * bandwidth], axis=1)
    move = np.where(saddle[:, None], off_saddle, newton_slope)
    turned = points + np.einsum("nj,nij,nik->nk", move, axes, basis)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    return np.where(((chosen & newton) | saddle)[:, None], turned, shifted)


def _merge(
    points: Array, mass: Array, moving: np.ndarray, within: float
) -> tuple[Array, Array, np.ndarray]:
    """Join points within a chord of each other; the joined ones move if their first one does."""
    first = np.argmax(cdist(points, points, "sqeuclidean") <= within**2, axis=1)
    while not np.array_equal(first, first[first]):
        first = first[first]
    kept, group = np.unique(first, return_inverse=True)
    return points[kept], np.bincount(group, weights=mass).astype(np.float64), moving[kept]
