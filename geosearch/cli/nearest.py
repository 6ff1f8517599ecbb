"""`geosearch nearest`: the neighbours themselves, without an estimate."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, print_json, say
from geosearch.cli.localize import neighbour_table
from geosearch.cli.options import (
    DeviceOption,
    ExactOption,
    KOption,
    ModelOption,
    ParametersOption,
    make_exclusions,
    make_filter,
    read_parameters,
    taking,
)
from geosearch.features import DEFAULT_MODEL, embed_photo, load_backbone
from geosearch.localization import Request
from geosearch.localization.localizing import chosen_parameters, find_neighbours
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import Exclusions


@taking(exclusions=make_exclusions, where=make_filter)
def nearest(
    context: typer.Context,
    photo: Annotated[str, typer.Argument(help="Photo: path or URL.")],
    model: ModelOption = DEFAULT_MODEL,
    k: KOption = 20,
    exact: ExactOption = False,
    parameters: ParametersOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    exclusions: Exclusions,
    where: Filter,
) -> None:
    """List the reference photos most like a photo, with where they were taken.

    Example: geosearch nearest holiday.jpg --k 10 --bbox 5,45,11,48
    """
    own = {"method": "nearest", "k": k} | ({"exact": True} if exact else {})
    asked = Request.from_json(read_parameters(parameters) | own)
    with database(context) as opened:
        backbone = load_backbone(model, device=device, at_once=False)
        row, query = embed_photo(opened, backbone, photo)
        with opened.connection() as connection:
            chosen = chosen_parameters(connection, row, where, asked)
        found = find_neighbours(opened, row, query, chosen, where, exclusions)
    neighbours, excluded = found.neighbours, found.excluded
    if as_json:
        print_json(
            {
                "photo": photo,
                "neighbours": neighbours.to_json(),
                "plan": neighbours.plan.to_json(),
                "filter": found.where.to_json(),
                "excluded": None if excluded is None else excluded.to_json(),
            }
        )
        return
    neighbour_table(neighbours).print()
    if excluded is not None:
        say(f"references left out: {excluded}")
    say(f"{neighbours.plan.strategy}: {neighbours.plan.reason}", dim=True)
