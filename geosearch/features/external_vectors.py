"""Vectors that were made elsewhere, read from files in blocks: memory does not grow with them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geosearch.errors import InputError, unusable_file
from geosearch.features.description import LONGEST
from geosearch.ingest.manifests import COLUMNS
from geosearch.parallel import batched
from geosearch.storage import regular

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Rows of a block, and of a transaction.
BLOCK = 2048
#: By what a row says which photo it is of.
MATCHES = ("uri", "source_id", "sha256", "row")
#: Names of columns of embeddings, the preferred first, where there are several lists of numbers.
_EMBEDDINGS = ("embedding", "embeddings", "vector", "features", "img_emb", "image_embedding")
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
_ROW = re.compile(r"(?:(?P<key>.*?)[\t,])?\s*\"?(?P<vector>\[[^\]]*\])\"?\s*")
_NUMBER = re.compile(r"(\d+)\.(?:npy|parquet)$")
_SAVE = (
    "Save floats of shape (photos, dimension): np.save(path, np.ascontiguousarray(x, np.float32))."
)
_WHOLE = "Write it or copy it again, whole."


@dataclass(frozen=True)
class Block:
    """Rows of a file: `vectors` (n, D), float32, and the `keys` (n) of their photos.

    `first` is the number of the first row, from 1; `defects` what is wrong with some, by their
    place in the block. Without keys, rows are counted.
    """

    first: int
    vectors: NDArray[np.float32]
    keys: Sequence[str | None] | None = None
    defects: Mapping[int, str] = field(default_factory=dict)


def read_vectors(
    path: Path, match: str, *, column: str | None = None, keys: Path | None = None
) -> Iterator[Block]:
    """The rows of a .npy, .safetensors or .parquet file, of pgvector's text, or of clip-retrieval.

    `match` says what their keys are, one of `MATCHES`; `keys` is a file of them, a line each,
    where the file itself has none. `column` is that of the vectors, or their tensor.

    Raises
    ------
    InputError
        The file cannot be read, holds no vectors, or no keys of this kind.
    """
    with _readable(path):
        if keys is not None and (match == "row" or path.suffix.lower() not in _MATRICES):
            raise InputError(
                f"{path}: `keys` are for .npy and .safetensors, and not for `match` row",
                "Leave them out.",
            )
        if path.is_dir():
            yield from _clip_retrieval(path, match)
            return
        kind = regular(path).suffix.lower()
        if kind == ".parquet":
            yield from _parquet(path, match, column)
        elif kind in _MATRICES:
            array = _MATRICES[kind](path, column)
            if keys is not None:
                _check_count(path, array, sum(1 for _ in _lines(keys)))
            yield from _with_keys(path, array, _lines(keys) if keys else None, match)
        else:
            yield from _text(path, match)


def count_rows(path: Path, *, column: str | None = None) -> int:
    """How many rows `read_vectors` will give, errors as there."""
    with _readable(path):
        if path.is_dir():
            return sum(
                _npy(each).shape[0] for each in _numbered(path / "img_emb", "*.npy").values()
            )
        kind = regular(path).suffix.lower()
        if kind == ".parquet":
            with _opened(path) as file:
                return int(file.metadata.num_rows)
        if kind in _MATRICES:
            return _MATRICES[kind](path, column).shape[0]
        return sum(len(block.vectors) for block in _text(path, "row"))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = error.strerror or error
        remedy = "Give a file that is there, whole, and may be read."
        raise unusable_file(f"{path} cannot be read: {said}", error, remedy) from error


@dataclass(frozen=True)
class _Array:
    """Where a file has its matrix. Each block is mapped for itself: none stays in memory."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    bfloat: bool = False

    def block(self, start: int) -> NDArray[np.float32]:
        rows = min(BLOCK, self.shape[0] - start)
        at = self.offset + start * self.shape[1] * self.dtype.itemsize
        part = np.memmap(self.path, self.dtype, "r", at, (rows, self.shape[1]))
        if self.bfloat:  # the upper half of a float32
            return (np.asarray(part, np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is said so
            return np.array(part, np.float32)


def _npy(path: Path, _column: str | None = None) -> _Array:
    shape, columns, dtype, offset = _npy_header(path)
    if dtype.hasobject:
        raise InputError(f"{path} holds objects of Python, which could be any program", _SAVE)
    if dtype.kind != "f" or len(shape) != 2:
        raise InputError(f"{path} holds {dtype} of shape {shape}", _SAVE)
    if columns:
        raise InputError(f"{path} is stored column by column", _SAVE)
    return _checked(_Array(path, dtype, offset, shape))


def _npy_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether column by column, kind, and where the values begin."""
    with path.open("rb") as stream:
        begin = stream.read(len(np.lib.format.MAGIC_PREFIX))
        if begin.startswith(b"PK"):
            raise InputError(f"{path} holds several arrays", _SAVE)
        if begin != np.lib.format.MAGIC_PREFIX:
            raise InputError(f"{path} does not begin as a .npy file does", _SAVE)
        stream.seek(0)
        try:
            version = np.lib.format.read_magic(stream)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, columns, dtype = read(stream)
            return shape, columns, dtype, stream.tell()
        except OSError:
            raise
        except Exception as error:  # of hostile files, parsers raise all there is
            raise InputError(f"{path} has no whole header of a .npy file", _WHOLE) from error


def _safetensors(path: Path, name: str | None) -> _Array:
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > min(100_000_000, path.stat().st_size):
                raise ValueError
            header = json.loads(stream.read(size))
        found = {
            key: (str(about["dtype"]), tuple(map(int, about["shape"])), int(begin))
            for key, about in header.items()
            if key != "__metadata__"
            for begin, _ in [about["data_offsets"]]
        }
        if any(begin < 0 for *_, begin in found.values()):
            raise ValueError
    except OSError:
        raise
    except Exception as error:  # of hostile files, parsers raise all there is
        raise InputError(f"{path} has no whole header of a safetensors file", _WHOLE) from error
    fitting = [key for key, each in found.items() if len(each[1]) == 2 and each[0] in _DTYPES]
    chosen = _chosen(path, "tensor of shape (photos, dimension)", fitting, name)
    kind, (rows, dimension), begin = found[chosen]
    start = 8 + size + begin
    array = _Array(path, np.dtype(_DTYPES[kind]), start, (rows, dimension), kind == "BF16")
    return _checked(array)


#: By the ending of their names, how files of one matrix are read.
_MATRICES: Mapping[str, Callable[[Path, str | None], _Array]] = {
    ".npy": _npy,
    ".safetensors": _safetensors,
}


def _checked(array: _Array) -> _Array:
    """The array, if the file has room for all of it, and each row is a vector that can be kept."""
    if array.shape[1] > LONGEST:
        raise InputError(
            f"{array.path} has rows of {array.shape[1]:,} numbers", f"At most {LONGEST:,} are kept."
        )
    needed = array.offset + math.prod(array.shape) * array.dtype.itemsize
    if min(array.shape) < 1 or array.path.stat().st_size < needed:
        raise InputError(
            f"{array.path} ends before its {array.shape[0]:,} rows, or has none", _WHOLE
        )
    return array


def _chosen(path: Path, what: str, fitting: Sequence[str], name: str | None) -> str:
    if name is None and len(fitting) > 1:
        fitting = [each for each in _EMBEDDINGS if each in fitting][:1] or fitting
    if name is not None:
        fitting = [each for each in fitting if each == name]
    if len(fitting) != 1:
        listed = ", ".join(sorted(fitting)) or "none"
        raise InputError(f"{path}: which {what}? There is: {listed}", "Give `column`.")
    return fitting[0]


def _with_keys(
    path: Path, array: _Array, keys: Iterable[str | None] | None, match: str
) -> Iterator[Block]:
    if keys is None and match != "row":
        raise InputError(
            f"{path} does not say which photo a row is of",
            "Give a file of `keys`, a line for each row; or `match` row.",
        )
    source = None if keys is None else iter(keys)
    for start in range(0, array.shape[0], BLOCK):
        vectors = array.block(start)
        block = None if source is None else list(islice(source, len(vectors)))
        yield Block(start + 1, vectors, block)


def _check_count(path: Path, array: _Array, keys: int) -> None:
    """See that each row has a key: with one more, as a header, each would be its neighbour's."""
    rows = array.shape[0]
    if keys != rows:
        raise InputError(
            f"{path} has {rows:,} rows, and {'fewer' if keys < rows else 'more'} keys: {keys:,}",
            "Give a key for each row, without a header.",
        )


def _lines(path: Path) -> Iterator[str]:
    with regular(path).open(encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            yield line.rstrip("\r\n")


def _clip_retrieval(folder: Path, match: str) -> Iterator[Block]:
    """A folder that clip-retrieval inference wrote: `img_emb/…_0.npy`, `metadata/…_0.parquet`."""
    vectors = _numbered(folder / "img_emb", "*.npy")
    tables = _numbered(folder / "metadata", "*.parquet")
    if not vectors:
        raise InputError(f"{folder} has no img_emb/*.npy", "Give the folder of clip-retrieval.")
    first = 0
    for number, path in sorted(vectors.items()):
        keys, array = None, _npy(path)
        if match != "row":
            if number not in tables:
                raise InputError(
                    f"{path} has no metadata/*_{number}.parquet beside it",
                    "Give the whole folder of clip-retrieval, or `match` row.",
                )
            with _opened(tables[number]) as file:
                _check_count(path, array, file.metadata.num_rows)
            keys = _parquet_keys(tables[number], match)
        for block in _with_keys(path, array, keys, match):
            yield Block(first + block.first, block.vectors, block.keys)
        first += array.shape[0]


def _numbered(folder: Path, pattern: str) -> dict[int, Path]:
    return {
        int(found[1]): path for path in folder.glob(pattern) if (found := _NUMBER.search(path.name))
    }


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", _WHOLE) from error


def _parquet_keys(path: Path, match: str) -> Iterator[str | None]:
    with _opened(path) as file:
        name = _key_column(path, file.schema_arrow, match)
        for batch in file.iter_batches(BLOCK, columns=[name]):
            yield from _texts(batch.column(0))


def _parquet(path: Path, match: str, column: str | None) -> Iterator[Block]:
    with _opened(path) as file:
        schema = file.schema_arrow
        fitting = [each.name for each in schema if _is_vector(each.type)]
        vectors = _chosen(path, "column of lists of floats", fitting, column)
        key = None if match == "row" else _key_column(path, schema, match)
        first = 1
        for batch in file.iter_batches(BLOCK, columns=[vectors, *filter(None, [key])]):
            keys = None if key is None else _texts(batch.column(key))
            matrix, defects = _matrix(batch.column(vectors))
            yield Block(first, matrix, keys, defects)
            first += batch.num_rows


def _is_vector(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists and types.is_floating(kind.value_type))


def _key_column(path: Path, schema: pa.Schema, match: str) -> str:
    names = {name.lower(): name for name in schema.names}
    for alias in COLUMNS.get(match, (match,)):
        if alias in names:
            return str(names[alias])
    raise InputError(
        f"{path} has no column {match}: {', '.join(schema.names)}", f"Choose `match` of {MATCHES}."
    )


def _texts(column: pa.Array) -> list[str | None]:
    values = column.to_pylist()
    return [
        value.hex() if isinstance(value, bytes) else None if value is None else str(value)
        for value in values
    ]


def _matrix(column: pa.Array) -> tuple[NDArray[np.float32], dict[int, str]]:
    """The vectors of a column; of those that are none, or of another length, zeros, and why."""
    import pyarrow.compute as pc

    lengths = np.nan_to_num(pc.list_value_length(column).to_numpy(zero_copy_only=False))
    lengths = lengths.astype(np.int64)  # null is 0
    known = lengths[lengths > 0]
    dimension = int(np.bincount(known).argmax()) if len(known) else 1
    fits = lengths == dimension
    # Only where it must be: most files are whole, and of each block this would be a copy.
    whole = (
        column if fits.all() else column.filter(pc.equal(pc.list_value_length(column), dimension))
    )
    values = whole.flatten().to_numpy(zero_copy_only=False)
    rows = values.astype(np.float32, copy=False).reshape(-1, dimension)  # null becomes NaN
    if fits.all():
        return rows, {}
    matrix = np.zeros((len(lengths), dimension), np.float32)
    matrix[fits] = rows
    return matrix, {int(n): f"its length is {lengths[n]}" for n in np.flatnonzero(~fits)}


def _text(path: Path, match: str) -> Iterator[Block]:
    """Lines of `key<tab>[0.1,0.2]`, as COPY writes them, or as CSV, or of `[0.1,0.2]` alone."""
    with path.open(encoding="utf-8", errors="surrogateescape") as stream:
        begin = next(stream, "")
        header = "[" not in begin
        lines, first = chain(() if header else (begin,), stream), 2 if header else 1
        for block in batched(lines, BLOCK):
            found = _text_block(path, match, first, block)
            if first <= 2 and len(found.defects) == len(block):
                raise InputError(
                    f"{path} holds no vectors as pgvector writes them",
                    "Give .npy, .safetensors, .parquet, or lines such as [0.1,0.2].",
                )
            yield found
            first += len(block)


def _text_block(path: Path, match: str, first: int, lines: Sequence[str]) -> Block:
    vectors, keys, defects = [], [], {}
    for number, line in enumerate(lines):
        found = _ROW.fullmatch(line)
        key = found and found["key"]
        keys.append(key and key.strip('"'))
        try:
            vectors.append(found and np.array(found["vector"][1:-1].split(","), np.float32))
        except ValueError:
            vectors.append(None)
        if vectors[-1] is None:
            defects[number] = "it is no vector as pgvector writes it"
    if match != "row" and not any(keys):
        raise InputError(f"{path}: no line begins with a {match}", "Choose `match` row.")
    lengths = [len(each) for each in vectors if each is not None]
    dimension = max(set(lengths), key=lengths.count) if lengths else 1
    matrix = np.zeros((len(lines), dimension), np.float32)
    for number, each in enumerate(vectors):
        if each is not None and len(each) == dimension:
            matrix[number] = each
        elif each is not None:
            defects[number] = f"its length is {len(each)}"
    return Block(first, matrix, None if match == "row" else keys, defects)
