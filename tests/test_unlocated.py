"""Photos without a position: kept, embedded to be asked about, and no references anywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.errors import DatabaseError, InputError, NotFoundError
from geosearch.evaluation.queries import stored_queries
from geosearch.features.extraction import stored_query
from geosearch.features.model_rows import count_embeddings, find_model
from geosearch.geocells.geocell_rows import photo_positions
from geosearch.localization import Localization
from geosearch.query import Query
from geosearch.retrieval import nearest
from geosearch.retrieval.batch import nearest_batch
from geosearch.retrieval.duplicates import Exclusions, nearest_others
from geosearch.retrieval.exact import ExactSearch
from geosearch.retrieval.filters import EVERYTHING, where
from geosearch.retrieval.indexes import build_index
from geosearch.retrieval.photo_list import photo_history
from geosearch.training.photos import read_photos
from tests.command_line import CommandLine
from tests.photo_files import gps, photo
from tests.rows import fetch

LOCATED, UNLOCATED = 8, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos 0 to 7 say where they were taken; 8 to 10, with the pictures of 0 to 2, do not."""
    made = tmp_path_factory.mktemp("photos")
    for number in range(LOCATED + UNLOCATED):
        position = gps(10 + number, 20 + number) if number < LOCATED else None
        data = photo(position, shade=number % LOCATED, size=(64, 48))
        made.joinpath(f"{number:02}.jpg").write_bytes(data)
    return made


@pytest.fixture(scope="module")
def embedded(module_database: Database, folder: Path) -> Database:
    """The photos, embedded with the default model; their ids are by their names from 1."""
    gs = Geosearch(module_database)
    summary = gs.ingest(folder, collection="mine", workers=1)
    assert (summary.added, summary.unlocated, summary.kept_unlocated) == (LOCATED, 3, 3)
    assert gs.embed().embedded == LOCATED + UNLOCATED
    return module_database


REFERENCES = [*range(1, LOCATED + 1)]


def query(database: Database) -> Query:
    """The first photo without a position: it has the picture of photo 1."""
    with database.connection() as connection:
        return stored_query(connection, find_model(connection, "1"), LOCATED + 1)


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("estimated", [False, True])
def test_no_search_finds_an_unlocated_photo(
    embedded: Database, indexed: bool, estimated: bool
) -> None:
    if indexed:
        assert build_index(embedded, 1, 1280).rows == LOCATED
    asked, vector = where(include_estimated=estimated), query(embedded).embedding
    same = Exclusions(same_bytes=True)
    found = [
        nearest(embedded, 1, vector, 20, asked),
        nearest(embedded, 1, vector, 20, asked, exact=True),
        nearest_others(embedded, 1, query(embedded), 20, asked, same).neighbours,
        nearest_others(
            embedded, 1, query(embedded), 20, asked, Exclusions(same_bytes=True)
        ).neighbours,
        ExactSearch(embedded, 1, vector[None], 20, asked).neighbours(0),
    ]
    for each in found:
        assert (each.photo_id[0], sorted(each.photo_id)) == (1, REFERENCES)
    assert nearest_batch(embedded, 1, vector[None], 20, asked).count[0] == LOCATED
    assert fetch(
        embedded,
        "SELECT array_agg(photo_id ORDER BY photo_id)"
        " FROM geosearch.nearest_to_photo(9, '1', k => 20, include_estimated => %s)",
        estimated,
    ) == [(REFERENCES,)]
    assert fetch(
        embedded,
        "SELECT neighbours FROM geosearch.localize_photo(9, '1', include_estimated => %s)",
        estimated,
    ) == [(LOCATED,)]


def test_nothing_counts_an_unlocated_photo_as_a_reference(embedded: Database) -> None:
    with embedded.connection() as connection:
        model = find_model(connection, "1")
        assert count_embeddings(connection) == {1: LOCATED}
        assert len(photo_positions(connection)[0]) == LOCATED  # of which partitions are made
        assert len(read_photos(connection, "mine")) == LOCATED  # which is trained on
        refresh_coverage(connection)
        assert connection.execute(
            "SELECT sum(photos) FROM geosearch.gis_coverage WHERE cell_km > 100"
        ).fetchone() == (LOCATED,)
        assert connection.execute("SELECT count(*) FROM geosearch.gis_photos").fetchone() == (
            LOCATED,
        )
        assert connection.execute("SELECT total FROM geosearch.search_facts(1)").fetchone() == (
            LOCATED,
        )
    # Which evaluations, calibrations and whitenings are by.
    assert len(stored_queries(embedded, model, EVERYTHING)) == LOCATED
    # The database itself refuses what would be a reference without a place.
    with pytest.raises(DatabaseError, match="not-null"):
        fetch(
            embedded,
            "INSERT INTO geosearch.all_embeddings SELECT * FROM geosearch.all_queries",
        )


def test_photos_are_listed_and_shown_with_their_history(
    embedded: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gs, geosearch = Geosearch(embedded), CommandLine(embedded.url, capsys)
    listed = geosearch("photos", "list", "--unlocated", "--collection", "mine", "--json").json()
    assert [photo["id"] for photo in listed] == [9, 10, 11]
    assert [photo.id for photo in gs.photos(unlocated=True, limit=2)] == [9, 10]
    for condition in ({"near": (10, 20, 20000)}, {"country": "CH"}, {"include_estimated": True}):
        with pytest.raises(InputError, match="unlocated photos have no place"):
            gs.photos(unlocated=True, **condition)
    with pytest.raises(InputError, match="is for all photos without a position"):
        next(gs.localize_stored([9], of="mine"))
    shown = geosearch("photos", "show", folder / "00.jpg", "--json").json()
    assert (shown["id"], shown["lat"], shown["history"]) == (1, 10, [])
    gs.correct_positions(10, 20.5, ids=[1])
    (change,) = geosearch("photos", "show", 1, "--json").json()["history"]
    assert (change["old"]["lon"], change["new"]["lon"]) == (20, 20.5)
    assert (change["run_id"], change["changed_by"]) == (3, "geosearch")
    assert "lon               20 → 20.5" in geosearch("photos", "show", 1).out
    gs.undo_run(3)
    with embedded.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_reader")
        assert photo_history(connection, 1) is None
    gs.ingest(folder / "00.jpg", collection="again")
    several = geosearch("photos", "show", folder / "00.jpg").err
    assert "several collections" in several
    assert re.search(r"Give an id: \d+, \d+$", several.strip())
    assert "no photo 99" in geosearch("photos", "show", 99).err
    gs.delete_collection("again")


def test_an_embedding_goes_where_its_photo_belongs(embedded: Database) -> None:
    """A photo that gets a position is a reference at once; one that loses it asks again."""
    before = query(embedded)
    assert before.low_information == "smooth"
    for place, source in (("SRID=4326;POINT(8 47)", "corrected"), (None, None)):
        fetch(
            embedded,
            "UPDATE geosearch.all_photos SET geom = %s, position_source = %s"
            " WHERE id = 9 RETURNING id",
            *(place, source),
        )
        after = query(embedded)
        assert after.embedding.tolist() == before.embedding.tolist()
        assert after.low_information == before.low_information
        assert len(nearest(embedded, 1, before.embedding, 20)) == LOCATED + (place is not None)
    assert Geosearch(embedded).embed().pending == 0


def test_a_located_photo_that_comes_again_brings_all_it_says(
    database: Database, folder: Path, tmp_path: Path
) -> None:
    gs = Geosearch(database)
    bare = folder / "08.jpg"
    gs.ingest(bare, collection="mine", author="Ann")
    manifest = tmp_path / "photos.csv"
    manifest.write_text(f"uri,lat,lon,title,author\n{bare},47,8,A lake,Bob\n")
    assert gs.ingest(manifest, collection="mine").added == 1
    assert fetch(database, "SELECT ST_Y(geom), title, author FROM geosearch.photos") == [
        (47, "A lake", "Ann")
    ]
    # An editor that drops the position does not drop what is known.
    located = tmp_path / "edited.jpg"
    located.write_bytes((folder / "00.jpg").read_bytes())
    gs.ingest(located, collection="edited")
    located.write_bytes(photo(shade=99))
    summary = gs.ingest(located, collection="edited")
    assert (summary.unlocated, summary.kept_unlocated, summary.replaced) == (1, 0, 0)


# ---- localizing ---------------------------------------------------------------------------------


def test_all_without_a_position_are_localized_once(
    embedded: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    geosearch = CommandLine(embedded.url, capsys)
    asked = ("localize", "--unlocated", "--collection", "mine", "--no-calibration")
    # As if it had been killed after the first.
    first = next(Geosearch(embedded).localize_stored(collection="mine", calibrate=False))
    assert isinstance(first, Localization)
    assert first.photo.endswith("08.jpg")
    assert first.query.low_information == "smooth"
    assert geosearch(*asked, "--k", 5, "--of", "mine", "--no-record", "--json").out.count("\n") == 3
    rest = geosearch(*asked)
    assert rest.code == 0, rest.err
    assert ("08.jpg" in rest.out, "09.jpg" in rest.out, "10.jpg" in rest.out) == (False, True, True)
    none = geosearch(*asked, "--json")
    assert (none.out, "have an answer to this question" in none.err) == ("", True)  # no new ones
    again = [*Geosearch(embedded).localize_stored(k=5, collection="mine")]  # asked otherwise
    assert len(again) == UNLOCATED
    assert [*Geosearch(embedded).localize_stored(k=5, collection="mine")] == []
    assert "no collection 'hers'" in geosearch(*asked, "--of", "hers").err
    assert geosearch("localize").code == 2
    assert geosearch("localize", "a.jpg", "--unlocated").code == 2


def test_a_stored_photo_is_localized_without_itself(embedded: Database) -> None:
    gs = Geosearch(embedded)
    answer = gs.localize(photo_id=1)
    assert 1 not in answer.neighbours.photo_id.tolist()
    assert answer.excluded is not None
    assert answer.excluded.same_bytes == 1
    assert answer.question is not None
    assert gs.reproduce(answer.id or 0).same
    with pytest.raises(NotFoundError, match="no photo 99"):
        gs.localize(photo_id=99)
    with pytest.raises(InputError, match="not both"):
        gs.localize("a.jpg", photo_id=1)


def test_what_is_not_embedded_is_embedded_from_its_file(database: Database, folder: Path) -> None:
    gs = Geosearch(database)
    gs.ingest(folder, collection="mine")
    with pytest.raises(NotFoundError, match="embed"):
        gs.localize(photo_id=9)
    gs.embed()
    stored = gs.localize(photo_id=9, record=False)
    fetch(database, "DELETE FROM geosearch.all_queries WHERE photo_id = 9 RETURNING photo_id")
    fresh = gs.localize(photo_id=9, record=False)
    assert fresh.query.low_information == stored.query.low_information == "smooth"
    assert (fresh.lat, fresh.lon) == pytest.approx((stored.lat, stored.lon), abs=1e-3)
