"""Places in SQL: modes, radii and weights equal to those of `geosearch.density`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from geosearch.database.connection import Database
from geosearch.density import Mixture, locate, neighbour_weights
from geosearch.density.caps import cap_mass
from geosearch.errors import DatabaseError
from geosearch.retrieval import nearest
from geosearch.retrieval.filters import InCollections
from geosearch.sphere import EARTH_RADIUS_KM, great_circle_km, unit_vectors
from tests.mixtures import Spread, mixtures
from tests.rows import add_embeddings, add_model, add_photos, places
from tests.test_sql_nearest import DIMENSION, MODEL, call, looks

Array = NDArray[np.float64]

METRE = 1e-3
CENTRES = [(90.0, 0.0), (-90.0, 0.0), (10.0, 180.0), (-60.0, -179.9), (89.5, 180.0), (47.0, 8.0)]

real_database = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def scattered(seed: int, k: int) -> tuple[Array, Array, Array]:
    """Positions and distances of k neighbours in some clusters, often round a pole or ±180°."""
    rng = np.random.default_rng([4, seed])
    count = int(rng.integers(1, 12))
    centres = rng.normal(size=(count, 3))
    centres[0] = unit_vectors(*CENTRES[seed % len(CENTRES)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    cluster = rng.integers(0, count, k)
    spread = 10 ** rng.uniform(-4, -0.5, count)
    points = centres[cluster] + spread[cluster][:, None] * rng.normal(size=(k, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    lat = np.degrees(np.arcsin(points[:, 2]))
    lon = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    repeated = rng.integers(0, k, k // 5)  # photos of one place, as from one camera
    lat[: len(repeated)], lon[: len(repeated)] = lat[repeated], lon[repeated]
    return lat, lon, np.sort(rng.uniform(0.15, 0.5, k))


def mode_of(
    connection: psycopg.Connection[Any],
    lat: Sequence[float] | Array,
    lon: Sequence[float] | Array,
    weights: Sequence[float] | Array,
    bandwidth_km: float | None = 200.0,
) -> tuple[float, float, float, float]:
    """Latitude, longitude, density and agreement by `geosearch.density_mode`."""
    row = connection.execute(
        "SELECT lat, lon, density, agreement FROM geosearch.density_mode(%s, %s, %s, %s)",
        (list(map(float, lat)), list(map(float, lon)), list(map(float, weights)), bandwidth_km),
    ).fetchone()
    assert row is not None
    return tuple(row)


def test_estimates_are_those_of_python_to_a_metre(module_database: Database) -> None:
    rng = np.random.default_rng(1)
    with module_database.connection() as connection:
        for seed in range(240):
            k = int(rng.integers(1, 101))
            bandwidth_km = (1.0, 25.0, 200.0, None, None, 1000.0, 5000.0)[rng.integers(0, 7)]
            lat, lon, distance = scattered(seed, k)
            place = locate(lat, lon, distance, bandwidth_km=bandwidth_km, levels=(), regions=False)
            found = mode_of(connection, lat, lon, place.weights, bandwidth_km)
            assert great_circle_km(found[0], found[1], place.lat, place.lon) < METRE, seed
            assert found[2] == pytest.approx(place.modes[0].density, rel=1e-6), seed
            assert found[3] == pytest.approx(place.agreement, abs=1e-6), seed


def test_many_neighbours_have_the_estimate_of_python_too(module_database: Database) -> None:
    with module_database.connection() as connection:
        for seed in range(2):
            lat, lon, distance = scattered(seed, 1000)
            place = locate(lat, lon, distance, bandwidth_km=200, levels=(), regions=False)
            found = mode_of(connection, lat, lon, place.weights)
            assert great_circle_km(found[0], found[1], place.lat, place.lon) < METRE
            assert found[3] == pytest.approx(place.agreement, abs=1e-3)


@real_database
@given(seed=st.integers(0, 10_000), k=st.integers(1, 100))
def test_the_bandwidth_that_follows_the_neighbours_is_that_of_python(
    module_database: Database, seed: int, k: int
) -> None:
    lat, lon, distance = scattered(seed, k)
    place = locate(lat, lon, distance, regions=False)
    given = (lat.tolist(), lon.tolist(), place.weights.tolist())
    with module_database.connection() as connection:
        row = connection.execute(
            "SELECT geosearch.neighbour_spacing(%s, %s, %s), "
            "geosearch.density_radii(%s, %s, %s, NULL, %s, %s, '{0.5,0.9}')",
            (*given, *given, place.lat, place.lon),
        ).fetchone()
    assert row is not None
    assert row[0] == pytest.approx(place.bandwidth_km, rel=1e-6)
    mixture = Mixture.of_neighbours(lat, lon, place.weights, row[0])
    for level, km in zip((0.5, 0.9), row[1], strict=True):
        centre = unit_vectors(place.lat, place.lon)
        assert cap_mass(mixture, centre, km / EARTH_RADIUS_KM) == pytest.approx(level, abs=2e-5)


@real_database
@given(mixture=mixtures(), shrunk=st.sampled_from([10, 100, 1000]))
def test_answers_shrink_with_the_places(
    module_database: Database, mixture: Spread, shrunk: int
) -> None:
    with module_database.connection() as connection:
        rows = []
        for factor in (1, shrunk):
            lat, lon = mixture.positions(factor)
            weights = neighbour_weights(mixture.distance, "power:10")
            found = connection.execute(
                "SELECT m.lat, m.lon, m.agreement, geosearch.density_radii("
                "a, b, w, NULL, m.lat, m.lon, '{0.5,0.9}') "
                "FROM (SELECT %s::float8[] AS a, %s::float8[] AS b, %s::float8[] AS w) AS given, "
                "geosearch.density_mode(a, b, w) AS m",
                (lat.tolist(), lon.tolist(), weights.tolist()),
            ).fetchone()
            assert found is not None
            rows.append((mixture.offset_km(found[0], found[1], factor), *found[2:]))
    (here, agreement, radii), (there, same, smaller) = rows
    assert there == pytest.approx(here, rel=0.02, abs=0.02 * radii[0])
    assert same == pytest.approx(agreement, abs=0.02)
    assert [shrunk * km for km in smaller] == pytest.approx(radii, rel=0.02)


@real_database
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 100),
    bandwidth_km=st.sampled_from([0.001, 1.0, 200.0, 2000.0, 20_000.0]),
    level=st.floats(0.05, 0.95),
)
def test_radii_hold_the_share_they_say(
    module_database: Database, seed: int, k: int, bandwidth_km: float, level: float
) -> None:
    lat, lon, distance = scattered(seed, k)
    weights = neighbour_weights(distance, "power:10")
    with module_database.connection() as connection:
        row = connection.execute(
            "SELECT geosearch.density_radii(%s, %s, %s, %s, %s, %s, %s)",
            (
                lat.tolist(),
                lon.tolist(),
                weights.tolist(),
                bandwidth_km,
                float(lat[0]),
                float(lon[0]),
                [level],
            ),
        ).fetchone()
    assert row is not None
    mixture = Mixture.of_neighbours(lat, lon, weights, bandwidth_km)
    held = cap_mass(mixture, unit_vectors(lat[0], lon[0]), row[0][0] / EARTH_RADIUS_KM)
    assert held == pytest.approx(level, abs=2e-5)


@pytest.mark.parametrize("weighting", ["power", "power:10", "power:0.5", "softmax:1e-2", "uniform"])
def test_weights_are_those_of_python(module_database: Database, weighting: str) -> None:
    for distances in ([0.3, 0.31, 0.5, 2.0], [0.0, 0.0, 0.1], [-1e-7, 0.2], [1e-12, 0.9], [0.4]):
        with module_database.connection() as connection:
            row = connection.execute(
                "SELECT geosearch.neighbour_weights(%s, %s)", (distances, weighting)
            ).fetchone()
        assert row is not None
        np.testing.assert_allclose(
            row[0], neighbour_weights(np.array(distances), weighting), atol=1e-15
        )


@pytest.mark.parametrize(
    "weighting", ["linear", "power:", "power:-1", "power:0", "power:nan", "uniform:1", "", None]
)
def test_weightings_that_cannot_be_used_are_refused(
    module_database: Database, weighting: str | None
) -> None:
    with (
        module_database.connection() as connection,
        pytest.raises(psycopg.DataError, match="no neighbour weighting is called") as raised,
        connection.transaction(),
    ):
        connection.execute("SELECT geosearch.neighbour_weights('{0.1}', %s)", (weighting,))
    assert "power:N" in str(raised.value.diag.message_hint)


def degrees(most: float) -> st.SearchStrategy[float]:
    return st.floats(-most, most).map(lambda value: round(value, 9))


@real_database
@given(points=st.lists(st.tuples(degrees(90), degrees(180)), min_size=1, max_size=6))
def test_the_mode_is_on_the_earth_and_at_least_as_dense_as_every_point(
    module_database: Database, points: list[tuple[float, float]]
) -> None:
    lat, lon = map(list, zip(*points, strict=True))
    with module_database.connection() as connection:
        found = mode_of(connection, lat, lon, [1.0] * len(lat))
    mixture = Mixture.of_neighbours(lat, lon, np.full(len(lat), 1 / len(lat)), 200.0)
    assert -90 <= found[0] <= 90
    assert -180 <= found[1] < 180
    assert np.log(found[2]) >= mixture.log_density(unit_vectors(lat, lon)).max() - 1e-9


def test_a_saddle_between_two_points_is_left_for_a_top(module_database: Database) -> None:
    # Far enough apart for two modes; the third, light point stands exactly on the saddle.
    lat, lon, weights = [0.0, 0.0, 0.0], [-4.0, 4.0, 0.0], [0.5, 0.5, 1e-6]
    with module_database.connection() as connection:
        found = mode_of(connection, lat, lon, weights)
    assert abs(found[1]) == pytest.approx(4, abs=0.1)
    assert found[3] == pytest.approx(0.5, abs=1e-5)


def test_distances_are_great_circles_on_the_sphere(module_database: Database) -> None:
    rng = np.random.default_rng(3)
    (lat1, lon1), (lat2, lon2) = places(rng, 50), places(rng, 50)
    lat1[:2], lon1[:2], lat2[:2], lon2[:2] = [90, 0], [10, 0], [-90, 0], [0, 180]
    with module_database.connection() as connection:
        rows = connection.execute(
            """
            SELECT geosearch.great_circle_km(a, b, c, d), geosearch.great_circle_km(
                ST_SetSRID(ST_MakePoint(b, a), 4326), ST_SetSRID(ST_MakePoint(d, c), 4326))
            FROM unnest(%s::float8[], %s::float8[], %s::float8[], %s::float8[]) AS p (a, b, c, d)
            """,
            [values.tolist() for values in (lat1, lon1, lat2, lon2)],
        ).fetchall()
        ask = "SELECT geosearch.great_circle_km(%s::geometry, 'SRID=4326;POINT(3 4)')"
        for unusable, says in {
            "SRID=3857;POINT(1 2)": "a point is in SRID 3857",
            "POINT(2600000 1200000)": "a point has no SRID and is beyond the Earth",
        }.items():
            with pytest.raises(psycopg.DataError, match=says), connection.transaction():
                connection.execute(ask, (unusable,))
        one, other = (
            connection.execute(ask, (point,)).fetchone()
            for point in ("POINT(1 2)", "SRID=4326;POINT(1 2)")
        )
        assert one == other
    expected = great_circle_km(lat1, lon1, lat2, lon2)
    np.testing.assert_allclose([row[0] for row in rows], expected, rtol=1e-12)
    assert [row[0] for row in rows] == [row[1] for row in rows]


class TestAggregate:
    """`geosearch.kde_mode`."""

    def mode(self, database: Database, arguments: str, values: str) -> tuple[float, float] | None:
        """Longitude and latitude, None for NULL."""
        statement = sql.SQL(
            """
            SELECT round(ST_X(mode)::numeric, 6), round(ST_Y(mode)::numeric, 6)
            FROM (
                SELECT geosearch.kde_mode({arguments}) AS mode
                FROM (VALUES {values}) AS p (geom, weight)
            ) AS modes
            """
        ).format(arguments=sql.SQL(arguments), values=sql.SQL(values))
        with database.connection() as connection, connection.transaction():
            row = connection.execute(statement).fetchone()
        assert row is not None
        return None if row[0] is None else (float(row[0]), float(row[1]))

    def test_is_the_densest_mode_of_each_group(self, module_database: Database) -> None:
        lat, lon, distance = scattered(5, 50)
        weights = neighbour_weights(distance, "power:10")
        with module_database.connection() as connection:
            rows = connection.execute(
                """
                SELECT side, ST_Y(mode), ST_X(mode), ST_SRID(mode)
                FROM (
                    SELECT number %% 2 AS side, geosearch.kde_mode(
                        ST_SetSRID(ST_MakePoint(lon, lat), 4326), weight, 25) AS mode
                    FROM unnest(%s::float8[], %s::float8[], %s::float8[])
                        WITH ORDINALITY AS p (lat, lon, weight, number)
                    GROUP BY side
                ) AS modes
                """,
                (lat.tolist(), lon.tolist(), weights.tolist()),
            ).fetchall()
        assert len(rows) == 2
        for side, found_lat, found_lon, srid in rows:
            own = np.arange(1, 51) % 2 == side
            shares = weights[own] / weights[own].sum()
            mixture = Mixture.of_neighbours(lat[own], lon[own], shares, 25.0)
            place = locate(lat[own], lon[own], distance[own], bandwidth_km=25, regions=False)
            assert mixture.weights.sum() == pytest.approx(1)
            assert great_circle_km(found_lat, found_lon, place.lat, place.lon) < METRE
            assert srid == 4326

    def test_has_kernels_of_200_km_unless_told_otherwise(self, module_database: Database) -> None:
        points = "('SRID=4326;POINT(0 0)', 1), ('SRID=4326;POINT(2 0)', 1.0)"
        geom = "geom::geometry"
        assert self.mode(module_database, f"{geom}, weight", points) == (1, 0)
        assert self.mode(module_database, f"{geom}, weight, 200", points) == (1, 0)
        heavier = "('SRID=4326;POINT(0 0)', 1), ('SRID=4326;POINT(2 0)', 2)"
        assert self.mode(module_database, f"{geom}, weight, 20", heavier) == (2, 0)

    def test_takes_points_without_srid_as_wgs_84(self, module_database: Database) -> None:
        points = "('POINT(0 0)', 1), ('SRID=4326;POINT(2 0)', 2)"
        assert self.mode(module_database, "geom::geometry, weight, 20", points) == (2, 0)

    def test_leaves_out_nulls_and_is_null_without_points(self, module_database: Database) -> None:
        points = "(NULL, 1), ('SRID=4326;POINT(2 3)', 1), ('SRID=4326;POINT(9 9)', NULL)"
        assert self.mode(module_database, "geom::geometry, weight", points) == (2, 3)
        assert self.mode(module_database, "geom::geometry, weight", "(NULL, 1)") is None
        nothing = "('SRID=4326;POINT(2 3)', 0)"
        assert self.mode(module_database, "geom::geometry, weight", nothing) is None

    @pytest.mark.parametrize(
        ("arguments", "values", "message"),
        [
            ("geom::geometry, weight", "('SRID=3857;POINT(1 2)', 1)", "SRID 3857"),
            ("geom::geometry, weight", "('POINT(1 91)', 1)", "no SRID and is beyond the Earth"),
            ("geom::geometry, weight", "('SRID=4326;LINESTRING(1 2, 3 4)', 1)", "a LINESTRING"),
            ("geom::geometry, weight", "('SRID=4326;POINT(1 2)', -1)", "a weight of -1"),
            ("geom::geometry, weight, 0", "('SRID=4326;POINT(1 2)', 1)", "bandwidth of 0 km"),
            (
                "geom::geometry, 1, weight",
                "('SRID=4326;POINT(1 2)', 1), ('SRID=4326;POINT(1 2)', 2)",
                "bandwidths of 1 and 2 km",
            ),
        ],
    )
    def test_refuses_what_it_cannot_use(
        self, module_database: Database, arguments: str, values: str, message: str
    ) -> None:
        with pytest.raises(DatabaseError, match=message) as raised:
            self.mode(module_database, arguments, values)
        assert (raised.value.remedy or "").startswith("Give ")


@pytest.fixture(scope="module")
def world(module_database: Database) -> tuple[Database, int, list[int]]:
    """A thousand photos that look like their surroundings."""
    rng = np.random.default_rng(8)
    with module_database.connection() as connection:
        model = add_model(connection, DIMENSION, MODEL)
        lat, lon = places(rng, 1000)
        photos = add_photos(connection, lat, lon)
        add_embeddings(connection, model, photos, looks(rng, lat, lon))
    return module_database, model, [photo.photo_id for photo in photos]


def test_localize_is_neighbours_then_mode_then_radii(
    world: tuple[Database, int, list[int]],
) -> None:
    database, model, _ = world
    rng = np.random.default_rng(9)
    for seed in range(10):
        query = np.asarray(looks(rng, *places(rng, 1))[0])
        found = nearest(database, model, query, 50, InCollections("test"))
        place = locate(
            found.lat,
            found.lon,
            found.distance,
            bandwidth_km=100 * (1 + seed),
            weighting="softmax:0.1",
            regions=False,
        )
        with database.connection() as connection:
            (row,) = call(
                connection,
                "localize",
                query=HalfVector(query),
                model=MODEL,
                k=50,
                collections=["test"],
                bandwidth_km=100 * (1 + seed),
                weighting="softmax:0.1",
            )
            position = connection.execute(
                "SELECT ST_Y(%(p)s::geometry), ST_X(%(p)s::geometry), ST_SRID(%(p)s::geometry)",
                {"p": row["estimate"]},
            ).fetchone()
        assert position is not None
        assert great_circle_km(position[0], position[1], place.lat, place.lon) < METRE
        assert position[2] == 4326
        assert row["agreement"] == pytest.approx(place.agreement, abs=1e-6)
        assert row["radius_50_km"] == pytest.approx(place.radius_km[0.5], rel=1e-3)
        assert row["radius_90_km"] == pytest.approx(place.radius_km[0.9], rel=1e-3)
        assert (row["neighbours"], row["strategy"]) == (50, "exact")
        assert row["expected_recall"] == 1


@given(
    *[st.sampled_from([0.0, 5e-324, -5e-324, 1e-200, -1e-163, 3e-161, 1e-30, -1e-30, 1e-9, 45.0])]
    * 4
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_distances_between_next_to_nothing_are_no_error(
    module_database: Database, lat1: float, lon1: float, lat2: float, lon2: float
) -> None:
    with module_database.connection() as connection:
        found = connection.execute(
            "SELECT geosearch.great_circle_km(%s, %s, %s, %s)", (lat1, lon1, lat2, lon2)
        ).fetchone()
    assert found is not None
    assert found[0] == pytest.approx(float(great_circle_km(lat1, lon1, lat2, lon2)), abs=1e-12)


def test_a_stored_photo_is_localized_by_others(world: tuple[Database, int, list[int]]) -> None:
    database, _, ids = world
    with database.connection() as connection:
        (near,) = call(connection, "nearest_to_photo", photo=ids[3], model=MODEL, k=1)
        (row,) = call(connection, "localize_photo", photo=ids[3], model=MODEL, k=1, bandwidth_km=10)
        apart = connection.execute(
            "SELECT geosearch.great_circle_km(%s::geometry, %s::geometry)",
            (near["geom"], row["estimate"]),
        ).fetchone()
    assert apart is not None
    assert apart[0] < METRE
    assert row["neighbours"] == 1
    assert row["agreement"] == 1
    # A kernel of 10 km holds half of its mass within 10 km times sqrt(2 log 2).
    assert row["radius_50_km"] == pytest.approx(10 * np.sqrt(2 * np.log(2)), rel=1e-4)


def test_without_neighbours_there_is_no_estimate(world: tuple[Database, int, list[int]]) -> None:
    database, _, ids = world
    with database.connection() as connection:
        (row,) = call(connection, "localize_photo", photo=ids[3], model=MODEL, authors=["nobody"])
    assert row["neighbours"] == 0
    assert row["strategy"] == "empty"
    assert row["estimate"] is row["agreement"] is row["radius_50_km"] is row["radius_90_km"] is None


def test_a_bandwidth_out_of_range_is_refused(world: tuple[Database, int, list[int]]) -> None:
    database, _, ids = world
    for bandwidth_km in (0, -1, 30_000, float("nan")):
        with (
            database.connection() as connection,
            pytest.raises(psycopg.DataError, match="cannot be used") as raised,
            connection.transaction(),
        ):
            call(
                connection,
                "localize_photo",
                photo=ids[3],
                model=MODEL,
                bandwidth_km=bandwidth_km,
            )
        assert "between 0.001 and 20015" in str(raised.value.diag.message_hint)


def test_radii_rest_on_shares_of_the_weights(module_database: Database) -> None:
    ask = "SELECT geosearch.density_radii('{0,1,9}', '{0,1,9}', %s, 100, 0, 0, '{0.5,0.9}')"
    with module_database.connection() as connection:
        rows = [
            connection.execute(ask, ([scale * weight for weight in (3, 2, 1)],)).fetchone()
            for scale in (1 / 6, 1.0, 7e20)
        ]
    assert rows[0] is not None
    for row in rows:
        assert row is not None
        assert row[0] == pytest.approx(rows[0][0])


@pytest.mark.parametrize("level", ["0", "1", "-0.5", "NaN", "1.5", "NULL"])
def test_what_is_no_level_is_refused(module_database: Database, level: str) -> None:
    with (
        module_database.connection() as connection,
        pytest.raises(psycopg.DataError, match="levels are") as raised,
        connection.transaction(),
    ):
        connection.execute(
            "SELECT geosearch.density_radii('{0}', '{0}', '{1}', 100, 0, 0, %s)", (f"{{{level}}}",)
        )
    assert "above 0 and below 1" in str(raised.value.diag.message_hint)
