"""Which picture a selection of answers gets: one in detail, or many on the world."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from geosearch.database.connection import Database
from geosearch.errors import NotFoundError
from geosearch.export.estimates import Selection, read_estimates
from geosearch.export.map import draw_map
from geosearch.export.overview import draw_overview
from geosearch.localization import load


def draw_selection(database: Database, selection: Selection, path: Path) -> None:
    """Draw the selected answers: `draw_map` for one, `draw_overview` for several.

    Raises
    ------
    NotFoundError
        Nothing is selected.
    InputError
        The file cannot be written.
    """
    with database.connection() as connection:
        first = list(islice(read_estimates(connection, selection), 2))
    if not first:
        raise NotFoundError("there are no answers to draw", "Run: geosearch localize PHOTO")
    if len(first) == 1:
        draw_map(load(database, first[0].localization_id), path)
        return
    with database.connection() as connection:
        draw_overview(read_estimates(connection, selection), path)
