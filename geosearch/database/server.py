"""The private PostgreSQL server: geosearch's own, in the user's data directory.

It speaks over a Unix socket in a folder that only its user may enter, and over TCP only when
asked. It outlives the command that started it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import psycopg
from psycopg import sql

from geosearch.arguments import at_home
from geosearch.database import binaries, postmaster, sizing
from geosearch.database.connection import socket_url
from geosearch.database.owner import Owner
from geosearch.database.postmaster import Machine, Postmaster
from geosearch.database.refusals import unreached
from geosearch.errors import GeosearchError, InputError, ServerError
from geosearch.settings import ServerSettings

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="PrivateServer")

DATABASE = "geosearch"
ROLE = "geosearch"

_DEFAULT_PORT = 5432  # names the socket; nothing listens on it unless asked
_TCP_HOST = "127.0.0.1"
_CONFIGURATION = "geosearch.conf"
_UNFINISHED = "postgres.new"
_SOCKET_PATH_LIMIT = 103  # bytes; macOS, the strictest
_LOG_LIMIT = 10 * 2**20

# For tests only: a crash of the machine would lose the database, one of the server would not.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


def _as_owner(work: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that works as the server's user; a file that cannot be used is named in words."""

    @wraps(work)
    def done(self: S, /, *given: P.args, **named: P.kwargs) -> R:
        try:
            with self._owner.acting():
                return work(self, *given, **named)
        except GeosearchError:
            raise
        except psycopg.Error as error:
            raise unreached(error, self.label) from error
        except OSError as error:
            raise ServerError(
                f"{error.filename or self.data_dir} cannot be used: {error.strerror or error}",
                "Set GEOSEARCH_DATA_DIR to a folder that you may write to, with room on its disk.",
            ) from error

    return done


@dataclass(frozen=True)
class Status:
    """What there is of a private server.

    Attributes
    ----------
    version
        PostgreSQL's major version; None before the first start.
    port
        The TCP port, None where it listens on its socket only.
    size
        Bytes on disk.
    """

    running: bool
    pid: int | None
    version: str | None
    data_dir: Path
    socket: Path
    port: int | None
    size: int


class PrivateServer:
    """A PostgreSQL server that belongs to geosearch.

    Parameters
    ----------
    data_dir
        Where it keeps everything. Default: `GEOSEARCH_DATA_DIR`, else the user's data directory
        (`/var/lib/geosearch` for root, whose home no unprivileged server can enter).
    durable
        False trades safety from power failure for speed: for tests.

    Raises
    ------
    ServerError
        `data_dir` belongs to another user.
    """

    def __init__(self, data_dir: Path | None = None, *, durable: bool = True) -> None:
        chosen = data_dir or ServerSettings().data_dir or default_data_dir()
        self.data_dir = at_home(chosen).resolve()
        try:
            str(self.data_dir).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the name of the data directory is not UTF-8: {str(self.data_dir)!a}",
                "Set GEOSEARCH_DATA_DIR to another folder.",
            ) from error
        self._durable = durable
        self._owner = Owner.of(self.data_dir)
        self._pgdata = self.data_dir / "postgres"
        self._log = self.data_dir / "log" / "server.log"
        self._password = self.data_dir / "password"
        self._machine = self.data_dir / "machine"
        self._configuration = self._pgdata / _CONFIGURATION

    @property
    def label(self) -> str:
        """How messages speak of it."""
        return f"private server in {self.data_dir}"

    @property
    @_as_owner
    def url(self) -> str:
        """libpq URL of the database `geosearch`, over the Unix socket."""
        return self._url(DATABASE)

    @property
    def socket_dir(self) -> Path:
        """The folder of the Unix socket."""
        beside = self.data_dir / "socket"
        longest = os.fsencode(beside / ".s.PGSQL.65535")
        # libpq reads a comma in `host` as the start of another host.
        if len(longest) <= _SOCKET_PATH_LIMIT and b"," not in longest:
            return beside
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path("/tmp") / f"geosearch-{self._owner.uid}-{digest}"

    @_as_owner
    def tcp_url(self) -> str | None:
        """libpq URL over TCP, password included; None if the server is not on TCP."""
        running = self._running()
        if running is None or not running.listens:
            return None
        with self._owner.open(self._password, "r") as file:
            password = quote(file.read().strip(), safe="")
        return f"postgresql://{ROLE}:{password}@{_TCP_HOST}:{running.port}/{DATABASE}"

    @_as_owner
    def start(self, port: int | None = None, *, timeout: float = 120) -> None:
        """Start the server where it is not running, creating everything at the first start.

        Parameters
        ----------
        port
            Also listen on this TCP port of localhost, with a password (see `tcp_url`). A running
            server is restarted for it, if nobody is connected.
        timeout
            Seconds to wait until it takes connections.

        Raises
        ------
        InputError
            `port` is no port number, or is taken.
        ServerError
            With the last lines of the log where the server said why.
        """
        if self._serves(self._running(), port):
            return
        if port is not None and not 1024 <= port <= 65535:
            raise InputError(f"{port} is not a port for a user's server", "Use 1024 to 65535.")
        self._make_data_dir()
        with self._lock(timeout):
            running = self._settled(timeout)
            if self._serves(running, port):
                return
            if port is not None:
                _check_free(port)
            if running is None:
                self._check_elsewhere()
            else:
                self._check_idle()
                self._stop(timeout)
            installation = self._initialise(timeout)
            before = self._configure(port)
            try:
                self._launch(installation, timeout)
            except ServerError:
                if running is not None:
                    with self._owner.open(self._configuration, "w") as file:
                        file.write(before)
                    self._launch(installation, timeout)
                raise
            self._prepare(port)

    @_as_owner
    def stop(self, *, timeout: float = 120) -> bool:
        """Stop the server, ending open connections; False if it was not running.

        Raises
        ------
        ServerError
            It does not stop within `timeout` seconds.
        """
        if not self._pgdata.exists():
            return False
        with self._lock(timeout):
            if self._settled(timeout) is None:
                self._check_elsewhere()
                return False
            self._stop(timeout)
        return True

    @_as_owner
    def sessions(self) -> int:
        """Programs that are connected; the server must run."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            row = connection.execute(_COUNT_OTHERS).fetchone()
        return int(row[0]) if row else 0

    @_as_owner
    def destroy(self, *, timeout: float = 120) -> bool:
        """Stop it and remove all that it made; False if there is no database.

        What else is in its folder stays. A killed run leaves what the next start, or run, removes.

        Raises
        ------
        ServerError
            As `stop`; or the folder `postgres` is not a server's.
        """
        if not self._pgdata.exists():
            return False
        if not (self._pgdata / "PG_VERSION").is_file():
            raise ServerError(f"{self._pgdata} is not a server's", "Remove it by hand.")
        with self._lock(timeout):
            if self._settled(timeout) is None:
                self._check_elsewhere()
            else:
                self._stop(timeout)
            unfinished = self.data_dir / _UNFINISHED
            with self._owner.acting_in(self.data_dir):
                shutil.rmtree(unfinished, ignore_errors=True)
                self._pgdata.rename(unfinished)
            shutil.rmtree(unfinished, ignore_errors=True)
            logs = (self._log, self._log.with_suffix(".log.old"))
            with self._owner.acting_in(self.data_dir):
                for file in (*logs, self._password, self._machine, self.data_dir / "lock"):
                    file.unlink(missing_ok=True)
                for folder in (unfinished, self._log.parent, self.socket_dir):
                    if folder.is_dir() and not any(folder.iterdir()):
                        folder.rmdir()
        # Not where something else is in it, or in a folder of somebody else's.
        with suppress(OSError), self._owner.acting_in(self.data_dir.parent):
            self.data_dir.rmdir()
        return True

    def status(self) -> Status:
        """Whether it runs, where, and how big it is."""
        return self._status(_size(self.data_dir))  # follows no link, and may list every folder

    @_as_owner
    def _status(self, size: int) -> Status:
        running = self._running()
        return Status(
            running=running is not None and running.accepts,
            pid=running.pid if running else None,
            version=str(self._major()) if self._pgdata.exists() else None,
            data_dir=self.data_dir,
            socket=running.socket_dir if running else self.socket_dir,
            port=running.port if running and running.listens else None,
            size=size,
        )

    @property
    @_as_owner
    def programs(self) -> Path:
        """Folder of PostgreSQL's programs (`psql`, …) of this server's version.

        Raises
        ------
        ServerError
            No suitable PostgreSQL is installed.
        """
        return self._installation().bin

    def _url(self, database: str) -> str:
        running = self._running()
        folder = running.socket_dir if running else self.socket_dir
        port = running.port if running else _DEFAULT_PORT
        return socket_url(str(folder), database, ROLE, port)

    def _running(self) -> Postmaster | None:
        return postmaster.find(self._pgdata)

    @staticmethod
    def _serves(running: Postmaster | None, port: int | None) -> bool:
        """Whether it takes connections, on TCP `port` too where one is asked for."""
        if running is None or not running.accepts:
            return False
        return port is None or (running.listens and running.port == port)

    def _settled(self, timeout: float) -> Postmaster | None:
        """The running server once it is neither starting nor stopping."""
        deadline = time.monotonic() + timeout
        while (running := self._running()) is not None and not running.accepts:
            if time.monotonic() > deadline:
                raise self._failure(f"the server is still {running.state} after {timeout:.0f} s")
            time.sleep(0.05)
        return running

    def _check_elsewhere(self) -> None:
        with self._owner.open(self._machine, "r") as file:
            name, start, *_ = [*file.read().splitlines(), "", ""]
        if postmaster.runs_elsewhere(self._pgdata, self.socket_dir, Machine(name, start)):
            raise ServerError(
                f"the server in {self.data_dir} was started on {name or 'another machine'} and not "
                "stopped there: two servers on the same files would destroy them",
                "Run there: geosearch db stop. If that machine is gone for good, remove "
                f"{self._pgdata / 'postmaster.pid'}.",
            )

    def _make_data_dir(self) -> None:
        self._owner.make_home(self.data_dir)
        self._owner.check_reach(self.data_dir)
        for folder in (self._log.parent, self.socket_dir):
            self._owner.make_folder(folder)

    @contextmanager
    def _lock(self, timeout: float) -> Iterator[None]:
        """Only one process at a time starts or stops the server."""
        with self._owner.open(self.data_dir / "lock", "a") as lock:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ServerError(
                            f"another process has been starting or stopping the server in "
                            f"{self.data_dir} for {timeout:.0f} s"
                        ) from None
                    time.sleep(0.02)
            yield

    def _major(self) -> int:
        return int((self._pgdata / "PG_VERSION").read_text(encoding="utf-8"))

    def _installation(self) -> binaries.Installation:
        # A data directory can only be read by the major version that made it.
        return binaries.suitable(self._major() if self._pgdata.exists() else None)

    def _initialise(self, timeout: float) -> binaries.Installation:
        installation = self._installation()
        if self._pgdata.exists():
            return installation
        # Made aside and renamed when whole, so that a killed start leaves no half database.
        fresh = self.data_dir / _UNFINISHED
        with self._owner.acting_in(self.data_dir):
            shutil.rmtree(fresh, ignore_errors=True)
        self._owner.make_folder(fresh)
        arguments: list[str | Path] = [
            installation.bin / "initdb",
            f"--pgdata={fresh}",
            f"--username={ROLE}",
            "--encoding=UTF8",
            f"--locale={'C' if sys.platform == 'darwin' else 'C.UTF-8'}",
            "--auth-local=trust",  # who can enter the socket's folder is the server's user
            "--auth-host=scram-sha-256",
            "--data-checksums",
            "--no-instructions",
        ]
        if not self._durable:
            arguments.append("--no-sync")
        code, output = self._owner.run(arguments, timeout)
        if code != 0:
            raise ServerError(f"initdb failed in {fresh}:\n{output}")
        with self._owner.open(fresh / "postgresql.conf", "a") as configuration:
            configuration.write(
                "\n# Written by geosearch at each start; settings below this line win.\n"
                f"include_if_exists = '{_CONFIGURATION}'\n"
            )
        with self._owner.acting_in(self.data_dir):
            fresh.rename(self._pgdata)
        return installation

    def _configure(self, port: int | None) -> str:
        """Write the configuration; gives what it was before."""
        # PostgreSQL reads the folder as a list; double quotes keep a path with commas whole.
        folder = str(self.socket_dir).replace('"', '""')
        values = sizing.settings(sizing.Machine.here()) | {
            "listen_addresses": _TCP_HOST if port else "",
            "port": str(port or _DEFAULT_PORT),
            "unix_socket_directories": f'"{folder}"',
            "unix_socket_permissions": "0700",
            "password_encryption": "scram-sha-256",
            "log_checkpoints": "off",
        }
        if not self._durable:
            values |= _NOT_DURABLE
        lines = [f"{name} = '{_escape(value)}'\n" for name, value in values.items()]
        with self._owner.open(self._configuration, "r") as file:
            before = file.read()
        with self._owner.open(self._configuration, "w") as file:
            file.writelines(lines)
        return before

    def _launch(self, installation: binaries.Installation, timeout: float) -> None:
        postmaster.clear_remains(self._pgdata, self.socket_dir)
        with self._owner.open(self._machine, "w") as file:
            file.write("\n".join(Machine.here()) + "\n")
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.old"))
        # The shell leaves the server to init, so that it is nobody's child.
        shell = ("/bin/sh", "-c", _IN_BACKGROUND)
        program = installation.bin / "postgres"
        _, pid = self._owner.run([*shell, program, self._pgdata, self._log], timeout)
        deadline = time.monotonic() + timeout
        silent = 0
        while (running := self._running()) is None or not running.accepts:
            # While the shell turns into PostgreSQL, it has no command for a moment.
            silent = 0 if postmaster.command(int(pid)) else silent + 1
            dead = silent > 5
            if dead or time.monotonic() > deadline:
                verdict = "did not start" if dead else f"is not ready after {timeout:.0f} s"
                raise self._failure(f"the private server in {self.data_dir} {verdict}")
            time.sleep(0.02)

    def _prepare(self, port: int | None) -> None:
        """What a started server needs: its database, and a password where it is on TCP."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            known = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
            ).fetchone()
            if not known:
                name = sql.Identifier(DATABASE)
                connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
            if port is not None:
                self._set_password(connection)

    def _set_password(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        with self._owner.open(self._password, "r+") as file:
            password = file.read().strip()
            if not password:
                password = secrets.token_urlsafe(24)
                file.write(f"{password}\n")
        # Hashed on this side, so that it appears in no log.
        hashed = connection.pgconn.encrypt_password(
            password.encode(), ROLE.encode(), b"scram-sha-256"
        ).decode()
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(hashed))
        )

    def _check_idle(self) -> None:
        others = self.sessions()
        if others:
            raise ServerError(
                f"{others} programs are connected to the private server, which must restart to "
                "change its port",
                "Close them, or run: geosearch db stop",
            )

    def _stop(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        running = self._running()
        if running is not None:
            os.kill(running.pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
        while self._running() is not None:
            if time.monotonic() > deadline:
                raise self._failure(f"the private server in {self.data_dir} did not stop")
            time.sleep(0.02)

    def _failure(self, message: str) -> ServerError:
        try:
            tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        except OSError:
            tail = []
        said = "\n".join(f"  {line}" for line in tail)
        return ServerError(f"{message}; the end of {self._log}:\n{said}")


_IN_BACKGROUND = 'umask 077; "$0" -D "$1" >>"$2" 2>&1 & echo $!'

_COUNT_OTHERS = """
SELECT count(*)
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def default_data_dir() -> Path:
    """Where the private server of this user lives, if nothing else is said."""
    if os.geteuid() == 0:
        return Path("/var/lib/geosearch")
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/geosearch")
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "geosearch"


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        # As PostgreSQL does: connections of the past do not hold a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_TCP_HOST, port))
        except OSError as error:
            raise InputError(
                f"port {port} of {_TCP_HOST} is taken: {error.strerror}", "Choose another port."
            ) from error


def _escape(value: str) -> str:
    """`value` for between single quotes in postgresql.conf."""
    return value.replace("\\", "\\\\").replace("'", "''")


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:  # a running server removes files as it pleases
                continue
    return total
