"""A part of the Earth that a sample is cut from, and places drawn together round a point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from geosearch.arguments import numbers
from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM, destination, great_circle_km, initial_bearing

#: EXIF holds an angle to 1/10,000 of a second, 3 mm: positions are such numbers.
_TICKS_A_DEGREE = 36_000_000


@dataclass(frozen=True)
class Window:
    """A box, in degrees, or the circle of `km` round the middle of one.

    `west` to `east` is eastwards, across ±180° where `east` is the smaller.
    """

    west: float
    south: float
    east: float
    north: float
    km: float | None = None

    @classmethod
    def of(cls, given: Any) -> Self:
        """The window of `W,S,E,N` or `LAT,LON,KM`, as text or numbers.

        Raises
        ------
        InputError
            It is neither, or not on the Earth.
        """
        found = given.split(",") if isinstance(given, str) else list(given)
        if len(found) == 3:
            lat, lon, km = numbers("window", given, ("LAT", "LON", "KM"))
            if not (abs(lat) <= 90 and abs(lon) <= 180 and 0 < km <= 20_000):
                raise _unusable(given)
            # The box is as high as the circle; its middle is the circle's, so it may reach beyond
            # a pole, where nothing is.
            reach = km / EARTH_RADIUS_KM
            high, beside = np.degrees(reach), np.cos(np.radians(lat))
            wide = (
                180.0
                if np.sin(min(reach, np.pi / 2)) >= beside
                else np.degrees(np.arcsin(np.sin(reach) / beside))
            )
            return cls(lon - wide, lat - high, lon + wide, lat + high, km)
        west, south, east, north = numbers("window", given, ("W", "S", "E", "N"))
        if not (max(abs(west), abs(east)) <= 180 and -90 <= south < north <= 90) or west == east:
            raise _unusable(given)
        return cls(west, south, east if east > west else east + 360, north)

    @property
    def centre(self) -> tuple[float, float]:
        """Latitude and longitude of the middle, degrees."""
        lon = (self.west + self.east) / 2
        return (self.south + self.north) / 2, (lon + 180) % 360 - 180

    def holds(self, lat: float, lon: float) -> bool:
        """Whether a point that is in the box is in the window."""
        return self.km is None or bool(great_circle_km(*self.centre, lat, lon) <= self.km)


EARTH = Window(-180, -90, 180, 90)


def shrunk(
    lat: float, lon: float, centre: tuple[float, float], factor: float
) -> tuple[float, float]:
    """A position `factor` times nearer to a centre, on its great circle, as EXIF can say it."""
    if factor != 1:
        bearing = initial_bearing(*centre, lat, lon)
        km = great_circle_km(*centre, lat, lon) / factor
        near_lat, near_lon = destination(*centre, bearing, km)
        lat, lon = (
            round(float(each) * _TICKS_A_DEGREE) / _TICKS_A_DEGREE for each in (near_lat, near_lon)
        )
    return lat, lon


def _unusable(given: Any) -> InputError:
    return InputError(
        f"`window`: {given!r} is no part of the Earth",
        "Give W,S,E,N in degrees, or LAT,LON,KM; for example -10,35,30,60.",
    )
