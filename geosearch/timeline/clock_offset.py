"""How far a camera's clock is ahead, by photos of it whose places are known and a track.

The offset is the one under which the track was nearest to the photos when they were taken: the
maximum, over ±14 hours, of the likelihood of the photos' places, each of which may be wrong. First
minute by minute with a wide kernel, then second by second round the best with a narrow one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geosearch.json_record import Record
from geosearch.sphere import Array, great_circle_km, lat_lon, unit_vectors
from geosearch.timeline.track_files import Track

#: Offsets looked at, and fewer photos than this tell none.
FURTHEST_HOURS, FEWEST = 14.0, 3

#: Of more photos so many are used.
_MOST = 200

#: Steps in seconds and standard deviations in km, one after the other.
_STEPS = ((60.0, 1.5), (10.0, 0.3), (1.0, 0.05))

#: The probability that a photo's place is wrong, and the area in km² it is in then.
_WRONG, _AREA_KM2 = 0.1, 1e6

#: Of equally good offsets the smallest: what this many hours make less likely, e times.
_FAR_HOURS = 100.0


@dataclass(frozen=True)
class ClockOffset(Record):
    """How many `seconds` a clock is ahead, by so many `photos`; None if it was given."""

    seconds: float
    photos: int | None

    def __str__(self) -> str:
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
    if near.sum() < FEWEST:
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
    total = -np.abs(offsets) / 3600 / _FAR_HOURS
    for time, *place in zip(hours, lat, lon, strict=True):
        when = time - offsets / 3600
        there = np.stack([np.interp(when, track.hours, axis) for axis in points.T], axis=-1)
        away = great_circle_km(*lat_lon(there), *place)
        # Far from its positions in time the track says less; beyond its ends, nothing.
        after = np.clip(np.searchsorted(track.hours, when), 1, len(track) - 1)
        gap = np.minimum(np.abs(when - track.hours[after - 1]), np.abs(track.hours[after] - when))
        width = np.hypot(km, 20 * gap)
        hit = np.exp(-((away / width) ** 2) / 2) / (2 * np.pi * width**2)
        total = total + np.log((1 - _WRONG) * hit + _WRONG / _AREA_KM2)
    return np.asarray(total)
