"""Faults found in real files, by their kind: nothing lost, nothing false, no run ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from geosearch.database.connection import Database
from geosearch.errors import Reason
from geosearch.ingest import examine as examining
from geosearch.ingest import ingest
from geosearch.ingest.examine import examine
from geosearch.ingest.records import Candidate, Rejection
from geosearch.ingest.rejects import list_rejects

from .photo_files import gps, photo


@pytest.mark.parametrize(
    "error",
    [KeyError(262), RecursionError(), MemoryError(), ZeroDivisionError(), AssertionError("x")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["read_bytes", "read_exif", "find_position"])
def test_whatever_one_file_raises_is_its_reject(
    where: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    file = tmp_path / "a.jpg"
    file.write_bytes(photo(gps(1, 2)))
    monkeypatch.setattr(examining, where, fail)
    found = examine(Candidate(str(file)))
    assert isinstance(found, Rejection)
    assert (found.uri, found.reason) == (str(file), Reason.UNDECODABLE)
    assert type(error).__name__ in found.message


def test_a_run_goes_on_after_a_file_that_raises(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, format in enumerate(("JPEG", "PNG", "JPEG")):
        data = photo(gps(1, 2), shade=number, format=format)
        (tmp_path / f"{number}.jpg").write_bytes(data)
    real = examining.read_exif

    def fail_once(image: Any) -> Any:
        if image.format == "PNG":
            raise KeyError(262)
        return real(image)

    monkeypatch.setattr(examining, "read_exif", fail_once)
    summary = ingest(database, [tmp_path], collection="a")
    assert (summary.seen, summary.added, summary.rejected) == (3, 2, 1)
    (reject,) = list_rejects(database)
    assert (Path(reject.uri).name, reject.stage) == ("1.jpg", "decode")


def test_folders_may_nest_deeper_than_python_calls(database: Database, tmp_path: Path) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)  # step by step: the kernel takes no path of this length at once
    try:
        for _ in range(1_200):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
        Path("a.jpg").write_bytes(photo(gps(1, 2)))
    finally:
        os.chdir(here)
    (tmp_path / "z.jpg").write_bytes(photo(gps(1, 2), shade=1))
    summary = ingest(database, [tmp_path], collection="a")
    assert (summary.seen, summary.added) == (2, 1)
    assert summary.by_reason == {"bad_row": 1}  # its path does not fit an index
