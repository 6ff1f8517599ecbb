"""Products of mixtures of von Mises-Fisher kernels: what two kinds of evidence say together.

The product of two kernels is again one: exp(κ₁ x₁·y) exp(κ₂ x₂·y) = exp(|r| r̂·y), r = κ₁x₁ + κ₂x₂.
With C and κ as in `geosearch.density.kernel` and c the chord between the centres, its mass, which
is how well the two agree, is

    C(κ₁) C(κ₂) / C(|r|) · exp(-κ₁κ₂c² / (|r| + κ₁ + κ₂)),   |r|² = (κ₁ + κ₂)² - κ₁κ₂c²

a form in which nothing cancels. So the product of two mixtures is a mixture in closed form, and the
mass of every pair of kernels in it is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geosearch.density.kernel import Mixture, log_sum, squared_chords
from geosearch.sphere import Array

#: Of a product, pairs of kernels of this share together are left out.
PRUNED = 1e-6

#: Less concentrated than this no kernel is: two opposite ones of one κ leave the uniform density.
_LEAST_KAPPA = 1e-6


def log_constant(kappa: Array) -> Array:
    """Log C of kernels: the log density at their centres."""
    constant: Array = np.log(kappa) - np.log(2 * np.pi) - np.log(-np.expm1(-2 * kappa))
    return constant


def resultant(kappa: Array, other: Array, squared_chord: Array) -> tuple[Array, Array]:
    """Concentration of the product of kernels, and its log mass; all arrays of one shape."""
    total = kappa + other
    both = kappa * other * squared_chord
    length = np.maximum(np.sqrt(np.maximum(total**2 - both, 0.0)), _LEAST_KAPPA)
    mass = log_constant(kappa) + log_constant(other) - log_constant(length)
    return length, mass - both / (length + total)


def product(first: Mixture, second: Mixture) -> tuple[Mixture, float]:
    """The product of two densities, scaled to a density, and the log of its mass before that."""
    kappa, other = np.broadcast_arrays(first.kappa[:, None], second.kappa)
    length, masses = resultant(kappa, other, squared_chords(first.centres, second.centres))
    with np.errstate(divide="ignore"):
        masses = masses + np.log(first.weights)[:, None] + np.log(second.weights)
    log_mass = float(log_sum(masses.ravel().copy()))
    weights = np.exp(masses - log_mass)
    rows, columns = np.nonzero(weights > PRUNED / weights.size)
    centres = (
        kappa[rows, columns, None] * first.centres[rows]
        + other[rows, columns, None] * second.centres[columns]
    )
    norms = np.linalg.norm(centres, axis=1, keepdims=True)
    centres = np.where(norms > 0, centres / np.maximum(norms, 1e-300), first.centres[rows])
    kept = weights[rows, columns]
    return Mixture(centres, kept / kept.sum(), length[rows, columns]), log_mass


def united(parts: list[tuple[float, Mixture]]) -> Mixture:
    """The mixture of mixtures, each with its share; the shares sum to 1."""
    return Mixture(
        np.concatenate([each.centres for _, each in parts]),
        np.concatenate([share * each.weights for share, each in parts]),
        np.concatenate([each.kappa for _, each in parts]),
    )


@dataclass(frozen=True, eq=False)
class Together:
    """Two kinds of evidence, either of which may be wrong, as one density.

    `shares` are the probabilities that both are right, the first or the second alone, and neither.
    `log_mass` is the log mass of the product of both: how well they agree.
    """

    mixture: Mixture
    shares: tuple[float, float, float, float]
    log_mass: float


def together(
    first: Mixture,
    second: Mixture,
    doubts: tuple[float, float],
    otherwise: Mixture,
    log_level: float,
    agreed: tuple[Mixture, float] | None = None,
) -> Together:
    """Fuse two densities, each of which is wrong with the probability `doubts` says.

    Where one is wrong it says nothing: the photo is anywhere, at the log density `log_level`. Where
    both are, the density is `otherwise`. `agreed` is their product where that is known.
    """
    both, log_mass = agreed or product(first, second)
    shares = shares_of(np.array([log_mass]), doubts, log_level)[0]
    densities = (both, first, second, otherwise)
    return Together(
        united([pair for pair in zip(shares.tolist(), densities, strict=True) if pair[0] > 0]),
        tuple(shares.tolist()),
        log_mass,
    )


def shares_of(log_mass: Array, doubts: tuple[float, float], log_level: float) -> Array:
    """`Together.shares` (n, 4) of evidence whose products have so much mass (n,)."""
    first, second = doubts
    with np.errstate(divide="ignore"):
        ruled = np.log(
            [(1 - first) * (1 - second), (1 - first) * second, first * (1 - second), first * second]
        )
    logs = np.tile(ruled + log_level, (len(log_mass), 1))
    logs[:, 0] = ruled[0] + log_mass
    logs -= logs.max(axis=1, keepdims=True)
    shares = np.exp(logs)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
