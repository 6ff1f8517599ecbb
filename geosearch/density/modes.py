"""Modes of mixtures of von Mises-Fisher kernels: their local maxima, found from every neighbour.

From each neighbour a trajectory climbs the density f. Where log f is concave and the top near, a
step is Newton's on the tangent plane. Elsewhere it is mean shift, to the direction of
m = Σ wᵢ κᵢ Cᵢ xᵢ exp(κᵢ y·xᵢ), if that is long, since it never descends; and if it is short, a
Newton step whose curvatures count by their absolute values, so that it leads uphill too.
Trajectories that meet go on as one, and one that comes to rest on a saddle is pushed off it along
the direction in which the density rises.

All trajectories move at once. What NumPy needs to begin an operation takes longer than the
arithmetic, so the operations are few and the tests for rare cases come together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosearch.density.kernel import LARGEST_KAPPA_OF_PRODUCTS, Mixture
from geosearch.sphere import Array, lat_lon

Mask = NDArray[np.bool_]

#: Components lighter than this, of a total of 1, are left out. Kernels, relative to their peaks,
#: count as the exponential of `FAR` at least, which even beside the lightest is nothing: numbers
#: too small to be normal would cost ten times the rest.
NO_WEIGHT, FAR = 1e-100, -300.0

#: All lengths below are in bandwidths: of 1/√κ, with κ that of the kernels felt at a point.
LONGEST_STEP = 0.5  # of Newton's; a step of mean shift that is longer is preferred
SHORTEN_AFTER = 20  # steps, so that no trajectory circles for ever
MOST_STEPS = 1000

#: Trajectories end in one mode if they are closer than log f is concave (its least downward
#: curvature in units of κ, at most 1), since modes as concave are further apart; or than this.
SAME_TRAJECTORY = 1e-2
LAST_STEP = 1e-3  # of that distance: the error after a step of Newton's is about its square
NUDGE = 0.1  # how far to push off a saddle

FLAT = 1e-6  # a curvature that is practically none, in units of κ

_IDENTITY = np.eye(2, 3)[:, :, None]


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
    light = mixture.weights < NO_WEIGHT
    if np.count_nonzero(light):
        mixture = mixture.where(~light)
    climb = _Trajectories(mixture)
    climb.join()
    for count in range(MOST_STEPS):
        climb.step(LONGEST_STEP / (1 + count // SHORTEN_AFTER))
        climb.join()
        if not np.count_nonzero(climb.moving):
            break
    return climb.modes()


class _Field:
    """A mixture's kernels as matrices, whose products are f and its derivatives."""

    def __init__(self, mixture: Mixture) -> None:
        kappa, self._centres = mixture.kappa, mixture.centres.T
        pull = kappa * self._centres
        self.by_products = bool(kappa.max() <= LARGEST_KAPPA_OF_PRODUCTS)
        self._pull, self._kappa = pull.T, kappa[:, None]
        moments = np.empty((14, len(kappa)))
        moments[0] = 1
        moments[1] = kappa * kappa
        tensors = moments[2:].reshape(3, 4, -1)
        np.multiply(pull[:, None], pull, out=tensors[:, :3])
        tensors[:, 3] = pull
        moments *= mixture.weights * mixture.peaks
        self._moments = moments

    def at(self, points: Array) -> tuple[Array, Array, Array]:
        """At points (3, n): log f (n,), the κ (n,) of the kernels felt, and tensors (3, 4, n).

        The tensors are the means over the kernels of κ²xxᵀ and, as last column, of κx. The κ is a
        root mean square, because the narrow kernels make the detail.
        """
        if self.by_products:
            logs = self._pull @ points
            logs -= self._kappa
        else:
            logs = _squared_chords(self._centres, points)
            logs *= -self._kappa / 2
        np.maximum(logs, FAR, out=logs)
        sums = self._moments @ np.exp(logs, out=logs)
        means = sums / sums[0]
        return np.log(sums[0]), np.sqrt(means[1]), means[2:].reshape(3, 4, -1)


class _Trajectories:
    """Where the trajectories (t,) are on their way up, and what they carry.

    `state` (6, t): the unit vector; how near another must be to be the same, as an angle; log f;
    the mass.
    """

    def __init__(self, mixture: Mixture) -> None:
        self._field = _Field(mixture)
        self.state = np.empty((6, len(mixture.weights)))
        self.state[:3] = mixture.centres.T
        self.state[3] = SAME_TRAJECTORY / math.sqrt(mixture.kappa.max())
        self.state[5] = mixture.weights
        self.moving: Mask = np.ones(len(mixture.weights), bool)

    def step(self, longest: float) -> None:
        """One step uphill, of `longest` bandwidths at most, of all that still move."""
        moving = self.moving.nonzero()[0]
        state = self.state.take(moving, axis=1)
        here = state[:3]
        log_density, kappa, tensors = self._field.at(here)
        bandwidth = 1 / np.sqrt(kappa)
        basis = _tangent_bases(here)
        # The gradient (2, n) and, but for `pull`, the Hessian (2, 2, n) of log f.
        projected = np.einsum("ijn,jkn->ikn", basis, tensors)
        gradient = projected[:, 3]
        hessian = np.einsum("ijn,kjn->ikn", projected[:, :3], basis)
        hessian -= gradient[:, None] * gradient
        mean = tensors[:, 3]
        pull = _dots(mean, here)

        xx, yy, xy = hessian[0, 0], hessian[1, 1], hessian[0, 1]
        middle, skew = (xx + yy) / 2, (xx - yy) / 2
        spread = np.hypot(skew, xy)
        flattest = middle + spread - pull
        # |H|, with the curvatures of H by their absolute values, has the inverse p + qD, where D is
        # the trace-free part of H, whose own curvatures are `spread` and its negative.
        one = np.abs(flattest) + 1e-3 * FLAT * kappa
        other = np.abs(flattest - 2 * spread) + 1e-3 * FLAT * kappa
        spread += 1e-12 * kappa
        xx[:] = skew
        yy[:] = -skew
        step = np.einsum("ijn,jn->in", hessian, gradient)
        step *= (other - one) / spread
        step += (one + other) * gradient
        step /= 2 * one * other
        length = np.hypot.reduce(step)
        limit = longest * bandwidth
        step *= limit / np.maximum(length, limit)

        reach = np.maximum(-flattest / kappa, SAME_TRAJECTORY) * bandwidth
        arrived = length <= np.maximum(LAST_STEP * reach, 1e-15)
        if np.count_nonzero(arrived):
            saddle: Mask = arrived & (flattest > FLAT * kappa)
            if np.count_nonzero(saddle):
                angle = np.arctan2(xy, skew) / 2  # of the highest curvature
                push = NUDGE * bandwidth * np.stack([np.cos(angle), np.sin(angle)])
                step[:, saddle] = push[:, saddle]
                arrived &= ~saddle
        there = np.einsum("in,ijn->jn", step, basis)
        there += here
        far = np.hypot.reduce(gradient) > limit * kappa
        if np.count_nonzero(far):
            there[:, far] = mean[:, far]
            arrived &= ~far
        there /= np.sqrt(_dots(there, there))
        state[:3] = there
        state[3] = reach
        state[4] = log_density + _dots(gradient, step) / 2
        self.state[:, moving] = state
        self.moving[moving] = ~arrived

    def join(self) -> None:
        """Make those within reach of each other one, which moves if the first of them does."""
        points, squared = self.state[:3], self.state[3] ** 2
        if self._field.by_products:
            least = 1 - squared / 2
            near = points.T.copy() @ points >= np.maximum(least[:, None], least)
        else:
            near = _squared_chords(points, points) <= np.minimum(squared[:, None], squared)
        first = near.argmax(axis=1)
        itself = np.arange(len(first))
        if np.count_nonzero(first == itself) == len(first):
            return
        while np.count_nonzero(first != first[first]):
            first = first[first]
        kept = (first == itself).nonzero()[0]
        mass = np.bincount(first, weights=self.state[5])
        self.state = self.state.take(kept, axis=1)
        self.state[5] = mass[kept]
        self.moving = self.moving[kept]

    def modes(self) -> tuple[Mode, ...]:
        """What the trajectories have reached, the densest first."""
        lat, lon = lat_lon(self.state[:3].T)
        columns = (lat, lon, self.state[5], np.exp(self.state[4]))
        modes = map(Mode, *(column.tolist() for column in columns))
        return tuple(sorted(modes, key=lambda mode: (-mode.density, -mode.mass)))


def _tangent_bases(points: Array) -> Array:
    """Two rows (2, 3, n) that with each unit vector of `points` (3, n) are orthonormal.

    They are rows of the Householder reflection that takes the point to the pole of the other
    hemisphere: I - vvᵀ / |v_z|, with v the point plus the pole of its own.
    """
    sum_with_pole = points.copy()
    z = sum_with_pole[2]
    z += np.copysign(1.0, z)
    bases: Array = _IDENTITY - sum_with_pole[:2, None] * (sum_with_pole / np.abs(z))
    return bases


def _dots(vectors: Array, others: Array) -> Array:
    """Scalar products (n,) of vectors (d, n) and (d, n)."""
    return np.asarray(np.vecdot(vectors.T, others.T))


def _squared_chords(points: Array, others: Array) -> Array:
    """Squared chords (n, k) between unit vectors (3, n) and (3, k).

    By coordinates: for close points, products of the vectors lose the digits.
    """
    differences = (row[:, None] - other for row, other in zip(points, others, strict=True))
    return np.asarray(sum(difference**2 for difference in differences))
