"""Is the place among the references at all? What the evidence says, and what any stranger shows.

Two ways of being absent are told apart. A photo of the same kind from elsewhere: learned from the
labelled queries themselves, copies of which were searched with every reference near the truth
hidden. And a photo of another kind, or of nothing: whatever it shows, its first neighbour is
farther away than those of the queries were. The presence is the smaller of the two probabilities,
so neither kind of evidence can outvote the other; they are made to doubt equally many queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosearch.sphere import Array

#: Present queries called absent, at most, and how sure that is meant to be.
FALSE_ALARMS, CONFIDENCE = 0.05, 0.95

#: Share of the queries that either kind of evidence alone has below the same presence: the distance
#: may cause most of the false alarms, as it is all that is known of strangers.
_EACH = 0.6 * FALSE_ALARMS

#: The least deviation of the logarithms of distances: the queries may all be equally far.
_LEAST_DEVIATION = 0.05

#: Parts that are in turn left out when two ways are compared.
_FOLDS = 5

#: Of Newton's method: steps, and the longest of them.
_MOST_STEPS, _LONGEST_STEP = 50, 2.0


@dataclass(frozen=True)
class Presence:
    """What presence goes by: a logit (1 + f), and the first neighbours' distances.

    `middle` is that of the logarithms of the queries' cosine distances to their first neighbours,
    and `deviation` says how fast greater ones speak for a stranger.
    """

    logit: tuple[float, ...]
    middle: float
    deviation: float

    @classmethod
    def fitted(cls, present: Array, absent: Array, log_distance: Array) -> Presence:
        """Fitted to standardised evidence (n, f), whose first column is the log distance.

        The distance alone counts unless more copies look more absent than 95 % of the queries by
        the whole evidence, by three standard errors and in folds that were not fitted to: what adds
        nothing raises false alarms. `log_distance` (n,) is that of the present queries as it is.
        """
        whole, alone = (np.arange(present.shape[1]) < count for count in (present.shape[1], 1))
        caught, before = (_caught(present, absent, way) for way in (whole, alone))
        noise = 3 * np.sqrt(2 * before * (1 - before) / len(absent))
        used = whole if caught > before + noise else alone
        coefficients = _logit(present, absent, used)
        middle, far = (float(each) for each in np.quantile(log_distance, (0.5, 1 - _EACH)))
        # The widest log-normal under which the distance doubts as many queries as the rest does.
        deviations = np.geomspace(_LEAST_DEVIATION, max(far - middle, _LEAST_DEVIATION), 200)
        doubted = np.quantile(_logistic(coefficients[0] + present @ coefficients[1:]), _EACH)
        within = int(np.sum(_typical(np.array(far), middle, deviations) <= doubted))
        return cls(tuple(coefficients.tolist()), middle, float(deviations[max(within - 1, 0)]))

    def __call__(self, evidence: Array, log_distance: Array) -> Array:
        """Probability, at even odds, that the place is among the references.

        `evidence` (..., f) is standardised, `log_distance` (...) as it is.
        """
        values = np.array(self.logit)
        return np.minimum(
            _logistic(values[0] + evidence @ values[1:]),
            _typical(np.asarray(log_distance), self.middle, self.deviation),
        )


def _typical(log_distance: Array, middle: float, deviation: Array | float) -> Array:
    """Against a stranger, whose distance may be anything from 0 to 1 with equal probability.

    The queries' own are log-normal; one smaller than is usual speaks for nothing else.
    """
    log_distance = np.maximum(log_distance, middle)
    away = (log_distance - middle) / deviation
    return _logistic(-(away**2) / 2 - np.log(deviation * np.sqrt(2 * np.pi)) - log_distance)


def threshold(present: Array) -> float:
    """The highest presence that at most 5 % of present queries fall below, with 95 % confidence.

    `present` (n,): presences of queries whose place is among the references. The bound is Clopper
    and Pearson's (The use of confidence or fiducial limits, Biometrika 26, 1934); the smallest of
    them if n is too small for any.
    """
    from scipy.special import betaincinv

    n = len(present)
    below = np.arange(n)
    most = betaincinv(below + 1, n - below, CONFIDENCE)
    allowed = max(int(np.sum(most <= FALSE_ALARMS)) - 1, 0)
    return float(np.sort(present)[allowed])


def _caught(present: Array, absent: Array, used: NDArray[np.bool_]) -> float:
    """Share of the absent that look more absent than 95 % of the present, in folds left out."""
    there, gone = np.empty(len(present)), np.empty(len(absent))
    for fold in range(_FOLDS):
        out, others = (np.arange(len(part)) % _FOLDS == fold for part in (there, gone))
        values = _logit(present[~out], absent[~others], used)
        there[out] = values[0] + present[out] @ values[1:]
        gone[others] = values[0] + absent[others] @ values[1:]
    return float(np.mean(gone < np.quantile(there, FALSE_ALARMS)))


def _logit(present: Array, absent: Array, used: NDArray[np.bool_]) -> Array:
    """Coefficients (1 + f) of a logistic regression, zero for the evidence that is not used.

    Both sides count the same, so that 0.5 means even odds whatever their numbers.
    """
    evidence = np.concatenate([present, absent])
    label = np.repeat([1.0, 0.0], [len(present), len(absent)])
    each = np.repeat([0.5 / len(present), 0.5 / len(absent)], [len(present), len(absent)])
    n, design = len(evidence), np.column_stack([np.ones(len(evidence)), evidence * used])
    prior = np.append(0.0, np.full(evidence.shape[1], 1 / n))  # standard normal
    values = np.zeros(design.shape[1])
    for _ in range(_MOST_STEPS):  # Newton's: the loss is convex, and its steps are kept short
        there = _logistic(design @ values)
        slope = design.T @ (each * (there - label)) + prior * values
        bend = design.T @ ((each * there * (1 - there))[:, None] * design) + np.diag(prior)
        step = np.linalg.solve(bend + 1e-9 * np.eye(len(values)), slope)
        values -= step * min(1.0, _LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-9:
            break
    return values


def _logistic(logit: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -logit)))
