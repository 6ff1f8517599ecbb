"""`geosearch borders`: countries and regions for filters by name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from geosearch.borders import list_borders, load_borders
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, database, note, print_json, print_rows, say
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
    with database(context) as opened:
        loaded = load_borders(opened, file)
    if as_json:
        print_json(loaded.to_json())
    else:
        figures = f"{loaded.countries} countries, {loaded.regions} regions"
        say(f"{loaded.source}: {figures}")
        for flaw in loaded.flaws:
            note(f"{flaw.feature}: {flaw.message}")
    if not all(flaw.used for flaw in loaded.flaws):
        raise typer.Exit(EXIT_SOME_REJECTED)


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the countries and regions that filters may name.

    Example: geosearch borders list --json
    """
    with database(context) as opened, opened.connection() as connection:
        places = list_borders(connection)
    names = ("name", "ISO", "kind", "continent", "subregion", "also")
    rows = [
        (
            place.name,
            " ".join(filter(None, (place.iso_a2, place.iso_a3))),
            place.kind,
            place.continent or "",
            place.subregion or "",
            ", ".join(place.aliases),
        )
        for place in places
    ]
    print_rows(as_json, [asdict(place) for place in places], names, rows, text=names)
