"""Picture and time together: what they say, how it is fitted, recorded and computed again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags
from psycopg.types.json import Jsonb

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.density import Mixture, Place, level_at, locate
from geosearch.density.best_point import best_point
from geosearch.density.caps import cap_mass
from geosearch.errors import InputError
from geosearch.evaluation import evaluate
from geosearch.features.model_rows import Model, find_model
from geosearch.localization import Localization, Parameters, load, reproduce
from geosearch.localization.localizing import answer_query, recorded
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING
from geosearch.retrieval import where as read_where
from geosearch.sphere import destination, great_circle_km, lat_lon, unit_vectors
from geosearch.timeline import Fix, Moment, Movement, Spread
from geosearch.timeline.clock_offset import ClockOffset
from geosearch.timeline.fusion import Fusion, Question, TimeKind, fit_fusion, fused
from geosearch.timeline.time_asked import TimeAsked
from geosearch.timeline.time_evidence import OnTrack, TimeEvidence
from geosearch.timeline.timeline_prior import Chance
from geosearch.timeline.timeline_rows import Dated, located_readings
from geosearch.timeline.track_files import Track
from tests.command_line import CommandLine
from tests.photo_files import gps, photo
from tests.rows import add_embeddings, add_model, add_photos

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
CITY = (47.0, 8.0)


def sees(lat: float, lon: float, km: float) -> Mixture:
    return Mixture.at([lat], [lon], [1.0], km)


def beside(lat: float, lon: float) -> Moment:
    """Photos a few minutes before and after, at one place."""
    return Moment(Fix(0.05, lat, lon), Fix(0.05, lat, lon))


#: What a picture that shows nothing says: anywhere in the country.
NOTHING = sees(*CITY, 300.0)
MOVEMENT = Movement(spread=Spread.of(np.array([45.0, 49.0, 47.0]), np.array([8.0, 8.0, 5.0])))


def test_a_photo_of_nothing_has_the_place_of_its_neighbours_in_time() -> None:
    told = fused(Fusion(MOVEMENT), NOTHING, beside(46.0, 7.0))
    assert great_circle_km(*lat_lon(told.estimate), 46.0, 7.0) < 0.1
    assert told.told.right(1) > 0.9


def test_a_wrong_clock_is_overruled_by_a_sure_picture() -> None:
    sure = replace(Fusion(MOVEMENT), picture_doubt=0.01)
    told = fused(sure, sees(*CITY, 0.05), beside(49.0, 2.0))
    assert great_circle_km(*lat_lon(told.estimate), *CITY) < 0.1
    assert told.told.right(0) > 0.5 > told.told.right(1)


def test_picture_and_time_that_agree_are_surer_than_either() -> None:
    near = Moment(Fix(0.5, 47.001, 8.0), None)
    told = fused(Fusion(MOVEMENT), sees(*CITY, 1.0), near)
    alone = fused(Fusion(MOVEMENT), NOTHING, near)
    point = unit_vectors(47.0, 8.0)
    assert cap_mass(told.mixture, point, 1 / 6371) > cap_mass(sees(*CITY, 1.0), point, 1 / 6371)
    assert cap_mass(told.mixture, point, 1 / 6371) > cap_mass(alone.mixture, point, 1 / 6371)


@given(st.integers(0, 2**32))
def test_without_evidence_of_time_the_picture_alone_is_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = Mixture.at(rng.uniform(-80, 80, 5), rng.uniform(-180, 180, 5), np.full(5, 0.2), 100.0)
    for nothing in (None, Moment(None, None)):
        mixture = fused(Fusion(MOVEMENT), picture, nothing).mixture
        assert np.array_equal(mixture.weights, picture.weights)
        assert np.array_equal(mixture.centres, picture.centres)


@given(st.integers(0, 2**32))
def test_the_estimate_is_more_probably_near_than_any_kernel_s_centre(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lat, lon = destination(*CITY, rng.uniform(0, 360, 8), 10 ** rng.uniform(-1, 3, 8))
    mixture = Mixture.at(lat, lon, rng.dirichlet(np.ones(8)), 10 ** rng.uniform(-1, 2.5, 8))
    within = (1.0, 25.0, 200.0)

    def score(point: np.ndarray) -> float:
        return float(np.mean([cap_mass(mixture, point, km / 6371) for km in within]))

    best = score(best_point(mixture, within))
    # Caps are softened to kernels, so not quite.
    assert best > 0.8 * max(score(centre) for centre in mixture.centres)


def test_a_needle_in_a_haystack_is_no_estimate() -> None:
    needle = Mixture.at([47.0, 47.5], [8.0, 8.0], [0.1, 0.9], np.array([0.01, 10.0]))
    lat, lon = lat_lon(best_point(needle, (1.0, 25.0, 200.0)))
    assert great_circle_km(lat, lon, 47.5, 8.0) < 3


def examples(
    seed: int,
    n: int,
    *,
    blank: float = 0.0,
    wrong: float = 0.0,
    tracked: float = 0.0,
    off_track: float = 0.0,
) -> list[Question]:
    """Truths in a country; pictures right to 2 km, or of nothing; times right, or elsewhere.

    Of a share of them there is a track besides, right to 20 m or elsewhere.
    """
    rng = np.random.default_rng(seed)
    asked: list[Question] = []

    def near(place: tuple[float, float], km: float) -> tuple[float, float]:
        lat, lon = destination(*place, rng.uniform(0, 360), km)
        return float(lat), float(lon)

    for _ in range(n):
        truth, elsewhere = (near(CITY, 300 * rng.random() ** 0.5) for _ in range(2))
        seen = elsewhere if rng.random() < blank else near(truth, 2 * rng.rayleigh())
        picture = sees(seen[0], seen[1], 2.0)
        hours = rng.exponential(0.5)
        place = near(truth, 0.05 * rng.rayleigh() + 3 * hours * rng.rayleigh())
        lat, lon = elsewhere if rng.random() < wrong else place
        track: tuple[Chance, ...] = ()
        if rng.random() < tracked:
            there = elsewhere if rng.random() < off_track else near(truth, 0.02 * rng.rayleigh())
            track = (Chance(1.0, 0.0, Moment(Fix(0.01, *there), Fix(0.01, *there))),)
        asked.append(Question(picture, truth, Moment(Fix(hours, lat, lon), None), track))
    return asked


def test_what_is_often_wrong_is_doubted() -> None:
    known = fit_fusion(MOVEMENT, examples(0, 40, blank=0.5))
    assert known.photos == 40
    assert known.picture_doubt > 0.3 > known.time_doubt
    clocks = fit_fusion(MOVEMENT, examples(0, 40, wrong=0.5))
    assert clocks.picture_doubt < 0.2
    assert clocks.time_doubt > known.time_doubt


def test_fused_regions_hold_what_they_say() -> None:
    fitted = fit_fusion(MOVEMENT, examples(1, 90, blank=0.2, wrong=0.1))
    levels = levels_of(fitted, examples(2, 90, blank=0.2, wrong=0.1))
    assert np.mean(levels <= 0.5) == pytest.approx(0.5, abs=0.15)
    assert np.mean(levels <= 0.9) == pytest.approx(0.9, abs=0.09)
    assert Fusion.from_json(fitted.to_json()) == fitted


def levels_of(fitted: Fusion, asked: list[Question]) -> np.ndarray:
    return np.array(
        [
            fused(fitted, each.picture, each.timeline, each.track).level_of(*each.truth)
            for each in asked
        ]
    )


def test_so_do_those_by_a_track_which_is_believed_as_far_as_it_was_right() -> None:
    bad = {"tracked": 0.7, "off_track": 0.2}
    fitted = fit_fusion(MOVEMENT, examples(1, 90, **bad))
    levels = levels_of(fitted, [each for each in examples(2, 130, **bad) if each.track])
    assert np.mean(levels <= 0.5) == pytest.approx(0.5, abs=0.15)
    assert np.mean(levels <= 0.9) == pytest.approx(0.9, abs=0.09)
    assert Fusion.from_json(fitted.to_json()) == fitted
    good = fit_fusion(MOVEMENT, examples(1, 90, tracked=0.7))
    assert good.track_doubt < 0.05 < 0.1 < fitted.track_doubt < 0.3
    # What photos before and after are worth is the same whether there are tracks or not.
    without = fit_fusion(MOVEMENT, [replace(each, track=()) for each in examples(1, 90, **bad)])
    plain = tuple(gap for gap in fitted.gaps if not gap.kind.track)
    assert (without.time_doubt, without.gaps) == (fitted.time_doubt, plain)
    few = fit_fusion(MOVEMENT, examples(1, 15, tracked=1.0))
    assert (few.photos, few.on_tracks, few.gaps) == (0, 0, ())
    by_few = TimeEvidence(Dated(b""), beside(46.0, 7.0), few)
    assert by_few.unlearned == "it has seen no photos in order of time"


def test_without_anything_fitted_regions_are_rather_too_large() -> None:
    asked = examples(3, 90, blank=0.2, wrong=0.1, tracked=0.5, off_track=0.1)
    assert np.mean(levels_of(Fusion.unlearned(MOVEMENT), asked) <= 0.9) >= 0.9
    assert np.mean(levels_of(Fusion(MOVEMENT), asked) <= 0.9) < 0.9
    fitted = fit_fusion(MOVEMENT, [replace(each, track=()) for each in asked])
    assert fitted.levels(TimeKind(track=True), 0.1) == Fusion.unlearned().otherwise
    assert fitted.levels(TimeKind(), 0.1) in fitted.gaps


def test_a_calibration_that_has_seen_no_track_fits_no_answer_by_one() -> None:
    here = beside(46.0, 7.0)
    track = OnTrack("t", "00", ClockOffset(0.0, 9), (Chance(1.0, 0.0, here),))
    seen = Fusion(MOVEMENT, photos=60)
    for moment, on_track, fusion, said in (
        (here, None, seen, None),
        (here, track, seen, "no photos on a track"),
        (here, track, replace(seen, on_tracks=20), None),
        (here, None, Fusion(MOVEMENT), "no photos in order of time"),
        (None, None, Fusion(MOVEMENT), None),
    ):
        evidence = TimeEvidence(Dated(b""), moment, fusion, on_track)
        assert (said or "") in (evidence.unlearned or "")
        assert bool(evidence.unlearned) == bool(said)
        assert evidence.to_json()["fitted_to"] == (fusion.on_tracks if on_track else fusion.photos)


# In answers


@dataclass
class World:
    """References all over, Ann's photos of a morning in one place, and one without a position."""

    database: Database
    model: Model
    query: Query
    ids: list[int]


@pytest.fixture
def world(database: Database) -> World:
    rng = np.random.default_rng(5)
    with database.connection() as connection:
        model = add_model(connection, 8)
        lat, lon = rng.uniform(-60, 60, 60), rng.uniform(-180, 180, 60)
        others = add_photos(connection, lat, lon, collection="others", prefix="others")
        mine = add_photos(
            connection,
            [46.0, 46.001],
            [7.0, 7.001],
            collection="mine",
            authors=["ann"] * 2,
            taken_at=[NOON + timedelta(minutes=each) for each in (-10, 10)],
        )
        keys = [*others, *mine]
        vectors = rng.normal(size=(len(keys), 8))
        add_embeddings(connection, model, keys, vectors / np.linalg.norm(vectors, axis=1)[:, None])
        connection.execute(
            """
            INSERT INTO geosearch.all_photos (collection_id, uri, sha256, size_bytes, width, height,
                format, author, taken_at, taken_at_zone)
            SELECT id, '/unknown.jpg', sha256('unknown'), 1, 1, 1, 'JPEG', 'ann', %s, 'known'
            FROM geosearch.collections WHERE name = 'mine'
            """,
            (NOON,),
        )
        (sha256,) = connection.execute("SELECT sha256('unknown')").fetchone() or (b"",)
        row = find_model(connection, "test/model")
    vector = rng.normal(size=8)
    embedding = (vector / np.linalg.norm(vector)).astype(np.float32)
    return World(
        database,
        row,
        Query("/unknown.jpg", bytes(sha256), embedding),
        [key.photo_id for key in mine],
    )


def ask(world: World, *, timeline: bool = False) -> Localization:
    asked = Parameters(k=20, timeline=timeline)
    return answer_query(world.database, world.model, world.query, asked, EVERYTHING)


def test_an_answer_goes_by_the_timeline_where_it_is_asked_to(world: World) -> None:
    alone, told = ask(world), ask(world, timeline=True)
    assert alone.evidence is None
    assert told.evidence is not None
    assert told.evidence.by_picture == (alone.lat, alone.lon)
    assert told.lat is not None
    assert told.lon is not None
    assert great_circle_km(told.lat, told.lon, 46.0, 7.0) < 1
    assert told.evidence.believed["timeline"] > 0.9
    assert [fix.photo_id for fix in told.evidence.timeline.fixes] == world.ids  # type: ignore[union-attr]
    assert told.radius_km[0.9] < alone.radius_km[0.9]
    assert told.density is not None
    assert level_at(told.density, 46.0005, 7.0005) < 0.5
    assert told.regions[0.9].geometry.contains(told.regions[0.5].geometry.representative_point())


def test_an_answer_by_time_is_kept_read_back_and_computed_again(world: World) -> None:
    given_ = recorded(world.database, ask(world, timeline=True))
    assert given_.id is not None
    read = load(world.database, given_.id)
    assert read.to_json() == given_.to_json()
    assert read.to_json()["evidence"]["timeline"]["before"]["photo_id"] == world.ids[0]
    assert read.evidence == given_.evidence
    assert read.density is not None
    assert given_.density is not None
    points = unit_vectors([46.0, 10.0], [7.0, 10.0])
    assert read.density.log_density(points) == pytest.approx(given_.density.log_density(points))
    again = reproduce(world.database, given_.id)
    assert (again.same, again.changes) == (True, ())
    with world.database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_photos SET geom = ST_SetSRID(ST_Point(7.5, 46.5), 4326) "
            "WHERE id = %s",
            (world.ids[0],),
        )
    again = reproduce(world.database, given_.id)
    assert not again.same
    assert any(f"photo {world.ids[0]} at 46.500000" in change for change in again.changes)


def test_reproduce_finds_photos_that_have_come_before_and_after_since(world: World) -> None:
    def dated(taken_at: datetime | None) -> None:
        with world.database.connection() as connection:
            connection.execute(
                "UPDATE geosearch.all_photos SET taken_at = %s WHERE id = %s",
                (taken_at, world.ids[0]),
            )
            connection.execute(
                "UPDATE geosearch.all_photos SET taken_at = NULL WHERE id = %s", (world.ids[1],)
            )

    dated(None)
    answer = recorded(world.database, ask(world, timeline=True))
    assert answer.evidence is None
    assert answer.id is not None
    assert reproduce(world.database, answer.id).same
    dated(NOON)
    again = reproduce(world.database, answer.id)
    assert not again.same
    assert f"was none, is photo {world.ids[0]}" in again.changes[0]


def test_a_photo_that_time_says_nothing_of_is_placed_by_its_picture_alone(world: World) -> None:
    world.query = replace(world.query, sha256=bytes(32))
    told, alone = ask(world, timeline=True), ask(world)
    assert told.evidence is None
    assert (told.lat, told.lon, told.radius_km) == (alone.lat, alone.lon, alone.radius_km)


def test_of_a_clock_without_a_zone_a_track_tells_only_with_its_offset(world: World) -> None:
    hours = NOON.timestamp() / 3600 + np.array([-0.1, 0.1])
    track = Track("t", "00", hours, np.full(2, 46.5), np.full(2, 7.5), np.full(2, 0.01))

    def told(clock_offset: float | None = None) -> TimeEvidence | None:
        times = TimeAsked(track, clock_offset)
        asking = world.database, world.model, world.query, Parameters(k=20), EVERYTHING
        return answer_query(*asking, times=times).evidence

    known = told()
    assert known is not None
    assert known.track is not None
    assert (known.track.clock_offset.seconds, known.track.clock_offset.photos) == (0.0, 0)
    assert known.track.clock_offset.std_seconds > 60  # nothing says that it is right
    assert len(known.track.chances) > 1
    with world.database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_photos SET taken_at_zone = 'assumed' WHERE geom IS NULL"
        )
    assert told() is None
    given_ = told(clock_offset=60.0)
    assert given_ is not None
    assert given_.track is not None
    assert given_.track.clock_offset == ClockOffset(60.0, None)


def test_the_clock_of_a_camera_is_set_by_photos_that_pass_the_filter_alone(world: World) -> None:
    hours = NOON.timestamp() / 3600
    track = Track(
        "t", "00", hours + np.array([-0.5, 0.5]), np.full(2, 46.0), np.full(2, 7.0), np.ones(2)
    )
    with world.database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_photos SET taken_at = %s, exif = %s WHERE collection_id = "
            "(SELECT id FROM geosearch.collections WHERE name = 'others')",
            (NOON, Jsonb({"Model": "R5"})),
        )
        both = read_where(collection=["mine", "others"])
        with_author = read_where(author="ann")
        file = Dated(bytes(32), NOON, "known", None, "R5")
        for photo_, where, count in (
            (replace(file, camera=None, author="ann"), EVERYTHING, 2),
            (replace(file, camera=None, author="ann"), read_where(collection="others"), 0),
            (file, EVERYTHING, 0),  # anybody's
            (replace(file, camera=None), both, 0),
            (file, both, 60),
            (file, with_author, 0),
        ):
            found = located_readings(connection, photo_, where, hours - 1, hours + 1)
            assert len(found) == count
        times = TimeAsked(track)
        for where, photos in ((both, 60), (with_author, 0)):  # one question's is not another's
            on_track = times.on_track(connection, file, where)
            assert on_track is not None
            assert on_track.clock_offset.photos == photos


def test_evaluations_judge_the_picture_alone_and_their_answers_are_computed_again(
    world: World,
) -> None:
    asked = Parameters(k=20, timeline=True)
    done = evaluate(
        world.database, None, model="test/model", parameters=asked, where=read_where(author="ann")
    )
    assert "timeline" not in done.parameters
    with world.database.connection() as connection:
        rows = connection.execute(
            "SELECT id FROM geosearch.localizations WHERE evaluation_id = %s", (done.id,)
        ).fetchall()
    assert len(rows) == 2
    for (key,) in rows:
        assert not load(world.database, key).parameters.timeline
        again = reproduce(world.database, key)
        assert (again.same, again.changes) == (True, ())


def test_cells_alone_know_no_timeline() -> None:
    with pytest.raises(InputError, match="timeline"):
        Parameters(method="geocell", timeline=True)


def test_of_the_place_by_picture_weights_stay() -> None:
    place = locate([46.0, 47.0], [7.0, 8.0], [0.1, 0.2], regions=False)
    told = fused(Fusion(MOVEMENT), NOTHING, beside(46.0, 7.0)).place((0.5,), place, regions=False)
    assert isinstance(told, Place)
    assert np.array_equal(told.weights, place.weights)
    assert told.modes[0].mass == told.agreement


# On the command line


@pytest.fixture(scope="module")
def travelled(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ann's photos along a way, of noise; the fourth has no position, and a track of the way."""
    folder = tmp_path_factory.mktemp("travelled")
    tag = ExifTags.Base
    for number in range(8):
        shown = f"2024:06:01 12:{number:02}:00"
        data = photo(
            None if number == 3 else gps(46.0 + 0.01 * number, 7.0),
            shade=number,
            size=(64, 48),
            image_tags={tag.Artist: "ann", tag.Model: "R5"},
            # Three hours ahead of the track.
            photo_tags={tag.DateTimeOriginal: shown, tag.OffsetTimeOriginal: "-03:00"},
        )
        folder.joinpath(f"{number}.jpg").write_bytes(data)
    points = "".join(
        f'<trkpt lat="{46.0 + 0.01 * minute}" lon="7.0"><time>2024-06-01T12:{minute:02}:00Z</time>'
        "</trkpt>"
        for minute in range(8)
    )
    (folder / "way.gpx").write_text(f"<gpx><trk><trkseg>{points}</trkseg></trk></gpx>")
    gs = Geosearch(module_database)
    gs.ingest(folder, collection="mine", workers=1)
    gs.embed()
    return folder


def test_the_command_line_asks_time_or_the_picture_alone(
    module_database: Database, travelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geosearch = CommandLine(module_database.url, capsys)
    file, track = travelled / "3.jpg", ("--track", travelled / "way.gpx")
    asked = ("localize", file, "--no-record", "--json")
    alone = geosearch(*asked).json()
    assert alone["evidence"] is None
    told = geosearch(*asked, "--timeline").json()
    assert told["evidence"]["camera"] == "R5"
    assert told["estimate"]["lat"] == pytest.approx(46.03, abs=0.003)
    assert told["evidence"]["by_picture"] == alone["estimate"]
    assert geosearch(*asked, "--without", "timeline").json()["evidence"] is None
    for both in (("--timeline", "--without", "timeline"), (*track, "--without", "track,timeline")):
        refused = geosearch(*asked, *both)
        assert refused.code == 2
        assert "--without" in refused.err
    by_track = geosearch(*asked, *track).json()
    assert by_track["evidence"]["timeline"] is None
    offset = by_track["evidence"]["track"]["clock_offset"]
    assert offset["seconds"] == pytest.approx(3 * 3600, abs=60)
    assert offset["photos"] == 7
    assert 0 < offset["std_seconds"] < 60
    assert by_track["estimate"]["lat"] == pytest.approx(46.03, abs=0.01)
    given_ = geosearch(*asked, *track, "--clock-offset", "2:58").json()
    assert given_["evidence"]["track"]["clock_offset"] == {
        **{"seconds": 10_680, "photos": None},
        "std_seconds": 0.0,
    }
    assert given_["estimate"]["lat"] == pytest.approx(46.05, abs=0.005)
    assert geosearch(*asked, "--without", "track,timeline").json()["evidence"] is None
    said = geosearch("localize", file, "--timeline", *track)
    assert "60 s before" in said.out
    assert "way.gpx, the camera's clock 3:00:" in said.out
    assert "ahead of it, give or take" in said.out
    assert geosearch(*asked, "--without", "picture").code == 2
    refused = geosearch(*asked, *track, "--clock-offset", "2:75")
    assert (refused.code, "[-]H:MM:SS" in refused.err) == (2, True)
    assert geosearch(*asked, "--track", travelled / "no.gpx").code == 2


def test_an_answer_by_a_track_is_computed_again_without_it(
    module_database: Database, travelled: Path
) -> None:
    gs = Geosearch(module_database)
    track = travelled / "way.gpx"
    answer = gs.localize(travelled / "3.jpg", track=track, timeline=True)
    track.rename(travelled / "gone.gpx")
    assert answer.id is not None
    assert answer.evidence is not None
    assert gs.load(answer.id).evidence == answer.evidence
    assert gs.reproduce(answer.id).same
    assert set(answer.evidence.believed) == {"picture", "timeline", "track"}
    with pytest.raises(InputError, match="clock_offset"):
        gs.localize(travelled / "3.jpg", clock_offset=3.0)
    for seconds in (float("nan"), float("inf"), 1e18):
        with pytest.raises(InputError, match="clock_offset"):
            gs.localize(travelled / "3.jpg", track=track, clock_offset=seconds)
