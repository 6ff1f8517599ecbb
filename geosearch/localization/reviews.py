"""What people decide on answers: accepted, moved, rejected, unsure; taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import errors
from psycopg.rows import class_row

from geosearch.arguments import numbers
from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError
from geosearch.json_record import Record
from geosearch.localization.answer_rows import no_answer

Decision = Literal["accept", "move", "reject", "unsure"]

_SELECT = """
SELECT id, localization_id, photo_uri AS photo, decision, ST_Y(point) AS lat, ST_X(point) AS lon,
    shown, remark, recorded_by, created_at
FROM geosearch.reviews
"""


@dataclass(frozen=True)
class Review(Record, id="review_id"):
    """A decision on an answer, and what the answer had `shown`.

    `lat` and `lon`, in degrees, are where the photo was taken: the estimate that was accepted, or
    where it was moved to. `localization_id` is None once the answer is deleted.
    """

    id: int
    localization_id: int | None
    photo: str
    decision: Decision
    lat: float | None
    lon: float | None
    shown: Mapping[str, Any]
    remark: str | None
    recorded_by: str
    created_at: datetime


def decide(
    connection: Connection,
    localization_id: int,
    decision: Decision,
    to: Sequence[float] | str | None = None,
    remark: str | None = None,
) -> Review:
    """Record a decision on an answer; `to` is the latitude and longitude to move it to.

    Raises
    ------
    NotFoundError
        There is no such answer.
    InputError
        It is no decision, `to` is missing, is not wanted or not on the Earth, or an answer
        without an estimate is accepted.
    DatabaseError
        This login may not.
    """
    asked = (localization_id,)
    if not connection.execute("SELECT FROM geosearch.localizations WHERE id = %s", asked).rowcount:
        raise no_answer(localization_id)
    lat, lon = (None, None) if to is None else numbers("to", to, ("lat", "lon"))
    try:
        row = connection.execute(
            "SELECT geosearch.review(%s, %s, ST_SetSRID(ST_Point(%s, %s), 4326), %s)",
            (localization_id, decision, lon, lat, remark),
        ).fetchone()
    except errors.InvalidParameterValue as error:
        said = error.diag
        raise InputError(said.message_primary or str(error), said.message_hint or "") from error
    assert row is not None
    with connection.cursor(row_factory=class_row(Review)) as cursor:
        found = cursor.execute(_SELECT + "WHERE id = %s", row).fetchone()
    assert found is not None
    return found


def undo(connection: Connection, localization_id: int) -> int:
    """Take back what one decided last on an answer; the id of that review.

    Raises
    ------
    NotFoundError
        One has decided nothing on it.
    """
    row = connection.execute("SELECT geosearch.undo_review(%s)", (localization_id,)).fetchone()
    if row is None or row[0] is None:
        raise NotFoundError(
            f"you decided nothing on localization {localization_id}", "See: geosearch review list"
        )
    return int(row[0])


def list_reviews(connection: Connection, localization_id: int | None = None) -> list[Review]:
    """All reviews, or those of an answer, oldest first."""
    with connection.cursor(row_factory=class_row(Review)) as cursor:
        return cursor.execute(
            _SELECT + "WHERE %(id)s::bigint IS NULL OR localization_id = %(id)s ORDER BY id",
            {"id": localization_id},
        ).fetchall()
