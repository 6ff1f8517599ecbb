"""`geosearch ingest` and `geosearch rejects`."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from geosearch.cli import console
from geosearch.cli.console import JsonOption, LimitOption, Table, left_out
from geosearch.errors import EXIT_SOME_REJECTED
from geosearch.ingest import IngestSummary
from geosearch.ingest import ingest as ingest_photos
from geosearch.ingest.rejects import list_rejects

_REJECT = ("collection", "file", "stage", "reason", "message")
#: Rejects that a table shows where nothing says how many.
_SHOWN = 100
#: Lines of the summary that stand there even with nothing to count.
_ALWAYS = ("added", "duplicates", "without a position", "rejected", "seen")

CollectionOption = Annotated[
    str, typer.Option("--collection", help="Collection to put the photos in; made where missing.")
]


def ingest(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, photos and manifests (.csv .tsv .parquet .geojson .jsonl), "
            "as paths or URLs.",
        ),
    ],
    collection: CollectionOption,
    keep_unlocated: Annotated[
        bool, typer.Option("--keep-unlocated", help="Store photos without a usable position too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything, then write nothing.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Decode every photo to find broken ones.")
    ] = True,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads that read photos.")
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", help="Author of photos that name none.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of photos that name none.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Read photos and their positions into a collection.

    Positions come from the manifest, else from EXIF, else from XMP. What cannot be used is
    listed by `geosearch rejects`; the exit code is 3 then. Running it again adds only what is new.

    Example: geosearch ingest ~/Pictures more.csv --collection mine
    """
    with console.database(context) as database, console.progress("ingest", "photos") as report:
        summary = ingest_photos(
            database,
            sources,
            collection=collection,
            keep_unlocated=keep_unlocated,
            dry_run=dry_run,
            verify=verify,
            workers=workers,
            author=author,
            licence=licence,
            progress=report,
        )
    if json:
        console.print_json(summary.to_json())
    else:
        _print(summary, collection)
    if summary.unlocated == summary.seen > 0:
        console.note(
            "None of these photos says where it was taken. "
            "Name the positions in a manifest, or store them with --keep-unlocated."
        )
    if summary.rejected:
        raise typer.Exit(EXIT_SOME_REJECTED)


def rejects(
    context: typer.Context,
    collection: Annotated[
        str | None, typer.Option("--collection", help="Only this collection.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="read, decode, position, manifest or embed.")
    ] = None,
    limit: LimitOption = None,
    json: JsonOption = False,
) -> None:
    """List photos that could not be used, and why.

    Example: geosearch rejects --collection mine --stage position
    """
    with console.database(context) as database:
        found = list_rejects(
            database, collection=collection, stage=stage, limit=limit if json else None
        )
    if json:
        console.print_json([reject.to_json() for reject in found])
        return
    made = Table(*_REJECT, text=_REJECT)
    shown = found[: limit or _SHOWN]
    for reject in shown:
        made.add_row(reject.collection, reject.uri, reject.stage, reject.reason, reject.message)
    made.print(left_out(len(shown), len(found)), none="none: every photo could be used")


def _print(summary: IngestSummary, collection: str) -> None:
    title = f"{collection} (dry run)" if summary.run_id is None else collection
    made = Table(title, "photos", text=[title])
    rows = {
        "added": summary.added,
        "duplicates": summary.duplicates,
        "without a position": summary.unlocated,
        "rejected": summary.rejected,
        **{f"  {reason}": count for reason, count in summary.by_reason.items()},
        "seen": summary.seen,
        "replaced by their edited file": summary.replaced,
        "stored without a position": summary.kept_unlocated,
    }
    for name, count in rows.items():
        if count or name in _ALWAYS:
            made.add_row(name, f"{count:,}")
    made.print()
    if summary.run_id is not None and summary.added > summary.kept_unlocated:
        console.say(f"next: geosearch embed --collection {shlex.quote(collection)}")
