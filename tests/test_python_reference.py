"""The Python reference: every public name has an example, and the examples run."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import geosearch
from geosearch.database.connection import Database
from tests.code_blocks import ROOT, blocks_of

BLOCKS = [block.text for block in blocks_of("docs/python.md") if block.language == "python"]

NAMES = [name for name in geosearch.__all__ if not name.startswith("__")]
#: Classes whose methods are public, too.
OBJECTS = ("Geosearch", "Localization", "Answers", "Records")


def members() -> Iterator[tuple[str, Any]]:
    """The public objects, and the methods of those that one works with, by name."""
    for name in NAMES:
        yield name, getattr(geosearch, name)
    for name in OBJECTS:
        for method, found in vars(getattr(geosearch, name)).items():
            if inspect.isfunction(found) and not method.startswith("_"):
                yield f"{name}.{method}", found


MEMBERS = dict(members())
EXAMPLES = {
    name: doctest.DocTestParser().get_doctest(inspect.getdoc(found) or "", {}, name, None, None)
    for name, found in MEMBERS.items()
    if ">>>" in (inspect.getdoc(found) or "")
}


def results(name: str) -> set[str]:
    """The public names in what a method gives back: its example is theirs."""
    found = MEMBERS[name]
    return set(re.findall(r"\w+", str(inspect.signature(found).return_annotation)))


def test_every_public_object_has_an_example() -> None:
    """In its docstring, in that of the method that gives it, or in the guide."""
    shown = set(re.findall(r"\w+", "\n".join(BLOCKS)))
    shown |= {each for name in EXAMPLES if "." in name for each in results(name)}
    without = [
        name for name in MEMBERS if name not in EXAMPLES and name.rpartition(".")[2] not in shown
    ]
    assert without == []


def test_every_option_is_typed() -> None:
    for name, found in MEMBERS.items():
        if not inspect.isfunction(found):
            continue
        for parameter in inspect.signature(found).parameters.values():
            said = str(parameter.annotation)
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                assert said.startswith("Unpack[") or said == "object", (name, parameter)
            elif parameter.name != "self":
                assert said not in ("Any", "<class 'inspect._empty'>"), (name, parameter)


@pytest.fixture(scope="module")
def guide(
    module_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What the names of the guide stand for once its blocks have run, in a folder of their own."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("guide"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOSEARCH_DATABASE_URL", module_database.url)
        names: dict[str, Any] = {}
        for block in BLOCKS:
            exec(block, names)
        yield names
        names["gs"].close()
    os.chdir(before)


@pytest.mark.system
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_example_runs(guide: dict[str, Any], name: str) -> None:
    """After the guide, whose names it may use: `gs`, `photo`, `photos`."""
    test = EXAMPLES[name]
    test.globs = dict(guide)
    said: list[str] = []
    runner = doctest.DocTestRunner(
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False
    )
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.system
def test_a_script_by_the_guide_is_clean_for_mypy(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("\n".join(BLOCKS), "utf-8")
    # With the project's settings, which are strict, and so with what it has checked already.
    check = [sys.executable, "-m", "mypy", str(script)]
    ran = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
