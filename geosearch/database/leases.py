"""Work that one process does at a time, or several share; behind a pooler too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from geosearch.database.connection import Database
from geosearch.errors import DatabaseError

#: Seconds for which a lease holds, and after which its holder renews it.
_TERM_S, _RENEWED_S = 10.0, 2.0
#: Seconds to wait for a lease: that of a killed process runs out meanwhile.
_PATIENCE_S = 15.0


class Lease(NamedTuple):
    """Who does the work, and since when it has been done without a break, by the server's clock."""

    holder: UUID
    since: datetime


def only_one(
    database: Database, work: str, refusal: DatabaseError
) -> AbstractContextManager[Lease]:
    """Do `work` while nobody else does; raises `refusal` where somebody goes on doing it."""
    return _lease(database, work, refusal, shared=False)


def one_of_several(
    database: Database, work: str, refusal: DatabaseError
) -> AbstractContextManager[Lease]:
    """Do `work` beside others who share it; raises `refusal` where somebody does it alone."""
    return _lease(database, work, refusal, shared=True)


@contextmanager
def _lease(
    database: Database, work: str, refusal: DatabaseError, *, shared: bool
) -> Iterator[Lease]:
    holder = uuid4()
    values = {"work": work, "holder": holder, "shared": shared, "term": _TERM_S}
    deadline = time.monotonic() + _PATIENCE_S
    while (since := _take(database, values)) is None:
        if time.monotonic() > deadline:
            raise refusal
        time.sleep(0.2)
    done = threading.Event()
    threading.Thread(target=_renew, args=(database, values, done), daemon=True).start()
    try:
        yield Lease(holder, since)
    finally:
        done.set()
        with suppress(DatabaseError), database.connection() as connection:
            connection.execute(_GIVE_BACK, values)  # a lost server: it runs out by itself


# By the server's clock alone. One that has run out is anybody's. In turn, as two who look at once
# see nobody.
_TURN = "SELECT pg_advisory_xact_lock(hashtext('geosearch leases'))"
_RUN_OUT = "DELETE FROM geosearch.leases WHERE work = %(work)s AND expires_at < now()"
_TAKE = """
INSERT INTO geosearch.leases (work, holder, shared, expires_at)
SELECT %(work)s, %(holder)s, %(shared)s, now() + %(term)s * interval '1 second'
WHERE NOT EXISTS (
    SELECT FROM geosearch.leases WHERE work = %(work)s AND NOT (shared AND %(shared)s)
)
RETURNING least(taken_at, (SELECT min(taken_at) FROM geosearch.leases WHERE work = %(work)s))
"""
_RENEW = """
UPDATE geosearch.leases SET expires_at = now() + %(term)s * interval '1 second'
WHERE work = %(work)s AND holder = %(holder)s
"""
_GIVE_BACK = "DELETE FROM geosearch.leases WHERE work = %(work)s AND holder = %(holder)s"


def _take(database: Database, values: dict[str, object]) -> datetime | None:
    with database.connection() as connection:
        connection.execute(_TURN)
        connection.execute(_RUN_OUT, values)
        row = connection.execute(_TAKE, values).fetchone()
    return None if row is None else row[0]


def _renew(database: Database, values: dict[str, object], done: threading.Event) -> None:
    while not done.wait(_RENEWED_S):
        with suppress(DatabaseError):  # the work itself says what is wrong
            with database.connection() as connection:
                renewed = connection.execute(_RENEW, values).rowcount
            if not renewed and not done.is_set():  # it stood still, and ran out
                _take(database, values)
