"""How commands delete: counted first, with a dry run and a question; and how they rename."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from geosearch.cli.console import answer, database, note, progress
from geosearch.errors import InputError

if TYPE_CHECKING:
    from geosearch.database.connection import Database
    from geosearch.deletion.deleted import Deleted
    from geosearch.deletion.photo_moves import Moved

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
OldArgument = Annotated[str, typer.Argument(metavar="OLD", help="Its name.")]
NewArgument = Annotated[str, typer.Argument(metavar="NEW", help="Its name from now on.")]


class Asked(NamedTuple):
    """What the line of a command that deletes says of how."""

    dry_run: bool
    yes: bool
    as_json: bool


def delete(
    context: typer.Context,
    asked: Asked,
    work: Callable[..., Deleted | Moved],
    *given: Any,
    unit: str | None = None,
    **named: Any,
) -> None:
    """Do `work(database, *given, dry_run=...)`, after a question unless told that it is answered.

    `unit`: of the progress that the work tells.

    Raises
    ------
    InputError
        Nobody is there to ask.
    """
    with database(context) as opened:
        if asked.dry_run or not asked.yes:
            found = work(opened, *given, dry_run=True, **named)
            if asked.dry_run:
                answer(asked.as_json, found, str(found))
                return
            ask(found)
        if unit is None:
            done = work(opened, *given, **named)
        else:
            with progress("delete", unit) as report:
                done = work(opened, *given, progress=report, **named)
    answer(asked.as_json, done, str(done))
    if done.index_left:
        note(
            "Indexes still hold them. As the owner of the tables: geosearch index --rebuild",
            fg="yellow",
        )


def ask(found: object) -> None:
    """Ask whether to go on with what was counted.

    Raises
    ------
    InputError
        Nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise InputError(
            f"{found}. Nothing was done: nobody is there to ask",
            "Give --yes to do it, or --dry-run to count.",
        )
    note(str(found))
    typer.confirm("Go on?", abort=True, err=True)


def rename(
    context: typer.Context,
    work: Callable[[Database, str, str], None],
    old: str,
    new: str,
    as_json: bool,
) -> None:
    """Do `work`, and say so."""
    with database(context) as opened:
        work(opened, old, new)
    answer(as_json, {"old": old, "new": new}, f"{old} is called {new} now")
