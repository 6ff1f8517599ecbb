"""Whether a photo can have been taken where and when it says, and if not, what is likeliest wrong.

What is known of a photo without itself are two densities over the Earth: T, by the photos before
and after it (`geosearch.timeline`), and P, by its picture. With the probability `doubt` the picture
tells nothing; then P is the level at which all photos lie. Both together make the density q.

Each hypothesis says how probable it is that a photo states the position s (and the time t):

=============  =====================================================================================
right          q(s)
swapped        q at s with latitude and longitude exchanged
lost_sign      q at s with the other sign of one of them or of both, a third each
null_island    even within 2 km of (0, 0), or on the lines where one of them is exactly 0
clock          T at another time · P at s: whole hours up to 14 off, or whenever one was there
copied         where all photos are, or elsewhere, if several state exactly this position
elsewhere      at any distance from q, short ones as likely as long ones
=============  =====================================================================================

The posterior follows by Bayes' rule from the shares of such faults that are expected (`PRIORS`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from geosearch.density import Mixture, level_at
from geosearch.density.products import product, united
from geosearch.softmax import softmax
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon, unit_vectors
from geosearch.timeline import Moment, Movement, moment_prior
from geosearch.timeline.movement_fit import log_density_at

Place = tuple[float, float]

#: What is expected of a photo before it is looked at.
PRIORS = {
    "right": 0.95,
    "swapped": 0.008,
    "lost_sign": 0.008,
    "null_island": 0.004,
    "clock": 0.01,
    "copied": 0.01,
    "elsewhere": 0.01,
}

_LOG_RIGHT = float(np.log(PRIORS["right"]))

#: Hours that a clock may be off: another zone, an hour of summer, noon for midnight.
SHIFTS = tuple(hours for hours in range(-14, 15) if hours)

#: Another hour has to go along with all that is trusted: else one wrong photo explains another.
_SURE = 1e-6

#: How probable one of these is if a clock is wrong; else it shows any time.
_SHIFTED = 0.8

#: From this many photos on that state one position it may have been given to them.
FEWEST_COPIES = 3

#: Log probability that so many photos of other faults state one position by chance.
_CHANCE = float(np.log(1e-3))

#: Degrees within which a position is near (0, 0); and within which a coordinate is exactly 0.
_NEAR_NULL, _EXACTLY = 0.02, 1e-6

#: An error may be as small as this, kilometres, or half round the Earth.
_LEAST_ERROR_KM, _GREATEST_ERROR_KM = 0.1, np.pi * EARTH_RADIUS_KM

#: What nobody exceeds, km/h: on the ground, and on ways of so many kilometres that one may fly.
_BY_ROAD, _BY_AIR, _FLIGHT_KM = 200.0, 1000.0, 300.0

#: Probability that a photographer moves like others, not as usual.
_UNUSUAL = 0.2

#: Of a density, kernels of this share together are no places that a photo may be at.
_LIGHTEST = 0.05


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a photo without itself.

    `picture` is the density by its picture, None if it was not looked at, and `moment` what was
    before and after it.
    """

    movement: Movement
    moment: Moment
    picture: Mixture | None
    doubt: float

    @cached_property
    def timeline(self) -> Mixture:
        """T."""
        return united([(share, moment_prior(each, self.moment)) for share, each in self.movements])

    @property
    def movements(self) -> tuple[tuple[float, Movement], ...]:
        """The movement, and the usual one, for now and then one does what one did not before."""
        usual = Movement(doubt=self.movement.doubt, spread=self.movement.spread)
        return (1 - _UNUSUAL, self.movement), (_UNUSUAL, usual)

    @cached_property
    def log_mass(self) -> float:
        """Log of the integral of P T, if the picture does not mislead: how far both agree."""
        return -np.inf if self.picture is None else product(self.picture, self.timeline)[1]

    @cached_property
    def log_whole(self) -> float:
        """Log of the integral of P T, which makes q a density."""
        return float(self.believing(self.log_mass))

    def believing(self, log_seen: Array | float) -> Any:
        """Log P, where the picture shows this log density if it does not mislead."""
        level = self.movement.spread.log_level
        if self.picture is None:
            return level
        return np.logaddexp(np.log1p(-self.doubt) + log_seen, np.log(self.doubt) + level)

    def log_picture(self, points: Array) -> Any:
        """Log P at unit vectors (n, 3)."""
        return self.believing(0.0 if self.picture is None else self.picture.log_density(points))

    def log_density(self, points: Array) -> Array:
        """Log q, per steradian, at unit vectors (n, 3)."""
        logs = self.timeline.log_density(points) + self.log_picture(points) - self.log_whole
        return np.asarray(logs)

    def log_at(self, place: Place) -> float:
        """Log q at a place in degrees."""
        return float(self.log_density(unit_vectors(*place)[None])[0])

    @cached_property
    def estimate(self) -> Place:
        """Where q is densest, of the places that it is made of; degrees."""
        parts = [self.timeline, *([] if self.picture is None else [self.picture])]
        points = np.concatenate([part.without_lightest(_LIGHTEST).centres for part in parts])
        lat, lon = lat_lon(points[self.log_density(points).argmax()])
        return float(lat), float(lon)

    @cached_property
    def width_km(self) -> float:
        """The bandwidth of a kernel that is as dense at its centre as q is at the estimate."""
        peak = self.log_at(self.estimate)
        return float(EARTH_RADIUS_KM * np.exp(-peak / 2) / np.sqrt(2 * np.pi))

    def level_of(self, place: Place) -> float:
        """The level of the smallest region of q that holds a place."""
        if self.picture is None:
            return level_at(self.timeline, *place)
        right = float(np.exp(np.log1p(-self.doubt) + self.log_mass - self.log_whole))
        agreed, _ = product(self.picture, self.timeline)
        return level_at(united([(right, agreed), (1 - right, self.timeline)]), *place)


@dataclass(frozen=True)
class Judgement:
    """What was found of a photo.

    `probability` that what it states is right, `reason` what is likeliest wrong otherwise, with its
    own probability; `mend` is the place, in degrees, that goes with it, `shift_hours` what is to be
    added to its time. `speed_kmh` is what it takes to get to the stated place, or from it.
    `log_right` and `log_wrong` are the logs of how probable picture and statement are if it is
    right, but for the photos before and after it, and if it is not.
    """

    probability: float
    reason: str
    reason_probability: float
    mend: Place | None
    shift_hours: float | None
    speed_kmh: float | None
    log_right: float
    log_wrong: float


def judge(
    known: Known,
    stated: Place,
    copies: int,
    at_shift: Callable[[float], Moment],
    ever: Callable[[], Mixture | None],
) -> Judgement:
    """Judge the position that a photo states, in degrees.

    `copies` photos state exactly this position, this one included. `at_shift` says what was before
    and after the photo if its clock was so many hours behind, `ever` where its camera was at any
    time, if that is known.
    """
    away = float(great_circle_km(*stated, *known.estimate))
    # No error is told from what is not known.
    error = float(np.hypot(away, known.width_km))
    logs = {"right": known.log_at(stated), "elsewhere": _log_error(error)}
    mends: dict[str, Place] = {}
    logs["swapped"], mends["swapped"] = _best(known, _swapped(stated))
    logs["lost_sign"], mends["lost_sign"] = _best(known, _without_sign(stated))
    logs["null_island"] = _log_null(stated)
    shift, been = None, None
    logs["clock"] = logs["copied"] = -np.inf
    if known.moment:
        been = ever()
        logs["clock"], shift = _log_clock(known, stated, at_shift, been)
    if copies >= FEWEST_COPIES:
        for name in set(logs) - {"right"}:
            logs[name] += _CHANCE
        given = [_log_error(error), known.movement.spread.mixture.log_at(*stated)]
        given += [] if been is None else [been.log_at(*stated)]
        logs["copied"] = float(np.logaddexp.reduce(given) - np.log(len(given)))
    found = _posterior(logs)
    right = found.pop("right")
    log_right = float(np.ravel(known.log_picture(unit_vectors(*stated)[None]))[0]) + _LOG_RIGHT
    # Of its neighbours one is not to say that it is a little wrong, and of it they as much.
    logs["elsewhere"], logs["copied"] = known.movement.spread.mixture.log_at(*stated), -np.inf
    wrong = [logs[name] + np.log(PRIORS[name]) for name in found]
    log_wrong = float(known.log_whole + np.logaddexp.reduce(wrong))
    reason = max(found, key=lambda name: found[name])
    probability, speed = found[reason], speed_kmh(known.moment, stated)
    if reason == "elsewhere" and is_impossible(known.moment, stated):
        reason = "speed"
    mend = None if reason == "clock" else mends.get(reason, known.estimate)
    return Judgement(
        right,
        reason,
        probability,
        mend,
        shift if reason == "clock" else None,
        speed,
        log_right,
        log_wrong,
    )


def speed_kmh(moment: Moment, place: Place) -> float | None:
    """The greatest speed to a place and from it, km/h; None if nothing was before nor after."""
    return max((speed for _, speed in _legs(moment, place)), default=None)


def is_impossible(moment: Moment, place: Place) -> bool:
    """Whether nobody gets from what was before to a place, or from there to what was after."""
    return any(
        speed > (_BY_AIR if km > _FLIGHT_KM else _BY_ROAD) for km, speed in _legs(moment, place)
    )


def _legs(moment: Moment, place: Place) -> list[tuple[float, float]]:
    found = []
    for fix in moment.fixes:
        km = float(great_circle_km(*place, fix.lat, fix.lon))
        found.append((km, km / max(fix.hours, 1 / 3600)))
    return found


def _posterior(logs: dict[str, float]) -> dict[str, float]:
    names = list(logs)
    weighed = np.array([logs[name] + np.log(PRIORS[name]) for name in names])
    return dict(zip(names, softmax(weighed).tolist(), strict=True))


def _swapped(stated: Place) -> list[Place]:
    lat, lon = stated
    return [(lon, lat)] if abs(lon) <= 90 else []


def _without_sign(stated: Place) -> list[Place]:
    lat, lon = stated
    return [(-lat, lon), (lat, -lon), (-lat, -lon)]


def _best(known: Known, places: list[Place]) -> tuple[float, Place]:
    """The mean density at some places, as a log, and the likeliest of them."""
    if not places:
        return -np.inf, (0.0, 0.0)
    logs = known.log_density(unit_vectors(*np.array(places).T))
    mean = float(np.logaddexp.reduce(logs) - np.log(len(logs)))
    return mean, places[int(logs.argmax())]


def _log_null(stated: Place) -> float:
    """Log density, per steradian, of positions near (0, 0), or where one of them is exactly 0."""
    lat, lon = map(abs, stated)
    if max(lat, lon) < _NEAR_NULL:
        return float(np.log(0.5 / np.radians(2 * _NEAR_NULL) ** 2))
    if min(lat, lon) < _EXACTLY:
        return float(np.log(0.5 / (2 * 2 * np.pi * np.radians(2 * _EXACTLY))))
    return -np.inf


def _log_error(km: float) -> float:
    """Log density, per steradian, of an error of so many kilometres, even in its logarithm."""
    angle = max(km, _LEAST_ERROR_KM) / EARTH_RADIUS_KM
    ring = 2 * np.pi * np.sin(min(angle, np.pi - 1e-3)) * angle
    return float(-np.log(ring * np.log(_GREATEST_ERROR_KM / _LEAST_ERROR_KM)))


def _log_clock(
    known: Known, stated: Place, at_shift: Callable[[float], Moment], been: Mixture | None
) -> tuple[float, float]:
    """Log density of the stated position at another time, and the likeliest hours to add."""
    moments = [at_shift(hours) for hours in SHIFTS]
    logs = np.logaddexp.reduce(
        [
            np.log(share) + log_density_at(replace(movement, doubt=_SURE), moments, *stated)
            for share, movement in known.movements
        ]
    )
    mean = np.logaddexp.reduce(logs) - np.log(len(logs)) + np.log(_SHIFTED)
    ever = -np.inf if been is None else been.log_at(*stated) + np.log1p(-_SHIFTED)
    seen = known.log_picture(unit_vectors(*stated)[None]) - known.log_whole
    return float((np.logaddexp(mean, ever) + seen).item()), float(SHIFTS[int(logs.argmax())])
