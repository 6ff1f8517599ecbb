"""Fit the movement model to photos whose places are known, each told by its neighbours in time.

The parameters maximise the mean log density of each photo's place by the photos before and after it
(leave one out), a proper score, as calibrations do. Each has a normal prior round its default, one
imaginary photo's worth: where a collection has too few photos the defaults stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geosearch.density.kernel import log_sum
from geosearch.density.products import log_constant, resultant
from geosearch.sphere import (
    EARTH_RADIUS_KM,
    Array,
    destination,
    great_circle_km,
    initial_bearing,
    unit_vectors,
)
from geosearch.timeline.movement import Movement, Spread
from geosearch.timeline.timeline_prior import Fix, Moment, share_of_time, way_width_km

#: Fewer photos than this, with another before or after them, teach nothing about movement.
FEWEST = 20

#: Of more photos so many are drawn.
MOST = 700

#: The shortest and the longest hole, hours.
_HOLES = (1 / 60, 48.0)

#: The least and the most that the doubts may be.
_DOUBTS = (1e-4, 0.9)


@dataclass(frozen=True, eq=False)
class Timeline:
    """The photos of one photographer in order: hours, and positions in degrees, all (n,).

    `photo_id` (n,) says which they are.
    """

    hours: Array
    lat: Array
    lon: Array
    photo_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.hours)

    def moment(self, index: int, hole_hours: float = 0.0) -> Moment:
        """What the others say of one of the photos: those before and after it.

        Of these, the nearest in time that are not within `hole_hours`.
        """
        time = self.hours[index]
        before, after = index - 1, index + 1
        if hole_hours:
            before = int(np.searchsorted(self.hours, time - hole_hours, "right")) - 1
            after = int(np.searchsorted(self.hours, time + hole_hours, "right"))
        return Moment(self._fix(before, time), self._fix(after, time))

    def _fix(self, index: int, time: float) -> Fix | None:
        if not 0 <= index < len(self):
            return None
        return Fix(
            abs(float(self.hours[index] - time)),
            float(self.lat[index]),
            float(self.lon[index]),
            photo_id=int(self.photo_id[index]),
        )


def drawn_holes(random: np.random.Generator) -> tuple[float, ...]:
    """Holes for a photo of which it is learned what others tell: hours, the first 0.

    Photos without a position often lack it for as long as a session lasts, or a camera was not
    used, but those that have one stand next to others that do.
    """
    shortest, longest = np.log(_HOLES)
    return 0.0, *np.exp(random.uniform(shortest, longest, 2)).tolist()


@dataclass(frozen=True, eq=False)
class _Bridges:
    """Photos (n,) between others: the hours, and the distances in km, infinite where none is.

    `before`, `after`: to the photo; `between`: from the one to the other; `way`: from the photo to
    the place on a steady way, at the `share` of it. `spread` is the log density of the spread.
    """

    hours_before: Array
    hours_after: Array
    before: Array
    after: Array
    between: Array
    way: Array
    share: Array
    spread: Array

    @classmethod
    def of(cls, told: Sequence[tuple[float, float, Moment]], spread: Spread) -> _Bridges:
        """Of photos at positions in degrees, and what was before and after them."""
        missing = Fix(np.inf, 0.0, 0.0)
        ends = [(moment.before or missing, moment.after or missing) for _, _, moment in told]
        lat, lon = np.array([each[:2] for each in told], float).reshape(-1, 2).T
        (to, *first), (away, *second) = (
            np.array([(end[side].hours, end[side].lat, end[side].lon) for end in ends])
            .reshape(-1, 3)
            .T
            for side in (0, 1)
        )
        between = great_circle_km(*first, *second)
        share = share_of_time(_finite(to), _finite(away))
        bearing = initial_bearing(first[0], first[1], second[0], second[1])
        middle = destination(first[0], first[1], bearing, share * between)
        return cls(
            to,
            away,
            great_circle_km(lat, lon, *first),
            great_circle_km(lat, lon, *second),
            between,
            great_circle_km(lat, lon, *middle),
            share,
            spread.mixture.log_density(unit_vectors(lat, lon)),
        )

    def __len__(self) -> int:
        return len(self.before)


def fit_movement(timelines: Sequence[Timeline]) -> Movement:
    """The movement under which the places of photos in order of time are most likely.

    With fewer than `FEWEST` photos next to others it is the default, with the photos' own spread.
    """
    lat = np.concatenate([np.zeros(0), *(line.lat for line in timelines)])
    lon = np.concatenate([np.zeros(0), *(line.lon for line in timelines)])
    if not len(lat):
        return Movement()
    start = Movement(spread=Spread.of(lat, lon))
    random = np.random.default_rng(0)
    known = [(line, index) for line in timelines if len(line) > 1 for index in range(len(line))]
    if len(known) < FEWEST:
        return start
    drawn = [known[index] for index in random.permutation(len(known))[:MOST].tolist()]
    told = [
        (float(line.lat[index]), float(line.lon[index]), moment)
        for line, index in drawn
        for hole in drawn_holes(random)
        if (moment := line.moment(index, hole))
    ]
    bridges = _Bridges.of(told, start.spread)
    from scipy.optimize import minimize  # an answer needs no SciPy, only a fit does

    origin = _packed(start)

    def objective(values: Array) -> float:
        logs = log_likelihood(_unpacked(values, start), bridges)
        return float(-logs.mean() + np.sum((values - origin) ** 2) / (2 * len(bridges)))

    found = minimize(objective, origin, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-5})
    return replace(_unpacked(found.x, start), photos=len(drawn))


def mean_log_likelihood(movement: Movement, timelines: Sequence[Timeline]) -> float:
    """Mean log density, per steradian, of the places of photos by those before and after them."""
    told = [
        (float(line.lat[index]), float(line.lon[index]), line.moment(index))
        for line in timelines
        if len(line) > 1
        for index in range(len(line))
    ]
    return float(log_likelihood(movement, _Bridges.of(told, movement.spread)).mean())


def log_density_at(movement: Movement, moments: Sequence[Moment], lat: float, lon: float) -> Array:
    """The log density (n,), per steradian, of one place in degrees by each of several moments.

    That of `moment_prior`, but for the accuracy of the fixes.
    """
    bridges = _Bridges.of([(lat, lon, moment) for moment in moments], movement.spread)
    logs = log_likelihood(movement, bridges)
    nothing = np.isinf(bridges.hours_before) & np.isinf(bridges.hours_after)
    return np.where(nothing, bridges.spread, logs)


def log_likelihood(movement: Movement, bridges: _Bridges) -> Array:
    """The log density (n,), per steradian, of each photo by those before and after it."""
    doubt, level = movement.doubt, movement.spread.log_level
    sides = [
        _side(movement, hours, km)
        for hours, km in (
            (bridges.hours_before, bridges.before),
            (bridges.hours_after, bridges.after),
        )
    ]
    (log_before, parts, kappa), (log_after, others, other) = sides
    # All pairs of a mode before and a mode after, (n, 4, 4).
    chord = _squared_chord(bridges.between)[:, None, None]
    _, mass = resultant(*np.broadcast_arrays(kappa[:, :, None], other[:, None, :], chord))
    shares = _log_shares(movement, bridges)
    mass = (mass + shares[0][:, :, None] + shares[1][:, None, :]).reshape(len(mass), -1)
    log_mass = log_sum(mass)
    apart = (parts[:, :, None] + others[:, None, :]).reshape(len(mass), -1)
    agreed = log_sum(apart) - log_mass
    noise = np.zeros(len(bridges))
    width = way_width_km(movement, bridges.share, bridges.between, noise)
    agreed = np.logaddexp(
        np.log1p(-movement.steady) + agreed,
        np.log(movement.steady) + _log_kernel((EARTH_RADIUS_KM / width) ** 2, bridges.way),
    )
    sure, unsure = np.log1p(-doubt), np.log(doubt)
    masses = np.column_stack(
        [
            2 * sure + log_mass,
            *[np.full(len(mass), sure + unsure + level)] * 2,
            np.full(len(mass), 2 * unsure + level),
        ]
    )
    logs = masses + np.column_stack([agreed, log_before, log_after, bridges.spread])
    both = log_sum(logs) - log_sum(masses)
    one = np.where(np.isinf(bridges.hours_before), log_after, log_before)
    one = np.logaddexp(sure + one, unsure + bridges.spread)
    alone = np.isinf(bridges.hours_before) | np.isinf(bridges.hours_after)
    return np.asarray(np.where(alone, one, both))


def _finite(hours: Array) -> Array:
    return np.where(np.isinf(hours), 0.0, hours)


def _log_shares(movement: Movement, bridges: _Bridges) -> tuple[Array, Array]:
    return (
        movement.log_shares(_finite(bridges.hours_before)),
        movement.log_shares(_finite(bridges.hours_after)),
    )


def _side(movement: Movement, hours: Array, km: Array) -> tuple[Array, Array, Array]:
    """Log density (n,) of photos by one other, its parts by mode (n, 4), and their κ (n, 4)."""
    kappa = (EARTH_RADIUS_KM / movement.widths_km(_finite(hours))) ** 2
    parts = movement.log_shares(_finite(hours)) + _log_kernel(kappa, km[:, None])
    return log_sum(parts.copy()), parts, kappa


def _log_kernel(kappa: Array, km: Array) -> Array:
    return np.asarray(log_constant(kappa) - kappa * _squared_chord(km) / 2)


def _squared_chord(km: Array) -> Array:
    return np.asarray((2 * np.sin(km / (2 * EARTH_RADIUS_KM))) ** 2)


def _packed(movement: Movement) -> Array:
    """The parameters as numbers without bounds, in steps of which each is about as plausible."""
    odds = (movement.steady, movement.doubt)
    return np.array(
        [
            *np.log([movement.floor_km, *movement.speeds_kmh, movement.hours, movement.wander]),
            *movement.mode_logits[1:],
            *movement.mode_slopes[1:],
            *(np.log(share / (1 - share)) for share in odds),
        ]
    )


def _unpacked(values: Array, start: Movement) -> Movement:
    floor, *speeds, hours, wander = np.exp(np.clip(values[:6], -9, 12)).tolist()
    steady, doubt = np.clip(1 / (1 + np.exp(-np.clip(values[12:], -30, 30))), *_DOUBTS).tolist()
    return replace(
        start,
        floor_km=floor,
        speeds_kmh=tuple(speeds),
        hours=hours,
        wander=wander,
        mode_logits=(0.0, *values[6:9].tolist()),
        mode_slopes=(0.0, *values[9:12].tolist()),
        steady=steady,
        doubt=doubt,
    )
