"""`geosearch photos`: those in the database, listed, moved and deleted."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geosearch.atomic_files import replacing
from geosearch.cli import deleting
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, LimitOption, answer, connected, print_rows, say
from geosearch.cli.deleting import DryRunOption, YesOption
from geosearch.cli.options import check_ending, make_filter, option, taking
from geosearch.errors import InputError

if TYPE_CHECKING:
    from geosearch.retrieval import Filter
    from geosearch.retrieval.photo_list import PhotoChange, StoredPhoto

app = command_group(
    """Photos in the database; geosearch ingest adds some.

    Example: geosearch photos list --collection mine
    """
)

_IDS = option("ids", list[int], "A photo, by its id; repeatable.", spelt="--id")
#: Shown in the terminal unless --limit says more.
_SHOWN = 100


@app.command("list")
@taking(
    _IDS,
    option("unlocated", bool, "Those without a position, not an estimated one either."),
    where=make_filter,
)
def show_list(
    context: typer.Context,
    limit: LimitOption = None,
    as_json: JsonOption = False,
    *,
    ids: list[int] | None,
    unlocated: bool,
    where: Filter,
) -> None:
    """List photos, all or those of a filter, with their positions.

    Example: geosearch photos list --country CH --author ann --json

    Example: geosearch photos list --unlocated --collection mine
    """
    from geosearch.retrieval.photo_list import list_photos

    most = limit if as_json or limit else _SHOWN
    with connected(context) as connection:
        found = list_photos(connection, where, ids or (), most, unlocated=unlocated)
    columns = {
        "id": lambda item: str(item.id),
        "collection": lambda item: item.collection,
        "photo": lambda item: item.uri,
        "position": lambda item: "" if item.lat is None else f"{item.lat:.5f},{item.lon:.5f}",
        "source": lambda item: item.position_source or "",
    }
    print_rows(as_json, found, columns, ("collection", "photo", "source"), none="no such photo")


@app.command()
def show(
    context: typer.Context,
    photo: Annotated[str, typer.Argument(metavar="ID|FILE", help="Its id, or path or URL.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is known of a photo, and what was changed of it, when and by whom.

    Readers are not shown the changes.

    Example: geosearch photos show 17
    """
    from geosearch.retrieval.photo_list import find_photo, photo_history

    with connected(context) as connection:
        found = find_photo(connection, photo)
        history = photo_history(connection, found.id)
    answer(as_json, found.to_json() | {"history": history}, lambda: _show(found, history))


def _show(photo: StoredPhoto, history: list[PhotoChange] | None) -> None:
    for name, value in photo.to_json().items():
        if value is not None:
            say(f"{name:<20}{value}")
    for change in history or ():
        by = f"{change.changed_at:%Y-%m-%d %H:%M:%S %Z}, {change.changed_by}"
        reasons = {"run": change.run_id, "review": change.review_id}
        for name, number in reasons.items():
            by += "" if number is None else f", {name} {number}"
        say(f"changed {by}")
        for name, old in change.old.items():
            if old != change.new[name]:
                say(f"  {name:<18}{_said(old)} → {_said(change.new[name])}")


def _said(value: object) -> str:
    return "nothing" if value is None else str(value)


@app.command("delete")
@taking(_IDS, where=make_filter)
def delete_some(
    context: typer.Context,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    *,
    where: Filter,
    ids: list[int] | None,
) -> None:
    """Delete the photos that all conditions given hold for, and their embeddings; no files.

    Answers that rest on them stay as they are.

    Example: geosearch photos delete --collection mine --before 2001-01-01 --dry-run
    """
    from geosearch.deletion.photo_deletion import delete_photos

    asked = deleting.Asked(dry_run, yes, as_json)
    deleting.delete(context, asked, delete_photos, where, unit="photos", ids=ids or ())


@app.command("move")
@taking(
    _IDS,
    option("to", str, "Position they have from now on, degrees.", metavar="LAT,LON"),
    option("to_accuracy_m", float, "Accuracy of that position, metres.", metavar="M"),
    option("to_collection", str, "Collection they belong to from now on.", metavar="NAME"),
    where=make_filter,
)
def move(
    context: typer.Context,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    *,
    where: Filter,
    ids: list[int] | None,
    to: str | None,
    to_accuracy_m: float | None,
    to_collection: str | None,
) -> None:
    """Move photos to another position, which `geosearch runs undo` takes back, or collection.

    Those that all conditions given hold for. No file is moved.

    Example: geosearch photos move --id 17 --to 46.948,7.447

    Example: geosearch photos move --collection mine --author ann --to-collection hers --dry-run
    """
    from geosearch.deletion.photo_moves import correct_positions, move_photos

    asked = deleting.Asked(dry_run, yes, as_json)
    if (to is None) == (to_collection is None):
        raise InputError("where to?", "Give --to LAT,LON, or --to-collection NAME.")
    if to is None:
        deleting.delete(context, asked, move_photos, where, ids=ids or (), to=to_collection)
        return
    work = partial(correct_positions, to_accuracy_m=to_accuracy_m)
    deleting.delete(context, asked, work, where, ids=ids or (), to=to)


@app.command()
def thumbnail(
    context: typer.Context,
    photo: Annotated[int, typer.Argument(metavar="ID", help="Id of the photo.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, .webp.")],
    as_json: JsonOption = False,
) -> None:
    """Write the thumbnail of a photo into a file; geosearch ingest --thumbnails stores it.

    Example: geosearch photos thumbnail 17 -o 17.webp
    """
    from geosearch.retrieval.photo_list import read_thumbnail

    check_ending("-o", output, (".webp",))
    with connected(context) as connection:
        found = read_thumbnail(connection, photo)
    with replacing(output) as file:
        file.write_bytes(found)
    answer(as_json, {"photo": photo, "file": str(output), "bytes": len(found)}, str(output))
