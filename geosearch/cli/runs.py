"""`geosearch runs`: what was done, and how it is undone."""

from __future__ import annotations

from typing import Annotated

import typer

from geosearch.cli import deleting
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, LimitOption, connected, print_rows
from geosearch.cli.deleting import DryRunOption, YesOption

app = command_group(
    """Ingests, corrections, embed and train runs: what came of them, and how to undo them.

    Example: geosearch runs list
    """
)

RunArgument = Annotated[int, typer.Argument(metavar="ID", help="Id of the run.")]
#: Shown in the terminal unless --limit says more.
_SHOWN = 20


@app.command("list")
def show_list(
    context: typer.Context, limit: LimitOption = None, as_json: JsonOption = False
) -> None:
    """List the runs, the latest first.

    Example: geosearch runs list --json
    """
    from geosearch.deletion.run_undo import list_runs

    with connected(context) as connection:
        found = list_runs(connection, limit if as_json or limit else _SHOWN)
    columns = {
        "id": lambda run: str(run.id),
        "kind": lambda run: run.kind,
        "collection": lambda run: run.collection or "",
        "started": lambda run: f"{run.started_at:%Y-%m-%d %H:%M}",
        "added": lambda run: f"{(run.counts or {}).get('added', 0):,}",
        "state": lambda run: (
            "undone" if run.undone_at else "finished" if run.finished_at else "not finished"
        ),
    }
    print_rows(as_json, found, columns, ("kind", "collection", "state"), none="none yet")


@app.command()
def undo(
    context: typer.Context,
    run: RunArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Undo an ingest or a correction: photos it added go, what it changed comes back.

    What later runs changed since stays. Edited files that it replaced do not come back.

    Example: geosearch runs undo 4 --dry-run
    """
    from geosearch.deletion.run_undo import undo_run

    asked = deleting.Asked(dry_run, yes, as_json)
    deleting.delete(context, asked, undo_run, run, unit="photos")
