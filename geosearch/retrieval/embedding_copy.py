"""A model's embeddings on this machine, from where a matrix product takes them as from memory.

Of the photos of public collections alone, which every login that searches may see; each user of the
machine has copies of her own. A file holds the photos of one part, 4,096 ids in a row, as unit
vectors of float32: to convert them from the float16 that is stored would take as long as the
product with a hundred queries. Its name says which version of the part it is, and the version
changes with the embeddings (`sql/0001/roles/copies.sql`), so a search takes what its own
transaction sees: the file of that version, or else the rows, which it then copies.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from mmap import ACCESS_READ, MADV_WILLNEED, mmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.atomic_files import remove_left, replacing
from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import embedding_table
from geosearch.errors import GeosearchError
from geosearch.retrieval.embedding_blocks import Block, read_ids, unit_block
from geosearch.settings import CacheSettings

#: A model of fewer values is not copied: the server sends it in a moment.
LEAST_VALUES = 2**22
#: Photos of a part at most, as in `geosearch.embedding_parts`.
PART_ROWS = 4096
#: Parts that may wait for a slow disk.
PENDING = 4
#: A model's copy that was not used for so long is removed, in seconds.
UNUSED_S = 30 * 86_400


_PART = """
SELECT string_agg(int8send(photo_id), ''), string_agg(halfvec_send(embedding), '')
FROM {} WHERE photo_id BETWEEN %s AND %s
"""


class Part(NamedTuple):
    """Photos of the ids `first` to `last`, and the version of their embeddings."""

    first: int
    last: int
    version: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.first}-{self.version % 2**64:016x}"


class EmbeddingCopy:
    """The copy of a model's embeddings, as the transaction of `connection` sees them.

    There are about `total`, of `dimension` values. What belongs to no copy any more is removed.
    """

    def __init__(self, connection: Connection, model_id: int, dimension: int, total: int) -> None:
        self._connection, self._dimension = connection, dimension
        self._table = embedding_table(model_id)
        self._select = sql.SQL(_PART).format(self._table)
        # As it must be for the rows themselves; and what empties the table now waits.
        nothing = sql.SQL("SELECT photo_id, embedding FROM {} LIMIT 0")
        connection.execute(nothing.format(self._table))
        self._parts = _parts(connection, model_id)
        root = CacheSettings().folder() / "embeddings"
        info = connection.info
        where = f"{info.host} {info.port} {info.dbname}"
        self._folder = root / hashlib.sha256(where.encode()).hexdigest()[:16] / str(model_id)
        self._row_bytes = 4 * dimension + 8
        self._room = _tidied(connection, root, self._folder, total * self._row_bytes)

    def share(self) -> float:
        """Of the parts, those that are on the disk."""
        there = sum((self._folder / part.name).exists() for part in self._parts)
        return there / max(len(self._parts), 1)

    def blocks(self, where: tuple[sql.Composable, Any] | None = None) -> Iterator[Block]:
        """The photos that meet a condition, with its values, part by part; or all.

        Memory holds the ids of those that meet it, 8 bytes each.
        """
        ids = None if where is None else read_ids(self._connection, self._table, *where)
        with ThreadPoolExecutor(1, "geosearch-copy") as writer:
            written = deque[Future[None]]()
            for part in self._parts:
                chosen = None if ids is None else ids[slice(*np.searchsorted(ids, _ends(part)))]
                if chosen is not None and not len(chosen):
                    continue
                block = self._read(part)
                if block is None:
                    block = self._fetch(part)
                    if len(written) == PENDING:
                        written.popleft().result()
                    written.append(writer.submit(self._write, part, block))
                yield block if chosen is None else _only(block, chosen)

    def _read(self, part: Part) -> Block | None:
        try:
            with (self._folder / part.name).open("rb") as file:
                mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
        except (OSError, ValueError):  # not there, or empty
            return None
        mapped.madvise(MADV_WILLNEED)  # the product comes to it in a moment
        rows, rest = divmod(len(mapped), self._row_bytes)
        if rest:
            return None
        data = np.frombuffer(mapped, np.uint8)
        end = 4 * self._dimension * rows
        units = data[:end].view(np.float32).reshape(rows, self._dimension)
        return Block(data[end:].view(np.int64), units)

    def _fetch(self, part: Part) -> Block:
        # As one row: to take them from a COPY one by one costs three times as much.
        row = self._connection.execute(
            self._select, (part.first, part.last), binary=True
        ).fetchone()
        ids, embeddings = row if row is not None and row[0] is not None else (b"", b"")
        photo_id = np.frombuffer(ids, ">i8")
        record = np.dtype([("head", ">i2", (2,)), ("embedding", ">f2", (self._dimension,))])
        embedding = np.frombuffer(embeddings, record)["embedding"]
        if np.any(np.diff(photo_id) < 0):
            order = np.argsort(photo_id)
            photo_id, embedding = photo_id[order], embedding[order]
        block = unit_block(photo_id, embedding, len(photo_id))
        return Block(block.photo_id, block.units[: len(block.photo_id)])

    def _write(self, part: Part, block: Block) -> None:
        """Write a part's file, if the disk has room for it; without it, the search goes on."""
        size = block.units.nbytes + block.photo_id.nbytes
        if not 0 < size <= self._room:
            return
        self._room -= size
        try:
            with replacing(self._folder / part.name) as path:
                path.touch(0o600)
                with path.open("wb") as stream:
                    stream.write(block.units.data)
                    stream.write(block.photo_id.data)
                    stream.flush()
                    os.fsync(stream.fileno())  # a crash must not keep a name without its bytes
        except GeosearchError:
            self._room = 0


def _ends(part: Part) -> tuple[int, int]:
    return part.first, part.last + 1


def _only(block: Block, chosen: NDArray[np.int64]) -> Block:
    """Of a block, the photos `chosen` (n,), in ascending order like its own."""
    if len(chosen) == len(block.photo_id):
        return block
    places = np.flatnonzero(np.isin(block.photo_id, chosen, assume_unique=True))
    return Block(block.photo_id[places], block.units[places])


def _parts(connection: Connection, model_id: int) -> list[Part]:
    rows = connection.execute(
        "SELECT first, last, version FROM geosearch.embedding_parts(%s) ORDER BY first", (model_id,)
    )
    return [Part(*row) for row in rows]


def _tidied(connection: Connection, root: Path, folder: Path, needed: int) -> int:
    """Make `folder`, remove what is old or unused, and give the bytes that may still be written.

    Of the database's models, the files of other versions go, so that nothing of a deleted photo
    stays; and copies of any database that were not used for a month. Of what exceeds the bound once
    `folder` has the bytes `needed`, what was unused longest goes.
    """
    try:
        for level in (root, folder.parent, folder):
            level.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root.stat().st_uid != os.geteuid():  # another could put there what is not so
            return 0
        os.utime(folder)
        room = max(0, CacheSettings().copy_bytes - needed)
        own = 0
        for used, other in sorted(
            ((each.stat().st_mtime, each) for each in root.glob("*/*")), reverse=True
        ):
            remove_left(other)
            if other.parent == folder.parent:
                current = {part.name for part in _parts(connection, int(other.name))}
                for file in other.glob("[!.]*"):
                    if file.name not in current:
                        file.unlink(missing_ok=True)
            size = sum(file.stat().st_size for file in other.iterdir())
            if other == folder:
                own = size
            elif size == 0 or size > room or time.time() - used > UNUSED_S:
                shutil.rmtree(other, ignore_errors=True)
            else:
                room -= size
        whole = min(CacheSettings().copy_bytes, room + needed)
        return min(whole - own, shutil.disk_usage(folder).free // 2)
    except (OSError, ValueError):
        return 0
