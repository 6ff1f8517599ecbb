"""`geosearch ingest` and `geosearch rejects`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli import console
from geosearch.cli.console import JsonOption, LimitOption, Table, answer, database
from geosearch.cli.options import option, taking
from geosearch.errors import EXIT_SOME_REJECTED

if TYPE_CHECKING:
    from geosearch.ingest import IngestSummary

#: Rejects that a table shows where nothing says how many.
_SHOWN = 100
#: Lines of the summary that stand there even with nothing to count.
_ALWAYS = ("added", "duplicates", "without a position", "rejected", "seen")

CollectionOption = Annotated[
    str, typer.Option("--collection", help="Collection to put the photos in; made where missing.")
]


_VERIFY = "Decode every photo to find broken ones."


@taking(
    option("keep_unlocated", bool, "Store photos without a usable position too."),
    option("dry_run", bool, "Do everything, then write nothing."),
    option("verify", bool, _VERIFY, default=True, spelt="--verify/--no-verify"),
    option("workers", int, "Threads that read photos.", least=1),
    option("author", str, "Author of photos that name none."),
    option("licence", str, "Licence of photos that name none."),
)
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
    as_json: JsonOption = False,
    **given: Any,
) -> None:
    """Read photos and their positions into a collection.

    Positions come from the manifest, else from EXIF, else from XMP. What cannot be used is
    listed by `geosearch rejects`; the exit code is 3 then. Running it again adds only what is new.

    Example: geosearch ingest ~/Pictures more.csv --collection mine
    """
    from geosearch.ingest import ingest as ingest_photos

    with database(context) as opened, console.progress("ingest", "photos") as report:
        summary = ingest_photos(opened, sources, collection=collection, **given, progress=report)
    answer(as_json, summary, lambda: _print(summary, collection))
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
    as_json: JsonOption = False,
) -> None:
    """List photos that could not be used, and why.

    Example: geosearch rejects --collection mine --stage position
    """
    from geosearch.ingest.rejects import list_rejects

    most = limit if as_json else None
    with database(context) as opened:
        found = list_rejects(opened, collection=collection, stage=stage, limit=most)
    none = "none: every photo could be used"
    columns = {
        "collection": lambda reject: reject.collection,
        "file": lambda reject: reject.uri,
        "stage": lambda reject: reject.stage,
        "reason": lambda reject: reject.reason,
        "message": lambda reject: reject.message,
    }
    console.print_rows(as_json, found, columns, columns, limit or _SHOWN, none)


def _print(summary: IngestSummary, collection: str) -> None:
    title = f"{collection} (dry run)" if summary.run_id is None else collection
    made = Table(title, "photos", text=[title])
    rows = {
        "added": summary.added,
        "duplicates": summary.duplicates,
        "without a position": summary.unlocated,
        "with an estimated position": summary.estimated,
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
