"""Parts that hold a given share of the references: boxes, times, authors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from geoclip_vectors import Vectors
from numpy.typing import NDArray

#: Shares of all photos that one author took.
AUTHOR_SHARES = (0.3, 0.1, 0.03, 0.01, 0.001, 0.0001)
#: A box is this many times as wide as high, in degrees.
_ASPECT = 2.0
#: Random centres tried for a far box.
_TRIES = 50


@dataclass(frozen=True)
class Region:
    """A part, and which references (n,) lie in it; without a filter it is all.

    A box in degrees (west, south, east, north), edges included, that does not cross ±180°; or the
    minutes from one to before another; or what one author took.
    """

    inside: NDArray[np.bool_]
    box: tuple[float, float, float, float] | None = None
    minutes: tuple[int, int] | None = None
    author: str | None = None

    @property
    def filtered(self) -> bool:
        """Whether it is a part of all."""
        return (self.box, self.minutes, self.author) != (None, None, None)


def everywhere(references: Vectors) -> Region:
    """No filter."""
    return Region(np.ones(len(references), dtype=bool))


def anywhere(references: Vectors, size: int, rng: np.random.Generator) -> Region:
    """A box of `size` references round one of them."""
    centre = rng.integers(len(references))
    return near(references, references.lat[centre], references.lon[centre], size)


def period(references: Vectors, size: int, rng: np.random.Generator) -> Region:
    """The minutes in which `size` references were taken: one a minute, from 1."""
    first = int(rng.integers(1, len(references) - size + 2))
    minute = np.arange(1, len(references) + 1)
    inside = (minute >= first) & (minute < first + size)
    return Region(inside, minutes=(first, first + size))


def of_author(references: Vectors, share: float) -> Region:
    """What the author took who took this share of all."""
    name = f"author of {share:g}"
    return Region(np.array(author_names(len(references))) == name, author=name)


@cache
def author_names(count: int) -> tuple[str, ...]:
    """One author for each share, in no order, and a thousand others."""
    order = np.random.default_rng(3).permutation(count)
    names = np.array([f"author {number % 1000}" for number in range(count)], dtype=object)
    taken = 0
    for share in AUTHOR_SHARES:
        size = round(share * count)
        names[order[taken : taken + size]] = f"author of {share:g}"
        taken += size
    return tuple(names.tolist())


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
    return Region(inside, box=(float(west), float(south), float(east), float(north)))


def _cosine(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Of the angle between two places."""
    a, b = np.radians(lat), np.radians(other_lat)
    return float(
        np.sin(a) * np.sin(b) + np.cos(a) * np.cos(b) * np.cos(np.radians(lon - other_lon))
    )
