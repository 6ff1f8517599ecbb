"""Geocells: every point of the sphere is in one cell, cells are valid polygons, and are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from geosearch.database.connection import Database
from geosearch.deletion.record_deletion import delete_partition
from geosearch.errors import InputError, NotFoundError
from geosearch.geocells import Partition, clusters, find_partition, make_partition, quadtree
from geosearch.geocells.geocell_rows import list_partitions, store_partition
from geosearch.geocells.polygons import clipped, octants, steradians
from geosearch.retrieval import where
from geosearch.sphere import Array, great_circle_km, lat_lon
from tests.command_line import CommandLine
from tests.rows import add_photos

WHOLE_MAP = 360.0 * 180.0


def on_the_sphere(count: int, seed: int = 0) -> tuple[Array, Array]:
    return lat_lon(np.random.default_rng(seed).normal(size=(count, 3)))


def photos(seed: int = 0) -> tuple[Array, Array]:
    """Two dense towns, one across the antimeridian, scattered photos, and both poles."""
    generator = np.random.default_rng(seed)
    town = generator.normal((47.0, 8.0), 0.3, (400, 2))
    island = generator.normal((-17.0, 180.0), 0.5, (300, 2))
    lat, lon = on_the_sphere(300, seed)
    longitudes = np.r_[town[:, 1], (island[:, 1] + 180) % 360 - 180, lon, 0.0, 77.0]
    return np.r_[town[:, 0], island[:, 0], lat, 90.0, -90.0], longitudes


LAT, LON = photos()

PARTITIONS = {
    "quadtree": quadtree("q", LAT, LON, max_photos=40, min_photos=8),
    "clusters": clusters("c", LAT, LON, cells=40, seed=1),
    "bounded clusters": clusters("b", LAT, LON, max_photos=60, min_photos=10),
    "two cells": clusters("t", LAT, LON, cells=2),
    "the world": quadtree("w", LAT, LON, max_photos=5000),
    "one town": clusters("o", LAT[:400], LON[:400], cells=12),
}

each_partition = pytest.mark.parametrize("partition", PARTITIONS.values(), ids=PARTITIONS)
positions = st.lists(
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=50
).map(lambda points: np.array(points).T)


@each_partition
@given(points=positions)
@example(points=np.array([[90.0, -90.0, 0.0, 0.0, 90.0], [0.0, 12.5, 180.0, -180.0, -180.0]]))
@settings(max_examples=40)
def test_every_point_is_in_exactly_one_cell(partition: Partition, points: Array) -> None:
    lat, lon = points
    cell = partition.locate(lat, lon)
    assert cell.dtype == np.int64
    assert ((cell >= 0) & (cell < len(partition))).all()
    # One point has one cell, however it is written.
    assert (partition.locate(lat, np.where(np.abs(lon) == 180, -lon, lon)) == cell).all()
    assert len(np.unique(partition.locate([90, 90, 90], [-180, 3.5, 180]))) == 1
    assert len(np.unique(partition.locate([-90, -90, -90], [-180, 3.5, 180]))) == 1


@each_partition
def test_the_polygons_of_the_cells_cover_the_map_without_overlap(partition: Partition) -> None:
    cells = partition.polygons()
    assert len(cells) == len(partition)
    assert all(cell.is_valid and not cell.is_empty for cell in cells)
    assert sum(cell.area for cell in cells) == pytest.approx(WHOLE_MAP, rel=1e-9)
    assert shapely.union_all(cells).area == pytest.approx(WHOLE_MAP, rel=1e-9)
    bounds = np.array([cell.bounds for cell in cells])
    assert bounds.min(axis=0)[:2] == pytest.approx([-180, -90])
    assert bounds.max(axis=0)[2:] == pytest.approx([180, 90])


@each_partition
def test_a_point_lies_in_the_polygon_of_its_cell(partition: Partition) -> None:
    lat, lon = on_the_sphere(3000, seed=5)
    lat, lon = np.r_[lat, LAT], np.r_[lon, LON]
    cells = np.array(partition.polygons(), object)[partition.locate(lat, lon)]
    # Great circles are drawn as chords that are at most 60 m off.
    away = shapely.distance(cells, shapely.points(lon, lat))
    assert (away[np.abs(lat) < 89] < 0.002).all()
    assert (away == 0).mean() > 0.99


@each_partition
def test_the_areas_of_the_cells_are_those_of_the_sphere(partition: Partition) -> None:
    assert partition.area_km2.sum() == pytest.approx(4 * np.pi * 6371.0**2, rel=1e-12)
    lat, lon = on_the_sphere(200_000, seed=7)
    hits = np.bincount(partition.locate(lat, lon), minlength=len(partition)) / len(lat)
    share = partition.area_km2 / partition.area_km2.sum()
    # Five standard deviations of a count.
    assert (np.abs(hits - share) <= 5 * np.sqrt(share / len(lat)) + 5 / len(lat)).all()


on_a_lattice = st.tuples(
    st.integers(-18, 18).map(lambda step: 5.0 * step),
    st.integers(-36, 36).map(lambda step: 5.0 * step),
)
in_one_street = st.tuples(st.floats(47, 47.0001), st.floats(8, 8.0001))
anywhere = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(
    points=st.lists(on_a_lattice | in_one_street | anywhere, min_size=3, max_size=30),
    cells=st.integers(1, 30),
    most=st.integers(1, 10),
)
@example(points=[(0.0, 0.0), (90.0, 0.0), (45.0, 0.0)], cells=3, most=1)
@settings(max_examples=15)
def test_any_photos_divide_the_whole_world(
    points: list[tuple[float, float]], cells: int, most: int
) -> None:
    lat, lon = np.array(points).T
    for partition in (
        clusters("c", lat, lon, cells=cells),
        clusters("b", lat, lon, max_photos=most),
        quadtree("q", lat, lon, max_photos=most),
    ):
        polygons = partition.polygons()
        assert all(polygon.is_valid for polygon in polygons)
        assert sum(polygon.area for polygon in polygons) == pytest.approx(WHOLE_MAP, rel=1e-8)
        assert partition.area_km2.sum() == pytest.approx(4 * np.pi * 6371.0**2, rel=1e-9)
        counts = np.bincount(partition.locate(lat, lon), minlength=len(partition))
        assert counts.tolist() == partition.photos.tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda: quadtree("q", LAT, LON, max_photos=40, min_photos=8),
        lambda: clusters("c", LAT, LON, max_photos=40, min_photos=8),
    ],
    ids=["quadtree", "clusters"],
)
def test_cells_hold_no_fewer_photos_than_asked_for_and_few_too_many(
    make: Callable[[], Partition],
) -> None:
    partition = make()
    assert (partition.photos == np.bincount(partition.locate(LAT, LON))).all()
    assert partition.photos.min() >= 8
    # More only by what was too few alone.
    assert np.quantile(partition.photos, 0.9) <= 40
    assert partition.photos.max() <= 80
    assert len(partition) >= len(LAT) / 40


def test_cells_are_small_where_photos_are_many() -> None:
    partition = PARTITIONS["quadtree"]
    (town, pacific) = partition.locate([47.0, -40.0], [8.0, -120.0])
    assert partition.area_km2[town] < 1e5 < 1e6 < partition.area_km2[pacific]


def test_photos_at_one_spot_stay_in_one_cell() -> None:
    lat, lon = np.r_[np.full(50, 10.0), -20.0], np.r_[np.full(50, 10.0), 30.0]
    for partition in (
        quadtree("q", lat, lon, max_photos=5),
        clusters("c", lat, lon, max_photos=5),
    ):
        assert sorted(partition.photos) == [1, 50]


def test_more_clusters_than_places_are_as_many_as_places() -> None:
    lat, lon = np.repeat([0.0, 10.0, 20.0], 5), np.repeat([0.0, 5.0, 9.0], 5)
    assert len(clusters("c", lat, lon, cells=10)) == 3


def test_the_medoid_is_the_photo_amid_the_others_and_the_spread_is_theirs() -> None:
    generator = np.random.default_rng(3)
    degrees = generator.normal(0, 0.1, (4000, 2))
    lat, lon = np.r_[degrees[:, 0], 80.0], np.r_[degrees[:, 1], 0.0]  # one far from all others
    partition = quadtree("q", lat, lon, max_photos=10_000)
    index = int(np.flatnonzero((lat == partition.lat[0]) & (lon == partition.lon[0]))[0])
    assert great_circle_km(lat[index], lon[index], 0.0, 0.0) < 2.0
    partition = quadtree("q", lat[:-1], lon[:-1], max_photos=10_000)
    assert partition.spread_km[0] == pytest.approx(0.1 * np.pi / 180 * 6371, rel=0.05)


def test_the_same_photos_and_seed_make_the_same_clusters() -> None:
    again = clusters("c", LAT, LON, cells=40, seed=1)
    other = clusters("c", LAT, LON, cells=40, seed=2)
    assert again.division.to_json() == PARTITIONS["clusters"].division.to_json()
    assert other.division.to_json() != again.division.to_json()


def test_a_recounted_partition_knows_other_photos_of_the_same_cells() -> None:
    partition = PARTITIONS["clusters"]
    chosen = LAT > 40
    north = partition.recounted(LAT[chosen], LON[chosen])
    assert north.photos.sum() == chosen.sum()
    assert (north.photos == 0).any()
    filled = north.photos > 0
    assert (north.lat[filled] > 40).all()
    assert (north.locate(LAT, LON) == partition.locate(LAT, LON)).all()
    same = partition.recounted(LAT, LON)
    np.testing.assert_array_equal(same.lat, partition.lat)
    np.testing.assert_array_equal(same.spread_km, partition.spread_km)


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=1, max_size=6))
def test_a_clipped_octant_and_what_was_cut_off_are_the_octant(
    normals: list[tuple[float, float, float]],
) -> None:
    polygon = octants()[3]
    for normal in np.array(normals):
        if np.linalg.norm(normal) < 1e-3:
            continue
        kept, cut = clipped(polygon, normal), clipped(polygon, -normal)
        assert steradians(kept) + steradians(cut) == pytest.approx(steradians(polygon), abs=1e-9)
        polygon = kept if len(kept) else cut


def test_octants_are_eighths_of_the_sphere() -> None:
    assert [steradians(octant) for octant in octants()] == pytest.approx([np.pi / 2] * 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: quadtree("q", LAT, LON, max_photos=10, min_photos=6), "min_photos: 6"),
        (lambda: quadtree("q", LAT, LON, max_photos=0), "max_photos 0"),
        (lambda: quadtree("q", LAT[:3], LON[:3], max_photos=10, min_photos=4), "3 photos"),
        (lambda: clusters("c", LAT, LON), "number of cells"),
        (lambda: clusters("c", LAT, LON, cells=0), "cells: 0"),
        (lambda: clusters("c", LAT, LON, max_photos=0), "max_photos 0"),
        (lambda: clusters("c", LAT, LON, cells=5, seed=-1), "seed: -1"),
        (lambda: quadtree("q", [91.0], [0.0], max_photos=5), "not on the Earth"),
        (lambda: PARTITIONS["clusters"].locate([np.nan], [0.0]), "not on the Earth"),
        (lambda: PARTITIONS["clusters"].locate([0.0, 1.0], [0.0]), "do not match"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.fixture(scope="module")
def world(module_database: Database) -> Database:
    with module_database.connection() as connection:
        add_photos(connection, LAT, LON, collection="world")
        add_photos(connection, [10.0] * 4, [20.0] * 4, collection="spot")
    return module_database


@pytest.mark.parametrize("kind", ["quadtree", "clusters"])
def test_a_stored_partition_is_read_back_as_it_was(world: Database, kind: str) -> None:
    made = make_partition(
        world, f"as it was: {kind}", kind=kind, max_photos=50, min_photos=5,
        where=where(collections="world"),
    )  # fmt: skip
    with world.connection() as connection:
        found = find_partition(connection, made.name)
        (stored,) = [item for item in list_partitions(connection) if item.name == made.name]
    assert (found.id, found.kind, found.parameters) == (made.id, kind, dict(made.parameters))
    lat, lon = on_the_sphere(2000)
    np.testing.assert_array_equal(found.locate(lat, lon), made.locate(lat, lon))
    for column in ("photos", "lat", "lon", "spread_km", "centres", "area_km2"):
        np.testing.assert_array_equal(getattr(found, column), getattr(made, column))
    assert (stored.photos, stored.cells) == (len(LAT), len(made))
    assert stored.where == where(collections="world")
    assert "numpy" in stored.software


def test_the_layer_of_geocells_agrees_with_the_partition(world: Database) -> None:
    made = make_partition(world, "layer", kind="clusters", cells=30)
    with world.connection() as connection:
        rows = connection.execute(
            """
            SELECT number, photos, ST_IsValid(geom), ST_AsBinary(geom), partition,
                (SELECT count(*) FROM geosearch.photos WHERE ST_Intersects(photos.geom, cells.geom))
            FROM geosearch.gis_geocells AS cells WHERE partition_id = %s ORDER BY number
            """,
            (made.id,),
        ).fetchall()
    assert [row[0] for row in rows] == list(range(len(made)))
    assert all(row[2] for row in rows)
    assert {row[4] for row in rows} == {"layer"}
    assert [row[1] for row in rows] == made.photos.tolist()
    # PostGIS finds the photos where NumPy does, but for those at ±180° and at the poles.
    inside = np.array([row[5] for row in rows])
    assert np.abs(inside - made.photos).sum() <= 5
    assert sum(shapely.from_wkb(row[3]).area for row in rows) == pytest.approx(WHOLE_MAP)


def test_a_partition_goes_with_its_cells(world: Database) -> None:
    made = make_partition(world, "to go", max_photos=100)
    assert delete_partition(world, "to go").goes == {"geocells": len(made), "classifiers": 0}
    with world.connection() as connection:
        left = connection.execute(
            "SELECT count(*) FROM geosearch.geocells WHERE partition_id = %s", (made.id,)
        ).fetchone()
        assert left == (0,)
        with pytest.raises(NotFoundError, match="there is no partition 'to go'"):
            find_partition(connection, "to go")


def test_the_same_partition_again_is_the_one_there_is(world: Database) -> None:
    for options in ({"max_photos": 500}, {"kind": "clusters", "cells": 9, "seed": 4}):
        made = make_partition(world, f"again {len(options)}", **options)
        again = make_partition(world, made.name, **options)
        assert again.id == made.id
        with pytest.raises(InputError, match="already"):
            make_partition(world, made.name, max_photos=400)


def test_a_name_is_one_partition(world: Database) -> None:
    made = make_partition(world, "taken", max_photos=500)
    with pytest.raises(InputError, match="'taken' already"):
        make_partition(world, "taken", max_photos=100)
    with world.connection() as connection, pytest.raises(InputError, match="'taken' already"):
        store_partition(connection, made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "hexagons", "max_photos": 5}, "kind: 'hexagons' is unknown"),
        ({"kind": "quadtree"}, "goes by max_photos"),
        ({"kind": "quadtree", "max_photos": 5, "cells": 4}, "goes by max_photos"),
        ({"max_photos": 5, "where": where(bbox=(100, 80, 101, 81))}, "no photo passes"),
        ({"name": " ", "max_photos": 5}, "cannot have the name"),
        ({"name": "one,two", "max_photos": 5}, "cannot have the name 'one,two'"),
    ],
)
def test_a_partition_that_cannot_be_made_says_why(
    world: Database, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_partition(world, **({"name": "no"} | options))  # type: ignore[arg-type]


def test_a_cell_without_photos_cannot_be_stored(world: Database) -> None:
    made = make_partition(world, "sound", max_photos=500)
    with (
        world.connection() as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="geocells_size_check"),
        connection.transaction(),
    ):
        connection.execute(
            "UPDATE geosearch.geocells SET photos = 0 WHERE partition_id = %s", (made.id,)
        )


def test_the_command_makes_lists_draws_and_removes_partitions(
    world: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    geosearch = CommandLine(world.url, capsys)
    picture = tmp_path / "fine.png"
    ran = geosearch(
        "partition", "fine", "--collection", "world", "--max", 50, "--min", 5,
        "--map", picture, "--json",
    )  # fmt: skip
    printed = ran.json()
    assert printed["photos"] == len(LAT)
    assert printed["parameters"] == {"max_photos": 50, "min_photos": 5}
    assert printed["filter"] == {"collections": ["world"]}
    assert printed["photos_per_cell"]["least"] >= 5
    with Image.open(picture) as image:
        assert image.size == (1600, 900)
        assert len(np.unique(np.asarray(image.convert("L")))) > 50
    ran = geosearch("partition", "spot", "--collection", "spot", "--max", 5)
    assert "partition spot: 1 cell (quadtree: max_photos 5, min_photos 1) of 4 photos" in ran.out
    listed = {item["name"]: item for item in geosearch("partitions", "list", "--json").json()}
    assert listed["fine"] == {key: printed[key] for key in listed["fine"]}
    assert geosearch("partitions", "show", "fine", "--json").json() == printed
    assert "photos in a cell" in geosearch("partitions", "show", "fine").out
    renamed = geosearch("partitions", "rename", "spot", "dot", "--json").json()
    assert renamed == {"old": "spot", "new": "dot"}
    deleted = geosearch("partitions", "delete", "fine", "--yes", "--json").json()
    assert deleted["goes"] == {"geocells": printed["cells"], "classifiers": 0}
    gone = geosearch("partitions", "show", "fine")
    assert (gone.code, "there is no partition 'fine'" in gone.err) == (4, True)
    for unwritable in ("x.gif", tmp_path / "none" / "x.png"):
        wrong = geosearch("partition", "x", "--max", 5, "--map", unwritable)
        assert wrong.code == 2
    seeded = geosearch("partition", "x", "--max", 5, "--seed", 1)
    assert (seeded.code, "--kind quadtree goes by --max" in seeded.err) == (2, True)
    assert geosearch("partitions", "show", "x").code == 4
