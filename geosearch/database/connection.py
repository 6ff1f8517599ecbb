"""One database: its URL, a pool of psycopg connections, a SQLAlchemy engine for migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool
from sqlalchemy import Engine, create_engine

from geosearch.errors import DatabaseError, InputError
from geosearch.settings import DatabaseSettings

Connection = psycopg.Connection[tuple[Any, ...]]

MINIMUM_POSTGRES = 15

# For a role named geosearch our schema would be the default one, which SQLAlchemy reflects without
# its name, and where CREATE EXTENSION would put PostGIS.
_WITHOUT_USER_SCHEMA = """
SELECT set_config(
    'search_path',
    regexp_replace(current_setting('search_path'), '"\\$user",? *', ''),
    false
)
"""


def redact(url: str) -> str:
    """`url` with its password blanked, for messages."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    netloc = parts.netloc.replace(f":{parts.password}@", ":***@")
    return urlunsplit(parts._replace(netloc=netloc))


def sqlalchemy_engine(url: str) -> Engine:
    """An engine over psycopg 3 for a libpq URL (Unix-socket `host=` parameters included)."""

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        connection = psycopg.connect(url)
        connection.execute(_WITHOUT_USER_SCHEMA)
        connection.commit()
        return connection

    # SQLAlchemy would parse the URL its own way; hand libpq the string as it is instead.
    return create_engine("postgresql+psycopg://", creator=connect)


class Database:
    """An open database. Use as a context manager, or call `close`.

    Parameters
    ----------
    url
        A libpq URL, e.g. `postgresql://user@host/name`.
    label
        How to speak of it (`private server`); default: the URL without its password.

    Raises
    ------
    InputError
        The URL is malformed.
    """

    def __init__(self, url: str, *, label: str | None = None, pool_size: int | None = None) -> None:
        try:
            conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise InputError(
                f"the database URL {redact(url)!r} is malformed: {error}",
                "Give it as postgresql://user:password@host:5432/name",
            ) from error
        self.url = url
        self.label = label or redact(url)
        #: Most connections open at once.
        self.pool_size = pool_size or DatabaseSettings().pool_size
        self._pool = ConnectionPool(
            url,
            min_size=0,
            max_size=self.pool_size,
            open=False,
            configure=_configure,
            kwargs={"application_name": "geosearch"},
            connection_class=psycopg.Connection[tuple[Any, ...]],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A pooled connection in a transaction: committed at the end, rolled back on error."""
        self._open()
        with self._pool.connection() as connection:
            yield connection

    def _open(self) -> None:
        if not self._pool.closed:
            return
        # One plain connection first: the pool would retry an unreachable server for its whole
        # timeout and hide the reason.
        try:
            psycopg.connect(self.url, connect_timeout=10).close()
        except psycopg.OperationalError as error:
            raise DatabaseError(
                f"cannot connect to {self.label}: {str(error).strip()}",
                "Check GEOSEARCH_DATABASE_URL, or unset it to use the private server.",
            ) from error
        self._pool.open()


def check_version(connection: Connection, label: str) -> None:
    """Raise `DatabaseError` for PostgreSQL older than 15."""
    version = connection.info.server_version // 10000
    if version < MINIMUM_POSTGRES:
        raise DatabaseError(
            f"{label} is PostgreSQL {version}", f"geosearch needs {MINIMUM_POSTGRES} or newer."
        )


def socket_url(folder: str, database: str, user: str, port: int = 5432) -> str:
    """libpq URL over a Unix socket in `folder`; the port is part of the socket's name."""
    host = quote(folder, safe="")
    return f"postgresql://{quote(user)}@/{quote(database)}?host={host}&port={port}"


def _configure(connection: Connection) -> None:
    # Before the first upgrade there is no vector type to register.
    if connection.execute("SELECT to_regtype('vector')").fetchone() != (None,):
        register_vector(connection)
    connection.commit()
