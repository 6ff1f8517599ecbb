"""A database of a benchmark's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg import sql

from geosearch.database import migrations
from geosearch.database.connection import Database
from geosearch.database.server import PrivateServer
from geosearch.settings import DatabaseSettings


@contextmanager
def scratch_database(kept: str | None = None) -> Iterator[Database]:
    """A database that is dropped, on `GEOSEARCH_DATABASE_URL`'s server or the private one.

    One that is to be `kept` under a name is not, and is found again as it was left.
    """
    url = DatabaseSettings().database_url
    if url is None:
        server = PrivateServer()
        server.start()
        url = server.url
    name = f"geosearch_benchmark_{kept or uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as admin:
        if not admin.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            own = psycopg.conninfo.make_conninfo(url, dbname=name)
            migrations.upgrade(own)
            with Database(own) as database:
                yield database
        finally:
            if kept is None:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
