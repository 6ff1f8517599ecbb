"""Pictures inside other files, read where they lie: members of tar archives, cells of Parquet.

`tar:///folder/shard.tar!/sample.jpg`, and `parquet:///folder/file.parquet!/column/7` for the
seventh row. Tar archives are not packed.
"""

from __future__ import annotations

import os
import re
import tarfile
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import IO, Any

_INSIDE = re.compile(r"(tar|parquet)://(.+?)!/(.+)", re.DOTALL)
_BYTES_KEPT = 2**28  # of a row group of Parquet that is read as a whole
_END = 512  # bytes of zero
_lock = threading.Lock()

Opener = Callable[[str], AbstractContextManager[IO[bytes]]]


def inside(uri: str) -> tuple[str, str, str] | None:
    """`tar` or `parquet`, the file, and what is meant in it; None for any other uri."""
    found = _INSIDE.fullmatch(uri)
    return found and (found[1], found[2], found[3])


def read_inside(uri: str, open_stream: Opener, most: int) -> bytes:
    """The bytes of a picture, `most` of them.

    Raises
    ------
    FileNotFoundError
        There is no such member or cell. Other errors are those of the file.
    """
    found = inside(uri)
    if found is None:
        raise FileNotFoundError(2, "not inside a file")
    kind, file, item = found
    return (_member if kind == "tar" else _cell)(file, item, open_stream, most)


def tar_members(file: str, open_stream: Opener) -> tuple[Mapping[str, tuple[int, int]], str | None]:
    """Name → offset and size of the files in an archive, and what is wrong with it after them."""
    with open_stream(file) as stream:
        version = _version(stream)
    with _lock:
        return _index(file, version, open_stream)


def _version(stream: IO[bytes]) -> Any:
    """What changes when the file does."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, AttributeError):  # remote
        return getattr(stream, "size", None)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=32)
def _index(
    file: str,
    version: Any,  # noqa: ARG001 - only what was read of this version is kept
    open_stream: Opener,
) -> tuple[dict[str, tuple[int, int]], str | None]:
    found: dict[str, tuple[int, int]] = {}
    with open_stream(file) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    if member.isreg() and not member.issparse():
                        found[member.name] = member.offset_data, member.size
                    archive.members = []  # type: ignore[attr-defined]  # or it keeps them all
                # It says nothing of what it does not understand, and of an end that is missing.
                stream.seek(archive.offset)
                if stream.read(_END) != bytes(_END):
                    return found, "it does not end as archives do"
        except Exception as error:  # of hostile archives tarfile raises more than it says
            return found, f"{type(error).__name__}: {error}"
    return found, None


def _member(file: str, name: str, open_stream: Opener, most: int) -> bytes:
    offset, size = tar_members(file, open_stream)[0].get(name, (None, 0))
    if offset is None:
        raise FileNotFoundError(2, f"the archive has no {name}")
    with open_stream(file) as stream:
        stream.seek(offset)
        return stream.read(min(size, most))


def _cell(file: str, item: str, open_stream: Opener, most: int) -> bytes:
    column, _, row = item.rpartition("/")
    left = int(row) - 1 if row.isdecimal() else -1
    import pyarrow.parquet

    with open_stream(file) as stream:
        table = pyarrow.parquet.ParquetFile(stream)
        wanted = picture_column(table.schema_arrow, column)
        if wanted is None or not 0 <= left < table.metadata.num_rows:
            raise FileNotFoundError(2, f"the table has no picture {item}")
        index = 0
        while left >= (group := table.metadata.row_group(index)).num_rows:
            left -= group.num_rows
            index += 1
        if group.total_byte_size <= _BYTES_KEPT:
            with _lock:
                cells = _group(file, _version(stream), index, wanted, open_stream)
            data = cells[left]
        else:
            for batch in table.iter_batches(16, row_groups=[index], columns=[wanted]):
                if left < batch.num_rows:
                    break
                left -= batch.num_rows
            data = _flat(batch.column(0))[left]
    if not data.is_valid:
        raise FileNotFoundError(2, f"no picture in {item}")
    return bytes(memoryview(data.as_buffer())[:most])


@lru_cache(maxsize=2)
def _group(
    file: str,
    version: Any,  # noqa: ARG001 - as above
    index: int,
    column: str,
    open_stream: Opener,
) -> Any:
    import pyarrow.parquet

    with open_stream(file) as stream:
        found = pyarrow.parquet.ParquetFile(stream).read_row_group(index, columns=[column])
    return _flat(found.column(0).combine_chunks())


def _flat(column: Any) -> Any:
    import pyarrow

    return column.field("bytes") if pyarrow.types.is_struct(column.type) else column


def picture_column(schema: Any, name: str) -> str | None:
    """Where the bytes are in a column of pictures, a struct or bytes themselves; None in others."""
    import pyarrow

    if schema.get_field_index(name) < 0:
        return None
    kind = schema.field(name).type
    if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{name}.bytes"
    is_bytes = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
    return name if is_bytes else None
