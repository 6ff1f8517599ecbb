"""Coverage, reliability and doubt: by hand, and on answers whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from geosearch.evaluation.metrics import wilson
from geosearch.report.reliability import coverage, doubts, reliability


def test_reliability_by_hand() -> None:
    found = reliability(np.array([0.1, 0.1, 0.9, 0.9, np.nan]), np.array([0, 1, 1, 1, 0], bool))
    assert found is not None
    assert found.n == 4
    assert found.share == 0.75
    assert found.brier == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    assert found.brier_of_share == pytest.approx(0.75 * 0.25)
    assert [(item.n, item.hits) for item in found.bins] == [(2, 1), (2, 2)]
    assert found.calibration_error == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)


def test_saying_the_share_always_is_calibrated_and_no_better_than_the_share() -> None:
    happened = np.arange(40) < 10
    found = reliability(np.full(40, 0.25), happened)
    assert found is not None
    assert found.calibration_error == pytest.approx(0.0)
    assert found.brier == pytest.approx(found.brier_of_share)


@given(st.integers(1, 50).flatmap(lambda n: arrays(float, n, elements=st.floats(0, 1))))
def test_every_probability_is_in_one_bin_that_holds_it(probability: NDArray[np.float64]) -> None:
    found = reliability(probability, probability > 0.5)
    assert found is not None
    assert sum(item.n for item in found.bins) == len(probability)
    assert all(item.low - 1e-12 <= item.predicted <= item.high + 1e-12 for item in found.bins)
    assert 0.0 <= found.calibration_error <= 1.0


def test_true_probabilities_are_found_reliable_and_boasts_are_not() -> None:
    generator = np.random.default_rng(5)
    true = generator.uniform(0, 1, 5000)
    happened = generator.uniform(0, 1, 5000) < true
    honest, boasting = reliability(true, happened), reliability(np.sqrt(true), happened)
    assert honest is not None
    assert boasting is not None
    assert honest.calibration_error < 0.02
    # The mean of sqrt(u) - u over 0 to 1 is 1/6.
    assert boasting.calibration_error == pytest.approx(1 / 6, abs=0.02)
    assert honest.brier < boasting.brier
    inside = [
        wilson(item.hits, item.n).low <= item.predicted <= wilson(item.hits, item.n).high
        for item in honest.bins
    ]
    assert sum(inside) >= 8


def test_uniform_truth_levels_are_covered_as_promised() -> None:
    for item in coverage(np.random.default_rng(2).uniform(0, 1, 2000), (0.5, 0.9)):
        assert item.interval.low <= item.level <= item.interval.high


def test_catches_and_false_alarms_by_hand() -> None:
    confident = np.array([1, 1, 0, 0, 0, np.nan])
    (found,) = doubts(confident, np.array([10.0, 900.0, 20.0, 800.0, np.inf, 5.0]), (200,))
    assert (found.good, found.false_alarms) == (2, 1)
    assert (found.bad, found.caught) == (3, 2)
    assert found.to_json()["catch_rate"] == pytest.approx(2 / 3)
    assert doubts(np.full(3, np.nan), np.zeros(3), (200,)) == []
