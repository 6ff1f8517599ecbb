"""Which database a command talks to: `GEOSEARCH_DATABASE_URL`, else the private server."""

from __future__ import annotations

from geosearch.database.connection import Database, check_version, redact
from geosearch.database.schema import current_revision, head_revision
from geosearch.errors import DatabaseError
from geosearch.settings import DatabaseSettings


def selected() -> str:
    """How to speak of the database that `open_database` opens; it may not be there yet."""
    url = DatabaseSettings().database_url
    if url is not None:
        return redact(url)
    from geosearch.database.server import PrivateServer

    return PrivateServer().label


def open_database(url: str | None = None, *, partial: bool | None = None) -> Database:
    """Open the database at `url`, at `GEOSEARCH_DATABASE_URL`, or the private server.

    The private server is started, and its schema brought up to date, where needed: it is ours.
    A database given by URL belongs to someone; there a missing schema is an error that says how
    to upgrade. `partial`: do without shards that cannot be reached.

    Raises
    ------
    DatabaseError
        It cannot be reached, is too old, or has another schema.
    """
    url = url or DatabaseSettings().database_url
    if url is not None:
        database = Database(url, partial=partial)
        check_schema(database)
        return database
    from geosearch.database.server import PrivateServer

    server = PrivateServer()
    server.start()
    database = Database(server.url, label=server.label, partial=partial)
    with database.connection() as connection:
        revision = current_revision(connection)
    if revision != head_revision():
        from geosearch.database import migrations  # loads SQLAlchemy

        database.close()
        migrations.upgrade(server.url)
        database = Database(server.url, label=server.label, partial=partial)
    return database


def reachable_url(database: Database) -> str:
    """URL for other programs of this machine: the private server's over TCP, where it listens."""
    if DatabaseSettings().database_url is not None:
        return database.url
    from geosearch.database.server import PrivateServer

    server = PrivateServer()
    return (server.url == database.url and server.tcp_url()) or database.url


def check_schema(database: Database) -> None:
    """Check that the server is there, new enough, and carries the current schema.

    Raises
    ------
    DatabaseError
        With the remedy.
    """
    with database.connection() as connection:
        check_version(connection, database.label)
        revision = current_revision(connection)
    if revision != head_revision():
        state = "has no geosearch schema" if revision is None else f"is at {revision}"
        raise DatabaseError(
            f"the database {database.label} {state}, this geosearch needs {head_revision()}",
            "Run: geosearch db upgrade",
        )
