"""Stated places and times that cannot be right: what is likeliest wrong, and who is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import geosearch
from geosearch.audit import audit_run
from geosearch.audit.audit_rows import Stated, list_doubts
from geosearch.audit.audit_run import audit
from geosearch.audit.plausibility import Judgement, Known, judge
from geosearch.audit.right_chain import Chain
from geosearch.audit.stated_lines import Line, by_author, sessions_of
from geosearch.database.connection import Database
from geosearch.database.copying import PhotoKey
from geosearch.density import Mixture
from geosearch.errors import InputError
from geosearch.retrieval import where
from geosearch.sample.position_faults import Fault, Shot
from geosearch.sample.trip import TripSample, _paths, _shots
from geosearch.sample.worlds import Over, world
from geosearch.sphere import destination, great_circle_km, unit_vectors
from geosearch.timeline import Fix, Moment, Movement, Spread
from tests.command_line import CommandLine
from tests.rows import add_embeddings, add_model, add_photos, fetch

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
BERN = (46.948, 7.4474)
MOVEMENT = Movement(doubt=0.005, spread=Spread(47.0, 8.0, 300.0, 4.0))
#: Photos near Bern ten minutes before and after.
IN_BERN = Moment(Fix(1 / 6, 46.95, 7.44), Fix(1 / 6, 46.946, 7.45))
MINE = where(collection="mine")


def judged(
    stated: tuple[float, float],
    moment: Moment = IN_BERN,
    *,
    seen: tuple[float, float] | None = BERN,
    copies: int = 1,
    at_shift: Callable[[float], Moment] = lambda _: IN_BERN,
) -> Judgement:
    picture = None if seen is None else Mixture.at([seen[0]], [seen[1]], [1.0], 20.0)
    known = Known(MOVEMENT, moment, picture, 0.1)
    return judge(known, stated, copies, at_shift, lambda: Mixture.at([46.9], [7.5], [1.0], 1.0))


@pytest.mark.parametrize("seen", [BERN, None])
@pytest.mark.parametrize(
    ("stated", "reason", "mend"),
    [
        ((7.4474, 46.948), "swapped", BERN),
        ((-46.948, 7.4474), "lost_sign", BERN),
        ((46.948, -7.4474), "lost_sign", BERN),
        ((-46.948, -7.4474), "lost_sign", BERN),
        ((0.001, -0.002), "null_island", BERN),
        ((46.948, 0.0), "null_island", BERN),
        ((46.9, 12.0), "speed", BERN),
    ],
)
def test_each_fault_of_a_position_is_named_and_mended(
    seen: tuple[float, float] | None,
    stated: tuple[float, float],
    reason: str,
    mend: tuple[float, float],
) -> None:
    found = judged(stated, seen=seen)
    assert found.probability < 0.01
    assert (found.reason, found.reason_probability > 0.5) == (reason, True)
    assert found.mend is not None
    assert great_circle_km(*found.mend, *mend) < 1
    assert found.shift_hours is None


@given(st.floats(0, 360), st.floats(0, 1))
def test_what_one_can_walk_to_is_right(bearing: float, km: float) -> None:
    lat, lon = destination(*BERN, bearing, km)
    assert judged((float(lat), float(lon))).probability > 0.5


def test_a_position_that_many_state_was_given_to_them() -> None:
    there = (47.5, 9.5)
    assert judged(there, copies=4).reason == "copied"
    assert judged(there, copies=1).reason == "speed"
    assert judged(BERN, copies=40).probability > 0.5


def test_a_clock_is_wrong_where_another_hour_fits_and_the_picture_agrees() -> None:
    zermatt = (46.02, 7.75)

    def at_shift(hours: float) -> Moment:
        fixes = (Fix(0.1, *zermatt), Fix(0.1, *zermatt))
        return Moment(*fixes) if hours == -3 else IN_BERN

    found = judged(zermatt, seen=zermatt, at_shift=at_shift)
    assert found.probability < 0.1
    assert (found.reason, found.shift_hours, found.mend) == ("clock", -3.0, None)
    # Of a picture of Bern it is the place that is wrong.
    assert judged(zermatt, at_shift=lambda _: IN_BERN).reason != "clock"


def test_without_time_the_picture_alone_tells() -> None:
    nothing = Moment(None, None)
    assert judged((7.4474, 46.948), nothing).reason == "swapped"
    far = judged((10.0, 100.0), nothing)
    assert (far.reason, far.speed_kmh) == ("elsewhere", None)
    assert judged(BERN, nothing).probability > 0.5
    # Nothing is known: nothing is doubted.
    assert judged((10.0, 100.0), nothing, seen=None).probability > 0.5


def photos(
    hours: list[float], lat: list[float], lon: list[float], camera: str, zone: str = "known"
) -> list[Stated]:
    return [
        Stated(
            *(n, 1, f"/{camera}/{n}.jpg", b"", "Ann", camera, NOON + timedelta(hours=hour), zone),
            *(a, o, 0.0, 1),
        )
        for n, (hour, a, o) in enumerate(zip(hours, lat, lon, strict=True))
    ]


def drive(hours: np.ndarray) -> tuple[list[float], list[float]]:
    """Where one is on a way to the east at 40 km/h, with a turn to the north."""
    lat, lon = destination(47.0, 8.0, 90.0 - 5 * hours, 40 * hours)
    return lat.tolist(), lon.tolist()


@pytest.mark.parametrize("behind", [0.0, 7.0, -3.7, 11.95])
def test_cameras_are_put_together_by_what_their_clocks_are_apart(behind: float) -> None:
    rng = np.random.default_rng(0)
    first, second = np.sort(rng.uniform(0, 12, 40)), np.sort(rng.uniform(0, 12, 25))
    lines = [
        Line.of(photos(first.tolist(), *drive(first), "a")),
        Line.of(photos((second - behind).tolist(), *drive(second), "b")),
    ]
    (line,) = by_author(lines, Movement())
    assert len(line.photos) == 65
    lat, lon = drive(line.hours - NOON.timestamp() / 3600)
    away = [
        float(great_circle_km(photo.lat, photo.lon, *place))
        for photo, place in zip(line.photos, zip(lat, lon, strict=True), strict=True)
    ]
    assert np.quantile(away, 0.9) < 1  # a minute and a half


def test_cameras_of_different_ways_stay_apart() -> None:
    hours = np.arange(0, 12, 0.4)
    lat, lon = drive(hours)
    other = photos(hours.tolist(), (-np.array(lat)).tolist(), lon, "b")
    assert (
        len(by_author([Line.of(photos(hours.tolist(), lat, lon, "a")), Line.of(other)], Movement()))
        == 2
    )


def test_time_alone_distrusts_the_one_that_is_off() -> None:
    hours = np.arange(0, 6, 0.25)
    lat, lon = drive(hours)
    lat[7] = -lat[7]
    line = Line.of(photos(hours.tolist(), lat, lon, "a"))
    line.trust_by_time(Movement())
    assert np.flatnonzero(line.trust < 0.5).tolist() == [7]
    whole, line.trust = line.trust, np.ones(len(hours))
    # A part of them, between others that are right.
    line.trust_together(range(6, 10), lambda n: Known(Movement(), line.moment(n), None, 1.0))
    np.testing.assert_allclose(line.trust[6:10], whole[6:10], atol=1e-3)
    assert line.moment(8).before == Fix(0.5, lat[6], lon[6], 0.0, 6)


def test_two_that_are_wrong_alike_do_not_vouch_for_one_another() -> None:
    hours = np.arange(0, 6, 0.25)
    lat, lon = drive(hours)
    # Two minutes on another continent, between photos of minutes before and after.
    lat, lon = [*lat, 40.0, 40.0], [*lon, -100.0, -100.001]
    line = Line.of(photos([*hours.tolist(), 2.6, 2.63], lat, lon, "a"))
    line.trust_by_time(Movement())
    assert [line.photos[n].id for n in np.flatnonzero(line.trust < 0.5)] == [24, 25]


def test_what_was_given_to_many_does_not_vouch_for_itself() -> None:
    hours = np.arange(0, 6, 0.25)
    lat, lon = drive(hours)
    taken = photos(hours.tolist(), lat, lon, "a")
    home = [replace(photo, lat=40.0, lon=-100.0, copies=5) for photo in taken[8:13]]
    line = Line.of([*taken[:8], *home, *taken[13:]])
    line.trust_by_time(Movement())
    assert np.flatnonzero(line.trust < 0.5).tolist() == [8, 9, 10, 11, 12]


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_who_is_right_is_the_sum_over_all_ways_to_leave_photos_out(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    chain = Chain(
        np.sort(random.uniform(0, 5, count)),
        random.normal(BERN[0], 0.2, count),
        random.normal(BERN[1], 0.2, count),
        np.zeros(count),
        random.integers(-1, 2, count),
        random.integers(0, 2, count),
        1 / 60,
    )
    movements, log_wrong = [(0.7, MOVEMENT), (0.3, Movement())], random.normal(8, 4, count)
    log_right = random.normal(0, 3, count)
    first = MOVEMENT.spread.mixture.log_density(unit_vectors(chain.lat, chain.lon))
    weights = {}
    for chosen in range(2**count):
        kept = [n for n in range(count) if chosen >> n & 1]
        weight = sum(log_wrong[n] for n in range(count) if n not in kept)
        for before, n in zip([None, *kept], kept, strict=False):
            if before is None:
                weight += log_right[n] + first[n]
            elif chain.given[before] == chain.given[n] >= 0:
                weight += log_wrong[n]
            else:
                link = chain.links(movements, n - before)[before]
                weight += log_right[n] + link
        weights[chosen] = weight
    shares = np.exp(np.array(list(weights.values())) - np.logaddexp.reduce(list(weights.values())))
    expected = [sum(shares[c] for c in weights if c >> n & 1) for n in range(count)]
    np.testing.assert_allclose(chain.right(movements, log_right, log_wrong), expected, atol=1e-9)


def test_a_camera_without_a_zone_is_read_by_its_clock_if_that_goes_along() -> None:
    hours = np.sort(np.random.default_rng(0).uniform(0, 12, 40))
    east, west = drive(hours), (np.array(drive(hours)[0]) - 6, np.array(drive(hours)[1]) - 82)
    taken = [*hours, *(hours + 24)]
    lat, lon = ([*here, *there] for here, there in zip(east, west, strict=True))
    phone = photos(taken, lat, lon, "phone")
    # One that stays at the time of Bern, which ingest cannot know: -0400 is six hours from it.
    camera = photos([*(hours + 2.05), *(hours + 32.05)], lat, lon, "camera", "position")
    (line,) = by_author([Line.of(phone), Line.of(camera)], Movement())
    moments = {(p.camera, p.id): hour for p, hour in zip(line.photos, line.hours, strict=True)}
    apart = [moments["camera", n] - moments["phone", n] for n in range(len(taken))]
    assert np.abs(apart).max() < 1 / 60


def test_a_session_is_a_quarter_of_an_hour_about_a_photo_of_one_author() -> None:
    taken = photos([0, 0.2, 0.4, 3], [1, 1, 1, 1], [1, 1, 1, 1], "a")
    sessions = sessions_of(taken)
    assert sessions == {0: (0, 1), 1: (0, 1, 2), 2: (1, 2), 3: (3,)}


SAMPLE = TripSample(
    photos=90, over=Over.SPACE, seed=4, trips=2, cameras=1, missing=0, wrong_clocks=0, faults=0.15
)


def trip() -> list[Shot]:
    over = world(SAMPLE.over, SAMPLE.seed)
    return _shots(SAMPLE, over, _paths(SAMPLE, over))


def fill(database: Database) -> list[Shot]:
    """A trip whose pictures look like where they were taken in truth, and other people's photos."""
    rng = np.random.default_rng(1)
    shots = trip()
    true = np.array([shot.place for shot in shots])
    stated = np.array([shot.stated for shot in shots])
    around = true[rng.integers(len(true), size=300)] + rng.normal(scale=0.3, size=(300, 2))
    with database.connection() as connection:
        model = add_model(connection, 32)
        times = [datetime.fromtimestamp(shot.time + shot.clock_error, UTC) for shot in shots]
        mine = add_photos(
            connection, *stated.T, collection="mine", authors=["Ann"] * len(shots), taken_at=times
        )
        theirs = add_photos(connection, *around.T, collection="theirs")
        for chosen, places in ((mine, true), (theirs, around)):
            # Alike within some hundred kilometres.
            add_embeddings(connection, model, chosen, alike(np.radians(places) * 40))
        # Reviewed ones that are no references: they state where they are all the same.
        connection.execute(
            "UPDATE geosearch.all_photos SET position_source = 'reviewed', estimate = geom, "
            "geom = NULL WHERE id = ANY(%s)",
            ([photo.photo_id for photo in reviewed_of(shots, mine)],),
        )
    return shots


def reviewed_of(shots: list[Shot], photos: list[PhotoKey]) -> list[PhotoKey]:
    """One that is wrong, and some that are right."""
    wrong = next(n for n, shot in enumerate(shots) if shot.fault is Fault.SWAPPED)
    right = [n for n, shot in enumerate(shots) if shot.fault is None]
    return [photos[n] for n in (wrong, *right[:3])]


def alike(places: np.ndarray) -> np.ndarray:
    """Embeddings (n, 32) that are alike where places are near."""
    directions = np.random.default_rng(2).normal(size=(2, 16))
    phases = places @ directions
    return np.hstack([np.cos(phases), np.sin(phases)]).astype(np.float32)


@pytest.fixture(scope="module")
def audited(module_database: Database) -> tuple[Database, list[Shot]]:
    """The trip, judged by a run that was broken off twice."""
    shots = fill(module_database)
    seen: list[int] = []

    def break_off(done: int, total: int | None) -> None:
        seen.append(done)
        if len(seen) in (40, 75):
            raise KeyboardInterrupt

    before = audit_run.BATCH
    audit_run.BATCH = 24
    try:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                audit(module_database, model="test/model", where=MINE, progress=break_off)
        assert fetch(module_database, "SELECT count(*) FROM geosearch.audits") == [(48,)]
        summary = audit(module_database, model="test/model", where=MINE)
    finally:
        audit_run.BATCH = before
    assert (summary.photos, summary.judged) == (90, 42)
    return module_database, shots


@pytest.mark.system
def test_seeded_faults_are_found_and_hardly_anything_else(
    audited: tuple[Database, list[Shot]],
) -> None:
    database, shots = audited
    rows = fetch(database, "SELECT photo_id, reason FROM geosearch.audits ORDER BY photo_id")
    faults = [shot.fault for shot in shots]
    assert len(rows) == len(shots)
    found = [reason for _, reason in rows]
    pairs = Counter(
        (str(fault or "right"), reason) for fault, reason in zip(faults, found, strict=True)
    )
    wrong = sum(fault is not None for fault in faults)
    assert sum(r is not None for f, r in zip(faults, found, strict=True) if f) >= 0.8 * wrong, pairs
    assert sum(r is not None for f, r in zip(faults, found, strict=True) if not f) <= 3, pairs
    reviewed = fetch(
        database,
        "SELECT a.reason FROM geosearch.audits AS a JOIN geosearch.photos AS p ON p.id = photo_id "
        "WHERE p.position_source = 'reviewed' AND p.geom IS NULL ORDER BY 1 NULLS LAST",
    )
    assert reviewed == [("swapped",), (None,), (None,), (None,)]
    for fault in (Fault.SWAPPED, Fault.LOST_SIGN, Fault.NULL_ISLAND):
        assert {reason for kind, reason in pairs if kind == fault} <= {str(fault)}, pairs


@pytest.mark.system
def test_doubts_are_listed_with_a_place_and_vanish_when_that_is_mended(
    audited: tuple[Database, list[Shot]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    database, shots = audited
    by_uri = {f"/photo/mine/{n}.jpg": shot for n, shot in enumerate(shots)}
    with database.connection() as connection:
        doubts = list_doubts(connection, MINE)
        assert list_doubts(connection, where(collection="theirs")) == []
    assert Counter(doubt.position_source for doubt in doubts) == {
        "manifest": len(doubts) - 1,
        "reviewed": 1,
    }
    mended = [doubt for doubt in doubts if doubt.reason in ("swapped", "lost_sign")]
    assert mended
    for doubt in mended:
        assert doubt.mend_lat is not None
        assert doubt.mend_lon is not None
        away = great_circle_km(*by_uri[doubt.photo].place, doubt.mend_lat, doubt.mend_lon)
        assert away < 1
    first = next(doubt for doubt in mended if doubt.position_source == "manifest")
    command = CommandLine(database.url, capsys)
    lines = fetch(database, "SELECT count(*), count(geom) FROM geosearch.gis_audit")
    assert lines == [(len(doubts), sum(doubt.reason != "clock" for doubt in doubts))]
    moved = ("photos", "move", "--id", first.photo_id, "--to", f"{first.mend_lat},{first.mend_lon}")
    assert command(*moved, "--yes").code == 0
    with database.connection() as connection:
        assert first.photo_id not in {doubt.photo_id for doubt in list_doubts(connection)}
    asked = ("audit", "--model", "test/model", "--collection", "mine")
    said = command(*asked, "--json", "--map", tmp_path / "map.png").json()
    assert said["map"] == str(tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 50_000
    assert command(*asked, "--map", "map.pdf").code == 2
    assert (said["photos"], said["judged"]) == (90, 1)
    assert [each["photo_id"] for each in said["doubts"]] == [
        doubt.photo_id for doubt in doubts if doubt is not first
    ]
    assert "90 photos, 0 judged now; doubtful: " in command(*asked, "--limit", 1).out
    with geosearch.connect(database.url) as gs:
        assert len(gs.audit(model="test/model", collection="mine")) == len(doubts) - 1


@pytest.mark.system
def test_who_does_not_see_the_photos_is_not_told_of_doubts(
    audited: tuple[Database, list[Shot]],
) -> None:
    database, _ = audited
    with database.connection() as connection:
        connection.execute(
            "SELECT geosearch.set_private(id, true) FROM geosearch.collections WHERE name = 'mine'"
        )
        assert list_doubts(connection)
        connection.execute("SET LOCAL ROLE geosearch_analyst")
        assert list_doubts(connection) == []
        assert connection.execute("SELECT count(*) FROM geosearch.audits").fetchone() == (0,)
        connection.rollback()


@pytest.mark.system
def test_what_cannot_be_asked_is_refused(audited: tuple[Database, list[Shot]]) -> None:
    with pytest.raises(InputError, match="least_probability"):
        audit(audited[0], model="test/model", least_probability=1.5)
