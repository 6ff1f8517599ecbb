"""Tracks: their files, where a photo was on them, and how far the clock of its camera was off."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from geosearch.density.caps import cap_mass
from geosearch.errors import InputError, MissingFileError
from geosearch.sphere import destination, great_circle_km, unit_vectors
from geosearch.timeline import Movement, moment_prior, track_files
from geosearch.timeline.clock_offset import ClockOffset, find_offset
from geosearch.timeline.track_files import Track, read_tracks

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
#: Minutes after noon, latitude, longitude.
WAY = ((0, 46.0, 7.0), (10, 46.1, 7.0), (30, 46.1, 7.2))


def at(minutes: float) -> str:
    return f"{NOON + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


def gpx() -> str:
    points = "".join(
        f'<trkpt lat="{lat}" lon="{lon}"><ele>400</ele><time>{at(minutes)}</time></trkpt>'
        for minutes, lat, lon in WAY
    )
    untimed = '<trkpt lat="1" lon="1"></trkpt>'
    return (
        '<?xml version="1.0"?><gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1">'
        f"<trk><trkseg>{untimed}{points}</trkseg></trk></gpx>"
    )


def kml_track() -> str:
    times = "".join(f"<when>{at(minutes)}</when>" for minutes, _, _ in WAY)
    places = "".join(f"<gx:coord>{lon} {lat} 400</gx:coord>" for _, lat, lon in WAY)
    return (
        '<kml xmlns="http://www.opengis.net/kml/2.2" '
        'xmlns:gx="http://www.google.com/kml/ext/2.2"><Document><Placemark>'
        f"<gx:Track>{times}{places}</gx:Track></Placemark></Document></kml>"
    )


def kml_points() -> str:
    return '<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{}</Document></kml>'.format(
        "".join(
            f"<Placemark><TimeStamp><when>{at(minutes)}</when></TimeStamp>"
            f"<Point><coordinates> {lon},{lat},400 </coordinates></Point></Placemark>"
            for minutes, lat, lon in WAY
        )
    )


def geojson_line() -> str:
    geometry = {"type": "LineString", "coordinates": [[lon, lat] for _, lat, lon in WAY]}
    times = [at(minutes) for minutes, _, _ in WAY]
    feature = {"type": "Feature", "geometry": geometry, "properties": {"coordTimes": times}}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


def geojson_points() -> str:
    return json.dumps(
        {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "geometry": {"type": "Point", "coordinates": [lon, lat, 400]},
                    "properties": {"time": at(minutes)},
                }
                for minutes, lat, lon in WAY
            ],
        }
    )


def takeout(*, milliseconds: bool = False) -> str:
    def record(minutes: float, lat: float, lon: float) -> dict[str, object]:
        seconds = (NOON + timedelta(minutes=minutes)).timestamp()
        time: dict[str, object] = (
            {"timestampMs": f"{1000 * seconds:.0f}"} if milliseconds else {"timestamp": at(minutes)}
        )
        place: dict[str, object] = {"latitudeE7": round(1e7 * lat), "longitudeE7": round(1e7 * lon)}
        return time | place | {"accuracy": 30}

    return json.dumps({"locations": [record(*point) for point in WAY]})


def phone() -> str:
    path = [{"point": f"{lat}°, {lon}°", "time": at(minutes)} for minutes, lat, lon in WAY]
    return json.dumps({"semanticSegments": [{"timelinePath": path}, {"visit": {}}]})


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.gpx", gpx),
        ("a.kml", kml_track),
        ("b.KML", kml_points),
        ("a.geojson", geojson_line),
        ("b.geojson", geojson_points),
        ("Records.json", takeout),
        ("old.json", lambda: takeout(milliseconds=True)),
        ("Timeline.json", phone),
    ],
)
def test_the_same_way_is_read_from_every_format(
    tmp_path: Path, name: str, make: Callable[[], str]
) -> None:
    file = tmp_path / name
    file.write_text(make(), encoding="utf-8")
    track = read_tracks(file)
    assert track.name == name
    assert 3600 * track.hours == pytest.approx(
        [(NOON + timedelta(minutes=minutes)).timestamp() for minutes, _, _ in WAY]
    )
    assert track.lat == pytest.approx([lat for _, lat, _ in WAY])
    assert track.lon == pytest.approx([lon for _, _, lon in WAY])
    assert (track.accuracy_km > 0).all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.kml", kml_track().replace("<gx:coord>7.0 46.1 400</gx:coord>", "<gx:coord/>")),
        ("b.kml", kml_points().replace(" 7.0,46.1,400 ", "")),
        ("a.geojson", geojson_points().replace("[7.0, 46.1, 400]", "[]")),
        ("b.geojson", geojson_line().replace("[7.0, 46.1]", "null")),
    ],
)
def test_a_place_without_numbers_is_no_position_and_the_others_are(
    tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert read_tracks(file).lat == pytest.approx([46.0, 46.1])


@pytest.mark.parametrize("text", [gpx(), kml_track(), kml_points()])
def test_of_a_large_file_only_the_point_that_is_read_stays_in_memory(text: str) -> None:
    *_, root = track_files._elements(text.replace("<ele>400</ele>", "<x><y/></x>").encode())
    assert len(root) == 0
    held = [len(each) for each in track_files._elements(gpx().encode()) if "trk" in each.tag]
    assert max(held[-2:]) == 0


def test_several_tracks_are_one(tmp_path: Path) -> None:
    (tmp_path / "a.gpx").write_text(gpx())
    (tmp_path / "b.gpx").write_text(gpx().replace("2024-06-01", "2024-06-02"))
    track = read_tracks([tmp_path / "b.gpx", tmp_path / "a.gpx"])
    assert (len(track), track.name) == (6, "b.gpx, a.gpx")
    assert (np.diff(track.hours) > 0).all()


_BOMB = (
    '<!DOCTYPE gpx [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<gpx><trk><trkseg><trkpt lat="1" lon="1"><time>&b;</time></trkpt></trkseg></trk></gpx>'
)
_OUTSIDE = '<!DOCTYPE gpx [<!ENTITY a SYSTEM "file:///etc/passwd">]><gpx><name>&a;</name></gpx>'


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.gpx", _BOMB, "not a track that can be read"),
        ("a.kml", _OUTSIDE, "not a track that can be read"),
        ("a.gpx", "<gpx><trk>", "not a track that can be read"),
        ("a.gpx", "", "not a track that can be read"),
        ("a.json", "[" * 100_000, "not a track that can be read"),
        ("a.json", "[]", "an object"),
        ("a.json", '{"locations": 7}', "not a track that can be read"),
        (
            "a.geojson",
            '{"type": "FeatureCollection", "features": [null]}',
            "not a track that can be read",
        ),
        ("a.gpx", '<gpx><wpt lat="1" lon="2"/></gpx>', "no position in it has a time"),
        (
            "a.gpx",
            gpx().replace("46.", "NaN").replace("NaN0", "nan").replace("NaN1", "nan"),
            "time",
        ),
        ("a.gpx", gpx().replace('lat="46.', 'lat="9946.'), "no position in it has a time"),
        ("a.geojson", geojson_line().replace("2024", "never"), "no position in it has a time"),
        ("a.txt", gpx(), "no track is known by the ending '.txt'"),
    ],
)
def test_a_hostile_or_useless_file_is_an_error_that_says_so(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_tracks(file)


def test_a_track_that_is_missing_no_file_or_too_large_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingFileError):
        read_tracks(tmp_path / "none.gpx")
    with pytest.raises(InputError):
        read_tracks(tmp_path)
    with pytest.raises(InputError, match="names no file"):
        read_tracks([])
    monkeypatch.setattr("geosearch.timeline.track_files.LARGEST_MIB", 0)
    (tmp_path / "a.gpx").write_text(gpx())
    with pytest.raises(InputError, match="over 0 MiB"):
        read_tracks(tmp_path / "a.gpx")


@cache
def walk(seed: int, hours: float = 30.0, *, step: float = 1 / 60) -> Track:
    """Somebody's way, minute by minute: walks and drives, and rests."""
    rng = np.random.default_rng(seed)
    times = 400_000 + np.arange(0, hours, step)
    speed = np.repeat(rng.choice([0.0, 4.0, 50.0], len(times) // 30 + 1), 30)[: len(times)]
    bearing = np.repeat(rng.uniform(0, 360, len(times) // 30 + 1), 30)[: len(times)]
    lat, lon = [46.0], [7.0]
    for kmh, way in zip(speed[1:], bearing[1:], strict=True):
        there = destination(lat[-1], lon[-1], way, kmh * step)
        lat.append(float(there[0]))
        lon.append(float(there[1]))
    return Track("walk", "00", times, np.array(lat), np.array(lon), np.full(len(times), 0.01))


@pytest.mark.parametrize("hours", [0.004, 1.0, 13.37, 29.9])
def test_a_photo_is_between_the_positions_of_its_time(hours: float) -> None:
    track = walk(0)
    moment = track.moment(track.hours[0] + hours)
    assert moment.before is not None
    assert moment.after is not None
    assert moment.before.hours + moment.after.hours == pytest.approx(1 / 60)
    prior = moment_prior(Movement(floor_km=0.01), moment)
    point = unit_vectors(moment.before.lat, moment.before.lon)
    assert cap_mass(prior, point, 1.0 / 6371) > 0.9


def test_far_from_its_positions_a_track_is_less_sure_and_beyond_its_ends_says_nothing() -> None:
    track = walk(1)
    thin = replace(
        track,
        **{name: getattr(track, name)[::600] for name in ("hours", "lat", "lon", "accuracy_km")},
    )
    time = thin.hours[1] + 1.0

    def spread(one: Track) -> float:
        mixture = moment_prior(Movement(), one.moment(time))
        return float(np.sqrt(1 / (mixture.weights @ mixture.kappa)))

    assert spread(thin) > spread(track)
    assert not track.moment(track.hours[0] - 30)
    assert not track.moment(track.hours[-1] + 30)


@pytest.mark.parametrize("offset", [0, 37, -3600, 12 * 3600, -11 * 3600 - 1234])
def test_the_offset_of_a_clock_is_found_by_photos_whose_places_are_known(offset: int) -> None:
    track, rng = walk(2), np.random.default_rng(7)
    chosen = rng.choice(len(track), 25, replace=False)
    lat, lon = destination(
        track.lat[chosen], track.lon[chosen], rng.uniform(0, 360, 25), 0.02 * rng.rayleigh(size=25)
    )
    lat[:3] = 10.0  # nowhere near
    found = find_offset(track, track.hours[chosen] + offset / 3600, lat, lon)
    assert found.seconds == pytest.approx(offset, abs=20)
    assert found.photos == 25


def test_too_few_photos_tell_no_offset() -> None:
    track = walk(2)
    nothing = find_offset(track, track.hours[:2], track.lat[:2], track.lon[:2])
    assert nothing == ClockOffset(0.0, 0)
    elsewhen = find_offset(track, track.hours[:9] + 1000, track.lat[:9], track.lon[:9])
    assert elsewhen == ClockOffset(0.0, 0)
    assert str(nothing) == "taken to be right (fewer than 3 photos with positions tell)"
    assert str(ClockOffset(-3723.0, 25)) == "1:02:03 behind that (by 25 photos with positions)"


def test_at_a_rest_the_smallest_offset_is_taken() -> None:
    still = Track(
        "s", "0", 400_000 + np.arange(0, 30, 0.1), *np.array([[46.0], [7.0], [0.01]]).repeat(300, 1)
    )
    found = find_offset(still, still.hours[100:110], still.lat[100:110], still.lon[100:110])
    assert found.seconds == 0
    assert great_circle_km(46.0, 7.0, still.lat[0], still.lon[0]) == 0
