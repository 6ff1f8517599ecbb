"""`geosearch evaluate` and `sweep`: how far from the truth are the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from geosearch.arguments import read_named
from geosearch.cli import options
from geosearch.cli.console import JsonOption, Table, answer, database, note, progress, say
from geosearch.cli.options import option
from geosearch.defaults import DEFAULT_WEIGHTING
from geosearch.errors import EXIT_SOME_REJECTED, InputError, Reason
from geosearch.words import (
    counted,
    distances,
    format_km,
    format_km2,
    number_of,
    percent,
    percents,
    threshold,
)

if TYPE_CHECKING:
    from geosearch.evaluation import Evaluation
    from geosearch.evaluation.sweep import Sweep
    from geosearch.localization import Parameters, Request

Item = TypeVar("Item")

#: Photos named in the terminal; the database and --json have all.
_NAMED = 10


@options.taking(
    *(options.MODELS, option("regions", bool, "Store the answers' regions."), options.DEVICE),
    *(options.WITHIN, options.SAMPLE, options.SEED),
    queries=options.make_queries,
    parameters=options.make_parameters,
    exclusions=options.make_leakage,
    where=options.make_filter,
)
def evaluate(
    context: typer.Context,
    as_json: JsonOption = False,
    *,
    parameters: dict[str, Any],
    **given: Any,
) -> None:
    """Localize labelled queries and report accuracy; answers and figures stay in the database.

    References with the query's bytes, its near-duplicates and those of its author are left out
    and counted. The classifiers of --method geocell have seen the photos they were trained on: with
    --leave-one-out they look too good. `geosearch sweep` evaluates several methods at once.

    Example: geosearch evaluate queries.csv --method im2gps --json

    Example: geosearch evaluate im2gps3k_places365.csv --set im2gps3k --images im2gps3ktest

    Example: geosearch evaluate --leave-one-out --collection holidays --sample 500

    Example: geosearch evaluate queries.csv --model packaged/efficientnet-lite0 --model file:b.pt
    """
    from geosearch.localization import Request

    (result,) = _run(context, "evaluate", [Request.from_json(parameters)], given)
    answer(as_json, result, lambda: _print_one(result))
    _finish(result, as_json)


_WEIGHTINGS = "Neighbour weights, power:N, softmax:T or uniform: a,b"
_METHODS = "nearest,im2gps,density"


@options.of_options(
    option("k", str, "Numbers of neighbours: a,b", default="1,10,100"),
    option("method", str, "Methods: a,b", default=_METHODS),
    option("bandwidth_km", str, "Bandwidths of the density, km or auto: a,b", default="auto"),
    option("weighting", str, _WEIGHTINGS, default=DEFAULT_WEIGHTING),
    options.EXACT,
    options.VERIFY,
)
def make_grid(given: dict[str, Any]) -> list[Parameters]:
    """All combinations of these options.

    Raises
    ------
    InputError
        One cannot be read.
    """
    from geosearch.evaluation.sweep import grid

    return grid(
        _list("--method", given["method"], str),
        _list("--k", given["k"], int),
        _list("--bandwidth-km", given["bandwidth_km"], _bandwidth),
        _list("--weighting", given["weighting"], str),
        exact=given["exact"],
        verify=given["verify"],
    )


@options.taking(
    *(options.MODELS, options.DEVICE, options.WITHIN, options.SAMPLE, options.SEED),
    combinations=make_grid,
    queries=options.make_queries,
    exclusions=options.make_leakage,
    where=options.make_filter,
)
def sweep(
    context: typer.Context,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the table there too.")
    ] = None,
    as_json: JsonOption = False,
    *,
    combinations: list[Parameters],
    **given: Any,
) -> None:
    """Evaluate all combinations of method, k, bandwidth and weighting on the same neighbours.

    Neighbours are retrieved once, at the largest k. The best at each distance are marked. Several
    --model answer together, by --method density.

    Example: geosearch sweep queries.csv --k 1,10,100 --bandwidth-km 50,200,800 --csv sweep.csv
    """
    from geosearch.evaluation.sweep import Sweep

    if csv_file is not None and not csv_file.absolute().parent.is_dir():
        raise InputError(f"--csv {csv_file}: its folder does not exist")
    results = _run(context, "sweep", combinations, given)
    made = Sweep(tuple(results))
    if csv_file is not None:
        made.write_csv(csv_file)
    answer(as_json, made, lambda: _print_sweep(made))
    _finish(results[0], as_json)


def _run(
    context: typer.Context,
    task_name: str,
    parameters: Sequence[Parameters | Request],
    given: dict[str, Any],
) -> list[Evaluation]:
    from geosearch.evaluation import evaluate_each

    with database(context) as opened, progress(task_name, "queries") as report:
        given["within_km"] = read_named(given).get("within_km")
        return evaluate_each(opened, parameters=parameters, **given, progress=report)


def _bandwidth(text: str) -> float | None:
    return None if text == "auto" else float(text)


def _list(option: str, text: str, read: Callable[[str], Item]) -> list[Item]:
    try:
        found = [read(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"{option} {text!r}: {error}", f"For example: {option} 1,10,100") from None
    if not found:
        raise InputError(f"{option} is empty", "Give one value, or several with commas.")
    return found


def _print_one(result: Evaluation) -> None:
    figures = result.figures
    # Upright: side by side, the figures are wider than a terminal.
    made = Table("error", f"{figures.accuracy.n} queries", "95 % interval")
    for km, share in figures.accuracy.within.items():
        ends = figures.within[km]
        made.add_row(f"within {threshold(km)}", percent(share), percents(ends))
    for name, value, interval in (
        ("median", figures.accuracy.median_km, figures.median_km),
        ("mean", figures.accuracy.mean_km, figures.mean_km),
    ):
        made.add_row(name, format_km(value), distances(interval))
    if result.areas is not None:
        for part, km2 in result.areas.holding_km2.items():
            made.add_row(f"{part} % of the truths in the densest", format_km2(km2), "")
    method = result.parameters["method"]
    say(f"evaluation {result.id}: {method}, {result.model}")
    made.print()
    say(f"calibration {result.calibration or 'none'}")
    say(f"flagged: {counted(result.flagged)}")


def _print_sweep(sweep: Sweep) -> None:
    first = sweep.evaluations[0]
    weightings = {item.parameters["weighting"] for item in sweep.evaluations}
    weighted = len(weightings - {None}) > 1
    made = Table(
        *("id", "method", "k", "width", *(["weights"] if weighted else [])),
        *map(threshold, sweep.within_km),
        "median",
        text=("method",),
    )
    best = {km: item.hits(km) for km, item in sweep.best.items()}
    for item in sweep.evaluations:
        parameters = item.parameters
        width = parameters["bandwidth_km"]
        shares = [
            f"{100 * share:.1f}{'*' if 0 < item.hits(km) == best[km] else ' '}"
            for km, share in item.accuracy.within.items()
        ]
        median = item.accuracy.median_km
        made.add_row(
            str(item.id),
            parameters["method"],
            str(parameters["k"]),
            "" if width is None else threshold(width),
            *([parameters["weighting"] or ""] if weighted else []),
            *shares,
            format_km(median),
        )
    title = f"{first.accuracy.n} queries, {first.model}: % within a distance"
    say(title)
    made.print()
    if sweep.pattern is not None:
        say(sweep.pattern.sentence)


def _finish(result: Evaluation, as_json: bool) -> None:
    """What was left out or could not be used; the exit code says if some could not."""
    if not as_json:
        say(f"references left out: {result.excluded}")
    if result.remark:
        note(result.remark)
    for reason, count in result.failed.items():
        note(f"{number_of(count, 'query', 'queries')} could not be used: {reason}")
    for reason in (Reason.MISSING, Reason.UNLABELLED):
        names = result.named(reason)
        if names:
            more = f" and {len(names) - _NAMED:,} more (--json)" if len(names) > _NAMED else ""
            listed = ", ".join(names[:_NAMED])
            note(f"{reason}: {listed}{more}")
    if result.failures:
        raise typer.Exit(EXIT_SOME_REJECTED)
