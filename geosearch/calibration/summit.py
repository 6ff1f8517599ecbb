"""Which summit of the neighbours' density is meant.

Soft weights average many neighbours and so find the spot, but let a crowd of poor matches outvote
one good match; sharp weights do the opposite. So the summits are those of the softly weighted
density, and the sharply weighted one decides between them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geosearch.density import Mixture, Place
from geosearch.sphere import Array, unit_vectors


def sharpened(weights: Array, sharpness: float) -> Array:
    """Weights (k,) to the power `sharpness`, summing to 1 again."""
    powers = (weights / weights.max()) ** sharpness
    return np.asarray(powers / powers.sum())


def at_summit(lat: Array, lon: Array, place: Place, sharpness: float) -> Place:
    """The place at that mode which is densest under sharpened weights; it comes first then.

    `lat`, `lon` are the neighbours' positions in degrees, (k,).
    """
    if len(place.modes) < 2 or sharpness == 1:
        return place
    weights = sharpened(place.weights, sharpness)
    mixture = Mixture.of_neighbours(lat, lon, weights, place.bandwidth_km)
    tops = unit_vectors([mode.lat for mode in place.modes], [mode.lon for mode in place.modes])
    best = int(np.argmax(mixture.log_density(tops)))
    first = place.modes[best]
    others = (*place.modes[:best], *place.modes[best + 1 :])
    return replace(
        place, lat=first.lat, lon=first.lon, agreement=first.mass, modes=(first, *others)
    )
