"""The functions of schema geosearch: whose rights they use, what they can be tricked into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from geosearch.database import migrations
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from tests.rows import add_photos
from tests.test_sql_nearest import call

ROOT = Path(__file__).parent.parent
#: The functions that lend a right of the owner, to do one fixed thing; and those that read a
#: recorded table for the caller.
LENDING = {
    "add_collection(text,text)",
    "answers_of_shards(text[],boolean)",
    "call_home(bigint[],bigint)",
    "create_embedding_table(bigint)",
    "create_token(text,bytea,timestamp with time zone)",
    "delete_collection(bigint)",
    "delete_model(bigint)",
    "forget_tuning(bigint,bigint)",
    "list_tokens()",
    "nearest_on_shards("
    "halfvec,bigint,integer,text,double precision[],boolean,bigint[],boolean,boolean)",
    "place_reviewed(bytea,bigint,bigint)",
    "put_to_shards(jsonb,boolean,halfvec)",
    "refresh_coverage(text)",
    "revoke_token(bigint)",
    "role_of_token(bytea)",
    "set_private(bigint,boolean)",
    "set_shared(bigint,text,boolean)",
    "shard_trouble(bigint)",
    "settle_time(bigint,timestamp with time zone,text)",
    "visible_collection_rows()",
}
VISIBLE = re.compile(r"visible_[a-z_]+\(\)")
NEEDED = (
    "photos",
    "photos_here",
    "photos_open",
    "shards",
    "embeddings",
    "embeddings_m1",
    "models",
    "collections",
    "tunings",
    "recall_points",
    "leaves",
    "calibrations",
)


@pytest.fixture(scope="module")
def sample(module_database: Database) -> Database:
    """The sample data of docs/sql.md."""
    with module_database.connection() as connection:
        connection.execute((ROOT / "sql" / "sample.sql").read_bytes())
    return module_database


@pytest.fixture
def role(sample: Database) -> Iterator[sql.Identifier]:
    """A role that may do nothing yet."""
    name = sql.Identifier(f"geosearch_test_{uuid4().hex[:12]}")
    with sample.connection() as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    yield name
    with sample.connection() as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


def grant(database: Database, role: sql.Identifier, *tables: str) -> None:
    with database.connection() as connection:
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA geosearch TO {}").format(role))
        connection.execute(
            sql.SQL("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA geosearch TO {}").format(role)
        )
        for table in tables:
            connection.execute(
                sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier("geosearch", table), role)
            )


def photo_id(database: Database, uri: str) -> int:
    with database.connection() as connection:
        row = connection.execute(
            "SELECT id FROM geosearch.photos WHERE uri = %s", (uri,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_role_needs_to_read_the_tables_of_the_open_shelf_alone(
    sample: Database, role: sql.Identifier
) -> None:
    photo = photo_id(sample, "sample:zurich/3")
    grant(sample, role, *NEEDED)
    with sample.connection() as connection, connection.transaction(force_rollback=True):
        expected = call(connection, "localize_photo", photo=photo, model="sample/towns")
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
        assert call(connection, "localize_photo", photo=photo, model="sample/towns") == expected
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("SELECT * FROM geosearch.all_embeddings")


@pytest.mark.parametrize("missing", ["photos", "embeddings", "embeddings_m1", "models"])
def test_functions_lend_nobody_a_right(
    sample: Database, role: sql.Identifier, missing: str
) -> None:
    photo = photo_id(sample, "sample:zurich/3")
    grant(sample, role, *(table for table in NEEDED if table != missing))
    with sample.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match=missing),
            connection.transaction(),
        ):
            call(connection, "nearest_to_photo", photo=photo, model="sample/towns")


def test_what_is_on_a_private_shelf_is_searched_by_those_alone_who_may_read_it(
    sample: Database, role: sql.Identifier
) -> None:
    photo = photo_id(sample, "sample:zurich/3")
    grant(sample, role, *NEEDED)
    with sample.connection() as connection, connection.transaction(force_rollback=True):
        secret = add_photos(connection, [1.0], [2.0], collection="secret")
        connection.execute(
            """
            INSERT INTO geosearch.all_embeddings
                (photo_id, model_id, collection_id, geom, embedding)
            SELECT p.id, e.model_id, p.collection_id, p.geom, e.embedding
            FROM geosearch.all_photos AS p, geosearch.all_embeddings AS e
            WHERE p.id = %s AND e.photo_id = %s
            """,
            (secret[0].photo_id, photo),
        )
        set_private(connection, "secret", private=True)
        asked = {"photo": photo, "model": "sample/towns", "k": 300}
        before = call(connection, "nearest_to_photo", **asked)
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
        after = call(connection, "nearest_to_photo", **asked)
    hidden = secret[0].photo_id
    assert before[0]["photo_id"] == hidden
    assert [row["photo_id"] for row in after] == [row["photo_id"] for row in before[1:]]
    assert before[0]["matches"] - after[0]["matches"] == 1


def test_every_function_runs_with_the_callers_rights_on_a_fixed_path(database: Database) -> None:
    with database.connection() as connection:
        rows = connection.execute(
            b"""
            SELECT
                p.oid::regprocedure::text, p.prosecdef, l.lanname, p.prosqlbody IS NOT NULL,
                array_to_string(p.proconfig, ' ') LIKE '%search_path=%pg_temp%',
                obj_description(p.oid, 'pg_proc')
            FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
            WHERE p.pronamespace = 'geosearch'::regnamespace AND p.prokind = 'f'
                AND p.prorettype <> 'trigger'::regtype
            """
        ).fetchall()
    assert len(rows) > 20
    for name, definer, language, bound, fixed, comment in rows:
        bare = name.removeprefix("geosearch.")
        reads = bool(VISIBLE.fullmatch(bare)) and bare != "visible_collections()"
        assert definer == (bare in LENDING or reads), name
        assert fixed or (language == "sql" and bound), name
        assert comment, name


def test_objects_of_the_same_name_elsewhere_are_not_mistaken_for_ours(sample: Database) -> None:
    photo = photo_id(sample, "sample:zurich/3")
    with sample.connection() as connection, connection.transaction(force_rollback=True):
        expected = call(connection, "localize_photo", photo=photo, model="sample/towns")
        connection.execute(
            """
            CREATE SCHEMA trap;
            CREATE TABLE trap.models AS SELECT * FROM geosearch.models WHERE false;
            CREATE TEMPORARY TABLE photos AS SELECT * FROM geosearch.photos WHERE false;
            CREATE FUNCTION trap.sqrt(float8) RETURNS float8 LANGUAGE sql RETURN 0;
            CREATE FUNCTION trap.unnest(float8[]) RETURNS SETOF float8 LANGUAGE sql
                BEGIN ATOMIC SELECT 0; END;
            SET LOCAL search_path = trap, pg_catalog, public;
            """
        )
        assert call(connection, "localize_photo", photo=photo, model="sample/towns") == expected


def test_the_functions_have_a_version_and_go_when_downgraded(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT geosearch.sql_version()").fetchone() == (1,)
    migrations.downgrade(empty_url, "base")
    with psycopg.connect(empty_url) as connection:
        left = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'geosearch'::regnamespace"
        ).fetchall()
    assert left == []
