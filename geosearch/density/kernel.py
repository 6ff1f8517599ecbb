"""Kernel density on the sphere: a weighted mixture of von Mises-Fisher kernels.

A kernel with concentration κ round the unit vector x has at y the density, per steradian,

    C exp(-κ (1 - x·y)),   C = κ / (2π (1 - exp(-2κ)))

(Mardia and Jupp, Directional Statistics, 2000, § 9.3.2, with exp(κ) taken out of C so that
nothing overflows). A bandwidth of σ kilometres is κ = (R/σ)²: on distances short against the
Earth's radius the kernel is then the isotropic normal distribution with standard deviation σ
along each axis. 1 - x·y is half the squared chord, which keeps its digits for close points.

Every kernel has a concentration of its own, so a neighbour may carry several: the mean of a
narrow and a wide kernel has a narrow peak with heavy tails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM, Array, tangent_basis, unit_vectors

#: Bandwidths from a metre to half the Earth's circumference.
BANDWIDTH_RANGE_KM = (0.001, np.pi * EARTH_RADIUS_KM)

#: Pairs of a point and a component evaluated at once: bounds the memory of a large map.
PAIRS_AT_ONCE = 500_000

#: Up to this concentration x·y has digits enough; beyond, chords are taken by coordinates.
LARGEST_KAPPA_OF_PRODUCTS = 1e6

#: Log of a share of the density that no digit of the sum shows. Smaller shares count as this:
#: numbers too small to be normal would cost ten times the rest. (The machine code of `climb` holds
#: it and is renewed when that file changes, not this one.)
NEGLIGIBLE = -40.0

#: Concentration of the uniform density: uniform to 1e-4.
UNIFORM_KAPPA = 1e-4

#: Turn from one point of a spiral to the next that spreads them evenly.
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


class Mixture:
    """Von Mises-Fisher kernels at `centres` (k, 3) with `weights` and concentrations `kappa` (k,).

    `kappa` may be given as one number for all. Mixtures do not change: treat the arrays so.
    """

    __slots__ = ("centres", "kappa", "weights")

    def __init__(self, centres: Array, weights: Array, kappa: float | Array) -> None:
        self.centres = centres
        self.weights = weights
        self.kappa: Array = np.broadcast_to(np.asarray(kappa, float), weights.shape)

    @classmethod
    def at(
        cls, lat: ArrayLike, lon: ArrayLike, weights: ArrayLike, bandwidth_km: float | Array
    ) -> Mixture:
        """Kernels at positions in degrees (k,), of one bandwidth or of one each (k,).

        The weights sum to 1. Raises InputError for a bandwidth out of range.
        """
        bandwidth = np.asarray(bandwidth_km, float)
        low, high = BANDWIDTH_RANGE_KM
        usable = (low <= bandwidth) & (bandwidth <= high)
        if not usable.all():
            raise InputError(
                f"`bandwidth_km`: {bandwidth[~usable].flat[0]:g} km cannot be used",
                f"Give one between {low} and {high:.0f} km.",
            )
        shares = np.asarray(weights, float)
        return cls(unit_vectors(lat, lon), shares, (EARTH_RADIUS_KM / bandwidth) ** 2)

    @classmethod
    def of_neighbours(
        cls,
        lat: ArrayLike,
        lon: ArrayLike,
        weights: ArrayLike,
        bandwidth_km: float | Sequence[float],
        bandwidth_weights: Sequence[float] | None = None,
    ) -> Mixture:
        """The density of neighbours that all carry the same kernel, at degrees (k,).

        With several bandwidths that kernel is the mean of kernels of these bandwidths, weighted
        by `bandwidth_weights` (equally if None). One of 20,015 km is practically the uniform
        density. Raises InputError for bandwidths out of range and weights that do not match.
        """
        if isinstance(bandwidth_km, int | float) and bandwidth_weights is None:
            return cls.at(lat, lon, weights, bandwidth_km)
        scales = np.atleast_1d(np.asarray(bandwidth_km, float))
        parts = _bandwidth_shares(len(scales), bandwidth_weights)
        scales, parts = scales[parts > 0], parts[parts > 0]
        count, each = len(scales), len(np.atleast_1d(lat))
        return cls.at(
            np.tile(np.atleast_1d(lat), count),
            np.tile(np.atleast_1d(lon), count),
            np.outer(parts, np.asarray(weights, float)).ravel(),
            np.repeat(scales, each),
        )

    @property
    def bandwidth(self) -> Array:
        """The bandwidths (k,) as angles in radians."""
        return np.asarray(1 / np.sqrt(self.kappa))

    @property
    def peaks(self) -> Array:
        """The constants C (k,): the density of each kernel at its own centre."""
        return np.asarray(self.kappa / (-2 * np.pi * np.expm1(-2 * self.kappa)))

    def where(self, chosen: NDArray[Any]) -> Mixture:
        """The components chosen by a mask or by indices, with their weights as they are."""
        return Mixture(self.centres[chosen], self.weights[chosen], self.kappa[chosen])

    def without_lightest(self, share: float) -> Mixture:
        """The mixture without its lightest components, which together weigh at most `share`."""
        order = np.argsort(self.weights)
        kept = np.sort(order[np.cumsum(self.weights[order]) > share])
        weights = self.weights[kept]
        return Mixture(self.centres[kept], weights / weights.sum(), self.kappa[kept])

    def blurred(self, km: float) -> Mixture:
        """The mixture of what is off by a standard deviation of so many kilometres besides."""
        return Mixture(
            self.centres, self.weights, 1 / (1 / self.kappa + (km / EARTH_RADIUS_KM) ** 2)
        )

    def condensed(self, side: float, alike: float = 1.0) -> Mixture:
        """The mixture with close components of one bandwidth as one, of the same mean and spread.

        Close is: in the same cube of a grid in space whose side is `side` bandwidths; of one
        bandwidth, or of bandwidths that differ by less than the factor `alike`. Weights must be
        positive.
        """
        widths, kinds = self.bandwidth, self.kappa
        if alike > 1:
            widths = kinds = np.minimum(1.0, alike ** np.floor(np.log(widths) / np.log(alike)))
        columns = [*np.floor(self.centres / (side * widths[:, None])).T, kinds]
        order = np.lexsort(columns)
        changes = [np.diff(column[order]) != 0 for column in columns]
        first = np.flatnonzero(np.r_[True, np.any(changes, axis=0)])
        if len(first) == len(order):
            return self
        shares, vectors = self.weights[order], self.centres[order]
        weights = np.add.reduceat(shares, first)
        centres = np.add.reduceat(shares[:, None] * vectors, first, axis=0)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        apart = vectors - np.repeat(centres, np.diff([*first, len(order)]), axis=0)
        spread = np.add.reduceat(shares * (apart**2).sum(axis=1), first) / weights
        own = 1 / self.kappa[order[first]]
        if alike > 1:
            own = np.add.reduceat(shares / self.kappa[order], first) / weights
        return Mixture(centres, weights, 1 / (own + spread / 2))  # the spread has two dimensions

    def with_background(self, share: float) -> Mixture:
        """The mixture with so much of a uniform density."""
        return Mixture(
            np.concatenate([self.centres, self.centres[:1]]),
            np.append((1 - share) * self.weights, share),
            np.append(self.kappa, UNIFORM_KAPPA),
        )

    def lattice(self, points: int) -> tuple[Array, Array]:
        """A fixed sample: unit vectors (n, 3) and the mass (n,) that each stands for.

        Every kernel gets a share of `points` by its weight, but at least 16, or 4 if there are
        many kernels: points of equal mass on a spiral round its centre.
        """
        fewest = np.clip(points // len(self.weights), 4, 16)
        count = np.maximum(fewest, np.ceil(points * self.weights)).astype(int)
        component, rank = numbered(count)
        # The inverse of the mass within a cap, at the middle of each of its equal parts.
        quantile = (rank + 0.5) / count[component]
        kappa = self.kappa[component]
        drop = -np.log1p(quantile * np.expm1(-2 * kappa)) / kappa
        vectors = on_spirals(self.centres[component], rank, drop)
        return vectors, self.weights[component] / count[component]

    @property
    def log_peaks(self) -> Array:
        """Log (k,) of weight times kernel at each centre; -inf for a weight of zero."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.weights * self.peaks))

    def log_density(self, points: Array) -> Array:
        """Log of the density per steradian at unit vectors (n, 3): shape (n,)."""
        rows = max(1, PAIRS_AT_ONCE // len(self.weights))
        peaks = self.log_peaks
        by_products = self.kappa.max() <= LARGEST_KAPPA_OF_PRODUCTS
        pull, at_origin = (self.kappa[:, None] * self.centres).T, peaks - self.kappa
        density = np.empty(len(points))
        for start in range(0, len(points), rows):
            batch = points[start : start + rows]
            if by_products:
                logs = batch @ pull
                logs += at_origin
            else:
                logs = squared_chords(batch, self.centres)
                logs *= -self.kappa / 2
                logs += peaks
            density[start : start + rows] = log_sum(logs)
        return density

    def log_at(self, lat: float, lon: float) -> float:
        """Log of the density per steradian at a point in degrees."""
        return float(self.log_density(unit_vectors(lat, lon)[None])[0])


def numbered(count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For so many (k,) of each of k things: which thing each is of (n,), and its number there."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)


def on_spirals(centres: Array, rank: NDArray[np.int64], drop: Array) -> Array:
    """Unit vectors (n, 3), each on the spiral round its centre (n, 3), as its `rank`-th point.

    `drop` (n,) is 1 - cos(the angle to the centre).
    """
    aside = np.sqrt(drop * (2 - drop))
    first, second = tangent_basis(centres)
    azimuth = rank * GOLDEN_ANGLE
    vectors: Array = (
        (1 - drop)[:, None] * centres
        + (aside * np.cos(azimuth))[:, None] * first
        + (aside * np.sin(azimuth))[:, None] * second
    )
    return vectors


def squared_chords(points: Array, others: Array) -> Array:
    """Squared chords (n, k) between unit vectors (n, 3) and (k, 3), to the last digit."""
    total = np.zeros((len(points), len(others)))
    for here, there in zip(points.T, others.T, strict=True):
        apart = np.subtract.outer(here, there)
        apart *= apart
        total += apart
    return total


def log_sum(logs: Array) -> Array:
    """Log of the sum of exp(logs) over the last axis, without overflow; `logs` is used up."""
    highest = logs.max(axis=-1, keepdims=True)
    logs -= highest
    np.maximum(logs, NEGLIGIBLE, out=logs)
    total: Array = np.log(np.exp(logs, out=logs).sum(axis=-1)) + highest[..., 0]
    return total


def _bandwidth_shares(count: int, weights: Sequence[float] | None) -> Array:
    if not count:
        raise InputError("There is no bandwidth.", "Give one, or several.")
    if weights is None:
        return np.full(count, 1 / count)
    shares = np.asarray(weights, float)
    if len(shares) != count or not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
        raise InputError(
            f"The bandwidth weights {list(weights)} do not fit {count} bandwidth(s).",
            "Give one weight for each bandwidth, none negative and not all zero.",
        )
    return np.asarray(shares / shares.sum())
