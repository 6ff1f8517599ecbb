"""Collections by name."""

from __future__ import annotations

from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError


def ensure_collection(connection: Connection, name: str) -> int:
    """Id of the collection `name`, created where missing.

    Raises
    ------
    InputError
        The name is empty.
    """
    if not name.strip():
        raise InputError("--collection: the name is empty", "Give the collection a name.")
    connection.execute(
        "INSERT INTO geosearch.collections (name) VALUES (%s) ON CONFLICT (name) DO NOTHING",
        (name,),
    )
    return find_collection(connection, name)


def find_collection(connection: Connection, name: str) -> int:
    """Id of the collection `name`.

    Raises
    ------
    NotFoundError
        There is none; the message lists those that exist.
    """
    row = connection.execute(
        "SELECT id FROM geosearch.collections WHERE name = %s", (name,)
    ).fetchone()
    if row is None:
        known = connection.execute("SELECT name FROM geosearch.collections ORDER BY name LIMIT 20")
        names = ", ".join(str(name) for (name,) in known) or "none yet"
        raise NotFoundError(f"there is no collection {name!r}", f"Collections here: {names}")
    return int(row[0])
