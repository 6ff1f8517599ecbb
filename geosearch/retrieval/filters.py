"""Which reference photos may become neighbours: all of a filter that others need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date
from typing import Any, TypeAlias, TypedDict, Unpack

from numpy.typing import NDArray

from geosearch.errors import InputError
from geosearch.retrieval.algebra import (
    EVERYTHING,
    And,
    Condition,
    Filter,
    Not,
    Or,
    joined,
    known_as,
    read,
)
from geosearch.retrieval.areas import Area, read_area_file
from geosearch.retrieval.conditions import (
    AccurateTo,
    ByAuthors,
    HasLicence,
    IncludeEstimated,
    InCollections,
    Photos,
    SameBytes,
    TakenAfter,
    TakenBefore,
)
from geosearch.retrieval.place_conditions import BoundingBox, Country, Near, Within

__all__ = [
    "EVERYTHING",
    "AccurateTo",
    "And",
    "BoundingBox",
    "ByAuthors",
    "Condition",
    "Conditions",
    "Country",
    "Filter",
    "HasLicence",
    "InCollections",
    "IncludeEstimated",
    "Near",
    "Not",
    "Or",
    "Photos",
    "SameBytes",
    "TakenAfter",
    "TakenBefore",
    "Within",
    "where",
]

#: Names, or one.
Names = str | Iterable[str] | None


class Conditions(TypedDict, total=False):
    """Conditions as keywords of the Python API; all must hold, and None is no condition.

    `bbox` is west, south, east, north and `near` latitude, longitude, kilometres; `within` a
    polygon of shapely, as GeoJSON or as WKT, or the path of a GeoJSON file; `after` and `before`
    moments, dates or ISO 8601 text, UTC without a zone. Of several countries, collections, authors
    or licences any will do; the names in the singular and in the plural take one or several alike.
    The `exclude_` ones are left out; of those there may be none. With `include_estimated`, photos
    whose position was estimated may be neighbours too.
    """

    bbox: Sequence[float] | NDArray[Any] | str | None
    near: Sequence[float] | NDArray[Any] | str | None
    within: Area | None
    country: Names
    countries: Names
    after: date | str | None
    before: date | str | None
    collection: Names
    collections: Names
    author: Names
    authors: Names
    licence: Names
    licences: Names
    accuracy_m: float | None
    exclude_author: Names
    exclude_authors: Names
    exclude_sha256: Names
    include_estimated: bool | None


def where(**conditions: Unpack[Conditions]) -> Filter:
    """The filter whose `Conditions` all hold.

    Raises
    ------
    InputError
        A value is out of range or empty, a geometry is not a valid polygon, or there is no such
        condition.
    """
    made: dict[str, Filter] = {}
    for name, value in conditions.items():
        # Arrays and geometries answer `in` and `bool` in ways of their own.
        empty = isinstance(value, tuple | list | Set) and not value
        if empty or getattr(value, "size", 1) == 0:
            if name.startswith("exclude"):  # nothing is to be left out
                continue
            raise InputError(f"`{name}` is empty", "Give at least one, or leave it out.")
        if value is None:
            continue
        if known_as(name) in made:
            other = next(each for each in conditions if known_as(each) == known_as(name))
            raise InputError(f"`{other}` and `{name}` are one condition", "Give one.")
        given = read_area_file(value) if name == "within" else value
        made[known_as(name)] = read(name, given, name)
    match made.get("after"), made.get("before"):
        case TakenAfter(after), TakenBefore(before) if after >= before:
            raise InputError(
                f"`after` {after} is not earlier than `before` {before}",
                "Swap them, or leave one out.",
            )
    return joined(And, made.values())


#: A filter, or its JSON.
GivenFilter: TypeAlias = Filter | Mapping[str, Any] | None


def narrowed(given: GivenFilter, conditions: Mapping[str, Any]) -> Filter:
    """A filter, or its JSON, and conditions as keywords besides."""
    if not isinstance(given, Filter):
        given = Filter.from_json({} if given is None else given, "where")
    return given & where(**conditions)
