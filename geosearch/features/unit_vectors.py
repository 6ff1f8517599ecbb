"""Vectors brought to length 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.errors import Reason

#: Between these lengths the squares of all values that matter fit into float32.
_SHORT, _LONG = 1e-15, 1e15


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (n, D) of length 1; those that are zero stay so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return unit


def unit_vectors(
    vectors: NDArray[Any],
) -> tuple[NDArray[np.float32], dict[int, tuple[Reason, str]]]:
    """Vectors (n, D) brought to length 1, float32, and by their places why some cannot be."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = vectors.astype(np.float32, copy=False)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        if ((lengths > _SHORT) & (lengths < _LONG)).all():
            return values / lengths, {}
        # By the largest value first: squares of large and small ones do not fit.
        units = normalised(values / np.abs(values).max(axis=1, keepdims=True))
    why: dict[int, tuple[Reason, str]] = {}
    for place in np.flatnonzero(~np.isfinite(units).all(axis=1)).tolist():
        finite = np.isfinite(values[place]).all()
        why[place] = (
            (Reason.EXTRACTION_FAILED, "it is zero")
            if finite
            else (Reason.NOT_A_NUMBER, "it holds NaN or infinity")
        )
    return units, why
