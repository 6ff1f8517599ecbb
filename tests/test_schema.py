"""The schema: migrations are reversible, drift-free, documented, and guard the data."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory

from geosearch.database import migrations
from geosearch.database.connection import Database, redact
from geosearch.database.session import check_schema
from geosearch.errors import DatabaseError
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
        pytest.raises(psycopg.errors.CheckViolation, match="geom_on_earth"),
        module_database.connection() as connection,
    ):
        add_photos(connection, [latitude], [longitude])


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
    assert redact("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert Database("postgresql://me:secret@host/db").label == "postgresql://me:***@host/db"
