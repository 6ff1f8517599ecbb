"""From files to embeddings: read, decode, embed, in parallel, one bad photo stopping nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import stored_embedding
from geosearch.errors import NotFoundError, PhotoRejected, Reason, no_photo
from geosearch.features.backbones import Backbone
from geosearch.features.low_information import low_information
from geosearch.features.model_rows import Model
from geosearch.parallel import batched, ordered_map, processors
from geosearch.query import Query
from geosearch.storage import read_bytes
from geosearch.waiting import Progress


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photo without an embedding, why, and at which stage: `read`, `decode` or `embed`."""

    uri: str
    rejection: PhotoRejected
    stage: str


Outcome = Query | Rejected


def embed_query(backbone: Backbone, data: bytes) -> NDArray[np.float32]:
    """The embedding (dimension,) of one photo held in memory.

    Raises
    ------
    PhotoRejected
        It cannot be decoded or embedded.
    """
    pixels = _pixels(backbone, data)
    embedding: NDArray[np.float32] = backbone.embed(np.stack([pixels]))[0]
    if not _usable(embedding):
        raise _no_embedding()
    return embedding


def stored_query(connection: Connection, model: Model, photo_id: int) -> Query:
    """A photo of the database as a query, by its stored embedding: no file is read.

    Raises
    ------
    NotFoundError
        There is no such photo, or it is not embedded with the model.
    """
    query = queries_of(connection, model, [photo_id]).get(photo_id)
    if query is None:
        raise no_photo(photo_id)
    if not len(query.embedding):
        raise NotFoundError(
            f"photo {photo_id} is not embedded with the model {model.name}",
            f"Run: geosearch embed --model {model.name}",
        )
    return query


def embed_stored(
    database: Database, backbone: Backbone, model: Model, photo_ids: Iterable[int]
) -> Iterator[Outcome]:
    """Photos of the database as queries, in order, but for those that are deleted meanwhile.

    By their stored embeddings; of those that have none the files are read and embedded.
    """
    for batch in batched(photo_ids, backbone.batch_size):
        with database.connection() as connection:
            queries = [*queries_of(connection, model, batch).values()]
        bare = [query for query in queries if not len(query.embedding)]
        files = [query.uri for query in bare], [query.sha256 for query in bare]
        made = iter(embed_batch(backbone, *files) if bare else ())
        for query in queries:
            if len(query.embedding):
                yield query
                continue
            outcome = next(made)
            if isinstance(outcome, Query):
                outcome = replace(outcome, author=query.author, taken_at=query.taken_at)
            yield outcome


def queries_of(connection: Connection, model: Model, photo_ids: Sequence[int]) -> dict[int, Query]:
    """The photos there are of these ids, by id, with an empty embedding where none is stored."""
    rows = connection.execute(
        "SELECT id, uri, sha256, author, taken_at FROM geosearch.photos WHERE id = ANY(%(ids)s) "
        "ORDER BY array_position(%(ids)s, id)",
        {"ids": list(photo_ids)},
    ).fetchall()
    queries = {}
    for key, uri, digest, author, taken_at in rows:
        stored = stored_embedding(connection, model.id, digest)
        embedding, reason = stored or (np.zeros(0, np.float32), None)
        queries[int(key)] = Query(
            uri, bytes(digest), embedding, author, taken_at, low_information=reason
        )
    return queries


def embed_files(
    backbone: Backbone, uris: Iterable[str], progress: Progress | None = None
) -> Iterator[Outcome]:
    """Embed photos by uri, in their order. `progress` is called with (done, None)."""
    done = 0
    work = batched(uris, backbone.batch_size)
    queries = ordered_map(lambda batch: embed_batch(backbone, batch), work, processors())
    for outcomes in queries:
        done += len(outcomes)
        if progress is not None:
            progress(done, None)
        yield from outcomes


def embed_batch(
    backbone: Backbone,
    uris: Sequence[str],
    expected: Sequence[bytes] | None = None,
    *,
    look: Sequence[bool] | None = None,
    read: Callable[[str], bytes] = read_bytes,
) -> list[Outcome]:
    """Read, decode and embed photos as one batch; each takes an equal share of its time.

    `expected` are their sha256 where known: a file that has changed since is rejected. `look` says
    of which photos it is seen if their pictures have too little information to tell a place;
    default: of all. `read` gives the bytes behind a uri.
    """
    started = time.perf_counter()
    photos: list[Shown | Rejected] = []
    for place, uri in enumerate(uris):
        stage = "read"
        try:
            data = read(uri)
            sha256 = hashlib.sha256(data).digest()
            if expected is not None and sha256 != expected[place]:
                raise PhotoRejected(Reason.UNREADABLE, "the file has changed since it was ingested")
            stage = "decode"
            pixels = _pixels(backbone, data)
        except PhotoRejected as rejection:
            photos.append(Rejected(uri, rejection, stage))
            continue
        photos.append(Shown(uri, sha256, pixels, look is None or look[place]))
    return embed_shown(backbone, photos, started)


class Shown(NamedTuple):
    """A photo with what `Backbone.preprocess` gave of it; `look` as in `embed_batch`."""

    uri: str
    sha256: bytes
    pixels: NDArray[np.uint8]
    look: bool


def embed_shown(
    backbone: Backbone, photos: Sequence[Shown | Rejected], started: float
) -> list[Outcome]:
    """Embed decoded photos as one batch, begun at `started`, and pass on those without pixels."""
    shown = [photo for photo in photos if isinstance(photo, Shown)]
    embeddings = backbone.embed(np.stack([each.pixels for each in shown])) if shown else ()
    several = backbone.description.views > 1
    reasons = [
        low_information(each.pixels[0] if several else each.pixels) if each.look else None
        for each in shown
    ]
    ms = 1000 * (time.perf_counter() - started) / max(len(photos), 1)
    made = iter(
        outcome_of(each.uri, each.sha256, embedding, ms, reason)
        for each, embedding, reason in zip(shown, embeddings, reasons, strict=True)
    )
    return [next(made) if isinstance(photo, Shown) else photo for photo in photos]


def outcome_of(
    uri: str,
    sha256: bytes,
    embedding: NDArray[np.float32],
    ms: float,
    low_information: str | None = None,
) -> Outcome:
    """A photo with its embedding, or rejected because that is of no use."""
    if _usable(embedding):
        return Query(uri, sha256, embedding, ms=ms, low_information=low_information)
    return Rejected(uri, _no_embedding(), "embed")


def _pixels(backbone: Backbone, data: bytes) -> NDArray[np.uint8]:
    from geosearch.images import open_image  # loads Pillow

    return backbone.preprocess(open_image(data))


def _usable(embedding: NDArray[np.float32]) -> bool:
    # Zero vectors stay zero through the normalisation; pgvector would not index them.
    return bool(np.isfinite(embedding).all()) and abs(float(np.dot(embedding, embedding)) - 1) < 0.1


def _no_embedding() -> PhotoRejected:
    return PhotoRejected(
        Reason.EXTRACTION_FAILED, "the network gave an embedding that is zero or not finite"
    )
