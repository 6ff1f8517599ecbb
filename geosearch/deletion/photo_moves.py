"""Photos moved: to another position, with a history, or into another collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, LiteralString

from psycopg import sql

from geosearch.arguments import check_range, numbers
from geosearch.database.collection_rows import (
    clean_up,
    find_collection,
    owns_tables,
    take_turns,
)
from geosearch.database.connection import Connection, Database
from geosearch.database.coverage import refresh_coverage
from geosearch.database.embedding_tables import OPEN
from geosearch.database.inserting import finish_run, start_run
from geosearch.database.photo_changes import GROUPS, Change, change_photos
from geosearch.deletion.deleted import require_right
from geosearch.deletion.photo_deletion import Going
from geosearch.errors import InputError, PhotoRejected
from geosearch.ingest.photo_times import rezoned
from geosearch.ingest.positions import Position, checked
from geosearch.json_record import Record
from geosearch.retrieval.facts import forget
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.indexing import rebuild_indexes
from geosearch.words import number_of


@dataclass(frozen=True)
class Moved(Record):
    """How many photos were moved, or would be (`dry_run`).

    `stays`: photos whose bytes the other collection has already. `run_id`: what undoes it, for
    positions. `index_left`: indexes still hold what went, until their owner builds them again.
    """

    what: str
    dry_run: bool
    photos: int
    stays: int = 0
    run_id: int | None = None
    index_left: bool = False

    def __str__(self) -> str:
        verb = "would move" if self.dry_run else "moved"
        stays = (
            f"; {number_of(self.stays, 'stays', 'stay')}: the bytes are there already"
            if self.stays
            else ""
        )
        undo = "" if self.run_id is None else f"; to undo it: geosearch runs undo {self.run_id}"
        return f"{verb} {number_of(self.photos, 'photo')} to {self.what}{stays}{undo}"


def correct_positions(
    database: Database,
    where: Filter = EVERYTHING,
    *,
    to: str | Sequence[float],
    ids: Sequence[int] = (),
    to_accuracy_m: float | None = None,
    dry_run: bool = False,
) -> Moved:
    """Give the photos that pass `where` and have these ids another position: `lat,lon`, degrees.

    Its source is `corrected`. A time whose zone was that of the old position has that of the new.
    It is a run, and each photo has a row in `geosearch.photo_changes`.

    Raises
    ------
    InputError
        Nothing says which photos, or the position is none; or there are places among them.
    NotFoundError
        There is no such photo, collection or country.
    DatabaseError
        This login may not change photos, or not these.
    """
    check_range("to_accuracy_m", to_accuracy_m, 0)
    lat, lon = numbers("to", to, ("LAT", "LON"))
    try:
        position = checked(lat, lon, "corrected", to_accuracy_m)
    except PhotoRejected as error:
        raise InputError(error.message, "Give latitude and longitude in degrees.") from error
    what = f"{position.lat:g},{position.lon:g}"
    with database.connection() as connection:
        chosen = _chosen(connection, where, ids)
        rows = chosen.rows(
            "SELECT id, collection_id, taken_at, taken_at_zone, position_source, "
            "ST_Y(coalesce(geom, estimate)), ST_X(coalesce(geom, estimate)) "
            "FROM {photos} WHERE id IN ({chosen})"
        )
        places = sum(row[4] == "place" for row in rows)
        if places:
            raise InputError(
                f"{places:,} of these are places of a gallery, and no photos: they do not move",
                "Leave their collection out.",
            )
        if dry_run or not rows:
            return Moved(what, dry_run, len(rows))
        collections = sorted({row[1] for row in rows})
        take_turns(connection, collections)
        options = {"to": [lat, lon], "accuracy_m": to_accuracy_m, "ids": list(ids)}
        run_id = start_run(
            connection,
            "correct",
            collections[0] if len(collections) == 1 else None,
            options | {"filter": where.to_json()},
        )
        changes = {row[0]: _change(position, *row[2:]) for row in rows}
        changed = change_photos(connection, changes, run_id)
        _count_again(connection, collections)
        finish_run(connection, run_id, {"photos": len(changed)})
    forget(database)
    return Moved(what, False, len(changed), run_id=run_id)


def move_photos(
    database: Database,
    where: Filter = EVERYTHING,
    *,
    to: str,
    ids: Sequence[int] = (),
    dry_run: bool = False,
) -> Moved:
    """Move the photos that pass `where` and have these ids into another collection.

    Their embeddings go along. Of several with the same bytes the first goes. The history of their
    changes does not follow to a collection that others see, but for what a reviewed position
    replaced, and that it was corrected after such a review.

    Raises
    ------
    InputError
        Nothing says which photos.
    NotFoundError
        There is no such photo, collection or country.
    DatabaseError
        This login may not write there, or not these photos.
    """
    with database.connection() as connection:
        chosen = _chosen(connection, where, ids)
        key = find_collection(connection, to)
        ((shelf,),) = connection.execute(
            "SELECT shelf FROM geosearch.collections WHERE id = %s", (key,)
        ).fetchall()
        if shelf != OPEN:
            require_right(connection, "all_photos", "photos of a private collection")
        rows = chosen.rows(_FITTING, target=key)
        moving = [photo for photo, _, _, fits in rows if fits]
        found = Moved(f"the collection {to!r}", dry_run, len(moving), len(rows) - len(moving))
        if dry_run or not moving:
            return found
        theirs = {key, *(collection for _, collection, _, _ in rows)}
        take_turns(connection, theirs)
        connection.execute("SET CONSTRAINTS ALL DEFERRED")
        for statement in _MOVE:
            values = {"ids": moving, "target": key, "shelf": shelf, "position": list(GROUPS[0])}
            connection.execute(sql.SQL(statement).format(**chosen.tables), values)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        _count_again(connection, sorted(theirs))
        hidden = shelf != OPEN and any(before == OPEN for _, _, before, _ in rows)
        owned = owns_tables(connection)
    forget(database)
    if hidden and owned:  # nothing of them is left where all see it
        rebuild_indexes(database)
        clean_up(database)
    return replace(found, index_left=hidden and not owned)


class _Chosen(Going):
    """Photos that are to be changed."""

    def rows(self, template: LiteralString, **more: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement on them."""
        statement = sql.SQL(template).format(chosen=self.chosen, **self.tables)
        return self.connection.execute(statement, {**self.values, **more}).fetchall()


def _chosen(connection: Connection, where: Filter, ids: Sequence[int]) -> _Chosen:
    if where == EVERYTHING and not ids:
        raise InputError("nothing says which photos to move", "Give conditions or ids.")
    require_right(connection, "photos_open", "photos", "ingester")
    chosen = _Chosen(connection, where, ids)
    chosen.check(ids)
    return chosen


def _change(
    position: Position, time: Any, zone: Any, source: Any, lat: float | None, lon: float | None
) -> Change:
    before = None if lat is None or lon is None else Position(lat, lon, source)
    return Change(position.columns() | rezoned(time, zone, before, position))


def _count_again(connection: Connection, collections: Sequence[int]) -> None:
    rows = connection.execute(
        "SELECT name FROM geosearch.collections WHERE id = ANY(%s)", (list(collections),)
    )
    for (name,) in rows.fetchall():
        refresh_coverage(connection, name)


_FITTING: LiteralString = """
SELECT p.id, p.collection_id, p.shelf,
    row_number() OVER (PARTITION BY p.sha256 ORDER BY p.id) = 1 AND NOT EXISTS (
        SELECT FROM {photos} AS o
        WHERE o.collection_id = %(target)s AND o.sha256 = p.sha256
    ) AS fits
FROM {photos} AS p
WHERE p.id IN ({chosen}) AND p.collection_id <> %(target)s
ORDER BY p.id
"""
#: What was noted of their files and rejects is of the collection they leave.
_MOVE: tuple[LiteralString, ...] = (
    # In the order of ids, in which others lock photos too: neither waits for the other for ever.
    "SELECT FROM {photos} WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE",
    "DELETE FROM {rejects} WHERE photo_id = ANY(%(ids)s)",
    "DELETE FROM {files} WHERE photo_id = ANY(%(ids)s)",
    "DELETE FROM {claims} WHERE photo_id = ANY(%(ids)s)",
    # Of their history what reviews ask: what a reviewed position replaced, and the last correction
    # that goes before an older review, without what it replaced.
    """
    DELETE FROM {photo_changes}
    WHERE photo_id = ANY(%(ids)s) AND shelf <> %(shelf)s AND id NOT IN (
        SELECT DISTINCT ON (c.photo_id, c.run_id IS NULL) c.id
        FROM {photo_changes} AS c JOIN {photos} AS p ON p.id = c.photo_id
        WHERE c.photo_id = ANY(%(ids)s) AND c.new ? 'lat' AND (
            c.run_id IS NOT NULL AND EXISTS (
                SELECT FROM geosearch.reviews AS r WHERE r.photo_sha256 = p.sha256 AND r.overwrite
            )
            OR p.localization_id IS NOT NULL AND c.new ->> 'localization_id' IS NOT NULL
            AND c.old ->> 'localization_id' IS NULL
        )
        ORDER BY c.photo_id, c.run_id IS NULL, c.id DESC
    )
    """,
    """
    UPDATE {photo_changes} AS c SET collection_id = %(target)s, shelf = %(shelf)s,
        old = CASE WHEN run_id IS NULL THEN old ELSE '{{}}' END,
        new = (
            SELECT jsonb_object_agg(key, value) FROM jsonb_each(new) WHERE key = ANY(%(position)s)
        )
    WHERE photo_id = ANY(%(ids)s) AND shelf <> %(shelf)s
    """,
    "DELETE FROM {write_backs} WHERE photo_id = ANY(%(ids)s) AND shelf <> %(shelf)s",
    "UPDATE {photos} SET collection_id = %(target)s, shelf = %(shelf)s WHERE id = ANY(%(ids)s)",
    "UPDATE {embeddings} SET collection_id = %(target)s, shelf = %(shelf)s "
    "WHERE photo_id = ANY(%(ids)s)",
    "UPDATE {queries} SET collection_id = %(target)s, shelf = %(shelf)s "
    "WHERE photo_id = ANY(%(ids)s)",
    "UPDATE {thumbnails} SET collection_id = %(target)s, shelf = %(shelf)s "
    "WHERE photo_id = ANY(%(ids)s)",
    "UPDATE {photo_changes} SET collection_id = %(target)s WHERE photo_id = ANY(%(ids)s)",
    "UPDATE {write_backs} SET collection_id = %(target)s WHERE photo_id = ANY(%(ids)s)",
)
