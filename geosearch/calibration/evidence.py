"""What an answer's neighbours say about how far it can be trusted.

Every distance is measured in the neighbours' own spacing, so that the evidence is the same for
photos of a street and of a continent that lie alike.
"""

from __future__ import annotations

import numpy as np

from geosearch.density import Place
from geosearch.sphere import Array, great_circle_km

#: Names of the numbers that `evidence` returns, in order.
FEATURES = (
    "log_distance",
    "log_gap",
    "log_mass",
    "log_concentration",
    "log_offset",
    "near",
    "log_spread",
    "log_spacing",
)

#: Smaller feature distances are rounding errors of float16 embeddings.
_SMALLEST_DISTANCE = 1e-4

#: Weight nearer to the estimate than so many spacings is near.
_NEAR = 5.0


def evidence(
    lat: Array, lon: Array, distance: Array, place: Place, spacing: float, scale_km: float
) -> Array:
    """The evidence (len(FEATURES),) of neighbours, given in order of rank, for their place.

    `lat`, `lon` in degrees and cosine `distance`: (k,). `spacing`, in km, is the unit of lengths,
    `scale_km` that of the spacing. The logarithms of: the first neighbour's distance; the ratio of
    the second to it; the mass of the mode behind the estimate, the first; the sum of the squared
    weights; one plus the length from the estimate to the first neighbour; and one plus those to
    all neighbours, by weight; and the spacing. `near` is the weight within five spacings.
    """
    close = first_distances(distance)
    away = great_circle_km(place.lat, place.lon, lat, lon) / spacing
    weights, mass = place.weights, place.modes[0].mass
    return np.array(
        [
            np.log(close[0]),
            np.log(close[-1] / close[0]),
            np.log(max(mass, 1e-6)),
            np.log(weights @ weights),
            np.log1p(away[0]),
            weights @ (away < _NEAR),
            np.log1p(weights @ away),
            np.log(spacing / scale_km),
        ]
    )


def first_distances(distance: Array) -> Array:
    """The cosine distances of the first two neighbours, or of the one, free of rounding errors."""
    return np.maximum(distance[:2], _SMALLEST_DISTANCE)
