"""The outline of a region: the contour of a mesh at a threshold, as polygons.

In every triangle the contour is one segment. It ends on edges that it shares with the segments of
the triangles beyond, so the segments join to rings that neither cross nor touch, and along the
antimeridian and at the poles the region is closed by the border of the map. What is inside lies
to the left: outer rings run anticlockwise and holes clockwise, as RFC 7946 asks.
"""

from __future__ import annotations

import numpy as np
import shapely
from shapely import MultiPolygon

from geosearch.density.mesh import Index, Mask, Mesh
from geosearch.sphere import Array

#: How near to the end of an edge a contour may cross it: rings must not touch in corners.
NEAREST = 0.01


def region_above(mesh: Mesh, threshold: float) -> tuple[MultiPolygon, float]:
    """The region where the log density reaches a threshold: polygons and area in steradians.

    The polygons are in degrees of longitude and latitude.
    """
    inside = mesh.log_density >= threshold
    begin, end, triangle = _segments(mesh, inside)
    points = _points(mesh, threshold, begin, triangle)
    rings, first = _rings(begin, end, len(mesh.lon))
    corners = points[rings]
    areas = _steradians(corners, first)
    ring = np.repeat(np.arange(len(first)), np.diff([*first, len(rings)]))
    return _polygons(shapely.linearrings(corners, indices=ring), areas), float(areas.sum())


def _segments(mesh: Mesh, inside: Mask) -> tuple[Index, Index, Index]:
    """Segments of the outline: the edges (s, 2) where each begins and ends, and its triangle (s,).

    An edge is a pair of nodes, the lower first; a node itself is a pair of the same two.
    """
    nodes = np.stack([mesh.tail, mesh.head, mesh.centre], axis=1)
    within = inside[nodes]
    crossed = np.flatnonzero(within.any(axis=1) & ~within.all(axis=1))
    nodes, within = nodes[crossed], within[crossed]
    following = np.roll(within, -1, axis=1)
    leaving = np.argmax(within & ~following, axis=1)
    entering = np.argmax(~within & following, axis=1)
    row = np.arange(len(nodes))
    leave, enter = (
        np.stack([nodes[row, edge], nodes[row, (edge + 1) % 3]], axis=1)
        for edge in (leaving, entering)
    )
    # Along the border the outline is that part of the side which is inside.
    border = np.flatnonzero(mesh.border & (inside[mesh.tail] | inside[mesh.head]))
    tail, head = mesh.tail[border], mesh.head[border]
    begin = np.stack([tail, np.where(inside[tail], tail, head)], axis=1)
    end = np.stack([np.where(inside[head], head, tail), head], axis=1)
    begins = np.sort(np.concatenate([leave, begin]), axis=1)
    ends = np.sort(np.concatenate([enter, end]), axis=1)
    return begins, ends, np.concatenate([crossed, border])


def _points(mesh: Mesh, threshold: float, edges: Index, triangle: Index) -> Array:
    """Longitudes and latitudes (s, 2) at which the density crosses a threshold on edges."""
    low, high = edges.T
    lon, lat = mesh.lon[low], mesh.lat[low]
    apart = mesh.lon[high] - lon, mesh.lat[high] - lat
    below, above = mesh.log_density[low] - threshold, mesh.log_density[high] - threshold
    rise = np.where(low == high, 1.0, above - below)
    # The log density is nearly quadratic: a value half-way tells it well enough. Of the parabola
    # through all three, one point on the edge has the threshold, and a higher one a higher.
    halfway = mesh.leaves.log_density(lon + apart[0] / 2, lat + apart[1] / 2, mesh.cell[triangle])
    bend = 2 * (below + above) - 4 * (halfway - threshold)
    slope = rise - bend
    root = np.copysign(np.sqrt(np.maximum(slope**2 - 4 * bend * below, 0.0)), rise)
    share = np.clip(-2 * below / np.where(low == high, 1.0, slope + root), NEAREST, 1 - NEAREST)
    share = np.where(low == high, 0.0, share)
    return np.stack([lon + share * apart[0], lat + share * apart[1]], axis=1)


def _rings(begin: Index, end: Index, nodes: int) -> tuple[Index, Index]:
    """The segments in the order of their rings, and where in that order each ring begins."""
    begins, ends = (pairs[:, 0] * nodes + pairs[:, 1] for pairs in (begin, end))
    order = np.argsort(begins)
    following = order[np.searchsorted(begins, ends, sorter=order)].tolist()
    fresh = bytearray(b"\x01") * len(following)
    rings: list[int] = []
    first: list[int] = []
    for start in range(len(following)):
        if fresh[start]:
            first.append(len(rings))
        segment = start
        while fresh[segment]:
            fresh[segment] = 0
            rings.append(segment)
            segment = following[segment]
    return np.array(rings, np.intp), np.array(first, np.intp)


def _steradians(corners: Array, first: Index) -> Array:
    """Signed areas of rings (n,) given by all their corners (m, 2) in degrees."""
    counts = np.diff([*first, len(corners)])
    # Differences to a corner of the same ring keep the digits of a small one.
    origin = np.repeat(corners[first], counts, axis=0)
    lat, lat0 = np.radians(corners[:, 1]), np.radians(origin[:, 1])
    x = np.radians(corners[:, 0] - origin[:, 0])
    y = 2 * np.cos((lat + lat0) / 2) * np.sin(np.radians(corners[:, 1] - origin[:, 1]) / 2)
    following = np.arange(1, len(corners) + 1)
    following[first + counts - 1] = first
    areas: Array = np.add.reduceat(x * y[following] - x[following] * y, first) / 2
    return areas


def _polygons(rings: Array, areas: Array) -> MultiPolygon:
    outer, holes = rings[areas > 0], rings[areas <= 0]
    if not len(holes):
        return shapely.multipolygons(shapely.polygons(outer))
    shells = shapely.polygons(outer)
    shells = shells[np.argsort(shapely.area(shells))]
    points = shapely.get_point(holes, 0)
    hole, shell = shapely.STRtree(shells).query(points, predicate="within")
    owner = np.full(len(holes), len(shells))
    np.minimum.at(owner, hole, shell)  # the smallest of those around it
    return shapely.multipolygons(
        [
            shapely.polygons(shapely.get_exterior_ring(s), holes=holes[owner == i].tolist() or None)
            for i, s in enumerate(shells)
        ]
    )
