"""Boxes that hold a given share of the references, near a query and far from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from geoclip_vectors import Vectors
from numpy.typing import NDArray

#: A box is this many times as wide as high, in degrees.
_ASPECT = 2.0
#: Random centres tried for a far box.
_TRIES = 50


@dataclass(frozen=True)
class Region:
    """A box in degrees, edges included, and which references (n,) lie in it.

    `box` (west, south, east, north) is None where there is no filter. No box crosses ±180°.
    """

    box: tuple[float, float, float, float] | None
    inside: NDArray[np.bool_]


def everywhere(references: Vectors) -> Region:
    """No filter."""
    return Region(None, np.ones(len(references), dtype=bool))


def near(references: Vectors, lat: float, lon: float, size: int) -> Region:
    """The box round a place that holds `size` references; empty where `size` is 0."""
    reach = np.maximum(np.abs(references.lon - lon) / _ASPECT, np.abs(references.lat - lat))
    # Between the last reference inside and the next: no rounding moves one over the edge.
    smallest = np.partition(reach, [max(size - 1, 0), min(size, len(reach) - 1)])
    half = (smallest[size - 1] + smallest[size]) / 2 if size else smallest[0] / 2
    return _box(references, lat, lon, float(half))


def far(references: Vectors, lat: float, lon: float, size: int, rng: np.random.Generator) -> Region:
    """A box of `size` references that does not hold the place, if one is found.

    Round a reference at least a quarter of the globe away; where `size` is 0, in empty waters
    that far away.
    """
    if size == 0:
        while True:
            place = np.degrees(np.arcsin(rng.uniform(-1, 1))), rng.uniform(-175, 175)
            region = _box(references, *place, 0.5)
            if _cosine(lat, lon, *place) < 0 and not region.inside.any():
                return region
    for _ in range(_TRIES):
        centre = rng.integers(len(references))
        place = references.lat[centre], references.lon[centre]
        region = near(references, *place, size)
        assert region.box is not None
        west, south, east, north = region.box
        holds = west <= lon <= east and south <= lat <= north
        if _cosine(lat, lon, *place) < 0 and not holds:
            return region
    return region


def _box(references: Vectors, lat: float, lon: float, half: float) -> Region:
    west, east = max(lon - _ASPECT * half, -180.0), min(lon + _ASPECT * half, 180.0)
    south, north = max(lat - half, -90.0), min(lat + half, 90.0)
    inside = (
        (references.lon >= west)
        & (references.lon <= east)
        & (references.lat >= south)
        & (references.lat <= north)
    )
    return Region((float(west), float(south), float(east), float(north)), inside)


def _cosine(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Of the angle between two places."""
    a, b = np.radians(lat), np.radians(other_lat)
    return float(
        np.sin(a) * np.sin(b) + np.cos(a) * np.cos(b) * np.cos(np.radians(lon - other_lon))
    )
