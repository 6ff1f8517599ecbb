"""What all commands share: the database they talk to, and how they speak."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from geosearch.database.connection import Database
from geosearch.database.session import open_database, selected

if TYPE_CHECKING:
    from rich.progress import Progress

#: Answers go to stdout; all else (progress, warnings, -v) to stderr, so that output can be piped.
out = Console()
err = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(value: Any) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


@contextmanager
def database(context: typer.Context) -> Iterator[Database]:
    """The database of this command, started, upgraded where private, checked."""
    announce(context, selected())
    with open_database() as opened:
        yield opened


def announce(context: typer.Context, label: str) -> None:
    """With `-v`, say which database the command talks to: before it does, lest that fails."""
    if context.find_root().params.get("verbose"):
        err.print(f"database: {label}", style="dim", highlight=False, markup=False, soft_wrap=True)


def table(*names: str, text: Collection[str] = ()) -> Table:
    """A table of figures, to the right and never cut; the columns in `text` fold instead."""
    made = Table(box=box.SIMPLE_HEAD)
    for name in names:
        if name in text:
            made.add_column(name, overflow="fold")
        else:
            made.add_column(name, justify="right", no_wrap=True)
    return made


def progress_bar(unit: str) -> Progress:
    """A progress bar on stderr that shows done/total, rate in `unit`/s and time left.

    Nothing is drawn where stderr is no terminal.
    """
    from rich import progress  # not every command has a bar to draw

    class Rate(progress.TextColumn):
        def render(self, task: progress.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} {unit}/s")

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        Rate(""),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )
