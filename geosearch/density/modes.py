"""Modes of mixtures of von Mises-Fisher kernels: their local maxima, found from every neighbour.

From each neighbour a trajectory climbs the density f. A step is Newton's on the tangent plane,
with two changes where log f is not concave: curvatures count by their absolute values, so that it
leads uphill, and upward ones as slight, so that it soon leaves a saddle. It is at most one
bandwidth long, or what over-relaxed mean shift would be. Trajectories that meet go on as one,
and one that comes to rest on a saddle is pushed off it along the direction in which the density
rises.

All trajectories move at once. What NumPy needs to begin an operation takes longer than the
arithmetic, so the operations are few and the tests for rare cases come together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosearch.density.kernel import LARGEST_KAPPA_OF_PRODUCTS, Mixture
from geosearch.sphere import Array, lat_lon

Mask = NDArray[np.bool_]

#: Components lighter than this, of a total of 1, start no trajectory: they could hardly be felt.
NO_WEIGHT = 1e-200

#: All lengths below are in bandwidths: of 1/√κ, with κ that of the kernels felt at a point.
LONGEST_STEP = 1.0  # and if it is more,
OVER_RELAXED = 1.5  # this times the step of mean shift: f increases up to twice that step
SHORTEN_AFTER = 20  # steps, so that no trajectory circles for ever
MOST_STEPS = 1000

#: Trajectories end in one mode if they are closer than log f is concave (its least downward
#: curvature in units of κ, at most 1), since modes as concave are further apart; or than this.
SAME_TRAJECTORY = 1e-2
LAST_STEP = 1e-3  # of that distance: the error after a step of Newton's is about its square
NUDGE = 0.1  # how far to push off a saddle

#: Curvatures in units of κ: practically flat, and as much as an upward one counts.
FLAT, SLIGHT = 1e-6, 0.1

_IDENTITY = np.eye(3)


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
        self._centres, self._kappa = mixture.centres, mixture.kappa
        pull = mixture.kappa[:, None] * mixture.centres
        self.by_products = bool(mixture.kappa.max() <= LARGEST_KAPPA_OF_PRODUCTS)
        if self.by_products:
            self._pull = pull.T.copy()
        moments = np.empty((len(pull), 14))
        moments[:, 0] = 1
        moments[:, 1] = mixture.kappa**2
        tensors = moments[:, 2:].reshape(-1, 3, 4)
        np.multiply(pull[:, :, None], pull[:, None, :], out=tensors[:, :, :3])
        tensors[:, :, 3] = pull
        moments *= np.exp(mixture.log_peaks)[:, None]
        self._moments = moments

    def at(self, points: Array) -> tuple[Array, Array, Array]:
        """At points (n, 3): log f (n,), the κ (n,) of the kernels felt, and tensors (n, 3, 4).

        The tensors are the means over the kernels of κ²xxᵀ and, as last column, of κx. The κ is a
        root mean square, because the narrow kernels make the detail.
        """
        if self.by_products:
            logs = points @ self._pull
            logs -= self._kappa
        else:
            logs = _squared_chords(points, self._centres)
            logs *= -self._kappa / 2
        sums = np.exp(logs, out=logs) @ self._moments
        total = sums[:, :1]
        means = sums / total
        return np.log(total)[:, 0], np.sqrt(means[:, 1]), means[:, 2:].reshape(-1, 3, 4)


class _Trajectories:
    """Where the trajectories (t,) are on their way up, and what they carry.

    `state` (t, 6): the unit vector; how near another must be to be the same, as an angle; log f;
    the mass.
    """

    def __init__(self, mixture: Mixture) -> None:
        self._field = _Field(mixture)
        self.state = np.empty((len(mixture.weights), 6))
        self.state[:, :3] = mixture.centres
        self.state[:, 3] = SAME_TRAJECTORY / np.sqrt(mixture.kappa.max())
        self.state[:, 5] = mixture.weights
        self.moving: Mask = np.ones(len(self.state), bool)

    def step(self, longest: float) -> None:
        """One step uphill, of `longest` bandwidths at most, of all that still move."""
        moving = self.moving.nonzero()[0]
        here = self.state[:, :3].take(moving, axis=0)
        log_density, kappa, tensors = self._field.at(here)
        bandwidth = 1 / np.sqrt(kappa)
        basis = _tangent_bases(here)
        # The gradient (n, 2, 1) and, but for `pull`, the Hessian (n, 2, 2) of log f.
        flat_tensors = basis @ tensors
        gradient = flat_tensors[:, :, 3:]
        hessian = flat_tensors[:, :, :3] @ basis.swapaxes(1, 2)
        hessian -= gradient * gradient.swapaxes(1, 2)
        mean = tensors[:, :, 3]
        pull = np.vecdot(mean, here)

        xx, yy, xy = hessian[:, 0, 0], hessian[:, 1, 1], hessian[:, 0, 1]
        middle = (xx + yy) / 2
        spread = np.hypot((xx - yy) / 2, xy)
        flattest = middle + spread - pull
        # By Newton's method, -H⁻¹g is (D + s)g / (s² - |D|²) with H = D - s, D without trace.
        least = np.maximum(-flattest, np.minimum(flattest, SLIGHT * kappa))
        least += 1e-3 * FLAT * kappa
        shift = least + spread
        numerator = hessian
        xx += shift - middle
        yy += shift - middle
        numerator = (gradient.swapaxes(1, 2) @ numerator @ basis)[:, 0]
        move = numerator / (least * (shift + spread))[:, None]
        length = _lengths(move)
        steepness = np.hypot(gradient[:, 0, 0], gradient[:, 1, 0])
        limit = longest * np.maximum(bandwidth, OVER_RELAXED * steepness / kappa)
        move *= (limit / np.maximum(length, limit))[:, None]

        reach = np.maximum(-flattest / kappa, SAME_TRAJECTORY) * bandwidth
        arrived = length <= np.maximum(LAST_STEP * reach, 1e-15)
        if np.count_nonzero(arrived):
            saddle: Mask = arrived & (flattest > FLAT * kappa)
            if np.count_nonzero(saddle):
                rising = np.linalg.eigh(hessian[saddle])[1][:, None, :, 1] @ basis[saddle]
                move[saddle] += NUDGE * bandwidth[saddle, None] * rising[:, 0]
                arrived &= ~saddle
        there = here + move
        there /= _lengths(there)[:, None]
        state = np.empty((len(moving), 5))
        state[:, :3] = there
        state[:, 3] = reach
        state[:, 4] = log_density + np.vecdot(mean, move) / 2
        self.state[moving, :5] = state
        self.moving[moving] = ~arrived

    def join(self) -> None:
        """Make those within reach of each other one, which moves if the first of them does."""
        points, squared = self.state[:, :3], self.state[:, 3] ** 2
        if self._field.by_products:
            least = 1 - squared / 2
            near = points @ points.T.copy() >= np.maximum.outer(least, least)
        else:
            near = _squared_chords(points, points) <= np.minimum.outer(squared, squared)
        first = near.argmax(axis=1)
        itself = np.arange(len(first))
        if np.count_nonzero(first == itself) == len(first):
            return
        while np.count_nonzero(first != first[first]):
            first = first[first]
        kept = (first == itself).nonzero()[0]
        mass = np.bincount(first, weights=self.state[:, 5])
        self.state = self.state.take(kept, axis=0)
        self.state[:, 5] = mass[kept]
        self.moving = self.moving[kept]

    def modes(self) -> tuple[Mode, ...]:
        """What the trajectories have reached, the densest first."""
        lat, lon = lat_lon(self.state[:, :3])
        density = np.exp(self.state[:, 4])
        columns = (lat, lon, self.state[:, 5], density)
        modes = map(Mode, *(column.tolist() for column in columns))
        return tuple(sorted(modes, key=lambda mode: (-mode.density, -mode.mass)))


def _tangent_bases(points: Array) -> Array:
    """Two rows (n, 2, 3) that with each unit vector of `points` (n, 3) are orthonormal.

    They are rows of the Householder reflection that takes the point to the pole of the other
    hemisphere: I - vvᵀ / |v_z|, with v the point plus the pole of its own.
    """
    across = points.copy()
    z = across[:, 2]
    z += np.copysign(1.0, z)
    scaled = across / np.abs(z)[:, None]
    bases: Array = _IDENTITY[:2] - across[:, :2, None] * scaled[:, None]
    return bases


def _lengths(vectors: Array) -> Array:
    return np.asarray(np.sqrt(np.vecdot(vectors, vectors)))


def _squared_chords(points: Array, others: Array) -> Array:
    """Squared chords (n, k) between unit vectors (n, 3) and (k, 3).

    By coordinates: for close points, products of the vectors lose the digits.
    """
    differences = (points[:, axis, None] - others[:, axis] for axis in range(3))
    return np.asarray(sum(difference**2 for difference in differences))
