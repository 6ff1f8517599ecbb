"""Which of the photos in order of time are right, all together: several that are wrong alike do not
vouch for one another.

A sequence of right photos is a Markov chain: each is near the one before it as the movement says.
A photo that is wrong is left out of the chain, at the price of what it states being said by mistake
(`geosearch.audit.plausibility`). The sum over all the ways to leave photos out, by a forward and a
backward pass, is the probability that a photo is right, whichever of the others are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geosearch.density.products import log_constant
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors
from geosearch.timeline import Movement

#: So many photos in a row may be wrong.
_MOST_WRONG = 24

#: The probability that nothing is known of a way: another car, a wrong clock by some seconds.
_ODD_WAY = 1e-4


#: Log of what is as good as impossible, of which differences can be told.
_NEVER = -1e6


@dataclass(frozen=True, eq=False)
class Chain:
    """Photos in order of time: `hours`, positions in degrees and their accuracy in km, all (n,).

    `given` (n,) numbers the positions that were given to many, else -1: of two with one number, one
    is no evidence for the other. `camera` (n,) numbers cameras, whose clocks are `apart_hours`.
    """

    hours: Array
    lat: Array
    lon: Array
    accuracy_km: Array
    given: NDArray[np.int64]
    camera: NDArray[np.int64]
    apart_hours: float

    @cached_property
    def points(self) -> Array:
        """The positions as unit vectors (n, 3)."""
        return unit_vectors(self.lat, self.lon)

    def right(
        self, movements: Sequence[tuple[float, Movement]], log_right: Array, log_wrong: Array
    ) -> Array:
        """The probability (n,) that each is right, from the logs of `Judgement`.

        `movements` are how one moves, each with its probability.
        """
        count = len(self.hours)
        first = movements[0][1].spread.mixture.log_density(self.points)
        lags = [self.links(movements, lag) for lag in range(1, min(count, _MOST_WRONG + 2))]
        for lag, links in enumerate(lags, start=1):
            told = (self.given[lag:] >= 0) & (self.given[lag:] == self.given[:-lag])
            links[told] = (log_wrong - log_right)[lag:][told]
        left_out = np.append(0.0, np.cumsum(np.maximum(log_wrong, _NEVER)))  # of all before each
        forward = np.empty(count)
        for n in range(count):
            ways = [left_out[n] + first[n]]
            for lag, links in enumerate(lags[:n], start=1):
                before = n - lag
                ways.append(forward[before] + links[before] + left_out[n] - left_out[before + 1])
            forward[n] = log_right[n] + np.logaddexp.reduce(ways)
        backward = np.empty(count)
        for n in range(count - 1, -1, -1):
            ways = [left_out[count] - left_out[n + 1]]
            for lag, links in enumerate(lags[: count - 1 - n], start=1):
                after = n + lag
                skipped = left_out[after] - left_out[n + 1]
                ways.append(backward[after] + log_right[after] + links[n] + skipped)
            backward[n] = np.logaddexp.reduce(ways)
        ends = left_out[count] - left_out[1:]
        whole = np.logaddexp.reduce(np.append(forward + ends, left_out[count]))
        return np.asarray(np.exp(np.minimum(forward + backward - whole, 0.0)))

    def links(self, movements: Sequence[tuple[float, Movement]], lag: int) -> Array:
        """Log density (n - lag,) of each photo by the one `lag` before it."""
        hours = self.hours[lag:] - self.hours[:-lag]
        other = self.camera[lag:] != self.camera[:-lag]
        hours = np.where(other, np.maximum(hours, self.apart_hours), hours)
        chords = ((self.points[lag:] - self.points[:-lag]) ** 2).sum(axis=1)
        noise = np.hypot(self.accuracy_km[lag:], self.accuracy_km[:-lag])
        anywhere = movements[0][1].spread.mixture.log_density(self.points[lag:])
        ways = [anywhere + np.log(_ODD_WAY)]
        for share, movement in movements:
            kappa = (EARTH_RADIUS_KM / movement.widths_km(hours, noise)) ** 2
            kernels = log_constant(kappa) - kappa * chords[:, None] / 2
            ways += [*(movement.log_shares(hours) + kernels + np.log(share)).T]
        return np.asarray(np.logaddexp.reduce(ways))
