"""Collections by name."""

from __future__ import annotations

from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError

_LONGEST_NAME = 1000


def ensure_collection(connection: Connection, name: str) -> int:
    """Id of the collection `name`, created where missing.

    Raises
    ------
    InputError
        The name is empty, too long, or not valid Unicode.
    """
    if not name.strip():
        raise InputError("--collection: the name is empty", "Give the collection a name.")
    _check(name)
    connection.execute(
        "INSERT INTO geosearch.collections (name) VALUES (%s) ON CONFLICT (name) DO NOTHING",
        (name,),
    )
    return find_collection(connection, name)


def find_collection(connection: Connection, name: str) -> int:
    """Id of the collection `name`.

    Raises
    ------
    InputError
        The name is too long or not valid Unicode.
    NotFoundError
        There is none; the message lists those that exist.
    """
    _check(name)
    row = connection.execute(
        "SELECT id FROM geosearch.collections WHERE name = %s", (name,)
    ).fetchone()
    if row is None:
        known = connection.execute("SELECT name FROM geosearch.collections ORDER BY name LIMIT 20")
        names = ", ".join(str(name) for (name,) in known) or "none yet"
        raise NotFoundError(f"there is no collection {name!r}", f"Collections here: {names}")
    return int(row[0])


def _check(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"--collection: {name!r} is not valid Unicode", "Give a name in UTF-8."
        ) from error
    if "\0" in name or size > _LONGEST_NAME:
        raise InputError(
            f"--collection: {name[:80]!r} holds a NUL or is over {_LONGEST_NAME} bytes",
            "Give a shorter, plain name.",
        )
