"""Embedding all photos of a database: select, embed in parallel, write in bulk, resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, LiteralString, NamedTuple, TypedDict

import numpy as np
from psycopg import sql
from psycopg.rows import class_row

from geosearch.arguments import check_range
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection, Database
from geosearch.database.copying import PhotoKey, copy_embeddings
from geosearch.database.embedding_tables import writable_tables
from geosearch.database.inserting import finish_run, start_run
from geosearch.database.leases import only_one
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import DatabaseError, Reason
from geosearch.features.backbones import Backbone
from geosearch.features.extraction import Outcome, Rejected, embed_batch, outcome_of
from geosearch.features.licences import remark
from geosearch.features.model_rows import register_model
from geosearch.features.places_model import refuse_places
from geosearch.features.whitening import WhitenedBackbone, find_backbone
from geosearch.parallel import batched, ordered_map, processors
from geosearch.query import Query
from geosearch.waiting import Progress

logger = logging.getLogger(__name__)

#: A transaction holds at most this many photos or seconds of work: what a killed run does again.
CHUNK = 2048
COMMIT_EVERY_S = 5.0
_PAGE = 4096


@dataclass(frozen=True)
class EmbedSummary:
    """What an embed run did: `pending` = `embedded` + `rejected` + `gone`.

    `gone` photos were deleted while the run was at work.
    `skipped` photos were rejected by an earlier run and not tried again.
    """

    run_id: int
    model_id: int
    model: str
    pending: int
    embedded: int
    rejected: int
    gone: int
    skipped: int
    seconds: float
    photos_per_s: float


@dataclass(frozen=True, slots=True)
class _Pending:
    id: int
    collection_id: int
    uri: str
    sha256: bytes
    reference: bool


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

    Can be killed at any moment and run again: a photo is embedded or rejected once. Photos whose
    file could not be read are tried again by every run; those that could not be decoded or
    embedded only with `retry`.

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
        Called with (photos done, photos to do).

    Raises
    ------
    ModelError, InputError
        The backbone cannot be loaded; `batch_size` or `workers` is below 1.
    NotFoundError
        There is no such collection.
    DatabaseError
        Another run is embedding with this model.
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
    batch_size = (batch_size or backbone.batch_size) if base_id is None else _PAGE
    workers = workers or processors()
    with database.connection() as connection:
        collection_id = None if collection is None else find_collection(connection, collection)
        if isinstance(backbone, WhitenedBackbone):
            collection_id = backbone.check_collection(connection, collection_id)
        row = register_model(connection, backbone.description)
    refusal = DatabaseError(
        f"another run is embedding with {row.name} (model {row.id})",
        "Wait for it to end; what it leaves undone, the next run does.",
    )
    with only_one(database, f"embed {row.id}", refusal):  # two would do, and lose, the same work
        started = time.perf_counter()
        with database.connection() as connection:
            options = {
                "device": backbone.device,
                "batch_size": batch_size,
                "workers": workers,
                "retry": retry,
            }
            run_id = start_run(connection, "embed", collection_id, options, model_id=row.id)
            asked = {
                "model": row.id,
                "base": base_id,
                "collection": collection_id,
                "retry": retry,
            }
            last, pending, skipped = _survey(connection, asked)
        if progress is not None:
            progress(0, pending)

        def work(batch: tuple[_Pending, ...]) -> list[tuple[_Pending, Outcome]]:
            if isinstance(backbone, WhitenedBackbone):
                return _whitened(database, backbone, batch)
            outcomes = embed_batch(
                backbone,
                [photo.uri for photo in batch],
                [photo.sha256 for photo in batch],
                look=[not photo.reference for photo in batch],
            )
            return list(zip(batch, outcomes, strict=True))

        photos = _pending(database, asked | {"last": last})
        results = ordered_map(work, batched(photos, batch_size), workers)
        embedded = rejected = 0
        for chunk in _chunks(_counted(results, pending, progress)):
            with database.connection() as connection:
                new, bad = _write(connection, row.id, run_id, chunk)
            embedded, rejected = embedded + new, rejected + bad
        seconds = time.perf_counter() - started
        summary = EmbedSummary(
            run_id=run_id,
            model_id=row.id,
            model=row.name,
            pending=pending,
            embedded=embedded,
            rejected=rejected,
            gone=pending - embedded - rejected,
            skipped=skipped,
            seconds=seconds,
            photos_per_s=(embedded + rejected) / seconds,
        )
        with database.connection() as connection:
            names = ("pending", "embedded", "rejected", "gone", "skipped")
            finish_run(connection, run_id, {name: getattr(summary, name) for name in names})
    return summary


def _whitened(
    database: Database, backbone: WhitenedBackbone, batch: tuple[_Pending, ...]
) -> list[tuple[_Pending, Outcome]]:
    """Photos with their stored embeddings whitened; those of which there is none left are gone."""
    with database.connection() as connection:
        rows = connection.execute(
            _sql(
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


_Results = Iterator[list[tuple[_Pending, Outcome]]]


def _counted(results: _Results, total: int, progress: Progress | None) -> _Results:
    done = 0
    for result in results:
        done += len(result)
        if progress is not None:
            progress(done, total)
        yield result


def _chunks(results: _Results) -> _Results:
    """Results gathered into transactions."""
    chunk: list[tuple[_Pending, Outcome]] = []
    since = time.monotonic()
    for result in results:
        chunk += result
        if len(chunk) >= CHUNK or time.monotonic() - since >= COMMIT_EVERY_S:
            yield chunk
            chunk, since = [], time.monotonic()
    if chunk:
        yield chunk


# Photos to embed: without an embedding of the model but with one of the model it comes of, if it
# comes of one, and not rejected for good.
_TO_DO = """
    FROM {photos} AS photos
    WHERE (%(collection)s::bigint IS NULL OR photos.collection_id = %(collection)s)
        AND photos.position_source IS DISTINCT FROM 'place'
        AND NOT EXISTS (
            SELECT FROM {embeddings} AS embeddings
            WHERE embeddings.model_id = %(model)s AND embeddings.photo_id = photos.id
        )
        AND NOT EXISTS (
            SELECT FROM {queries} AS queries
            WHERE queries.model_id = %(model)s AND queries.photo_id = photos.id
        )
        AND (
            %(base)s::bigint IS NULL
            OR EXISTS (
                SELECT FROM {embeddings} AS embeddings
                WHERE embeddings.model_id = %(base)s AND embeddings.photo_id = photos.id
            )
            OR EXISTS (
                SELECT FROM {queries} AS queries
                WHERE queries.model_id = %(base)s AND queries.photo_id = photos.id
            )
        )
"""
_REJECTED = """
        EXISTS (
            SELECT FROM {rejects} AS rejects
            WHERE rejects.model_id = %(model)s
                AND rejects.photo_id = photos.id
                AND rejects.stage <> 'read'
        )
"""


def _sql(connection: Connection, template: LiteralString) -> sql.Composed:
    """A statement over what this login may write."""
    tables = writable_tables(connection, "photos", "rejects", "embeddings", "queries")
    parts = {"to_do": sql.SQL(_TO_DO), "rejected": sql.SQL(_REJECTED)}
    return sql.SQL(template).format(
        **tables, **{name: part.format(**tables) for name, part in parts.items()}
    )


def _survey(connection: Connection, asked: dict[str, Any]) -> tuple[int, int, int]:
    """Highest id, number of photos to do, number skipped. Later photos are the next run's."""
    row = connection.execute(
        _sql(
            connection,
            """
            WITH to_do AS (
                SELECT photos.id, NOT %(retry)s AND {rejected} AS skipped
                {to_do}
            )
            SELECT
                coalesce(max(id), 0),
                count(*) FILTER (WHERE NOT skipped),
                count(*) FILTER (WHERE skipped)
            FROM to_do
            """,
        ),
        asked,
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _pending(database: Database, asked: dict[str, Any]) -> Iterator[_Pending]:
    """Photos to do up to id `last`, by id, a page at a time: memory does not grow with them."""
    statement = """
        SELECT photos.id, photos.collection_id, photos.uri, photos.sha256,
            photos.geom IS NOT NULL AS reference
        {to_do}
            AND (%(retry)s OR NOT {rejected})
            AND photos.id > %(after)s AND photos.id <= %(last)s
        ORDER BY photos.id
        LIMIT %(page)s
    """
    after = 0
    while True:
        with (
            database.connection() as connection,
            connection.cursor(row_factory=class_row(_Pending)) as cursor,
        ):
            page = cursor.execute(
                _sql(connection, statement), asked | {"after": after, "page": _PAGE}
            ).fetchall()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _write(
    connection: Connection, model_id: int, run_id: int, chunk: list[tuple[_Pending, Outcome]]
) -> tuple[int, int]:
    """Write one chunk; how many were embedded and how many rejected. Deleted photos are left out.

    The columns copied to the embeddings are read, and the photos locked, in the same transaction.
    """
    there = lock_photos(connection, [photo.id for photo, _ in chunk])
    embedded = [
        (photo.id, outcome)
        for photo, outcome in chunk
        if isinstance(outcome, Query) and photo.id in there
    ]
    rejected = [
        (photo, outcome)
        for photo, outcome in chunk
        if isinstance(outcome, Rejected) and photo.id in there
    ]
    if embedded:
        write_embeddings(connection, model_id, there, embedded)
        # Rejected by an earlier run, embedded by this one.
        connection.execute(
            _sql(connection, "DELETE FROM {rejects} WHERE model_id = %s AND photo_id = ANY(%s)"),
            (model_id, [photo_id for photo_id, _ in embedded]),
        )
    write_rejects(
        connection,
        [
            RejectRow(
                photo.collection_id,
                there[photo.id].shelf,
                photo.uri,
                outcome.stage,
                outcome.rejection.reason,
                outcome.rejection.message,
                photo.id,
                model_id,
                run_id,
            )
            for photo, outcome in rejected
        ],
    )
    return len(embedded), len(rejected)


def lock_photos(connection: Connection, ids: Sequence[int]) -> dict[int, PhotoKey]:
    """The photos that there are of these ids, which stay as they are until the transaction ends."""
    with connection.cursor(row_factory=class_row(PhotoKey)) as cursor:
        keys = cursor.execute(
            _sql(
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
    with connection.cursor() as cursor:
        cursor.executemany(
            _sql(
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
                    run_id = excluded.run_id
                """,
            ),
            rows,
        )
