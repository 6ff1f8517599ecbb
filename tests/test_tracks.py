"""Tracks: their files, where a photo was on them, and how far the clock of its camera was off."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from geosearch.density import Mixture
from geosearch.density.caps import cap_mass
from geosearch.errors import InputError, MissingFileError
from geosearch.sphere import destination, great_circle_km, unit_vectors
from geosearch.timeline import Movement, moment_prior, track_files
from geosearch.timeline.clock_offset import ClockOffset, ClockReadings, LikelyOffsets
from geosearch.timeline.timeline_prior import chances_prior
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
        ("a.gpx", _BOMB, "not a track that can be read: it has a document type or entities"),
        ("a.kml", _OUTSIDE, "not a track that can be read: it has a document type or entities"),
        ("a.gpx", "<gpx>\n<trk>", "not a track that can be read: its XML breaks off .* line 2"),
        ("a.gpx", "", "not a track that can be read: it is empty"),
        (
            "a.gpx",
            gpx().replace('lat="46.0"', 'lat="here"'),
            "not a track that can be read: \"lat\" is 'here', which is no number",
        ),
        ("a.gpx", '<?xml version="1.0" encoding="ebcdic9"?><gpx/>', "not a track that can be read"),
        ("a.json", "[" * 100_000, "not a track that can be read: it is nested too deeply"),
        ("a.json", '{"a": 1,}', "not a track that can be read: its JSON breaks off .* line 1"),
        ("a.json", "[]", "an object"),
        (
            "a.json",
            '{"locations": 7}',
            'not a track that can be read: "locations" is no list of objects',
        ),
        (
            "a.json",
            takeout().replace("460000000", '"north"'),
            "not a track that can be read: \"latitudeE7\" is 'north', which is no number",
        ),
        (
            "a.geojson",
            '{"type": "FeatureCollection", "features": [null]}',
            'not a track that can be read: "features" is no list of objects',
        ),
        (
            "a.geojson",
            '{"type": "Feature", "geometry": [1], "properties": {}}',
            "not a track that can be read: its parts are not those of a track",
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
    with pytest.raises(InputError, match=said) as raised:
        read_tracks(file)
    assert name in raised.value.message
    assert raised.value.remedy
    # Nobody who exports tracks speaks Python.
    assert not re.search("Error|Exception|object has|NoneType|not subscript", str(raised.value))


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
    found = ClockReadings(track, track.hours[chosen] + offset / 3600, lat, lon).offsets().best
    assert found.seconds == pytest.approx(offset, abs=20)
    assert found.photos == 25
    assert found.std_seconds < 20


def test_too_few_photos_tell_no_offset() -> None:
    track = walk(2)
    for readings in (
        ClockReadings(track, track.hours[:2], track.lat[:2], track.lon[:2]),
        ClockReadings(track, track.hours[:9] + 1000, track.lat[:9], track.lon[:9]),
    ):
        found = readings.offsets().best
        assert (found.seconds, found.photos) == (0, 0)
        assert found.std_seconds > 3600  # of any clock
    zoned = ClockReadings(track, track.hours[:2], track.lat[:2], track.lon[:2], zoned=True)
    assert 0.7 < zoned.offsets().probability[abs(zoned.offsets().seconds) < 180].sum() < 0.9


def test_an_offset_is_said_in_words() -> None:
    said = "the camera's clock 1:02:03 behind it, give or take 12 s (by 25 photos with positions)"
    assert str(ClockOffset(-3723.0, 25, 12.3)) == said
    assert str(ClockOffset(60.0, None)) == "the camera's clock 0:01:00 ahead of it (as given)"
    assert "too few photos tell" in str(ClockOffset(0.0, 0, 9000.0))


def test_what_is_not_known_of_an_offset_is_in_the_density() -> None:
    """Photos at a rest leave minutes open: one on the way is then anywhere along these."""
    hours = 400_000 + np.arange(0, 4, 1 / 60)
    minutes = np.arange(len(hours))
    # An hour at one place, an hour northwards at 50 km/h, and there.
    lat = 46.0 + 0.45 * np.clip((minutes - 60) / 60, 0, 1)
    track = Track("t", "0", hours, lat, np.full(len(hours), 7.0), np.full(len(hours), 0.01))
    resting = [20, 30, 40]
    readings = ClockReadings(track, hours[resting], lat[resting], np.full(3, 7.0))
    offsets = readings.offsets()
    assert offsets.best.seconds == 0
    assert offsets.best.std_seconds > 600
    under_way = offsets.chances(track, hours[80])
    assert 1 < len(under_way) <= 9
    assert sum(each.probability for each in under_way) == pytest.approx(1)
    prior = chances_prior(Movement(), under_way)
    sure = moment_prior(Movement(), track.moment(hours[80]))
    ten_minutes_on = unit_vectors([lat[90]], [7.0])
    assert prior.log_density(ten_minutes_on)[0] > sure.log_density(ten_minutes_on)[0] + 1
    place = unit_vectors(lat[80], 7.0)
    assert cap_mass(prior, place, 1 / 6371) < 0.5 < 0.9 < cap_mass(sure, place, 1 / 6371)
    # Where one stayed, it is no matter when.
    at_rest = offsets.chances(track, hours[230])
    assert cap_mass(chances_prior(Movement(), at_rest), unit_vectors(46.45, 7.0), 1 / 6371) > 0.8


def test_a_way_to_and_fro_leaves_both_times_open() -> None:
    hours = 400_000 + np.arange(0, 3, 1 / 60)
    north = 46.0 + 0.3 * (1 - np.abs(np.linspace(-1, 1, len(hours))))
    track = Track("t", "0", hours, north, np.full(len(hours), 7.0), np.full(len(hours), 0.01))
    # Close together in time on the way there, an hour before the top; or on the way back.
    chosen = [30, 30, 30]
    found = ClockReadings(track, hours[chosen], north[chosen], np.full(3, 7.0)).offsets()
    there, back = (found.probability[abs(found.seconds - at) < 60].sum() for at in (0, -7140))
    assert there + back == pytest.approx(1, abs=0.05)
    assert back > 0.3
    places = [each.moment.fixes[0].lat for each in found.chances(track, hours[60])]
    assert max(places) - min(places) > 0.1


def test_a_photo_does_not_tell_of_its_own_clock() -> None:
    track = walk(2)
    chosen = np.arange(100, 1000, 100)
    hours, lat, lon = track.hours[chosen].copy(), track.lat[chosen], track.lon[chosen]
    hours[0] += 2.0
    readings = ClockReadings(track, hours, lat, lon)
    used = np.arange(len(chosen)) > 0
    assert readings.offsets(used).photos == 8
    alone = ClockReadings(track, hours[1:], lat[1:], lon[1:]).offsets()
    assert np.array_equal(readings.offsets(used).probability, alone.probability)


def test_an_offset_that_is_given_leaves_one_time() -> None:
    track = walk(0)
    (one,) = LikelyOffsets.given(60.0).chances(track, track.hours[500])
    assert (one.probability, one.spread_km) == (1.0, 0.0)
    assert one.moment == track.moment(track.hours[500] - 1 / 60)


def test_a_blurred_density_is_as_much_wider_as_it_is_off() -> None:
    mixture = Mixture.at([46.0, 47.0], [7.0, 8.0], [0.4, 0.6], np.array([3.0, 0.01]))
    assert mixture.blurred(4.0).bandwidth * 6371.0088 == pytest.approx([5.0, 4.0], rel=1e-4)
    assert np.array_equal(mixture.blurred(0.0).kappa, 1 / (1 / mixture.kappa))


def test_at_a_rest_the_smallest_offset_is_taken() -> None:
    still = Track(
        "s", "0", 400_000 + np.arange(0, 30, 0.1), *np.array([[46.0], [7.0], [0.01]]).repeat(300, 1)
    )
    here = slice(100, 110)
    found = ClockReadings(still, still.hours[here], still.lat[here], still.lon[here]).offsets()
    assert found.best.seconds == 0
    assert len(found.chances(still, still.hours[150])) == 1
    assert great_circle_km(46.0, 7.0, still.lat[0], still.lon[0]) == 0
