"""`geosearch audit` and `duplicates`: what cannot be right among the photos there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from geosearch.cli import options
from geosearch.cli.console import JsonOption, LimitOption, database, print_rows, progress

if TYPE_CHECKING:
    from geosearch.audit.photo_copies import Duplicate
    from geosearch.retrieval import Filter


@options.taking(options.MODEL, options.DUPLICATES, where=options.make_filter)
def duplicates(
    context: typer.Context,
    apart_m: Annotated[
        float, typer.Option(metavar="M", help="Positions differ that are farther apart, metres.")
    ] = 100.0,
    apart_s: Annotated[
        float, typer.Option(metavar="S", help="Times differ that are farther apart, seconds.")
    ] = 600.0,
    alike: Annotated[
        bool, typer.Option("--alike", help="Also those that differ in nothing.")
    ] = False,
    limit: LimitOption = None,
    as_json: JsonOption = False,
    *,
    model: str,
    duplicate_distance: float,
    where: Filter,
) -> None:
    """List photos that are there twice and differ in place, time or licence.

    Twice are files with the same bytes, and pictures that look the same, in one collection or in
    two. They are recorded for the layer duplicates, which has the lines between them.

    Example: geosearch duplicates --collection mine --apart-m 500
    """
    from geosearch.audit.photo_copies import find_duplicates, list_duplicates

    with database(context) as opened:
        with progress("comparing photos", "photos") as report:
            pairs = find_duplicates(
                opened,
                model=model,
                where=where,
                duplicate_distance=duplicate_distance,
                progress=report,
            )
        with opened.connection() as connection:
            found = list_duplicates(
                connection, where, apart_m=apart_m, apart_s=apart_s, alike=alike
            )
    columns = {
        "photo": lambda item: item.photo,
        "other": lambda item: item.other,
        "same": _same,
        "km": lambda item: "" if item.apart_m is None else f"{item.apart_m / 1000:,.3f}",
        "hours": lambda i: "" if i.seconds_apart is None else f"{i.seconds_apart / 3600:,.2f}",
        "differ in": lambda item: ", ".join(item.differs),
    }
    none = f"none of {pairs:,} pairs of photos that show the same differs"
    print_rows(as_json, found, columns, ("photo", "other", "differ in"), limit, none)


def _same(item: Duplicate) -> str:
    return "bytes" if item.same_bytes else f"{item.distance:.4f}"
