"""Embedding all photos of a database: select, embed in parallel, write in bulk, resume."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypedDict

import numpy as np
from psycopg.errors import DeadlockDetected, SerializationFailure
from psycopg.rows import class_row

from geosearch.arguments import check_range
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection, Database
from geosearch.database.copying import PhotoKey, copy_embeddings
from geosearch.database.inserting import finish_run, note_run, start_run
from geosearch.database.leases import one_of_several
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import DatabaseError, Reason
from geosearch.features.backbones import Backbone
from geosearch.features.embedding_claims import MOST, Claims, Pending, filled
from geosearch.features.extraction import Outcome, Rejected, embed_batch, outcome_of
from geosearch.features.licences import remark
from geosearch.features.model_rows import Model, register_model
from geosearch.features.places_model import refuse_places
from geosearch.features.whitening import WhitenedBackbone, find_backbone
from geosearch.parallel import batched, ordered_map, processors
from geosearch.query import Query
from geosearch.waiting import Progress

logger = logging.getLogger(__name__)

#: A transaction holds at most this many photos or seconds of work: what a killed run does again.
CHUNK = 2048
COMMIT_EVERY_S = 5.0
#: Batches that each worker has before it.
_AHEAD = 2
#: Seconds between two looks whether others have done what they had claimed.
_LOOKS_EVERY_S = 0.5
#: Tries to write, and what may come in between.
_TRIES = 5
_MOVING = (DeadlockDetected, SerializationFailure)


@dataclass(frozen=True)
class EmbedSummary:
    """What an embed run did: `pending` = `embedded` + `rejected` + `gone` + `others`.

    `gone` photos were deleted while the run was at them; `others` were done by other processes, or
    deleted, before it came to them. `skipped` photos were rejected by an earlier run and not tried
    again.
    """

    run_id: int
    model_id: int
    model: str
    pending: int
    embedded: int
    rejected: int
    gone: int
    others: int
    skipped: int
    seconds: float
    photos_per_s: float


class EmbedOptions(TypedDict, total=False):
    """Options of `embed`, for those who pass them on."""

    collection: str | None
    batch_size: int | None
    workers: int | None
    retry: bool
    progress: Progress | None


def embed(
    database: Database,
    model: str | Backbone = DEFAULT_MODEL,
    *,
    collection: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    retry: bool = False,
    progress: Progress | None = None,
) -> EmbedSummary:
    """Embed every photo that has no embedding of the model yet.

    Those without a known position are no references: their embeddings lie apart, to be asked about.
    For a whitened model, photos are embedded with the one it comes of first, and those embeddings
    are whitened.

    Any number of processes, on any hosts, may do so at once: they share what is to do, and each
    ends when all is done. Can be killed at any moment and run again: a photo is embedded or
    rejected once. Photos whose file could not be read are tried again by every later run; those
    that could not be decoded or embedded only with `retry`.

    Parameters
    ----------
    model
        A spec, or a loaded backbone (then `device` is not used).
    collection
        Only this collection's photos.
    batch_size, workers
        Photos per call of the network, and threads that read, decode and embed; the defaults
        suit the device and the processor.
    progress
        Called with (photos done, by other processes too, photos to do).

    Raises
    ------
    ModelError, InputError
        The backbone cannot be loaded; `batch_size` or `workers` is below 1.
    NotFoundError
        There is no such collection.
    DatabaseError
        The model is being deleted, or its embeddings are being imported.
    """
    check_range("batch_size", batch_size, 1)
    check_range("workers", workers, 1)
    refuse_places(model, "photos are not embedded")
    backbone = find_backbone(database, model, device=device)
    if (terms := remark(backbone.description)) is not None:
        logger.warning(terms)
    given = EmbedOptions(
        collection=collection,
        batch_size=batch_size,
        workers=workers,
        retry=retry,
        progress=progress,
    )
    if not isinstance(backbone, WhitenedBackbone):
        return embed_pending(database, backbone, **given)
    before = embed(database, backbone.base, **given)
    summary = embed_pending(database, backbone, **given)
    return replace(
        summary,
        pending=summary.pending + before.rejected,
        rejected=summary.rejected + before.rejected,
        skipped=before.skipped,
    )


def embed_pending(
    database: Database,
    backbone: Backbone,
    *,
    collection: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    retry: bool = False,
    progress: Progress | None = None,
) -> EmbedSummary:
    """As `embed`, but by a whitened model no photos without an embedding of the one it comes of.

    Nor any beside those of a private collection that it was fitted to (InputError).
    """
    base_id = backbone.base_id if isinstance(backbone, WhitenedBackbone) else None
    batch_size = (batch_size or backbone.batch_size) if base_id is None else MOST
    workers = workers or processors()
    with database.connection() as connection:
        collection_id = None if collection is None else find_collection(connection, collection)
        if isinstance(backbone, WhitenedBackbone):
            collection_id = backbone.check_collection(connection, collection_id)
        row = register_model(connection, backbone.description)
    refusal = DatabaseError(
        f"{row.name} (model {row.id}) is being deleted, or its embeddings are being imported",
        "Wait for that to end, then run the same command again.",
    )
    with one_of_several(database, f"embed {row.id}", refusal) as lease:
        claims = Claims(database, row.id, lease, collection_id, base_id, retry)
        run = _Run(claims, row, backbone, batch_size, workers, progress)
        return run.embed()


class _Run:
    """A run of one process, perhaps beside others: what it did, and what all of them did."""

    def __init__(
        self,
        claims: Claims,
        model: Model,
        backbone: Backbone,
        batch_size: int,
        workers: int,
        progress: Progress | None,
    ) -> None:
        self._claims, self._model, self._backbone = claims, model, backbone
        self._database = claims.database
        self._batch_size, self._workers, self._progress = batch_size, workers, progress
        self._started = time.perf_counter()
        options = {
            "device": backbone.device,
            "batch_size": batch_size,
            "workers": workers,
            "retry": claims.retry,
        }
        with self._database.connection() as connection:
            self._id = start_run(connection, "embed", claims.collection, options, model_id=model.id)
            self._first, self._pending, self._skipped = claims.survey(connection)
            self._before = sum(done_by_runs(connection, model.id))
        #: `embedded`, `rejected`, and `late`: others had them after all.
        self._counts: Counter[str] = Counter()
        self._handled = self._others = 0

    def embed(self) -> EmbedSummary:
        """Embed until nothing is left to do, whoever does it, as the database says."""
        self._report(0)
        start = self._first
        while start is not None:
            before = self._claims.counted
            photos = self._claims.walk(start, self._workers * _AHEAD * self._batch_size)
            batches = batched(photos, self._batch_size)
            results = ordered_map(self._work, batches, self._workers, ahead=_AHEAD)
            for chunk in _chunks(self._seen(results)):
                self._write(chunk)
            if self._claims.counted == before:  # others are at what is left
                time.sleep(_LOOKS_EVERY_S)
            start = self._claims.first(start)
            self._look()  # after it: where all is done, what others did last is counted too
        return self._summary()

    def _work(self, batch: tuple[Pending, ...]) -> list[tuple[Pending, Outcome]]:
        if isinstance(self._backbone, WhitenedBackbone):
            return _whitened(self._database, self._backbone, batch)
        outcomes = embed_batch(
            self._backbone,
            [photo.uri for photo in batch],
            [photo.sha256 for photo in batch],
            look=[not photo.reference for photo in batch],
        )
        return list(zip(batch, outcomes, strict=True))

    def _seen(self, results: _Results) -> _Results:
        for result in results:
            self._report(len(result))
            yield result

    def _report(self, more: int) -> None:
        self._handled += more
        if self._progress is not None:
            self._progress(min(self._handled + self._others, self._pending), self._pending)

    def _look(self) -> None:
        """See what others have done since this run began."""
        with self._database.connection() as connection:
            done = sum(done_by_runs(connection, self._model.id))
        self._others = done - self._before - self._counts["embedded"] - self._counts["rejected"]
        self._report(0)

    def _write(self, chunk: list[tuple[Pending, Outcome]]) -> None:
        """Write a chunk; once more if its photos move to another shelf at the same moment."""
        for left in reversed(range(_TRIES)):
            try:
                with self._database.connection() as connection:
                    counts = self._counts + _write(connection, self._claims, self._id, chunk)
                    done = {name: counts[name] for name in ("embedded", "rejected")}
                    note_run(connection, self._id, done)
            except DatabaseError as error:
                if not left or not isinstance(error.__cause__, _MOVING):
                    raise
            else:
                self._counts = counts
                break
        self._look()

    def _summary(self) -> EmbedSummary:
        embedded, rejected = self._counts["embedded"], self._counts["rejected"]
        had = self._claims.counted - self._counts["late"]
        seconds = time.perf_counter() - self._started
        summary = EmbedSummary(
            run_id=self._id,
            model_id=self._model.id,
            model=self._model.name,
            pending=self._pending,
            embedded=embedded,
            rejected=rejected,
            gone=had - embedded - rejected,
            others=max(0, self._pending - had),
            skipped=self._skipped,
            seconds=seconds,
            photos_per_s=(embedded + rejected) / seconds,
        )
        with self._database.connection() as connection:
            names = ("pending", "embedded", "rejected", "gone", "others", "skipped")
            finish_run(connection, self._id, {name: getattr(summary, name) for name in names})
        return summary


_DONE = """
    SELECT coalesce(sum((counts -> 'embedded')::bigint), 0),
        coalesce(sum((counts -> 'rejected')::bigint), 0)
    FROM geosearch.runs
    WHERE kind = 'embed' AND id > %(after)s
        AND (%(model)s::bigint IS NULL OR model_id = %(model)s)
"""


def done_by_runs(
    connection: Connection, model_id: int | None = None, *, after: int = 0
) -> tuple[int, int]:
    """How many photos all runs of a model, or of any, embedded and rejected; of those after one."""
    asked = {"model": model_id, "after": after}
    ((embedded, rejected),) = connection.execute(_DONE, asked).fetchall()
    return int(embedded), int(rejected)


def _whitened(
    database: Database, backbone: WhitenedBackbone, batch: tuple[Pending, ...]
) -> list[tuple[Pending, Outcome]]:
    """Photos with their stored embeddings whitened; those of which there is none left are gone."""
    with database.connection() as connection:
        rows = connection.execute(
            filled(
                connection,
                """
                SELECT photo_id, embedding, low_information FROM {embeddings} AS e
                WHERE model_id = %(base)s AND photo_id = ANY(%(photos)s)
                UNION ALL SELECT photo_id, embedding, low_information FROM {queries} AS q
                WHERE model_id = %(base)s AND photo_id = ANY(%(photos)s)
                """,
            ),
            {"base": backbone.base_id, "photos": [photo.id for photo in batch]},
            binary=True,
        ).fetchall()
    stored = {key: (embedding.to_numpy(), reason) for key, embedding, reason in rows}
    there = [photo for photo in batch if photo.id in stored]
    if not there:
        return []
    started = time.perf_counter()
    vectors = np.stack([stored[photo.id][0] for photo in there]).astype(np.float32)
    embeddings = backbone.whitening.apply(vectors)
    ms = 1000 * (time.perf_counter() - started) / len(there)
    return [
        (photo, outcome_of(photo.uri, photo.sha256, embedding, ms, stored[photo.id][1]))
        for photo, embedding in zip(there, embeddings, strict=True)
    ]


_Results = Iterator[list[tuple[Pending, Outcome]]]


def _chunks(results: _Results) -> _Results:
    """Results gathered into transactions."""
    chunk: list[tuple[Pending, Outcome]] = []
    since = time.monotonic()
    for result in results:
        chunk += result
        if len(chunk) >= CHUNK or time.monotonic() - since >= COMMIT_EVERY_S:
            yield chunk
            chunk, since = [], time.monotonic()
    if chunk:
        yield chunk


def _write(
    connection: Connection, claims: Claims, run_id: int, chunk: list[tuple[Pending, Outcome]]
) -> Counter[str]:
    """Write one chunk and end its claims; what was written, and what others had after all.

    The columns copied to the embeddings are read, and the photos locked, in the same transaction.
    """
    ids = [photo.id for photo, _ in chunk]
    there = lock_photos(connection, ids)
    ours = claims.end(connection, ids)
    embedded = [
        (photo.id, outcome)
        for photo, outcome in chunk
        if isinstance(outcome, Query) and photo.id in ours
    ]
    rejected = [
        (there[photo.id], outcome)
        for photo, outcome in chunk
        if isinstance(outcome, Rejected) and photo.id in ours
    ]
    if embedded:
        write_embeddings(connection, claims.model, there, embedded)
        # Rejected by an earlier run, embedded by this one.
        connection.execute(
            filled(connection, "DELETE FROM {rejects} WHERE model_id = %s AND photo_id = ANY(%s)"),
            (claims.model, [photo_id for photo_id, _ in embedded]),
        )
    write_rejects(
        connection,
        [
            RejectRow(
                photo.collection_id,
                photo.shelf,
                outcome.uri,
                outcome.stage,
                outcome.rejection.reason,
                outcome.rejection.message,
                photo.photo_id,
                claims.model,
                run_id,
            )
            for photo, outcome in rejected
        ],
    )
    return Counter(embedded=len(embedded), rejected=len(rejected), late=len(there) - len(ours))


def lock_photos(connection: Connection, ids: Sequence[int]) -> dict[int, PhotoKey]:
    """The photos that there are of these ids, which stay as they are until the transaction ends."""
    with connection.cursor(row_factory=class_row(PhotoKey)) as cursor:
        keys = cursor.execute(
            filled(
                connection,
                """
                SELECT
                    id AS photo_id, collection_id, ST_AsEWKB(coalesce(geom, estimate)) AS geom,
                    accuracy_m, taken_at, author, licence, shelf, geom IS NOT NULL AS reference
                FROM {photos} AS photos
                WHERE id = ANY(%s)
                ORDER BY id
                FOR SHARE
                """,
            ),
            (ids,),
        ).fetchall()
    return {key.photo_id: key for key in keys}


def write_embeddings(
    connection: Connection,
    model_id: int,
    there: Mapping[int, PhotoKey],
    embedded: Sequence[tuple[int, Query]],
) -> None:
    """Write embeddings of photos, each by its id, that `lock_photos` found."""
    keys = [
        key if key.reference else key._replace(low_information=query.low_information)
        for key, query in ((there[photo_id], query) for photo_id, query in embedded)
    ]
    embeddings = np.stack([query.embedding for _, query in embedded])
    copy_embeddings(connection, model_id, keys, embeddings)


class RejectRow(NamedTuple):
    """Why a photo has no embedding of a model."""

    collection_id: int
    shelf: int
    uri: str
    stage: str
    reason: Reason
    message: str
    photo_id: int | None
    model_id: int
    run_id: int


def write_rejects(connection: Connection, rows: Sequence[RejectRow]) -> None:
    """Write such rows, in place of earlier ones on the same photo."""
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            filled(
                connection,
                """
                INSERT INTO {rejects}
                    (collection_id, shelf, uri, stage, reason, message, photo_id, model_id, run_id)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (collection_id, uri, model_id, shelf) DO UPDATE SET
                    stage = excluded.stage,
                    reason = excluded.reason,
                    message = excluded.message,
                    photo_id = excluded.photo_id,
                    run_id = excluded.run_id,
                    created_at = excluded.created_at
                """,
            ),
            rows,
        )
