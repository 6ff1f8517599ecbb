"""`geosearch review`: decisions on answers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.cli.command_groups import command_group
from geosearch.cli.console import (
    JsonOption,
    answer,
    connected,
    database,
    note,
    print_list,
    progress,
    say,
)
from geosearch.cli.deleting import DryRunOption, YesOption, ask
from geosearch.errors import InputError
from geosearch.words import format_km, number_of, threshold

if TYPE_CHECKING:
    from geosearch.database.connection import Connection, Database
    from geosearch.localization.reviews import Decision, Review, Undecided

_ANSWER = typer.Argument(help="An answer, by its id.")
AnswerArgument = Annotated[int, _ANSWER]
AnyAnswerArgument = Annotated[int | None, _ANSWER]
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
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="All that one decided from then on."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Of these, what up to then.")
]
CollectionOption = Annotated[
    list[str] | None,
    typer.Option("--collection", metavar="NAME", help="Photos of this one; repeatable."),
]
AtMostOption = Annotated[
    float, typer.Option("--at-most-km", metavar="KM", help="Probabilities of this error at most.")
]

_KEYS = (
    "a accept, m move, r reject, s unsure (one cannot tell), u take one's last decision back, "
    "o open the map, Enter leave it for later, q quit; each with Enter"
)


def _session(
    context: typer.Context, collection: CollectionOption = None, at_most_km: AtMostOption = 1
) -> None:
    if context.invoked_subcommand is not None:
        return
    from geosearch.localization.reviews import list_undecided, settle_times

    with database(context) as opened:
        listed = partial(list_undecided, at_most_km=at_most_km, collections=collection or ())
        with opened.connection() as connection:
            settle_times(connection)
            waiting = listed(connection)
        say(f"{number_of(len(waiting), 'answer')} to decide on")
        if waiting:
            say(_KEYS)
        number = 0
        decided: set[int] = set()
        while number < len(waiting):
            one = waiting[number]
            say(f"\n{number + 1} of {len(waiting)}: {one.photo}")
            say(_about(one, at_most_km))
            try:
                said = _ask(opened, one)
            except typer.Abort:  # the end of what is typed, or Ctrl-C
                say("")
                said = "q"
            if said == "q":
                break
            if said != "u":
                decided |= {one.localization_id} if said else set()
                number += 1
                continue
            with opened.connection() as connection:
                back = _take_back(connection)
                ids = [each.localization_id for each in waiting]
                if back in ids:
                    number = ids.index(back)
                elif back is not None:
                    again = listed(connection)
                    waiting[number:number] = [one for one in again if one.localization_id == back]
            decided.discard(back or 0)
        say(f"{len(decided):,} decided, {len(waiting) - len(decided):,} left for later")


def _about(one: Undecided, at_most_km: float) -> str:
    radius = "" if one.radius_90_km is None else f", 90 % within {format_km(one.radius_90_km)}"
    sure = (
        f"agreement {one.agreement:.2f}, uncalibrated"
        if one.probability is None
        else f"{one.probability:.0%} sure to {threshold(at_most_km)}"
        + ("" if one.holds else ", by a calibration that does not hold for it")
    )
    place = one.place or "an unnamed place"
    return f"answer {one.localization_id}: {place} ({one.lat:.5f},{one.lon:.5f}); {sure}{radius}"


def _ask(opened: Database, one: Undecided) -> str:
    """Let an answer be decided on, left, or what was decided before be taken back; the key."""
    from geosearch.localization import reviews

    decisions: dict[str, Decision] = {"a": "accept", "m": "move", "r": "reject", "s": "unsure"}
    key = one.localization_id
    while True:
        line: str = typer.prompt("a m r s u o q", default="", show_default=False, err=True)
        said = line[:1].lower()
        if said in ("", "q", "u"):
            return said
        if said == "o":
            _open_map(opened, key)
            continue
        if said not in decisions:
            note(_KEYS)
            continue
        to = typer.prompt("LAT,LON", err=True) if said == "m" else None
        try:
            with opened.connection() as connection:
                say(_said(reviews.decide(connection, key, decisions[said], to)))
            return said
        except InputError as error:
            note(str(error))


def _take_back(connection: Connection) -> int | None:
    """Take back what one decided last, in whatever session, and say so; the answer."""
    from geosearch.localization import reviews

    back = reviews.undo_last(connection)
    if back is None:
        note("there is nothing left of what you decided")
        return None
    say(f"taken back: {_said(back)}, of {back.created_at:%Y-%m-%d %H:%M}")
    _warn_of_files(reviews.still_written(connection, [back.localization_id or 0]))
    return back.localization_id


def _warn_of_files(written: Sequence[str]) -> None:
    if written:
        said = ", ".join(written[:3]) + (", …" if len(written) > 3 else "")
        note(
            f"{number_of(len(written), 'file says', 'files say')} so still: {said}\n"
            "geosearch write-back takes it out, with --embed or --immich where it was written so"
        )


def _open_map(opened: Database, answer_id: int) -> None:
    from geosearch.export.map import draw_map
    from geosearch.localization import load

    folder = Path(tempfile.mkdtemp(prefix="geosearch-"))
    file = folder / f"answer-{answer_id}.png"
    draw_map(load(opened, answer_id), file, opened)
    note(str(file))
    typer.launch(str(file))


app = command_group(
    """Decide on answers: an accepted or moved place is that of the stored photo from then on.

    Alone, it asks about one after the other, those neither clear nor hopeless first.

    Example: geosearch review --collection mine

    Example: geosearch review accept 17
    """,
    alone=_session,
)


@app.command()
def accept(
    context: typer.Context,
    answer_id: AnyAnswerArgument = None,
    min_probability: Annotated[
        float | None,
        typer.Option("--min-probability", metavar="P", help="All that are right so probably."),
    ] = None,
    at_most_km: AtMostOption = 1,
    collection: CollectionOption = None,
    remark: RemarkOption = None,
    as_reference: ReferenceOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """The photo was taken where the answer says: it has that place from then on.

    Or all photos without a position whose latest answer is right within so many kilometres with a
    probability of P, by a calibration that holds for them, and that nobody decided on.

    Example: geosearch review accept 17

    Example: geosearch review accept --min-probability 0.95 --at-most-km 1 --dry-run
    """
    if min_probability is None:
        if answer_id is None:
            raise InputError("which answers?", "Give the id of one, or --min-probability P.")
        if dry_run or collection:
            raise InputError(
                "--dry-run and --collection are of --min-probability", "Leave them out."
            )
        placing = {"as_reference": as_reference, "overwrite": overwrite}
        _decide(context, as_json, answer_id, "accept", remark=remark, **placing)
        return
    if overwrite or answer_id is not None:
        raise InputError(
            "--min-probability accepts many, over no known position",
            "Leave the id and --overwrite out, or --min-probability.",
        )
    from geosearch.localization.reviews import accept_probable

    with database(context) as opened:
        work = partial(
            accept_probable,
            opened,
            min_probability=min_probability,
            at_most_km=at_most_km,
            collections=collection or (),
            remark=remark,
            as_reference=as_reference,
        )
        if dry_run or not yes:
            found = work(dry_run=True)
            if not dry_run and found.answers:
                ask(found)
        if not dry_run:
            with progress("accept", "answers") as report:
                found = work(progress=report)
    answer(as_json, found, str(found))
    if found.since is not None and found.until is not None:
        ends = f"--since {found.since.isoformat()} --until {found.until.isoformat()}"
        note(f"to take that back: geosearch review undo {ends}")


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
def undo(
    context: typer.Context,
    answer_id: AnyAnswerArgument = None,
    since: SinceOption = None,
    until: UntilOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take back what one decided last on an answer; or all since a moment, as of a bulk.

    Example: geosearch review undo 17

    Example: geosearch review undo --since 2026-11-28T09:00 --dry-run
    """
    from geosearch.localization import reviews

    if (answer_id is None) == (since is None):
        raise InputError("what is to be taken back?", "Give the id of an answer, or --since TIME.")
    if since is None:
        if dry_run or until is not None:
            raise InputError("--dry-run and --until are of --since", "Leave them out.")
        with connected(context) as connection:
            done = reviews.undo(connection, answer_id or 0)
            written = reviews.still_written(connection, [answer_id or 0])
        value = {"review_id": done, "localization_id": answer_id, "written": written}
        answer(as_json, value, f"review {done} of answer {answer_id} is taken back")
    else:
        with connected(context) as connection:
            found = reviews.undo_since(connection, since, until, dry_run=True)
        if not dry_run:
            if found.reviews and not yes:
                ask(found)
            with connected(context) as connection:
                found = reviews.undo_since(connection, since, until)
        written = [*found.written]
        answer(as_json, found, str(found))
    _warn_of_files(written)


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
        placed = made.lat is None or reviews.placed_photos(connection, answer_id)
    answer(as_json, made, _said(made))
    if not placed:
        note(
            "no stored photo has that place by this: known positions are replaced with --overwrite "
            "alone, and photos whose bytes are others now are to be asked about again"
        )


def _said(made: Review) -> str:
    where = "" if made.lat is None else f" at {made.lat:.5f},{made.lon:.5f}"
    return f"{made.photo}: {made.decision}{where} (review {made.id})"
