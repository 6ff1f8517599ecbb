"""How many photos a filter lets through, and what filters can choose from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial

from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.json_record import Record
from geosearch.retrieval.algebra import EVERYTHING, And, Filter, joined
from geosearch.retrieval.photo_list import chosen_photos

_COUNT = """
SELECT count(*) FROM geosearch.photos WHERE geom IS NOT NULL AND id IN ({chosen})
"""
_RANGES = """
SELECT count(*), min(taken_at), max(taken_at), min(ST_X(geom)), min(ST_Y(geom)), max(ST_X(geom)),
    max(ST_Y(geom))
FROM geosearch.photos WHERE geom IS NOT NULL
"""
#: Spans of equal length into which the times of photos are counted.
SPANS = 40
_SPANS = """
SELECT count(taken_at) FROM generate_series(1, %(spans)s) AS span
LEFT JOIN geosearch.photos ON geom IS NOT NULL AND taken_at IS NOT NULL AND span = least(
    width_bucket(extract(epoch FROM taken_at), extract(epoch FROM %(first)s::timestamptz),
        extract(epoch FROM %(last)s::timestamptz) + 1, %(spans)s), %(spans)s)
GROUP BY span ORDER BY span
"""
_MOST = """
SELECT {column}, count(*) FROM geosearch.photos
WHERE geom IS NOT NULL AND {column} IS NOT NULL
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %s
"""


@dataclass(frozen=True)
class ConditionCount(Record):
    """One of several conditions that must all hold: in words, the photos that pass it `alone`, and
    those that pass all the others (`without` it).
    """

    condition: Filter
    text: str
    alone: int
    without: int


@dataclass(frozen=True)
class FilterCheck(Record):
    """A filter, in words too, the photos with a position that pass it, and how many there are."""

    filter: Filter
    text: str
    photos: int
    of: int
    conditions: tuple[ConditionCount, ...]


@dataclass(frozen=True)
class Choices(Record):
    """Photos with a position: how many, first and last time, west, south, east, north in degrees,
    and the authors and licences that have most of them. `taken_counts` are the photos in `SPANS`
    equal parts of the time from the first to the last.
    """

    photos: int
    taken: tuple[datetime, datetime] | None
    taken_counts: tuple[int, ...]
    bbox: tuple[float, float, float, float] | None
    authors: dict[str, int]
    licences: dict[str, int]


def check_filter(connection: Connection, where: Filter) -> FilterCheck:
    """Count what a filter lets through, and what each of its conditions does to that.

    Raises
    ------
    NotFoundError
        A collection or country does not exist.
    """
    where = where.of_references
    parts = where.parts if isinstance(where, And) else (where,)
    others = [joined(And, [*parts[:place], *parts[place + 1 :]]) for place in range(len(parts))]
    # One condition alone is the filter, and without it there is none: each is counted once.
    passing = cache(partial(_passing, connection))
    return FilterCheck(
        where,
        str(where),
        passing(where),
        passing(EVERYTHING),
        tuple(
            ConditionCount(part, str(part), passing(part), passing(without))
            for part, without in zip(parts, others, strict=True)
        ),
    )


def list_choices(connection: Connection, limit: int) -> Choices:
    """What filters can choose from, of what this login may see; at most `limit` names of a kind."""
    row = connection.execute(_RANGES).fetchone()
    assert row is not None
    count, first, last, *bbox = row
    spans = {"spans": SPANS, "first": first, "last": last}
    return Choices(
        count,
        None if first is None else (first, last),
        () if first is None else tuple(count for (count,) in connection.execute(_SPANS, spans)),
        None if bbox[0] is None else (bbox[0], bbox[1], bbox[2], bbox[3]),
        *(
            dict(
                connection.execute(
                    sql.SQL(_MOST).format(column=sql.Identifier(name)), (limit,)
                ).fetchall()
            )
            for name in ("author", "licence")
        ),
    )


def _passing(connection: Connection, where: Filter) -> int:
    chosen, values = chosen_photos(connection, where)
    row = connection.execute(sql.SQL(_COUNT).format(chosen=chosen), values).fetchone()
    assert row is not None
    return int(row[0])
