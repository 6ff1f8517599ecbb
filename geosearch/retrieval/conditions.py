"""Conditions on when a photo was taken, by whom, how it may be used, and which photo it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar

import numpy as np

from geosearch.arguments import moment, number, truth, whole
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection
from geosearch.errors import InputError
from geosearch.retrieval.algebra import EVERYTHING, READERS, AnyOf, Condition, Filter, Statement
from geosearch.retrieval.reach import Reach


@dataclass(frozen=True, init=False)
class _Taken(Condition):
    """Compares `taken_at` with a moment; one without a zone is UTC."""

    moment: datetime
    one_plan = False  # by the index on time for the last hour, not for the last century
    sign: ClassVar[str]

    def __init__(self, when: date | str) -> None:
        object.__setattr__(self, "moment", moment(self.name, when))

    @property
    def value(self) -> str:
        """ISO 8601."""
        return self.moment.isoformat()

    def condition(self, statement: Statement) -> str:
        """NULL for photos without a time."""
        return f"taken_at {self.sign} {statement.bind(self.moment)}"


class TakenAfter(_Taken):
    """Taken at or after a moment; a moment without a zone is UTC."""

    name, sign = "after", ">="

    def reach(self, connection: Connection) -> Reach:  # noqa: ARG002
        """From the moment on."""
        return Reach(after=self.moment)


class TakenBefore(_Taken):
    """Taken strictly before a moment; a moment without a zone is UTC."""

    name, sign = "before", "<"

    def reach(self, connection: Connection) -> Reach:  # noqa: ARG002
        """Up to the moment."""
        return Reach(before=self.moment)


@dataclass(frozen=True)
class AccurateTo(Condition):
    """The accuracy of the position is known, and is this many metres or better.

    Raises
    ------
    InputError
        It is negative or not a number.
    """

    metres: float
    name = "accuracy_m"

    def __post_init__(self) -> None:
        object.__setattr__(self, "metres", number(self.name, self.metres))
        if not 0 <= self.metres < math.inf:
            raise InputError(
                f"`accuracy_m`: {self.metres} is not a number of metres", "Give 0 or more."
            )

    @property
    def value(self) -> float:
        """Metres."""
        return self.metres

    def condition(self, statement: Statement) -> str:
        """In the column's own precision, float32: 10.1 is not less accurate than 10.1."""
        with np.errstate(over="ignore"):
            metres = float(np.float32(self.metres))
        return f"accuracy_m <= {statement.bind(metres)}"


class InCollections(AnyOf):
    """In one of these collections."""

    name = "collections"

    def condition(self, statement: Statement) -> str:
        """By id."""
        ids = [find_collection(statement.connection, name) for name in self.names]
        return f"collection_id = ANY({statement.bind(ids)})"


class _Said(AnyOf):
    """Has one of these texts in a column."""

    column: ClassVar[str]

    def condition(self, statement: Statement) -> str:
        """NULL for photos that say nothing there."""
        return f"{self.column} = ANY({statement.bind(self.value)})"


class ByAuthors(_Said):
    """By one of these authors."""

    name, column = "authors", "author"
    names_few = True

    def reach(self, connection: Connection) -> Reach:  # noqa: ARG002
        """These."""
        return Reach(authors=frozenset(self.names))


class HasLicence(_Said):
    """Under one of these licences, spelt as stored."""

    name, column = "licences", "licence"


class SameBytes(AnyOf):
    """The file has one of these sha256 (hex): negated, a query does not find itself.

    Raises
    ------
    InputError
        A sha256 is not 64 hex digits.
    """

    name = "sha256"
    names_few = True

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        for digest in self.names:
            if len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef"):
                raise InputError(f"sha256: {digest!r} is not one", "Give 64 hex digits.")

    def condition(self, statement: Statement) -> str:
        """By photo id: embeddings carry no sha256."""
        rows = statement.connection.execute(
            "SELECT id FROM geosearch.photos WHERE sha256 = ANY(%s)",
            ([bytes.fromhex(digest) for digest in self.names],),
        )
        ids = [int(row[0]) for row in rows]
        return f"photo_id = ANY({statement.bind(ids)})"


@dataclass(frozen=True, init=False)
class Photos(Condition):
    """One of these photos, by id.

    Raises
    ------
    InputError
        There is none, or one is no whole number.
    """

    ids: tuple[int, ...]
    name = "photos"
    names_few = True

    def __init__(self, *ids: int) -> None:
        if not ids:
            raise InputError("`photos`: expected ids, found none", "Give at least one.")
        object.__setattr__(self, "ids", tuple(whole(self.name, key) for key in ids))

    @classmethod
    def read(cls, value: Any) -> Filter:
        """Ids, or one."""
        return cls(*(value if isinstance(value, Iterable) else (value,)))

    @property
    def value(self) -> list[int]:
        """The ids."""
        return list(self.ids)

    def condition(self, statement: Statement) -> str:
        """By id."""
        return f"photo_id = ANY({statement.bind(self.value)})"


@dataclass(frozen=True)
class IncludeEstimated(Condition):
    """Photos whose position was estimated may be neighbours too, beside those with a known one."""

    name = "include_estimated"

    @classmethod
    def read(cls, value: Any) -> Filter:
        """True, or False for no condition."""
        return cls() if truth(cls.name, value) else EVERYTHING

    @property
    def value(self) -> bool:
        """Always true."""
        return True

    @property
    def includes_estimated(self) -> bool:
        """See `Filter.includes_estimated`."""
        return True

    @property
    def of_references(self) -> Filter:
        """See `Filter.of_references`."""
        return EVERYTHING

    def condition(self, statement: Statement) -> str:  # noqa: ARG002
        """It leaves nothing out."""
        return "true"


READERS["exclude_authors"] = lambda names: ~ByAuthors.read(names)
READERS["exclude_sha256"] = lambda names: ~SameBytes.read(names)
