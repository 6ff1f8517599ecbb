"""Guesses are not references: estimated positions that come back by ingest are kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags

from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.errors import InputError
from geosearch.evaluation.queries import manifest_queries
from geosearch.geocells.geocell_rows import photo_positions
from geosearch.ingest import IngestSummary, ingest
from geosearch.localization.answer_rows import save
from tests.answers import make_answer
from tests.command_line import CommandLine
from tests.photo_files import gps, photo, xmp
from tests.rows import fetch

GUESS = (52.5, 13.4)


def stored(database: Database) -> list[tuple[Any, ...]]:
    """Name, source, known and estimated position of all photos."""
    return fetch(
        database,
        "SELECT regexp_replace(uri, '.*/', ''), position_source, ST_AsText(geom),"
        " ST_AsText(estimate, 6) FROM geosearch.photos ORDER BY 1",
    )


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """A photo that does not say where it was taken."""
    path = tmp_path / "unknown.jpg"
    path.write_bytes(photo(shade=1))
    return path


def write_estimates(
    database: Database, command: CommandLine, asked: Path, layer: str, ending: str
) -> Path:
    with database.connection() as connection:
        save(connection, [make_answer(*GUESS, photo=str(asked))])
    path = asked.with_suffix(ending)
    ran = command("export", layer, "-o", path)
    assert ran.code == 0, ran.err
    return path


@pytest.mark.parametrize("ending", [".csv", ".geojson", ".parquet"])
@pytest.mark.parametrize("layer", ["estimates", "neighbours"])
def test_exported_answers_make_no_references(
    database: Database,
    unknown: Path,
    layer: str,
    ending: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = CommandLine(database.url, capsys)
    path = write_estimates(database, command, unknown, layer, ending)
    try:
        summary = ingest(database, [path], collection="mine")
    except InputError:  # Parquet has its places as WKB: no columns of latitude and longitude
        assert ending == ".parquet"
        assert stored(database) == []
        return
    assert (summary.estimated, summary.added, summary.seen) == (1, 0, 1)
    assert stored(database) == [("unknown.jpg", "estimated", None, "POINT(13.4 52.5)")]
    with database.connection() as connection:
        assert len(photo_positions(connection)[0]) == 0  # of which partitions are made
        assert refresh_coverage(connection) == 0
    assert fetch(database, "SELECT id FROM geosearch.gis_photos") == []
    again = ingest(database, [path], collection="mine")
    assert (again.estimated, again.duplicates) == (0, 1)


def test_estimates_label_no_queries(unknown: Path) -> None:
    manifest = unknown.with_suffix(".csv")
    manifest.write_text(f"uri,lat,lon,position_source\n{unknown},52.5,13.4,estimated\n")
    with pytest.raises(InputError, match="no query has a position"):
        manifest_queries(manifest)


def test_what_a_photo_knows_goes_before_an_estimate(database: Database, tmp_path: Path) -> None:
    (tmp_path / "known.jpg").write_bytes(photo(gps(1, 2)))
    (tmp_path / "defective.jpg").write_bytes(photo(gps(0, 0)))
    manifest = tmp_path / "guesses.csv"
    rows = [f"{name}.jpg,52.5,13.4,Estimated" for name in ("known", "defective")]
    manifest.write_text("\n".join(["uri,lat,lon,position_source", *rows]))
    summary = ingest(database, [manifest], collection="mine")
    assert (summary.added, summary.estimated, summary.rejected) == (1, 1, 0)
    assert stored(database) == [
        ("defective.jpg", "estimated", None, "POINT(13.4 52.5)"),
        ("known.jpg", "exif", "POINT(2 1)", None),
    ]


def test_a_position_that_comes_later_takes_the_place_of_an_estimate(
    database: Database, unknown: Path
) -> None:
    manifest = unknown.with_suffix(".csv")

    def run(source: str, lat: float) -> IngestSummary:
        manifest.write_text(f"uri,lat,lon,position_source\n{unknown},{lat},13.4,{source}\n")
        return ingest(database, [manifest], collection="mine")

    assert ingest(database, [unknown], collection="mine", keep_unlocated=True).kept_unlocated == 1
    assert run("estimated", 52.5).estimated == 1
    assert stored(database) == [("unknown.jpg", "estimated", None, "POINT(13.4 52.5)")]
    assert run("survey", 48).added == 1
    assert stored(database) == [("unknown.jpg", "manifest", "POINT(13.4 48)", None)]
    assert run("estimated", 52.5).duplicates == 1
    assert stored(database) == [("unknown.jpg", "manifest", "POINT(13.4 48)", None)]


def test_an_estimate_that_was_written_into_a_photo_is_known_as_one(
    database: Database, tmp_path: Path
) -> None:
    method = {ExifTags.GPS.GPSProcessingMethod: b"ASCII\0\0\0geosearch 0.1 density"}
    measured = {ExifTags.GPS.GPSProcessingMethod: b"ASCII\0\0\0GPS"}
    place = 'exif:GPSLatitude="51,30.0N" exif:GPSLongitude="0,6.0E" '
    said = 'exif:GPSProcessingMethod="geosearch 0.1 density"'
    files = {
        "exif.jpg": photo(gps(*GUESS) | method, shade=1),
        "measured.jpg": photo(gps(*GUESS) | measured, shade=2),
        "xmp.jpg": photo(shade=3, xmp=xmp(place + said)),
        "both.jpg": photo(gps(*GUESS) | method, shade=4, xmp=xmp(place)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    summary = ingest(database, [tmp_path], collection="mine")
    assert (summary.added, summary.estimated) == (2, 2)
    assert [(name, source) for name, source, *_ in stored(database)] == [
        ("both.jpg", "xmp"),
        ("exif.jpg", "estimated"),
        ("measured.jpg", "exif"),
        ("xmp.jpg", "estimated"),
    ]
