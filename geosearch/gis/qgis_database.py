"""What a database holds for QGIS, and what is stored in it for QGIS: styles and projects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.errors import DatabaseError, InputError
from geosearch.gis.map_layers import FILLED, Group, MapLayer, groups
from geosearch.gis.project import WORLD, Bookmark, Bounds, Project
from geosearch.layers.layer import COVERAGE, LAYERS, PHOTOS, REGIONS, UNLOCATED
from geosearch.layers.layer_rows import view_columns
from geosearch.layers.selection import Selection
from geosearch.layers.styles import read_style
from geosearch.untrusted import for_terminal
from geosearch.words import number_of

STYLE_NAME = "geosearch"

_BOUNDS = """
SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box)
FROM (SELECT ST_Extent(geom) AS box FROM geosearch.{view} WHERE {condition}) AS found
WHERE box IS NOT NULL
"""

# The table and its columns are those that QGIS makes, and looks for in the search path.
_MAKE_STYLES = """
CREATE TABLE IF NOT EXISTS public.layer_styles (
    id serial PRIMARY KEY,
    f_table_catalog varchar,
    f_table_schema varchar,
    f_table_name varchar,
    f_geometry_column varchar,
    stylename text,
    styleqml xml,
    stylesld xml,
    useasdefault boolean,
    description text,
    owner varchar(63) DEFAULT CURRENT_USER,
    ui xml,
    update_time timestamp DEFAULT CURRENT_TIMESTAMP
)
"""

# The description says what was written, so that a style that was changed since is known by it.
_UPDATE_STYLE = """
UPDATE public.layer_styles
SET styleqml = %(qml)s::xml, description = %(about)s || md5(%(qml)s::text), update_time = now()
WHERE f_table_catalog = current_database() AND f_table_schema = 'geosearch'
    AND f_table_name = %(view)s::text AND f_geometry_column = 'geom' AND stylename = %(name)s::text
    AND description = %(about)s || md5(styleqml::text)
"""

_INSERT_STYLE = """
INSERT INTO public.layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,
    stylename, styleqml, useasdefault, description)
SELECT current_database(), 'geosearch', %(view)s::text, 'geom', %(name)s::text, %(qml)s::xml,
    NOT coalesce(bool_or(useasdefault), false), %(about)s || md5(%(qml)s::text)
FROM public.layer_styles
WHERE f_table_catalog = current_database() AND f_table_schema = 'geosearch'
    AND f_table_name = %(view)s::text AND f_geometry_column = 'geom'
HAVING NOT coalesce(bool_or(stylename = %(name)s::text), false)
"""

_ABOUT_ANSWERS = """
SELECT count(*), min(created_at), max(created_at), array_agg(DISTINCT model),
    array_agg(DISTINCT method), array_agg(DISTINCT nullif(filter, '{{}}')),
    array_agg(DISTINCT calibration_id)
FROM geosearch.gis_estimates WHERE id IN (SELECT {answer} FROM geosearch.{view} WHERE {condition})
"""

_LATEST = """
SELECT id, photo FROM geosearch.gis_estimates WHERE {condition} AND geom IS NOT NULL
ORDER BY id DESC LIMIT {most}
"""

# By their cells: the extents of a million photos would take seconds.
_COLLECTIONS = """
SELECT c.name, sum(n.photos), max(n.created_at),
    min(ST_XMin(n.geom)), min(ST_YMin(n.geom)), max(ST_XMax(n.geom)), max(ST_YMax(n.geom))
FROM geosearch.coverage AS n JOIN geosearch.collections AS c ON c.id = n.collection_id
WHERE n.cell_km = 56 GROUP BY c.id, c.name ORDER BY c.name
"""

_PERIOD = """
SELECT min(first), max(last) FROM (
    SELECT min(taken_at) AS first, max(taken_at) AS last FROM geosearch.gis_photos
    UNION ALL SELECT min(created_at), max(created_at) FROM geosearch.gis_estimates
) AS times
"""

#: Letters of a list of values that is told in full.
_LONG = 120

_REMOVE = "DELETE FROM geosearch.qgis_projects WHERE name = %s"
_SAVE = "INSERT INTO geosearch.qgis_projects (name, metadata, content) VALUES (%s, %s, %s)"


@dataclass(frozen=True)
class Stored:
    """Styles written, and those left as their user has changed them: names of views."""

    written: tuple[str, ...]
    kept: tuple[str, ...]


def make_project(
    connection: Connection, source: str, selection: Selection, title: str = "geosearch"
) -> Project:
    """The project of a database that QGIS reaches by `source` (`geosearch.gis.data_source`).

    Without a selection it shows all answers, else those chosen; layers that have no rows are left
    out. It opens at the answers, or at the photos where there are none, or at the world.

    Raises
    ------
    NotFoundError
        A selected id or evaluation does not exist.
    """
    selection.check(connection)
    chosen = tuple(
        replace(group, layers=layers)
        for group in groups(selection)
        if (layers := tuple(layer for layer in group.layers if _has_rows(connection, layer)))
    )
    shown = {layer.id: layer for group in chosen for layer in group.layers}
    # Lines lie between points whose bounds are known; cells hold the photos.
    bounds = {
        key: found
        for key, layer in shown.items()
        if layer.source.geometry_type != "MultiLineString"
        and (found := _bounds(connection, layer)) is not None
    }
    seen = ("regions", "evaluated", "coverage_56")
    view = next((bounds[name] for name in seen if name in bounds and _first(chosen, name)), WORLD)
    collections = connection.execute(_COLLECTIONS).fetchall()
    latest = _latest(connection, shown["estimates"]) if "estimates" in shown else []
    first, last = connection.execute(_PERIOD).fetchone() or (None, None)
    return Project(
        title,
        source,
        chosen,
        bounds,
        _widened(view),
        abstracts={
            key: " ".join([layer.source.about, *_origin(connection, layer, collections)])
            for key, layer in shown.items()
        },
        aliases={
            name: _aliases(connection, name)
            for name in {layer.source.view for layer in shown.values()}
        },
        bookmarks=tuple(_bookmarks(connection, bounds, collections, latest, shown)),
        filled=tuple(key for key, _ in latest),
        period=None if first is None else (first, last),
    )


def save_project(connection: Connection, name: str, project: Project) -> None:
    """Store a project for QGIS's menu Project > Open From > PostgreSQL, in schema `geosearch`.

    One of the same name is replaced. It is shown to those who see all collections that `connection`
    sees: the extents of its layers tell where photos are.

    Raises
    ------
    InputError
        Another's project has the name.
    """
    row = connection.execute("SELECT current_user").fetchone()
    assert row is not None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    metadata = json.dumps({"last_modified_time": now, "last_modified_user": row[0]})
    try:
        with connection.transaction():
            connection.execute(_REMOVE, (name,))
            connection.execute(_SAVE, (name, metadata, project.archive()))
    except psycopg.errors.UniqueViolation as error:
        raise InputError(
            f"another's project has the name {name!r}", "Save it under another name."
        ) from error


def install_styles(connection: Connection) -> Stored:
    """Store the style of every view where QGIS looks for it when a view is added to a map.

    Each becomes the default where the view has none. Styles of other names are never touched, and
    one of ours that a user has changed stays as it is.

    Raises
    ------
    DatabaseError
        The role may not write them.
    """
    written: list[str] = []
    kept: list[str] = []
    try:
        with connection.transaction():
            if connection.execute("SELECT to_regclass('public.layer_styles')").fetchone() == (
                None,
            ):
                connection.execute(_MAKE_STYLES)
                connection.execute("SELECT geosearch.share_styles()")
            for layer in LAYERS.values():
                values = {
                    "view": layer.view,
                    "name": STYLE_NAME,
                    "qml": read_style(layer.name),
                    "about": "The style of geosearch, md5 ",
                }
                done = connection.execute(_UPDATE_STYLE, values).rowcount
                done = done or connection.execute(_INSERT_STYLE, values).rowcount
                (written if done else kept).append(layer.view)
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"the styles cannot be stored: {error.diag.message_primary}",
            "Let the owner of the database do it, or write the project to a file, which has them.",
        ) from error
    return Stored(tuple(written), tuple(kept))


def _of(layer: MapLayer, query: LiteralString, **parts: sql.Composable) -> sql.Composed:
    """A query about the rows of a layer: its `view`, its `condition`, and what more it names."""
    return sql.SQL(query).format(
        view=sql.Identifier(layer.source.view), condition=sql.SQL(layer.where or "true"), **parts
    )


def _has_rows(connection: Connection, layer: MapLayer) -> bool:
    query = _of(layer, "SELECT FROM geosearch.{view} WHERE {condition} LIMIT 1")
    return connection.execute(query).fetchone() is not None


def _bounds(connection: Connection, layer: MapLayer) -> Bounds | None:
    row = connection.execute(_of(layer, _BOUNDS)).fetchone()
    return None if row is None else (row[0], row[1], row[2], row[3])


def _latest(connection: Connection, layer: MapLayer) -> list[tuple[int, str]]:
    """The ids and photos of the answers whose regions are filled, the latest first."""
    return connection.execute(_of(layer, _LATEST, most=sql.Literal(FILLED))).fetchall()


def _origin(
    connection: Connection, layer: MapLayer, collections: list[tuple[Any, ...]]
) -> Iterable[str]:
    """Where the rows of a layer come from, in sentences."""
    if layer.source in (PHOTOS, COVERAGE):
        for name, photos, counted, *_ in collections:
            held = number_of(photos, "photo")
            yield f"{for_terminal(name)}: {held}, as counted on {counted:%Y-%m-%d}."
    if layer.source.answer is None or layer.source is UNLOCATED:
        return
    query = _of(layer, _ABOUT_ANSWERS, answer=sql.Identifier(layer.source.answer))
    count, first, last, *lists = connection.execute(query).fetchone() or ()
    models, methods, filters, calibrations = (
        _listed([for_terminal(str(each)) for each in found if each is not None]) for found in lists
    )
    days = (
        f"{first:%Y-%m-%d}"
        if first.date() == last.date()
        else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    )
    yield f"{number_of(count, 'answer')} of {days} when the project was written."
    yield f"Model: {models}. Method: {methods}. Calibration: {calibrations or 'none'}."
    yield f"Photos searched: {filters or 'all'}."


def _listed(values: list[str]) -> str:
    """The values, or where they are many or long how many, and the beginning of one."""
    text = ", ".join(values)
    if len(text) <= _LONG:
        return text
    return f"{len(values)} different, such as {values[0][:_LONG]}…"


def _aliases(connection: Connection, view: str) -> dict[str, str]:
    """What the columns are called: the beginning of what is said of them."""
    return {
        name: re.split(r"[;:]|\.(?:$|\s)| \(|, (?:for|if|as|where|0|from) ", comment)[0]
        for name, _, comment in view_columns(connection, view)
        if comment
    }


def _bookmarks(
    connection: Connection,
    bounds: dict[str, Bounds],
    collections: list[tuple[Any, ...]],
    latest: list[tuple[int, str]],
    shown: dict[str, MapLayer],
) -> Iterable[Bookmark]:
    if "estimates" in bounds:
        yield Bookmark("Answers", "All", _widened(bounds["estimates"]))
    for key, photo in latest if "regions" in shown else ():
        regions = MapLayer(REGIONS, f'"localization_id" = {key}')
        if (found := _bounds(connection, regions)) is not None:
            name = f"{key}: {for_terminal(PurePosixPath(photo).name)}"
            yield Bookmark("Answers", name, _widened(found))
    if "evaluated" in bounds:
        yield Bookmark("Evaluations", "All", _widened(bounds["evaluated"]))
    for name, _, _, west, south, east, north in collections:
        yield Bookmark("Collections", for_terminal(name), _widened((west, south, east, north)))


def _first(chosen: tuple[Group, ...], name: str) -> bool:
    """Whether the layer is in a group that is shown."""
    return any(group.shown and any(each.id == name for each in group.layers) for group in chosen)


def _widened(bounds: Bounds) -> Bounds:
    """A little more than the bounds, and at least half a degree."""
    west, south, east, north = bounds
    x, y = max(0.25, (east - west) * 0.05), max(0.25, (north - south) * 0.05)
    return (
        max(WORLD[0], west - x),
        max(WORLD[1], south - y),
        min(WORLD[2], east + x),
        min(WORLD[3], north + y),
    )
