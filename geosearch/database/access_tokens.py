"""Bearer tokens by which scripts ask the server as a role: `sql/0001/roles/tokens.sql`."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg.rows import class_row

from geosearch.arguments import check_range, text
from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError
from geosearch.json_record import Record

#: How tokens begin, so that programs that look for secrets find them.
_PREFIX = "geosearch_"


@dataclass(frozen=True)
class Token(Record):
    """A token that is stored: the role it stands for, and until when."""

    id: int
    role: str
    name: str
    created_at: datetime
    expires_at: datetime


def create_token(connection: Connection, name: str, days: int) -> tuple[int, str]:
    """A new token of the current role: its id, and the token, which is told only now.

    Raises
    ------
    InputError
        It has no name, or the days are not 1 to 3660.
    """
    if not text("name", name).strip():
        raise InputError("`name` is empty", "Say what the token is for.")
    check_range("days", days, 1, 3660)
    token = _PREFIX + secrets.token_urlsafe(32)
    expires = datetime.now(UTC) + timedelta(days=days)
    row = connection.execute(
        "SELECT geosearch.create_token(%s, %s, %s)", (name, _sha256(token), expires)
    ).fetchone()
    assert row is not None
    return int(row[0]), token


def list_tokens(connection: Connection) -> list[Token]:
    """The tokens of the current role; for geosearch_owner, those of all roles."""
    with connection.cursor(row_factory=class_row(Token)) as cursor:
        return cursor.execute("SELECT * FROM geosearch.list_tokens()").fetchall()


def revoke_token(connection: Connection, token_id: int) -> None:
    """Take a token back: from now on it lets nobody in.

    Raises
    ------
    NotFoundError
        There is none that this role may revoke.
    """
    row = connection.execute("SELECT geosearch.revoke_token(%s)", (token_id,)).fetchone()
    if row is None or not row[0]:
        raise NotFoundError(f"there is no token {token_id}", "Ids: geosearch tokens list")


def role_of_token(connection: Connection, token: str) -> str | None:
    """The role that a token stands for; None if there is none, or not any more."""
    row = connection.execute("SELECT geosearch.role_of_token(%s)", (_sha256(token),)).fetchone()
    return None if row is None else row[0]


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
