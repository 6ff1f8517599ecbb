"""The roles of a server: who may read, answer, ingest, own. Their rights are in `sql/roles`."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.errors import DatabaseError, InputError, NotFoundError

#: Role → what it is for, each after those whose rights it has.
ROLES = {
    "reader": "views and functions; no table",
    "analyst": "reader, and records answers and evaluations",
    "ingester": "reader, and writes photos and embeddings",
    "owner": "analyst and ingester, sees private collections and shares them",
}


@dataclass(frozen=True)
class Role:
    """One of our roles on this server; `members` have been granted it directly."""

    name: str
    purpose: str
    exists: bool
    members: tuple[str, ...]


def list_roles(connection: Connection) -> list[Role]:
    """Our roles, whether the server has them, and who was granted each."""
    found = {
        str(name): tuple(members)
        for name, members in connection.execute(
            """
            SELECT r.rolname, array_agg(m.rolname ORDER BY m.rolname)
                FILTER (WHERE m.rolname IS NOT NULL AND m.rolname <> ALL(%(roles)s))
            FROM pg_roles AS r
            LEFT JOIN pg_auth_members AS g ON g.roleid = r.oid
            LEFT JOIN pg_roles AS m ON m.oid = g.member
            WHERE r.rolname = ANY(%(roles)s)
            GROUP BY r.rolname
            """,
            {"roles": [_full(role) for role in ROLES]},
        )
        for members in [members or ()]
    }
    return [
        Role(_full(role), purpose, _full(role) in found, found.get(_full(role), ()))
        for role, purpose in ROLES.items()
    ]


def grant_role(connection: Connection, role: str, user: str) -> str:
    """Give a user of the server one of our roles; returns the role's full name.

    Roles that the server lacks are created first.

    Raises
    ------
    InputError
        There is no such role.
    NotFoundError
        The server has no such user.
    DatabaseError
        This login may not create or grant roles; says what a superuser is to run.
    """
    name = find_role(role)
    require_user(connection, user)
    if not all(known.exists for known in list_roles(connection)):
        _create(connection)
    _run(connection, sql.SQL("GRANT {} TO {}"), name, user)
    return name


def revoke_role(connection: Connection, role: str, user: str) -> str:
    """Take one of our roles from a user.

    Raises
    ------
    NotFoundError
        The user was not given the role; else as for `grant_role`.
    """
    name = find_role(role)
    require_user(connection, user)
    if not any(known.name == name and user in known.members for known in list_roles(connection)):
        raise NotFoundError(
            f"{user} was not given {name}", "Who was given which: geosearch roles list"
        )
    _run(connection, sql.SQL("REVOKE {} FROM {}"), name, user)
    return name


def find_role(role: str) -> str:
    """The full name of one of our roles, given as `reader` or `geosearch_reader`."""
    short = role.removeprefix("geosearch_")
    if short not in ROLES:
        raise InputError(f"there is no role {role!r}", f"Roles: {', '.join(ROLES)}")
    return _full(short)


def require_user(connection: Connection, user: str) -> None:
    """Raise `NotFoundError` if the server has no such role or user."""
    found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (user,)).fetchone()
    if found is None:
        raise NotFoundError(
            f"the server has no role {user!r}",
            f"As an administrator of the server: CREATE ROLE {_quoted(connection, user)} LOGIN",
        )


def _create(connection: Connection) -> None:
    try:
        with connection.transaction():
            row = connection.execute("SELECT geosearch.create_roles()").fetchone()
            connection.execute("SELECT geosearch.grant_rights()")
    except psycopg.errors.InsufficientPrivilege as error:
        raise _refused("SELECT geosearch.create_roles(), geosearch.grant_rights()") from error
    if row is not None and row[0]:
        raise _refused("SELECT geosearch.create_roles(), geosearch.grant_rights()")


def _run(connection: Connection, statement: sql.SQL, role: str, user: str) -> None:
    composed = statement.format(sql.Identifier(role), sql.Identifier(user))
    try:
        with connection.transaction():
            connection.execute(composed)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject) as error:
        raise _refused(composed.as_string(connection)) from error


def _refused(statement: str) -> DatabaseError:
    return DatabaseError(
        "this login may not manage the roles of the server",
        f"As a superuser, in this database: {statement}",
    )


def _quoted(connection: Connection, name: str) -> str:
    return sql.Identifier(name).as_string(connection)


def _full(role: str) -> str:
    return f"geosearch_{role}"
