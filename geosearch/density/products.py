"""Products of mixtures of von Mises-Fisher kernels: what two kinds of evidence say together.

The product of two kernels is again one: exp(κ₁ x₁·y) exp(κ₂ x₂·y) = exp(|r| r̂·y), r = κ₁x₁ + κ₂x₂.
With C and κ as in `geosearch.density.kernel` and c the chord between the centres, its mass, which
is how well the two agree, is

    C(κ₁) C(κ₂) / C(|r|) · exp(-κ₁κ₂c² / (|r| + κ₁ + κ₂)),   |r|² = (κ₁ + κ₂)² - κ₁κ₂c²

a form in which nothing cancels. So the product of two mixtures is a mixture in closed form, and the
mass of every pair of kernels in it is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geosearch.density.kernel import Mixture, log_sum, squared_chords
from geosearch.density.levels import CLOSE
from geosearch.sphere import Array

#: Of a density that is compared with another, so much is its kernels' lightest, which are left out.
_LIGHTEST = 1e-4

#: Of a product, pairs of kernels of this share together are left out.
PRUNED = 1e-6

#: Where a product has more kernels, those so close, in bandwidths, and so alike in these are one.
_MANY, _CLOSE, _ALIKE = 300, 0.1, 1.1

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


def lean(mixture: Mixture) -> Mixture:
    """A density without its lightest kernels, close ones as one: every pair is looked at."""
    return mixture.without_lightest(_LIGHTEST).condensed(CLOSE / 2)


def united(parts: Sequence[tuple[float, Mixture]]) -> Mixture:
    """The mixture of mixtures, each with its share; the shares sum to 1."""
    return Mixture(
        np.concatenate([each.centres for _, each in parts]),
        np.concatenate([share * each.weights for share, each in parts]),
        np.concatenate([each.kappa for _, each in parts]),
    )


@dataclass(frozen=True, eq=False)
class Together:
    """Several kinds of evidence, any of which may be wrong, as one density.

    `shares` (2ⁿ,) are the probabilities of which are right: in share number s, evidence i is right
    if bit i of s is set. So share 0 is that none is, and the last that all are.
    """

    mixture: Mixture
    shares: Array

    def right(self, index: int) -> float:
        """The probability that one kind of evidence is right."""
        chosen = np.arange(len(self.shares)) >> index & 1
        return float(self.shares @ chosen)


def together(
    evidence: Sequence[tuple[Mixture, float]],
    otherwise: Mixture,
    log_level: float,
    agreed: tuple[Mixture, float] | None = None,
    alike: float = 0.0,
) -> Together:
    """Fuse densities, each of which is wrong with the probability beside it.

    Where one is wrong it says nothing: the photo is anywhere, at the log density `log_level`. Where
    all are, the density is `otherwise`. `agreed` is the product of two where that is known, and its
    log mass; `alike` is as in `shares_of`.
    """
    found = products([density for density, _ in evidence], agreed)
    masses = np.array([0.0, *(mass for _, mass in found)])
    doubts = [doubt for _, doubt in evidence]
    shares = shares_of(masses[None], doubts, log_level, alike)[0]
    densities = [otherwise, *(density for density, _ in found)]
    parts = [pair for pair in zip(shares.tolist(), densities, strict=True) if pair[0] > 0]
    return Together(united(parts), shares)


def products(
    densities: Sequence[Mixture], agreed: tuple[Mixture, float] | None = None
) -> list[tuple[Mixture, float]]:
    """The product of each choice of densities, and its log mass, numbered as `Together.shares`.

    That of none, number 0, is left out. `agreed` is that of the first two, where it is known.
    """
    found: list[tuple[Mixture, float]] = []
    for index, density in enumerate(densities):
        # With this one, all that were there without it.
        with_it = [(density, 0.0)]
        for other, mass in found:
            if agreed and index == 1:
                both, more = agreed
            else:
                both, more = product(other, density)
                if len(both.weights) > _MANY:
                    both = both.condensed(_CLOSE, _ALIKE)
            with_it.append((both, mass + more))
        found += with_it
    return found


def shares_of(
    log_masses: Array, doubts: Sequence[float], log_level: float, alike: float = 0.0
) -> Array:
    """`Together.shares` (..., 2ⁿ) of evidence whose products have so much mass (..., 2ⁿ).

    The mass of the product of none and of one is 1. With the probability `alike` the first two are
    wrong in the same way, if they are not wrong each in its own: then that they agree says nothing.
    """
    chosen = np.arange(2 ** len(doubts))[:, None] >> np.arange(len(doubts)) & 1
    with np.errstate(divide="ignore"):
        ruled = np.where(chosen, np.log1p(-np.array(doubts)), np.log(np.array(doubts))).sum(axis=1)
    # Densities multiplied: one that is wrong is the level, and the last is what it is a density of.
    levels = np.minimum(len(doubts) - chosen.sum(axis=1), len(doubts) - 1) * log_level
    logs = ruled + levels + log_masses
    if alike:
        agreed = logs[..., 3] + np.log(alike)
        logs = logs + np.log1p(-alike)
        for number in range(0, len(chosen), 4):
            right = chosen[number].astype(bool)
            odds = (np.log1p(-np.array(doubts)) - np.log(doubts))[right].sum()
            told = agreed + odds + log_masses[..., number]
            logs[..., number] = np.logaddexp(logs[..., number], told)
    shares = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))
