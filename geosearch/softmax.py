"""Probabilities from logits, by NumPy alone: loading SciPy's takes longer than a search."""

from __future__ import annotations

import numpy as np

from geosearch.sphere import Array


def log_softmax(logits: Array) -> Array:
    """Log probabilities (..., n) of logits (..., n), of which some may be -inf, but not all."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def softmax(logits: Array) -> Array:
    """Probabilities (..., n) of logits (..., n)."""
    return np.asarray(np.exp(log_softmax(logits)))
