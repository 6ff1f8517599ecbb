"""How far a camera's clock is ahead, by photos of it whose places are known and a track.

Each offset within ±14 hours is as likely as it is that the track was where the photos were taken,
each of which may be wrong: first in steps of 10 seconds with a wide kernel, then, of what that
leaves, second by second with a narrow one. What is not known of the offset is kept: all offsets
that may be, with their probabilities. A few photos taken at a rest tell hardly anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geosearch.json_record import Record
from geosearch.softmax import log_softmax
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon
from geosearch.timeline.movement import Spread
from geosearch.timeline.timeline_prior import Chance
from geosearch.timeline.track_files import Track

#: Offsets looked at, and fewer photos than this tell none.
FURTHEST_HOURS, FEWEST = 14.0, 3

#: Of more photos so many are used.
_MOST = 200

#: Steps in seconds and standard deviations in km: of all offsets, and of those still likely.
_COARSE, _FINE = (10.0, 0.08), (1.0, 0.03)

#: Offsets less likely than the likeliest by this factor, as a logarithm, are none.
_UNLIKELY = 12.0

#: Where more of the coarse steps than this are likely, nothing is gained by finer ones.
_VAGUE = 1000

#: The probability that a photo's place or time is wrong: then it is where the track is at all.
_WRONG = 0.1

#: Between two positions: how fast one strays from the way, and how far as a share of the way.
_STRAY_KMH, _WANDER = 2.0, 0.3

#: Before any photo tells: of equally good offsets the smaller, this many hours being e times less
#: likely; and a clock that names its zone is with this probability as right as it was set by hand,
#: to so many seconds.
_FAR_HOURS = 100.0
_SET, _SET_SECONDS = 0.8, 60.0

#: Places where a photo may have been taken, and a distance in km between two that is none.
_PLACES, _SAME_KM = 9, 0.005


@dataclass(frozen=True)
class ClockOffset(Record):
    """How many `seconds` a clock is ahead, most probably, by so many `photos`; None if it is given.

    `std_seconds` is how far from that the others that may be are: their root mean square.
    """

    seconds: float
    photos: int | None
    std_seconds: float = 0.0

    def __str__(self) -> str:
        if self.photos == 0:
            return "the camera's clock as it is, as too few photos tell how far it is off"
        hours, rest = divmod(abs(round(self.seconds)), 3600)
        way = "behind" if self.seconds < 0 else "ahead of"
        told = f"the camera's clock {hours}:{rest // 60:02d}:{rest % 60:02d} {way} it"
        if self.photos is None:
            return f"{told} (as given)"
        known = f"{self.std_seconds:.0f} s (by {self.photos} photos with positions)"
        return f"{told}, give or take {known}"


@dataclass(frozen=True, eq=False)
class LikelyOffsets:
    """Offsets (n,) of a clock in seconds, rising, and the probability (n,) of each."""

    seconds: Array
    probability: Array
    photos: int | None

    @classmethod
    def given(cls, seconds: float) -> LikelyOffsets:
        """An offset that somebody knows."""
        return cls(np.array([seconds]), np.ones(1), None)

    @cached_property
    def best(self) -> ClockOffset:
        """The likeliest, and how well it is known."""
        best = float(self.seconds[np.argmax(self.probability)])
        apart = np.sqrt(self.probability @ (self.seconds - best) ** 2)
        return ClockOffset(best, self.photos, round(float(apart), 1))

    def chances(self, track: Track, hours: float) -> tuple[Chance, ...]:
        """Where a track may have been when the clock showed so many hours since 1970."""
        when = hours - self.seconds / 3600
        places = EARTH_RADIUS_KM * track.at(when)
        # Where there are positions, and long before and after, a track tells two things.
        strayed = _STRAY_KMH * track.away(when)
        chances = []
        for part in _parts(np.column_stack([places, strayed]), self.probability):
            weights, there = self.probability[part], places[part]
            share = float(weights.sum())
            apart = np.linalg.norm(there - weights @ there / share, axis=1)
            # Of the times in the middle of them, the likeliest.
            middle = int(np.argmax(np.where(apart < apart.min() + _SAME_KM, weights, 0.0)))
            away = ((there - there[middle]) ** 2).sum(axis=1)
            moment = track.moment(float(when[part][middle]))
            chances.append(Chance(share, float(np.sqrt(weights @ away / share)), moment))
        return tuple(chances)


def _parts(places: Array, weights: Array) -> list[slice]:
    """Places (n, 4) in km, in their order, parted so that those of a part are close together."""
    parts = [slice(0, len(weights))]
    while len(parts) < _PLACES:
        cuts = [_cut(places[part], weights[part]) for part in parts]
        index = max(range(len(parts)), key=lambda each: cuts[each][0])
        gain, at = cuts[index]
        if gain < _SAME_KM**2:
            break
        part = parts[index]
        parts[index : index + 1] = (
            slice(part.start, part.start + at),
            slice(part.start + at, part.stop),
        )
    return parts


def _cut(places: Array, weights: Array) -> tuple[float, int]:
    """Where to cut weighted places (n, 4) in two, and by how much that lessens their scatter."""
    if len(weights) == 1:
        return 0.0, 0
    total = np.cumsum(weights)
    there = places - weights @ places / total[-1]
    sums = np.cumsum(weights[:, None] * there, axis=0)[:-1]
    gains = (sums**2).sum(axis=1) * (1 / total[:-1] + 1 / (total[-1] - total[:-1]))
    at = int(np.argmax(gains))
    return float(gains[at]), at + 1


@dataclass(frozen=True, eq=False)
class ClockReadings:
    """What the clock of a camera showed, as `hours` since 1970 (n,), at positions in degrees (n,).

    `zoned` says whether the clock names its zone.
    """

    track: Track
    hours: Array
    lat: Array
    lon: Array
    zoned: bool = False
    _found: dict[bytes, LikelyOffsets] = field(default_factory=dict, repr=False)

    def offsets(self, used: NDArray[np.bool_] | None = None) -> LikelyOffsets:
        """How far the clock is ahead, by those of the photos (n,) that are to be used, or by all.

        With fewer than `FEWEST` that the track can have met, by what is so of any clock.
        """
        chosen = np.ones(len(self._met), bool) if used is None else used[self._met]
        key = chosen.tobytes()
        if key not in self._found:
            self._found[key] = self._offsets(chosen)
        return self._found[key]

    def _offsets(self, chosen: NDArray[np.bool_]) -> LikelyOffsets:
        photos = int(chosen.sum())
        if photos < FEWEST or len(self.track) < 2:
            photos = 0
        seconds = _STEPS
        logs = self._log_prior(seconds)
        if photos:
            logs = logs + self._coarse[chosen].sum(axis=0)
        likely = logs > logs.max() - _UNLIKELY
        if photos and likely.sum() <= _VAGUE:
            step, km = _FINE
            around = np.arange(-1.5 * _COARSE[0], 1.5 * _COARSE[0] + step, step)
            seconds = np.unique(seconds[likely][:, None] + around)
            logs = self._log_likelihood(self._met[chosen], seconds, km).sum(axis=0)
            logs = logs + self._log_prior(seconds)
            likely = logs > logs.max() - _UNLIKELY
        return LikelyOffsets(seconds[likely], np.exp(log_softmax(logs[likely])), photos)

    @cached_property
    def _met(self) -> NDArray[np.intp]:
        """Those of the photos (m,) that the track can have met; of too many so many."""
        margin = FURTHEST_HOURS
        first, last = self.track.hours[[0, -1]]
        near = np.flatnonzero((self.hours > first - margin) & (self.hours < last + margin))
        chosen = np.linspace(0, len(near) - 1, min(_MOST, len(near))).astype(np.intp)
        return np.asarray(near[chosen])

    @cached_property
    def _coarse(self) -> Array:
        return self._log_likelihood(self._met, _STEPS, _COARSE[1])

    def _log_prior(self, seconds: Array) -> Array:
        anything = np.exp(-np.abs(seconds) / 3600 / _FAR_HOURS) / (2 * 3600 * FURTHEST_HOURS)
        if not self.zoned:
            return np.asarray(np.log(anything))
        right = np.exp(-((seconds / _SET_SECONDS) ** 2) / 2) / (np.sqrt(2 * np.pi) * _SET_SECONDS)
        return np.asarray(np.log(_SET * right + (1 - _SET) * anything))

    def _log_likelihood(self, photos: NDArray[np.intp], seconds: Array, km: float) -> Array:
        """Of each of some photos (m,) and each offset (o,), up to a constant: shape (m, o)."""
        track = self.track
        wrong = _WRONG * np.exp(Spread.of(track.lat, track.lon).log_level) / EARTH_RADIUS_KM**2
        legs = great_circle_km(track.lat[:-1], track.lon[:-1], track.lat[1:], track.lon[1:])
        logs = np.empty((len(photos), len(seconds)))
        for row, photo in enumerate(photos):
            when = self.hours[photo] - seconds / 3600
            away = great_circle_km(*lat_lon(track.at(when)), self.lat[photo], self.lon[photo])
            # Far from its positions in time the track says less; beyond its ends, nothing.
            after = np.clip(np.searchsorted(track.hours, when), 1, len(track) - 1)
            stray, wander = _STRAY_KMH * track.away(when), _WANDER * legs[after - 1]
            width = np.sqrt(km**2 + stray**2 + wander**2)
            hit = np.exp(-((away / width) ** 2) / 2) / (2 * np.pi * width**2)
            logs[row] = np.log((1 - _WRONG) * hit + wrong)
        return logs


_STEPS = np.arange(-3600 * FURTHEST_HOURS, 3600 * FURTHEST_HOURS + 1, _COARSE[0])
