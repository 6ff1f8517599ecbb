"""`geosearch nearest`: the neighbours themselves, without an estimate."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, out, print_json
from geosearch.cli.localize import neighbour_table
from geosearch.cli.options import (
    DeviceOption,
    ExactOption,
    KOption,
    ModelOption,
    filtered,
)
from geosearch.features import DEFAULT_MODEL, embed_photo, load_backbone
from geosearch.retrieval import Filter
from geosearch.retrieval import nearest as find_nearest


@filtered
def nearest(
    context: typer.Context,
    photo: Annotated[str, typer.Argument(help="Photo: path or URL.")],
    model: ModelOption = DEFAULT_MODEL,
    k: KOption = 20,
    exact: ExactOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """List the reference photos most like a photo, with where they were taken.

    Example: geosearch nearest holiday.jpg --k 10 --bbox 5,45,11,48
    """
    with database(context) as opened:
        backbone = load_backbone(model, device=device)
        row, embedding = embed_photo(opened, backbone, photo)
        found = find_nearest(opened, row.id, embedding, k, where, exact=exact)
    if as_json:
        print_json({"photo": photo, "neighbours": found.to_json(), "plan": found.plan.to_json()})
        return
    out.print(neighbour_table(found))
    out.print(f"{found.plan.strategy}: {found.plan.reason}", highlight=False, style="dim")
