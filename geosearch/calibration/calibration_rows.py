"""Calibrations in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from geosearch.calibration.fitted import Fitted
from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.database.inserting import insert
from geosearch.errors import NotFoundError
from geosearch.json_record import Record
from geosearch.retrieval import EVERYTHING, Filter


@dataclass(frozen=True)
class Calibration(Record, model_id="", where="filter", fitted="parameters", id="calibration_id"):
    """What was fitted, on which queries, and how it did on those held out."""

    model_id: int | None
    model: str
    where: Filter
    fitted: Fitted
    figures: Mapping[str, Any]
    queries: str
    options: Mapping[str, Any]
    n_fit: int
    n_check: int
    failed: int
    software: Mapping[str, str]
    id: int | None = None
    created_at: datetime | None = None


def save(connection: Connection, calibration: Calibration) -> Calibration:
    """Record a calibration; returns it with its id."""
    known = calibration.to_json()
    del known["calibration_id"], known["created_at"]
    row = known | {"model_id": calibration.model_id, "method": "density"}
    return find_calibration(connection, insert(connection, "calibrations", row))


def find_calibration(connection: Connection, calibration_id: int) -> Calibration:
    """The calibration with this id.

    Raises
    ------
    NotFoundError
        There is none.
    """
    found = _select(connection, "WHERE id = %s", (calibration_id,))
    if not found:
        raise NotFoundError(
            f"there is no calibration {calibration_id}", "See: geosearch calibrations list"
        )
    return found[0]


def latest_calibration(
    connection: Connection,
    model_id: int,
    where: Filter = EVERYTHING,
    verify: int = 0,
    others: Sequence[str] = (),
    *,
    words: bool = False,
) -> Calibration | None:
    """The latest calibration of a model for a filter, fitted with so many neighbours verified.

    Of a model alone, or together with the `others` of these fingerprints, in the order of ids; one
    that was fitted to `words`, or else to photos.
    One that was fitted with these very conditions, in any order, is preferred; otherwise it is the
    latest that was fitted without any. None if there is neither.
    """
    found = _select(
        connection,
        "WHERE id = geosearch.calibration_for(%s, %s, %s, %s, %s)",
        (model_id, Jsonb(where.to_json()), verify, list(others), words),
    )
    return found[0] if found else None


def list_calibrations(connection: Connection, model_id: int | None = None) -> list[Calibration]:
    """All calibrations, or those of a model, oldest first."""
    return _select(connection, "WHERE %s IN (model_id, -1) ORDER BY id", (model_id or -1,))


def count_passing(
    connection: Connection, model_id: int, where: Filter, most: int | None = None
) -> int:
    """Photos embedded with the model that pass the filter; `most` if there are so many or more.

    Raises
    ------
    NotFoundError
        A collection or country in the filter does not exist.
    """
    condition, values = where.compile(connection)
    statement = sql.SQL(
        "SELECT count(*) FROM (SELECT FROM {} AS embeddings WHERE {} LIMIT %(most)s) AS passing"
    ).format(
        visible_embeddings(connection, model_id, estimated=where.includes_estimated), condition
    )
    row = connection.execute(statement, values | {"most": most}).fetchone()
    return 0 if row is None else int(row[0])


def differences(
    connection: Connection, model_id: int, where: Filter, fitted: Fitted, verify: int
) -> tuple[str, ...]:
    """In what references, filter and verification differ from those of a calibration."""
    domain = fitted.domain
    if domain is None:
        return ()
    references = count_passing(connection, model_id, where, domain.most)
    return domain.differences(references, where, verify)


_SELECT = """
SELECT model_id, model, filter, parameters, figures, queries, options, n_fit, n_check, failed,
    software, id, created_at
FROM geosearch.calibrations
"""


def _select(
    connection: Connection, condition: LiteralString, values: tuple[object, ...]
) -> list[Calibration]:
    rows = connection.execute(_SELECT + condition, values).fetchall()
    return [
        Calibration(row[0], row[1], Filter.from_json(row[2]), Fitted.from_json(row[3]), *row[4:])
        for row in rows
    ]
