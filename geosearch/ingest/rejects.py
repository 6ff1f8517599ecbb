"""The photos that could not be used, as the database keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from geosearch.arguments import check_choice
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Database
from geosearch.json_record import Record

STAGES = ("read", "decode", "position", "manifest", "embed")

_REJECTS = """
    SELECT c.name AS collection, r.uri, r.stage, r.reason, r.message, r.photo_id,
        m.name AS model, r.run_id, r.created_at
    FROM geosearch.rejects r
    JOIN geosearch.collections c ON c.id = r.collection_id
    LEFT JOIN geosearch.models m ON m.id = r.model_id
    WHERE (%(collection)s::bigint IS NULL OR r.collection_id = %(collection)s)
        AND (%(stage)s::text IS NULL OR r.stage = %(stage)s)
    ORDER BY r.id
    LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Reject(Record):
    """A row of `geosearch.rejects`, with the names of its collection and model."""

    collection: str
    uri: str
    stage: str
    reason: str
    message: str
    photo_id: int | None
    model: str | None
    run_id: int | None
    created_at: datetime


def list_rejects(
    database: Database,
    *,
    collection: str | None = None,
    stage: str | None = None,
    limit: int | None = None,
) -> list[Reject]:
    """Photos and manifest rows that could not be used, oldest first.

    Raises
    ------
    NotFoundError
        There is no such collection.
    InputError
        There is no such stage.
    """
    if stage is not None:
        check_choice("stage", stage, STAGES)
    with database.connection() as connection:
        collection_id = None if collection is None else find_collection(connection, collection)
        cursor = connection.cursor(row_factory=class_row(Reject))
        return cursor.execute(
            _REJECTS, {"collection": collection_id, "stage": stage, "limit": limit}
        ).fetchall()
