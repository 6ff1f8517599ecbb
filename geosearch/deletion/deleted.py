"""What a deletion takes with it, and who may ask for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, LiteralString, TypeAlias

from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.schema import SCHEMA
from geosearch.errors import NotAllowedError, NotFoundError
from geosearch.json_record import Record

#: A statement that gives one number.
Counting: TypeAlias = sql.SQL | sql.Composed


@dataclass(frozen=True)
class Deleted(Record):
    """What was deleted, or would be (`dry_run`).

    `goes` counts by kind (`photos`, `embeddings`, …) what goes; `stays` what stays and rests on it,
    such as recorded answers: they are shown as before, and `reproduce` says what is missing.
    `index_left`: indexes still hold what went, until the owner of the tables builds them again.
    """

    what: str
    dry_run: bool
    goes: Mapping[str, int]
    stays: Mapping[str, int]
    index_left: bool = False

    def done(self, *, index_left: bool = False) -> Deleted:
        """The same, as it has happened."""
        return replace(self, dry_run=False, index_left=index_left)

    def __str__(self) -> str:
        counted = ", ".join(f"{kind.replace('_', ' ')} {n:,}" for kind, n in self.goes.items() if n)
        resting = ", ".join(f"{kind} {n:,}" for kind, n in self.stays.items() if n)
        verb = "would delete" if self.dry_run else "deleted"
        also = counted or ("none" if self.goes else "no more")
        rest = f"; what rests on it stays: {resting}" if resting else ""
        return f"{verb} {self.what}: {also}{rest}"


def require_right(connection: Connection, table: str, what: str, role: str = "owner") -> None:
    """Raise `NotAllowedError` for a login that may not delete from a table."""
    if not may_delete(connection, table):
        raise refusal(what, role)


def may_delete(connection: Connection, table: str) -> bool:
    """Whether this login may delete rows of a table or view, be they whose they will."""
    row = connection.execute(
        "SELECT has_table_privilege(%s, 'DELETE')", (f"{SCHEMA}.{table}",)
    ).fetchone()
    return row is not None and bool(row[0])


def refusal(what: str, role: str = "owner") -> NotAllowedError:
    """That this login may not change or delete this."""
    return NotAllowedError(
        f"this login may not change or delete {what}",
        f"It takes the role geosearch_{role}: geosearch roles grant {role} --to USER",
    )


def require_own(connection: Connection, table: str, ids: Collection[int], what: str) -> None:
    """See that rows of what was computed exist and may be deleted: one's own, or by the owner.

    Raises
    ------
    NotFoundError
        There is no such row, as far as this login may see.
    NotAllowedError
        Some are others'.
    """
    rows = connection.execute(
        sql.SQL(
            "SELECT id, recorded_by, recorded_by = current_user FROM {} WHERE id = ANY(%s)"
        ).format(sql.Identifier(SCHEMA, table)),
        (list(ids),),
    ).fetchall()
    missing = set(ids) - {row[0] for row in rows}
    if missing:
        raise NotFoundError(
            f"there is no {what} {min(missing)}", f"Ids: the column id of geosearch.{table}"
        )
    if may_delete(connection, f"all_{table}"):
        return
    require_right(connection, table, f"{what}s", "analyst")
    others = sorted((key, author) for key, author, own in rows if not own)
    if others:
        key, author = others[0]
        raise NotAllowedError(
            f"{what} {key} was recorded by {author}, and {len(others):,} of these by others",
            f"Only {author} and geosearch_owner delete it.",
        )


def count(
    connection: Connection, statements: Mapping[str, Counting], values: Mapping[str, Any]
) -> dict[str, int]:
    """The number that each statement gives, by kind."""
    counted = {}
    for kind, statement in statements.items():
        row = connection.execute(statement, values).fetchone()
        assert row is not None
        counted[kind] = int(row[0])
    return counted


def rows_with(condition: LiteralString, *tables: LiteralString) -> dict[str, Counting]:
    """Statements that count the rows, of each of these tables, that meet a condition."""
    return {
        table: sql.SQL("SELECT count(*) FROM {} WHERE {}").format(
            sql.Identifier(SCHEMA, table), sql.SQL(condition)
        )
        for table in tables
    }
