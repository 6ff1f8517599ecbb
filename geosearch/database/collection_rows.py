"""Collections by name: which there are, which are private, and whom those are shared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import psycopg
from psycopg import sql

from geosearch.arguments import text
from geosearch.database.connection import Connection, Database
from geosearch.database.role_grants import require_user
from geosearch.database.schema import SCHEMA
from geosearch.errors import DatabaseError, InputError, NotFoundError

_LONGEST_NAME = 1000


@dataclass(frozen=True)
class Collection:
    """A collection; a private one is for geosearch_owner and the roles in `shared_with` alone.

    With `reviewed_references`, photos whose place was accepted in a review are references.
    """

    name: str
    description: str | None
    photos: int
    private: bool
    shared_with: tuple[str, ...]
    reviewed_references: bool = False


def ensure_collection(connection: Connection, name: str, description: str | None = None) -> int:
    """Id of the collection `name`, created where missing, and then described so.

    Raises
    ------
    InputError
        The name is empty, too long, or not valid Unicode; or that of a collection that this login
        may not see.
    """
    check_name(name)
    connection.execute("SELECT geosearch.add_collection(%s, %s)", (name, description))
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


def take_turns(connection: Connection, collection_ids: Iterable[int]) -> None:
    """Wait for who else decides by what these collections hold; until the transaction ends.

    And for who decides on answers (`geosearch.place_reviewed`), of many at once: that locks photos
    in any order, and the coverage between them.
    """
    connection.execute("SELECT pg_advisory_xact_lock_shared(hashtext('geosearch reviews'))")
    for key in sorted(set(collection_ids)):
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('geosearch ingest', %s))", (key,)
        )


def list_collections(connection: Connection) -> list[Collection]:
    """The collections this login may see, with the shares it may see."""
    rows = connection.execute(
        """
        SELECT name, description,
            (SELECT count(*) FROM geosearch.photos AS p WHERE p.collection_id = c.id),
            private, geosearch.shared_with(id), reviewed_references
        FROM geosearch.collections AS c ORDER BY name
        """
    )
    return [
        Collection(name, description, photos, private, tuple(roles), reviewed)
        for name, description, photos, private, roles, reviewed in rows
    ]


#: Moves in a row that may be the victims of a deadlock.
_TRIES = 5


class Moved(NamedTuple):
    """What `set_private` did: the photos of the collection, and whether PostgreSQL kept statistics
    that tell of them, which a superuser can remove.
    """

    photos: int
    statistics_left: bool


def set_private(connection: Connection, name: str, private: bool) -> Moved:
    """Make a collection private, or public: its photos move to relations of their own, or back.

    Indexes are to be rebuilt then, and `clean_up` is to follow, lest they tell what they held. A
    collection that is private before it has photos leaves no such traces.

    Raises
    ------
    NotFoundError
        There is no such collection.
    DatabaseError
        This login may not.
    """
    key = find_collection(connection, name)
    for left in reversed(range(_TRIES)):
        try:
            with _owners(connection, name):
                row = connection.execute(
                    "SELECT photos, statistics_left FROM geosearch.set_private(%s, %s)",
                    (key, private),
                ).fetchone()
            assert row is not None
            return Moved(*row)
        except psycopg.errors.DeadlockDetected:  # with searches, which lock the tables in any order
            if not left:
                raise
    raise AssertionError


def owns_tables(connection: Connection) -> bool:
    """Whether this login may build indexes and VACUUM."""
    row = connection.execute(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class "
        "WHERE oid = 'geosearch.photos_open'::regclass"
    ).fetchone()
    return row is not None and bool(row[0])


def clean_up(database: Database) -> None:
    """Remove what dead rows of the open shelf still tell of photos that moved; for the owner.

    Rows that an older transaction may still read stay until it ends.
    """
    with database.own_connection(autocommit=True) as connection:
        tables = [
            sql.Identifier(SCHEMA, name)
            for (name,) in connection.execute(
                "SELECT c.relname FROM geosearch.tables_of_shelf(0) AS t "
                "JOIN pg_class AS c ON c.oid = t WHERE c.relkind = 'r'"
            )
        ]
        connection.execute(
            sql.SQL("VACUUM (INDEX_CLEANUP ON) {}").format(sql.SQL(", ").join(tables))
        )


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
    if shared:
        require_user(connection, role)
    with _owners(connection, name):
        row = connection.execute(
            "SELECT geosearch.set_shared(%s, %s, %s), private FROM geosearch.collections "
            "WHERE id = %s",
            (key, role, shared, key),
        ).fetchone()
    done, private = row or (False, False)
    if shared and not private:
        raise InputError(
            f"the collection {name!r} is not private: everybody sees it",
            f"First: geosearch collections private {name}",
        )
    if not done:
        raise NotFoundError(
            f"the collection {name!r} is not shared with {role!r}",
            "See: geosearch collections list",
        )


def set_reviewed_references(connection: Connection, name: str, wanted: bool) -> int:
    """Let reviews make references of the photos of a collection, or keep them apart.

    Those that have their place by a review follow; returns how many of them are changed.

    Raises
    ------
    NotFoundError
        There is no such collection.
    DatabaseError
        This login may not.
    """
    key = find_collection(connection, name)
    with _owners(connection, name):
        connection.execute(
            "UPDATE geosearch.all_collections SET reviewed_references = %s WHERE id = %s",
            (wanted, key),
        )
        apart = (
            "SELECT count(*) FROM geosearch.photos "
            "WHERE collection_id = %s AND localization_id IS NOT NULL AND geom IS NULL"
        )
        ((before,),) = connection.execute(apart, (key,)).fetchall()
        connection.execute(
            "SELECT geosearch.place_reviewed(sha256, localization_id, NULL) FROM geosearch.photos "
            "WHERE collection_id = %s AND localization_id IS NOT NULL ORDER BY id",
            (key,),
        )
        ((after,),) = connection.execute(apart, (key,)).fetchall()
    return abs(int(before) - int(after))


@contextmanager
def _owners(connection: Connection, name: str) -> Iterator[None]:
    """A transaction for what geosearch_owner alone may say of a collection."""
    try:
        with connection.transaction():
            yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"this login may not say who sees the collection {name!r}, or what reviews make of it",
            "It takes the role geosearch_owner: geosearch roles grant owner --to USER",
        ) from error


def check_name(name: str) -> None:
    """Raise `InputError` for what no new collection can be called."""
    _check(name)
    if not name.strip():
        raise InputError("`collection`: the name is empty", "Give the collection a name.")


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
