"""Connections that the threads of a process share: opened when needed, kept for the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

C = TypeVar("C", bound="psycopg.Connection[tuple[Any, ...]]")

#: Seconds for which a connection that was in use is taken to be alive.
TRUSTED_S = 1.0


class ClosedError(RuntimeError):
    """Somebody asks for a connection of what was closed."""


class Pool(Generic[C]):
    """At most `size` connections made by `connect`; its errors reach who asked for one, at once."""

    def __init__(self, connect: Callable[[], C], size: int) -> None:
        self._connect, self._size = connect, size
        self._free = threading.Semaphore(size)
        self._idle: list[tuple[C, float]] = []  # and when each was used; the last is the freshest
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[C]:
        """A connection; what is not committed by the end is rolled back.

        Waits while all are in use.
        """
        if self._closed:
            raise ClosedError("the database was closed")
        with self._free:
            connection = self._alive() or self._connect()
            try:
                yield connection
            finally:
                self._give_back(connection)

    def at_most(self, size: int) -> None:
        """Have fewer connections than it was made for, as far as they are not in use."""
        while self._size > size and self._free.acquire(blocking=False):
            self._size -= 1

    def close(self) -> None:
        """Close all connections: those in use when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].close()

    def close_idle(self, seconds: float) -> None:
        """Close those that were in use so long ago, or longer."""
        while self._idle:
            connection, used_at = self._idle.pop(0)
            if time.monotonic() - used_at < seconds:
                self._idle.insert(0, (connection, used_at))
                return
            connection.close()

    def _alive(self) -> C | None:
        while self._idle:
            connection, used_at = self._idle.pop()
            # Not asked at every one of many short searches.
            if time.monotonic() - used_at < TRUSTED_S or _answers(connection):
                return connection
            connection.close()
        return None

    def _give_back(self, connection: C) -> None:
        with suppress(psycopg.Error):
            connection.rollback()
        if self._closed or connection.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
        else:
            self._idle.append((connection, time.monotonic()))


def _answers(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server is still there."""
    before = connection.autocommit
    try:
        connection.autocommit = True  # one round trip, no transaction
        connection.execute("")
        connection.autocommit = before
    except psycopg.OperationalError:
        return False
    return True
