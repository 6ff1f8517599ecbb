"""Layers as GeoPackage, GeoParquet, FlatGeobuf, KML and CSV: GDAL reads back what was there.

Tests that need pyogrio, rasterio, ogrinfo or QGIS skip where these are absent.
"""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from geosearch.database.connection import Database
from geosearch.density import Mixture
from geosearch.density.density_cells import COVERED
from geosearch.errors import InputError, NotFoundError
from geosearch.export.layer_files import write_layers
from geosearch.export.surface import Grid, write_density
from geosearch.layers.distance_colours import COLOURS, FARTHEST
from geosearch.layers.layer import ESTIMATES, LAYERS, PHOTOS, Layer
from geosearch.layers.layer_rows import LayerRows, read_answers, read_photos
from geosearch.layers.selection import Selection
from geosearch.localization.answer_rows import save
from geosearch.retrieval import EVERYTHING
from geosearch.sphere import EARTH_RADIUS_KM
from tests.answers import make_answer, unanswered
from tests.command_line import CommandLine
from tests.rows import add_photos

KML = {"kml": "http://www.opengis.net/kml/2.2"}
SYSTEM_PYTHON = "/usr/bin/python3"
BERLIN = make_answer([52.5, 52.6, 52.4], [13.4, 13.3, 13.5], photo="/b.jpg", truth=(48.9, 2.3))
FIJI = make_answer([-17.0, -17.5], [179.9, -179.8], photo="/f.jpg", truth=(-13.8, -171.8))
#: Rows of each layer of the fixture `filled`.
ROWS = {
    "photos": 3,
    "estimates": 3,
    "regions": 4,
    "neighbours": 5,
    "lines": 5,
    "errors": 2,
    "truths": 2,
}
#: A title that means something to XML, CSV and SQL, with a character that XML forbids.
TITLE = 'Alp & "Öhi" <b>; it\'s\x07 0;\n5 %'


def has(command: list[str]) -> bool:
    found = shutil.which(command[0])
    return found is not None and subprocess.run(command, capture_output=True).returncode == 0


needs_ogrinfo = pytest.mark.skipif(
    not has(["ogrinfo", "--version"]), reason="ogrinfo is not installed"
)


@pytest.fixture(scope="module")
def filled(module_database: Database) -> Database:
    """Photos and answers, across the antimeridian and without a position too."""
    with module_database.connection() as connection:
        add_photos(
            connection,
            [46.0, -17.0, 0.5],
            [8.0, 180.0, -75.0],
            authors=["ada", None, ""],
            taken_at=[datetime(2015, 6, 30, 12, 30, tzinfo=UTC), None, None],
            accuracy_m=[12.5, None, None],
        )
        connection.execute("UPDATE geosearch.photos SET title = %s WHERE author = 'ada'", (TITLE,))
        save(connection, [BERLIN, FIJI, unanswered("/none.jpg")])
    return module_database


def rows(connection: Any, layer: Layer) -> LayerRows:
    if layer is PHOTOS:
        return read_photos(connection, EVERYTHING)
    return read_answers(connection, layer, Selection())


def write(database: Database, path: Path, *names: str) -> dict[str, int]:
    with database.connection() as connection:
        return write_layers(path, [rows(connection, LAYERS[name]) for name in names])


def rows_of(database: Database, name: str) -> list[dict[str, Any]]:
    with database.connection() as connection:
        batches = rows(connection, LAYERS[name]).batches
        return [row for batch in batches for row in batch.to_pylist()]


@pytest.fixture(scope="module")
def geopackage(filled: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All layers in one GeoPackage, written one by one."""
    pytest.importorskip("pyogrio")
    path = tmp_path_factory.mktemp("geopackage") / "all.gpkg"
    for name, count in ROWS.items():
        assert write(filled, path, name) == {name: count}
    return path


def ogrinfo(path: Path, name: str) -> tuple[dict[str, str], str]:
    """What ogrinfo says of a layer, by name and in full."""
    ran = subprocess.run(
        ["ogrinfo", "-ro", "-so", path, name], capture_output=True, text=True, check=True
    )
    said = dict(line.split(": ", 1) for line in ran.stdout.splitlines() if ": " in line)
    return said, ran.stdout + ran.stderr


@needs_ogrinfo
@pytest.mark.parametrize("name", ROWS)
def test_ogrinfo_reads_every_layer_of_the_geopackage(geopackage: Path, name: str) -> None:
    said, text = ogrinfo(geopackage, name)
    assert "ERROR" not in text
    assert int(said["Feature Count"]) == ROWS[name]
    assert said["Geometry"].replace(" ", "") == LAYERS[name].geometry_type
    assert "FID Column = id" in text
    assert 'ID["EPSG",4326]' in text


@needs_ogrinfo
@pytest.mark.parametrize("ending", [".fgb", ".kml", ".geojson"])
@pytest.mark.parametrize("name", ["photos", "regions"])
def test_ogrinfo_reads_every_format(
    filled: Database, tmp_path: Path, name: str, ending: str
) -> None:
    if ending == ".fgb":
        pytest.importorskip("pyogrio")
    path = tmp_path / f"{name}{ending}"
    write(filled, path, name)
    said, text = ogrinfo(path, name)
    assert "ERROR" not in text
    assert int(said["Feature Count"]) == ROWS[name]
    wkb = [row["geometry"] for row in rows_of(filled, name)]
    west, south, east, north = shapely.total_bounds(shapely.from_wkb(wkb))
    corners = [float(x) for x in said["Extent"].replace(") - (", ", ").strip("()").split(",")]
    assert corners == pytest.approx([west, south, east, north], abs=1e-5)


def alike(found: Any, stored: Any) -> bool:
    """Equal; moments to the millisecond that GeoPackage keeps, which GDAL may round either way."""
    if isinstance(stored, datetime):
        return bool(abs(found - stored) <= timedelta(milliseconds=1))
    return bool(found == stored)


def test_a_geopackage_holds_what_the_rows_say(filled: Database, geopackage: Path) -> None:
    raw = pytest.importorskip("pyogrio.raw")
    for name in ROWS:
        _, table = raw.read_arrow(geopackage, layer=name, return_fids=True)
        expected = sorted(rows_of(filled, name), key=lambda row: int(row["id"]))
        assert table["geom"].to_pylist() == [row["geometry"] for row in expected]
        assert {*expected[0], "geom"} == {*table.column_names, "geometry"}
        for field in expected[0].keys() - {"geometry"}:
            values = table[field].to_pylist()
            pairs = zip(values, (row[field] for row in expected), strict=True)
            assert all(alike(found, stored) for found, stored in pairs), field


def test_a_geopackage_says_what_its_fields_mean(geopackage: Path) -> None:
    with sqlite3.connect(geopackage) as connection:
        (said,) = connection.execute(
            "SELECT description FROM gpkg_data_columns "
            "WHERE table_name = 'regions' AND column_name = 'area_km2'"
        ).fetchone()
    assert said == "Area, square kilometres."


def test_a_geopackage_carries_the_style_of_each_layer_once(
    filled: Database, geopackage: Path, tmp_path: Path
) -> None:
    path = tmp_path / "copy.gpkg"
    shutil.copy(geopackage, path)
    assert write(filled, path, "photos") == {"photos": 3}  # again: the layer and style replace
    with sqlite3.connect(path) as connection:
        styles = connection.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
        contents = connection.execute("SELECT table_name, data_type FROM gpkg_contents").fetchall()
    assert sorted(style[0] for style in styles) == sorted(ROWS)
    assert {style[1:3] for style in styles} == {("geom", 1)}
    for *_, qml in styles:
        assert ElementTree.fromstring(qml).find("renderer-v2") is not None
    assert sorted(contents) == sorted(
        [(name, "features") for name in ROWS] + [("layer_styles", "attributes")]
    )


_OPEN_IN_QGIS = """
import json, sys
from qgis.core import QgsApplication, QgsRenderContext, QgsVectorLayer

def look(path, name):
    layer = QgsVectorLayer(f"{path}|layername={name}", name, "ogr")
    renderer = layer.renderer()
    colours = [symbol.color().name() for symbol in renderer.symbols(QgsRenderContext())]
    tips = "[%" in layer.mapTipTemplate()
    return [layer.isValid(), layer.featureCount(), renderer.type(), colours,
        layer.labelsEnabled(), tips]

application = QgsApplication([], False)
application.initQgis()
print(json.dumps({name: look(sys.argv[1], name) for name in sys.argv[2:]}))
application.exitQgis()
"""


@pytest.mark.skipif(
    not has([SYSTEM_PYTHON, "-c", "import qgis.core"]), reason="QGIS is not installed"
)
def test_qgis_opens_the_geopackage_styled(geopackage: Path) -> None:
    ran = subprocess.run(
        [SYSTEM_PYTHON, "-c", _OPEN_IN_QGIS, geopackage, *ROWS],
        env={"QT_QPA_PLATFORM": "offscreen", "PATH": "/usr/bin", "HOME": str(geopackage.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert {name: (valid, count) for name, (valid, count, *_) in seen.items()} == {
        name: (True, count) for name, count in ROWS.items()
    }
    assert all(tips for *_, tips in seen.values())
    assert [name for name in ROWS if seen[name][4]] == ["estimates"]
    assert seen["estimates"][2:4] == ["RuleRenderer", [*COLOURS, FARTHEST, "#ffb454"]]
    filled, outlined = ["#ff8c28", "#ffb454"], ["#000000", "#000000"]
    assert seen["regions"][2:4] == ["RuleRenderer", [*filled, *outlined]]
    assert seen["errors"][2:4] == ["graduatedSymbol", [*COLOURS, FARTHEST]]


def test_geoparquet_is_as_its_specification_says(filled: Database, tmp_path: Path) -> None:
    path = tmp_path / "regions.parquet"
    assert write(filled, path, "regions") == {"regions": 4}
    table = pq.read_table(path)
    assert table.to_pylist() == rows_of(filled, "regions")
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["MultiPolygon"])
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    assert column["bbox"] == pytest.approx(list(shapely.total_bounds(shapes)))
    assert "crs" not in column  # longitude and latitude of WGS 84


def test_geoparquet_without_positions_names_no_bounds(filled: Database, tmp_path: Path) -> None:
    path = tmp_path / "estimates.parquet"
    with filled.connection() as connection:
        estimates = rows(connection, ESTIMATES)
        with closing(estimates.batches):
            batch = next(estimates.batches)
        nowhere = replace(
            estimates, batches=(part for part in [batch.filter(batch["geometry"].is_null())])
        )
        assert write_layers(path, [nowhere]) == {"estimates": 1}
    assert pq.read_table(path)["geometry"].to_pylist() == [None]
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert "bbox" not in geo["columns"]["geometry"]


def test_flatgeobuf_leaves_out_what_has_no_position(filled: Database, tmp_path: Path) -> None:
    raw = pytest.importorskip("pyogrio.raw")
    path = tmp_path / "estimates.fgb"
    assert write(filled, path, "estimates") == {"estimates": 2}
    _, table = raw.read_arrow(path)
    assert sorted(table["photo"].to_pylist()) == ["/b.jpg", "/f.jpg"]


def test_kml_names_places_and_describes(filled: Database, tmp_path: Path) -> None:
    path = tmp_path / "photos.kml"
    write(filled, path, "photos")
    places = ElementTree.parse(path).findall(".//kml:Placemark", KML)
    names = [place.findtext("kml:name", None, KML) for place in places]
    assert names == [TITLE.replace("\x07", " "), "photo 2", "photo 3"]
    assert places[0].findtext(".//kml:coordinates", None, KML) == "8.0000000,46.0000000"
    data = {each.get("name"): each.text for each in places[0].findall(".//kml:SimpleData", KML)}
    assert data["author"] == "ada"
    assert data["accuracy_m"] == "12.5"
    assert data["taken_at"] == "2015-06-30T12:30:00+00:00"
    assert "licence" not in data  # unknown


def test_kml_of_regions_and_lines_has_all_their_parts(filled: Database, tmp_path: Path) -> None:
    for name, tag in (("regions", "Polygon"), ("errors", "LineString")):
        path = tmp_path / f"{name}.kml"
        write(filled, path, name)
        places = ElementTree.parse(path).findall(".//kml:Placemark", KML)
        expected = [
            len(shapely.get_parts(shapely.from_wkb(row["geometry"])))
            for row in rows_of(filled, name)
        ]
        assert [len(place.findall(f".//kml:{tag}", KML)) for place in places] == expected
        assert max(expected) > 1  # cut at the antimeridian


def test_csv_tells_unknown_from_empty(filled: Database, tmp_path: Path) -> None:
    path = tmp_path / "photos.csv"
    write(filled, path, "photos")
    text = path.read_text("utf-8")
    first, second, third = csv.DictReader(text.splitlines(keepends=True))
    assert first["title"] == TITLE
    assert (float(first["lat"]), float(first["lon"])) == (46.0, 8.0)
    assert datetime.fromisoformat(first["taken_at"]) == datetime(2015, 6, 30, 12, 30, tzinfo=UTC)
    assert (second["author"], second["lon"], third["author"]) == ("", "180", "")
    assert [line.split(",")[4] for line in text.splitlines()[-2:]] == ["", '""']


def test_csv_of_lines_is_text_that_gis_read(filled: Database, tmp_path: Path) -> None:
    path = tmp_path / "lines.csv"
    write(filled, path, "lines")
    with path.open(encoding="utf-8") as stream:
        read = [shapely.from_wkt(row["geometry"]) for row in csv.DictReader(stream)]
    assert read == [shapely.from_wkb(row["geometry"]) for row in rows_of(filled, "lines")]


def test_an_error_inside_a_stream_is_not_lost_in_gdal(filled: Database, tmp_path: Path) -> None:
    pytest.importorskip("pyogrio")

    def broken(photos: LayerRows) -> Generator[pa.RecordBatch]:
        yield next(photos.batches)
        raise NotFoundError("there is no evaluation 9", "Give another.")

    with filled.connection() as connection:
        photos = rows(connection, PHOTOS)
        part = replace(photos, batches=broken(photos))
        with closing(photos.batches), pytest.raises(NotFoundError, match="evaluation 9"):
            write_layers(tmp_path / "x.gpkg", [part])
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_leaves_no_cursor_behind(filled: Database, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    with filled.connection() as connection:
        parts = [rows(connection, LAYERS["photos"])]
        with pytest.raises(RuntimeError):
            write_layers(tmp_path / "photos.csv", parts, fail)
        assert connection.execute("SELECT name FROM pg_cursors").fetchall() == []


def test_a_geopackage_that_gdal_cannot_write_is_kept_as_it_was(
    filled: Database, geopackage: Path, tmp_path: Path
) -> None:
    path = tmp_path / "taken.gpkg"
    shutil.copy(geopackage, path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM gpkg_contents WHERE table_name = 'lines'")
        connection.execute("DELETE FROM gpkg_geometry_columns WHERE table_name = 'lines'")
    before = path.read_bytes()
    with pytest.raises(InputError, match="cannot write the layer lines"):
        write(filled, path, "lines")
    assert path.read_bytes() == before


def test_the_density_holds_the_probability_it_covers(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "density.tif"
    seen: list[tuple[int, int | None]] = []
    grid = write_density(
        replace(BERLIN, id=17), path, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(grid.height, grid.height)]
    with rasterio.open(path) as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.crs.to_epsg() == 4326
        assert raster.units == ("km-2",)
        assert raster.tags()["LOCALIZATION_ID"] == "17"
        values = raster.read(1)
        assert BERLIN.density is not None
        assert raster.index(BERLIN.lon, BERLIN.lat) == np.unravel_index(
            values.argmax(), values.shape
        )
    lat, _ = grid.positions(range(grid.height), range(grid.width))
    edge = np.radians(grid.step / 2)
    side = np.sin(np.radians(lat) + edge) - np.sin(np.radians(lat) - edge)
    area_km2 = side * 2 * edge * EARTH_RADIUS_KM**2
    assert COVERED < float((values * area_km2).sum()) < 1.0


def test_a_large_density_has_overviews(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "density.tif"
    grid = write_density(BERLIN, path, step=0.02)
    assert (grid.width, grid.height) > (1000, 600)
    with rasterio.open(path) as raster:
        assert raster.overviews(1)[:1] == [2]
        assert raster.transform.a == -raster.transform.e == grid.step == 0.02


@pytest.mark.parametrize(("lat", "lon"), [(-17.0, 179.9), (89.9, 0.0)])
def test_grids_end_at_the_antimeridian_and_the_poles(lat: float, lon: float) -> None:
    grid = Grid.of(Mixture.of_neighbours([lat], [lon], [1.0], 300.0))
    assert grid.west == -180.0
    assert grid.west + grid.width * grid.step == pytest.approx(180.0)
    assert grid.north <= 90.0
    assert grid.north - grid.height * grid.step >= -90.0 - 1e-9


def test_narrow_kernels_far_apart_do_not_take_too_many_pixels() -> None:
    grid = Grid.of(Mixture.of_neighbours([50.0, -40.0], [-170.0, 170.0], [0.5, 0.5], 1.0))
    assert grid.width * grid.height <= 4_020_000


def test_steps_that_cannot_be_used_are_refused() -> None:
    density = Mixture.of_neighbours([50.0], [10.0], [1.0], 300.0)
    for step in (0.0, -1.0, 11.0):
        with pytest.raises(InputError, match="step: "):
            Grid.of(density, step)
    with pytest.raises(InputError, match="pixels"):
        Grid.of(density, 0.001)


def test_an_answer_without_neighbours_has_no_density(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    with pytest.raises(NotFoundError, match="has no density"):
        write_density(replace(unanswered(), id=3), tmp_path / "x.tif")


def test_commands_write_photos_and_densities(
    filled: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    geosearch = CommandLine(filled.url, capsys)
    photos = tmp_path / "photos.parquet"
    ran = geosearch("export", "photos", "--bbox", "0,40,20,50", "-o", photos, "--json")
    assert ran.json() == {"photos": 1, "output": str(photos)}
    assert pq.read_table(photos)["title"].to_pylist() == [TITLE]
    ran = geosearch("export", "neighbours", "--id", 1, "-o", tmp_path / "n.csv")
    assert ran.out == f"3 neighbours in {tmp_path / 'n.csv'}\n"
    pytest.importorskip("rasterio")
    ran = geosearch("export", "density", 1, "--step", 0.5, "-o", tmp_path / "d.tif", "--json")
    assert ran.json()["step"] == 0.5
    assert (tmp_path / "d.tif").is_file()
