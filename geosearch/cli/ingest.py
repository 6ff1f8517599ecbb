"""`geosearch ingest` and `geosearch rejects`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from geosearch.cli import console
from geosearch.cli.console import JsonOption
from geosearch.errors import EXIT_SOME_REJECTED
from geosearch.ingest import IngestSummary
from geosearch.ingest import ingest as ingest_photos
from geosearch.ingest.rejects import list_rejects

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
    with console.database(context) as database, console.progress_bar("photos") as bar:
        task = bar.add_task("ingest", total=None)
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
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json:
        console.print_json(summary.as_dict())
    else:
        _print(summary, collection)
    if summary.unlocated == summary.seen > 0:
        console.err.print(
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
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = 100,
    json: JsonOption = False,
) -> None:
    """List photos that could not be used, and why.

    Example: geosearch rejects --collection mine --stage position
    """
    with console.database(context) as database:
        found = list_rejects(database, collection=collection, stage=stage, limit=limit)
    if json:
        console.print_json([reject.as_dict() for reject in found])
        return
    table = Table()
    for name in ("collection", "file", "stage", "reason", "message"):
        table.add_column(name, overflow="fold")  # a path cut short is of no use
    for reject in found:
        cells = (reject.collection, reject.uri, reject.stage, reject.reason, reject.message)
        table.add_row(*map(Text, cells))  # Text: a file called [red].jpg is no markup
    console.out.print(table)


def _print(summary: IngestSummary, collection: str) -> None:
    table = Table(title=Text(f"{collection} (dry run)" if summary.run_id is None else collection))
    table.add_column("photos")
    table.add_column("", justify="right")
    rows: list[tuple[str, Any]] = [
        ("added", summary.added),
        ("duplicates", summary.duplicates),
        ("without a position", summary.unlocated),
        ("rejected", summary.rejected),
        *((f"  {reason}", count) for reason, count in summary.by_reason.items()),
    ]
    for name, count in rows:
        table.add_row(name, f"{count:,}")
    table.add_section()
    table.add_row("seen", f"{summary.seen:,}")
    if summary.replaced:
        table.add_row("replaced by their edited file", f"{summary.replaced:,}")
    if summary.kept_unlocated:
        table.add_row("stored without a position", f"{summary.kept_unlocated:,}")
    console.out.print(table)
