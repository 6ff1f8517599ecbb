"""Filters joined by `&`, `|`, `~`: their SQL over the embeddings table, and their JSON.

Every condition is a predicate on one row of `embeddings`. A photo that lacks what a condition
asks about (no author, no time) does not meet it, and so meets its negation: `~` means "it is not
true that", as in Python, not SQL's third truth value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from operator import and_, or_
from typing import Any, ClassVar

import numpy as np
import shapely
from numpy.typing import NDArray
from psycopg import sql
from shapely.geometry.base import BaseGeometry

from geosearch.arguments import check_known, numbers, texts
from geosearch.database.connection import Connection
from geosearch.errors import InputError
from geosearch.retrieval.reach import ANYWHERE, Reach

Degrees = NDArray[np.float64]
Passing = NDArray[np.bool_]

#: Condition → how its value is read, from JSON or from Python. Conditions enter themselves.
READERS: dict[str, Callable[[Any], Filter]] = {}


class Statement:
    """A condition under construction: its connection, and the values bound so far.

    Conditions are plain text: values are in placeholders, columns are our own, and composing
    `psycopg.sql` objects would take as long as a small search.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.values: dict[str, Any] = {}

    def bind(self, value: Any) -> str:
        """A placeholder for `value`, unlike all others."""
        name = f"filter_{len(self.values)}"
        self.values[name] = value
        return f"%({name})s"

    def bind_geometry(self, geometry: BaseGeometry) -> str:
        """A placeholder for `geometry` that PostgreSQL parses once, whatever the plan."""
        wkb = shapely.to_wkb(shapely.set_srid(geometry, 4326), hex=True, include_srid=True)
        return f"{self.bind(wkb)}::geometry"


class Filter(ABC):
    """A condition on reference photos. Join with `&` and `|`, negate with `~`."""

    def __and__(self, other: Filter) -> Filter:
        return joined(And, (self, other))

    def __or__(self, other: Filter) -> Filter:
        return joined(Or, (self, other))

    def __invert__(self) -> Filter:
        return self.part if isinstance(self, Not) else Not(self)

    @property
    def selects(self) -> bool:
        """False if it can only drop a few named photos or authors, so that nearly all pass."""
        return True

    @property
    def names_few(self) -> bool:
        """True if it can only pass a few named photos or authors."""
        return False

    @property
    def one_plan(self) -> bool:
        """True if the way to a few matching photos is the same whatever values are asked for."""
        return True

    @property
    def decided_by_places(self) -> bool:
        """True if `may_pass` is all there is to it."""
        return False

    @property
    def includes_estimated(self) -> bool:
        """True if it lets in photos whose position was estimated, which otherwise stay out."""
        return False

    @property
    def of_references(self) -> Filter:
        """The same among photos whose position is known."""
        return self

    def compile(self, connection: Connection) -> tuple[sql.Composable, dict[str, Any]]:
        """SQL condition over the columns of `embeddings`, and its named parameters.

        The condition may be NULL instead of false. Parameter names begin with `filter_`.

        Raises
        ------
        NotFoundError
            A collection or country does not exist.
        """
        statement = Statement(connection)
        return sql.SQL(self.condition(statement)), statement.values

    @abstractmethod
    def condition(self, statement: Statement) -> str:
        """SQL of this condition, its values bound in `statement`."""

    def may_pass(self, lat: Degrees, lon: Degrees) -> Passing:
        """Which photos at these places, in degrees (n,), may pass: none is left out that does.

        Decided by places alone, and roughly.
        """
        return np.ones(np.broadcast(lat, lon).shape, dtype=bool)

    def reach(self, connection: Connection) -> Reach:  # noqa: ARG002
        """How far it reaches, at most.

        Raises
        ------
        NotFoundError
            A country does not exist.
        """
        return ANYWHERE

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """As JSON; `from_json` reads it back."""

    @staticmethod
    def from_json(value: Any, at: str = "filter") -> Filter:
        """The filter of a JSON object: conditions by name, all of which must hold.

        Names are those of `where`, and "and", "or" (lists of objects) and "not" (an object).

        Raises
        ------
        InputError
            A name is unknown, a value cannot be used, or it is nested too deep; names the place
            under `at`.
        """
        if not isinstance(value, Mapping):
            raise InputError(
                f"{at}: expected an object, found {type(value).__name__}",
                'For example: {"country": "CH"}',
            )
        try:
            parts = [read(name, item, f"{at}.{name}") for name, item in value.items()]
        except RecursionError as error:
            raise InputError(
                "the filter is nested too deep", 'Say it with fewer "and", "or" and "not".'
            ) from error
        return parts[0] if len(parts) == 1 else joined(And, parts)


@dataclass(frozen=True)
class Joined(Filter):
    """Filters as one, by `word`; `no_parts` is it without any, in SQL and for people."""

    parts: tuple[Filter, ...]
    word: ClassVar[str]
    no_parts: ClassVar[tuple[str, str]]

    def __post_init__(self) -> None:
        if self.word == "or":
            _refuse_estimated(self)

    @staticmethod
    @abstractmethod
    def over(said: Iterable[bool], /) -> bool:
        """What holds of all, if this is said of the parts."""

    @property
    def selects(self) -> bool:
        """See `Filter.selects`."""
        return self.over(part.selects for part in self.parts)

    @property
    def names_few(self) -> bool:
        """See `Filter.names_few`."""
        return self.over(part.names_few for part in self.parts)

    @property
    def one_plan(self) -> bool:
        """See `Filter.one_plan`."""
        return all(part.one_plan for part in self.parts)

    @property
    def decided_by_places(self) -> bool:
        """See `Filter.decided_by_places`."""
        return all(part.decided_by_places for part in self.parts)

    @property
    def includes_estimated(self) -> bool:
        """See `Filter.includes_estimated`."""
        return any(part.includes_estimated for part in self.parts)

    def condition(self, statement: Statement) -> str:
        """Those of the parts."""
        conditions = f" {self.word.upper()} ".join(
            [part.condition(statement) for part in self.parts]
        )
        return f"({conditions})" if self.parts else self.no_parts[0]

    def to_json(self) -> dict[str, Any]:
        """`{word: [...]}`."""
        return {self.word: [part.to_json() for part in self.parts]}

    def __str__(self) -> str:
        return f" {self.word} ".join(map(_bracketed, self.parts)) or self.no_parts[1]


class And(Joined):
    """All parts hold; without parts, every photo passes."""

    word, over, no_parts = "and", staticmethod(any), ("true", "everything")

    @property
    def of_references(self) -> Filter:
        """See `Filter.of_references`."""
        parts = (part.of_references for part in self.parts)
        return joined(And, [part for part in parts if part != EVERYTHING])

    def may_pass(self, lat: Degrees, lon: Degrees) -> Passing:
        """Those that may pass all parts."""
        return _all([part.may_pass(lat, lon) for part in self.parts], super().may_pass(lat, lon))

    def reach(self, connection: Connection) -> Reach:
        """What the parts have in common."""
        return reduce(and_, [part.reach(connection) for part in self.parts], ANYWHERE)

    def to_json(self) -> dict[str, Any]:
        """`{"and": [...]}`, or `{}` without parts."""
        return super().to_json() if self.parts else {}


class Or(Joined):
    """Some part holds; without parts, no photo passes."""

    word, over, no_parts = "or", staticmethod(all), ("false", "nothing")

    def may_pass(self, lat: Degrees, lon: Degrees) -> Passing:
        """Those that may pass some part."""
        return ~_all([~part.may_pass(lat, lon) for part in self.parts], super().may_pass(lat, lon))

    def reach(self, connection: Connection) -> Reach:
        """That of all parts together."""
        parts = [part.reach(connection) for part in self.parts]
        return reduce(or_, parts) if parts else ANYWHERE


@dataclass(frozen=True)
class Not(Filter):
    """The part does not hold; photos that lack what it asks about pass."""

    part: Filter

    def __post_init__(self) -> None:
        _refuse_estimated(self.part)

    @property
    def selects(self) -> bool:
        """See `Filter.selects`."""
        return not self.part.names_few

    @property
    def names_few(self) -> bool:
        """See `Filter.names_few`."""
        return not self.part.selects

    @property
    def one_plan(self) -> bool:
        """See `Filter.one_plan`."""
        return self.part.one_plan

    def condition(self, statement: Statement) -> str:
        """False or NULL, as nothing else here is decided by a NULL."""
        return f"({self.part.condition(statement)}) IS NOT TRUE"

    def to_json(self) -> dict[str, Any]:
        """`{"not": {...}}`."""
        return {"not": self.part.to_json()}

    def __str__(self) -> str:
        return f"not {_bracketed(self.part)}"


#: Passes every photo.
EVERYTHING: Filter = And(())


class Condition(Filter):
    """A filter without parts: one name and one value in JSON."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            READERS[cls.name] = cls.read

    @classmethod
    def read(cls, value: Any) -> Filter:
        """The condition of a value, from JSON or from Python."""
        return cls(value)  # type: ignore[call-arg]  # of one field, unless a subclass says

    @property
    @abstractmethod
    def value(self) -> Any:
        """The value in JSON."""

    def to_json(self) -> dict[str, Any]:
        """`{name: value}`."""
        return {self.name: self.value}

    def __str__(self) -> str:
        items = self.value if isinstance(self.value, list) else [self.value]
        return f"{self.name} {','.join(map(str, items))}"


@dataclass(frozen=True, init=False)
class AnyOf(Condition):
    """One of some names."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        if not names:
            raise InputError(f"`{self.name}`: expected names, found none", "Give at least one.")
        object.__setattr__(self, "names", texts(self.name, names))

    @classmethod
    def read(cls, value: Any) -> Filter:
        """Names, or one."""
        return cls(*texts(cls.name, value))

    @property
    def value(self) -> list[str]:
        """The names."""
        return list(self.names)


class Measured(Condition):
    """Some numbers: the fields of a dataclass."""

    @classmethod
    def read(cls, value: Any) -> Filter:
        """The numbers in order, or as text with commas."""
        return cls(*numbers(cls.name, value, _fields(cls)))

    def __post_init__(self) -> None:
        values = numbers(self.name, self.value, _fields(type(self)))
        for name, value in zip(_fields(type(self)), values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def value(self) -> list[float]:
        """The numbers, in order."""
        return [getattr(self, name) for name in _fields(type(self))]


def _fields(kind: type[Any]) -> list[str]:
    return [field.name for field in fields(kind)]


def joined(kind: type[And] | type[Or], filters: Iterable[Filter]) -> Filter:
    """The filters as one, without needless nesting."""
    parts: list[Filter] = []
    for item in filters:
        parts.extend(item.parts if isinstance(item, kind) else [item])
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def read(name: str, value: Any, at: str) -> Filter:
    """The filter `name` with this value.

    Raises
    ------
    InputError
        There is no such filter, or the value cannot be used; names the place `at`.
    """
    if name == "not":
        return Not(Filter.from_json(value, at))
    if name in ("and", "or"):
        if not isinstance(value, list):
            raise InputError(f"{at}: expected a list, found {type(value).__name__}")
        parts = tuple(Filter.from_json(item, f"{at}[{n}]") for n, item in enumerate(value))
        return And(parts) if name == "and" else Or(parts)
    try:
        check_known("condition", [known_as(name)], ("and", "or", "not", *READERS))
        return READERS[known_as(name)](value)
    except InputError as error:
        # Alone, `where(bbox=...)` has said enough; deep in an expression the place helps.
        if at == name:
            raise
        message = error.message.removeprefix(f"{known_as(name)}: ")
        raise InputError(f"{at}: {message}", error.remedy) from error


def check_references(where: Filter) -> None:
    """Raise `InputError` for a filter that asks for estimated positions where none are searched."""
    if where.includes_estimated:
        raise InputError(
            "`include_estimated` is for searches: here photos count by known positions alone",
            "Leave it out.",
        )


def _refuse_estimated(part: Filter) -> None:
    if part.includes_estimated:
        raise InputError(
            "`include_estimated` lets more photos in: it does not go inside 'or' and 'not'",
            "Give it beside the other conditions.",
        )


def known_as(name: str) -> str:
    """The condition that is meant: where several names may be given, one may be, and many."""
    spellings = (name, f"{name}s", name.removesuffix("ies") + "y")
    return next((spelling for spelling in spellings if spelling in READERS), name)


def _all(passing: Iterable[Passing], start: Passing) -> Passing:
    return reduce(np.logical_and, passing, start)


def _bracketed(part: Filter) -> str:
    return str(part) if isinstance(part, Condition | Not) else f"({part})"
