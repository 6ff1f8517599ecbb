"""The density of answers as cells: what they hold, where they lie, and their layer for GIS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geosearch.database.connection import Connection, Database
from geosearch.density import Mixture
from geosearch.density.density_cells import COVERED, MOST_CELLS, DensityCells
from geosearch.density.regions import highest_density_regions
from geosearch.errors import InputError, NotFoundError
from geosearch.gis.density_layer import Refreshed, refresh_density
from geosearch.layers.selection import Selection
from geosearch.localization import load
from geosearch.localization.answer_rows import save
from geosearch.sphere import EARTH_RADIUS_KM, great_circle_km, unit_vectors
from tests.answers import make_answer, unanswered
from tests.command_line import CommandLine
from tests.evaluations import add_evaluation

kernels = st.tuples(
    st.floats(-90, 90), st.floats(-180, 180), st.floats(0.05, 1), st.floats(0.01, 5000)
)


def mixture(*parts: tuple[float, float, float, float]) -> Mixture:
    """Kernels by latitude, longitude, weight before normalization and bandwidth in kilometres."""
    lat, lon, weight, bandwidth = np.array(parts).T
    return Mixture.at(lat, lon, weight / weight.sum(), bandwidth)


def per_km2(density: Mixture, cells: DensityCells) -> np.ndarray:
    """The density at the middles of cells."""
    z = (np.sin(np.radians(cells.south)) + np.sin(np.radians(cells.north))) / 2
    middles = unit_vectors(np.degrees(np.arcsin(z)), (cells.west + cells.east) / 2)
    return np.asarray(np.exp(density.log_density(middles)) / EARTH_RADIUS_KM**2)


@given(st.lists(kernels, min_size=1, max_size=6))
@example([(90.0, 0.0, 1.0, 50.0)])
@example([(-90.0, 180.0, 1.0, 50.0)])
@example([(-17.0, 180.0, 1.0, 20.0), (-17.0, -179.9, 1.0, 0.01)])
@example([(0.0, 0.0, 1.0, 5000.0)])
@settings(max_examples=15)
def test_cells_hold_what_they_cover_apart_from_one_another(
    parts: list[tuple[float, float, float, float]],
) -> None:
    cells = DensityCells.of(mixture(*parts))
    assert 0 < len(cells) <= MOST_CELLS
    assert cells.share.sum() == pytest.approx(cells.level[-1])
    assert COVERED <= cells.level[-1] < 1 + 1e-3
    assert (np.diff(cells.level) > 0).all()
    densities = cells.share / cells.area_km2
    assert (np.diff(densities) <= densities[:-1] * 1e-12).all()
    for edge, limit in ((cells.west, 180), (cells.east, 180), (cells.south, 90), (cells.north, 90)):
        assert np.abs(edge).max() <= limit
    boxes = shapely.box(cells.west, cells.south, cells.east, cells.north)
    assert shapely.is_valid(boxes).all()
    assert shapely.area(shapely.union_all(boxes)) == pytest.approx(shapely.area(boxes).sum())
    heights = np.sin(np.radians(cells.north)) - np.sin(np.radians(cells.south))
    area = np.radians(cells.east - cells.west) * heights * EARTH_RADIUS_KM**2
    assert cells.area_km2.sum() == pytest.approx(area.sum(), rel=1e-3)


@pytest.mark.parametrize(("lat", "lon"), [(48, 8), (-17, 180), (90, 0), (-89.9, -120)])
def test_the_cells_of_a_level_cover_the_region_of_that_level(lat: float, lon: float) -> None:
    density = mixture((lat, lon, 2.0, 30.0), (lat - np.sign(lat) * 0.5, lon, 1.0, 80.0))
    cells = DensityCells.of(density)
    for level, region in highest_density_regions(density, (0.5, 0.9)).items():
        inside = cells.level <= level
        assert cells.area_km2[inside].sum() == pytest.approx(region.area_km2, rel=0.02)
        # Most of them are in the region, but for those at its outline.
        middle_lat, middle_lon = (cells.south + cells.north) / 2, (cells.west + cells.east) / 2
        here = shapely.intersects_xy(region.geometry, middle_lon[inside], middle_lat[inside])
        assert here.mean() > 0.9


def test_a_cell_is_a_quarter_of_the_bandwidth_and_has_the_density_of_its_middle() -> None:
    density = mixture((48, 8, 1.0, 200.0))
    cells = DensityCells.of(density)
    sides = np.sqrt(cells.area_km2)
    assert (sides.min(), sides.max()) == pytest.approx((sides[0], sides[0]))
    assert 200 / 4 / np.sqrt(2) < sides[0] <= 200 / 4
    assert cells.share / cells.area_km2 == pytest.approx(per_km2(density, cells), rel=0.03)
    # The densest is at the centre; there the kernel has 1 / (2 pi bandwidth^2).
    assert great_circle_km(cells.south[0], cells.west[0], 48, 8) < 2 * sides[0]
    assert cells.share[0] / cells.area_km2[0] == pytest.approx(1 / (2 * np.pi * 200**2), rel=0.02)


def test_cells_are_fine_where_kernels_are_narrow_and_coarse_elsewhere() -> None:
    density = mixture((48, 8, 1.0, 1.0), (40, 60, 1.0, 500.0))
    cells = DensityCells.of(density)
    at_narrow = great_circle_km(cells.south, cells.west, 48, 8) < 10
    assert np.sqrt(cells.area_km2[at_narrow]).max() <= 1.0
    assert np.sqrt(cells.area_km2[~at_narrow]).min() > 50
    assert cells.share[at_narrow].sum() == pytest.approx(0.5, abs=0.02)


def test_an_answer_of_very_many_places_has_no_more_cells() -> None:
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-60, 70, 300), rng.uniform(-180, 180, 300)
    cells = DensityCells.of(Mixture.at(lat, lon, np.full(300, 1 / 300), 5.0))
    assert len(cells) <= MOST_CELLS
    assert cells.level[-1] >= COVERED
    # Each place still has its mass near it.
    far = great_circle_km(cells.south[:, None], cells.west[:, None], lat, lon).min(axis=1)
    assert np.average(far, weights=cells.share) < 500


BERLIN = make_answer([52.5, 52.6, 52.4], [13.4, 13.3, 13.5], photo="/b.jpg", truth=(48.9, 2.3))
FIJI = make_answer([-17.0, -17.5], [179.9, -179.8], photo="/f.jpg")
NOWHERE = unanswered("/none.jpg")


def layer(connection: Connection, localization_id: int) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT density_per_km2, share, level, area_km2, ST_AsBinary(geom), ST_IsValid(geom), "
        "photo, ST_Area(geom::geography, false) / 1e6 FROM geosearch.gis_density "
        "WHERE localization_id = %s ORDER BY id",
        (localization_id,),
    ).fetchall()


def test_the_layer_holds_the_density_that_is_exported(database: Database) -> None:
    with database.connection() as connection:
        berlin, fiji, nowhere = save(connection, [BERLIN, FIJI, NOWHERE])
    calls: list[tuple[int, int | None]] = []
    made = refresh_density(
        database, Selection(last=3), lambda done, total: calls.append((done, total))
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]
    with database.connection() as connection:
        rows = {key: layer(connection, key) for key in (berlin, fiji, nowhere)}
    assert made == Refreshed(2, len(rows[berlin]) + len(rows[fiji]), 1)
    assert rows[nowhere] == []
    for key, photo in ((berlin, "/b.jpg"), (fiji, "/f.jpg")):
        answer = load(database, key)
        assert answer.density is not None
        cells = DensityCells.of(answer.density)
        densities, shares, levels, areas, forms, valid, photos, spherical = zip(
            *rows[key], strict=True
        )
        assert set(photos) == {photo}
        assert all(valid)
        assert np.array_equal(shares, cells.share)
        assert np.array_equal(levels, cells.level)
        assert densities == pytest.approx(per_km2(answer.density, cells), rel=0.04)
        boxes = shapely.box(cells.west, cells.south, cells.east, cells.north)
        assert shapely.equals_exact(
            shapely.from_wkb(forms), shapely.multipolygons(boxes[:, None])
        ).all()
        # Geodesic edges of PostGIS bulge beyond parallels, and its sphere is a little larger.
        assert spherical == pytest.approx(areas, rel=0.01)
    longitudes = shapely.bounds(shapely.from_wkb([row[4] for row in rows[fiji]]))[:, [0, 2]]
    assert longitudes.min() == -180
    assert longitudes.max() == 180
    assert (longitudes[:, 1] - longitudes[:, 0]).max() < 1


def test_again_is_the_same_and_goes_with_its_answer(database: Database) -> None:
    with database.connection() as connection:
        berlin, fiji = save(connection, [BERLIN, FIJI])
    refresh_density(database, Selection(ids=(berlin, fiji)))
    with database.connection() as connection:
        before = [layer(connection, key) for key in (berlin, fiji)]
    refresh_density(database, Selection(ids=(berlin,)))
    with database.connection() as connection:
        assert [layer(connection, key) for key in (berlin, fiji)] == before
        connection.execute("DELETE FROM geosearch.localizations WHERE id = %s", (berlin,))
        assert [layer(connection, key) for key in (berlin, fiji)] == [[], before[1]]


def test_the_command_fills_the_layer(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine(database.url, capsys)
    nothing = run("layers", "density", "--last", 1)
    assert (nothing.code, "no such answers" in nothing.err) == (NotFoundError.exit_code, True)
    evaluation = add_evaluation(database)
    with database.connection() as connection:
        berlin, nowhere = save(connection, [BERLIN, NOWHERE])
        save(connection, [FIJI], evaluation)
    first = run("layers", "density", berlin, nowhere, "--json").json()
    assert (first["answers"], first["without_density"]) == (1, 1)
    assert first["cells"] > 400
    assert run("layers", "density", berlin).out == f"1 answer: {first['cells']} cells\n"
    evaluated = run("layers", "density", "--evaluation", evaluation, "--json").json()
    assert evaluated["answers"] == 1
    with database.connection() as connection:
        counts = connection.execute(
            "SELECT localization_id, evaluation_id, count(*) FROM geosearch.gis_density "
            "GROUP BY 1, 2 ORDER BY 1"
        ).fetchall()
    assert counts == [
        (berlin, None, first["cells"]),
        (nowhere + 1, evaluation, evaluated["cells"]),
    ]


def test_the_command_says_what_is_wrong(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.connection() as connection:
        geocells = replace(BERLIN, parameters=replace(BERLIN.parameters, method="geocell"))
        nowhere, by_geocells = save(connection, [NOWHERE, geocells])
    run = CommandLine(database.url, capsys)
    for arguments, error, words in (
        ([], InputError, "Give ids, --last N or --evaluation ID"),
        ([nowhere, "--last", 1], InputError, "exclude each other"),
        ([999], NotFoundError, "no answer 999"),
        ([nowhere], NotFoundError, f"answer {nowhere} has no density"),
        ([by_geocells], NotFoundError, f"answer {by_geocells} has geocells"),
    ):
        ran = run("layers", "density", *arguments)
        assert (ran.code, words in ran.err) == (error.exit_code, True), ran.err
