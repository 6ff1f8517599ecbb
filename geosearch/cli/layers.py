"""`geosearch layers`: what the GIS layers need beside the data."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli import console
from geosearch.database.coverage import refresh_coverage

app = typer.Typer(help="Maintain the layers for GIS.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def layers() -> None:
    """Maintain the layers for GIS.

    Example: geosearch layers refresh
    """


@app.command()
def refresh(
    context: typer.Context,
    collection: Annotated[
        str | None, typer.Option("--collection", help="Only the photos of this collection.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Count again how many photos there are in each cell of the layer gis_coverage.

    Ingest does so by itself; this is for photos changed or removed by other means.

    Example: geosearch layers refresh --collection mine
    """
    with console.database(context) as database, database.connection() as connection:
        cells = refresh_coverage(connection, collection)
    if as_json:
        console.print_json({"collection": collection, "cells": cells})
    else:
        what = "all collections" if collection is None else collection
        console.out.print(f"{what}: {cells:,} cells with photos", highlight=False, markup=False)
