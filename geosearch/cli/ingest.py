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
#: Kinds of other files that are named where there is nothing else.
_KINDS = 5
#: Lines of the summary that stand there even with nothing to count.
_ALWAYS = ("added", "duplicates", "without a position", "rejected", "seen")

CollectionOption = Annotated[
    str, typer.Option("--collection", help="Collection to put the photos in; made where missing.")
]


_VERIFY = "Decode every photo to find broken ones."
_COLUMNS = "Columns whose names do not tell: lat=Breite,lon=Länge."
_EXCLUDE = "Leave out files and folders so called; again for more."


@taking(
    option("keep_unlocated", bool, "Store photos without a usable position too."),
    option("author", str, "Author of photos that name none."),
    option("licence", str, "Licence of photos that name none."),
    option("columns", str, _COLUMNS, metavar="FIELD=COLUMN,…"),
    option("encoding", str, "Of manifests that are not UTF-8, e.g. cp1252."),
    option("exclude", list[str], _EXCLUDE, metavar="PATTERN"),
    option("dry_run", bool, "Do everything, then write nothing."),
    option("verify", bool, _VERIFY, default=True, spelt="--verify/--no-verify"),
    option("workers", int, "Threads that read photos.", least=1),
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
    _remark(summary)
    if summary.unlocated == summary.seen > 0:
        console.note(
            "None of these photos says where it was taken. "
            "Name the positions in a manifest, or store them with --keep-unlocated."
        )
    if summary.rejected:
        raise typer.Exit(EXIT_SOME_REJECTED)


def _remark(summary: IngestSummary) -> None:
    """Say what was passed over, and what to do about it."""
    from geosearch.ingest.manifests import is_manifest

    if summary.warnings:
        said = ", ".join(f"{name} of {count:,}" for name, count in summary.warnings.items())
        console.note(f"Left out, because it cannot be read: {said}. The photos are stored.")
    unused = [kind for kind in summary.unread if is_manifest(f"photos{kind}") and kind != ".json"]
    if unused:
        console.note(f"There are {' and '.join(unused)} files: a manifest is read where named.")
    if summary.unread and not summary.seen:
        kinds = sorted(summary.unread, key=lambda kind: -summary.unread[kind])
        found = ", ".join(f"{summary.unread[kind]:,} {kind}" for kind in kinds[:_KINDS])
        console.note(f"No photo that can be read is there, but other files: {found}.")


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
        "other files": sum(summary.unread.values()),
        "replaced by their edited file": summary.replaced,
        "stored without a position": summary.kept_unlocated,
    }
    for name, count in rows.items():
        if count or name in _ALWAYS:
            made.add_row(name, f"{count:,}")
    made.print()
    if summary.run_id is not None and summary.added:
        console.say(f"next: geosearch embed --collection {shlex.quote(collection)}")
