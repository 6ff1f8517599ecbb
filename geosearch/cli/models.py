"""`geosearch models`: the backbones photos were embedded with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, database, print_rows
from geosearch.features.model_rows import count_embeddings, list_models
from geosearch.words import format_bytes

app = command_group(
    """Models: backbones with their exact weights, which photos were embedded with.

    Example: geosearch models list
    """
)


@app.command("list")
def show_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List models, their weights, and how many photos each has embedded.

    Example: geosearch models list --json
    """
    with database(context) as opened, opened.connection() as connection:
        rows, photos = list_models(connection), count_embeddings(connection)
    table = [
        (
            str(row.id),
            row.name,
            row.pooling,
            row.weights_sha256[:12],
            str(row.dimension),
            f"{photos.get(row.id, 0):,}",
        )
        for row in rows
    ]
    texts = ("name", "pooling", "weights")
    values = [asdict(row) | {"photos": photos.get(row.id, 0)} for row in rows]
    none = "none yet; geosearch embed registers one"
    print_rows(as_json, values, ("id", *texts, "dimension", "photos"), table, texts, none)


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
    rows = [
        (
            str(number),
            stage.kind,
            f"{stage.weights:,}",
            " × ".join(map(str, stage.shape)),
            format_bytes(stage.bytes),
        )
        for number, stage in enumerate(stages, 1)
    ]
    names = ("stage", "kind", "weights", "shape", "a photo")
    print_rows(as_json, [asdict(stage) for stage in stages], names, rows, text=("kind",))
