"""The private server: starts for everyone, survives crashes, lets nobody else in."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosearch.database import postmaster, sizing
from geosearch.database.connection import Database
from geosearch.database.postmaster import Machine, Postmaster
from geosearch.database.server import PrivateServer
from geosearch.errors import InputError, ServerError
from tests.conftest import free_port, running_server, server_folder

AS_ROOT = os.geteuid() == 0
ROOT_ONLY = pytest.mark.skipif(not AS_ROOT, reason="only root drops to another user")
START = """
import sys
from pathlib import Path
from geosearch.database.server import PrivateServer
server = PrivateServer(Path(sys.argv[1]), durable=False)
server.start()
print(server.status().pid, server.url)
"""
COUNTING = """
SELECT count(*)
FROM pg_stat_activity
WHERE query LIKE '%generate_series%' AND pid <> pg_backend_pid()
"""
AS_NOBODY = """
import os, pwd, sys
from pathlib import Path
from geosearch.database.server import PrivateServer
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
server = PrivateServer(Path(sys.argv[1]), durable=False)
server.start()
print(server.stop(), server.status().running)
"""


@pytest.fixture(scope="module")
def shared_server() -> Iterator[PrivateServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def server(shared_server: PrivateServer) -> PrivateServer:
    """One server for all tests, running at the beginning of each, whatever the last one did."""
    shared_server.start()
    return shared_server


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def pid_of(server: PrivateServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def test_starting_a_running_server_leaves_it_alone(server: PrivateServer) -> None:
    before = pid_of(server)
    server.start()
    assert pid_of(server) == before


def test_status_tells_where_and_how_big(server: PrivateServer) -> None:
    status = server.status()
    assert status.running
    assert status.version == str(ask(server.url, "SHOW server_version")).split(".")[0]
    assert status.socket == server.data_dir / "socket"
    assert status.port is None
    assert status.size > int(str(ask(server.url, "SELECT pg_database_size('geosearch')")))


def test_only_the_owner_enters_the_socket_and_data_folders(server: PrivateServer) -> None:
    for name in ("socket", "postgres", "log"):
        assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o700


def test_nothing_listens_on_tcp_unless_asked(server: PrivateServer) -> None:
    assert ask(server.url, "SHOW listen_addresses") == ""
    assert server.tcp_url() is None


def test_the_server_never_runs_as_root(server: PrivateServer) -> None:
    assert Path(f"/proc/{pid_of(server)}").stat().st_uid != 0


def test_the_server_is_apart_from_the_terminal_that_started_it(server: PrivateServer) -> None:
    assert os.getsid(pid_of(server)) != os.getsid(0)


def test_the_url_ignores_the_environment(
    server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "nowhere.invalid")
    monkeypatch.setenv("PGDATABASE", "postgres")
    assert ask(server.url, "SELECT current_database()") == "geosearch"


def test_pages_carry_checksums_and_text_is_utf8(server: PrivateServer) -> None:
    assert ask(server.url, "SHOW data_checksums") == "on"
    assert ask(server.url, "SHOW server_encoding") == "UTF8"


def test_settings_are_sized_to_the_machine(server: PrivateServer) -> None:
    wanted = sizing.settings(sizing.Machine.here())
    for name in ("jit", "wal_level", "max_parallel_maintenance_workers"):
        assert ask(server.url, f"SHOW {name}") == wanted[name]
    megabytes = "SELECT setting::bigint * 8 / 1024 FROM pg_settings WHERE name = 'shared_buffers'"
    assert f"{ask(server.url, megabytes)}MB" == wanted["shared_buffers"]


def test_data_survive_a_restart(server: PrivateServer) -> None:
    execute(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert server.stop()
    assert not server.status().running
    assert not server.stop()
    server.start()
    assert ask(server.url, "SELECT answer FROM kept") == 42


def test_a_killed_server_starts_again_with_all_commits(server: PrivateServer) -> None:
    execute(server.url, "CREATE TABLE committed AS SELECT 7 AS answer")
    # A worker that is busy when its server dies does not notice, and keeps the memory in use.
    busy = threading.Thread(target=count_for_long, args=(server.url,))
    busy.start()
    while not ask(server.url, COUNTING):
        time.sleep(0.01)
    killed = pid_of(server)
    os.kill(killed, signal.SIGKILL)
    while server.status().running:
        time.sleep(0.01)
    server.start()
    busy.join(timeout=30)
    assert not busy.is_alive()
    assert pid_of(server) != killed
    assert ask(server.url, "SELECT answer FROM committed") == 7


def count_for_long(url: str) -> None:
    with suppress(psycopg.OperationalError):
        ask(url, "SELECT count(*) FROM generate_series(1, 9999999999)")


def test_a_pid_file_that_names_another_process_is_not_believed(server: PrivateServer) -> None:
    server.stop()
    owner = (server.data_dir / "postgres").stat()
    drop = {"user": owner.st_uid, "group": owner.st_gid} if AS_ROOT else {}
    innocent = subprocess.Popen(["sleep", "60"], **drop)  # type: ignore[call-overload]
    try:
        stale = f"{innocent.pid}\n{server.data_dir}/postgres\n1\n5432\n{server.socket_dir}\n"
        for file in ("postgres/postmaster.pid", "socket/.s.PGSQL.5432.lock"):
            (server.data_dir / file).write_text(stale)
        assert not server.status().running
        server.start()
        assert innocent.poll() is None
        assert ask(server.url, "SELECT 1") == 1
    finally:
        innocent.kill()
        innocent.wait()


def test_processes_that_start_at_once_share_one_server(server: PrivateServer) -> None:
    server.stop()
    command = [sys.executable, "-c", START, str(server.data_dir)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    answers = {starter.communicate()[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert answers == {f"{pid_of(server)} {server.url}\n".encode()}


def test_a_server_of_another_machine_is_not_started_twice(
    server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pid_of(server)
    elsewhere = Machine("elsewhere", "another start")
    with monkeypatch.context() as there:
        there.setattr(postmaster, "command", lambda _pid: "")  # its pid is nobody here
        there.setattr(Machine, "here", lambda: elsewhere)
        there.setattr(Postmaster, "accepts", False)  # nor do sockets reach across machines
        for act in (server.start, server.stop):
            with pytest.raises(ServerError, match=f"was started on {socket.gethostname()}") as told:
                act()
            assert "Run there: geosearch db stop" in (told.value.remedy or "")
    assert pid_of(server) == before
    assert ask(server.url, "SELECT 1") == 1


def test_a_server_that_recovers_from_the_crash_of_a_backend_is_waited_for(
    server: PrivateServer,
) -> None:
    with psycopg.connect(server.url) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        said = ""
        with suppress(psycopg.OperationalError):
            victim.execute("SELECT 1")
    while "in recovery mode" not in said:  # then it is, for a moment
        try:
            with psycopg.connect(server.url):
                break  # a fast machine: it was over at once
        except psycopg.OperationalError as error:
            said = str(error)
    with Database(server.url) as database, database.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_machine_that_crashed_and_started_again_starts_its_server(server: PrivateServer) -> None:
    killed = pid_of(server)
    os.kill(killed, signal.SIGKILL)
    while server.status().running:
        time.sleep(0.01)
    name, _ = (server.data_dir / "machine").read_text().splitlines()
    (server.data_dir / "machine").write_text(f"{name}\nan earlier start\n")
    server.start()
    assert pid_of(server) != killed


def test_a_server_that_was_stopped_is_started_by_any_machine(server: PrivateServer) -> None:
    server.stop()
    (server.data_dir / "machine").write_text("elsewhere\nanother start\n")
    server.start()
    assert (server.data_dir / "machine").read_text().splitlines() == list(Machine.here())


@ROOT_ONLY
def test_a_server_of_another_container_is_not_started_twice(server: PrivateServer) -> None:
    before = pid_of(server)
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--uts"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode != 0:
        pytest.skip("namespaces are not allowed here")
    command = [sys.executable, "-c", START, str(server.data_dir)]
    named = ["sh", "-c", 'hostname elsewhere && exec "$@"', "sh", *command]
    done = subprocess.run([*apart, *named], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "and not stopped there" in done.stderr
    assert pid_of(server) == before


def test_tcp_wants_the_password(server: PrivateServer) -> None:
    port = free_port()
    server.start(port=port)
    url = server.tcp_url()
    assert url is not None
    assert urlsplit(url).port == port == server.status().port
    assert ask(url, "SELECT inet_server_addr() <<= '127.0.0.0/8'") is True
    password = server.data_dir / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    wrong = url.replace(str(urlsplit(url).password), "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(f"postgresql://geosearch@127.0.0.1:{port}/geosearch")
    assert ask(server.url, "SELECT 1") == 1
    server.stop()
    server.start()
    assert server.tcp_url() is None


def test_a_server_in_use_is_not_restarted_for_a_port(server: PrivateServer) -> None:
    before = pid_of(server)
    with psycopg.connect(server.url), pytest.raises(ServerError, match="programs are connected"):
        server.start(port=free_port())
    assert pid_of(server) == before


def test_a_taken_port_is_an_error_with_the_reason(server: PrivateServer) -> None:
    server.start()
    before = pid_of(server)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken"):
            server.start(port=port)
    assert pid_of(server) == before


def test_a_restart_that_fails_brings_the_server_back_as_it_was(
    server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    # Taken only after it was looked at.
    monkeypatch.setattr("geosearch.database.server._check_free", lambda _port: None)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        with pytest.raises(ServerError, match="Address already in use"):
            server.start(port=taken.getsockname()[1])
        assert ask(server.url, "SELECT 1") == 1
        assert server.status().port is None


def test_a_privileged_port_is_refused(server: PrivateServer) -> None:
    with pytest.raises(InputError, match="80 is not a port"):
        server.start(port=80)


def test_awkward_and_long_folders_work() -> None:
    with server_folder() as folder:
        data_dir = folder / 'it\'s, a "folder" \\ with a näme' / ("long" * 30)
        server = PrivateServer(data_dir, durable=False)
        # What a start that was killed in the middle leaves behind.
        data_dir.mkdir(parents=True)
        (data_dir / "postgres.new").mkdir()
        (data_dir / "postgres.new" / "PG_VERSION").write_text("half a database")
        server.start()
        try:
            assert ask(server.url, "SELECT 1") == 1
            assert server.status().socket.parent == Path("/tmp")
            assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        finally:
            server.stop()
            server.socket_dir.rmdir()
        # Someone else could wait for us at the well-known place.
        server.socket_dir.mkdir(mode=0o755)
        try:
            with pytest.raises(ServerError, match=r"only the user .* may enter"):
                server.start()
        finally:
            server.socket_dir.rmdir()


@ROOT_ONLY
def test_an_ordinary_user_has_a_server_too() -> None:
    with server_folder() as folder:
        folder.chmod(0o777)
        # Drops only after the imports: nobody may be unable to read this checkout.
        command = [sys.executable, "-c", AS_NOBODY, str(folder / "mine")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "True False\n"), done.stderr
        assert (folder / "mine" / "postgres").owner() == "nobody"


@ROOT_ONLY
@pytest.mark.parametrize("planted", ["lock", "password", "postgres/geosearch.conf"])
@pytest.mark.parametrize("owned_by_root", [True, False])
def test_a_link_in_the_servers_folder_leads_root_nowhere(
    server: PrivateServer, planted: str, owned_by_root: bool, tmp_path: Path
) -> None:
    server.stop()
    target = tmp_path / "of-root"
    target.write_text("precious")
    target.chmod(0o600)
    link = server.data_dir / planted
    kept = link.read_bytes() if link.exists() else None
    before = server.data_dir.stat()
    user = (server.data_dir / "postgres").stat()
    if not owned_by_root:
        os.chown(server.data_dir, user.st_uid, user.st_gid)
    try:
        for place in (target, tmp_path / "not-there"):
            link.unlink(missing_ok=True)
            link.symlink_to(place)
            os.chown(link, user.st_uid, user.st_gid, follow_symlinks=False)
            with pytest.raises(ServerError, match=f"{planted} is no regular file"):
                server.start(port=free_port())
            if planted == "password":  # it is wanted last
                server.stop()
        assert target.read_text() == "precious"
        assert (target.stat().st_uid, sorted(tmp_path.iterdir())) == (0, [target])
    finally:
        link.unlink()
        if kept is not None:
            link.write_bytes(kept)
            os.chown(link, user.st_uid, user.st_gid)
        os.chown(server.data_dir, before.st_uid, before.st_gid)


@ROOT_ONLY
def test_root_reads_and_appends_through_no_link(server: PrivateServer, tmp_path: Path) -> None:
    """Of what is read, and of what PostgreSQL's own files are, a link leads where its user may."""
    server.stop()
    secret = tmp_path / "of-root"
    secret.write_text("1\n/\n1\n5432\n/planted\n\n\nready\n")
    secret.chmod(0o600)
    tmp_path.chmod(0o700)
    user = (server.data_dir / "postgres").stat()
    for name in ("postgres/postmaster.pid", "log/server.log"):
        file = server.data_dir / name
        kept = file.read_bytes() if file.exists() else None
        file.unlink(missing_ok=True)
        file.symlink_to(secret)
        os.chown(file, user.st_uid, user.st_gid, follow_symlinks=False)
        assert "planted" not in server.url
        if name.startswith("log"):
            with pytest.raises(ServerError) as refused:
                server.start()
            assert "planted" not in str(refused.value)
        assert secret.read_text().startswith("1\n/\n1\n")
        file.unlink()
        if kept is not None:
            file.write_bytes(kept)
            os.chown(file, user.st_uid, user.st_gid)


@ROOT_ONLY
def test_root_keeps_its_own_rights_afterwards(server: PrivateServer) -> None:
    rights = os.geteuid(), os.getegid(), os.getgroups()
    server.start()
    assert server.status().running
    with pytest.raises(InputError):
        server.start(port=80)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == rights
    for name in ("lock", "log/server.log", "postgres/geosearch.conf"):
        assert (server.data_dir / name).stat().st_uid != 0


@ROOT_ONLY
def test_a_pipe_in_place_of_a_file_is_refused_not_waited_for(server: PrivateServer) -> None:
    server.stop()
    lock = server.data_dir / "lock"
    lock.unlink()
    os.mkfifo(lock)
    user = (server.data_dir / "postgres").stat()
    os.chown(lock, user.st_uid, user.st_gid)
    try:
        with pytest.raises(ServerError, match="is no regular file"):
            server.start()
    finally:
        lock.unlink()


@ROOT_ONLY
def test_a_folder_the_server_cannot_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    with pytest.raises(ServerError, match="who may not enter"):
        PrivateServer(closed / "data").start()


def test_a_database_of_another_version_needs_that_version() -> None:
    with server_folder() as folder:
        (folder / "postgres").mkdir()
        (folder / "postgres" / "PG_VERSION").write_text("99\n")
        with pytest.raises(ServerError, match="no PostgreSQL 99 with PostGIS and pgvector"):
            _ = PrivateServer(folder).programs


def test_the_data_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEARCH_DATA_DIR", str(tmp_path / "here"))
    assert PrivateServer().data_dir == tmp_path / "here"
    monkeypatch.delenv("GEOSEARCH_DATA_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert PrivateServer().data_dir == tmp_path / "xdg" / "geosearch"


@given(
    memory=st.integers(2**28, 2**42),
    processors=st.integers(1, 512),
    shared=st.none() | st.integers(0, 2**40),
)
def test_settings_fit_every_machine(memory: int, processors: int, shared: int | None) -> None:
    chosen = sizing.settings(sizing.Machine(memory, processors, shared))

    def size(name: str) -> int:
        return int(chosen[name].removesuffix("MB")) * 2**20

    assert size("shared_buffers") + size("maintenance_work_mem") <= memory / 2
    assert size("work_mem") <= size("maintenance_work_mem")
    assert int(chosen["max_parallel_workers"]) <= int(chosen["max_worker_processes"])
    if chosen.get("dynamic_shared_memory_type") == "posix":
        assert shared is not None
        assert size("maintenance_work_mem") < shared


def test_dockers_small_shared_memory_is_left_alone() -> None:
    small = sizing.settings(sizing.Machine(8 * 2**30, 4, 64 * 2**20))
    roomy = sizing.settings(sizing.Machine(8 * 2**30, 4, 4 * 2**30))
    assert small["dynamic_shared_memory_type"] == "sysv"
    assert roomy["dynamic_shared_memory_type"] == "posix"
