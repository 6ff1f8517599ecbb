"""A database as providers lend it: a login that owns it and is nothing else on the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from geosearch.database import migrations
from geosearch.database.connection import Database
from geosearch.database.server import PrivateServer
from geosearch.errors import DatabaseError
from geosearch.features import embed
from geosearch.ingest import ingest
from geosearch.retrieval import nearest
from geosearch.retrieval.indexing import index_model
from tests.conftest import server_folder
from tests.test_embed import backbone, stored, write_photos


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own: what is set for its roles concerns nobody else."""
    with server_folder() as folder:
        server = PrivateServer(folder, durable=False)
        server.start()
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute("CREATE ROLE tenant LOGIN CONNECTION LIMIT 3")
            admin.execute("CREATE DATABASE lent OWNER tenant")
            for setting in (
                "statement_timeout = '2s'",
                "idle_session_timeout = '1s'",
                "search_path = nowhere",
                "datestyle = 'German'",
                "client_encoding = 'LATIN1'",
                "timezone = 'Asia/Kathmandu'",
            ):
                admin.execute(f"ALTER ROLE tenant SET {setting}".encode())
        try:
            yield server.url
        finally:
            server.stop()


def test_all_works_for_a_login_that_owns_its_database_alone(server: str, tmp_path: Path) -> None:
    url = make_conninfo(server, user="tenant", dbname="lent")
    with pytest.raises(DatabaseError, match="extension postgis") as error:
        migrations.upgrade(url)
    for name in ("postgis", "vector"):
        assert f"CREATE EXTENSION IF NOT EXISTS {name};" in str(error.value.remedy)
    with psycopg.connect(make_conninfo(server, dbname="lent"), autocommit=True) as admin:
        admin.execute("CREATE SCHEMA extensions")
        admin.execute("GRANT USAGE ON SCHEMA extensions TO tenant")
        for name in ("postgis", "vector"):
            admin.execute(f"CREATE EXTENSION {name} SCHEMA extensions".encode())
    migrations.upgrade(url)
    with Database(url) as database:
        paths = write_photos(tmp_path, 30)
        paths[0].rename(tmp_path / "Ω.jpg")
        assert ingest(database, [tmp_path], collection="Ω").added == 30
        done = embed(database, backbone())
        assert done.embedded == 30
        assert "Ω.jpg" in stored(database)
        assert index_model(database, done.model_id, 12, 0.9, 5, force=True).needed
        found = nearest(database, done.model_id, np.ones(12, np.float32), 5)
        assert len(found) == 5
        with database.connection() as connection:
            connection.execute("SELECT pg_sleep(2.5)")
            row = connection.execute(
                "SELECT count(*) FROM geosearch.nearest_to_photo(%s, 'test/mean-colours', 5)",
                (int(found.photo_id[0]),),
            ).fetchone()
            assert row == (5,)
            counted = connection.execute("SELECT sum(photos) FROM geosearch.coverage").fetchone()
            assert counted == (60,)
