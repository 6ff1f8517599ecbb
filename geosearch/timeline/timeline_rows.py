"""Photos in the database in order of time: who took what when, and what was taken before and after.

A timeline is of one author in one collection, by one camera where that has photos with positions of
its own there; a camera without a receiver is told by the author's others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

import numpy as np
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.ingest.examine import examine
from geosearch.ingest.photo_times import zone_at
from geosearch.ingest.records import Candidate, Photo
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.timeline.movement_fit import Timeline
from geosearch.timeline.timeline_prior import Fix, Moment

#: Where the zone of a clock is not known, photos so near to it may be before it or after.
_ZONES = timedelta(hours=15)

#: Photos nearest in time that are looked at on either side there.
_LOOKED_AT = 500

_CAMERA: LiteralString = (
    "nullif(concat_ws(' ', exif ->> 'Make', exif ->> 'Model', exif ->> 'BodySerialNumber'), '')"
)

_LOCATED = """
SELECT photo_id, collection_id, author, {camera} AS camera, taken_at, taken_at_zone, sha256,
    ST_Y(geom) AS lat, ST_X(geom) AS lon, coalesce(accuracy_m, 0) / 1000 AS accuracy_km
FROM (SELECT id AS photo_id, * FROM geosearch.photos) AS embeddings
WHERE geom IS NOT NULL AND taken_at IS NOT NULL AND {condition}
"""


@dataclass(frozen=True)
class Dated:
    """When a photo was taken and by whom, as far as that is known.

    `zone` is as `taken_at_zone` of photos: `assumed` if the clock names none, and UTC stands
    for it. `collection_id` is None for a file that is in no collection.
    """

    sha256: bytes
    taken_at: datetime | None = None
    zone: str | None = None
    author: str | None = None
    camera: str | None = None
    collection_id: int | None = None

    @property
    def known(self) -> bool:
        """Whether there is a time, and it is known whose photos it may be compared with."""
        return self.taken_at is not None and bool(self.collection_id or self.author or self.camera)


def dated(connection: Connection, sha256: bytes, uri: str) -> Dated:
    """A photo in the database with these bytes, or else what the file itself says."""
    row = connection.execute(
        sql.SQL(
            "SELECT taken_at, taken_at_zone, author, {}, collection_id FROM geosearch.photos "
            "WHERE sha256 = %s ORDER BY taken_at IS NULL, id LIMIT 1"
        ).format(sql.SQL(_CAMERA)),
        (sha256,),
    ).fetchone()
    if row is not None:
        return Dated(sha256, *row)
    found = examine(Candidate(uri), decode=False)
    if not isinstance(found, Photo):
        return Dated(sha256)
    tags = found.exif or {}
    names = [str(tags[name]) for name in ("Make", "Model", "BodySerialNumber") if tags.get(name)]
    return Dated(sha256, found.taken_at, found.taken_at_zone, found.author, " ".join(names) or None)


def read_timelines(connection: Connection, where: Filter = EVERYTHING) -> list[Timeline]:
    """The photos that pass, have a position and a time, and are visible, by collection, author and
    camera, each in order of time.

    Raises
    ------
    NotFoundError
        A collection or country in the filter does not exist.
    """
    located, values = _located(connection, where)
    order = sql.SQL("{} ORDER BY collection_id, author, camera, taken_at, photo_id")
    rows = connection.execute(order.format(located), values)
    lines = []
    for _, group in groupby(rows, key=lambda row: row[1:4]):
        columns = list(zip(*group, strict=True))
        lines.append(
            Timeline(
                np.array([_hours(moment) for moment in columns[4]]),
                np.array(columns[7], float),
                np.array(columns[8], float),
                np.array(columns[0], np.int64),
            )
        )
    return lines


def find_moment(connection: Connection, photo: Dated, where: Filter = EVERYTHING) -> Moment:
    """The photos with positions just before and just after one, by the same author and camera.

    They are visible, pass the filter, are in the photo's collection if it is in one, and are not
    copies of it. Where the photo's clock names no zone, the clocks' readings are compared, not the
    moments: those of the others are as they were where these were taken.
    """
    nothing = Moment(None, None)
    if not photo.known or photo.taken_at is None:
        return nothing
    located, values = _located(connection, where)
    for camera in dict.fromkeys((photo.camera, None)):
        rows = _nearest(connection, located, values, replace(photo, camera=camera))
        if rows:
            return _moment(photo, photo.taken_at, rows)
    return nothing


def _located(connection: Connection, where: Filter) -> tuple[sql.Composed, dict[str, Any]]:
    condition, values = where.compile(connection)
    return sql.SQL(_LOCATED).format(camera=sql.SQL(_CAMERA), condition=condition), dict(values)


def _nearest(
    connection: Connection, located: sql.Composed, values: dict[str, Any], photo: Dated
) -> list[tuple[Any, ...]]:
    """The located photos nearest in time on both sides."""
    mine = [sql.SQL("sha256 <> %(own_sha256)s")]
    if photo.collection_id is not None:
        mine.append(sql.SQL("collection_id = %(own_collection)s"))
        mine.append(sql.SQL("author IS NOT DISTINCT FROM %(own_author)s"))
    elif photo.author is not None:
        mine.append(sql.SQL("author = %(own_author)s"))
    if photo.camera is not None:
        mine.append(sql.SQL("camera = %(own_camera)s"))
    statement = sql.SQL(
        """
        WITH own AS (SELECT * FROM ({located}) AS located WHERE {mine})
        (SELECT * FROM own WHERE taken_at <= %(own_time)s
            ORDER BY taken_at DESC, photo_id DESC LIMIT %(own_count)s)
        UNION ALL
        (SELECT * FROM own WHERE taken_at > %(own_time)s
            ORDER BY taken_at, photo_id LIMIT %(own_count)s)
        """
    ).format(located=located, mine=sql.SQL(" AND ").join(mine))
    own = {
        "own_sha256": photo.sha256,
        "own_collection": photo.collection_id,
        "own_author": photo.author,
        "own_camera": photo.camera,
        "own_time": photo.taken_at,
        "own_count": _LOOKED_AT if photo.zone == "assumed" else 1,
    }
    return connection.execute(statement, values | own).fetchall()


def _moment(photo: Dated, time: datetime, rows: list[tuple[Any, ...]]) -> Moment:
    gaps = []
    for row in rows:
        other = row[4]
        if photo.zone == "assumed" and abs(other - time) <= 2 * _ZONES:
            other = _reading(other, row[5], row[7], row[8])
        gaps.append((_hours(other) - _hours(time), row))
    before = max((pair for pair in gaps if pair[0] <= 0), key=lambda pair: pair[0], default=None)
    after = min((pair for pair in gaps if pair[0] > 0), key=lambda pair: pair[0], default=None)
    return Moment(before and _fix(*before), after and _fix(*after))


def _fix(gap: float, row: tuple[Any, ...]) -> Fix:
    return Fix(abs(gap), row[7], row[8], float(row[9]), row[0])


def _reading(time: datetime, zone: str | None, lat: float, lon: float) -> datetime:
    """What a clock on the spot showed, as UTC."""
    there: ZoneInfo | None = None if zone == "assumed" else zone_at(lat, lon)
    return time if there is None else time.astimezone(there).replace(tzinfo=UTC)


def _hours(moment: datetime) -> float:
    return moment.timestamp() / 3600
