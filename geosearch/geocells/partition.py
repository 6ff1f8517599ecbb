"""Partitions of the sphere into cells: where each begins and ends, and the photos within."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shapely import MultiPolygon

from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, unit_vectors

Numbers = NDArray[np.int64]

#: The spread of a cell is at least this: photos at one spot are still somewhere round it.
LEAST_SPREAD_KM = 1.0

#: Steps towards the geometric medians of cells; they have settled long before.
_MEDIAN_STEPS = 30
#: Photos nearer than this chord to a median pull no harder: about a metre.
_MEDIAN_FLOOR = 1.5e-7


class Division(Protocol):
    """Rules that give every point of the sphere to exactly one of n cells."""

    def __len__(self) -> int:
        """Number of cells."""
        ...

    def locate(self, lat: Array, lon: Array) -> Numbers:
        """Cells (n,) of points in degrees, with longitudes in [-180, 180)."""
        ...

    def polygons(self, cells: Numbers) -> list[MultiPolygon]:
        """The cells of these numbers in degrees of longitude and latitude, cut at ±180°."""
        ...

    def steradians(self) -> Array:
        """Areas of the cells (n,); they sum to 4π."""
        ...

    def to_json(self) -> dict[str, Any]:
        """All that makes it, as JSON."""
        ...


@dataclass(frozen=True, eq=False)
class Partition:
    """A partition of the sphere, and the photos it was made for.

    `photos` (n,) are those in each cell; `lat`, `lon` (n,) degrees the cell's medoid: the photo
    nearest to the geometric median of its photos. `spread_km` (n,) is their standard deviation
    along each axis round the medoid, kilometres. `area_km2` (n,) are the areas of the cells in
    square kilometres. `kind` and `parameters` say how it was made.
    """

    name: str
    kind: str
    parameters: Mapping[str, Any]
    division: Division
    photos: Numbers
    lat: Array
    lon: Array
    spread_km: Array
    area_km2: Array
    id: int | None = field(default=None, compare=False)

    @classmethod
    def of_photos(
        cls,
        name: str,
        kind: str,
        parameters: Mapping[str, Any],
        division: Division,
        lat: ArrayLike,
        lon: ArrayLike,
    ) -> Partition:
        """The partition with the counts, medoids and spreads of photos in degrees (m,).

        Raises
        ------
        InputError
            A cell has no photo, or a position is not on the Earth.
        """
        lat, lon = checked(lat, lon)
        cell = division.locate(lat, lon)
        counts = np.bincount(cell, minlength=len(division))
        if not counts.all():
            raise InputError(
                f"partition {name!r}: {int((counts == 0).sum())} of its cells hold no photo",
                "Make it from the photos it is to divide.",
            )
        summary = _summary(lat, lon, cell, len(division))
        area_km2 = division.steradians() * EARTH_RADIUS_KM**2
        return cls(name, kind, parameters, division, counts, *summary, area_km2)

    def recounted(self, lat: ArrayLike, lon: ArrayLike) -> Partition:
        """The same cells with the counts, medoids and spreads of other photos in degrees (m,).

        Cells without any keep their medoids and spreads.

        Raises
        ------
        InputError
            A position is not on the Earth.
        """
        lat, lon = checked(lat, lon)
        cells, cell = np.unique(self.division.locate(lat, lon), return_inverse=True)
        counts, places = np.zeros_like(self.photos), [self.lat, self.lon, self.spread_km]
        counts[cells] = np.bincount(cell, minlength=len(cells))
        for index, column in enumerate(_summary(lat, lon, cell, len(cells))):
            places[index] = places[index].copy()
            places[index][cells] = column
        medoid_lat, medoid_lon, spread = places
        return replace(self, photos=counts, lat=medoid_lat, lon=medoid_lon, spread_km=spread)

    def __len__(self) -> int:
        return len(self.photos)

    def locate(self, lat: ArrayLike, lon: ArrayLike) -> Numbers:
        """Numbers (n,) from 0 of the cells that points in degrees (n,) lie in.

        Every point of the sphere lies in exactly one. ±180° is one meridian, and a pole one point.

        Raises
        ------
        InputError
            A position is not on the Earth.
        """
        return self.division.locate(*checked(lat, lon))

    @cached_property
    def centres(self) -> Array:
        """Medoids (n, 2): latitude and longitude in degrees."""
        return np.column_stack([self.lat, self.lon])

    def polygons(self, cells: ArrayLike | None = None) -> list[MultiPolygon]:
        """The cells of these numbers, or all, in degrees of longitude and latitude.

        They are valid, cut at the antimeridian, and those of all cover the map without overlap.
        """
        wanted = np.arange(len(self)) if cells is None else np.asarray(cells, np.int64)
        return self.division.polygons(wanted)


def checked(lat: ArrayLike, lon: ArrayLike) -> tuple[Array, Array]:
    """Positions in degrees as arrays (n,), each point of the sphere written in one way.

    Raises
    ------
    InputError
        A position is not on the Earth, or there are not as many latitudes as longitudes.
    """
    lat, lon = np.atleast_1d(np.asarray(lat, float)), np.atleast_1d(np.asarray(lon, float))
    if lat.ndim != 1 or lat.shape != lon.shape:
        raise InputError(f"latitudes {lat.shape} and longitudes {lon.shape} do not match")
    if not ((np.abs(lat) <= 90) & (np.abs(lon) <= 180)).all():
        raise InputError(
            "a position is not on the Earth", "Latitudes are in ±90°, longitudes in ±180°."
        )
    return lat, np.where((lon == 180) | (np.abs(lat) == 90), -180.0, lon)


def check_fewest(min_photos: int, max_photos: int | None, photos: int) -> None:
    """See that cells of at least so many photos can be made of those there are.

    Of a cell with more than `max_photos`, one half must have enough.
    """
    most = 2 * min_photos if max_photos is None else max_photos
    if not 1 <= min_photos <= (most + 1) // 2:
        raise InputError(
            f"`min_photos`: {min_photos} does not go with `max_photos` {max_photos}",
            "Give at least 1, and at most half of `max_photos`.",
        )
    if photos < min_photos:
        raise InputError(
            f"{photos} photos are fewer than `min_photos` {min_photos}", "Lower it, or add photos."
        )


def _summary(lat: Array, lon: Array, cell: Numbers, count: int) -> tuple[Array, Array, Array]:
    """Medoids in degrees and spreads in kilometres (count,) of photos in cells, none empty."""
    medoid = _medoids(unit_vectors(lat, lon), cell, count)
    away = great_circle_km(lat, lon, lat[medoid[cell]], lon[medoid[cell]])
    # Two dimensions share the squared distance.
    variance = np.bincount(cell, away**2, count) / np.bincount(cell, minlength=count) / 2
    return lat[medoid], lon[medoid], np.maximum(np.sqrt(variance), LEAST_SPREAD_KM)


def _medoids(points: Array, cell: Numbers, count: int) -> Numbers:
    """Index (count,) of the point (m, 3) nearest to the geometric median of its cell.

    Weiszfeld's algorithm (Tohoku Mathematical Journal 43, 1937) on chords, for all cells at once.
    """
    weights = np.ones(len(points))
    for _ in range(_MEDIAN_STEPS):
        medians = means(points, cell, count, weights)
        away = np.linalg.norm(points - medians[cell], axis=1)
        weights = 1 / np.maximum(away, _MEDIAN_FLOOR)
    order = np.lexsort([away, cell])
    first: Numbers = order[np.searchsorted(cell[order], np.arange(count))]
    return first


def means(points: Array, cell: Numbers, count: int, weights: Array) -> Array:
    """Directions (count, 3) of the weighted sums of the unit vectors (m, 3) in each cell.

    Where they cancel out, or there are none, it is the direction to (0° N, 0° E).
    """
    sums = np.stack([np.bincount(cell, weights * axis, count) for axis in points.T], axis=1)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    nowhere = lengths[:, 0] <= 1e-12 * np.bincount(cell, weights, count)
    sums[nowhere], lengths[nowhere] = (1.0, 0.0, 0.0), 1.0
    return np.asarray(sums / lengths)
