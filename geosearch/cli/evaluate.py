"""`geosearch evaluate` and `sweep`: how far from the truth are the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from geosearch.cli.console import JsonOption, database, err, out, print_json, progress_bar, table
from geosearch.cli.options import (
    BandwidthOption,
    CalibrationOption,
    DeviceOption,
    DuplicateDistanceOption,
    ExactOption,
    IncludeAuthorOption,
    IncludeSelfOption,
    LeaveOneOutOption,
    MinPresenceOption,
    ModelOption,
    NoCalibrationOption,
    OpenKOption,
    PartitionsOption,
    RestrictCellsOption,
    SampleOption,
    WeightingOption,
    filtered,
    make_request,
)
from geosearch.density import DEFAULT_WEIGHTING
from geosearch.errors import EXIT_SOME_REJECTED, InputError, Reason
from geosearch.evaluation import THRESHOLDS_KM, Evaluation, QuerySet, evaluate_each, leakage
from geosearch.evaluation.sets import SETS, read_set
from geosearch.evaluation.sweep import Sweep, grid
from geosearch.features import DEFAULT_MODEL
from geosearch.localization import Parameters, Request
from geosearch.report.figure_words import distances, kilometres, percent, percents
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import DUPLICATE_DISTANCE, Exclusions

Item = TypeVar("Item")

#: Photos named in the terminal; the database and --json have all.
_NAMED = 10

QueriesArgument = Annotated[
    str | None,
    typer.Argument(help="Manifest with uri, lat, lon and, if known, author; or a set's table."),
]
SetOption = Annotated[
    str | None, typer.Option("--set", help=f"A test set of the field: {', '.join(SETS)}.")
]
ImagesOption = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="Where the images of the set are.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of --sample.")]
IncludeDuplicatesOption = Annotated[
    bool, typer.Option("--include-duplicates", help="Let a query find its near-duplicates.")
]


@filtered
def evaluate(
    context: typer.Context,
    queries: QueriesArgument = None,
    set_name: SetOption = None,
    images: ImagesOption = None,
    leave_one_out: LeaveOneOutOption = False,
    sample: SampleOption = None,
    seed: SeedOption = 0,
    model: ModelOption = DEFAULT_MODEL,
    k: OpenKOption = None,
    method: Annotated[
        str,
        typer.Option(
            "--method", "--methods", help="density, nearest, im2gps, geocell, or several: a,b"
        ),
    ] = "density",
    bandwidth_km: BandwidthOption = None,
    weighting: WeightingOption = None,
    restrict_cells: RestrictCellsOption = None,
    partitions: PartitionsOption = None,
    calibration: CalibrationOption = None,
    no_calibration: NoCalibrationOption = False,
    min_presence: MinPresenceOption = None,
    include_self: IncludeSelfOption = False,
    include_duplicates: IncludeDuplicatesOption = False,
    include_author: IncludeAuthorOption = False,
    duplicate_distance: DuplicateDistanceOption = DUPLICATE_DISTANCE,
    regions: Annotated[bool, typer.Option("--regions", help="Store the answers' regions.")] = False,
    exact: ExactOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Localize labelled queries and report accuracy; answers and figures stay in the database.

    References with the query's bytes, its near-duplicates and those of its author are left out
    and counted. Several methods are compared on the same neighbours. The classifiers of --method
    geocell have seen the photos they were trained on: with --leave-one-out they look too good.

    Example: geosearch evaluate queries.csv --method im2gps --json

    Example: geosearch evaluate im2gps3k_places365.csv --set im2gps3k --images im2gps3ktest

    Example: geosearch evaluate --leave-one-out --collection holidays --sample 500
    """
    names = _list("--method", method, str)
    # A calibration is of the density; the other methods stand beside it, not for it.
    calibrated = "density" if "density" in names else names[0]
    # Beside method geocell, the others are not asked to use its partitions, nor it what is theirs.
    cells = "geocell" in names
    of_neighbours = (k, bandwidth_km, weighting)
    parameters = [
        make_request(
            name,
            *((None,) * 3 if name == "geocell" and len(names) > 1 else of_neighbours),
            exact,
            calibration if name == calibrated else None,
            no_calibration,
            min_presence if name == calibrated else None,
            None if name == "geocell" else restrict_cells,
            partitions if restrict_cells is not None or name == "geocell" or not cells else None,
        )
        for name in names
    ]
    results = _run(
        context,
        "evaluate",
        _queries(queries, set_name, images, leave_one_out),
        parameters,
        model=model,
        where=where,
        exclusions=_exclusions(
            include_self, include_duplicates, include_author, duplicate_distance
        ),
        regions=regions,
        sample=sample,
        seed=seed,
        device=device,
    )
    sweep = Sweep(tuple(results)) if len(results) > 1 else None
    if as_json:
        print_json(results[0].to_json() if sweep is None else sweep.to_json())
    elif sweep is None:
        _print_one(results[0])
    else:
        _print_sweep(sweep)
    _finish(results[0], as_json)


@filtered
def sweep(
    context: typer.Context,
    queries: QueriesArgument = None,
    set_name: SetOption = None,
    images: ImagesOption = None,
    leave_one_out: LeaveOneOutOption = False,
    sample: SampleOption = None,
    seed: SeedOption = 0,
    model: ModelOption = DEFAULT_MODEL,
    k: Annotated[str, typer.Option("--k", help="Numbers of neighbours: a,b")] = "1,10,100",
    method: Annotated[
        str, typer.Option("--method", "--methods", help="Methods: a,b")
    ] = "nearest,im2gps,density",
    bandwidth_km: Annotated[
        str, typer.Option("--bandwidth-km", help="Bandwidths of the density: a,b")
    ] = "50,200,800",
    weighting: Annotated[
        str, typer.Option(help="Neighbour weights, power:N, softmax:T or uniform: a,b")
    ] = DEFAULT_WEIGHTING,
    include_self: IncludeSelfOption = False,
    include_duplicates: IncludeDuplicatesOption = False,
    include_author: IncludeAuthorOption = False,
    duplicate_distance: DuplicateDistanceOption = DUPLICATE_DISTANCE,
    exact: ExactOption = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the table there too.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Evaluate all combinations of method, k, bandwidth and weighting on the same neighbours.

    Neighbours are retrieved once, at the largest k. The best at each distance are marked.

    Example: geosearch sweep queries.csv --k 1,10,100 --bandwidth-km 50,200,800 --csv sweep.csv
    """
    if csv_file is not None and not csv_file.absolute().parent.is_dir():
        raise InputError(f"--csv {csv_file}: its folder does not exist")
    combinations = grid(
        _list("--method", method, str),
        _list("--k", k, int),
        _list("--bandwidth-km", bandwidth_km, float),
        _list("--weighting", weighting, str),
        exact=exact,
    )
    results = _run(
        context,
        "sweep",
        _queries(queries, set_name, images, leave_one_out),
        combinations,
        model=model,
        where=where,
        exclusions=_exclusions(
            include_self, include_duplicates, include_author, duplicate_distance
        ),
        sample=sample,
        seed=seed,
        device=device,
    )
    made = Sweep(tuple(results))
    if csv_file is not None:
        made.write_csv(csv_file)
    if as_json:
        print_json(made.to_json())
    else:
        _print_sweep(made)
    _finish(results[0], as_json)


def _run(
    context: typer.Context,
    task_name: str,
    queries: str | QuerySet | None,
    parameters: Sequence[Parameters | Request],
    **options: Any,
) -> list[Evaluation]:
    with database(context) as opened, progress_bar("queries") as progress:
        task = progress.add_task(task_name, total=None)
        return evaluate_each(
            opened,
            queries,
            parameters,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            **options,
        )


def _queries(
    queries: str | None, set_name: str | None, images: str | None, leave_one_out: bool
) -> str | QuerySet | None:
    """The queries that the options name; None for leave-one-out."""
    if leave_one_out:
        if queries is not None or set_name is not None or images is not None:
            raise InputError("--leave-one-out takes its queries from the database", "Give no file.")
        return None
    if (set_name is None) != (images is None):
        raise InputError("--set and --images go together", "Give both, or neither.")
    if set_name is not None and images is not None:
        found = read_set(set_name, images, queries)
        missing = sum(item.reason is Reason.MISSING for item in found.failures)
        labels, published = len(found) + missing, SETS[set_name].labels
        if labels != published:
            err.print(
                f"{set_name} has {published:,} labels as published; here are {labels:,}",
                highlight=False,
            )
        return found
    if queries is None:
        raise InputError(
            "there is nothing to evaluate",
            "Give a manifest, --leave-one-out, or --set and --images.",
        )
    return queries


def _exclusions(
    include_self: bool, include_duplicates: bool, include_author: bool, distance: float
) -> Exclusions:
    return leakage(not include_self, None if include_duplicates else distance, not include_author)


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
    made = table("error", f"{figures.accuracy.n} queries", "95 % interval")
    for km, share in figures.accuracy.within.items():
        ends = figures.within[km]
        made.add_row(f"within {km:,} km", percent(share), percents(ends))
    for name, value, interval in (
        ("median", figures.accuracy.median_km, figures.median_km),
        ("mean", figures.accuracy.mean_km, figures.mean_km),
    ):
        made.add_row(name, kilometres(value), distances(interval))
    method = result.parameters["method"]
    out.print(f"evaluation {result.id}: {method}, {result.model}", highlight=False, markup=False)
    out.print(made)


def _print_sweep(sweep: Sweep) -> None:
    first = sweep.evaluations[0]
    weightings = {item.parameters["weighting"] for item in sweep.evaluations}
    weighted = len(weightings - {None}) > 1
    made = table(
        *("id", "method", "k", "km", *(["weights"] if weighted else [])),
        *(f"{km:,}" for km in THRESHOLDS_KM),
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
            "" if width is None else f"{width:g}",
            *([parameters["weighting"] or ""] if weighted else []),
            *shares,
            "-" if median is None else f"{median:,.0f}",
        )
    title = f"{first.accuracy.n} queries, {first.model}: % within km"
    out.print(title, highlight=False, markup=False)
    out.print(made)
    if sweep.pattern is not None:
        out.print(sweep.pattern.sentence, highlight=False)


def _finish(result: Evaluation, as_json: bool) -> None:
    """What was left out or could not be used; the exit code says if some could not."""
    if not as_json:
        out.print(f"references left out: {result.excluded}", highlight=False)
    if result.unanswered:
        err.print(f"{result.unanswered} queries had no neighbours and count as misses")
        if result.excluded.author:
            err.print("(photos of a query's author are left out; see --include-author)")
    for reason, count in result.failed.items():
        err.print(f"{count} queries could not be used: {reason}", highlight=False)
    for reason in (Reason.MISSING, Reason.UNLABELLED):
        names = result.named(reason)
        if names:
            more = f" and {len(names) - _NAMED:,} more (--json)" if len(names) > _NAMED else ""
            listed = ", ".join(names[:_NAMED])
            err.print(f"{reason}: {listed}{more}", highlight=False, markup=False, soft_wrap=True)
    if result.failures:
        raise typer.Exit(EXIT_SOME_REJECTED)
