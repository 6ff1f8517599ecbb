"""`geosearch nearest` and `explain`: neighbours themselves; why a search runs as it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli import options
from geosearch.cli.console import JsonOption, answer, database, say
from geosearch.cli.options import DEVICE, EXACT, MODEL, ParametersOption, neighbours

if TYPE_CHECKING:
    from geosearch.database.connection import Database
    from geosearch.features.model_rows import Model
    from geosearch.query import Query
    from geosearch.retrieval import Filter
    from geosearch.retrieval.duplicates import Exclusions
    from geosearch.retrieval.explained import Explanation

PhotoArgument = Annotated[str, typer.Argument(help="Photo: path or URL.")]


@options.taking(
    *(MODEL, neighbours(20), EXACT, DEVICE),
    exclusions=options.make_exclusions,
    where=options.make_filter,
)
def nearest(
    context: typer.Context,
    photo: PhotoArgument,
    parameters: ParametersOption = None,
    as_json: JsonOption = False,
    *,
    k: int,
    exact: bool,
    exclusions: Exclusions,
    where: Filter,
    **model: Any,
) -> None:
    """List the reference photos most like a photo, with where they were taken.

    Example: geosearch nearest holiday.jpg --k 10 --bbox 5,45,11,48
    """
    from geosearch.localization import Request
    from geosearch.localization.localizing import chosen_parameters
    from geosearch.localization.pictures import find_neighbours

    own = {"method": "nearest", "k": k} | ({"exact": True} if exact else {})
    asked = Request.from_json(options.read_parameters(parameters) | own)
    with database(context) as opened:
        row, query = _embedded(opened, photo, **model)
        with opened.connection() as connection:
            chosen = chosen_parameters(connection, row, where, asked)
        found = find_neighbours(opened, row, query, chosen, where, exclusions)
    excluded, plan = found.excluded, found.neighbours.plan

    def show() -> None:
        from geosearch.cli.localize import neighbour_table

        neighbour_table(found.neighbours).print()
        if excluded is not None:
            say(f"references left out: {excluded}")
        if found.neighbours.verification is not None:
            say(str(found.neighbours.verification))
        say(f"{plan.strategy}: {plan.reason}", dim=True)

    value = {"photo": photo, "neighbours": found.neighbours, "plan": plan}
    answer(as_json, value | {"filter": found.where, "excluded": excluded}, show)


@options.taking(MODEL, neighbours(100), EXACT, DEVICE, where=options.make_filter)
def explain(
    context: typer.Context, photo: PhotoArgument, as_json: JsonOption = False, **given: Any
) -> None:
    """Search, and show the plan that was taken, with PostgreSQL's plan beneath.

    Example: geosearch explain holiday.jpg --near 46.8,8.2,200
    """
    from geosearch.retrieval import explained

    with database(context) as opened:
        row, query = _embedded(opened, photo, given.pop("model"), given.pop("device"))
        found = explained.explain(opened, row.id, query.embedding, **given)
    answer(as_json, found, lambda: _show(found))


def _embedded(opened: Database, photo: str, model: str, device: str) -> tuple[Model, Query]:
    from geosearch.features import embed_photo
    from geosearch.features.whitening import find_backbone

    backbone = find_backbone(opened, model, device=device, at_once=False)
    return embed_photo(opened, backbone, photo)


def _show(found: Explanation) -> None:
    for name, value in found.plan.to_json().items():
        if value is not None:
            say(f"{name:<16}{value}")
    say(f"{'rows':<16}{found.rows}\n")
    for line in found.postgresql:
        say(line, dim=True)
