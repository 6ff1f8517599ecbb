"""A bar of what is done and how long the rest takes: in terminals and in notebooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geosearch.waiting import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

#: Seconds between two pictures of a bar in a notebook, which keeps each as a message.
_REDRAWN_S = 0.25


@contextmanager
def progress_bar(task: str, unit: str, *, shown: bool | None = None) -> Iterator[Progress | None]:
    """What draws how far `task` is while the block runs, told what is done of how many `unit`.

    `shown`: in a notebook, or on a terminal at stderr; None, in a notebook alone. What is not shown
    is None. One thing is done before a bar would help: nothing is drawn of it.
    """
    notebook = in_notebook()
    if shown is False or not (notebook or shown):
        yield None
        return
    bar = make_bar(unit)
    number = bar.add_task(task, total=None)
    if not notebook:
        with bar:
            yield lambda done, total: bar.update(number, completed=done, total=total)
        return
    with _displayed(bar) as redraw:

        def told(done: int, total: int | None) -> None:
            bar.update(number, completed=done, total=total)
            if total != 1:
                redraw()

        yield told
        (shown_task,) = bar.tasks
        # Which may have been unknown until now.
        bar.update(number, total=shown_task.total or shown_task.completed)


def in_notebook() -> bool:
    """Whether this is a kernel of a notebook, which shows HTML."""
    if "IPython" not in sys.modules:  # Rich takes a while to load
        return False
    from rich.console import Console

    return Console().is_jupyter


@contextmanager
def _displayed(bar: Bar) -> Iterator[Callable[[], None]]:
    """What shows a bar in a notebook as it is now: as HTML, so that no widgets are needed."""
    from IPython.display import display

    handle: Any = None
    drawn_at = 0.0

    def redraw() -> None:
        nonlocal handle, drawn_at
        if time.monotonic() - drawn_at < _REDRAWN_S:
            return
        drawn_at = time.monotonic()
        if handle is None:
            handle = display(bar, display_id=True)
        else:
            handle.update(bar)

    try:
        yield redraw
    finally:
        if handle is not None:
            handle.update(bar)


def make_bar(unit: str) -> Bar:
    """A progress bar on stderr that shows done/total, rate in `unit`/s and time left.

    Nothing is drawn where stderr is no terminal.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    class Rate(TextColumn):
        def render(self, task: Any) -> Any:
            speed = task.finished_speed or task.speed
            return super().render(task).append("" if speed is None else f"{speed:,.0f} {unit}/s")

    err = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )
