"""Fixtures: a real PostgreSQL for the session, a fresh database for each test that asks."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from geosearch.database import migrations
from geosearch.database.connection import Database

if TYPE_CHECKING:
    from geosearch.database.server import PrivateServer

# Slow examples are the machine's fault, and CI must not depend on luck.
settings.register_profile(
    "geosearch",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("geosearch")

if "PYTEST_XDIST_WORKER" in os.environ:
    # The processes share the cores; libraries that each take them all slow one another down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # They are given a width, which consoles made at import would keep.
    os.environ.pop("COLUMNS", None)
    os.environ.pop("LINES", None)

#: Real photos and tables for tests; not part of the project, so tests that need them skip.
SHARED = Path(os.environ.get("GEOSEARCH_SHARED", Path(__file__).parent.parent.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and tables; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """URL of a PostgreSQL for tests: a private server, or `GEOSEARCH_TEST_DATABASE_URL`."""
    given = os.environ.get("GEOSEARCH_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with running_server() as server:
        yield server.url


@contextmanager
def running_server(port: int | None = None) -> Iterator[PrivateServer]:
    """A private server in a folder of its own; with a port, it listens there too."""
    from geosearch.database.server import PrivateServer

    with server_folder() as folder:
        server = PrivateServer(folder, durable=False)
        server.start(port)
        try:
            yield server
        finally:
            server.stop()


def free_port(host: str = "127.0.0.1") -> int:
    """A port of TCP that nobody listens at."""
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for a private server, removed at the end.

    pytest's own temporary folders are closed to the unprivileged user that a server started by
    root runs as, and their long names do not fit a Unix socket's path.
    """
    with TemporaryDirectory(prefix="geosearch-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def with_database(url: str, name: str) -> str:
    """`url` with another database name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _admin(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(with_database(url, "postgres"), autocommit=True) as connection:
        connection.execute(statement)


def create_database(url: str, template: str | None = None) -> str:
    """Create a database and return its URL."""
    name = f"geosearch_test_{uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        # Page by page through the log, as is the default, takes half as long again.
        copied = sql.SQL(" TEMPLATE {} STRATEGY file_copy")
        statement += copied.format(sql.Identifier(template))
    _admin(url, statement)
    return with_database(url, name)


def drop_database(url: str) -> None:
    """Drop a database made by `create_database`."""
    name = urlsplit(url).path.removeprefix("/")
    _admin(url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[str]:
    """Name of a migrated database that others are copied from."""
    url = create_database(server_url)
    migrations.upgrade(url)
    yield urlsplit(url).path.removeprefix("/")
    drop_database(url)


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """URL of a database without any schema."""
    url = create_database(server_url)
    yield url
    drop_database(url)


@pytest.fixture
def database(server_url: str, template_database: str) -> Iterator[Database]:
    """A fresh migrated database."""
    url = create_database(server_url, template_database)
    with Database(url) as opened:
        yield opened
    drop_database(url)


@pytest.fixture(scope="module")
def module_database(server_url: str, template_database: str) -> Iterator[Database]:
    """A migrated database shared by the tests of one module."""
    url = create_database(server_url, template_database)
    with Database(url) as opened:
        yield opened
    drop_database(url)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that connections execute from now on, of all threads."""
    executed: list[str] = []
    execute = psycopg.Cursor.execute

    def recorded(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        executed.append(query if isinstance(query, str) else str(query))
        return execute(cursor, query, *arguments, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", recorded)
    return executed
