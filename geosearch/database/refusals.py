"""What PostgreSQL refuses, in words: what each SQLSTATE, or its class, means and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from geosearch.errors import (
    DatabaseError,
    NotAllowedError,
    RefusedError,
    ShardError,
    UnreachableError,
)

_AGAIN = "Run the same command again: what was committed stays, the rest is done then."
_ROOM = f"Make room on the disk of the server. {_AGAIN}"
_ALTERED = (
    "The schema was altered by hand, or is another version's: geosearch db check says what is off, "
    "geosearch db upgrade --repair mends it."
)
_OTHERS = f"Another program wrote the same at the same time. {_AGAIN}"
_PRIMARY = (
    "Give the URL of the primary server in GEOSEARCH_DATABASE_URL; a replica can only be searched."
)
_WHO = "Check user, password and database in GEOSEARCH_DATABASE_URL."
_CONNECTIONS = (
    "Close other programs, lower GEOSEARCH_POOL_SIZE, or have max_connections, or the CONNECTION "
    "LIMIT of the role or database, raised."
)
_LOCKS = "max_locks_per_transaction"
_MORE_LOCKS = f"Raise {_LOCKS} of the server, e.g. to 512, and restart it. {_AGAIN}"
_DOWN = f"Wait for the server, or start it; its log says why. {_AGAIN}"
_UNREACHED = "Check GEOSEARCH_DATABASE_URL, or unset it to use the private server."


class Meaning(NamedTuple):
    """`reason` completes "refused: …"; empty where what the server says is enough."""

    reason: str
    remedy: str


#: SQLSTATE, or its class of two letters → what it means. The longest that fits is taken.
MEANINGS = {
    "": Meaning("", "The server's log may say more."),
    "08": Meaning("the connection broke", _AGAIN),
    "0A": Meaning("", "This PostgreSQL lacks it: use a newer one."),
    "22": Meaning("it cannot hold such a value", "Correct the value."),
    "23": Meaning("", _OTHERS),
    "25006": Meaning("it is read-only", _PRIMARY),
    "25P03": Meaning(
        "a transaction was idle for too long",
        f"Raise idle_in_transaction_session_timeout of the role. {_AGAIN}",
    ),
    "28": Meaning("it does not let this user in", _WHO),
    "3D": Meaning("there is no such database", "Create it, or correct GEOSEARCH_DATABASE_URL."),
    "3F": Meaning("", _ALTERED),
    "40": Meaning("another program was in the way", _AGAIN),
    "42": Meaning("", _ALTERED),
    "42501": Meaning(
        "", "The role lacks a right: have it granted (geosearch roles list shows who has which)."
    ),
    "53": Meaning("a resource of the server is used up", f"Its log says which. {_AGAIN}"),
    "53100": Meaning("the disk is full", _ROOM),
    "53200": Meaning(
        "the server has no memory left",
        f"Lower its work_mem and maintenance_work_mem, or give it more memory. {_AGAIN}",
    ),
    "53300": Meaning("it takes no more connections", _CONNECTIONS),
    "53400": Meaning(
        "a limit of the configuration is reached", f"Raise it, e.g. temp_file_limit. {_AGAIN}"
    ),
    "54": Meaning("it is more than PostgreSQL can hold", "Shorten the value."),
    "55": Meaning("another program holds what is needed", f"Wait for it to end. {_AGAIN}"),
    "57": Meaning("the server intervened", _AGAIN),
    "57014": Meaning(
        "the statement was cancelled",
        "By somebody, or by statement_timeout: raise it for this role, e.g. "
        "ALTER ROLE name SET statement_timeout = 0.",
    ),
    "57P01": Meaning("the server was stopped, or this session ended", _DOWN),
    "57P02": Meaning("the server crashed", _DOWN),
    "57P03": Meaning("the server is starting, stopping or recovering", _DOWN),
    "57P04": Meaning("the database was dropped", "Create it again."),
    "57P05": Meaning(
        "the session was idle for too long", f"Raise idle_session_timeout of the role. {_AGAIN}"
    ),
    "58": Meaning("the server cannot use its files", "Its log says which; check disk and rights."),
    "58030": Meaning("the server cannot read or write its files", _ROOM),
    "F0": Meaning("a file of the server is wrong", "Its log says which."),
    "XX": Meaning(
        "an internal error or damaged data",
        "See the server's log; check the disk, REINDEX, or restore a backup.",
    ),
}

# libpq tells no SQLSTATE of a connection that was refused: what the server said in English does.
_SAID = {
    "too many c": "53300",  # clients; connections for role or database
    "remaining connection slots": "53300",
    "authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "is not permitted to log in": "28000",
    "permission denied": "28000",
    "the database system is": "57P03",  # starting up, shutting down, in recovery
    "role": "28000",  # does not exist
    "database": "3D000",  # does not exist
}


#: A connection is refused with these until the server has started, which it does by itself.
_PASSING = ("is starting up", "in recovery mode", "not yet accepting connections")


def passing(error: psycopg.OperationalError) -> bool:
    """Whether the server takes connections once it has started, or recovered from a crash."""
    return any(words in str(error) for words in _PASSING)


def meaning(state: str | None) -> Meaning:
    """What an SQLSTATE means: its own entry in the table, its class's, or that of all."""
    known = state or ""
    return next(MEANINGS[key] for key in (known, known[:2], "") if key in MEANINGS)


_NO_RIGHT = "42501"
#: With this and a hint, functions of ours refuse what they are given (`geosearch.refuse`).
OURS = "22023"


def refused(error: psycopg.Error, subject: str) -> DatabaseError:
    """The error for what a server refused; the message begins with `subject`."""
    diag = error.diag
    if error.sqlstate == OURS and diag.message_hint:
        return RefusedError(f"{subject}: {diag.message_primary}", diag.message_hint)
    if _LOCKS in (diag.message_hint or ""):
        return DatabaseError(f"{subject}: it has no room for so many locks", _MORE_LOCKS)
    kind = DatabaseError
    if error.sqlstate == _NO_RIGHT:
        kind = NotAllowedError
    elif isinstance(error, psycopg.DataError):
        kind = RefusedError
    return kind(f"{subject}: {_words(error)}", meaning(error.sqlstate).remedy)


#: Classes and states of a server that cannot be reached, or went away: here a shard.
_AWAY = ("08", "57P")


def of_shard(error: psycopg.Error) -> bool:
    """Whether it is about another server that this one, which is there, speaks to."""
    return (error.sqlstate or "").startswith(_AWAY)


def shard_away(error: psycopg.Error | str, missing: Sequence[str]) -> ShardError:
    """The error for shards that cannot be reached: those `missing` now, if any is."""
    which = f"the shard {', '.join(missing)} cannot be reached" if missing else "a shard was lost"
    return ShardError(
        f"{which}: {error if isinstance(error, str) else _words(error)}",
        "Start its server (geosearch shards list shows which), or give `partial`, or set "
        "GEOSEARCH_PARTIAL=yes, for what the others hold.",
    )


def lost(error: psycopg.Error, label: str) -> UnreachableError:
    """The error for a connection to the database `label` that broke in use."""
    known = meaning(error.sqlstate or "08")
    return UnreachableError(f"lost the database {label}: {_words(error)}", known.remedy)


def unreached(error: psycopg.Error, label: str, *, before: bool = False) -> UnreachableError:
    """The error for a database that takes no connection; `before`: it took one before."""
    opening = f"{'lost the database' if before else 'cannot connect to'} {label}"
    said = str(error).strip()
    fatal = said.rpartition("FATAL:")[2].strip() if "FATAL:" in said else ""
    state = next((state for words, state in _SAID.items() if words in fatal), None)
    if state is None:
        return UnreachableError(f"{opening}: {said}", _DOWN if before else _UNREACHED)
    known = meaning(state)
    told = UnreachableError(f"{opening}: {known.reason} ({fatal})", known.remedy)
    told.state = state
    return told


def _words(error: psycopg.Error) -> str:
    """What happened, without the lines of context that PostgreSQL adds for who debugs functions."""
    said = error.diag.message_primary or str(error).strip()
    if error.diag.message_detail:
        said = f"{said}: {error.diag.message_detail}"
    reason = meaning(error.sqlstate).reason
    return f"{reason} ({said})" if reason and reason != said else said
