"""`db check` and `db upgrade --repair`: what is lost or altered is found, and mended but rows."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from geosearch.database import migrations
from geosearch.database.connection import Database
from geosearch.database.schema_check import Checked, check_schema_objects, repair_schema
from geosearch.errors import DatabaseError
from geosearch.retrieval.indexing import index_model
from tests.command_line import CommandLine
from tests.conftest import create_database, drop_database
from tests.rows import add_embeddings, add_model, add_photos, looks, places
from tests.test_schema import columns_of, fill, rows_of


@pytest.fixture(scope="module")
def whole(server_url: str, template_database: str) -> Iterator[Database]:
    """A database with a private collection, a model, and rows in every table."""
    url = create_database(server_url, template_database)
    fill(url, "0001")
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM geosearch.indexes")
        connection.execute("DELETE FROM geosearch.places WHERE id % 1000 > 0")
    with Database(url) as database:
        yield database
    drop_database(url)


def found(checked: Checked) -> list[tuple[str, str, str]]:
    return [
        (fault.kind, fault.name.removeprefix("geosearch."), fault.state) for fault in checked.faults
    ]


def run(database: Database, statements: str) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(statements.encode())


def rows(database: Database) -> dict[str, list[str]]:
    return rows_of(database.url, columns_of(database.url))


def test_what_a_revision_installs_is_whole_whatever_shelves_there_are(whole: Database) -> None:
    assert check_schema_objects(whole.url) == Checked("0001", ())


def test_a_check_changes_nothing(whole: Database) -> None:
    before = rows(whole)
    check_schema_objects(whole.url)
    assert rows(whole) == before
    with psycopg.connect(whole.url) as connection:
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^geo'")
        assert schemas.fetchall() == [("geosearch",)]


LOST = {
    "DROP FUNCTION geosearch.copies_of(bigint)": ("function", "copies_of(bigint)", "missing"),
    "ALTER FUNCTION geosearch.use_index(integer) RESET ALL; CREATE OR REPLACE FUNCTION "
    "geosearch.sql_version() RETURNS integer LANGUAGE sql IMMUTABLE RETURN 77": (
        "function",
        "sql_version()",
        "differs",
    ),
    "DROP AGGREGATE geosearch.kde_mode(geometry, float8[])": (
        "function",
        "kde_mode(geometry, double precision[])",
        "missing",
    ),
    # Of other columns than it has to have, so that it cannot be replaced.
    "DROP VIEW geosearch.gis_photos CASCADE; CREATE VIEW geosearch.gis_photos AS SELECT 1 AS one": (
        "view",
        "gis_photos",
        "differs",
    ),
    "DROP VIEW geosearch.photos CASCADE": ("view", "photos", "missing"),
    "DROP TRIGGER write ON geosearch.runs": ("trigger", "write on geosearch.runs", "missing"),
    "ALTER TABLE geosearch.all_collections DISABLE TRIGGER forget_collection_runs": (
        "trigger",
        "forget_collection_runs on geosearch.all_collections",
        "differs",
    ),
    "DROP INDEX geosearch.all_photos_author_idx": (
        "index",
        "on geosearch.all_photos USING btree (author)",
        "missing",
    ),
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
    "'geosearch.models_name_idx'::regclass": (
        "index",
        "on geosearch.models USING btree (name)",
        "invalid",
    ),
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'geosearch.models_pkey'::regclass": (
        "index",
        "models_pkey",
        "invalid",
    ),
    "ALTER TABLE geosearch.models DROP CONSTRAINT models_dimension_check": (
        "constraint",
        "models_dimension_check of geosearch.models",
        "missing",
    ),
    "ALTER TABLE geosearch.all_photos ALTER shelf DROP DEFAULT": (
        "default",
        "all_photos.shelf",
        "missing",
    ),
    "ALTER TABLE geosearch.photos_c2 ALTER author SET STATISTICS -1": (
        "statistics",
        "photos_c2.author",
        "missing",
    ),
    "COMMENT ON COLUMN geosearch.models.name IS NULL": (
        "comment",
        "COLUMN geosearch.models.name",
        "missing",
    ),
    "REVOKE SELECT ON geosearch.gis_photos FROM geosearch_reader": (
        "right",
        "SELECT ON geosearch.gis_photos TO geosearch_reader",
        "missing",
    ),
    "GRANT TRIGGER ON geosearch.models TO geosearch_owner": (
        "right",
        "TRIGGER ON geosearch.models TO geosearch_owner",
        "is not geosearch's",
    ),
    "GRANT SELECT ON geosearch.photos_c2 TO PUBLIC": (
        "right",
        "SELECT ON geosearch.photos_c2 TO PUBLIC",
        "is not geosearch's",
    ),
    "DELETE FROM geosearch.alembic_version": ("row", "of geosearch.alembic_version", "missing"),
}


def test_what_was_lost_or_altered_is_found_and_mended_without_rows(whole: Database) -> None:
    before = rows(whole)
    for statement in LOST:
        run(whole, statement)
    faults = found(check_schema_objects(whole.url))
    assert set(LOST.values()) <= set(faults)
    repaired = repair_schema(whole.url)
    assert repaired.faults == ()
    assert len(repaired.mended) == len(faults)
    assert check_schema_objects(whole.url).faults == ()
    assert rows(whole) == before


def test_rows_that_are_gone_and_what_is_not_geosearchs_are_named_and_left(
    server_url: str, template_database: str
) -> None:
    url = create_database(server_url, template_database)
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            DROP TABLE geosearch.places CASCADE;
            ALTER TABLE geosearch.models DROP COLUMN licence CASCADE;
            ALTER TABLE geosearch.models ADD COLUMN mine int;
            CREATE TABLE geosearch.notes (id int);
            CREATE TRIGGER spy BEFORE UPDATE ON geosearch.models FOR EACH ROW
                EXECUTE FUNCTION suppress_redundant_updates_trigger();
            """
        )
    repaired = repair_schema(url)
    left = found(repaired)
    assert ("table", "places", "missing") in left
    assert ("column", "models.licence", "missing") in left
    assert ("column", "models.mine", "is not geosearch's") in left
    assert ("trigger", "spy on geosearch.models", "is not geosearch's") in left
    assert repaired.foreign == ("table geosearch.notes",)
    drop_database(url)


def test_a_view_that_others_built_on_is_not_dropped_for_another(database: Database) -> None:
    run(
        database,
        "DROP VIEW geosearch.gis_photos CASCADE;"
        "CREATE VIEW geosearch.gis_photos AS SELECT 1 AS one;"
        "CREATE VIEW public.mine AS SELECT * FROM geosearch.gis_photos",
    )
    assert ("view", "gis_photos", "differs") in found(repair_schema(database.url))
    run(database, "DROP VIEW public.mine")
    assert repair_schema(database.url).faults == ()


def test_who_does_not_own_the_schema_is_told_so(whole: Database) -> None:
    name = f"nobody_{uuid4().hex[:8]}"
    run(whole, f"CREATE ROLE {name} LOGIN")
    try:
        with pytest.raises(DatabaseError, match="permission denied") as error:
            check_schema_objects(make_conninfo(whole.url, user=name))
        assert "must own the schema" in str(error.value.remedy)
    finally:
        run(whole, f"DROP ROLE {name}")


def test_a_database_without_a_schema_has_nothing_to_check(empty_url: str) -> None:
    with pytest.raises(DatabaseError, match="no geosearch schema"):
        check_schema_objects(empty_url)
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT to_regtype('geometry')").fetchone() == (None,)


def test_from_the_command_line_a_lost_index_is_built_again(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    lat, lon = places(rng, 60)
    with database.connection() as connection:
        model = add_model(connection, 4)
        add_embeddings(connection, model, add_photos(connection, lat, lon), looks(rng, lat, lon, 4))
    index_model(database, model, 4, 0.9, 5, force=True)
    command = CommandLine(database.url, capsys)
    assert command("db", "check").code == 0
    run(database, f"DROP INDEX geosearch.embeddings_m{model}_hnsw")
    run(database, "DROP FUNCTION geosearch.copies_of(bigint)")
    checked = command("db", "check")
    assert checked.code == 1
    assert f"index geosearch.embeddings_m{model}_hnsw is missing" in checked.out
    assert "geosearch db upgrade --repair" in checked.out
    # An upgrade that has nothing to do says what is off, too.
    assert command("db", "upgrade").code == 1
    repaired = command("db", "upgrade", "--repair", "--json")
    assert repaired.code == 0
    assert [fault["kind"] for fault in repaired.json()["mended"]] == ["function", "index"]
    assert command("db", "check", "--json").json()["faults"] == []


def test_a_schema_without_its_stamp_is_upgraded_by_a_repair(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run(database, "DELETE FROM geosearch.alembic_version")
    with pytest.raises(DatabaseError, match="already exists") as error:
        migrations.upgrade(database.url)
    assert "--repair" in str(error.value.remedy)
    assert CommandLine(database.url, capsys)("db", "upgrade", "--repair").code == 0
