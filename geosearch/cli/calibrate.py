"""`geosearch calibrate` and `calibrations`: make answers mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.arguments import read_named
from geosearch.cli import console, deleting, options
from geosearch.cli.command_groups import command_group
from geosearch.cli.console import JsonOption, Table, answer, connected, note, say
from geosearch.cli.deleting import DryRunOption, YesOption
from geosearch.words import format_km, number_of, threshold

if TYPE_CHECKING:
    from geosearch.calibration import Calibration
    from geosearch.evaluation.calibrating import Checked

_ABSENT = options.option(
    "absent_km",
    float,
    "Hide references so near to the truth to learn what absence is like; "
    "by default six spacings of the neighbours or less.",
)
_FORCE = options.option(
    "force", bool, "Record the calibration even if held-out queries are worse off with it."
)


@options.taking(
    *(options.MODELS, options.neighbours(100), _ABSENT, options.EXACT, options.DEVICE),
    *(options.VERIFY, options.WITHIN, options.SAMPLE, options.SEED, _FORCE, options.TRACK),
    queries=options.make_queries,
    exclusions=options.make_leakage,
    where=options.make_filter,
)
def calibrate(context: typer.Context, as_json: JsonOption = False, **given: Any) -> None:
    """Fit bandwidth, weighting, regions and probabilities to labelled queries.

    One half of the queries is fitted to, the other gives the figures; queries of one place or
    author stay together. If the other half is not worse off than by the defaults, the calibration
    is fitted again to all of them and recorded, and from then on `geosearch localize` uses the
    latest one of its model: the one made with the same filter, or else with none. What tracks are
    worth is learned only with --track.

    Words are far from all pictures, so that what is fitted to photos does not hold for them:
    --texts and --titles fit a calibration for --text, which is used for words alone.

    Of several models each is fitted alone, and then how much each counts where they answer
    together; the figures are beside those of the best one alone.

    Example: geosearch calibrate queries.csv --json

    Example: geosearch calibrate queries.csv --model packaged/efficientnet-lite0 --model file:b.pt

    Example: geosearch calibrate --texts texts.csv --model open_clip/ViT-B-32@openai
    """
    from geosearch.evaluation import calibrating

    given["within_km"] = read_named(given).get("within_km")
    given["track"] = given["track"] or None
    with console.database(context) as opened, console.progress("calibrate", "queries") as report:
        made = calibrating.calibrate(opened, **given, progress=report)
    few = calibrating.FEW
    if made.n_fit < few or made.n_check < few:
        note(
            f"{number_of(made.n_fit, 'query was', 'queries were')} fitted to and {made.n_check} "
            f"held out: fewer than {few} of either make loose levels and figures",
        )
    if made.failed:
        note(f"{number_of(made.failed, 'query', 'queries')} could not be used")
    answer(as_json, made, lambda: _print(made))


app = command_group(
    """Calibrations in the database; `geosearch calibrate` makes one.

    Example: geosearch calibrations list
    """
)

IdArgument = Annotated[int, typer.Argument(metavar="ID", help="Id of the calibration.")]


@app.command("list")
def list_all(context: typer.Context, as_json: JsonOption = False) -> None:
    """List all calibrations, oldest first.

    Example: geosearch calibrations list
    """
    from geosearch.calibration.calibration_rows import list_calibrations

    columns = {
        "id": lambda item: str(item.id),
        "made": lambda item: f"{item.created_at:%Y-%m-%d}" if item.created_at else "",
        "model": lambda item: item.model,
        "filter": lambda item: str(item.where),
        "of": lambda item: "words" if item.fitted.words else "photos",
        "queries": lambda item: f"{item.queries} ({item.n_fit + item.n_check})",
    }
    text = ("model", "filter", "of", "queries")
    none = "none yet; geosearch calibrate QUERIES.csv makes one"
    console.print_list(context, as_json, list_calibrations, columns, text, none)


@app.command()
def show(context: typer.Context, calibration_id: IdArgument, as_json: JsonOption = False) -> None:
    """Show a calibration and its figures.

    Example: geosearch calibrations show 3
    """
    from geosearch.calibration import find_calibration

    with connected(context) as connection:
        found = find_calibration(connection, calibration_id)
    answer(as_json, found, lambda: _print(found))


@app.command()
@options.taking(
    *(options.EXACT, options.DEVICE, options.SAMPLE, options.SEED),
    queries=options.make_queries,
    exclusions=options.make_leakage,
    where=options.make_filter,
)
def check(
    context: typer.Context, calibration_id: IdArgument, as_json: JsonOption = False, **given: Any
) -> None:
    """Measure a calibration again: on fresh queries, and the references as they are now.

    Exit 1 if it is worse than none by now. Without a filter, the calibration's own is used.

    Example: geosearch calibrations check 3 fresh.csv
    """
    from geosearch.evaluation import calibrating
    from geosearch.retrieval import EVERYTHING

    if given["where"] == EVERYTHING:
        given["where"] = None
    with console.database(context) as opened, console.progress("check", "queries") as report:
        found = calibrating.check_calibration(opened, calibration_id, **given, progress=report)
    answer(as_json, found, lambda: _print_checked(found))
    if found.figures["worse"]:
        raise typer.Exit(1)


@app.command()
def delete(
    context: typer.Context,
    calibration_id: IdArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a calibration. Answers that used it stay, and can still be reproduced.

    Example: geosearch calibrations delete 3
    """
    from geosearch.deletion.record_deletion import delete_calibration

    asked = deleting.Asked(dry_run, yes, as_json)
    deleting.delete(context, asked, delete_calibration, calibration_id)


def _print_checked(found: Checked) -> None:
    on = number_of(found.n, "query", "queries")
    say(f"calibration {found.calibration_id} on {on} of {found.queries}")
    for difference in found.outside:
        note(difference)
    if found.failed:
        note(f"{number_of(found.failed, 'query', 'queries')} could not be used")
    _print_figures(on, found.figures)


def _print(made: Calibration) -> None:
    fitted = made.fitted
    say(f"calibration {made.id}: {made.model}, filter: {made.where}")
    say(
        f"k {fitted.k}, {fitted.weighting}, bandwidth {fitted.bandwidth:g} spacings of about "
        f"{format_km(fitted.spacing.middle)}, "
        f"sharpness {fitted.sharpness:g}; "
        f"fitted to {made.n_fit + made.n_check} {'texts' if fitted.words else 'queries'} of "
        f"{made.queries}",
    )
    if fitted.pool is not None:
        counts = zip(made.model.split(" + "), fitted.pool.powers, strict=True)
        say(
            f"density to the power of {', '.join(f'{power:.2f}: {name}' for name, power in counts)}"
        )
    _print_figures(f"{made.n_check} held out of them", made.figures)


def _km(item: tuple[str, float]) -> float:
    return float(item[0])


def _print_figures(title: str, figures: Mapping[str, Any]) -> None:
    before = figures["before"]
    shown = Table(title, figures["beside"], "calibrated")
    shown.add_row(
        "log-likelihood", f"{before['log_likelihood']:.3f}", f"{figures['log_likelihood']:.3f}"
    )
    for level, share in figures["coverage"].items():
        shown.add_row(
            f"truth in {level} % region", f"{before['coverage'][level]:.1%}", f"{share:.1%}"
        )
    for level, share in figures["radius_coverage"].items():
        shown.add_row(f"truth in {level} % radius", "", f"{share:.1%}")
    for km, share in sorted(figures["accuracy"].items(), key=_km):
        within = f"within {threshold(float(km))}"
        shown.add_row(within, f"{before['accuracy'][km]:.1%}", f"{share:.1%}")
    for km, score in sorted(figures["brier"].items(), key=_km):
        name = f"Brier score, {threshold(float(km))}"
        shown.add_row(name, f"{before['brier'][km]:.4f}", f"{score:.4f}")
    shown.print()
    if figures["worse"]:
        note(f"it is worse than none: {'; '.join(figures['worse'])}")
    absence = figures["absence"]
    if absence is None:
        say("too few absent copies of the queries to learn what absence is like")
        return
    say(
        f'"not in this collection" below presence {absence["min_presence"]:.3f}: catches '
        f"{absence['caught']:.1%} of absent queries, false alarms {absence['false_alarms']:.1%}",
    )
