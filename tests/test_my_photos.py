"""docs/my-photos.md: its ten commands, on the sample they are about, and what becomes of it."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path

import pytest

from geosearch.calibration.calibration_rows import list_calibrations
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.sphere import great_circle_km
from tests.code_blocks import blocks_of
from tests.command_line import CommandLine
from tests.rows import fetch

COMMANDS, CODE, QUERIES = (block.text for block in blocks_of("docs/my-photos.md"))
WORDS = [shlex.split(line)[1:] for line in COMMANDS.splitlines()]


def test_there_are_ten_commands() -> None:
    assert len(WORDS) == 10
    assert [words[0] for words in WORDS[-3:]] == ["review", "review", "write-back"]


@pytest.mark.system
def test_they_lead_from_a_folder_to_places_in_sidecars(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    geosearch, gs = CommandLine(database.url, capsys), Geosearch(database)
    said = []
    for words in WORDS:
        keys = "r\na\nq\n" if words == ["review", "--collection", "mine"] else ""
        monkeypatch.setattr("sys.stdin", io.StringIO(keys))
        ran = geosearch(*words)
        assert ran.code == 0, (words, ran.err)
        said.append(ran.out)
    assert said[4].count("trip/mine/") == 70
    # The calibration has learned what time and tracks are worth.
    with database.connection() as connection:
        fusion = list_calibrations(connection)[-1].fitted.fusion
    assert fusion is not None
    assert fusion.photos >= 60
    assert fusion.on_tracks >= 20
    mine = gs.photos(collection="mine")
    reviewed = [photo for photo in mine if photo.position_source == "reviewed"]
    # What is known is as it was, and nothing became a reference.
    assert fetch(database, "SELECT count(*) FROM geosearch.gis_photos") == [(400 + 30,)]
    with Path("trip/truth.csv").open() as stream:
        truth = {row["file"]: row for row in csv.DictReader(stream)}
    errors = []
    for photo in reviewed:
        row = truth[str(Path(photo.uri).relative_to(tmp_path / "trip"))]
        assert photo.lat is not None
        assert photo.lon is not None
        place = float(row["true_lat"]), float(row["true_lon"])
        errors.append(float(great_circle_km(photo.lat, photo.lon, *place)))
    assert len(errors) > 25
    assert sum(error < 5 for error in errors) / len(errors) > 0.9
    assert len([*Path("trip/mine").rglob("*.xmp")]) == len(reviewed)
    gs.ingest("trip/mine", collection="elsewhere")
    found = {photo.uri: photo for photo in gs.photos(collection="elsewhere")}
    for photo in reviewed:
        again = found[photo.uri]
        assert again.position_source == "reviewed"  # a guess still, and no reference
        assert (again.lat, again.lon) == pytest.approx((photo.lat, photo.lon), abs=1e-7)
    gs.delete_collection("elsewhere")
    with database.connection() as connection:
        left = connection.execute(QUERIES.partition(";")[0].encode()).fetchall()
    assert len(left) == 70 - len(reviewed)
    # Everything run again does nothing new.
    assert gs.embed().pending == 0
    assert geosearch(*WORDS[7]).out.startswith("accepted 0 answers")
    assert geosearch(*WORDS[9]).out.startswith("wrote 0 positions")
    # The same in Python and SQL.
    monkeypatch.setenv("GEOSEARCH_DATABASE_URL", database.url)
    exec(CODE, {})
    with database.connection() as connection:
        connection.execute(QUERIES.encode())
