"""The notebooks of the documentation run from the first cell to the last, and leave nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from geosearch.database.connection import Database
from tests.run_notebook import NOTEBOOKS, run_notebook

PATHS = sorted(NOTEBOOKS.glob("*.py"))


def test_there_are_four() -> None:
    names = {path.stem for path in PATHS}
    assert names == {"first_answer", "evaluate_and_calibrate", "own_model", "sql_and_maps"}


@pytest.mark.system
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, database: Database, tmp_path: Path) -> None:
    made = run_notebook(path, tmp_path, database.url)
    outputs = [output for cell in made.cells for output in cell.get("outputs", ())]
    said = "".join(each["text"] for each in outputs if each.get("name") == "stderr").splitlines()
    # What is said once on a machine, where something takes a while.
    assert not [line for line in said if not line.endswith("once on this machine")]
    assert any("text/html" in each.get("data", {}) for each in outputs)
    kept = {each.name for each in tmp_path.iterdir()}
    assert kept <= {"sample", ".jupyter", "mine.safetensors", "colours.npy"}
