"""A density as cells: rectangles in longitude and latitude, each with its share of the probability.

The cells are those of `geosearch.sphere.Cells`: equal in area at a depth, split where narrow
kernels are felt. None crosses the antimeridian, and no two overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geosearch.density.kernel import NEGLIGIBLE, PAIRS_AT_ONCE, Mixture, squared_chords
from geosearch.density.levels import Levels
from geosearch.density.mesh import FELT, FIRST_DEPTH
from geosearch.sphere import EARTH_RADIUS_KM, Array, Cells, unit_vectors, z_to_lat

#: Maps of a density show this share of the probability, or a little more.
COVERED = 0.99

#: Side of the largest cells, as squares, in bandwidths of the kernels felt in them.
SIDE = 0.25

#: Where more would be needed, cells are larger, up to `_COARSEST`; kernels are widened after that.
MOST_CELLS = 5000

_COARSEST = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class DensityCells:
    """Cells (n,), the densest first.

    `west`, `south`, `east`, `north` are in degrees. `share` is the share of the probability in a
    cell, and `level` that in it and all denser ones: the level of the smallest highest-density
    region made of cells that contains it.
    """

    west: Array
    south: Array
    east: Array
    north: Array
    share: Array
    level: Array
    area_km2: Array

    def __len__(self) -> int:
        return len(self.west)

    @classmethod
    def of(cls, mixture: Mixture) -> DensityCells:
        """The cells of a mixture that hold `COVERED` of its probability.

        Where it has narrow kernels at too many places, they are widened: no cell then shows more
        than its size allows.
        """
        side = _COARSEST
        while (found := _leaves(mixture, side)) is None:
            mixture = Mixture(
                mixture.centres,
                mixture.weights,
                np.minimum(mixture.kappa, mixture.kappa.max() / 4),
            )
        while side > SIDE and (finer := _leaves(mixture, side / np.sqrt(2))) is not None:
            side, found = side / np.sqrt(2), finer
        west, east, south, north = found
        steradians = np.radians(east - west) * (north - south)
        share = _mean_density(mixture, west, east, south, north) * steradians
        order = np.argsort(-share / steradians, kind="stable")
        level = np.cumsum(share[order])
        # Cells at the outline add up to more than is covered.
        count = min(int(np.searchsorted(level, COVERED)) + 1, len(order))
        order, level = order[:count], level[:count]
        return cls(
            west=west[order],
            south=z_to_lat(south[order]),
            east=east[order],
            north=z_to_lat(north[order]),
            share=share[order],
            level=level,
            area_km2=steradians[order] * EARTH_RADIUS_KM**2,
        )


def _leaves(mixture: Mixture, side: float) -> tuple[Array, Array, Array, Array] | None:
    """West, east (degrees), south, north (z) of the cells that meet the region of `COVERED`.

    They are as large as squares of a side, in bandwidths of the kernels felt in them, or smaller.
    None if there are more than `MOST_CELLS`.
    """
    levels = Levels.of(mixture)
    # A little lower than for what is covered, so that enough remains when the rest is cut off.
    threshold = levels.threshold((1 + COVERED) / 2)
    cells = Cells.of_sphere(FIRST_DEPTH)
    found: list[Cells] = []
    while len(cells):
        felt = _felt(levels.mixture, threshold, cells)
        cells, felt = cells.where(felt > 0), felt[felt > 0]
        if sum(map(len, found)) + len(cells) > MOST_CELLS:
            return None
        last = cells.steradians * felt <= side**2
        found.append(cells.where(last))
        cells = cells.where(~last).split()
    west, east, south, north = np.concatenate([part.sides for part in found], axis=1)
    return west, east, south, north


def _felt(mixture: Mixture, threshold: float, cells: Cells) -> Array:
    """Concentration (n,) of the narrowest kernel felt in each cell.

    It is 0 where the log density passes the threshold nowhere.
    """
    felt = np.empty(len(cells))
    centres, radii, peaks = cells.centres(), cells.chord_radii(), mixture.log_peaks - threshold
    rows = max(1, PAIRS_AT_ONCE // len(peaks))
    for first in range(0, len(cells), rows):
        batch = slice(first, first + rows)
        away = np.sqrt(squared_chords(centres[batch], mixture.centres))
        nearest = np.maximum(away - radii[batch, None], 0)
        most = np.exp(np.maximum(peaks - mixture.kappa / 2 * nearest**2, NEGLIGIBLE))
        strong = most >= FELT * most.max(axis=1, keepdims=True)
        narrowest = np.where(strong, mixture.kappa, 0).max(axis=1)
        felt[batch] = np.where(most.sum(axis=1) >= 1, narrowest, 0)
    return felt


def _mean_density(mixture: Mixture, west: Array, east: Array, south: Array, north: Array) -> Array:
    """Mean density per steradian (n,) of cells, by three Gauss-Legendre points a side."""
    nodes, weights = np.polynomial.legendre.leggauss(3)
    lon = ((west + east) / 2)[:, None] + ((east - west) / 2)[:, None] * nodes
    z = ((south + north) / 2)[:, None] + ((north - south) / 2)[:, None] * nodes
    lat, lon = np.broadcast_arrays(z_to_lat(z)[:, :, None], lon[:, None, :])
    logs = mixture.log_density(unit_vectors(lat.ravel(), lon.ravel()))
    values = np.exp(logs).reshape(-1, len(nodes), len(nodes))
    return np.asarray(values @ weights @ weights / 4)
