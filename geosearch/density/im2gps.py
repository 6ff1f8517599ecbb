"""The grid algorithm of Revisiting IM2GPS (Vo, Jacobs and Hays 2017), as its authors released it.

Neighbours vote on a grid of 1° cells, which is blurred with σ = 4 cells. Round its maximum a
window of 0.1° cells is voted on again and blurred with σ = 40 cells; its maximum is the mode.
The answer is the best-ranked neighbour within 100 km of the mode, or the mode if there is none.

Kept as released, on purpose: degrees of longitude count the same at every latitude; nothing
wraps at ±180°; a cell is named by its upper edge, so modes are multiples of 0.1° without half a
cell; the blur is cut off at two standard deviations and normalised, and at a border of its grid
repeats the outermost cells (the defaults of MATLAB's imgaussfilt); of equal maxima the
westernmost counts, then the southernmost; the centre of the window stays 21 cells within the grid.
Two deviations: a photo at latitude -90 or longitude -180 votes in the first cell instead of not
at all; and where no vote lies in the window, which thereby ends at 179° E and 79° N, the coarse
mode stands instead of the corner of the grid.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from geosearch.sphere import Array, great_circle_km

#: Standard deviation of the blur in degrees.
SIGMA_DEG = 4

#: Neighbours nearer than this to the mode can be the answer.
SNAP_KM = 100.0

#: Half the width of the fine window in degrees.
WINDOW_DEG = 20


def grid_mode(lat: Array, lon: Array, weights: Array) -> tuple[float, float]:
    """Latitude and longitude of the mode of the fine grid; positions in degrees, all (k,)."""
    row, column = _blurred_maximum(_cell(lat, 90, 1), _cell(lon, 180, 1), weights, 180, 360, 1)
    coarse = float(row - 90), float(column - 180)
    row = min(max(row, WINDOW_DEG + 1), 180 - WINDOW_DEG - 1)
    column = min(max(column, WINDOW_DEG + 1), 360 - WINDOW_DEG - 1)

    south, west, size = (row - WINDOW_DEG) * 10, (column - WINDOW_DEG) * 10, WINDOW_DEG * 20 + 1
    rows, columns = _cell(lat, 90, 10) - south + 1, _cell(lon, 180, 10) - west + 1
    inside = (rows >= 1) & (rows <= size) & (columns >= 1) & (columns <= size)
    if not weights[inside].any():
        return coarse
    row, column = _blurred_maximum(rows[inside], columns[inside], weights[inside], size, size, 10)
    return (row + south - 1 - 900) / 10, (column + west - 1 - 1800) / 10


def snap(
    lat: Array, lon: Array, mode: tuple[float, float], within_km: float = SNAP_KM
) -> tuple[float, float]:
    """The best-ranked neighbour (k,), in order of rank, near the mode; else the mode."""
    near = np.flatnonzero(great_circle_km(*mode, lat, lon) < within_km)
    return (float(lat[near[0]]), float(lon[near[0]])) if len(near) else mode


def _cell(degrees: Array, half_range: int, per_degree: int) -> np.ndarray:
    """Number of the grid cell, from 1, of coordinates in degrees."""
    cells = np.ceil(degrees * per_degree) + half_range * per_degree
    numbers: np.ndarray = np.maximum(cells, 1).astype(int)
    return numbers


def _blurred_maximum(
    rows: np.ndarray, columns: np.ndarray, weights: Array, height: int, width: int, per_degree: int
) -> tuple[int, int]:
    """Row and column, from 1, of the maximum of the blurred votes."""
    along_lat = _blur_matrix(height, SIGMA_DEG * per_degree)[:, rows - 1]
    along_lon = _blur_matrix(width, SIGMA_DEG * per_degree)[:, columns - 1]
    # The blur is separable and the votes are few: no grid needs to be filtered.
    by_column = (along_lon * weights) @ along_lat.T
    column, row = divmod(int(by_column.argmax()), height)
    return row + 1, column + 1


@lru_cache(maxsize=8)
def _blur_matrix(size: int, sigma: int) -> Array:
    """Matrix (size, size) that blurs a line of cells whose outermost cells go on for ever."""
    radius = 2 * sigma
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    to = np.arange(size)[:, None]
    matrix = np.zeros((size, size))
    np.add.at(matrix, (to, np.clip(to + offsets, 0, size - 1)), kernel)
    matrix.flags.writeable = False
    return matrix
