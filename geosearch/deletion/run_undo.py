"""What a run did, taken back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from geosearch.database.collection_rows import take_turns
from geosearch.database.connection import Connection, Database
from geosearch.database.coverage import refresh_coverage
from geosearch.database.photo_changes import changes_of, undo_changes
from geosearch.deletion.deleted import Deleted, require_own, require_right
from geosearch.deletion.photo_deletion import Going, make_good
from geosearch.errors import InputError
from geosearch.json_record import Record
from geosearch.retrieval.filters import EVERYTHING
from geosearch.waiting import Progress

_RUNS = """
SELECT r.id, r.kind, c.name AS collection, r.sources, r.counts, r.started_at, r.finished_at,
    r.undone_at, r.recorded_by
FROM geosearch.runs AS r LEFT JOIN geosearch.collections AS c ON c.id = r.collection_id
ORDER BY r.id DESC LIMIT %s
"""


@dataclass(frozen=True)
class Run(Record):
    """A run: what it worked on and what came of it; not finished if it is running or was killed."""

    id: int
    kind: str
    collection: str | None
    sources: list[str]
    counts: dict[str, Any] | None
    started_at: datetime
    finished_at: datetime | None
    undone_at: datetime | None
    recorded_by: str


def list_runs(connection: Connection, limit: int | None = None) -> list[Run]:
    """The runs this login may see, the latest first."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(_RUNS, (limit,)).fetchall()


@dataclass(frozen=True)
class Undone(Deleted):
    """What was taken back of a run, or would be: the photos it added go, what it changed returns.

    `goes` counts `changed_back` too; `stays` the photos that `later_runs` changed since, which keep
    that, and those `replaced` by their edited files, which are gone.
    """

    def __str__(self) -> str:
        said = super().__str__()
        return said.replace("would delete", "would undo").replace("deleted", "undid", 1)


def undo_run(
    database: Database, run: int, *, dry_run: bool = False, progress: Progress | None = None
) -> Undone:
    """Take back what an ingest or a correction did, in one transaction.

    What a later run changed of the same photo stays, and leads back to what was before this one
    when that is undone.

    Raises
    ------
    NotFoundError
        There is no such run, as far as this login may see.
    InputError
        It is neither an ingest nor a correction, or was undone before.
    DatabaseError
        It is another's, or this login may not delete photos.
    """
    with database.connection() as connection:
        require_right(connection, "photos_open", "photos", "ingester")
        require_own(connection, "runs", [run], "run")
        row = connection.execute(
            "SELECT kind, undone_at, counts ->> 'replaced', collection_ids "
            "FROM geosearch.runs WHERE id = %s",
            (run,),
        ).fetchone()
        assert row is not None
        kind, undone_at, replaced, collections = row
        if kind not in ("ingest", "correct") or undone_at is not None:
            raise InputError(
                f"run {run} was undone before" if undone_at else f"run {run} is of {kind}",
                "What can be undone: geosearch runs list",
            )
        if not dry_run:
            take_turns(connection, collections)
        going = Going(connection, EVERYTHING, run=run)
        counted = going.counted(f"run {run}")
        undoing = changes_of(connection, run)
        found = Undone(
            counted.what,
            True,
            {**counted.goes, "changed_back": len(undoing.back)},
            {**counted.stays, "later_runs": undoing.kept, "replaced": int(replaced or 0)},
        )
        if dry_run:
            return found
        going.delete(progress)
        undo_changes(connection, run, undoing)
        for table in ("rejects", "files"):
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE run_id = %s").format(going.tables[table]), (run,)
            )
        for (name,) in connection.execute(
            "SELECT name FROM geosearch.collections WHERE id = ANY(%s)", (collections,)
        ).fetchall():
            refresh_coverage(connection, name)
        connection.execute("UPDATE geosearch.runs SET undone_at = now() WHERE id = %s", (run,))
    left = make_good(database, going)
    return Undone(found.what, False, found.goes, found.stays, left)
