"""`geosearch borders`: countries and regions for filters by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, database, note, print_list
from geosearch.errors import EXIT_SOME_REJECTED

app = command_group(
    """Countries and regions that filters (--country) may name: Natural Earth's, unless others
    are loaded.

    Example: geosearch borders list
    """
)


@app.command()
def load(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="GeoJSON; those that come with geosearch without it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Load the borders in a file, or those that come with geosearch, in place of those before.

    FILE is GeoJSON of Natural Earth's admin-0 countries, or of country-coder. Features that
    cannot be used are reported, and the others loaded.

    Example: geosearch borders load ne_50m_admin_0_countries.geojson
    """
    from geosearch.borders import load_borders

    with database(context) as opened:
        loaded = load_borders(opened, file)
    figures = f"{loaded.countries} countries, {loaded.regions} regions"
    answer(as_json, loaded, f"{loaded.source}: {figures}")
    for flaw in () if as_json else loaded.flaws:
        note(f"{flaw.feature}: {flaw.message}")
    if not all(flaw.used for flaw in loaded.flaws):
        raise typer.Exit(EXIT_SOME_REJECTED)


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the countries and regions that filters may name.

    Example: geosearch borders list --json
    """
    from geosearch.borders import list_borders

    columns = {
        "name": lambda place: place.name,
        "ISO": lambda place: " ".join(filter(None, (place.iso_a2, place.iso_a3))),
        "kind": lambda place: place.kind,
        "continent": lambda place: place.continent or "",
        "subregion": lambda place: place.subregion or "",
        "also": lambda place: ", ".join(place.aliases),
    }
    print_list(context, as_json, list_borders, columns, text=columns)
