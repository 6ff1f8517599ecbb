"""Photos of one camera in order of time, and which of them are to be trusted about the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from geosearch.audit.audit_rows import Stated
from geosearch.audit.plausibility import FEWEST_COPIES, Judgement, Known, judge
from geosearch.density import Mixture
from geosearch.sphere import Array, great_circle_km
from geosearch.timeline import Fix, Moment, Movement
from geosearch.timeline.movement_fit import Timeline, mean_log_likelihood
from geosearch.timeline.timeline_rows import clock_reading

#: Less probably right than this, a photo tells nothing of others.
TRUSTED = 0.5

#: How often photos are judged again with what was found of those before and after them.
ROUNDS = 2

#: Photos of one author so near in time are no references for one another: a wrong place that was
#: given to all of a session is no evidence for it.
_SESSION_HOURS = 0.25

#: Bandwidth of where one was, kilometres.
_BEEN_KM = 1.0

#: What clocks may be apart; photos within so many hours were taken on one way, and within so many
#: kilometres at one place.
_MOST_HOURS, _TOGETHER_HOURS, _BESIDE_KM = 15.0, 0.5, 0.1


@dataclass(eq=False)
class Line:
    """Photos in order of time: `hours` since 1970 (n,), and how far each is trusted (n,)."""

    photos: list[Stated]
    hours: Array
    trust: Array

    @classmethod
    def of(cls, photos: Sequence[Stated], *, by_clock: bool = False) -> Line:
        """Photos, all of them trusted; `by_clock` as in `_hours`."""
        hours = np.array([_hours(photo, by_clock=by_clock) for photo in photos])
        order = np.argsort(hours, kind="stable").tolist()
        return cls([photos[n] for n in order], hours[order], np.ones(len(photos)))

    @property
    def trusted(self) -> Timeline:
        """Those that are trusted, for the fit of a movement."""
        lat, lon = np.array([photo.place for photo in self.photos]).T
        ids = np.array([photo.id for photo in self.photos], np.int64)
        chosen = self.trust >= TRUSTED
        return Timeline(self.hours[chosen], lat[chosen], lon[chosen], ids[chosen])

    def joined(self, other: Line, hours: float) -> Line:
        """With those of another line, whose clock was so many hours behind."""
        both = np.concatenate([self.hours, other.hours + hours])
        order = np.argsort(both, kind="stable")
        photos = [*self.photos, *other.photos]
        trust = np.concatenate([self.trust, other.trust])[order]
        return Line([photos[n] for n in order.tolist()], both[order], trust)

    def likelier(self, movement: Movement) -> Line:
        """In the order of what the clock showed, where that makes it likelier."""
        other = Line.of(self.photos, by_clock=True)
        if len(self.photos) < 2 or np.array_equal(other.hours, self.hours):
            return self
        logs = [mean_log_likelihood(movement, [line.trusted]) for line in (self, other)]
        return other if logs[1] > logs[0] else self

    def moment(self, index: int, shift: float = 0.0) -> Moment:
        """The trusted photos before and after one, if its clock was so many hours behind."""
        time = float(self.hours[index]) + shift
        start = int(np.searchsorted(self.hours, time, "left"))
        return Moment(
            self._fix(time, index, range(start - 1, -1, -1)),
            self._fix(time, index, range(start, len(self.photos))),
        )

    def _fix(self, time: float, index: int, others: range) -> Fix | None:
        own = self.photos[index]
        for other in others:
            photo, hours = self.photos[other], abs(float(self.hours[other]) - time)
            # What was given to many is no evidence for one of them.
            copied = own.copies >= FEWEST_COPIES and photo.place == own.place
            if other != index and not copied and self.trust[other] >= TRUSTED:
                return Fix(hours, photo.lat, photo.lon, photo.accuracy_km, photo.id)
        return None

    def judged(self, index: int, known: Known) -> Judgement:
        """One of the photos, judged by what is known of it."""
        photo = self.photos[index]
        return judge(
            known,
            photo.place,
            photo.copies,
            lambda hours: self.moment(index, hours),
            lambda: self._been(index),
        )

    def _been(self, index: int) -> Mixture | None:
        """Where the trusted photos other than one were taken, whenever."""
        chosen = self.trust >= TRUSTED
        chosen[index] = False
        places = [self.photos[n].place for n in np.flatnonzero(chosen).tolist()]
        if not places:
            return None
        lat, lon = np.array(places).T
        return Mixture.at(lat, lon, np.full(len(places), 1 / len(places)), _BEEN_KM)

    def trust_by_time(self, movement: Movement) -> None:
        """Distrust the photos that time alone shows to be wrong."""
        for _ in range(ROUNDS):
            known = [
                Known(movement, self.moment(index), None, 1.0) for index in range(len(self.photos))
            ]
            self.trust = np.array(
                [self.judged(index, each).probability for index, each in enumerate(known)]
            )


def by_author(lines: Sequence[Line], movement: Movement) -> list[Line]:
    """The lines of one author's cameras as one, where their clocks can be told to go together.

    What a clock is ahead of that of the camera with the most photos is what brings the photos
    nearest to that camera's; it counts if it makes all of them likelier, in order of time.
    """
    found = [line for line in lines if line.photos[0].taken_at is None]
    dated = [line for line in lines if line.photos[0].taken_at is not None]
    for _, group in groupby(dated, key=lambda line: line.photos[0].whose):
        first, *others = sorted(group, key=lambda line: -len(line.photos))
        for other in others:
            both = first.joined(other, _hours_behind(first.trusted, other.trusted))
            apart, whole = ([first.trusted, other.trusted], [both.trusted])
            if mean_log_likelihood(movement, whole) > mean_log_likelihood(movement, apart):
                first = both
            else:
                found.append(other)
        found.append(first)
    return found


def _hours_behind(line: Timeline, other: Timeline) -> float:
    """What is to be added to the hours of one timeline so that it goes along with another."""
    if not len(line) or not len(other):
        return 0.0
    random = np.random.default_rng(0)
    pairs = [random.integers(len(each), size=200) for each in (line, other)]
    apart = great_circle_km(
        line.lat[pairs[0]], line.lon[pairs[0]], other.lat[pairs[1]], other.lon[pairs[1]]
    )
    # What a photo counts for that has none near in time: as one anywhere.
    nothing = float(np.median(np.log(apart + _BESIDE_KM)))

    def score(hours: Array) -> Array:
        times = other.hours + hours[:, None]
        after = np.clip(np.searchsorted(line.hours, times), 1, max(1, len(line) - 1))
        best = np.full(times.shape, nothing)
        for nearest in (after - 1, np.minimum(after, len(line) - 1)):
            km = great_circle_km(line.lat[nearest], line.lon[nearest], other.lat, other.lon)
            near = np.abs(line.hours[nearest] - times) < _TOGETHER_HOURS
            best = np.where(near, np.minimum(best, np.log(km + _BESIDE_KM)), best)
        return np.asarray(best.mean(axis=1))

    coarse = np.arange(-_MOST_HOURS, _MOST_HOURS + 1e-9, 1 / 12)
    middle = coarse[int(score(coarse).argmin())]
    fine = middle + np.arange(-1 / 12, 1 / 12, 1 / 120)
    return float(fine[int(score(fine).argmin())])


def lines_of(photos: Sequence[Stated]) -> list[Line]:
    """Photos, by collection, author and camera, as lines; those that say no time, each alone."""
    dated = [photo for photo in photos if photo.taken_at is not None]
    by_camera = groupby(dated, key=lambda photo: (*photo.whose, photo.camera))
    lines = [Line.of(list(group)) for _, group in by_camera]
    return lines + [Line.of([photo]) for photo in photos if photo.taken_at is None]


def sessions_of(photos: Sequence[Stated]) -> dict[int, tuple[int, ...]]:
    """For each photo that says a time, those of its author about that time, itself included."""
    sessions: dict[int, tuple[int, ...]] = {}
    in_order = sorted(
        (photo for photo in photos if photo.taken_at is not None),
        key=lambda photo: (*photo.whose, photo.taken_at),
    )
    for _, group in groupby(in_order, key=lambda photo: photo.whose):
        own = list(group)
        times = np.array([_hours(photo, by_clock=False) for photo in own])
        first = np.searchsorted(times, times - _SESSION_HOURS, "left").tolist()
        last = np.searchsorted(times, times + _SESSION_HOURS, "right").tolist()
        for photo, start, end in zip(own, first, last, strict=True):
            sessions[photo.id] = tuple(other.id for other in own[start:end])
    return sessions


def _hours(photo: Stated, *, by_clock: bool) -> float:
    """When it was taken, hours since 1970; or what its clock showed, if only its place said where.

    Where the place is wrong, so is a time that follows from it; and cameras that do not know their
    zone often stay in one.
    """
    time = photo.taken_at
    if time is None:
        return 0.0
    if by_clock and photo.zone == "position":
        time = clock_reading(time, photo.zone, photo.lat, photo.lon)
    return time.timestamp() / 3600
