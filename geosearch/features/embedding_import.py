"""Embeddings that were made elsewhere, brought into the database by binary COPY."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString, TypedDict

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.errors import UniqueViolation

from geosearch.arguments import Paths, check_choice, check_range, paths
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection, Database
from geosearch.database.copying import PhotoKey, copy_embeddings
from geosearch.database.embedding_tables import writable_tables
from geosearch.database.inserting import finish_run, start_run
from geosearch.database.leases import only_one
from geosearch.errors import DatabaseError, InputError, Reason
from geosearch.features.description import LONGEST
from geosearch.features.embedding_run import RejectRow, write_rejects
from geosearch.features.external_model import PREFIX, external_description
from geosearch.features.external_vectors import MATCHES, Block, count_rows, read_vectors
from geosearch.features.model_rows import Model, model_by_fingerprint, register_model
from geosearch.features.unit_vectors import unit_vectors
from geosearch.ingest import ingest
from geosearch.parallel import ordered_map
from geosearch.storage import resolve
from geosearch.waiting import Progress

#: Blocks at work at once.
_WORKERS = 2


class ImportOptions(TypedDict, total=False):
    """Options of `import_embeddings`, for those who pass them on."""

    match: str
    column: str | None
    keys: str | Path | None
    dimension: int | None
    licence: str | None
    photos: bool
    progress: Progress | None


@dataclass(frozen=True)
class Imported:
    """What an import did: `rows` = `embedded` + `there` + `rejected`, but for several of one photo.

    `there` photos had an embedding of this model before.
    """

    run_id: int
    model_id: int
    model: str
    rows: int
    embedded: int
    there: int
    rejected: int
    seconds: float
    rows_per_s: float


def import_embeddings(
    database: Database,
    files: Paths,
    *,
    model: str,
    collection: str,
    match: str = "uri",
    column: str | None = None,
    keys: str | Path | None = None,
    dimension: int | None = None,
    licence: str | None = None,
    photos: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Give photos of a collection embeddings that were made elsewhere, of a `model` of this name.

    Can be killed at any moment and run again: photos that have one are left as they are.

    Parameters
    ----------
    files
        .npy, .safetensors, .parquet, text as pgvector writes it, or folders of clip-retrieval;
        rows are normalised to length 1.
    match
        By what rows name photos: `uri` (relative to the file), `source_id`, `sha256` in hex; or
        `row`: the n-th row is of the n-th photo of the collection, in the order of ids, and there
        are as many.
    keys
        A file of what rows name photos by, a line each, where the file has none.
    column
        The column or tensor of the vectors, where there are several.
    dimension
        The length of a vector; by default that of the model, or of the first block.
    licence
        Licence of the model.
    photos
        The files are manifests too: ingest their photos first.
    progress
        Called with (rows done, None).

    Raises
    ------
    InputError
        A file cannot be read, has no vectors, no such keys or not as many; or not as many rows as
        there are photos, where they are counted. The model has no name. Where there is no such
        model yet: no row could be used, or the first are not of the `dimension`.
    NotFoundError
        There is no such collection.
    DatabaseError
        Another run is embedding with this model, or this login may not.
    """
    check_choice("match", match, MATCHES)
    name = model if model.startswith(PREFIX) else f"{PREFIX}{model}"
    if not name.removeprefix(PREFIX).strip() or "\0" in name:
        raise InputError(f"`model`: {model!r} is no name", "Give one, such as dinov2.")
    listed = [Path(resolve(each)) for each in paths("files", files)]
    if match == "row" and len(listed) > 1:
        raise InputError("`match` row is of one file", "Import them one after the other by keys.")
    if photos:
        ingest(database, files, collection=collection)

    def read() -> Iterator[tuple[Path, Block]]:
        of = Path(keys) if keys else None
        return (
            (path, one)
            for path in listed
            for one in read_vectors(path, match, column=column, keys=of)
        )

    first = next(read(), None)
    if first is None:
        raise InputError("there are no rows in these files", "Give files that hold vectors.")
    width = first[1].vectors.shape[1]
    dimension = dimension or width
    check_range("dimension", dimension, 1, LONGEST)
    description = external_description(name, dimension, licence)
    with database.connection() as connection:
        key = find_collection(connection, collection)
        if match == "row":
            _check_count(connection, collection, key, count_rows(listed[0], column=column))
        if model_by_fingerprint(connection, description.fingerprint) is None:
            if width != dimension:
                raise InputError(
                    f"{first[0]} has vectors of {width:,} numbers, and `dimension` is "
                    f"{dimension:,}",
                    "Leave it out, or give the files that it is of.",
                )
            _check_useful(connection, collection, key, match, read())
        row = register_model(connection, description)
    options = {"files": [str(path) for path in listed], "match": match}
    run = Run("embed", options, match)
    return load_blocks(database, row, key, run, lambda _: read(), progress)


@dataclass(frozen=True)
class Run:
    """What is recorded of a load: the kind of run, its options; and by what rows name photos."""

    kind: str
    options: Mapping[str, Any]
    match: str


def load_blocks(
    database: Database,
    model: Model,
    collection: int,
    run: Run,
    blocks: Callable[[int], Iterable[tuple[Path, Block]]],
    progress: Progress | None = None,
) -> Imported:
    """Give photos of a collection, by its id, the vectors of `blocks`, made with the run's id.

    Raises
    ------
    DatabaseError
        Another run is embedding with this model, or this login may not.
    """
    refusal = DatabaseError(f"another run is embedding with {model.name}", "Wait for it to end.")
    with only_one(database, f"embed {model.id}", refusal):
        started = time.perf_counter()
        with database.connection() as connection:
            run_id = start_run(connection, run.kind, collection, run.options, model_id=model.id)
        load = _Load(database, model, collection, run_id, run.match)
        total: Counter[str] = Counter()
        # While the server stores one block, the next is encoded.
        for found in ordered_map(load.block, load.named(blocks(run_id)), _WORKERS):
            total.update(found)
            if progress is not None:
                progress(total["rows"], None)
        seconds = time.perf_counter() - started
        counts = {name: total[name] for name in ("rows", "embedded", "there", "rejected")}
        with database.connection() as connection:
            finish_run(connection, run_id, counts)
    return Imported(
        run_id=run_id,
        model_id=model.id,
        model=model.name,
        **counts,
        seconds=seconds,
        rows_per_s=counts["rows"] / seconds,
    )


_SURROGATE = re.compile("[\ud800-\udfff]")
_KEYS: Mapping[str, LiteralString] = {
    "uri": "uri = ANY(%(keys)b)",
    "source_id": "source_id = ANY(%(keys)b)",
    "sha256": "sha256 = ANY(SELECT decode(k, 'hex') FROM unnest(%(keys)b::text[]) AS k"
    " WHERE k ~ '^([0-9a-fA-F]{{2}})*$')",
    "row": "id = ANY(%(keys)b::text[]::bigint[])",
}
_SAID: Mapping[str, LiteralString] = {
    "uri": "uri",
    "source_id": "source_id",
    "sha256": "encode(sha256, 'hex')",
    "row": "id::text",
}
# Whether a photo has one is asked photo by photo, by index: the table grows meanwhile, and the
# planner does not know of it.
_FIND: LiteralString = """
SELECT id, collection_id, ST_AsEWKB(coalesce(geom, estimate)), accuracy_m, taken_at, author,
    licence, shelf, geom IS NOT NULL, {said}, there.known
FROM {photos} AS photos
LEFT JOIN LATERAL ({there}) AS there ON true
WHERE photos.collection_id = %(collection)s AND {condition}
ORDER BY photos.id
FOR SHARE OF photos
"""
_THERE: LiteralString = """
    (SELECT true AS known FROM {embeddings} AS e
    WHERE e.model_id = %(model)s AND e.photo_id = photos.id AND e.shelf = photos.shelf LIMIT 1)
    UNION ALL
    (SELECT true FROM {queries} AS q
    WHERE q.model_id = %(model)s AND q.photo_id = photos.id AND q.shelf = photos.shelf LIMIT 1)
    LIMIT 1
"""
_ANY: LiteralString = """
SELECT FROM {embeddings} AS e WHERE e.model_id = %(model)s
UNION ALL SELECT FROM {queries} AS q WHERE q.model_id = %(model)s LIMIT 1
"""
_NAMED: LiteralString = """
SELECT FROM {photos} AS photos WHERE collection_id = %(collection)s AND {condition} LIMIT 1
"""
# Of photos whose own is known, if there are such.
_LIKE: LiteralString = """
SELECT {said} FROM {photos} WHERE collection_id = %s ORDER BY source_id IS NULL, id LIMIT 1
"""
_NEXT: LiteralString = """
SELECT id FROM {photos} WHERE collection_id = %s AND id > %s ORDER BY id LIMIT %s
"""
_UNMENDED: LiteralString = """
SELECT FROM {rejects} WHERE collection_id = %(collection)s AND model_id = %(model)s LIMIT 1
"""
_MENDED: LiteralString = """
DELETE FROM {rejects}
WHERE collection_id = %(collection)s AND model_id = %(model)s
    AND (photo_id = ANY(%(ids)s) OR uri = ANY(%(uris)s))
"""


def _check_count(connection: Connection, name: str, collection: int, rows: int) -> None:
    """See that rows that are counted are as many as the photos."""
    count = sql.SQL("SELECT count(*) FROM {photos} WHERE collection_id = %s").format(
        **writable_tables(connection, "photos")
    )
    ((photos,),) = connection.execute(count, (collection,)).fetchall()
    if rows != photos:
        raise InputError(
            f"the file has {rows:,} rows, and {name} {photos:,} photos: which is whose cannot be "
            "told by counting",
            "Give a file of `keys`, a line for each row, or `match` by what the file itself says.",
        )


def _check_useful(
    connection: Connection,
    name: str,
    collection: int,
    match: str,
    blocks: Iterable[tuple[Path, Block]],
) -> None:
    """See that a new model would get an embedding: without any it would answer nothing.

    Reads no more than it takes: one block, where that has a vector and names a photo.
    """
    tables = writable_tables(connection, "photos")
    first: str | None = None
    for path, block in blocks:
        unusable = unit_vectors(block.vectors)[1].keys() | block.defects.keys()
        if len(unusable) == len(block.vectors):
            continue
        if match == "row":
            return
        keys = [key for each in block.keys or () if (key := _key(match, path, each))]
        named = sql.SQL(_NAMED).format(condition=sql.SQL(_KEYS[match]).format(), **tables)
        values = {"collection": collection, "keys": keys}
        if connection.execute(named, values).fetchone() is not None:
            return
        first = first or next(iter(keys), "")
    if first is None:
        raise InputError(
            "no row is a vector that can be used", "Give finite numbers, not all zero."
        )
    like = sql.SQL(_LIKE).format(said=sql.SQL(_SAID[match]), **tables)
    ((known,),) = connection.execute(like, (collection,)).fetchall() or [(None,)]
    raise InputError(
        f"no row names a photo of {name} by its {match}: the first says {first!r}",
        "Its photos have none." if known is None else f"Its photos have such as {known!r}.",
    )


class _Load:
    """An import into one collection, each block in a transaction of its own."""

    def __init__(
        self, database: Database, model: Model, collection: int, run: int, match: str
    ) -> None:
        self._database, self._model, self._collection = database, model, collection
        self._run, self._match = run, match
        with database.connection() as connection:
            names = ("photos", "rejects", "embeddings", "queries")
            self._tables = writable_tables(connection, *names)
            values = {"model": model.id, "collection": collection}
            found = connection.execute(self._filled(_UNMENDED), values).fetchone()
            known = connection.execute(self._filled(_ANY), values).fetchone()
        #: Whether there are rejects of earlier runs; what this one rejects it does not meet again.
        self._mends = found is not None
        #: Whether any photo may have an embedding of this model: each is looked for then.
        self._looks = known is not None

    def named(self, blocks: Iterable[tuple[Path, Block]]) -> Iterator[tuple[Path, Block]]:
        """The blocks; where rows are counted, with the ids of the photos of their places."""
        after = 0
        for path, block in blocks:
            if self._match != "row":
                yield path, block
                continue
            count = len(block.vectors)
            with self._database.connection() as connection:
                asked = (self._collection, after, count)
                rows = connection.execute(self._filled(_NEXT), asked).fetchall()
            after = rows[-1][0] if rows else after
            ids = [str(key) for (key,) in rows]
            yield path, replace(block, keys=[*ids, *[None] * (count - len(ids))])

    def _filled(self, template: LiteralString, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(template).format(**self._tables, **parts)

    def block(self, item: tuple[Path, Block]) -> Counter[str]:
        """Write what is to be written of a block, and count it."""
        try:
            with self._database.connection() as connection:
                return self._write(connection, *item)
        except DatabaseError as error:
            if not isinstance(error.__cause__, UniqueViolation):
                raise
        self._looks = True
        with self._database.connection() as connection:  # another block had the same photo
            return self._write(connection, *item)

    def _write(self, connection: Connection, path: Path, block: Block) -> Counter[str]:
        counts: Counter[str] = Counter()
        # A block that a crash of the server takes back is brought again by the next run; the end
        # of this one, which says that all is done, waits until they are on disk.
        ((shelf, _),) = connection.execute(
            "SELECT shelf, set_config('synchronous_commit', 'off', true) "
            "FROM geosearch.collections WHERE id = %s",
            (self._collection,),
        ).fetchall()
        units, defects = self._usable(block)
        values = {"model": self._model.id, "collection": self._collection}
        there: set[int] = set()
        photos = self._photos(connection, path, block, there)
        chosen: list[PhotoKey] = []
        places: list[int] = []
        rejected: list[RejectRow] = []
        uris = [f"{path}#{block.first + place}" for place in range(len(units))]
        for place, uri in enumerate(uris):
            why = defects.get(place)
            counts["rows"] += 1
            found = photos.get(place, ())
            if why is None and not found:
                why = Reason.MISSING, "the collection has no such photo"
            if why is not None:
                counts["rejected"] += 1
                known = found[0].photo_id if found else None
                of_run = (self._model.id, self._run)
                row = RejectRow(self._collection, shelf, uri, "embed", *why, known, *of_run)
                rejected.append(row)
                continue
            new = [photo for photo in found if photo.photo_id not in there]
            counts["embedded" if new else "there"] += 1
            there.update(photo.photo_id for photo in new)
            chosen += new
            places += [place] * len(new)
        if chosen:
            every = places == list(range(len(units)))
            vectors = units if every else units[places]
            copy_embeddings(connection, self._model.id, chosen, vectors)
        if self._mends:
            both = {"ids": [photo.photo_id for photo in chosen], "uris": uris}
            connection.execute(self._filled(_MENDED), {**values, **both})
        write_rejects(connection, rejected)
        return counts

    def _usable(self, block: Block) -> tuple[NDArray[np.float32], dict[int, tuple[Reason, str]]]:
        """The vectors at length 1, and why some are none."""
        defects = {place: (Reason.BAD_ROW, why) for place, why in block.defects.items()}
        vectors = block.vectors
        if vectors.shape[1] != self._model.dimension:
            why = f"its length is {vectors.shape[1]}, not {self._model.dimension}"
            every = dict.fromkeys(range(len(vectors)), (Reason.BAD_ROW, why))
            return vectors, every | defects
        units, bad = unit_vectors(vectors)
        return units, bad | defects

    def _photos(
        self, connection: Connection, path: Path, block: Block, there: set[int]
    ) -> dict[int, Sequence[PhotoKey]]:
        """The photos of each row, by its place, under a lock; `there` gets those that have one."""
        keys = [_key(self._match, path, each) for each in block.keys or ()]
        statement = self._filled(
            _FIND,
            said=sql.SQL(_SAID[self._match]),
            condition=sql.SQL(_KEYS[self._match]).format(),
            there=self._filled(_THERE if self._looks else "SELECT NULL::boolean AS known"),
        )
        values = {
            "model": self._model.id,
            "collection": self._collection,
            "keys": [each for each in keys if each is not None],
        }
        rows = connection.execute(statement, values, binary=True).fetchall()
        there.update(row[0] for row in rows if row[-1])
        by_key: dict[str, list[PhotoKey]] = {}
        for row in rows:
            by_key.setdefault(row[-2], []).append(PhotoKey(*row[:-2]))
        return {place: by_key[key] for place, key in enumerate(keys) if key and key in by_key}


def _key(match: str, path: Path, text: str | None) -> str | None:
    """What a row says, as the database has it; None if that is nothing."""
    # Bytes that are no UTF-8 were read as what PostgreSQL does not take.
    if not text or "\0" in text or _SURROGATE.search(text):
        return None
    if match == "uri":
        try:
            return resolve(text, str(path))
        except InputError:
            return None
    return text.lower() if match == "sha256" else text
