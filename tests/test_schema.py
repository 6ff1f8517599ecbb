"""The schema: migrations are reversible, drift-free, documented, and guard the data."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory

from geosearch.database import connection as connection_module
from geosearch.database import migrations
from geosearch.database.connection import Database, redact
from geosearch.database.session import check_schema
from geosearch.errors import DatabaseError, InputError
from tests.rows import add_model, add_photos


def test_autogenerate_sees_no_drift(database: Database) -> None:
    with database.connection() as connection:
        add_model(connection, 4)
    assert migrations.drift(database.url) == []


def test_every_revision_downgrades_and_upgrades_again(empty_url: str) -> None:
    script = ScriptDirectory.from_config(migrations._config())
    revisions = [item.revision for item in script.walk_revisions()]
    migrations.upgrade(empty_url)
    for revision in revisions:
        migrations.downgrade(empty_url, "-1")
        with psycopg.connect(empty_url) as connection:
            assert migrations.current_revision(connection) != revision
    with psycopg.connect(empty_url) as connection:
        left = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'geosearch' "
            "AND tablename <> 'alembic_version'"
        ).fetchone()
    assert left == (0,)
    migrations.upgrade(empty_url)
    assert migrations.drift(empty_url) == []


def test_every_table_and_column_has_a_comment(database: Database) -> None:
    with database.connection() as connection:
        add_model(connection, 4)
        missing = connection.execute(
            """
            SELECT c.relname, a.attname
            FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
            WHERE c.relnamespace = 'geosearch'::regnamespace
              AND c.relkind IN ('r', 'p') AND NOT c.relispartition
              AND c.relname <> 'alembic_version'
              AND col_description(c.oid, a.attnum) IS NULL
            UNION ALL
            SELECT c.relname, NULL
            FROM pg_class c
            WHERE c.relnamespace = 'geosearch'::regnamespace
              AND c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'
              AND obj_description(c.oid, 'pg_class') IS NULL
            """
        ).fetchall()
        tables = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'geosearch'"
        ).fetchone()
    assert missing == []
    assert tables is not None
    assert tables[0] > 10


@pytest.mark.parametrize(("latitude", "longitude"), [(90.5, 0), (-91, 0), (0, 181), (0, -180.1)])
def test_a_position_off_the_earth_is_refused(
    module_database: Database, latitude: float, longitude: float
) -> None:
    with (
        module_database.connection() as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="geom_on_earth"),
        connection.transaction(),
    ):
        add_photos(connection, [latitude], [longitude])


def test_an_error_that_leaves_the_connection_is_a_database_error(module_database: Database) -> None:
    with (
        pytest.raises(DatabaseError, match=r'refused: relation "nothing" does not exist') as raised,
        module_database.connection() as connection,
    ):
        connection.execute("SELECT * FROM nothing")
    assert isinstance(raised.value.__cause__, psycopg.errors.UndefinedTable)


def test_a_lost_server_is_a_database_error(database: Database) -> None:
    with (
        pytest.raises(DatabaseError, match="lost the database"),
        database.connection() as connection,
    ):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_an_idle_connection_that_was_lost_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_TRUSTED_S", 0.0)
    with database.searcher() as searcher:
        lost = searcher.info.backend_pid
    with database.connection() as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (lost,))
    with database.searcher() as searcher:
        assert searcher.execute("SELECT 1").fetchone() == (1,)
        assert searcher.info.backend_pid != lost


def test_a_migration_the_server_refuses_is_a_database_error(empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE SCHEMA geosearch CREATE TABLE collections (id int)")
    with pytest.raises(DatabaseError, match="already exists"):
        migrations.upgrade(empty_url)


def test_a_database_of_an_unknown_revision_is_a_database_error(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    with psycopg.connect(empty_url) as connection:
        connection.execute("UPDATE geosearch.alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="newer geosearch"):
        migrations.upgrade(empty_url)


def test_a_database_without_schema_says_how_to_upgrade(empty_url: str) -> None:
    with (
        Database(empty_url) as database,
        pytest.raises(DatabaseError, match="geosearch db upgrade"),
    ):
        check_schema(database)


def test_an_unreachable_server_is_a_clear_error(tmp_path: Path) -> None:
    url = f"postgresql://nobody@/nothing?host={tmp_path}"
    with Database(url) as database, pytest.raises(DatabaseError, match="cannot connect"):
        check_schema(database)


def test_messages_never_show_the_password() -> None:
    assert redact("postgresql://me:secret@host/db") == "user=me dbname=db host=host"
    assert Database("postgresql://me:secret@host/db").label == "user=me dbname=db host=host"


@pytest.mark.parametrize(
    "url",
    [
        "host=h user=me password=secret",
        "postgresql://me@h/db?password=secret",
        "postgresql://me@h/db?sslpassword=secret",
        "postgresql://me:x@secret@h/db",
        "postgresql://me:secret/x@h/db",
        "postgresql://me:sec%zzsecret@h/db",
        "secret",
    ],
)
def test_no_form_of_url_shows_its_password(url: str) -> None:
    assert "secret" not in redact(url)


def test_a_malformed_url_is_an_input_error_that_does_not_quote_it() -> None:
    for use in (Database, migrations.upgrade):
        with pytest.raises(InputError, match="malformed") as raised:
            use("postgresql://me:sec%zzsecret@h/db")
        assert "secret" not in str(raised.value)
