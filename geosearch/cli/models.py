"""`geosearch models`: the backbones photos were embedded with."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.table import Table

from geosearch.cli.console import JsonOption, database, out, print_json
from geosearch.features.models import count_embeddings, list_models

app = typer.Typer(
    help="Models: backbones with their exact weights.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def models() -> None:
    """Backbones photos were embedded with.

    Example: geosearch models list
    """


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List models, their weights, and how many photos each has embedded.

    Example: geosearch models list --json
    """
    with database(context) as opened, opened.connection() as connection:
        rows, photos = list_models(connection), count_embeddings(connection)
    if as_json:
        print_json([asdict(row) | {"photos": photos.get(row.id, 0)} for row in rows])
        return
    table = Table("id", "name", "architecture", "dimension", "pooling", "weights", "photos")
    for row in rows:
        table.add_row(
            str(row.id),
            row.name,
            row.architecture,
            str(row.dimension),
            row.pooling,
            row.weights_sha256[:12],
            f"{photos.get(row.id, 0):,}",
        )
    out.print(table)
