"""`geosearch explain`: why a search runs as it does."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, print_json, say
from geosearch.cli.options import DeviceOption, ExactOption, KOption, ModelOption, filtered
from geosearch.features import DEFAULT_MODEL, embed_photo, load_backbone
from geosearch.retrieval import Filter
from geosearch.retrieval.explained import explain as explain_search


@filtered
def explain(
    context: typer.Context,
    photo: Annotated[str, typer.Argument(help="Photo: path or URL.")],
    model: ModelOption = DEFAULT_MODEL,
    k: KOption = 100,
    exact: ExactOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Search, and show the plan that was taken, with PostgreSQL's plan beneath.

    Example: geosearch explain holiday.jpg --near 46.8,8.2,200
    """
    with database(context) as opened:
        backbone = load_backbone(model, device=device, at_once=False)
        row, query = embed_photo(opened, backbone, photo)
        explained = explain_search(opened, row.id, query.embedding, k, where, exact=exact)
    if as_json:
        print_json(explained.to_json())
        return
    for name, value in explained.plan.to_json().items():
        if value is not None:
            say(f"{name:<16}{value}")
    say(f"{'rows':<16}{explained.rows}\n")
    for line in explained.postgresql:
        say(line, dim=True)
