"""The field's figures: share of queries within some distances, median and mean error.

Each figure can have a 95 % interval. A share has Wilson's: the percentile bootstrap of a share is
a binomial that needs no resampling, but at 0 or all hits it has no width, which claims a certainty
that a few queries do not give. Median and mean have the percentile bootstrap; for the mean of few
errors with a long tail it is somewhat too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geosearch.json_record import Record, plain
from geosearch.sphere import Array, cap_km2
from geosearch.thresholds import WORLD_KM

#: Probability that an interval is meant to hold the figure.
CONFIDENCE = 0.95
#: Of the standard normal, for `CONFIDENCE`.
TWO_SIDED_QUANTILE = 1.959963984540054
_RESAMPLES = 1000

#: Of so many per cent of the truths it is said in how large an area they are.
HELD = (50, 80, 90)
_DRAWS_AT_ONCE = 1 << 22  # numbers held while resampling


@dataclass(frozen=True)
class Accuracy(Record, within="accuracy"):
    """Figures over `n` queries; `within` maps a threshold in km to a share, 0 to 1.

    `median_km` is infinite if half the queries have no estimate; `mean_km` is over those that
    have one. Both are None without queries.
    """

    n: int
    within: dict[float, float]
    median_km: float | None
    mean_km: float | None


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, in the unit of its figure."""

    low: float
    high: float

    def to_json(self) -> list[float | None]:
        """Both ends; null for an infinite one."""
        return list(plain([self.low, self.high]))


@dataclass(frozen=True)
class Figures:
    """`accuracy` with an interval for each of its figures; None where the figure is None."""

    accuracy: Accuracy
    within: dict[float, Interval]
    median_km: Interval | None
    mean_km: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Figures and intervals, by the names that `geosearch evaluate --json` prints."""
        ends = {"accuracy": self.within, "median_km": self.median_km, "mean_km": self.mean_km}
        return {**self.accuracy.to_json(), "intervals": plain(ends)}


@dataclass(frozen=True)
class Areas(Record):
    """How large an area must be searched, the densest first, to find the truths.

    `holding_km2`: for each per cent of the queries, the area within which so many have their truth;
    infinite if fewer have an estimate. `within`: for each distance in km, the share of truths
    inside the densest area as large as a circle of that radius.
    """

    holding_km2: dict[int, float]
    within: dict[float, float]


def areas(areas_km2: Array, within_km: Sequence[float] = WORLD_KM) -> Areas | None:
    """From the area (n,) of the smallest region that holds each truth; None without queries."""
    if not len(areas_km2):
        return None
    return Areas(
        {part: float(np.quantile(areas_km2, part / 100, method="inverted_cdf")) for part in HELD},
        {km: float(np.mean(areas_km2 <= cap_km2(km) * (1 + 1e-9))) for km in within_km},
    )


def accuracy(errors_km: Array, within_km: Sequence[float] = WORLD_KM) -> Accuracy:
    """Figures from errors (n,) in kilometres; infinity stands for a query without estimate."""
    n = len(errors_km)
    if n == 0:
        return Accuracy(0, dict.fromkeys(within_km, 0.0), None, None)
    known = errors_km[np.isfinite(errors_km)]
    return Accuracy(
        n=n,
        within={km: float(np.mean(errors_km <= km)) for km in within_km},
        median_km=float(np.median(errors_km)),
        mean_km=float(known.mean()) if len(known) else None,
    )


def figures(errors_km: Array, within_km: Sequence[float] = WORLD_KM, *, seed: int = 0) -> Figures:
    """`accuracy` with intervals; the same `seed` gives the same intervals."""
    made = accuracy(errors_km, within_km)
    within = {km: wilson(int(np.sum(errors_km <= km)), made.n) for km in within_km}
    if made.n == 0:
        return Figures(made, within, None, None)
    # The mean is over the queries that have an estimate: only these are drawn.
    known = errors_km[np.isfinite(errors_km)]
    return Figures(
        made,
        within,
        bootstrap(errors_km, lambda drawn: np.median(drawn, axis=1), seed=seed),
        bootstrap(known, lambda drawn: drawn.mean(axis=1), seed=seed) if len(known) else None,
    )


def wilson(hits: int, n: int) -> Interval:
    """Interval of the share `hits` / `n`; the whole of 0 to 1 without queries.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22(158), 1927.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    share, z2 = hits / n, TWO_SIDED_QUANTILE**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) * TWO_SIDED_QUANTILE
    reach /= 1 + z2 / n
    return Interval(
        0.0 if hits == 0 else middle - reach,
        1.0 if hits == n else middle + reach,
    )


def bootstrap(
    values: Array,
    statistic: Callable[[Array], ArrayLike],
    *,
    seed: int = 0,
    resamples: int = _RESAMPLES,
) -> Interval:
    """Percentile bootstrap interval of a statistic of `values` (n,), n at least 1.

    `statistic` maps resamples (m, n) to m numbers; infinite ones are allowed.
    """
    found = np.concatenate(
        [np.asarray(statistic(values[rows])) for rows in _resampled(len(values), seed, resamples)]
    )
    tail = (1 - CONFIDENCE) / 2
    # Without interpolation, which between a finite and an infinite number is not one.
    low, high = np.quantile(found, [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(low), float(high))


def _resampled(n: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Rows drawn with replacement, (m, n) at a time."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        yield generator.integers(0, n, (min(at_once, resamples - start), n))
