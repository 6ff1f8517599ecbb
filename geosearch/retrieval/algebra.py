"""Filters joined by `&`, `|`, `~`: their SQL over the embeddings table, and their JSON.

Every condition is a predicate on one row of `embeddings`. A photo that lacks what a condition
asks about (no author, no time) does not meet it, and so meets its negation: `~` means "it is not
true that", as in Python, not SQL's third truth value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import shapely
from numpy.typing import NDArray
from psycopg import sql
from shapely.geometry.base import BaseGeometry

from geosearch.database.connection import Connection
from geosearch.errors import InputError

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
            A name is unknown, or a value cannot be used; names the place under `at`.
        """
        if not isinstance(value, Mapping):
            raise InputError(
                f"{at}: expected an object, found {type(value).__name__}",
                'For example: {"country": "CH"}',
            )
        parts = [read(name, item, f"{at}.{name}") for name, item in value.items()]
        return parts[0] if len(parts) == 1 else joined(And, parts)


@dataclass(frozen=True)
class And(Filter):
    """All parts hold; without parts, every photo passes."""

    parts: tuple[Filter, ...]

    @property
    def selects(self) -> bool:
        """See `Filter.selects`."""
        return any(part.selects for part in self.parts)

    @property
    def names_few(self) -> bool:
        """See `Filter.names_few`."""
        return any(part.names_few for part in self.parts)

    @property
    def one_plan(self) -> bool:
        """See `Filter.one_plan`."""
        return all(part.one_plan for part in self.parts)

    @property
    def decided_by_places(self) -> bool:
        """See `Filter.decided_by_places`."""
        return all(part.decided_by_places for part in self.parts)

    def condition(self, statement: Statement) -> str:
        """All parts."""
        return _parenthesised(" AND ", self.parts, statement) if self.parts else "true"

    def may_pass(self, lat: Degrees, lon: Degrees) -> Passing:
        """Those that may pass all parts."""
        return _all([part.may_pass(lat, lon) for part in self.parts], super().may_pass(lat, lon))

    def to_json(self) -> dict[str, Any]:
        """`{"and": [...]}`, or `{}` without parts."""
        return {"and": [part.to_json() for part in self.parts]} if self.parts else {}

    def __str__(self) -> str:
        return " and ".join(map(_bracketed, self.parts)) or "everything"


@dataclass(frozen=True)
class Or(Filter):
    """Some part holds; without parts, no photo passes."""

    parts: tuple[Filter, ...]

    @property
    def selects(self) -> bool:
        """See `Filter.selects`."""
        return all(part.selects for part in self.parts)

    @property
    def names_few(self) -> bool:
        """See `Filter.names_few`."""
        return all(part.names_few for part in self.parts)

    @property
    def one_plan(self) -> bool:
        """See `Filter.one_plan`."""
        return all(part.one_plan for part in self.parts)

    @property
    def decided_by_places(self) -> bool:
        """See `Filter.decided_by_places`."""
        return all(part.decided_by_places for part in self.parts)

    def condition(self, statement: Statement) -> str:
        """Any part."""
        return _parenthesised(" OR ", self.parts, statement) if self.parts else "false"

    def may_pass(self, lat: Degrees, lon: Degrees) -> Passing:
        """Those that may pass some part."""
        return ~_all([~part.may_pass(lat, lon) for part in self.parts], super().may_pass(lat, lon))

    def to_json(self) -> dict[str, Any]:
        """`{"or": [...]}`."""
        return {"or": [part.to_json() for part in self.parts]}

    def __str__(self) -> str:
        return " or ".join(map(_bracketed, self.parts)) or "nothing"


@dataclass(frozen=True)
class Not(Filter):
    """The part does not hold; photos that lack what it asks about pass."""

    part: Filter

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
        return cls(*value)

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
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InputError(f"{self.name}: expected names, found {names!r}", "Give at least one.")
        object.__setattr__(self, "names", names)

    @classmethod
    def read(cls, value: Any) -> Filter:
        """Names, or one."""
        return cls(*((value,) if isinstance(value, str) else value))

    @property
    def value(self) -> list[str]:
        """The names."""
        return list(self.names)


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
    if name not in READERS:
        known = ", ".join(("and", "or", "not", *READERS))
        raise InputError(f"{at}: there is no condition {name!r}", f"Conditions: {known}")
    try:
        return READERS[name](value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{at}: {value!r} cannot be read ({error})") from error
    except InputError as error:
        # Alone, `where(bbox=...)` has said enough; deep in an expression the place helps.
        message = error.message if at == name else f"{at}: {error.message}"
        raise InputError(message, error.remedy) from error


def _parenthesised(operator: str, parts: tuple[Filter, ...], statement: Statement) -> str:
    return f"({operator.join([part.condition(statement) for part in parts])})"


def _all(passing: Iterable[Passing], start: Passing) -> Passing:
    return reduce(np.logical_and, passing, start)


def _bracketed(part: Filter) -> str:
    return str(part) if isinstance(part, Condition | Not) else f"({part})"
