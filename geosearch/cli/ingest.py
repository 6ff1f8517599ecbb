"""`geosearch ingest` and `geosearch rejects`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli import console
from geosearch.cli.console import JsonOption, LimitOption, Table, answer, database
from geosearch.cli.embed import said_of
from geosearch.cli.options import option, taking
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import EXIT_SOME_REJECTED, InputError

if TYPE_CHECKING:
    from geosearch.features import EmbedSummary
    from geosearch.ingest import IngestSummary

#: Rejects that a table shows where nothing says how many.
_SHOWN = 100
#: Kinds of other files that are named where there is nothing else.
_KINDS = 5
#: Lines of the summary that stand there even with nothing to count.
_ALWAYS = ("added", "duplicates", "without a position", "rejected", "seen")

CollectionOption = Annotated[
    str, typer.Option("--collection", help="Collection of the photos; made if missing.")
]


_DECODE = "Decode all, to find broken ones."
_COLUMNS = "Columns whose names do not tell."
_EXCLUDE = "Leave out files and folders so called."


_READING, _STORING, _AGAIN = "Reading", "Storing", "Again"


@taking(
    option("columns", str, _COLUMNS, metavar="FIELD=COLUMN,…", group=_READING),
    option("encoding", str, "Of manifests that are not UTF-8.", metavar="NAME", group=_READING),
    option("exclude", list[str], _EXCLUDE, metavar="PATTERN", group=_READING),
    option("decode", bool, _DECODE, True, spelt="--decode/--no-decode", group=_READING),
    option("workers", int, "Threads that read photos.", least=1, metavar="N", group=_READING),
    option("skip_unlocated", bool, "No photos without a usable position.", group=_STORING),
    option("thumbnails", bool, "Also small pictures, for pages and maps.", group=_STORING),
    option("embed", bool, "Embed photos too; each is read once.", group=_STORING),
    option("model", str, "Model of --embed.", DEFAULT_MODEL, metavar="SPEC", group=_STORING),
    option("author", str, "Author of photos that name none.", metavar="ID", group=_STORING),
    option("licence", str, "Licence of photos that name none.", metavar="NAME", group=_STORING),
    option("dry_run", bool, "Do everything, then write nothing.", group=_STORING),
    option("rehash", bool, "Read files too that are as they were.", group=_AGAIN),
    option("update", bool, "Change stored photos as sources say now.", group=_AGAIN),
    option("remove_missing", bool, "Delete photos whose files are gone.", group=_AGAIN),
    option("watch", bool, "Go on with what changes, until Ctrl-C.", group=_AGAIN),
    option("interval", float, "Seconds between two looks.", 10, metavar="S", group=_AGAIN),
)
def ingest(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, photos, manifests; paths or URLs.",
        ),
    ],
    collection: CollectionOption,
    as_json: JsonOption = False,
    *,
    watch: bool,
    interval: float,
    remove_missing: bool,
    embed: bool,
    model: str,
    **given: Any,
) -> None:
    """Read photos and their positions into a collection; run again, what changed.

    Exit code 3: some cannot be used (geosearch rejects). More: docs/ingest.md.

    Example: geosearch ingest ~/Pictures more.csv --collection mine
    """
    from geosearch.deletion.missing_photos import delete_missing
    from geosearch.ingest import ingest as ingest_photos

    if given["dry_run"] and (watch or remove_missing):
        raise InputError("--dry-run writes nothing", "Leave out --watch and --remove-missing.")
    if model != DEFAULT_MODEL and not embed:
        raise InputError("--model is that of --embed", "Give --embed too.")

    def once() -> IngestSummary:
        with console.progress("ingest", "photos") as report:
            found = work(opened, sources, collection=collection, **given, progress=report)
        gone = delete_missing(opened, sources, collection=collection) if remove_missing else 0
        value = found.to_json() | ({"removed": gone} if remove_missing else {})
        answer(as_json, value, lambda: _print(found, collection, gone))
        _remark(found)
        return found

    with database(context) as opened:
        work: Callable[..., IngestSummary] = ingest_photos
        if embed:
            from geosearch.features.embedded_ingest import ingest_and_embed
            from geosearch.features.whitening import find_backbone

            work = partial(ingest_and_embed, model=find_backbone(opened, model))
        if watch:
            _watch(once, sources, interval, given["exclude"])
            return
        summary = once()
    embedding = _embedding(summary)
    if summary.rejected or (embedding and embedding.rejected):
        raise typer.Exit(EXIT_SOME_REJECTED)


def _embedding(summary: IngestSummary) -> EmbedSummary | None:
    return getattr(summary, "embedding", None)


def _watch(
    once: Callable[[], object], sources: list[str], interval: float, exclude: list[str] | None
) -> None:
    """Ingest what there is, and then what changes, until Ctrl-C."""
    from geosearch.ingest.watching import changes

    try:
        for _ in changes(sources, interval=interval, exclude=exclude):
            once()
            console.note(f"Watching, every {interval:g} s. Ctrl-C ends it.")
    except KeyboardInterrupt:
        console.note("Not watched any more. The same command goes on from here.")


def _remark(summary: IngestSummary) -> None:
    """Say what was passed over, and what to do about it."""
    from geosearch.ingest.manifests import SUFFIXES

    if summary.unlocated == summary.seen > 0:
        console.note(
            "None of these photos says where it was taken: there is nothing to find them by yet. "
            "Ingest photos with positions too, or name the positions in a manifest."
        )
    if summary.warnings:
        said = ", ".join(f"{name} of {count:,}" for name, count in summary.warnings.items())
        console.note(f"Left out, because it cannot be read: {said}. The photos are stored.")
    unused = [kind for kind in summary.unread if kind in SUFFIXES and kind not in (".json", ".txt")]
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


def _print(summary: IngestSummary, collection: str, gone: int) -> None:
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
        "not read again": summary.unchanged,
        "under a new name": summary.moved,
        "changed": summary.updated,
        "removed with their files": gone,
    }
    for name, count in rows.items():
        if count or name in _ALWAYS:
            made.add_row(name, f"{count:,}")
    made.print()
    if embedding := _embedding(summary):
        console.say(said_of(embedding))
        if embedding.embedded:
            console.say_next("index", embedding.model)
    elif summary.run_id is not None and (summary.added or summary.kept_unlocated):
        console.say(f"next: geosearch embed --collection {shlex.quote(collection)}")
