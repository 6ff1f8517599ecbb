"""What people decide on answers: accepted, moved, rejected, unsure; taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, LiteralString

from psycopg import errors, sql
from psycopg.rows import class_row

from geosearch.arguments import check_range, moment, numbers
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection, Database
from geosearch.errors import InputError, NotFoundError
from geosearch.json_record import Record
from geosearch.localization.answer_rows import LATEST_ANSWERS, no_answer
from geosearch.waiting import Progress
from geosearch.words import number_of

Decision = Literal["accept", "move", "reject", "unsure"]

#: Decisions in one transaction, where there are many.
_PAGE = 500

_SELECT = """
SELECT id, localization_id, photo_uri AS photo, decision, ST_Y(point) AS lat, ST_X(point) AS lon,
    accuracy_m, as_reference, overwrite, shown, remark, recorded_by, created_at
FROM geosearch.reviews
"""

# Files that were written by these answers, and say so still when the photo has its place by none.
_WRITTEN = """
SELECT DISTINCT w.path
FROM geosearch.write_backs AS w JOIN geosearch.photos AS p ON p.id = w.photo_id
WHERE (w.new ->> 'localization_id')::bigint = ANY(%s) AND w.new ->> 'source' = 'reviewed'
    AND p.position_source IS DISTINCT FROM 'reviewed' AND w.reason IS NULL AND NOT EXISTS (
        SELECT FROM geosearch.write_backs AS l
        WHERE l.photo_id = w.photo_id AND l.target = w.target AND l.path = w.path
            AND l.id > w.id AND l.written_at IS NOT NULL
    )
ORDER BY 1
"""


# Photos that have their place by a review, with a time that is in another zone yet, or in none.
_UNSETTLED: LiteralString = """
SELECT p.id, p.taken_at, p.taken_at_zone,
    ST_Y(coalesce(p.geom, p.estimate)), ST_X(coalesce(p.geom, p.estimate)),
    (c.old ->> 'lat')::float8, (c.old ->> 'lon')::float8
FROM geosearch.photos AS p CROSS JOIN LATERAL (
    SELECT old, review_id FROM geosearch.photo_changes
    WHERE photo_id = p.id AND new ? 'lat' ORDER BY id DESC LIMIT 1
) AS c
WHERE p.localization_id IS NOT NULL AND p.taken_at_zone IN ('assumed', 'position')
    AND c.review_id IS NOT NULL AND NOT c.old ? 'taken_at_zone'
"""
_BY_THESE: LiteralString = """
    AND p.id IN (SELECT photo_id FROM geosearch.photo_changes WHERE review_id = ANY(%s))
"""


@dataclass(frozen=True)
class Review(Record, id="review_id"):
    """A decision on an answer, and what the answer had `shown`.

    `lat` and `lon`, in degrees, are where the photo was taken: the estimate that was accepted, or
    where it was moved to; `accuracy_m`, in metres, is how well that is known, if it is said. By
    `as_reference` photos become references, and with `overwrite` known positions are replaced.
    `localization_id` is None once the answer is deleted.
    """

    id: int
    localization_id: int | None
    photo: str
    decision: Decision
    lat: float | None
    lon: float | None
    accuracy_m: float | None
    as_reference: bool
    overwrite: bool
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
    *,
    to_accuracy_m: float | None = None,
    as_reference: bool = False,
    overwrite: bool = False,
) -> Review:
    """Record a decision on an answer; `to` is the latitude and longitude to move it to.

    Stored photos with the bytes that it is about have the accepted or moved place from then on,
    source `reviewed`, with the accuracy of the radius that holds 90 %, or `to_accuracy_m`. Those
    that had a position keep it, unless it is an estimate or to be overwritten. They become
    references if asked for, or if their collection says so (`set_reviewed_references`).

    Raises
    ------
    NotFoundError
        There is no such answer.
    InputError
        It is no decision, `to` is missing, is not wanted or not on the Earth, its accuracy is out
        of range, or an answer without an estimate is accepted.
    DatabaseError
        This login may not.
    """
    asked = (localization_id,)
    if not connection.execute("SELECT FROM geosearch.localizations WHERE id = %s", asked).rowcount:
        raise no_answer(localization_id)
    check_range("to_accuracy_m", to_accuracy_m, 0)
    lat, lon = (None, None) if to is None else numbers("to", to, ("lat", "lon"))
    try:
        row = connection.execute(
            "SELECT geosearch.review(%s, %s, ST_SetSRID(ST_Point(%s, %s), 4326), %s, %s::real, "
            "%s, %s)",
            (
                *(localization_id, decision, lon, lat, remark),
                *(to_accuracy_m, as_reference, overwrite),
            ),
        ).fetchone()
    except errors.InvalidParameterValue as error:
        said = error.diag
        raise InputError(said.message_primary or str(error), said.message_hint or "") from error
    assert row is not None
    settle_times(connection, row)
    with connection.cursor(row_factory=class_row(Review)) as cursor:
        found = cursor.execute(_SELECT + "WHERE id = %s", row).fetchone()
    assert found is not None
    return found


# Of each photo without a known position the answer to decide on, if nobody has.
_UNDECIDED = """
WITH latest AS ({latest}), open AS (
    SELECT DISTINCT ON (l.id) l.*, p.uri
    FROM latest AS l
    JOIN geosearch.photos AS p ON p.sha256 = l.photo_sha256
    WHERE l.estimate IS NOT NULL AND coalesce(p.position_source, 'estimated') = 'estimated'
        AND (%(collections)s::bigint[] IS NULL OR p.collection_id = ANY(%(collections)s))
        AND NOT EXISTS (SELECT FROM geosearch.reviews AS r WHERE r.answer_id = l.id)
    ORDER BY l.id, p.id
)
SELECT id AS localization_id, uri AS photo, ST_Y(estimate) AS lat, ST_X(estimate) AS lon, place,
    probability, holds, agreement, radius_90_km
FROM open
WHERE %(at_least)s::float8 IS NULL
    OR probability >= %(at_least)s AND holds
ORDER BY abs(coalesce(probability, 2 + agreement) - 0.5), id
"""


def placed_photos(connection: Connection, localization_id: int) -> int:
    """How many stored photos have their place by a decision on this answer."""
    statement = """
        SELECT count(*) FROM geosearch.photos
        WHERE localization_id = %s AND position_source = 'reviewed'
    """
    ((count,),) = connection.execute(statement, (localization_id,)).fetchall()
    return int(count)


@dataclass(frozen=True)
class Undecided(Record):
    """An answer on a photo without a known position that nobody has decided on.

    `probability` is that of an error of at most the kilometres asked for, None without calibration;
    if not `holds`, the calibration says nothing of such a photo.
    """

    localization_id: int
    photo: str
    lat: float
    lon: float
    place: str | None
    probability: float | None
    holds: bool
    agreement: float
    radius_90_km: float | None


def list_undecided(
    connection: Connection,
    *,
    at_most_km: float,
    min_probability: float | None = None,
    collections: Sequence[str] = (),
) -> list[Undecided]:
    """Answers that want a decision: of photos of these collections, or all, one of each.

    The latest, but of those that nobody has decided on yet the one that rests on most: one by the
    photos before and after or a track goes before one by the picture alone.
    Those neither clear nor hopeless first. With `min_probability`, only those that are right within
    `at_most_km` with that probability, by a calibration that holds for them.

    Raises
    ------
    InputError
        The probability or the distance is out of range.
    NotFoundError
        There is no such collection.
    """
    check_range("at_most_km", at_most_km, 0, above=True)
    check_range("min_probability", min_probability, 0, 1)
    keys = [find_collection(connection, name) for name in collections] or None
    with connection.cursor(row_factory=class_row(Undecided)) as cursor:
        return cursor.execute(
            sql.SQL(_UNDECIDED).format(latest=sql.SQL(LATEST_ANSWERS)),
            {"at_most_km": at_most_km, "at_least": min_probability, "collections": keys},
        ).fetchall()


@dataclass(frozen=True)
class Accepted(Record):
    """How many answers were accepted, or would be (`dry_run`), and as what.

    `since` and `until` are the moments between which that was, for `undo_since`.
    """

    answers: int
    dry_run: bool
    min_probability: float
    at_most_km: float
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        verb = "would accept" if self.dry_run else "accepted"
        how = f"right within {self.at_most_km:g} km with a probability of {self.min_probability:g}"
        return f"{verb} {number_of(self.answers, 'answer')}, {how} or more"


def accept_probable(
    database: Database,
    *,
    min_probability: float,
    at_most_km: float,
    collections: Sequence[str] = (),
    as_reference: bool = False,
    remark: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Accepted:
    """Accept the answers of `list_undecided` that are right so probably.

    Killed, it has accepted some; run again, it accepts the others. Errors as of `list_undecided`
    and `decide`.
    """
    with database.connection() as connection:
        found = list_undecided(
            connection,
            at_most_km=at_most_km,
            min_probability=min_probability,
            collections=collections,
        )
    ids = [each.localization_id for each in found]
    moments: list[datetime] = []
    for begin in range(0, 0 if dry_run else len(ids), _PAGE):
        with database.connection() as connection:
            rows = connection.execute(
                "SELECT geosearch.review(id, 'accept', remark => %s, as_reference => %s), now() "
                "FROM unnest(%s::bigint[]) AS id",
                (remark, as_reference, ids[begin : begin + _PAGE]),
            ).fetchall()
            moments += [when for _, when in rows]
            settle_times(connection, [key for key, _ in rows])
        if progress is not None:
            progress(begin + len(rows), len(ids))
    ends = (min(moments, default=None), max(moments, default=None))
    return Accepted(len(ids), dry_run, min_probability, at_most_km, *ends)


@dataclass(frozen=True)
class TakenBack(Record):
    """How many decisions were taken back, or would be (`dry_run`).

    `written` are files that say still what was decided: a write-back takes it out.
    """

    reviews: int
    dry_run: bool
    written: tuple[str, ...] = ()

    def __str__(self) -> str:
        verb = "would take back" if self.dry_run else "took back"
        return f"{verb} {number_of(self.reviews, 'decision')}"


def undo(connection: Connection, localization_id: int) -> int:
    """Take back what one decided last on an answer; the id of that review.

    Photos are as if it had never been: what was decided before, and by others, counts again.

    Raises
    ------
    NotFoundError
        One has decided nothing on it.
    """
    row = connection.execute("SELECT geosearch.undo_review(%s)", (localization_id,)).fetchone()
    if row is None or row[0] is None:
        raise NotFoundError(
            f"you decided nothing on answer {localization_id}", "See: geosearch review list"
        )
    settle_times(connection, row)
    return int(row[0])


def undo_last(connection: Connection) -> Review | None:
    """Take back what one decided last on any answer; None if there is nothing left of it."""
    with connection.cursor(row_factory=class_row(Review)) as cursor:
        last = cursor.execute(
            _SELECT + "WHERE recorded_by = current_user ORDER BY id DESC LIMIT 1"
        ).fetchone()
    if last is not None:
        connection.execute("DELETE FROM geosearch.reviews WHERE id = %s", (last.id,))
        settle_times(connection, [last.id])
    return last


def undo_since(
    connection: Connection,
    since: datetime | date | str,
    until: datetime | date | str | None = None,
    *,
    dry_run: bool = False,
) -> TakenBack:
    """Take back all that one decided from one moment on, or up to another; UTC without a zone.

    `Accepted` has the moments of decisions in bulk.

    Raises
    ------
    InputError
        It is no moment.
    """
    begin, end = moment("since", since), until and moment("until", until)
    found = connection.execute(
        "SELECT id, answer_id FROM geosearch.reviews WHERE recorded_by = current_user "
        "AND created_at BETWEEN %s AND coalesce(%s::timestamptz, 'infinity') ORDER BY id",
        (begin, end),
    ).fetchall()
    written: list[str] = []
    if found and not dry_run:
        keys = [key for key, _ in found]
        connection.execute("DELETE FROM geosearch.reviews WHERE id = ANY(%s)", (keys,))
        settle_times(connection, keys)
        written = still_written(connection, [answer for _, answer in found])
    return TakenBack(len(found), dry_run, (*written,))


def still_written(connection: Connection, localization_ids: Sequence[int]) -> list[str]:
    """The files that say what was decided on these answers, and taken back since."""
    return [path for (path,) in connection.execute(_WRITTEN, (list(localization_ids),))]


def settle_times(connection: Connection, reviews: Sequence[int] | None = None) -> None:
    """Let the clocks of photos that have a place by a review be those of its zone.

    Of what these `reviews` changed; or of all, as decisions by SQL leave it.
    """
    found = connection.execute(
        _UNSETTLED if reviews is None else _UNSETTLED + _BY_THESE,
        None if reviews is None else (list(reviews),),
    ).fetchall()
    if not found:
        return
    from geosearch.ingest.photo_times import rezoned  # loads what reads pictures
    from geosearch.ingest.positions import Position

    for photo_id, time, zone, lat, lon, *before in found:
        place = None if before[0] is None else Position(before[0], before[1], "reviewed")
        new = rezoned(time, zone, place, Position(lat, lon, "reviewed"))
        if new and new["taken_at_zone"] != "assumed":
            connection.execute(
                "SELECT geosearch.settle_time(%s, %s, %s)", (photo_id, *new.values())
            )


def list_reviews(connection: Connection, localization_id: int | None = None) -> list[Review]:
    """All reviews, or those of an answer, oldest first."""
    with connection.cursor(row_factory=class_row(Review)) as cursor:
        return cursor.execute(
            _SELECT + "WHERE %(id)s::bigint IS NULL OR localization_id = %(id)s ORDER BY id",
            {"id": localization_id},
        ).fetchall()
