"""How far a camera's clock is ahead, by photos of it whose places are known and a track.

The offset is the one under which the track was nearest to the photos when they were taken: the
maximum, over ±14 hours, of the likelihood of the photos' places, each of which may be wrong. First
in steps of 10 seconds with a wide kernel, then second by second round the best with a narrow one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geosearch.json_record import Record
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon, unit_vectors
from geosearch.timeline.movement import Spread
from geosearch.timeline.track_files import Track

#: Offsets looked at, and fewer photos than this tell none.
FURTHEST_HOURS, FEWEST = 14.0, 3

#: Of more photos so many are used.
_MOST = 200

#: Steps in seconds and standard deviations in km, one after the other.
_STEPS = ((10.0, 0.08), (1.0, 0.03))

#: The probability that a photo's place or time is wrong: then it is where the track is at all.
_WRONG = 0.1

#: Between two positions: how fast one strays from the way, and how far as a share of the way.
_STRAY_KMH, _WANDER = 2.0, 0.3

#: Of equally good offsets the smallest: what this many hours make less likely, e times.
_FAR_HOURS = 100.0


@dataclass(frozen=True)
class ClockOffset(Record):
    """How many `seconds` a clock is ahead, by so many `photos`; None if it was given.

    By 0 photos it is not known, and taken to be right.
    """

    seconds: float
    photos: int | None

    def __str__(self) -> str:
        if self.photos == 0:
            return f"taken to be right (fewer than {FEWEST} photos with positions tell)"
        hours, rest = divmod(abs(round(self.seconds)), 3600)
        way = "behind that" if self.seconds < 0 else "ahead of that"
        by = "as given" if self.photos is None else f"by {self.photos} photos with positions"
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d} {way} ({by})"


def find_offset(track: Track, hours: Array, lat: Array, lon: Array) -> ClockOffset:
    """The offset of the clock that showed `hours` since 1970 (n,) at positions in degrees (n,).

    With fewer than `FEWEST` photos that the track can have met, it is 0 by none.
    """
    margin = FURTHEST_HOURS
    near = (hours > track.hours[0] - margin) & (hours < track.hours[-1] + margin)
    if near.sum() < FEWEST or len(track) < 2:
        return ClockOffset(0.0, 0)
    chosen = np.flatnonzero(near)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(_MOST, len(chosen))).astype(int)]
    hours, lat, lon = hours[chosen], lat[chosen], lon[chosen]
    best, reach = 0.0, 3600 * FURTHEST_HOURS
    for step, km in _STEPS:
        offsets = best + np.arange(-reach, reach + step, step)
        offsets = offsets[np.abs(offsets) <= 3600 * FURTHEST_HOURS]
        best = float(offsets[np.argmax(_log_likelihood(track, hours, lat, lon, offsets, km))])
        reach = 3 * step
    return ClockOffset(round(best), len(chosen))


def _log_likelihood(
    track: Track, hours: Array, lat: Array, lon: Array, offsets: Array, km: float
) -> Array:
    """Of each offset (o,) in seconds, up to a constant."""
    points = unit_vectors(track.lat, track.lon)
    wrong = _WRONG * np.exp(Spread.of(track.lat, track.lon).log_level) / EARTH_RADIUS_KM**2
    legs = great_circle_km(track.lat[:-1], track.lon[:-1], track.lat[1:], track.lon[1:])
    total = -np.abs(offsets) / 3600 / _FAR_HOURS
    for time, *place in zip(hours, lat, lon, strict=True):
        when = time - offsets / 3600
        there = np.stack([np.interp(when, track.hours, axis) for axis in points.T], axis=-1)
        away = great_circle_km(*lat_lon(there), *place)
        # Far from its positions in time the track says less; beyond its ends, nothing.
        after = np.clip(np.searchsorted(track.hours, when), 1, len(track) - 1)
        gap = np.minimum(np.abs(when - track.hours[after - 1]), np.abs(track.hours[after] - when))
        width = np.sqrt(km**2 + (_STRAY_KMH * gap) ** 2 + (_WANDER * legs[after - 1]) ** 2)
        hit = np.exp(-((away / width) ** 2) / 2) / (2 * np.pi * width**2)
        total = total + np.log((1 - _WRONG) * hit + wrong)
    return np.asarray(total)
