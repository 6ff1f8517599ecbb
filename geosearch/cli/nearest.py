"""`geosearch nearest`: the neighbours themselves, without an estimate."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, database, out, print_json
from geosearch.cli.localize import neighbour_table
from geosearch.cli.options import (
    DeviceOption,
    DuplicateDistanceOption,
    ExactOption,
    ExcludeDuplicatesOption,
    ExcludeSelfOption,
    KOption,
    ModelOption,
    PartitionsOption,
    RestrictCellsOption,
    filtered,
    read_partitions,
)
from geosearch.features import DEFAULT_MODEL, embed_photo, load_backbone
from geosearch.localization import Request
from geosearch.localization.localizing import chosen_parameters, find_neighbours
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import DUPLICATE_DISTANCE, Exclusions


@filtered
def nearest(
    context: typer.Context,
    photo: Annotated[str, typer.Argument(help="Photo: path or URL.")],
    model: ModelOption = DEFAULT_MODEL,
    k: KOption = 20,
    exclude_self: ExcludeSelfOption = False,
    exclude_duplicates: ExcludeDuplicatesOption = False,
    duplicate_distance: DuplicateDistanceOption = DUPLICATE_DISTANCE,
    restrict_cells: RestrictCellsOption = None,
    partitions: PartitionsOption = None,
    exact: ExactOption = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """List the reference photos most like a photo, with where they were taken.

    Example: geosearch nearest holiday.jpg --k 10 --bbox 5,45,11,48
    """
    exclusions = Exclusions(exclude_self, duplicate_distance if exclude_duplicates else None)
    with database(context) as opened:
        backbone = load_backbone(model, device=device, at_once=False)
        row, query = embed_photo(opened, backbone, photo)
        asked = Request(
            "nearest",
            k,
            exact=exact,
            restrict_cells=restrict_cells,
            partitions=read_partitions(partitions),
        )
        with opened.connection() as connection:
            parameters = chosen_parameters(connection, row, where, asked)
        found = find_neighbours(opened, row, query, parameters, where, exclusions)
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
    out.print(neighbour_table(neighbours))
    if excluded is not None:
        out.print(f"references left out: {excluded}", highlight=False)
    out.print(f"{neighbours.plan.strategy}: {neighbours.plan.reason}", highlight=False, style="dim")
