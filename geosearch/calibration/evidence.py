"""What an answer's neighbours say about how far it can be trusted."""

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
)

#: Smaller feature distances are rounding errors of float16 embeddings.
_SMALLEST_DISTANCE = 1e-4

#: Kilometres: offset and spread are told apart from here up; weight nearer than this is near.
_UNIT_KM, _NEAR_KM = 100.0, 500.0


def evidence(lat: Array, lon: Array, distance: Array, place: Place) -> Array:
    """The evidence (len(FEATURES),) of neighbours, given in order of rank, for their place.

    `lat`, `lon` in degrees and cosine `distance`: (k,). The logarithms of: the first neighbour's
    distance; the ratio of the second to it; the mass of the mode behind the estimate, the first;
    the sum of the squared weights; one plus the kilometres, in hundreds, from the estimate to the
    first neighbour; and one plus those to all neighbours, by weight. `near` is the weight within
    500 km.
    """
    close = np.maximum(distance[:2], _SMALLEST_DISTANCE)
    away_km = great_circle_km(place.lat, place.lon, lat, lon)
    weights, mass = place.weights, place.modes[0].mass
    return np.array(
        [
            np.log(close[0]),
            np.log(close[-1] / close[0]),
            np.log(max(mass, 1e-6)),
            np.log(weights @ weights),
            np.log1p(away_km[0] / _UNIT_KM),
            weights @ (away_km < _NEAR_KM),
            np.log1p(weights @ away_km / _UNIT_KM),
        ]
    )
