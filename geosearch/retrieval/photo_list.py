"""Photos of the database by filter or id, as rows to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError, no_photo
from geosearch.json_record import Record
from geosearch.retrieval.algebra import check_references
from geosearch.retrieval.conditions import Photos
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.storage import resolve

# A filter is a condition on the columns that embeddings have of their photos.
_CHOSEN = """
SELECT photo_id
FROM (
    SELECT id AS photo_id, collection_id, {place} AS geom, accuracy_m, taken_at, author, licence
    FROM {photos}
) AS photos
WHERE {condition}
"""

_LIST = """
SELECT p.id, c.name AS collection, p.uri, ST_Y(p.place) AS lat, ST_X(p.place) AS lon,
    p.position_source, p.accuracy_m, p.localization_id,
    p.taken_at, p.author, p.licence, p.title, p.source_id,
    p.width, p.height, p.direction_deg, p.direction_reference, p.field_of_view_deg, p.pitch_deg,
    p.altitude_m
FROM (SELECT *, coalesce(geom, estimate) AS place FROM (
    SELECT id, collection_id, uri, geom, estimate, position_source, accuracy_m, localization_id,
        taken_at, author, licence, title, source_id, width, height, direction_deg,
        direction_reference, field_of_view_deg, pitch_deg, altitude_m
    FROM geosearch.photos
) AS shown) AS p
JOIN geosearch.collections AS c ON c.id = p.collection_id
WHERE p.id IN ({chosen}) AND p.id > %(after)s
    AND (NOT %(unlocated)s OR p.position_source IS NULL)
ORDER BY p.id LIMIT %(limit)s
"""

_NEAREST = """
SELECT id, geosearch.great_circle_km(geom, ST_SetSRID(ST_Point(%(lon)s, %(lat)s), 4326)) AS km
FROM geosearch.photos
WHERE geom IS NOT NULL AND id IN ({chosen})
ORDER BY km, id LIMIT %(limit)s
"""


@dataclass(frozen=True)
class StoredPhoto(Record):
    """A photo; latitude and longitude in degrees, estimated where `position_source` says so, or
    a place of a gallery, which is no photo, where that is `place`.

    `localization_id` is the answer that a reviewed position is by.
    """

    id: int
    collection: str
    uri: str
    lat: float | None
    lon: float | None
    position_source: str | None
    accuracy_m: float | None
    localization_id: int | None
    taken_at: datetime | None
    author: str | None
    licence: str | None
    title: str | None
    source_id: str | None
    width: int | None
    height: int | None
    direction_deg: float | None
    direction_reference: str | None
    field_of_view_deg: float | None
    pitch_deg: float | None
    altitude_m: float | None


def chosen_photos(
    connection: Connection,
    where: Filter = EVERYTHING,
    ids: Sequence[int] = (),
    photos: sql.Composable = sql.SQL("geosearch.photos"),  # noqa: B008 - it is constant
    *,
    estimated: bool = False,
) -> tuple[sql.Composed, dict[str, Any]]:
    """What selects, as `photo_id`, the photos that pass a filter and have these ids; its values.

    With `estimated`, photos may pass by the place that was estimated of them.

    Raises
    ------
    NotFoundError
        A collection or country of the filter does not exist.
    InputError
        The filter asks for estimated positions, which decide of searches alone.
    """
    check_references(where)
    condition, values = (where & Photos(*ids) if ids else where).compile(connection)
    place = sql.SQL("coalesce(geom, estimate)" if estimated else "geom")
    return sql.SQL(_CHOSEN).format(photos=photos, condition=condition, place=place), values


def list_photos(
    connection: Connection,
    where: Filter = EVERYTHING,
    ids: Sequence[int] = (),
    limit: int | None = None,
    after: int = 0,
    *,
    unlocated: bool = False,
) -> list[StoredPhoto]:
    """The photos this login may see that pass a filter and have these ids, in order.

    Those `after` an id, at most `limit`: the next page of a list. `unlocated`: only those without a
    position, and without an estimated one. A filter that includes estimated positions lets photos
    pass by these.

    Raises
    ------
    NotFoundError
        As `chosen_photos`.
    InputError
        A place is asked of the `unlocated`.
    """
    estimated, where = where.includes_estimated, where.of_references
    if unlocated and (estimated or _asks_of_places(where.to_json())):
        raise InputError(
            "`unlocated` photos have no place, and none of them passes a condition on it",
            "Leave out `unlocated`, or the conditions on places and estimates.",
        )
    chosen, values = chosen_photos(connection, where, ids, estimated=estimated)
    with connection.cursor(row_factory=class_row(StoredPhoto)) as cursor:
        return cursor.execute(
            sql.SQL(_LIST).format(chosen=chosen),
            values | {"limit": limit, "after": after, "unlocated": unlocated},
        ).fetchall()


#: Conditions on where photos were taken.
_PLACES = frozenset({"bbox", "near", "within", "country"})


def _asks_of_places(condition: Any) -> bool:
    """Whether a condition, or a part of it, is on places; as JSON."""
    if isinstance(condition, list):
        return any(map(_asks_of_places, condition))
    if not isinstance(condition, dict):
        return False
    return any(name in _PLACES or _asks_of_places(part) for name, part in condition.items())


def find_photo(connection: Connection, photo: int | str) -> StoredPhoto:
    """A photo this login may see, by its id, or by its path or URL.

    Raises
    ------
    NotFoundError
        There is none.
    InputError
        Several collections have one of this name.
    """
    if isinstance(photo, str) and not photo.isdecimal():
        uri = resolve(photo)
        rows = connection.execute("SELECT id FROM geosearch.photos WHERE uri = %s", (uri,))
        ids = sorted(int(key) for (key,) in rows)
        if len(ids) > 1:
            raise InputError(
                f"{photo}: several collections have it",
                f"Give an id: {', '.join(map(str, ids))}",
            )
        if not ids:
            raise NotFoundError(f"there is no photo {uri}", "See: geosearch photos list")
    else:
        ids = [int(photo)]
    found = list_photos(connection, ids=ids)
    if not found:
        raise no_photo(ids[0])
    return found[0]


@dataclass(frozen=True)
class PhotoChange(Record):
    """A change of a photo: what of it was `old` is `new` since, by name.

    By a run, or by a review or what took it back.
    """

    changed_at: datetime
    changed_by: str
    old: dict[str, Any]
    new: dict[str, Any]
    run_id: int | None
    review_id: int | None


def photo_history(connection: Connection, photo_id: int) -> list[PhotoChange] | None:
    """What was changed of a photo, oldest first; None where this login may not see it."""
    right = "SELECT has_table_privilege('geosearch.photo_changes', 'SELECT')"
    if connection.execute(right).fetchone() != (True,):
        return None
    with connection.cursor(row_factory=class_row(PhotoChange)) as cursor:
        return cursor.execute(
            "SELECT changed_at, changed_by, old, new, run_id, review_id "
            "FROM geosearch.photo_changes WHERE photo_id = %s ORDER BY id",
            (photo_id,),
        ).fetchall()


def read_thumbnail(connection: Connection, photo_id: int) -> bytes:
    """The thumbnail of a photo, as WebP.

    Raises
    ------
    NotFoundError
        None is stored, or there is no such photo, as far as this login may see.
    """
    row = connection.execute("SELECT geosearch.thumbnail(%s)", (photo_id,)).fetchone()
    if row is None or row[0] is None:
        raise NotFoundError(
            f"there is no thumbnail of photo {photo_id}",
            "Run: geosearch ingest FOLDER --collection NAME --thumbnails",
        )
    return bytes(row[0])


def read_thumbnails(connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
    """By id, the thumbnails that are stored of these photos, as WebP, as far as one may see."""
    asked = "SELECT id, geosearch.thumbnail(id) FROM unnest(%s::bigint[]) AS id"
    rows = connection.execute(asked, (list(ids),)).fetchall()
    return {key: bytes(thumbnail) for key, thumbnail in rows if thumbnail is not None}


def nearest_photos(
    connection: Connection, lat: float, lon: float, where: Filter, limit: int
) -> list[tuple[StoredPhoto, float]]:
    """The photos that pass a filter, nearest to a point in degrees first, with their kilometres.

    All that pass are compared: the filter is to keep near. Errors as of `chosen_photos`.
    """
    chosen, values = chosen_photos(connection, where)
    rows = connection.execute(
        sql.SQL(_NEAREST).format(chosen=chosen),
        values | {"lat": lat, "lon": lon, "limit": limit},
    ).fetchall()
    away = {int(key): float(km) for key, km in rows}
    found = list_photos(connection, ids=[*away]) if away else []
    return sorted(((photo, away[photo.id]) for photo in found), key=lambda pair: pair[1])
