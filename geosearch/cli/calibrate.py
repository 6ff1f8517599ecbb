"""`geosearch calibrate` and `calibrations`: make answers mean what they say."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.calibration import Calibration, find_calibration
from geosearch.calibration.calibration_rows import list_calibrations, remove_calibration
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import (
    JsonOption,
    Table,
    answer,
    database,
    note,
    print_json,
    print_rows,
    progress,
    say,
)
from geosearch.cli.options import (
    Asked,
    DeviceOption,
    ExactOption,
    KOption,
    ModelOption,
    make_filter,
    make_leakage,
    make_queries,
    taking,
)
from geosearch.evaluation.calibrating import ABSENT_KM, FEW
from geosearch.evaluation.calibrating import calibrate as calibrate_queries
from geosearch.features import DEFAULT_MODEL
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import Exclusions


@taking(asked=make_queries, exclusions=make_leakage, where=make_filter)
def calibrate(
    context: typer.Context,
    model: ModelOption = DEFAULT_MODEL,
    k: KOption = 100,
    absent_km: Annotated[
        float,
        typer.Option(help="Hide references so near to the truth to learn what absence is like."),
    ] = ABSENT_KM,
    exact: ExactOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    asked: Asked,
    exclusions: Exclusions,
    where: Filter,
) -> None:
    """Fit bandwidth, weighting, regions and probabilities to labelled queries.

    One half of the queries is fitted to, the other gives the figures; queries of one place or
    author stay together. The calibration is recorded, and from then on `geosearch localize` uses
    the latest one of its model: the one made with the same filter, or else with none.

    Example: geosearch calibrate queries.csv --json
    """
    with database(context) as opened, progress("calibrate", "queries") as report:
        made = calibrate_queries(
            opened,
            asked.queries,
            model=model,
            k=k,
            where=where,
            exclusions=exclusions,
            exact=exact,
            absent_km=absent_km,
            sample=asked.sample,
            seed=asked.seed,
            device=device,
            progress=report,
        )
    if made.n_fit < FEW or made.n_check < FEW:
        note(
            f"{made.n_fit} queries were fitted to and {made.n_check} held out: "
            f"fewer than {FEW} of either make loose levels and figures",
        )
    if made.failed:
        note(f"{made.failed} queries could not be used")
    if as_json:
        print_json(made.to_json())
    else:
        _print(made)


app = command_group(
    """Calibrations in the database; `geosearch calibrate` makes one.

    Example: geosearch calibrations list
    """
)

IdArgument = Annotated[int, typer.Argument(metavar="ID", help="Id of the calibration.")]


@app.command("list")
def list_all(context: typer.Context, as_json: JsonOption = False) -> None:
    """List all calibrations, oldest first.

    Example: geosearch calibrations list
    """
    with database(context) as opened, opened.connection() as connection:
        found = list_calibrations(connection)
    rows = [
        (
            str(item.id),
            "" if item.created_at is None else f"{item.created_at:%Y-%m-%d}",
            item.model,
            str(item.where),
            f"{item.queries} ({item.n_fit})",
        )
        for item in found
    ]
    names = ("id", "made", "model", "filter", "queries")
    none = "none yet; geosearch calibrate QUERIES.csv makes one"
    print_rows(as_json, [item.to_json() for item in found], names, rows, names[2:], none)


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
    answer(as_json, {"removed": calibration_id}, f"calibration {calibration_id} removed")


def _print(made: Calibration) -> None:
    fitted, figures = made.fitted, made.figures
    before = figures["before"]
    say(f"calibration {made.id}: {made.model}, filter: {made.where}")
    say(
        f"k {fitted.k}, {fitted.weighting}, {fitted.bandwidth_km:g} km, "
        f"sharpness {fitted.sharpness:g}; fitted to {made.n_fit} queries of {made.queries}",
    )
    shown = Table(f"{made.n_check} held-out queries", "defaults", "calibrated")
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
    shown.print()
    absence = figures["absence"]
    if absence is None:
        say("too few absent copies of the queries to learn what absence is like")
        return
    say(
        f'"not in this collection" below presence {fitted.min_presence:.3f}: catches '
        f"{absence['caught']:.1%} of absent queries, false alarms {absence['false_alarms']:.1%}",
    )
