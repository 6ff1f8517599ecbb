"""Which answers to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from geosearch.arguments import check_range
from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError
from geosearch.localization.answer_rows import no_answer

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
            raise InputError("`ids`, `evaluation` and `last` exclude each other", "Give one.")
        check_range("last", self.last, 1)

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
        if self.ids:
            missing = set(self.ids) - set(self._find(connection))
            if missing:
                raise no_answer(min(missing))
        if self.evaluation is not None:
            found = connection.execute(
                "SELECT 1 FROM geosearch.evaluations WHERE id = %s", (self.evaluation,)
            )
            if found.fetchone() is None:
                raise NotFoundError(
                    f"there is no evaluation {self.evaluation}", "See: geosearch evaluations list"
                )

    def find(self, connection: Connection) -> list[int]:
        """The ids of the selected answers, in order.

        Raises
        ------
        NotFoundError
            A selected id or evaluation does not exist.
        """
        self.check(connection)
        return self._find(connection)

    def _find(self, connection: Connection) -> list[int]:
        query = sql.SQL("SELECT id FROM geosearch.localizations WHERE {} ORDER BY id")
        rows = connection.execute(query.format(self.condition), self.parameters)
        return [int(row[0]) for row in rows]
