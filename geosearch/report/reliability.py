"""Does an answer know how good it is: coverage of regions, reliability of probabilities.

The truth of a probability is an event, here "the error is at most so many kilometres".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosearch.evaluation.metrics import Interval, wilson
from geosearch.json_record import Record
from geosearch.report.evaluation_records import Answers
from geosearch.sphere import Array
from geosearch.words import percent

_BINS = 10

#: Regions whose coverage is reported.
LEVELS = (0.5, 0.9)


@dataclass(frozen=True, kw_only=True)
class Share(Record):
    """How many of `n` answers something holds of: `hits`."""

    n: int
    hits: int

    @property
    def share(self) -> float:
        """Share of the answers."""
        return self.hits / self.n

    @property
    def interval(self) -> Interval:
        """95 % interval of the share."""
        return wilson(self.hits, self.n)


@dataclass(frozen=True, kw_only=True)
class Coverage(Share, hits="", share="share", interval="interval"):
    """How many truths lie in the region of a `level`; their share should be the level."""

    level: float


def coverage(truth_level: Array, levels: tuple[float, ...]) -> list[Coverage]:
    """Coverage at each level, over the answers that have one; empty without any.

    `truth_level` (n,): the level of the smallest region that holds the truth, NaN where unknown.
    """
    known = truth_level[~np.isnan(truth_level)]
    if len(known) == 0:
        return []
    return [
        Coverage(level=level, n=len(known), hits=int(np.sum(known <= level))) for level in levels
    ]


@dataclass(frozen=True, kw_only=True)
class Bin(Share, low="from", high="to", hits="", share="observed", interval="interval"):
    """Answers with probabilities from `low` to `high`, `predicted` on average; some came true."""

    low: float
    high: float
    predicted: float


@dataclass(frozen=True)
class Reliability(Record):
    """How far probabilities can be believed.

    `brier` is the mean squared difference from what happened (0 or 1), `brier_of_share` that of a
    forecast which always says the overall share. `calibration_error` is the difference between
    predicted and observed, averaged over the answers, by `bins` of equal width (Guo et al., On
    calibration of modern neural networks, ICML 2017).
    """

    n: int
    share: float
    brier: float
    brier_of_share: float
    calibration_error: float
    bins: tuple[Bin, ...]


def reliability(probability: Array, happened: NDArray[np.bool_]) -> Reliability | None:
    """Reliability of probabilities (n,); those that are NaN are left out. None without any."""
    known = ~np.isnan(probability)
    probability, happened = probability[known], happened[known]
    n = len(probability)
    if n == 0:
        return None
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    place = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, _BINS - 1)
    bins = tuple(
        Bin(
            low=float(edges[number]),
            high=float(edges[number + 1]),
            n=int(np.sum(place == number)),
            predicted=float(probability[place == number].mean()),
            hits=int(happened[place == number].sum()),
        )
        for number in np.unique(place)
    )
    share = float(happened.mean())
    return Reliability(
        n=n,
        share=share,
        brier=float(np.mean((probability - happened) ** 2)),
        brier_of_share=share * (1 - share),
        calibration_error=sum(item.n / n * abs(item.predicted - item.share) for item in bins),
        bins=bins,
    )


@dataclass(frozen=True)
class Trust(Record):
    """How far the answers to some queries, `n` of one `kind`, can be believed.

    `coverage` is empty without regions, and `reliability`, by distance in km, without
    probabilities.
    """

    kind: str
    n: int
    coverage: list[Coverage]
    reliability: dict[float, Reliability]

    @classmethod
    def of(cls, kind: str, answers: Answers, chosen: NDArray[np.bool_]) -> Trust:
        """That of the chosen answers (n,)."""
        error_km = answers.error_km[chosen]
        said = {
            km: reliability(probability[chosen], error_km <= km)
            for km, probability in answers.probability.items()
        }
        return cls(
            kind,
            int(chosen.sum()),
            coverage(answers.truth_level[chosen], LEVELS),
            {km: found for km, found in said.items() if found is not None},
        )


#: What `trust_cells` tells.
TRUST_COLUMNS = (*(f"{100 * level:g} % regions hold" for level in LEVELS), "calibration error")


def trust_cells(found: Trust) -> list[str]:
    """Coverage at each level, and the mean calibration error over the distances, in words."""
    held = [percent(item.share) for item in found.coverage] or ["–"] * len(LEVELS)
    errors = [each.calibration_error for each in found.reliability.values()]
    return [*held, percent(float(np.mean(errors))) if errors else "–"]


def trust_by(kinds: Sequence[str | None], answers: Answers) -> list[Trust]:
    """For each kind of the answers (n,), by name; those of None are of no kind."""
    named = np.array(["" if kind is None else kind for kind in kinds])
    return [Trust.of(str(kind), answers, named == kind) for kind in np.unique(named) if kind]


@dataclass(frozen=True)
class Doubt(Record, false_alarm_rate="false_alarm_rate", catch_rate="catch_rate"):
    """What answers marked "not in this collection" (not confident) were, for one distance.

    Of the `good` answers, with an error of at most `km`, `false_alarms` were doubted; of the `bad`
    ones, `caught` were.
    """

    km: float
    good: int
    false_alarms: int
    bad: int
    caught: int

    @property
    def false_alarm_rate(self) -> float | None:
        """Share of the good ones that were doubted; None without any."""
        return self.false_alarms / self.good if self.good else None

    @property
    def catch_rate(self) -> float | None:
        """Share of the bad ones that were; None without any."""
        return self.caught / self.bad if self.bad else None


def doubts(confident: Array, error_km: Array, thresholds_km: tuple[float, ...]) -> list[Doubt]:
    """Catches and false alarms at each distance; empty where no answer says if it is confident.

    `confident` (n,) is 1, 0, or NaN where the answer does not say; those are left out.
    """
    known = ~np.isnan(confident)
    if not known.any():
        return []
    doubted, error_km = confident[known] == 0, error_km[known]
    made = []
    for km in thresholds_km:
        good = error_km <= km
        made.append(
            Doubt(
                km,
                good=int(good.sum()),
                false_alarms=int((good & doubted).sum()),
                bad=int((~good).sum()),
                caught=int((~good & doubted).sum()),
            )
        )
    return made
