"""The figures of `paper.py`: shares with intervals, and the paper's claims against them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from geosearch.evaluation.metrics import Interval, bootstrap, wilson
from geosearch.sphere import Array

THRESHOLDS_KM = (25, 200, 750, 2500)
#: Distances at which features are compared.
COMPARED_KM = (200, 750)
DIFFICULTIES = ("clean", "jitter", "hard")


@dataclass(frozen=True)
class Row:
    """Errors of one method by the features of one kind of training: an array (n,) a seed."""

    features: str
    method: str
    difficulty: str
    errors_km: list[Array] = field(default_factory=list)

    def hits(self, km: int) -> Array:
        """1 for each query of all seeds whose error is at most `km`, else 0."""
        return np.concatenate([(errors <= km).astype(float) for errors in self.errors_km])

    def by_seed(self, km: int) -> list[float]:
        """The share of each seed's queries within `km`."""
        return [float((errors <= km).mean()) for errors in self.errors_km]

    def share(self, km: int) -> tuple[float, Interval]:
        """The share within `km` of all seeds' queries together, and its 95 % interval."""
        hits = self.hits(km)
        return float(hits.mean()), wilson(int(hits.sum()), len(hits))

    @property
    def median_km(self) -> float:
        """Of all seeds' errors."""
        return float(np.median(np.concatenate(self.errors_km)))

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        within = {}
        for km in THRESHOLDS_KM:
            share, interval = self.share(km)
            within[str(km)] = {
                "share": share,
                "interval": interval.to_json(),
                "by_seed": self.by_seed(km),
            }
        return {
            "features": self.features,
            "method": self.method,
            "difficulty": self.difficulty,
            "n": sum(len(errors) for errors in self.errors_km),
            "within": within,
            "median_km": self.median_km,
        }


#: What the paper says, or the method promises: a claim, and what is to be above what.
_SEVERAL = ("several partitions", "density")
_CLASSES = ("several partitions", "geocell")
CLAIMS: tuple[tuple[str, tuple[str, str], tuple[str, str]], ...] = (
    ("trained beats off the shelf", _SEVERAL, ("off the shelf", "density")),
    ("several partitions beat one", _SEVERAL, ("one partition", "density")),
    ("classification beats contrastive", _SEVERAL, ("contrastive", "density")),
    ("classification beats triplet", _SEVERAL, ("triplet", "density")),
    ("classification beats distance-logistic", _SEVERAL, ("distance-logistic", "density")),
    (
        "several classify better than one",
        ("several partitions", "geocell"),
        ("one partition", "geocell"),
    ),
    ("retrieval beats classification", _SEVERAL, _CLASSES),
    ("density beats the nearest neighbour", _SEVERAL, ("several partitions", "nearest")),
    ("likely cells help the density", ("several partitions", "density in cells"), _SEVERAL),
)


@dataclass(frozen=True)
class Comparison:
    """How much larger one share is than another, for the same queries; shares from 0 to 1."""

    claim: str
    difficulty: str
    km: int
    difference: float
    interval: Interval
    by_seed: list[float]

    @property
    def verdict(self) -> str:
        """`yes` or `no` where the interval is on one side of zero, else `open`."""
        return "yes" if self.interval.low > 0 else "no" if self.interval.high < 0 else "open"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"interval": self.interval.to_json(), "verdict": self.verdict}


def compare(rows: list[Row]) -> list[Comparison]:
    """All claims at all difficulties; intervals by the bootstrap over pairs of answers."""
    known = {(row.features, row.method, row.difficulty): row for row in rows}
    found = []
    for claim, better, worse in CLAIMS:
        for difficulty in DIFFICULTIES:
            above, below = known[(*better, difficulty)], known[(*worse, difficulty)]
            for km in COMPARED_KM:
                pairs = above.hits(km) - below.hits(km)
                interval = bootstrap(pairs, lambda drawn: drawn.mean(axis=1))
                seeds = zip(above.by_seed(km), below.by_seed(km), strict=True)
                by_seed = [a - b for a, b in seeds]
                found.append(
                    Comparison(claim, difficulty, km, float(pairs.mean()), interval, by_seed)
                )
    return found


def print_table(rows: list[Row]) -> None:
    """Share of queries within each distance, in per cent, with its 95 % interval."""
    for difficulty in DIFFICULTIES:
        heads = "".join(f"{km:>14,} km" for km in THRESHOLDS_KM)
        print(f"\n{difficulty:<20} {'':<16}{heads}    median")
        for row in rows:
            if row.difficulty == difficulty:
                cells = "".join(f"{_cell(*row.share(km)):>17}" for km in THRESHOLDS_KM)
                print(f"{row.features:<20} {row.method:<16}{cells}{row.median_km:>7,.0f} km")


def print_comparisons(rows: list[Row]) -> None:
    """The differences in percentage points, their intervals, and those of each seed."""
    print(f"\n{'percentage points':<38} {'':<7}  km  difference  95 % interval   by seed")
    before = ""
    for one in compare(rows):
        seeds = " ".join(f"{100 * each:+.1f}" for each in one.by_seed)
        ends = f"{100 * one.interval.low:+.1f} to {100 * one.interval.high:+.1f}"
        name = one.claim if one.claim != before else ""
        before = one.claim
        print(
            f"{name:<38} {one.difficulty:<7}{one.km:>4} {100 * one.difference:>+10.1f}  "
            f"{ends:<14}  {one.verdict:<5} {seeds}"
        )


def _cell(share: float, ends: Interval) -> str:
    return f"{100 * share:.1f} ({100 * ends.low:.1f}-{100 * ends.high:.1f})"
