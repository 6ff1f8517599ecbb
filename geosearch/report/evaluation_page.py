"""The report of one evaluation as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from geosearch.database.connection import Database
from geosearch.evaluation.metrics import Figures, wilson
from geosearch.export import canvas
from geosearch.export.overview import overview
from geosearch.layers.selection import Selection
from geosearch.report import html
from geosearch.report.breakdown import Group
from geosearch.report.charts import evaluation_charts
from geosearch.report.evaluation_summary import Summary
from geosearch.report.reliability import TRUST_COLUMNS, Doubt, Reliability, trust_cells
from geosearch.retrieval.duplicates import Excluded
from geosearch.sphere import cap_radius_km
from geosearch.thresholds import WORLD_KM, WORLD_NAMES
from geosearch.words import (
    counted,
    distances,
    format_km,
    format_km2,
    format_position,
    percent,
    percents,
    threshold,
)

_WORST = 12
_THUMBNAIL = (420, 315)
_LEVELS = dict(zip(WORLD_KM, WORLD_NAMES, strict=True))


def write_report(path: Path, database: Database, summary: Summary) -> None:
    """Write the report of an evaluation as one HTML file that needs nothing else.

    The worst answers are shown with their photos, where these can still be read.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    evaluation = summary.evaluation
    subtitle = f"{evaluation.queries} · {evaluation.model} · {evaluation.created_at:%Y-%m-%d %H:%M}"
    html.write_page(path, summary.headline, f"{subtitle} UTC", _body(database, summary))


def _body(database: Database, summary: Summary) -> Iterator[str]:
    yield _tiles(summary.figures)
    yield html.note(
        "Share of the queries whose estimate is within the distance of the truth, with 95 % "
        "intervals: Wilson's for shares, bootstrap for median and mean."
    )
    yield html.notes([*summary.left_out, *summary.notes])
    if not np.isnan(summary.answers.lat).all():
        yield html.heading("On the map")
        yield _map(database, summary)
    yield html.heading("Charts")
    yield html.cards(evaluation_charts(summary))
    yield from _searched(summary)
    yield from _belief(summary)
    yield from _kinds(summary)
    if summary.by_continent:
        yield html.heading("By continent of the truth")
        yield _groups("continent", summary.by_continent, summary.within_km)
    if summary.by_density:
        yield html.heading(f"By references within {threshold(summary.radius_km)} of the truth")
        yield html.note(
            "Counted now, among the references that pass the evaluation's filter, without the "
            "query itself."
        )
        yield _groups("references", summary.by_density, summary.within_km)
    worst = summary.worst(_WORST)
    if len(worst):
        yield html.heading("Largest errors")
        places = _places(database, summary.answers.localization_id[worst].tolist())
        yield html.photos(_photo(summary, int(row), places) for row in worst)
    yield html.heading("What was run")
    yield _provenance(summary)


def _tiles(found: Figures) -> str:
    shares = [
        (_named(km), percent(share), percents(found.within[km]))
        for km, share in found.accuracy.within.items()
    ]
    middle = [
        ("median error", format_km(found.accuracy.median_km), distances(found.median_km)),
        ("mean error", format_km(found.accuracy.mean_km), distances(found.mean_km)),
    ]
    return html.tiles([*shares, *middle])


def _named(km: float) -> str:
    level = f"{_LEVELS[km]}, " if km in _LEVELS else ""
    return f"{level}{threshold(km)}"


def _map(database: Database, summary: Summary) -> str:
    with database.connection() as connection:
        selection = Selection(evaluation=summary.evaluation.id)
        figure, _ = overview(connection, selection, summary.within_km)
    return html.picture(
        canvas.image_of(figure), "World map of the estimates and their errors", "map"
    )


def _searched(summary: Summary) -> Iterator[str]:
    if summary.areas is None:
        return
    yield html.heading("How much must be searched")
    yield html.note(
        "The smallest area, the densest first, in which so many of the truths lie, and the radius "
        "of a circle as large."
    )
    yield html.table(
        ["truths", "area", "circle"],
        [
            [f"{part} %", format_km2(km2), format_km(float(cap_radius_km(km2)))]
            for part, km2 in summary.areas.holding_km2.items()
        ],
    )


def _kinds(summary: Summary) -> Iterator[str]:
    """Coverage and reliability of kinds of queries, as tables."""
    for by, kinds in summary.by_kind.items():
        yield html.heading(f"Trust by {by.replace('_', ' ')}")
        yield html.table(
            [by.replace("_", " "), "queries", *TRUST_COLUMNS],
            [[kind.kind, f"{kind.n:,}", *trust_cells(kind)] for kind in kinds],
        )


def _belief(summary: Summary) -> Iterator[str]:
    """How far regions, probabilities and doubt can be believed, as tables."""
    if summary.coverage:
        yield html.heading("Coverage of the regions")
        yield html.table(
            ["region", "holds the truth", "queries"],
            [
                [f"{item.level:.0%}", (percent(item.share), percents(item.interval)), f"{item.n:,}"]
                for item in summary.coverage
            ],
        )
    rows = [
        _reliability(f"probability within {threshold(km)}", item)
        for km, item in summary.probabilities.items()
    ]
    if summary.agreement is not None:
        rows.append(
            _reliability(f"agreement, for {threshold(summary.middle_km)}", summary.agreement)
        )
    if rows:
        yield html.heading("Reliability")
        yield html.note(
            "The Brier score is the mean squared difference between what was said and what "
            "happened: 0 is perfect. Beside it, that of always saying the overall share. The "
            "calibration error is how far what was said is from what happened, on average."
        )
        yield html.table(
            ["statement", "came true", "Brier score", "of the share", "calibration error"], rows
        )
    if summary.doubts:
        yield html.heading("Answers marked “not in this collection”")
        yield html.note(
            "Of the answers with a larger error than the distance, how many were marked (caught); "
            "of those with a smaller one, how many (false alarms)."
        )
        yield html.table(
            ["distance", "caught", "false alarms"], [_doubt(item) for item in summary.doubts]
        )


def _reliability(name: str, found: Reliability) -> list[html.Cell]:
    return [
        name,
        percent(found.share),
        f"{found.brier:.4f}",
        f"{found.brier_of_share:.4f}",
        percent(found.calibration_error),
    ]


def _doubt(item: Doubt) -> list[html.Cell]:
    def share(hits: int, n: int) -> html.Cell:
        if n == 0:
            return "–"
        return f"{percent(hits / n)} ({hits:,} of {n:,})", percents(wilson(hits, n))

    return [
        threshold(item.km),
        share(item.caught, item.bad),
        share(item.false_alarms, item.good),
    ]


def _groups(name: str, groups: Sequence[Group], within_km: Sequence[float]) -> str:
    header = [name, "queries", *map(threshold, within_km), "median"]
    return html.table(header, [[group.name, *html.figures(group.figures)] for group in groups])


def _places(database: Database, ids: list[int]) -> dict[int, tuple[str, str]]:
    """Of answers by id: the true position in words, and the estimate."""
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT id, coalesce(': ' || geosearch.place_name(truth), ''), "
            "coalesce(': ' || place, '') FROM geosearch.localizations WHERE id = ANY(%s)",
            (ids,),
        )
        return {row[0]: (row[1], row[2]) for row in rows}


def _photo(summary: Summary, row: int, places: Mapping[int, tuple[str, str]]) -> str:
    answers = summary.answers
    uri = answers.photo[row]
    name = PurePosixPath(uri).name
    true, said = places[int(answers.localization_id[row])]
    lines = [f"true {format_position(answers.true_lat[row], answers.true_lon[row])}{true}"]
    if not np.isnan(answers.lat[row]):
        lines.append(f"estimate {format_position(answers.lat[row], answers.lon[row])}{said}")
    if not np.isnan(answers.agreement[row]):
        lines.append(f"agreement {answers.agreement[row]:.2f}")
    lines += [name, f"answer {answers.localization_id[row]}"]
    return html.photo(
        canvas.thumbnail(uri, _THUMBNAIL), name, format_km(float(answers.error_km[row])), lines
    )


def _provenance(summary: Summary) -> str:
    evaluation, excluded = summary.evaluation, summary.evaluation.excluded
    return html.facts(
        [
            ("evaluation", str(evaluation.id)),
            ("queries", evaluation.queries),
            ("model", evaluation.model),
            ("method", evaluation.method),
            ("parameters", json.dumps(dict(evaluation.parameters), ensure_ascii=False)),
            ("filter on the references", json.dumps(dict(evaluation.filter), ensure_ascii=False)),
            ("references left out", "–" if excluded is None else str(Excluded(**excluded))),
            ("calibration", evaluation.calibration or "none"),
            ("answers flagged", counted(evaluation.flagged)),
            ("made", f"{evaluation.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ]
    )
