"""The bandwidth of neighbours that are given none: it follows them, at every scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosearch.density import locate
from geosearch.density.spacing import spacing_km
from geosearch.sphere import EARTH_RADIUS_KM, great_circle_km
from tests.mixtures import Spread, mixtures


@settings(max_examples=40, deadline=None)
@given(mixture=mixtures(), shrunk=st.sampled_from([10, 100, 1000]))
def test_an_answer_shrinks_with_the_places(mixture: Spread, shrunk: int) -> None:
    here, there = (locate(*mixture.positions(f), mixture.distance) for f in (1, shrunk))
    assert shrunk * np.array(there.bandwidth_km) == pytest.approx(here.bandwidth_km, rel=0.02)
    assert mixture.offset_km(there.lat, there.lon, shrunk) == pytest.approx(
        mixture.offset_km(here.lat, here.lon), rel=0.02, abs=0.02 * here.radius_km[0.5]
    )
    # A neighbour on the watershed of two modes may climb to the other one.
    watershed = 0.02 + here.weights.max()
    assert there.agreement == pytest.approx(here.agreement, abs=watershed)
    for level in (0.5, 0.9):
        assert shrunk * there.radius_km[level] == pytest.approx(here.radius_km[level], rel=0.02)
        area = shrunk**2 * there.regions[level].area_km2
        # Regions are made of cells, and the larger lie on a rounder Earth.
        assert area == pytest.approx(here.regions[level].area_km2, rel=0.04)


def test_it_is_the_distance_to_the_fifth_nearest_other() -> None:
    lat, weights = np.arange(30) / 10, np.full(30, 1 / 30)
    apart = float(great_circle_km(0, 0, 0.1, 0))
    # Within the row that is the third on one of two sides; of 4 neighbours it is the next one.
    assert spacing_km(lat, np.zeros(30), weights) == pytest.approx(3 * apart)
    assert spacing_km(lat[:4], np.zeros(4), np.full(4, 0.25)) == pytest.approx(apart)
    assert spacing_km(lat[:2], np.zeros(2), np.full(2, 0.5)) == pytest.approx(apart)


def test_those_that_look_most_like_the_photo_decide() -> None:
    """A city and a continent among the neighbours of one photo."""
    rng = np.random.default_rng(0)
    lat = np.concatenate([48 + 0.01 * rng.normal(size=40), 20 * rng.normal(size=60)])
    lon = np.concatenate([2 + 0.01 * rng.normal(size=40), 40 * rng.normal(size=60)])
    city_first = np.concatenate([np.full(40, 0.2), np.full(60, 0.3)])
    place = locate(lat, lon, city_first, regions=False)
    assert np.max(place.bandwidth_km) < 1
    assert great_circle_km(place.lat, place.lon, 48, 2) < 2
    continent_first = locate(lat, lon, city_first[::-1], regions=False)
    assert np.min(continent_first.bandwidth_km) > 100


@pytest.mark.parametrize("method", ["density", "nearest"])
@pytest.mark.parametrize("k", [1, 2, 50])
@pytest.mark.parametrize("lat", [90.0, 0.0, -90.0])
def test_at_one_point_it_is_a_metre(method: str, k: int, lat: float) -> None:
    place = locate([lat] * k, [180.0] * k, np.linspace(0.1, 0.2, k), method=method)
    assert place.bandwidth_km == 0.001
    assert 0 < place.radius_km[0.9] < 0.003
    assert place.regions[0.9].geometry.is_valid


def test_it_reaches_half_the_globe() -> None:
    place = locate([0.0, 0.0], [0.0, 180.0], [0.2, 0.2])
    assert place.bandwidth_km == pytest.approx(np.pi * EARTH_RADIUS_KM)
    assert place.radius_km[0.5] > 5000
    poles = locate([90.0, -90.0, 89.0, -89.0], [0.0] * 4, [0.2, 0.2, 0.21, 0.21], regions=False)
    assert poles.bandwidth_km == pytest.approx(great_circle_km(90, 0, 89, 0))


def test_a_given_bandwidth_is_used_as_it_is() -> None:
    lat, lon = np.array([0.0, 1.0, 2.0]), np.zeros(3)
    assert locate(lat, lon, [0.1, 0.2, 0.3], bandwidth_km=7, regions=False).bandwidth_km == 7
