"""Highest-density regions: the smallest areas that hold a given share of the probability.

The region at a level is where the density f reaches a threshold (`geosearch.density.levels`). It
is traced by splitting equal-area cells wherever
bounds of the density on a cell do not decide, down to a size that follows the bandwidth and
the region's area; the last cells go by the density at their centre.

Cells are rectangles in longitude and latitude that never cross the antimeridian, so the
outline of a region is a valid polygon there and round the poles, split as RFC 7946 asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from scipy.spatial.distance import cdist
from shapely import MultiPolygon

from geosearch.density.kernel import Mixture, log_sum
from geosearch.density.levels import Levels
from geosearch.sphere import EARTH_RADIUS_KM, Array, Cells, z_to_lat

#: Cells whose densities are computed at once, and the share of a threshold ignored in that.
CELLS_AT_ONCE, IGNORED = 256, 1e-4

#: The largest region has about this many cells, if their side in bandwidths allows.
MOST_CELLS, CELL_SIDE_RANGE = 4000, (0.1, 0.35)

#: The smallest region, at whatever level, has about this many cells or more.
FEWEST_CELLS = 40

#: Depth at which the search begins: 128 cells, each smaller than 30 degrees.
FIRST_DEPTH = 7


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
    density = Levels.of(mixture)
    mixture = density.mixture
    thresholds = [density.threshold(level) for level in levels]
    areas = [density.steradians(threshold) for threshold in thresholds]
    smallest, largest = np.multiply(
        CELL_SIDE_RANGE, (mixture.bandwidth.min(), mixture.bandwidth.max())
    )
    side = np.clip(np.sqrt(max(areas) / MOST_CELLS), smallest, largest)
    side = min(side, np.sqrt(min(areas) / FEWEST_CELLS))
    cells = _trace(mixture, np.sort(thresholds), side)
    return {
        level: _region(level, [(part, values >= t) for part, values in cells])
        for level, t in zip(levels, thresholds, strict=True)
    }


def _trace(mixture: Mixture, thresholds: Array, side: float) -> list[tuple[Cells, Array]]:
    """Cells, down to a side in radians, of {log f >= the lowest of the ascending thresholds}.

    Each comes with a log density between whose value and the cell's own no threshold lies.
    """
    last = max(FIRST_DEPTH, int(np.ceil(np.log2(4 * np.pi / side**2))))
    cells = Cells.of_sphere(FIRST_DEPTH + (last - FIRST_DEPTH) % 2)
    lowest = float(thresholds[0])
    found: list[tuple[Cells, Array]] = []
    while cells.depth < last:
        if cells.steradians > mixture.bandwidth.min() ** 2:
            cells = cells.where(_reached(mixture, cells, lowest))
        else:
            low, high = _bounds(mixture, cells, lowest)
            passed = np.searchsorted(thresholds, low, side="right")
            undecided = passed < np.searchsorted(thresholds, high, side="right")
            decided = ~undecided & (passed > 0)
            found.append((cells.where(decided), low[decided]))
            cells = cells.where(undecided)
        cells = cells.split().split()
    return [*found, (cells, _at_centres(mixture, cells, lowest))]


def _reached(mixture: Mixture, cells: Cells, threshold: float) -> np.ndarray:
    """Mask of the cells in which the density can reach a threshold. Cheaper than `_bounds`."""
    gaps = cdist(cells.centres(), mixture.centres) - _reach(mixture, threshold)
    reached: np.ndarray = gaps.min(axis=1) <= cells.chord_radii()
    return reached


def _reach(mixture: Mixture, log_density: float) -> Array:
    """Chord (k,) from each centre at which its kernel has fallen to a k-th of a density.

    Where all kernels have, their sum is below the density. -inf for one that is nowhere above.
    """
    with np.errstate(divide="ignore"):
        spare = np.log(mixture.weights * len(mixture.weights)) + mixture.log_constant - log_density
    return np.where(spare >= 0, np.sqrt(2 / mixture.kappa * np.maximum(spare, 0)), -np.inf)


def _bounds(mixture: Mixture, cells: Cells, threshold: float) -> tuple[Array, Array]:
    """Bounds (n,), (n,) of the log density on each cell, by the triangle inequality of chords."""
    low, high = np.full(len(cells), -np.inf), np.full(len(cells), -np.inf)
    for batch, chords, radii, local in _batches(mixture, cells, threshold):
        low[batch] = log_sum(local.log_kernels(np.minimum(chords + radii, 2.0) ** 2))
        high[batch] = log_sum(local.log_kernels(np.maximum(chords - radii, 0.0) ** 2))
    return low, high


def _at_centres(mixture: Mixture, cells: Cells, threshold: float) -> Array:
    """Log density (n,) at the centre of each cell."""
    values = np.full(len(cells), -np.inf)
    for batch, chords, _, local in _batches(mixture, cells, threshold):
        values[batch] = log_sum(local.log_kernels(chords**2))
    return values


def _batches(
    mixture: Mixture, cells: Cells, threshold: float
) -> Iterator[tuple[slice, Array, Array, Mixture]]:
    """Runs of cells, which lie together, with the components that matter there.

    Yields the run, the chords (cells, components) between centres, the radii (cells, 1) of the
    cells and those components. The others together add less than IGNORED of the threshold.
    """
    reach = _reach(mixture, threshold + np.log(IGNORED))
    centres, radii = cells.centres(), cells.chord_radii()
    for start in range(0, len(cells), CELLS_AT_ONCE):
        batch = slice(start, start + CELLS_AT_ONCE)
        chords, radius = cdist(centres[batch], mixture.centres), radii[batch, None]
        near = (chords - radius).min(axis=0) <= reach
        if near.any():
            local = mixture.where(near)
            yield batch, chords[:, near], radius, local


def _region(level: float, parts: list[tuple[Cells, np.ndarray]]) -> Region:
    area = sum(cells.steradians * int(inside.sum()) for cells, inside in parts)
    chosen = [cells.where(inside) for cells, inside in parts]
    west, east, south, north = (
        np.concatenate([getattr(cells, side) for cells in chosen])
        for side in ("west", "east", "south", "north")
    )
    return Region(level, outline(west, east, south, north), area * EARTH_RADIUS_KM**2)


def outline(west: Array, east: Array, south: Array, north: Array) -> MultiPolygon:
    """Union of cells that do not overlap: sides as in `Cells`, the result in degrees.

    Sides that two cells share cancel; what remains bounds the union. This takes a tenth of the
    time of a general union.
    """
    lines, starts, stops = _uncancelled(
        np.concatenate([south, north]), np.tile(west, 2), np.tile(east, 2)
    )
    along = np.stack([np.stack([starts, lines], 1), np.stack([stops, lines], 1)], 1)
    lines, starts, stops = _uncancelled(
        np.concatenate([west, east]), np.tile(south, 2), np.tile(north, 2)
    )
    across = np.stack([np.stack([lines, starts], 1), np.stack([lines, stops], 1)], 1)
    edges = shapely.linestrings(np.concatenate([along, across]))
    faces = shapely.get_parts(shapely.polygonize(edges))
    inner = shapely.get_coordinates(shapely.point_on_surface(faces))[:, None]  # not in a hole
    x, y = inner[..., 0], inner[..., 1]
    filled = ((west <= x) & (x <= east) & (south <= y) & (y <= north)).any(axis=1)
    return shapely.transform(shapely.multipolygons(faces[filled]), _to_degrees)


def _to_degrees(lon_z: Array) -> Array:
    # Equal z must give equal latitudes to the last bit, wherever they stand in the array.
    z, place = np.unique(lon_z[:, 1], return_inverse=True)
    return np.column_stack([lon_z[:, 0], z_to_lat(z)[place]])


def _uncancelled(lines: Array, starts: Array, stops: Array) -> tuple[Array, Array, Array]:
    """Stretches of parallel lines on which one cell's first side is not another's second.

    The first half of the input are the cells' first sides, the rest their second ones.
    """
    sign = np.repeat([1, -1], len(lines) // 2)
    line = np.concatenate([lines, lines])
    position = np.concatenate([starts, stops])
    change = np.concatenate([sign, -sign])
    order = np.lexsort((position, line))
    line, position, change = line[order], position[order], change[order]
    # Events at one point of a line are one event; those without effect are none.
    first = np.flatnonzero(np.r_[True, (np.diff(line) != 0) | (np.diff(position) != 0)])
    total = np.add.reduceat(change, first)
    first, total = first[total != 0], total[total != 0]
    bounding = np.flatnonzero(np.cumsum(total))  # each such stretch ends at the next event
    return line[first[bounding]], position[first[bounding]], position[first[bounding + 1]]
