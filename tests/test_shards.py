"""Photos on other servers: answers as if they were here, moves, outages, rights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, LiteralString
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import make_conninfo
from shapely import box

from geosearch.database import migrations
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.database.role_grants import ROLES, grant_role
from geosearch.database.schema_check import check_schema_objects
from geosearch.database.server import PrivateServer
from geosearch.deletion.photo_deletion import delete_photos
from geosearch.deletion.photo_moves import correct_positions
from geosearch.errors import DatabaseError, InputError, NotFoundError, ShardError
from geosearch.retrieval import nearest, neighbours, recall, shard_search
from geosearch.retrieval.batch import nearest_batch
from geosearch.retrieval.filter_check import check_filter
from geosearch.retrieval.filters import EVERYTHING, Filter, Photos, where
from geosearch.retrieval.indexing import index_model
from geosearch.shards.shard_check import check_shards
from geosearch.shards.shard_moves import move_home, move_to_shard
from geosearch.shards.shard_rows import list_shards
from geosearch.shards.shard_setup import add_shard, remove_shard
from tests.command_line import CommandLine
from tests.conftest import create_database, free_port, running_server
from tests.rows import add_embeddings, add_model, add_varied_photos, fetch, looks, places

pytestmark = pytest.mark.system

DIMENSION, COUNT, MODEL = 32, 2400, "test/model"
EAST, WEST = where(bbox=(0, -90, 180, 90)), where(bbox=(-180, -90, -60, 90))
FILTERS: tuple[Filter, ...] = (
    EVERYTHING,
    where(bbox=(10, 0, 60, 70)),
    where(bbox=(170, -90, -120, 90)),
    where(near=(10, 179, 3000)),
    where(near=(89, 0, 2500)),
    where(within=box(-100, 10, 20, 60)),
    where(within=box(-100, 10, -80, 60)) | where(near=(0, 100, 2000)),
    ~where(within=box(-100, 10, 20, 60)) & where(author="author 3"),
    where(author=["author 1", "o'100%"], after=datetime(2012, 1, 1, tzinfo=UTC)),
    where(licence="CC 1", accuracy_m=50, collection="towns"),
    where(exclude_author="author 2"),
    where(author="nobody"),
)


@dataclass
class World:
    """A database with two shards, and another with the same photos and none."""

    database: Database
    whole: Database
    model: int
    servers: dict[str, PrivateServer]
    photos: int
    logins: dict[str, str]

    def query(self, seed: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([9, seed])
        return np.asarray(looks(rng, *places(rng, 1), DIMENSION)[0])

    def ids(self, condition: LiteralString) -> list[int]:
        found = fetch(self.database, f"SELECT id FROM geosearch.photos WHERE {condition}")  # noqa: S608
        return sorted(key for (key,) in found)

    def connect(self, login: str) -> psycopg.Connection[Any]:
        url = make_conninfo(self.database.url, user=self.logins[login])
        connection = psycopg.connect(url, autocommit=True)
        register_vector(connection)
        return connection

    def check_answers(self, count: int = 3) -> None:
        """Neighbours and places here are those of the other database, by Python and by SQL."""
        for number in range(count):
            query = self.query(number)
            for passing in FILTERS:
                here, there = (
                    nearest(each, self.model, query, 20, passing, exact=True)
                    for each in (self.database, self.whole)
                )
                assert here.photo_id.tolist() == there.photo_id.tolist(), str(passing)
                assert here.distance.tolist() == there.distance.tolist()
                assert (here.uri, here.lat.tolist()) == (there.uri, there.lat.tolist())
                assert (here.plan.matches, here.plan.expected_recall) == (there.plan.matches, 1)
                by_index = nearest(self.database, self.model, query, 20, passing)
                assert len(by_index) == len(there)
                assert by_index.plan.expected_recall is not None
            for statement in NEAREST, PLACE:
                here_rows, there_rows = (
                    fetch(each, statement, HalfVector(query), MODEL)
                    for each in (self.database, self.whole)
                )
                assert here_rows == there_rows


NEAREST: LiteralString = """
SELECT photo_id, uri, ST_AsText(geom), distance, expected_recall FROM geosearch.nearest(
    %s, %s, 30, within => ST_MakeEnvelope(-100, -60, 100, 60, 4326), taken_after => '2011-02-03',
    authors => ARRAY['author 1', 'author 2', 'author 5'], not_photos => ARRAY[3], exact => true)
"""
REACHED: LiteralString = """
SELECT id FROM geosearch.photos_here UNION ALL SELECT id FROM geosearch.photos_s1
"""
PLACE: LiteralString = """
SELECT ST_AsText(estimate), agreement, radius_90_km, neighbours
FROM geosearch.localize(%s, %s, 30, exact => true)
"""


def tcp_url(server: PrivateServer) -> str:
    url = server.tcp_url()
    assert url is not None
    return url


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "CURVE_SAMPLE", 20)
        patch.setattr(recall, "SWEEP_SAMPLE", 2)
        patch.setattr(recall, "EF_SEARCHES", (40, 100))
        servers = {
            name: stack.enter_context(running_server(free_port()))
            for name in ("here", "east", "west")
        }
        for server in servers.values():
            migrations.upgrade(server.url)
        database = stack.enter_context(Database(servers["here"].url))
        rng = np.random.default_rng(5)
        with database.connection() as connection:
            model = add_model(connection, DIMENSION, MODEL)
            for name in ("towns", "lakes"):
                lat, lon = places(rng, COUNT // 2)
                photos = add_varied_photos(connection, rng, lat, lon, name)
                add_embeddings(connection, model, photos, looks(rng, lat, lon, DIMENSION))
            connection.execute(
                "INSERT INTO geosearch.all_thumbnails "
                "(photo_id, collection_id, width, height, webp) "
                "SELECT id, collection_id, 1, 1, 'x' FROM geosearch.all_photos WHERE id % 3 = 0"
            )
            connection.execute("SELECT geosearch.refresh_coverage()")
            logins = {name: f"geosearch_test_{name}" for name in ROLES}
            for role, login in logins.items():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
                grant_role(connection, role, login)
        index_model(database, model, DIMENSION, 0.9, 20, force=True)
        database.close()
        name = urlsplit(servers["here"].url).path.removeprefix("/")
        whole = stack.enter_context(Database(create_database(servers["here"].url, name)))
        database = stack.enter_context(Database(servers["here"].url))
        made = World(database, whole, model, servers, COUNT, logins)
        for shard, belonging in (("east", EAST), ("west", WEST)):
            add_shard(database, shard, tcp_url(servers[shard]), belonging)
        move_to_shard(database, "east", batch=500)
        made.check_answers(1)
        move_under_load(made, "west")
        yield made


def move_under_load(world: World, shard: str) -> None:
    """A move during which searches, counts and sums see each photo once."""
    done = threading.Event()
    wrong: list[object] = []
    rounds = 0
    query = world.query(77)
    truth = nearest(world.whole, world.model, query, 50, exact=True).photo_id.tolist()

    def search() -> None:
        nonlocal rounds
        while not done.is_set():
            counted = fetch(world.database, "SELECT count(*), sum(id) FROM geosearch.photos")
            if counted != [(COUNT, COUNT * (COUNT + 1) // 2)]:
                wrong.append(counted)
            found = nearest(world.database, world.model, query, 50, exact=True)
            if found.photo_id.tolist() != truth:
                wrong.append(found.photo_id.tolist())
            by_sql = fetch(
                world.database,
                "SELECT photo_id FROM geosearch.nearest(%s, %s, 50, exact => true)",
                HalfVector(query),
                MODEL,
            )
            if [key for (key,) in by_sql] != truth:
                wrong.append(by_sql)
            rounds += 1

    searching = threading.Thread(target=search)
    searching.start()
    try:
        moved = move_to_shard(world.database, shard, batch=50)
    finally:
        done.set()
        searching.join()
    assert moved.photos > 500
    assert not wrong
    assert rounds > 5


def test_answers_are_those_of_a_database_without_shards(world: World) -> None:
    assert [each.photos for each in list_shards(world.database)] != [0, 0]
    assert (
        0 < fetch(world.database, "SELECT count(*) FROM geosearch.photos_open")[0][0] < COUNT // 2
    )
    world.check_answers()


def test_the_answer_says_how_each_shard_found_its_part(world: World) -> None:
    plan = nearest(world.database, world.model, world.query(1), 20).plan
    assert [part.name for part in plan.shards] == ["east", "west"]
    assert {part.strategy for part in plan.shards} <= {"ann", "exact"}
    assert all((part.expected_recall or 0) >= 0.9 for part in plan.shards)
    assert plan.expected_recall == min(part.expected_recall or 0 for part in plan.shards)
    assert plan.from_json(plan.to_json()) == plan


def test_a_region_asks_only_the_shards_that_it_meets(world: World) -> None:
    for passing, asked in (
        (where(bbox=(10, 0, 60, 70)), ["east"]),
        (where(near=(0, -90, 1000)), ["west"]),
        (where(within=box(-50, 0, -10, 9)), []),
        (where(near=(0, 179, 1000)), ["east", "west"]),
    ):
        plan = nearest(world.database, world.model, world.query(1), 5, passing).plan
        assert [part.name for part in plan.shards] == asked


def test_everything_else_sees_all_photos(world: World) -> None:
    both = (world.database, world.whole)
    queries = np.stack([world.query(number) for number in range(4)])
    here, there = (nearest_batch(each, world.model, queries, 10) for each in both)
    assert here.photo_id.tolist() == there.photo_id.tolist()
    for statement in (
        "SELECT count(*), sum(accuracy_m), min(uri) FROM geosearch.gis_photos",
        "SELECT cell, sum(photos) FROM geosearch.coverage GROUP BY cell ORDER BY cell",
        "SELECT sum(photo_id), count(webp) FROM geosearch.thumbnails",
        "SELECT photo_id FROM geosearch.nearest_to_photo(7, 'test/model', 9, exact => true)",
        "SELECT octet_length(geosearch.mvt(2, 3, 1)) > 0",
    ):
        assert fetch(world.database, statement) == fetch(world.whole, statement), statement
    for each in FILTERS:
        counts = []
        for database in both:
            with database.connection() as connection:
                counts.append(check_filter(connection, each).photos)
        assert counts[0] == counts[1], str(each)


def test_shards_are_checked(world: World) -> None:
    found = check_shards(world.database)
    assert [(each.shard, each.ok, len(each.recall)) for each in found] == [
        ("east", True, 1),
        ("west", True, 1),
    ]
    assert found[0].held["photos"] > found[0].held["thumbnails"] > 0


def test_the_schema_is_as_it_should_be(world: World) -> None:
    assert check_schema_objects(world.database.url).faults == ()


def test_a_reader_reads_what_is_on_shards_and_no_more(world: World) -> None:
    query = HalfVector(world.query(3))
    with world.connect("reader") as connection:
        found = connection.execute(NEAREST, (query, MODEL)).fetchall()
        assert found == fetch(world.whole, NEAREST, query, MODEL)
        counted = connection.execute("SELECT count(id) FROM geosearch.gis_photos").fetchone()
        assert counted == (COUNT,)
        options = connection.execute("SELECT count(umoptions) FROM pg_user_mappings").fetchone()
        assert options == (0,)
        for denied in (
            "SELECT id FROM geosearch.photos_f1",
            "SELECT id FROM geosearch.photos_s1",
            "SELECT exif FROM geosearch.photos",
            "SELECT filter FROM geosearch.shards",
            "DELETE FROM geosearch.photos_f1",
            "UPDATE geosearch.shards SET coming = '{}'",
            "SELECT * FROM dblink('geosearch shard east search', 'SELECT 1') AS t (i int)",
            "SELECT dblink_connect('x', 'geosearch shard east')",
            "SELECT geosearch.ask_shard('east', true, 'SELECT 1')",
            "SELECT geosearch.put_to_shard('east', true, true, '[]', NULL)",
            "SELECT geosearch.await_shard('east', true)",
            "SELECT geosearch.call_home(ARRAY[1])",
            "SELECT geosearch.forget_leaving(1)",
            "SELECT geosearch.drop_shard(1)",
            "SELECT geosearch.send_photos(1)",
            'CREATE FOREIGN TABLE mine (id int) SERVER "geosearch shard east"',
            'CREATE USER MAPPING FOR CURRENT_USER SERVER "geosearch shard east"',
            "SELECT umoptions FROM pg_user_mapping",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(denied.encode())


def test_what_a_reader_asks_a_shard_is_asked_as_a_reader(world: World) -> None:
    asked = "SELECT * FROM geosearch.nearest_on_shards(%s, %s, 3, %s, NULL, true, NULL, false)"
    query = HalfVector(world.query(3))
    with world.connect("reader") as connection:
        for also in (
            "(SELECT count(exif) FROM geosearch.photos_open) > 0",
            "EXISTS (SELECT FROM geosearch.all_photos)",
            "geosearch.set_private(1, true) IS NOT NULL",
            "pg_read_file('PG_VERSION') <> ''",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(asked, (query, world.model, also))
        for also in ("true)); DROP TABLE geosearch.models; --", "'", "$1$", "%s %I"):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="no condition"):
                connection.execute(asked, (query, world.model, also))
    world.check_answers(1)


PUT: LiteralString = "SELECT geosearch.put_to_shards(%s, true, NULL)"
ANSWER: LiteralString = "SELECT geosearch.answers_of_shards('{east}', true)"


def questions(*statements: str, values: tuple[str, ...] = ()) -> str:
    """What the library sends to the shard east."""
    types = [25] * len(values)
    asked = [
        {"name": f"q{number}", "statement": statement, "types": types, "values": values}
        for number, statement in enumerate(statements)
    ]
    return json.dumps([{"shard": "east", "afresh": True, "questions": asked}])


def test_what_the_library_asks_is_one_query_and_a_readers(world: World) -> None:
    new_password = "ALTER ROLE CURRENT_USER PASSWORD 'x'"
    with world.connect("reader") as connection:

        def asked(statement: str, *values: str) -> object:
            connection.execute(PUT, (questions(statement, values=values),))
            row = connection.execute(ANSWER).fetchone()
            return None if row is None else row[0][0]

        said = "o'1 \\ \"; DROP TABLE x; -- $$ %s"
        assert asked("SELECT $1", said) == said
        assert str(asked("SELECT session_user")).startswith("geosearch_shard_")
        for statement, values, refusal in (
            (f"SELECT 1; {new_password}", (), psycopg.errors.InvalidParameterValue),
            (new_password, (), psycopg.errors.SyntaxError),
            ("SELECT $$", (f"$$; {new_password}; --",), psycopg.errors.SyntaxError),
            ("SELECT '", (f"; {new_password}; --",), psycopg.errors.SyntaxError),
            ("SELECT 1 /*", (f"*/; {new_password}; --",), psycopg.errors.SyntaxError),
            ("DELETE FROM geosearch.photos_open", (), psycopg.errors.InsufficientPrivilege),
            ("SELECT exif FROM geosearch.all_photos", (), psycopg.errors.InsufficientPrivilege),
        ):
            with pytest.raises(refusal):
                asked(statement, *values)
        unknown = (json.dumps([{"shard": "host=x", "questions": []}]),)
        assert connection.execute(PUT, unknown).fetchone() == (["there is no such shard"],)
    world.check_answers(1)


def test_parts_that_have_more_than_was_guessed_are_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess = shard_search.guessed_depths
    for wrong in (False, True):
        depths: list[int] = []

        def guessed(*asked: Any, wrong: bool = wrong, depths: list[int] = depths) -> Any:
            guesses = guess(*asked)
            depths.extend(guesses.values())
            return dict.fromkeys(guesses, 3) if wrong else guesses

        monkeypatch.setattr(neighbours, "guessed_depths", guessed)
        for number in range(6):
            query = world.query(number)
            truth = nearest(world.whole, world.model, query, 60, exact=True)
            found = nearest(world.database, world.model, query, 60)
            assert len(found) == 60
            assert np.isin(truth.photo_id, found.photo_id).mean() >= 0.9
            assert (np.diff(found.distance) >= 0).all()
        assert {min(depths), max(depths)} == {6, 60}


def test_a_link_that_was_lost_is_made_anew(world: World) -> None:
    query = world.query(4)
    truth = nearest(world.whole, world.model, query, 20, exact=True).photo_id.tolist()
    for _ in range(2):
        found = nearest(world.database, world.model, query, 20, exact=True)
        assert found.photo_id.tolist() == truth
        with psycopg.connect(world.servers["east"].url) as connection:
            ended = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE usename LIKE 'geosearch_shard_%'"
            ).fetchone()
        assert ended != (0,)


def test_a_search_that_takes_long_is_waited_for(world: World) -> None:
    query = world.query(4)
    truth = nearest(world.whole, world.model, query, 20, exact=True).photo_id.tolist()
    ((ask_shard,),) = fetch(
        world.database,
        "SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p WHERE p.proname = 'ask_shard'",
    )
    assert "statement_timeout = 5000" in ask_shard
    with world.database.connection() as connection:
        connection.execute(ask_shard.replace("= 5000", "= 100").encode())
    try:
        with psycopg.connect(world.servers["east"].url) as other:
            other.execute("LOCK TABLE geosearch.photos_open")
            ended = threading.Timer(0.6, other.rollback)
            ended.start()
            found = nearest(world.database, world.model, query, 20, exact=True)
            assert ended.finished.is_set()
        with world.connect("reader") as connection:
            longer = "SELECT set_config('statement_timeout', '0', false)"
            connection.execute(PUT, (questions(longer, "SELECT pg_sleep(60)::text"),))
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute(ANSWER)
    finally:
        with world.database.connection() as connection:
            connection.execute(ask_shard.encode())
    assert found.photo_id.tolist() == truth


def test_behind_a_pooler_nothing_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geosearch.database.connection.pooled", lambda connection: True)
    with Database(world.database.url) as database:
        replace(world, database=database).check_answers(2)
        with database.searcher() as connection:
            assert connection.links == {}


def test_photos_on_shards_are_changed_here(world: World) -> None:
    east = world.ids("ST_X(geom) > 0")
    moved, gone = east[0], east[1]
    with world.connect("ingester") as connection, Database(connection.info.dsn) as ingester:
        correct_positions(ingester, ids=[moved], to="12.5,-20.25")
        delete_photos(ingester, ids=[gone])
    correct_positions(world.whole, ids=[moved], to="12.5,-20.25")
    delete_photos(world.whole, ids=[gone])
    world.check_answers(1)
    assert [each.moving for each in list_shards(world.database)] == [2, 0]
    assert all(each.ok for each in check_shards(world.database, "east"))
    move_to_shard(world.database, "east", index=False)
    assert [each.moving for each in list_shards(world.database)] == [0, 0]
    world.check_answers(1)


def test_a_collection_on_a_shard_is_not_made_private(world: World) -> None:
    with (
        pytest.raises(DatabaseError, match="on the shard east") as told,
        world.database.connection() as connection,
    ):
        set_private(connection, "towns", private=True)
    assert "shards move east --home" in (told.value.remedy or "")


def test_a_move_that_is_killed_goes_on(world: World) -> None:
    total = fetch(world.database, "SELECT count(*), sum(id) FROM geosearch.photos")
    program = (
        "import sys; from geosearch.database.connection import Database\n"
        "from geosearch.shards.shard_moves import move_home, move_to_shard\n"
        "work = move_home if sys.argv[2] == 'home' else move_to_shard\n"
        "more = {} if sys.argv[2] == 'home' else {'index': False}\n"
        "work(Database(sys.argv[1]), 'west', batch=20, **more)\n"
    )
    for direction in ("home", "away"):
        argv = [sys.executable, "-c", program, world.database.url, direction]
        mover = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        before = fetch(world.database, "SELECT count(*) FROM geosearch.photos_open")
        deadline = time.monotonic() + 60
        while fetch(world.database, "SELECT count(*) FROM geosearch.photos_open") == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.05)
        os.kill(mover.pid, signal.SIGKILL)
        mover.wait()
        assert fetch(world.database, "SELECT count(*), sum(id) FROM geosearch.photos") == total
        world.check_answers(1)
    move_to_shard(world.database, "west", index=False)
    assert fetch(world.database, "SELECT count(*), sum(id) FROM geosearch.photos") == total
    assert all(each.twice == 0 for each in check_shards(world.database))


def test_a_shard_that_is_down_is_named_or_left_out(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    query = world.query(2)
    cli = CommandLine(world.database.url, capsys)
    nearest(world.database, world.model, query, 5)
    port = world.servers["west"].status().port
    world.servers["west"].stop()
    try:
        with pytest.raises(ShardError, match="the shard west cannot be reached") as told:
            nearest(world.database, world.model, query, 5)
        assert told.value.exit_code == 9
        assert "give partial" in (told.value.remedy or "")
        with pytest.raises(ShardError, match="west"):
            fetch(world.database, "SELECT count(*) FROM geosearch.photos")
        # What does not need it does not miss it.
        east = nearest(world.database, world.model, query, 5, EAST, exact=True)
        there = nearest(world.whole, world.model, query, 5, EAST, exact=True)
        assert east.photo_id.tolist() == there.photo_id.tolist()
        with Database(world.database.url, partial=True) as partial:
            found = nearest(partial, world.model, query, 5, exact=True)
            reached = Photos(*(key for (key,) in fetch(partial, REACHED)))
            rest = nearest(world.whole, world.model, query, 5, reached, exact=True)
            assert found.photo_id.tolist() == rest.photo_id.tolist()
            assert found.plan.truncated
            assert [(part.name, part.trouble is None) for part in found.plan.shards] == [
                ("east", True),
                ("west", False),
            ]
            extent = found.plan.shards[1].extent or ""
            assert extent.startswith("POLYGON((-179.")
            counted = fetch(partial, "SELECT count(*) FROM geosearch.photos")
            assert counted == [(len(reached.ids),)]
            said = fetch(
                partial,
                "SELECT DISTINCT reason FROM geosearch.nearest(%s, %s, 5)",
                HalfVector(query),
                MODEL,
            )
            assert "the shard west is missing, which has photos in POLYGON" in said[0][0]
        ran = cli("photos", "list")
        assert (ran.code, "the shard west cannot be reached" in ran.err) == (9, True)
        assert cli("photos", "list", "--partial").code == 0
        ran = cli("shards", "list", "--json")
        assert [each["trouble"] is None for each in ran.json()] == [True, False]
        ran = cli("shards", "check", "--json")
        assert ran.code == 1
        with pytest.raises(ShardError):
            move_to_shard(world.database, "west")
    finally:
        world.servers["west"].start(port)
    world.check_answers(1)


def test_what_is_no_shard_is_refused(world: World) -> None:
    url = tcp_url(world.servers["west"])
    for name, given in (
        ("a'b", url),
        ('a"b', url),
        ("", url),
        ("x" * 33, url),
        ("a\0b", url),
        ("west", url),
        ("new", url + "?options=-csession_authorization%3Dpostgres"),
        ("new", url + "?passfile=/etc/passwd"),
        ("new", "service=other"),
        ("new", "postgresql://u:p@/geosearch?host=/tmp"),
        ("new", "postgresql://u:p@one,two/geosearch"),
        ("new", "postgresql://u@127.0.0.1/geosearch"),
        ("new", "postgresql://u:p'); DROP@127.0.0.1:x/geosearch"),
    ):
        with pytest.raises(InputError):
            add_shard(world.database, name, given, EVERYTHING)
    with pytest.raises(ShardError):
        add_shard(world.database, "new", f"postgresql://u:p@127.0.0.1:{free_port()}/x", EVERYTHING)
    with pytest.raises(DatabaseError, match="in use"):
        add_shard(world.database, "new", url, EVERYTHING)
    with pytest.raises(DatabaseError, match="in use"):
        add_shard(world.database, "new", tcp_url(world.servers["here"]), EVERYTHING)
    empty = create_database(url)
    with pytest.raises(DatabaseError, match="no geosearch schema"):
        add_shard(world.database, "new", empty, EVERYTHING)
    for login in ("reader", "owner"):
        with world.connect(login) as connection, Database(connection.info.dsn) as other:
            for work in (
                lambda: add_shard(other, "new", url, EVERYTHING),
                lambda: move_to_shard(other, "west"),
                lambda: remove_shard(other, "west"),
            ):
                with pytest.raises(DatabaseError, match="may not manage shards"):
                    work()
    with pytest.raises(NotFoundError, match="no shard 'north'"):
        move_home(world.database, "north")
    with pytest.raises(DatabaseError, match="holds"):
        remove_shard(world.database, "west")
    assert [each.name for each in list_shards(world.database)] == ["east", "west"]


def test_photos_come_home_and_shards_go(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    cli = CommandLine(world.database.url, capsys)
    for name in ("east", "west"):
        assert cli("shards", "move", name, "--home", "--json").json()["photos"] > 500
        assert cli("shards", "remove", name, "--json").json() == {"shard": name, "removed": True}
    world.check_answers(1)
    assert list_shards(world.database) == []
    assert fetch(world.database, "SELECT count(*) FROM pg_foreign_server") == [(0,)]
    assert check_schema_objects(world.database.url).faults == ()
    with psycopg.connect(world.servers["east"].url) as connection:
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM geosearch.photos), "
            "(SELECT count(*) FROM pg_roles WHERE rolname LIKE 'geosearch_shard_%')"
        ).fetchone()
    assert rows == (0, 0)
    empty = create_database(tcp_url(world.servers["east"]))
    migrations.upgrade(empty)
    made = cli("shards", "add", "east", "--url", empty, "--json")
    assert (made.code, made.json()["name"]) == (0, "east")
