"""`geosearch review`: decisions on answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, answer, connected, print_list

if TYPE_CHECKING:
    from geosearch.localization.reviews import Decision, Review

app = command_group(
    """Decide on answers: an accepted or moved place is that of the stored photo from then on.

    Example: geosearch review accept 17
    """
)

AnswerArgument = Annotated[int, typer.Argument(help="An answer, by its id.")]
RemarkOption = Annotated[str | None, typer.Option("--remark", help="Why, in your words.")]
ReferenceOption = Annotated[
    bool, typer.Option("--as-reference", help="Searches find the photo from then on.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Also where the photo had a position.")
]
AccuracyOption = Annotated[
    float | None,
    typer.Option("--to-accuracy-m", metavar="M", min=0, help="How well that is known, metres."),
]
ToOption = Annotated[str, typer.Option("--to", metavar="LAT,LON", help="Where it was taken.")]


@app.command()
def accept(
    context: typer.Context,
    answer_id: AnswerArgument,
    remark: RemarkOption = None,
    as_reference: ReferenceOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """The photo was taken where the answer says: it has that place from then on.

    Example: geosearch review accept 17
    """
    placing = {"as_reference": as_reference, "overwrite": overwrite}
    _decide(context, as_json, answer_id, "accept", remark=remark, **placing)


@app.command()
def move(
    context: typer.Context,
    answer_id: AnswerArgument,
    to: ToOption,
    to_accuracy_m: AccuracyOption = None,
    remark: RemarkOption = None,
    as_reference: ReferenceOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """The photo was taken elsewhere, and one knows where: it has that place from then on.

    Example: geosearch review move 17 --to 46.948,7.4474 --remark "the old bridge"
    """
    placing = {"as_reference": as_reference, "overwrite": overwrite}
    given = {"to": to, "to_accuracy_m": to_accuracy_m, "remark": remark}
    _decide(context, as_json, answer_id, "move", **given, **placing)


def _add_command(decision: Decision, about: str, example: str) -> None:
    @app.command(decision, help=f"{about}\n\nExample: geosearch review {decision} {example}")
    def _(
        context: typer.Context,
        answer_id: AnswerArgument,
        remark: RemarkOption = None,
        as_json: JsonOption = False,
    ) -> None:
        _decide(context, as_json, answer_id, decision, remark=remark)


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
    context: typer.Context, as_json: bool, answer_id: int, decision: Decision, **given: Any
) -> None:
    from geosearch.localization import reviews

    with connected(context) as connection:
        made = reviews.decide(connection, answer_id, decision, **given)
    answer(as_json, made, _said(made))


def _said(made: Review) -> str:
    where = "" if made.lat is None else f" at {made.lat:.5f},{made.lon:.5f}"
    return f"{made.photo}: {made.decision}{where} (review {made.id})"
