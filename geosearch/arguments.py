"""Arguments as people write them, read as what they mean, or refused by name."""

from __future__ import annotations

import difflib
import inspect
import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from geosearch.errors import InputError
from geosearch.thresholds import whole_if_even

P = ParamSpec("P")
Result = TypeVar("Result")

#: Paths or URLs, or one.
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_WGS84 = re.compile(r"(.*[:/])?(crs84|4326|wgs ?84)", re.IGNORECASE)


def number(name: str, value: Any) -> float:
    """A number, also as text or in NumPy's types.

    Raises
    ------
    InputError
        It is none; the message calls it `name`, here and below.
    """
    found = _python(value)
    if isinstance(found, str):
        with suppress(ValueError):
            found = float(found)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise InputError(f"`{name}`: expected a number, found {value!r}")
    return found


def whole(name: str, value: Any) -> int:
    """A whole number, also as text, as 5.0 or in NumPy's types."""
    found = number(name, value)
    if not isinstance(found, int) and not found.is_integer():
        raise InputError(f"`{name}`: expected a whole number, found {value!r}")
    return int(found)


def truth(name: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(_python(value), bool):
        raise InputError(f"`{name}`: expected true or false, found {value!r}")
    return bool(value)


def numbers(name: str, value: Any, parts: Collection[str]) -> list[float]:
    """As many numbers as there are `parts`, in a list, a tuple, an array, or text with commas."""
    found = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(found, Iterable) or isinstance(found, Mapping | set):
        found = ()
    listed = list(found)
    if len(listed) != len(parts):
        raise InputError(f"`{name}`: expected {','.join(parts)}, found {value!r}")
    return [number(name, item) for item in listed]


def thresholds(name: str, value: Any) -> tuple[float, ...]:
    """Distances in kilometres, smallest first; given in a list, an array, or text with commas."""
    found = value.replace(",", " ").split() if isinstance(value, str) else value
    listed = [found] if isinstance(found, int | float) else found
    if not isinstance(listed, Iterable) or isinstance(listed, Mapping | set):
        listed = ()
    given = sorted({whole_if_even(number(name, item)) for item in listed})
    if not given or not all(0.0001 <= km <= 20037.5 for km in given):
        raise InputError(
            f"`{name}`: expected distances of 0.0001 to 20037 km, found {value!r}",
            "For example: 1,25,200",
        )
    return tuple(given)


def text(name: str, value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise InputError(f"`{name}`: expected text, found {value!r}")
    return str(value)


def model(name: str, value: Any) -> Any:
    """The spec of a model, or a backbone that is loaded already."""
    return value if hasattr(value, "description") else text(name, value)


def models(name: str, value: Any) -> Any:
    """A model, or a list or tuple of several."""
    if isinstance(value, list | tuple):
        return [model(name, each) for each in value]
    return model(name, value)


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Names, or one."""
    alone = isinstance(value, str | Mapping) or not isinstance(value, Iterable)
    listed = (value,) if alone else (*value,)
    if not all(isinstance(item, str) and item for item in listed):
        raise InputError(f"`{name}`: expected names, found {value!r}")
    return tuple(map(str, listed))


def moment(name: str, value: Any) -> datetime:
    """A moment: a datetime, a date, or ISO 8601 text of either; UTC without a zone."""
    found, example = _python(value), "For example: 2015-06-30"
    try:
        if isinstance(found, str):
            found = datetime.fromisoformat(found.strip())
    except ValueError as error:
        raise InputError(f"`{name}`: {value!r} is not a date: {error}", example) from error
    if isinstance(found, date) and not isinstance(found, datetime):
        found = datetime.combine(found, time())
    if not isinstance(found, datetime):
        raise InputError(f"`{name}`: expected a date, found {value!r}", example)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def path(name: str, value: Any) -> str:
    """A path or URL as text."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"`{name}`: expected a path or URL, found {type(value).__name__}")
    return os.fspath(value)


def paths(name: str, value: Any) -> list[str]:
    """Paths or URLs, or one."""
    alone = isinstance(value, str | os.PathLike) or not isinstance(value, Iterable)
    return [path(name, item) for item in ((value,) if alone else value)]


def at_home(path: Path) -> Path:
    """A path whose `~` is a home folder; that of a user who is not there is a name like others."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises


def check_wgs84(name: str, crs: Any) -> None:
    """See that a coordinate reference system is longitude and latitude in WGS 84, or not said.

    It may be given as in "EPSG:4326", as a number, a URN, a URL, or a member `crs` of GeoJSON.
    """
    given = crs
    if isinstance(crs, Mapping):
        properties = crs.get("properties")
        given = properties.get("name") if isinstance(properties, Mapping) else json.dumps(crs)
    if given not in (None, 0) and not _WGS84.fullmatch(str(given).strip()):
        raise InputError(
            f"{name} has coordinates in {given}", "Convert it to WGS 84 (ogr2ogr -t_srs EPSG:4326)."
        )


#: How what is called so is read, wherever it is given.
READERS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("k", "calibration", "workers", "batch_size", "sample", "seed"), whole),
    **dict.fromkeys(("bandwidth_km", "min_presence", "restrict_cells"), number),
    **dict.fromkeys(("absent_km", "recall", "duplicate_distance"), number),
    **dict.fromkeys(("min_probability", "at_most_km"), number),
    **dict.fromkeys(("method", "weighting", "device"), text),
    "model": models,
    **dict.fromkeys(("exact", "calibrate", "exclude_self", "exclude_same_author"), truth),
    **dict.fromkeys(("record", "rebuild", "force", "retry", "decode", "dry_run"), truth),
    **dict.fromkeys(("estimates", "overwrite"), truth),
    "partitions": texts,
    "within_km": thresholds,
}


def settle(item: Any) -> None:
    """Read the fields of a frozen dataclass in place."""
    for name, value in read_named(vars(item)).items():
        object.__setattr__(item, name, value)


def read_named(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that `READERS` read; None stays."""
    return {
        name: READERS[name](name, value)
        for name, value in given.items()
        if name in READERS and value is not None
    }


def check_known(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """See that all names given are among those known, or say which are."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise InputError(f"there is no {what} {name!r}", f"{hint}There are {', '.join(known)}.")


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """See that a value is one of the choices, or say which there are."""
    if value not in choices:
        named = ", ".join(map(str, choices))
        raise InputError(f"`{name}`: {value!r} is unknown", f"Choose one of {named}.")


def check_range(
    name: str, value: float | None, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """See that a number is finite and from `low`, or `above` it, to `high`; None is."""
    if value is None:
        return
    if not (low <= value <= high and math.isfinite(value)) or (above and value == low):
        limit = "" if high == math.inf else f" and at most {high:g}"
        raise InputError(
            f"`{name}`: {value:g} is out of range",
            f"Give {'more than' if above else 'at least'} {low:g}{limit}.",
        )


def checked_keywords(function: Callable[P, Result]) -> Callable[P, Result]:
    """`function` with its keywords read by `READERS`; given another, it says which it has.

    They are its own, and those of the `TypedDict` that its `**` parameter unpacks.
    """

    @wraps(function)
    def call(*args: P.args, **keywords: P.kwargs) -> Result:
        check_known("keyword", keywords, _keywords(function))
        keywords.update(read_named(keywords))
        return function(*args, **keywords)

    return call


@cache
def _keywords(function: Callable[..., Any]) -> list[str]:
    names: list[str] = []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            names += parameter.annotation.__args__[0].__annotations__
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL and name != "self":
            names.append(name)
    return names


def _python(value: Any) -> Any:
    """NumPy's scalars, and arrays of one, as Python's own."""
    if getattr(value, "size", None) != 1 or not hasattr(value, "dtype"):
        return value
    # Times of finer units would become numbers.
    return (value.astype("datetime64[us]") if value.dtype.kind == "M" else value).item()
