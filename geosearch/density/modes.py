"""Modes of mixtures of von Mises-Fisher kernels: their local maxima, found from every neighbour.

From each neighbour a trajectory climbs the density f. Where log f is concave and the top near, a
step is Newton's on the tangent plane. Elsewhere it is mean shift, to the direction of
m = Σ wᵢ κᵢ Cᵢ xᵢ exp(κᵢ y·xᵢ), if that is long, since it never descends; and if it is short, a
Newton step whose curvatures count by their absolute values, so that it leads uphill too.
Trajectories that meet go on as one, and one that comes to rest on a saddle is pushed off it along
the direction in which the density rises.

All trajectories of many mixtures move at once: for one mixture of a hundred neighbours, what
NumPy needs to begin an operation takes longer than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.density.kernel import LARGEST_KAPPA_OF_PRODUCTS, NEGLIGIBLE, Mixture
from geosearch.sphere import Array, lat_lon

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

#: All lengths below are in bandwidths: of 1/√κ, with κ the mean of the kernels felt at a point.
ARRIVED = 1e-8  # a step shorter than this ends a trajectory
LAST_NEWTON_STEP = 3e-4  # the error after a step of Newton's method is about its square
LONGEST_NEWTON_STEP = 0.5
SAME_TRAJECTORY = 1e-2  # trajectories this close end in the same mode,
SAME_SUMMIT = 0.2  # and where log f is clearly concave, this close
NUDGE = 0.1  # how far to push off a saddle

#: Curvatures in units of κ: clearly concave, and practically flat.
CONCAVE, FLAT = 0.3, 1e-6

#: Steps after which only mean shift is trusted, and at which all stop.
NEWTON_STEPS, MOST_STEPS = 60, 1000


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
    return find_modes_of([mixture])[0]


def find_modes_of(mixtures: Sequence[Mixture]) -> list[tuple[Mode, ...]]:
    """For each mixture, all modes that its components climb to, the densest first."""
    field, climb = _Field(mixtures), _Trajectories(mixtures)
    climb.merge(field)
    for count in range(MOST_STEPS):
        climb.step(field, newton=count < NEWTON_STEPS)
        climb.merge(field)
        if not climb.moving.any():
            break
    return climb.modes(len(mixtures))


class _Rows:
    """Where items, sorted by the mixture that owns them, stand in an array padded to (q, n)."""

    def __init__(self, owner: Index) -> None:
        self._single = bool(owner[0] == owner[-1])
        if self._single:
            self.owners, self.first = owner[:1], np.zeros_like(owner[:1])
            return
        self.owners, start, row, counts = np.unique(
            owner, return_index=True, return_inverse=True, return_counts=True
        )
        self.first = start[row]
        self._shape = len(self.owners), int(counts.max())
        self._where = row, np.arange(len(owner)) - self.first

    def pad(self, items: Array, fill: float = 0.0) -> Array:
        """Items (t, ...) as (q, n, ...)."""
        if self._single:
            return items[None]
        padded = np.full((*self._shape, *items.shape[1:]), fill)
        padded[self._where] = items
        return padded

    def flat(self, padded: NDArray[Any]) -> NDArray[Any]:
        """What stands for items in an array (q, n, ...): (t, ...)."""
        items: NDArray[Any] = padded[0] if self._single else padded[self._where]
        return items


class _Field:
    """The kernels of q mixtures, padded to the same number k, as matrices for products."""

    def __init__(self, mixtures: Sequence[Mixture]) -> None:
        rows = _Rows(_owners(mixtures))
        centres = np.concatenate([mixture.centres for mixture in mixtures])
        kappa = np.concatenate([mixture.kappa for mixture in mixtures])
        peaks = np.concatenate([mixture.log_peaks for mixture in mixtures])
        pull = kappa[:, None] * centres
        # The means over the kernels of 1, κ, κx and κ²xxᵀ give f and its derivatives.
        products = (pull[:, :, None] * pull[:, None, :]).reshape(-1, 9)
        ones = np.ones((len(kappa), 1))
        self.moments = rows.pad(np.concatenate([ones, kappa[:, None], pull, products], axis=1))
        self.by_products = bool(kappa.max() <= LARGEST_KAPPA_OF_PRODUCTS)
        if self.by_products:
            linear = rows.pad(pull).swapaxes(1, 2)
            constant = rows.pad(peaks - kappa, fill=-np.inf)[:, None]
            self._linear = np.concatenate([linear, constant], axis=1)
        else:
            self._centres = rows.pad(centres)
            self._half_kappa = rows.pad(kappa / 2)[:, None]
            self._peaks = rows.pad(peaks, fill=-np.inf)[:, None]

    def at(self, points: Array, owner: Index) -> tuple[Array, Array]:
        """Log density (t,) and the means (t, 14) of the moments at points (t, 3)."""
        rows = _Rows(owner)
        chosen = slice(None) if len(rows.owners) == len(self.moments) else rows.owners
        padded = rows.pad(points)
        if self.by_products:
            ones = np.ones((*padded.shape[:2], 1))
            logs = np.concatenate([padded, ones], axis=2) @ self._linear[chosen]
        else:
            squared = _squared_chords(padded, self._centres[chosen])
            logs = self._peaks[chosen] - self._half_kappa[chosen] * squared
        top = logs.max(axis=2, keepdims=True)
        logs -= top
        np.maximum(logs, NEGLIGIBLE, out=logs)
        sums = rows.flat(np.exp(logs, out=logs) @ self.moments[chosen])
        total = sums[:, :1]
        return rows.flat(top)[:, 0] + np.log(total[:, 0]), sums / total


class _Trajectories:
    """Points (t, 3) on their way up, sorted by the mixture that owns each, and what they carry."""

    def __init__(self, mixtures: Sequence[Mixture]) -> None:
        self.owner = _owners(mixtures)
        self.points = np.concatenate([mixture.centres for mixture in mixtures])
        self.mass = np.concatenate([mixture.weights for mixture in mixtures])
        self.moving = np.ones(len(self.mass), bool)
        self.log_density = np.empty(len(self.mass))
        finest = np.array([mixture.bandwidth.min() for mixture in mixtures])
        self.reach = SAME_TRAJECTORY * finest[self.owner]

    def step(self, field: _Field, newton: bool) -> None:
        """One step uphill of all that still move."""
        moving = self.moving.nonzero()[0]
        here = self.points[moving]
        log_density, means = field.at(here, self.owner[moving])
        kappa, mean = means[:, 1], means[:, 2:5]
        bandwidth = 1 / np.sqrt(kappa)
        slopes = _Slopes(here, mean, means[:, 5:], FLAT * kappa)

        longest = LONGEST_NEWTON_STEP * bandwidth
        by_newton = (slopes.steepness <= longest * kappa) & newton
        move = slopes.newton_step()
        move *= (longest / np.maximum(_lengths(move), longest))[:, None]
        saddle: Mask = slopes.flattest > FLAT * kappa
        saddle &= slopes.steepness <= 1e-6 * kappa * bandwidth
        if saddle.any():
            move[saddle] = (NUDGE * bandwidth[saddle])[:, None] * slopes.rising(saddle)
        there = here + move
        if not by_newton.all():
            # A mean of zero points nowhere: only a perfectly balanced mixture has one, at rest.
            shifting = ~(by_newton | saddle) & mean.any(axis=1)
            there[shifting] = mean[shifting]
            there[~(by_newton | saddle | shifting)] = here[~(by_newton | saddle | shifting)]
        there /= _lengths(there)[:, None]

        gone = there - here
        # Newton's method squares its error, in units that grow as the top gets flatter.
        last = LAST_NEWTON_STEP * np.minimum(-slopes.flattest / kappa, 1.0) * by_newton
        arrived = _lengths(gone) <= np.maximum(np.maximum(last, ARRIVED) * bandwidth, 1e-15)
        self.points[moving] = there
        self.log_density[moving] = log_density + np.einsum("nj,nj->n", mean, gone) / 2
        self.moving[moving] = saddle | ~arrived
        summit = slopes.flattest < -CONCAVE * kappa
        self.reach[moving] = np.where(summit, SAME_SUMMIT, SAME_TRAJECTORY) * bandwidth

    def merge(self, field: _Field) -> None:
        """Join trajectories within reach of each other, to move if the first of them does."""
        rows = _Rows(self.owner)
        if len(self.owner) == len(rows.owners):
            return
        points, reach = rows.pad(self.points), rows.pad(self.reach**2, fill=-1.0)[:, :, None]
        if field.by_products:
            near = points @ points.swapaxes(1, 2).copy() >= 1 - reach / 2
        else:
            near = _squared_chords(points, points) <= reach
        near &= near.swapaxes(1, 2)
        first = rows.flat(near.argmax(axis=2)) + rows.first
        while (first != first[first]).any():
            first = first[first]
        kept = np.flatnonzero(first == np.arange(len(first)))
        if len(kept) == len(first):
            return
        self.mass = np.bincount(first, weights=self.mass)[kept]
        for name in ("owner", "points", "moving", "log_density", "reach"):
            setattr(self, name, getattr(self, name)[kept])

    def modes(self, count: int) -> list[tuple[Mode, ...]]:
        """What the trajectories of each of `count` mixtures have reached, the densest first."""
        order = np.lexsort((-self.mass, -self.log_density, self.owner))
        lat, lon = lat_lon(self.points[order])
        found = (lat, lon, self.mass[order], np.exp(self.log_density[order]))
        modes = [Mode(*values) for values in zip(*(array.tolist() for array in found), strict=True)]
        ends = np.cumsum(np.bincount(self.owner, minlength=count)).tolist()
        return [tuple(modes[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


class _Slopes:
    """Gradient and Hessian of log f in the tangent planes of points (n, 3), and what follows.

    `mean` (n, 3) and `second` (n, 9) are the means of κx and κ²xxᵀ over the kernels.
    Curvatures count as `least` (n,) at least.
    """

    def __init__(self, points: Array, mean: Array, second: Array, least: Array) -> None:
        self.basis = _tangent_bases(points)
        gradient = (self.basis @ mean[:, :, None])[:, :, 0]
        hessian = self.basis @ second.reshape(-1, 3, 3) @ self.basis.swapaxes(1, 2)
        hessian -= gradient[:, :, None] * gradient[:, None, :]
        self.g, self.h = gradient[:, 0], gradient[:, 1]
        # Less its mean curvature, the Hessian is ((skew, cross), (cross, -skew)).
        first, last = hessian[:, 0, 0], hessian[:, 1, 1]
        self.cross, self.skew = hessian[:, 0, 1], (first - last) / 2
        middle = (first + last) / 2 - np.einsum("nj,nj->n", mean, points)
        self.spread = np.hypot(self.skew, self.cross)
        self.least = least
        self.flattest, self.steepest = middle + self.spread, middle - self.spread
        self.steepness = np.hypot(self.g, self.h)

    def newton_step(self) -> Array:
        """|H|⁻¹ times the gradient, in space (n, 3); |H| has the absolute curvatures of H."""
        one = 1 / np.maximum(np.abs(self.flattest), self.least)
        other = 1 / np.maximum(np.abs(self.steepest), self.least)
        # A function of a symmetric 2 x 2 matrix is a combination of it and the identity.
        even, uneven = (one + other) / 2, (one - other) / (2 * np.maximum(self.spread, 1e-300))
        along = even * self.g + uneven * (self.skew * self.g + self.cross * self.h)
        across = even * self.h + uneven * (self.cross * self.g - self.skew * self.h)
        step: Array = along[:, None] * self.basis[:, 0] + across[:, None] * self.basis[:, 1]
        return step

    def rising(self, chosen: Mask) -> Array:
        """Unit vectors (m, 3) of the direction of the highest curvature at the chosen points."""
        angle = np.arctan2(self.cross[chosen], self.skew[chosen])[:, None] / 2
        basis = self.basis[chosen]
        directions: Array = np.cos(angle) * basis[:, 0] + np.sin(angle) * basis[:, 1]
        return directions


def _owners(mixtures: Sequence[Mixture]) -> Index:
    """Which mixture each of all components belongs to."""
    return np.repeat(np.arange(len(mixtures)), [len(mixture.weights) for mixture in mixtures])


def _lengths(vectors: Array) -> Array:
    return np.asarray(np.sqrt(np.einsum("nj,nj->n", vectors, vectors)))


def _tangent_bases(points: Array) -> Array:
    """Two rows (n, 2, 3) that with each unit vector of `points` (n, 3) are orthonormal.

    By the formula of Duff et al. 2017, Journal of Computer Graphics Techniques 6(1), which has
    no singular point.
    """
    x, y, z = points.T
    sign = np.copysign(1.0, z)
    a = -1 / (sign + z)
    ax, signed_x = a * x, sign * x
    axy = ax * y
    rows = [1 + ax * signed_x, sign * axy, -signed_x, axy, sign + a * y * y, -y]
    return np.stack(rows, axis=1).reshape(-1, 2, 3)


def _squared_chords(points: Array, others: Array) -> Array:
    """Squared chords (q, n, k) between unit vectors (q, n, 3) and (q, k, 3).

    By coordinates: for close points, products of the vectors lose the digits.
    """
    differences = (points[:, :, None, axis] - others[:, None, :, axis] for axis in range(3))
    return np.asarray(sum(difference**2 for difference in differences))
