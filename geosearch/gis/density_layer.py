"""The layer of densities: made of the answers that someone wants to see, and kept."""

from __future__ import annotations

from dataclasses import dataclass

import shapely
from psycopg import sql

from geosearch.database.connection import Connection, Database
from geosearch.database.copying import copy_into
from geosearch.density.density_cells import DensityCells
from geosearch.errors import NotFoundError
from geosearch.export.surface import density_of
from geosearch.layers.selection import Selection
from geosearch.localization import load
from geosearch.waiting import Progress

_CELLS = sql.Identifier("geosearch", "localization_cells")
_COLUMNS = ("localization_id", "level", "share", "area_km2", "geom")
_TYPES = ["int8", "float8", "float8", "float8", "bytea"]


@dataclass(frozen=True)
class Refreshed:
    """How many answers have their density in the layer, in how many cells; `without` have none."""

    answers: int
    cells: int
    without: int


def refresh_density(
    database: Database,
    selection: Selection,
    progress: Progress | None = None,
) -> Refreshed:
    """Put the densities of answers into the layer `gis_density`; what was there is replaced.

    Each is that of `geosearch export density`, in cells (`geosearch.density.density_cells`). Of
    several answers, those without a density are passed over. `progress` is called with the answers
    done and all of them.

    Raises
    ------
    NotFoundError
        A selected id or evaluation does not exist, or none of the answers has a density.
    DatabaseError
        The role may not write to an answer.
    """
    with database.connection() as connection:
        ids = selection.find(connection)
    if not ids:
        raise NotFoundError("there are no such answers", "geosearch localize makes some.")
    counts: list[int] = []
    for done, key in enumerate(ids, 1):
        try:
            cells = DensityCells.of(density_of(load(database, key)))
        except NotFoundError:
            if not counts and done == len(ids):
                raise
        else:
            with database.connection() as connection:
                _replace(connection, key, cells)
            counts.append(len(cells))
        if progress is not None:
            progress(done, len(ids))
    return Refreshed(len(counts), sum(counts), len(ids) - len(counts))


def _replace(connection: Connection, localization_id: int, cells: DensityCells) -> None:
    # Two at once would both insert the same cells.
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('geosearch density'))")
    connection.execute(
        "DELETE FROM geosearch.localization_cells WHERE localization_id = %s", (localization_id,)
    )
    boxes = shapely.box(cells.west, cells.south, cells.east, cells.north)
    geometry = shapely.multipolygons(boxes[:, None])
    forms = shapely.to_wkb(shapely.set_srid(geometry, 4326), include_srid=True)
    with copy_into(connection, _CELLS, _COLUMNS) as copy:
        copy.set_types(_TYPES)
        columns = (cells.level, cells.share, cells.area_km2)
        for *values, form in zip(*(column.tolist() for column in columns), forms, strict=True):
            copy.write_row((localization_id, *values, form))
