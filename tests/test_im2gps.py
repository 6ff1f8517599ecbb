"""The authors' grid algorithm against a slow computation of the same table, cell by cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from geosearch.density import locate
from geosearch.density.im2gps import grid_mode, snap
from geosearch.sphere import Array, great_circle_km


def votes_on_grid(lat: Array, lon: Array, weights: Array, per_degree: int) -> Array:
    """The whole grid of votes, one neighbour at a time."""
    grid = np.zeros((180 * per_degree, 360 * per_degree))
    for phi, lam, weight in zip(lat, lon, weights, strict=True):
        row = max(1, math.ceil(phi * per_degree) + 90 * per_degree)
        column = max(1, math.ceil(lam * per_degree) + 180 * per_degree)
        grid[row - 1, column - 1] += weight
    return grid


def blurred(grid: Array, sigma: int) -> Array:
    """Blur with a kernel cut at two sigma; the border cells are repeated outwards."""
    return np.asarray(gaussian_filter(grid, sigma, radius=2 * sigma, mode="nearest"))


def first_maximum(grid: Array) -> tuple[int, int]:
    """Row and column, from 1, of the first maximum down the columns."""
    column, row = divmod(int(np.argmax(grid.T)), grid.shape[0])
    return row + 1, column + 1


def slow_mode(lat: Array, lon: Array, weights: Array) -> tuple[float, float]:
    row, column = first_maximum(blurred(votes_on_grid(lat, lon, weights, 1), 4))
    coarse = float(row - 90), float(column - 180)
    row, column = max(21, min(159, row)), max(21, min(339, column))
    fine = votes_on_grid(lat, lon, weights, 10)
    south, west = row * 10 - 200, column * 10 - 200
    window = fine[south - 1 : row * 10 + 200, west - 1 : column * 10 + 200]
    if not window.any():
        return coarse
    row, column = first_maximum(blurred(window, 40))
    return (row + south - 1 - 900) / 10, (column + west - 1 - 1800) / 10


def neighbours(seed: int, k: int = 40) -> tuple[Array, Array, Array]:
    """Some clusters and some stray neighbours, with distances in order of rank."""
    random = np.random.default_rng(seed)
    lat0, lon0 = random.uniform(-85, 85, 4), random.uniform(-178, 178, 4)
    cluster = random.integers(0, 4, k)
    lat = np.clip(lat0[cluster] + random.normal(0, 4, k), -90, 90)
    lon = np.clip(lon0[cluster] + random.normal(0, 4, k), -180, 180)
    return lat, lon, np.sort(random.uniform(0.3, 0.5, k))


@pytest.mark.parametrize("seed", range(12))
def test_the_mode_is_that_of_the_slow_grid(seed: int) -> None:
    lat, lon, distance = neighbours(seed)
    weights = (2 * distance) ** -10.0
    assert grid_mode(lat, lon, weights) == slow_mode(lat, lon, weights)


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        ([89.9, 88, 87], [179.9, -179, 10]),
        ([-90, -89.5, -90], [-180, -179.95, -180]),
        ([0, 0, 0.05], [0, -0.05, 180]),
    ],
)
def test_borders_of_the_grid_are_as_in_the_slow_grid(lat: list[float], lon: list[float]) -> None:
    weights = np.array([3.0, 2.0, 1.5])
    lat_array, lon_array = np.array(lat, float), np.array(lon, float)
    assert grid_mode(lat_array, lon_array, weights) == slow_mode(lat_array, lon_array, weights)


def test_the_blur_is_a_truncated_gaussian_sum() -> None:
    # The oracle's own blur, against the definition written out for one vote far from borders.
    grid = np.zeros((41, 41))
    grid[20, 20] = 1.0
    kernel = [math.exp(-(i**2) / (2 * 4**2)) for i in range(-8, 9)]
    expected = np.zeros((41, 41))
    for i in range(-8, 9):
        for j in range(-8, 9):
            expected[20 + i, 20 + j] = kernel[i + 8] * kernel[j + 8] / sum(kernel) ** 2
    np.testing.assert_allclose(blurred(grid, 4), expected, atol=1e-15)


def test_a_single_vote_is_named_by_the_upper_edge_of_its_cell() -> None:
    assert grid_mode(np.array([48.8566]), np.array([2.3522]), np.ones(1)) == (48.9, 2.4)


def test_votes_do_not_wrap_round_the_antimeridian() -> None:
    # Two at 179.9 are outvoted by three at -179.9 that a wrapping grid would have joined.
    lat, lon = np.zeros(5), np.array([179.95, 179.95, -179.95, -179.95, -179.95])
    assert grid_mode(lat, lon, np.ones(5))[1] < -170


def test_the_best_ranked_neighbour_near_the_mode_is_the_answer() -> None:
    lat, lon = np.array([10.0, 0.85, 0.05]), np.array([10.0, 0.0, 0.0])
    assert snap(lat, lon, (0.0, 0.0)) == (0.85, 0.0)


def test_a_vote_in_the_outermost_cell_of_the_window_counts_many_times() -> None:
    # Coarse mode at row 90, so the window ends with the cell of 20.0° N and repeats it outwards:
    # one vote there beats five in the middle.
    lat, lon, weights = np.array([-0.5, 20.0]), np.array([30.0, 30.0]), np.array([5.0, 1.0])
    assert grid_mode(lat, lon, weights) == slow_mode(lat, lon, weights) == (20.0, 30.0)


def test_votes_beyond_the_outermost_window_leave_the_coarse_mode() -> None:
    # The window ends at 179° E and at 79° N; a vote at the corner of the grid is outside it.
    assert grid_mode(np.array([89.5]), np.array([179.5]), np.ones(1)) == (90, 180)


def test_the_mode_is_the_answer_where_no_neighbour_is_near() -> None:
    # Two equal votes three degrees apart: the maximum lies between, 167 km from either.
    lat, lon = np.array([0.0, 3.0]), np.zeros(2)
    place = locate(lat, lon, np.full(2, 0.4), method="im2gps", regions=False)
    assert great_circle_km(place.lat, place.lon, lat, lon).min() > 100
    assert (place.lat, place.lon) == (place.modes[0].lat, place.modes[0].lon)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_locate_snaps_the_slow_mode(seed: int) -> None:
    lat, lon, distance = neighbours(seed, k=15)
    place = locate(lat, lon, distance, method="im2gps", regions=False)
    mode = slow_mode(lat, lon, (2 * distance) ** -10.0)
    expected = mode
    for phi, lam in zip(lat, lon, strict=True):
        if great_circle_km(*mode, phi, lam) < 100:
            expected = (phi, lam)
            break
    assert (place.lat, place.lon) == expected
    np.testing.assert_allclose(place.weights.sum(), 1)
    assert 0 < place.agreement <= 1
