"""Writing batches of an ingest: one transaction each, so that a killed run can be run again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, LiteralString, NamedTuple

from psycopg import sql
from psycopg.types.json import Jsonb

from geosearch.database.collection_rows import take_turns
from geosearch.database.connection import Connection
from geosearch.database.copying import copy_into, point_ewkb
from geosearch.database.embedding_tables import OPEN, writable_tables
from geosearch.database.photo_changes import Change, change_photos
from geosearch.database.shard_calls import call_home
from geosearch.errors import DatabaseError
from geosearch.ingest.camera_view import VIEW_FIELDS
from geosearch.ingest.corrections import Known, corrected, correction
from geosearch.ingest.embedder import Embedder
from geosearch.ingest.ingest_summary import Tally
from geosearch.ingest.positions import Position
from geosearch.ingest.records import Photo, Rejection
from geosearch.ingest.unchanged import Mark, Unchanged, is_final, is_gone


class Examined(NamedTuple):
    """What a candidate turned out to be, and by what its file is known next time."""

    item: Photo | Rejection
    mark: Mark | None = None


#: What a worker gives: one that was read, or several that need not be.
Item = Examined | list[Unchanged]

_COLUMNS = {
    "collection_id": "int8",
    "uri": "text",
    "sha256": "bytea",
    "size_bytes": "int8",
    "width": "int4",
    "height": "int4",
    "format": "text",
    "geom": "bytea",  # EWKB, the form in which PostGIS receives a geometry
    "position_source": "text",
    "estimate": "bytea",
    "accuracy_m": "float4",
    "taken_at": "timestamptz",
    "taken_at_zone": "text",
    "direction_deg": "float4",
    "direction_reference": "text",
    "field_of_view_deg": "float4",
    "pitch_deg": "float4",
    "altitude_m": "float4",
    "author": "text",
    "licence": "text",
    "title": "text",
    "source_id": "text",
    "exif": "jsonb",
    "run_id": "int8",
    "shelf": "int8",
}

_STORED = """
    SELECT sha256, uri, id, taken_at, taken_at_zone, position_source,
        ST_Y(coalesce(geom, estimate)), ST_X(coalesce(geom, estimate)),
        (
            SELECT coalesce(jsonb_agg(jsonb_build_array(w.new -> 'lat', w.new -> 'lon')), '[]')
            FROM {write_backs} AS w JOIN {photos} AS o ON o.id = w.photo_id
            WHERE o.sha256 = p.sha256 AND w.reason IS NULL
                AND w.new ->> 'source' IN ('corrected', 'reviewed')
        )
    FROM {photos} AS p
    WHERE collection_id = %s AND (sha256 = ANY(%s) OR uri = ANY(%s))
"""

_THERE = "SELECT id FROM {} WHERE collection_id = %s AND (sha256 = ANY(%s) OR uri = ANY(%s))"

# In the order of ids, in which an embed run locks photos too: neither waits for the other for ever.
_DELETE_PHOTOS = """
    DELETE FROM {photos}
    WHERE id IN (SELECT id FROM {photos} WHERE id = ANY(%s) ORDER BY id FOR UPDATE)
"""

_MOVE_PHOTO = "UPDATE {photos} SET uri = %(uri)s WHERE id = %(id)s"

_KEEP_THUMBNAILS = """
    INSERT INTO {thumbnails} (photo_id, collection_id, shelf, width, height, webp)
    SELECT p.id, p.collection_id, p.shelf, t.width, t.height, t.webp
    FROM unnest(%s::bytea[], %s::int2[], %s::int2[], %s::bytea[])
        AS t (sha256, width, height, webp)
    JOIN {photos} AS p ON p.collection_id = %s AND p.sha256 = t.sha256
    ON CONFLICT (photo_id, shelf) DO NOTHING
"""

_SEE_REJECTS = """
    UPDATE {rejects} SET run_id = %s
    WHERE collection_id = %s AND uri = ANY(%s) AND model_id IS NULL
"""

_MARK_FILES = """
    INSERT INTO {files}
        (collection_id, shelf, uri, size_bytes, modified_ns, said, photo_id, reason, run_id)
    SELECT %(collection)s, %(shelf)s, f.uri, f.size_bytes, f.modified_ns, f.said, p.id, f.reason,
        %(run)s
    FROM unnest(%(uri)s::text[], %(size_bytes)s::int8[], %(modified_ns)s::int8[], %(said)s::int8[],
            %(sha256)s::bytea[], %(reason)s::text[])
        AS f (uri, size_bytes, modified_ns, said, sha256, reason)
    LEFT JOIN {photos} AS p ON p.collection_id = %(collection)s AND p.sha256 = f.sha256
    ON CONFLICT (collection_id, uri, shelf) DO UPDATE
    SET size_bytes = excluded.size_bytes,
        modified_ns = excluded.modified_ns,
        said = excluded.said,
        photo_id = excluded.photo_id,
        reason = excluded.reason,
        run_id = excluded.run_id
"""

_FORGET_REJECTS = """
    DELETE FROM {rejects}
    WHERE collection_id = %s AND uri = ANY(%s) AND model_id IS NULL
"""

_WRITE_REJECT = """
    INSERT INTO {rejects}
        (collection_id, shelf, uri, stage, reason, message, photo_id, run_id)
    VALUES (
        %(collection)s, %(shelf)s, %(uri)s, %(stage)s, %(reason)s, %(message)s,
        (SELECT id FROM {photos} WHERE collection_id = %(collection)s AND sha256 = %(sha256)s),
        %(run)s
    )
    ON CONFLICT (collection_id, uri, model_id, shelf) DO UPDATE
    SET stage = excluded.stage,
        reason = excluded.reason,
        message = excluded.message,
        photo_id = excluded.photo_id,
        run_id = excluded.run_id
"""


class Store:
    """Writes the photos and rejects of one run into one collection."""

    def __init__(
        self,
        connection: Connection,
        collection_id: int,
        run_id: int,
        *,
        skip_unlocated: bool,
        update: bool = False,
        folders: Sequence[str] = (),
        embedder: Embedder | None = None,
    ) -> None:
        self.connection = connection
        self.collection_id = collection_id
        self.run_id = run_id
        self.skip_unlocated = skip_unlocated
        self.update = update
        #: Below which a photo whose file is gone takes the name of another with its bytes.
        self.folders = folders
        self.embedder = embedder
        self._tables: dict[str, sql.Identifier] = {}
        self._shelf = OPEN
        #: Whether what was reviewed elsewhere makes references here.
        self.reviewed = False

    def write(self, items: Sequence[Item]) -> Tally:
        """Write one batch in one transaction, and say what became of its items.

        Items are decided on in order: of several photos with the same bytes the first is stored.
        """
        with self.connection.transaction():
            # Two ingests into one collection take turns, batch by batch.
            take_turns(self.connection, [self.collection_id])
            self._find_place()
            examined = [item for item in items if isinstance(item, Examined)]
            stored = self._stored([each.item for each in examined])
            batch = _Batch(stored, self)
            for item in items:
                if isinstance(item, Examined):
                    batch.decide(item.item)
                else:
                    batch.keep(item)
            if batch.replaced:
                self.connection.execute(self._sql(_DELETE_PHOTOS), (batch.replaced,))
            self._copy(batch.new.values())
            if self.embedder is not None:
                batch.tally.embedded = self.embedder.store(self.connection, batch.new)
            changed = change_photos(self.connection, batch.changes, self.run_id)
            batch.tally.updated = len(set(changed) - batch.gained)
            for photo_id, uri in batch.moved.items():
                self.connection.execute(self._sql(_MOVE_PHOTO), {"uri": uri, "id": photo_id})
            self._keep_thumbnails(examined)
            self._reject(batch)
            self._mark(examined, batch)
        return batch.tally

    def _find_place(self) -> None:
        """Where the rows belong: the collection may have been made private since the last batch."""
        names = ("photos", "rejects", "files", "thumbnails", "write_backs")
        self._tables = writable_tables(self.connection, *names)
        row = self.connection.execute(
            "SELECT shelf, has_table_privilege('geosearch.all_photos', 'INSERT'), "
            "reviewed_references FROM geosearch.collections WHERE id = %s",
            (self.collection_id,),
        ).fetchone()
        if row is None:
            raise DatabaseError(
                "the collection was deleted while photos were added to it",
                "Run the same command again to make it again.",
            )
        if row[0] != OPEN and not row[1]:
            raise DatabaseError(
                "this login may not add photos to a private collection",
                "It takes the role geosearch_owner: geosearch roles grant owner --to USER",
            )
        self._shelf, self.reviewed = int(row[0]), bool(row[2])

    def _sql(self, template: LiteralString) -> sql.Composed:
        return sql.SQL(template).format(**self._tables)

    def _stored(self, items: Sequence[Photo | Rejection]) -> dict[bytes, Known]:
        photos = [item for item in items if isinstance(item, Photo)]
        hashes = list({photo.sha256 for photo in photos})
        uris = list({photo.uri for photo in photos})
        asked = (self.collection_id, hashes, uris)
        call_home(self.connection, lambda photos: (sql.SQL(_THERE).format(photos), asked))
        rows = self.connection.execute(self._sql(_STORED), asked)
        return {
            bytes(sha256): Known(
                uri, None if lat is None else Position(lat, lon, source), key, time, zone, written
            )
            for sha256, uri, key, time, zone, source, lat, lon, written in rows
        }

    def _copy(self, photos: Iterable[Photo]) -> None:
        with copy_into(self.connection, self._tables["photos"], list(_COLUMNS)) as copy:
            copy.set_types(list(_COLUMNS.values()))
            for photo in photos:
                copy.write_row(self._row(photo))

    def _row(self, photo: Photo) -> tuple[Any, ...]:
        position = _position_columns(photo.position, reviewed=self.reviewed)
        return (
            self.collection_id,
            photo.uri,
            photo.sha256,
            photo.size_bytes,
            photo.width,
            photo.height,
            photo.format,
            position["geom"],
            position["source"],
            position["estimate"],
            position["accuracy_m"],
            photo.taken_at,
            photo.taken_at_zone,
            *(getattr(photo, name) for name in VIEW_FIELDS),
            photo.author,
            photo.licence,
            photo.title,
            photo.source_id,
            None if photo.exif is None else Jsonb(photo.exif),
            self.run_id,
            self._shelf,
        )

    def _keep_thumbnails(self, examined: Sequence[Examined]) -> None:
        made = {
            item.sha256: item.thumbnail
            for item, _ in examined
            if isinstance(item, Photo) and item.thumbnail is not None
        }
        if made:
            columns = map(list, zip(*made.values(), strict=True))
            self.connection.execute(
                self._sql(_KEEP_THUMBNAILS), (list(made), *columns, self.collection_id)
            )

    def _mark(self, examined: Sequence[Examined], batch: _Batch) -> None:
        """Note the files that were read, but for those of which more may be read next time."""
        marked = {}
        for item, mark in examined:
            rejection, _ = batch.rejects.get(item.uri, (None, None))
            reason = None if rejection is None else rejection.reason
            photo = item if isinstance(item, Photo) else None
            # Of a photo that is not there any more, another file of the batch took the place.
            more = photo and (
                photo.warnings or (photo.position and photo.sha256 not in batch.known)
            )
            if mark is not None and is_final(reason) and not more:
                marked[mark.uri] = (*mark, photo and photo.sha256, reason)
        if marked:
            names = (*Mark._fields, "sha256", "reason")
            columns = dict(zip(names, map(list, zip(*marked.values(), strict=True)), strict=True))
            self.connection.execute(
                self._sql(_MARK_FILES),
                {"collection": self.collection_id, "shelf": self._shelf, "run": self.run_id}
                | columns,
            )

    def _reject(self, batch: _Batch) -> None:
        mended = (batch.origins | batch.accepted) - batch.rejects.keys()
        self.connection.execute(self._sql(_FORGET_REJECTS), (self.collection_id, sorted(mended)))
        if batch.seen_again:
            self.connection.execute(
                self._sql(_SEE_REJECTS), (self.run_id, self.collection_id, batch.seen_again)
            )
        with self.connection.cursor() as cursor:
            cursor.executemany(
                self._sql(_WRITE_REJECT),
                [
                    {
                        "collection": self.collection_id,
                        "shelf": self._shelf,
                        "run": self.run_id,
                        "uri": uri,
                        "stage": rejection.stage,
                        "reason": rejection.reason.value,
                        "message": rejection.message,
                        "sha256": sha256,
                    }
                    for uri, (rejection, sha256) in batch.rejects.items()
                ],
            )


def _position_columns(position: Position | None, *, reviewed: bool) -> dict[str, Any]:
    """A position as columns, of which one says that its photo is a reference."""
    point = position and point_ewkb(position.lat, position.lon)
    reference = position is not None and position.makes_reference(reviewed=reviewed)
    return {
        "geom": point if reference else None,
        "estimate": None if reference else point,
        "source": position and position.source,
        "accuracy_m": position and position.accuracy_m,
    }


class _Batch:
    """What becomes of the items of a batch, given what the collection holds."""

    def __init__(self, known: dict[bytes, Known], store: Store) -> None:
        self.known = known
        self.folders = store.folders
        self.update, self.reviewed = store.update, store.reviewed
        #: uri → hashes of what the collection holds under it
        self.held: dict[str, set[bytes]] = {}
        for sha256, photo in known.items():
            self.held.setdefault(photo.uri, set()).add(sha256)
        self.skip_unlocated = store.skip_unlocated
        self.tally = Tally()
        self.new: dict[bytes, Photo] = {}
        self.changes: dict[int, Change] = {}
        #: ids of stored photos that have a position from now on
        self.gained: set[int] = set()
        #: ids of stored photos whose file is another now
        self.replaced: list[int] = []
        #: uri → why, and the hash of the photo if it is kept all the same
        self.rejects: dict[str, tuple[Rejection, bytes | None]] = {}
        #: uris that are no rejects, whatever was wrong with them before
        self.accepted: set[str] = set()
        #: rows of manifests that name files, whatever was wrong with them before
        self.origins: set[str] = set()
        #: ids of stored photos → the uri that their file has now
        self.moved: dict[int, str] = {}
        #: uris that stay rejects
        self.seen_again: list[str] = []

    def keep(self, files: Sequence[Unchanged]) -> None:
        """Count files as what they were when they were read."""
        self.tally.seen += len(files)
        self.tally.unchanged += len(files)
        for candidate, stored, reason in files:
            if candidate.origin is not None:
                self.origins.add(candidate.origin)
            if reason is not None:
                self.tally.by_reason[reason] += 1
                self.seen_again.append(candidate.uri)
                continue
            self._accept(candidate.uri)
            if stored:
                self.tally.duplicates += 1
            else:
                self.tally.unlocated += 1

    def decide(self, item: Photo | Rejection) -> None:
        """Store, count or reject one item."""
        self.tally.seen += 1
        if item.origin is not None:
            self.origins.add(item.origin)
        if isinstance(item, Rejection):
            self._reject(item, None)
            return
        self.tally.warnings.update(item.warnings)
        self._accept(item.uri)  # the last word on a uri counts
        known = self.known.get(item.sha256)
        if known is not None and item.position is not None and known.wrote(item.position):
            item = replace(item, position=None)
        if item.position is not None and (
            known is None or not (known.located or (item.position.is_estimate and known.estimated))
        ):
            self._locate(item, known)
            if item.position.is_estimate:
                self.tally.estimated += 1
            else:
                self.tally.added += 1
        elif known is not None and (
            item.defect is None or (known.located and known.uri == item.uri)
        ):
            self.tally.duplicates += 1
            if self.update:
                self._change(item, known)
        else:
            self._without_position(item, known)
        if item.sha256 in self.known:
            self._move(item)
            self._replace(item)

    def _move(self, photo: Photo) -> None:
        """Let a stored photo have the name that its file has now."""
        known = self.known[photo.sha256]
        if known.photo_id is None or known.uri == photo.uri:
            return
        if is_gone(known.uri, self.folders):
            self._accept(known.uri)
            self.held[known.uri].discard(photo.sha256)
            self.held.setdefault(photo.uri, set()).add(photo.sha256)
            known.uri = self.moved[known.photo_id] = photo.uri
            self.tally.moved += 1

    def _replace(self, photo: Photo) -> None:
        """Drop what the collection holds of the photo's file from before it was edited."""
        held = self.held.get(photo.uri, set())
        for sha256 in held - {photo.sha256}:
            held.remove(sha256)
            before = self.known.pop(sha256)
            self.new.pop(sha256, None)
            if before.photo_id is not None:
                self.changes.pop(before.photo_id, None)
                self.replaced.append(before.photo_id)
            self.tally.replaced += 1

    def _add(self, photo: Photo) -> None:
        self.new[photo.sha256] = photo
        self.known[photo.sha256] = Known(photo.uri, photo.position)
        self.held.setdefault(photo.uri, set()).add(photo.sha256)

    def _locate(self, photo: Photo, known: Known | None) -> None:
        if known is None:
            self._add(photo)
            return
        self._accept(known.uri)
        if known.photo_id is not None:
            self.gained.add(known.photo_id)
        self._change(photo, known)

    def _change(self, photo: Photo, known: Known) -> None:
        """Let a photo of the collection, or one that is to be, have what another says of it."""
        if known.photo_id is None:
            first = self.new[photo.sha256]
            self.new[photo.sha256] = first = corrected(first, photo, update=self.update)
            known.position = first.position
            return
        change = correction(photo, known, update=self.update, reviewed=self.reviewed)
        before = self.changes.get(known.photo_id, Change({}))
        self.changes[known.photo_id] = Change(
            {**before.values, **change.values}, {**change.fills, **before.fills}
        )
        if "lat" in change.values:
            known.position = photo.position

    def _accept(self, uri: str) -> None:
        self.rejects.pop(uri, None)
        self.accepted.add(uri)

    def _without_position(self, photo: Photo, known: Known | None) -> None:
        # A file that lost its position in an editor keeps the photo it was.
        held = (self.known[sha256] for sha256 in self.held.get(photo.uri, ()))
        kept = not (self.skip_unlocated or known or any(each.located for each in held))
        if kept:
            self._add(photo)
            self.tally.kept_unlocated += 1
        if photo.defect is None:
            self.tally.unlocated += 1
        else:
            stored = kept or (known is not None and known.uri == photo.uri)
            self._reject(photo.defect, photo.sha256 if stored else None)

    def _reject(self, rejection: Rejection, sha256: bytes | None) -> None:
        self.rejects[rejection.uri] = (rejection, sha256)
        self.tally.by_reason[rejection.reason] += 1
