"""Which answers to export, read from the database one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError

_ROWS_AT_ONCE = 1000

_LAST = "id IN (SELECT id FROM geosearch.localizations ORDER BY id DESC LIMIT %(last)s)"


@dataclass(frozen=True)
class Selection:
    """Answers by id, of one evaluation, or the latest; all of them when nothing is given.

    Raises
    ------
    InputError
        More than one of the three is given, or `last` is not positive.
    """

    ids: tuple[int, ...] = ()
    evaluation: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        if sum((bool(self.ids), self.evaluation is not None, self.last is not None)) > 1:
            raise InputError("--id, --evaluation and --last exclude each other", "Give one.")
        if self.last is not None and self.last < 1:
            raise InputError(f"--last: {self.last} is not positive", "Give 1 or more.")

    @property
    def condition(self) -> sql.SQL:
        """SQL condition on `localizations`, with the named `parameters`."""
        if self.ids:
            return sql.SQL("id = ANY(%(ids)s)")
        if self.evaluation is not None:
            return sql.SQL("evaluation_id = %(evaluation)s")
        if self.last is not None:
            return sql.SQL(_LAST)
        return sql.SQL("true")

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that `condition` needs."""
        return {"ids": list(self.ids), "evaluation": self.evaluation, "last": self.last}

    def check(self, connection: Connection) -> None:
        """Raise `NotFoundError` if a selected id or evaluation does not exist."""
        remedy = "geosearch localize and geosearch evaluate print the ids of what they record."
        if self.ids:
            known = connection.execute(
                "SELECT id FROM geosearch.localizations WHERE id = ANY(%s)", (list(self.ids),)
            )
            missing = set(self.ids) - {row[0] for row in known}
            if missing:
                raise NotFoundError(f"there is no localization {min(missing)}", remedy)
        if self.evaluation is not None:
            found = connection.execute(
                "SELECT 1 FROM geosearch.evaluations WHERE id = %s", (self.evaluation,)
            )
            if found.fetchone() is None:
                raise NotFoundError(f"there is no evaluation {self.evaluation}", remedy)


@dataclass(frozen=True)
class Estimate:
    """One answer as exported. Positions are (lat, lon) in degrees, None where there is none."""

    localization_id: int
    photo: str
    method: str
    model: str
    position: tuple[float, float] | None
    score: float | None
    radius_50_km: float | None
    radius_90_km: float | None
    truth: tuple[float, float] | None
    error_km: float | None
    evaluation_id: int | None
    created_at: datetime


_SELECT = """
SELECT id, photo_uri, method, model ->> 'name', ST_Y(estimate), ST_X(estimate),
    score, radius_50_km, radius_90_km, ST_Y(truth), ST_X(truth), error_km, evaluation_id, created_at
FROM geosearch.localizations
WHERE {condition}
ORDER BY id
"""


def read_estimates(connection: Connection, selection: Selection) -> Iterator[Estimate]:
    """Stream the selected answers in the order of their ids; memory does not grow with them.

    Raises
    ------
    NotFoundError
        A selected id or evaluation does not exist.
    """
    selection.check(connection)
    query = sql.SQL(_SELECT).format(condition=selection.condition)
    with connection.cursor(name="estimates") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(query, selection.parameters)
        for row in cursor:
            yield Estimate(
                localization_id=row[0],
                photo=row[1],
                method=row[2],
                model=row[3],
                position=None if row[4] is None else (row[4], row[5]),
                score=row[6],
                radius_50_km=row[7],
                radius_90_km=row[8],
                truth=None if row[9] is None else (row[9], row[10]),
                error_km=row[11],
                evaluation_id=row[12],
                created_at=row[13],
            )
