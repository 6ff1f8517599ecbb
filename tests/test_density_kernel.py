"""The kernel mixture: agreement with SciPy, normalisation, cap masses, modes and weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation
from scipy.stats import vonmises_fisher

from geosearch.density.caps import cap_mass, cap_radii_km
from geosearch.density.kernel import Mixture
from geosearch.density.modes import find_modes
from geosearch.density.weights import neighbour_weights
from geosearch.errors import InputError
from geosearch.sphere import (
    EARTH_RADIUS_KM,
    Array,
    Cells,
    destination,
    great_circle_km,
    lat_lon,
    unit_vectors,
)

NORTH = np.array([0.0, 0.0, 1.0])


def random_mixture(seed: int, k: int, bandwidth_km: float, spread_deg: float = 90) -> Mixture:
    """Components within `spread_deg` of the north pole, with random weights."""
    random = np.random.default_rng(seed)
    z = random.uniform(np.cos(np.radians(spread_deg)), 1, k)
    weights = random.dirichlet(np.ones(k))
    return Mixture.at(np.degrees(np.arcsin(z)), random.uniform(-180, 180, k), weights, bandwidth_km)


def single(kappa: float, centre: Array = NORTH) -> Mixture:
    return Mixture(centre[None], np.ones(1), kappa)


class TestDensity:
    @pytest.mark.parametrize("kappa", [0.2, 1, 30, 1e3, 1e5])
    def test_one_kernel_is_the_von_mises_fisher_distribution(self, kappa: float) -> None:
        centre = unit_vectors(-33.0, 151.0)
        reference = vonmises_fisher(centre, kappa)
        points = reference.rvs(50, random_state=np.random.default_rng(1))
        ours = single(kappa, centre).log_density(points)
        # SciPy takes x·y rather than the chord, and so loses digits as κ grows.
        np.testing.assert_allclose(ours, reference.logpdf(points), atol=1e-13 + 1e-15 * kappa)

    @pytest.mark.parametrize("bandwidth_km", [300, 1500, 5000, 20_000, (300, 3000, 20_015)])
    def test_the_integral_over_the_sphere_is_one(
        self, bandwidth_km: float | tuple[float, ...]
    ) -> None:
        spread = random_mixture(2, 10, 1000, spread_deg=180)
        mixture = Mixture.of_neighbours(*lat_lon(spread.centres), spread.weights, bandwidth_km)
        z, z_weights = np.polynomial.legendre.leggauss(160)
        lon = np.arange(320) * 360 / 320
        points = unit_vectors(np.degrees(np.arcsin(z))[:, None], lon).reshape(-1, 3)
        density = np.exp(mixture.log_density(points)).reshape(160, 320)
        integral = z_weights @ density.mean(axis=1) * 2 * np.pi
        assert integral == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize("kappa", [1e-3, 1, 1e3, 1e6, 1e9, 4e13])
    def test_the_radial_integral_of_a_kernel_is_one(self, kappa: float) -> None:
        nodes, weights = np.polynomial.legendre.leggauss(200)
        reach = min(2.0, 40 / kappa)  # in 1 - cos, where the kernel is an exponential
        drop = reach / 2 * (1 + nodes)
        points = np.stack([np.sqrt(drop * (2 - drop)), 0 * drop, 1 - drop], axis=1)
        if kappa > 1e6:  # 1 - drop has no digits left: keep the chord by the near-flat identity
            points[:, 2] = np.sqrt(1 - points[:, 0] ** 2)
        density = np.exp(single(kappa).log_density(points))
        integral = 2 * np.pi * reach / 2 * weights @ density
        assert integral == pytest.approx(1, abs=1e-6)

    def test_far_points_keep_a_finite_log_density(self) -> None:
        log_density = single(1e9).log_density(-NORTH[None])
        assert log_density[0] == pytest.approx(-2e9, rel=1e-6)

    def test_batches_do_not_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mixture, points = random_mixture(4, 7, 900), Cells.of_sphere(8).centres()
        whole = mixture.log_density(points)
        monkeypatch.setattr("geosearch.density.kernel.PAIRS_AT_ONCE", 50)
        np.testing.assert_array_equal(mixture.log_density(points), whole)

    def test_no_points_have_no_densities(self) -> None:
        assert single(1).log_density(np.empty((0, 3))).shape == (0,)

    @pytest.mark.parametrize("bandwidth_km", [0, -5, 0.0001, 30_000, np.nan])
    def test_unusable_bandwidths_are_refused(self, bandwidth_km: float) -> None:
        with pytest.raises(InputError, match="bandwidth"):
            Mixture.at(np.zeros(1), np.zeros(1), np.ones(1), bandwidth_km)

    @pytest.mark.parametrize("kappa", [1.0, 1e3, 1e6, 1e9])
    def test_kernels_of_one_bandwidth_each_are_summed(self, kappa: float) -> None:
        centres = unit_vectors([10.0, 10.001, -50.0], [20.0, 20.0, 60.0])
        weights, kappas = np.array([0.2, 0.3, 0.5]), np.array([kappa, 3 * kappa, 0.5])
        points = np.concatenate([centres, unit_vectors([10.0005], [20.0])])
        by_kernel = [
            weight * np.exp(single(concentration, centre).log_density(points))
            for centre, weight, concentration in zip(centres, weights, kappas, strict=True)
        ]
        mixture = Mixture(centres, weights, kappas)
        np.testing.assert_allclose(
            np.exp(mixture.log_density(points)), np.sum(by_kernel, axis=0), rtol=1e-10
        )

    def test_several_bandwidths_are_the_mean_of_the_densities(self) -> None:
        lat, lon, weights = [10.0, -20.0], [5.0, 170.0], np.array([0.3, 0.7])
        points = Cells.of_sphere(8).centres()
        narrow, wide = (Mixture.at(lat, lon, weights, km).log_density(points) for km in (200, 9000))
        for shares, expected in (
            (None, np.exp(narrow) / 2 + np.exp(wide) / 2),
            ((3, 1), np.exp(narrow) * 0.75 + np.exp(wide) * 0.25),
            ((0, 1), np.exp(wide)),
        ):
            both = Mixture.of_neighbours(lat, lon, weights, (200, 9000), shares)
            np.testing.assert_allclose(np.exp(both.log_density(points)), expected, rtol=1e-12)
            assert both.weights.sum() == pytest.approx(1)

    def test_the_widest_kernel_is_nearly_uniform(self) -> None:
        mixture = Mixture.of_neighbours([30.0], [40.0], [1.0], 20_015)
        density = np.exp(mixture.log_density(Cells.of_sphere(8).centres())) * 4 * np.pi
        assert 0.89 < density.min() < density.max() < 1.11

    @pytest.mark.parametrize(
        ("bandwidths", "shares"), [((10, 20), (1,)), ((10, 20), (1, -1)), ((10,), (0,)), ((), ())]
    )
    def test_bandwidth_weights_that_do_not_fit_are_refused(
        self, bandwidths: tuple[float, ...], shares: tuple[float, ...]
    ) -> None:
        with pytest.raises(InputError, match="bandwidth"):
            Mixture.of_neighbours([1.0], [2.0], [1.0], bandwidths, shares)

    def test_the_lattice_has_the_moments_of_the_mixture(self) -> None:
        mixture = random_mixture(5, 4, 1000)
        points, mass = mixture.lattice(20_000)
        kappa = mixture.kappa[0]
        mean_of_kernel = 1 / np.tanh(kappa) - 1 / kappa
        assert mass.sum() == pytest.approx(1)
        np.testing.assert_allclose(
            mass @ points, mean_of_kernel * mixture.weights @ mixture.centres, atol=1e-4
        )

    def test_the_lightest_components_go_together(self) -> None:
        weights = np.array([0.5, 0.004, 0.49, 0.006])
        mixture = Mixture(np.eye(3)[[0, 1, 2, 0]], weights, 10.0)
        np.testing.assert_allclose(
            mixture.without_lightest(0.005).weights, weights[[0, 2, 3]] / 0.996
        )
        np.testing.assert_allclose(mixture.without_lightest(0.011).weights, weights[[0, 2]] / 0.99)

    def test_condensed_components_keep_mass_mean_and_spread(self) -> None:
        random = np.random.default_rng(9)
        lat, lon = random.normal(40, 0.5, 200), random.normal(-179.9, 0.5, 200)
        mixture = Mixture.at(lat, lon, random.dirichlet(np.ones(200)), 200)
        condensed = mixture.condensed(0.5)
        assert len(condensed.weights) < 20
        assert condensed.weights.sum() == pytest.approx(1)
        points, _ = mixture.lattice(1000)
        np.testing.assert_allclose(
            condensed.log_density(points), mixture.log_density(points), atol=0.02
        )

    def test_kernels_of_other_bandwidths_are_not_condensed_together(self) -> None:
        mixture = Mixture.of_neighbours([5.0, 5.0], [6.0, 6.0], [0.5, 0.5], [100, 300])
        condensed = mixture.condensed(0.5)
        np.testing.assert_allclose(np.sort(condensed.kappa), np.unique(mixture.kappa))
        np.testing.assert_allclose(condensed.weights, 0.5)


def _radius_of(mixture: Mixture, share: float) -> float:
    """Angle round the north pole, where all kernels lie, that holds a share, by bisection."""

    def excess(radius: float) -> float:
        drop = 2 * np.sin(radius / 2) ** 2
        held = np.expm1(-mixture.kappa * drop) / np.expm1(-2 * mixture.kappa)
        return float(mixture.weights @ held) - share

    return float(brentq(excess, 0, np.pi, xtol=1e-14))


class TestCaps:
    @pytest.mark.parametrize("kappa", [0.1, 1, 40, 1e4, 1e9, 4e13])
    @pytest.mark.parametrize("bandwidths", [0.3, 1, 2.5])
    def test_a_centred_cap_has_the_closed_form(self, kappa: float, bandwidths: float) -> None:
        radius = min(bandwidths / np.sqrt(kappa), 3.0)
        drop = 2 * np.sin(radius / 2) ** 2
        expected = np.expm1(-kappa * drop) / np.expm1(-2 * kappa)
        assert cap_mass(single(kappa), NORTH, radius) == pytest.approx(expected, abs=1e-7)

    @pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize("bandwidth_km", [0.1, 200.0, 8000.0])
    def test_the_radius_inverts_the_closed_form(self, share: float, bandwidth_km: float) -> None:
        mixture = Mixture.at(np.array([51.0]), np.array([7.0]), np.ones(1), bandwidth_km)
        kappa = mixture.kappa[0]
        drop = -np.log1p(share * np.expm1(-2 * kappa)) / kappa
        expected = 2 * np.arcsin(np.sqrt(drop / 2)) * EARTH_RADIUS_KM
        (radius,) = cap_radii_km(mixture, unit_vectors(51.0, 7.0), [share])
        assert radius == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("bandwidth_km", [800, 3000])
    @pytest.mark.parametrize("radius", [0.2, 1.0, 2.8])
    def test_an_eccentric_cap_holds_what_quadrature_finds(
        self, bandwidth_km: float, radius: float
    ) -> None:
        mixture, centre = random_mixture(6, 12, bandwidth_km, spread_deg=180), unit_vectors(20, 30)
        cells = Cells.of_sphere(16)
        points = cells.centres()
        inside = points @ centre >= np.cos(radius)
        expected = np.exp(mixture.log_density(points[inside])).sum() * cells.steradians
        assert cap_mass(mixture, centre, radius) == pytest.approx(expected, abs=2e-3)

    def test_the_whole_sphere_holds_everything(self) -> None:
        for bandwidth_km in (1.0, 500.0, 10_000.0):
            mixture = random_mixture(7, 20, bandwidth_km, spread_deg=180)
            assert cap_mass(mixture, -NORTH, np.pi) == pytest.approx(1, abs=1e-7)

    @settings(deadline=None, max_examples=40)
    @given(
        seed=st.integers(0, 1000),
        bandwidth_km=st.floats(0.01, 15_000),
        share=st.floats(0.01, 0.99),
    )
    def test_the_cap_of_a_radius_holds_its_share(
        self, seed: int, bandwidth_km: float, share: float
    ) -> None:
        mixture, centre = random_mixture(seed, 8, bandwidth_km), unit_vectors(60, 10)
        (radius,) = cap_radii_km(mixture, centre, [share])
        assert cap_mass(mixture, centre, radius / EARTH_RADIUS_KM) == pytest.approx(share, abs=2e-5)

    def test_a_cap_round_several_bandwidths_has_the_closed_form(self) -> None:
        kappa, radius = np.array([2.0, 400.0]), 0.1
        expected = np.expm1(-kappa * 2 * np.sin(radius / 2) ** 2) / np.expm1(-2 * kappa)
        mixture = Mixture(np.stack([NORTH, NORTH]), np.array([0.4, 0.6]), kappa)
        assert cap_mass(mixture, NORTH, radius) == pytest.approx([0.4, 0.6] @ expected, abs=1e-7)
        (radius_km,) = cap_radii_km(mixture, NORTH, [0.5])
        assert radius_km == pytest.approx(EARTH_RADIUS_KM * _radius_of(mixture, 0.5), rel=1e-5)

    def test_two_far_kernels_of_equal_weight_have_a_radius_for_half(self) -> None:
        mixture = Mixture.at(np.zeros(2), np.array([0.0, 90.0]), np.full(2, 0.5), 1.0)
        (radius,) = cap_radii_km(mixture, unit_vectors(0, 0), [0.5])
        assert 5 < radius < np.pi / 2 * EARTH_RADIUS_KM - 5


def tops_by_mean_shift(mixture: Mixture) -> Array:
    """Where plain mean shift, step by step, leads from every component."""
    points, kappa = mixture.centres, mixture.kappa
    for _ in range(3000):
        chords = ((points[:, None] - mixture.centres) ** 2).sum(axis=2)
        logs = mixture.log_peaks - kappa / 2 * chords
        pulls = (np.exp(logs - logs.max(axis=1, keepdims=True)) * kappa) @ mixture.centres
        pulls /= np.linalg.norm(pulls, axis=1, keepdims=True)
        moved, points = np.abs(pulls - points).max(), pulls
        if moved < 1e-7 * mixture.bandwidth.min():
            break
    return points


class TestModes:
    def test_one_neighbour_is_its_own_mode(self) -> None:
        mixture = Mixture.at(np.array([51.5]), np.array([-0.1]), np.ones(1), 10)
        (mode,) = find_modes(mixture)
        assert (mode.lat, mode.lon) == pytest.approx((51.5, -0.1), abs=1e-12)
        assert mode.mass == 1
        assert mode.density == pytest.approx(mixture.kappa[0] / (2 * np.pi))

    def test_identical_neighbours_make_one_mode(self) -> None:
        mixture = Mixture.at(np.full(100, 90.0), np.full(100, 30.0), np.full(100, 0.01), 0.05)
        (mode,) = find_modes(mixture)
        assert mode.lat == pytest.approx(90)
        assert mode.mass == pytest.approx(1)

    @pytest.mark.parametrize("bandwidth_km", [0.01, 100, 3000])
    def test_antipodal_neighbours_are_two_modes(self, bandwidth_km: float) -> None:
        mixture = Mixture.at(
            np.array([10.0, -10.0]), np.array([20.0, -160.0]), np.array([0.4, 0.6]), bandwidth_km
        )
        strong, weak = find_modes(mixture)
        assert (strong.lat, strong.lon, strong.mass) == pytest.approx((-10, -160, 0.6))
        assert (weak.lat, weak.lon, weak.mass) == pytest.approx((10, 20, 0.4))
        assert strong.density > weak.density

    def test_two_close_neighbours_meet_half_way_across_the_antimeridian(self) -> None:
        mixture = Mixture.at(np.zeros(2), np.array([179.0, -179.0]), np.full(2, 0.5), 300)
        (mode,) = find_modes(mixture)
        assert great_circle_km(mode.lat, mode.lon, 0, 180) < 1e-6

    def test_a_neighbour_on_a_saddle_is_not_a_mode(self) -> None:
        # The middle one, of hardly any weight, sits exactly between two strong ones.
        weights = np.array([0.4999, 0.0002, 0.4999])
        mixture = Mixture.at(np.zeros(3), np.array([-5.0, 0.0, 5.0]), weights, 300)
        modes = find_modes(mixture)
        assert len(modes) == 2
        assert sorted(round(mode.lon) for mode in modes) == [-5, 5]
        assert sum(mode.mass for mode in modes) == pytest.approx(1)

    def test_neighbours_of_hardly_any_weight_start_no_climb(self) -> None:
        lat, lon = np.array([10.0, -40.0, 70.0]), np.array([20.0, 100.0, -60.0])
        mixture = Mixture.at(lat, lon, np.array([1.0, 1e-300, 0.0]), 0.5)
        (mode,) = find_modes(mixture)
        assert (mode.lat, mode.lon, mode.mass) == pytest.approx((10, 20, 1))

    def test_a_light_neighbour_far_from_all_others_is_a_mode(self) -> None:
        lat, lon = np.array([10.0, -40.0]), np.array([20.0, 100.0])
        strong, weak = find_modes(Mixture.at(lat, lon, np.array([1.0, 1e-90]), 0.5))
        assert (strong.lat, strong.lon, strong.mass) == pytest.approx((10, 20, 1))
        assert (weak.lat, weak.lon) == pytest.approx((-40, 100))
        assert weak.mass == pytest.approx(1e-90, abs=0)

    @settings(deadline=None, max_examples=40)
    @given(seed=st.integers(0, 10_000), bandwidth_km=st.floats(0.01, 10_000))
    def test_modes_are_maxima_and_share_all_the_mass(self, seed: int, bandwidth_km: float) -> None:
        spread = np.degrees(min(np.pi, 4 * bandwidth_km / EARTH_RADIUS_KM))
        mixture = random_mixture(seed, 12, bandwidth_km, spread)
        modes = find_modes(mixture)
        assert sum(mode.mass for mode in modes) == pytest.approx(1)
        assert list(modes) == sorted(modes, key=lambda mode: -mode.density)
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        for mode in modes:
            peak = unit_vectors(mode.lat, mode.lon)
            frame = Rotation.align_vectors([peak], [NORTH])[0]
            step = 0.02 * mixture.bandwidth[0]
            ring = frame.apply(
                np.stack([step * np.cos(angles), step * np.sin(angles), 1 + 0 * angles], axis=1)
            )
            ring /= np.linalg.norm(ring, axis=1, keepdims=True)
            assert mixture.log_density(ring).max() <= np.log(mode.density) + 1e-9

    @settings(deadline=None, max_examples=15)
    @given(
        seed=st.integers(0, 10_000),
        bandwidth_km=st.sampled_from([0.2, 100.0, (1.0, 30.0), (300.0, 20_015.0)]),
        spread=st.floats(0.5, 8),
    )
    def test_modes_are_those_that_short_steps_uphill_lead_to(
        self, seed: int, bandwidth_km: float | tuple[float, ...], spread: float
    ) -> None:
        random = np.random.default_rng(seed)
        narrowest = np.min(bandwidth_km)
        away = narrowest * spread * np.sqrt(random.uniform(0, 1, 15))
        lat, lon = destination(-70.0, 179.9, random.uniform(0, 360, 15), away)
        mixture = Mixture.of_neighbours(lat, lon, random.dirichlet(np.ones(15)), bandwidth_km)
        modes = find_modes(mixture)
        found = unit_vectors([mode.lat for mode in modes], [mode.lon for mode in modes])
        for end in tops_by_mean_shift(mixture):
            gap = np.linalg.norm(found - end, axis=1) * EARTH_RADIUS_KM / narrowest
            assert gap.min() < 0.02

    @settings(deadline=None, max_examples=40)
    @given(
        seed=st.integers(0, 10_000),
        place=st.sampled_from([(90.0, 0.0), (-90.0, 10.0), (0.0, 180.0), (-70.0, -179.9)]),
        bandwidth_km=st.sampled_from([0.002, 5.0, 300.0, 4000.0, (2.0, 60.0)]),
        spread=st.floats(0.3, 8),
        positions=st.integers(1, 30),
        even=st.booleans(),
    )
    def test_the_modes_are_all_those_that_climbs_from_every_neighbour_reach(
        self,
        seed: int,
        place: tuple[float, float],
        bandwidth_km: float | tuple[float, ...],
        spread: float,
        positions: int,
        even: bool,
    ) -> None:
        # Thirty neighbours at fewer positions, of equal weights or not.
        random, narrowest = np.random.default_rng(seed), float(np.min(bandwidth_km))
        away = np.minimum(narrowest * spread * np.sqrt(random.uniform(0, 1, positions)), 15_000)
        lat, lon = destination(*place, random.uniform(0, 360, positions), away)
        at = np.r_[np.arange(positions), random.integers(0, positions, 30 - positions)]
        weights = np.full(30, 1 / 30) if even else random.dirichlet(np.full(30, 0.2))
        mixture = Mixture.of_neighbours(lat[at], lon[at], weights, bandwidth_km)
        tops = tops_by_mean_shift(mixture)
        modes = find_modes(mixture)
        found = unit_vectors([mode.lat for mode in modes], [mode.lon for mode in modes])
        gaps = np.linalg.norm(tops[:, None] - found, axis=2) * EARTH_RADIUS_KM / narrowest
        assert gaps.min(axis=1).max() < 0.02, "a climb ends where there is no mode"
        assert gaps.min(axis=0).max() < 0.02, "a mode to which no climb leads"

    @settings(deadline=None, max_examples=25)
    @given(seed=st.integers(0, 10_000), bandwidth_km=st.sampled_from([1.0, 100.0, 2000.0]))
    def test_modes_turn_with_the_neighbours(self, seed: int, bandwidth_km: float) -> None:
        mixture = random_mixture(seed, 10, bandwidth_km, spread_deg=0.05 * bandwidth_km)
        rotation = Rotation.random(rng=np.random.default_rng(seed))
        turned = Mixture(rotation.apply(mixture.centres), mixture.weights, mixture.kappa)
        mode, image = find_modes(mixture)[0], find_modes(turned)[0]
        expected = rotation.apply(unit_vectors(mode.lat, mode.lon))
        gap = np.linalg.norm(expected - unit_vectors(image.lat, image.lon))
        assert gap < 1e-5 * mixture.bandwidth[0]
        assert image.mass == pytest.approx(mode.mass)
        assert image.density == pytest.approx(mode.density)


class TestWeights:
    distances = np.array([0.1, 0.2, 0.4])

    def test_power_is_of_the_squared_euclidean_distance(self) -> None:
        by_hand = (2 * self.distances) ** -10.0
        np.testing.assert_allclose(
            neighbour_weights(self.distances, "power:10"), by_hand / by_hand.sum()
        )
        np.testing.assert_array_equal(
            neighbour_weights(self.distances, "power"),
            neighbour_weights(self.distances, "power:10"),
        )

    def test_softmax_is_of_the_cosine_distance(self) -> None:
        by_hand = np.exp(-self.distances / 0.1)
        np.testing.assert_allclose(
            neighbour_weights(self.distances, "softmax:0.1"), by_hand / by_hand.sum()
        )

    def test_uniform_weights_are_equal(self) -> None:
        np.testing.assert_allclose(neighbour_weights(self.distances, "uniform"), 1 / 3)

    def test_identical_photos_share_all_the_weight(self) -> None:
        distances = np.array([-1e-8, 0.0, 0.3])
        np.testing.assert_array_equal(neighbour_weights(distances, "power:10"), [0.5, 0.5, 0])

    @pytest.mark.parametrize("scheme", ["power:10", "power:200", "softmax:1e-6", "uniform"])
    def test_tiny_distances_do_not_overflow(self, scheme: str) -> None:
        weights = neighbour_weights(np.array([1e-300, 1e-12, 2.0]), scheme)
        assert np.isfinite(weights).all()
        assert weights.sum() == pytest.approx(1)

    @pytest.mark.parametrize(
        "scheme",
        ["", "powder", "power:", "power:x", "power:-1", "softmax:0", "uniform:1", "power:inf"],
    )
    def test_unknown_schemes_are_refused(self, scheme: str) -> None:
        with pytest.raises(InputError, match="weighting"):
            neighbour_weights(self.distances, scheme)
