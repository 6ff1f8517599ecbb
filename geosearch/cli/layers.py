"""`geosearch layers`: what the GIS layers need beside the data."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, connected, database, progress
from geosearch.errors import InputError
from geosearch.words import number_of

app = command_group(
    """Maintain the layers for GIS.

    Example: geosearch layers refresh
    """
)


@app.command()
def refresh(
    context: typer.Context,
    collection: Annotated[
        str | None, typer.Option("--collection", help="Only the photos of this collection.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count again how many photos there are in each cell of the layer gis_coverage.

    Ingest does so by itself; this is for photos changed or removed by other means.

    Example: geosearch layers refresh --collection mine
    """
    from geosearch.database.coverage import refresh_coverage

    with connected(context) as connection:
        cells = refresh_coverage(connection, collection)
    what = "all collections" if collection is None else collection
    value = {"collection": collection, "cells": cells}
    answer(as_json, value, f"{what}: {number_of(cells, 'cell')} with photos")


@app.command()
def density(
    context: typer.Context,
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="Ids of answers.")
    ] = None,
    evaluation: Annotated[
        int | None, typer.Option(help="The answers of an evaluation, by its id.")
    ] = None,
    last: Annotated[int | None, typer.Option(help="The latest so many answers.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the densities of answers in the layer gis_density, as cells with their probability.

    Cells that an answer has there already are made again.

    Example: geosearch layers density --last 5
    """
    from geosearch.gis.density_layer import refresh_density
    from geosearch.layers.selection import Selection

    selection = Selection(tuple(ids or ()), evaluation, last)
    if selection == Selection():
        raise InputError("no answer is chosen", "Give ids, --last N or --evaluation ID.")
    with database(context) as opened, progress("density", "answers") as report:
        made = refresh_density(opened, selection, report)
    passed = f"; {made.without:,} without a density" if made.without else ""
    answer(
        as_json,
        {"answers": made.answers, "cells": made.cells, "without_density": made.without},
        f"{number_of(made.answers, 'answer')}: {number_of(made.cells, 'cell')}{passed}",
    )
