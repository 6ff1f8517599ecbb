"""Options that several commands share, each described once: model, filter, request, queries."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from geosearch.cli.console import note
from geosearch.defaults import DEFAULT_MODEL, DUPLICATE_DISTANCE
from geosearch.errors import (
    InputError,
    MissingExtraError,
    MissingFileError,
    Reason,
    unusable_file,
)
from geosearch.installation import remedy

# What makes of options what they mean is imported where it does: they are shown and completed
# without it.
if TYPE_CHECKING:
    from geosearch.layers.selection import Selection
    from geosearch.retrieval.duplicates import Exclusions
    from geosearch.retrieval.filters import Filter

ModelOption = Annotated[
    str,
    typer.Option(
        metavar="SPEC",
        help="packaged/efficientnet-lite0, torchvision/NAME[@WEIGHTS][+avg|max|gem], timm/NAME, "
        "open_clip/ARCH@TAG, transformers/REPO, hub/OWNER/REPO@REF:ENTRY, onnx:FILE, geoclip or "
        "file:CHECKPOINT, each also with +views5 or +views9; or whitened:NAME, external:NAME.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]

PARAMETERS = (
    "More parameters, as a JSON object: calibration, calibrate, min_presence, words, "
    "restrict_cells, partitions; see docs/calibration.md and docs/geocells.md."
)
ParametersOption = Annotated[str | None, typer.Option(metavar="JSON|FILE", help=PARAMETERS)]

Command = Callable[..., None]
Maker = Callable[[dict[str, Any]], Any]


def taking(*plain: inspect.Parameter, **makers: Callable[..., Any]) -> Callable[[Command], Command]:
    """Give a command options that are described once for all: of plain ones it gets the values.

    Of the parameters of each maker it gets what that makes, under the maker's key. A command that
    hands on what it gets takes it as `**given`.
    """

    def decorate(command: Command) -> Command:
        options = {name: _parameters(maker) for name, maker in makers.items()}
        elsewhere = {*makers, *(one.name for one in plain)}

        @wraps(command)
        def run(**given: Any) -> None:
            made = {
                name: makers[name](**{one.name: given.pop(one.name) for one in taken})
                for name, taken in options.items()
            }
            command(**given, **made)

        # Typer reads a command's options from its signature and annotations.
        own = _parameters(command, elsewhere)
        every = [*own, *plain, *(one for taken in options.values() for one in taken)]
        every.sort(key=lambda one: one.default is not inspect.Parameter.empty)
        run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in every}
        return run

    return decorate


def option(
    name: str,
    kind: Any,
    said: str,
    default: Any = None,
    *,
    metavar: str | None = None,
    spelt: str | None = None,
    least: int | None = None,
    group: str | None = None,
) -> inspect.Parameter:
    """An option with its explanation, as a parameter; spelt as its name unless told otherwise.

    Where nothing else is said, what is not given is None, and a flag False. In help it stands
    under its `group`.
    """
    names = (spelt or f"--{name.replace('_', '-')}").split()
    about = typer.Option(*names, metavar=metavar, min=least, help=said, rich_help_panel=group)
    return parameter(name, Annotated[kind, about], bool(default) if kind is bool else default)


def parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """An option, or an argument of the line, that is described by its annotation."""
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, place, default=default, annotation=annotation)


def fields_of(kind: type, said: Mapping[str, str]) -> list[inspect.Parameter]:
    """The fields of a dataclass that `said` explains, as options with their defaults."""
    hints, fields = get_type_hints(kind), inspect.signature(kind).parameters
    return [
        option(name, hints[name], text, default=fields[name].default) for name, text in said.items()
    ]


def of_options(*parameters: inspect.Parameter) -> Callable[[Maker], Callable[..., Any]]:
    """For `taking`: make a function of a dict one of these options."""

    def decorate(make: Maker) -> Callable[..., Any]:
        def given(**values: Any) -> Any:
            return make({one.name: one.default for one in parameters} | values)

        given.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        given.__annotations__ = {one.name: one.annotation for one in parameters}
        return given

    return decorate


def _parameters(
    function: Callable[..., Any], elsewhere: Collection[str] = ()
) -> list[inspect.Parameter]:
    """The parameters of a function, without those that are described elsewhere."""
    own = [
        one
        for name, one in inspect.signature(function).parameters.items()
        if name not in elsewhere and one.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    # The types of the others are for readers, and need not be loaded.
    names = {one.name: function.__annotations__[one.name] for one in own}
    hints = get_type_hints(
        SimpleNamespace(__annotations__=names), function.__globals__, include_extras=True
    )
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [one.replace(annotation=hints[one.name], kind=place) for one in own]


MODEL = parameter("model", ModelOption, DEFAULT_MODEL)
MODELS = option(
    "model",
    list[str],
    "As for `geosearch embed`; repeated, up to four models answer together.",
    default=[DEFAULT_MODEL],
    metavar="SPEC",
)
DEVICE = parameter("device", DeviceOption, "auto")
RAY = option("ray", str, "On the nodes of the Ray cluster at this address.", metavar="ADDRESS")
VECTORS = option(
    "vectors",
    Path,
    "Ask by the vectors of a .npy, .parquet, .safetensors or text file: a row each.",
    metavar="FILE",
)
TEXT = option(
    "text", str, "Ask by words instead, of a model that knows pictures and words.", metavar="WORDS"
)
#: Of words without a calibration.
NO_WORDS = (
    "no calibration was fitted to words for this: nothing tells how sure the answer is, or whether "
    "it is in this collection at all. Make one: geosearch calibrate --texts TEXTS.csv --model MODEL"
)
EXACT = option("exact", bool, "Compare all matching photos; do not use the index.")


def neighbours(k: int) -> inspect.Parameter:
    """The option that says how many neighbours to retrieve."""
    return option("k", int, "Neighbours to retrieve; all of them vote.", default=k)


VERIFY = option(
    "verify",
    int,
    "Compare the photo with the N nearest references picture by picture, and rank them anew.",
    default=0,
    metavar="N",
)
SAMPLE = option("sample", int, "Take N of the queries, drawn at random.", metavar="N")
WITHIN = option(
    "within_km",
    str,
    "Distances of the figures, km: a,b; by default those that fit the photos searched.",
    metavar="KM,…",
)
#: In help, what is asked of time stands together.
TIME = "Time"
TRACK = option(
    "track",
    list[str],
    "Also go by a track: .gpx, .kml, .geojson, or the .json of Google's timeline; repeatable.",
    metavar="FILE",
    group=TIME,
)
SEED = option("seed", int, "Seed of what is drawn at random.", default=0)
DUPLICATES = option(
    "duplicate_distance",
    float,
    "Cosine distance below which a photo is a near-duplicate.",
    default=DUPLICATE_DISTANCE,
    metavar="D",
)


@of_options(
    option("method", str, "density (the default), nearest, im2gps or geocell."),
    option("k", int, "Neighbours to retrieve; by the calibration, or 100."),
    option(
        "bandwidth_km", float, "Bandwidth of the density; by default it follows the neighbours."
    ),
    option("weighting", str, "Neighbour weights: power:N, softmax:T or uniform."),
    EXACT,
    VERIFY,
    option("calibration", int, "Use this calibration, not the latest that applies.", metavar="ID"),
    option("no_calibration", bool, "Use no calibration."),
    option("parameters", str, PARAMETERS, metavar="JSON|FILE"),
)
def make_parameters(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `Request` that these options give; an option counts before --parameters.

    Raises
    ------
    InputError
        --parameters cannot be read.
    """
    more = read_parameters(given.pop("parameters"))
    if given.pop("no_calibration"):
        more["calibrate"] = False
    if not given["verify"]:
        del given["verify"]
    return more | {
        name: value for name, value in given.items() if value is not None and value is not False
    }


def read_parameters(text: str | None) -> dict[str, Any]:
    """The JSON object of --parameters; empty where that is not given."""
    if text is None:
        return {}
    value = _json("--parameters", text, '{"restrict_cells": 0.9}')
    if not isinstance(value, dict):
        raise InputError("--parameters: not a JSON object", 'For example: {"restrict_cells": 0.9}')
    return value


@of_options(
    option("exclude_self", bool, "Ignore references with the query's own bytes."),
    option("exclude_duplicates", bool, "Ignore near-duplicates of the query."),
    DUPLICATES,
)
def make_exclusions(given: dict[str, Any]) -> Exclusions:
    """What these options leave out of the references of a query."""
    from geosearch.retrieval.duplicates import Exclusions

    distance = given["duplicate_distance"] if given["exclude_duplicates"] else None
    return Exclusions(given["exclude_self"], distance)


@of_options(
    option(
        "include_self",
        bool,
        "Let a query find its own bytes, and with them near-duplicates.",
    ),
    option("include_duplicates", bool, "Let a query find its near-duplicates."),
    option("include_author", bool, "Let a query find photos of its author."),
    DUPLICATES,
)
def make_leakage(given: dict[str, Any]) -> Exclusions:
    """What these options leave out of the references of labelled queries."""
    from geosearch.evaluation import leakage

    distance = None if given["include_duplicates"] else given["duplicate_distance"]
    return leakage(not given["include_self"], distance, not given["include_author"])


@of_options(
    parameter(
        "queries",
        Annotated[
            str,
            typer.Argument(
                help="Manifest with uri, lat, lon and, if known, author; or a set's table."
            ),
        ],
    ),
    option("set_name", str, "A test set of the field, such as im2gps3k.", spelt="--set"),
    option("images", str, "Where the images of the set are.", metavar="FOLDER"),
    option(
        "leave_one_out",
        bool,
        "The queries are the photos that pass the filter (e.g. --collection), each answered by "
        "the others.",
    ),
    option(
        "texts",
        str,
        "The queries are words: a manifest with text (or title, caption), lat, lon and, if known, "
        "author.",
        metavar="FILE",
    ),
    option(
        "titles",
        bool,
        "The queries are words: the titles of the photos that pass the filter, each asked of the "
        "others.",
    ),
)
def make_queries(given: dict[str, Any]) -> Any:
    """The labelled queries of these options: a manifest, a test set, or None for leave-one-out.

    Raises
    ------
    InputError
        They name none or contradict each other, or the set or texts cannot be read.
    """
    queries, set_name, images = given["queries"], given["set_name"], given["images"]
    own = [name for name in ("leave_one_out", "texts", "titles") if given[name]]
    if own and (len(own) > 1 or any(each is not None for each in (queries, set_name, images))):
        raise InputError(
            f"--{own[0].replace('_', '-')} says which queries, and so does another", "Give one."
        )
    if given["leave_one_out"]:
        return None
    if own:
        from geosearch.evaluation import TITLES, text_queries

        return TITLES if given["titles"] else text_queries(given["texts"])
    if (set_name is None) != (images is None):
        raise InputError("--set and --images go together", "Give both, or neither.")
    if set_name is not None and images is not None:
        return _read_set(set_name, images, queries)
    if queries is None:
        raise InputError(
            "there are no queries",
            "Give a manifest, --leave-one-out, --texts, --titles, or --set and --images.",
        )
    return queries


def _read_set(set_name: str, images: str, table: str | None) -> Any:
    from geosearch.evaluation.sets import SETS, read_set

    found = read_set(set_name, images, table)
    missing = sum(item.reason is Reason.MISSING for item in found.failures)
    labels, published = len(found) + missing, SETS[set_name].labels
    if labels != published:
        note(f"{set_name} has {published:,} labels as published; here are {labels:,}")
    return found


@of_options(
    option(
        "bbox", str, "Only photos in this box; W > E crosses the ±180° line.", metavar="W,S,E,N"
    ),
    option("near", str, "Only photos within KM of here.", metavar="LAT,LON,KM"),
    option("within", str, "Only photos in this polygon (GeoJSON, WKT).", metavar="FILE|WKT"),
    option(
        "country",
        list[str],
        "Only photos in this country (name or ISO code) or region; may be repeated.",
        metavar="NAME",
    ),
    option("after", str, "Only photos taken at or after DATE.", metavar="DATE"),
    option("before", str, "Only photos taken before DATE.", metavar="DATE"),
    option("collection", list[str], "Only this collection; may be repeated.", metavar="NAME"),
    option("author", list[str], "Only by this author; may be repeated.", metavar="ID"),
    option("exclude_author", list[str], "Not by this author; may be repeated.", metavar="ID"),
    option("licence", list[str], "Only under this licence; may be repeated.", metavar="NAME"),
    option("accuracy_m", float, "Only positions known to be accurate to M metres.", metavar="M"),
    option("include_estimated", bool, "Also by photos whose position was estimated."),
    option(
        "expression",
        str,
        "And these conditions, joined by and, or, not, as JSON.",
        metavar="JSON|FILE",
        spelt="--filter",
    ),
)
def make_filter(given: dict[str, Any]) -> Filter:
    """The filter these options ask for: all that are given must hold.

    Raises
    ------
    InputError
        An option cannot be read.
    """
    from geosearch.retrieval.filters import EVERYTHING, where

    expression = given.pop("expression")
    asked = {name: value for name, value in given.items() if value not in (None, [])}
    return where(**asked) & (EVERYTHING if expression is None else _expression(expression))


#: Gives a command the options of a filter, as `where`.
filtered = taking(where=make_filter)


@of_options(
    option("ids", list[int], "An answer, by its id; repeatable.", spelt="--id"),
    option("evaluation", int, "The answers of an evaluation, by its id."),
    option("last", int, "The latest so many answers."),
)
def make_selection(given: dict[str, Any]) -> Selection:
    """The answers these options choose; all where none is given.

    Raises
    ------
    InputError
        They exclude each other.
    """
    from geosearch.layers.selection import Selection

    return Selection(tuple(given["ids"] or ()), given["evaluation"], given["last"])


#: Gives a command the options of a selection of answers, as `selection`.
selecting = taking(selection=make_selection)


def _expression(text: str) -> Filter:
    from geosearch.retrieval.filters import Filter

    return Filter.from_json(
        _json("--filter", text, '{"not": {"country": "CH"}}'), _place("--filter", text)
    )


def _json(option: str, text: str, example: str) -> Any:
    """A JSON object that stands on the line or in a file."""
    from geosearch.storage import parse_json, read_json

    at = _place(option, text)
    try:
        value = parse_json(text) if at == option else read_json(Path(text))
    except OSError as error:
        raise unusable_file(
            f"{at} is neither a JSON object nor a readable file: {error.strerror}",
            error,
            f"For example: {option} '{example}'",
        ) from error
    except ValueError as error:
        raise InputError(f"{at}: not JSON: {error}") from error
    return value


def _place(option: str, text: str) -> str:
    return option if text.lstrip().startswith("{") else f"{option} {text}"


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
    MissingExtraError
        What draws maps is not installed.
    """
    if file is None:
        return
    if find_spec("matplotlib") is None:  # not loaded: that takes long, and there may be no picture
        raise MissingExtraError(
            "--map needs matplotlib, which is not installed", f"Run: {remedy('pictures')}"
        )
    check_ending("--map", file, (".png",))
    if not file.parent.is_dir():
        raise MissingFileError(f"--map {file}: its folder is missing", "Make it first.")
