"""Photos to be judged, and judgements, in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row

from geosearch.database.connection import Connection
from geosearch.database.inserting import insert_all
from geosearch.json_record import Record
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.timeline.timeline_rows import camera_of

# With the names that embeddings have, for which a filter is written.
_PHOTOS = """
SELECT id AS photo_id, collection_id, uri, sha256, author, {camera} AS camera, taken_at,
    taken_at_zone AS zone, accuracy_m, licence,
    geosearch.stated_position(geom, estimate, position_source) AS geom
FROM geosearch.photos
WHERE position_source IS DISTINCT FROM 'place'
"""

_STATED = """
SELECT photo_id AS id, collection_id, uri, sha256, author, camera, taken_at, zone,
    ST_Y(geom) AS lat, ST_X(geom) AS lon, coalesce(accuracy_m, 0) / 1000 AS accuracy_km,
    count(*) OVER (PARTITION BY ST_Y(geom), ST_X(geom)) AS copies
FROM ({photos}) AS embeddings
WHERE geom IS NOT NULL AND {condition}
ORDER BY collection_id, author, camera, taken_at, id
"""

_JUDGED = """
SELECT DISTINCT ON (a.photo_id) a.photo_id, a.probability
FROM geosearch.audits AS a JOIN geosearch.photos AS p ON p.id = a.photo_id
    AND geosearch.stated_position(p.geom, p.estimate, p.position_source) = a.stated
    AND p.taken_at IS NOT DISTINCT FROM a.stated_at
WHERE a.model_id = %s AND a.photo_id = ANY(%s) AND a.recorded_by = current_user
ORDER BY a.photo_id, a.id DESC
"""

# Where nobody's photo is right, none was taken by whom the position was given to the others.
_NAME_HOMES = """
UPDATE geosearch.audits AS a SET reason = 'home'
WHERE a.reason = 'copied' AND a.recorded_by = current_user AND a.photo_id = ANY(%(ids)s)
    AND NOT EXISTS (
        SELECT FROM geosearch.audits AS other
        WHERE other.photo_id = ANY(%(ids)s) AND other.reason IS NULL AND other.stated = a.stated
    )
"""

_LIST = """
SELECT id, photo_id, photo, collection, reason, reason_probability, probability, level, picture_km,
    timeline_km, speed_kmh, stated_lat, stated_lon, position_source, mend_lat, mend_lon, stated_at,
    mend_at, created_at
FROM geosearch.gis_audit AS audits
WHERE EXISTS (
    SELECT FROM ({photos}) AS embeddings
    WHERE embeddings.photo_id = audits.photo_id AND {condition}
)
ORDER BY probability, photo_id
"""


@dataclass(frozen=True)
class Stated:
    """A photo with what it states: `lat` and `lon` in degrees; `copies` photos state this place."""

    id: int
    collection_id: int
    uri: str
    sha256: bytes
    author: str | None
    camera: str | None
    taken_at: datetime | None
    zone: str | None
    lat: float
    lon: float
    accuracy_km: float
    copies: int

    @property
    def place(self) -> tuple[float, float]:
        """Latitude and longitude."""
        return self.lat, self.lon

    @property
    def whose(self) -> tuple[int, str]:
        """The collection and the author."""
        return self.collection_id, self.author or ""


@dataclass(frozen=True)
class Doubt(Record):
    """A photo that was hardly taken where or when it says; columns as of the layer `audit`."""

    id: int
    photo_id: int
    photo: str
    collection: str
    reason: str
    reason_probability: float
    probability: float
    level: float
    picture_km: float | None
    timeline_km: float | None
    speed_kmh: float | None
    stated_lat: float
    stated_lon: float
    position_source: str
    mend_lat: float | None
    mend_lon: float | None
    stated_at: datetime | None
    mend_at: datetime | None
    created_at: datetime


def stated_photos(connection: Connection) -> sql.Composed:
    """What selects the visible photos with the positions that they state, by known columns.

    A reviewed position is one, as a reference or not; an estimated one is none.
    """
    return sql.SQL(_PHOTOS).format(camera=camera_of(connection))


def read_stated(connection: Connection, where: Filter) -> list[Stated]:
    """The photos that pass and state a position, by collection, author and camera, then by time.

    Raises
    ------
    NotFoundError
        A collection or country in the filter does not exist.
    """
    condition, values = where.compile(connection)
    photos = stated_photos(connection)
    statement = sql.SQL(_STATED).format(photos=photos, condition=condition)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, values)
        return [Stated(**(row | {"sha256": bytes(row["sha256"])})) for row in rows]


def read_judged(connection: Connection, model_id: int, ids: Sequence[int]) -> dict[int, float]:
    """The photos that one judged by this model as they are now, with their probabilities."""
    return dict(connection.execute(_JUDGED, (model_id, list(ids))).fetchall())


def save_judgements(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Record judgements, rows of the table `audits`, in place of one's own of the same photos."""
    ids = [row["photo_id"] for row in rows]
    connection.execute(
        "DELETE FROM geosearch.audits WHERE recorded_by = current_user AND photo_id = ANY(%s)",
        (ids,),
    )
    form = "ST_GeomFromEWKB({})"
    insert_all(connection, "audits", rows, stated=form, mend=form)


def name_homes(connection: Connection, ids: Sequence[int]) -> None:
    """Tell positions copied from a photo from those where no photo was taken, among these."""
    connection.execute(_NAME_HOMES, {"ids": list(ids)})


def list_doubts(connection: Connection, where: Filter = EVERYTHING) -> list[Doubt]:
    """The doubtful ones of the photos that pass, the most doubtful first.

    Raises
    ------
    NotFoundError
        A collection or country in the filter does not exist.
    """
    condition, values = where.compile(connection)
    with connection.cursor(row_factory=class_row(Doubt)) as cursor:
        statement = sql.SQL(_LIST).format(photos=stated_photos(connection), condition=condition)
        return cursor.execute(statement, values).fetchall()
