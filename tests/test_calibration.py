"""Calibration: levels that hold, a density that fits, absence that is noticed, and its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from geosearch.calibration import Calibration, Fits, Fitted
from geosearch.calibration.calibration_figures import measure
from geosearch.calibration.calibration_fit import fit
from geosearch.calibration.calibration_rows import (
    find_calibration,
    list_calibrations,
)
from geosearch.calibration.calibration_rows import save as save_calibration
from geosearch.calibration.evidence import FEATURES, evidence
from geosearch.calibration.fitted import Kind
from geosearch.calibration.kernels import COMPONENTS, STARTS, Truths, fit_kernels, log_density
from geosearch.calibration.labelled_example import Example, calibrated
from geosearch.calibration.presence import Presence, threshold
from geosearch.calibration.prior import Prior, log_prior
from geosearch.calibration.summit import at_summit, sharpened
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.deletion.record_deletion import delete_calibration
from geosearch.density import Mode, Place, locate
from geosearch.density.level_correction import NOMINAL, LevelMap
from geosearch.errors import InputError, ModelError, NotFoundError
from geosearch.evaluation.calibrating import calibrate, check_calibration
from geosearch.evaluation.queries import Labelled, stored_queries
from geosearch.evaluation.query_sharing import Sharing, Usable
from geosearch.features.model_rows import find_model
from geosearch.localization import Localization, Parameters, Request, load, reproduce
from geosearch.localization.answer_rows import save
from geosearch.localization.localizing import answer_query, chosen_parameters
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, Filter, where
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sphere import (
    EARTH_RADIUS_KM,
    destination,
    great_circle_km,
    initial_bearing,
    lat_lon,
    unit_vectors,
)
from geosearch.timeline import Fix, Moment, Movement, Spread
from geosearch.timeline.session_chain import Seen
from geosearch.timeline.timeline_prior import Chance
from tests.command_line import CommandLine
from tests.rows import add_embeddings, add_model, add_photos, fetch

Array = NDArray[np.float64]


@pytest.fixture(scope="module", autouse=True)
def quick_search() -> Iterator[None]:
    """Fewer candidates and queries in the search for settings: it is slow, and tested by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geosearch.calibration.calibration_fit.SEARCH_QUERIES", 60)
        patch.setattr(
            "geosearch.calibration.calibration_fit.WEIGHTINGS", ("power:10", "softmax:0.02")
        )
        patch.setattr("geosearch.calibration.calibration_fit.BANDWIDTHS", (1.0, 2.0))
        patch.setattr("geosearch.calibration.calibration_fit.SHARPNESS", (1.0, 1.5))
        patch.setattr("geosearch.calibration.kernels.STARTS", STARTS[:1])
        yield


# Levels


@given(arrays(float, st.integers(1, 60), elements=st.floats(0, 1)))
def test_levels_map_there_and_back(levels: Array) -> None:
    made = LevelMap.fitted(levels)
    assert all(0 < raw < 1 for raw in made.raw)
    assert (np.diff(made.raw) > 0).all()
    for nominal in (0.5, 0.9, *NOMINAL):
        assert made.level(made.raw_level(nominal)) == pytest.approx(nominal)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (0.5, 3), (4, 1.5)])
def test_regions_hold_their_level_whatever_the_density_is_worth(a: float, b: float) -> None:
    random = np.random.default_rng(1)
    made = LevelMap.fitted(random.beta(a, b, 2000))
    fresh = random.beta(a, b, 20_000)
    for level in (0.5, 0.9):
        assert np.mean(fresh <= made.raw_level(level)) == pytest.approx(level, abs=0.03)


def test_the_level_of_few_queries_errs_towards_holding_more() -> None:
    # Of nine, the region at 90 % must reach the ninth, and that at 95 % has no tenth to reach.
    made = LevelMap.fitted(np.linspace(0.1, 0.9, 9))
    assert made.raw_level(0.5) == pytest.approx(0.5, abs=2e-3)
    assert made.raw_level(0.9) == pytest.approx(0.9, abs=2e-3)
    assert made.raw_level(0.95) > 0.99


# Kernels


#: Of the neighbours of the truths below.
SPACING_KM = 200.0


def _truths(n: int, seed: int, spread_km: float) -> Truths:
    """Truths normally spread round their summits; the neighbours are nowhere near."""
    random = np.random.default_rng(seed)
    angle = spread_km / EARTH_RADIUS_KM * np.hypot(*random.standard_normal((2, n)))
    return Truths(
        kappa=np.full(n, (EARTH_RADIUS_KM / SPACING_KM) ** 2),
        summit=2 * np.sin(angle / 2) ** 2,
        neighbours=1 - np.cos(random.uniform(1, 3, (n, 5))),
        weights=np.full((n, 5), 0.2),
        prior=np.full(n, -np.log(4 * np.pi)),
        evidence=random.standard_normal((n, 2)),
    )


@pytest.mark.parametrize("spread_km", [150.0, 15.0, 0.001])
def test_the_fit_finds_how_far_truths_lie_from_the_summit(
    spread_km: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.SPACING_KM", spread_km * 4 / 3)
    kernels, likelihood = fit_kernels(_truths(1000, 1, spread_km))
    kappa = (EARTH_RADIUS_KM / spread_km) ** 2
    best = np.log(kappa / (2 * np.pi)) - 1  # the expectation of the log of the true density
    assert likelihood == pytest.approx(best, abs=0.05)
    assert log_density(kernels, _truths(1000, 2, spread_km)).mean() == pytest.approx(best, abs=0.1)


def test_evidence_decides_between_summit_and_anywhere() -> None:
    truths = _truths(1000, 3, spread_km=100.0)
    random = np.random.default_rng(4)
    lost = random.random(1000) < 0.5
    anywhere = np.where(lost, 1 - random.uniform(-1, 1, 1000), truths.summit)
    told = truths.evidence.copy()
    told[:, 0] = np.where(lost, 1.0, -1.0)
    kernels, informed = fit_kernels(replace(truths, summit=anywhere, evidence=told))
    _, blind = fit_kernels(replace(truths, summit=anywhere))
    assert informed > blind + 0.5
    assert kernels.shares(np.array([1.0, 0.0]))[-1] > 0.9
    assert kernels.shares(np.array([-1.0, 0.0]))[:2].sum() > 0.9


def test_truths_anywhere_never_have_no_density() -> None:
    kernels, _ = fit_kernels(_truths(200, 5, spread_km=50.0))
    opposite = replace(_truths(1, 6, spread_km=50.0), summit=np.array([2.0]))
    assert np.isfinite(log_density(kernels, opposite)).all()
    assert kernels.shares(np.zeros(2)).shape == (COMPONENTS,)


# Presence


def _presence(seed: int = 7) -> Presence:
    """Of queries whose first column, the distance, tells less than the second."""
    random = np.random.default_rng(seed)
    there = random.normal((-0.3, 1.0), 1, (400, 2))
    gone = random.normal((0.3, -1.0), 1, (100, 2))
    return Presence.fitted(there, gone, np.log(0.1) + 0.3 * there[:, 0])


def test_presence_is_one_half_where_the_evidence_says_nothing() -> None:
    presence = _presence()
    assert presence(np.zeros(2), np.log(0.1)) == pytest.approx(0.5, abs=0.1)
    assert presence(np.array([0.0, 2.0]), np.log(0.1)) > 0.9
    assert presence(np.array([0.0, -2.0]), np.log(0.1)) < 0.1


def test_a_stranger_is_absent_whatever_else_the_evidence_says() -> None:
    presence = _presence()
    best = np.array([-3.0, 3.0])
    near_and_far = presence(best, np.log([0.05, 0.1, 0.2, 0.4, 0.8]))
    assert near_and_far[0] > 0.75
    assert near_and_far[-1] < 0.01
    assert (np.diff(near_and_far) <= 0).all()


def test_presence_goes_by_the_distance_alone_where_the_rest_misleads() -> None:
    random = np.random.default_rng(9)
    there, gone = random.normal(-1.5, 1, (400, 2)), random.normal(1.5, 1, (60, 2))
    # The second number tells them apart in nobody but one fold of the copies.
    there[:, 1], gone[:, 1] = random.normal(0, 1, 400), random.normal(0, 1, 60)
    presence = Presence.fitted(there, gone, np.log(0.1) + 0.3 * there[:, 0])
    whole = presence(gone, np.full(60, np.log(0.1)))
    limit = np.quantile(presence(there, np.full(400, np.log(0.1))), 0.05)
    alone = np.quantile(-there[:, 0], 0.05)
    assert np.mean(whole < limit) >= np.mean(-gone[:, 0] < alone) - 0.05


@pytest.mark.parametrize("seed", range(4))
def test_presence_catches_no_fewer_than_the_distance_at_as_many_false_alarms(seed: int) -> None:
    presence, random = _presence(seed), np.random.default_rng(100 + seed)
    there = random.normal((-0.3, 1.0), 1, (4000, 2))
    copies = random.normal((0.3, -1.0), 1, (1000, 2))
    # Strangers are farther than nearly all queries, whatever else looks as it does at its best.
    strangers = np.column_stack([random.uniform(1.8, 4, 1000), np.full(1000, 3.0)])
    for alarms in (0.03, 0.05, 0.1):
        limit = np.quantile(presence(there, np.log(0.1) + 0.3 * there[:, 0]), alarms)
        far = np.quantile(there[:, 0], 1 - alarms)
        for absent in (copies, strangers):
            caught = np.mean(presence(absent, np.log(0.1) + 0.3 * absent[:, 0]) <= limit)
            assert caught >= np.mean(absent[:, 0] >= far) - 0.01


def test_the_threshold_keeps_false_alarms_below_a_twentieth() -> None:
    random = np.random.default_rng(8)
    there = random.random(500)
    assert 0.02 < np.mean(there < threshold(there)) < 0.05
    few = random.random(10)
    assert threshold(few) == few.min()  # so few bound nothing


# Where a photo is of which nothing is known


@pytest.mark.parametrize("shrunk", [1.0, 1e-3, 1e-6])
def test_the_prior_follows_the_references_at_every_scale(shrunk: float) -> None:
    lat, lon = np.random.default_rng(1).normal((40.0, 10.0), 8 * shrunk, (200, 2)).T
    prior = Prior.fitted(list(zip(lat.tolist(), lon.tolist(), strict=True)))
    assert prior.scale_km == pytest.approx(1190 * shrunk, rel=0.1)
    assert prior.mixture.weights.sum() == pytest.approx(1)
    inside, aside, far = log_prior(prior, unit_vectors([40, 40 + 20 * shrunk, -40], [10, 10, 100]))
    assert inside > aside > far
    assert far == pytest.approx(np.log(0.01 / (4 * np.pi)), abs=0.01)  # no place is impossible


def test_a_prior_of_one_spot_is_proper() -> None:
    prior = Prior.fitted([(10.0, 20.0)] * 5)
    assert np.isfinite(log_prior(prior, unit_vectors([10, 50], [20, 20]))).all()


# Summit


def test_sharp_weights_prefer_one_good_match_to_a_crowd_of_poor_ones() -> None:
    lat, lon = np.array([50.0, *[10.0] * 6]), np.array([10.0, *[80.0] * 6])
    distance = np.array([0.10, *[0.115] * 6])  # to the power -10: 1 and 0.25 each
    place = locate(lat, lon, distance, bandwidth_km=300, regions=False)
    assert place.lat == pytest.approx(10, abs=0.5)
    assert at_summit(lat, lon, place, 1.0) is place
    moved = at_summit(lat, lon, place, 2.0)
    assert (moved.lat, moved.lon) == pytest.approx((50, 10), abs=0.01)
    assert moved.agreement == moved.modes[0].mass
    assert set(moved.modes) == set(place.modes)


def test_sharpened_weights_sum_to_one() -> None:
    np.testing.assert_allclose(sharpened(np.array([0.8, 0.2]), 2), [16 / 17, 1 / 17])


# Evidence


def test_evidence_of_two_neighbours() -> None:
    found = evidence(
        np.array([0.0, 0.0]),
        np.array([0.0, 90.0]),
        np.array([0.1, 0.2]),
        Place(0.0, 0.0, 0.75, {}, (Mode(0.0, 0.0, 0.75, 1.0),), np.array([0.75, 0.25]), {}),
        spacing=50.0,
        scale_km=100.0,
    )
    quarter_km = EARTH_RADIUS_KM * np.pi / 2
    expected = {
        "log_distance": np.log(0.1),
        "log_gap": np.log(2),
        "log_mass": np.log(0.75),
        "log_concentration": np.log(0.625),
        "log_offset": 0.0,
        "near": 0.75,
        "log_spread": np.log1p(0.25 * quarter_km / 50),
        "log_spacing": np.log(0.5),
    }
    assert dict(zip(FEATURES, found, strict=True)) == pytest.approx(expected)


# The halves


def _alike(queries: list[Labelled], spacing_km: float = 10.0) -> list[Usable]:
    """Queries whose neighbours all look alike."""
    step = np.degrees(spacing_km / EARTH_RADIUS_KM)
    return [
        (
            q,
            Example(
                *(q.truth[0] + step * np.arange(20), np.full(20, q.truth[1]), np.full(20, 0.1)),
                q.truth,
            ),
            None,
        )
        for q in queries
    ]


def _halved(usable: Sequence[Usable], seed: int, by_author: bool = True) -> NDArray[np.bool_]:
    return np.equal(Sharing(seed, by_author).parts(usable, 2), 0)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([1.0, 1e-3]))
def test_halves_share_no_place_and_no_author(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    queries = [
        Labelled(
            f"{i}.jpg", (scale * float(random.integers(0, 30)), 0.0), f"by {random.integers(0, 40)}"
        )
        for i in range(60)
    ] + [
        Labelled(f"{i}.jpg", (scale * (float(random.integers(0, 30)) + 0.001), 0.0))
        for i in range(20)
    ]
    found = _alike(queries, 10 * scale)
    fitting = _halved(found, seed)
    assert (fitting == _halved(found, seed)).all()
    mine, others = (
        [query for query, chosen in zip(queries, fitting, strict=True) if chosen == half]
        for half in (True, False)
    )
    assert not {q.author for q in mine if q.author} & {q.author for q in others if q.author}
    for query in mine:
        assert all(great_circle_km(*query.truth, *other.truth) > scale for other in others)


def test_an_author_of_most_queries_is_a_source() -> None:
    queries = [Labelled(f"{i}.jpg", (i / 2, 0.0), "me" if i < 11 else "you") for i in range(20)]
    fitting = _halved(_alike(queries), 0)
    assert fitting[11:].all() == fitting[11:].any()  # the other is one person
    assert 0 < fitting[:11].sum() < 11
    assert fitting.sum() == 10


def test_authors_that_need_not_be_told_apart_do_not_bind_queries() -> None:
    queries = [Labelled(f"{i}.jpg", (i / 2, 0.0), f"{i // 10}") for i in range(20)]
    assert _halved(_alike(queries), 0)[:10].sum() in (0, 10)
    assert _halved(_alike(queries), 0, by_author=False).sum() == 10


def test_halves_of_unrelated_queries_are_equal() -> None:
    queries = [Labelled(f"{i}.jpg", (i / 2, 0.0), f"author {i}") for i in range(101)]
    found = _alike(queries)
    assert _halved(found, 0).sum() in (50, 51)
    assert (_halved(found, 0) != _halved(found, 1)).any()


def test_every_place_and_style_is_on_both_sides() -> None:
    random = np.random.default_rng(2)
    # 100 queries of a continent and 40 of a town, of which a half is of another style.
    queries = [
        Labelled(f"{i}.jpg", (float(lat), float(lon)))
        for i, (lat, lon) in enumerate(
            np.concatenate([random.uniform(0, 40, (100, 2)), 10 + random.uniform(0, 0.02, (40, 2))])
        )
    ]
    found = _alike(queries[:100], 100.0) + _alike(queries[100:], 0.05)
    styled = [
        (query, replace(one, distance=one.distance * (1 + 3 * (index % 2))), None)
        for index, (query, one, _) in enumerate(found)
    ]
    for seed in range(5):
        fitting = _halved(styled, seed)
        for kind in (slice(0, 100), slice(100, 140), slice(0, 100, 2), slice(101, 140, 2)):
            assert 0.3 < fitting[kind].mean() < 0.7


@pytest.mark.parametrize("count", [2, 5])
def test_the_same_queries_are_shared_out_alike_at_every_scale(count: int) -> None:
    random = np.random.default_rng(4)
    truths = random.uniform(-25, 25, (300, 2))
    looks = random.uniform(0.05, 0.3, 300)

    def parts(spacing_km: float, factor: float) -> NDArray[np.intp]:
        # A curved window is no exact copy of a flat one, and its places are in another order.
        km = great_circle_km(0, 0, *truths.T) / factor
        near = destination(0, 0, initial_bearing(0, 0, *truths.T), km)
        queries = [Labelled("", (float(lat), float(lon))) for lat, lon in zip(*near, strict=True)]
        usable = [
            (query, replace(one, distance=one.distance + look), None)
            for (query, one, _), look in zip(
                _alike(queries, spacing_km / factor), looks, strict=True
            )
        ]
        return Sharing().parts(usable, count)

    for factor in (10, 1000):
        assert (parts(20, 1) == parts(20, factor)).all()
        # Some of one place are so by a hair: they take few others with them.
        assert np.mean(parts(200, 1) == parts(200, factor)) > 0.8
    assert np.ptp(np.bincount(parts(20, 1))) <= 1


# A world whose photos show where they are: embeddings are a smooth function of the position

REFERENCES, QUERIES, DIMENSION, K = 1500, 240, 64, 20


def _embeddings(lat: Array, lon: Array, noise: float, seed: int) -> NDArray[np.float32]:
    """Random waves on the sphere, with noise."""
    waves = np.random.default_rng(0).standard_normal((3, DIMENSION)) * 6
    random = np.random.default_rng(seed)
    phases = random.standard_normal((len(lat), DIMENSION))
    made = np.cos(unit_vectors(lat, lon) @ waves + np.arange(DIMENSION)) + noise * phases
    return np.asarray(made, dtype=np.float32)


def _positions(count: int, seed: int) -> tuple[Array, Array]:
    vectors = np.random.default_rng(seed).standard_normal((count, 3))
    return lat_lon(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _examples(seed: int, count: int, hide_km: float = 0.0) -> list[Example]:
    lat, lon = _positions(REFERENCES, 1)
    units = _embeddings(lat, lon, 0.1, 2)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    true_lat, true_lon = _positions(count, seed)
    made = []
    for vector, truth in zip(
        _embeddings(true_lat, true_lon, 0.4, seed),
        zip(true_lat, true_lon, strict=True),
        strict=True,
    ):
        distance = 1 - units @ (vector / np.linalg.norm(vector))
        distance[great_circle_km(*truth, lat, lon) < hide_km] = np.inf
        best = np.argsort(distance)[:K]
        made.append(Example(lat[best], lon[best], distance[best].astype(float), truth))
    return made


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(_examples(10, 240), _examples(10, 100, hide_km=1500))


def test_fresh_queries_are_covered_and_probable_as_said(fitted: Fitted) -> None:
    fresh = _examples(11, 200)
    figures = measure(fitted, fresh, _examples(11, 60, hide_km=1500))
    assert figures["log_likelihood"] > figures["before"]["log_likelihood"]
    for name in ("coverage", "radius_coverage"):
        assert figures[name]["50"] == pytest.approx(0.5, abs=0.1)
        assert figures[name]["90"] == pytest.approx(0.9, abs=0.06)
    assert figures["absence"]["false_alarms"] <= 0.1
    assert figures["absence"]["caught"] > 0.8
    for km, share in figures["accuracy"].items():
        # Of the answers doubted in error the probabilities are too small.
        assert figures["brier"][km] <= share * (1 - share) + 0.02
        bins = figures["reliability"][km]
        predicted = sum(item["n"] * item["predicted"] for item in bins) / len(fresh)
        assert predicted == pytest.approx(share, abs=0.08)


def test_the_density_is_the_one_that_was_fitted(fitted: Fitted) -> None:
    fitted = replace(fitted, min_presence=0.0)  # nothing is widened
    answers = calibrated(fitted, _examples(12, 5))
    for answer, example in zip(answers, _examples(12, 5), strict=True):
        away = unit_vectors(answer.lat, answer.lon) - unit_vectors(*example.truth)
        summit = unit_vectors(*answer.estimate) - unit_vectors(*example.truth)
        point = unit_vectors(*example.truth)[None]
        truths = Truths(
            np.array([(EARTH_RADIUS_KM / answer.spacing_km) ** 2]),
            np.array([np.sum(summit**2) / 2]),
            np.sum(away**2, axis=1)[None] / 2,
            sharpened(answer.place.weights, fitted.sharpness)[None],
            log_prior(fitted.prior, point),
            answer.evidence[None],
        )
        assert answer.mixture.weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(
            answer.mixture.log_density(point), log_density(fitted.kernels, truths), atol=1e-3
        )


def test_judgements_are_ordered(fitted: Fitted) -> None:
    (answer,) = calibrated(fitted, _examples(13, 1))
    judged = answer.judge((0.5, 0.9), regions=True)
    shares = list(judged.probability_within_km.values())
    assert list(judged.probability_within_km) == [1, 25, 200, 750, 2500]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1
    assert judged.radius_km[0.5] < judged.radius_km[0.9]
    assert judged.regions[0.5].area_km2 < judged.regions[0.9].area_km2
    assert {level: region.level for level, region in judged.regions.items()} == {0.5: 0.5, 0.9: 0.9}
    at_estimate = answer.level_of(*answer.estimate)
    assert at_estimate == pytest.approx(0, abs=0.05)


def test_one_neighbour_can_be_judged(fitted: Fitted) -> None:
    example = Example(np.array([10.0]), np.array([20.0]), np.array([0.0]), (10.0, 20.0))
    (answer,) = calibrated(fitted, [example])
    assert np.isfinite(answer.evidence).all()
    assert sum(answer.judge((0.9,), regions=False).radius_km.values()) > 0


def test_what_was_fitted_survives_json(fitted: Fitted) -> None:
    assert Fitted.from_json(fitted.to_json()) == fitted


def test_without_absent_copies_nothing_is_said_of_presence() -> None:
    made = fit(_examples(14, 40), [])
    (answer,) = calibrated(made, _examples(15, 1))
    assert made.presence is None
    assert answer.presence is None


def test_what_time_is_worth_is_learned_from_photos_that_a_session_tells_too(
    fitted: Fitted,
) -> None:
    """Each, as if it had no position, with one half an hour before that shows the same."""
    asked = _examples(14, 30)
    known = [
        replace(one, timed=2 * (replace(one, session=((Seen(1, -0.5), one),)),)) for one in asked
    ]
    movement = Movement(spread=Spread.of(*np.array([one.truth for one in asked]).T))
    fusion = fit(known, [], settings=fitted, movement=movement).fusion
    assert fusion is not None
    assert (fusion.photos, fusion.chained) == (60, 60)
    track = (Chance(1.0, 0.0, Moment(Fix(0.1, *asked[3].truth), None)),)
    tracked = replace(asked[3], timed=(replace(asked[3], track=track),))
    told = measure(replace(fitted, fusion=fusion), [*known[:3], tracked], [])
    figures = told["timeline"]
    assert (figures["n"], figures["chained"]) == (6, 6)  # not the one that a track alone tells
    assert told["track"]["n"] == 1


def test_the_search_takes_what_makes_the_truths_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "geosearch.calibration.calibration_fit.WEIGHTINGS", ("softmax:2", "power:10")
    )
    monkeypatch.setattr("geosearch.calibration.calibration_fit.SHARPNESS", (1.0,))
    made = fit(_examples(16, 40), [])
    assert made.weighting == "power:10"
    assert made.k <= K
    assert len(_examples(16, 2)[0].place(made).weights) == made.k


def _shrunk(examples: list[Example], factor: float) -> list[Example]:
    """The same, with all places so much nearer to 0° N, 0° E."""

    def moved(lat: Array | float, lon: Array | float) -> tuple[Array, Array]:
        km, bearing = great_circle_km(0, 0, lat, lon), initial_bearing(0, 0, lat, lon)
        return destination(0, 0, bearing, km / factor)

    return [
        Example(*moved(one.lat, one.lon), one.distance, (float(lat), float(lon)))
        for one in examples
        for lat, lon in [moved(*one.truth)]
    ]


def test_a_calibration_shrinks_with_the_places() -> None:
    labelled, hidden, fresh = _examples(17, 60), _examples(17, 30, 1500), _examples(18, 20)
    of_city, of_street = (
        fit(_shrunk(labelled, factor), _shrunk(hidden, factor)) for factor in (100, 10_000)
    )
    for name in ("k", "bandwidth", "weighting", "sharpness"):
        assert getattr(of_city, name) == getattr(of_street, name)
    assert of_city.scale_km / of_street.scale_km == pytest.approx(100, rel=0.01)
    assert of_city.kernels.summit == pytest.approx(of_street.kernels.summit, rel=0.02)
    for city, street in zip(
        calibrated(of_city, _shrunk(fresh, 100)),
        calibrated(of_street, _shrunk(fresh, 10_000)),
        strict=True,
    ):
        assert city.presence == pytest.approx(street.presence, abs=0.02)
        assert city.confident == street.confident
        for km in (1, 5, 20):
            same = pytest.approx(street.probability_within(km / 100), abs=0.01)
            assert city.probability_within(km) == same
        radii, small = (one.judge((0.5, 0.9), regions=True) for one in (city, street))
        for level in (0.5, 0.9):
            assert radii.radius_km[level] / small.radius_km[level] == pytest.approx(100, rel=0.02)
            areas = radii.regions[level].area_km2, small.regions[level].area_km2
            assert areas[0] / areas[1] == pytest.approx(1e4, rel=0.04)


def test_kinds_of_queries_have_levels_of_their_own() -> None:
    random = np.random.default_rng(3)
    spacing = np.concatenate([random.uniform(100, 400, 200), random.uniform(0.01, 0.03, 100)])
    levels = np.concatenate([random.beta(1, 3, (200, 2)), random.beta(3, 1, (100, 2))])
    town, continent = Kind.fitted(spacing, levels)
    assert town.above_km == 0
    assert 0.03 < continent.above_km < 100
    assert town.region_levels.raw_level(0.9) > 0.95
    assert continent.region_levels.raw_level(0.9) < 0.65
    # Too few of a kind, or no gap between two, and they are one.
    assert len(Kind.fitted(spacing[:220], levels[:220])) == 1
    assert len(Kind.fitted(np.geomspace(0.01, 1000, 300), levels)) == 1


def test_a_doubted_answer_is_widened_to_what_is_known(fitted: Fitted) -> None:
    (sure,) = calibrated(fitted, _examples(13, 1))
    doubted = replace(sure, min_presence=1.0)
    assert sure.confident is True
    assert doubted.confident is False
    assert sure.doubt == 0
    assert doubted.doubt == pytest.approx(1 - (sure.presence or 0))
    stranger = replace(sure, distance=sure.distance + 0.8)
    assert stranger.confident is False
    assert stranger.doubt > 0.95
    before, after = (one.judge((0.5, 0.9), regions=True) for one in (sure, stranger))
    for level in (0.5, 0.9):
        assert after.radius_km[level] > 3 * before.radius_km[level]
        assert after.regions[level].area_km2 > 10 * before.regions[level].area_km2
    assert after.probability_within_km[200] < 0.2 * before.probability_within_km[200]


def test_nothing_that_is_left_out_together_is_fitted_to() -> None:
    # Every query twice: unless both copies are left out together, the fit knows what it is asked.
    once = _examples(15, 30)
    twice, fold = [*once, *once], np.tile(np.arange(30) % 5, 2)
    settings = fit(once, [])
    together, apart = (
        fit(twice, [], settings=settings, folds=(folds, np.zeros(0, int)))
        for folds in (fold, np.repeat([0, 1], 30))
    )
    assert together.kernels == apart.kernels
    assert together.weighting == settings.weighting
    assert together.kinds != apart.kinds


def test_worse_than_none_is_said_in_words(fitted: Fitted) -> None:
    fresh = _examples(11, 100)
    assert measure(fitted, fresh, [])["worse"] == []
    narrow = replace(
        fitted, kernels=replace(fitted.kernels, summit=(0.01, 0.01), neighbour=(0.01,) * 2)
    )
    said = "; ".join(measure(narrow, fresh, [])["worse"])
    assert "log-likelihood" in said
    assert "% region holds" in said


# In the database


@pytest.fixture(scope="module")
def world(module_database: Database) -> Database:
    """References and labelled queries, with embeddings."""
    with module_database.connection() as connection:
        model = add_model(connection, DIMENSION)
        for collection, count, noise, seed in (
            ("references", REFERENCES, 0.1, 1),
            ("queries", QUERIES, 0.4, 10),
        ):
            lat, lon = _positions(count, seed)
            photos = add_photos(connection, lat, lon, collection=collection)
            add_embeddings(connection, model, photos, _embeddings(lat, lon, noise, seed + 1))
    return module_database


REFERENCES_ONLY = where(collections="references")

#: Of a query whose place is likely among the references.
SURE = 21


@pytest.fixture(scope="module")
def made(world: Database) -> Calibration:
    with world.connection() as connection:
        model = find_model(connection, "test/model")
    queries = stored_queries(world, model, where(collections="queries"))
    return calibrate(world, queries, model="test/model", where=REFERENCES_ONLY, k=K, sample=50)


def _answer(
    database: Database, request: Request, passing: Filter = REFERENCES_ONLY, seed: int = 20
) -> Localization:
    with database.connection() as connection:
        model = find_model(connection, "test/model")
        parameters = chosen_parameters(connection, model, passing, request)
    vector = _embeddings(*_positions(1, seed), 0.4, seed)[0]
    given = answer_query(
        database, model, Query("/query.jpg", bytes(32), vector), parameters, passing
    )
    with database.connection() as connection:
        (key,) = save(connection, [given])
    return load(database, key)


def test_a_calibration_is_recorded_with_its_figures(world: Database, made: Calibration) -> None:
    assert made.id is not None
    assert made.n_fit + made.n_check == 50
    assert made.failed == 0
    assert made.options["sample"] == 50
    assert made.figures["log_likelihood"] > made.figures["before"]["log_likelihood"]
    with world.connection() as connection:
        assert find_calibration(connection, made.id) == made


def test_answers_use_the_calibration_and_say_so(world: Database, made: Calibration) -> None:
    answer = _answer(world, Request())
    printed = answer.to_json()
    assert printed["calibration"] == made.id
    assert 0 < printed["probability_within_km"]["200"] < 1
    assert printed["agreement"] == answer.modes[0].mass
    assert isinstance(printed["confident"], bool)
    assert 0 < printed["presence"] < 1
    assert answer.parameters.fitted == made.fitted
    assert answer.regions.keys() == {0.5, 0.9}
    plain = _answer(world, Request(calibrate=False)).to_json()
    assert plain["calibration"] is plain["confident"] is plain["presence"] is None
    assert plain["probability_within_km"] is None


@pytest.mark.parametrize(
    "request_", [Request(k=7), Request(bandwidth_km=50), Request(weighting="uniform")]
)
def test_explicit_values_are_used_as_they_are(
    world: Database, made: Calibration, request_: Request
) -> None:
    assert made.id is not None
    answer = _answer(world, request_)
    assert answer.parameters.fitted is None
    for name in ("k", "bandwidth_km", "weighting"):
        wanted = getattr(request_, name)
        assert wanted is None or getattr(answer.parameters, name) == wanted
    with pytest.raises(InputError, match="fixes method, k, bandwidth and weighting"):
        _answer(world, replace(request_, calibration=made.id))


def test_an_answer_below_the_presence_asked_for_is_not_confident(
    world: Database, made: Calibration
) -> None:
    assert made.id is not None
    doubtful = _answer(world, Request(min_presence=1.0))
    assert doubtful.confident is False
    assert doubtful.lat is not None  # the estimate is recorded all the same
    assert _answer(world, Request(min_presence=0.0)).confident is True


def test_the_truth_has_a_level_among_those_of_the_regions(
    world: Database, made: Calibration
) -> None:
    assert made.id is not None
    answer = _answer(world, Request())
    inside = answer.regions[0.5].geometry.representative_point()
    told = answer.with_truth(inside.y, inside.x)
    assert told.truth_level is not None
    assert told.truth_level < 0.55
    assert told.error_km == pytest.approx(
        float(great_circle_km(answer.lat or 0, answer.lon or 0, inside.y, inside.x))
    )


def test_the_latest_calibration_for_the_filter_is_used_and_outlived(
    world: Database, made: Calibration
) -> None:
    narrower = REFERENCES_ONLY & where(bbox=(-180, -60, 180, 85))
    with world.connection() as connection:
        first, second = (save_calibration(connection, replace(made, where=narrower)) for _ in "12")
    assert first.id is not None
    assert second.id is not None
    latest = _answer(world, Request(), first.where)
    assert latest.parameters.calibration_id == second.id
    chosen = _answer(world, Request(calibration=first.id), first.where)
    assert chosen.parameters.calibration_id == first.id
    # One fitted with a filter says nothing of other filters.
    assert _answer(world, Request(), where(bbox=(0, 0, 90, 90))).parameters.fitted is None
    delete_calibration(world, second.id)
    with (
        world.connection() as connection,
        pytest.raises(NotFoundError, match=f"no calibration {second.id}"),
    ):
        find_calibration(connection, second.id)
    assert latest.id is not None
    kept = load(world, latest.id)
    assert kept.to_json() == latest.to_json()
    again = reproduce(world, latest.id)
    assert again.same, again.changes


def test_a_presence_without_calibration_is_an_error(world: Database) -> None:
    with pytest.raises(InputError, match="needs a calibration"):
        _answer(world, Request(min_presence=0.5), where(bbox=(0, 0, 90, 90)))
    with pytest.raises(InputError, match="no probability"):
        Parameters(min_presence=2.0)


def test_a_calibration_of_another_model_is_refused(world: Database, made: Calibration) -> None:
    with world.connection() as connection:
        add_model(connection, DIMENSION, "test/other")
        other = find_model(connection, "test/other")
        with pytest.raises(InputError, match="is of the model test/model, not test/other"):
            chosen_parameters(connection, other, EVERYTHING, Request(calibration=made.id))


def test_too_few_queries_are_refused(world: Database) -> None:
    with world.connection() as connection:
        model = find_model(connection, "test/model")
    queries = stored_queries(world, model, where(collections="queries")).sample(19)
    with pytest.raises(InputError, match="only 19 queries can be used"):
        calibrate(world, queries, model="test/model", where=REFERENCES_ONLY)


def test_queries_of_one_place_cannot_be_split(world: Database) -> None:
    with world.connection() as connection:
        model = find_model(connection, "test/model")
    queries = stored_queries(world, model, where(collections="queries")).sample(30)
    same = replace(queries, queries=tuple(replace(q, truth=(1.0, 2.0)) for q in queries.queries))
    with pytest.raises(InputError, match="of one place"):
        calibrate(world, same, model="test/model", where=REFERENCES_ONLY, k=5)


def test_a_calibration_worse_than_none_is_not_recorded_unless_forced(
    world: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.connection() as connection:
        model = find_model(connection, "test/model")
        before = len(list_calibrations(connection))
    queries = stored_queries(world, model, where(collections="queries"))
    monkeypatch.setattr("geosearch.calibration.kernels.BANDWIDTHS", (0.01, 0.011))

    def attempt(*, force: bool) -> Calibration:
        return calibrate(
            world,
            queries,
            model="test/model",
            where=REFERENCES_ONLY,
            k=K,
            sample=60,
            force=force,
        )

    with pytest.raises(InputError, match=r"worse off with this calibration.*log-likelihood"):
        attempt(force=False)
    with world.connection() as connection:
        assert len(list_calibrations(connection)) == before
    forced = attempt(force=True)
    assert forced.figures["worse"]
    assert forced.id is not None
    delete_calibration(world, forced.id)


def test_an_answer_says_whether_its_calibration_fits(world: Database, made: Calibration) -> None:
    assert made.id is not None
    unsure = _answer(world, Request(min_presence=0.0))
    assert unsure.presence is not None
    assert unsure.presence < 0.5
    assert unsure.calibration_fits is Fits.UNSURE
    assert "if the place is in this collection" in unsure.calibration_remark
    fits = _answer(world, Request(), seed=SURE)
    assert fits.calibration_fits is Fits.YES
    assert fits.to_json()["calibration_fits"] == "yes"
    assert f"{made.id}: 50 queries of" in fits.calibration_remark
    assert f"to {REFERENCES:,} references" in fits.calibration_remark
    assert _answer(world, Request(calibrate=False)).calibration_fits is None

    doubted = _answer(world, Request(min_presence=1.0), seed=SURE)
    assert doubted.calibration_fits is Fits.WIDENED
    assert doubted.radius_km[0.9] > fits.radius_km[0.9]

    elsewhere = REFERENCES_ONLY & where(near=(fits.lat or 0, fits.lon or 0, 3000))
    filtered = _answer(world, Request(calibration=made.id), elsewhere)
    assert filtered.calibration_fits is Fits.NO
    assert "it was fitted for collections references" in filtered.calibration_remark


def test_no_calibration_fits_a_picture_that_tells_nothing(
    world: Database, made: Calibration
) -> None:
    sure = _answer(world, Request(), seed=SURE)
    blank = replace(sure, query=replace(sure.query, low_information="blank"))
    assert sure.calibration_fits is Fits.YES
    assert blank.calibration_fits is Fits.NO
    assert "the photo is blank" in blank.calibration_remark


def test_a_calibration_says_when_the_references_changed(world: Database, made: Calibration) -> None:
    domain = made.fitted.domain
    assert domain is not None
    assert domain.references == REFERENCES
    assert domain.differences(REFERENCES, REFERENCES_ONLY) == ()
    assert domain.differences(REFERENCES // 2, REFERENCES_ONLY) == ()
    (shrunk,) = domain.differences(REFERENCES // 2 - 1, REFERENCES_ONLY)
    (grown,) = domain.differences(domain.most, REFERENCES_ONLY)
    assert shrunk == "there were 1,500 references, now 749"
    assert grown == "there were 1,500 references, now over 2,251"


def test_a_source_may_find_its_own_photos(world: Database) -> None:
    with world.connection() as connection:
        model = find_model(connection, "test/model")
        connection.execute("UPDATE geosearch.photos SET author = 'probe'")
    try:
        queries = stored_queries(world, model, where(collections="queries")).sample(30)
        given = calibrate(
            world, queries, model="test/model", where=REFERENCES_ONLY, k=5, force=True
        )
    finally:
        with world.connection() as connection:
            connection.execute("UPDATE geosearch.photos SET author = NULL")
    assert given.options["source"] == "probe"
    assert given.failed == 0
    delete_calibration(world, given.id or 0)


def test_a_calibration_is_checked_on_fresh_queries(world: Database, made: Calibration) -> None:
    assert made.id is not None
    with world.connection() as connection:
        model = find_model(connection, "test/model")
    fresh = stored_queries(world, model, where(collections="queries")).sample(60, seed=5)
    checked = check_calibration(world, made.id, fresh)
    assert (checked.n, checked.failed, checked.outside) == (60, 0, ())
    assert checked.figures.keys() == made.figures.keys()
    assert checked.figures["coverage"]["90"] > 0.7
    few = REFERENCES_ONLY & where(bbox=(-180, 0, 180, 90))
    (said,) = check_calibration(world, made.id, fresh, where=few).outside
    assert "it was fitted for collections references" in said


def test_a_check_runs_no_code_that_the_database_names(
    world: Database, made: Calibration, tmp_path: Path
) -> None:
    planted, manifest = tmp_path / "planted", tmp_path / "queries.csv"
    (tmp_path / "hubconf.py").write_text(f"open({str(planted)!r}, 'w')", encoding="utf-8")
    manifest.write_text("uri,lat,lon\nx.jpg,1,2\n", encoding="utf-8")
    rename = "UPDATE geosearch.all_calibrations SET model = %s WHERE id = %s RETURNING id"
    fetch(world, rename, f"hub/{tmp_path}:model", made.id)
    try:
        with pytest.raises(ModelError, match="would run code"):
            check_calibration(world, made.id or 0, manifest)
    finally:
        fetch(world, rename, "test/model", made.id)
    assert not planted.exists()


# On the command line, with photos


def test_calibrate_then_localize(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_space_sample(SpaceSample(40, 2, seed=5), tmp_path)
    gs = Geosearch(database)
    gs.ingest(tmp_path / "references", collection="space")
    gs.embed()
    command = CommandLine(database.url, capsys)
    photo = tmp_path / "queries" / "000001.jpg"
    assert "calibration none" in command("localize", photo).out

    ran = command("calibrate", "--leave-one-out", "--include-author", "--k", 10, "--json")
    assert ran.code == 0, ran.err
    assert "fewer than 100" in ran.err
    key = ran.json()["calibration_id"]
    shown = command("calibrations", "show", key)
    assert "truth in 90 % region" in shown.out
    assert command("calibrations", "show", key, "--json").json() == ran.json()
    assert command("calibrations", "list", "--json").json()[0]["calibration_id"] == key
    assert command("calibrate").code == InputError.exit_code

    assert "1: 40 queries of" in command("localize", photo).out
    assert command("localize", photo, "--no-calibration", "--json").json()["calibration"] is None
    checked = command("calibrations", "check", key, tmp_path / "queries.csv", "--json")
    assert checked.json()["n"] == 2
    assert gs.check_calibration(key, tmp_path / "queries.csv").to_json() == checked.json()
    gone = command("localize", photo, "--bbox", "-180,-90,180,90", "--calibration", key)
    assert "It does not fit here: it was fitted for everything, not for" in gone.out

    said = command("localize", photo, "--parameters", '{"min_presence": 1}')
    assert said.code == 0
    assert "not in this collection" in said.out
    assert f"calibration {key}: " in said.out
    given = command("localize", photo, "--json").json()
    assert given["calibration"] == key
    assert command("show", given["localization_id"], "--json").json() == given
    chosen = command("localize", photo, "--calibration", key, "--json").json()
    assert chosen["estimate"] == given["estimate"]
    without = tmp_path / "without.json"
    without.write_text('{"calibrate": false}')
    answer = command("localize", photo, "--parameters", without, "--json")
    assert answer.json()["calibration"] is None
    unknown = command("localize", photo, "--calibration", 99)
    assert unknown.code == NotFoundError.exit_code

    with_calibration = command("evaluate", tmp_path / "queries.csv", "--json").json()
    assert with_calibration["parameters"]["calibration"] == key
    assert gs.localize(photo).parameters.calibration_id == key
    narrower = ("--collection", "space")
    made = command("calibrate", "--leave-one-out", "--include-author", "--force", *narrower)
    assert made.code == 0, made.err
    assert command("calibrations", "delete", key, "--yes", "--json").code == 0
    other = command("calibrations", "list", "--json").json()[0]["calibration_id"]
    missed = command("localize", photo)
    assert "calibration none" in missed.out
    assert f"calibration {other} is for collections space" in missed.err
    assert f"--calibration {other}" in missed.err
    assert command("reproduce", given["localization_id"], "--json").json()["same"]
