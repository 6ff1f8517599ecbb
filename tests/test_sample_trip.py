"""The sample of journeys: deterministic, possible, true to what cameras write, wrong as it says."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.ingest import ingest
from geosearch.sample.city import City
from geosearch.sample.position_faults import Fault, Shot
from geosearch.sample.trip import TripSample, _paths, _shots, write_trip_sample
from geosearch.sample.views import PIXELS, View
from geosearch.sample.worlds import Over, world
from geosearch.sphere import great_circle_km
from tests.command_line import CommandLine
from tests.test_sample import exif_position

SMALL = TripSample(photos=9, references=3, trips=2, over=Over.SPACE, seed=3)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def truth(folder: Path) -> list[dict[str, str]]:
    with (folder / "truth.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def shots(sample: TripSample) -> list[Shot]:
    over = world(sample.over, sample.seed)
    return _shots(sample, over, _paths(sample, over))


def test_same_seed_gives_the_same_bytes_and_a_broken_off_run_is_completed(tmp_path: Path) -> None:
    write_trip_sample(SMALL, tmp_path / "a")
    write_trip_sample(SMALL, tmp_path / "b")
    first = files(tmp_path / "a")
    assert first == files(tmp_path / "b")
    assert [name for name in first if not name.startswith("mine/")] == [
        *(f"references/{n:06d}.jpg" for n in (1, 2, 3)),
        "sample.json",
        *("tracks/trip-01.gpx", "tracks/trip-02.gpx"),
        "truth.csv",
    ]
    (tmp_path / "b/references/000002.jpg").unlink()
    assert write_trip_sample(SMALL, tmp_path / "b").written == 1
    assert first == files(tmp_path / "b")
    with pytest.raises(InputError, match="another recipe"):
        write_trip_sample(replace(SMALL, seed=4), tmp_path / "b")


def test_photos_say_what_the_truth_says_they_do(tmp_path: Path) -> None:
    sample = replace(SMALL, photos=60, references=0, missing=0.5, wrong_clocks=0.1, faults=0.2)
    summary = write_trip_sample(sample, tmp_path)
    rows = truth(tmp_path)
    assert len(rows) == summary.photos == 60
    assert sum(row["located"] == "1" for row in rows) == summary.located == 30
    assert sum(row["fault"] != "" for row in rows) == summary.wrong
    assert {row["file"] for row in rows} == {name for name in files(tmp_path) if "mine" in name}
    for row in rows:
        with Image.open(tmp_path / row["file"]) as image:
            exif = image.getexif()
            taken = exif.get_ifd(IFD.Exif)
            located = bool(exif.get_ifd(IFD.GPSInfo))
        assert located == (row["located"] == "1")
        assert taken[Base.BodySerialNumber] == row["camera"]
        assert exif[Base.Artist] == "Sample Traveller"
        if located and row["fault"] in ("", "clock"):
            place = float(row["true_lat"]), float(row["true_lon"])
            assert great_circle_km(*exif_position(tmp_path / row["file"]), *place) < 0.05
        # A clock that knows of no zone is compared as UTC.
        zone = taken.get(Base.OffsetTimeOriginal, "+00:00")
        assert (Base.OffsetTimeOriginal in taken) == (row["camera"] != "C0002")
        shown = datetime.strptime(f"{taken[Base.DateTimeOriginal]} {zone}", "%Y:%m:%d %H:%M:%S %z")
        meant = datetime.fromisoformat(row["true_time"])
        assert shown - meant == timedelta(seconds=int(row["clock_offset_s"]))


def test_a_camera_has_one_offset_of_at_most_twelve_hours_but_for_its_wrong_clocks(
    tmp_path: Path,
) -> None:
    write_trip_sample(replace(SMALL, photos=40, references=0, cameras=5), tmp_path)
    offsets: dict[str, set[int]] = {}
    for row in truth(tmp_path):
        if row["fault"] != "clock":
            offsets.setdefault(row["camera"], set()).add(int(row["clock_offset_s"]))
    assert offsets["P0001"] == {0}
    assert all(len(found) == 1 and abs(min(found)) <= 12 * 3600 for found in offsets.values())
    assert len(offsets) == 5


@pytest.mark.parametrize("over", list(Over))
def test_nobody_is_faster_than_an_airliner_nor_stands_in_the_water(over: Over) -> None:
    sample = TripSample(over=over, seed=0)
    there = world(over, sample.seed)
    for path in _paths(sample, there):
        assert (np.diff(path.time) > 0).all()
        km = great_circle_km(path.lat[:-1], path.lon[:-1], path.lat[1:], path.lon[1:])
        kmh = km / np.diff(path.time) * 3600
        assert kmh.max() <= (900 if over is Over.SPACE else 30)
        assert (kmh[km > 450] > 600).all()
        assert (kmh[km < 2.5] < 6).all()
        assert all(there.holds(*place) for place in zip(path.lat, path.lon, strict=True))
        halfway = path.at((path.time[:-1] + path.time[1:]) / 2)
        np.testing.assert_allclose(
            great_circle_km(path.lat[:-1], path.lon[:-1], *halfway), km / 2, atol=1e-4
        )


@pytest.mark.parametrize("over", list(Over))
def test_each_fault_is_what_its_name_says_and_far_from_the_truth(over: Over) -> None:
    sample = TripSample(photos=700, over=over, seed=0, missing=0.2, wrong_clocks=0.02, faults=0.1)
    found = shots(sample)
    wrong = [shot for shot in found if shot.fault and shot.stated]
    assert {shot.fault for shot in wrong} == set(Fault)
    apart = world(over, sample.seed).apart_km
    stated = [shot.stated for shot in found if shot.stated]
    right = {shot.stated for shot in found if not shot.fault}
    for shot in wrong:
        assert shot.stated is not None
        lat, lon = shot.stated
        true_lat, true_lon = shot.place
        away = float(great_circle_km(*shot.place, lat, lon))
        assert (away < 0.05) if shot.fault is Fault.CLOCK else (away >= apart)
        assert (shot.clock_error != 0) == (shot.fault is Fault.CLOCK)
        if shot.fault is Fault.SWAPPED:
            assert (lon, lat) == pytest.approx((true_lat, true_lon), abs=0.01)
        elif shot.fault is Fault.LOST_SIGN:
            assert (abs(lat), abs(lon)) == pytest.approx((abs(true_lat), abs(true_lon)), abs=0.01)
        elif shot.fault is Fault.NULL_ISLAND:
            assert min(abs(lat), abs(lon)) < 0.01
        elif shot.fault in (Fault.COPIED, Fault.HOME):
            assert stated.count((lat, lon)) >= 3
            assert ((lat, lon) in right) == (shot.fault is Fault.COPIED)
        else:
            assert stated.count((lat, lon)) == 1


def test_what_is_missing_is_the_share_asked_for_half_of_it_by_whole_sessions() -> None:
    found = shots(TripSample(photos=200, missing=0.7, over=Over.SPACE, seed=1))
    assert sum(shot.stated is None for shot in found) == 140
    sessions = {shot.session: set[bool]() for shot in found}
    for shot in found:
        sessions[shot.session].add(shot.stated is not None)
    without = {session for session, located in sessions.items() if located == {False}}
    assert sum(shot.session in without for shot in found) >= 60


def test_the_track_goes_where_the_photos_were_taken_with_gaps(tmp_path: Path) -> None:
    import re

    write_trip_sample(replace(SMALL, photos=30, references=0, over=Over.CITY, gaps=0.3), tmp_path)
    noted: list[tuple[datetime, float, float]] = []
    for path in sorted((tmp_path / "tracks").iterdir()):
        points = re.findall(
            r'<trkpt lat="(.+?)" lon="(.+?)"><time>(.+?)</time>', path.read_text(encoding="utf-8")
        )
        assert len(points) > 100
        noted += [
            (datetime.fromisoformat(time), float(lat), float(lon)) for lat, lon, time in points
        ]
    near = 0
    for row in truth(tmp_path):
        time = datetime.fromisoformat(row["true_time"])
        gap, lat, lon = min((abs((when - time).total_seconds()), *place) for when, *place in noted)
        if gap < 61:
            near += 1
            km = great_circle_km(float(row["true_lat"]), float(row["true_lon"]), lat, lon)
            assert km < 0.6  # a minute at 30 km/h, and the receiver's error
    assert 5 <= near < 30


def test_ingest_reads_the_photos_and_no_truth(database: Database, tmp_path: Path) -> None:
    write_trip_sample(SMALL, tmp_path)
    summary = ingest(database, [tmp_path], collection="all")
    located = sum(row["located"] == "1" for row in truth(tmp_path))
    assert (summary.added, summary.rejected) == (SMALL.references + located, 0)


def test_the_city_looks_alike_where_it_is_near_and_its_places_are_where_the_map_has_them() -> None:
    city = City(0, 47.0, 8.0)
    stream = np.random.default_rng(1)
    near, far = [], []
    for _ in range(10):
        lat, lon = city.draw_place(stream)
        x, y = city.pixel(lat, lon)
        assert city.position(x, y) == pytest.approx((lat, lon), abs=1e-9)
        here = city.render(View(lat, lon)).astype(float)
        assert here.shape == (PIXELS, PIXELS, 3)
        # 100 m to the north is 40 pixels down.
        north = city.render(View(lat + 100 / 111_194.93, lon)).astype(float)
        near.append(np.abs(north[40:] - here[:-40]).mean())
        far.append(np.abs(city.render(View(*city.draw_place(stream))) - here).mean())
    assert max(near) < 2 < 20 < np.median(far)
    assert not any(
        math.isclose(a, b)
        for a, b in zip(city.draw_place(stream), city.draw_place(stream), strict=True)
    )


def test_a_photo_of_nothing_shows_none_of_the_world(tmp_path: Path) -> None:
    write_trip_sample(replace(SMALL, blank=1.0, references=0), tmp_path)
    for row in truth(tmp_path):
        assert row["blank"] == "1"
        with Image.open(tmp_path / row["file"]) as image:
            pixels = np.asarray(image, float)
        assert np.abs(np.diff(pixels, axis=0)).max() < 12


@pytest.mark.parametrize(
    "wrong", [{"photos": -1}, {"missing": 1.5}, {"trips": 0}, {"cameras": 27}, {"faults": -0.1}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TripSample(**wrong)  # type: ignore[arg-type]


def test_command_writes_the_sample_and_says_what_it_did(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    geosearch = CommandLine("postgresql://nowhere.invalid/", capsys)
    asked = ("sample", "trip", "--photos", 6, "--references", 2, "--trips", 1, "--missing", 0.5)
    ran = geosearch(*asked, "--faults", 0, "--wrong-clocks", 0, "-o", tmp_path / "out", "--json")
    assert ran.json() == {
        "directory": str(tmp_path / "out"),
        "photos": 6,
        "located": 3,
        "wrong": 0,
        "references": 2,
        "trips": 1,
        "written": 8,
        "over": "space",
        "seed": 0,
    }
    recipe = json.loads((tmp_path / "out/sample.json").read_text())
    assert (recipe["recipe"], recipe["missing"], recipe["gaps"]) == ("trip", 0.5, 0.2)
    refused = geosearch(*asked[:2], "--missing", 2, "-o", tmp_path / "other")
    assert (refused.code, "--missing" in refused.err) == (InputError.exit_code, True)
