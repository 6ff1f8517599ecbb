"""`geosearch models`: the backbones photos were embedded with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, out, print_json, table
from geosearch.features.model_rows import count_embeddings, list_models

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
    texts = ("architecture", "pooling", "weights")
    made = table("id", "name", *texts, "dimension", "photos", text=texts)
    for row in rows:
        made.add_row(
            str(row.id),
            row.name,
            row.architecture,
            row.pooling,
            row.weights_sha256[:12],
            str(row.dimension),
            f"{photos.get(row.id, 0):,}",
        )
    out.print(made)


@app.command("stages")
def show_stages(
    model: Annotated[str, typer.Argument(metavar="SPEC", help="A model as for geosearch embed.")],
    as_json: JsonOption = False,
) -> None:
    """List the stages of a backbone, of which geosearch train --freeze N leaves the first N alone.

    Example: geosearch models stages packaged/efficientnet-lite0
    """
    from geosearch.features.backbones import resolve
    from geosearch.training.network import describe_stages

    stages = describe_stages(resolve(model))
    if as_json:
        print_json([asdict(stage) for stage in stages])
        return
    made = table("stage", "kind", "weights", "shape", "kB a photo", text=("kind",))
    for number, stage in enumerate(stages, 1):
        shape = " × ".join(map(str, stage.shape))
        made.add_row(
            str(number), stage.kind, f"{stage.weights:,}", shape, f"{stage.bytes / 1000:,.0f}"
        )
    out.print(made)
