"""Cells as polygons in the plane of longitude and latitude, cut at the antimeridian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from geosearch.sphere import Array, lat_lon

#: Great circles are drawn as chords of at most this angle, in degrees: 60 m off at mid-latitudes.
STEP_DEG = 0.5

#: Corners are rounded to so many decimals of a degree (0.1 mm), so that pieces fit together.
GRID_DECIMALS = 9


def joined(
    pieces: NDArray[np.object_], cell: NDArray[np.int64], wanted: NDArray[np.int64]
) -> list[MultiPolygon]:
    """The wanted cells, of which polygons (k,) are the pieces; `cell` (k,) says whose each is."""
    order = np.argsort(cell, kind="stable")
    first = np.searchsorted(cell[order], wanted, side="left")
    last = np.searchsorted(cell[order], wanted, side="right")
    return [united(pieces[order[start:stop]]) for start, stop in zip(first, last, strict=True)]


def united(areas: Sequence[BaseGeometry] | NDArray[np.object_]) -> MultiPolygon:
    """Areas as one, without the points and lines in which some of them only touch."""
    parts = shapely.get_parts(shapely.union_all(areas))
    return MultiPolygon([part for part in parts if isinstance(part, Polygon)])


def octants() -> list[Array]:
    """The eighths of the sphere, as spherical triangles (3, 3) of unit vectors, anticlockwise.

    None contains a pole or crosses the antimeridian except along its border.
    """
    axes = np.eye(3)
    triangles = []
    for x, y, z in np.ndindex(2, 2, 2):
        signs = 1 - 2 * np.array([x, y, z])
        triangle = axes * signs[:, None]
        triangles.append(triangle if signs.prod() > 0 else triangle[::-1])
    return triangles


def clipped(polygon: Array, normal: Array) -> Array:
    """The part of a convex spherical polygon (k, 3) where x·normal ≥ 0; (0, 3) if there is none.

    Sutherland and Hodgman's algorithm (Communications of the ACM 17, 1974), with planes through
    the Earth's centre for lines.
    """
    height = polygon @ normal
    inside = height >= 0
    corners: list[Array] = []
    for here, ahead in zip(range(len(polygon)), np.roll(range(len(polygon)), -1), strict=True):
        if inside[here]:
            corners.append(polygon[here])
        if inside[here] != inside[ahead]:
            share = height[here] / (height[here] - height[ahead])
            crossing = polygon[here] + share * (polygon[ahead] - polygon[here])
            corners.append(crossing / np.linalg.norm(crossing))
    return np.array(corners) if len(corners) > 2 else np.empty((0, 3))


def steradians(polygon: Array) -> float:
    """Area of a convex spherical polygon (k, 3): the sum of its triangles from the first corner.

    By van Oosterom and Strackee (IEEE Transactions on Biomedical Engineering 30, 1983).
    """
    if len(polygon) < 3:
        return 0.0
    a, b, c = polygon[0], polygon[1:-1], polygon[2:]
    volume = np.cross(b, c) @ a
    divisor = 1 + b @ a + (b * c).sum(axis=1) + c @ a
    return float(abs(2 * np.arctan2(volume, divisor)).sum())


def drawn(polygon: Array, octant: Array) -> BaseGeometry:
    """A spherical polygon (k, 3) within an octant, in degrees of longitude and latitude."""
    west, east = _meridians(octant)
    corners: list[tuple[float, float]] = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        lat, lon = lat_lon(_arc(start, end))
        # ±180° is written as the octant has it; a pole has the longitude of the arc that meets it.
        lon = np.where(lon < west - 1, lon + 360, lon)
        polar = np.abs(lat) > 90 - 10.0**-GRID_DECIMALS
        if polar.any() and not polar.all():
            lon[polar] = lon[~polar][-1 if polar[-1] else 0]
        corners += zip(np.clip(lon, west, east), lat, strict=True)
    return shapely.make_valid(Polygon(np.round(corners, GRID_DECIMALS)))


def _meridians(octant: Array) -> tuple[float, float]:
    middle = octant.sum(axis=0)
    west = float(np.floor(np.degrees(np.arctan2(middle[1], middle[0])) / 90) * 90)
    return west, west + 90


def _arc(start: Array, end: Array) -> Array:
    """Points (n, 3) along the great circle between two unit vectors, both ends included."""
    chord = float(np.linalg.norm(end - start))
    angle = 2 * np.arcsin(min(chord / 2, 1.0))
    if angle < 1e-9:
        return np.stack([start, end])
    # Rounding must not divide a whole number of steps in one way for one cell, in another way for
    # the cell beside it: slivers would be left between them.
    steps = max(1, int(np.ceil(np.degrees(angle) / STEP_DEG - 1e-6)))
    share = np.linspace(0, 1, steps + 1)[:, None]
    return np.asarray(np.sin((1 - share) * angle) * start + np.sin(share * angle) * end)
