"""Who asks: everybody as the server's own login, or each as a role of the database.

With logins, a request runs on connections of its own role, so what that role may not see is not
there: in searches, tiles, thumbnails, counts and errors alike (docs/roles.md).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import psycopg
from fastapi import Depends, Request
from psycopg.conninfo import make_conninfo
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from geosearch.database.access_tokens import role_of_token
from geosearch.database.connection import Database, parse, pooled
from geosearch.errors import GeosearchError, InputError, NotAllowedError, UnreachableError

COOKIE = "geosearch_session"
#: A session ends after so many seconds without a request, and at the latest.
IDLE_S, LONGEST_S = 8 * 3600.0, 7 * 24 * 3600.0
#: Seconds after which the password of a session is tried again: it may be another by now, or the
#: role gone, and connections that are open would not tell.
CHECK_S = 60.0
#: How errors speak of the database to those who need not know where it is.
_LABEL = "geosearch"
#: Connections of each kind that a role may have, in all its sessions, and seconds after which those
#: that are not used are closed: many roles share those of the server.
_POOL, _UNUSED_S = 4, 300.0
_MAY_ACT = "SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = %s"
#: Methods that change nothing.
_READING = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, eq=False)
class Caller:
    """Who asks: a role, the database as it sees that, and the token its page must send."""

    role: str
    database: Database
    csrf_token: str | None = None

    @cached_property
    def may_record(self) -> bool:
        """Whether its answers can be stored."""
        with self.database.connection() as connection:
            row = connection.execute(
                "SELECT has_table_privilege('geosearch.localizations', 'INSERT')"
            ).fetchone()
        return row is not None and bool(row[0])


class Gate:
    """Lets everybody in, as the login that the server has itself."""

    #: Whether one has to log in.
    closed = False

    def __init__(self, database: Database) -> None:
        with database.connection() as connection:
            row = connection.execute("SELECT current_user").fetchone()
        assert row is not None
        self.own = Caller(str(row[0]), database)

    async def admit(self, request: Request) -> Caller:  # noqa: ARG002
        """Who makes this request.

        Raises
        ------
        HTTPException
            401: nobody that is known. 403: a page's request without its token.
        """
        return self.own  # without a thread: on a busy machine the way to one is long

    def close(self) -> None:
        """End all sessions."""


@dataclass(eq=False)
class _Session:
    caller: Caller
    began: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    checked: float = field(default_factory=time.monotonic)

    def over(self, now: float) -> bool:
        return now - self.used > IDLE_S or now - self.began > LONGEST_S


class LoginGate(Gate):
    """Lets roles of the database in, by their passwords, which PostgreSQL itself checks.

    Sessions are kept in memory: when the server ends, so do they.
    """

    closed = True

    def __init__(self, database: Database, url: str) -> None:
        super().__init__(database)
        self._url = url
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._of_tokens: dict[str, Caller] = {}
        self._throttle = Throttle()

    def log_in(self, role: str, password: str, address: str) -> tuple[str, Caller]:
        """The key of a new session, and who it is.

        Raises
        ------
        HTTPException
            401: role or password is wrong. 429: there were too many attempts.
        InputError
            The server of the database lets this role in without asking for the password.
        UnreachableError
            The database cannot be reached.
        """
        before = self._throttle.begin(role, address)
        if not role or not password or "\0" in role + password:
            raise HTTPException(401, "role or password is wrong")
        # Options of the environment are those of the server's own login.
        options = parse(self._url).get("options", "")
        url = make_conninfo(self._url, user=role, password=password, options=options)
        database = Database(url, label=_LABEL, pool_size=_POOL)
        try:
            with database.connection() as connection:
                # Else whoever names a role would have its rights: sockets often ask for nothing.
                asked = connection.pgconn.used_password
                connection.execute("SELECT FROM geosearch.collections LIMIT 1")
                row = connection.execute("SELECT current_user").fetchone()
        except GeosearchError as error:
            database.close()
            if _shut_out(error):
                raise HTTPException(401, "role or password is wrong") from error
            self._throttle.take_back(before)
            if isinstance(error, UnreachableError):
                raise
            raise HTTPException(403, "this role may not read geosearch's tables") from error
        self._throttle.take_back(before)
        if not asked or row != (role,):
            database.close()
            raise InputError(
                "the server of the database lets this role in without a password, or as another",
                "Have pg_hba.conf ask for one (scram-sha-256) on the way that the server connects; "
                "a URL that sets a role cannot be logged in by.",
            )
        self._throttle.passed(role, address)
        key, csrf_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self._lock:
            over = self._pop_over()
            open_ones = (session.caller.database for session in self._sessions.values())
            same = next((one for one in open_ones if one.url == url), database)
            caller = Caller(role, same, csrf_token)
            self._sessions[key] = _Session(caller)
        if same is not database:
            database.close()
        self._close(over)
        return key, caller

    def log_out(self, request: Request) -> None:
        """End the session of a request."""
        with self._lock:
            session = self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        self._close([] if session is None else [session.caller])

    def caller(self, request: Request) -> Caller:
        """Who makes this request, by a token, or else by the session; errors as of `admit`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._by_token(token.strip())
        now = time.monotonic()
        with self._lock:
            session = self._sessions.get(request.cookies.get(COOKIE, ""))
            if session is None or session.over(now):
                raise HTTPException(401, "nobody is logged in")
            session.used = now
            due = now - session.checked > CHECK_S
            session.checked = now if due else session.checked
        if due:
            for caller in self._callers():
                caller.database.close_idle(_UNUSED_S)
            if not _still_let_in(session.caller):
                self.log_out(request)
                raise HTTPException(401, "the role of this session, or its password, has changed")
        caller = session.caller
        given = request.headers.get("x-csrf-token", "")
        if request.method not in _READING and not secrets.compare_digest(
            given.encode(), str(caller.csrf_token).encode()
        ):
            raise HTTPException(403, "the header X-CSRF-Token is not that of the session")
        return caller

    async def admit(self, request: Request) -> Caller:
        """As of `Gate`; `caller` is asked once for a request."""
        if not hasattr(request.state, "caller"):
            request.state.caller = await run_in_threadpool(self.caller, request)
        found: Caller = request.state.caller
        return found

    def close(self) -> None:
        """End all sessions."""
        ended = self._callers()
        with self._lock:
            self._sessions.clear()
            self._of_tokens.clear()
        self._close(ended)

    def _by_token(self, token: str) -> Caller:
        """Who a token stands for: the server's own login, as that role (SET ROLE), for which it has
        to be a member of the role.

        Raises
        ------
        HTTPException
            401: there is no such token, or not any more.
        NotAllowedError
            The server's login may not act as the role, or there is no such role any more.
        """
        with self.own.database.connection() as connection:
            role = role_of_token(connection, token)
            row = connection.execute(_MAY_ACT, (role,)).fetchone()
        if role is None:
            raise HTTPException(401, "the token is unknown, has expired or was revoked")
        may_act = row == (True,)
        with self._lock:
            known = (self._of_tokens.get if may_act else self._of_tokens.pop)(role, None)
        if not may_act:  # connections that act as the role may still be open
            self._close([] if known is None else [known])
            raise self._cannot_act(role)
        return known or self._act_as(role)

    def _act_as(self, role: str) -> Caller:
        url = self.own.database.url
        escaped = role.replace("\\", "\\\\").replace(" ", "\\ ")
        options = f"{parse(url).get('options', '')} -c role={escaped}".strip()
        database = Database(make_conninfo(url, options=options), label=_LABEL, pool_size=_POOL)
        try:
            with database.connection() as connection:
                row = connection.execute("SELECT current_user").fetchone()
                # A pooler may leave the option out, or give the next statement another backend.
                if row != (role,) or pooled(connection):
                    raise UnreachableError("a pooler stands before the database")
        except UnreachableError as error:
            database.close()
            raise self._cannot_act(role) from error
        with self._lock:
            known = self._of_tokens.setdefault(role, Caller(role, database))
        if known.database is not database:
            database.close()
        return known

    def _cannot_act(self, role: str) -> NotAllowedError:
        return NotAllowedError(
            f"the server's login, {self.own.role}, cannot act as {role}",
            f"GRANT the role {role} to {self.own.role}, and connect without a pooler.",
        )

    def _callers(self) -> list[Caller]:
        with self._lock:
            of_sessions = [session.caller for session in self._sessions.values()]
            return [*of_sessions, *self._of_tokens.values()]

    def _close(self, callers: Iterable[Caller]) -> None:
        """Close the databases of these that no session has any more."""
        with self._lock:
            kept = {session.caller.database for session in self._sessions.values()}
        for database in {caller.database for caller in callers} - kept:
            database.close()

    def _pop_over(self) -> list[Caller]:
        now = time.monotonic()
        keys = [key for key, session in self._sessions.items() if session.over(now)]
        return [self._sessions.pop(key).caller for key in keys]


def _still_let_in(caller: Caller) -> bool:
    try:
        with caller.database.own_connection():
            return True
    except UnreachableError as error:
        if not _shut_out(error):
            raise
        return False


def _shut_out(error: GeosearchError) -> bool:
    """Whether a connection was refused for the role or the password: the server says so, or says
    something that is not understood, in another language, after it was given a password.
    """
    if not isinstance(error, UnreachableError):
        return False
    return (error.state or "").startswith("28") or (error.state is None and _asked(error))


def _asked(error: UnreachableError) -> bool:
    cause = error.__cause__
    connection = cause.pgconn if isinstance(cause, psycopg.Error) else None
    return connection is not None and connection.used_password


def asks_for_passwords(url: str) -> bool:
    """Whether the server of a database asks those who log in for their password; false if it looks
    for the role without.
    """
    nobody = f"nobody_{secrets.token_hex(8)}"
    with Database(make_conninfo(url, user=nobody, password=nobody)) as database:
        try:
            with database.own_connection():
                return False
        except UnreachableError as error:
            return _asked(error) or "does not exist" not in error.message


#: Whose failures are counted together: of a role, an address, or both.
_Key = tuple[str | None, str | None]


class Throttle:
    """Makes who fails to log in wait: longer each time, from some failures on.

    Counted for a role at an address, for an address, and for a role: the last so late that others
    can hardly lock its owner out.
    """

    _FREE = (5, 20, 100)
    _LONGEST_S = 900.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[_Key, tuple[int, float]] = {}

    def begin(self, role: str, address: str) -> dict[_Key, float]:
        """Count an attempt as a failure, until it is taken back: of many at once each is one.

        Returns what `take_back` needs.

        Raises
        ------
        HTTPException
            429: one has to wait.
        """
        now, keys = time.monotonic(), _keys(role, address)
        with self._lock:
            before = {key: self._failures.get(key, (0, 0.0))[1] for key in keys}
            wait = max(before.values()) - now
            if wait > 0:
                raise HTTPException(
                    429, "too many attempts to log in", {"Retry-After": f"{wait:.0f}"}
                )
            for key, (_, until) in [*self._failures.items()]:
                if until < now - self._LONGEST_S:
                    del self._failures[key]
            for key, free in zip(keys, self._FREE, strict=True):
                count = self._failures.get(key, (0, 0.0))[0] + 1
                wait = 0.0 if count < free else min(2.0 ** min(count - free, 20), self._LONGEST_S)
                self._failures[key] = count, now + wait
        return before

    def take_back(self, before: dict[_Key, float]) -> None:
        """What was begun was no failure."""
        with self._lock:
            for key, until in before.items():
                count, _ = self._failures.pop(key, (0, 0.0))
                if count > 1:
                    self._failures[key] = count - 1, until

    def passed(self, role: str, address: str) -> None:
        """Forget the failures of who is in now."""
        with self._lock:
            self._failures.pop((role, address), None)


def _keys(role: str, address: str) -> tuple[_Key, ...]:
    return (role, address), (None, address), (role, None)


async def _caller(request: Request) -> Caller:
    gate: Gate = request.app.state.gate
    return await gate.admit(request)


#: Who asks, as a parameter of a route.
Asker = Annotated[Caller, Depends(_caller)]
