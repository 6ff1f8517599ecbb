"""The page of the Python API: which objects it has, whose docstrings mkdocstrings then reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from griffe import (
    Alias,
    Attribute,
    Expr,
    ExprName,
    Function,
    GriffeLoader,
    Object,
    ParameterKind,
)

import geosearch
from scripts.reference.markdown import page


def python_page() -> str:
    """Public names, and what the methods give and take."""
    public = [f"geosearch.{name}" for name in geosearch.__all__ if name[0] != "_"]
    results, options = _types()
    return page(
        "Python API",
        "How to begin is in [Python](../python.md). `geosearch.connect` opens a database, and all "
        "else is done by the methods of what it gives.",
        "## Public names",
        *(f"::: {name}" for name in public),
        "## What methods give",
        *(f"::: {name}" for name in results),
        "## Keywords",
        "What a method takes as `**options`, `**asking` or `**conditions`.",
        *(f"::: {name}" for name in options),
    )


def _types() -> tuple[list[str], list[str]]:
    """Classes of ours beside the public ones: what these give or are made of; and keywords."""
    loader = GriffeLoader(search_paths=[Path(__file__).parents[2]], allow_inspection=False)
    package = loader.load("geosearch")
    loader.resolve_aliases()
    public = [package[name] for name in geosearch.__all__ if name[0] != "_"]
    results: set[str] = set()
    options: set[str] = set()
    seen = public
    for _ in range(2):  # what these give, and what that is made of
        named = [pair for one in seen if one.is_class for pair in _named(one)]
        seen = []
        for path, is_option in dict.fromkeys(named):
            found = package[path.removeprefix("geosearch.")]
            if found.is_class:
                (options if is_option else results).add(found.canonical_path)
                seen += [] if is_option else [found]
    results -= {one.canonical_path for one in public}
    return sorted(results, key=_last), sorted(options, key=_last)


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _named(kind: Object | Alias) -> Iterator[tuple[str, bool]]:
    """The classes in the annotations of one: of results and fields, and, True, of keywords."""
    for member in kind.members.values():
        if member.is_private:
            continue
        if isinstance(member, Function):
            yield from ((path, False) for path in _paths(member.returns))
            for one in member.parameters:
                if one.kind is ParameterKind.var_keyword:
                    yield from ((path, True) for path in _paths(one.annotation))
        elif isinstance(member, Attribute):
            yield from ((path, False) for path in _paths(member.annotation))


def _paths(annotation: str | Expr | None) -> Iterator[str]:
    parts = annotation.iterate(flat=True) if isinstance(annotation, Expr) else ()
    for part in parts:
        if isinstance(part, ExprName) and part.canonical_path.startswith("geosearch."):
            yield part.canonical_path
