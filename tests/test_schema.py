"""The schema: migrations are reversible, documented, and guard the data."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory
from geoalchemy2 import Geometry
from psycopg import sql
from sqlalchemy import func, select

from geosearch.database import migrations, pool, schema
from geosearch.database.connection import Database, redact
from geosearch.database.session import check_schema
from geosearch.database.tables import read_tables
from geosearch.errors import DatabaseError, InputError
from tests.releases import (
    FOLDER,
    ROOT,
    manifest,
    manifests,
    newest_revision,
    released_versions,
)
from tests.rows import add_model, add_photos

#: Those of all releases, and the one to be released next.
REVISIONS = sorted({*map(newest_revision, manifests().values()), schema.head_revision()})


def test_sqlalchemy_reads_the_tables_with_their_types_keys_and_comments(database: Database) -> None:
    with database.connection() as connection:
        model = add_model(connection, 4)
        (photo,) = add_photos(connection, [46.5], [8.25])
        connection.execute(
            "INSERT INTO geosearch.embeddings (photo_id, model_id, collection_id, geom, embedding) "
            "SELECT id, %s, collection_id, geom, '[1,0,0,0]' FROM geosearch.photos WHERE id = %s",
            (model, photo.photo_id),
        )
    engine = migrations.sqlalchemy_engine(database.url)
    tables = read_tables(engine).tables
    photos, embeddings = tables["geosearch.photos"], tables["geosearch.embeddings"]
    assert isinstance(photos.c.geom.type, Geometry)
    assert (photos.c.geom.type.geometry_type, photos.c.geom.type.srid) == ("POINT", 4326)
    assert photos.comment
    assert photos.c.taken_at.comment
    assert "geosearch.gis_photos" in tables
    stored = tables["geosearch.all_photos"]
    assert {key.target_fullname for key in stored.foreign_keys} >= {"geosearch.all_collections.id"}
    with engine.connect() as connection:
        row = connection.execute(
            select(func.ST_Y(photos.c.geom), embeddings.c.embedding)
            .join_from(photos, embeddings, photos.c.id == embeddings.c.photo_id)
            .order_by(embeddings.c.embedding.cosine_distance([0, 1, 0, 0]))
        ).one()
    assert (row[0], list(row[1])) == (46.5, [1, 0, 0, 0])


def test_the_revision_that_is_needed_is_that_of_alembic() -> None:
    script = ScriptDirectory.from_config(migrations._config())
    assert schema.head_revision() == script.get_current_head()


def test_every_revision_downgrades_and_upgrades_again(empty_url: str) -> None:
    script = ScriptDirectory.from_config(migrations._config())
    revisions = [item.revision for item in script.walk_revisions()]
    migrations.upgrade(empty_url)
    columns = columns_of(empty_url)
    fill(empty_url, schema.head_revision())
    for revision in revisions:
        migrations.downgrade(empty_url, "-1")
        with psycopg.connect(empty_url) as connection:
            assert schema.current_revision(connection) != revision
    with psycopg.connect(empty_url) as connection:
        left = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'geosearch' "
            "AND tablename <> 'alembic_version'"
        ).fetchone()
    assert left == (0,)
    migrations.upgrade(empty_url)
    assert columns_of(empty_url) == columns


def fill(url: str, revision: str) -> None:
    """Rows into every table of a database at `revision`."""
    with psycopg.connect(url) as connection:
        connection.execute((FOLDER / f"{revision}.sql").read_bytes())


def columns_of(url: str) -> dict[str, list[str]]:
    """Table → its columns."""
    with psycopg.connect(url) as connection:
        return dict(
            connection.execute(
                """
                SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
                FROM pg_class AS c
                JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
                    AND NOT a.attisdropped
                WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind IN ('r', 'p')
                    AND NOT c.relispartition AND c.relname <> 'alembic_version'
                GROUP BY c.relname
                """
            ).fetchall()
        )


def rows_of(url: str, columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Table → its rows, of these columns alone."""
    found = {}
    with psycopg.connect(url) as connection:
        for table, names in columns.items():
            query = sql.SQL("SELECT row({})::text FROM geosearch.{} ORDER BY 1").format(
                sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(table)
            )
            found[table] = [row for (row,) in connection.execute(query)]
    return found


def check_upgrade_with_rows(url: str, revision: str) -> None:
    """Rows in every table at `revision` are the same at head, and again at `revision`."""
    migrations.upgrade(url, revision)
    fill(url, revision)
    columns = columns_of(url)
    before = rows_of(url, columns)
    assert [table for table, rows in before.items() if not rows] == []
    migrations.upgrade(url)
    assert rows_of(url, columns) == before
    migrations.downgrade(url, revision)
    assert columns_of(url) == columns
    assert rows_of(url, columns) == before


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_released_revision_upgrades_with_its_rows(empty_url: str, revision: str) -> None:
    check_upgrade_with_rows(empty_url, revision)


NEXT_REVISION = """
from alembic import op
from geosearch.database.migrations import run_files

revision, down_revision = "9999", "HEAD"


def upgrade() -> None:
    run_files(revision, "headings functions/version")


def downgrade() -> None:
    op.execute("DROP FUNCTION geosearch.sql_version()")
    op.execute("ALTER TABLE geosearch.all_photos DROP COLUMN heading")
    run_files("0001", "functions/version")
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the migrations and their files, to be changed."""
    for name in ("alembic", "sql"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def add_revision(root: Path) -> None:
    """A next revision, with a column more and another version of a function."""
    folder = root / "sql/9999"
    (folder / "functions").mkdir(parents=True)
    (folder / "headings.sql").write_text(
        "ALTER TABLE geosearch.all_photos ADD COLUMN heading real NOT NULL DEFAULT 100 % 7"
    )
    version = (root / "sql/0001/functions/version.sql").read_text()
    (folder / "functions/version.sql").write_text(
        version.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(
            "RETURN 1", "RETURN 9"
        )
    )
    text = NEXT_REVISION.replace("HEAD", schema.head_revision())
    (root / "alembic/versions/9999_headings.py").write_text(text)


def test_a_next_revision_upgrades_a_database_with_rows(
    empty_url: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_revision(copied)
    monkeypatch.setattr(migrations, "resource", copied.joinpath)
    check_upgrade_with_rows(empty_url, schema.head_revision())
    migrations.upgrade(empty_url)
    with psycopg.connect(empty_url) as connection:
        found = connection.execute(
            "SELECT DISTINCT heading, geosearch.sql_version() FROM geosearch.all_photos"
        ).fetchall()
    assert found == [(2, 9)]


def test_every_released_version_has_a_manifest() -> None:
    dated = released_versions((ROOT / "CHANGELOG.md").read_text())
    assert set(manifests()) == dated, "run: python -m tests.releases VERSION"


@pytest.mark.parametrize("version", manifests())
def test_what_a_release_installed_has_not_changed(version: str) -> None:
    written = manifests()[version]
    assert manifest(ROOT, newest_revision(written)) == written


@pytest.mark.parametrize(
    "heading", ["## 0.2.0 (unreleased)", "## Unreleased", "### 0.1.9 (2026-01-01)"]
)
def test_a_version_is_released_when_it_has_a_date(heading: str) -> None:
    changelog = f"# Changelog\n\n{heading}\n\n- More.\n\n## 0.1.0 (2026-01-31)\n\n- First.\n"
    assert released_versions(changelog) == {"0.1.0"}


def edit(root: Path) -> None:
    (root / "sql/0001/functions/nearest.sql").open("a").write("\n")


def add(root: Path) -> None:
    (root / "sql/0001/functions/more.sql").touch()


def remove(root: Path) -> None:
    (root / "sql/0001/roles/rights.sql").unlink()


def rewrite(root: Path) -> None:
    (root / "alembic/versions/0001_first_schema.py").write_text("")


@pytest.mark.parametrize("change", [edit, add, remove, rewrite])
def test_no_file_of_a_release_changes_unseen(copied: Path, change: Callable[[Path], None]) -> None:
    released = manifest(copied)
    assert newest_revision(released) == schema.head_revision()
    add_revision(copied)
    assert manifest(copied, newest_revision(released)) == released
    change(copied)
    assert manifest(copied, newest_revision(released)) != released


def test_every_sql_file_of_a_revision_is_run_by_it() -> None:
    for migration in ROOT.glob("alembic/versions/*.py"):
        folder = ROOT / "sql" / migration.name[:4]
        files = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.sql")}
        assert files <= set(re.findall(r"[\w/]+", migration.read_text()))


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
    monkeypatch.setattr(pool, "TRUSTED_S", 0.0)
    with database.searcher() as searcher:
        lost = searcher.info.backend_pid
    with database.connection() as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (lost,))
    with database.searcher() as searcher:
        assert searcher.execute("SELECT 1").fetchone() == (1,)
        assert searcher.info.backend_pid != lost


def test_a_migration_the_server_refuses_is_a_database_error(empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE SCHEMA geosearch CREATE TABLE all_collections (id int)")
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
