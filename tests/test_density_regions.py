"""Highest-density regions: how much they hold, where they lie, and their outlines."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geosearch.density.kernel import Mixture
from geosearch.density.levels import level_at
from geosearch.density.regions import Region, highest_density_regions
from geosearch.sphere import (
    EARTH_RADIUS_KM,
    Array,
    Cells,
    destination,
    lat_lon,
    unit_vectors,
)

LEVELS = (0.5, 0.9)


def mixture_at(
    lat: list[float], lon: list[float], bandwidth_km: float, weights: list[float] | None = None
) -> Mixture:
    shares = np.array(weights) if weights else np.full(len(lat), 1 / len(lat))
    return Mixture.at(np.array(lat), np.array(lon), shares, bandwidth_km)


def contains(region: Region, points: Array) -> np.ndarray:
    lat, lon = lat_lon(points)
    inside: np.ndarray = shapely.contains_xy(region.geometry, lon, lat)
    return inside


def held(region: Region, mixture: Mixture) -> float:
    """Share of the mixture within the region's polygon, by a dense lattice of the mixture."""
    points, mass = mixture.lattice(20_000)
    return float(mass[contains(region, points)].sum())


def polygon_area_km2(region: Region) -> float:
    """Area of the polygon itself, by its rings in the equal-area plane (longitude, z)."""
    flat = shapely.transform(
        region.geometry,
        lambda xy: np.column_stack([np.radians(xy[:, 0]), np.sin(np.radians(xy[:, 1]))]),
    )
    return float(flat.area * EARTH_RADIUS_KM**2)


@pytest.mark.parametrize("bandwidth_km", [0.001, 0.1, 25.0, 450.0, 2000.0, 6000.0])
def test_the_regions_of_one_kernel_are_discs_of_the_closed_form(bandwidth_km: float) -> None:
    mixture = mixture_at([47.0], [8.0], bandwidth_km)
    regions = highest_density_regions(mixture, LEVELS)
    for level in LEVELS:
        # A cap that holds `level` has 1 - cos r = -log(1 - level (1 - exp(-2κ))) / κ.
        drop = -np.log1p(level * np.expm1(-2 * mixture.kappa[0])) / mixture.kappa[0]
        expected = 2 * np.pi * drop * EARTH_RADIUS_KM**2
        assert regions[level].level == level
        assert regions[level].area_km2 == pytest.approx(expected, rel=0.01)
        assert held(regions[level], mixture) == pytest.approx(level, abs=0.01)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 30),
    bandwidth_km=st.floats(0.05, 12_000),
    spread=st.floats(0, 30),
    wider=st.sampled_from([None, 3.0, 100.0]),
)
def test_regions_are_valid_nested_and_hold_their_level(
    seed: int, k: int, bandwidth_km: float, spread: float, wider: float | None
) -> None:
    random = np.random.default_rng(seed)
    lat0, lon0 = np.degrees(np.arcsin(random.uniform(-1, 1))), random.uniform(-180, 180)
    away = np.minimum(spread * bandwidth_km * random.uniform(0, 1, k), 20_000)
    lat, lon = destination(lat0, lon0, random.uniform(0, 360, k), away)
    bandwidths = [bandwidth_km] if wider is None else [bandwidth_km, bandwidth_km * wider]
    scales = [min(bandwidth, 20_000) for bandwidth in bandwidths]
    mixture = Mixture.of_neighbours(lat, lon, random.dirichlet(np.ones(k)), scales)
    regions = highest_density_regions(mixture, LEVELS)
    for level, region in regions.items():
        assert isinstance(region.geometry, shapely.MultiPolygon)
        assert region.geometry.is_valid
        west, south, east, north = region.geometry.bounds
        assert -180 <= west < east <= 180
        assert -90 <= south < north <= 90
        assert held(region, mixture) == pytest.approx(level, abs=0.02)
        # Sides that are straight in longitude and latitude are not quite so in z.
        assert polygon_area_km2(region) == pytest.approx(region.area_km2, rel=1e-3)
    assert regions[0.5].area_km2 < regions[0.9].area_km2
    outside = shapely.difference(regions[0.5].geometry, regions[0.9].geometry)
    assert outside.area <= 1e-9 * regions[0.5].geometry.area


@pytest.mark.parametrize("level", [1e-6, 0.001, 0.02, 0.999])
def test_extreme_levels_have_regions_too(level: float) -> None:
    mixture = mixture_at([50.0, 50.1], [8.0, 8.0], 30)
    region = highest_density_regions(mixture, [level])[level]
    assert region.geometry.is_valid
    assert held(region, mixture) == pytest.approx(level, abs=0.002)


@pytest.mark.parametrize("kappa", [1.0, 1e3, 1e9])
@pytest.mark.parametrize("level", [0.05, 0.5, 0.97])
def test_the_level_at_a_point_of_one_kernel_has_the_closed_form(kappa: float, level: float) -> None:
    mixture = Mixture(unit_vectors([90.0], [0.0]), np.ones(1), kappa)
    drop = -np.log1p(level * np.expm1(-2 * kappa)) / kappa
    lat = 90 - np.degrees(2 * np.arcsin(np.sqrt(drop / 2)))
    assert level_at(mixture, float(lat), 12.0) == pytest.approx(level, abs=0.002)


@pytest.mark.parametrize("bandwidth_km", [20.0, 400.0, (30.0, 2000.0)])
def test_a_point_is_in_the_regions_from_its_level_on(
    bandwidth_km: float | tuple[float, ...],
) -> None:
    random = np.random.default_rng(8)
    lat, lon = destination(-16.0, 179.0, random.uniform(0, 360, 9), random.uniform(0, 900, 9))
    mixture = Mixture.of_neighbours(lat, lon, random.dirichlet(np.ones(9)), bandwidth_km)
    lattice, _ = mixture.lattice(200)
    points = lattice[:: len(lattice) // 20]
    for phi, lam in zip(*lat_lon(points), strict=True):
        level = level_at(mixture, phi, lam)
        around = [step for step in (level - 0.03, level + 0.03) if 0 < step < 1]
        regions = highest_density_regions(mixture, around)
        for step, region in regions.items():
            assert shapely.contains_xy(region.geometry, lam, phi) == (step > level)


def test_levels_run_from_the_densest_point_to_the_farthest() -> None:
    mixture = mixture_at([10.0, 20.0], [0.0, 0.0], 100, [0.7, 0.3])
    assert level_at(mixture, 10.0, 0.0) < 0.01
    assert level_at(mixture, -10.0, 180.0) == 1


def test_no_area_of_the_same_size_holds_more() -> None:
    mixture = mixture_at([10.0, 14.0, -20.0], [0.0, 6.0, 3.0], 500, [0.5, 0.2, 0.3])
    cells = Cells.of_sphere(18)
    points = cells.centres()
    density = np.sort(np.exp(mixture.log_density(points)))[::-1] * cells.steradians
    best_area = cells.steradians * np.searchsorted(np.cumsum(density), LEVELS)
    regions = highest_density_regions(mixture, LEVELS)
    areas = [regions[level].area_km2 for level in LEVELS]
    assert areas == pytest.approx(best_area * EARTH_RADIUS_KM**2, rel=0.01)


def test_a_region_across_the_antimeridian_is_split_there() -> None:
    region = highest_density_regions(mixture_at([-17.0], [180.0], 200), LEVELS)[0.9]
    halves = region.geometry.geoms
    assert len(halves) == 2
    assert sorted(half.bounds[0] for half in halves)[0] == -180
    assert sorted(half.bounds[2] for half in halves)[-1] == 180
    assert all(half.bounds[2] - half.bounds[0] < 10 for half in halves)
    assert halves[0].area == pytest.approx(halves[1].area, rel=0.05)


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_a_region_round_a_pole_reaches_it_at_every_longitude(pole: float) -> None:
    region = highest_density_regions(mixture_at([pole], [0.0], 200), LEVELS)[0.9]
    assert region.geometry.is_valid
    west, south, east, north = region.geometry.bounds
    assert (west, east) == (-180, 180)
    assert (north if pole > 0 else south) == pole
    near = np.copysign(abs(pole) - 0.5, pole)
    longitudes = np.arange(-179.5, 180)
    assert shapely.contains_xy(region.geometry, longitudes, np.full(360, near)).all()


def test_far_neighbours_have_parts_of_their_own() -> None:
    lat, lon = [0.0, 40.0, -40.0, 70.0], [0.0, 90.0, -90.0, 150.0]
    region = highest_density_regions(mixture_at(lat, lon, 50), LEVELS)[0.9]
    assert len(region.geometry.geoms) == 4
    areas = [part.area * np.cos(np.radians(part.centroid.y)) for part in region.geometry.geoms]
    assert areas == pytest.approx([np.mean(areas)] * 4, rel=0.05)


def test_one_far_light_neighbour_is_left_out() -> None:
    mixture = mixture_at([0.0, 50.0], [0.0, 100.0], 100, [0.98, 0.02])
    (part,) = highest_density_regions(mixture, [0.9])[0.9].geometry.geoms
    assert abs(part.centroid.x) < 0.1
    assert abs(part.centroid.y) < 0.1


def test_a_ring_of_neighbours_leaves_a_hole() -> None:
    lat, lon = destination(20.0, 30.0, np.arange(0, 360, 10), 2000.0)
    mixture = Mixture.at(lat, lon, np.full(36, 1 / 36), 250)
    (ring,) = highest_density_regions(mixture, [0.9])[0.9].geometry.geoms
    assert len(ring.interiors) == 1
    assert not ring.contains(shapely.Point(30, 20))
    assert ring.exterior.is_ccw
    assert not ring.interiors[0].is_ccw


def test_an_island_in_a_hole_is_a_part_of_its_own() -> None:
    lat, lon = destination(20.0, 30.0, np.arange(0, 360, 10), 2000.0)
    weights = np.full(37, 0.9 / 36)
    weights[36] = 0.1
    mixture = Mixture.at(np.append(lat, 20.0), np.append(lon, 30.0), weights, 250)
    island, ring = sorted(
        highest_density_regions(mixture, [0.9])[0.9].geometry.geoms, key=lambda part: part.area
    )
    assert len(ring.interiors) == 1
    assert shapely.Polygon(ring.interiors[0]).contains(island)
    assert island.contains(shapely.Point(30, 20))


def test_a_region_of_nearly_everything_is_the_map_with_holes() -> None:
    mixture = mixture_at([10.0, -10.0], [20.0, -160.0], 9000)
    region = highest_density_regions(mixture, [0.98])[0.98]
    assert region.geometry.is_valid
    assert region.geometry.bounds == (-180, -90, 180, 90)
    assert held(region, mixture) == pytest.approx(0.98, abs=0.01)
    whole = 4 * np.pi * EARTH_RADIUS_KM**2
    assert region.area_km2 < whole
    assert polygon_area_km2(region) == pytest.approx(region.area_km2, rel=1e-3)


def test_kernels_of_very_different_bandwidths_are_outlined_alike() -> None:
    # A sharp peak off the middle of a wide one: half of the mass each.
    kappas = (EARTH_RADIUS_KM / np.array([0.5, 3000.0])) ** 2
    mixture = Mixture(unit_vectors([5.0, 0.0], [12.0, 0.0]), np.full(2, 0.5), kappas)
    regions = highest_density_regions(mixture, (0.4, 0.75))
    peak, both = regions[0.4], regions[0.75]
    # 80 % of the peak: a disc of the closed form; then the peak and half of the wide one.
    assert peak.area_km2 == pytest.approx(-2 * np.pi * 0.25 * np.log(0.2), rel=0.02)
    drop = -np.log1p(0.5 * np.expm1(-2 * kappas[1])) / kappas[1]
    assert both.area_km2 == pytest.approx(2 * np.pi * drop * EARTH_RADIUS_KM**2, rel=0.02)


def test_many_neighbours_have_regions_that_hold_their_level() -> None:
    random = np.random.default_rng(3)
    lat, lon = destination(50.0, 10.0, random.uniform(0, 360, 1000), random.uniform(0, 3000, 1000))
    mixture = Mixture.at(lat, lon, random.dirichlet(np.ones(1000)), 60)
    for level, region in highest_density_regions(mixture, LEVELS).items():
        assert held(region, mixture) == pytest.approx(level, abs=0.01)


def test_regions_are_the_same_each_time() -> None:
    mixture = mixture_at([1.0, 2.0, 30.0], [4.0, 4.5, 4.0], 80)
    first, second = (highest_density_regions(mixture, [0.7])[0.7] for _ in range(2))
    assert first.geometry.equals_exact(second.geometry)
    assert first.area_km2 == second.area_km2
