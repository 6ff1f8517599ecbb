"""Photos in the database in order of time: who took what when, and what was taken before and after.

A timeline is of one author in one collection, by one camera where that has photos with positions of
its own there; a camera without a receiver is told by the author's others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, LiteralString, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.rows import class_row

from geosearch.database.connection import Connection
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.conditions import ByAuthors, TakenAfter, TakenBefore
from geosearch.sphere import Array
from geosearch.timeline.movement_fit import Timeline
from geosearch.timeline.session_chain import MOST_A_SIDE, Seen
from geosearch.timeline.timeline_prior import HORIZON_HOURS, NOTHING_KNOWN, Fix, Moment

#: Where the zone of a clock is not known, photos so near to it may be before it or after.
_ZONES = timedelta(hours=15)

#: Photos nearest in time that are looked at on either side there.
_LOOKED_AT = 500

#: A camera, by what it writes into its photos, as SQL; NULL if nothing.
_CAMERA: LiteralString = (
    "nullif(concat_ws(' ', exif ->> 'Make', exif ->> 'Model', exif ->> 'BodySerialNumber'), '')"
)

#: Readers may not read what else is in EXIF: to them all cameras of an author are one.
_NO_CAMERA: LiteralString = "NULL::text"

_DATED = """
SELECT photo_id, collection_id, author, camera, taken_at, taken_at_zone AS zone, sha256,
    ST_Y(geom) AS lat, ST_X(geom) AS lon, coalesce(accuracy_m, 0) / 1000 AS accuracy_km
FROM (
    SELECT id AS photo_id, collection_id, author, {camera} AS camera, taken_at, taken_at_zone,
        sha256, geom, accuracy_m, licence
    FROM geosearch.photos
) AS embeddings
WHERE {which} AND taken_at IS NOT NULL AND {condition}
"""

_LOCATED: LiteralString = "geom IS NOT NULL"
_UNLOCATED: LiteralString = "geom IS NULL"

#: For each photo of a session that tells, so many are looked at: some are copies of others.
_COPIES = 3


class _Located(NamedTuple):
    """A photo with a position and a time."""

    photo_id: int
    collection_id: int
    author: str | None
    camera: str | None
    taken_at: datetime
    zone: str | None
    sha256: bytes
    lat: float
    lon: float
    accuracy_km: float

    @property
    def reading(self) -> datetime:
        """What the clock on the spot showed, as UTC."""
        return clock_reading(self.taken_at, self.zone, self.lat, self.lon)


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

    def known(self, where: Filter) -> bool:
        """Whether there is a time, and whose photos that pass it may be compared with.

        Cameras of one kind are many people's, but not those of a filter.
        """
        whose = self.collection_id or self.author or (self.camera and where != EVERYTHING)
        return self.taken_at is not None and bool(whose)

    def without_position(self, lat: float, lon: float) -> Dated:
        """As it would be known had it no position, degrees: its place tells no zone then."""
        if self.taken_at is None or self.zone != "position":
            return self
        shown = clock_reading(self.taken_at, self.zone, lat, lon)
        return replace(self, taken_at=shown, zone="assumed")

    def without_meanwhile(self, where: Filter, hours: float) -> Filter:
        """A filter without what the same author, as far as known, took within so many hours."""
        if self.taken_at is None or not hours:
            return where
        span = timedelta(hours=hours)
        then = TakenAfter(self.taken_at - span) & TakenBefore(self.taken_at + span)
        return where & ~(then if self.author is None else then & ByAuthors(self.author))


def stored_dated(connection: Connection, sha256: bytes) -> Dated | None:
    """A visible photo in the database with these bytes; None if there is none."""
    row = connection.execute(
        sql.SQL(
            "SELECT taken_at, taken_at_zone, author, {}, collection_id FROM geosearch.photos "
            "WHERE sha256 = %s ORDER BY taken_at IS NULL, id LIMIT 1"
        ).format(camera_of(connection)),
        (sha256,),
    ).fetchone()
    return None if row is None else Dated(sha256, *row)


def file_dated(sha256: bytes, uri: str) -> Dated:
    """What the metadata of a file with these bytes say."""
    from geosearch.ingest.examine import examine  # loads what reads pictures
    from geosearch.ingest.records import Candidate, Photo

    found = examine(Candidate(uri), decode=False)
    if not isinstance(found, Photo):
        return Dated(sha256)
    tags = found.exif or {}
    names = [str(tags[name]) for name in ("Make", "Model", "BodySerialNumber") if tags.get(name)]
    return Dated(sha256, found.taken_at, found.taken_at_zone, found.author, " ".join(names) or None)


def read_timelines(connection: Connection, where: Filter = EVERYTHING) -> list[Timeline]:
    """The photos that pass, have a position and a time, and are visible, by collection, author and
    camera, each in order of time; parted where nothing was taken for `HORIZON_HOURS`.

    Raises
    ------
    NotFoundError
        A collection or country in the filter does not exist.
    """
    located, values = _located(connection, where)
    order = sql.SQL("{} ORDER BY collection_id, author, camera, taken_at, photo_id")
    rows = _rows(connection, order.format(located), values)
    lines = []
    for _, group in groupby(rows, key=lambda row: (row.collection_id, row.author, row.camera)):
        own = list(group)
        hours = np.array([_hours(row.taken_at) for row in own])
        lat, lon, ids = zip(*((row.lat, row.lon, row.photo_id) for row in own), strict=True)
        parts = [np.split(np.array(each), _breaks(hours)) for each in (hours, lat, lon, ids)]
        lines += [Timeline(*part) for part in zip(*parts, strict=True)]
    return lines


def _breaks(hours: Array) -> NDArray[np.intp]:
    """Where so long passes that the one photo tells nothing of the next."""
    return 1 + np.flatnonzero(np.diff(hours) > HORIZON_HOURS)


def find_moment(
    connection: Connection, photo: Dated, where: Filter = EVERYTHING, hole_hours: float = 0.0
) -> Moment:
    """The photos with positions just before and just after one, by the same author and camera.

    They are visible, pass the filter, are in the photo's collection if it is in one, and are not
    copies of it. Where the photo's clock names no zone, the clocks' readings are compared, not the
    moments: those of the others are as they were where these were taken. None is within
    `hole_hours` of it.
    """
    if not photo.known(where) or photo.taken_at is None:
        return NOTHING_KNOWN
    located, values = _located(connection, where)
    count, surely = 1, hole_hours
    if photo.zone == "assumed":  # readings are compared below, which may be hours off
        count, surely = _LOOKED_AT, max(0.0, hole_hours - _ZONES / timedelta(hours=1))
    for camera in dict.fromkeys((photo.camera, None)):
        whose = replace(photo, camera=camera)
        rows = _nearest(connection, located, values, whose, surely, count)
        if moment := _moment(photo, photo.taken_at, rows, hole_hours):
            return moment
    return NOTHING_KNOWN


def find_session(
    connection: Connection,
    photo: Dated,
    where: Filter,
    moment: Moment,
    hole_hours: float = 0.0,
) -> list[Seen]:
    """The photos without positions nearest to one in time, by the same author and camera.

    All is as in `find_moment`, of whose result, `moment`, they are between the places. Their clocks
    name a zone if the photo's does. Some may be copies of others, and places that were found for
    them are no positions. With `hole_hours` they are those within so many hours that have some, as
    if they had none. A photo whose own position is known has no session: what others show may have
    been found by it.
    """
    if not photo.known(where) or photo.taken_at is None:
        return []
    known = connection.execute(
        "SELECT FROM geosearch.photos WHERE sha256 = %s AND geom IS NOT NULL", (photo.sha256,)
    )
    if not hole_hours and known.fetchone() is not None:
        return []
    which = _LOCATED if hole_hours else _UNLOCATED
    dated, values = _located(connection, where, which)
    assumed = photo.zone == "assumed"
    alike = sql.SQL("SELECT * FROM ({}) AS alike WHERE (zone = ANY(%(zoneless)s)) IS {}").format(
        dated, sql.SQL("TRUE" if assumed else "NOT TRUE")
    )
    # As if they had no position, which is all that tells the zone of some.
    values["zoneless"] = ["assumed", "position"] if hole_hours else ["assumed"]
    most = _COPIES * MOST_A_SIDE
    for camera in dict.fromkeys((photo.camera, None)):
        whose = replace(photo, camera=camera)
        count = _LOOKED_AT if hole_hours and assumed else most
        rows = _nearest(connection, alike, values, whose, 0.0, count)
        shown = [row.reading if hole_hours and assumed else row.taken_at for row in rows]
        gaps = sorted(
            (_hours(time) - _hours(photo.taken_at), row.photo_id)
            for time, row in zip(shown, rows, strict=True)
        )
        middle = sum(gap <= 0 for gap, _ in gaps)
        gaps = gaps[max(0, middle - most) : middle + most]
        first = -moment.before.hours if moment.before else -HORIZON_HOURS
        last = moment.after.hours if moment.after else HORIZON_HOURS
        if hole_hours:
            first, last = max(first, -hole_hours), min(last, hole_hours)
        if gaps:
            return [Seen(key, gap) for gap, key in gaps if first < gap < last]
    return []


class Reading(NamedTuple):
    """What a clock showed, in hours since 1970, at a position in degrees, in a photo's file."""

    hours: float
    lat: float
    lon: float
    sha256: bytes


def located_readings(
    connection: Connection, photo: Dated, where: Filter, first: float, last: float
) -> list[Reading]:
    """What a photo's clock showed at places that are known.

    Of photos that pass the filter, by the same author and camera, in the photo's collection if it
    is in one, between two times in hours since 1970 or less than 15 hours off; the photo itself may
    be among them. Where its clock names no zone, they are readings as in `find_moment`.
    """
    if not photo.known(where):
        return []
    located, values = _located(connection, where)
    mine, own = _mine(photo)
    statement = sql.SQL(
        "SELECT * FROM ({}) AS located WHERE {} AND taken_at BETWEEN to_timestamp(%(own_first)s) "
        "AND to_timestamp(%(own_last)s) ORDER BY taken_at LIMIT 5000"
    ).format(located, mine)
    margin = _ZONES / timedelta(hours=1)
    own |= {"own_first": 3600 * (first - margin), "own_last": 3600 * (last + margin)}
    found = []
    for row in _rows(connection, statement, values | own):
        shown = row.reading if photo.zone == "assumed" else row.taken_at
        found.append(Reading(_hours(shown), row.lat, row.lon, bytes(row.sha256)))
    return found


def camera_of(connection: Connection) -> sql.SQL:
    """The expression for the camera of a photo; NULL for a role that may not see it."""
    row = connection.execute(
        "SELECT has_column_privilege('geosearch.photos', 'exif', 'SELECT')"
    ).fetchone()
    return sql.SQL(_CAMERA if row and row[0] else _NO_CAMERA)


def _mine(photo: Dated) -> tuple[sql.Composable, dict[str, Any]]:
    """The condition on located photos to be of a photo's timeline."""
    mine = [sql.SQL("true")]
    if photo.collection_id is not None:
        mine.append(sql.SQL("collection_id = %(own_collection)s"))
        mine.append(sql.SQL("author IS NOT DISTINCT FROM %(own_author)s"))
    elif photo.author is not None:
        mine.append(sql.SQL("author = %(own_author)s"))
    if photo.camera is not None:
        mine.append(sql.SQL("camera = %(own_camera)s"))
    own = {
        "own_sha256": photo.sha256,
        "own_collection": photo.collection_id,
        "own_author": photo.author,
        "own_camera": photo.camera,
    }
    return sql.SQL(" AND ").join(mine), own


def _located(
    connection: Connection, where: Filter, which: LiteralString = _LOCATED
) -> tuple[sql.Composed, dict[str, Any]]:
    condition, values = where.compile(connection)
    statement = sql.SQL(_DATED).format(
        camera=camera_of(connection), which=sql.SQL(which), condition=condition
    )
    return statement, dict(values)


def _nearest(
    connection: Connection,
    located: sql.Composed,
    values: dict[str, Any],
    photo: Dated,
    hole_hours: float,
    count: int,
) -> list[_Located]:
    """The so many photos nearest in time on either side."""
    mine, own = _mine(photo)
    statement = sql.SQL(
        """
        WITH own AS (
            SELECT * FROM ({located}) AS located WHERE {mine} AND sha256 <> %(own_sha256)s
        )
        (SELECT * FROM own WHERE taken_at BETWEEN %(own_first)s AND %(own_before)s
            ORDER BY taken_at DESC, photo_id DESC LIMIT %(own_count)s)
        UNION ALL
        (SELECT * FROM own WHERE taken_at > %(own_after)s AND taken_at <= %(own_last)s
            ORDER BY taken_at, photo_id LIMIT %(own_count)s)
        """
    ).format(located=located, mine=mine)
    assert photo.taken_at is not None
    near, hole = timedelta(hours=HORIZON_HOURS), timedelta(hours=hole_hours)
    own |= {
        "own_first": photo.taken_at - near,
        "own_last": photo.taken_at + near,
        "own_before": photo.taken_at - hole,
        "own_after": photo.taken_at + hole,
        "own_count": count,
    }
    return _rows(connection, statement, values | own)


def _rows(
    connection: Connection, statement: sql.Composed, values: dict[str, Any]
) -> list[_Located]:
    with connection.cursor(row_factory=class_row(_Located)) as cursor:
        return cursor.execute(statement, values).fetchall()


def _moment(photo: Dated, time: datetime, rows: list[_Located], hole_hours: float) -> Moment:
    gaps = []
    for row in rows:
        near = photo.zone == "assumed" and abs(row.taken_at - time) <= 2 * _ZONES
        gaps.append((_hours(row.reading if near else row.taken_at) - _hours(time), row))
    past = (pair for pair in gaps if pair[0] <= -hole_hours)
    future = (pair for pair in gaps if pair[0] > hole_hours)
    before = max(past, key=lambda pair: pair[0], default=None)
    after = min(future, key=lambda pair: pair[0], default=None)
    return Moment(before and _fix(*before), after and _fix(*after))


def _fix(gap: float, row: _Located) -> Fix:
    return Fix(abs(gap), row.lat, row.lon, row.accuracy_km, row.photo_id)


def clock_reading(time: datetime, zone: str | None, lat: float, lon: float) -> datetime:
    """What a clock on the spot showed, as UTC."""
    from geosearch.ingest.photo_times import zone_at  # loads what reads pictures

    there = None if zone == "assumed" else zone_at(lat, lon)
    return time if there is None else time.astimezone(there).replace(tzinfo=UTC)


def _hours(moment: datetime) -> float:
    return moment.timestamp() / 3600
