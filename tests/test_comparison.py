"""Two runs on the same queries: matched query by query, and tested as pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.evaluation.metrics import accuracy
from geosearch.localization import Localization
from geosearch.localization.answer_rows import save
from geosearch.report import compare
from geosearch.report.comparison import error_test, threshold_test
from geosearch.thresholds import WORLD_KM
from tests.command_line import CommandLine
from tests.evaluations import add_evaluation, answer

errors = st.one_of(st.floats(0.01, 20_000), st.just(np.inf))
pairs = st.integers(1, 30).flatmap(
    lambda n: st.tuples(arrays(float, n, elements=errors), arrays(float, n, elements=errors))
)


def run(error_km: list[float], photos: list[str] | None = None) -> list[Localization]:
    """Answers so far from truths along the equator."""
    names = photos or [f"/q/{row}.jpg" for row in range(len(error_km))]
    return [
        answer(name, (0.0, float(row)), km, 0.0)
        for row, (name, km) in enumerate(zip(names, error_km, strict=True))
    ]


def store(database: Database, answers: list[Localization]) -> int:
    key = add_evaluation(database)
    with database.connection() as connection:
        save(connection, answers, key)
    return key


def test_mcnemar_by_hand() -> None:
    # 20 queries: 2 within 100 km only in the first run, 9 only in the second, 4 in both.
    first = np.array([50.0] * 2 + [500.0] * 9 + [50.0] * 4 + [500.0] * 5)
    second = np.array([500.0] * 2 + [50.0] * 9 + [50.0] * 4 + [500.0] * 5)
    found = threshold_test(first, second, 100)
    assert (found.only_first, found.only_second) == (2, 9)
    assert found.difference == pytest.approx(7 / 20)
    # Two-sided: (C(11,0) + C(11,1) + C(11,2)) / 2^11, twice.
    assert found.p_value == pytest.approx(2 * (1 + 11 + 55) / 2**11)


def test_without_a_query_that_differs_nothing_is_shown() -> None:
    same = np.array([1.0, 10.0, np.inf])
    found = threshold_test(same, same, 200)
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert found.interval.low < 0 < found.interval.high
    ranks = error_test(same, same)
    assert (ranks.equal, ranks.sign_p_value, ranks.wilcoxon_p_value) == (3, 1.0, 1.0)


@settings(max_examples=25)
@given(pairs)
def test_swapping_the_runs_turns_everything_round(
    runs: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    first, second = runs
    there, back = threshold_test(first, second, 200), threshold_test(second, first, 200)
    assert there.difference == -back.difference
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert (there.only_first, there.p_value) == (back.only_second, back.p_value)
    one, other = error_test(first, second), error_test(second, first)
    assert (one.first_nearer, one.second_nearer) == (other.second_nearer, other.first_nearer)
    assert one.first_nearer + one.second_nearer + one.equal == len(first)
    assert one.wilcoxon_p_value == pytest.approx(other.wilcoxon_p_value)
    assert 0.0 <= one.wilcoxon_p_value <= 1.0


def test_ranks_are_those_of_scipy() -> None:
    generator = np.random.default_rng(4)
    first = generator.lognormal(5, 1, 80)
    second = first * generator.lognormal(0.2, 0.5, 80)
    expected = stats.wilcoxon(np.log(first), np.log(second)).pvalue
    assert error_test(first, second).wilcoxon_p_value == pytest.approx(expected)


def test_a_query_without_estimate_is_farther_than_any_other() -> None:
    found = error_test(np.array([1.0, 19_000.0, np.inf]), np.array([2.0, np.inf, np.inf]))
    assert (found.first_nearer, found.second_nearer, found.equal) == (2, 0, 1)


def test_intervals_hold_the_true_difference_and_tests_rarely_cry_wolf() -> None:
    generator = np.random.default_rng(9)
    held = alarms = 0
    for _ in range(400):
        # Errors of both runs share a part; the second is within 200 km for 8 % more.
        common = generator.uniform(0, 1, 200)
        first = np.where(common + generator.uniform(-0.2, 0.2, 200) < 0.5, 100.0, 900.0)
        second = np.where(common + generator.uniform(-0.2, 0.2, 200) < 0.58, 100.0, 900.0)
        again = np.where(common + generator.uniform(-0.2, 0.2, 200) < 0.5, 100.0, 900.0)
        ends = threshold_test(first, second, 200).interval
        held += ends.low <= 0.08 <= ends.high
        alarms += threshold_test(first, again, 200).p_value < 0.05
    assert 0.92 <= held / 400 <= 0.99
    assert alarms / 400 <= 0.06  # exact, and so on the safe side


def test_queries_are_matched_by_photo_and_truth(database: Database) -> None:
    first = run([1.0, 30.0, 300.0, 3000.0])
    other_truth = answer("/q/2.jpg", (10.0, 10.0), 5.0, 0.0)
    # In another order, one query with another truth, one of its own.
    second = [*run([3000.0, 300.0])[::-1], other_truth, answer("/q/9.jpg", (0.0, 9.0), 1.0, 0.0)]
    keys = [store(database, answers) for answers in (first, second)]
    (found,) = compare(database, keys)
    assert (found.n, found.unmatched_first, found.unmatched_second) == (2, 2, 2)
    np.testing.assert_allclose(found.first_error_km, [1.0, 30.0])
    np.testing.assert_allclose(found.second_error_km, [3000.0, 300.0])
    assert found.first_figures.accuracy == accuracy(found.first_error_km)
    assert (found.errors.first_nearer, found.errors.second_nearer) == (2, 0)


def test_a_photo_that_stands_there_twice_is_two_queries(database: Database) -> None:
    twice = run([1.0, 2.0], ["/q/a.jpg", "/q/a.jpg"])
    twice[1] = replace(twice[1], truth=twice[0].truth)
    keys = [store(database, twice), store(database, twice)]
    (found,) = compare(database, keys)
    assert (found.n, found.unmatched_first, found.errors.equal) == (2, 0, 2)


def test_runs_without_a_common_query_cannot_be_compared(database: Database) -> None:
    keys = [store(database, run([1.0])), store(database, run([1.0], ["/other.jpg"]))]
    with pytest.raises(InputError, match="share no query"):
        compare(database, keys)


def test_the_first_is_compared_with_each_other(database: Database) -> None:
    keys = [store(database, run([km, km])) for km in (10.0, 100.0, 1000.0)]
    assert [(c.first.id, c.second.id) for c in compare(database, keys)] == [
        (keys[0], keys[1]),
        (keys[0], keys[2]),
    ]


def test_a_sweep_is_compared_with_the_one_that_has_the_answers(database: Database) -> None:
    first = store(database, run([10.0, 500.0]))
    with database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.evaluations SET sweep_id = %s WHERE id = %s", (first, first)
        )
    other = add_evaluation(database, sweep_id=first, errors_km=[300.0, 50.0])
    for key in (first, other):
        (found,) = compare(database, [key])
        assert (found.first.id, found.second.id) == (first, other)
        assert found.second_error_km.tolist() == [300.0, 50.0]
    alone = store(database, run([1.0]))
    with pytest.raises(InputError, match="no part of a sweep"):
        compare(database, [alone])


def test_command_prints_tests_and_writes_a_page(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys = [store(database, run([10.0] * 8 + [500.0])), store(database, run([300.0] * 8 + [20.0]))]
    geosearch = CommandLine(database.url, capsys)
    shown = geosearch("compare", *keys)
    assert shown.code == 0
    assert "9 common queries" in shown.out
    expected = compare(database, keys)[0].thresholds[WORLD_KM.index(200)]
    assert f"{100 * expected.difference:+.1f}" in shown.out
    assert f"{expected.p_value:.3f}" in shown.out
    output = tmp_path / "comparison.html"
    ran = geosearch("compare", *keys, "-o", output, "--json")
    (comparison,) = ran.json()["comparisons"]
    assert comparison["n"] == 9
    assert comparison["thresholds"][2] == expected.to_json()
    page = output.read_text("utf-8")
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert "http" not in page
    assert f"Evaluation {keys[0]} against {keys[1]}" in page
    assert f"{expected.p_value:.3f}" in page


def test_several_runs_are_one_table(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, worse = (store(database, run([km] * 12)) for km in (10.0, 300.0, 800.0))
    shown = CommandLine(database.url, capsys)("compare", good, bad, worse).out
    # All twelve queries moved: p = 2 / 2^12, below 0.01.
    assert shown.count("-100.0*") == 5
    assert "+0.0" in shown
