"""A comparison of runs as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from geosearch.report import html
from geosearch.report.charts import comparison_charts
from geosearch.report.comparison import Comparison
from geosearch.words import p_value, points, points_between, threshold

#: Runs named in the title.
_MOST_NAMED = 4


def write_comparison(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write comparisons with one first run as an HTML file that needs nothing else.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    first = comparisons[0].first
    others = ", ".join(str(item.second.id) for item in comparisons[:_MOST_NAMED])
    if len(comparisons) > _MOST_NAMED:
        others += f" and {len(comparisons) - _MOST_NAMED} more"
    html.write_page(
        path,
        f"Evaluation {first.id} against {others}",
        f"{first.queries} · {first.model}",
        _body(comparisons),
    )


def _body(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield html.heading("Accuracy")
    yield html.note(
        "Figures on the queries that a run has in common with the first, with 95 % intervals. "
        "These of single runs may overlap although the difference is sure: the tests below "
        "compare query by query."
    )
    header = ["run", "model", "queries", *map(threshold, comparisons[0].within_km), "median"]
    ran = [(comparisons[0].first, comparisons[0].first_figures)]
    ran += [(item.second, item.second_figures) for item in comparisons]
    rows = [[run.name, run.model, *html.figures(found)] for run, found in ran]
    yield html.table(header, rows, text=2)
    yield html.facts((f"calibration of {run.id}", run.calibration or "none") for run, _ in ran)
    yield html.heading("Charts")
    first = comparisons[0]
    runs = [(str(first.first.id), first.first_error_km, first.first_area_km2)]
    runs += [
        (str(item.second.id), item.second_error_km, item.second_area_km2) for item in comparisons
    ]
    yield html.cards(comparison_charts(runs, first.within_km))
    for item in comparisons:
        yield html.heading(f"{item.second.name} against {item.first.name}")
        yield html.notes(item.left_out)
        yield html.table(
            [
                "distance",
                "difference, points",
                f"only {item.first.id}",
                f"only {item.second.id}",
                "p",
            ],
            [
                [
                    threshold(test.km),
                    (points(test.difference), points_between(test.interval)),
                    f"{test.only_first:,}",
                    f"{test.only_second:,}",
                    p_value(test.p_value),
                ]
                for test in item.thresholds
            ],
        )
        yield html.note(item.verdict)
    yield html.heading("How to read the tests")
    yield html.note(
        "A difference is the run's share less the first run's. Only the queries that one run has "
        "within the distance and the other has not can tell the two apart: p is the probability of "
        "a split at least as uneven if neither were better (McNemar's exact test). With several "
        "distances, ask for p below 0.01 rather than 0.05."
    )
