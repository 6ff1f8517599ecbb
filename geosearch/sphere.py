"""Geometry of the spherical Earth: unit vectors, great circles, equal-area cells.

Pure NumPy in float64, without input or output. Latitudes and longitudes are in degrees,
distances in kilometres; a unit vector is (x, y, z) with x through (0° N, 0° E), y through
(0° N, 90° E) and z through the north pole. Functions broadcast like NumPy's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: Radius of the sphere on which the field of photo geolocation measures its errors.
EARTH_RADIUS_KM = 6371.0


def unit_vectors(lat: ArrayLike, lon: ArrayLike) -> Array:
    """Unit vectors of points given in degrees: shape (..., 3) for inputs of shape (...)."""
    phi, lam = np.radians(np.asarray(lat, float)), np.radians(np.asarray(lon, float))
    cos_phi = np.cos(phi)
    vectors = np.empty((*np.broadcast(phi, lam).shape, 3))
    vectors[..., 0] = cos_phi * np.cos(lam)
    vectors[..., 1] = cos_phi * np.sin(lam)
    vectors[..., 2] = np.sin(phi)
    return vectors


def lat_lon(vectors: ArrayLike) -> tuple[Array, Array]:
    """Latitude and longitude in degrees of vectors of shape (..., 3) and any positive length.

    The longitude is in [-180, 180); at a pole it is the direction of what is left of x and y.
    """
    vectors = np.asarray(vectors, float)
    x, y, z = (vectors[..., axis] for axis in range(3))
    lat = np.degrees(np.arctan2(z, np.hypot(x, y)))
    lon = np.degrees(np.arctan2(y, x))
    return lat, np.where(lon >= 180.0, -180.0, lon)


def great_circle_km(lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike) -> Array:
    """Great-circle distance in kilometres between points in degrees.

    The haversine formula with the haversine of the antipode as its complement, so that nearly
    equal and nearly antipodal points are both accurate to rounding.
    """
    lat1, lon1, lat2, lon2 = (np.asarray(a, float) for a in (lat1, lon1, lat2, lon2))
    # Differences are taken in degrees, where they are exact for neighbouring points.
    half_lon = np.radians(lon2 - lon1) / 2
    cosines = np.cos(np.radians(lat1)) * np.cos(np.radians(lat2))
    near = np.sin(np.radians(lat2 - lat1) / 2) ** 2 + cosines * np.sin(half_lon) ** 2
    far = np.sin(np.radians(lat2 + lat1) / 2) ** 2 + cosines * np.cos(half_lon) ** 2
    distance: Array = 2 * EARTH_RADIUS_KM * np.arctan2(np.sqrt(near), np.sqrt(far))
    return distance


def chord_km(chord: ArrayLike) -> Array:
    """Great-circle distance in kilometres of unit vectors that far apart in a straight line."""
    distance: Array = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(np.asarray(chord, float) / 2, 1.0))
    return distance


def cap_km2(radius_km: ArrayLike) -> Array:
    """Area in km² of all that is within a great-circle distance of a point."""
    half = np.asarray(radius_km, float) / (2 * EARTH_RADIUS_KM)
    area: Array = 4 * np.pi * (EARTH_RADIUS_KM * np.sin(half)) ** 2
    return area


def cap_radius_km(area_km2: ArrayLike) -> Array:
    """The inverse of `cap_km2`: half the circumference for the whole sphere, infinite for more."""
    share = np.asarray(area_km2, float) / (4 * np.pi * EARTH_RADIUS_KM**2)
    radius = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(share, 1.0)))
    return np.where(np.isinf(share), np.inf, radius)


def destination(
    lat: ArrayLike, lon: ArrayLike, bearing: ArrayLike, distance_km: ArrayLike
) -> tuple[Array, Array]:
    """Where one arrives from (lat, lon) after `distance_km` along a great circle.

    `bearing` is in degrees clockwise from north. At a pole, north is taken along the meridian
    `lon`, as everywhere else. Returns (lat, lon) in degrees.
    """
    lat, lon, bearing, distance_km = np.broadcast_arrays(
        *(np.asarray(a, float) for a in (lat, lon, bearing, distance_km))
    )
    start, lam, theta = unit_vectors(lat, lon), np.radians(lon), np.radians(bearing)
    east = np.stack([-np.sin(lam), np.cos(lam), np.zeros_like(lam)], axis=-1)
    heading = np.cos(theta)[..., None] * np.cross(start, east) + np.sin(theta)[..., None] * east
    angle = (distance_km / EARTH_RADIUS_KM)[..., None]
    return lat_lon(np.cos(angle) * start + np.sin(angle) * heading)


def initial_bearing(lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike) -> Array:
    """Bearing at the first point of the great circle to the second, in degrees in [0, 360)."""
    phi1, phi2 = np.radians(np.asarray(lat1, float)), np.radians(np.asarray(lat2, float))
    lam = np.radians(np.asarray(lon2, float) - np.asarray(lon1, float))
    east = np.cos(phi2) * np.sin(lam)
    north = np.sin(phi2 - phi1) + 2 * np.sin(phi1) * np.cos(phi2) * np.sin(lam / 2) ** 2
    bearing: Array = np.degrees(np.arctan2(east, north)) % 360.0
    return bearing


def great_circle_line(
    lat1: float, lon1: float, lat2: float, lon2: float, points: int
) -> tuple[Array, Array]:
    """The shortest way between two points as latitudes and longitudes (points,) in degrees.

    What lies on the antimeridian has the longitude, 180 or -180, of the side that the way is on.
    """
    bearing = initial_bearing(lat1, lon1, lat2, lon2)
    distance = great_circle_km(lat1, lon1, lat2, lon2)
    lat, lon = destination(lat1, lon1, bearing, distance * np.linspace(0.0, 1.0, points))
    on_it = np.abs(lon) > 180 - 1e-9
    side = -1.0 if lon[~on_it].sum() < 0 else 1.0
    return lat, np.where(on_it, 180 * side, lon)


def tangent_basis(points: Array) -> tuple[Array, Array]:
    """Two unit vectors that with each unit vector of `points` (..., 3) form an orthonormal basis.

    The first is tangent towards the axis least aligned with the point, so it exists at poles too.
    """
    axis = np.eye(3)[np.argmin(np.abs(points), axis=-1)]
    first = axis - np.sum(axis * points, axis=-1, keepdims=True) * points
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return first, np.cross(points, first)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of a binary partition of the sphere; all cells of one depth have the same area.

    A cell is a rectangle in longitude and z = sin(latitude). By Archimedes' theorem its area is
    the product of its sides, so halving either side halves the area exactly; the physically
    longer side is the one halved. Corners are dyadic fractions and exact in float64, so cells
    that share an edge share it to the last bit. No cell crosses the antimeridian.

    Arrays `west`, `east` (degrees) and `south`, `north` (z) have one entry a cell.
    """

    depth: int
    west: Array
    east: Array
    south: Array
    north: Array

    @classmethod
    def of_sphere(cls, depth: int) -> Cells:
        """All 2**depth cells of the sphere at a depth."""
        cells = cls(0, *(np.array([edge]) for edge in (-180.0, 180.0, -1.0, 1.0)))
        for _ in range(depth):
            cells = cells.split()
        return cells

    def __len__(self) -> int:
        return len(self.west)

    @property
    def steradians(self) -> float:
        """Area of each cell in steradians."""
        return float(4 * np.pi * 0.5**self.depth)

    @property
    def sides(self) -> Array:
        """West, east, south and north (4, n)."""
        return np.stack([self.west, self.east, self.south, self.north])

    def where(self, chosen: NDArray[Any]) -> Cells:
        """The cells chosen by a mask or by indices."""
        sides = (side[chosen] for side in (self.west, self.east, self.south, self.north))
        return Cells(self.depth, *sides)

    def split(self) -> Cells:
        """Both halves of every cell: 2n cells of the next depth, halves side by side."""
        lon, z = (self.west + self.east) / 2, (self.south + self.north) / 2
        width = np.radians(self.east - self.west) * np.sqrt(1 - z**2)
        height = np.arcsin(self.north) - np.arcsin(self.south)
        across = width >= height
        halves = (
            np.stack([self.west, np.where(across, lon, self.west)], axis=1),
            np.stack([np.where(across, lon, self.east), self.east], axis=1),
            np.stack([self.south, np.where(across, self.south, z)], axis=1),
            np.stack([np.where(across, self.north, z), self.north], axis=1),
        )
        return Cells(self.depth + 1, *(half.ravel() for half in halves))

    def centres(self) -> Array:
        """Unit vectors (n, 3) of the cells' centres: the middle in longitude and in area."""
        return _vectors_at(self.west / 2 + self.east / 2, self.south / 2 + self.north / 2)

    def chord_radii(self) -> Array:
        """Greatest chord (n,) from each cell's centre to a point of the cell.

        It is reached at a corner while cells are narrower than 180°, as all are from depth 3 on.
        """
        centres = self.centres()
        corners = (_vectors_at(self.west, z) for z in (self.south, self.north))
        radii: Array = np.max([np.linalg.norm(c - centres, axis=1) for c in corners], axis=0)
        return radii


def z_to_lat(z: ArrayLike) -> Array:
    """Latitude in degrees of z = sin(latitude), accurate up to the poles."""
    z = np.asarray(z, float)
    colatitude = 2 * np.degrees(np.arcsin(np.sqrt((1 - np.abs(z)) / 2)))
    lat: Array = np.copysign(90.0 - colatitude, z)
    return lat


def _vectors_at(lon: Array, z: Array) -> Array:
    lam, radius = np.radians(lon), np.sqrt((1 - z) * (1 + z))
    return np.stack([radius * np.cos(lam), radius * np.sin(lam), z], axis=-1)
