"""The bandwidth of neighbours that are given none: how far apart they lie.

Metres in a street, hundreds of kilometres on a globe: it follows from their positions and weights
alone, so positions that shrink by a factor shrink it, the estimate's error and all radii by the
same.
"""

from __future__ import annotations

import numpy as np

from geosearch.density.kernel import BANDWIDTH_RANGE_KM, squared_chords
from geosearch.sphere import Array, chord_km, unit_vectors

#: How many other neighbours a kernel should reach: the first few are often of one walk, and more
#: blur what is near. Of few neighbours a quarter, at least one.
OTHERS = 5
_FEW = 4 * OTHERS


def spacing_km(lat: Array, lon: Array, weights: Array) -> float:
    """How far the neighbours (k,), at degrees, typically are from their fifth nearest other one.

    The median over the neighbours, by the square root of their weights: those that look most like
    the photo decide, if a collection has cities and continents, but not one of them alone. At least
    a metre, which is what a single neighbour has, or all at one point.
    """
    narrowest, widest = BANDWIDTH_RANGE_KM
    others = max(1, min(OTHERS, len(lat) * OTHERS // _FEW))
    if len(lat) <= others:
        return narrowest
    points = unit_vectors(lat, lon)
    chords = np.sqrt(np.partition(squared_chords(points, points), others, axis=1)[:, others])
    order = np.argsort(chords, kind="stable")
    sums = np.cumsum(np.sqrt(weights[order]))
    # Equal weights need not sum to their half to the last digit.
    middle = chords[order[np.searchsorted(sums, 0.5 * sums[-1] * (1 - 1e-9))]]
    return float(np.clip(chord_km(middle), narrowest, widest))
