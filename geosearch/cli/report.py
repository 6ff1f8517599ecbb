"""`geosearch report`, `compare`, `evaluations`: what stored evaluations say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.arguments import thresholds
from geosearch.cli import deleting
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, Table, answer, connected, database, note, say
from geosearch.cli.deleting import DryRunOption, YesOption
from geosearch.cli.options import check_ending
from geosearch.words import (
    counted,
    distances,
    format_km,
    format_km2,
    p_value,
    percent,
    percents,
    points,
    points_between,
    threshold,
)

if TYPE_CHECKING:
    from geosearch.database.connection import Database
    from geosearch.report import Comparison, Evaluated, Summary
    from geosearch.report.breakdown import Group

app = command_group(
    """Evaluations that are stored.

    Example: geosearch evaluations list
    """
)

WithinOption = Annotated[
    str | None,
    typer.Option(
        metavar="KM,…", help="Distances of the figures, km: a,b; by default the evaluation's."
    ),
]

_REPORT_ENDINGS = (".html", ".png", ".csv")


@app.command("list")
def list_(
    context: typer.Context,
    last: Annotated[int | None, typer.Option(min=1, help="The latest so many only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List evaluations, the latest first: what was run, and the share within each distance.

    Example: geosearch evaluations list --last 5
    """
    from geosearch.report import list_evaluations

    with connected(context) as connection:
        found = list_evaluations(connection, last=last)
    answer(as_json, found, lambda: _print_list(found))


@app.command()
def delete(
    context: typer.Context,
    evaluations: Annotated[list[int], typer.Argument(metavar="ID...", help="Their ids.")],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete evaluations of one's own with their answers; of a sweep, the first takes all along.

    Example: geosearch evaluations delete 7
    """
    from geosearch.deletion.record_deletion import delete_evaluations

    asked = deleting.Asked(dry_run, yes, as_json)
    deleting.delete(context, asked, delete_evaluations, evaluations)


def report(
    context: typer.Context,
    evaluation: Annotated[int, typer.Argument(help="An evaluation, by its id.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write .html (a page with charts, map and worst errors), .png (the charts) or "
            ".csv (one line a query).",
        ),
    ] = None,
    radius_km: Annotated[
        float | None,
        typer.Option(
            help="Queries are grouped by the references so near their truth, km; by default the "
            "middle distance."
        ),
    ] = None,
    within_km: WithinOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report on a stored evaluation: figures with 95 % intervals, or a file.

    Everything is computed from the stored answers, so it can be done at any time.

    Example: geosearch report 7 -o report.html
    """
    if output is not None:
        check_ending("-o", output, _REPORT_ENDINGS)
    from geosearch.report import summarize

    with database(context) as opened:
        summary = summarize(opened, evaluation, radius_km=radius_km, within_km=_within(within_km))
        if output is not None:
            _write_report(opened, summary, output)
    _answer(as_json, summary.to_json(), lambda: _print_summary(summary), output)


def compare(
    context: typer.Context,
    evaluations: Annotated[
        list[int],
        typer.Argument(help="Evaluations: the first with each other. Or one of a sweep."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the comparison as .html.")
    ] = None,
    within_km: WithinOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare evaluations of the same queries, query by query, with paired tests.

    One evaluation of a sweep alone stands for the sweep: the one that has the answers is compared
    with all others.

    Example: geosearch compare 7 8 -o comparison.html
    """
    if output is not None:
        check_ending("-o", output, (".html",))
    from geosearch.report import compare as compare_evaluations

    with database(context) as opened:
        found = compare_evaluations(opened, evaluations, within_km=_within(within_km))
    if output is not None:
        # Matplotlib takes a while to import: only for this.
        from geosearch.report.comparison_page import write_comparison

        write_comparison(output, found)
    _answer(as_json, {"comparisons": found}, lambda: _print_comparisons(found), output)


def _within(given: str | None) -> tuple[float, ...] | None:
    return None if given is None else thresholds("within_km", given)


def _answer(
    as_json: bool, value: dict[str, Any], show: Callable[[], None], output: Path | None
) -> None:
    """Print what was found, and the file it was written to, if any."""
    answer(as_json, value | {"output": output}, show)
    if output is not None and not as_json:
        say(str(output))


def _write_report(opened: Database, summary: Summary, output: Path) -> None:
    if output.suffix.lower() == ".csv":
        from geosearch.report import write_csv

        write_csv(output, summary)
    elif output.suffix.lower() == ".png":
        from geosearch.report.evaluation_picture import draw_report

        draw_report(output, summary)
    else:
        from geosearch.report.evaluation_page import write_report

        write_report(output, opened, summary)


def _print_list(found: Sequence[Evaluated]) -> None:
    # Distances without units: the table has to fit a terminal.
    for within_km, items in groupby(found, key=lambda item: item.within_km):
        unit, scale = ("m", 1000) if within_km[-1] < 10 else ("km", 1)
        columns = [f"{scale * km:,g}" for km in within_km]
        made = Table("id", "run", "queries", "n", *columns, text={"run", "queries"})
        for evaluation in items:
            # Whole paths are in the JSON.
            queries = PurePosixPath(evaluation.queries).name
            made.add_row(str(evaluation.id), evaluation.title, queries, *_shares(evaluation))
        say(f"% of the queries within so many {unit}")
        made.print()
    if not found:
        say("none yet; geosearch evaluate QUERIES.csv makes one")


def _print_summary(summary: Summary) -> None:
    from geosearch.report.reliability import TRUST_COLUMNS, trust_cells

    found = summary.figures
    made = Table("error", "queries", "95 % interval")
    for km, share in found.accuracy.within.items():
        made.add_row(f"within {threshold(km)}", percent(share), percents(found.within[km]))
    made.add_row("median", format_km(found.accuracy.median_km), distances(found.median_km))
    made.add_row("mean", format_km(found.accuracy.mean_km), distances(found.mean_km))
    say(summary.headline)
    made.print()
    if summary.areas is not None:
        made = Table("truths", "inside the densest")
        for part, km2 in summary.areas.holding_km2.items():
            made.add_row(f"{part} %", format_km2(km2))
        made.print()
    say(f"calibration {summary.evaluation.calibration or 'none'}")
    say(f"flagged: {counted(summary.evaluation.flagged)}")
    if summary.coverage:
        made = Table("region", "truths inside", "95 % interval")
        for item in summary.coverage:
            made.add_row(f"{item.level:.0%}", percent(item.share), percents(item.interval))
        made.print()
    if summary.probabilities:
        made = Table("probability within", "came true", "Brier", "calibration error")
        for km, found_at in summary.probabilities.items():
            made.add_row(
                threshold(km),
                percent(found_at.share),
                f"{found_at.brier:.4f}",
                percent(found_at.calibration_error),
            )
        made.print()
    for by, kinds in summary.by_kind.items():
        made = Table(by.replace("_", " "), "n", *TRUST_COLUMNS, text={by.replace("_", " ")})
        for kind in kinds:
            made.add_row(kind.kind, f"{kind.n:,}", *trust_cells(kind))
        made.print()
    for name, groups in (
        ("continent", summary.by_continent),
        (f"references within {threshold(summary.radius_km)}", summary.by_density),
    ):
        if groups:
            _grouped(name, groups, summary.within_km).print()
    for text in (*summary.left_out, *summary.notes):
        note(text)


def _grouped(name: str, groups: Sequence[Group], within_km: Sequence[float]) -> Table:
    made = Table(name, "n", *map(threshold, within_km), text={name})
    for group in groups:
        found = group.figures.accuracy
        made.add_row(group.name, f"{found.n:,}", *map(percent, found.within.values()))
    return made


def _print_comparisons(found: Sequence[Comparison]) -> None:
    if len(found) == 1:
        _print_pair(found[0])
        return
    # One row a run: difference in points from the first, starred where p is below 0.01.
    first = found[0]
    made = Table("run", "n", *map(threshold, first.within_km), "median", text={"run"})
    accuracy = first.first_figures.accuracy
    made.add_row(
        first.first.name,
        f"{accuracy.n:,}",
        *(percent(share) for share in accuracy.within.values()),
        format_km(accuracy.median_km),
    )
    for item in found:
        made.add_row(
            item.second.name,
            f"{item.n:,}",
            *(points(test.difference) + "*" * (test.p_value < 0.01) for test in item.thresholds),
            format_km(item.second_figures.accuracy.median_km),
        )
    made.print()
    say(
        "Differences from the first run in percentage points; * p < 0.01 (McNemar's exact test).",
    )


def _print_pair(item: Comparison) -> None:
    made = Table("error", str(item.first.id), str(item.second.id), "difference", "95 %", "p")
    for test in item.thresholds:
        made.add_row(
            f"within {threshold(test.km)}",
            percent(item.first_figures.accuracy.within[test.km]),
            percent(item.second_figures.accuracy.within[test.km]),
            points(test.difference),
            points_between(test.interval),
            p_value(test.p_value),
        )
    made.add_row(
        "median",
        format_km(item.first_figures.accuracy.median_km),
        format_km(item.second_figures.accuracy.median_km),
    )
    first, second = item.areas
    if first is not None and second is not None:
        for part, km2 in first.holding_km2.items():
            made.add_row(
                f"{part} % in the densest",
                format_km2(km2),
                format_km2(second.holding_km2[part]),
            )
    for evaluation in (item.first, item.second):
        say(f"{evaluation.name}, {evaluation.model}")
        say(f"  calibration {evaluation.calibration or 'none'}")
        say(f"  flagged: {counted(evaluation.flagged)}")
    say(f"{item.n:,} common queries")
    made.print()
    say(item.verdict)
    for text in item.left_out:
        note(text)


def _shares(evaluation: Evaluated) -> list[str]:
    if evaluation.n is None or evaluation.accuracy is None:
        return ["stopped", *["–"] * len(evaluation.within_km)]
    shares = evaluation.accuracy
    return [f"{evaluation.n:,}", *(f"{100 * shares[str(km)]:.1f}" for km in evaluation.within_km)]
