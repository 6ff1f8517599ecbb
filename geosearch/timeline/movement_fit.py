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
MOST = 1500

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

    def moment(self, index: int) -> Moment:
        """What the others say of one of the photos: those just before and just after it."""
        before, after = (
            Fix(
                abs(float(self.hours[other] - self.hours[index])),
                float(self.lat[other]),
                float(self.lon[other]),
                photo_id=int(self.photo_id[other]),
            )
            if 0 <= other < len(self)
            else None
            for other in (index - 1, index + 1)
        )
        return Moment(before, after)


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
    def of(cls, timelines: Sequence[Timeline], spread: Spread) -> _Bridges:
        rows = []
        for line in (line for line in timelines if len(line) > 1):
            lat, lon, last = line.lat, line.lon, len(line) - 1
            previous, following = np.arange(-1, last), np.arange(1, last + 2)
            following[-1] = last  # stands for none, and is made so below
            previous[0] = 0
            to, away = line.hours - line.hours[previous], line.hours[following] - line.hours
            to[0] = away[-1] = np.inf
            between = great_circle_km(lat[previous], lon[previous], lat[following], lon[following])
            share = share_of_time(np.where(np.isinf(to), 0, to), np.where(np.isinf(away), 0, away))
            bearing = initial_bearing(lat[previous], lon[previous], lat[following], lon[following])
            middle = destination(lat[previous], lon[previous], bearing, share * between)
            rows.append(
                (
                    to,
                    away,
                    great_circle_km(lat, lon, lat[previous], lon[previous]),
                    great_circle_km(lat, lon, lat[following], lon[following]),
                    between,
                    great_circle_km(lat, lon, *middle),
                    share,
                    spread.mixture.log_density(unit_vectors(lat, lon)),
                )
            )
        columns = zip(*rows, strict=True) if rows else [[np.zeros(0)]] * 8
        return cls(*(np.concatenate(column) for column in columns))

    def __len__(self) -> int:
        return len(self.before)

    def where(self, chosen: NDArray[np.intp]) -> _Bridges:
        return _Bridges(*(values[chosen] for values in vars(self).values()))


def fit_movement(timelines: Sequence[Timeline]) -> Movement:
    """The movement under which the places of photos in order of time are most likely.

    With fewer than `FEWEST` photos next to others it is the default, with the photos' own spread.
    """
    lat = np.concatenate([np.zeros(0), *(line.lat for line in timelines)])
    lon = np.concatenate([np.zeros(0), *(line.lon for line in timelines)])
    if not len(lat):
        return Movement()
    start = Movement(spread=Spread.of(lat, lon))
    bridges = _Bridges.of(timelines, start.spread)
    if len(bridges) < FEWEST:
        return start
    if len(bridges) > MOST:
        bridges = bridges.where(np.random.default_rng(0).permutation(len(bridges))[:MOST])
    from scipy.optimize import minimize  # an answer needs no SciPy, only a fit does

    origin = _packed(start)

    def objective(values: Array) -> float:
        logs = log_likelihood(_unpacked(values, start), bridges)
        return float(-logs.mean() + np.sum((values - origin) ** 2) / (2 * len(bridges)))

    found = minimize(objective, origin, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-6})
    return replace(_unpacked(found.x, start), photos=len(bridges))


def mean_log_likelihood(movement: Movement, timelines: Sequence[Timeline]) -> float:
    """Mean log density, per steradian, of the places of photos by those before and after them."""
    return float(log_likelihood(movement, _Bridges.of(timelines, movement.spread)).mean())


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
