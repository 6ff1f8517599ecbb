"""`geosearch calibrate` and `calibrations`: make answers mean what they say."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.calibration import Calibration, find_calibration
from geosearch.calibration.calibration_rows import list_calibrations, remove_calibration
from geosearch.cli.console import JsonOption, database, err, out, print_json, progress_bar, table
from geosearch.cli.options import (
    DeviceOption,
    DuplicateDistanceOption,
    ExactOption,
    IncludeAuthorOption,
    IncludeSelfOption,
    KOption,
    LeaveOneOutOption,
    ModelOption,
    SampleOption,
    filtered,
)
from geosearch.errors import InputError
from geosearch.evaluation import leakage
from geosearch.evaluation.calibrating import ABSENT_KM, FEW
from geosearch.evaluation.calibrating import calibrate as calibrate_queries
from geosearch.features import DEFAULT_MODEL
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import DUPLICATE_DISTANCE


@filtered
def calibrate(
    context: typer.Context,
    queries: Annotated[
        str | None,
        typer.Argument(help="Manifest with uri, lat, lon and, if known, author."),
    ] = None,
    leave_one_out: LeaveOneOutOption = False,
    model: ModelOption = DEFAULT_MODEL,
    k: KOption = 100,
    absent_km: Annotated[
        float,
        typer.Option(help="Hide references so near to the truth to learn what absence is like."),
    ] = ABSENT_KM,
    sample: SampleOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the halves and of --sample.")] = 0,
    include_self: IncludeSelfOption = False,
    include_author: IncludeAuthorOption = False,
    duplicate_distance: DuplicateDistanceOption = DUPLICATE_DISTANCE,
    exact: ExactOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Fit bandwidth, weighting, regions and probabilities to labelled queries.

    One half of the queries is fitted to, the other gives the figures; queries of one place or
    author stay together. The calibration is recorded, and from then on `geosearch localize` uses
    the latest one of its model: the one made with the same filter, or else with none.

    Example: geosearch calibrate queries.csv --json
    """
    if (queries is None) != leave_one_out:
        raise InputError("give a manifest of queries, or --leave-one-out, and not both")
    with database(context) as opened, progress_bar("queries") as progress:
        task = progress.add_task("calibrate", total=None)
        made = calibrate_queries(
            opened,
            queries,
            model=model,
            k=k,
            where=where,
            exclusions=leakage(not include_self, duplicate_distance, not include_author),
            exact=exact,
            absent_km=absent_km,
            sample=sample,
            seed=seed,
            device=device,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if made.n_fit < FEW or made.n_check < FEW:
        err.print(
            f"{made.n_fit} queries were fitted to and {made.n_check} held out: "
            f"fewer than {FEW} of either make loose levels and figures",
            highlight=False,
        )
    if made.failed:
        err.print(f"{made.failed} queries could not be used", highlight=False)
    if as_json:
        print_json(made.to_json())
    else:
        _print(made)


app = typer.Typer(help="Calibrations in the database.", no_args_is_help=True)

IdArgument = Annotated[int, typer.Argument(metavar="ID", help="Id of the calibration.")]


@app.callback()
def calibrations() -> None:
    """Calibrations in the database."""


@app.command("list")
def list_all(context: typer.Context, as_json: JsonOption = False) -> None:
    """List all calibrations, oldest first.

    Example: geosearch calibrations list
    """
    with database(context) as opened, opened.connection() as connection:
        found = list_calibrations(connection)
    if as_json:
        print_json([item.to_json() for item in found])
        return
    made = table("id", "made", "model", "filter", "queries", text=["model", "filter", "queries"])
    for item in found:
        day = "" if item.created_at is None else f"{item.created_at:%Y-%m-%d}"
        made.add_row(
            str(item.id), day, item.model, str(item.where), f"{item.queries} ({item.n_fit})"
        )
    out.print(made)


@app.command()
def show(context: typer.Context, calibration_id: IdArgument, as_json: JsonOption = False) -> None:
    """Show a calibration and its figures.

    Example: geosearch calibrations show 3
    """
    with database(context) as opened, opened.connection() as connection:
        found = find_calibration(connection, calibration_id)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)


@app.command()
def remove(context: typer.Context, calibration_id: IdArgument, as_json: JsonOption = False) -> None:
    """Remove a calibration. Answers that used it stay, and can still be reproduced.

    Example: geosearch calibrations remove 3
    """
    with database(context) as opened, opened.connection() as connection:
        remove_calibration(connection, calibration_id)
    if as_json:
        print_json({"removed": calibration_id})
    else:
        out.print(f"calibration {calibration_id} removed", highlight=False)


def _print(made: Calibration) -> None:
    fitted, figures = made.fitted, made.figures
    before = figures["before"]
    out.print(f"calibration {made.id}: {made.model}, filter: {made.where}", highlight=False)
    out.print(
        f"k {fitted.k}, {fitted.weighting}, {fitted.bandwidth_km:g} km, "
        f"sharpness {fitted.sharpness:g}; fitted to {made.n_fit} queries of {made.queries}",
        highlight=False,
        markup=False,
    )
    shown = table(f"{made.n_check} held-out queries", "defaults", "calibrated")
    shown.add_row(
        "log-likelihood", f"{before['log_likelihood']:.3f}", f"{figures['log_likelihood']:.3f}"
    )
    for level, share in figures["coverage"].items():
        shown.add_row(
            f"truth in {level} % region", f"{before['coverage'][level]:.1%}", f"{share:.1%}"
        )
    for level, share in figures["radius_coverage"].items():
        shown.add_row(f"truth in {level} % radius", "", f"{share:.1%}")
    for km, share in figures["accuracy"].items():
        shown.add_row(f"within {int(km):,} km", f"{before['accuracy'][km]:.1%}", f"{share:.1%}")
    for km, score in figures["brier"].items():
        shown.add_row(f"Brier score, {int(km):,} km", "", f"{score:.4f}")
    out.print(shown)
    absence = figures["absence"]
    if absence is None:
        out.print("too few absent copies of the queries to learn what absence is like")
        return
    out.print(
        f'"not in this collection" below presence {fitted.min_presence:.3f}: catches '
        f"{absence['caught']:.1%} of absent queries, false alarms {absence['false_alarms']:.1%}",
        highlight=False,
    )
