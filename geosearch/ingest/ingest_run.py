"""The ingest: sources → candidates → photos, read in parallel → batches → rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from itertools import chain, islice
from typing import TypedDict

from geosearch.arguments import Paths, check_range, paths, text
from geosearch.database.collection_rows import ensure_collection
from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.database.inserting import finish_run, start_run
from geosearch.errors import InputError
from geosearch.ingest.embedder import Embedder
from geosearch.ingest.examine import examine, with_defaults
from geosearch.ingest.ingest_summary import IngestSummary, Tally
from geosearch.ingest.manifests import Reading
from geosearch.ingest.photo_rows import Examined, Item, Store
from geosearch.ingest.records import Candidate, Photo, Rejection, Unread, cleaned, shortened
from geosearch.ingest.sources import candidates, count, locate
from geosearch.ingest.unchanged import Reader, Step, ToRead
from geosearch.parallel import batched, ordered_map, processors
from geosearch.waiting import Progress

_BATCH = 500


class IngestOptions(TypedDict, total=False):
    """Options of `ingest`, for those who pass them on."""

    skip_unlocated: bool
    dry_run: bool
    decode: bool
    workers: int | None
    progress: Progress | None
    author: str | None
    licence: str | None
    columns: str | Mapping[str, str] | None
    encoding: str | None
    exclude: Sequence[str] | None
    rehash: bool
    update: bool
    thumbnails: bool


def ingest(
    database: Database,
    sources: Paths,
    *,
    collection: str,
    skip_unlocated: bool = False,
    dry_run: bool = False,
    decode: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
    author: str | None = None,
    licence: str | None = None,
    columns: str | Mapping[str, str] | None = None,
    encoding: str | None = None,
    exclude: Sequence[str] | None = None,
    rehash: bool = False,
    update: bool = False,
    thumbnails: bool = False,
    embedder: Embedder | None = None,
) -> IngestSummary:
    """Read photos and their positions into a collection.

    The same bytes are one photo of the collection, the first to come: running an ingest again
    adds nothing, and after a crash it finishes the work. Local files whose size and time are as
    when they were last read are not opened. A photo whose file was edited replaces
    what the collection held of it, embeddings included. A photo that cannot be used becomes a row
    of `geosearch.rejects` and stops nothing.

    Parameters
    ----------
    sources
        Folders (searched recursively), photos, and manifests (CSV, TSV, Parquet, GeoJSON, JSON
        lines), as paths or URLs.
    collection
        Name of the collection; created where missing.
    skip_unlocated
        Do not store photos without a usable position.
    dry_run
        Do all the work in one transaction, then roll it back.
    decode
        Decode every photo, to find truncated and corrupt ones now rather than later.
    workers
        Threads that read photos; default: one per processor, and one.
    progress
        Called with the number of photos done and the total, or None where it is not known.
    author, licence
        For photos that do not name their own.
    columns
        Field → column of the manifests, where the names of columns do not tell, or one text:
        `lat=Breite,lon=Länge`.
    encoding
        Of manifests that are not UTF-8.
    exclude
        Patterns of names, or of paths below a folder, that are left out.
    rehash
        Read all files, those too that are as they were.
    update
        Of photos that are there, change what the sources say otherwise: what the row of a manifest
        says, or what a photo and the files beside it say. What they do not say stays. Each change
        is a row of `geosearch.photo_changes`.
    thumbnails
        Store small pictures, of photos too that are there and have none.
    embedder
        Stores embeddings with the photos: `geosearch.features.embedded_ingest` has one.

    Raises
    ------
    InputError
        A source does not exist, or a manifest cannot be read or lacks a column.
    DatabaseError
        The database cannot be reached, goes away, or cannot take the photos (a full disk).
    """
    sources = paths("sources", sources)
    if not sources:
        raise InputError("nothing to ingest", "Name a folder, a photo or a manifest.")
    check_range("workers", workers, 1)
    author, licence = (
        given and shortened(text(name, given))
        for name, given in (("author", author), ("licence", licence))
    )
    reading = Reading.of(columns, encoding, exclude)
    located = [locate(source, reading) for source in sources]
    unread: Counter[str] = Counter()
    options = {
        "collection": collection,
        "skip_unlocated": skip_unlocated,
        "decode": decode,
        "author": author,
        "licence": licence,
        "columns": dict(reading.columns),
        "encoding": reading.encoding,
        "exclude": list(reading.exclude),
        "rehash": rehash,
        "update": update,
        "thumbnails": thumbnails,
    }
    found = _photos(chain.from_iterable(candidates(uri, reading) for uri in located), unread)
    given = (_with_defaults(each, author, licence) for each in found)
    with database.connection() as connection:
        # Every batch is a transaction of its own; in a dry run all are inside one.
        with connection.transaction(force_rollback=True) if dry_run else nullcontext():
            with connection.transaction():
                collection_id = ensure_collection(connection, collection)
                names = list(map(cleaned, located))
                run_id = start_run(connection, "ingest", collection_id, options, sources=names)
            store = Store(
                connection,
                collection_id,
                run_id,
                skip_unlocated=skip_unlocated,
                update=update,
                folders=located,
                embedder=embedder,
            )
            if embedder is not None:
                embedder.start(connection, collection_id)

            def work(steps: Sequence[Step]) -> list[Item]:
                return _examined(steps, embedder, decode=decode, thumbnails=thumbnails)

            given_options = (decode, skip_unlocated, update, thumbnails)
            reader = Reader(connection, collection_id, given_options, rehash)
            steps = batched(reader.steps(given), 1 if embedder is None else embedder.batch_size)
            with closing(ordered_map(work, steps, workers or processors() + 1)) as items:
                report = _reporter(progress, located, reading)
                tally = _write(store, chain.from_iterable(items), report)
            tally.unread = unread
            summary = IngestSummary.of(tally, None if dry_run else run_id)
            with connection.transaction():
                finish_run(connection, run_id, summary.to_json())
            # Whatever this run did: the one before may have been killed before its count.
            with connection.transaction():
                refresh_coverage(connection, collection)
        return summary


def _photos(
    items: Iterable[Candidate | Rejection | Unread], unread: Counter[str]
) -> Iterator[Candidate | Rejection]:
    """The items without the files that are no photos, which are counted in `unread`."""
    for item in items:
        if isinstance(item, Unread):
            unread[item.kind] += 1
        else:
            yield item


def _with_defaults(
    item: Candidate | Rejection, author: str | None, licence: str | None
) -> Candidate | Rejection:
    return item if isinstance(item, Rejection) else with_defaults(item, author, licence)


def _examined(
    steps: Sequence[Step], embedder: Embedder | None, *, decode: bool, thumbnails: bool
) -> list[Item]:
    see = None if embedder is None else embedder.see
    items: list[Item] = []
    for step in steps:
        if isinstance(step, ToRead):
            found = examine(step.candidate, decode=decode, thumbnails=thumbnails, see=see)
            items.append(Examined(found, step.mark))
        else:
            items.append(Examined(step) if isinstance(step, Rejection) else step)
    if embedder is None:
        return items
    read = [each.item for each in items if isinstance(each, Examined)]
    embedded = iter(embedder.embed([item for item in read if isinstance(item, Photo)]))
    return [
        each._replace(item=next(embedded))
        if isinstance(each, Examined) and isinstance(each.item, Photo)
        else each
        for each in items
    ]


def _write(store: Store, items: Iterator[Item], report: Callable[[int], None]) -> Tally:
    total = Tally()
    report(0)
    while batch := list(_reported(islice(items, _BATCH), report, total.seen)):
        total.add(store.write(batch))
    return total


def _reported(items: Iterable[Item], report: Callable[[int], None], before: int) -> Iterator[Item]:
    done = before
    for item in items:
        done += 1 if isinstance(item, Examined) else len(item)
        report(done)
        yield item


def _reporter(
    progress: Progress | None, located: Sequence[str], reading: Reading
) -> Callable[[int], None]:
    if progress is None:
        return lambda _done: None
    counts = [count(uri, reading) for uri in located]
    total = None if None in counts else sum(number or 0 for number in counts)
    return lambda done: progress(done, total)
