"""`geosearch evaluate`: how far from the truth are the answers."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, err, out, print_json, progress_bar, table
from geosearch.cli.options import (
    BandwidthOption,
    DeviceOption,
    ExactOption,
    KOption,
    MethodOption,
    ModelOption,
    WeightingOption,
    filtered,
)
from geosearch.errors import EXIT_SOME_REJECTED
from geosearch.evaluation import Evaluation, leakage
from geosearch.evaluation import evaluate as evaluate_queries
from geosearch.features import DEFAULT_MODEL
from geosearch.localization import Parameters
from geosearch.retrieval import Filter


@filtered
def evaluate(
    context: typer.Context,
    queries: Annotated[str, typer.Argument(help="Manifest with uri, lat, lon.")],
    model: ModelOption = DEFAULT_MODEL,
    k: KOption = 100,
    method: MethodOption = "density",
    bandwidth_km: BandwidthOption = None,
    weighting: WeightingOption = None,
    include_self: Annotated[
        bool, typer.Option("--include-self", help="Let a query find its own bytes.")
    ] = False,
    exact: ExactOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Localize labelled queries and report accuracy; answers and figures stay in the database.

    References with the same bytes as the query are left out, so that a collection can be
    evaluated on its own manifest.

    Example: geosearch evaluate queries.csv --method im2gps --json
    """
    parameters = Parameters(method, k, bandwidth_km, weighting, exact)
    with database(context) as opened, progress_bar("queries") as progress:
        task = progress.add_task("evaluate", total=None)
        result = evaluate_queries(
            opened,
            queries,
            model=model,
            parameters=parameters,
            where=where,
            exclusions=leakage(not include_self),
            device=device,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if as_json:
        print_json(result.to_json())
    else:
        _print(result)
    if result.failed:
        raise typer.Exit(EXIT_SOME_REJECTED)


def _print(result: Evaluation) -> None:
    figures = result.accuracy
    # Upright: side by side, the figures are wider than a terminal.
    made = table("error", f"{figures.n} queries")
    for km, share in figures.within.items():
        made.add_row(f"within {km:,} km", f"{share:.1%}")
    made.add_row("median", _km(figures.median_km))
    made.add_row("mean", _km(figures.mean_km))
    method = result.parameters["method"]
    out.print(f"evaluation {result.id}: {method}, {result.model}", highlight=False)
    out.print(made)
    if result.unanswered:
        err.print(f"{result.unanswered} queries had no neighbours and count as misses")
    for reason, count in result.failed.items():
        err.print(f"{count} queries could not be used: {reason}", highlight=False)


def _km(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} km"
