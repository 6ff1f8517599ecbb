"""How reports write figures: shares, kilometres, intervals, probabilities."""

from __future__ import annotations

import math

from geosearch.evaluation.metrics import Interval
from geosearch.report.comparison import Comparison
from geosearch.report.evaluation_records import Evaluated
from geosearch.report.evaluation_summary import Summary
from geosearch.words import format_km


def headline(summary: Summary) -> str:
    """What was evaluated: `Evaluation 7: density, k 100, 1,000 queries`."""
    evaluation = summary.evaluation
    return f"Evaluation {evaluation.id}: {evaluation.title}, {_queries(len(summary.answers))}"


def percent(share: float) -> str:
    """`44.3 %`."""
    return f"{100 * share:.1f} %"


def percents(ends: Interval) -> str:
    """`38.2 to 50.7 %`."""
    return f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign: `+2.4`."""
    return f"{100 * difference:+.1f}"


def points_between(ends: Interval) -> str:
    """`-0.3 to +5.1`."""
    return f"{points(ends.low)} to {points(ends.high)}"


def kilometres(value: float | None) -> str:
    """`12.3 km`; a dash where there is no figure, a word where it is infinite."""
    if value is None:
        return "–"
    return "none" if math.isinf(value) else format_km(value)


def distances(ends: Interval | None) -> str:
    """`12.3 to 15.0 km`; with both units where they differ."""
    if ends is None:
        return "–"
    low, high = kilometres(ends.low), kilometres(ends.high)
    if low == high:
        return low
    _, space, unit = high.rpartition(" ")
    return f"{low.removesuffix(space + unit)} to {high}"


def p_value(value: float) -> str:
    """`0.012`, or `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def run_name(evaluation: Evaluated) -> str:
    """A run's id and what sets it apart: `7: density, k 100`."""
    return f"{evaluation.id}: {evaluation.title}"


def left_out(summary: Summary) -> list[str]:
    """Queries that could not be used or answered, in words."""
    said = [
        f"Could not be used, and in no figure: {_queries(count)} ({reason})."
        for reason, count in summary.failed.items()
    ]
    if summary.unanswered:
        said.append(f"Without neighbours, and counted as misses: {_queries(summary.unanswered)}.")
    return said


def unmatched_in_words(item: Comparison) -> list[str]:
    """Queries that were left out of a comparison, in words."""
    counts = ((item.first.id, item.unmatched_first), (item.second.id, item.unmatched_second))
    return [
        f"Only in evaluation {key}, and left out: {_queries(count)}."
        for key, count in counts
        if count
    ]


def errors_in_words(item: Comparison) -> str:
    """Which run is nearer the truth, how often, in words."""
    test = item.errors
    return (
        f"Evaluation {item.second.id} is nearer the truth for {test.second_nearer:,} queries, "
        f"evaluation {item.first.id} for {test.first_nearer:,}; {test.equal:,} are equal. "
        f"Sign test: p {p_value(test.sign_p_value)}; Wilcoxon signed-rank test on the logarithms "
        f"of the errors: p {p_value(test.wilcoxon_p_value)}."
    )


def _queries(count: int) -> str:
    return f"{count:,} quer{'y' if count == 1 else 'ies'}"
