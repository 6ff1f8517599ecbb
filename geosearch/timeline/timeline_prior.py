"""Where a photo may be by the photos before and after it.

The photo before and the one after each say so by a mixture of kernels round them
(`geosearch.timeline.movement`); if both are right the density is the product of the two: a Markov
chain, seen from both sides. The product knows no direction, so a share `steady` of it is a kernel
on the way from the one to the other, where a steady speed leads: at the share f of the way, f being
the share of the time, with a bandwidth of `wander` · 2√(f(1-f)) of its length, as of a Brownian
bridge. Either may be wrong, or both, with the probability `doubt`.

Where photos without positions were taken between, what their pictures show comes in
(`geosearch.timeline.session_chain`): a side is then the message of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from geosearch.density import Mixture
from geosearch.density.kernel import BANDWIDTH_RANGE_KM
from geosearch.density.products import product, together, united
from geosearch.json_record import Record
from geosearch.sphere import (
    EARTH_RADIUS_KM,
    Array,
    destination,
    great_circle_km,
    initial_bearing,
)
from geosearch.timeline.movement import Movement
from geosearch.timeline.session_chain import (
    Message,
    Seen,
    Session,
    Sight,
    meeting,
    message,
    reduced,
)

#: Photos further apart in time tell nothing of one another.
HORIZON_HOURS = 7 * 24
#: No greater one can be taken to the power of e.
_MOST_LOG = 700.0


@dataclass(frozen=True)
class Fix(Record):
    """A place known at a time, so many `hours`, 0 or more, from the photo asked about.

    `lat` and `lon` in degrees, `accuracy_km` the standard deviation of either. `photo_id` says
    whose place it is, if that is a photo.
    """

    hours: float
    lat: float
    lon: float
    accuracy_km: float = 0.0
    photo_id: int | None = None

    def __str__(self) -> str:
        whose = "a track's" if self.photo_id is None else f"photo {self.photo_id}"
        return f"{whose} at {self.lat:.6f},{self.lon:.6f}, {60 * self.hours:.1f} minutes away"


@dataclass(frozen=True)
class Moment(Record):
    """The last place known before a photo, and the first after it; None where there is none.

    `session` is what photos without positions say that were taken between these.
    """

    before: Fix | None
    after: Fix | None
    session: Session | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        before, after = (value[name] and Fix(**value[name]) for name in ("before", "after"))
        return cls(before, after)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        found = super().to_json()
        return found if self.session else {name: found[name] for name in ("before", "after")}

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.session)

    @property
    def hours(self) -> float:
        """To the nearest place known; where there is none, to the horizon."""
        return min((fix.hours for fix in self.fixes), default=HORIZON_HOURS)

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """Those there are."""
        return tuple(fix for fix in (self.before, self.after) if fix is not None)


#: Neither a place before nor one after.
NOTHING_KNOWN = Moment(None, None)


@dataclass(frozen=True)
class Chance(Record):
    """What was known when a photo was taken, if that is when it was: with that `probability`.

    `spread_km` is the standard deviation of the places at all the times that it stands for.
    """

    probability: float
    spread_km: float
    moment: Moment

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(value["probability"], value["spread_km"], Moment.from_json(value["moment"]))


def fix_kernels(movement: Movement, fix: Fix) -> Mixture:
    """The density of a photo by one other."""
    hours = np.array(fix.hours)
    return Mixture.at(
        np.repeat(fix.lat, 4),
        np.repeat(fix.lon, 4),
        np.exp(movement.log_shares(hours)),
        movement.widths_km(hours, fix.accuracy_km),
    )


@dataclass(frozen=True, eq=False)
class _Side:
    """The density of a photo by what is on one side of it, unless nothing there is right.

    `by_fix` is the probability that it is by a known place alone.
    """

    mixture: Mixture
    doubt: float
    by_fix: float = 1.0

    @classmethod
    def of(cls, movement: Movement, fix: Fix | None, told: Message | None) -> Self | None:
        """By photos without positions, or else by a known place."""
        if told is not None:
            return cls(told.mixture, told.doubt, told.by_fix)
        return None if fix is None else cls(fix_kernels(movement, fix), movement.doubt)


def moment_prior(movement: Movement, moment: Moment) -> Mixture:
    """The density of a photo by what is before and after it; by the spread alone without any."""
    spread, session = movement.spread, moment.session
    told = (session.before, session.after) if session else (None, None)
    pairs = zip((moment.before, moment.after), told, strict=True)
    sides = [side for pair in pairs if (side := _Side.of(movement, *pair))]
    if not sides:
        return spread.mixture
    if len(sides) == 1:
        (one,) = sides
        return united([(1 - one.doubt, one.mixture), (one.doubt, spread.mixture)])
    met = meeting if session else product
    agreed, log_mass = met(*(side.mixture for side in sides))
    if moment.before and moment.after:
        share = movement.steady
        if session:  # a steady way is from one known place to the other: as far as these tell
            fixed = meeting(*(fix_kernels(movement, fix) for fix in moment.fixes))[1]
            apart = np.exp(min(fixed - log_mass, _MOST_LOG))
            share *= min(1.0, float(apart * sides[0].by_fix * sides[1].by_fix))
        lat, lon, km = steady_way(movement, moment.before, moment.after)
        agreed = united([(1 - share, agreed), (share, Mixture.at([lat], [lon], [1.0], km))])
    sure = [(side.mixture, side.doubt) for side in sides]
    both = together(sure, spread.mixture, spread.log_level, (agreed, log_mass))
    if not session:
        return both.mixture
    nothing, known = float(both.shares[0]), len(spread.mixture.weights)
    rest = both.mixture.where(np.arange(known, len(both.mixture.weights)))
    others = Mixture(rest.centres, rest.weights / (1 - nothing), rest.kappa)
    return united([(nothing, spread.mixture), (1 - nothing, reduced(others))])


def with_session(
    movement: Movement,
    moment: Moment,
    told: Sequence[tuple[Seen, Mixture]],
    *,
    confident: bool = False,
) -> Moment:
    """The moment with what photos without positions say that were taken between its places.

    By what their pictures show, of which one may be `confident`.
    """

    def side(sign: int, fix: Fix | None) -> Message | None:
        pairs = [pair for pair in told if (pair[0].hours > 0) == (sign > 0)]
        if not pairs:
            return None
        sights = [
            Sight.of_picture(movement, abs(seen.hours), picture)
            for seen, picture in sorted(pairs, key=lambda pair: -abs(pair[0].hours))
        ]
        return message(movement, [*_known(movement, fix), *sights], fixed=fix is not None)

    photos = tuple(sorted((seen for seen, _ in told), key=lambda seen: seen.hours))
    session = Session(photos, side(-1, moment.before), side(1, moment.after), confident)
    return replace(moment, session=session if photos else None)


def _known(movement: Movement, fix: Fix | None) -> list[Sight]:
    if fix is None:
        return []
    km = max(fix.accuracy_km, BANDWIDTH_RANGE_KM[0])
    return [Sight(fix.hours, Mixture.at([fix.lat], [fix.lon], [1.0], km), movement.doubt)]


def chances_prior(movement: Movement, chances: Sequence[Chance]) -> Mixture:
    """The density of a photo that was taken at one of several times."""
    return united(
        [
            (each.probability, moment_prior(movement, each.moment).blurred(each.spread_km))
            for each in chances
        ]
    )


def steady_way(movement: Movement, before: Fix, after: Fix) -> tuple[float, float, float]:
    """Latitude and longitude in degrees, and bandwidth in km, on a steady way between two."""
    share = share_of_time(np.array(before.hours), np.array(after.hours))
    km = great_circle_km(before.lat, before.lon, after.lat, after.lon)
    lat, lon = destination(
        before.lat,
        before.lon,
        initial_bearing(before.lat, before.lon, after.lat, after.lon),
        share * km,
    )
    noise = np.hypot((1 - share) * before.accuracy_km, share * after.accuracy_km)
    return float(lat), float(lon), float(way_width_km(movement, share, km, noise))


def share_of_time(before: Array, after: Array) -> Array:
    """The share of the time, 0 to 1, that has gone so many hours after one and before another."""
    whole = before + after
    return np.where(whole > 0, before / np.maximum(whole, 1e-12), 0.5)


def way_width_km(movement: Movement, share: Array, km: Array, accuracy_km: Array) -> Array:
    """The bandwidth at a share of a steady way of so many kilometres."""
    apart = movement.wander * km * 2 * np.sqrt(share * (1 - share))
    width = np.sqrt(movement.floor_km**2 + accuracy_km**2 + apart**2)
    return np.clip(width, BANDWIDTH_RANGE_KM[0], np.pi * EARTH_RADIUS_KM)
