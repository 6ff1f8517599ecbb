"""Removing a database of geosearch: the private server's files, or the schema in a database."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from geosearch.database.backup import check_nothing_rests_on_it, stored_rows
from geosearch.database.connection import Connection, Database, redact
from geosearch.database.schema import SCHEMA
from geosearch.database.server import PrivateServer
from geosearch.errors import ServerError


@dataclass(frozen=True)
class Target:
    """What would be removed: a schema by its database's `url`, else a private `server`.

    `rows` of each table, of which there are none to be told where the schema is not there;
    `sessions` of others that are connected. `unread`: why a server tells neither.
    """

    label: str
    exists: bool
    rows: dict[str, int]
    sessions: int
    url: str | None = None
    server: PrivateServer | None = None
    unread: str | None = None


def find(url: str | None) -> Target:
    """What removing would remove, counted; the private server is started for that.

    Raises
    ------
    DatabaseError
        It cannot be reached, started, or read.
    """
    if url is not None:
        with Database(url) as database, database.connection() as connection:
            exists = _exists(connection)
            rows = stored_rows(connection) if exists else {}
            sessions = connection.execute(_OTHERS).fetchone()
        label = f"the schema {SCHEMA} in {redact(url)}"
        return Target(label, exists, rows, int(sessions[0]) if sessions else 0, url)
    server = PrivateServer()
    label = f"the {server.label}"
    if server.status().version is None:
        return Target(label, False, {}, 0, None, server)
    try:
        server.start()
    except ServerError as error:
        return Target(label, True, {}, 0, None, server, error.message)
    sessions_ = server.sessions()
    with Database(server.url, label=server.label) as database, database.connection() as connection:
        rows = stored_rows(connection) if _exists(connection) else {}
    return Target(label, True, rows, sessions_, None, server)


def remove(target: Target) -> None:
    """Remove it for good, in one transaction where it is a schema.

    Raises
    ------
    DatabaseError
        Something outside the schema rests on it, or the server refuses.
    """
    if target.server is not None:
        target.server.destroy()
        return
    assert target.url is not None
    with Database(target.url) as database, database.connection() as connection:
        check_nothing_rests_on_it(connection, redact(target.url))
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(SCHEMA)))


def _exists(connection: Connection) -> bool:
    return connection.execute("SELECT to_regnamespace(%s)", (SCHEMA,)).fetchone() != (None,)


_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
