"""Highest-density regions: the smallest areas that hold a given share of the probability.

The region at a level is where the density f reaches a threshold (`geosearch.density.levels`).
Its outline is a contour of f (`geosearch.density.contours`) on a mesh that is fine along the
outlines (`geosearch.density.mesh`) and ends at the antimeridian and the poles, so the region is a
valid MultiPolygon there too, split as RFC 7946 asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from shapely import MultiPolygon

from geosearch.density.contours import region_above
from geosearch.density.kernel import Mixture
from geosearch.density.levels import LATTICE_POINTS, Levels
from geosearch.density.mesh import SIDE, Mesh
from geosearch.sphere import EARTH_RADIUS_KM

#: The smallest region, at whatever level, is as large as about this many cells or more.
FEWEST_CELLS = 20


@dataclass(frozen=True, slots=True)
class Region:
    """Where the density is highest, holding `level` of the probability.

    `geometry` is in degrees of longitude and latitude (EPSG:4326).
    """

    level: float
    geometry: MultiPolygon
    area_km2: float


def highest_density_regions(mixture: Mixture, levels: Sequence[float]) -> dict[float, Region]:
    """The highest-density region of the mixture at each level, a share between 0 and 1."""
    if not levels:
        return {}
    density = Levels.of(mixture)
    thresholds = {level: density.threshold(level) for level in levels}
    # Where log f falls by d from the top, a kernel's region has an area of 2πd squared bandwidths.
    ascending = np.sort(list(thresholds.values()))
    fall = max(float(density.log_density[0] - ascending[-1]), 1 / LATTICE_POINTS)
    side = min(SIDE, float(np.sqrt(2 * np.pi * fall / FEWEST_CELLS)))
    mesh = Mesh.of(density.mixture, ascending, side)
    regions = {}
    for level, threshold in thresholds.items():
        geometry, steradians = region_above(mesh, threshold)
        regions[level] = Region(level, geometry, steradians * EARTH_RADIUS_KM**2)
    return regions
