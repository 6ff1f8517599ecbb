"""What a database holds for QGIS, and what is stored in it for QGIS: styles and projects."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.errors import DatabaseError, InputError
from geosearch.gis.map_layers import Group, MapLayer, groups
from geosearch.gis.project import WORLD, Bounds, Project
from geosearch.layers.layer import LAYERS
from geosearch.layers.selection import Selection
from geosearch.layers.styles import read_style

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
    # Lines lie between points whose bounds are known; cells hold the photos.
    bounds = {
        layer.id: found
        for group in chosen
        for layer in group.layers
        if layer.source.geometry_type != "MultiLineString"
        and (found := _bounds(connection, layer)) is not None
    }
    seen = ("regions", "evaluated", "coverage_56")
    view = next((bounds[name] for name in seen if name in bounds and _first(chosen, name)), WORLD)
    return Project(title, source, chosen, bounds, _widened(view))


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


def _has_rows(connection: Connection, layer: MapLayer) -> bool:
    condition = sql.SQL(layer.where or "true")
    query = sql.SQL("SELECT FROM geosearch.{view} WHERE {condition} LIMIT 1").format(
        view=sql.Identifier(layer.source.view), condition=condition
    )
    return connection.execute(query).fetchone() is not None


def _bounds(connection: Connection, layer: MapLayer) -> Bounds | None:
    condition = sql.SQL(layer.where or "true")
    query = sql.SQL(_BOUNDS).format(view=sql.Identifier(layer.source.view), condition=condition)
    row = connection.execute(query).fetchone()
    return None if row is None else (row[0], row[1], row[2], row[3])


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
