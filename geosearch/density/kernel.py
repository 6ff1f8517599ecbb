"""Kernel density on the sphere: a weighted mixture of von Mises-Fisher kernels.

A kernel with concentration κ round the unit vector x has at y the density, per steradian,

    C exp(-κ (1 - x·y)),   C = κ / (2π (1 - exp(-2κ)))

(Mardia and Jupp, Directional Statistics, 2000, § 9.3.2, with exp(κ) taken out of C so that
nothing overflows). A bandwidth of σ kilometres is κ = (R/σ)²: on distances short against the
Earth's radius the kernel is then the isotropic normal distribution with standard deviation σ
along each axis. 1 - x·y is half the squared chord, which keeps its digits for close points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM, Array, tangent_basis, unit_vectors

#: Bandwidths from a metre to half the Earth's circumference.
BANDWIDTH_RANGE_KM = (0.001, np.pi * EARTH_RADIUS_KM)

#: Pairs of a point and a component evaluated at once: bounds the memory of a large map.
PAIRS_AT_ONCE = 500_000

#: Turn from one point of a spiral to the next that spreads them evenly.
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Von Mises-Fisher kernels of one concentration at `centres` (k, 3) with `weights` (k,)."""

    centres: Array
    weights: Array
    kappa: float

    @classmethod
    def at(cls, lat: Array, lon: Array, weights: Array, bandwidth_km: float) -> Mixture:
        """Kernels at positions in degrees, weights summing to 1; InputError for the bandwidth."""
        low, high = BANDWIDTH_RANGE_KM
        if not low <= bandwidth_km <= high:
            raise InputError(
                f"A bandwidth of {bandwidth_km} km cannot be used.",
                f"Give one between {low} and {high:.0f} km.",
            )
        return cls(unit_vectors(lat, lon), weights, (EARTH_RADIUS_KM / bandwidth_km) ** 2)

    @property
    def bandwidth(self) -> float:
        """The bandwidth as an angle in radians."""
        return float(1 / np.sqrt(self.kappa))

    @property
    def log_constant(self) -> float:
        """Log of the constant C: the density of a kernel at its own centre."""
        return float(np.log(self.kappa / (2 * np.pi)) - np.log(-np.expm1(-2 * self.kappa)))

    def without_lightest(self, share: float) -> Mixture:
        """The mixture without its lightest components, which together weigh at most `share`."""
        order = np.argsort(self.weights)
        kept = np.sort(order[np.cumsum(self.weights[order]) > share])
        weights = self.weights[kept]
        return Mixture(self.centres[kept], weights / weights.sum(), self.kappa)

    def lattice(self, points: int) -> tuple[Array, Array]:
        """A fixed sample: unit vectors (n, 3) and the mass (n,) that each stands for.

        Every kernel gets a share of `points` by its weight, but at least 16: points of equal
        mass on a spiral round its centre.
        """
        count = np.maximum(16, np.ceil(points * self.weights)).astype(int)
        component = np.repeat(np.arange(len(count)), count)
        rank = np.arange(len(component)) - np.repeat(np.cumsum(count) - count, count)
        # The inverse of the mass within a cap, at the middle of each of its equal parts.
        quantile = (rank + 0.5) / count[component]
        drop = -np.log1p(quantile * np.expm1(-2 * self.kappa)) / self.kappa  # 1 - cos(radius)
        aside = np.sqrt(drop * (2 - drop))
        first, second = (axis[component] for axis in tangent_basis(self.centres))
        azimuth = rank * GOLDEN_ANGLE
        vectors = (
            (1 - drop)[:, None] * self.centres[component]
            + (aside * np.cos(azimuth))[:, None] * first
            + (aside * np.sin(azimuth))[:, None] * second
        )
        return vectors, self.weights[component] / count[component]

    def log_kernels(self, squared_chords: Array) -> Array:
        """Log of weight times kernel from squared chords (n, k) between points and centres."""
        with np.errstate(divide="ignore"):  # a weight of zero is a log of -inf
            peaks = np.log(self.weights) + self.log_constant
        return peaks - self.kappa / 2 * squared_chords

    def log_density(self, points: Array) -> Array:
        """Log of the density per steradian at unit vectors (n, 3): shape (n,)."""
        rows = max(1, PAIRS_AT_ONCE // len(self.weights))
        batches = range(0, len(points), rows)
        logs = [
            log_sum(self.log_kernels(cdist(points[i : i + rows], self.centres, "sqeuclidean")))
            for i in batches
        ]
        return np.concatenate(logs) if logs else np.empty(0)


def log_sum(logs: Array) -> Array:
    """Log of the sum of exp(logs) over the last axis, without overflow or underflow."""
    highest = logs.max(axis=-1, keepdims=True)
    total: Array = np.log(np.exp(logs - highest).sum(axis=-1)) + highest[..., 0]
    return total
