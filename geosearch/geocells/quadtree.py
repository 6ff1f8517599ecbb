"""Cells by halving: small where photos are many, never with too many or too few.

The sphere is halved again and again into rectangles of equal area in longitude and
z = sin(latitude) (`geosearch.sphere.Cells`), as in the quadtrees of S2, until none holds more than
so many photos. A rectangle with too few photos becomes part of the cell whose photos are nearest to
it, so that the cells cover the sphere and each has photos enough to be learnt (Weyand, Kostrikov
and Philbin, "PlaNet", 2016, leave such rectangles out of the world).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely import MultiPolygon

from geosearch.geocells.partition import Numbers, Partition, check_fewest, checked, means
from geosearch.geocells.polygons import joined
from geosearch.json_record import Record
from geosearch.sphere import Array, Cells, unit_vectors, z_to_lat

#: The smallest rectangles, with sides of about 20 m: photos at one spot cannot be divided.
DEEPEST = 40

_LEAF, _LONGITUDE, _Z = ".", "|", "-"
_AXES = {_LONGITUDE: 0, _Z: 1}


@dataclass(frozen=True, eq=False)
class Quadtree(Record):
    """Rectangles from halving the sphere, each part of a cell.

    `tree` is the tree in preorder: `.` a rectangle, `|` one halved along a meridian (first the
    western half), `-` one halved along a parallel (first the southern half). `cells` are the cells
    of the rectangles, in that order.
    """

    tree: str
    cells: Numbers

    def __len__(self) -> int:
        return int(self.cells.max()) + 1

    def locate(self, lat: Array, lon: Array) -> Numbers:
        """See `Division.locate`."""
        return np.asarray(self.cells[self._nodes.rectangle_of(lat, lon)])

    def polygons(self, cells: Numbers) -> list[MultiPolygon]:
        """See `Division.polygons`."""
        return joined(self._boxes, self.cells, cells)

    def steradians(self) -> Array:
        """See `Division.steradians`."""
        west, east, south, north = self._nodes.rectangles
        return np.asarray(np.bincount(self.cells, np.radians(east - west) * (north - south)))

    @cached_property
    def _boxes(self) -> NDArray[np.object_]:
        west, east, south, north = self._nodes.rectangles
        return np.asarray(shapely.box(west, z_to_lat(south), east, z_to_lat(north)), object)

    @cached_property
    def _nodes(self) -> _Nodes:
        return _Nodes.of(self.tree)


def quadtree(
    name: str, lat: ArrayLike, lon: ArrayLike, *, max_photos: int, min_photos: int = 1
) -> Partition:
    """Halve the sphere until no rectangle holds more than `max_photos` of the photos (m,).

    Rectangles with fewer than `min_photos` are added to the nearest cell, which may so hold more
    than `max_photos`, as it does where photos at one spot cannot be divided.

    Raises
    ------
    InputError
        `min_photos` is more than half of `max_photos`, or than all photos there are.
    """
    lat, lon = checked(lat, lon)
    check_fewest(min_photos, max_photos, len(lat))
    tree, rectangle = _grown(lat, lon, max_photos)
    cells = _merged(_Nodes.of(tree), rectangle, unit_vectors(lat, lon), min_photos)
    parameters = {"max_photos": max_photos, "min_photos": min_photos}
    return Partition.of_photos(name, "quadtree", parameters, Quadtree(tree, cells), lat, lon)


def _grown(lat: Array, lon: Array, most: int) -> tuple[str, Numbers]:
    """The tree, and the rectangle (m,) of each photo, numbered in preorder."""
    coordinates = np.stack([lon, np.sin(np.radians(lat))])
    tree: list[str] = []
    rectangle = np.empty(len(lat), np.int64)
    leaves = 0
    waiting = [(Cells.of_sphere(0), np.arange(len(lat)))]
    while waiting:
        cell, inside = waiting.pop()
        if len(inside) <= most or cell.depth == DEEPEST:
            tree.append(_LEAF)
            rectangle[inside] = leaves
            leaves += 1
            continue
        halves = cell.split()
        sign = _LONGITUDE if halves.east[0] < cell.east[0] else _Z
        tree.append(sign)
        middle = halves.east[0] if sign == _LONGITUDE else halves.north[0]
        upper = coordinates[_AXES[sign], inside] >= middle
        waiting.append((halves.where(np.array([1])), inside[upper]))
        waiting.append((halves.where(np.array([0])), inside[~upper]))  # the first to come off
    return "".join(tree), rectangle


def _merged(nodes: _Nodes, rectangle: Numbers, points: Array, fewest: int) -> Numbers:
    """The cell of each rectangle: its own, or that of the nearest if it has too few photos."""
    from scipy.spatial import cKDTree  # takes longer to load than most commands run

    count = len(nodes.rectangles[0])
    photos = np.bincount(rectangle, minlength=count)
    full, few = np.flatnonzero(photos >= fewest), np.flatnonzero(photos < fewest)
    middles = means(points, rectangle, count, np.ones(len(points)))
    centres = Cells(0, *nodes.rectangles).centres()
    cells = np.empty(count, np.int64)
    cells[full] = np.arange(len(full))
    # A rectangle is where its photos are, or at its centre if it has none.
    here = np.where(photos[few, None] > 0, middles[few], centres[few])
    cells[few] = cKDTree(middles[full]).query(here)[1]
    return cells


@dataclass(frozen=True, eq=False)
class _Nodes:
    """A tree taken apart: its nodes (n,) in preorder, and its rectangles (k,).

    Where node i is halved, its halves meet at `middle[i]` of coordinate `axis[i]` (longitude, z)
    and are the nodes `child[:, i]`; else it is rectangle number `leaf[i]`, which is -1 for the
    others. `rectangles` are west, east (degrees), south, north (z).
    """

    axis: Numbers
    middle: Array
    child: Numbers
    leaf: Numbers
    rectangles: Array

    @classmethod
    def of(cls, tree: str) -> _Nodes:
        """The nodes of a tree in preorder."""
        # By the signs, not by the sides: rounding must not change a partition that was stored.
        axis, leaf = np.full(len(tree), 0), np.full(len(tree), -1)
        middle, child = np.zeros(len(tree)), np.zeros((2, len(tree)), np.int64)
        rectangles: list[tuple[float, ...]] = []
        waiting: list[tuple[tuple[float, ...], int, int]] = [((-180.0, 180.0, -1.0, 1.0), 0, -1)]
        for node, sign in enumerate(tree):
            sides, which, parent = waiting.pop()
            if parent >= 0:
                child[which, parent] = node
            if sign == _LEAF:
                leaf[node] = len(rectangles)
                rectangles.append(sides)
                continue
            axis[node] = first = _AXES[sign]
            low, high = 2 * first, 2 * first + 1
            middle[node] = half = (sides[low] + sides[high]) / 2
            waiting.append(((*sides[:low], half, *sides[high:]), 1, node))
            waiting.append(((*sides[:high], half, *sides[high + 1 :]), 0, node))
        return cls(axis, middle, child, leaf, np.array(rectangles).T)

    def rectangle_of(self, lat: Array, lon: Array) -> Numbers:
        """Numbers (m,) of the rectangles that points in degrees lie in."""
        coordinates = np.stack([lon, np.sin(np.radians(lat))])
        node = np.zeros(len(lat), np.int64)
        moving = np.flatnonzero(self.leaf[node] < 0)
        while len(moving):
            at = node[moving]
            upper = coordinates[self.axis[at], moving] >= self.middle[at]
            node[moving] = self.child[upper.astype(np.int64), at]
            moving = moving[self.leaf[node[moving]] < 0]
        return np.asarray(self.leaf[node])
