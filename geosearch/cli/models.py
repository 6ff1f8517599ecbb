"""`geosearch models`: the backbones photos were embedded with."""

from __future__ import annotations

from dataclasses import asdict
from itertools import count
from typing import Annotated

import typer

from geosearch.cli import deleting
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, connected, print_rows
from geosearch.cli.deleting import DryRunOption, NewArgument, OldArgument, YesOption
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
    from geosearch.features.model_rows import count_embeddings, list_models

    with connected(context) as connection:
        rows, photos = list_models(connection), count_embeddings(connection)
    found = [asdict(row) | {"photos": photos.get(row.id, 0)} for row in rows]
    columns = {
        "id": lambda row: str(row["id"]),
        "name": lambda row: row["name"],
        "pooling": lambda row: row["pooling"],
        "views": lambda row: str(row["views"]),
        "weights": lambda row: row["weights_sha256"][:12],
        "dimension": lambda row: str(row["dimension"]),
        "photos": lambda row: f"{row['photos']:,}",
    }
    none = "none yet; geosearch embed registers one"
    print_rows(as_json, found, columns, ("name", "pooling", "weights"), none=none)


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
    number = count(1)
    columns = {
        "stage": lambda _: str(next(number)),
        "kind": lambda stage: stage.kind,
        "weights": lambda stage: f"{stage.weights:,}",
        "shape": lambda stage: " × ".join(map(str, stage.shape)),
        "a photo": lambda stage: format_bytes(stage.bytes),
    }
    print_rows(as_json, stages, columns, text=("kind",))


@app.command()
def delete(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="SPEC", help="Name or id of the model.")],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a model with its embeddings, index and classifiers; of several of a name, the newest.

    Answers by it stay, and can be reproduced once the photos are embedded with it again.

    Example: geosearch models delete torchvision/resnet50 --dry-run
    """
    from geosearch.deletion.record_deletion import delete_model

    deleting.delete(context, deleting.Asked(dry_run, yes, as_json), delete_model, model)


@app.command()
def rename(
    context: typer.Context, old: OldArgument, new: NewArgument, as_json: JsonOption = False
) -> None:
    """Give a model, by its name or id, another name; geosearch embed knows it by its weights.

    Example: geosearch models rename file:/tmp/run7/best.safetensors streets
    """
    from geosearch.deletion.renaming import rename_model

    deleting.rename(context, rename_model, old, new, as_json)
