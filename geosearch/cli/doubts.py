"""`geosearch audit` and `duplicates`: what cannot be right among the photos there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli import options
from geosearch.cli.console import (
    JsonOption,
    LimitOption,
    answer,
    database,
    print_rows,
    progress,
    say,
)
from geosearch.defaults import APART_M, APART_S, LEAST_PROBABILITY

if TYPE_CHECKING:
    from geosearch.audit.audit_rows import Doubt
    from geosearch.audit.photo_copies import Duplicate
    from geosearch.retrieval import Filter


@options.taking(options.MODEL, asked=options.make_parameters, where=options.make_filter)
def audit(
    context: typer.Context,
    least_probability: Annotated[
        float,
        typer.Option(metavar="P", help="Doubt what is less probable than this; 0 to 1."),
    ] = LEAST_PROBABILITY,
    again: Annotated[
        bool, typer.Option("--again", help="Also judge photos that were judged as they are now.")
    ] = False,
    limit: LimitOption = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="FILE", help="Also draw all doubts as lines on a map, a PNG."
        ),
    ] = None,
    as_json: JsonOption = False,
    *,
    model: str,
    asked: dict[str, Any],
    where: Filter,
) -> None:
    """Find photos that were hardly taken where or when they say, and what is likeliest wrong.

    Each is placed without itself, by its picture and by the photos before and after it. What is
    found is recorded, for the layer audit too: it has lines to where they were likelier taken. A
    run that was broken off goes on where it was.

    Example: geosearch audit --collection mine --map doubts.png
    """
    options.check_map(map_file)
    from geosearch.audit.audit_rows import list_doubts
    from geosearch.audit.audit_run import audit as run
    from geosearch.localization import Request

    with database(context) as opened:
        with progress("judging photos", "photos") as report:
            summary = run(
                opened,
                model=model,
                where=where,
                parameters=Request.from_json(asked),
                least_probability=least_probability,
                again=again,
                progress=report,
            )
        with opened.connection() as connection:
            found = list_doubts(connection, where)
            if map_file is not None:
                from geosearch.export.doubts_picture import draw_doubts

                draw_doubts(connection, found, map_file)

    def show() -> None:
        columns = {
            "photo": lambda item: item.photo,
            "reason": lambda item: item.reason.replace("_", " "),
            "right": lambda item: f"{item.probability:.3f}",
            "source": lambda item: item.position_source,
            "stated": lambda item: f"{item.stated_lat:.5f},{item.stated_lon:.5f}",
            "likelier": _likelier,
            "picture km": lambda item: _km(item.picture_km),
            "time km": lambda item: _km(item.timeline_km),
            "km/h": lambda item: _km(item.speed_kmh),
        }
        if found:
            print_rows(False, found, columns, ("photo", "reason", "stated", "likelier"), limit)
        counted = ", ".join(f"{n:,} {name}" for name, n in summary.reasons.items()) or "none"
        say(f"{summary.photos:,} photos, {summary.judged:,} judged now; doubtful: {counted}")

    picture = {} if map_file is None else {"map": map_file}
    answer(as_json, {**summary.to_json(), "doubts": found, **picture}, show)


@options.taking(options.MODEL, options.DUPLICATES, where=options.make_filter)
def duplicates(
    context: typer.Context,
    apart_m: Annotated[
        float, typer.Option(metavar="M", help="Positions differ that are farther apart, metres.")
    ] = APART_M,
    apart_s: Annotated[
        float, typer.Option(metavar="S", help="Times differ that are farther apart, seconds.")
    ] = APART_S,
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
        "collections": lambda i: " / ".join(dict.fromkeys((i.collection, i.other_collection))),
        "same": _same,
        "km": lambda item: "" if item.apart_m is None else f"{item.apart_m / 1000:,.3f}",
        "hours": lambda i: "" if i.seconds_apart is None else f"{i.seconds_apart / 3600:,.2f}",
        "positions": _sources,
        "differ in": lambda item: ", ".join(item.differs),
    }
    none = f"none of {pairs:,} pairs of photos that show the same differs"
    print_rows(as_json, found, columns, ("photo", "other", "collections", "differ in"), limit, none)


def _km(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _likelier(item: Doubt) -> str:
    if item.mend_at is not None:
        return f"{item.mend_at:%Y-%m-%d %H:%M}"
    return "" if item.mend_lat is None else f"{item.mend_lat:.5f},{item.mend_lon:.5f}"


def _sources(item: Duplicate) -> str:
    return " / ".join(each or "none" for each in (item.position_source, item.other_position_source))


def _same(item: Duplicate) -> str:
    return "bytes" if item.same_bytes else f"{item.distance:.4f}"
