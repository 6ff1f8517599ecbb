"""Options that several commands share: the model, the method, the filter."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from geosearch.errors import InputError
from geosearch.layers.selection import Selection
from geosearch.localization.request import Request
from geosearch.retrieval.filters import EVERYTHING, Filter, where

ModelOption = Annotated[
    str,
    typer.Option(
        metavar="SPEC",
        help="packaged/efficientnet-lite0, torchvision/NAME[@WEIGHTS][+avg|max|gem] or "
        "file:CHECKPOINT.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]

KOption = Annotated[int, typer.Option("--k", help="Neighbours to retrieve; all of them vote.")]
MethodOption = Annotated[str, typer.Option(help="density, nearest, im2gps or geocell.")]
RestrictCellsOption = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Search only in the likeliest geocells that hold this share of the probability.",
    ),
]
PartitionsOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Partitions for --method geocell and --restrict-cells; default: all of the model.",
    ),
]
OpenKOption = Annotated[
    int | None,
    typer.Option("--k", help="Neighbours to retrieve; by the calibration, or 100."),
]
BandwidthOption = Annotated[
    float | None,
    typer.Option("--bandwidth-km", help="Bandwidth of the density; default by method."),
]
WeightingOption = Annotated[
    str | None, typer.Option(help="Neighbour weights: power:N, softmax:T or uniform.")
]

ExactOption = Annotated[
    bool, typer.Option("--exact", help="Compare all matching photos; do not use the index.")
]
ExcludeSelfOption = Annotated[
    bool, typer.Option("--exclude-self", help="Ignore references with the query's own bytes.")
]
ExcludeDuplicatesOption = Annotated[
    bool, typer.Option("--exclude-duplicates", help="Ignore near-duplicates of the query.")
]
DuplicateDistanceOption = Annotated[
    float,
    typer.Option(metavar="D", help="Cosine distance below which a photo is a near-duplicate."),
]
CalibrationOption = Annotated[
    int | None,
    typer.Option(metavar="ID", help="Use this calibration instead of the latest that applies."),
]
NoCalibrationOption = Annotated[
    bool, typer.Option("--no-calibration", help="Use none; default k, bandwidth and weighting.")
]
MinPresenceOption = Annotated[
    float | None,
    typer.Option(
        "--min-presence", metavar="P", help='Below this presence, 0 to 1: "not in this collection".'
    ),
]

LeaveOneOutOption = Annotated[
    bool,
    typer.Option(
        "--leave-one-out",
        help="The queries are the photos that pass the filter (e.g. --collection), "
        "each answered by the others.",
    ),
]
SampleOption = Annotated[
    int | None, typer.Option(metavar="N", help="Take N of the queries, drawn at random.")
]
IncludeSelfOption = Annotated[
    bool,
    typer.Option(
        "--include-self", help="Let a query find its own bytes, and with them near-duplicates."
    ),
]
IncludeAuthorOption = Annotated[
    bool, typer.Option("--include-author", help="Let a query find photos of its author.")
]


def taking(make: Callable[..., Any], name: str) -> Callable[[Callable[..., None]], Any]:
    """Give a command the options of `make`; it gets what they make as its parameter `name`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = _parameters(make)
        own = [parameter for parameter in _parameters(command) if parameter.name != name]

        @wraps(command)
        def run(**given: Any) -> None:
            chosen = {option.name: given.pop(option.name) for option in options}
            command(**given, **{name: make(**chosen)})

        # Typer reads a command's options from its signature and annotations.
        positional = [item for item in own if item.default is inspect.Parameter.empty]
        optional = [item for item in own if item.default is not inspect.Parameter.empty]
        parameters = [*positional, *optional, *options]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in parameters}
        return run

    return decorate


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def make_request(
    method: str,
    k: int | None,
    bandwidth_km: float | None,
    weighting: str | None,
    exact: bool,
    calibration: int | None,
    no_calibration: bool,
    min_presence: float | None,
    restrict_cells: float | None = None,
    partitions: str | None = None,
) -> Request:
    """The request these options make.

    Raises
    ------
    InputError
        They contradict each other.
    """
    if no_calibration and calibration is not None:
        raise InputError(f"--calibration {calibration} and --no-calibration exclude each other")
    return Request(
        method,
        k,
        bandwidth_km,
        weighting,
        exact,
        calibration,
        not no_calibration,
        min_presence,
        restrict_cells,
        read_partitions(partitions),
    )


def read_partitions(names: str | None) -> tuple[str, ...]:
    """The names of `--partitions`, separated by commas."""
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())


def make_filter(
    bbox: Annotated[
        str | None,
        typer.Option(
            metavar="W,S,E,N", help="Only photos in this box; W > E crosses the ±180° line."
        ),
    ] = None,
    near: Annotated[
        str | None, typer.Option(metavar="LAT,LON,KM", help="Only photos within KM of here.")
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(metavar="FILE|WKT", help="Only photos in this polygon (GeoJSON, WKT)."),
    ] = None,
    country: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only photos in this country (name or ISO code) or region; may be repeated.",
        ),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only photos taken at or after DATE.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only photos taken before DATE.")
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this collection; may be repeated."),
    ] = None,
    author: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only by this author; may be repeated.")
    ] = None,
    exclude_author: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Not by this author; may be repeated.")
    ] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only under this licence; may be repeated."),
    ] = None,
    accuracy_m: Annotated[
        float | None,
        typer.Option(metavar="M", help="Only positions known to be accurate to M metres."),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="JSON|FILE",
            help="And these conditions, joined by and, or, not, as JSON.",
        ),
    ] = None,
) -> Filter:
    """The filter these options ask for: all that are given must hold.

    Raises
    ------
    InputError
        An option cannot be read.
    """
    return where(
        bbox=bbox,
        near=near,
        within=within,
        country=country,
        after=after,
        before=before,
        collection=collection,
        author=author,
        licence=licence,
        accuracy_m=accuracy_m,
        exclude_author=exclude_author,
    ) & (EVERYTHING if expression is None else _expression(expression))


#: Gives a command the options of a filter, as `where`.
filtered = taking(make_filter, "where")


def make_selection(
    localization_ids: Annotated[
        list[int] | None, typer.Option("--id", help="An answer, by its id; repeatable.")
    ] = None,
    evaluation: Annotated[
        int | None, typer.Option(help="The answers of an evaluation, by its id.")
    ] = None,
    last: Annotated[int | None, typer.Option(help="The latest so many answers.")] = None,
) -> Selection:
    """The answers these options choose; all where none is given.

    Raises
    ------
    InputError
        They exclude each other.
    """
    return Selection(tuple(localization_ids or ()), evaluation, last)


#: Gives a command the options of a selection of answers, as `selection`.
selecting = taking(make_selection, "selection")


def _expression(text: str) -> Filter:
    inline = text.lstrip().startswith("{")
    at = "--filter" if inline else f"--filter {text}"
    try:
        value = json.loads(text if inline else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{at} is neither a JSON object nor a readable file: {error.strerror}",
            'For example: --filter \'{"not": {"country": "CH"}}\'',
        ) from error
    except ValueError as error:
        raise InputError(f"{at}: not JSON: {error}") from error
    return Filter.from_json(value, at)


def check_ending(option: str, path: Path, endings: Sequence[str]) -> None:
    """See that a file to write ends in one of these, such as `.png`.

    Raises
    ------
    InputError
        It does not.
    """
    if path.suffix.lower() not in endings:
        raise InputError(
            f"{option} {path}: no format is known by the ending {path.suffix!r}",
            f"Give a file ending in {' or '.join(endings)}.",
        )


def check_map(file: Path | None) -> None:
    """See before any work that the file of `--map`, if it is given, can be written.

    Raises
    ------
    InputError
        It is no .png, or its folder is missing.
    """
    if file is None:
        return
    check_ending("--map", file, (".png",))
    if not file.parent.is_dir():
        raise InputError(f"--map {file}: its folder is missing", "Make it first.")
