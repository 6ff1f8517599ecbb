"""Guesses are not references: estimated positions that come back by ingest are kept apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags

from geosearch.calibration.calibration_rows import count_passing
from geosearch.client import Geosearch
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.errors import InputError, NotFoundError
from geosearch.evaluation.queries import manifest_queries
from geosearch.geocells.geocell_rows import photo_positions
from geosearch.ingest import IngestSummary, ingest
from geosearch.localization.answer_rows import save
from geosearch.retrieval import nearest
from geosearch.retrieval.batch import nearest_batch
from geosearch.retrieval.exact import ExactSearch
from geosearch.retrieval.filters import Filter, where
from geosearch.retrieval.indexes import build_index
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


@pytest.mark.parametrize("ending", [".csv", ".geojson", ".parquet", ".gpkg", ".fgb"])
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
    summary = ingest(database, [path], collection="mine")
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

    assert ingest(database, [unknown], collection="mine").kept_unlocated == 1
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


# ---- searching ----------------------------------------------------------------------------------

KNOWN, GUESSED = 8, 3


@pytest.fixture
def embedded(database: Database, tmp_path: Path) -> Database:
    """Eleven photos embedded with the default model; the places of three are estimates."""
    rows = []
    for number in range(KNOWN + GUESSED):
        (tmp_path / f"{number}.jpg").write_bytes(photo(shade=number, size=(64, 48)))
        source = "survey" if number < KNOWN else "estimated"
        rows.append(f"{number}.jpg,{10 + number},{20 + number},{source},a{number % 2}")
    manifest = tmp_path / "photos.csv"
    manifest.write_text("\n".join(["uri,lat,lon,position_source,author", *rows]))
    gs = Geosearch(database)
    summary = gs.ingest(manifest, collection="mine")
    assert (summary.added, summary.estimated) == (KNOWN, GUESSED)
    assert gs.embed().embedded == KNOWN + GUESSED
    assert gs.embed().embedded == 0
    return database


def numbers(uris: Any) -> list[int]:
    return sorted(int(Path(uri).stem) for uri in uris)


def query_of(database: Database) -> Any:
    """The embedding of the last photo, which is a guessed one."""
    ((embedding,),) = fetch(
        database,
        "SELECT embedding FROM geosearch.queries ORDER BY photo_id DESC LIMIT 1",
    )
    return np.asarray(embedding.to_numpy(), np.float32)


ASKED = where(include_estimated=True)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_search_finds_estimated_positions_only_when_asked(
    embedded: Database, indexed: bool
) -> None:
    if indexed:
        build_index(embedded, 1, 1280)
    query = query_of(embedded)
    for exact in (False, True):
        plain = nearest(embedded, 1, query, 20, exact=exact)
        assert numbers(plain.uri) == [*range(KNOWN)]
        asked = nearest(embedded, 1, query, 20, ASKED, exact=exact)
        assert numbers(asked.uri) == [*range(KNOWN + GUESSED)]
        assert numbers(asked.uri[:1]) == [KNOWN + GUESSED - 1]
        assert (asked.lat[0], asked.lon[0]) == (20, 30)
        narrowed = nearest(embedded, 1, query, 20, ASKED & where(author="a0"), exact=exact)
        assert numbers(narrowed.uri) == [0, 2, 4, 6, 8, 10]
    few = nearest_batch(embedded, 1, query[None], 20)
    all_of_them = nearest_batch(embedded, 1, query[None], 20, ASKED)
    assert (few.count[0], all_of_them.count[0]) == (KNOWN, KNOWN + GUESSED)
    with embedded.connection() as connection:
        passing = [count_passing(connection, 1, each) for each in (where(), ASKED)]
    assert passing == [KNOWN, KNOWN + GUESSED]
    found = ExactSearch(embedded, 1, query[None], 20, ASKED).neighbours(0)
    assert found.uri == asked.uri
    assert found.distance.tolist() == asked.distance.tolist()


def test_sql_finds_the_same(embedded: Database) -> None:
    for asked, count in ((False, KNOWN), (None, KNOWN), (True, KNOWN + GUESSED)):
        found = fetch(
            embedded,
            "SELECT n.photo_id, n.distance FROM geosearch.queries AS g, "
            "geosearch.nearest(g.embedding, '1', include_estimated => %s) AS n "
            "WHERE g.photo_id = (SELECT max(photo_id) FROM geosearch.queries) ORDER BY n.rank",
            asked,
        )
        assert len(found) == count
        wanted = nearest(embedded, 1, query_of(embedded), 20, where(include_estimated=asked))
        assert [row[0] for row in found] == wanted.photo_id.tolist()
        assert [row[1] for row in found] == wanted.distance.tolist()
    # A guessed photo may be asked about; among its neighbours it is not.
    ((n,),) = fetch(
        embedded,
        "SELECT count(*) FROM (SELECT max(photo_id) AS g FROM geosearch.queries) AS last, "
        "geosearch.nearest_to_photo(g, '1', include_estimated => true) AS n",
    )
    assert n == KNOWN + GUESSED - 1
    places = fetch(
        embedded,
        "SELECT l.neighbours FROM unnest(ARRAY[false, true]) AS asked, "
        "geosearch.localize_photo(1, '1', include_estimated => asked) AS l",
    )
    assert places == [(KNOWN - 1,), (KNOWN + GUESSED - 1,)]


def test_photos_are_listed_by_their_estimates_where_asked(
    embedded: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine(embedded.url, capsys)
    near = ("photos", "list", "--near", f"{10 + KNOWN},{20 + KNOWN},200", "--json")
    assert numbers(each["uri"] for each in run(*near).json()) == [KNOWN - 1]
    found = run(*near, "--include-estimated").json()
    assert numbers(each["uri"] for each in found) == [KNOWN - 1, KNOWN, KNOWN + 1]
    assert {each["position_source"] for each in found} == {"manifest", "estimated"}


def test_what_indexes_plans_and_counts_know_has_no_estimates(embedded: Database) -> None:
    assert build_index(embedded, 1, 1280).rows == KNOWN
    ((total,),) = fetch(embedded, "SELECT total FROM geosearch.search_facts(1)")
    assert total == KNOWN
    assert nearest(embedded, 1, query_of(embedded), 3).plan.total == KNOWN
    with pytest.raises(InputError, match="does not go inside"):
        Filter.from_json({"or": [{"include_estimated": True}, {"author": "a0"}]})
    with pytest.raises(InputError, match="does not go inside"):
        _ = ~ASKED
    with (
        embedded.connection() as connection,
        pytest.raises(InputError, match="is for searches"),
    ):
        photo_positions(connection, ASKED)
    assert Filter.from_json(ASKED.to_json()) == ASKED
    assert where(include_estimated=False) == Filter.from_json({})


def test_an_estimate_that_becomes_known_is_embedded_as_a_reference(embedded: Database) -> None:
    with embedded.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_photos SET geom = estimate, estimate = NULL, "
            "position_source = 'manifest' WHERE estimate IS NOT NULL"
        )
    assert fetch(embedded, "SELECT FROM geosearch.queries") == []
    assert Geosearch(embedded).embed().pending == 0  # they came along
    assert len(fetch(embedded, "SELECT FROM geosearch.embeddings")) == KNOWN + GUESSED


def test_estimates_go_private_with_their_collection_and_are_deleted_with_it(
    embedded: Database,
) -> None:
    query = query_of(embedded)
    with embedded.connection() as connection:
        set_private(connection, "mine", private=True)
    assert numbers(nearest(embedded, 1, query, 20).uri) == [*range(KNOWN)]
    assert len(nearest(embedded, 1, query, 20, ASKED)) == KNOWN + GUESSED
    with embedded.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_reader")
        hidden = connection.execute(
            "SELECT (SELECT count(photo_id) FROM geosearch.queries),"
            " (SELECT count(id) FROM geosearch.photos)"
        ).fetchone()
        assert hidden == (0, 0)
    Geosearch(embedded).delete_collection("mine")
    assert fetch(embedded, "SELECT FROM geosearch.queries") == []
    with pytest.raises(NotFoundError):
        Geosearch(embedded).delete_collection("mine")


def test_the_command_line_asks_for_them(
    embedded: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(embedded.url, capsys)
    asked = ("nearest", tmp_path / "10.jpg", "--json")
    found = [command(*asked, *more).json() for more in ((), ("--include-estimated",))]
    assert [len(one["neighbours"]) for one in found] == [KNOWN, KNOWN + GUESSED]
