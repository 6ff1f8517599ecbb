"""What is known of stored photos is corrected with a history, and comes back when undone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.database.photo_changes import Change, change_photos
from geosearch.deletion.photo_moves import correct_positions, move_photos
from geosearch.deletion.run_undo import undo_run
from geosearch.errors import DatabaseError, InputError, NotFoundError
from geosearch.ingest import ingest
from geosearch.retrieval.filters import where
from tests.command_line import CommandLine
from tests.photo_files import gps, photo
from tests.rows import add_embeddings, add_model, add_photos, fetch
from tests.test_ingest import manifest

FACTS = (
    "SELECT ST_Y(coalesce(geom, estimate)), ST_X(coalesce(geom, estimate)), position_source, "
    "accuracy_m, taken_at, taken_at_zone, author, licence, title, source_id, direction_deg, "
    "direction_reference, altitude_m FROM geosearch.photos ORDER BY uri"
)


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> Path:
    """Two photos of a collection, the first from a manifest, and a model that embedded them."""
    time = {36867: "2020:06:01 12:00:00"}
    (tmp_path / "a.jpg").write_bytes(photo(gps(47, 8), shade=1, photo_tags=time))
    (tmp_path / "b.jpg").write_bytes(photo(gps(10, 20), shade=2, image_tags={315: "Bea"}))
    table = manifest(tmp_path / "m.csv", "file,lat,lon,author", "a.jpg,47,8,Ann", "b.jpg,,,")
    ingest(database, [table], collection="c")
    with database.connection() as connection:
        add_model(connection, 3)
        connection.execute(
            "INSERT INTO geosearch.all_embeddings (photo_id, model_id, collection_id, geom, "
            "taken_at, author, embedding) SELECT id, 1, collection_id, geom, taken_at, author, "
            "'[1,0,0]' FROM geosearch.all_photos"
        )
    return tmp_path


def agree(database: Database) -> bool:
    """Whether embeddings and coverage are those of the photos."""
    copies = fetch(
        database,
        "SELECT count(*) FROM geosearch.embeddings AS e JOIN geosearch.photos AS p "
        "ON p.id = e.photo_id WHERE (e.geom, e.author, e.taken_at, e.collection_id, e.shelf) "
        "IS DISTINCT FROM (p.geom, p.author, p.taken_at, p.collection_id, p.shelf)",
    )
    cells = "SELECT collection_id, cell, photos FROM geosearch.coverage ORDER BY 1, 2"
    before = fetch(database, cells)
    with database.connection() as connection:
        refresh_coverage(connection)
    return copies == [(0,)] and fetch(database, cells) == before


def test_an_update_changes_what_the_row_says_and_keeps_the_rest(
    database: Database, folder: Path
) -> None:
    rows = ("file,lat,lon,title,heading", "a.jpg,-33,151,Harbour,90", "b.jpg,,,Bay,")
    table = manifest(folder / "new.csv", *rows)
    assert ingest(database, [table], collection="c").updated == 0
    summary = ingest(database, [table], collection="c", update=True)
    assert (summary.updated, summary.duplicates, summary.added) == (2, 2, 0)
    first, second = fetch(database, FACTS)
    # Noon by the camera, where it really was.
    assert first[:4] == (-33, 151, "manifest", None)
    assert first[4:6] == (datetime(2020, 6, 1, 2, tzinfo=UTC), "position")
    assert first[6:11] == ("Ann", None, "Harbour", None, 90)
    assert second[:3] == (10, 20, "exif")
    assert (second[6], second[8]) == ("Bea", "Bay")
    assert agree(database)
    ((old, new, run, by),) = fetch(
        database,
        "SELECT old, new, run_id, changed_by = current_user FROM geosearch.photo_changes "
        "WHERE old ? 'lat'",
    )
    assert (old["lat"], old["lon"], new["lat"], new["lon"]) == (47, 8, -33, 151)
    assert (old["position_source"], run, by) == ("manifest", summary.run_id, True)
    assert ingest(database, [table], collection="c", update=True, rehash=True).updated == 0


def test_a_photo_of_a_folder_says_itself_what_is_updated(database: Database, folder: Path) -> None:
    summary = ingest(database, [folder / "a.jpg"], collection="c", author="Eve", update=True)
    assert summary.updated == 1
    assert [row[6] for row in fetch(database, FACTS)] == ["Eve", "Bea"]


def test_copies_in_one_run_are_updated_as_in_several(database: Database, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(photo(gps(1, 2)))
    rows = ("file,lat,lon,title", "a.jpg,3,4,One", "b.jpg,5,6,")
    table = manifest(tmp_path / "m.csv", *rows)
    ingest(database, [table], collection="together", update=True)
    for row in rows[1:]:
        manifest(table, rows[0], row)
        ingest(database, [table], collection="apart", update=True)
    together, apart = fetch(database, FACTS)
    assert together == apart
    assert together[:2] == (5, 6)


def test_an_undone_run_has_never_been(database: Database, folder: Path) -> None:
    before = fetch(database, FACTS)
    (folder / "c.jpg").write_bytes(photo(gps(1, 2), shade=3))
    (folder / "broken.jpg").write_bytes(b"broken")
    rows = ("file,lat,lon,author", "a.jpg,48,9,Eve", "c.jpg,1,2,", "broken.jpg,1,2,")
    run = ingest(database, [manifest(folder / "n.csv", *rows)], collection="c", update=True).run_id
    assert run is not None
    counted = undo_run(database, run, dry_run=True)
    done = undo_run(database, run)
    assert (done.goes, done.stays) == (counted.goes, counted.stays)
    assert (done.goes["photos"], done.goes["changed_back"], done.stays["later_runs"]) == (1, 1, 0)
    assert fetch(database, FACTS) == before
    assert agree(database)
    assert fetch(database, "SELECT FROM geosearch.rejects") == []
    assert fetch(database, "SELECT FROM geosearch.photo_changes") == []
    with pytest.raises(InputError, match="undone before"):
        undo_run(database, run)
    with pytest.raises(NotFoundError, match="there is no run 999"):
        undo_run(database, 999)


def test_a_position_that_was_missing_is_gone_again(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo())
    ingest(database, [tmp_path / "a.jpg"], collection="c")
    before = fetch(database, FACTS)
    table = manifest(tmp_path / "m.csv", "file,lat,lon", "a.jpg,1,2")
    run = ingest(database, [table], collection="c").run_id
    assert run is not None
    assert undo_run(database, run).goes["changed_back"] == 1
    assert fetch(database, FACTS) == before


#: What the run of a number says: each something else, as what says the same changes nothing.
SAYS: dict[str, Callable[[int], dict[str, Any]]] = {
    "position": lambda run: {"lat": run + 10, "lon": 20, "accuracy_m": run / 3},
    "author": lambda run: {"author": f"author {run}"},
    "direction": lambda run: {"direction_deg": run, "direction_reference": None},
}


@settings(max_examples=8)
@given(data=st.data())
def test_runs_undone_in_any_order_leave_what_was_without_them(
    module_database: Database, data: st.DataObject
) -> None:
    database = module_database
    names = st.sets(st.sampled_from(sorted(SAYS)), min_size=1)
    runs: list[dict[str, Any]] = [
        {key: value for name in data.draw(names) for key, value in SAYS[name](run).items()}
        for run in range(data.draw(st.integers(1, 4)))
    ]
    undone = data.draw(st.permutations(range(len(runs))))[: data.draw(st.integers(1, len(runs)))]

    def applied(kept: list[dict[str, Any]], undo: list[int]) -> list[tuple[Any, ...]]:
        with database.connection() as connection:
            connection.execute("DELETE FROM geosearch.all_collections")
            ((key, *_),) = add_photos(connection, [1.0], [2.0], collection="c")
            numbers = []
            for values in kept:
                row = connection.execute(
                    "INSERT INTO geosearch.runs (kind, sources, options, software, collection_ids) "
                    "VALUES ('ingest', '[]', '{}', '{}', '{}') RETURNING id"
                ).fetchone()
                assert row is not None
                numbers.append(row[0])
                change_photos(connection, {key: Change(values)}, row[0])
        for number in undo:
            undo_run(database, numbers[number])
        return fetch(database, FACTS)

    left = [values for number, values in enumerate(runs) if number not in undone]
    assert applied(runs, list(undone)) == applied(left, [])


def test_positions_are_corrected_by_hand_and_it_is_a_run(
    database: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fetch(database, FACTS)
    command = CommandLine(database.url, capsys)
    words = ("photos", "move", "--author", "Ann", "--to", "46.948,7.447", "--to-accuracy-m", 5)
    assert command(*words, "--dry-run", "--json").json()["photos"] == 1
    assert fetch(database, FACTS) == before
    assert command(*words).code == 2  # nobody is there to ask
    done = command(*words, "--yes", "--json").json()
    assert fetch(database, FACTS)[0][:4] == (46.948, 7.447, "corrected", 5)
    assert agree(database)
    listed = command("runs", "list", "--json").json()
    assert [(run["id"], run["kind"]) for run in listed][:1] == [(done["run_id"], "correct")]
    assert "would undo run" in command("runs", "undo", done["run_id"], "--dry-run").out
    assert command("runs", "undo", done["run_id"], "--yes", "--json").code == 0
    assert fetch(database, FACTS) == before
    assert agree(database)
    for wrong in (("--to", "91,0"), ("--to", "1"), (), ("--to", "1,2", "--to-collection", "c")):
        assert command("photos", "move", "--author", "Ann", *wrong, "--yes").code == 2
    assert command("photos", "move", "--to", "1,2", "--yes").code == 2  # which photos?
    assert command("photos", "move", "--id", 10**9, "--to", "1,2", "--yes").code == 4


@pytest.mark.parametrize("private", [(), ("c",), ("d",)])
def test_photos_move_into_another_collection_with_all_that_is_theirs(
    database: Database, folder: Path, private: tuple[str, ...]
) -> None:
    ingest(database, [folder / "b.jpg"], collection="d")
    correct_positions(database, where(collection="c"), to=(5, 6))
    with database.connection() as connection:
        for name in private:
            set_private(connection, name, private=True)
    counted = move_photos(database, where(collection="c"), to="d", dry_run=True)
    done = move_photos(database, where(collection="c"), to="d")
    assert (done.photos, done.stays) == (counted.photos, counted.stays) == (1, 1)
    assert fetch(
        database,
        "SELECT c.name, count(*) FROM geosearch.photos AS p JOIN geosearch.collections AS c "
        "ON c.id = p.collection_id AND c.shelf = p.shelf GROUP BY 1 ORDER BY 1",
    ) == [("c", 1), ("d", 2)]
    assert agree(database)
    # What was before a photo came to a collection is for those who saw it there.
    history = "SELECT count(*) FROM geosearch.photo_changes AS h JOIN geosearch.collections AS c "
    ((kept,),) = fetch(database, (history + "ON c.id = h.collection_id AND c.name = 'd'").encode())  # type: ignore[arg-type]
    assert kept == (not private)


def test_moving_back_and_forth_changes_nothing(database: Database) -> None:
    with database.connection() as connection:
        model = add_model(connection, 4)
        made = add_photos(connection, range(8), range(8), collection="c")
        add_embeddings(connection, model, made, np.eye(8, 4, dtype=np.float32) + 1)
        add_photos(connection, [50], [60], collection="d")
        refresh_coverage(connection)
    before = (
        fetch(database, FACTS),
        fetch(database, "SELECT * FROM geosearch.embeddings ORDER BY 1"),
    )
    keys = [each.photo_id for each in made]
    assert move_photos(database, ids=keys, to="d").photos == 8
    assert move_photos(database, ids=keys, to="c").photos == 8
    after = fetch(database, FACTS), fetch(database, "SELECT * FROM geosearch.embeddings ORDER BY 1")
    assert after == before
    assert agree(database)


def test_an_ingester_corrects_and_undoes_and_a_reader_sees_no_history(
    database: Database, folder: Path
) -> None:
    options = "-c role=geosearch_{}"
    before = fetch(database, FACTS)
    table = manifest(folder / "n.csv", "file,lat,lon", "a.jpg,1,2")
    with Database(make_conninfo(database.url, options=options.format("ingester"))) as ingester:
        run = ingest(ingester, [table], collection="c", update=True, thumbnails=True).run_id
        assert run is not None
        moved = correct_positions(ingester, where(collection="c"), to=(3, 4))
        assert fetch(database, "SELECT DISTINCT changed_by FROM geosearch.photo_changes") == [
            ("geosearch_ingester",)
        ]
        assert moved.run_id is not None
        for number in (run, moved.run_id):
            undo_run(ingester, number)
        assert fetch(database, FACTS) == before
        others = correct_positions(database, where(collection="c"), to=(3, 4)).run_id
        assert others is not None
        with pytest.raises(DatabaseError, match="was recorded by"):
            undo_run(ingester, others)
    with (
        Database(make_conninfo(database.url, options=options.format("analyst"))) as analyst,
        pytest.raises(DatabaseError, match="takes the role geosearch_ingester"),
    ):
        undo_run(analyst, others)
    with Database(make_conninfo(database.url, options=options.format("reader"))) as reader:
        for name in ("photo_changes", "photo_changes_open", "all_photo_changes"):
            with pytest.raises(DatabaseError), reader.connection() as connection:
                connection.execute(f"SELECT FROM geosearch.{name}".encode())
        with pytest.raises(DatabaseError, match="may not change or delete photos"):
            correct_positions(reader, where(collection="c"), to=(1, 2))
