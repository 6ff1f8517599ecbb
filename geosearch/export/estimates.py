"""Which answers to export, read from the database one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import shapely
from psycopg import sql
from shapely import MultiPolygon

from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError

_ROWS_AT_ONCE = 1000


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


@dataclass(frozen=True)
class EstimatedRegion:
    """A highest-density region: `level` is the share of the density inside."""

    level: float
    geometry: MultiPolygon
    area_km2: float


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
    regions: tuple[EstimatedRegion, ...]


_SELECT = """
SELECT id, photo_uri, method, model ->> 'name', ST_Y(estimate), ST_X(estimate),
    score, radius_50_km, radius_90_km, ST_Y(truth), ST_X(truth), error_km, evaluation_id, created_at
FROM geosearch.localizations
WHERE {condition}
ORDER BY id
"""

_SELECT_WITH_REGIONS = """
SELECT chosen.*, regions.levels, regions.geometries, regions.areas
FROM ({chosen}) AS chosen
CROSS JOIN LATERAL (
    SELECT
        array_agg(level ORDER BY level) AS levels,
        array_agg(ST_AsBinary(geom) ORDER BY level) AS geometries,
        array_agg(area_km2 ORDER BY level) AS areas
    FROM geosearch.localization_regions
    WHERE localization_id = chosen.id
) AS regions
ORDER BY chosen.id
"""

_LAST = "id IN (SELECT id FROM geosearch.localizations ORDER BY id DESC LIMIT %(last)s)"


def read_estimates(
    connection: Connection, selection: Selection, *, regions: bool = False
) -> Iterator[Estimate]:
    """Stream the selected answers in the order of their ids; memory does not grow with them.

    Raises
    ------
    NotFoundError
        A selected id or evaluation does not exist.
    """
    _check_exists(connection, selection)
    query = sql.SQL(_SELECT).format(condition=_condition(selection))
    if regions:
        query = sql.SQL(_SELECT_WITH_REGIONS).format(chosen=query)
    parameters = {
        "ids": list(selection.ids),
        "evaluation": selection.evaluation,
        "last": selection.last,
    }
    with connection.cursor(name="estimates") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(query, parameters)
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
                regions=_regions(*row[14:]) if regions else (),
            )


def _condition(selection: Selection) -> sql.SQL:
    if selection.ids:
        return sql.SQL("id = ANY(%(ids)s)")
    if selection.evaluation is not None:
        return sql.SQL("evaluation_id = %(evaluation)s")
    if selection.last is not None:
        return sql.SQL(_LAST)
    return sql.SQL("true")


def _regions(
    levels: list[float] | None, geometries: list[bytes] | None, areas: list[float] | None
) -> tuple[EstimatedRegion, ...]:
    return tuple(
        EstimatedRegion(round(level, 4), shapely.from_wkb(geometry), area)  # level is float4
        for level, geometry, area in zip(levels or (), geometries or (), areas or (), strict=True)
    )


def _check_exists(connection: Connection, selection: Selection) -> None:
    remedy = "geosearch localize and geosearch evaluate print the ids of what they record."
    if selection.ids:
        known = connection.execute(
            "SELECT id FROM geosearch.localizations WHERE id = ANY(%s)", (list(selection.ids),)
        )
        missing = set(selection.ids) - {row[0] for row in known}
        if missing:
            raise NotFoundError(f"there is no localization {min(missing)}", remedy)
    if selection.evaluation is not None:
        found = connection.execute(
            "SELECT 1 FROM geosearch.evaluations WHERE id = %s", (selection.evaluation,)
        )
        if found.fetchone() is None:
            raise NotFoundError(f"there is no evaluation {selection.evaluation}", remedy)
