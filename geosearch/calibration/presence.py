"""Is the place among the references at all? A logistic regression on the evidence.

Absence is learned from the labelled queries themselves: from copies of them that were searched
with every reference near the truth hidden.
"""

from __future__ import annotations

import numpy as np

from geosearch.sphere import Array

#: Present queries called absent, at most, and how sure that is meant to be.
FALSE_ALARMS, CONFIDENCE = 0.10, 0.95


def fit_presence(present: Array, absent: Array) -> tuple[float, ...]:
    """Coefficients (1 + f), from standardised evidence (n, f) of queries with and without place.

    Both sides count the same, so that 0.5 means even odds whatever their numbers.
    """
    from scipy.optimize import minimize  # here and below: an answer needs no SciPy, only a fit does

    evidence = np.concatenate([present, absent])
    label = np.repeat([1.0, 0.0], [len(present), len(absent)])
    each = np.repeat([0.5 / len(present), 0.5 / len(absent)], [len(present), len(absent)])
    n, design = len(evidence), np.column_stack([np.ones(len(evidence)), evidence])

    def objective(values: Array) -> tuple[float, Array]:
        logit = design @ values
        loss = each @ (np.logaddexp(0, logit) - label * logit) + values[1:] @ values[1:] / (2 * n)
        slope = design.T @ (each * (_logistic(logit) - label))
        slope[1:] += values[1:] / n  # a standard normal prior
        return float(loss), slope

    found = minimize(objective, np.zeros(design.shape[1]), jac=True, method="BFGS").x
    return tuple(float(value) for value in found)


def presence(coefficients: tuple[float, ...], evidence: Array) -> Array:
    """Probability, at even odds, that the place is among the references; evidence (..., f)."""
    values = np.array(coefficients)
    return _logistic(values[0] + evidence @ values[1:])


def threshold(present: Array) -> float:
    """The highest presence that at most 10 % of present queries fall below, with 95 % confidence.

    `present` (n,): presences of queries whose place is among the references. The bound is Clopper
    and Pearson's (The use of confidence or fiducial limits, Biometrika 26, 1934); 0 if n is too
    small for any.
    """
    from scipy.special import betaincinv

    n = len(present)
    below = np.arange(n)
    most = betaincinv(below + 1, n - below, CONFIDENCE)
    allowed = int(np.sum(most <= FALSE_ALARMS)) - 1
    return float(np.sort(present)[allowed]) if allowed >= 0 else 0.0


def _logistic(logit: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -logit)))
