"""What was computed rests on collections, and is shown to those who see all of them."""

from __future__ import annotations

import io
import itertools
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, LiteralString
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from geosearch.calibration.calibration_rows import find_calibration
from geosearch.database.collection_rows import ensure_collection, find_collection, set_private
from geosearch.database.connection import Database
from geosearch.database.inserting import insert, start_run
from geosearch.database.role_grants import grant_role
from geosearch.errors import InputError, NotFoundError
from geosearch.evaluation import evaluate
from geosearch.evaluation.calibrating import calibrate
from geosearch.features.model_rows import find_model
from geosearch.geocells import find_partition, load_classifiers, make_partition
from geosearch.geocells.classifier_fit import fit_classifiers
from geosearch.gis.project import Project
from geosearch.gis.qgis_database import make_project, save_project
from geosearch.layers.selection import Selection
from geosearch.localization import Parameters
from geosearch.localization.answer_rows import load, save
from geosearch.localization.reviews import decide
from geosearch.retrieval import EVERYTHING, Filter, nearest
from geosearch.retrieval.filters import where
from tests.answers import make_answer
from tests.conftest import create_database, drop_database
from tests.rows import add_embeddings, add_model, add_photos

Connection = psycopg.Connection[Any]

DIMENSION, EACH = 8, 60
MODEL = "test/model"
ROLES = ("reader", "analyst", "ingester", "owner")

#: Tables that say nothing of photos, or to geosearch_owner alone: why.
CARRIES_NOTHING = {
    "all_collections": "names; a private one is hidden by itself",
    "alembic_version": "the version of the schema",
    "models": "a network's name, and the sums of its files: weights lie outside the database",
    "indexes": "for geosearch_owner alone: numbers of the open shelf's index",
    "tunings": "times and counts of the open shelf, measured again when a collection moves",
    "leaves": "bounds of parts of the open shelf, rounded, and which index is of each",
    "recall_points": "shares of neighbours found on the open shelf, measured again with tunings",
    "recall_checks": "for geosearch_owner alone: shares of neighbours found",
    "borders": "borders of countries, from a file",
    "places": "towns, from a file",
    "shelf_changes": "how often shelves came or went",
    "embedding_marks": "that embeddings of the open shelf changed, of which of 4,096 photos",
    "shards": "names of servers, where public photos lie, and the box of these",
    "leases": "who works on which model; for those who embed",
    "tokens": "for geosearch_owner alone: which roles have tokens of the server",
}
#: Those whose every row belongs to one collection, and lies on its shelf.
SHELVED = {
    *(
        "all_photos",
        "all_photo_changes",
        "all_write_backs",
        "all_thumbnails",
        "all_rejects",
        "all_files",
        "all_claims",
    ),
    *("all_embeddings", "all_queries", "all_coverage"),
}


@dataclass
class World:
    """Collections `open` and `secret`, the latter private; and a login of each role."""

    database: Database
    model: int
    logins: dict[str, str]

    def connect(self, login: str) -> Connection:
        return psycopg.connect(
            make_conninfo(self.database.url, user=self.logins[login]), autocommit=True
        )

    def opened(self, login: str) -> Database:
        return Database(make_conninfo(self.database.url, user=self.logins[login]))


def fill(database: Database) -> int:
    """Photos of two collections, at places of their own."""
    rng = np.random.default_rng(5)
    with database.connection() as connection:
        model = add_model(connection, DIMENSION, MODEL)
        for name, west in (("open", -20), ("secret", 60)):
            photos = add_photos(
                connection,
                rng.uniform(0, 20, EACH),
                rng.uniform(west, west + 20, EACH),
                collection=name,
                authors=[f"{name}{number % 20}" for number in range(EACH)],
            )
            vectors = rng.normal(size=(EACH, DIMENSION)).astype(np.float32)
            add_embeddings(connection, model, photos, vectors)
    return model


@pytest.fixture(scope="module")
def world(server_url: str, template_database: str) -> Iterator[World]:
    suffix = uuid4().hex[:10]
    logins = {role: f"geosearch_test_{role}_{suffix}" for role in ROLES}
    url = create_database(server_url, template_database)
    with Database(url) as database:
        model = fill(database)
        with database.connection() as connection:
            for role, login in logins.items():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
                grant_role(connection, role, login)
            set_private(connection, "secret", private=True)
        yield World(database, model, logins)
    drop_database(url)
    with psycopg.connect(server_url, autocommit=True) as connection:
        for login in logins.values():
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


# ---- every table ---------------------------------------------------------------------------------

TABLES = """
SELECT c.relname, EXISTS (
    SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'collection_ids'
)
FROM pg_class AS c
WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind IN ('r', 'p', 'm')
    AND NOT c.relispartition
"""
#: Which relations each view reads.
READ = """
SELECT v.relname, t.relname
FROM pg_class AS v
JOIN pg_rewrite AS r ON r.ev_class = v.oid
JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass
JOIN pg_class AS t ON t.oid = d.refobjid AND t.oid <> v.oid
WHERE v.relnamespace = 'geosearch'::regnamespace AND v.relkind = 'v'
GROUP BY 1, 2
"""


def test_every_table_says_which_collections_its_rows_rest_on(world: World) -> None:
    with world.database.connection() as connection:
        tables: dict[str, bool] = dict(connection.execute(TABLES).fetchall())
        recorded = {
            f"all_{name}": whole and f"all_{whole}"
            for name, whole in connection.execute(
                "SELECT name, whole FROM geosearch.recorded_tables()"
            )
        }
    assert set(tables) == set(CARRIES_NOTHING) | SHELVED | set(recorded)
    for table, whole in recorded.items():
        assert tables[table] or (whole is not None and tables[whole]), table


def test_every_view_reads_what_its_caller_may_see(world: World) -> None:
    with world.database.connection() as connection:
        read = connection.execute(READ).fetchall()
        tables: dict[str, bool] = dict(connection.execute(TABLES).fetchall())
    assert len(read) > 20
    for view, relation in read:
        table = re.sub("_(here|elsewhere)$", "", view)
        if f"all_{table}" in tables:  # the view of one table, and its conditions
            own = rf"all_{table}|{table}_(open|c\d+|s\d+|here|elsewhere)|photos_c\d+"
            assert re.fullmatch(own, relation), (view, relation)
        else:
            known = f"all_{relation}" in tables or relation in {*CARRIES_NOTHING, *dict(read)}
            assert known, (view, relation)


# ---- what a filter lets through ------------------------------------------------------------------

NAMES = ("a", "b", "c")
#: A condition that may hold or not: each one is on its own.
FREE = {"accuracy_m": 10.0}

filters = st.recursive(
    st.one_of(
        st.just(FREE),
        st.just({}),
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(lambda n: {"collections": n}),
    ),
    lambda parts: st.one_of(
        parts.map(lambda part: {"not": part}),
        st.lists(parts, max_size=3).map(lambda many: {"and": many}),
        st.lists(parts, max_size=3).map(lambda many: {"or": many}),
    ),
    max_leaves=6,
)


def holds(item: Mapping[str, Any], name: str, free: Iterator[bool]) -> bool:
    """Whether a filter passes a photo of a collection, if its other conditions come out so."""
    found = []
    for key, value in item.items():
        if key == "collections":
            found.append(name in value)
        elif key == "not":
            found.append(not holds(value, name, free))
        elif key in ("and", "or"):
            parts = [holds(part, name, free) for part in value]
            found.append(all(parts) if key == "and" else any(parts))
        else:
            found.append(next(free))
    return all(found)


@pytest.fixture(scope="module")
def plain(module_database: Database) -> Iterator[Connection]:
    with module_database.connection() as connection:
        for name in NAMES:
            ensure_collection(connection, name)
        yield connection


@given(item=filters)
@settings(max_examples=150, deadline=None)
def test_a_filter_admits_the_collections_whose_photos_may_pass(
    plain: Connection, item: dict[str, Any]
) -> None:
    stored = Filter.from_json(item).to_json()  # as it is recorded
    free = json.dumps(item).count("accuracy_m")
    expected = [
        number
        for number, name in enumerate(NAMES, start=1)
        if any(
            holds(item, name, iter(values))
            for values in itertools.product((False, True), repeat=free)
        )
    ]
    for given_ in (item, stored):
        row = plain.execute(
            "SELECT geosearch.admitted_collections(%s)", (json.dumps(given_),)
        ).fetchone()
        assert row == (expected,)


# ---- each kind -----------------------------------------------------------------------------------

#: Over all that the owner sees, and over what everybody sees.
HIDDEN, SHOWN = EVERYTHING, where(collection="open")


def answer_row(database: Database, passing: Filter) -> int:
    with database.connection() as connection:
        made = make_answer(10, 70 if passing == HIDDEN else -10, photo=f"/asked/{uuid4()}.jpg")
        return save(connection, [replace(made, where=passing)])[0]


def evaluation_row(database: Database, passing: Filter) -> int:
    return evaluate(
        database, None, model=MODEL, where=passing, parameters=Parameters("nearest", 5)
    ).id


def calibration_row(database: Database, passing: Filter) -> int:
    row: dict[str, Any] = {name: {} for name in ("parameters", "figures", "options", "software")}
    with database.connection() as connection:
        return insert(
            connection,
            "calibrations",
            row
            | {"model": MODEL, "method": "density", "queries": "", "filter": passing.to_json()}
            | dict.fromkeys(("n_fit", "n_check", "failed"), 1),
        )


def partition_row(database: Database, passing: Filter) -> int:
    made = make_partition(database, f"p{uuid4()}", max_photos=20, where=passing)
    assert made.id is not None
    return made.id


def classifier_row(database: Database, passing: Filter) -> int:
    """Over a partition of public photos alone."""
    made = make_partition(database, f"c{uuid4()}", max_photos=20, where=SHOWN)
    fit_classifiers(database, [made.name], model=MODEL, where=passing, epochs=1)
    with database.connection() as connection:
        known = load_classifiers(connection, find_model(connection, MODEL).id)
    return max(item.id or 0 for item in known)


def run_row(database: Database, passing: Filter) -> int:
    with database.connection() as connection:
        chosen = None if passing == HIDDEN else find_collection(connection, "open")
        return start_run(connection, "embed", chosen, {})


def project_row(database: Database, passing: Filter) -> int:
    """Saved by one who sees all, or by one who sees what everybody sees."""
    name = f"project{uuid4()}"
    with database.connection() as connection:
        if passing != HIDDEN:
            connection.execute("SET LOCAL ROLE geosearch_analyst")
        save_project(connection, name, make_project(connection, "", Selection()))
        row = connection.execute(
            "SELECT id FROM geosearch.qgis_projects WHERE name = %s", (name,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def review_row(database: Database, passing: Filter) -> int:
    answer = answer_row(database, passing)
    with database.connection() as connection:
        return decide(connection, answer, "accept").id


def duplicates_row(database: Database, passing: Filter) -> int:
    """Of two photos that pass."""
    return _row_of_photos(
        database,
        passing,
        """
        INSERT INTO geosearch.duplicates (photo_id, other_id, same_bytes)
        SELECT min(id), max(id), true FROM geosearch.photos WHERE id = ANY(%(ids)s) RETURNING id
        """,
    )


def audit_row(database: Database, passing: Filter) -> int:
    return _row_of_photos(
        database,
        passing,
        """
        INSERT INTO geosearch.audits (
            photo_id, photo_uri, stated, probability, level, filter, parameters, software
        )
        SELECT id, uri, geom, 1, 0, %(filter)s, '{}', '{}' FROM geosearch.photos
        WHERE id = ANY(%(ids)s) LIMIT 1 RETURNING id
        """,
    )


def _row_of_photos(database: Database, passing: Filter, insert: LiteralString) -> int:
    with database.connection() as connection:
        condition, values = passing.compile(connection)
        select = sql.SQL(
            "SELECT photo_id FROM (SELECT id AS photo_id, * FROM geosearch.photos) AS e "
            "WHERE {} ORDER BY 1"
        )
        ids = [key for (key,) in connection.execute(select.format(condition), values)]
        given = {"ids": [ids[0], ids[-1]], "filter": Jsonb(passing.to_json())}
        row = connection.execute(insert, given).fetchone()
    assert row is not None
    return int(row[0])


#: Table → what makes a row of it, and its parts with the column that names the row.
KINDS: dict[str, tuple[Any, dict[LiteralString, LiteralString]]] = {
    "localizations": (
        answer_row,
        {
            "localization_neighbours": "localization_id",
            "localization_regions": "localization_id",
        },
    ),
    "reviews": (review_row, {}),
    "duplicates": (duplicates_row, {}),
    "audits": (audit_row, {}),
    "evaluations": (evaluation_row, {"localizations": "evaluation_id"}),
    "calibrations": (calibration_row, {}),
    "partitions": (partition_row, {"geocells": "partition_id"}),
    "classifiers": (classifier_row, {}),
    "runs": (run_row, {}),
    "qgis_projects": (project_row, {}),
}


def counts(connection: Connection, table: str, parts: Mapping[str, str], key: int) -> list[int]:
    found = []
    for name, column in {table: "id", **parts}.items():
        row = connection.execute(
            sql.SQL("SELECT count({1}) FROM geosearch.{0} WHERE {1} = %s").format(
                sql.Identifier(name), sql.Identifier(column)
            ),
            (key,),
        ).fetchone()
        found.append(0 if row is None else int(row[0]))
    return found


@pytest.mark.parametrize("table", KINDS)
def test_it_is_shown_to_those_who_see_all_it_rests_on(world: World, table: str) -> None:
    make, parts = KINDS[table]
    hidden, shown = make(world.database, HIDDEN), make(world.database, SHOWN)
    for login in ("analyst", "ingester", "owner"):
        with world.connect(login) as connection:
            assert all(counts(connection, table, parts, shown)), login
            assert all(counts(connection, table, parts, hidden)) == (login == "owner"), login
            assert any(counts(connection, table, parts, hidden)) == (login == "owner"), login


@pytest.mark.parametrize("table", ["localizations", "evaluations", "calibrations", "partitions"])
def test_a_filter_that_keeps_a_private_collection_out_tells_nobody_its_name(
    world: World, table: str
) -> None:
    make, parts = KINDS[table]
    key = make(world.database, ~where(collection="secret"))
    for login in ("analyst", "ingester", "owner"):
        with world.connect(login) as connection:
            assert all(counts(connection, table, parts, key)) == (login == "owner"), login


@pytest.mark.parametrize("table", KINDS)
def test_what_becomes_private_later_hides_it_until_it_is_public_again(
    server_url: str, template_database: str, table: str
) -> None:
    make, parts = KINDS[table]
    url = create_database(server_url, template_database)
    with Database(url) as database:
        fill(database)
        with database.connection() as connection:
            ensure_collection(connection, "more")
        keys = {"hidden": make(database, HIDDEN)}
        if table != "qgis_projects":  # which shows all there is
            keys["shown"] = make(database, SHOWN)
        for private in (False, True, False):
            with database.connection() as connection:
                set_private(connection, "secret", private=private)
                connection.execute("SET LOCAL ROLE geosearch_analyst")
                found = {name: counts(connection, table, parts, key) for name, key in keys.items()}
                assert all(found.get("shown", [1]))
                assert all(found["hidden"]) != private
                assert any(found["hidden"]) != private
    drop_database(url)


# ---- by the library ------------------------------------------------------------------------------


def test_others_use_what_an_owner_made_of_public_photos(world: World) -> None:
    answer = answer_row(world.database, SHOWN)
    hidden = answer_row(world.database, HIDDEN)
    made = make_partition(world.database, "everyones", max_photos=20, where=SHOWN)
    own = make_partition(world.database, "owners", max_photos=20)
    calibration = calibrate(world.database, None, model=MODEL, where=SHOWN, k=20, force=True)
    for login in ("reader", "analyst"):
        with world.opened(login) as database:
            with database.connection() as connection:
                assert len(find_partition(connection, made.name)) == len(made)
                assert calibration.id is not None
                assert find_calibration(connection, calibration.id).where == SHOWN
                with pytest.raises(NotFoundError):
                    find_partition(connection, own.name)
                rows = connection.execute(
                    "SELECT id FROM geosearch.gis_estimates WHERE id IN (%s, %s)",
                    (answer, hidden),
                ).fetchall()
                assert rows == [(answer,)]
            if login == "analyst":
                assert load(database, answer).where == SHOWN
                with pytest.raises(NotFoundError):
                    load(database, hidden)


def test_an_answer_rests_on_what_it_was_computed_with_too(world: World) -> None:
    calibration = calibration_row(world.database, HIDDEN)
    classifier = classifier_row(world.database, HIDDEN)
    with world.database.connection() as connection:
        secret = find_collection(connection, "secret")

        def rests(parameters: str, method: str = "density", **columns: Any) -> bool:
            row = connection.execute(
                "INSERT INTO geosearch.localizations (photo_uri, photo_sha256, model, method,"
                " parameters, filter, plan, software, query_embedding, modes, elapsed_ms,"
                " calibration_id) VALUES (%(uri)s, %(bytes)s, '{}', %(method)s, %(parameters)s,"
                """ %(filter)s, '{}', '{}', '[1]', '[]', '{}', %(calibration)s) RETURNING id""",
                {
                    "uri": "/none", "bytes": bytes(32), "calibration": None, "method": method,
                    "filter": '{"collections": ["open"]}', "parameters": parameters, **columns,
                },
            ).fetchone()  # fmt: skip
            assert row is not None
            found = connection.execute(
                "SELECT collection_ids FROM geosearch.localizations WHERE id = %s", row
            ).fetchone()
            assert found is not None
            return secret in found[0]

        assert not rests("{}")
        assert rests("{}", filter="{}")
        assert not rests("{}", filter="{}", method="geocell")
        assert rests("{}", calibration=calibration)
        assert rests(json.dumps({"calibration": calibration}))
        assert rests(json.dumps({"classifiers": [classifier]}), "geocell")
        # The photo that was asked about is a private one.
        uri, sha256 = connection.execute(
            "SELECT uri, sha256 FROM geosearch.photos WHERE collection_id = %s LIMIT 1", (secret,)
        ).fetchall()[0]
        assert rests("{}", uri=uri)
        assert rests("{}", bytes=sha256)


def test_an_evaluation_rests_on_the_photos_it_asked_about(world: World) -> None:
    with world.database.connection() as connection:
        ((uri,),) = connection.execute(
            "SELECT uri FROM geosearch.photos WHERE uri LIKE '%%secret%%' LIMIT 1"
        ).fetchall()

        def evaluation() -> Any:
            return connection.execute(
                "INSERT INTO geosearch.evaluations (queries, model, method, parameters, filter,"
                """ software) VALUES ('', '', 'nearest', '{}', '{"collections": ["open"]}', '{}')"""
                " RETURNING id"
            ).fetchall()[0][0]

        plain, failing, asking = evaluation(), evaluation(), evaluation()
        sweep = evaluation()
        connection.execute(
            "UPDATE geosearch.evaluations SET sweep_id = %s WHERE id = %s", (asking, sweep)
        )
        connection.execute(
            "INSERT INTO geosearch.evaluation_failures (evaluation_id, uri, reason, message) "
            "VALUES (%s, %s, 'missing', '')",
            (failing, uri),
        )
        save(connection, [replace(make_answer(10, -10, photo=uri), where=SHOWN)], asking)
    with world.connect("analyst") as connection:
        rows = connection.execute(
            "SELECT id FROM geosearch.evaluations WHERE id >= %s", (plain,)
        ).fetchall()
        failures = connection.execute(
            "SELECT id FROM geosearch.evaluation_failures WHERE evaluation_id = %s", (failing,)
        ).fetchall()
    assert rows == [(plain,)]
    assert failures == []


def test_a_search_of_public_photos_says_nothing_of_private_ones(world: World) -> None:
    query = np.ones(DIMENSION, np.float32)
    owner = nearest(world.database, world.model, query, 5, SHOWN)
    with world.opened("analyst") as database:
        assert nearest(database, world.model, query, 5, SHOWN).plan == owner.plan
    assert "private" not in owner.plan.reason
    both = nearest(world.database, world.model, query, 5)
    assert "60 private photos were compared" in both.plan.reason


def test_a_project_that_is_shown_tells_no_extent_of_private_photos(world: World) -> None:
    def extents(login: str) -> list[float]:
        """East ends of all rectangles in the projects that are shown to a login."""
        with world.connect(login) as connection:
            found = connection.execute("SELECT content FROM geosearch.qgis_projects").fetchall()
        text = "".join(
            archive.read(name).decode()
            for (content,) in found
            for archive in [zipfile.ZipFile(io.BytesIO(content))]
            for name in archive.namelist()
            if name.endswith(".qgs")
        )
        return [float(x) for x in re.findall(r"<xmax>([^<]+)</xmax>", text)]

    project_row(world.database, HIDDEN)
    project_row(world.database, SHOWN)
    # `secret` lies from 60° to 80° east, answers at 70.
    for login, told in (("reader", False), ("analyst", False), ("owner", True)):
        found = extents(login)
        assert found, login
        assert any(70 < x < 90 for x in found) == told, login


def test_a_project_of_anothers_is_not_replaced(world: World) -> None:
    project = Project("", "", (), {}, (0, 0, 1, 1))
    with world.opened("owner") as database, database.connection() as connection:
        save_project(connection, "taken", project)
        save_project(connection, "taken", project)
    with (
        world.opened("analyst") as database,
        pytest.raises(InputError, match="'taken'"),
        database.connection() as connection,
    ):
        save_project(connection, "taken", project)
