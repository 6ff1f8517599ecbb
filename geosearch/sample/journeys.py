"""Journeys: where somebody was when, on foot, driving and flying, and when photos were taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geosearch.sphere import destination, great_circle_km, lat_lon, unit_vectors

Array = npt.NDArray[np.float64]
Place = tuple[float, float]

HOUR = 3600.0
DAY = 24 * HOUR
#: Up to so many kilometres one walks, drives, and flies beyond; at so many km/h.
_MODES = ((2.5, (3.5, 5.5)), (450.0, (25.0, 90.0)), (np.inf, (650.0, 880.0)))
_IN_TOWN_KM, _IN_TOWN_KMH = 15.0, (12.0, 30.0)
#: Before a flight one waits, and after it.
_AIRPORT = 1.5 * HOUR
_MORNING, _EVENING = 8.5 * HOUR, 21.0 * HOUR
_TRACK_STEP, _TRACK_STEP_AT_REST = 60.0, 600.0


@dataclass(frozen=True)
class Path:
    """A way over the Earth: `time` (n,), seconds since 1970, rising; `lat` and `lon` (n,), degrees.

    Between its points the way is a great circle at constant speed.
    """

    time: Array
    lat: Array
    lon: Array

    def at(self, time: npt.ArrayLike) -> tuple[Array, Array]:
        """Latitudes and longitudes at some times, (m,); before and after it, its ends."""
        when = np.clip(np.atleast_1d(np.asarray(time, float)), self.time[0], self.time[-1])
        last = np.clip(np.searchsorted(self.time, when, "right"), 1, len(self.time) - 1)
        first = last - 1
        share = (when - self.time[first]) / (self.time[last] - self.time[first])
        points = unit_vectors(self.lat, self.lon)
        # Of chords: legs are long where nobody looks closely, in flight.
        angle = 2 * np.arcsin(np.linalg.norm(points[last] - points[first], axis=-1) / 2)
        sine = np.where(angle > 1e-9, np.sin(angle), 1.0)
        start = np.where(angle > 1e-9, np.sin((1 - share) * angle) / sine, 1 - share)
        end = np.where(angle > 1e-9, np.sin(share * angle) / sine, share)
        return lat_lon(start[:, None] * points[first] + end[:, None] * points[last])

    def track_times(self) -> Array:
        """When a receiver noted a position: each minute, at rest each tenth."""
        km = great_circle_km(self.lat[:-1], self.lon[:-1], self.lat[1:], self.lon[1:])
        step = np.where(km > 0.01, _TRACK_STEP, _TRACK_STEP_AT_REST)
        legs = zip(self.time[:-1], self.time[1:], step, strict=True)
        return np.concatenate([np.arange(*leg) for leg in legs])


@dataclass(frozen=True)
class Manner:
    """How somebody travels: how many days a trip takes, stops a day, and how far one strolls."""

    days: tuple[int, int]
    stops_a_day: float
    stroll_km: float


def draw_path(
    stream: np.random.Generator,
    start: float,
    days: int,
    manner: Manner,
    next_place: Callable[[Place | None], Place],
    can_stand: Callable[[float, float], bool],
    utc_offset: Callable[[float, float], float],
) -> Path:
    """A trip that begins at a time, in seconds since 1970.

    `next_place` says where one goes from a place, and where one begins; `utc_offset` how many
    seconds the clocks of a place are ahead. By night one stays where one is.
    """
    here = next_place(None)
    points: list[tuple[float, float, float]] = [(start, *here)]

    def wait(until: float) -> None:
        if until > points[-1][0]:
            points.append((until, *points[-1][1:]))

    def go(there: Place, kmh: float) -> None:
        time, lat, lon = points[-1]
        km = float(great_circle_km(lat, lon, *there))
        if km > 1e-3:
            points.append((time + km / kmh * HOUR, *there))

    def stroll(until: float, centre: Place) -> None:
        while points[-1][0] < until:
            bearing, km = stream.uniform(0, 360), manner.stroll_km * np.sqrt(stream.random())
            lat, lon = (float(each) for each in destination(*centre, bearing, km))
            if can_stand(lat, lon):
                go((lat, lon), stream.uniform(3.0, 5.0))
            wait(points[-1][0] + stream.exponential(0.35 * HOUR))

    end = start + days * DAY
    while points[-1][0] < end:
        now, *place = points[-1]
        shown = (now + utc_offset(*place)) % DAY
        if not _MORNING <= shown < _EVENING:
            wait(now + (_MORNING - shown) % DAY)
            continue
        left = _EVENING - shown
        stroll(now + min(left, stream.exponential(12.5 * HOUR / manner.stops_a_day)), here)
        there = next_place(here)
        now, lat, lon = points[-1]
        km = float(great_circle_km(lat, lon, *there))
        kmh = next(range_ for most, range_ in _MODES if km <= most)
        flies, in_town = km > _MODES[1][0], _MODES[0][0] < km <= _IN_TOWN_KM
        if flies:
            wait(now + _AIRPORT)
        go(there, stream.uniform(*(_IN_TOWN_KMH if in_town else kmh)))
        if flies:
            wait(points[-1][0] + _AIRPORT)
        here = there
    return Path(*np.array(points).T)


def draw_times(
    stream: np.random.Generator,
    path: Path,
    photos: int,
    utc_offset: Callable[[float, float], float],
) -> tuple[Array, npt.NDArray[np.int64]]:
    """When photos were taken, by day, and the number of the session that each belongs to.

    A session is some photos a few minutes apart; of these some follow within seconds.
    """
    times: list[float] = []
    sessions: list[int] = []
    session = 0
    while len(times) < photos:
        time = stream.uniform(path.time[0], path.time[-1])
        lat, lon = (float(each[0]) for each in path.at(time))
        if not _MORNING <= (time + utc_offset(lat, lon)) % DAY < _EVENING:
            continue
        for _ in range(min(int(stream.geometric(0.18)), photos - len(times))):
            times.append(time)
            sessions.append(session)
            time += stream.uniform(1, 5) if stream.random() < 0.15 else stream.exponential(240) + 5
        session += 1
    order = np.argsort(times, kind="stable")
    return np.array(times)[order], np.array(sessions)[order]
