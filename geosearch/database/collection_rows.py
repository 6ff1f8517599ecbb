"""Collections by name: which there are, which are private, and whom those are shared with."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from geosearch.arguments import text
from geosearch.database.connection import Connection
from geosearch.database.role_grants import require_user
from geosearch.errors import DatabaseError, InputError, NotFoundError

_LONGEST_NAME = 1000


@dataclass(frozen=True)
class Collection:
    """A collection; a private one is for geosearch_owner and the roles in `shared_with` alone."""

    name: str
    description: str | None
    photos: int
    private: bool
    shared_with: tuple[str, ...]


def ensure_collection(connection: Connection, name: str) -> int:
    """Id of the collection `name`, created where missing.

    Raises
    ------
    InputError
        The name is empty, too long, or not valid Unicode; or that of a collection that this login
        may not see.
    """
    _check(name)
    if not name.strip():
        raise InputError("`collection`: the name is empty", "Give the collection a name.")
    connection.execute(
        "INSERT INTO geosearch.collections (name) VALUES (%s) ON CONFLICT (name) DO NOTHING",
        (name,),
    )
    try:
        return find_collection(connection, name)
    except NotFoundError as error:
        raise InputError(
            f"`collection`: the name {name!r} is taken", "Give the collection another name."
        ) from error


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
        names = ", ".join(str(name) for (name,) in known)
        raise NotFoundError(
            f"there is no collection {name!r}",
            f"Collections here: {names}"
            if names
            else "There are no photos yet. Run: geosearch ingest FOLDER --collection NAME",
        )
    return int(row[0])


def list_collections(connection: Connection) -> list[Collection]:
    """The collections this login may see, with the shares it may see."""
    rows = connection.execute(
        """
        SELECT name, description,
            (SELECT count(*) FROM geosearch.photos AS p WHERE p.collection_id = c.id),
            private,
            ARRAY(
                SELECT role FROM geosearch.collection_shares AS s
                WHERE s.collection_id = c.id ORDER BY role
            )
        FROM geosearch.collections AS c ORDER BY name
        """
    )
    return [
        Collection(name, description, photos, private, tuple(roles))
        for name, description, photos, private, roles in rows
    ]


def set_private(connection: Connection, name: str, private: bool) -> bool:
    """Make a collection private, or public.

    Returns
    -------
    bool
        True if statistics are left that tell of private photos, which a superuser can remove.

    Raises
    ------
    NotFoundError
        There is no such collection.
    DatabaseError
        This login may not.
    """
    key = find_collection(connection, name)
    try:
        with connection.transaction():
            connection.execute(
                "UPDATE geosearch.collections SET private = %s WHERE id = %s", (private, key)
            )
            some = connection.execute(
                "SELECT FROM geosearch.collections WHERE private LIMIT 1"
            ).fetchone()
            row = connection.execute(
                "SELECT geosearch.keep_statistics(%s)", (some is None,)
            ).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise _not_ours(name) from error
    return row is not None and bool(row[0])


def share(connection: Connection, name: str, role: str, *, shared: bool = True) -> None:
    """Share a private collection with a role or user of the server, or no longer.

    Raises
    ------
    NotFoundError
        There is no such collection or role.
    DatabaseError
        This login may not.
    """
    key = find_collection(connection, name)
    try:
        with connection.transaction():
            if shared:
                require_user(connection, role)
                connection.execute(
                    "INSERT INTO geosearch.collection_shares (collection_id, role) VALUES (%s, %s) "
                    "ON CONFLICT (collection_id, role) DO NOTHING",
                    (key, role),
                )
            elif not connection.execute(
                "DELETE FROM geosearch.collection_shares WHERE collection_id = %s AND role = %s",
                (key, role),
            ).rowcount:
                raise NotFoundError(
                    f"the collection {name!r} is not shared with {role!r}",
                    "See: geosearch collections list",
                )
    except psycopg.errors.InsufficientPrivilege as error:
        raise _not_ours(name) from error


def _not_ours(name: str) -> DatabaseError:
    return DatabaseError(
        f"this login may not say who sees the collection {name!r}",
        "It takes the role geosearch_owner: geosearch roles grant owner --to USER",
    )


def _check(name: str) -> None:
    try:
        size = len(text("collection", name).encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"`collection`: {name!r} is not valid Unicode", "Give a name in UTF-8."
        ) from error
    if "\0" in name or size > _LONGEST_NAME:
        raise InputError(
            f"`collection`: {name[:80]!r} holds a NUL or is over {_LONGEST_NAME} bytes",
            "Give a shorter, plain name.",
        )
