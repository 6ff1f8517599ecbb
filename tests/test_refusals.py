"""What a server refuses, or why it is lost: each in its own words, at once, with its remedy."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosearch.database import migrations
from geosearch.database.connection import Database, socket_url
from geosearch.database.owner import Owner
from geosearch.database.refusals import MEANINGS, meaning
from geosearch.database.server import PrivateServer
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import DatabaseError, UnreachableError
from tests.command_line import CommandLine
from tests.conftest import running_server, server_folder
from tests.photo_files import gps, photo, photos_at


@pytest.fixture(scope="module")
def own_server() -> Iterator[PrivateServer]:
    """A server of these tests alone, whose database has the schema, and which may be copied."""
    with running_server() as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET wal_level = replica")
            connection.execute("ALTER SYSTEM SET max_wal_senders = 4")
        server.stop()
        server.start()
        migrations.upgrade(server.url)
        yield server


@pytest.fixture
def fresh(own_server: PrivateServer) -> str:
    """URL of a migrated database there, which runs whatever the last test did."""
    own_server.start()
    return own_server.url


def _photos(folder: Path) -> Path:
    (folder / "photos").mkdir()
    (folder / "photos" / "a.jpg").write_bytes(photo(gps(1, 2)))
    return folder / "photos"


@pytest.mark.parametrize("state", ["", *MEANINGS])
def test_every_meaning_has_a_remedy(state: str) -> None:
    assert MEANINGS[state].remedy.endswith(".")


@given(st.from_regex(r"[0-9A-Z]{5}", fullmatch=True))
def test_every_state_has_the_meaning_of_its_class(state: str) -> None:
    assert meaning(state) in (MEANINGS.get(state), MEANINGS.get(state[:2]), MEANINGS[""])


def test_a_read_only_replica_is_searched_and_says_that_it_takes_no_writes(
    own_server: PrivateServer, fresh: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked, *stored) = photos_at(tmp_path / "stored", [(1, 2), (3, 4), (5, 6)])
    primary = CommandLine(fresh, capsys)
    for line in (("ingest", *stored, "--collection", "stored"), ("embed",)):
        assert primary(*line).code == 0
    owner = Owner.of(own_server.data_dir)
    with server_folder() as folder:
        for name in ("replica", "socket"):
            owner.make_folder(folder / name)
        copy = own_server.programs / "pg_basebackup"
        done = owner.run([copy, "-d", fresh, "-D", folder / "replica", "-R", "-c", "fast"], 120)
        assert done[0] == 0, done
        settings = f"-p 5432 -h '' -k {folder / 'socket'} -c config_file={folder}/replica.conf"
        (folder / "replica.conf").write_text(
            "max_wal_senders = 4\nmax_worker_processes = 64\nhot_standby = on\nfsync = off\n"
            "max_locks_per_transaction = 512\n"
        )
        (folder / "replica.conf").chmod(0o644)
        control = own_server.programs / "pg_ctl"
        arguments: list[str | Path] = [
            control,
            "-D",
            folder / "replica",
            "-l",
            folder / "replica" / "log",
        ]
        started = owner.run([*arguments, "-o", settings, "-w", "start"], 120)
        assert started[0] == 0, started
        try:
            url = socket_url(str(folder / "socket"), "geosearch", "geosearch")
            command = CommandLine(url, capsys)
            assert command("collections", "list").code == 0
            found = command("localize", asked, "--no-record", "--json")
            assert (found.code, len(found.json()["neighbours"])) == (0, 2), found.err
            with psycopg.connect(url) as connection:
                row = connection.execute(
                    "SELECT neighbours FROM geosearch.localize_photo(1, %s)", (DEFAULT_MODEL,)
                ).fetchone()
            assert row == (1,)
            for line in (("ingest", _photos(tmp_path), "--collection", "c"), ("borders", "load")):
                ran = command(*line)
                assert ran.code == 5
                assert "refused: it is read-only (cannot execute " in ran.err
                assert "GEOSEARCH_DATABASE_URL; a replica can only be searched" in ran.err
                assert len(ran.err.splitlines()) <= 3
        finally:
            owner.run([*arguments, "-m", "immediate", "-w", "stop"], 60)


def test_a_full_disk_says_so(fresh: str, tmp_path: Path, own_server: PrivateServer) -> None:
    with server_folder() as folder, ExitStack() as stack:
        owner = Owner.of(own_server.data_dir)
        mount = ["mount", "-t", "tmpfs", "-o", f"size=4m,uid={owner.uid},gid={owner.gid}"]
        place = folder / "small"
        place.mkdir(mode=0o755)
        if subprocess.run([*mount, "geosearch", place], capture_output=True).returncode != 0:
            pytest.skip("mounting a small disk is not allowed here")
        stack.callback(lambda: subprocess.run(["umount", place], check=True))
        with psycopg.connect(fresh, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
            stack.callback(_drop_tablespace, fresh)
            connection.execute("CREATE TABLE public.filler (x text) TABLESPACE small")
        with Database(fresh) as database:
            with pytest.raises(DatabaseError) as raised, database.connection() as connection:
                connection.execute(
                    "INSERT INTO public.filler "
                    "SELECT repeat(md5(n::text), 30) FROM generate_series(1, 9999) AS n"
                )
            assert "refused: the disk is full (could not extend file" in raised.value.message
            assert "Make room" in (raised.value.remedy or "")
            assert not isinstance(raised.value, UnreachableError)


def _drop_tablespace(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS public.filler")
        connection.execute("DROP TABLESPACE small")


def _ask(database: Database, *statements: str) -> None:
    with database.connection() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_lost_server_is_told_once_and_at_once(
    own_server: PrivateServer, fresh: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Database(fresh) as database:
        _ask(database, "SELECT 1")
        own_server.stop()
        for _ in range(2):  # the first meets the connection that was there, the second none
            with pytest.raises(UnreachableError, match="lost the database") as raised:
                _ask(database, "SELECT 1")
            assert "Run the same command again" in (raised.value.remedy or "")
    assert caplog.records == []


def test_a_session_that_is_ended_is_lost(database: Database) -> None:
    with pytest.raises(UnreachableError, match="stopped, or this session ended") as raised:
        _ask(database, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert "Run the same command again" in (raised.value.remedy or "")


def test_a_connection_limit_names_what_lowers_the_need(fresh: str) -> None:
    with psycopg.connect(fresh, autocommit=True) as connection:
        connection.execute("CREATE ROLE busy LOGIN CONNECTION LIMIT 1")
    url = fresh.replace("geosearch@", "busy@")
    try:
        with psycopg.connect(url), Database(url) as database:
            with pytest.raises(UnreachableError, match="takes no more connections") as raised:
                database.connection().__enter__()
            assert "GEOSEARCH_POOL_SIZE" in (raised.value.remedy or "")
    finally:
        with psycopg.connect(fresh, autocommit=True) as connection:
            connection.execute("DROP ROLE busy")


@pytest.mark.parametrize(
    ("database", "user", "says", "remedy"),
    [
        ("nowhere", "geosearch", "there is no such database", "Create it"),
        ("geosearch", "nobody", "does not let this user in", "user, password and database"),
    ],
)
def test_who_is_not_let_in_learns_why(
    own_server: PrivateServer, fresh: str, database: str, user: str, says: str, remedy: str
) -> None:
    with pytest.raises(UnreachableError, match=says) as raised:
        migrations.upgrade(socket_url(str(own_server.socket_dir), database, user))
    assert remedy in (raised.value.remedy or "")


def test_a_cancelled_statement_names_the_setting(database: Database) -> None:
    with pytest.raises(DatabaseError, match="the statement was cancelled") as raised:
        _ask(database, "SET LOCAL statement_timeout = 10", "SELECT pg_sleep(5)")
    assert "statement_timeout" in (raised.value.remedy or "")


def test_too_many_locks_name_their_setting_and_no_memory(database: Database) -> None:
    with (
        pytest.raises(DatabaseError, match="no room for so many locks") as error,
        database.connection() as connection,
    ):
        connection.execute(
            "DO $$ BEGIN RAISE 'out of shared memory' USING ERRCODE = '53200', "
            "HINT = 'You might need to increase max_locks_per_transaction.'; END $$"
        )
    assert "max_locks_per_transaction" in str(error.value.remedy)


def test_a_message_has_no_context_of_functions(database: Database) -> None:
    with pytest.raises(DatabaseError) as raised, database.connection() as connection:
        connection.execute(
            "DO $$ BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN "
            "RAISE EXCEPTION 'wrong' USING DETAIL = 'really'; END $$"
        )
    assert raised.value.message.endswith("refused: wrong: really")


def test_a_migration_that_is_cancelled_says_so(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET statement_timeout = 1'.encode())
    with pytest.raises(DatabaseError, match="the statement was cancelled") as raised:
        migrations.upgrade(empty_url)
    assert "statement_timeout" in (raised.value.remedy or "")
