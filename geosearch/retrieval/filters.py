"""Which reference photos may become neighbours: all of a filter that others need."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypedDict, Unpack

from shapely.geometry.base import BaseGeometry

from geosearch.errors import InputError
from geosearch.retrieval.algebra import EVERYTHING, And, Condition, Filter, Not, Or, joined, read
from geosearch.retrieval.conditions import (
    AccurateTo,
    ByAuthors,
    HasLicence,
    InCollections,
    Photos,
    SameBytes,
    TakenAfter,
    TakenBefore,
    read_time,
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
    "Near",
    "Not",
    "Or",
    "Photos",
    "SameBytes",
    "TakenAfter",
    "TakenBefore",
    "Within",
    "read_time",
    "where",
]


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
    # Arrays and geometries answer `in` and `bool` in ways of their own.
    given = {
        name: value
        for name, value in conditions.items()
        if value is not None and not (isinstance(value, tuple | list) and not value)
    }
    return joined(And, [read(name, value, name) for name, value in given.items()])
