"""What journeys go over: the Earth from space, or a city drawn by a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from geosearch.earth import is_land
from geosearch.sample.city import City
from geosearch.sample.journeys import Manner, Place
from geosearch.sample.views import View, render
from geosearch.sphere import destination

_SOUTHERNMOST, _NORTHERNMOST = -50.0, 65.0


class Over(StrEnum):
    """What a journey goes over."""

    SPACE = "space"
    CITY = "city"


class World(Protocol):
    """Where one can be, and what a picture taken there shows.

    Two places are apart, so that a wrong position is wrong for certain, from `apart_km` on;
    `leap_km` is how far a receiver errs that nobody could follow.
    """

    manner: Manner
    apart_km: float
    leap_km: tuple[float, float]

    def draw_place(self, stream: np.random.Generator, before: Place | None) -> Place:
        """The next place one stays at."""
        ...

    def holds(self, lat: float, lon: float) -> bool:
        """Whether one can stand there."""
        ...

    def draw_reference(self, stream: np.random.Generator, sights: Sequence[Place]) -> Place:
        """Where somebody else takes a photo: near one of the sights, or anywhere."""
        ...

    def render(self, view: View) -> npt.NDArray[np.uint8]:
        """The picture, (256, 256, 3)."""
        ...


class Space:
    """All the land there is, seen from above, 8° wide."""

    manner = Manner(days=(5, 10), stops_a_day=2.0, stroll_km=3.0)
    apart_km = 600.0
    leap_km = (1500.0, 6000.0)

    def draw_place(self, stream: np.random.Generator, before: Place | None) -> Place:
        """Anywhere; then mostly a drive away, or a flight."""
        if before is None:
            return _anywhere(stream)
        near, far = (20.0, 400.0) if stream.random() < 0.75 else (700.0, 6000.0)
        return self._near(stream, before, near, far)

    def holds(self, lat: float, lon: float) -> bool:
        """Whether it is on land where people live."""
        return _SOUTHERNMOST <= lat <= _NORTHERNMOST and bool(is_land(lat, lon))

    def draw_reference(self, stream: np.random.Generator, sights: Sequence[Place]) -> Place:
        """Half of them are within some hundred kilometres of a sight."""
        if not sights or stream.random() < 0.5:
            return _anywhere(stream)
        return self._near(stream, sights[int(stream.integers(len(sights)))], 5.0, 400.0)

    def render(self, view: View) -> npt.NDArray[np.uint8]:
        """The Blue Marble."""
        return render(view)

    def _near(self, stream: np.random.Generator, to: Place, near: float, far: float) -> Place:
        """A place between two distances, short ones as likely as long ones, if there is any."""
        for _ in range(200):
            km = math.exp(stream.uniform(math.log(near), math.log(far)))
            lat, lon = (float(e) for e in destination(*to, stream.uniform(0, 360), km))
            if self.holds(lat, lon):
                return lat, lon
        return _anywhere(stream)


def _anywhere(stream: np.random.Generator) -> Place:
    """Uniform over the land where people live."""
    lowest, highest = (math.sin(math.radians(e)) for e in (_SOUTHERNMOST, _NORTHERNMOST))
    while True:
        lat = math.degrees(math.asin(stream.uniform(lowest, highest)))
        lon = float(stream.uniform(-180, 180))
        if is_land(lat, lon):
            return lat, lon


class Town:
    """A city somewhere, seen from above, 640 m wide."""

    manner = Manner(days=(2, 4), stops_a_day=6.0, stroll_km=0.4)
    apart_km = 3.0
    leap_km = (40.0, 300.0)

    def __init__(self, seed: int) -> None:
        self._city = City(seed, *_anywhere(np.random.default_rng([seed, 2_000_000])))
        self.holds, self.render = self._city.holds, self._city.render

    def draw_place(self, stream: np.random.Generator, before: Place | None) -> Place:
        """Anywhere in the city, or round the corner."""
        if before is None or stream.random() < 0.4:
            return self._city.draw_place(stream)
        return self._near(stream, before, 2.0)

    def draw_reference(self, stream: np.random.Generator, sights: Sequence[Place]) -> Place:
        """Half of them are within a short walk of a sight."""
        if not sights or stream.random() < 0.5:
            return self._city.draw_place(stream)
        return self._near(stream, sights[int(stream.integers(len(sights)))], 0.6)

    def _near(self, stream: np.random.Generator, to: Place, most_km: float) -> Place:
        for _ in range(200):
            km = most_km * math.sqrt(stream.random())
            lat, lon = (float(e) for e in destination(*to, stream.uniform(0, 360), km))
            if self.holds(lat, lon):
                return lat, lon
        return to


@lru_cache(maxsize=2)
def world(over: Over, seed: int) -> World:
    """The world of a sample."""
    return Space() if over is Over.SPACE else Town(seed)
