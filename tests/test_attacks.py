"""Attempts to learn what is hidden.

Each is made on twins: two databases whose public rows are the same, and whose private rows differ
in every value. A role that both tell the same, whatever it asks, has learned nothing private.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from geosearch.database.binaries import suitable
from geosearch.database.collection_rows import ensure_collection, set_private
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import writable_tables
from geosearch.database.role_grants import grant_role
from geosearch.deletion.photo_deletion import delete_collection, delete_photos
from geosearch.deletion.photo_moves import correct_positions, move_photos
from geosearch.deletion.record_deletion import (
    delete_answers,
    delete_calibration,
    delete_evaluations,
    delete_model,
    delete_partition,
)
from geosearch.deletion.renaming import rename_collection, rename_model
from geosearch.deletion.run_undo import undo_run
from geosearch.errors import GeosearchError
from geosearch.layers.selection import Selection
from geosearch.localization.answer_rows import save
from geosearch.retrieval.filters import where
from geosearch.retrieval.indexes import build_index
from geosearch.write_back.write_back_run import write_back
from tests.answers import make_answer
from tests.conftest import create_database, drop_database
from tests.rows import add_embeddings, add_model, add_photos

Connection = psycopg.Connection[Any]

#: Who does not see all.
ROLES = ("reader", "analyst", "ingester")
DIMENSION, PUBLIC, PRIVATE = 8, 400, 150

#: (seqscan, indexscan, bitmapscan): the ways a planner may be made to go.
WAYS = (("on", "on", "on"), ("off", "on", "off"), ("on", "off", "off"), ("off", "off", "on"))


@dataclass(frozen=True)
class Twins:
    """The two databases, and a login of each role."""

    databases: tuple[Database, Database]
    logins: dict[str, str]

    def connect(self, login: str) -> tuple[Connection, Connection]:
        first, second = (
            psycopg.connect(
                make_conninfo(database.url, user=self.logins[login]) if login else database.url,
                autocommit=True,
            )
            for database in self.databases
        )
        return first, second


def add(database: Database, collection: str, seed: int, count: int) -> None:
    """Photos of a collection, embedded, whose every value the seed decides."""
    rng = np.random.default_rng(seed)
    with database.connection() as connection:
        photos = add_photos(
            connection,
            *rng.uniform((-60, -170), (60, 170), (count, 2)).T,
            collection=collection,
            authors=[f"{collection}{rng.integers(1000, 9999)}" for _ in range(count)],
            accuracy_m=rng.uniform(1, 100, count).tolist(),
            prefix=f"photo{seed}",
        )
        vectors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
        add_embeddings(connection, 1, photos, vectors)
        connection.execute("SELECT geosearch.refresh_coverage()")


def fill(database: Database) -> None:
    """What is public."""
    with database.connection() as connection:
        add_model(connection, DIMENSION)
    add(database, "open", 0, PUBLIC)
    build_index(database, 1, DIMENSION)
    with database.connection() as connection:
        save(connection, [replace(make_answer(10, 20, photo="/asked/0.jpg"), model_id=1)])


def hide(database: Database, seed: int) -> None:
    """A private collection, and what rests on it."""
    with database.connection() as connection:
        secret = ensure_collection(connection, "secret")
        set_private(connection, "secret", private=True)
    add(database, "secret", seed, PRIVATE)
    lat, lon = np.random.default_rng(seed).uniform((-60, -170), (60, 170))
    with database.connection() as connection:
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (collection_id, shelf, uri, stage, reason, message) "
                "SELECT id, shelf, %s, 'read', 'unreadable', 'x' "
                "FROM geosearch.collections WHERE name = 'secret'"
            ).format(writable_tables(connection, "rejects")["rejects"]),
            (f"/broken/{seed}.jpg",),
        )
        answer = make_answer(lat, lon, photo=f"/asked/{seed}.jpg")
        (key,) = save(connection, [replace(answer, model_id=1)])
        for statement in RECORDED:
            connection.execute(statement, {"seed": seed, "answer": key, "secret": secret})


#: As many rows for every seed, and no two alike.
RECORDED: tuple[LiteralString, ...] = (
    "INSERT INTO geosearch.all_queries"
    " (photo_id, model_id, collection_id, geom, author, embedding, shelf)"
    " SELECT photo_id, model_id, collection_id, geom, author, embedding, shelf"
    " FROM geosearch.all_embeddings WHERE collection_id = %(secret)s ORDER BY photo_id LIMIT 20",
    "INSERT INTO geosearch.all_claims (photo_id, model_id, collection_id, holder, shelf)"
    " SELECT id, 1, collection_id, gen_random_uuid(), shelf FROM geosearch.all_photos"
    " WHERE collection_id = %(secret)s",
    "INSERT INTO geosearch.all_write_backs"
    " (photo_id, collection_id, target, path, new, message, shelf)"
    " SELECT id, collection_id, 'sidecar', uri, jsonb_build_object('lat', %(seed)s::int),"
    " 'message' || %(seed)s, shelf FROM geosearch.all_photos WHERE collection_id = %(secret)s",
    "INSERT INTO geosearch.evaluations (queries, model, method, parameters, filter, software) "
    "VALUES ('queries' || %(seed)s, 'model' || %(seed)s, 'nearest', '{}', '{}', '{}')",
    "INSERT INTO geosearch.runs (kind, collection_id, sources, options, software) "
    "VALUES ('ingest', %(secret)s, jsonb_build_array(%(seed)s::int), '{}', '{}')",
    "INSERT INTO geosearch.localization_cells (localization_id, level, share, area_km2, geom) "
    "SELECT %(answer)s, n / 1000.0, 1 / (n + %(seed)s::float8), n + %(seed)s::float8,"
    " ST_Multi(ST_MakeEnvelope(n, %(seed)s, n + 1, %(seed)s + 1, 4326)) "
    "FROM generate_series(1, 100) AS n",
    "INSERT INTO geosearch.partitions"
    " (name, kind, parameters, filter, definition, photos, software)"
    " VALUES ('cells' || %(seed)s, 'quadtree', '{}', '{}', '{}', %(seed)s, '{}')",
    "INSERT INTO geosearch.geocells"
    " (partition_id, number, photos, spread_km, area_km2, medoid, geom)"
    " SELECT p.id, n, n + %(seed)s, n + %(seed)s, n, ST_SetSRID(ST_Point(n, %(seed)s), 4326),"
    " ST_Multi(ST_MakeEnvelope(n, %(seed)s, n + 1, %(seed)s + 1, 4326)) "
    "FROM geosearch.partitions AS p, generate_series(1, 50) AS n",
    "INSERT INTO geosearch.classifiers (model_id, partition_id, weights, bias, provenance) "
    "SELECT 1, id, decode(md5('%(seed)s'), 'hex'), '\\x00', jsonb_build_object('x', %(seed)s::int)"
    " FROM geosearch.partitions",
    "INSERT INTO geosearch.calibrations (model, filter, method, parameters, figures, queries,"
    " options, n_fit, n_check, failed, software)"
    " VALUES ('m', '{}', 'density', '{}', '{}', 'queries' || %(seed)s, '{}', 9, 9, %(seed)s, '{}')",
    "INSERT INTO geosearch.qgis_projects (name, metadata, content)"
    " VALUES ('project' || %(seed)s, '{}', decode(md5('%(seed)s'), 'hex'))",
    "INSERT INTO geosearch.evaluation_failures (evaluation_id, uri, reason, message)"
    " SELECT id, '/failed/' || %(seed)s, 'missing', '' FROM geosearch.evaluations",
)


@pytest.fixture(scope="module")
def twins(server_url: str, template_database: str) -> Iterator[Twins]:
    suffix = uuid4().hex[:10]
    logins = {role: f"geosearch_test_{role}_{suffix}" for role in ROLES}
    urls = [create_database(server_url, template_database)]
    with Database(urls[0]) as database:
        fill(database)
    # A copy: the graph of an index is built with dice.
    urls.append(create_database(server_url, urlsplit(urls[0]).path.removeprefix("/")))
    databases = Database(urls[0]), Database(urls[1])
    with databases[0].connection() as connection:
        for role, login in logins.items():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
            grant_role(connection, role, login)
    for seed, database in enumerate(databases, start=1):
        hide(database, seed)
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    yield Twins(databases, logins)
    for database, url in zip(databases, urls, strict=True):
        database.close()
        drop_database(url)
    with psycopg.connect(server_url, autocommit=True) as connection:
        for login in logins.values():
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


# ---- what is told -------------------------------------------------------------------------------


def told(connection: Connection, statement: sql.Composed | str, values: Any = None) -> str:
    """All that comes back of a statement: rows, or the error; without numbers of relations."""
    query = statement.encode() if isinstance(statement, str) else statement
    try:
        found = "\n".join(map(str, connection.execute(query, values).fetchall()))
    except psycopg.Error as error:
        found = f"{error.sqlstate}: {error}"
    found = re.sub(r"'\d+'::(oid|regclass)", "N", found)
    # Of a relation's size PostgreSQL makes no secret; what it expects of its rows must be the same.
    return re.sub(r"cost=\S+", "", found)


EXPLAIN = sql.SQL("EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT FROM {} WHERE {}")


def go(connection: Connection, way: Sequence[str]) -> None:
    for name, value in zip(("seqscan", "indexscan", "bitmapscan"), way, strict=True):
        connection.execute(f"SET enable_{name} = {value}".encode())


def columns(connection: Connection) -> list[tuple[str, str, str]]:
    """Relation, column and type of everything in the schema that this login may read."""
    return connection.execute(
        b"""
        SELECT c.relname, a.attname, format_type(a.atttypid, NULL)
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind IN ('r', 'p', 'v')
            AND has_column_privilege(c.oid, a.attnum, 'SELECT')
        ORDER BY 1, 2
        """
    ).fetchall()


def hidden_values(
    role: Connection, owner: Connection, relation: str, column: str, limit: int
) -> list[str]:
    """Values, as text, that the relation has for its owner and not for the role."""
    query = sql.SQL("SELECT DISTINCT {}::text FROM geosearch.{} WHERE {} IS NOT NULL").format(
        *map(sql.Identifier, (column, relation, column))
    )
    theirs, ours = ({str(v) for (v,) in c.execute(query).fetchall()} for c in (owner, role))
    return sorted(theirs - ours)[:: max(1, len(theirs - ours) // limit)][:limit]


#: Comparisons by type; of others, equality. PostgreSQL runs some of them before a policy.
CONDITIONS = {
    "geometry": ("{0} && ST_Expand(%s::geometry, 0.01)", "{0} && %s::geometry"),
    "text": ("{0} >= %s", "{0} LIKE left(%s, 6) || '%%'"),
    "jsonb": ("{0} = %s::jsonb",),
    "halfvec": ("{0} = %s::halfvec",),
    "vector": ("{0} = %s::vector",),
    "boolean": ("{0} = %s::boolean",),
}


@pytest.mark.parametrize("role", ROLES)
def test_explain_tells_nothing_of_hidden_values(twins: Twins, role: str) -> None:
    first, second = twins.connect(role)
    owner, _ = twins.connect("")
    asked = 0
    for relation, column, kind in columns(first):
        values = hidden_values(first, owner, relation, column, 6)
        conditions = CONDITIONS.get(kind, (f"{{0}} >= %s::{kind}", f"{{0}} = %s::{kind}"))
        for way in WAYS:
            go(first, way)
            go(second, way)
            for value in values:
                for condition in conditions:
                    statement = EXPLAIN.format(
                        sql.Identifier("geosearch", relation),
                        sql.SQL(condition).format(sql.Identifier(column)),
                    )
                    asked += 1
                    assert told(first, statement, (value,)) == told(second, statement, (value,)), (
                        f"{relation}.{column} tells of {value[:60]}, {way}"
                    )
    assert asked > 2500
    for connection in (first, second, owner):
        connection.close()


@pytest.mark.parametrize("role", ROLES)
def test_no_relation_that_a_role_may_read_has_rows_hidden_from_it(twins: Twins, role: str) -> None:
    connection, other = twins.connect(role)
    owner, _ = twins.connect("")
    tables = {
        relation: column
        for relation, column, _ in columns(connection)
        if owner.execute(
            "SELECT relkind <> 'v' FROM pg_class WHERE oid = %s::regclass",
            (f"geosearch.{relation}",),
        ).fetchone()
        == (True,)
    }
    assert len(tables) > 8
    for relation, column in tables.items():
        query = sql.SQL("SELECT count({}) FROM geosearch.{}").format(
            *map(sql.Identifier, (column, relation))
        )
        assert connection.execute(query).fetchall() == owner.execute(query).fetchall(), relation
    for opened in (connection, other, owner):
        opened.close()


@pytest.mark.parametrize("role", ROLES)
def test_the_index_does_not_tell_whether_a_vector_is_there(twins: Twins, role: str) -> None:
    first, second = twins.connect(role)
    owner, _ = twins.connect("")
    vectors = owner.execute(
        "SELECT e.embedding::text FROM geosearch.embeddings AS e JOIN geosearch.collections AS c "
        "ON c.id = e.collection_id WHERE c.name = 'secret' ORDER BY e.photo_id"
    ).fetchall()
    assert len(vectors) == PRIVATE
    near = (
        "SELECT photo_id FROM geosearch.{} "
        "ORDER BY embedding::halfvec(8) <=> %s::halfvec(8) LIMIT 1"
    )
    statements = [
        *(
            prefix + near.format(table)
            for table in ("embeddings", "embeddings_m1", "embeddings_c2_m1", "all_embeddings")
            for prefix in ("", "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) ")
        ),
        "SELECT * FROM geosearch.nearest(%s::halfvec, '1', 5)",
        "SELECT * FROM geosearch.localize(%s::halfvec, '1', 20)",
    ]
    for connection in (first, second):
        connection.execute("SELECT '[1]'::vector")
        connection.execute("SET hnsw.ef_search = 1; SET enable_seqscan = off")
    for vector in vectors[::5]:
        for statement in statements:
            assert told(first, statement, vector) == told(second, statement, vector), statement
    for connection in (first, second, owner):
        connection.close()


RELATIONS = """
SELECT c.relname, a.attname
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind IN ('r', 'p')
    AND a.atttypid = 'geometry'::regtype
    AND c.relname <> 'places' -- public, and so many that ANALYZE throws dice
ORDER BY 1, 2
"""
#: PostGIS's functions that read statistics and indexes for whoever asks.
EXTENTS = (
    "SELECT public.ST_EstimatedExtent('geosearch', %(relation)s, %(column)s)",
    "SELECT public._postgis_index_extent(('geosearch.' || %(relation)s)::regclass, %(column)s)",
    "SELECT public._postgis_stats(('geosearch.' || %(relation)s)::regclass, %(column)s)",
    "SELECT public._postgis_selectivity(('geosearch.' || %(relation)s)::regclass, %(column)s, "
    "ST_MakeEnvelope(0, 0, 90, 90, 4326))",
)


@pytest.mark.parametrize("role", ROLES)
def test_statistics_and_extents_tell_nothing(twins: Twins, role: str) -> None:
    first, second = twins.connect(role)
    noted = (
        "SELECT tablename, attname, s FROM pg_stats AS s "
        "WHERE schemaname = 'geosearch' AND tablename <> 'places' ORDER BY tablename, attname"
    )
    assert told(first, noted) == told(second, noted)
    assert "secret" not in told(first, noted)
    relations = first.execute(RELATIONS.encode()).fetchall()
    assert len(relations) > 10
    for relation, column in relations:
        for statement in EXTENTS:
            values = {"relation": relation, "column": column}
            assert told(first, statement, values) == told(second, statement, values), relation
    for connection in (first, second):
        connection.close()


@pytest.mark.parametrize("role", ROLES)
def test_functions_and_errors_are_the_same_whatever_is_hidden(twins: Twins, role: str) -> None:
    first, second = twins.connect(role)
    owner, _ = twins.connect("")
    names = [name for (name,) in owner.execute("SELECT DISTINCT author FROM geosearch.photos")]
    uris = [uri for (uri,) in owner.execute("SELECT uri FROM geosearch.photos WHERE id > 400")]
    statements = [
        *(
            f"""SELECT geosearch.mvt({z}, {x}, 1, '{{"layer": "{layer}"}}')"""
            for z, x in ((1, 0), (1, 1), (2, 1), (3, 4))
            for layer in (
                "photos",
                "coverage",
                "estimates",
                "regions",
                "neighbours",
                "lines",
                "errors",
            )
        ),
        "SELECT * FROM geosearch.visible_collection_rows()",
        "SELECT geosearch.visible_collections()",
        *(f"SELECT geosearch.nearest_to_photo({photo}, '1')" for photo in (401, 450, 10**9)),
        "SELECT * FROM geosearch.nearest((SELECT embedding FROM geosearch.embeddings "
        "WHERE photo_id = 1), '1', collections => '{secret}')",
        "SELECT geosearch.refresh_coverage('secret')",
    ]
    for statement in statements:
        assert told(first, statement) == told(second, statement), statement
    for value in names + uris:
        for statement in (
            "SELECT count(*) FROM geosearch.gis_photos WHERE author = %s",
            "SELECT id FROM geosearch.photos WHERE uri = %s OR author = %s::text",
        ):
            values = (value,) * statement.count("%s")
            assert told(first, statement, values) == told(second, statement, values)
    for connection in (first, second, owner):
        connection.close()


# ---- by psql ------------------------------------------------------------------------------------

PSQL = suitable().bin / "psql"

#: By role, what each attempts in one session; nothing of it may differ by what is hidden.
PLANT = "CREATE {} geosearch.{}{}"
ATTEMPTS: dict[str, tuple[str, ...]] = {
    "rights of others": (
        "SET ROLE geosearch_owner", "SET ROLE postgres", "SET SESSION AUTHORIZATION postgres",
        "SELECT set_config('role', 'geosearch_owner', false)", "SET row_security = off",
        "SET session_replication_role = replica", "GRANT geosearch_owner TO current_user",
        "ALTER ROLE current_user SUPERUSER", "ALTER VIEW geosearch.photos OWNER TO current_user",
        "SELECT pg_read_file('/etc/passwd')", "SELECT lo_import('/etc/passwd')",
        "COPY geosearch.all_photos TO PROGRAM 'cat'", "COPY (SELECT 1) TO PROGRAM 'true'",
        "\\copy geosearch.all_photos TO PROGRAM 'cat'",
        "\\copy geosearch.photos_c2 TO STDOUT", "\\copy geosearch.all_qgis_projects TO STDOUT",
        "\\d+ geosearch.all_photos", "SELECT current_user = session_user",
    ),
    "code that others run": (
        *(
            PLANT.format(what, table, does)
            for table in ("runs", "all_runs", "photos_open", "models", "shelf_changes", "photos")
            for what, does in (
                ("TRIGGER t AFTER INSERT ON", " EXECUTE FUNCTION pg_notify()"),
                ("TRIGGER t INSTEAD OF INSERT ON", " FOR EACH ROW EXECUTE FUNCTION pg_notify()"),
                ("RULE r AS ON INSERT TO", " DO ALSO SELECT 1"),
                ("OR REPLACE VIEW", " AS SELECT 1"),
                ("POLICY p ON", " USING (true)"),
                ("INDEX ON", " ((random()))"),
            )
        ),
        "CREATE FUNCTION geosearch.visible_to(text) RETURNS int LANGUAGE sql RETURN 1",
        "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION pg_notify()",
        "CREATE OPERATOR geosearch.= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    ),
    "keys to hidden photos": tuple(
        statement.replace("PHOTO", photo)
        for photo in ("401", "450", "1000000000")
        for statement in (
            "INSERT INTO geosearch.embeddings_m1"
            " (photo_id, model_id, collection_id, geom, embedding)"
            " SELECT PHOTO, 1, 1, geom, embedding FROM geosearch.embeddings LIMIT 1",
            "INSERT INTO geosearch.rejects_open"
            " (collection_id, uri, stage, reason, message, photo_id)"
            " VALUES (1, 'xPHOTO', 'read', 'x', 'x', PHOTO)",
            "INSERT INTO geosearch.rejects_open (collection_id, uri, stage, reason, message) "
            "VALUES (2, 'xPHOTO', 'read', 'x', 'x')",
        )
    ),
    "names of one's own": (
        "CREATE TEMPORARY TABLE all_collections AS SELECT 2 AS id, false AS private",
        "CREATE TEMPORARY TABLE photos_open AS SELECT 1 AS id",
        "CREATE FUNCTION pg_temp.visible_to(name) RETURNS bigint[] LANGUAGE sql RETURN '{1,2}'",
        "CREATE FUNCTION pg_temp.caller() RETURNS name LANGUAGE sql RETURN 'postgres'",
        "CREATE FUNCTION pg_temp.has_table_privilege(regclass, text) RETURNS boolean "
        "LANGUAGE sql RETURN true",
        "SET search_path = pg_temp, geosearch, public, pg_catalog",
        *(f"TABLE geosearch.{view}" for view in (
            "collections", "gis_estimates", "qgis_projects", "partitions", "classifiers", "runs",
        )),
        "SELECT geosearch.visible_collections()",
        "SELECT * FROM geosearch.visible_qgis_projects()",
        "SELECT geosearch.visible_to('postgres'), geosearch.admitted_collections('{}')",
        "RESET search_path",
    ),
    "what PostgreSQL notes": (
        "SELECT tablename, attname, s FROM pg_stats AS s "
        "WHERE schemaname = 'geosearch' AND tablename <> 'places' ORDER BY 1, 2",
        "SELECT * FROM pg_stats_ext", "SELECT * FROM pg_stats_ext_exprs",
        "SELECT stxdmcv FROM pg_statistic_ext_data", "SELECT * FROM pg_statistic",
        "SELECT relname, reltuples FROM pg_class WHERE relnamespace = 'geosearch'::regnamespace "
        "AND relname NOT LIKE 'places%' ORDER BY 1",
    ),
    "what was computed": (
        *(f"TABLE geosearch.{view}" for view in (
            "localizations", "localization_neighbours", "localization_models",
            "localization_regions", "localization_cells", "evaluations", "evaluation_failures",
            "calibrations", "partitions", "geocells", "classifiers", "runs", "gis_estimates",
            "gis_geocells",
        )),
        "SELECT name, metadata, content FROM geosearch.qgis_projects",
    ),
    "a crash": (
        *(f"SELECT geosearch.{call}" for call in (
            "great_circle_line('POINT(NaN 0)', 'POINT(1 1)')",
            "great_circle_line('SRID=4326;POINT(179 95)', 'SRID=4326;POINT(-179 0)')",
            "great_circle_line('SRID=4326;POINT(Infinity 0)', 'SRID=4326;POINT(1 1)')",
            "density_mode('{NaN}', '{0}', '{1}', 200)",
            "wgs84('SRID=4326;POINT(NaN NaN)', 'x')",
        )),
        "SELECT 'alive'",
    ),
}  # fmt: skip


def by_psql(database: Database, login: str, statements: Sequence[str]) -> str:
    """What psql prints of statements and their errors, without numbers of relations."""
    url = make_conninfo(database.url, user=login)
    done = subprocess.run(
        [PSQL, "--no-psqlrc", "--no-align", "--tuples-only", url],
        input="".join(f"{each}{'' if each[0] == chr(92) else ';'}\n" for each in statements),
        capture_output=True,
        text=True,
        check=True,  # 2: the connection was lost
    )
    said = re.sub(r"'\d+'::(oid|regclass)", "N", done.stdout + "\n" + done.stderr)
    return re.sub(r"cost=\S+", "", said).replace(urlsplit(database.url).path[1:], "DATABASE")


#: What attempts might leave behind: code, and rows.
FOOTPRINT = """
SELECT
    (SELECT count(*) FROM pg_trigger),
    (SELECT array_agg(md5(ev_action) ORDER BY oid) FROM pg_rewrite),
    (SELECT count(*) FROM pg_policy), (SELECT count(*) FROM pg_index),
    (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_event_trigger),
    (SELECT count(*) FROM pg_auth_members), (SELECT count(*) FROM pg_roles WHERE rolsuper),
    (SELECT count(*) FROM geosearch.all_embeddings), (SELECT count(*) FROM geosearch.all_rejects)
"""


@pytest.mark.parametrize("what", ATTEMPTS)
@pytest.mark.parametrize("role", ROLES)
def test_psql_and_the_library_get_nowhere(twins: Twins, role: str, what: str) -> None:
    statements = ATTEMPTS[what]
    owner, _ = twins.connect("")
    before = owner.execute(FOOTPRINT).fetchall()
    said = [by_psql(database, twins.logins[role], statements) for database in twins.databases]
    assert said[0] == said[1]
    first, second = twins.connect(role)
    for statement in statements:
        if not statement.startswith("\\"):
            plain = statement.replace("%", "%%")
            assert told(first, plain) == told(second, plain), statement
    for connection in (first, second):
        connection.close()  # with its temporary objects
    # Those of psql's sessions may take a moment longer.
    assert what == "names of one's own" or owner.execute(FOOTPRINT).fetchall() == before
    owner.close()
    if what == "a crash":
        assert said[0].splitlines()[0] == "alive"
    if what == "rights of others":
        assert "\nt\n" in said[0]  # still oneself
    for text in ("/photo1/", "/photo2/", "secret1", "secret2", "/asked/1", "/asked/2", "/failed/"):
        assert text not in said[0]


@pytest.mark.parametrize("role", ROLES)
def test_explain_tells_psql_nothing_of_hidden_values(twins: Twins, role: str) -> None:
    first, second = twins.connect(role)
    owner, _ = twins.connect("")
    statements: list[str] = []
    for relation, column, kind in columns(first):
        values = hidden_values(first, owner, relation, column, 3)
        conditions = CONDITIONS.get(kind, (f"{{0}} >= %s::{kind}", f"{{0}} = %s::{kind}"))
        for value in values:
            for condition in conditions:
                asked = EXPLAIN.format(
                    sql.Identifier("geosearch", relation),
                    sql.SQL(condition.replace("%s", "{1}").replace("%%", "%")).format(
                        sql.Identifier(column), sql.Literal(value)
                    ),
                )
                statements.append(asked.as_string(first))
    assert len(statements) > 300
    for way in WAYS[1:]:
        script = [
            *(
                f"SET enable_{name} = {value}"
                for name, value in zip(("seqscan", "indexscan", "bitmapscan"), way, strict=True)
            ),
            *statements,
        ]
        said = [by_psql(database, twins.logins[role], script) for database in twins.databases]
        for line, other in zip(*(text.splitlines() for text in said), strict=True):
            assert line == other, way
    for connection in (first, second, owner):
        connection.close()


def test_maintenance_by_a_superuser_sees_nothing_for_the_owner_of_a_table(twins: Twins) -> None:
    database = twins.databases[0]
    mine = sql.SQL("CREATE SCHEMA hers AUTHORIZATION {}").format(
        sql.Identifier(twins.logins["reader"])
    )
    note = (
        "CREATE OR REPLACE FUNCTION hers.note() RETURNS void LANGUAGE plpgsql VOLATILE "
        "AS $$ BEGIN {} END $$"
    )
    # An index takes no other function; this one lies.
    look = (
        "CREATE FUNCTION hers.look(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE "
        "AS $$ BEGIN PERFORM hers.note(); RETURN 1; END $$"
    )
    insert = "INSERT INTO hers.found SELECT count(*) FROM geosearch.visible_{}();"
    reader, other = twins.connect("reader")
    with psycopg.connect(database.url, autocommit=True) as superuser:
        superuser.execute(mine)
        reader.execute("CREATE TABLE hers.found (n bigint)")
        reader.execute(note.format("").encode())
        reader.execute(look.encode())
        reader.execute("CREATE TABLE hers.bait AS SELECT 1 AS i")
        reader.execute("CREATE INDEX ON hers.bait (hers.look(i))")
        for what in ("collection_rows", "localizations"):
            reader.execute(note.format(insert.format(what)).encode())
            for statement in ("ANALYZE hers.bait", "REINDEX TABLE hers.bait"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="UNLISTEN"):
                    superuser.execute(statement.encode())
        assert superuser.execute("SELECT count(*) FROM hers.found").fetchone() == (0,)
        superuser.execute("DROP SCHEMA hers CASCADE")
    reader.close()
    other.close()


# ---- deleting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_nobody_deletes_what_is_anothers_nor_learns_of_it_by_trying(
    twins: Twins, role: str
) -> None:
    """Each attempt says the same on both twins, and leaves what is hidden and what is others'."""
    ids = range(PUBLIC + 1, PUBLIC + PRIVATE + 1, 40)
    attempts: list[Callable[[Database], object]] = [
        lambda database: delete_collection(database, "secret", dry_run=True),
        lambda database: delete_collection(database, "secret"),
        lambda database: delete_collection(database, "open"),
        lambda database: rename_collection(database, "secret", "mine"),
        lambda database: rename_collection(database, "open", "mine"),
        lambda database: delete_photos(database, where(accuracy_m=50), dry_run=True),
        lambda database: delete_photos(database, where(collection="secret")),
        lambda database: undo_run(database, 1, dry_run=True),
        lambda database: undo_run(database, 1),
        lambda database: correct_positions(database, where(collection="secret"), to=(1, 2)),
        lambda database: move_photos(database, where(collection="secret"), to="open"),
        lambda database: write_back(database, where(collection="secret"), dry_run=True),
        lambda database: write_back(database, where(collection="secret"), overwrite=True),
        *(partial(write_back, ids=[key], overwrite=True) for key in ids),
        lambda database: move_photos(database, where(collection="open"), to="secret"),
        *(partial(correct_positions, ids=[key], to=(1, 2)) for key in ids),
        lambda database: delete_model(database, "test/model"),
        lambda database: delete_model(database, "test/model", dry_run=True),
        lambda database: rename_model(database, "test/model", "mine"),
        *(partial(delete_photos, ids=[key]) for key in (*ids, 10**6)),
        *(partial(delete_photos, ids=[key], dry_run=True) for key in ids),
        *(partial(delete_answers, selection=Selection((key,))) for key in (1, 2, 3)),
        partial(delete_answers, selection=Selection(), everything=True),
        *(partial(delete_evaluations, ids=[key]) for key in (1, 2)),
        partial(delete_calibration, calibration_id=1),
        lambda database: delete_partition(database, "cells1"),
        lambda database: delete_partition(database, "cells2"),
    ]
    statements = [
        "SELECT geosearch.delete_collection(2)",
        "SELECT geosearch.delete_model(1)",
        "SELECT geosearch.drop_shelf(2)",
        "DELETE FROM geosearch.photos WHERE id > 400",
        "DELETE FROM geosearch.photos_c2",
        "DELETE FROM geosearch.write_backs_c2",
        "DELETE FROM geosearch.claims_c2",
        "UPDATE geosearch.claims SET holder = gen_random_uuid() RETURNING photo_id",
        "INSERT INTO geosearch.claims_c2 (photo_id, model_id, collection_id, holder, shelf) "
        "SELECT id, 1, 2, gen_random_uuid(), 2 FROM generate_series(1, 1000) AS id",
        "UPDATE geosearch.write_backs SET path = '/' RETURNING message",
        "DELETE FROM geosearch.all_photos",
        "TRUNCATE geosearch.photos_open",
        "DELETE FROM geosearch.models RETURNING id",
        "DELETE FROM geosearch.collections RETURNING id",
        "DELETE FROM geosearch.localizations RETURNING id",
        "DELETE FROM geosearch.evaluations RETURNING id",
    ]
    before = [_everything(database) for database in twins.databases]
    logins = [
        Database(make_conninfo(database.url, user=twins.logins[role]))
        for database in twins.databases
    ]
    for attempt in attempts:
        first, second = (_said(attempt, database) for database in logins)
        assert re.sub("cells[12]", "cells", first) == re.sub("cells[12]", "cells", second)
    for database in logins:
        database.close()
    connections = twins.connect(role)
    for statement in statements:
        first, second = (told(connection, statement) for connection in connections)
        assert first == second
    for connection in connections:
        connection.close()
    assert [_everything(database) for database in twins.databases] == before


def _said(attempt: Callable[[Database], object], database: Database) -> str:
    try:
        return str(attempt(database))
    except GeosearchError as error:
        return f"{type(error).__name__}: {error.message.replace(database.label, '')}"


def _everything(database: Database) -> list[Any]:
    with database.connection() as connection:
        return [
            connection.execute(
                sql.SQL("SELECT count(*), sum(hashtext(t::text)) FROM geosearch.{} AS t").format(
                    sql.Identifier(table)
                )
            ).fetchone()
            for table in (
                "all_photos",
                "all_collections",
                "models",
                "all_localizations",
                "all_evaluations",
                "all_partitions",
                "all_coverage",
                "all_claims",
            )
        ]
