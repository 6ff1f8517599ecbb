"""Embeddings in blocks for matrix products, as they leave the server by binary COPY."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Copy, sql

from geosearch.database.connection import Connection
from geosearch.database.copying import HEADER, TRAILER


@dataclass(frozen=True)
class Block:
    """Photo ids (r,) and unit embeddings (rows, D), of which the first r count.

    The array always has as many rows as a full block, a multiple of 64: BLAS computes the edge of
    an odd-sized product with other instructions, and equal embeddings would get unequal scores.
    """

    photo_id: NDArray[np.int64]
    units: NDArray[np.float32]


def read_blocks(
    connection: Connection,
    dimension: int,
    rows: int,
    table: sql.Composable,
    condition: sql.Composable,
    values: Any,
) -> Generator[Block]:
    """Stream the embeddings of `table` that match out of the server, `rows` at a time."""
    # Both columns have fixed sizes, so the whole block is one array of records.
    record = np.dtype([*_ID, *_COLUMN_HEAD, ("embedding", ">f2", (dimension,))])
    for found in _records(
        connection, record, rows, "photo_id, embedding", table, condition, values
    ):
        yield unit_block(found["photo_id"], found["embedding"], rows)


def read_ids(
    connection: Connection, table: sql.Composable, condition: sql.Composable, values: Any
) -> NDArray[np.int64]:
    """Ids (n,) of the photos of `table` that match, in ascending order."""
    found = _records(connection, np.dtype(_ID), 2**16, "photo_id", table, condition, values)
    ids = [each["photo_id"].astype(np.int64) for each in found]
    return np.sort(np.concatenate([*ids, np.empty(0, np.int64)]))


_ID = [("fields", ">i2"), ("id_bytes", ">i4"), ("photo_id", ">i8")]
_COLUMN_HEAD = [("embedding_bytes", ">i4"), ("dimension", ">i2"), ("unused", ">i2")]


def _records(
    connection: Connection,
    record: np.dtype[np.void],
    rows: int,
    columns: str,
    table: sql.Composable,
    condition: sql.Composable,
    values: Any,
) -> Iterator[NDArray[np.void]]:
    statement = sql.SQL(
        "COPY (SELECT {columns} FROM {table} AS embeddings WHERE {condition}) "
        "TO STDOUT (FORMAT BINARY)"
    ).format(columns=sql.SQL(columns), table=table, condition=condition)
    with connection.cursor() as cursor, cursor.copy(statement, values) as copy:
        for data in _pieces(copy, rows * record.itemsize):
            yield np.frombuffer(data, record, len(data) // record.itemsize)


def _pieces(copy: Copy, size: int) -> Iterator[bytes]:
    """The rows of a binary COPY, without its header and trailer, in pieces of `size` bytes."""
    pending = bytearray()
    pending += bytes(copy.read())[len(HEADER) :]
    for message in copy:
        pending += message
        if len(pending) >= size:
            yield bytes(pending[:size])
            del pending[:size]
    del pending[-len(TRAILER) :]
    if pending:
        yield bytes(pending)


def unit_block(photo_id: NDArray[Any], embedding: NDArray[Any], rows: int) -> Block:
    """A block of `rows` rows of photos (n,) and their embeddings (n, D), as the server sends them.

    Those that are zero have no direction and are left out.
    """
    units = np.zeros((rows, embedding.shape[1]), dtype=np.float32)
    units[: len(embedding)] = embedding
    photo_id = photo_id.astype(np.int64)
    lengths = np.sqrt(np.vecdot(units, units))
    units /= np.where(lengths > 0, lengths, 1)[:, None]
    zero = lengths[: len(photo_id)] == 0
    if zero.any():
        photo_id = photo_id[~zero]
        units[: len(photo_id)] = units[: len(zero)][~zero]
    return Block(photo_id, units)


def packed(pieces: Iterable[Block], rows: int) -> Iterator[Block]:
    """The same photos in blocks of `rows`; what comes as long as that is not copied."""
    left: list[Block] = []
    for piece in pieces:
        whole = len(piece.photo_id) // rows * rows
        for start in range(0, whole, rows):
            yield _part(piece, start, start + rows)
        if whole < len(piece.photo_id):
            left.append(_part(piece, whole, len(piece.photo_id)))
        if sum(len(each.photo_id) for each in left) >= rows:
            block, rest = _joined(left, rows)
            yield block
            left = [rest] if len(rest.photo_id) else []
    if left:
        yield _joined(left, rows)[0]


def _part(block: Block, start: int, end: int) -> Block:
    return Block(block.photo_id[start:end], block.units[start:end])


def _joined(pieces: Sequence[Block], rows: int) -> tuple[Block, Block]:
    """One block of `rows` rows, and what is left of the last piece."""
    units = np.empty((rows, pieces[0].units.shape[1]), dtype=np.float32)
    done, used = 0, 0
    for piece in pieces:
        used = min(len(piece.photo_id), rows - done)
        units[done : done + used] = piece.units[:used]
        done += used
    units[done:] = 0
    photo_id = np.concatenate([piece.photo_id for piece in pieces])[:rows]
    last = pieces[-1]
    return Block(photo_id, units), _part(last, used, len(last.photo_id))
