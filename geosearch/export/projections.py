"""Map projections of the sphere, both ways: degrees to kilometres on the map and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from geosearch.sphere import (
    EARTH_RADIUS_KM,
    Array,
    destination,
    great_circle_km,
    initial_bearing,
    lat_lon,
    unit_vectors,
)


class Projection(Protocol):
    """A map of the sphere. Off the map, `forward` and `inverse` give NaN."""

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the map, kilometres."""
        ...

    def forward(self, lat: ArrayLike, lon: ArrayLike) -> tuple[Array, Array]:
        """x and y in kilometres of positions in degrees."""
        ...

    def inverse(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Latitude and longitude in degrees of points in kilometres."""
        ...


@dataclass(frozen=True)
class AzimuthalEquidistant:
    """The surroundings of (`lat`, `lon`): distances and directions from there are true.

    `half_width` and `half_height` are in kilometres.
    """

    lat: float
    lon: float
    half_width: float
    half_height: float

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """See `Projection`."""
        return -self.half_width, self.half_width, -self.half_height, self.half_height

    @property
    def reach_km(self) -> float:
        """From the centre to a corner."""
        return math.hypot(self.half_width, self.half_height)

    @property
    def reach(self) -> tuple[float, float]:
        """Degrees of latitude and of longitude to either side of the centre; 180 round a pole."""
        lat = math.degrees(self.reach_km / EARTH_RADIUS_KM)
        if abs(self.lat) + lat >= 90:
            return lat, 180.0
        return lat, math.degrees(
            math.asin(math.sin(math.radians(lat)) / math.cos(math.radians(self.lat)))
        )

    def forward(self, lat: ArrayLike, lon: ArrayLike) -> tuple[Array, Array]:
        """See `Projection`."""
        distance = great_circle_km(self.lat, self.lon, lat, lon)
        bearing = np.radians(initial_bearing(self.lat, self.lon, lat, lon))
        return distance * np.sin(bearing), distance * np.cos(bearing)

    def inverse(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """See `Projection`."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        distance = np.hypot(x, y)
        lat, lon = destination(self.lat, self.lon, np.degrees(np.arctan2(x, y)), distance)
        outside = distance > math.pi * EARTH_RADIUS_KM
        return np.where(outside, np.nan, lat), np.where(outside, np.nan, lon)


# Coefficients of the polynomial, from the source named below.
_A1, _A2, _A3, _A4 = 1.340264, -0.081106, 0.000893, 0.003796
_M = math.sqrt(3) / 2
_NEWTON_STEPS = 8


@dataclass(frozen=True)
class EqualEarth:
    """The whole world with true areas, `lon` in the middle.

    Source: B. Šavrič, T. Patterson, B. Jenny, The Equal Earth map projection, International
    Journal of Geographical Information Science 33(3), 2019.
    """

    lon: float = 0.0

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """See `Projection`."""
        width = math.pi / (_M * _slope(0.0)) * EARTH_RADIUS_KM
        height = _polynomial(math.asin(_M)) * EARTH_RADIUS_KM
        return -float(width), float(width), -float(height), float(height)

    def forward(self, lat: ArrayLike, lon: ArrayLike) -> tuple[Array, Array]:
        """See `Projection`."""
        theta = np.arcsin(_M * np.sin(np.radians(np.asarray(lat, float))))
        lam = np.radians((np.asarray(lon, float) - self.lon + 180.0) % 360.0 - 180.0)
        x = lam * np.cos(theta) / (_M * _slope(theta))
        return x * EARTH_RADIUS_KM, _polynomial(theta) * EARTH_RADIUS_KM

    def inverse(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """See `Projection`."""
        x, y = (np.asarray(a, float) / EARTH_RADIUS_KM for a in (x, y))
        theta = np.clip(y / _A1, -1.2, 1.2)
        for _ in range(_NEWTON_STEPS):
            theta = theta - (_polynomial(theta) - y) / _slope(theta)
        sin_phi = np.sin(theta) / _M
        lam = x * _M * _slope(theta) / np.cos(theta)
        outside = (np.abs(sin_phi) > 1.0) | (np.abs(lam) > math.pi)
        lat = np.degrees(np.arcsin(np.clip(sin_phi, -1.0, 1.0)))
        lon = (np.degrees(lam) + self.lon + 180.0) % 360.0 - 180.0
        return np.where(outside, np.nan, lat), np.where(outside, np.nan, lon)


def _polynomial(theta: ArrayLike) -> Array:
    theta = np.asarray(theta, float)
    square = theta * theta
    return np.asarray(theta * (_A1 + square * (_A2 + square**2 * (_A3 + square * _A4))))


def _slope(theta: ArrayLike) -> Array:
    square = np.square(np.asarray(theta, float))
    return np.asarray(_A1 + square * (3 * _A2 + square**2 * (7 * _A3 + square * 9 * _A4)))


#: Half the height of the largest map of a part of the world, kilometres.
_LARGEST_KM = 4000.0


def view_of(lat: Array, lon: Array, aspect: float, smallest_km: float) -> Projection:
    """The map that shows all of some places in degrees (n,): of their surroundings, or the world.

    `aspect` is its width by its height; half of that is at least `smallest_km`.
    """
    middle = unit_vectors(lat, lon).sum(axis=0)
    if np.linalg.norm(middle) <= 1e-6 * len(lat):
        return EqualEarth()
    centre_lat, centre_lon = (float(value) for value in lat_lon(middle))
    reach = float(great_circle_km(centre_lat, centre_lon, lat, lon).max())
    half_height = max(1.15 * reach, smallest_km)
    if half_height > _LARGEST_KM:
        return EqualEarth()
    return AzimuthalEquidistant(centre_lat, centre_lon, aspect * half_height, half_height)
