"""Photos of one camera in order of time, and which of them are to be trusted about the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from geosearch.audit.audit_rows import Stated
from geosearch.audit.plausibility import FEWEST_COPIES, Judgement, Known, Place, judge
from geosearch.audit.right_chain import Chain
from geosearch.density import Mixture
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon, unit_vectors
from geosearch.timeline import Fix, Moment, Movement, Spread
from geosearch.timeline.movement_fit import Timeline, mean_log_likelihood
from geosearch.timeline.timeline_rows import clock_reading

#: Less probably right than this, a photo tells nothing of others.
TRUSTED = 0.5

#: How often photos are judged again with what was found of those before and after them.
ROUNDS = 3

#: Photos of one author so near in time are no references for one another: a wrong place that was
#: given to all of a session is no evidence for it.
_SESSION_HOURS = 0.25

#: Bandwidth of where one was, kilometres.
_BEEN_KM = 1.0

#: What two clocks may be apart, hours: each may be half a day wrong, and show another zone.
_MOST_HOURS = 38.0

#: Of one camera so many photos are looked at, each of which may have a wrong place or time.
_ALONG, _ASTRAY = 128, 0.2

#: Of offsets so many are looked at closely: in steps of so many hours, with kernels of so many
#: kilometres, so far to both sides.
_BEST, _FINER = 20, ((1 / 240, 0.05, 1 / 40), (1 / 720, 0.03, 1 / 120))

#: Between two photos: how fast one strays from the way, and how far as a share of it.
_FLOOR_KM, _STRAY_KMH, _STRAY = 0.1, 3.0, 0.3

#: Clocks of two cameras are put together no better than this, hours.
_APART_HOURS = 1 / 60


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

    @property
    def readings(self) -> list[Line]:
        """In the order of the moments, and in that of what the clock showed, if it is another."""
        both = [Line.of(self.photos, by_clock=by_clock) for by_clock in (False, True)]
        trust = {photo.id: value for photo, value in zip(self.photos, self.trust, strict=True)}
        for line in both:
            line.trust = np.array([trust[photo.id] for photo in line.photos])
        return both[: 1 if np.array_equal(both[0].hours, both[1].hours) else 2]

    def likelier(self, movement: Movement) -> Line:
        """In the order that makes it likelier."""
        if len(self.photos) < 2:
            return self
        return max(self.readings, key=lambda line: mean_log_likelihood(movement, [line.trusted]))

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
                if photo.camera != own.camera:
                    hours = max(hours, _APART_HOURS)
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
        chosen = range(len(self.photos))
        self.trust_together(chosen, lambda n: Known(movement, self.moment(n), None, 1.0))

    def trust_together(self, chosen: Sequence[int], known: Callable[[int], Known]) -> None:
        """Trust some of the photos by what is known of each, all together.

        The others are right if they are trusted, and left out else.
        """
        log_wrong = np.full(len(self.photos), -np.inf)
        log_right = np.zeros(len(self.photos))
        for turn in range(ROUNDS):
            given = [known(n) for n in chosen]
            found = [self.judged(n, each) for n, each in zip(chosen, given, strict=True)]
            told = np.array([each.log_wrong for each in found])
            # Two that contradict one another would else be trusted in turns.
            log_wrong[chosen] = (log_wrong[chosen] + told) / 2 if turn else told
            log_right[chosen] = [each.log_right for each in found]
            nodes = np.flatnonzero((log_wrong > -np.inf) | (self.trust >= TRUSTED))
            # Beyond the next one on either side, whatever there is tells nothing more.
            first, last = np.searchsorted(nodes, [min(chosen), max(chosen)]).tolist()
            nodes = nodes[max(first - 1, 0) : last + 2]
            right = self._chain(nodes).right(given[0].movements, log_right[nodes], log_wrong[nodes])
            self.trust[chosen] = right[np.searchsorted(nodes, chosen)]

    def _chain(self, nodes: NDArray[np.intp]) -> Chain:
        photos = [self.photos[n] for n in nodes.tolist()]
        lat, lon = np.array([photo.place for photo in photos]).T
        given: dict[Place, int] = {}
        copied = [
            given.setdefault(photo.place, len(given)) if photo.copies >= FEWEST_COPIES else -1
            for photo in photos
        ]
        return Chain(
            self.hours[nodes],
            lat,
            lon,
            np.array([photo.accuracy_km for photo in photos]),
            np.array(copied),
            np.unique([str(photo.camera) for photo in photos], return_inverse=True)[1],
            _APART_HOURS,
        )


def by_author(lines: Sequence[Line], movement: Movement) -> list[Line]:
    """The lines of one author's cameras as one, where their clocks can be told to go together.

    Beginning with the camera that has the most photos, that one is joined next which goes along
    with those so far most surely, in the order of its moments or of what its clock showed; it
    counts if it makes all of them likelier, in order of time.
    """
    found = [line for line in lines if line.photos[0].taken_at is None]
    dated = [line for line in lines if line.photos[0].taken_at is not None]
    for _, group in groupby(dated, key=lambda line: line.photos[0].whose):
        first, *others = sorted(group, key=lambda line: -len(line.photos))
        while others:
            tried = [
                (*_hours_behind(first.trusted, read.trusted), number, read)
                for number, other in enumerate(others)
                for read in other.readings
            ]
            _, hours, number, read = max(tried, key=lambda each: each[0])
            other = others.pop(number)
            both = first.joined(read, hours)
            apart, whole = [first.trusted, other.trusted], [both.trusted]
            if mean_log_likelihood(movement, whole) > mean_log_likelihood(movement, apart):
                first = both
            else:
                found.append(other)
        found.append(first)
    return found


def _hours_behind(line: Timeline, other: Timeline) -> tuple[float, float]:
    """How surely one timeline goes along with another, and the hours to be added to its own.

    That is the log likelihood of its places, above that of places which time tells nothing of:
    first minute by minute over all that clocks may be apart, then by seconds round the best.
    """
    if len(line) < 2 or not len(other):
        return 0.0, 0.0
    drawn = np.random.default_rng(0).permutation(len(other))[:_ALONG]
    times, lat, lon = other.hours[drawn], other.lat[drawn], other.lon[drawn]
    points, hours = unit_vectors(line.lat, line.lon), np.arange(-_MOST_HOURS, _MOST_HOURS, 1 / 60)
    legs = great_circle_km(line.lat[:-1], line.lon[:-1], line.lat[1:], line.lon[1:])
    spans = np.maximum(np.diff(line.hours), 1e-6)
    nothing = np.exp(Spread.of(line.lat, line.lon).log_level) / EARTH_RADIUS_KM**2

    def gains(hours: Array, step: float, floor_km: float) -> Array:
        when = times + hours[:, None]
        after = np.clip(np.searchsorted(line.hours, when), 1, len(line) - 1)
        before = after - 1
        share = np.clip((when - line.hours[before]) / spans[before], 0, 1)
        way = points[before] + share[..., None] * (points[after] - points[before])
        km = great_circle_km(*lat_lon(way), lat, lon)
        gap = np.minimum(np.abs(when - line.hours[before]), np.abs(when - line.hours[after]))
        strayed = _STRAY_KMH * gap, _STRAY * legs[before] * 2 * np.sqrt(share * (1 - share))
        stepped = legs[before] / spans[before] * step
        variance = sum(each**2 for each in (floor_km, *strayed, stepped))
        hit = np.exp(-(km**2) / variance / 2) / (2 * np.pi * variance)
        return np.asarray(np.log((1 - _ASTRAY) * hit / nothing + _ASTRAY).sum(axis=1))

    found = gains(hours, 1 / 60, _FLOOR_KM)
    for step, floor_km, reach in _FINER:
        best = hours[np.argsort(-found)[:_BEST]]
        hours = np.unique(best[:, None] + np.arange(-reach, reach + step / 2, step))
        found = gains(hours, step, floor_km)
    return float(found.max()), float(hours[found.argmax()])


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
