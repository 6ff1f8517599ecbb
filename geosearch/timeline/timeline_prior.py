"""Where a photo may be by the photos before and after it.

The photo before and the one after each say so by a mixture of kernels round them
(`geosearch.timeline.movement`); if both are right the density is the product of the two: a Markov
chain, seen from both sides. The product knows no direction, so a share `steady` of it is a kernel
on the way from the one to the other, where a steady speed leads: at the share f of the way, f being
the share of the time, with a bandwidth of `wander` · 2√(f(1-f)) of its length, as of a Brownian
bridge. Either may be wrong, or both, with the probability `doubt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from geosearch.density import Mixture
from geosearch.density.kernel import BANDWIDTH_RANGE_KM
from geosearch.density.products import Together, product, together, united
from geosearch.json_record import Record
from geosearch.sphere import (
    EARTH_RADIUS_KM,
    Array,
    destination,
    great_circle_km,
    initial_bearing,
)
from geosearch.timeline.movement import Movement


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
    """The last place known before a photo, and the first after it; None where there is none."""

    before: Fix | None
    after: Fix | None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        before, after = (value[name] and Fix(**value[name]) for name in ("before", "after"))
        return cls(before, after)

    def __bool__(self) -> bool:
        return bool(self.before or self.after)

    @property
    def hours(self) -> float:
        """To the nearest of them."""
        return min(fix.hours for fix in self.fixes)

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """Those there are."""
        return tuple(fix for fix in (self.before, self.after) if fix is not None)


def fix_kernels(movement: Movement, fix: Fix) -> Mixture:
    """The density of a photo by one other."""
    hours = np.array(fix.hours)
    return Mixture.at(
        np.repeat(fix.lat, 4),
        np.repeat(fix.lon, 4),
        np.exp(movement.log_shares(hours)),
        movement.widths_km(hours, fix.accuracy_km),
    )


def moment_prior(movement: Movement, moment: Moment) -> Mixture:
    """The density of a photo by those before and after it; by the spread alone without any."""
    found = [fix_kernels(movement, fix) for fix in moment.fixes]
    if moment.before is None or moment.after is None:
        if not found:
            return movement.spread.mixture
        return united([(1 - movement.doubt, found[0]), (movement.doubt, movement.spread.mixture)])
    return both_sides(movement, moment.before, moment.after).mixture


def both_sides(movement: Movement, before: Fix, after: Fix) -> Together:
    """The density of a photo between two others, and how far these agree."""
    first, second = fix_kernels(movement, before), fix_kernels(movement, after)
    agreed, log_mass = product(first, second)
    lat, lon, km = steady_way(movement, before, after)
    way = Mixture.at([lat], [lon], [1.0], km)
    agreed = united([(1 - movement.steady, agreed), (movement.steady, way)])
    spread, doubt = movement.spread, movement.doubt
    told = (first, doubt), (second, doubt)
    return together(told, spread.mixture, spread.log_level, (agreed, log_mass))


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
