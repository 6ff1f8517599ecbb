"""Real model vectors with real geography: GeoCLIP's location encoder over its own gallery.

Both are in the wheel `geoclip`. Beyond the gallery's 100,000 places, coordinates are jittered and
encoded like the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.features.geoclip_location import DIMENSION, encode_places, places_file

#: Standard deviation of the jitter in degrees of latitude, about 5 km.
JITTER_DEG = 0.05
_BATCH = 2048


@dataclass(frozen=True)
class Vectors:
    """n places in degrees and their unit embeddings (n, D), rounded to float16."""

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
    copies = [places] + [jitter(places, rng) for _ in range((rows - 1) // len(places))]
    return _encoded(np.concatenate(copies)[:rows], cache / f"geoclip-{rows}.npy")


def queries(count: int, cache: Path) -> Vectors:
    """Places jittered round those of the gallery: held out, none is a reference."""
    gallery = _gallery()
    rng = np.random.default_rng(1)
    places = jitter(gallery[rng.choice(len(gallery), count, replace=False)], rng)
    return _encoded(places, cache / f"geoclip-queries-{count}.npy")


def jitter(places: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Places (n, 2) moved a little."""
    moved = rng.normal(scale=JITTER_DEG, size=places.shape)
    lat = np.clip(places[:, 0] + moved[:, 0], -89.9, 89.9)
    lon = places[:, 1] + moved[:, 1] / np.cos(np.radians(lat))
    return np.column_stack([lat, (lon + 180) % 360 - 180])


def _gallery() -> NDArray[np.float64]:
    """(100000, 2) latitudes and longitudes."""
    return np.loadtxt(places_file(), delimiter=",", skiprows=1)


def _encoded(places: NDArray[np.float64], file: Path) -> Vectors:
    return Vectors(places[:, 0], places[:, 1], kept(file, lambda: _encode(places)))


def kept(file: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """What takes minutes to make, made once."""
    if file.exists():
        stored: NDArray[Any] = np.load(file)
        return stored
    made = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npy")
    np.save(partial, made)
    partial.replace(file)
    return made


def _encode(places: NDArray[np.float64]) -> NDArray[np.float16]:
    made = np.empty((len(places), DIMENSION), dtype=np.float16)
    for start in range(0, len(places), _BATCH):
        made[start : start + _BATCH] = encode_places(places[start : start + _BATCH])
    return made
