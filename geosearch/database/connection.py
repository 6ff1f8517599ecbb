"""One database: its URL and a pool of psycopg connections."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from geosearch.database.pool import Pool
from geosearch.database.refusals import (
    lost,
    of_shard,
    passing,
    refused,
    shard_away,
    unreached,
)
from geosearch.errors import DatabaseError, InputError
from geosearch.settings import DatabaseSettings

Connection = psycopg.Connection[tuple[Any, ...]]


class Planner(NamedTuple):
    """What PostgreSQL's planner is told: by the index with this `ef_search`, or exactly at None.

    `one_plan`: a statement is planned once for all values, else for each.
    """

    ef_search: int | None = None
    one_plan: bool = False


@dataclass
class Link:
    """What is known of a shard's connection: the statements `prepared` on it, and its settings."""

    planner: Planner | None = None
    prepared: set[str] = field(default_factory=set)


class SearchConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection for neighbour searches: each statement commits itself.

    Settings stay, and `planner` is what they were set for; None if they are the server's or
    unknown. Where it is `pooled` none may stay: the next statement may reach another backend, and
    this one serve another program. `links` are those of its backend to shards, by their names; what
    is asked on them is `quick`, or can be cancelled.
    """

    planner: Planner | None = None
    pooled = False
    quick = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.links: dict[str, Link] = {}


C = TypeVar("C", bound=Connection)

MINIMUM_POSTGRES = 15

_OPTIONS: dict[str, Any] = {
    "application_name": "geosearch",
    "client_encoding": "utf8",
    "connect_timeout": 10,
}
#: Seconds for which a server may recover from a crash before it is called unreachable.
_RECOVERS_S = 30.0
_SECRETS = {"password", "sslpassword", "oauth_client_secret"}


def redact(url: str) -> str:
    """What `url` says, as libpq's `name=value` list without passwords: for messages."""
    try:
        parameters = parse(url)
    except InputError:
        return "(a URL that cannot be read)"
    shown = {name: value for name, value in parameters.items() if name not in _SECRETS}
    return make_conninfo(**shown)


def parse(url: str) -> dict[str, str]:
    """libpq's reading of `url`.

    Raises
    ------
    InputError
        It is malformed. The message quotes nothing of it, which may be the password.
    """
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        # A password with a bare slash, colon or @ spills into the port or host.
        port, host = parameters.get("port", ""), parameters.get("host", "")
        wellformed = not port.strip("0123456789,") and (host[:1] in "/@" or "@" not in host)
    except psycopg.ProgrammingError:
        wellformed = False
    if not wellformed:
        raise InputError(
            "the database URL is malformed",
            "Give it as postgresql://user:password@host:5432/name, with special characters "
            "of the password percent-encoded.",
        )
    return parameters


class Closing:
    """What is closed at the end of its `with` block."""

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Database(Closing):
    """An open database. Use as a context manager, or call `close`.

    Parameters
    ----------
    url
        A libpq URL, e.g. `postgresql://user@host/name`.
    label
        How to speak of it (`private server`); default: what the URL says, less passwords.
    partial
        Do without shards that cannot be reached; default: what `GEOSEARCH_PARTIAL` says.

    Raises
    ------
    InputError
        The URL is malformed.
    """

    def __init__(
        self,
        url: str,
        *,
        label: str | None = None,
        pool_size: int | None = None,
        partial: bool | None = None,
    ) -> None:
        parse(url)
        self.url = url
        self.label = label or redact(url)
        #: Most connections open at once, of each kind.
        self.pool_size = pool_size or DatabaseSettings().pool_size
        self.partial = DatabaseSettings().partial if partial is None else partial
        self._pool = Pool(lambda: self._connect(psycopg.Connection), self.pool_size)
        # A search would pay as much for its transaction and settings as for itself.
        self._searchers = Pool(
            lambda: self._connect(SearchConnection, autocommit=True), self.pool_size
        )
        self._thread = threading.local()
        self._reached = False

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
        self._searchers.close()

    def close_idle(self, seconds: float) -> None:
        """Close the connections that were in use so long ago, or longer."""
        self._pool.close_idle(seconds)
        self._searchers.close_idle(seconds)

    def connection(self) -> AbstractContextManager[Connection]:
        """A pooled connection in a transaction: committed at the end, rolled back on error.

        A thread holds one at a time: one that waited for a second could wait for itself.

        Raises
        ------
        DatabaseError
            The server cannot be reached or is lost, or an error of psycopg leaves the block; inside
            the block, such errors are psycopg's own.
        """
        return self._borrow(self._pool)

    def searcher(self) -> AbstractContextManager[SearchConnection]:
        """A pooled connection for neighbour searches; errors as for `connection`."""
        return self._borrow(self._searchers)

    @contextmanager
    def own_connection(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection beside the pools, for what takes hours; errors as for `connection`."""
        connection = self._connect(psycopg.Connection, autocommit=autocommit)
        with self._translated(connection), connection:
            yield connection

    @contextmanager
    def _borrow(self, pool: Pool[C]) -> Iterator[C]:
        if getattr(self._thread, "holds", False):
            raise RuntimeError("this thread holds a connection of this database already; use that")
        self._thread.holds = True
        try:
            with pool.connection() as connection, self._translated(connection):
                yield connection
                connection.commit()
        finally:
            self._thread.holds = False

    def _connect(self, kind: type[C], *, autocommit: bool = False) -> C:
        given = parse(self.url)
        options = {name: value for name, value in _OPTIONS.items() if name not in given}

        def connect() -> C:
            connection = kind.connect(self.url, autocommit=autocommit, **options)
            if not self._reached:
                most = _most(connection)
                self._pool.at_most(most)
                self._searchers.at_most(most)
            _configure(connection, self.partial)
            return connection

        try:
            connection = _ready(connect)
        except psycopg.Error as error:
            raise unreached(error, self.label, before=self._reached) from error
        self._reached = True
        return connection

    @contextmanager
    def _translated(self, connection: Connection) -> Iterator[None]:
        """Errors of psycopg as ours."""
        try:
            yield
        except psycopg.Error as error:
            # A full disk or a row too long for an index is an OperationalError too.
            if connection.broken:
                raise lost(error, self.label) from error
            if of_shard(error):
                raise shard_away(error, _missing_shards(connection)) from error
            raise refused(error, f"the database {self.label} refused") from error


def _missing_shards(connection: Connection) -> list[str]:
    """Names of the shards that cannot be reached now."""
    try:
        connection.rollback()
        rows = connection.execute("SELECT name FROM geosearch.missing_shards()").fetchall()
        connection.rollback()
    except psycopg.Error:
        return []
    return [str(name) for (name,) in rows]


def _ready(connect: Callable[[], C]) -> C:
    """A connection, when a server that starts, or recovers from a crash, lets one in."""
    deadline, cut_off = time.monotonic() + _RECOVERS_S, False
    while True:
        try:
            return connect()
        except psycopg.OperationalError as error:
            # A server whose backend has just crashed lets one in, and then ends all connections.
            once = "closed the connection unexpectedly" in str(error) and not cut_off
            if not (once or passing(error)) or time.monotonic() > deadline:
                raise
            cut_off |= once
        time.sleep(0.1)


def _most(connection: Connection) -> int:
    """Connections that each of the two pools may have, where role or database limit them.

    One more is for what needs one of its own, such as the build of an index.
    """
    row = connection.execute(
        """
        SELECT min(most) FROM (
            SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user
            UNION ALL SELECT datconnlimit FROM pg_database WHERE datname = current_database()
        ) AS limits (most) WHERE most >= 0
        """
    ).fetchone()
    assert row is not None
    return sys.maxsize if row[0] is None else max(1, (row[0] - 1) // 2)


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


def pooled(connection: Connection) -> bool:
    """Whether a pooler such as PgBouncer speaks for the server, so that nothing stays.

    A pooler serves many with one backend, and so must give each a process id of its own making, by
    which it can be asked to cancel a statement.
    """
    return backend(connection) != connection.info.backend_pid


def backend(connection: Connection) -> int:
    """The process that serves it now."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


#: What our statements rest on, whatever is set for the role or the database; {local}: for the
#: transaction. Limits set there are for those who forget a statement or a session; here nobody
#: does. Those that came with the URL or PGOPTIONS were meant for this very program, and hold.
PINS = """
SELECT set_config(name, value, {local})
FROM (
    SELECT 'search_path', string_agg(DISTINCT quote_ident(nspname), ', ')
    FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname IN ('postgis', 'vector')
    UNION ALL VALUES ('timezone', 'UTC'), ('datestyle', 'ISO')
    UNION ALL SELECT name, '0' FROM pg_settings WHERE name IN (
        'statement_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout'
    ) AND source <> 'client'
) AS pins (name, value)
WHERE value IS NOT NULL
"""


def _configure(connection: Connection, partly: bool) -> None:
    if not pooled(connection):
        connection.execute(PINS.format(local="false").encode())
        if partly:
            connection.execute("SET geosearch.partial = on")
            connection.prepare_threshold = None  # plans know which shards there were
    else:
        # Which poolers keep, and set at every backend they turn to.
        connection.execute("SET timezone TO 'UTC'")
        connection.execute("SET datestyle TO 'ISO'")
        connection.prepare_threshold = None  # they would be some other backend's, or another's
        if isinstance(connection, SearchConnection):
            connection.pooled = True
    # Before the first upgrade there is no vector type to register.
    if connection.execute("SELECT to_regtype('vector')").fetchone() != (None,):
        register_vector(connection)
    connection.commit()
