"""Errors: one message that every face spells in its own way, and the exit codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import geosearch
from geosearch import errors
from geosearch.cli.app import app
from geosearch.cli.command_groups import leaf, spelling
from geosearch.errors import EXIT_CODES, GeosearchError, InputError, PhotoRejected
from geosearch.localization import Request
from geosearch.retrieval import where
from tests.command_line import CommandLine
from tests.test_cli import ALL

PACKAGE = Path(geosearch.__file__).parent
#: Their options are those of PostgreSQL's programs, pip and Docker, or variables of CSS.
_OF_OTHERS = {"binaries.py", "installation.py", "palette.py", "postmaster.py", "server.py"}
LIBRARY = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "cli" not in path.parts and path.name not in _OF_OTHERS
]


def _texts(path: Path) -> Iterator[str]:
    """The texts of a module, with a gap for each value in them, without its docstrings."""
    tree = ast.parse(path.read_text())
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(node.value)  # a docstring
        if isinstance(node, ast.JoinedStr):
            inside |= set(node.values)
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.value


def _fields() -> set[str]:
    """The arguments that errors of the library name."""
    return {
        name
        for path in LIBRARY
        for text in _texts(path)
        for name in re.findall(r"`([a-z][a-z0-9_]*)`", text)
    }


def _arguments() -> set[str]:
    """The names of arguments and fields in the library."""
    found: set[str] = set()
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg):
                found.add(node.arg)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


def test_the_library_names_no_option_of_the_command_line() -> None:
    # What a remedy names as a command to run stays one.
    named = [
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in LIBRARY
        for text in _texts(path)
        if re.search(r"(?<!\S)(--[a-z…]|-o\b)", re.sub(r"geosearch [a-z]+[^.;]*", "", text))
    ]
    assert named == []


def test_every_argument_that_an_error_names_is_known_to_python_and_the_command_line() -> None:
    fields = _fields()
    assert {"k", "bandwidth_km", "restrict_cells", "max_photos", "within"} <= fields
    assert not fields - _arguments()
    root: Any = typer.main.get_command(app)
    commands = [*ALL.values(), leaf(root, ["index"])]
    spelt = {name: {spelling(command)(name) for command in commands} for name in fields}
    in_json = set(Request.__dataclass_fields__)
    unspelt = {
        name
        for name, ways in spelt.items()
        if name not in in_json and not any(way != name for way in ways)
    }
    # Of the density in Python only; names given inside --loss-option.
    assert unspelt == {"snap_km", "positive_km", "negative_km"}


def test_an_argument_is_spelt_as_the_command_takes_it() -> None:
    taken = {
        "localize bandwidth_km": "--bandwidth-km",
        "localize exclude_authors": "--exclude-author",
        "localize photos": "PHOTOS",
        "localize restrict_cells": "restrict_cells",
        "train partitions": "--partitions",
        "partition max_photos": "--max",
        "export regions ids": "--id",
    }
    arguments = {line: line.rsplit(" ", 1) for line in taken}
    assert {
        line: spelling(ALL[command])(name) for line, (command, name) in arguments.items()
    } == taken


def test_a_command_is_found_in_its_line() -> None:
    root: Any = typer.main.get_command(app)
    assert leaf(root, ["-v", "export", "regions", "--id", "3"]).name == "regions"
    assert leaf(root, ["localize", "db", "start"]).name == "localize"
    assert leaf(root, ["nowhere"]) is root


def test_one_error_has_two_faces(capsys: pytest.CaptureFixture[str]) -> None:
    command = ("localize", "x.jpg", "--after", "2020-01-02", "--before", "2020-01-01")
    ran = CommandLine("postgresql:///unused", capsys)(*command)
    assert "--after 2020-01-02 00:00:00+00:00 is not earlier than --before" in ran.err
    with pytest.raises(InputError) as caught:
        where(near=(91, 0, 5))
    assert str(caught.value).startswith("near: 91,0,5 is not latitude,longitude,kilometres\n")
    assert caught.value.fields == ("near",)
    assert caught.value.spelt(lambda name: f"--{name}")[0].startswith("--near: 91,0,5")


def test_an_error_deep_in_an_expression_names_the_place_and_no_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("localize", "x.jpg", "--filter", '{"not": {"near": [91, 0, 5]}}')
    ran = CommandLine("postgresql:///unused", capsys)(*command)
    assert "--filter.not.near: 91,0,5 is not" in ran.err
    assert "--near" not in ran.err


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.InputError, ValueError),
        (errors.MissingFileError, FileNotFoundError),
        (errors.MissingFileError, InputError),
        (errors.NotFoundError, KeyError),
        (errors.UnreachableError, ConnectionError),
        (errors.UnreachableError, errors.DatabaseError),
        (errors.MissingExtraError, ImportError),
    ],
)
def test_errors_are_what_python_users_expect(
    kind: type[GeosearchError], base: type[Exception]
) -> None:
    with pytest.raises(base) as caught:
        raise kind("`k`: no", "Give `k`.")
    assert str(caught.value) == "k: no\nGive k."


def test_a_file_that_is_missing_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"within: .* is neither WKT nor a readable file"):
        where(within=str(tmp_path / "none.geojson"))


def _kinds(kind: type[GeosearchError]) -> Iterator[type[GeosearchError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def test_all_http_statuses_are_in_the_documentation() -> None:
    kinds = [kind for kind in _kinds(GeosearchError) if kind is not PhotoRejected]
    rejected = {PhotoRejected(reason, "").http_status for reason in errors.Reason}
    page = (PACKAGE.parent / "docs" / "errors.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d{3}) \|", page, flags=re.MULTILINE)}
    assert {kind.http_status for kind in kinds} | rejected == documented


def test_all_exit_codes_are_in_one_list_which_help_and_documentation_repeat(
    capsys: pytest.CaptureFixture[str],
) -> None:
    used = {kind.exit_code for kind in _kinds(GeosearchError)}
    assert used | {0, errors.EXIT_SOME_REJECTED, errors.EXIT_NO_NEIGHBOURS} == set(EXIT_CODES)
    page = (PACKAGE.parent / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| (\d) \| (.*) \|$", page, flags=re.MULTILINE)
    assert {int(code): said for code, said in rows} == EXIT_CODES
    shown = " ".join(CommandLine("postgresql:///unused", capsys)("--help").out.split())
    assert all(f"{code} {said}" in shown for code, said in EXIT_CODES.items())
