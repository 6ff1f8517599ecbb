"""Which picture a selection of answers gets: one in detail, or many on the world."""

from __future__ import annotations

from pathlib import Path

from geosearch.database.connection import Database
from geosearch.errors import NotFoundError
from geosearch.export.map import draw_map
from geosearch.export.overview import draw_overview
from geosearch.layers.selection import Selection
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
        found = selection.find(connection)
    if not found:
        raise NotFoundError("there are no answers to draw", "Run: geosearch localize PHOTO")
    if len(found) == 1:
        draw_map(load(database, found[0]), path, database)
        return
    with database.connection() as connection:
        draw_overview(connection, selection, path)
