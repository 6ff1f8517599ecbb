"""From the positions of a photo's neighbours to a place: kernel density, modes, regions."""

from geosearch.density.kernel import Mixture
from geosearch.density.levels import level_at
from geosearch.density.modes import Mode
from geosearch.density.place import (
    METHODS,
    Bandwidth,
    Place,
    density_at,
    locate,
    locate_many,
)
from geosearch.density.regions import Region
from geosearch.density.search_area import area_at
from geosearch.density.weights import neighbour_weights

__all__ = [
    "METHODS",
    "Bandwidth",
    "Mixture",
    "Mode",
    "Place",
    "Region",
    "area_at",
    "density_at",
    "level_at",
    "locate",
    "locate_many",
    "neighbour_weights",
]
