"""Which reference photos may become neighbours: conditions joined by `&`, `|`, `~`, and their SQL.

Every condition is a predicate on one row of `embeddings`. A photo that lacks what a condition
asks about (no author, no time) does not meet it, and so meets its negation: `~` means "it is not
true that", as in Python, not SQL's third truth value.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, TypedDict, Unpack

import numpy as np
import shapely
from psycopg import sql
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from geosearch.borders import find_border
from geosearch.database.collections import find_collection
from geosearch.database.connection import Connection
from geosearch.errors import InputError
from geosearch.retrieval.areas import check_area, read_area, split
from geosearch.sphere import EARTH_RADIUS_KM

#: No two points are farther apart, in kilometres.
HALF_GLOBE_KM = math.pi * EARTH_RADIUS_KM
#: Metres of PostGIS's sphere (the mean radius of WGS 84) for a kilometre of ours, so that
#: distances mean the same in all of geosearch.
_SPHERE_METRES = (2 * 6378137.0 + 6356752.314245179) / 3 / EARTH_RADIUS_KM


class Statement:
    """A condition under construction: its connection, and the values bound so far."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.values: dict[str, Any] = {}

    def bind(self, value: Any) -> sql.Placeholder:
        """A placeholder for `value`, unlike all others."""
        name = f"filter_{len(self.values)}"
        self.values[name] = value
        return sql.Placeholder(name)

    def bind_geometry(self, geometry: BaseGeometry) -> sql.Composed:
        """A placeholder for `geometry` that PostgreSQL parses once, whatever the plan."""
        wkb = shapely.to_wkb(shapely.set_srid(geometry, 4326), hex=True, include_srid=True)
        return sql.SQL("{}::geometry").format(self.bind(wkb))


class Filter(ABC):
    """A condition on reference photos. Join with `&` and `|`, negate with `~`."""

    def __and__(self, other: Filter) -> Filter:
        return _joined(And, (self, other))

    def __or__(self, other: Filter) -> Filter:
        return _joined(Or, (self, other))

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

    def compile(self, connection: Connection) -> tuple[sql.Composable, dict[str, Any]]:
        """SQL condition over the columns of `embeddings`, and its named parameters.

        The condition may be NULL instead of false. Parameter names begin with `filter_`.

        Raises
        ------
        NotFoundError
            A collection or country does not exist.
        """
        statement = Statement(connection)
        condition = self.condition(statement)
        return condition, statement.values

    @abstractmethod
    def condition(self, statement: Statement) -> sql.Composable:
        """SQL of this condition, its values bound in `statement`."""

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
        parts = [_read(name, item, f"{at}.{name}") for name, item in value.items()]
        return parts[0] if len(parts) == 1 else _joined(And, parts)


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

    def condition(self, statement: Statement) -> sql.Composable:
        """All parts."""
        return _parenthesised(" AND ", self.parts, statement) if self.parts else sql.SQL("true")

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

    def condition(self, statement: Statement) -> sql.Composable:
        """Any part."""
        return _parenthesised(" OR ", self.parts, statement) if self.parts else sql.SQL("false")

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

    def condition(self, statement: Statement) -> sql.Composable:
        """False or NULL, as nothing else here is decided by a NULL."""
        return sql.SQL("({}) IS NOT TRUE").format(self.part.condition(statement))

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


@dataclass(frozen=True)
class BoundingBox(Condition):
    """In this box, edges included; degrees. West above east crosses the ±180° meridian.

    Raises
    ------
    InputError
        A value is out of range, or south is above north.
    """

    west: float
    south: float
    east: float
    north: float
    name = "bbox"

    def __post_init__(self) -> None:
        west, south, east, north = self.value
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
            raise InputError(
                f"bbox {','.join(map(str, self.value))} is not west,south,east,north",
                "In degrees: longitudes in -180..180, latitudes in -90..90, south below north.",
            )

    @property
    def value(self) -> list[float]:
        """West, south, east, north."""
        return [self.west, self.south, self.east, self.north]

    def condition(self, statement: Statement) -> sql.Composable:
        """Boxes for the index, which rounds them to float32; coordinates to be exact."""
        west, south, east, north = self.value
        # 180° and -180° are one meridian: a box that ends there holds photos on either side.
        if west == -180 and east < 180:
            west = 180
        elif east == 180 and west > -180:
            east = -180
        if west <= east:
            template, boxes = _BBOX, [(west, east)]
        else:
            template, boxes = _BBOX_OVER_180, [(west, 180), (-180, east)]
        return sql.SQL(template).format(
            *(statement.bind_geometry(shapely.box(w, south, e, north)) for w, e in boxes),
            **{
                side: statement.bind(float(value))
                for side, value in zip(_SIDES, (west, south, east, north), strict=True)
            },
        )


_SIDES = ("west", "south", "east", "north")

_BBOX = """(geom && {}
    AND ST_X(geom) BETWEEN {west} AND {east}
    AND ST_Y(geom) BETWEEN {south} AND {north})"""

_BBOX_OVER_180 = """((geom && {} OR geom && {})
    AND (ST_X(geom) >= {west} OR ST_X(geom) <= {east})
    AND ST_Y(geom) BETWEEN {south} AND {north})"""


@dataclass(frozen=True)
class Near(Condition):
    """Within a great-circle distance in kilometres of a point in degrees.

    Raises
    ------
    InputError
        The point is not on the Earth, or the radius not between 0 and half the globe.
    """

    lat: float
    lon: float
    km: float
    name = "near"

    def __post_init__(self) -> None:
        lat, lon, km = self.value
        if not (-90 <= lat <= 90 and -180 <= lon <= 180 and 0 < km <= math.ceil(HALF_GLOBE_KM)):
            raise InputError(
                f"near {','.join(map(str, self.value))} is not latitude,longitude,kilometres",
                "For example 47.37,8.54,50; at most half the globe, 20016 km.",
            )

    @property
    def value(self) -> list[float]:
        """Latitude, longitude, kilometres."""
        return [self.lat, self.lon, self.km]

    def condition(self, statement: Statement) -> sql.Composable:
        """On the sphere, not the spheroid."""
        centre = f"SRID=4326;POINT({float(self.lon)!r} {float(self.lat)!r})"
        return sql.SQL("ST_DWithin(geom::geography, {}::geography, {}, false)").format(
            statement.bind(centre), statement.bind(self.km * _SPHERE_METRES)
        )


@dataclass(frozen=True)
class Within(Condition):
    """In a Polygon or MultiPolygon, boundary included; longitude, latitude in degrees.

    Edges are straight in longitude and latitude, as in GeoJSON. A polygon ends at ±180°.

    Raises
    ------
    InputError
        It is not a valid polygon on the Earth.
    """

    area: BaseGeometry
    name = "within"

    def __post_init__(self) -> None:
        check_area(self.area, "the geometry")

    @property
    def value(self) -> dict[str, Any]:
        """GeoJSON."""
        return dict(mapping(self.area))

    def condition(self, statement: Statement) -> sql.Composable:
        """Index and exact test in one."""
        return _intersects([self.area], statement)

    def __str__(self) -> str:
        return f"within a polygon of {shapely.get_num_coordinates(self.area)} points"


@dataclass(frozen=True)
class _Taken(Condition):
    """Compares `taken_at` with a moment; one without a zone is UTC."""

    moment: datetime

    def __post_init__(self) -> None:
        if self.moment.tzinfo is None:
            object.__setattr__(self, "moment", self.moment.replace(tzinfo=UTC))

    @property
    def value(self) -> str:
        """ISO 8601."""
        return self.moment.isoformat()


class TakenAfter(_Taken):
    """Taken at or after a moment; a moment without a zone is UTC."""

    name = "after"

    def condition(self, statement: Statement) -> sql.Composable:
        """NULL for photos without a time."""
        return sql.SQL("taken_at >= {}").format(statement.bind(self.moment))


class TakenBefore(_Taken):
    """Taken strictly before a moment; a moment without a zone is UTC."""

    name = "before"

    def condition(self, statement: Statement) -> sql.Composable:
        """NULL for photos without a time."""
        return sql.SQL("taken_at < {}").format(statement.bind(self.moment))


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
        if not 0 <= self.metres < math.inf:
            raise InputError(
                f"accuracy_m {self.metres} is not a number of metres", "Give 0 or more."
            )

    @property
    def value(self) -> float:
        """Metres."""
        return self.metres

    def condition(self, statement: Statement) -> sql.Composable:
        """In the column's own precision, float32: 10.1 is not less accurate than 10.1."""
        with np.errstate(over="ignore"):
            metres = float(np.float32(self.metres))
        return sql.SQL("accuracy_m <= {}").format(statement.bind(metres))


@dataclass(frozen=True, init=False)
class _AnyOf(Condition):
    """One of some names."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InputError(f"{self.name}: expected names, found {names!r}", "Give at least one.")
        object.__setattr__(self, "names", names)

    @property
    def value(self) -> list[str]:
        """The names."""
        return list(self.names)


class Country(_AnyOf):
    """In one of these countries (name or ISO code) or regions, by the borders loaded."""

    name = "country"

    def condition(self, statement: Statement) -> sql.Composable:
        """By geometry, as `Within`."""
        borders = [find_border(statement.connection, name) for name in self.names]
        return _intersects(borders, statement)


class InCollections(_AnyOf):
    """In one of these collections."""

    name = "collections"

    def condition(self, statement: Statement) -> sql.Composable:
        """By id."""
        ids = [find_collection(statement.connection, name) for name in self.names]
        return sql.SQL("collection_id = ANY({})").format(statement.bind(ids))


class ByAuthors(_AnyOf):
    """By one of these authors."""

    name = "authors"

    @property
    def names_few(self) -> bool:
        """See `Filter.names_few`."""
        return True

    def condition(self, statement: Statement) -> sql.Composable:
        """NULL for photos without an author."""
        return sql.SQL("author = ANY({})").format(statement.bind(self.value))


class HasLicence(_AnyOf):
    """Under one of these licences, spelt as stored."""

    name = "licences"

    def condition(self, statement: Statement) -> sql.Composable:
        """NULL for photos without a licence."""
        return sql.SQL("licence = ANY({})").format(statement.bind(self.value))


class SameBytes(_AnyOf):
    """The file has one of these sha256 (hex): negated, a query does not find itself.

    Raises
    ------
    InputError
        A sha256 is not 64 hex digits.
    """

    name = "sha256"

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        for digest in self.names:
            if len(digest) != 64 or not set(digest.lower()) <= set("0123456789abcdef"):
                raise InputError(f"sha256 {digest!r} is not one", "Give 64 hex digits.")

    @property
    def names_few(self) -> bool:
        """See `Filter.names_few`."""
        return True

    def condition(self, statement: Statement) -> sql.Composable:
        """By photo id: embeddings carry no sha256."""
        rows = statement.connection.execute(
            "SELECT id FROM geosearch.photos WHERE sha256 = ANY(%s)",
            ([bytes.fromhex(digest) for digest in self.names],),
        )
        ids = [int(row[0]) for row in rows]
        return sql.SQL("photo_id = ANY({})").format(statement.bind(ids))


class Conditions(TypedDict, total=False):
    """Conditions as keywords of the Python API; all must hold, and None or () is no condition.

    `bbox` is west, south, east, north and `near` latitude, longitude, kilometres; `within` a
    polygon of shapely, as GeoJSON or as WKT. Of several countries, collections, authors or
    licences any will do. The `exclude_` ones are left out.
    """

    bbox: tuple[float, float, float, float] | None
    near: tuple[float, float, float] | None
    within: BaseGeometry | dict[str, Any] | str | None
    country: str | Iterable[str]
    after: datetime | None
    before: datetime | None
    collections: str | Iterable[str]
    authors: str | Iterable[str]
    licences: str | Iterable[str]
    accuracy_m: float | None
    exclude_authors: str | Iterable[str]
    exclude_sha256: str | Iterable[str]


def where(**conditions: Unpack[Conditions]) -> Filter:
    """The filter whose `Conditions` all hold.

    Raises
    ------
    InputError
        A value is out of range, or a geometry is not a valid polygon.
    """
    after, before = (
        None if moment is None else TakenAfter(moment).moment
        for moment in (conditions.get("after"), conditions.get("before"))
    )
    if after is not None and before is not None and after >= before:
        raise InputError(
            f"after {after} is not earlier than before {before}", "Swap them, or leave one out."
        )
    given = {name: value for name, value in conditions.items() if value not in (None, (), [])}
    return _joined(And, [_read(name, value, name) for name, value in given.items()])


def read_time(name: str, given: datetime | str) -> datetime:
    """A moment; text is an ISO 8601 date or time, and without a zone it is UTC.

    Raises
    ------
    InputError
        The text is no date; the message calls it `name`.
    """
    try:
        moment = given if isinstance(given, datetime) else datetime.fromisoformat(given)
    except ValueError as error:
        raise InputError(
            f"{name} {given!r} is not a date: {error}", "For example: 2015-06-30"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


#: Condition → how its value is read, from JSON or from Python.
_READERS: dict[str, Callable[[Any], Filter]] = {
    "bbox": lambda sides: BoundingBox(*sides),
    "near": lambda circle: Near(*circle),
    "within": lambda area: Within(read_area(area)),
    "country": lambda names: Country(*_names(names)),
    "after": lambda moment: TakenAfter(read_time("after", moment)),
    "before": lambda moment: TakenBefore(read_time("before", moment)),
    "accuracy_m": AccurateTo,
    "collections": lambda names: InCollections(*_names(names)),
    "authors": lambda names: ByAuthors(*_names(names)),
    "licences": lambda names: HasLicence(*_names(names)),
    "sha256": lambda names: SameBytes(*_names(names)),
    "exclude_authors": lambda names: ~ByAuthors(*_names(names)),
    "exclude_sha256": lambda names: ~SameBytes(*_names(names)),
}


def _read(name: str, value: Any, at: str) -> Filter:
    if name == "not":
        return Not(Filter.from_json(value, at))
    if name in ("and", "or"):
        if not isinstance(value, list):
            raise InputError(f"{at}: expected a list, found {type(value).__name__}")
        parts = tuple(Filter.from_json(item, f"{at}[{n}]") for n, item in enumerate(value))
        return And(parts) if name == "and" else Or(parts)
    if name not in _READERS:
        known = ", ".join(("and", "or", "not", *_READERS))
        raise InputError(f"{at}: there is no condition {name!r}", f"Conditions: {known}")
    try:
        return _READERS[name](value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{at}: {value!r} cannot be read ({error})") from error
    except InputError as error:
        # Alone, `where(bbox=...)` has said enough; deep in an expression the place helps.
        message = error.message if at == name else f"{at}: {error.message}"
        raise InputError(message, error.remedy) from error


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _joined(kind: type[And] | type[Or], filters: Iterable[Filter]) -> Filter:
    parts: list[Filter] = []
    for item in filters:
        parts.extend(item.parts if isinstance(item, kind) else [item])
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _intersects(areas: Iterable[BaseGeometry], statement: Statement) -> sql.Composed:
    tests = [
        sql.SQL("ST_Intersects(geom, {})").format(statement.bind_geometry(piece))
        for area in areas
        for piece in split(area)
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(tests))


def _parenthesised(operator: str, parts: tuple[Filter, ...], statement: Statement) -> sql.Composed:
    conditions = [part.condition(statement) for part in parts]
    return sql.SQL("({})").format(sql.SQL(operator).join(conditions))


def _bracketed(part: Filter) -> str:
    return str(part) if isinstance(part, Condition | Not) else f"({part})"
