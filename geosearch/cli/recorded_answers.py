"""`geosearch answers`: the recorded ones, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from geosearch.cli import deleting
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption
from geosearch.cli.deleting import DryRunOption, YesOption
from geosearch.cli.options import selecting

if TYPE_CHECKING:
    from geosearch.layers.selection import Selection

app = command_group(
    """Answers that are recorded; geosearch show and reproduce are about one.

    Example: geosearch answers delete --last 1
    """
)

AllOption = Annotated[bool, typer.Option("--all", help="All answers.")]


@app.command()
@selecting
def delete(
    context: typer.Context,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    *,
    selection: Selection,
) -> None:
    """Delete answers of one's own, with all they rest on.

    Example: geosearch answers delete --id 17 --id 18
    """
    from geosearch.deletion.record_deletion import delete_answers

    asked = deleting.Asked(dry_run, yes, as_json)
    deleting.delete(
        context, asked, delete_answers, selection, unit="answers", everything=everything
    )
