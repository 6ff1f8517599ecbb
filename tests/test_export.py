"""Answers as GeoJSON: valid by RFC 7946, complete, and written whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from shapely.geometry import Polygon, shape

from geosearch.atomic_files import replacing
from geosearch.database.connection import Database
from geosearch.errors import InputError, NotFoundError
from geosearch.export.layer_files import write_layers
from geosearch.layers.layer import ESTIMATES, LAYERS, PHOTOS
from geosearch.layers.layer_rows import LayerRows, read_answers, read_photos
from geosearch.layers.selection import Selection
from geosearch.localization import Localization
from geosearch.localization.answer_rows import save
from geosearch.retrieval import EVERYTHING, where
from tests.answers import make_answer, unanswered
from tests.command_line import CommandLine
from tests.evaluations import add_evaluation
from tests.rows import add_photos

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 179.999)

BERLIN = make_answer([52.5, 52.6, 52.4], [13.4, 13.3, 13.5], photo="/b.jpg", truth=(48.9, 2.3))
# Neighbours on both sides of the antimeridian, and a truth across it.
FIJI = make_answer([-17.0, -17.5], [179.9, -179.8], photo="/f.jpg", truth=(-13.8, -171.8))
POLE = make_answer([89.9], [0.0], photo="/p.jpg", bandwidth_km=500.0)


def record(database: Database, *answers: Localization, evaluation: int | None = None) -> list[int]:
    with database.connection() as connection:
        return save(connection, answers, evaluation)


def read(database: Database, selection: Selection | None = None) -> list[dict[str, Any]]:
    """Rows of the layer of estimates."""
    with database.connection() as connection:
        batches = read_answers(connection, ESTIMATES, selection or Selection()).batches
        return [row for batch in batches for row in batch.to_pylist()]


def write(database: Database, path: Path, *names: str, **chosen: Any) -> dict[str, int]:
    """Layers of answers as a file; returns the rows of each."""
    selection = Selection(**chosen)
    with database.connection() as connection:
        parts = [read_answers(connection, LAYERS[name], selection) for name in names]
        return write_layers(path, parts)


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def features(collection: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [f for f in collection["features"] if f["properties"]["kind"] == kind]


def positions(coordinates: Any) -> Iterator[tuple[float, float]]:
    if isinstance(coordinates[0], int | float):
        yield tuple(coordinates)
    else:
        for part in coordinates:
            yield from positions(part)


@pytest.fixture
def collection(database: Database, tmp_path: Path) -> dict[str, Any]:
    """All kinds of answers, in a file of three layers."""
    record(database, BERLIN, FIJI, POLE, unanswered("/none.jpg"))
    path = tmp_path / "all.geojson"
    rows = write(database, path, "estimates", "errors", "regions")
    assert rows == {"estimates": 4, "errors": 2, "regions": 6}
    return load(path)


def test_estimates_are_points_with_what_the_answer_says(
    database: Database, collection: dict[str, Any]
) -> None:
    berlin = features(collection, "estimate")[0]
    assert berlin["geometry"]["type"] == "Point"
    assert berlin["geometry"]["coordinates"] == pytest.approx([BERLIN.lon, BERLIN.lat], abs=1e-7)
    properties = berlin["properties"]
    assert properties["photo"] == "/b.jpg"
    assert properties["method"] == "density"
    assert properties["model"] == "test/model"
    assert properties["agreement"] == pytest.approx(BERLIN.agreement)
    assert properties["radius_km_50"] == pytest.approx(BERLIN.radius_km[0.5])
    assert properties["radius_km_90"] == pytest.approx(BERLIN.radius_km[0.9])
    assert (properties["truth_lat"], properties["truth_lon"]) == (48.9, 2.3)
    assert properties["error_km"] == pytest.approx(BERLIN.error_km)


def test_an_answer_without_neighbours_is_an_unlocated_feature(collection: dict[str, Any]) -> None:
    nothing = features(collection, "estimate")[3]
    assert nothing["geometry"] is None
    assert nothing["properties"]["photo"] == "/none.jpg"
    assert nothing["properties"]["agreement"] is None


def test_all_coordinates_are_in_range(collection: dict[str, Any]) -> None:
    assert len(collection["features"]) == 4 + 2 + 6
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        if feature["geometry"] is not None:
            for lon, lat in positions(feature["geometry"]["coordinates"]):
                assert -180 <= lon <= 180
                assert -90 <= lat <= 90


def test_regions_are_valid_polygons_wound_as_the_rfc_asks(collection: dict[str, Any]) -> None:
    regions = features(collection, "region")
    # The larger first: drawn in this order, the smaller lies on top.
    assert [r["properties"]["level"] for r in regions] == [0.9, 0.5] * 3
    for region in regions:
        geometry = shape(region["geometry"])
        assert geometry.geom_type == "MultiPolygon"
        assert geometry.is_valid
        assert region["properties"]["area_km2"] > 0
        for polygon in geometry.geoms:
            assert polygon.exterior.is_ccw
            assert not any(ring.is_ccw for ring in polygon.interiors)


def test_nothing_crosses_the_antimeridian(collection: dict[str, Any]) -> None:
    for kind in ("region", "error"):
        fiji = [f for f in features(collection, kind) if f["properties"]["photo"] == "/f.jpg"]
        for feature in fiji:
            geometry = shape(feature["geometry"])
            assert {part.centroid.x > 0 for part in geometry.geoms} == {True, False}
            for part in geometry.geoms:
                ring = part.exterior if isinstance(part, Polygon) else part
                steps = [abs(b[0] - a[0]) for a, b in pairwise(ring.coords)]
                assert max(steps) < 180


def test_error_lines_lead_from_the_estimate_to_the_truth(
    database: Database, tmp_path: Path
) -> None:
    # The pole has no known truth, and nothing no estimate: neither has a line.
    record(database, BERLIN, FIJI, POLE, unanswered("/none.jpg"))
    path = tmp_path / "errors.geojson"
    assert write(database, path, "errors") == {"errors": 2}
    berlin, fiji = load(path)["features"]
    (line,) = berlin["geometry"]["coordinates"]
    assert BERLIN.truth is not None
    ends = [(BERLIN.lon, BERLIN.lat), BERLIN.truth[::-1]]
    assert line[0] == pytest.approx(ends[0], abs=1e-7)
    assert line[-1] == pytest.approx(ends[1], abs=1e-7)
    assert berlin["properties"]["photo"] == "/b.jpg"
    assert berlin["properties"]["method"] == "density"
    assert berlin["properties"]["error_km"] == pytest.approx(BERLIN.error_km)
    # Cut at the antimeridian: one part ends on it, the next begins there on the other side.
    west, east = fiji["geometry"]["coordinates"]
    assert abs(west[-1][0]) == abs(east[0][0]) == 180
    assert west[-1][0] == -east[0][0]
    assert west[-1][1] == pytest.approx(east[0][1], abs=1e-6)
    assert all(abs(lon) <= 180 for lon, _ in west + east)


def test_command_writes_the_error_lines_of_an_evaluation(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    evaluation = add_evaluation(database)
    record(database, BERLIN)
    record(database, FIJI, evaluation=evaluation)
    geosearch = CommandLine(database.url, capsys)
    output = tmp_path / "errors.geojson"
    ran = geosearch("export", "errors", "--evaluation", evaluation, "-o", output, "--json")
    assert ran.json() == {"errors": 1, "output": str(output)}
    (feature,) = json.loads(output.read_text("utf-8"))["features"]
    assert feature["properties"]["photo"] == "/f.jpg"


def test_lines_lead_from_the_estimate_to_every_neighbour(
    database: Database, tmp_path: Path
) -> None:
    record(database, BERLIN, FIJI, unanswered("/none.jpg"))
    path = tmp_path / "lines.geojson"
    assert write(database, path, "lines", "neighbours") == {"lines": 5, "neighbours": 5}
    written = load(path)
    for line, point in zip(features(written, "line"), features(written, "neighbour"), strict=True):
        answer = BERLIN if line["properties"]["photo"] == "/b.jpg" else FIJI
        parts = line["geometry"]["coordinates"]
        assert parts[0][0] == pytest.approx([answer.lon, answer.lat], abs=1e-7)
        assert parts[-1][-1] == point["geometry"]["coordinates"]
        index = line["properties"]["rank"] - 1
        assert line["properties"]["neighbour"] == answer.neighbours.uri[index]
        assert line["properties"]["weight"] == pytest.approx(answer.weights[index])
        del point["properties"]["inliers"]  # of two pictures, not of two places
        assert line["properties"] == point["properties"] | {"kind": "line"}


def test_photos_are_written_with_their_facts(database: Database, tmp_path: Path) -> None:
    with database.connection() as connection:
        add_photos(connection, [47.0, 10.0], [8.0, 20.0], authors=["ada", None])
        connection.execute(
            "UPDATE geosearch.photos SET geom = NULL, position_source = NULL WHERE author IS NULL"
        )
        path = tmp_path / "photos.geojson"
        assert write_layers(path, [read_photos(connection, EVERYTHING)]) == {"photos": 1}
    (photo,) = load(path)["features"]
    assert photo["geometry"] == {"type": "Point", "coordinates": [8.0, 47.0]}
    properties = photo["properties"]
    assert (properties["kind"], properties["collection"]) == ("photo", "test")
    assert properties["uri"] == "/photo/test/0.jpg"
    assert (properties["author"], properties["title"]) == ("ada", None)


def test_photos_are_those_of_the_filter(database: Database) -> None:
    with database.connection() as connection:
        keys = add_photos(
            connection, np.arange(40.0, 50.0), np.arange(10.0), authors=["a", "b"] * 5
        )
        add_photos(connection, [45.0], [5.0], collection="other")
        chosen = where(near=(45, 5, 200), collections="test", exclude_authors="a")
        found = pa.Table.from_batches(read_photos(connection, chosen).batches)["id"].to_pylist()
    # Near are four: at 44, 4 and 46, 6 by a, and two at 45, 5, of which one is in the collection.
    assert found == [keys[5].photo_id]


def test_a_layer_larger_than_a_batch_is_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geosearch.layers.layer_rows.BATCH_ROWS", 7)
    with database.connection() as connection:
        keys = add_photos(connection, np.linspace(-80, 80, 20), np.linspace(-170, 170, 20))
        batches = list(read_photos(connection, EVERYTHING).batches)
    assert [batch.num_rows for batch in batches] == [7, 7, 6]
    assert pa.Table.from_batches(batches)["id"].to_pylist() == [key.photo_id for key in keys]


def test_progress_counts_the_rows(database: Database, tmp_path: Path) -> None:
    record(database, BERLIN)
    seen: list[tuple[int, int | None]] = []
    with database.connection() as connection:
        parts = [
            read_answers(connection, LAYERS[name], Selection())
            for name in ("estimates", "neighbours")
        ]
        write_layers(tmp_path / "x.geojson", parts, lambda done, total: seen.append((done, total)))
    assert seen == [(1, None), (4, None)]


def test_no_answers_are_an_empty_collection(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "out.geojson"
    assert write(database, path, "estimates") == {"estimates": 0}
    assert load(path) == {"type": "FeatureCollection", "features": []}


def test_a_failed_export_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def broken() -> Generator[pa.RecordBatch]:
        raise RuntimeError("the connection is gone")
        yield  # a generator that fails at its first step

    path = tmp_path / "out.geojson"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="connection"):
        write_layers(path, [LayerRows(PHOTOS, pa.schema([]), broken())])
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.geojson"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("moment", ["os.mkdir", "fcntl.flock", "pathlib.Path.write_text"])
def test_what_a_killed_export_left_is_removed_by_the_next_and_nothing_else(
    tmp_path: Path, moment: str
) -> None:
    writer = (
        "import fcntl, os, pathlib, sys; from geosearch.atomic_files import replacing\n"
        f"before = {moment}\n"
        f"def killed(*given): before(*given); os.kill(os.getpid(), 9)\n"
        f"{moment} = killed\n"
        "with replacing(pathlib.Path(sys.argv[1])) as part:\n    part.write_text('half')"
    )
    path = tmp_path / "out.geojson"
    subprocess.run([sys.executable, "-c", writer, path], check=False)
    (left,) = tmp_path.iterdir()
    with replacing(path) as part, replacing(tmp_path / "other.csv") as other:
        assert not left.exists()
        part.write_text("whole")
        other.write_text("of one who writes at the same time")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other.csv", "out.geojson"]
    assert path.read_text() == "whole"


def test_many_who_write_beside_one_another_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with replacing(tmp_path / f"{number}.txt") as part:
            part.write_text("whole")

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(write, range(200)))) == 200
    assert len(list(tmp_path.iterdir())) == 200


@pytest.mark.parametrize("linked", [False, True])
def test_a_device_or_pipe_is_not_replaced_by_a_file(tmp_path: Path, linked: bool) -> None:
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:  # as /dev/stdout is
        path = tmp_path / "link"
        path.symlink_to(pipe)
    with pytest.raises(InputError, match="not a regular file"), replacing(path):
        pytest.fail("it was to be written")
    assert pipe.is_fifo()
    assert path.is_symlink() == linked


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    part = LayerRows(PHOTOS, pa.schema([]), (pa.record_batch([]) for _ in range(0)))
    with pytest.raises(InputError, match="nowhere"):
        write_layers(tmp_path / "nowhere" / "out.geojson", [part])


def test_selection_by_id_evaluation_and_latest(database: Database) -> None:
    evaluation = add_evaluation(database)
    first, second = record(database, BERLIN, FIJI)
    (third,) = record(database, POLE, evaluation=evaluation)

    def ids(selection: Selection) -> list[int]:
        return [row["id"] for row in read(database, selection)]

    assert ids(Selection()) == [first, second, third]
    assert ids(Selection(ids=(third, first))) == [first, third]
    assert ids(Selection(evaluation=evaluation)) == [third]
    assert ids(Selection(last=2)) == [second, third]
    assert read(database, Selection(last=1))[0]["evaluation_id"] == evaluation


def test_unknown_ids_and_contradictions_are_refused(database: Database) -> None:
    with pytest.raises(NotFoundError, match="answer 12345"):
        read(database, Selection(ids=(12345,)))
    with pytest.raises(NotFoundError, match="evaluation 12345"):
        read(database, Selection(evaluation=12345))
    with pytest.raises(InputError, match="exclude each other"):
        Selection(ids=(1,), last=1)
    with pytest.raises(InputError, match="last: "):
        Selection(last=0)


def test_command_writes_geojson_and_map(
    database: Database, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(database, BERLIN, FIJI)
    geosearch = CommandLine(database.url, capsys)
    output, picture = tmp_path / "out.geojson", tmp_path / "out.png"
    ran = geosearch("export", "estimates", "-o", output, "--map", picture, "--json")
    assert ran.code == 0
    assert ran.json() == {"estimates": 2, "output": str(output), "map": str(picture)}
    assert len(json.loads(output.read_text("utf-8"))["features"]) == 2
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["points", "-o", "x.geojson"], "estimates"),
        (["estimates", "-o", "x.shp"], ".geojson"),
        (["estimates", "-o", "x.kml", "--regions"], "one layer only"),
        (["density", "1", "-o", "x.png"], ".tif"),
        (["estimates", "-o", "x.geojson", "--map", "x.jpg"], ".png"),
    ],
)
def test_unknown_layers_and_formats_name_the_known_ones(
    module_database: Database,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    ran = CommandLine(module_database.url, capsys)("export", *arguments)
    assert ran.code == InputError.exit_code
    assert named in ran.err


def test_a_column_of_a_type_that_files_lack_is_text(database: Database) -> None:
    record(database, BERLIN)
    with database.connection() as connection:
        (view,) = connection.execute(
            "SELECT pg_get_viewdef('geosearch.gis_estimates'::regclass)"
        ).fetchone() or ("",)
        connection.execute(
            f"CREATE OR REPLACE VIEW geosearch.gis_estimates AS "  # noqa: S608
            f"SELECT v.*, 1.50 AS price FROM ({view.rstrip(';')}) AS v"
        )
    assert read(database)[0]["price"] == "1.50"
