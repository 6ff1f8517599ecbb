"""What all commands share: the database they talk to, and how they speak.

Answers go to stdout; all else (progress, warnings, -v) to stderr, so that output can be piped.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.defaults import DEFAULT_MODEL
from geosearch.progress_bar import progress_bar
from geosearch.untrusted import for_json, for_terminal

if TYPE_CHECKING:
    from geosearch.database.connection import Connection, Database

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Show at most N.")
]


def print_json(value: Any) -> None:
    """Print one JSON document to stdout: of things of ours, their `to_json` or their fields."""
    sys.stdout.write(for_json(json.dumps(value, ensure_ascii=False, default=_plain)) + "\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def say(text: str, **style: Any) -> None:
    """Print a sentence to stdout; `style` as of `typer.style`."""
    typer.secho(_wrapped(for_terminal(text), sys.stdout.isatty()), **style)


def say_next(command: str, model: str) -> None:
    """Print what to run next, with the model where it is not the default."""
    chosen = "" if model == DEFAULT_MODEL else f" --model {shlex.quote(model)}"
    say(f"next: geosearch {command}{chosen}")


def note(text: str, **style: Any) -> None:
    """Print a remark to stderr; `style` as of `typer.style`."""
    typer.secho(_wrapped(for_terminal(text), sys.stderr.isatty()), err=True, **style)


def answer(as_json: bool, value: Any, shown: str | Callable[[], object]) -> None:
    """Print what a command did: one JSON document where asked for, or else a sentence or more."""
    if as_json:
        print_json(value)
    elif isinstance(shown, str):
        say(shown)
    else:
        shown()


@contextmanager
def database(context: typer.Context) -> Iterator[Database]:
    """The database of this command, started, upgraded where private, checked."""
    # In here: the options of commands are shown and completed without a driver of databases.
    from geosearch.database.session import open_database, selected

    announce(context, selected())
    with open_database() as opened:
        yield opened


@contextmanager
def connected(context: typer.Context) -> Iterator[Connection]:
    """A connection to the `database` of this command."""
    with database(context) as opened, opened.connection() as connection:
        yield connection


def announce(context: typer.Context, label: str) -> None:
    """With `-v`, say which database the command talks to: before it does, lest that fails."""
    if context.find_root().params.get("verbose"):
        note(f"database: {label}", dim=True)


class Table:
    """A table with figures to the right; the columns in `text` are to the left and may be wrapped.

    It fits the terminal where it can. Nothing is cut, and words and paths are not broken: a table
    is wider than the terminal where they are.
    """

    def __init__(self, *names: str, text: Collection[str] = ()) -> None:
        self.rows = [names]
        self._text = [name in text for name in names]

    def add_row(self, *cells: str) -> None:
        """One more row; cells left out are empty."""
        shown = [for_terminal(cell, keep="") for cell in cells]
        self.rows.append((*shown, *[""] * (len(self._text) - len(cells))))

    def print(self, left_out: str | None = None, *, none: str | None = None) -> None:
        """Print the table to stdout, and below it what it leaves out; `none` where it is empty."""
        from rich.cells import cell_len

        if none and len(self.rows) == 1:
            say(none)
            return
        columns = list(zip(*self.rows, strict=True))
        widths = [max(map(cell_len, column)) for column in columns]
        least = [
            max(cell_len(word) for cell in column for word in cell.split() or [""])
            if text
            else width
            for column, width, text in zip(columns, widths, self._text, strict=True)
        ]
        spare = shutil.get_terminal_size().columns - 2 * len(widths) + 1
        while sum(widths) > spare and widths != least:
            _, index = max((width, n) for n, width in enumerate(widths) if width > least[n])
            widths[index] -= 1
        for number, row in enumerate(self.rows):
            cells = [_fold(cell, width) for cell, width in zip(row, widths, strict=True)]
            for height in range(max(map(len, cells))):
                parts = (lines[height] if height < len(lines) else "" for lines in cells)
                padded = (
                    part + " " * (width - cell_len(part))
                    if text
                    else " " * (width - cell_len(part)) + part
                    for part, width, text in zip(parts, widths, self._text, strict=True)
                )
                typer.echo((" " + "  ".join(padded)).rstrip())
            if number == 0:
                typer.echo(" " + "─" * (sum(widths) + 2 * len(widths) - 2))
        if left_out:
            say(left_out)


def left_out(shown: int, total: int) -> str | None:
    """What a table leaves out, in words; None where it is whole."""
    more = f"{shown:,} of {total:,} shown; --limit N shows more, --json all"
    return more if shown < total else None


def _wrapped(text: str, terminal: bool) -> str:
    """Lines as wide as the terminal, in which paths and words stay whole."""
    if not terminal:
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join("\n".join(_fold(line, width)) for line in text.split("\n"))


def _fold(text: str, width: int) -> list[str]:
    """The text in lines of at most this many columns of the terminal, broken at spaces only."""
    from rich.cells import cell_len

    lines = [""]
    for word in re.findall(r"\s*\S+", text):
        if lines != [""] and cell_len(lines[-1] + word) > width:
            lines.append(word.lstrip())
        else:
            lines[-1] += word
    return lines


def print_rows(
    as_json: bool,
    things: Sequence[Any],
    columns: Mapping[str, Callable[[Any], str]],
    text: Collection[str],
    shown: int | None = None,
    none: str | None = None,
) -> None:
    """Print things as one JSON list, or the first of them as a table; see `Table`.

    `columns` has the names of the columns, and what makes a thing's cell; `none` is said where
    there is nothing.
    """
    if as_json:
        print_json(things)
        return
    made = Table(*columns, text=text)
    for thing in things[:shown]:
        made.add_row(*(cell(thing) for cell in columns.values()))
    made.print(left_out(len(made.rows) - 1, len(things)), none=none)


def print_list(
    context: typer.Context,
    as_json: bool,
    read: Callable[[Connection], Sequence[Any]],
    columns: Mapping[str, Callable[[Any], str]],
    text: Collection[str],
    none: str | None = None,
) -> None:
    """Print what is read from the database, as `print_rows`."""
    with connected(context) as connection:
        things = read(connection)
    print_rows(as_json, things, columns, text, none=none)


#: A bar of one task on a terminal, as a function that takes what is done and the total.
progress = partial(progress_bar, shown=True)
