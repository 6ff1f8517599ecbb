"""The schema `geosearch`: what it needs, the revision this version expects, the one a database has.

Apart from `geosearch.database.migrations`, so that no command waits for SQLAlchemy and alembic to
load unless it migrates.
"""

from __future__ import annotations

from geosearch.database.connection import Connection
from geosearch.database.resources import resource

SCHEMA = "geosearch"

#: Extensions geosearch needs, with the oldest usable version of each.
EXTENSIONS = {"postgis": (3, 3), "vector": (0, 8)}


def head_revision() -> str:
    """The revision this geosearch needs: that of its newest migration, with which its name begins.

    Raises
    ------
    FileNotFoundError
        A broken installation.
    """
    newest = max(path.name for path in resource("alembic/versions").glob("[0-9]*.py"))
    return newest.partition("_")[0]


def current_revision(connection: Connection) -> str | None:
    """The revision the database is at, None if it has no schema yet."""
    if connection.execute("SELECT to_regclass('geosearch.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM geosearch.alembic_version").fetchone()
    return None if row is None else str(row[0])
