"""`geosearch review`: decisions on answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, connected, print_list

if TYPE_CHECKING:
    from geosearch.localization.reviews import Decision

app = command_group(
    """Decide on answers; the decisions stand in the table reviews.

    Example: geosearch review accept 17
    """
)

AnswerArgument = Annotated[int, typer.Argument(help="An answer, by its id.")]
RemarkOption = Annotated[str | None, typer.Option("--remark", help="Why, in your words.")]
ToOption = Annotated[str, typer.Option("--to", metavar="LAT,LON", help="Where it was taken.")]


def _add_command(decision: Decision, about: str, example: str) -> None:
    @app.command(decision, help=f"{about}\n\nExample: geosearch review {decision} {example}")
    def _(
        context: typer.Context,
        answer_id: AnswerArgument,
        remark: RemarkOption = None,
        as_json: JsonOption = False,
    ) -> None:
        _decide(context, answer_id, decision, None, remark, as_json)


_add_command("accept", "The photo was taken where the answer says.", "17")


@app.command()
def move(
    context: typer.Context,
    answer_id: AnswerArgument,
    to: ToOption,
    remark: RemarkOption = None,
    as_json: JsonOption = False,
) -> None:
    """The photo was taken elsewhere, and one knows where.

    Example: geosearch review move 17 --to 46.948,7.4474 --remark "the old bridge"
    """
    _decide(context, answer_id, "move", to, remark, as_json)


_add_command("reject", "The answer is wrong.", "17")
_add_command("unsure", "One cannot tell.", '17 --remark "any beach"')


@app.command()
def undo(context: typer.Context, answer_id: AnswerArgument, as_json: JsonOption = False) -> None:
    """Take back what one decided last on an answer.

    Example: geosearch review undo 17
    """
    from geosearch.localization import reviews

    with connected(context) as connection:
        done = reviews.undo(connection, answer_id)
    value = {"review_id": done, "localization_id": answer_id}
    answer(as_json, value, f"review {done} of answer {answer_id} is taken back")


@app.command("list")
def show_list(
    context: typer.Context,
    answer_id: Annotated[int | None, typer.Option("--id", help="Those of an answer.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List what was decided, oldest first.

    Example: geosearch review list --json
    """
    from geosearch.localization import reviews

    columns = {
        "answer": lambda item: str(item.localization_id or "gone"),
        "photo": lambda item: item.photo,
        "decision": lambda item: item.decision,
        "place": lambda item: "" if item.lat is None else f"{item.lat:.5f},{item.lon:.5f}",
        "by": lambda item: item.recorded_by,
        "remark": lambda item: item.remark or "",
    }
    print_list(
        context,
        as_json,
        lambda connection: reviews.list_reviews(connection, answer_id),
        columns,
        ("photo", "decision", "place", "by", "remark"),
        none="nothing was decided",
    )


def _decide(
    context: typer.Context,
    answer_id: int,
    decision: Decision,
    to: str | None,
    remark: str | None,
    as_json: bool,
) -> None:
    from geosearch.localization import reviews

    with connected(context) as connection:
        made = reviews.decide(connection, answer_id, decision, to, remark)
    where = "" if made.lat is None else f" at {made.lat:.5f},{made.lon:.5f}"
    answer(as_json, made, f"{made.photo}: {decision}{where} (review {made.id})")
