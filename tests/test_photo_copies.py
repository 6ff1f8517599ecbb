"""Photos that are there twice: found by bytes and by looks, told apart by what differs, hidden as
the photos are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import geosearch
from geosearch.audit.audit_rows import read_stated
from geosearch.audit.photo_copies import find_duplicates, list_duplicates
from geosearch.database.connection import Database
from geosearch.errors import InputError, NotFoundError
from geosearch.retrieval import where
from tests.command_line import CommandLine
from tests.rows import add_embeddings, add_model, add_photos, fetch

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
MINE = where(collection="mine")


def fill(database: Database) -> Database:
    """Six photos of mine, four of others.

    Mine 0 and the others' 0 have the same bytes; mine 1, 2 and the others' 1 look the same; the
    rest are alone. Mine 3 and 4 are bursts.
    """
    rng = np.random.default_rng(0)
    with database.connection() as connection:
        model = add_model(connection, 16)
        mine = add_photos(
            connection,
            [46.0, 47.0, 47.0, 48.0, 48.0, 49.0],
            [8.0, 8.0, 8.0005, 8.0, 8.0, -179.9],
            collection="mine",
            taken_at=[NOON + timedelta(hours=n) for n in (0, 1, 5, 9, 9, 10)],
            licences=["CC0", "CC0", "CC0", None, None, None],
        )
        theirs = add_photos(
            connection,
            [46.0, 10.0, 50.0, 51.0],
            [8.0, 20.0, 8.0, 8.0],
            collection="theirs",
            taken_at=[NOON, NOON + timedelta(hours=1), None, None],
            licences=["CC BY", "CC0", None, None],
        )
        connection.execute(
            "UPDATE geosearch.photos_open AS p SET sha256 = q.sha256 "
            "FROM geosearch.photos_open AS q WHERE p.id = %s AND q.id = %s",
            (theirs[0].photo_id, mine[0].photo_id),
        )
        vectors = rng.normal(size=(10, 16)).astype(np.float32)
        vectors[2] = vectors[1] + 0.01
        vectors[7] = vectors[1] - 0.01
        vectors[4] = vectors[3]
        add_embeddings(connection, model, [*mine, *theirs[1:]], np.delete(vectors, 6, axis=0))
    return database


@pytest.fixture(scope="module")
def filled(module_database: Database) -> Database:
    """For tests that change nothing but what was found."""
    return fill(module_database)


def ids(database: Database) -> dict[int, str]:
    rows = fetch(database, "SELECT id, uri FROM geosearch.photos")
    return {key: "/".join(uri.split("/")[-2:]).removesuffix(".jpg") for key, uri in rows}


def found(database: Database, **options: object) -> dict[tuple[str, str], tuple[str, ...]]:
    names = ids(database)
    with database.connection() as connection:
        pairs = list_duplicates(connection, MINE, **options)  # type: ignore[arg-type]
    return {(names[each.photo_id], names[each.other_id]): each.differs for each in pairs}


def test_pairs_are_found_by_bytes_and_by_looks_with_what_differs(filled: Database) -> None:
    assert find_duplicates(filled, model="test/model", where=MINE) == 5
    assert found(filled) == {
        ("mine/0", "theirs/0"): ("licence",),
        ("mine/1", "mine/2"): ("time",),
        ("mine/1", "theirs/1"): ("position",),
        ("mine/2", "theirs/1"): ("position", "time"),
    }
    assert found(filled, alike=True)["mine/3", "mine/4"] == ()
    assert found(filled, apart_m=10, apart_s=1e6)["mine/1", "mine/2"] == ("position",)
    with filled.connection() as connection:
        first, second, *_ = list_duplicates(connection, MINE)
    assert (first.same_bytes, first.distance) == (True, None)
    assert not second.same_bytes
    assert second.apart_m == pytest.approx(37.9, abs=0.1)
    assert second.distance is not None
    assert 0 < second.distance < 0.02


def test_a_second_run_replaces_the_first_and_sees_what_changed(database: Database) -> None:
    fill(database)
    for _ in range(2):
        assert find_duplicates(database, model="test/model") == 5
    assert fetch(database, "SELECT count(*) FROM geosearch.duplicates") == [(5,)]
    with database.connection() as connection:
        connection.execute("SELECT geosearch.set_private(2, true)")
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        # Who does not see a photo sees no pair of it.
        (pair,) = list_duplicates(connection)
        assert (pair.photo, pair.other) == ("/photo/mine/1.jpg", "/photo/mine/2.jpg")
        row = connection.execute("SELECT count(*) FROM geosearch.duplicates").fetchone()
        assert row == (2,)
        connection.execute("RESET ROLE")
        connection.execute("SELECT geosearch.set_private(2, false)")
        connection.execute(
            "UPDATE geosearch.photos_open SET licence = 'CC0' WHERE licence = 'CC BY'"
        )
        connection.execute("DELETE FROM geosearch.photos_open WHERE uri = '/photo/theirs/1.jpg'")
    assert found(database) == {("mine/1", "mine/2"): ("time",)}
    assert find_duplicates(database, model="test/model", duplicate_distance=1e-6) == 2
    with database.connection() as connection:
        copies = add_photos(connection, [1.0] * 40, np.arange(40.0), collection="copies")
        add_embeddings(connection, 1, copies, np.ones((40, 16), np.float32))
    # More than are looked at first.
    assert find_duplicates(database, model="test/model", where=where(collection="copies")) == 780


def test_reviewed_positions_are_compared_and_estimated_ones_are_none(database: Database) -> None:
    with database.connection() as connection:
        photos = add_photos(connection, [46.0, 46.1, 46.2, 46.3], [8.0] * 4, collection="mine")
        add_embeddings(connection, add_model(connection, 16), photos, np.ones((4, 16), np.float32))
        for photo, source in zip(photos[1:], ("reviewed", "reviewed", "estimated"), strict=True):
            connection.execute(
                "UPDATE geosearch.all_photos SET position_source = %s, estimate = geom, "
                "geom = NULL WHERE id = %s",
                (source, photo.photo_id),
            )
    assert find_duplicates(database, model="test/model", where=MINE) == 6
    with database.connection() as connection:
        pairs = list_duplicates(connection, MINE)
        # By where they are, too.
        south = where(bbox=(7, 46.15, 9, 46.25))
        assert len(list_duplicates(connection, south)) == 3
        stated = read_stated(connection, MINE)
    places = {each.photo_id: (each.lat, each.position_source) for each in pairs}
    first, second, third, guessed = (photo.photo_id for photo in photos)
    assert places == {
        first: (46.0, "manifest"),
        second: (46.1, "reviewed"),
        third: (46.2, "reviewed"),
    }
    assert {each.other_id: each.other_lat for each in pairs}[guessed] is None
    apart = [each.apart_m for each in pairs if each.other_id != guessed]
    assert apart == pytest.approx([11119, 22239, 11119], abs=1)
    assert [(each.id, each.lat) for each in stated] == [
        (first, 46.0),
        (second, 46.1),
        (third, 46.2),
    ]


def test_the_layer_has_lines_between_the_places(filled: Database) -> None:
    find_duplicates(filled, model="test/model", where=MINE)
    rows = fetch(
        filled,
        "SELECT photo, ST_NumGeometries(geom), round(apart_m / 1000) "
        "FROM geosearch.gis_duplicates ORDER BY photo_id, other_id",
    )
    assert rows == [
        ("/photo/mine/0.jpg", None, 0),
        ("/photo/mine/1.jpg", 1, 0),
        ("/photo/mine/1.jpg", 1, 4267),
        ("/photo/mine/2.jpg", 1, 4267),
        ("/photo/mine/3.jpg", None, 0),
    ]


def test_the_command_and_python_say_the_same(
    filled: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(filled.url, capsys)
    asked = ("duplicates", "--model", "test/model", "--collection", "mine")
    listed = command(*asked, "--json").json()
    assert [each["differs"] for each in listed] == [
        ["licence"],
        ["time"],
        ["position"],
        ["position", "time"],
    ]
    with geosearch.connect(filled.url) as gs:
        again = gs.duplicates(model="test/model", collection="mine")
    assert [each.photo for each in again] == [each["photo"] for each in listed]
    table = command(*asked, "--limit", 1).out
    assert "bytes" in table
    assert "collections" in table
    assert "1 of 4 shown" in table
    assert "none of 0 pairs" in command(*asked, "--after", "2030-01-01").out


def test_what_cannot_be_asked_is_refused(filled: Database) -> None:
    with pytest.raises(InputError, match="duplicate_distance"):
        find_duplicates(filled, model="test/model", duplicate_distance=0)
    with pytest.raises(NotFoundError):
        find_duplicates(filled, model="test/none")
    with filled.connection() as connection, pytest.raises(InputError, match="apart_m"):
        list_duplicates(connection, apart_m=-1)
