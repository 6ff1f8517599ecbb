"""Cells by clustering: spherical k-means, and to each cell what is nearest to its centre.

The cells are the spherical Voronoi regions of the centres, so their borders follow the photos
rather than a grid. Spherical k-means: Dhillon and Modha, Machine Learning 42 (2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from shapely import MultiPolygon

from geosearch.arguments import check_range
from geosearch.errors import InputError
from geosearch.geocells import polygons
from geosearch.geocells.partition import Numbers, Partition, check_fewest, checked, means
from geosearch.json_record import Record
from geosearch.sphere import Array, lat_lon, unit_vectors

#: Steps of k-means; most collections settle before.
STEPS = 50

#: The centres are found from at most so many of the photos, drawn at random.
SAMPLE = 200_000

#: A corner this far beyond a border, in radians, is on it.
_ROUNDING = 1e-12
#: Borders with so many of the nearest cells are tried first.
_NEAREST = 16


@dataclass(frozen=True, eq=False)
class Voronoi(Record):
    """The points of the sphere by the nearest of some centres (n,), in degrees."""

    lat: Array
    lon: Array

    def __len__(self) -> int:
        return len(self.lat)

    def locate(self, lat: Array, lon: Array) -> Numbers:
        """See `Division.locate`."""
        nearest = self._tree.query(unit_vectors(lat, lon))[1]
        return np.asarray(nearest, np.int64)

    def polygons(self, cells: Numbers) -> list[MultiPolygon]:
        """See `Division.polygons`."""
        return [
            polygons.united([polygons.drawn(part, octant) for octant, part in self._pieces(cell)])
            for cell in cells.tolist()
        ]

    def steradians(self) -> Array:
        """See `Division.steradians`."""
        return np.array(
            [
                sum(polygons.steradians(part) for _, part in self._pieces(cell))
                for cell in range(len(self))
            ]
        )

    @cached_property
    def _centres(self) -> Array:
        return unit_vectors(self.lat, self.lon)

    @cached_property
    def _tree(self) -> Any:
        return _tree(self._centres)

    @cached_property
    def _known(self) -> dict[int, list[tuple[Array, Array]]]:
        return {}

    def _pieces(self, cell: int) -> list[tuple[Array, Array]]:
        """The parts of a cell in each octant: octant, convex spherical polygon."""
        if cell not in self._known:
            near = self._tree.query(self._centres[cell], min(_NEAREST, len(self)))[1]
            normals = self._borders(cell, np.atleast_1d(near))
            pieces = []
            for octant in polygons.octants():
                part = _within(octant, normals)
                if len(part):
                    part = _within(part, self._borders(cell, self._rivals(part, cell)))
                if len(part):
                    pieces.append((octant, part))
            self._known[cell] = pieces
        return self._known[cell]

    def _rivals(self, polygon: Array, cell: int) -> Numbers:
        """The centres that may be nearer to some corner than the cell's own."""
        reach = np.linalg.norm(polygon - self._centres[cell], axis=1).max()
        return np.array(self._tree.query_ball_point(self._centres[cell], 2 * reach), np.int64)

    def _borders(self, cell: int, others: Numbers) -> Array:
        """Unit normals (n, 3) of the planes between a cell and others, towards the cell."""
        normals = self._centres[cell] - self._centres[others[others != cell]]
        return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _within(polygon: Array, normals: Array) -> Array:
    """The part of a convex spherical polygon (k, 3) on the inner side of planes (n, 3)."""
    while len(polygon) and len(normals):
        heights = polygon @ normals.T
        if (heights.max(axis=0) < 0).any():
            return np.empty((0, 3))
        lowest = heights.min(axis=0)
        worst = int(lowest.argmin())
        if lowest[worst] >= -_ROUNDING:
            break
        polygon = polygons.clipped(polygon, normals[worst])
        normals = np.delete(normals, worst, axis=0)
    return polygon


def clusters(
    name: str,
    lat: ArrayLike,
    lon: ArrayLike,
    *,
    cells: int | None = None,
    max_photos: int | None = None,
    min_photos: int = 1,
    seed: int = 0,
) -> Partition:
    """Cluster photos at positions in degrees (m,) into `cells` cells.

    With `max_photos`, clusters with more are halved until none is left, which makes more cells;
    without `cells`, it begins with as many as hold all photos if equally full. Clusters with fewer
    than `min_photos` are then given to those around, which may so hold more than `max_photos`, as
    they do where photos at one spot cannot be divided. The same photos and seed make the same
    cells.

    Raises
    ------
    InputError
        Neither `cells` nor `max_photos` is given, or a number is out of range.
    """
    lat, lon = checked(lat, lon)
    if cells is None and max_photos is None:
        raise InputError(
            "`kind` clusters needs a number of cells", "Give `cells`, `max_photos` or both."
        )
    check_fewest(min_photos, max_photos, len(lat))
    wanted = cells if cells is not None else -(-len(lat) // (max_photos or 1))
    check_range("cells", wanted, 1)
    check_range("seed", seed, 0)
    points = unit_vectors(lat, lon)
    generator = np.random.default_rng(seed)
    chosen = points
    if len(points) > SAMPLE:
        chosen = points[np.sort(generator.choice(len(points), SAMPLE, replace=False))]
    centres = _settled(chosen, _spread(chosen, wanted, generator))
    if max_photos is not None:
        centres = _halved(points, centres, max_photos)
    division = Voronoi(*checked(*lat_lon(_dissolved(points, centres, min_photos))))
    parameters = {
        "cells": cells,
        "max_photos": max_photos,
        "min_photos": min_photos,
        "seed": seed,
    }
    return Partition.of_photos(name, "clusters", parameters, division, lat, lon)


def _spread(points: Array, count: int, generator: np.random.Generator) -> Array:
    """First centres, far apart: k-means++ (Arthur and Vassilvitskii, SODA 2007).

    Fewer than `count` if there are not so many different points.
    """
    centres = [points[generator.integers(len(points))]]
    away = np.full(len(points), np.inf)
    while len(centres) < count:
        away = np.minimum(away, ((points - centres[-1]) ** 2).sum(axis=1))
        if not away.any():
            break
        centres.append(points[generator.choice(len(points), p=away / away.sum())])
    return np.array(centres)


def _settled(points: Array, centres: Array) -> Array:
    """The centres after Lloyd's steps; those without points stay where they are."""
    before = None
    for _ in range(STEPS):
        cell = _tree(centres).query(points)[1]
        if before is not None and np.array_equal(cell, before):
            break
        before = cell
        found = means(points, cell, len(centres), np.ones(len(points)))
        filled = np.bincount(cell, minlength=len(centres)) > 0
        centres = np.where(filled[:, None], found, centres)
    return centres


def _halved(points: Array, centres: Array, most: int) -> Array:
    """More centres, so that none is the nearest of more than `most` points, if that can be."""
    whole: set[bytes] = set()  # those whose points are at one spot
    while True:
        cell = _tree(centres).query(points)[1]
        counts = np.bincount(cell, minlength=len(centres))
        full = [row for row in np.flatnonzero(counts > most) if centres[row].tobytes() not in whole]
        if not full:
            return centres
        made = []
        for row in full:
            own = points[cell == row]
            ends = _ends(own)
            if len(ends) == 1:
                whole.add(centres[row].tobytes())
                made.append(centres[row : row + 1])
            else:
                made.append(_settled(own, ends))
        centres = np.concatenate([np.delete(centres, full, axis=0), *made])


def _ends(points: Array) -> Array:
    """Two points far apart, or the one at which all are."""
    first = points[np.argmax(((points - points[0]) ** 2).sum(axis=1))]
    second = points[np.argmax(((points - first) ** 2).sum(axis=1))]
    ends = np.stack([first, second])
    return ends if (first != second).any() else ends[:1]


def _dissolved(points: Array, centres: Array, fewest: int) -> Array:
    """The centres without those that are the nearest of fewer than `fewest` points.

    The one with the fewest goes first, and its points go to others.
    """
    # Among the positions as they are stored, so that counts are those of the partition.
    rounded = unit_vectors(*checked(*lat_lon(centres)))
    kept = np.arange(len(centres))
    while True:
        cell = kept[_tree(rounded[kept]).query(points)[1]]
        counts = np.bincount(cell, minlength=len(centres))
        if counts[kept].min() >= fewest:
            return np.asarray(centres[kept])
        # Only the points of the one that goes are given anew; how ties fall is seen at the end.
        while counts[kept].min() < fewest:
            row = kept[counts[kept].argmin()]
            kept = kept[kept != row]
            own = cell == row
            cell[own] = kept[_tree(rounded[kept]).query(points[own])[1]]
            counts = np.bincount(cell, minlength=len(centres))


def _tree(points: Array) -> Any:
    from scipy.spatial import cKDTree  # takes longer to load than most commands run

    return cKDTree(points)
