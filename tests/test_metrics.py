"""The figures of an evaluation: known values, and intervals that hold what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from geosearch.evaluation.metrics import (
    CONFIDENCE,
    Interval,
    accuracy,
    bootstrap,
    figures,
    wilson,
)
from geosearch.thresholds import WORLD_KM


def test_figures_of_known_errors() -> None:
    found = accuracy(np.array([0.5, 1.0, 20.0, 100.0, 3000.0]))
    assert found.n == 5
    assert found.within == {1: 0.4, 25: 0.6, 200: 0.8, 750: 0.8, 2500: 0.8}
    assert found.median_km == 20.0
    assert found.mean_km == pytest.approx(624.3)


def test_a_query_without_estimate_is_a_miss_and_has_no_part_in_the_mean() -> None:
    found = figures(np.array([10.0, 20.0, np.inf]))
    assert found.accuracy.within[2500] == pytest.approx(2 / 3)
    assert found.accuracy.median_km == 20.0
    assert found.accuracy.mean_km == 15.0
    assert found.mean_km is not None
    assert found.mean_km.high <= 20.0


def test_most_queries_without_estimate_have_an_infinite_median_that_json_can_say() -> None:
    found = figures(np.array([10.0, np.inf, np.inf]))
    assert found.accuracy.median_km == np.inf
    assert found.median_km == Interval(10.0, np.inf)
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["median_km"] is None
    assert written["intervals"]["median_km"] == [10.0, None]
    assert written["mean_km"] == 10.0


def test_no_queries_have_no_figures() -> None:
    found = figures(np.zeros(0))
    assert found.accuracy.n == 0
    assert (found.median_km, found.mean_km) == (None, None)
    assert set(found.within.values()) == {Interval(0.0, 1.0)}


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_intervals_are_those_of_scipy(counts: tuple[int, int]) -> None:
    hits, n = counts
    expected = stats.binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    found = wilson(hits, n)
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert 0.0 <= found.low <= hits / n <= found.high <= 1.0


def test_with_many_queries_share_intervals_are_those_of_the_bootstrap() -> None:
    hits = np.arange(2000) < 600
    found = wilson(600, 2000)
    drawn = bootstrap(hits.astype(float), lambda rows: rows.mean(axis=1), resamples=4000)
    assert found.low == pytest.approx(drawn.low, abs=0.003)
    assert found.high == pytest.approx(drawn.high, abs=0.003)


def test_no_hits_among_few_queries_leave_room() -> None:
    none = wilson(0, 20)
    assert none.low == 0.0
    assert none.high == pytest.approx(0.161, abs=0.001)  # Wilson: z² / (n + z²)


def test_bootstrap_of_the_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).lognormal(4.0, 1.0, 300)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=2
    ).confidence_interval
    found = bootstrap(values, lambda rows: rows.mean(axis=1), resamples=4000)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high == pytest.approx(expected.high, abs=0.06 * width)


def test_intervals_hold_the_true_figures_as_often_as_they_promise() -> None:
    generator = np.random.default_rng(7)
    sigma, runs = 0.8, 200
    median, mean = np.exp(5.0), np.exp(5.0 + sigma**2 / 2)
    shares = {km: stats.lognorm(sigma, scale=median).cdf(km) for km in WORLD_KM}
    held = {"median": 0, "mean": 0, 25: 0, 200: 0, 750: 0}
    for run in range(runs):
        found = figures(generator.lognormal(5.0, sigma, 100), seed=run)
        assert found.median_km is not None
        assert found.mean_km is not None
        held["median"] += found.median_km.low <= median <= found.median_km.high
        held["mean"] += found.mean_km.low <= mean <= found.mean_km.high
        for km in (25, 200, 750):
            held[km] += found.within[km].low <= shares[km] <= found.within[km].high
    # About three standard errors round 95 %.
    assert {name: count for name, count in held.items() if not 0.90 <= count / runs <= 0.99} == {}


def test_the_same_seed_gives_the_same_intervals() -> None:
    errors = np.random.default_rng(3).exponential(500.0, 80)
    assert figures(errors, seed=1) == figures(errors, seed=1)
    assert figures(errors, seed=1).mean_km != figures(errors, seed=2).mean_km


def test_resampling_in_parts_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = np.random.default_rng(3).exponential(500.0, 80)
    whole = figures(errors)
    monkeypatch.setattr("geosearch.evaluation.metrics._DRAWS_AT_ONCE", 80 * 7)
    assert figures(errors) == whole
