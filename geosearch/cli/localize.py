"""`geosearch localize`, `show`, `reproduce`: photos in, places out, and earlier answers."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geosearch.arguments import check_choice, number
from geosearch.cli import console, options
from geosearch.cli.console import JsonOption, LimitOption, Table, answer, database, note, say
from geosearch.errors import EXIT_NO_NEIGHBOURS, EXIT_SOME_REJECTED, InputError
from geosearch.words import format_hours, format_km, number_of, threshold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from geosearch.calibration import Calibration
    from geosearch.localization import Failure, Localization
    from geosearch.localization.reproduction import Reproduction
    from geosearch.retrieval import Filter, Neighbours

IdArgument = Annotated[int, typer.Argument(metavar="ID", help="Id of the answer.")]

#: Calibrations that are named where none applies.
_NAMED = 3

#: How far a clock is ahead.
_CLOCK = re.compile(r"([-+]?)(\d{1,2}):([0-5]\d)(?::([0-5]\d))?", re.ASCII)

#: Neighbours that `show` lists where nothing says how many.
_SHOWN = 20


_RECORD = options.option(
    "record", bool, "Store the answers in the database.", default=True, spelt="--record/--no-record"
)


_IDS = options.option("photo_ids", list[int], "A photo of the database.", spelt="--photo-id")
_TEXTS = options.option(
    "text", list[str], "Ask by words, of a model that knows them; repeatable.", metavar="WORDS"
)
_UNLOCATED = options.option(
    "unlocated", bool, "All photos of the database that have no position and no such answer yet."
)
_OF = options.option(
    "of", list[str], "--unlocated: those of this collection; repeatable.", metavar="NAME"
)


@options.of_options(
    options.option(
        "timeline",
        bool,
        "Also go by the photos that the same camera took before and after. This is so anyway where "
        "the calibration has learned what they are worth.",
        group=options.TIME,
    ),
    options.TRACK,
    options.option(
        "clock_offset",
        str,
        "How far the camera's clock is ahead of the track's, as [-]H:MM[:SS] or seconds; else it "
        "is found by photos whose positions are known.",
        metavar="TIME",
        group=options.TIME,
    ),
    options.option(
        "without",
        str,
        "Go by no timeline, by no track, or by the picture alone.",
        metavar="timeline,track",
        group=options.TIME,
    ),
)
def _make_times(given: dict[str, Any]) -> dict[str, Any]:
    """What is asked of time: `timeline` of a request, `track` and `clock_offset` in seconds."""
    without = set(filter(None, (given.pop("without") or "").split(",")))
    for name in sorted(without):
        check_choice("without", name, ("timeline", "track"))
        if given[name]:
            raise InputError(f"--{name} and --without {name}", "Leave one of them out.")
    offset = given["clock_offset"]
    return {
        "timeline": False if "timeline" in without else given["timeline"] or None,
        "track": given["track"] or None,
        "clock_offset": None if offset is None else _seconds(offset),
    }


def _seconds(text: str) -> float:
    """Seconds of `[-]H:MM[:SS]`, or of a number of them."""
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        with suppress(InputError):
            return number("clock_offset", text)
        raise InputError(
            f"`clock_offset`: {text!r} is no time", "Give it as [-]H:MM, [-]H:MM:SS or in seconds."
        )
    hours, minutes, seconds = (int(found[part] or 0) for part in (2, 3, 4))
    whole = 3600 * hours + 60 * minutes + seconds
    return float(-whole if found[1] == "-" else whole)


@options.taking(
    *(_IDS, options.VECTORS, _TEXTS, _UNLOCATED, _OF),
    *(options.MODELS, options.DEVICE, _RECORD),
    times=_make_times,
    asked=options.make_parameters,
    exclusions=options.make_exclusions,
    where=options.make_filter,
)
def localize(
    context: typer.Context,
    photos: Annotated[
        list[str] | None, typer.Argument(help="Photos: paths, URLs, folders, manifests.")
    ] = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", metavar="FILE.png", help="Draw a map of the answer.")
    ] = None,
    as_json: JsonOption = False,
    *,
    asked: dict[str, Any],
    times: dict[str, Any],
    photo_ids: list[int] | None,
    vectors: Path | None,
    text: list[str] | None,
    unlocated: bool,
    of: list[str] | None,
    **given: Any,
) -> None:
    """Estimate where photos were taken. `geosearch show` reads recorded answers back.

    Those of files; or of the database, then by their stored embeddings, and without themselves
    among the neighbours; or by vectors that the model made elsewhere; or by words, with a
    calibration of words (geosearch calibrate --texts). --unlocated asks about those of the
    collections that are searched, or --of others; killed, the same command goes on.

    The latest calibration of the model is used unless --method, --k, --bandwidth-km, --weighting
    or restrict_cells in --parameters is given. With --json, one object per photo and line. A photo
    without neighbours has no place, and its answer is not recorded: exit code 8. Several --model
    answer together: each by its own neighbours, and their densities as one.

    Example: geosearch localize holiday.jpg --near 46.8,8.2,200 --map holiday.png

    Example: geosearch localize holiday.jpg --model packaged/efficientnet-lite0 --model file:b.pt

    Example: geosearch localize --unlocated --collection mine

    Example: geosearch localize --vectors queries.npy --model external:dinov2

    Example: geosearch localize --text "a red barn by a lake" --model open_clip/ViT-B-32@openai
    """
    from geosearch.features.given_queries import file_queries, given_queries, text_query
    from geosearch.localization import Failure, Request, localize_stored
    from geosearch.localization import localize as localize_photos
    from geosearch.retrieval.duplicates import Excluded

    if sum(map(bool, (photos, photo_ids, vectors, text, unlocated))) != 1:
        raise InputError(
            "nothing, or too much, says which photos",
            "Give photos, --photo-id ID, --vectors FILE, --text WORDS or --unlocated.",
        )
    if of and not unlocated:
        raise InputError("--of is of --unlocated", "Leave it out, or give both.")
    asked_about = file_queries(vectors) if vectors else given_queries(photos or ())
    if text:
        asked_about = [text_query(words) for words in text]
    if map_file is not None and (unlocated or len(asked_about or photo_ids or ()) > 1):
        raise InputError("--map draws one answer", "Give one photo, or use: geosearch export")
    options.check_map(map_file)
    timeline = times.pop("timeline")
    request = Request.from_json(asked if timeline is None else asked | {"timeline": timeline})
    answers = _table()
    remarks: list[str | None] = []
    calibrations: dict[str, None] = {}
    answered: Localization | None = None
    others: str | None = None
    failures: list[Failure] = []
    lost: list[str] = []
    with database(context) as opened, console.progress("localize", "photos") as report:
        common = {"parameters": request, **given, **times, "progress": report}
        if asked_about:
            found_answers = localize_photos(opened, asked_about, **common)
        else:
            common["exclusions"] = replace(given["exclusions"], same_bytes=True)
            found_answers = localize_stored(opened, photo_ids, of=of or (), **common)
        for found in found_answers:
            if as_json:
                console.print_json(found)
            if isinstance(found, Failure):
                failures.append(found)
                continue
            if found.place_name is not None:
                remarks.append(f"{Path(found.photo).name}: {found.place_name}")
            if found.lat is None:
                lost.append(found.photo)
            remarks += [_remark(found), _verification(found), _members(found), _time(found)]
            calibrations[_calibration(found)] = None
            answered = found
            answers.add_row(*_row(found))
            told = found.excluded is not None and (asked_about or found.excluded != Excluded())
            if told and not as_json:
                note(f"{Path(found.photo).name}: references left out: {found.excluded}")
            if map_file is not None:
                # Matplotlib takes a while to import: only for this option.
                from geosearch.export.map import draw_map

                draw_map(found, map_file, opened)
        calibrates = request.open and request.calibrate
        if calibrates and answered and answered.parameters.fitted is None:
            from geosearch.calibration.calibration_rows import list_calibrations

            asked_models = tuple(each.model["fingerprint"] for each in answered.members[1:])
            with opened.connection() as connection:
                made = list_calibrations(connection, answered.model_id)
            words = answered.parameters.words
            of_these = [
                each
                for each in made
                if each.fitted.fingerprints == asked_models and each.fitted.words == words
            ]
            others = _others(of_these, given["where"])
    if unlocated and answered is None and not failures:
        note("nothing to ask: all these photos have an answer to this question, or none is there")
    if not as_json:
        _print(answers, failures)
        for remark in filter(None, remarks):
            say(remark)
        for remark in calibrations:
            say(f"calibration {remark}")
        if others:
            note(others)
    if lost:
        note(
            f"{number_of(len(lost), 'photo')} without neighbours, so without a place and not "
            "recorded: no reference passes the filter. Widen it, or add photos: geosearch ingest"
        )
    if failures:
        raise typer.Exit(EXIT_SOME_REJECTED)
    if lost:
        raise typer.Exit(EXIT_NO_NEIGHBOURS)


def show(
    context: typer.Context,
    localization_id: IdArgument,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an earlier answer with its neighbours.

    Example: geosearch show 17
    """
    from geosearch.localization.answer_rows import load

    with database(context) as opened:
        found = load(opened, localization_id)
    answer(as_json, found, lambda: _show(found, limit or _SHOWN))


def reproduce(
    context: typer.Context, localization_id: IdArgument, as_json: JsonOption = False
) -> None:
    """Compute an earlier answer again; exit 1 and say what changed if it is not the same.

    Example: geosearch reproduce 17
    """
    from geosearch.localization import reproduce as reproduce_answer

    with database(context) as opened:
        result = reproduce_answer(opened, localization_id)
    answer(as_json, result, lambda: _print_result(localization_id, result))
    if not result.same:
        raise typer.Exit(1)


def _show(answer: Localization, limit: int) -> None:
    answers = _table()
    answers.add_row(*_row(answer))
    _print(answers, [])
    told = (_remark(answer), _verification(answer), _members(answer), _time(answer))
    for remark in filter(None, told):
        say(remark)
    plan = answer.neighbours.plan
    facts = {
        "photo": answer.photo,
        "place": answer.place_name or "unknown",
        "answered": f"{answer.created_at:%Y-%m-%d %H:%M:%S %Z}",
        "model": answer.model["name"],
        "parameters": ", ".join(f"{k}={v}" for k, v in answer.parameters.to_json().items()),
        "calibration": _calibration(answer),
        "filter": str(answer.where),
        "excluded": "nothing was to be" if answer.excluded is None else str(answer.excluded),
        "plan": f"{plan.strategy}: {plan.reason}",
        "within": ", ".join(
            f"{threshold(km)} {share:.1%}" for km, share in answer.probability_within_km.items()
        )
        or "unknown",
        "truth": "unknown" if answer.truth is None else "{:.5f}, {:.5f}".format(*answer.truth),
    }
    for name, value in facts.items():
        say(f"{name:<12}{value}")
    found = answer.neighbours
    neighbour_table(found, answer.weights, limit).print(
        console.left_out(min(limit, len(found)), len(found))
    )


def _print_result(localization_id: int, result: Reproduction) -> None:
    moved = result.shift_km
    by = "" if moved is None else f", the estimate moved {format_km(moved)}"
    verdict = "the same answer" if result.same else f"another answer{by}"
    say(f"answer {localization_id}: {verdict}")
    for change in result.changes:
        say(f"  {change}")


def neighbour_table(
    neighbours: Neighbours, weights: NDArray[np.float64] | None = None, limit: int | None = None
) -> Table:
    """The first neighbours as a table, with their weights where there are any."""
    weighted = [] if weights is None else ["weight"]
    counted = [] if neighbours.inliers is None else ["inliers"]
    made = Table("rank", "photo", "lat", "lon", "distance", *counted, *weighted, text=["photo"])
    for index in range(len(neighbours))[:limit]:
        count = neighbours.counted(index)
        made.add_row(
            str(index + 1),
            Path(neighbours.uri[index]).name,
            f"{neighbours.lat[index]:.5f}",
            f"{neighbours.lon[index]:.5f}",
            f"{neighbours.distance[index]:.4f}",
            *(["-" if count is None else str(count)] if counted else []),
            *([] if weights is None else [f"{weights[index]:.4f}"]),
        )
    return made


def _table() -> Table:
    radii = ("50 % within", "90 % within")
    return Table("id", "photo", "lat", "lon", "agreement", *radii, text=["photo"])


def _remark(answer: Localization) -> str | None:
    """What a table has no place for, in words."""
    name, least = Path(answer.photo).name, answer.parameters.min_presence
    if answer.query.low_information is not None:
        said = answer.query.low_information
        return f"{name}: the picture has too little information to tell a place ({said})"
    if answer.confident is not False:
        return None
    return f"{name}: not in this collection (presence {answer.presence:.2f}, below {least:.2f})"


def _verification(answer: Localization) -> str | None:
    """What comparing the picture with those of references came to, and cost."""
    made = answer.neighbours.verification
    return None if made is None else f"{Path(answer.photo).name}: {made}"


def _members(answer: Localization) -> str | None:
    """What each of several models has in the answer, and by how many photos where that differs."""
    if not answer.members:
        return None
    counts = [each.references for each in answer.members]
    said = []
    for each, count in zip(answer.members, counts, strict=True):
        share = "nothing" if each.lat is None or each.share is None else f"{each.share:.0%}"
        of = f" of {count:,} photos" if len(set(counts)) > 1 and count is not None else ""
        said.append(f"{each.model['name']} {share}{of}")
    return f"{Path(answer.photo).name}: by {', '.join(said)}"


def _time(answer: Localization) -> str | None:
    """What time said beside the picture, and how far either was believed."""
    evidence = answer.evidence
    if evidence is None:
        return None
    said = [", ".join(f"{name} {share:.0%}" for name, share in evidence.believed.items())]
    for name in ("before", "after"):
        fix = evidence.timeline and getattr(evidence.timeline, name)
        if fix:
            said.append(f"photo {fix.photo_id} {format_hours(fix.hours)} {name}")
    session = evidence.timeline and evidence.timeline.session
    if session:
        hours = sorted(abs(seen.hours) for seen in session.photos)
        away = " to ".join(dict.fromkeys(format_hours(each) for each in (hours[0], hours[-1])))
        said.append(f"{number_of(len(hours), 'photo')} without a position, {away} away")
    if evidence.track is not None:
        said.append(f"{evidence.track.name}, {evidence.track.clock_offset}")
    if evidence.disagrees:
        said.append("they disagree")
    return f"{Path(answer.photo).name}: believed: {'; '.join(said)}"


def _calibration(answer: Localization) -> str:
    if not answer.parameters.retrieves:
        return "none: agreement is the probability of the likeliest cell, by its classifiers"
    if answer.parameters.fitted is None and answer.parameters.words:
        return f"none: {options.NO_WORDS}"
    if answer.parameters.fitted is None:
        return "none: agreement and radii are those of the neighbours, not how sure the answer is"
    return answer.calibration_remark


def _others(calibrations: list[Calibration], where: Filter) -> str | None:
    """In words, the calibrations that do not apply where none does."""
    if not calibrations:
        return None
    named = [f"calibration {one.id} is for {_made_for(one)}" for one in calibrations[-_NAMED:]]
    more = len(calibrations) - len(named)
    return (
        f"no calibration is for {where}: {'; '.join(named)}{f'; and {more} more' if more else ''}. "
        f"Ask with that filter, or give --calibration {calibrations[-1].id}"
    )


def _made_for(calibration: Calibration) -> str:
    domain = calibration.fitted.domain
    verified = f" with --verify {domain.verify}" if domain and domain.verify else ""
    return f"{calibration.where}{verified}"


def _row(answer: Localization) -> tuple[str, ...]:
    if answer.lat is None or answer.lon is None or answer.agreement is None:
        place: tuple[str, ...] = ("-",) * 5
    else:
        place = (
            f"{answer.lat:.5f}",
            f"{answer.lon:.5f}",
            f"{answer.agreement:.2f}",
            *(format_km(answer.radius_km[level]) for level in (0.5, 0.9)),
        )
    return ("-" if answer.id is None else str(answer.id), Path(answer.photo).name, *place)


def _print(answers: Table, failures: list[Failure]) -> None:
    if len(answers.rows) > 1:
        answers.print()
    for failure in failures:
        note(f"{failure.photo}: {failure.reason}: {failure.message}")
    for remedy in filter(None, dict.fromkeys(failure.reason.remedy for failure in failures)):
        note(remedy)
