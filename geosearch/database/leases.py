"""Work that only one process does at a time, whatever stands between it and the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID, uuid4

from geosearch.database.connection import Database
from geosearch.errors import DatabaseError

#: Seconds for which a lease holds, and after which its holder renews it.
_TERM_S, _RENEWED_S = 10.0, 2.0
#: Seconds to wait for a lease: that of a killed process runs out meanwhile.
_PATIENCE_S = 15.0


@contextmanager
def only_one(database: Database, work: str, refusal: DatabaseError) -> Iterator[None]:
    """Do `work` while nobody else does; raises `refusal` where somebody goes on doing it."""
    holder = uuid4()
    deadline = time.monotonic() + _PATIENCE_S
    while not _hold(database, _TAKE, work, holder):
        if time.monotonic() > deadline:
            raise refusal
        time.sleep(0.2)
    done = threading.Event()
    threading.Thread(target=_renew, args=(database, work, holder, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()
        with suppress(DatabaseError):  # a lost server: it runs out by itself
            _hold(database, _GIVE_BACK, work, holder)


# By the server's clock alone. One that has run out is anybody's.
_TAKE = """
INSERT INTO geosearch.leases AS held (work, holder, expires_at)
VALUES (%(work)s, %(holder)s, now() + %(term)s * interval '1 second')
ON CONFLICT (work) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE held.expires_at < now()
"""
_RENEW = """
UPDATE geosearch.leases SET expires_at = now() + %(term)s * interval '1 second'
WHERE work = %(work)s AND holder = %(holder)s
"""
_GIVE_BACK = "DELETE FROM geosearch.leases WHERE work = %(work)s AND holder = %(holder)s"


def _hold(database: Database, statement: str, work: str, holder: UUID) -> bool:
    with database.connection() as connection:
        done = connection.execute(
            statement.encode(), {"work": work, "holder": holder, "term": _TERM_S}
        )
        return done.rowcount == 1


def _renew(database: Database, work: str, holder: UUID, done: threading.Event) -> None:
    while not done.wait(_RENEWED_S):
        with suppress(DatabaseError):  # the work itself says what is wrong
            _hold(database, _RENEW, work, holder)
