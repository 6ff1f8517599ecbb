"""Recorded answers as lines of a list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from geosearch.database.connection import Connection
from geosearch.json_record import Record

_LIST = """
SELECT id, photo_uri AS photo, created_at, ST_Y(estimate) AS lat, ST_X(estimate) AS lon, place,
    agreement, confident, error_km, method, model ->> 'name' AS model,
    encode(photo_sha256, 'hex') AS photo_sha256, recorded_by, (
        SELECT decision FROM geosearch.reviews
        WHERE localization_id = localizations.id ORDER BY id DESC LIMIT 1
    ) AS decision
FROM geosearch.localizations
WHERE evaluation_id IS NULL AND id < %(before)s
    AND (%(search)s = '' OR strpos(lower(concat_ws(' ', photo_uri, place)), lower(%(search)s)) > 0)
ORDER BY id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True)
class AnswerLine(Record):
    """An answer in a list; latitude and longitude of its estimate in degrees.

    `decision` is what was decided on it last, None if nothing was.
    """

    id: int
    photo: str
    created_at: datetime
    lat: float | None
    lon: float | None
    place: str | None
    agreement: float | None
    confident: bool | None
    error_km: float | None
    method: str
    model: str
    photo_sha256: str
    recorded_by: str
    decision: str | None


def list_answers(connection: Connection, search: str, limit: int, before: int) -> list[AnswerLine]:
    """The latest answers this login may see, none of an evaluation, at most `limit`, ids below
    `before`; those in whose photo or place `search` stands, in any case.
    """
    with connection.cursor(row_factory=class_row(AnswerLine)) as cursor:
        values = {"search": search, "limit": limit, "before": before}
        return cursor.execute(_LIST, values).fetchall()
