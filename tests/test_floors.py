"""The house: imports point down the floors of CONTRIBUTING.md, and every file is found by name."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "geosearch"

#: Import name → file. Not geosearch/__init__.py, which hands on names of every floor when asked.
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.stem != "__init__"
}


def rows(heading: str) -> list[list[str]]:
    """The names in the first column of the table of CONTRIBUTING.md with this heading."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split(f"| {heading} | what |\n", 1)[1].split("\n\n", 1)[0]
    cells = [line.split("|")[1] for line in table.splitlines()[1:]]
    return [" ".join(re.findall(r"`([^`]+)`", cell)).split() for cell in cells]


#: From the top: folders and files of the package.
FLOORS = rows("floor")


def member(module: str) -> str:
    """The folder or file of a floor that a module belongs to."""
    name = module.split(".")[1]
    return f"{name}/" if (PACKAGE / name).is_dir() else f"{name}.py"


def imports(module: str) -> Iterator[str]:
    """The modules of the package that one imports, inside functions and for types alone, too."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names = [*inside & MODULES.keys()] + [node.module or ""] * bool(inside - MODULES.keys())
        else:
            continue
        yield from (name for name in names if name in MODULES)


def circle(edges: Iterable[tuple[str, str]]) -> list[str]:
    """One that the edges close, or []."""
    graph = TopologicalSorter[str]()
    for upper, lower in edges:
        graph.add(upper, lower)
    try:
        graph.prepare()
    except ValueError as error:
        return list(error.args[1])
    return []


EDGES = [(module, other) for module in MODULES for other in imports(module)]


def test_every_folder_and_file_of_the_package_is_on_one_floor() -> None:
    on_floors = [name for floor in FLOORS for name in floor]
    assert sorted(on_floors) == sorted({member(module) for module in MODULES})


def test_imports_point_down() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    up = [edge for edge in EDGES if floor[member(edge[1])] < floor[member(edge[0])]]
    assert up == []


def test_there_is_no_circle() -> None:
    assert circle(EDGES) == []
    between = {(member(module), member(other)) for module, other in EDGES}
    assert circle((upper, lower) for upper, lower in between if upper != lower) == []


def test_every_file_is_found_by_its_name_alone() -> None:
    names = Counter(path.name for path in MODULES.values())
    more = {name for name, count in names.items() if count > 1}
    assert more <= {"__init__.py"}


def test_the_map_is_whole() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    folders = {f"{line.split('/')[0]}/" for line in listed.splitlines() if "/" in line}
    named = {name for row in rows("folder") for name in row}
    assert named == folders
