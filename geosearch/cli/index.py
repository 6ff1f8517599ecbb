"""`geosearch index`: build a model's index, measure its recall, check it later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from geosearch.cli.command_groups import CommandGroup
from geosearch.cli.console import JsonOption, Table, answer, database, say, say_next
from geosearch.cli.options import ModelOption
from geosearch.defaults import DEFAULT_MODEL
from geosearch.progress_bar import make_bar
from geosearch.words import format_bytes, number_of

if TYPE_CHECKING:
    from geosearch.retrieval.indexing import Indexed
    from geosearch.retrieval.recall import Check, Progress

app = typer.Typer(
    cls=CommandGroup,
    help="""Build the HNSW index of a model, and measure what it finds against exact search.

    Among few photos exact search costs no more: then nothing is done. Reads and writes go on
    meanwhile. Every later search takes the cheapest way that has the recall asked for here, and
    says what recall it has.

    Example: geosearch index --recall 0.98 --k 100
    """,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def index(
    context: typer.Context,
    model: ModelOption = DEFAULT_MODEL,
    recall: Annotated[
        float, typer.Option(help="Recall that searches by the index must have.")
    ] = 0.98,
    k: Annotated[int, typer.Option("--k", help="Neighbours the recall is tuned for.")] = 100,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build again even if the index is there.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Build even where exact search costs no more.")
    ] = False,
    leaves: Annotated[
        str | None,
        typer.Option(
            help="Build indexes of parts too, for searches of a part: place, time, author, or some "
            "of these with commas; none. By default as before, and at first by place."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What `geosearch index` does without a command after it."""
    if context.invoked_subcommand is not None:
        return
    from geosearch.features.model_rows import find_model
    from geosearch.retrieval.indexes import outdated, spills
    from geosearch.retrieval.indexing import index_model

    with database(context) as opened:
        with opened.connection() as connection:
            row = find_model(connection, model)
            warnings = (outdated(connection), spills(connection, row.id, row.dimension))
        for warning in filter(None, () if as_json else warnings):
            say(warning, fg="yellow")
        families = None if leaves is None else [] if leaves == "none" else leaves.split(",")
        with _progress("index") as report:
            done = index_model(
                opened,
                row.id,
                row.dimension,
                recall,
                k,
                leaves=families,
                rebuild=rebuild,
                force=force,
                progress=report,
            )
    answer(
        as_json, done.to_json() | {"asked": recall}, lambda: _print_built(done, recall, k, model)
    )


@app.command("check")
def check_index(
    context: typer.Context,
    model: ModelOption = DEFAULT_MODEL,
    as_json: JsonOption = False,
) -> None:
    """Measure whether the recall of an index still holds; exit 1 if it does not.

    Example: geosearch index check --json
    """
    from geosearch.features.model_rows import find_model
    from geosearch.retrieval.recall import check

    with database(context) as opened:
        with opened.connection() as connection:
            row = find_model(connection, model)
        with _progress("check") as report:
            health = check(opened, row.id, progress=report)

    def show() -> None:
        say(
            f"recall for k = {health.k}: {health.recall:.4f} ± {health.standard_error:.4f} now, "
            f"with {health.rows:,} photos; {health.tuned_recall:.4f} when tuned, with "
            f"{health.tuned_rows:,}; asked for: {health.target:g}",
        )
        for part in health.leaves:
            say(
                f"leaves by {part.family}, level {part.level}: {part.recall:.4f} ± "
                f"{part.standard_error:.4f}{'' if part.holds else ': too low'}"
            )
        say("it holds" if health.holds else "it no longer holds: run geosearch index")
        _print(health.checks)

    answer(as_json, health, show)
    if not health.holds:
        raise typer.Exit(1)


def _print_built(done: Indexed, recall: float, k: int, model: str) -> None:
    built, measured = done.built, done.measured
    if built is None or measured is None:
        say(
            f"no index is needed yet: to compare {number_of(done.rows, 'embedding')} takes no "
            "longer; --force builds one all the same"
        )
        say_next("localize PHOTO", model)
        return
    if built.built:
        mode = "serially" if built.serial else "in parallel"
        how = f"{number_of(built.rows, 'embedding')} in {built.seconds:.1f} s, {mode}"
    else:
        how = "already there; --rebuild builds it again"
    say(f"{built.name}: {how}, {format_bytes(built.bytes)}")
    if done.leaves is not None and done.leaves.count:
        grown = done.leaves
        say(
            f"{number_of(grown.count, 'leaf', 'leaves')} by {', '.join(grown.families)}, "
            f"{grown.built} built in {grown.seconds:.1f} s, {format_bytes(grown.bytes)}"
        )
    say(f"ef_search {measured.ef_search}: recall {measured.recall:.4f} for k = {k}")
    if measured.target < recall:
        say(
            f"no setting has the recall asked for, {recall:g}: "
            f"searches aim at {measured.target:.4f}",
            fg="yellow",
        )
    _print(measured.checks)
    say_next("localize PHOTO", model)


@contextmanager
def _progress(name: str) -> Iterator[Progress]:
    with make_bar("blocks") as bar:
        task = bar.add_task(name, total=None)
        yield lambda phase, done, total: bar.update(
            task, description=phase, completed=done, total=total or None
        )


def _print(checks: tuple[Check, ...]) -> None:
    made = Table("filter", "photos", "by index", "complete", "recall", "ms", text=["filter"])
    for item in checks:
        made.add_row(
            item.placement,
            f"{item.selectivity:.1%}",
            f"{item.by_index} of {item.queries}",
            "yes" if item.complete else "NO",
            f"{item.recall:.4f}",
            f"{item.ms:.1f}",
        )
    made.print()
