"""Binary COPY into tables, and of embeddings into a model's tables.

psycopg dumps a row at a time; encoding a whole block with NumPy keeps the bulk load at the speed
of the server. Format: PostgreSQL documentation, "COPY", section "Binary Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import Copy, sql

from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import OPEN, embedding_table, writable_tables

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
TRAILER = struct.pack("!h", -1)

COLUMNS = (
    "photo_id",
    "model_id",
    "collection_id",
    "geom",
    "accuracy_m",
    "taken_at",
    "author",
    "licence",
    "shelf",
    "low_information",
    "embedding",
)
_NULL = struct.pack("!i", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST_FIELDS = struct.Struct("!h iq iq iq".replace(" ", ""))


class PhotoKey(NamedTuple):
    """A photo to embed, with the columns its embedding row copies."""

    photo_id: int
    collection_id: int
    geom: bytes | None  # EWKB
    accuracy_m: float | None
    taken_at: datetime | None
    author: str | None
    licence: str | None
    shelf: int = OPEN
    #: False without a known position: it is no reference then.
    reference: bool = True
    #: Why its picture can hardly tell a place, if so and if it was looked at.
    low_information: str | None = None


@contextmanager
def copy_into(
    connection: Connection, table: sql.Identifier, columns: Sequence[str]
) -> Iterator[Copy]:
    """A binary COPY into columns of a table, in the open transaction."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        yield copy


def copy_embeddings(
    connection: Connection,
    model_id: int,
    photos: Sequence[PhotoKey],
    embeddings: NDArray[np.float32],
) -> None:
    """Load embeddings (n, D) of `photos` (n) into the model's tables, in the open transaction.

    Raises
    ------
    ValueError
        Lengths differ, or a value is not finite.
    """
    references = np.array([photo.reference for photo in photos], dtype=bool)
    if references.any() and not references.all():
        for kind in (references, ~references):
            chosen = [photos[number] for number in np.flatnonzero(kind).tolist()]
            copy_embeddings(connection, model_id, chosen, embeddings[kind])
        return
    rows = encode_rows(model_id, photos, embeddings)
    public = all(photo.shelf == OPEN for photo in photos)
    name = "embeddings" if references.all() else "queries"
    if name == "embeddings" and public:
        table = embedding_table(model_id)
    else:
        table = writable_tables(connection, name)[name]
    with copy_into(connection, table, COLUMNS) as copy:
        copy.write(HEADER)
        copy.write(rows)
        copy.write(TRAILER)


def encode_rows(
    model_id: int, photos: Sequence[PhotoKey], embeddings: NDArray[np.float32]
) -> bytes:
    """The rows of `copy_embeddings` in binary COPY format, without header and trailer."""
    if len(photos) != len(embeddings):
        raise ValueError(f"{len(photos)} photos but {len(embeddings)} embeddings")
    if not np.isfinite(embeddings).all():
        raise ValueError("an embedding holds a value that is not finite")
    dimension = embeddings.shape[1]
    size = 2 * dimension
    halves = embeddings.astype(">f2", order="C").view(np.uint8).reshape(-1).data
    # halfvec: dimension and a reserved word, both int16, then the float16 values.
    head = struct.pack("!ihh", 4 + size, dimension, 0)
    parts: list[bytes | memoryview] = []
    for number, photo in enumerate(photos):
        parts += (
            _FIRST_FIELDS.pack(
                len(COLUMNS), 8, photo.photo_id, 8, model_id, 8, photo.collection_id
            ),
            _NULL if photo.geom is None else _field(photo.geom),
            _facts(photo),
            head,
            halves[number * size : (number + 1) * size],
        )
    return b"".join(parts)


def _facts(photo: PhotoKey) -> bytes:
    """The columns of a photo that follow its position."""
    return b"".join(
        (
            _NULL if photo.accuracy_m is None else struct.pack("!if", 4, photo.accuracy_m),
            _timestamp(photo.taken_at),
            _text(photo.author),
            _text(photo.licence),
            struct.pack("!iq", 8, photo.shelf),
            _text(photo.low_information),
        )
    )


def point_ewkb(lat: float, lon: float) -> bytes:
    """A position as PostGIS receives it: extended WKB, little-endian, with SRID 4326."""
    return struct.pack("<BIIdd", 1, 0x20000001, 4326, lon, lat)


def _field(data: bytes) -> bytes:
    return struct.pack("!i", len(data)) + data


def _text(value: str | None) -> bytes:
    return _NULL if value is None else _field(value.encode())


def _timestamp(value: datetime | None) -> bytes:
    if value is None:
        return _NULL
    delta = value - _EPOCH
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    return struct.pack("!iq", 8, micros)
