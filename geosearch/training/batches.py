"""In which order photos are trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors

Indices = NDArray[np.int64]

#: Photos of a place in a batch, where it has so many.
GROUP = 4

#: Neighbours looked at for each photo of a group in one pass, and photos looked up at once.
_CANDIDATES, _CHUNK = 8, 1 << 16
#: How far photos are moved before neighbours are looked up, as a share of the radius.
_APART = 1e-3


def batches(
    lat: ArrayLike,
    lon: ArrayLike,
    size: int,
    *,
    paired: bool = False,
    seed: int = 0,
    epoch: int = 0,
    radius_km: float = 200.0,
    group: int = GROUP,
) -> Iterator[Indices]:
    """Batches of indices of the photos at `lat`, `lon` (n,), degrees: one epoch.

    Every photo comes exactly once, in ceil(n / size) batches of which only the last may be short.
    The order follows from `seed` and `epoch` alone. `paired` keeps photos of a place together: up
    to `group` of them, each within `radius_km` of the first, in groups of random order. A photo
    alone within the radius comes too, as others' negative.

    Raises
    ------
    InputError
        A size, group or radius that is too small, or positions that do not match.
    """
    places = _places(lat, lon)
    if size < 1 or group < 2 or not radius_km > 0:
        raise InputError(
            f"no batches of {size} in groups of {group} within {radius_km:g} km",
            "Give a size of 1 or more, groups of 2 or more and a radius above 0 km.",
        )
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    order: Indices = generator.permutation(len(places))
    if paired:
        order = _grouped(places, order, radius_km, group, generator)
    # Not a generator itself, so that wrong arguments are noticed here and not at the first batch.
    return (order[start : start + size] for start in range(0, len(order), size))


def _grouped(
    places: Array, order: Indices, radius_km: float, group: int, generator: np.random.Generator
) -> Indices:
    """The photos of `order`, those of a group side by side and the groups shuffled.

    In passes over the photos that are left. A pass looks at a bounded number of neighbours, so
    that a million photos of one city cost no more than elsewhere; where all of these are taken but
    there may be more, the photo waits for the next pass.
    """
    chord = 2 * np.sin(min(radius_km / EARTH_RADIUS_KM, np.pi) / 2)
    # Many photos can share one position: apart by a thousandth of the radius, they differ in
    # their neighbours, and each pass groups most of them.
    apart = generator.uniform(-1, 1, places.shape) * (chord * _APART / 3**0.5)
    places, chord = places + apart, chord * (1 - 2 * _APART)
    count = _CANDIDATES * group
    groups: list[list[int]] = []
    left = order
    while len(left):
        tree = cKDTree(places[left])
        free, waiting = np.ones(len(left), bool), []
        for start in range(0, len(left), _CHUNK):
            rows = slice(start, start + _CHUNK)
            _, near = tree.query(
                places[left[rows]], k=np.arange(1, count + 1), distance_upper_bound=chord
            )
            for photo, found in enumerate(near, start):
                if not free[photo]:
                    continue
                free[photo] = False
                known = found[found < len(left)]  # beyond: no further neighbour
                others = known[free[known]]
                if len(others) == 0 and len(known) == count:
                    waiting.append(photo)
                    continue
                chosen = generator.permutation(others)[: group - 1]
                free[chosen] = False
                groups.append([int(left[photo]), *left[chosen].tolist()])
        left = left[waiting]
    shuffled = (groups[index] for index in generator.permutation(len(groups)))
    return np.array([photo for one in shuffled for photo in one], np.int64)


def _places(lat: ArrayLike, lon: ArrayLike) -> Array:
    lat, lon = np.asarray(lat, float), np.asarray(lon, float)
    if lat.ndim != 1 or lat.shape != lon.shape:
        raise InputError(
            f"latitudes {lat.shape} and longitudes {lon.shape} of photos do not match",
            "Give two lists of the same length.",
        )
    return unit_vectors(lat, lon)
