"""The calibrated density: where the truth lies, given a summit, neighbours and evidence.

The truth is near the summit of the smoothed neighbours' density, or near one of the neighbours, or
anywhere among the references: a mixture of kernels of two bandwidths round the summit, of two round
every neighbour, weighted as these are, and of the prior. Bandwidths are in spacings of the query's
own neighbours, so that one calibration holds for a street and a continent alike. How likely each
of these is depends on the evidence, by a multinomial logit. Bandwidths and logit maximise the mean
log density of the true places of labelled queries, a proper score (Gneiting and Raftery, Strictly
proper scoring rules, prediction, and estimation, JASA 102, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosearch.softmax import log_softmax, softmax
from geosearch.sphere import Array

#: Kernels round the summit, round each neighbour, and all with the prior.
SUMMITS, COPIES = 2, 2
COMPONENTS = SUMMITS + COPIES + 1

#: Bandwidths in this order, in spacings, from which the search begins: it has several ends.
STARTS = ((0.3, 1.0, 0.5, 3.0), (0.4, 0.8, 0.13, 0.6))

#: Bandwidths stay in this range, spacings.
BANDWIDTHS = (0.01, 100.0)


@dataclass(frozen=True, eq=False)
class Truths:
    """True places of n queries as their estimates and neighbours see them.

    `kappa` (n,) are concentrations of kernels as wide as the spacing of a query's neighbours.
    `summit` (n,) and `neighbours` (n, k) are 1 - cos of the angle to the truth, `weights` (n, k)
    those of the neighbours, zero where a query has fewer, `prior` (n,) its log density at the
    truth, `evidence` (n, f) is standardised.
    """

    kappa: Array
    summit: Array
    neighbours: Array
    weights: Array
    prior: Array
    evidence: Array

    def where(self, chosen: NDArray[np.bool_]) -> Truths:
        """Those of the queries chosen by a mask (n,)."""
        return Truths(*(values[chosen] for values in vars(self).values()))


@dataclass(frozen=True)
class Kernels:
    """Bandwidths in spacings, and the logit: a row (1 + f) for each component."""

    summit: tuple[float, ...]
    neighbour: tuple[float, ...]
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
    widths = SUMMITS + COPIES
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
    limits = [tuple(np.log(BANDWIDTHS))] * widths + [(None, None)] * (len(start) - widths)
    ends = []
    for begin in STARTS:
        start[:widths] = np.log(begin)
        options = {"maxiter": 300, "ftol": 1e-7}
        ends.append(
            minimize(objective, start, jac=True, method="L-BFGS-B", bounds=limits, options=options)
        )
    found = min(ends, key=lambda end: float(end.fun)).x
    found_widths = [float(value) for value in np.exp(found[:widths])]
    kernels = Kernels(
        summit=tuple(found_widths[:SUMMITS]),
        neighbour=tuple(found_widths[SUMMITS:]),
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
    widths = np.array(kernels.summit + kernels.neighbour)
    logs, _ = _log_components(truths, log_weights, widths)
    total: Array = logsumexp(logs, axis=1, b=kernels.shares(truths.evidence))
    return total


def _log_components(truths: Truths, log_weights: Array, widths: Array) -> tuple[Array, Array]:
    """Log densities (n, components) at the truths, and their slopes by the log bandwidths."""
    kappa = truths.kappa[:, None] / widths**2
    constants = np.log(kappa / (2 * np.pi)) - np.log(-np.expm1(-2 * kappa))
    # d/dκ of the constant, times dκ/d(log bandwidth) = -2κ.
    rise = -2 * (1 - 2 * kappa / np.expm1(np.minimum(2 * kappa, 700)))
    logs = np.repeat(truths.prior[:, None], COMPONENTS, axis=1)
    slopes = np.empty(kappa.shape)
    for index in range(SUMMITS):
        fall = kappa[:, index] * truths.summit
        logs[:, index] = constants[:, index] - fall
        slopes[:, index] = rise[:, index] + 2 * fall
    for index in range(SUMMITS, len(widths)):
        falls = kappa[:, index, None] * truths.neighbours
        terms = log_weights - falls
        most = terms.max(axis=1, keepdims=True)
        felt = np.exp(terms - most)
        sums = felt.sum(axis=1)
        logs[:, index] = constants[:, index] + most[:, 0] + np.log(sums)
        slopes[:, index] = rise[:, index] + 2 * np.einsum("ij,ij->i", felt, falls) / sums
    return logs, slopes
