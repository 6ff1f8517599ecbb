"""A database as providers lend it: a login that owns it and is nothing else on the server."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from geosearch.database import migrations
from geosearch.database.connection import Database
from geosearch.errors import DatabaseError
from geosearch.evaluation import evaluate
from geosearch.evaluation.calibrating import calibrate
from geosearch.features import embed
from geosearch.geocells import make_partition
from geosearch.geocells.classifier_fit import fit_classifiers
from geosearch.ingest import ingest
from geosearch.localization import Localization, localize
from geosearch.localization.answer_rows import load
from geosearch.retrieval import nearest
from geosearch.retrieval.indexing import index_model
from tests.command_line import CommandLine
from tests.conftest import running_server
from tests.test_embed import backbone, stored, write_photos

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own: what is set for its roles concerns nobody else."""
    with running_server() as server:
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
            for setting in (
                "intervalstyle = 'sql_standard'",
                "bytea_output = 'escape'",
                "extra_float_digits = -15",
                "standard_conforming_strings = off",
                "idle_in_transaction_session_timeout = '1s'",
                "statement_timeout = '1s'",
                "datestyle = 'SQL, DMY'",
                "timezone = 'Pacific/Chatham'",
                "search_path = ''",
                "default_transaction_isolation = 'serializable'",
            ):
                admin.execute(f"ALTER DATABASE lent SET {setting}".encode())
        yield server.url


def test_a_limit_of_the_role_is_lifted_and_one_of_the_url_holds(server: str) -> None:
    url = make_conninfo(server, user="tenant", dbname="postgres")
    with Database(url) as database, database.connection() as connection:
        connection.execute("SELECT pg_sleep(2.2)")
    limited = make_conninfo(url, options="-c statement_timeout=100ms")
    with (
        Database(limited) as database,
        pytest.raises(DatabaseError) as error,
        database.connection() as connection,
    ):
        connection.execute("SELECT pg_sleep(5)")
    assert "statement_timeout" in str(error.value.remedy)


def test_all_works_for_a_login_that_owns_its_database_alone(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = make_conninfo(server, user="tenant", dbname="lent")
    with pytest.raises(DatabaseError, match="extension postgis") as error:
        migrations.upgrade(url)
    for name in ("postgis", "vector"):
        assert f"CREATE EXTENSION IF NOT EXISTS {name};" in str(error.value.remedy)
    unlimited = make_conninfo(server, dbname="lent", options="-c statement_timeout=0")
    with psycopg.connect(unlimited, autocommit=True) as admin:
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
        time.sleep(1.2)  # longer than a session may be idle
        answers = list(localize(database, paths[1:25], model=backbone()))
        keys = [answer.id for answer in answers if isinstance(answer, Localization)]
        assert len(keys) == 24
        assert load(database, keys[0] or 0).photo == str(paths[1])
        made = make_partition(database, "cells", max_photos=10)
        fitted = fit_classifiers(database, ["cells"], model="test/mean-colours", epochs=1)
        assert len(fitted[0].classifier.partition) == len(made) > 1
        evaluated = evaluate(database, None, model="test/mean-colours")
        assert evaluated.accuracy.n == 30
        calibrated = calibrate(database, None, model="test/mean-colours", k=10)
        assert calibrated.n_fit > 10

    command = CommandLine(url, capsys)
    for arguments in (
        ("export", "photos", "-o", tmp_path / "all.gpkg"),
        ("export", "estimates", "-o", tmp_path / "estimates.csv"),
        ("export", "qgis", "-o", tmp_path / "all.qgz", "--save", "all"),
        ("layers", "refresh"),
        ("layers", "density", "--last", "3"),
        ("index", "--model", "test/mean-colours", "--rebuild", "--force"),
        ("collections", "private", "Ω"),
        ("collections", "list"),
        ("collections", "public", "Ω"),
        ("calibrations", "list"),
        ("partitions", "list"),
        ("partitions", "delete", "cells", "--yes"),
        ("report", str(evaluated.id), "-o", tmp_path / "report.csv"),
        ("db", "status"),
    ):
        ran = command(*arguments)
        assert ran.code == 0, (arguments, ran.err)
    with (tmp_path / "estimates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 24
    # ISO, in UTC, whatever is set for the role.
    assert all(
        re.match(r"20\d\d-\d\d-\d\d[T ].*(\+00:?(00)?|Z)$", row["created_at"]) for row in rows
    )
