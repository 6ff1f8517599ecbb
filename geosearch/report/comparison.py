"""Is one run better than another: the same queries, answered twice, and paired tests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from geosearch.database.connection import Connection, Database
from geosearch.errors import InputError
from geosearch.evaluation.metrics import (
    TWO_SIDED_QUANTILE,
    Areas,
    Figures,
    Interval,
    areas,
    figures,
)
from geosearch.json_record import Record, plain
from geosearch.report.evaluation_records import Answers, Evaluated, read_answers, read_evaluation
from geosearch.sphere import Array
from geosearch.words import number_of, p_value, threshold

_MOST_EXACT = 50
_SMALLEST_ERROR_KM = 0.001  # a metre: logarithms of errors need some floor


@dataclass(frozen=True)
class ThresholdTest(Record):
    """Two runs at one distance. `difference` is the second's share less the first's.

    `only_first` queries are within `km` in the first run alone, `only_second` in the second alone.
    `p_value` is McNemar's exact test of these two counts: the probability of a split at least as
    uneven, if neither run were better.
    """

    km: float
    difference: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class ErrorTest(Record):
    """Errors of two runs, pair by pair: how often each is nearer the truth.

    `sign_p_value` is the sign test of these counts, `wilcoxon_p_value` the signed-rank test of the
    differences of the errors' logarithms, so that a factor of two counts the same at any distance.
    """

    first_nearer: int
    second_nearer: int
    equal: int
    sign_p_value: float
    wilcoxon_p_value: float


@dataclass(frozen=True)
class Comparison:
    """Two runs on the queries that both answered: `n` pairs, and those that only one run has."""

    first: Evaluated
    second: Evaluated
    n: int
    unmatched_first: int
    unmatched_second: int
    first_error_km: Array
    second_error_km: Array
    first_area_km2: Array
    second_area_km2: Array
    first_figures: Figures
    second_figures: Figures
    thresholds: Sequence[ThresholdTest]
    errors: ErrorTest

    @property
    def within_km(self) -> tuple[float, ...]:
        """The distances compared at, kilometres."""
        return tuple(test.km for test in self.thresholds)

    @property
    def areas(self) -> tuple[Areas | None, Areas | None]:
        """How large an area must be searched by either run; None where it was not stored."""
        given = (self.first_area_km2, self.second_area_km2)
        first, second = (
            None if np.isnan(each).any() else areas(each, self.within_km) for each in given
        )
        return first, second

    @property
    def left_out(self) -> list[str]:
        """Queries that only one of the runs has, in words."""
        counts = ((self.first.id, self.unmatched_first), (self.second.id, self.unmatched_second))
        return [
            f"Only in evaluation {key}, and left out: {number_of(count, 'query', 'queries')}."
            for key, count in counts
            if count
        ]

    @property
    def verdict(self) -> str:
        """Which run is nearer the truth, how often, in words."""
        test = self.errors
        return (
            f"Evaluation {self.second.id} is nearer the truth for {test.second_nearer:,} queries, "
            f"evaluation {self.first.id} for {test.first_nearer:,}; {test.equal:,} are equal. "
            f"Sign test: p {p_value(test.sign_p_value)}; Wilcoxon signed-rank test on the "
            f"logarithms of the errors: p {p_value(test.wilcoxon_p_value)}."
        )

    def to_json(self) -> dict[str, Any]:
        """As `geosearch compare --json` prints it."""
        runs = (self.first, self.first_figures), (self.second, self.second_figures)
        first, second = (
            {
                "evaluation_id": run.id,
                **found.to_json(),
                "areas": plain(searched),
                "calibration": run.calibration,
                "flagged": plain(run.flagged),
            }
            for (run, found), searched in zip(runs, self.areas, strict=True)
        )
        return {
            "first": first,
            "second": second,
            "n": self.n,
            "unmatched_first": self.unmatched_first,
            "unmatched_second": self.unmatched_second,
            "thresholds": plain(self.thresholds),
            "errors": self.errors.to_json(),
        }


def compare(
    database: Database, keys: Sequence[int], *, within_km: tuple[float, ...] | None = None
) -> list[Comparison]:
    """Compare the first of several evaluations with each of the others.

    One id alone stands for its sweep: the evaluation that has the answers is compared with all
    others. Queries are matched by the bytes of the photo and its true position. `within_km`:
    distances of the figures; None takes those the evaluations were made with.

    Raises
    ------
    InputError
        There is nothing to compare, two evaluations share no query, or were made with other
        distances than one another and none are given.
    NotFoundError
        An evaluation does not exist.
    """
    with database.connection() as connection:
        keys = list(dict.fromkeys(keys))
        if len(keys) == 1:
            keys = _sweep(connection, keys[0])
        runs = []
        for key in keys:
            evaluation = read_evaluation(connection, key)
            runs.append((evaluation, read_answers(connection, evaluation)))
    shared = within_km or _shared_distances([evaluation for evaluation, _ in runs])
    return [_compare(*runs[0], *other, shared) for other in runs[1:]]


def _sweep(connection: Connection, key: int) -> list[int]:
    evaluation = read_evaluation(connection, key)
    first = evaluation.sweep_id or key
    rows = connection.execute(
        "SELECT id FROM geosearch.evaluations WHERE sweep_id = %s AND id <> %s ORDER BY id",
        (first, first),
    ).fetchall()
    if not rows:
        raise InputError(
            f"evaluation {key} is no part of a sweep", "Give two evaluations to compare."
        )
    return [first, *(row[0] for row in rows)]


def _shared_distances(evaluations: Sequence[Evaluated]) -> tuple[float, ...]:
    """The distances that all were made with."""
    first, *others = evaluations
    for other in others:
        if other.within_km != first.within_km:
            said = (
                f"evaluation {item.id} at {', '.join(map(threshold, item.within_km))}"
                for item in (first, other)
            )
            raise InputError(
                f"Different distances: {' and '.join(said)}",
                "Say at which to compare, for example: `within_km` "
                + ",".join(map(str, first.within_km)),
            )
    return first.within_km


def _compare(
    first: Evaluated,
    answers: Answers,
    second: Evaluated,
    others: Answers,
    within_km: tuple[float, ...],
) -> Comparison:
    places = {key: row for row, key in enumerate(_keys(others))}
    pairs = [(row, places[key]) for row, key in enumerate(_keys(answers)) if key in places]
    if not pairs:
        raise InputError(
            f"evaluations {first.id} and {second.id} share no query",
            "Compare runs on the same photos with the same true positions.",
        )
    rows, other_rows = np.array(pairs).T
    a, b = answers.error_km[rows], others.error_km[other_rows]
    return Comparison(
        first=first,
        second=second,
        n=len(pairs),
        unmatched_first=len(answers) - len(pairs),
        unmatched_second=len(others) - len(pairs),
        first_error_km=a,
        second_error_km=b,
        first_area_km2=answers.area_km2[rows],
        second_area_km2=others.area_km2[other_rows],
        first_figures=figures(a, within_km),
        second_figures=figures(b, within_km),
        thresholds=[threshold_test(a, b, km) for km in within_km],
        errors=error_test(a, b),
    )


def _keys(answers: Answers) -> Iterator[tuple[Any, ...]]:
    """What a query is recognised by; of one that stands there twice, each is its own."""
    seen: Counter[tuple[Any, ...]] = Counter()
    for digest, lat, lon in zip(answers.sha256, answers.true_lat, answers.true_lon, strict=True):
        key = (digest, round(float(lat), 6), round(float(lon), 6))
        seen[key] += 1
        yield (*key, seen[key])


def threshold_test(first_km: Array, second_km: Array, km: float) -> ThresholdTest:
    """Compare the shares of paired errors (n,) within a distance."""
    first, second = first_km <= km, second_km <= km
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    n = len(first)
    return ThresholdTest(
        km=km,
        difference=(only_second - only_first) / n,
        interval=_paired_interval(only_first, only_second, n),
        only_first=only_first,
        only_second=only_second,
        p_value=_even_split(only_first, only_second),
    )


def error_test(first_km: Array, second_km: Array) -> ErrorTest:
    """Compare paired errors (n,); infinite ones are farther than all others, equal to each other.

    Source of the rank test: F. Wilcoxon, Individual comparisons by ranking methods, Biometrics
    Bulletin 1(6), 1945.
    """
    a, b = (np.log(np.maximum(km, _SMALLEST_ERROR_KM)) for km in (first_km, second_km))
    with np.errstate(invalid="ignore"):
        change = np.where(a == b, 0.0, b - a)
    nearer, farther = int(np.sum(change > 0)), int(np.sum(change < 0))
    changed = change[change != 0]
    return ErrorTest(
        first_nearer=nearer,
        second_nearer=farther,
        equal=len(change) - len(changed),
        sign_p_value=_even_split(nearer, farther),
        wilcoxon_p_value=_signed_rank(changed) if len(changed) else 1.0,
    )


def _signed_rank(changed: Array) -> float:
    """Exact for few changes of different sizes; otherwise by the normal distribution."""
    exact = len(changed) <= _MOST_EXACT and len(np.unique(np.abs(changed))) == len(changed)
    # scipy's own choice would try all signs of a dozen equal changes, which takes seconds.
    return float(stats.wilcoxon(changed, method="exact" if exact else "asymptotic").pvalue)


def _paired_interval(only_first: int, only_second: int, n: int) -> Interval:
    """Interval of the difference of two shares of the same `n` queries.

    Source: D. G. Bonett, R. M. Price, Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data, Journal of Educational and Behavioral Statistics
    37(4), 2012.
    """
    gain, loss = (only_second + 1) / (n + 2), (only_first + 1) / (n + 2)
    reach = TWO_SIDED_QUANTILE * math.sqrt((gain + loss - (gain - loss) ** 2) / (n + 2))
    return Interval(max(-1.0, gain - loss - reach), min(1.0, gain - loss + reach))


def _even_split(one: int, other: int) -> float:
    """Two-sided probability of a split at least as uneven, if both sides were as likely."""
    if one + other == 0:
        return 1.0
    return float(stats.binomtest(one, one + other, 0.5).pvalue)
