"""The sphere: coordinates, great circles and cells of equal area."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosearch.sphere import (
    EARTH_RADIUS_KM,
    Cells,
    destination,
    great_circle_km,
    great_circle_line,
    initial_bearing,
    lat_lon,
    tangent_basis,
    unit_vectors,
    z_to_lat,
)

HALF_GLOBE_KM = np.pi * EARTH_RADIUS_KM

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)


def test_axes_of_unit_vectors() -> None:
    vectors = unit_vectors([0, 0, 90, -90], [0, 90, 12, 34])
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]]
    np.testing.assert_allclose(vectors, expected, atol=1e-15)


@given(lat=latitudes, lon=longitudes)
def test_coordinates_survive_unit_vectors(lat: float, lon: float) -> None:
    vector = unit_vectors(lat, lon)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-15)
    back_lat, back_lon = lat_lon(vector)
    assert back_lat == pytest.approx(lat, abs=1e-12)
    assert -180 <= back_lon < 180
    assert great_circle_km(lat, lon, back_lat, back_lon) < 1e-8


def test_longitude_180_is_given_as_minus_180() -> None:
    assert lat_lon(np.array([-1.0, 0.0, 0.0]))[1] == -180


@pytest.mark.parametrize(
    ("start", "stop", "km"),
    [
        ((0, 0), (0, 1), HALF_GLOBE_KM / 180),
        ((0, 0), (90, 77), HALF_GLOBE_KM / 2),
        ((90, 0), (-90, 120), HALF_GLOBE_KM),
        ((10, 20), (-10, -160), HALF_GLOBE_KM),
        ((0, 179.5), (0, -179.5), HALF_GLOBE_KM / 180),
        ((60, 0), (60, 180), HALF_GLOBE_KM / 3),
        # One millimetre of latitude, far below the resolution of 1 - cos.
        ((45, 7), (45 + np.degrees(1e-6 / EARTH_RADIUS_KM), 7), 1e-6),
        # Paris to New York.
        ((48.8566, 2.3522), (40.7128, -74.0060), 5837.24),
    ],
)
def test_known_great_circle_distances(
    start: tuple[float, float], stop: tuple[float, float], km: float
) -> None:
    assert great_circle_km(*start, *stop) == pytest.approx(km, rel=1e-6)


def test_nearly_antipodal_points_are_told_apart() -> None:
    short_of = HALF_GLOBE_KM - great_circle_km(0, 0, 0, 180 - 1e-7)
    assert short_of == pytest.approx(np.radians(1e-7) * EARTH_RADIUS_KM, rel=1e-5)


@given(lat=latitudes, lon=longitudes, bearing=st.floats(0, 360), km=st.floats(0, 20_000))
def test_destination_lies_at_its_distance(
    lat: float, lon: float, bearing: float, km: float
) -> None:
    there = destination(lat, lon, bearing, km)
    assert great_circle_km(lat, lon, *there) == pytest.approx(km, abs=1e-7)


@given(lat=st.floats(-89, 89), lon=longitudes, bearing=st.floats(0, 359.9), km=st.floats(1, 19_000))
def test_bearing_leads_to_the_destination(
    lat: float, lon: float, bearing: float, km: float
) -> None:
    there = destination(lat, lon, bearing, km)
    turn = (initial_bearing(lat, lon, *there) - bearing + 180) % 360 - 180
    assert turn == pytest.approx(0, abs=1e-6)


def test_destinations_broadcast() -> None:
    lat, lon = destination(0, 0, np.array([[0.0], [90.0]]), np.array([0.0, HALF_GLOBE_KM / 4]))
    np.testing.assert_allclose(lat, [[0, 45], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(lon, [[0, 0], [0, 45]], atol=1e-12)


@given(lat=latitudes, lon=longitudes)
def test_tangent_basis_is_orthonormal(lat: float, lon: float) -> None:
    point = unit_vectors(lat, lon)
    frame = np.stack([point, *tangent_basis(point)])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-14)


@pytest.mark.parametrize("depth", [0, 1, 7, 12])
def test_cells_cover_the_sphere_with_equal_areas(depth: int) -> None:
    cells = Cells.of_sphere(depth)
    assert len(cells) == 2**depth
    areas = np.radians(cells.east - cells.west) * (cells.north - cells.south)
    np.testing.assert_allclose(areas, cells.steradians, rtol=1e-14)
    assert areas.sum() == pytest.approx(4 * np.pi)


def test_every_point_is_in_exactly_one_cell() -> None:
    cells, points = Cells.of_sphere(9), np.random.default_rng(3).uniform(-1, 1, (200, 2))
    lon, z = 180 * points[:, :1], points[:, 1:]
    inside = (cells.west <= lon) & (lon < cells.east) & (cells.south <= z) & (z < cells.north)
    assert (inside.sum(axis=1) == 1).all()


def test_cells_stay_compact() -> None:
    cells = Cells.of_sphere(13)
    disc = 2 * np.sqrt(cells.steradians / np.pi)  # diameter of a disc of the same area
    assert (2 * cells.chord_radii() / disc).max() < 2.2


def test_no_point_of_a_cell_is_beyond_its_chord_radius() -> None:
    cells = Cells.of_sphere(6)
    inner = np.linspace(0, 1, 9)
    lon = cells.west[:, None, None] + (cells.east - cells.west)[:, None, None] * inner[:, None]
    z = cells.south[:, None, None] + (cells.north - cells.south)[:, None, None] * inner
    points = unit_vectors(z_to_lat(z), lon)
    chords = np.linalg.norm(points - cells.centres()[:, None, None], axis=-1)
    np.testing.assert_allclose(chords.max(axis=(1, 2)), cells.chord_radii(), rtol=1e-12)


def test_latitude_of_z_is_accurate_at_the_poles() -> None:
    assert z_to_lat([-1.0, 0.0, 0.5, 1.0]) == pytest.approx([-90, 0, 30, 90], abs=1e-13)
    colatitude = 90 - z_to_lat(1 - 2.0**-40)
    assert colatitude == pytest.approx(np.degrees(np.sqrt(2.0**-39)), rel=1e-6)


@pytest.mark.parametrize("lon1", [180.0, -180.0, 170.0, -170.0])
@pytest.mark.parametrize("lon2", [180.0, -180.0])
def test_a_line_to_the_antimeridian_does_not_jump(lon1: float, lon2: float) -> None:
    lat, lon = great_circle_line(-40.0, lon1, 55.0, lon2, 50)
    assert np.abs(np.diff(lon)).max() < 5
    assert (lat[0], lat[-1]) == pytest.approx((-40.0, 55.0))
    np.testing.assert_allclose(great_circle_km(lat[0], lon[0], -40.0, lon1), 0, atol=1e-6)
    np.testing.assert_allclose(great_circle_km(lat[-1], lon[-1], 55.0, lon2), 0, atol=1e-6)
