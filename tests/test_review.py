"""Decisions on answers: by Python, SQL and the command line; whose they are; taken back."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.errors import InsufficientPrivilege

from geosearch.database.connection import Database
from geosearch.deletion.record_deletion import delete_answers
from geosearch.errors import InputError, NotFoundError
from geosearch.layers.selection import Selection
from geosearch.localization.answer_rows import save
from geosearch.localization.reviews import decide, list_reviews, undo
from tests.answers import make_answer, unanswered
from tests.command_line import CommandLine


@pytest.fixture
def answer(database: Database) -> int:
    with database.connection() as connection:
        return save(connection, [make_answer([46.0, 46.1], [8.0, 8.1])])[0]


def test_a_decision_keeps_the_place_and_what_was_shown(database: Database, answer: int) -> None:
    with database.connection() as connection:
        accepted = decide(connection, answer, "accept", remark="the lake")
        moved = decide(connection, answer, "move", to="47,9.5")
        rejected = decide(connection, answer, "reject")
        assert list_reviews(connection, answer) == [accepted, moved, rejected]
        estimate = connection.execute(
            "SELECT ST_Y(estimate), ST_X(estimate) FROM geosearch.localizations"
        ).fetchone()
    assert (accepted.lat, accepted.lon) == estimate
    assert (accepted.shown["lat"], accepted.shown["lon"]) == estimate
    assert accepted.remark == "the lake"
    assert (moved.lat, moved.lon) == (47, 9.5)
    assert (rejected.lat, rejected.lon) == (None, None)


def test_undo_takes_back_the_latest_first(database: Database, answer: int) -> None:
    with database.connection() as connection:
        first, second = (decide(connection, answer, "unsure").id for _ in range(2))
        assert [undo(connection, answer), undo(connection, answer)] == [second, first]
        with pytest.raises(NotFoundError, match="decided nothing"):
            undo(connection, answer)


@pytest.mark.parametrize(
    ("decision", "to", "words"),
    [
        ("perhaps", None, "decision is perhaps"),
        ("move", None, "no point"),
        ("accept", (1, 2), "a point"),
        ("move", (91, 0), "not on the Earth"),
        ("move", "here", "to: expected lat,lon"),
    ],
)
def test_what_is_no_decision_is_refused(
    database: Database, answer: int, decision: Any, to: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words), database.connection() as connection:
        decide(connection, answer, decision, to)
    with database.connection() as connection:
        assert list_reviews(connection) == []


def test_nothing_is_decided_without_an_answer_or_an_estimate(database: Database) -> None:
    with database.connection() as connection:
        (empty,) = save(connection, [unanswered()])
    with pytest.raises(InputError, match="no estimate"), database.connection() as connection:
        decide(connection, empty, "accept")
    with (
        pytest.raises(NotFoundError, match="no answer 99"),
        database.connection() as connection,
    ):
        decide(connection, 99, "reject")


def test_a_review_outlives_its_answer(database: Database, answer: int) -> None:
    with database.connection() as connection:
        decide(connection, answer, "accept")
    delete_answers(database, Selection((answer,)))
    with database.connection() as connection:
        (left,) = list_reviews(connection)
    assert left.localization_id is None
    assert left.photo == "/photos/query.jpg"
    assert left.shown["lat"] == left.lat


def test_analysts_decide_each_for_herself_and_readers_do_not(
    database: Database, answer: int
) -> None:
    with database.connection() as connection:
        decide(connection, answer, "accept")
        connection.execute("SET ROLE geosearch_analyst")
        with pytest.raises(NotFoundError, match="decided nothing"):
            undo(connection, answer)
        own = decide(connection, answer, "reject")
        assert own.recorded_by == "geosearch_analyst"
        assert len(list_reviews(connection, answer)) == 2
        assert undo(connection, answer) == own.id
        connection.execute("RESET ROLE")
    with database.connection() as connection:
        connection.execute("SET LOCAL ROLE geosearch_reader")
        with pytest.raises(InsufficientPrivilege):
            decide(connection, answer, "accept")


def test_the_command_line_says_what_was_decided(
    database: Database, answer: int, capsys: pytest.CaptureFixture[str]
) -> None:
    geosearch = CommandLine(database.url, capsys)
    moved = geosearch("review", "move", answer, "--to", "46.5,7.5", "--remark", "a bridge")
    assert "move at 46.50000,7.50000" in moved.out
    assert "a bridge" in geosearch("review", "list").out
    (listed,) = geosearch("review", "list", "--id", answer, "--json").json()
    assert listed["decision"] == "move"
    assert "taken back" in geosearch("review", "undo", answer).out
    for words in (("reject",), ("unsure",), ("move", "--to", "46.5,7.5")):
        decided = geosearch("review", words[0], answer, *words[1:], "--json").json()
        assert decided["decision"] == words[0]
    wrong = geosearch("review", "move", answer, "--to", "here")
    assert (wrong.code, "--to: expected lat,lon" in wrong.err) == (2, True)
