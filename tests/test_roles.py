"""Roles and private collections: what each role may do, and attempts to do more."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from geosearch.database import migrations
from geosearch.database.collection_rows import (
    ensure_collection,
    find_collection,
    set_private,
    share,
)
from geosearch.database.connection import Database
from geosearch.database.copying import copy_into
from geosearch.database.embedding_tables import embedding_table as partition_of
from geosearch.database.embedding_tables import writable_tables
from geosearch.database.role_grants import ROLES, grant_role, list_roles
from geosearch.errors import DatabaseError, InputError, NotFoundError
from geosearch.geocells import find_partition, make_partition
from geosearch.gis.density_layer import refresh_density
from geosearch.gis.qgis_database import make_project
from geosearch.layers.layer import LAYERS
from geosearch.layers.selection import Selection
from geosearch.localization.answer_rows import load, save
from geosearch.retrieval import nearest, recall
from geosearch.retrieval.filters import where
from geosearch.retrieval.indexes import build_index
from geosearch.retrieval.recall import tune
from tests.answers import make_answer
from tests.command_line import CommandLine
from tests.conftest import create_database, drop_database
from tests.rows import add_embeddings, add_model, add_photos
from tests.test_sql_nearest import call

DIMENSION, OPEN, SECRET = 8, 1200, 900
DENIED = psycopg.errors.InsufficientPrivilege


@dataclass
class World:
    """A public and a private collection with photos alike, and a login of each role."""

    database: Database
    model: int
    logins: dict[str, str]
    secret_ids: frozenset[int]
    answer: int

    def url(self, login: str) -> str:
        return make_conninfo(self.database.url, user=self.logins[login])

    def connect(self, login: str, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(login), autocommit=True, **options)


def vectors(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)


def places(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).uniform((-60, -170), (60, 170), (count, 2)).T


@pytest.fixture(scope="module")
def world(module_database: Database) -> Iterator[World]:
    database = module_database
    suffix = uuid4().hex[:10]
    logins = {name: f"geosearch_test_{name}_{suffix}" for name in (*ROLES, "friend", "nobody")}
    with database.connection() as connection:
        for login in logins.values():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        for role in ROLES:
            grant_role(connection, role, logins[role])
        grant_role(connection, "analyst", logins["friend"])
        model = add_model(connection, DIMENSION)
        shown = add_photos(connection, *places(1, OPEN), collection="open")
        secret = add_photos(
            connection, *places(2, SECRET), collection="secret", authors=["spy"] * SECRET
        )
        add_embeddings(connection, model, [*shown, *secret], vectors(3, OPEN + SECRET))
        connection.execute("SELECT geosearch.refresh_coverage()")
        connection.execute(
            "INSERT INTO geosearch.rejects (collection_id, uri, stage, reason, message) "
            "SELECT id, '/secret/broken.jpg', 'read', 'unreadable', 'x' "
            "FROM geosearch.collections WHERE name = 'secret'"
        )
        answer = replace(make_answer(10, 20, photo="/photos/asked.jpg"), model_id=model)
        (answer_id,) = save(connection, [answer])
    refresh_density(database, Selection(ids=(answer_id,)))
    with database.connection() as connection:
        assert not set_private(connection, "secret", private=True).statistics_left
        share(connection, "secret", logins["friend"])
    build_index(database, model, DIMENSION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "CURVE_SAMPLE", 20)  # how sure the figures are is not the matter here
        tune(database, model, 0.95, 20)
    ids = frozenset(photo.photo_id for photo in secret)
    yield World(database, model, logins, ids, answer_id)
    with database.connection() as connection:
        for login in logins.values():
            name = sql.Identifier(login)
            connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))


def one(connection: psycopg.Connection[Any], query: LiteralString, *values: Any) -> Any:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row[0]


RELATIONS = """
SELECT c.oid::regclass::text, c.relname, c.relkind
FROM pg_class AS c
WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
ORDER BY c.relname
"""
#: Tables that hold nothing of photos, which readers may read as they are.
COMMON = {
    "alembic_version",
    "models",
    "tunings",
    "recall_points",
    "leaves",
    "borders",
    "places",
    "shelf_changes",
    "embedding_marks",
}
#: What lies on the open shelf: nothing of it is hidden from any role.
OPEN_SHELF = (
    r"(photos|photo_changes|write_backs|thumbnails|rejects|files|claims|embeddings|queries"
    r"|coverage)_open"
    r"|embeddings_m\d+"
)


def test_every_relation_has_its_rights(world: World) -> None:
    with world.database.connection() as connection:
        relations = connection.execute(RELATIONS).fetchall()
        seen = {str(relation)[4:] for _, relation, _ in relations if relation.startswith("all_")}
        seen |= {"photos_here", "queries_here", "embeddings_elsewhere"}
        for name, relation, kind in relations:
            reads_all, reads_some, analyst, ingester, owner, anybody = (
                connection.execute(
                    """
                SELECT has_table_privilege('geosearch_reader', %(name)s, 'SELECT'),
                    has_any_column_privilege('geosearch_reader', %(name)s, 'SELECT'),
                    has_any_column_privilege('geosearch_analyst', %(name)s, 'SELECT'),
                    has_any_column_privilege('geosearch_ingester', %(name)s, 'SELECT'),
                    has_table_privilege('geosearch_owner', %(name)s, 'SELECT'),
                    EXISTS (SELECT FROM pg_class, aclexplode(relacl) AS acl
                        WHERE oid = %(name)s::regclass AND acl.grantee = 0)
                """,
                    {"name": name},
                ).fetchone()
                or [None] * 6
            )
            assert owner, name
            assert not anybody, name
            if relation == "shards":  # their filters may name what is private
                assert (reads_all, reads_some) == (False, True)
            elif relation in COMMON or (kind == "v" and relation not in seen):
                assert reads_all, name
            elif kind == "v":
                assert (analyst, ingester) == (True, True), name
            elif re.fullmatch(OPEN_SHELF, relation):
                assert (reads_all, analyst, ingester) == (False, True, True), name
                assert not (
                    reads_some
                    and relation
                    in ("photo_changes_open", "write_backs_open", "files_open", "claims_open")
                )
            elif relation == "leases":  # of those who embed
                assert (reads_some, analyst, ingester) == (False, False, True), name
            else:
                # Rows that are hidden from some, and what nobody but the owner has to do with.
                assert (reads_some, analyst, ingester) == (False, False, False), name


def test_nobody_may_anything_without_a_role(world: World) -> None:
    with world.database.connection() as connection:
        functions = connection.execute(
            """
            SELECT p.oid::regprocedure::text FROM pg_proc AS p, aclexplode(p.proacl) AS acl
            WHERE p.pronamespace = 'geosearch'::regnamespace AND acl.grantee = 0
            """
        ).fetchall()
        bare = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'geosearch'::regnamespace "
            "AND proacl IS NULL"
        ).fetchall()
    assert functions == []
    assert bare == []
    with world.connect("nobody") as connection:
        for attempt in ("SELECT * FROM geosearch.gis_photos", "SELECT geosearch.sql_version()"):
            with pytest.raises(DENIED, match="schema geosearch"):
                connection.execute(attempt.encode())


def test_every_grant_is_to_read_and_write_rows_and_plants_no_code(world: World) -> None:
    """With TRIGGER a role's code would run in what another role, or a superuser, does next."""
    with world.database.connection() as connection:
        granted = connection.execute(
            """
            SELECT DISTINCT acl.privilege_type
            FROM pg_class AS c, aclexplode(c.relacl) AS acl
            WHERE c.relnamespace = 'geosearch'::regnamespace AND acl.grantee <> c.relowner
            UNION ALL
            SELECT 'schema ' || acl.privilege_type
            FROM pg_namespace AS n, aclexplode(n.nspacl) AS acl
            WHERE n.nspname = 'geosearch' AND acl.grantee <> n.nspowner
            UNION ALL
            SELECT 'in future' FROM pg_default_acl
            ORDER BY 1
            """
        ).fetchall()
    rows = {"SELECT", "INSERT", "UPDATE", "DELETE", "USAGE"}
    assert {privilege for (privilege,) in granted} == rows | {"schema USAGE"}


READER_ATTEMPTS = (
    "SELECT * FROM geosearch.{table}",
    "COPY geosearch.{table} TO STDOUT",
    "DELETE FROM geosearch.{table}",
    "TRUNCATE geosearch.{table}",
    "INSERT INTO geosearch.{table} DEFAULT VALUES",
    "ALTER TABLE geosearch.{table} DISABLE ROW LEVEL SECURITY",
    "CREATE POLICY all_mine ON geosearch.{table} USING (true)",
    "DROP TABLE geosearch.{table}",
)
TABLES = (
    "photos",
    "embeddings",
    "queries",
    "collections",
    "localizations",
    "localization_neighbours",
    "localization_models",
    "localization_regions",
    "localization_cells",
    "reviews",
    "duplicates",
    "audits",
    "evaluations",
    "rejects",
    "files",
    "claims",
    "photo_changes",
    "write_backs",
    "thumbnails",
    "runs",
    "coverage",
    "partitions",
    "geocells",
)


@pytest.mark.parametrize("table", TABLES)
def test_a_reader_reads_and_writes_no_table(world: World, table: str) -> None:
    with world.connect("reader") as connection:
        # Of these the views show every column; of the others, not all.
        shown = table in (
            "localization_neighbours",
            "localization_models",
            "localization_regions",
            "localization_cells",
            "geocells",
        )
        view = [READER_ATTEMPTS[0]] * (not shown) + [READER_ATTEMPTS[2], READER_ATTEMPTS[4]]
        for attempt in view:
            # Some views are made so that nobody writes to them.
            with pytest.raises((DENIED, psycopg.errors.ObjectNotInPrerequisiteState)):
                connection.execute(attempt.format(table=table).encode())
        for name in (f"all_{table}", f"embeddings_m{world.model}", "photos_open", "photos_c2"):
            for attempt in READER_ATTEMPTS:
                with pytest.raises(DENIED):
                    connection.execute(attempt.format(table=name).encode())


@pytest.mark.parametrize("login", ["reader", "analyst"])
@pytest.mark.parametrize(
    "attempt",
    [
        "SET ROLE geosearch_owner",
        "SET ROLE geosearch_ingester",
        "SET SESSION AUTHORIZATION pg_read_server_files",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        "GRANT geosearch_owner TO CURRENT_USER",
        "CREATE TABLE geosearch.mine (id integer)",
        "CREATE FUNCTION geosearch.has_role(name) RETURNS boolean LANGUAGE sql RETURN true",
        "CREATE OR REPLACE FUNCTION geosearch.has_role(role text) RETURNS boolean "
        "LANGUAGE sql RETURN true",
        "ALTER FUNCTION geosearch.has_role(text) OWNER TO CURRENT_USER",
        "CREATE TRIGGER tell AFTER INSERT ON geosearch.photos_open EXECUTE FUNCTION pg_notify()",
        "DROP VIEW geosearch.photos",
        "CREATE OR REPLACE VIEW geosearch.photos AS SELECT * FROM geosearch.all_photos",
        "ALTER TABLE geosearch.photos_c2 NO INHERIT geosearch.all_photos",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/geosearch_test_never_written'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT lo_import('/etc/hostname')",
        "SELECT geosearch.create_embedding_table(1)",
        "SELECT geosearch.grant_rights()",
        "SELECT geosearch.set_private(2, false)",
        "SELECT geosearch.set_shared(2, CURRENT_USER, true)",
        "SELECT geosearch.visible_to('postgres')",
        "SELECT geosearch.make_views()",
        "UPDATE geosearch.all_collections SET private = false",
        "GRANT SELECT ON geosearch.photos_c2 TO CURRENT_USER",
        "SELECT setval('geosearch.photos_id_seq', 1)",
        "SELECT last_value FROM geosearch.photos_id_seq",
        "SELECT * FROM pg_statistic",
    ],
)
def test_nobody_rises_above_a_role(world: World, login: str, attempt: str) -> None:
    with world.connect(login) as connection, pytest.raises((DENIED, psycopg.errors.SyntaxError)):
        connection.execute(attempt.encode())


COUNTS: dict[str, LiteralString] = {
    "view": "SELECT count(*) FROM geosearch.gis_photos",
    "table": "SELECT count(id) FROM geosearch.photos",
    "grouped": "SELECT coalesce(sum(n), 0) FROM (SELECT collection_id, count(*) AS n "
    "FROM geosearch.photos GROUP BY collection_id) AS g",
    "embeddings": "SELECT count(photo_id) FROM geosearch.embeddings",
    "coverage": "SELECT coalesce(sum(photos), 0) FROM geosearch.gis_coverage WHERE cell_km = "
    "(SELECT min(cell_km) FROM geosearch.gis_coverage)",
}


@pytest.mark.parametrize("login", ["reader", "analyst", "ingester", "friend", "owner"])
def test_private_photos_are_counted_by_those_alone_who_see_them(world: World, login: str) -> None:
    expected = OPEN + SECRET if login in ("friend", "owner") else OPEN
    public, private = (
        sql.SQL("SELECT count(photo_id) FROM {}").format(partition_of(world.model, shelf))
        for shelf in (0, 2)
    )
    with world.connect(login) as connection:
        for how, query in COUNTS.items():
            assert one(connection, query) == expected, how
        assert connection.execute(public).fetchone() == (OPEN,)
        if expected > OPEN:
            assert connection.execute(private).fetchone() == (SECRET,)
        else:
            with pytest.raises(DENIED):
                connection.execute(private)
        assert one(connection, "SELECT count(*) FROM geosearch.collections") == 1 + (
            expected > OPEN
        )


@pytest.mark.parametrize(
    "query",
    [
        "SELECT author FROM geosearch.gis_photos WHERE author = 'spy'",
        "SELECT id FROM geosearch.photos WHERE uri LIKE '%%secret%%'",
        "SELECT id FROM geosearch.photos WHERE id = ANY (%(ids)s)",
        "SELECT photo_id FROM geosearch.embeddings WHERE photo_id = ANY (%(ids)s)",
        "SELECT name FROM geosearch.collections WHERE name = 'secret'",
        "SELECT id FROM geosearch.gis_coverage AS c WHERE to_jsonb(c)::text LIKE '%%secret%%'",
        "SELECT id FROM geosearch.gis_estimates",
        "SELECT id FROM geosearch.gis_neighbours",
        "SELECT id FROM geosearch.gis_regions",
        "SELECT id FROM geosearch.gis_density",
        "SELECT tablename FROM pg_stats WHERE schemaname = 'geosearch' "
        "AND (most_common_vals::text LIKE '%%spy%%' OR histogram_bounds::text LIKE '%%secret%%')",
    ],
)
def test_nothing_private_is_seen(world: World, query: LiteralString) -> None:
    with world.connect("reader") as connection:
        found = connection.execute(query, {"ids": sorted(world.secret_ids)}).fetchall()
    assert found == []


def test_a_leaky_function_of_ones_own_sees_no_private_row(world: World) -> None:
    seen: list[str] = []
    with world.connect("reader") as connection:
        connection.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
        connection.execute(
            """
            CREATE FUNCTION pg_temp.tell(text) RETURNS boolean
            LANGUAGE plpgsql COST 0.0000001 AS $$
            BEGIN RAISE NOTICE '%', $1; RETURN true; END $$
            """
        )
        connection.execute("SELECT count(*) FROM geosearch.gis_photos WHERE pg_temp.tell(uri)")
    assert len(seen) == OPEN
    assert not any("secret" in uri for uri in seen)


def test_functions_in_ones_own_schema_do_not_stand_in_for_ours(world: World) -> None:
    with world.connect("reader") as connection:
        connection.execute(
            "CREATE FUNCTION pg_temp.visible_collections() RETURNS bigint[] "
            "LANGUAGE sql RETURN '{1,2,3}'::bigint[]"
        )
        connection.execute("CREATE TEMPORARY TABLE collections (id bigint, private boolean)")
        connection.execute("INSERT INTO collections VALUES (1, false), (2, false)")
        connection.execute("SET search_path = pg_temp, geosearch, public")
        assert one(connection, "SELECT count(*) FROM geosearch.gis_photos") == OPEN


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("k", [1, 20, 500, 1000])
def test_a_private_photo_is_never_a_neighbour_and_never_missed(
    world: World, k: int, exact: bool
) -> None:
    # The query is a private photo's own embedding: all else is farther away.
    with world.database.connection() as connection:
        query = one(
            connection,
            "SELECT embedding FROM geosearch.embeddings WHERE photo_id = %s",
            min(world.secret_ids),
        )
        truth = connection.execute(
            """
            SELECT photo_id FROM geosearch.embeddings
            WHERE photo_id <> ALL (%s) ORDER BY embedding <=> %s::halfvec, photo_id LIMIT %s
            """,
            (sorted(world.secret_ids), query, k),
        ).fetchall()
    expected = {photo for (photo,) in truth}
    with Database(world.url("reader")) as database:
        found = nearest(database, world.model, np.array(query.to_list()), k, exact=exact)
        with database.connection() as connection:
            rows = call(
                connection, "nearest", query=query, model=str(world.model), k=k, exact=exact
            )
    for ids in (set(found.photo_id.tolist()), {row["photo_id"] for row in rows}):
        assert len(ids) == k
        assert not ids & world.secret_ids
        assert len(ids & expected) >= 0.95 * k
    if found.plan.strategy == "exact" and found.plan.matches_exact:
        assert found.plan.matches == OPEN


def test_filters_do_not_reach_private_photos(world: World) -> None:
    query = vectors(9, 1)[0]
    with Database(world.url("reader")) as database:
        for condition in (where(bbox=(-180, -90, 180, 90)), where(exclude_authors=["x"])):
            found = nearest(database, world.model, query, 300, condition)
            assert len(found) == 300
            assert not world.secret_ids.intersection(found.photo_id.tolist())
        assert len(nearest(database, world.model, query, 5, where(authors=["spy"]))) == 0
        with pytest.raises(NotFoundError, match="secret") as refused:
            nearest(database, world.model, query, 5, where(collections=["secret"]))
    assert str(refused.value).count("secret") == 1  # what was asked, and not in the list


def test_errors_tell_no_more_of_a_private_photo_than_of_none(world: World) -> None:
    def message(photo: int) -> str:
        with (
            world.connect("reader") as connection,
            pytest.raises(psycopg.errors.InvalidParameterValue) as refused,
        ):
            call(connection, "nearest_to_photo", photo=photo, model=str(world.model))
        return str(refused.value).replace(str(photo), "N")

    assert message(min(world.secret_ids)) == message(10**12)


def test_tiles_count_only_what_is_visible(world: World) -> None:
    tile = "SELECT geosearch.mvt(0, 0, 0)"
    with world.connect("reader") as connection:
        restricted = connection.execute(tile).fetchone()
    with world.connect("friend") as connection:
        full = connection.execute(tile).fetchone()
    with world.database.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute(
            "DELETE FROM geosearch.all_photos WHERE id = ANY (%s)", [list(world.secret_ids)]
        )
        assert connection.execute(tile).fetchone() == restricted
    assert full != restricted


def test_no_estimate_of_the_planner_counts_private_photos(world: World) -> None:
    def estimates(value: str) -> list[str]:
        with world.connect("reader") as connection:
            lines = connection.execute(
                b"EXPLAIN SELECT id FROM geosearch.photos WHERE author = '" + value.encode() + b"'"
            ).fetchall()
        return [str(line).replace(value, "") for (line,) in lines]

    with world.database.connection() as connection:
        connection.execute("ANALYZE")
    assert estimates("spy") == estimates("none")


def test_an_answer_is_shown_to_those_who_see_all_that_was_searched(world: World) -> None:
    with world.connect("friend") as connection:
        assert one(connection, "SELECT count(*) FROM geosearch.gis_estimates") == 1
    for login in ("reader", "analyst"):
        with Database(world.url(login)) as database, pytest.raises((NotFoundError, DatabaseError)):
            load(database, world.answer)


def test_an_analyst_records_answers_and_changes_no_others(world: World) -> None:
    answer = replace(make_answer(10, 20, photo="/photos/analyst.jpg"), model_id=world.model)
    with Database(world.url("analyst")) as database:
        with database.connection() as connection:
            (key,) = save(connection, [answer])
        again = load(database, key)
        assert again.photo == answer.photo
        assert len(again.neighbours) == len(answer.neighbours) > 0
        cells = refresh_density(database, Selection(ids=(key,))).cells
    with world.connect("reader") as connection:
        shown = one(connection, "SELECT count(*) FROM geosearch.gis_estimates WHERE id = %s", key)
        assert shown == 1
        density = "SELECT count(*) FROM geosearch.gis_density WHERE localization_id = %s"
        assert one(connection, density, key) == cells > 0
    with world.connect("friend") as connection:  # an analyst too, who sees it
        delete = "DELETE FROM geosearch.localizations WHERE id = %s"
        assert connection.execute(delete, (key,)).rowcount == 0
        with pytest.raises(DENIED, match="another's"):
            connection.execute(
                """
                INSERT INTO geosearch.localization_regions (localization_id, level, geom, area_km2)
                VALUES (%s, 0.99, ST_Multi(ST_MakeEnvelope(0, 0, 1, 1, 4326)), 1)
                """,
                (key,),
            )
    with (
        Database(world.url("friend")) as database,
        pytest.raises(DatabaseError, match="another's"),
    ):
        refresh_density(database, Selection(ids=(key,)))
    with world.connect("analyst") as connection:
        assert one(connection, density, key) == cells
        with pytest.raises(DENIED, match="another's"):
            connection.execute(
                "INSERT INTO geosearch.evaluations (queries, model, method, parameters, filter,"
                " software, recorded_by) VALUES ('', '', 'nearest', '{}', '{}', '{}', 'postgres')"
            )
        assert connection.execute(delete, (key,)).rowcount == 1


def test_a_reader_exports_the_photos_that_are_visible(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    geosearch = CommandLine(world.url("reader"), capsys)
    rows = geosearch("export", "photos", "-o", tmp_path / "photos.csv", "--json").json()["photos"]
    with world.connect("reader") as connection:
        visible = one(connection, "SELECT count(*) FROM geosearch.gis_photos")
    assert rows == visible >= OPEN
    assert "spy" not in (tmp_path / "photos.csv").read_text()


def test_an_export_has_the_answers_that_are_visible(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    counts = {}
    for login in ("reader", "friend"):
        geosearch = CommandLine(world.url(login), capsys)
        for layer in LAYERS.values():
            if layer.answer and layer.name != "density":
                file = tmp_path / f"{layer.name}.csv"
                written = geosearch("export", layer.name, "-o", file, "--json").json()
                counts[login, layer.name] = written[layer.name]
    assert counts["friend", "estimates"] == counts["friend", "lines"] == 1
    assert counts["friend", "regions"] == 2
    assert {count for (login, _), count in counts.items() if login == "reader"} == {0}


def test_a_project_names_only_what_its_maker_sees(world: World) -> None:
    names = {}
    for login in ("reader", "friend"):
        with world.connect(login) as connection:
            project = make_project(connection, "", Selection())
        names[login] = [bookmark.name for bookmark in project.bookmarks]
        assert ("secret" in project.document()) == (login == "friend")
    assert names == {"reader": ["open"], "friend": ["All", "1: asked.jpg", "open", "secret"]}


def test_a_reader_who_records_is_refused_with_a_remedy(world: World) -> None:
    with (
        Database(world.url("reader")) as database,
        pytest.raises(DatabaseError, match="granted"),
        database.connection() as connection,
    ):
        save(connection, [make_answer(10, 20)])


def test_an_ingester_stores_and_embeds_photos_but_shares_nothing(world: World) -> None:
    with Database(world.url("ingester")) as database:
        with database.connection() as connection, connection.transaction(force_rollback=True):
            collection = ensure_collection(connection, "new")
            model = add_model(connection, 3, "test/new")
            photos = add_photos(connection, [1.0, 2.0], [3.0, 4.0], collection="new")
            add_embeddings(connection, model, photos, np.eye(3, dtype=np.float32)[:2])
            assert (
                one(
                    connection,
                    "SELECT count(*) FROM geosearch.embeddings WHERE collection_id = %s",
                    collection,
                )
                == 2
            )
            columns = ("collection_id", "uri", "sha256", "size_bytes", "width", "height", "format")
            table = writable_tables(connection, "photos")["photos"]
            assert "photos_open" in table.as_string()
            with copy_into(connection, table, columns) as copy:
                copy.set_types(["int8", "text", "bytea", "int8", "int4", "int4", "text"])
                digest = hashlib.sha256(b"x").digest()
                copy.write_row((collection, "/x.jpg", digest, 1, 1, 1, "JPEG"))
            assert (
                one(
                    connection,
                    "SELECT count(*) FROM geosearch.photos WHERE collection_id = %s",
                    collection,
                )
                == 3
            )
        with database.connection() as connection:
            with pytest.raises(DatabaseError, match="who sees"):
                set_private(connection, "open", private=True)
            with pytest.raises(NotFoundError):
                share(connection, "secret", world.logins["ingester"])


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE geosearch.photos_open SET collection_id = 2 WHERE uri LIKE '%/0.jpg'",
        "UPDATE geosearch.photos_open SET collection_id = 2, shelf = 2 WHERE uri LIKE '%/0.jpg'",
        "INSERT INTO geosearch.photos_open (collection_id, uri, sha256, size_bytes, width, height,"
        " format) VALUES (2, 'x', sha256('x'), 1, 1, 1, 'JPEG')",
        "INSERT INTO geosearch.photos_open (collection_id, shelf, uri, sha256, size_bytes, width,"
        " height, format) VALUES (2, 2, 'x', sha256('x'), 1, 1, 1, 'JPEG')",
        "INSERT INTO geosearch.rejects_open (collection_id, uri, stage, reason, message, photo_id)"
        " VALUES (1, 'x', 'read', 'x', 'x', {photo})",
        "INSERT INTO geosearch.rejects_open (collection_id, uri, stage, reason, message)"
        " VALUES (2, 'x', 'read', 'x', 'x')",
        "INSERT INTO geosearch.embeddings_m1 (photo_id, model_id, collection_id, geom, embedding)"
        " SELECT {photo}, 1, 1, geom, embedding FROM geosearch.embeddings_m1 LIMIT 1",
        "UPDATE geosearch.embeddings_m1 SET photo_id = {photo} WHERE photo_id ="
        " (SELECT min(photo_id) FROM geosearch.embeddings_m1)",
    ],
)
def test_nothing_is_put_into_a_collection_or_to_a_photo_that_one_does_not_see(
    world: World, attempt: str
) -> None:
    refused = {}
    with world.connect("ingester") as connection:
        for photo in (min(world.secret_ids), 10**12):  # there, and not there
            with pytest.raises(psycopg.errors.IntegrityError) as error:
                connection.execute(attempt.format(photo=photo).encode())
            refused[photo] = re.sub(r"\d+", "N", str(error.value))
    assert len(set(refused.values())) == 1


def test_a_name_that_a_hidden_collection_has_is_taken(world: World) -> None:
    with world.connect("ingester") as connection:
        with pytest.raises(InputError, match="'secret' is taken"):
            ensure_collection(connection, "secret")
        with pytest.raises(NotFoundError, match="no collection 'secret'"):
            find_collection(connection, "secret")


def test_a_deleted_public_collection_hides_nothing_and_a_private_one_still_does(
    database: Database,
) -> None:
    with database.connection() as connection:
        ids = [ensure_collection(connection, name) for name in ("open", "passing", "secret")]
        (key,) = save(connection, [make_answer(10, 20)])
        set_private(connection, "secret", private=True)
        # Not as the tables' owner, who sees all.
        connection.execute("SET LOCAL ROLE geosearch_owner")
        connection.execute("DELETE FROM geosearch.all_collections WHERE name <> 'open'")
        connection.execute("RESET ROLE")
        left = one(
            connection, "SELECT collection_ids FROM geosearch.localizations WHERE id = %s", key
        )
    assert left == [ids[0], ids[2]]


def test_a_reader_knows_in_which_geocell_a_point_lies(database: Database) -> None:
    with database.connection() as connection:
        add_photos(connection, [10.0, -10.0, 10.0], [20.0, 20.0, -20.0])
    made = make_partition(database, "few", max_photos=1)
    with database.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_reader")
        found = find_partition(connection, "few")
    assert found.locate([10.0, -10.0], [20.0, 20.0]).tolist() == (
        made.locate([10.0, -10.0], [20.0, 20.0]).tolist()
    )
    assert found.photos.tolist() == [1, 1, 1]
    assert found.lat.tolist() == made.lat.tolist()


def test_the_owner_role_manages_privacy_from_the_command_line(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(world.url("owner"), capsys)
    reader = world.logins["reader"]
    seen = "SELECT count(*) FROM geosearch.gis_photos"

    def count() -> int:
        with world.connect("reader") as connection:
            return int(one(connection, seen))

    assert command("collections", "share", "secret", "--with", reader, "--json").code == 0
    assert count() == OPEN + SECRET
    (listed,) = [c for c in command("collections", "list", "--json").json() if c["private"]]
    assert listed["name"] == "secret"
    assert listed["photos"] == SECRET
    assert set(listed["shared_with"]) == {reader, world.logins["friend"]}
    assert reader[:20] in command("collections", "list").out
    assert command("collections", "unshare", "secret", "--with", reader, "--json").code == 0
    assert count() == OPEN
    assert command("collections", "unshare", "secret", "--with", reader).code == 4
    ran = command("collections", "private", "open", "--json")
    assert ran.json() == {
        "collection": "open",
        "private": True,
        "photos": OPEN,
        "traces_left": True,
    }
    assert count() == 0
    assert command("collections", "public", "open", "--json").json()["private"] is False
    assert count() == OPEN
    assert command("collections", "share", "secret", "--with", "no such role").code == 4


def test_roles_are_granted_and_revoked_from_the_command_line(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(world.database.url, capsys)
    nobody = world.logins["nobody"]
    assert command("roles", "grant", "reader", "--to", nobody, "--json").code == 0
    roles = {role["name"]: role for role in command("roles", "list", "--json").json()}
    assert set(roles) == {f"geosearch_{role}" for role in ROLES}
    assert nobody in roles["geosearch_reader"]["members"]
    with world.connect("nobody") as connection:
        assert one(connection, "SELECT count(*) FROM geosearch.gis_photos") == OPEN
    revoked = command("roles", "revoke", "geosearch_reader", "--from", nobody, "--json")
    assert revoked.json() == {"role": "geosearch_reader", "revoked_from": nobody}
    again = command("roles", "revoke", "reader", "--from", nobody)
    assert (again.code, f"{nobody} was not given geosearch_reader" in again.err) == (4, True)
    assert "geosearch_owner" in command("roles", "list").out
    assert command("roles", "grant", "king", "--to", nobody).code == 2
    assert command("roles", "grant", "reader", "--to", "no such user").code == 4
    refused = CommandLine(world.url("reader"), capsys)("roles", "grant", "owner", "--to", nobody)
    assert refused.code == 5
    assert "As a superuser" in refused.err


def test_a_role_must_be_one_of_ours(world: World) -> None:
    with world.database.connection() as connection:
        with pytest.raises(InputError, match="reader, analyst"):
            grant_role(connection, "postgres", world.logins["nobody"])
        assert all(role.exists for role in list_roles(connection))


def test_databases_of_one_server_may_be_migrated_at_once(server_url: str) -> None:
    urls = [create_database(server_url) for _ in range(2)]
    try:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            list(pool.map(migrations.upgrade, urls))
        for url in urls:
            with psycopg.connect(url) as connection:
                assert one(connection, "SELECT count(*) FROM geosearch.gis_photos") == 0
    finally:
        for url in urls:
            drop_database(url)


def test_a_login_that_may_not_create_roles_migrates_all_the_same(empty_url: str) -> None:
    login = f"geosearch_test_owner_{uuid4().hex[:10]}"
    name, database = (
        sql.Identifier(login),
        sql.Identifier(str(conninfo_to_dict(empty_url)["dbname"])),
    )
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        connection.execute(b"CREATE EXTENSION postgis; CREATE EXTENSION vector")
        connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, name))
    url = make_conninfo(empty_url, user=login)
    try:
        migrations.upgrade(url)
        with Database(url) as opened, opened.connection() as connection:
            ensure_collection(connection, "clients")
            add_photos(connection, [1.0], [2.0], collection="clients")
            connection.execute("ANALYZE geosearch.photos_open")
            assert set_private(
                connection, "clients", private=True
            ).statistics_left  # it may not remove statistics
        with psycopg.connect(empty_url) as connection:
            assert not one(
                connection,
                "SELECT has_table_privilege('geosearch_reader', 'geosearch.photos', 'SELECT')",
            )
            assert one(
                connection,
                "SELECT has_table_privilege('geosearch_reader', 'geosearch.gis_photos', 'SELECT')",
            )
        migrations.downgrade(url, "base")
    finally:
        with psycopg.connect(empty_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))
