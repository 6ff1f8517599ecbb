"""GeoCLIP's location encoder: from a place to a vector of the space its image encoder embeds in.

Vivanco Cepeda, Nayak and Shah, "GeoCLIP: Clip-Inspired Alignment between Locations and Images for
Effective Worldwide Geo-localization" (NeurIPS 2023). The weights, and 100,000 places, are in the
package `geoclip`, of which nothing is imported: it would load CLIP.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geosearch.errors import MissingExtraError, ModelError
from geosearch.features.description import file_sha256
from geosearch.installation import remedy

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1.3.0"
DIMENSION = 512
WEIGHTS_SHA256 = "94b80ae3af89fca78539e129dd2929d321247f5ceeeb0a31bc2c31041a253394"
LICENCE = "MIT"
_PLACES_SHA256 = "3a00b1ba58f13443db726533b6399b39609e292df09d4e58792fa5949d1838b1"
_WEIGHTS, _PLACES = "weights/location_encoder_weights.pth", "gps_gallery/coordinates_100K.csv"

#: Polynomial of the Equal Earth projection (Šavrič, Patterson and Jenny 2018), and what the encoder
#: multiplies it by.
_EQUAL_EARTH = (1.340264, -0.081106, 0.000893, 0.003796)
_STRETCH = 66.50336
#: How fine the Fourier features are, coarse to fine: three encoders, whose results are added.
_SCALES = range(3)


def places_file() -> Path:
    """The 100,000 places of the package: a CSV of latitudes and longitudes.

    Raises
    ------
    MissingExtraError
        The package is not installed.
    ModelError
        The file is another.
    """
    return _checked(_PLACES, _PLACES_SHA256)


def encode_places(places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Unit vectors (n, 512) of places (n, 2), latitude and longitude in degrees.

    Errors as of `places_file`.
    """
    import torch
    from torch.nn.functional import linear, normalize

    weights = _weights()
    with torch.inference_mode():
        flat = _projected(torch.from_numpy(places.astype(np.float32)))
        added = torch.zeros(len(places), DIMENSION)
        for scale in _SCALES:
            own = {
                name.removeprefix(f"LocEnc{scale}."): value
                for name, value in weights.items()
                if name.startswith(f"LocEnc{scale}.")
            }
            angles = 2 * np.pi * flat @ own["capsule.0.b"].T
            made = torch.cat((torch.cos(angles), torch.sin(angles)), dim=-1)
            for layer in ("capsule.1", "capsule.3", "capsule.5"):
                made = linear(made, own[f"{layer}.weight"], own[f"{layer}.bias"]).relu_()
            added += linear(made, own["head.0.weight"], own["head.0.bias"])
        units: NDArray[np.float32] = normalize(added, dim=1).numpy()
    return units


def _projected(places: Tensor) -> Tensor:
    """Places (n, 2) on a flat map of equal areas, in the encoder's units."""
    import torch

    a1, a2, a3, a4 = _EQUAL_EARTH
    # In the order in which it was trained: the finest features tell roundings of float32 apart.
    lat, lon = torch.deg2rad(places).T
    root = torch.tensor(3.0).sqrt()
    theta = torch.asin(root / 2 * torch.sin(lat))
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    x = 2 * root * lon * torch.cos(theta) / (3 * slope)
    y = a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta
    return torch.stack((x, y), dim=1) * _STRETCH / 180


@cache
def _weights() -> dict[str, Tensor]:
    import torch

    file = _checked(_WEIGHTS, WEIGHTS_SHA256)
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _checked(name: str, sha256: str) -> Path:
    """A file of the package, if it is what it is to be."""
    install = f"Run: {remedy('geoclip')}"
    found = importlib.util.find_spec("geoclip")
    if found is None or found.origin is None:
        raise MissingExtraError("a gallery needs geoclip, which is not installed", install)
    file = Path(found.origin).parent / "model" / name
    digest = file_sha256(file)
    if digest != sha256:
        raise ModelError(f"{file} is not of geoclip {VERSION}: its sha256 is {digest}", install)
    return file
