"""From neighbours to a place: what `locate` and `density_at` answer and refuse."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import vonmises_fisher

from geosearch.density import METHODS, density_at, locate, locate_many, neighbour_weights
from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM, great_circle_km, unit_vectors

#: Three photos of Paris, the best one of Rome.
LAT = np.array([41.90, 48.86, 48.85, 48.87])
LON = np.array([12.49, 2.35, 2.34, 2.36])
DISTANCE = np.array([0.30, 0.31, 0.32, 0.33])
PARIS = (48.86, 2.35)


def test_density_prefers_the_many_to_the_first() -> None:
    place = locate(LAT, LON, DISTANCE, bandwidth_km=50)
    weights = neighbour_weights(DISTANCE, "power:10")
    assert great_circle_km(place.lat, place.lon, *PARIS) < 2
    assert place.agreement == pytest.approx(weights[1:].sum())
    assert [mode.mass for mode in place.modes] == pytest.approx([weights[1:].sum(), weights[0]])
    np.testing.assert_allclose(place.weights, weights)


def test_nearest_is_the_first_neighbour() -> None:
    place = locate(LAT, LON, DISTANCE, method="nearest", bandwidth_km=10)
    assert (place.lat, place.lon) == (41.90, 12.49)
    np.testing.assert_array_equal(place.weights, [1, 0, 0, 0])
    assert place.agreement == 1
    # A kernel of 10 km holds half of its mass within 10 km times sqrt(2 log 2).
    assert place.radius_km[0.5] == pytest.approx(10 * np.sqrt(2 * np.log(2)), rel=1e-5)
    assert place.regions[0.5].area_km2 == pytest.approx(np.pi * 200 * np.log(2), rel=0.01)


def test_a_sharper_weighting_turns_density_into_nearest() -> None:
    place = locate(LAT, LON, DISTANCE, weighting="power:500", bandwidth_km=50)
    assert great_circle_km(place.lat, place.lon, 41.90, 12.49) < 1


@pytest.mark.parametrize("method", METHODS)
def test_radii_and_regions_have_the_levels_asked_for(method: str) -> None:
    place = locate(LAT, LON, DISTANCE, method=method, levels=(0.25, 0.75))
    assert list(place.radius_km) == [0.25, 0.75]
    assert list(place.regions) == [0.25, 0.75]
    assert place.radius_km[0.25] < place.radius_km[0.75]
    assert locate(LAT, LON, DISTANCE, method=method, regions=False).regions == {}
    assert locate(LAT, LON, DISTANCE, method=method, levels=()).radius_km == {}


@pytest.mark.parametrize("method", ["density", "nearest"])
@pytest.mark.parametrize(("lat", "lon"), [(90.0, 0.0), (-90.0, 180.0), (0.0, 180.0), (3.0, -180.0)])
def test_identical_neighbours_are_their_own_place(method: str, lat: float, lon: float) -> None:
    place = locate([lat] * 5, [lon] * 5, [0.2] * 5, method=method)
    assert great_circle_km(place.lat, place.lon, lat, lon) < 1e-6
    assert place.agreement == pytest.approx(1)
    assert all(region.geometry.is_valid for region in place.regions.values())


def test_one_neighbour_is_enough() -> None:
    place = locate([12.0], [34.0], [0.0])
    assert (place.lat, place.lon) == pytest.approx((12, 34), abs=1e-12)
    assert place.weights == [1.0]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), bandwidth_km=st.sampled_from([0.01, 5.0, 300.0, 5000.0]))
def test_places_move_with_a_change_of_longitude(seed: int, bandwidth_km: float) -> None:
    random = np.random.default_rng(seed)
    lat, lon = random.uniform(-90, 90, 10), random.uniform(-180, 180, 10)
    distance, shift = np.sort(random.uniform(0.1, 0.9, 10)), random.uniform(0, 360)
    here = locate(lat, lon, distance, bandwidth_km=bandwidth_km, regions=False)
    moved = (lon + shift + 180) % 360 - 180
    there = locate(lat, moved, distance, bandwidth_km=bandwidth_km, regions=False)
    gap = great_circle_km(here.lat, here.lon + shift, there.lat, there.lon)
    assert gap < 1e-4 * bandwidth_km + 1e-8
    assert there.agreement == pytest.approx(here.agreement)
    assert there.radius_km[0.5] == pytest.approx(here.radius_km[0.5], rel=1e-5, abs=1e-4)


def test_density_at_is_the_weighted_sum_of_scipys_kernels() -> None:
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    lat, lon = np.meshgrid([40.0, 45, 50], [0.0, 10], indexing="ij")
    log_density = density_at(
        lat, lon, neighbour_lat=LAT, neighbour_lon=LON, weights=weights, bandwidth_km=500
    )
    kernels = [
        vonmises_fisher(unit_vectors(phi, lam), (EARTH_RADIUS_KM / 500) ** 2)
        for phi, lam in zip(LAT, LON, strict=True)
    ]
    expected = sum(
        weight * kernel.pdf(unit_vectors(lat, lon))
        for weight, kernel in zip(weights, kernels, strict=True)
    )
    assert log_density.shape == (3, 2)
    np.testing.assert_allclose(np.exp(log_density), expected, rtol=1e-10)


def test_the_estimate_is_where_density_at_is_highest() -> None:
    place = locate(LAT, LON, DISTANCE, bandwidth_km=300)
    lat, lon = np.meshgrid(np.linspace(35, 55, 81), np.linspace(-5, 20, 101))
    log_density = density_at(
        lat, lon, neighbour_lat=LAT, neighbour_lon=LON, weights=place.weights, bandwidth_km=300
    )
    assert log_density.max() <= np.log(place.modes[0].density)
    best = np.unravel_index(log_density.argmax(), log_density.shape)
    assert great_circle_km(place.lat, place.lon, lat[best], lon[best]) < 25


def test_several_bandwidths_give_the_densest_peak_and_heavy_tails() -> None:
    narrow = locate(LAT, LON, DISTANCE, bandwidth_km=50, regions=False)
    both = locate(LAT, LON, DISTANCE, bandwidth_km=[50, 20_015], regions=False)
    assert great_circle_km(both.lat, both.lon, narrow.lat, narrow.lon) < 0.1
    assert both.bandwidth_km == (50, 20_015)
    assert narrow.bandwidth_km == 50
    # Half of the mass lies nearly evenly over the globe.
    assert both.radius_km[0.9] > 10 * narrow.radius_km[0.5]
    light = locate(
        LAT, LON, DISTANCE, bandwidth_km=[50, 20_015], bandwidth_weights=[99, 1], regions=False
    )
    assert light.radius_km[0.5] == pytest.approx(narrow.radius_km[0.5], rel=0.1)


def test_the_estimate_snaps_to_the_best_ranked_neighbour_near_the_mode() -> None:
    free = locate(LAT, LON, DISTANCE, bandwidth_km=50, regions=False)
    near = locate(LAT, LON, DISTANCE, bandwidth_km=50, snap_km=100, regions=False)
    assert (near.lat, near.lon) == (LAT[1], LON[1])
    assert (near.modes[0].lat, near.modes[0].lon) == (free.lat, free.lon)
    assert near.agreement == free.agreement
    unmoved = locate(LAT, LON, DISTANCE, bandwidth_km=50, snap_km=1e-6, regions=False)
    assert (unmoved.lat, unmoved.lon) == (free.lat, free.lon)


def test_many_photos_are_located_as_one_by_one() -> None:
    random = np.random.default_rng(5)
    sizes = random.integers(1, 40, 90)
    lat = [random.uniform(-90, 90, k) for k in sizes]
    lon = [random.uniform(-180, 180, k) for k in sizes]
    distance = [np.sort(random.uniform(0.1, 0.9, k)) for k in sizes]
    done: list[tuple[int, int | None]] = []
    places = locate_many(
        lat, lon, distance, methods=METHODS, bandwidth_km=700, progress=lambda *n: done.append(n)
    )
    assert done == [(n, 90) for n in range(1, 91)]
    assert list(places) == list(METHODS)
    for method, found in places.items():
        for place, *neighbours in zip(found, lat, lon, distance, strict=True):
            alone = locate(*neighbours, method=method, bandwidth_km=700, regions=False)
            assert great_circle_km(place.lat, place.lon, alone.lat, alone.lon) < 1e-3
            assert place.agreement == pytest.approx(alone.agreement)
            assert len(place.modes) == len(alone.modes)
            assert place.radius_km == pytest.approx(alone.radius_km, rel=1e-5)
            np.testing.assert_array_equal(place.weights, alone.weights)


def test_many_photos_of_fine_and_several_bandwidths_are_located_as_one_by_one() -> None:
    for bandwidth_km in (0.5, (5.0, 500.0)):
        places = locate_many(
            [LAT, LAT[:2]],
            [LON, LON[:2]],
            [DISTANCE, DISTANCE[:2]],
            bandwidth_km=bandwidth_km,
            levels=(),
            regions=True,
        )["density"]
        for place, k in zip(places, (4, 2), strict=True):
            alone = locate(LAT[:k], LON[:k], DISTANCE[:k], bandwidth_km=bandwidth_km, levels=())
            assert (place.lat, place.lon) == pytest.approx((alone.lat, alone.lon), abs=1e-9)
            assert [mode.mass for mode in place.modes] == pytest.approx(
                [mode.mass for mode in alone.modes]
            )
            assert place.radius_km == {}


def test_no_photos_have_no_places_and_lengths_must_match() -> None:
    assert locate_many([], [], []) == {"density": []}
    twice = locate_many([LAT], [LON], [DISTANCE], methods=("density", "density"))
    assert [len(places) for places in twice.values()] == [1]
    with pytest.raises(InputError, match="2 photos"):
        locate_many([LAT], [LON], [DISTANCE, DISTANCE])


def test_a_place_does_not_change() -> None:
    place = locate(LAT, LON, DISTANCE, regions=False)
    with pytest.raises(FrozenInstanceError):
        place.lat = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lat": [], "lon": [], "distance": []}, "No neighbours"),
        ({"lat": [1.0], "lon": [1.0, 2.0], "distance": [0.1, 0.2]}, "do not match"),
        ({"lat": [91.0]}, "not on the Earth"),
        ({"lat": [np.nan]}, "not on the Earth"),
        ({"lon": [-181.0]}, "not on the Earth"),
        ({"distance": [np.inf]}, "not a number"),
        ({"method": "guess"}, "guess"),
        ({"bandwidth_km": 0.0}, "bandwidth"),
        ({"bandwidth_km": (50.0, 0.0)}, "bandwidth_km: 0 km"),
        ({"bandwidth_km": ()}, "no bandwidth"),
        ({"bandwidth_weights": (1.0, 2.0)}, "bandwidth weights"),
        ({"snap_km": -1.0}, "snap_km"),
        ({"weighting": "loud"}, "loud"),
        ({"levels": (0.5, 1.0)}, "1.0 is not a share"),
    ],
)
def test_unusable_input_is_refused_with_its_name(arguments: dict[str, Any], message: str) -> None:
    usable: dict[str, Any] = {"lat": [1.0], "lon": [2.0], "distance": [0.3]}
    with pytest.raises(InputError, match=message) as refused:
        locate(**(usable | arguments))
    assert refused.value.remedy
