"""Decisions that make positions: what a photo has by them, and what once they are taken back."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import CheckViolation, InsufficientPrivilege, InvalidParameterValue

from geosearch.client import Geosearch
from geosearch.database.collection_rows import (
    ensure_collection,
    set_private,
    set_reviewed_references,
    share,
)
from geosearch.database.connection import Connection, Database
from geosearch.database.copying import copy_embeddings
from geosearch.deletion.photo_moves import correct_positions, move_photos
from geosearch.deletion.record_deletion import delete_answers
from geosearch.errors import InputError, NotFoundError
from geosearch.layers.selection import Selection
from geosearch.localization.answer_rows import save
from geosearch.localization.reviews import decide, list_undecided, undo
from geosearch.retrieval.photo_list import photo_history
from tests.answers import make_answer
from tests.command_line import CommandLine
from tests.rows import add_model, add_photos, fetch

#: Photo 1 is located, 2 has an estimated position, 3 and 4 have none; each has two answers.
SOURCES = ("manifest", "estimated", None, None)
ANSWERS = 2

_STATE = """
SELECT p.id, p.position_source, ST_AsText(p.geom), ST_AsText(p.estimate), p.accuracy_m,
    p.localization_id, e.photo_id IS NOT NULL, q.photo_id IS NOT NULL,
    coalesce(e.geom, q.geom) IS NOT DISTINCT FROM coalesce(p.geom, p.estimate)
FROM geosearch.photos AS p LEFT JOIN geosearch.embeddings AS e ON e.photo_id = p.id
LEFT JOIN geosearch.queries AS q ON q.photo_id = p.id
ORDER BY p.id
"""


def make_photos(connection: Connection) -> None:
    """The photos, embedded, and their answers."""
    photos = add_photos(connection, [10.0] * len(SOURCES), [20.0] * len(SOURCES))
    connection.execute(
        "UPDATE geosearch.all_photos SET position_source = CASE id WHEN 2 THEN 'estimated' END, "
        "estimate = CASE id WHEN 2 THEN geom END, geom = NULL, accuracy_m = 0.1 WHERE id > 1"
    )
    model = add_model(connection, 2)
    keys = [
        photo._replace(geom=None if source is None else photo.geom, reference=number == 0)
        for number, (photo, source) in enumerate(zip(photos, SOURCES, strict=True))
    ]
    copy_embeddings(connection, model, keys, np.ones((len(keys), 2), np.float32))
    for number in range(len(SOURCES)):
        name = f"/photo/test/{number}.jpg"
        places = [(46 + number + 0.1 * way, 8.0) for way in range(ANSWERS)]
        save(connection, [make_answer(lat, lon, photo=name) for lat, lon in places])


@pytest.fixture
def photos(database: Database) -> Database:
    with database.connection() as connection:
        make_photos(connection)
        connection.execute("SELECT geosearch.refresh_coverage()")
    return database


#: Whether somebody waits for a turn.
WAITING = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
)


def answer(photo: int, way: int = 0) -> int:
    """The id of an answer on a photo."""
    return 1 + ANSWERS * (photo - 1) + way


def state(connection: Connection) -> list[Any]:
    """All that is known of positions, and where the embeddings lie."""
    return connection.execute(_STATE).fetchall()


def position(database: Database, photo: int) -> tuple[Any, ...]:
    return fetch(
        database,
        "SELECT position_source, ST_Y(geom), ST_Y(estimate), accuracy_m, localization_id"
        " FROM geosearch.photos WHERE id = %s",
        photo,
    )[0]


def test_an_accepted_place_is_the_photos_and_no_reference(photos: Database) -> None:
    gs = Geosearch(photos)
    with photos.connection() as connection:
        made = decide(connection, answer(3), "accept")
        (change,) = photo_history(connection, 3) or []
    source, reference, apart, accuracy_m, by = position(photos, 3)
    assert (source, reference, apart, by) == ("reviewed", None, made.lat, answer(3))
    assert accuracy_m == pytest.approx(1000 * (gs.load(answer(3)).radius_km[0.9]), rel=1e-6)
    assert change.changed_by == made.recorded_by
    assert (change.review_id, change.run_id) == (made.id, None)
    assert (change.old["lat"], change.new["lat"]) == (None, made.lat)
    assert (change.new["localization_id"], change.new["reference"]) == (answer(3), False)


def test_it_becomes_one_if_asked_for_or_if_the_collection_says_so(photos: Database) -> None:
    coverage = "SELECT sum(photos)::int FROM geosearch.gis_coverage WHERE cell_km > 100"
    with photos.connection() as connection:
        made = decide(connection, answer(3), "move", "47,9", to_accuracy_m=25, as_reference=True)
        set_reviewed_references(connection, "test", True)
        decide(connection, answer(4), "accept")
    assert position(photos, 3) == ("reviewed", 47, None, 25, answer(3))
    assert (made.as_reference, made.accuracy_m) == (True, 25)
    assert position(photos, 4)[2] is None
    assert fetch(photos, coverage) == [(3,)]
    with photos.connection() as connection:
        undo(connection, answer(3))
    assert fetch(photos, coverage) == [(2,)]


def test_a_known_position_is_kept_unless_it_is_to_be_overwritten(photos: Database) -> None:
    known = position(photos, 1)
    with photos.connection() as connection:
        decide(connection, answer(1), "accept")
    assert position(photos, 1) == known
    gs = Geosearch(photos)
    gs.review(answer(1), "move", (47, 9), overwrite=True)
    assert position(photos, 1) == ("reviewed", None, 47, None, answer(1))
    gs.correct_positions(1, 2, ids=[1])
    gs.undo_review(answer(1))
    assert position(photos, 1) == ("corrected", 1, None, None, None)


def test_what_a_run_changes_of_a_reviewed_photo_comes_back_as_it_was(photos: Database) -> None:
    gs = Geosearch(photos)
    with photos.connection() as connection:
        decide(connection, answer(3), "accept")
    reviewed = position(photos, 3)
    run = gs.correct_positions(1, 2, ids=[3]).run_id
    assert run is not None
    gs.undo_run(run)
    assert position(photos, 3) == reviewed
    # As if the run had never been, where reviews came or went meanwhile.
    other = gs.correct_positions(1, 2, ids=[3, 4]).run_id
    assert other is not None
    gs.undo_review(answer(3))
    made = gs.review(answer(4), "accept")
    assert [position(photos, key)[0] for key in (3, 4)] == ["corrected", "corrected"]
    gs.undo_run(other)
    assert position(photos, 3)[:3] == (None, None, None)
    assert position(photos, 4)[::2] == ("reviewed", made.lat, answer(4))
    gs.review(answer(3), "accept")
    delete_answers(photos, Selection((answer(3),)))
    with photos.connection() as connection:
        undo(connection, answer(3))  # its review is there still
    assert position(photos, 3)[:3] == (None, None, None)


def test_an_older_review_does_not_come_back_over_a_correction(photos: Database) -> None:
    gs = Geosearch(photos)
    gs.review(answer(1), "move", (47, 9), overwrite=True)
    gs.correct_positions(1, 2, ids=[1])
    corrected = position(photos, 1)
    gs.review(answer(1, 1), "unsure")
    assert position(photos, 1) == corrected
    second = gs.correct_positions(3, 4, ids=[1]).run_id
    assert second is not None
    gs.undo_run(second)
    assert position(photos, 1) == corrected
    gs.review(answer(1, 1), "move", (48, 9), overwrite=True)
    assert position(photos, 1)[::2] == ("reviewed", 48, answer(1, 1))
    with photos.connection() as connection:
        add_photos(connection, [1.0], [2.0], collection="hidden")
        set_private(connection, "hidden", private=True)
    gs.move_photos("hidden", ids=[1])
    gs.undo_review(answer(1, 1))
    assert position(photos, 1) == corrected


def test_a_review_replaces_nothing_of_a_copy_stored_later(photos: Database) -> None:
    gs = Geosearch(photos)
    gs.review(answer(1), "move", (47, 9), overwrite=True)
    with photos.connection() as connection:
        add_photos(connection, [1.0], [2.0], collection="copies")
        connection.execute(
            "UPDATE geosearch.all_photos SET sha256 ="
            " (SELECT sha256 FROM geosearch.all_photos WHERE id = 1) WHERE id = 5"
        )
    known = position(photos, 5)
    gs.review(answer(1, 1), "unsure")
    assert position(photos, 5) == known


def test_reviews_are_found_after_a_photos_bytes_changed(photos: Database) -> None:
    gs = Geosearch(photos)
    gs.review(answer(3), "move", (47, 9))
    first = position(photos, 3)
    gs.review(answer(3, 1), "move", (48, 9))
    with photos.connection() as connection:
        # As where its position is written into its file.
        connection.execute(
            "UPDATE geosearch.all_photos SET sha256 = sha256('written'::bytea) WHERE id = 3"
        )
        layer = "SELECT localization_id, decision FROM geosearch.gis_unlocated WHERE id = 3"
        assert connection.execute(layer).fetchall() == [(answer(3, 1), "move")]
    gs.undo_review(answer(3, 1))
    assert position(photos, 3) == first
    gs.review(answer(3, 1), "move", (49, 9))
    gs.review(answer(3), "move", (50, 9))
    assert position(photos, 3)[2] == 50


def test_a_public_photo_gets_no_place_from_what_rests_on_private_photos(photos: Database) -> None:
    with photos.connection() as connection:
        add_photos(connection, [1.0], [2.0], collection="hidden")
        set_private(connection, "hidden", private=True)
        connection.execute(
            "UPDATE geosearch.all_localizations SET collection_ids = collection_ids ||"
            " (SELECT id FROM geosearch.all_collections WHERE name = 'hidden') WHERE id = %s",
            (answer(3),),
        )
    gs = Geosearch(photos)
    gs.review(answer(3), "accept")
    assert position(photos, 3)[0] is None
    gs.review(answer(3), "move", (47, 9))  # which the reviewer knows
    assert position(photos, 3)[::2] == ("reviewed", 47, answer(3))


def test_rights_count_when_a_decision_is_recorded(photos: Database) -> None:
    def record(connection: Connection, role: str, key: int, **options: Any) -> None:
        connection.execute(f"SET LOCAL ROLE {role}")
        decide(connection, key, "move", (47, 9), **options)

    with photos.connection() as connection:
        connection.execute("CREATE ROLE decider IN ROLE geosearch_analyst, geosearch_ingester")
    try:
        with photos.connection() as connection:
            record(connection, "decider", answer(1), overwrite=True)
        with photos.connection() as connection:
            record(connection, "decider", answer(3), as_reference=True)
        with photos.connection() as connection:
            connection.execute("REVOKE geosearch_ingester FROM decider")
        gs = Geosearch(photos)
        for photo in (1, 3):
            before = position(photos, photo)
            gs.review(answer(photo, 1), "unsure")
            assert position(photos, photo) == before
            assert before[0] == "reviewed"
        assert position(photos, 3)[1] == 47
        rest = "localization_id, answer_id, photo_uri, photo_sha256, decision, point, shown"
        for statement in (
            f"INSERT INTO geosearch.reviews ({rest}, as_reference) SELECT {rest}, true"  # noqa: S608
            " FROM geosearch.reviews LIMIT 1",
            f"INSERT INTO geosearch.reviews ({rest}, overwrite) SELECT {rest}, true"  # noqa: S608
            " FROM geosearch.reviews LIMIT 1",
            "UPDATE geosearch.reviews SET overwrite = true, as_reference = true",
        ):
            with photos.connection() as connection:
                connection.execute("SET LOCAL ROLE decider")
                with pytest.raises(InsufficientPrivilege):
                    connection.execute(statement)
    finally:
        with photos.connection() as connection:
            connection.execute("DROP ROLE decider")


@pytest.mark.parametrize("accuracy_m", [float("inf"), float("nan"), -1.0])
def test_an_accuracy_is_finite(photos: Database, accuracy_m: float) -> None:
    with pytest.raises(InputError):
        Geosearch(photos).review(answer(3), "move", (47, 9), to_accuracy_m=accuracy_m)
    with photos.connection() as connection, pytest.raises(InvalidParameterValue):
        connection.execute(
            "SELECT geosearch.review(%s, 'move', ST_SetSRID(ST_Point(9, 47), 4326),"
            " accuracy_m => %s::real)",
            (answer(3), accuracy_m),
        )
    Geosearch(photos).review(answer(3), "move", (47, 9), to_accuracy_m=1)
    for table in ("all_reviews", "all_photos"):
        with photos.connection() as connection, pytest.raises(CheckViolation):
            connection.execute(f"UPDATE geosearch.{table} SET accuracy_m = %s", (accuracy_m,))  # noqa: S608


@pytest.mark.parametrize("then", ["undo", "unsure"])
def test_on_another_shelf_a_photo_gets_back_what_it_had(photos: Database, then: str) -> None:
    gs = Geosearch(photos)
    known = position(photos, 1)
    gs.review(answer(1), "move", (47, 9), overwrite=True)
    reviewed = position(photos, 1)
    with photos.connection() as connection:
        add_photos(connection, [1.0], [2.0], collection="hidden")
        set_private(connection, "hidden", private=True)
    gs.move_photos("hidden", ids=[1])
    gs.review(answer(1, 1), "unsure")
    assert position(photos, 1) == reviewed
    gs.undo_review(answer(1)) if then == "undo" else gs.review(answer(1), "unsure")
    assert position(photos, 1) == known


def test_a_reviewed_photo_keeps_its_place_if_nothing_says_what_was_before(
    photos: Database,
) -> None:
    gs = Geosearch(photos)
    gs.review(answer(3), "move", (47, 9))
    with photos.connection() as connection:
        connection.execute("DELETE FROM geosearch.all_photo_changes")
    gs.undo_review(answer(3))
    assert position(photos, 3)[::2] == ("reviewed", 47, answer(3))


def test_readers_and_analysts_do_what_they_may(photos: Database) -> None:
    with photos.connection() as connection:
        set_private(connection, "test", private=True)
    with photos.connection() as connection:
        add_photos(connection, [1.0], [2.0], collection="open")
        connection.execute(
            "UPDATE geosearch.all_photos SET geom = NULL, position_source = NULL,"
            " sha256 = (SELECT sha256 FROM geosearch.all_photos WHERE id = 3) WHERE id = 5"
        )
        # An answer on a public copy of a private photo, and its review by one who sees that alone.
        connection.execute(
            "UPDATE geosearch.all_localizations SET collection_ids = '{}' WHERE id = %s",
            (answer(3),),
        )
    with photos.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        with pytest.raises(NotFoundError):
            decide(connection, answer(4), "accept")  # which she does not see
        with pytest.raises(InsufficientPrivilege):
            connection.execute(
                "INSERT INTO geosearch.reviews (localization_id, answer_id, photo_uri,"
                " photo_sha256, decision, point, shown) SELECT %s, %s, uri, sha256, 'move',"
                " ST_SetSRID(ST_Point(1, 2), 4326), '{}' FROM geosearch.photos",
                (answer(4), answer(4)),
            )
    with photos.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        decide(connection, answer(3), "accept")
    assert position(photos, 5)[0] == "reviewed"
    assert position(photos, 3)[0] is None
    refused: list[tuple[str, Any]] = [
        ("analyst", {"as_reference": True}),
        ("analyst", {"overwrite": True}),
        ("reader", {}),
    ]
    for role, options in refused:
        with photos.connection() as connection:
            connection.execute(f"SET LOCAL ROLE geosearch_{role}")
            with pytest.raises(InsufficientPrivilege):
                decide(connection, answer(3), "accept", **options)
    with photos.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_owner")
        decide(connection, answer(3), "move", "47,9", as_reference=True)
    assert [position(photos, key)[1] for key in (3, 5)] == [47, 47]


# ---- taken back, in any order -------------------------------------------------------------------

#: Those who review, and whether they may make references.
ROLES = {"geosearch_analyst": False, "geosearch_owner": True}

Step = tuple[str, int, int, Any, bool, bool]
steps = st.lists(
    st.tuples(
        st.sampled_from([*ROLES]),
        st.integers(1, len(SOURCES)),
        st.integers(0, ANSWERS - 1),
        st.sampled_from(["accept", "move", "reject", "unsure", "undo", "undo"]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=14,
)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def expected(photo: int, reviews: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The review that a photo has its place by."""
    latest = {(each["answer"], each["by"]): each for each in reviews if each["photo"] == photo}
    known = SOURCES[photo - 1] == "manifest"
    placing = [each for each in latest.values() if each["lat"] is not None]
    allowed = [each for each in placing if not known or each["overwrite"]]
    return max(allowed, key=lambda each: each["id"], default=None)


@settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])
@given(steps=steps, order=st.randoms(use_true_random=False))
def test_a_photo_has_what_the_decisions_say_and_all_taken_back_what_it_had(
    module_database: Database, steps: list[Step], order: Any
) -> None:
    if not fetch(module_database, "SELECT FROM geosearch.photos"):
        with module_database.connection() as connection:
            make_photos(connection)
    with (
        module_database.connection() as connection,
        connection.transaction(force_rollback=True),
    ):
        initial = state(connection)
        reviews: list[dict[str, Any]] = []
        noted = dict.fromkeys(range(1, len(SOURCES) + 1), 0)

        def act(role: str, work: Callable[[], Any]) -> Any:
            connection.execute(f"SET LOCAL ROLE {role}")
            try:
                return work()
            finally:
                connection.execute("RESET ROLE")

        def take_back(role: str, key: int) -> None:
            own = [each for each in reviews if (each["answer"], each["by"]) == (key, role)]
            if own:
                assert act(role, lambda: undo(connection, key)) == own[-1]["id"]
                reviews.remove(own[-1])

        for role, photo, way, decision, as_reference, overwrite in steps:
            key, before = answer(photo, way), state(connection)
            if decision == "undo":
                take_back(role, key)
            else:
                places = decision in ("accept", "move")
                placing = {"as_reference": as_reference, "overwrite": overwrite}
                options: Any = placing if places and ROLES[role] else {}
                to = (50.0, float(len(reviews))) if decision == "move" else None
                made = act(
                    role,
                    lambda: decide(connection, key, decision, to, **options),  # noqa: B023
                )
                reviews.append(
                    {"id": made.id, "answer": key, "by": role, "photo": photo, "lat": made.lat}
                    | {"overwrite": options.get("overwrite", False)}
                    | {"reference": options.get("as_reference", False)}
                )
            now = state(connection)
            wanted = expected(photo, reviews)
            row = now[photo - 1]
            assert row[8], "the embedding is where the photo is"
            assert row[6] == (row[2] is not None)
            assert row[6] != row[7]
            if wanted is None:
                assert row == initial[photo - 1]
            else:
                assert (row[1], row[5]) == ("reviewed", wanted["answer"])
                assert (row[2] is not None) == wanted["reference"]
            # Each change has its row, and each row leads to the next.
            changes = photo_history(connection, photo) or []
            assert len(changes) - noted[photo] == (now != before)
            noted[photo] = len(changes)
            assert [_plain(c.new) for c in changes[:-1]] == [_plain(c.old) for c in changes[1:]]
        for _ in range(len(reviews)):
            left = order.choice(reviews)
            take_back(left["by"], left["answer"])
        assert state(connection) == initial


def test_the_command_line_places_photos(
    photos: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    geosearch = CommandLine(photos.url, capsys)
    moved = geosearch(
        *("review", "move", answer(3), "--to", "46.5,7.5", "--to-accuracy-m", 30, "--as-reference")
    )
    assert moved.code == 0, moved.err
    kept = geosearch("review", "accept", answer(1))
    assert ["no stored photo has that place" in ran.err for ran in (moved, kept)] == [False, True]
    shown = geosearch("photos", "show", 3, "--json").json()
    assert (shown["lat"], shown["accuracy_m"], shown["localization_id"]) == (46.5, 30, answer(3))
    assert "review 1" in geosearch("photos", "show", 3).out
    assert geosearch("collections", "reviewed", "test", "--as-references", "--json").code == 0
    (listed,) = geosearch("collections", "list", "--json").json()
    assert listed["reviewed_references"] is True
    # Those reviewed before follow, and back; what was to be a reference anyhow stays one.
    geosearch("review", "move", answer(4), "--to", "46.5,7.5")
    for option, photos_changed, column in (("--apart", 1, "apart"), ("--as-references", 1, "ref")):
        ran = geosearch("collections", "reviewed", "test", option)
        assert ran.out.endswith(f"; {photos_changed} photo of those reviewed before\n")
        assert column in geosearch("collections", "list").out
        assert position(photos, 3)[1] == 46.5
        assert position(photos, 4)[1] == (None if column == "apart" else 46.5)
    geosearch("review", "undo", answer(3))
    assert geosearch("photos", "list", "--unlocated", "--id", 3, "--json").json() != []


def make_probable(database: Database) -> None:
    """Of photo 2 the latest answer is 0.97 sure to 1 km, of 3 0.5, of 4 none is calibrated."""
    shares = {answer(2, 1): 0.97, answer(3, 1): 0.5}
    with database.connection() as connection:
        for key, share in shares.items():
            connection.execute(
                "UPDATE geosearch.all_localizations SET probability_within_km ="
                " jsonb_build_object('0.5', %s::float8, '25', 1), confident = true WHERE id = %s",
                (share, key),
            )


def test_probable_answers_are_accepted_at_once(
    photos: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    make_probable(photos)
    geosearch = CommandLine(photos.url, capsys)
    asked = ("review", "accept", "--min-probability", 0.95, "--at-most-km", 1)
    assert geosearch(*asked, "--dry-run", "--json").json()["answers"] == 1
    refused = geosearch(*asked)
    assert refused.code == 2
    assert "would accept 1 answer," in refused.err
    assert geosearch("review", "list").out.startswith("nothing")
    with photos.connection() as connection:
        connection.execute("UPDATE geosearch.all_localizations SET calibration_fits = 'no'")
    assert geosearch(*asked, "--dry-run", "--json").json()["answers"] == 0
    with photos.connection() as connection:
        connection.execute("UPDATE geosearch.all_localizations SET calibration_fits = 'yes'")
    probable = Geosearch(photos).accept_probable(min_probability=0.95, at_most_km=1, dry_run=True)
    assert probable.answers == 1
    done = geosearch(*asked, "--yes", "--collection", "test", "--as-reference", "--json").json()
    assert (done["answers"], done["dry_run"]) == (1, False)
    assert position(photos, 2)[0::4] == ("reviewed", answer(2, 1))
    assert fetch(
        photos, "SELECT sum(photos)::int FROM geosearch.gis_coverage WHERE cell_km > 100"
    ) == [(2,)]
    assert geosearch(*asked, "--dry-run", "--json").json()["answers"] == 0
    assert geosearch(*asked, answer(3)).code == 2
    assert geosearch("review", "accept").code == 2


def test_answers_are_decided_on_one_by_one(
    photos: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in the middle first; an error is said, and asked about again."""
    make_probable(photos)
    with photos.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_localizations SET calibration_fits = 'no' WHERE id = %s",
            (answer(3, 1),),
        )
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    monkeypatch.setattr("geosearch.export.map.draw_map", lambda _answer, path, _: path.touch())
    keys = ["o", "x", "m", "here", "m", "47,9", "u", "s", "", "a"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(keys)))
    ran = CommandLine(photos.url, capsys)("review", "--collection", "test")
    assert ran.code == 0, ran.err
    asked = [line.split(":")[0] for line in ran.out.splitlines() if line.startswith("answer ")]
    assert asked == [f"answer {answer(key, 1)}" for key in (3, 2, 3, 2, 4)]
    assert "97% sure to 1 km, 90 % within" in ran.out
    assert "50% sure to 1 km, by a calibration that does not hold for it, 90 % within" in ran.out
    assert "uncalibrated" in ran.out
    assert len(opened) == 1
    assert [position(photos, key)[0] for key in (2, 3, 4)] == ["estimated", None, "reviewed"]


# ---- the layer that is edited -------------------------------------------------------------------


def edit(connection: Connection, role: str, what: str, photo: int) -> int:
    """Rows that an edit in a GIS, as a role, changed."""
    connection.execute(f"SET LOCAL ROLE geosearch_{role}")
    return connection.execute(
        f"UPDATE geosearch.gis_unlocated SET {what} WHERE id = %s",  # noqa: S608
        (photo,),
    ).rowcount


def test_moving_a_point_of_the_layer_is_the_correction(photos: Database) -> None:
    with photos.connection() as connection:
        layer = "SELECT id, localization_id, decision, ST_Y(geom) FROM geosearch.gis_unlocated"
        before = connection.execute(f"{layer} ORDER BY id").fetchall()
        assert [row[:3] for row in before] == [(n, answer(n, 1), None) for n in (2, 3, 4)]
        assert before[0][3] == 10  # its own estimate goes before the answer
        moved = "geom = ST_SetSRID(ST_Point(9, 47), 4326), remark = 'the quay'"
        assert edit(connection, "analyst", moved, 3) == 1
        assert edit(connection, "analyst", "decision = 'accept'", 2) == 1
        assert edit(connection, "analyst", "decision = 'reject'", 4) == 1
    with photos.connection() as connection:
        assert connection.execute(
            "SELECT decision, remark, recorded_by FROM geosearch.reviews ORDER BY id"
        ).fetchall() == [
            ("move", "the quay", "geosearch_analyst"),
            ("accept", None, "geosearch_analyst"),
            ("reject", None, "geosearch_analyst"),
        ]
        assert [row[2] for row in connection.execute(f"{layer} ORDER BY id")] == [
            *("accept", "move", "reject")
        ]
    assert position(photos, 3) == ("reviewed", None, 47, None, answer(3, 1))
    assert position(photos, 2)[0] == "reviewed"
    with photos.connection() as connection:
        assert edit(connection, "analyst", "decision = NULL", 3) == 1
    assert position(photos, 3)[0] is None


@pytest.mark.parametrize(
    ("role", "what", "error"),
    [
        ("reader", "geom = ST_SetSRID(ST_Point(9, 47), 4326)", InsufficientPrivilege),
        ("analyst", "uri = 'x'", InsufficientPrivilege),
        ("owner", "uri = 'x'", InvalidParameterValue),
        ("analyst", "decision = 'perhaps'", InvalidParameterValue),
    ],
)
def test_what_may_not_be_edited_is_refused(
    photos: Database, role: str, what: str, error: type[Exception]
) -> None:
    with photos.connection() as connection, pytest.raises(error):
        edit(connection, role, what, 3)


def test_what_one_does_not_see_is_not_edited(photos: Database) -> None:
    with photos.connection() as connection:
        set_private(connection, "test", private=True)
    move = "geom = ST_SetSRID(ST_Point(9, 47), 4326)"
    with photos.connection() as connection:
        assert edit(connection, "analyst", move, 3) == 0
    with photos.connection() as connection:
        assert edit(connection, "owner", move, 3) == 1
    assert position(photos, 3)[2] == 47


def test_what_another_decided_is_not_taken_back(photos: Database) -> None:
    gs = Geosearch(photos)
    gs.review(answer(3, 1), "move", (47, 9))
    for what in ("decision = NULL", "geom = NULL"):
        with photos.connection() as connection, pytest.raises(InvalidParameterValue):
            edit(connection, "analyst", what, 3)
    assert position(photos, 3)[0] == "reviewed"


# ---- times, answers to choose from, and many taken back -----------------------------------------


def test_the_clock_of_a_reviewed_photo_is_that_of_the_place_until_it_is_taken_back(
    photos: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also by an analyst, who writes no photos; and in a session after a decision in SQL."""
    with photos.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_photos SET taken_at = '2026-07-01 12:00Z',"
            " taken_at_zone = CASE id WHEN 1 THEN 'position' ELSE 'assumed' END"
        )

    def times() -> list[tuple[str, str]]:
        return fetch(
            photos,
            "SELECT to_char(taken_at AT TIME ZONE 'UTC', 'HH24:MI'), taken_at_zone"
            " FROM geosearch.photos ORDER BY id",
        )

    before = times()
    with photos.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        connection.execute("SELECT geosearch.review(%s, 'accept')", (answer(4),))
        decide(connection, answer(3), "move", "47,8")  # two hours before UTC in summer
    assert times()[2:] == [("10:00", "position"), before[3]]
    CommandLine(photos.url, capsys)("review")
    assert times()[2:] == [("10:00", "position"), ("10:00", "position")]
    gs = Geosearch(photos)
    gs.review(answer(3, 1), "move", (47.0, 139.0))  # nine hours, and the same clock
    # Of a known position, which was on a clock of its own: (10, 20), an hour before UTC.
    gs.review(answer(1), "move", (47, 8), overwrite=True)
    assert [times()[n] for n in (0, 2)] == [("11:00", "position"), ("03:00", "position")]
    with photos.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        undo(connection, answer(3))
        undo(connection, answer(4))
    assert times()[2:] == [("03:00", "position"), before[3]]
    for key in (answer(3, 1), answer(1)):
        gs.undo_review(key)
    assert times() == before
    with photos.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        connection.execute("SELECT geosearch.settle_time(3, '2000-01-01', 'position')")
        connection.execute("SELECT geosearch.settle_time(1, '2026-07-01 13:00Z', 'position')")
    assert times() == before


def test_the_clock_of_a_private_photo_is_set_by_those_alone_who_may_write_there(
    photos: Database,
) -> None:
    with photos.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_photos SET taken_at = '2026-07-01 12:00Z',"
            " taken_at_zone = 'assumed'"
        )
        connection.execute("CREATE ROLE shown IN ROLE geosearch_analyst")
    try:
        with photos.connection() as connection:
            set_private(connection, "test", private=True)
            share(connection, "test", "shown")
            connection.execute("SELECT geosearch.review(%s, 'accept')", (answer(3),))
        taken = "SELECT extract(hour FROM taken_at AT TIME ZONE 'UTC') FROM geosearch.photos"
        settle = "SELECT geosearch.settle_time(3, '2026-07-01 10:00Z', 'position')"
        with photos.connection() as connection:
            connection.execute("SET LOCAL ROLE shown")
            connection.execute(settle)
            assert connection.execute(f"{taken} WHERE id = 3").fetchone() == (12,)
        with photos.connection() as connection:
            connection.execute(settle)
            assert connection.execute(f"{taken} WHERE id = 3").fetchone() == (10,)
    finally:
        with photos.connection() as connection:
            connection.execute("DROP OWNED BY shown; DROP ROLE shown")


def test_the_coverage_is_true_whoever_decides(photos: Database) -> None:
    rows = "SELECT cell, photos, geom FROM geosearch.coverage ORDER BY cell"
    with photos.connection() as connection:
        set_reviewed_references(connection, "test", True)
        before = connection.execute(rows).fetchall()
    poles = ((answer(2), (90, 180)), (answer(3), (-90, -180)), (answer(4), (10, 20)))
    with photos.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        for key, place in poles:
            decide(connection, key, "move", place)
    with photos.connection() as connection:
        counted = connection.execute(rows).fetchall()
        assert len(counted) == len(before) + 4
        assert sum(row[1] for row in counted) == sum(row[1] for row in before) + 6
        connection.execute("SELECT geosearch.refresh_coverage()")
        assert connection.execute(rows).fetchall() == counted
    with photos.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        for key, _ in poles:
            undo(connection, key)
    assert fetch(photos, rows) == before


def test_the_answer_to_decide_on_is_that_which_rests_on_most_until_one_is_decided(
    photos: Database,
) -> None:
    believed = {answer(3): ("picture", "timeline"), answer(3, 1): ("picture",)}
    with photos.connection() as connection:
        for key, kinds in believed.items():
            connection.execute(
                "UPDATE geosearch.all_localizations SET evidence ="
                " jsonb_build_object('believed', jsonb_object(%s, %s)) WHERE id = %s",
                ([*kinds], ["1"] * len(kinds), key),
            )
        connection.execute(
            "UPDATE geosearch.all_localizations SET confident = true,"
            " probability_within_km = '{\"1\": 0.97}' WHERE id IN (%s, %s)",
            (answer(3), answer(3, 1)),
        )
    gs, layer = (
        Geosearch(photos),
        "SELECT localization_id FROM geosearch.gis_unlocated WHERE id = 3",
    )

    def waiting() -> int | None:
        with photos.connection() as connection:
            listed = list_undecided(connection, at_most_km=1)
        return next((one.localization_id for one in listed if one.photo.endswith("/2.jpg")), None)

    assert (waiting(), fetch(photos, layer)) == (answer(3), [(answer(3),)])
    gs.review(answer(3, 1), "reject")  # as on the page: nothing is asked about the photo then
    assert (waiting(), fetch(photos, layer)) == (None, [(answer(3, 1),)])
    with photos.connection() as connection:
        (newer,) = save(connection, [make_answer(49, 8, photo="/photo/test/2.jpg")])
    assert (waiting(), fetch(photos, layer)) == (newer, [(newer,)])
    gs.undo_review(answer(3, 1))
    accepted = gs.accept_probable(min_probability=0.95, at_most_km=1)
    assert (accepted.answers, position(photos, 3)[4]) == (1, answer(3))


def test_a_bulk_is_taken_back_at_once_and_nothing_else(
    photos: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    make_probable(photos)
    geosearch = CommandLine(photos.url, capsys)
    geosearch("review", "accept", answer(4))
    bulk = geosearch("review", "accept", "--min-probability", 0.4, "--at-most-km", 1, "--yes")
    assert "accepted 2 answers" in bulk.out
    words = bulk.err.split()
    back = words[words.index("review") :]
    geosearch("review", "reject", answer(1))
    with photos.connection() as connection:  # by another, meanwhile
        connection.execute(
            "UPDATE geosearch.all_reviews SET recorded_by = 'ann' WHERE answer_id = %s",
            (answer(2, 1),),
        )
    assert geosearch(*back, "--dry-run").out == "would take back 1 decision\n"
    assert geosearch(*back).code == 2
    assert geosearch(*back, "--yes", "--json").json()["reviews"] == 1
    assert [position(photos, key)[0] for key in (2, 3, 4)] == ["reviewed", None, "reviewed"]
    assert geosearch("review", "undo", "--since", "2026-01-01", "--dry-run", "--json").json() == {
        **{"reviews": 2, "dry_run": True, "written": []}
    }
    assert Geosearch(photos).undo_reviews(since="2999-01-01").reviews == 0
    for wrong in ((), (answer(4), "--since", "2026-01-01"), (answer(4), "--dry-run")):
        assert geosearch("review", "undo", *wrong).code == 2


def decide_beside(photos: Database, other: Callable[[], object]) -> None:
    """Decide on photos 3 and 4 in one transaction; another begins in between, who has to wait."""
    with ThreadPoolExecutor(1) as threads, photos.own_connection() as mine:
        decide(mine, answer(3, 1), "accept", as_reference=True)
        done = threads.submit(other)
        while not fetch(photos, WAITING):
            assert not done.done()
        decide(mine, answer(4, 1), "accept", as_reference=True)
        mine.commit()
        done.result()


def test_who_decides_on_several_photos_at_once_with_another_waits_and_goes_on(
    photos: Database,
) -> None:
    def others() -> None:
        with photos.connection() as connection:
            for key in (answer(4), answer(3)):
                decide(connection, key, "accept", as_reference=True)

    decide_beside(photos, others)
    assert [position(photos, key)[4] for key in (3, 4)] == [answer(3), answer(4, 1)]


@pytest.mark.parametrize("to", ["position", "collection"])
def test_who_moves_photos_waits_for_who_decides_on_many(photos: Database, to: str) -> None:
    def move() -> None:
        if to == "position":
            correct_positions(photos, ids=[2, 4], to="1,2")
        else:
            move_photos(photos, ids=[2, 4], to="elsewhere")

    with photos.connection() as connection:
        ensure_collection(connection, "elsewhere")
    decide_beside(photos, move)
    assert position(photos, 4)[0] == ("corrected" if to == "position" else "reviewed")


def test_a_session_takes_back_what_was_decided_before_it_and_says_how_it_ended(
    photos: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gs = Geosearch(photos)
    gs.review(answer(3, 1), "accept")
    gs.review(answer(4, 1), "reject")
    monkeypatch.setattr("sys.stdin", io.StringIO("u\nu\nu\na\n"))
    ran = CommandLine(photos.url, capsys)("review")
    assert ran.code == 0
    taken = [line for line in ran.out.splitlines() if line.startswith(" taken back: ")]
    assert [line.split(": ")[1].split("/")[-1] for line in taken] == ["3.jpg", "2.jpg"]
    assert "nothing left of what you decided" in ran.err
    assert "Aborted" not in ran.err
    assert ran.out.endswith("1 decided, 2 left for later\n")
    assert [position(photos, key)[0] for key in (2, 3, 4)] == ["estimated", "reviewed", None]
