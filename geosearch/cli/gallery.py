"""`geosearch gallery`: places to be found where there are no photos to compare with."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli.console import JsonOption, answer, database, progress, say_next
from geosearch.cli.options import option, taking
from geosearch.errors import EXIT_SOME_REJECTED


@taking(
    option("points", str, "A table of lat and lon; or those of the encoder.", "builtin"),
    option("collection", str, "Where the places are stored.", "places"),
)
def gallery(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="geoclip", help="Whose location encoder.")],
    as_json: JsonOption = False,
    *,
    points: str,
    collection: str,
) -> None:
    """Store places of the whole Earth, which photos are compared with: none is a photo itself.

    The model is called places:geoclip from then on: its image encoder asks, or vectors do. Run
    again, it goes on.

    Example: geosearch gallery geoclip

    Example: geosearch localize holiday.jpg --model places:geoclip
    """
    from geosearch.features.place_gallery import make_gallery

    with database(context) as opened, progress("gallery", "places") as report:
        made = make_gallery(opened, kind, points=points, collection=collection, progress=report)
    more = ((made.there, "were there or twice"), (made.rejected, "are none"))
    said = "".join(f", {count:,} {what}" for count, what in more if count)
    answer(as_json, made, f"{made.model}: {made.added:,} places of {made.points:,} points{said}")
    if not as_json:
        say_next("index", made.model)
    if made.rejected:
        raise typer.Exit(EXIT_SOME_REJECTED)
