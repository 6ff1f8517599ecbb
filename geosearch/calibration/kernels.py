"""The calibrated density: where the truth lies, given a summit, neighbours and evidence.

The truth is near the summit of the smoothed neighbours' density, or near one of the neighbours, or
anywhere: a mixture of kernels of two bandwidths round the summit, of two round every neighbour,
weighted as these are, and of the uniform density. How likely each of these is depends on the
evidence, by a multinomial logit. Bandwidths and logit maximise the mean log density of the true
places of labelled queries, a proper score (Gneiting and Raftery, Strictly proper scoring rules,
prediction, and estimation, JASA 102, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosearch.softmax import log_softmax, softmax
from geosearch.sphere import EARTH_RADIUS_KM, Array

#: Bandwidths, in km, from which the search begins: round the summit, round neighbours.
SUMMIT_KM, NEIGHBOUR_KM = (60.0, 150.0), (100.0, 400.0)
COMPONENTS = len(SUMMIT_KM) + len(NEIGHBOUR_KM) + 1

#: Bandwidths stay in this range, km.
BANDWIDTHS_KM = (1.0, 8000.0)

_UNIFORM = -np.log(4 * np.pi)


@dataclass(frozen=True, eq=False)
class Truths:
    """True places of n queries as their estimates and neighbours see them.

    `summit` (n,) and `neighbours` (n, k) are 1 - cos of the angle to the truth, `weights` (n, k)
    those of the neighbours, zero where a query has fewer, `evidence` (n, f) is standardised.
    """

    summit: Array
    neighbours: Array
    weights: Array
    evidence: Array

    def where(self, chosen: NDArray[np.bool_]) -> Truths:
        """Those of the queries chosen by a mask (n,)."""
        return Truths(*(values[chosen] for values in vars(self).values()))


@dataclass(frozen=True)
class Kernels:
    """Bandwidths in kilometres, and the logit: a row (1 + f) for each component."""

    summit_km: tuple[float, ...]
    neighbour_km: tuple[float, ...]
    gate: tuple[tuple[float, ...], ...]

    def shares(self, evidence: Array) -> Array:
        """Probabilities (..., components) of the components, from evidence (..., f)."""
        gate = np.array(self.gate)
        return softmax(gate[:, 0] + evidence @ gate[:, 1:].T)


def fit_kernels(truths: Truths) -> tuple[Kernels, float]:
    """The kernels under which the true places are most likely, and their mean log density."""
    from scipy.optimize import minimize  # here and below: an answer needs no SciPy, only a fit does
    from scipy.special import logsumexp

    n, features = truths.evidence.shape
    design = np.column_stack([np.ones(n), truths.evidence])
    widths = len(SUMMIT_KM) + len(NEIGHBOUR_KM)
    with np.errstate(divide="ignore"):
        log_weights = np.log(truths.weights)

    def objective(values: Array) -> tuple[float, Array]:
        logits = values[widths:].reshape(COMPONENTS, 1 + features)
        log_shares = log_softmax(design @ logits.T)
        logs, slopes = _log_components(truths, log_weights, np.exp(values[:widths]))
        joint = log_shares + logs
        total = logsumexp(joint, axis=1)
        posterior, shares = np.exp(joint - total[:, None]), np.exp(log_shares)
        # One imaginary query for each component keeps every share above zero.
        excess = (posterior - shares + (1 - COMPONENTS * shares) / n) / n
        gradient = np.concatenate(
            [(posterior[:, :widths] * slopes).mean(axis=0), (excess.T @ design).ravel()]
        )
        # Slopes have a standard normal prior: few queries must not tell them apart.
        slope = logits * (np.arange(1 + features) > 0)
        gradient[widths:] -= slope.ravel() / n
        value = total.mean() + log_shares.sum(axis=1).mean() / n - np.sum(slope**2) / (2 * n)
        return -float(value), -gradient

    start = np.zeros(widths + COMPONENTS * (1 + features))
    start[:widths] = np.log(SUMMIT_KM + NEIGHBOUR_KM)
    limits = [tuple(np.log(BANDWIDTHS_KM))] * widths + [(None, None)] * (len(start) - widths)
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={"maxiter": 300, "ftol": 1e-7},
    ).x
    km = [float(value) for value in np.exp(found[:widths])]
    kernels = Kernels(
        summit_km=tuple(km[: len(SUMMIT_KM)]),
        neighbour_km=tuple(km[len(SUMMIT_KM) :]),
        gate=tuple(
            tuple(float(value) for value in row)
            for row in found[widths:].reshape(COMPONENTS, 1 + features)
        ),
    )
    return kernels, float(log_density(kernels, truths).mean())


def log_density(kernels: Kernels, truths: Truths) -> Array:
    """Log density (n,), per steradian, of the true places."""
    from scipy.special import logsumexp

    with np.errstate(divide="ignore"):
        log_weights = np.log(truths.weights)
    km = np.array(kernels.summit_km + kernels.neighbour_km)
    logs, _ = _log_components(truths, log_weights, km)
    total: Array = logsumexp(logs, axis=1, b=kernels.shares(truths.evidence))
    return total


def _log_components(truths: Truths, log_weights: Array, km: Array) -> tuple[Array, Array]:
    """Log densities (n, components) at the truths, and their slopes by the log bandwidths."""
    from scipy.special import logsumexp

    kappa = (EARTH_RADIUS_KM / km) ** 2
    constants = np.log(kappa / (2 * np.pi)) - np.log(-np.expm1(-2 * kappa))
    # d/dκ of the constant, times dκ/d(log bandwidth) = -2κ.
    rise = -2 * (1 - 2 * kappa / np.expm1(np.minimum(2 * kappa, 700)))
    logs = np.full((len(truths.summit), COMPONENTS), _UNIFORM)
    slopes = np.empty((len(truths.summit), len(km)))
    for index in range(len(SUMMIT_KM)):
        fall = kappa[index] * truths.summit
        logs[:, index] = constants[index] - fall
        slopes[:, index] = rise[index] + 2 * fall
    for index in range(len(SUMMIT_KM), len(km)):
        falls = kappa[index] * truths.neighbours
        terms = log_weights - falls
        sums = logsumexp(terms, axis=1)
        logs[:, index] = constants[index] + sums
        felt = np.exp(terms - sums[:, None])
        slopes[:, index] = rise[index] + 2 * np.sum(felt * falls, axis=1)
    return logs, slopes
