"""`geosearch nearest` and `explain`: neighbours themselves; why a search runs as it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli import options
from geosearch.cli.console import JsonOption, answer, database, say
from geosearch.cli.options import DEVICE, EXACT, MODEL, NO_WORDS, ParametersOption, neighbours
from geosearch.errors import InputError

if TYPE_CHECKING:
    from geosearch.database.connection import Database
    from geosearch.features.model_rows import Model
    from geosearch.query import Query
    from geosearch.retrieval import Filter
    from geosearch.retrieval.duplicates import Exclusions
    from geosearch.retrieval.explained import Explanation

PhotoArgument = Annotated[str | None, typer.Argument(help="Photo: path or URL.")]
_ID = options.option("photo_id", int, "A photo of the database, instead.")


@options.taking(
    *(_ID, options.VECTORS, options.TEXT, MODEL, neighbours(20), EXACT, DEVICE),
    exclusions=options.make_exclusions,
    where=options.make_filter,
)
def nearest(
    context: typer.Context,
    photo: PhotoArgument = None,
    parameters: ParametersOption = None,
    as_json: JsonOption = False,
    *,
    k: int,
    exact: bool,
    exclusions: Exclusions,
    where: Filter,
    **query_of: Any,
) -> None:
    """List the reference photos most like a photo, with where they were taken.

    Of words it is also said whether what they say is in this collection at all, if a calibration
    was fitted to words (geosearch calibrate --texts); "calibration" in --parameters names one.

    Example: geosearch nearest holiday.jpg --k 10 --bbox 5,45,11,48

    Example: geosearch nearest --vectors query.npy --model external:dinov2

    Example: geosearch nearest --text "a red barn by a lake" --model open_clip/ViT-B-32@openai
    """
    from geosearch.localization import Request
    from geosearch.localization.localizing import asked_of, chosen_parameters, with_here
    from geosearch.localization.pictures import find_neighbours

    more = options.read_parameters(parameters)
    own = {"method": "nearest", "k": k} | ({"exact": True} if exact else {})
    words = query_of["text"] is not None or (None if query_of["vectors"] else False)
    judged = asked_of(Request.from_json(more), words=words)
    asked = Request.from_json(own | {"words": True} if judged.words else more | own)
    with database(context) as opened:
        row, query = _embedded(opened, photo, **query_of)
        if query_of["photo_id"] is not None:
            exclusions = replace(exclusions, same_bytes=True)
        with opened.connection() as connection:
            chosen = chosen_parameters(connection, row, where, asked)
        found = find_neighbours(opened, row, query, chosen, where, exclusions)
        if judged.words:
            found = with_here(opened, row, query, found, judged, where, exclusions)
    near, excluded = found.neighbours, found.excluded
    plan = near.plan

    def show() -> None:
        from geosearch.cli.localize import neighbour_table

        neighbour_table(near).print()
        if judged.words:
            say(NO_WORDS if near.here is None else str(near.here))
        if excluded is not None:
            say(f"references left out: {excluded}")
        if near.verification is not None:
            say(str(near.verification))
        say(f"{plan.strategy}: {plan.reason}", dim=True)

    value = {"photo": photo or query.uri, "neighbours": near, "plan": plan}
    value |= {"here": near.here} if judged.words else {}
    answer(as_json, value | {"filter": found.where, "excluded": excluded}, show)


@options.taking(
    *(_ID, options.VECTORS, options.TEXT, MODEL, neighbours(100), EXACT, DEVICE),
    where=options.make_filter,
)
def explain(
    context: typer.Context, photo: PhotoArgument = None, as_json: JsonOption = False, **given: Any
) -> None:
    """Search, and show the plan that was taken, with PostgreSQL's plan beneath.

    Example: geosearch explain holiday.jpg --near 46.8,8.2,200
    """
    from geosearch.retrieval import explained

    with database(context) as opened:
        names = ("photo_id", "vectors", "text", "model", "device")
        query_of = {name: given.pop(name) for name in names}
        row, query = _embedded(opened, photo, **query_of)
        found = explained.explain(opened, row.id, query.embedding, **given)
    answer(as_json, found, lambda: _show(found))


def _embedded(
    opened: Database,
    photo: str | None,
    photo_id: int | None,
    vectors: Path | None,
    text: str | None,
    model: str,
    device: str,
) -> tuple[Model, Query]:
    from geosearch.features.given_queries import embed_one, file_queries, one_or_stored, only
    from geosearch.features.whitening import find_backbone

    if sum(one is not None for one in (photo, photo_id, vectors, text)) != 1:
        raise InputError(
            "nothing, or too much, says which photo",
            "Give one, --photo-id ID, --vectors FILE or --text WORDS.",
        )
    asked = one_or_stored(photo, photo_id, text) if vectors is None else only(file_queries(vectors))
    backbone = find_backbone(opened, model, device=device, at_once=False)
    return embed_one(opened, backbone, asked)


def _show(found: Explanation) -> None:
    for name, value in found.plan.to_json().items():
        if value is not None:
            say(f"{name:<16}{value}")
    say(f"{'rows':<16}{found.rows}\n")
    for line in found.postgresql:
        say(line, dim=True)
