"""Real model vectors with real geography: GeoCLIP's location encoder over its own gallery.

Both are in the wheel `geoclip`, which is installed without its dependencies: its CLIP part is not
imported. Beyond the gallery's 100,000 places, coordinates are jittered and encoded like the rest.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

DIMENSION = 512
#: Standard deviation of the jitter in degrees of latitude, about 5 km.
JITTER_DEG = 0.05
_BATCH = 2048


@dataclass(frozen=True)
class Vectors:
    """n places in degrees and their unit embeddings (n, 512), rounded to float16."""

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    embedding: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.lat)


def references(rows: int, cache: Path) -> Vectors:
    """The first `rows` of a fixed order: all gallery places, then places jittered round them."""
    gallery = _gallery()
    rng = np.random.default_rng(0)
    places = gallery[rng.permutation(len(gallery))]
    copies = [places] + [_jitter(places, rng) for _ in range((rows - 1) // len(places))]
    return _encoded(np.concatenate(copies)[:rows], cache / f"geoclip-{rows}.npy")


def queries(count: int, cache: Path) -> Vectors:
    """Places jittered round those of the gallery: held out, none is a reference."""
    gallery = _gallery()
    rng = np.random.default_rng(1)
    places = _jitter(gallery[rng.choice(len(gallery), count, replace=False)], rng)
    return _encoded(places, cache / f"geoclip-queries-{count}.npy")


def _jitter(places: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    moved = rng.normal(scale=JITTER_DEG, size=places.shape)
    lat = np.clip(places[:, 0] + moved[:, 0], -89.9, 89.9)
    lon = places[:, 1] + moved[:, 1] / np.cos(np.radians(lat))
    return np.column_stack([lat, (lon + 180) % 360 - 180])


@remember
def _root() -> Path:
    found = importlib.util.find_spec("geoclip")
    if found is None or found.origin is None:
        raise SystemExit(
            "geoclip is not installed: pip install --no-deps -c constraints.txt geoclip"
        )
    return Path(found.origin).parent


def _gallery() -> NDArray[np.float64]:
    """(100000, 2) latitudes and longitudes."""
    file = _root() / "model" / "gps_gallery" / "coordinates_100K.csv"
    return np.loadtxt(file, delimiter=",", skiprows=1)


def _encoded(places: NDArray[np.float64], file: Path) -> Vectors:
    if file.exists():
        embedding = np.load(file)
    else:
        embedding = _encode(places)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial.npy")
        np.save(partial, embedding)
        partial.replace(file)
    return Vectors(places[:, 0], places[:, 1], embedding)


def _encode(places: NDArray[np.float64]) -> NDArray[np.float16]:
    import torch

    # Packages without their `__init__`, which would import CLIP.
    root = _root()
    for name, folder in (("geoclip", root), ("geoclip.model", root / "model")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    encoder = importlib.import_module("geoclip.model.location_encoder").LocationEncoder().eval()
    made = np.empty((len(places), DIMENSION), dtype=np.float16)
    with torch.inference_mode():
        for start in range(0, len(places), _BATCH):
            batch = torch.from_numpy(places[start : start + _BATCH].astype(np.float32))
            unit = torch.nn.functional.normalize(encoder(batch), dim=1)
            made[start : start + len(batch)] = unit.numpy().astype(np.float16)
    return made
