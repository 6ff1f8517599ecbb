"""Files that are as they were when they were last read: they are not opened again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

from psycopg import sql

from geosearch import __version__
from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import writable_tables
from geosearch.database.shard_calls import shard_ids, tables_on
from geosearch.errors import Reason
from geosearch.ingest.records import Candidate, Rejection, storable, too_long
from geosearch.parallel import batched
from geosearch.storage import is_remote

#: What a new permission, setting or package may mend: such files are read each time.
_MAY_PASS = {Reason.UNREADABLE, Reason.UNSUPPORTED, Reason.TOO_LARGE}
#: A file changed so shortly before it is read may change again within the same tick of its clock.
_SETTLED_NS = 2_000_000_000
_PAGE = 500

_KNOWN = """
    SELECT f.uri, f.size_bytes, f.modified_ns, f.said, f.photo_id, f.reason,
        p.uri, o.size_bytes, o.modified_ns
    FROM {files} AS f
    LEFT JOIN {photos} AS p ON p.id = f.photo_id
    LEFT JOIN {files} AS o ON o.collection_id = f.collection_id AND o.uri = p.uri
    WHERE f.collection_id = %s AND f.uri = ANY(%s)
"""


class Mark(NamedTuple):
    """By what a file is known again: its size and last change, and what was said of it."""

    uri: str
    size_bytes: int
    modified_ns: int
    said: int


class Unchanged(NamedTuple):
    """What became of a file when it was read, and the candidate that names it now."""

    candidate: Candidate
    stored: bool
    reason: Reason | None


class ToRead(NamedTuple):
    """A candidate to read, and by what its file is known next time, if by anything."""

    candidate: Candidate
    mark: Mark | None = None


Step = Rejection | ToRead | list[Unchanged]


@dataclass(frozen=True)
class Reader:
    """Tells the files of a collection that need not be read.

    `options` are those on which it depends what becomes of a file.
    """

    connection: Connection
    collection_id: int
    options: tuple[object, ...]
    rehash: bool

    def steps(self, items: Iterable[Candidate | Rejection]) -> Iterator[Step]:
        """The items in their order, those that need no reading put together."""
        for page in batched(items, _PAGE):
            known = {} if self.rehash else self._known(page)
            unchanged: list[Unchanged] = []
            for item in page:
                step = item if isinstance(item, Rejection) else self._step(item, known)
                if isinstance(step, Unchanged):
                    unchanged.append(step)
                    continue
                if unchanged:
                    yield unchanged
                    unchanged = []
                yield step
            if unchanged:
                yield unchanged

    def _known(self, page: Sequence[Candidate | Rejection]) -> dict[str, tuple[Any, ...]]:
        uris = [item.uri for item in page if isinstance(item, Candidate) and storable(item.uri)]
        with self.connection.transaction():
            names = ("photos", "files")
            places = [tables_on(shard, *names) for shard in shard_ids(self.connection)]
            return {
                row[0]: row
                for tables in (*places, writable_tables(self.connection, *names))
                for row in self.connection.execute(
                    sql.SQL(_KNOWN).format(**tables), (self.collection_id, uris)
                )
            }

    def _step(self, candidate: Candidate, known: dict[str, tuple[Any, ...]]) -> ToRead | Unchanged:
        mark = self._mark(candidate)
        row = known.get(candidate.uri)
        if mark is None or row is None or row[:4] != mark or not _is_original(row[0], *row[6:]):
            return ToRead(candidate, mark)
        reason = None if row[5] is None else Reason(row[5])
        return Unchanged(candidate, row[4] is not None, reason)

    def _mark(self, candidate: Candidate) -> Mark | None:
        uri = candidate.uri
        if is_remote(uri) or not storable(uri) or too_long(uri):
            return None
        found = state(uri)
        if found is None or found[1] > time.time_ns() - _SETTLED_NS:
            return None
        beside = [state(each) for each in candidate.sidecars]
        said = _fingerprint(replace(candidate, uri="", origin=None), self.options, beside)
        return Mark(uri, *found, said)


def _is_original(uri: str, stored: str | None, *then: int | None) -> bool:
    """Whether a photo is stored by this file, or by another with its bytes that is as it was."""
    return stored in (None, uri) or is_remote(stored) or state(stored) == then


def state(uri: str) -> tuple[int, int] | None:
    """Size in bytes and time of the last change, nanoseconds; None where there is no such file."""
    try:
        found = os.stat(uri)  # noqa: PTH116 - of a text, much faster than of a Path
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def is_gone(uri: str, folders: Sequence[str]) -> bool:
    """Whether a file below one of these folders is not there any more."""
    below = any(uri.startswith(f"{each.rstrip('/')}/") for each in folders)
    return below and not is_remote(uri) and not os.path.lexists(uri)


def is_final(reason: Reason | None) -> bool:
    """Whether reading the same file again cannot but give the same."""
    return reason not in _MAY_PASS


def _fingerprint(*said: object) -> int:
    digest = sha256(repr((*said, __version__)).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
