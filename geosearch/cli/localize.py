"""`geosearch localize`, `show`, `reproduce`: photos in, places out, and earlier answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from geosearch.calibration.fitted import SCORE_KM
from geosearch.cli.console import JsonOption, database, err, out, print_json, progress_bar, table
from geosearch.cli.options import (
    BandwidthOption,
    CalibrationOption,
    DeviceOption,
    DuplicateDistanceOption,
    ExactOption,
    ExcludeDuplicatesOption,
    ExcludeSelfOption,
    MethodOption,
    MinPresenceOption,
    ModelOption,
    NoCalibrationOption,
    OpenKOption,
    PartitionsOption,
    RestrictCellsOption,
    WeightingOption,
    check_map,
    filtered,
    make_request,
)
from geosearch.errors import EXIT_SOME_REJECTED, InputError
from geosearch.features import DEFAULT_MODEL
from geosearch.localization import Failure, Localization, load
from geosearch.localization import localize as localize_photos
from geosearch.localization import reproduce as reproduce_answer
from geosearch.retrieval import Filter, Neighbours
from geosearch.retrieval.duplicates import DUPLICATE_DISTANCE, Exclusions


@filtered
def localize(
    context: typer.Context,
    photos: Annotated[list[str], typer.Argument(help="Photos: paths or URLs.")],
    model: ModelOption = DEFAULT_MODEL,
    k: OpenKOption = None,
    method: MethodOption = "density",
    bandwidth_km: BandwidthOption = None,
    weighting: WeightingOption = None,
    restrict_cells: RestrictCellsOption = None,
    partitions: PartitionsOption = None,
    calibration: CalibrationOption = None,
    no_calibration: NoCalibrationOption = False,
    min_presence: MinPresenceOption = None,
    exclude_self: ExcludeSelfOption = False,
    exclude_duplicates: ExcludeDuplicatesOption = False,
    duplicate_distance: DuplicateDistanceOption = DUPLICATE_DISTANCE,
    exact: ExactOption = False,
    map_file: Annotated[
        Path | None, typer.Option("--map", metavar="FILE.png", help="Draw a map of the answer.")
    ] = None,
    device: DeviceOption = "auto",
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Store the answers in the database.")
    ] = True,
    as_json: JsonOption = False,
    *,
    where: Filter,
) -> None:
    """Estimate where photos were taken. `geosearch show` reads recorded answers back.

    The latest calibration of the model is used unless --method, --k, --bandwidth-km, --weighting
    or --restrict-cells is given. With --json, one object per photo and line.

    Example: geosearch localize holiday.jpg --near 46.8,8.2,200 --map holiday.png
    """
    if map_file is not None and len(photos) > 1:
        raise InputError("--map draws one answer", "Give one photo, or use: geosearch export")
    check_map(map_file)
    request = make_request(
        method,
        k,
        bandwidth_km,
        weighting,
        exact,
        calibration,
        no_calibration,
        min_presence,
        restrict_cells,
        partitions,
    )
    exclusions = Exclusions(exclude_self, duplicate_distance if exclude_duplicates else None)
    answers = _table()
    remarks: list[str | None] = []
    calibration_used = ""
    failures: list[Failure] = []
    with database(context) as opened, progress_bar("photos") as progress:
        task = progress.add_task("localize", total=len(photos))
        for answer in localize_photos(
            opened,
            photos,
            model=model,
            parameters=request,
            where=where,
            exclusions=exclusions,
            device=device,
            record=record,
            progress=lambda done, _: progress.update(task, completed=done),
        ):
            if as_json:
                print_json(answer.to_json())
            if isinstance(answer, Failure):
                failures.append(answer)
                continue
            if answer.place_name is not None:
                remarks.append(f"{Path(answer.photo).name}: {answer.place_name}")
            remarks.append(_remark(answer))
            calibration_used = _calibration(answer)
            answers.add_row(*_row(answer))
            if answer.excluded is not None and not as_json:
                left_out = f"{Path(answer.photo).name}: references left out: {answer.excluded}"
                err.print(left_out, highlight=False, markup=False)
            if map_file is not None:
                # Matplotlib takes a while to import: only for this option.
                from geosearch.export.map import draw_map

                draw_map(answer, map_file, opened)
    if not as_json:
        _print(answers, failures)
        for remark in filter(None, remarks):
            out.print(remark, highlight=False, markup=False)
        if calibration_used:
            out.print(f"calibration {calibration_used}", highlight=False)
    if failures:
        raise typer.Exit(EXIT_SOME_REJECTED)


def show(
    context: typer.Context,
    localization_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the answer.")],
    as_json: JsonOption = False,
) -> None:
    """Show an earlier answer with its neighbours.

    Example: geosearch show 17
    """
    with database(context) as opened:
        answer = load(opened, localization_id)
    if as_json:
        print_json(answer.to_json())
        return
    answers = _table()
    answers.add_row(*_row(answer))
    _print(answers, [])
    if remark := _remark(answer):
        out.print(remark, highlight=False, markup=False)
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
            f"{km:,} km {share:.1%}" for km, share in answer.probability_within_km.items()
        )
        or "unknown",
        "truth": "unknown" if answer.truth is None else "{:.5f}, {:.5f}".format(*answer.truth),
    }
    for name, value in facts.items():
        out.print(f"{name:<12}{value}", highlight=False, markup=False)
    out.print(neighbour_table(answer.neighbours, answer.weights))


def reproduce(
    context: typer.Context,
    localization_id: Annotated[int, typer.Argument(metavar="ID", help="Id of the answer.")],
    as_json: JsonOption = False,
) -> None:
    """Compute an earlier answer again; exit 1 and say what changed if it is not the same.

    Example: geosearch reproduce 17
    """
    with database(context) as opened:
        result = reproduce_answer(opened, localization_id)
    if as_json:
        print_json(result.to_json())
    else:
        moved = "" if result.shift_km is None else f", the estimate moved {result.shift_km:.3f} km"
        verdict = "the same answer" if result.same else f"another answer{moved}"
        out.print(f"localization {localization_id}: {verdict}", highlight=False)
        for change in result.changes:
            out.print(f"  {change}", highlight=False, markup=False)
    if not result.same:
        raise typer.Exit(1)


def neighbour_table(neighbours: Neighbours, weights: NDArray[np.float64] | None = None) -> Table:
    """Neighbours as a table, with their weights where there are any."""
    weighted = [] if weights is None else ["weight"]
    made = table("rank", "photo", "lat", "lon", "distance", *weighted, text=["photo"])
    for index in range(len(neighbours)):
        made.add_row(
            str(index + 1),
            Path(neighbours.uri[index]).name,
            f"{neighbours.lat[index]:.5f}",
            f"{neighbours.lon[index]:.5f}",
            f"{neighbours.distance[index]:.4f}",
            *([] if weights is None else [f"{weights[index]:.4f}"]),
        )
    return made


def _table() -> Table:
    radii = ("50 % within", "90 % within")
    return table("id", "photo", "lat", "lon", "score", *radii, text=["photo"])


def _remark(answer: Localization) -> str | None:
    """What a table has no place for, in words."""
    if answer.confident is not False:
        return None
    name, least = Path(answer.photo).name, answer.parameters.min_presence
    return f"{name}: not in this collection (presence {answer.presence:.2f}, below {least:.2f})"


def _calibration(answer: Localization) -> str:
    key = answer.parameters.calibration_id
    if not answer.parameters.retrieves:
        return "none: score is the probability of the likeliest cell"
    if answer.parameters.fitted is None:
        return "none: score and radii are those of the kernels alone"
    return f"{key}: score is the probability of an error of at most {SCORE_KM} km"


def _row(answer: Localization) -> tuple[str, ...]:
    if answer.lat is None or answer.lon is None or answer.score is None:
        place: tuple[str, ...] = ("-",) * 5
    else:
        place = (
            f"{answer.lat:.5f}",
            f"{answer.lon:.5f}",
            f"{answer.score:.2f}",
            *(f"{answer.radius_km[level]:,.0f} km" for level in (0.5, 0.9)),
        )
    return ("-" if answer.id is None else str(answer.id), Path(answer.photo).name, *place)


def _print(answers: Table, failures: list[Failure]) -> None:
    if answers.row_count:
        out.print(answers)
    for failure in failures:
        err.print(f"{failure.photo}: {failure.reason}: {failure.message}", markup=False)
