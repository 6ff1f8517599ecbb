"""How much each neighbour counts: weights that fall with the distance of the embeddings."""

from __future__ import annotations

import math

import numpy as np

from geosearch.errors import InputError
from geosearch.sphere import Array

#: Schemes and the parameter each takes when none is given.
SCHEMES: dict[str, float | None] = {"power": 10.0, "softmax": 0.05, "uniform": None}


def neighbour_weights(distance: Array, weighting: str) -> Array:
    """Weights (k,), summing to 1, of neighbours at cosine distances (k,) in [0, 2].

    `weighting` is a scheme, with its parameter after a colon:

    - ``power:N``: d^-N, with d the squared Euclidean distance of the unit embeddings, which is
      twice the cosine distance (Vo, Jacobs and Hays 2017 release theirs with N = 10). Identical
      embeddings, at distance 0, share all the weight: the limit of the formula.
    - ``softmax:T``: exp(-distance / T).
    - ``uniform``: the same for all.

    Raises InputError for an unknown scheme or a parameter that is not a positive number.
    """
    scheme, parameter = parse_weighting(weighting)
    # Half-precision embeddings of one photo may come out a rounding error below zero.
    distance = np.maximum(distance, 0.0)
    if scheme == "uniform":
        return np.full(len(distance), 1 / len(distance))
    if scheme == "softmax":
        logs = -distance / parameter
    elif not distance.min():
        logs = np.where(distance == 0, 0.0, -np.inf)
    else:
        logs = -parameter * np.log(2 * distance)  # logs, because 1e-12**-40 overflows
    weights = np.exp(logs - logs.max())
    shares: Array = weights / weights.sum()
    return shares


def parse_weighting(weighting: str) -> tuple[str, float]:
    """The scheme and parameter that `weighting` names; the parameter of ``uniform`` is NaN."""
    scheme, colon, text = weighting.partition(":")
    if scheme not in SCHEMES or (colon and SCHEMES[scheme] is None):
        raise _unusable(weighting)
    default = SCHEMES[scheme]
    if default is None:
        return scheme, math.nan
    if not colon:
        return scheme, default
    try:
        parameter = float(text)
    except ValueError:
        raise _unusable(weighting) from None
    if not (0 < parameter < math.inf):
        raise _unusable(weighting)
    return scheme, parameter


def _unusable(weighting: str) -> InputError:
    return InputError(
        f"`weighting`: {weighting!r} is unknown",
        "Use power:N, softmax:T (with N and T positive) or uniform, for example power:10.",
    )
