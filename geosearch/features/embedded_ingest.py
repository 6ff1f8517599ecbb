"""Ingest and embedding in one: each photo is read and decoded once for both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

from psycopg import sql

from geosearch.arguments import Paths
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import writable_tables
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError
from geosearch.features.backbones import Backbone
from geosearch.features.embedding_run import EmbedSummary, embed, lock_photos, write_embeddings
from geosearch.features.external_model import ExternalBackbone
from geosearch.features.extraction import Shown, embed_shown
from geosearch.features.model_rows import register_model
from geosearch.features.places_model import refuse_places
from geosearch.features.whitening import WhitenedBackbone, find_backbone
from geosearch.ingest.ingest_run import IngestOptions, ingest
from geosearch.ingest.ingest_summary import IngestSummary
from geosearch.ingest.records import Photo
from geosearch.query import Query

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class EmbeddedIngest(IngestSummary):
    """What an ingest did that embedded its photos too.

    `embedding` is of all photos of the collection that had no embedding: those that are `embedded`
    with their rows, and those that were there, or whose embedding failed, after them.
    """

    embedding: EmbedSummary


def ingest_and_embed(
    database: Database,
    sources: Paths,
    *,
    collection: str,
    model: str | Backbone = DEFAULT_MODEL,
    device: str = "auto",
    **options: Unpack[IngestOptions],
) -> EmbeddedIngest:
    """As `ingest` and then `embed` of the collection, whose options these are.

    New photos are stored together with their embeddings. Those without one `embed` does then, as it
    does whenever it is run after this was killed.

    Raises
    ------
    GeosearchError
        As `ingest` and `embed`; InputError with `dry_run`.
    """
    if options.get("dry_run"):
        raise InputError("`dry_run` writes nothing", "Leave out `embed`.")
    refuse_places(model, "photos are not embedded")
    backbone = find_backbone(database, model, device=device)
    if isinstance(backbone, ExternalBackbone):
        backbone.refuse()
    progress, embedder = options.get("progress"), _Embedder(database, backbone)
    started = time.perf_counter()

    def report(done: int, total: int | None) -> None:
        if progress is not None and total:
            progress(done, total)

    found = ingest(database, sources, collection=collection, embedder=embedder, **options)
    rest = embed(
        database,
        backbone,
        collection=collection,
        workers=options.get("workers"),
        progress=report,
    )
    seconds = time.perf_counter() - started
    # With a whitened model, those were embedded with the one it comes of.
    new = 0 if isinstance(backbone, WhitenedBackbone) else found.embedded
    summary = replace(
        rest,
        pending=rest.pending + new,
        embedded=rest.embedded + new,
        seconds=seconds,
        photos_per_s=(rest.embedded + new + rest.rejected) / seconds,
    )
    return EmbeddedIngest(**vars(found), embedding=summary)


class _Embedder:
    """Embeds new photos with a backbone, or with the one that a whitened one comes of."""

    def __init__(self, database: Database, backbone: Backbone) -> None:
        self.database, self.asked = database, backbone
        self.backbone = backbone.base if isinstance(backbone, WhitenedBackbone) else backbone
        self.batch_size = self.backbone.batch_size
        self.collection_id = 0
        self.model_id = 0

    def start(self, connection: Connection, collection_id: int) -> None:
        with connection.transaction():
            if isinstance(self.asked, WhitenedBackbone):
                self.asked.check_collection(connection, collection_id)
            self.model_id = register_model(connection, self.backbone.description).id
        self.collection_id = collection_id

    def see(self, image: Image.Image) -> Any:
        return self.backbone.preprocess(image)

    def embed(self, photos: Sequence[Photo]) -> Sequence[Photo]:
        started = time.perf_counter()
        with self.database.connection() as connection:
            there = self._ids(connection, [photo.sha256 for photo in photos])
        shown = [
            Shown(photo.uri, photo.sha256, photo.seen, _looked_at(photo))
            for photo in photos
            if photo.seen is not None and photo.sha256 not in there
        ]
        made = {
            outcome.sha256: outcome
            for outcome in embed_shown(self.backbone, shown, started)
            if isinstance(outcome, Query)
        }
        return [replace(photo, seen=made.get(photo.sha256)) for photo in photos]

    def store(self, connection: Connection, photos: Mapping[bytes, Photo]) -> int:
        made = {key: photo.seen for key, photo in photos.items() if photo.seen is not None}
        if not made:
            return 0
        ids = self._ids(connection, made)
        there = lock_photos(connection, list(ids.values()))
        write_embeddings(
            connection, self.model_id, there, [(ids[key], query) for key, query in made.items()]
        )
        return len(made)

    def _ids(self, connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, int]:
        """The ids of those photos that the collection holds."""
        tables = writable_tables(connection, "photos")
        statement = "SELECT sha256, id FROM {photos} WHERE collection_id = %s AND sha256 = ANY(%s)"
        rows = connection.execute(
            sql.SQL(statement).format(**tables), (self.collection_id, list(hashes))
        )
        return {bytes(sha256): photo_id for sha256, photo_id in rows}


def _looked_at(photo: Photo) -> bool:
    return photo.position is None or not photo.position.makes_reference()
