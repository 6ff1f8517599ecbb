"""The area of the region that just holds a point: against circles and against counting cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosearch.density import Mixture, area_at
from geosearch.sphere import (
    EARTH_RADIUS_KM,
    Cells,
    cap_km2,
    cap_radius_km,
    destination,
    unit_vectors,
)

CELLS = Cells.of_sphere(16)
CENTRES = CELLS.centres()


@given(
    st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 360),
    st.floats(0.001, 20_000), st.sampled_from([0.02, 5.0, 800.0]),
)  # fmt: skip
def test_of_one_kernel_it_is_the_circle_that_reaches_to_the_point(
    lat: float, lon: float, bearing: float, km: float, bandwidth_km: float
) -> None:
    there = destination(lat, lon, bearing, km)
    mixture = Mixture.at([lat], [lon], [1.0], bandwidth_km)
    found = area_at(mixture, float(there[0]), float(there[1]))
    assert found == pytest.approx(float(cap_km2(km)), rel=1e-3, abs=1e-3 * bandwidth_km**2)


@given(st.floats(0.001, 20_000))
def test_circles_and_their_areas_are_inverse(km: float) -> None:
    assert float(cap_radius_km(cap_km2(km))) == pytest.approx(km, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_of_many_kernels_it_is_what_counting_cells_gives(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 60))
    lat, lon = generator.uniform(-80, 80, count), generator.uniform(-180, 180, count)
    weights = generator.dirichlet(np.full(count, 0.3))
    mixture = Mixture.at(lat, lon, weights, generator.choice([400.0, 900.0, 2500.0], count))
    density = mixture.log_density(CENTRES)
    for point in generator.uniform([-90, -180], [90, 180], (6, 2)):
        there = float(mixture.log_density(unit_vectors(*point)[None])[0])
        counted = CELLS.steradians * EARTH_RADIUS_KM**2 * np.sum(density >= there)
        assert area_at(mixture, *point) == pytest.approx(counted, rel=0.08, abs=3e5)


@pytest.mark.parametrize("scale", [10.0, 1000.0])
def test_it_shrinks_with_the_square_of_the_scale(scale: float) -> None:
    generator = np.random.default_rng(3)
    bearing, km = generator.uniform(0, 360, 40), generator.uniform(0, 100, 40)
    weights = generator.dirichlet(np.ones(40))

    def area(by: float) -> float:
        mixture = Mixture.at(*destination(20.0, 30.0, bearing, km / by), weights, 10.0 / by)
        lat, lon = destination(20.0, 30.0, 45.0, 80.0 / by)
        return area_at(mixture, float(lat), float(lon))

    assert area(scale) * scale**2 == pytest.approx(area(1.0), rel=0.05)
