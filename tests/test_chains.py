"""Sessions without a position: each photo is told by what the pictures of the others show."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, LiteralString

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from geosearch.calibration import Fits
from geosearch.database.collection_rows import find_collection, set_private
from geosearch.database.connection import Connection, Database
from geosearch.density import Mixture
from geosearch.density.caps import cap_mass
from geosearch.density.kernel import squared_chords
from geosearch.density.products import log_constant
from geosearch.evaluation.calibrating import _answered, _How
from geosearch.evaluation.queries import stored_queries
from geosearch.features.extraction import stored_query
from geosearch.features.model_rows import Model, find_model
from geosearch.localization import Localization, Parameters, load, reproduce
from geosearch.localization import pictures as pictures_module
from geosearch.localization.localizing import ITSELF, _Asking, answer_query, recorded
from geosearch.localization.pictures import find_neighbours, nearest_in_time
from geosearch.localization.reviews import decide
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, where
from geosearch.retrieval.duplicates import Exclusions, Found
from geosearch.sphere import EARTH_RADIUS_KM, destination, great_circle_km, lat_lon, unit_vectors
from geosearch.timeline import Fix, Moment, Movement, Spread, moment_prior
from geosearch.timeline.fusion import Fusion, fused
from geosearch.timeline.session_chain import Message, Seen, Session, Sight, forward, message
from geosearch.timeline.time_asked import NOTHING_MORE, TimeAsked
from geosearch.timeline.time_evidence import TimeEvidence
from geosearch.timeline.timeline_prior import NOTHING_KNOWN, with_session
from geosearch.timeline.timeline_rows import Dated, find_session
from geosearch.timeline.track_files import Track
from tests.answers import make_answer
from tests.rows import add_embeddings, add_model, add_photos

CITY, ELSEWHERE = (47.0, 8.0), (52.0, 13.0)
MOVEMENT = Movement(spread=Spread.of(np.array([45.0, 49.0, 52.0]), np.array([8.0, 8.0, 13.0])))


def sees(lat: float, lon: float, km: float) -> Mixture:
    return Mixture.at([lat], [lon], [1.0], km)


#: What a picture that shows nothing says: anywhere in the country.
NOTHING = sees(*CITY, 400.0)


def sights(seed: int, count: int, kernels: int = 3) -> list[Sight]:
    """Photos with some kernels each in a region, the farthest in time first."""
    rng = np.random.default_rng(seed)
    hours = np.sort(rng.exponential(2.0, count))[::-1]
    found = []
    for time in hours.tolist():
        lat, lon = destination(*CITY, rng.uniform(0, 360, kernels), rng.exponential(60, kernels))
        km = 10 ** rng.uniform(0, 2, kernels)
        weights = rng.dirichlet(np.ones(kernels))
        found.append(Sight(time, Mixture.at(lat, lon, weights, km), rng.uniform(0.05, 0.9)))
    return found


Kernel = tuple[np.ndarray, float]  # where, and its variance


def meet(one: Kernel, other: Kernel) -> float:
    """The density at which two kernels meet."""
    variance = one[1] + other[1]
    chord = squared_chords(one[0][None], other[0][None])[0, 0]
    return float(np.exp(log_constant(np.array(1 / variance)) - chord / variance / 2))


def enumerated(chain: list[Sight]) -> tuple[dict[int, list[tuple[float, Kernel]]], float]:
    """All that may have been: the weights and kernels of each photo as the last one right.

    Every choice of which photos are right, of a kernel of each, and of a way from each to the next.
    And the weight of none being right.
    """
    level = float(np.exp(MOVEMENT.spread.log_level))
    last: dict[int, list[tuple[float, Kernel]]] = {number: [] for number in range(len(chain))}
    options = [[None, *range(len(sight.mixture.weights))] for sight in chain]
    ways = [range(4)] * (len(chain) - 1)
    for chosen in itertools.product(*options):
        right = [(n, k) for n, k in enumerate(chosen) if k is not None]
        for way in itertools.product(*ways[: len(right) - 1]) if right else ():
            weight, at, place = 1.0, 0, None
            for sight, k in zip(chain, chosen, strict=True):
                weight *= sight.doubt if k is None else (1 - sight.doubt) * sight.mixture.weights[k]
            for step, (n, k) in enumerate(right):
                shown = chain[n].mixture.centres[k], float(1 / chain[n].mixture.kappa[k])
                if place is not None:
                    hours = np.array(chain[at].hours - chain[n].hours)
                    width = MOVEMENT.widths_km(hours)[way[step - 1]] / EARTH_RADIUS_KM
                    there = place[0], place[1] + float(width) ** 2
                    weight *= float(np.exp(MOVEMENT.log_shares(hours)[way[step - 1]]))
                    weight *= meet(shown, there) / level
                    shown = min(shown, there, key=lambda kernel: kernel[1])
                at, place = n, shown
            assert place is not None
            last[at].append((weight, place))
    return last, float(np.prod([sight.doubt for sight in chain]))


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_the_forward_weights_are_those_of_all_that_may_have_been(seed: int, count: int) -> None:
    chain = sights(seed, count, kernels=2)
    last, none = enumerated(chain)
    for number, (mass, place) in enumerate(forward(MOVEMENT, chain, reduce=False)):
        found = last[number]
        total = sum(weight for weight, _ in found)
        after = np.prod([sight.doubt for sight in chain[number + 1 :]])
        assert np.exp(mass) * after == pytest.approx(total, rel=1e-6)
        points = place.centres[:3]
        density = [
            sum(weight * meet(kernel, (point, 0.0)) for weight, kernel in found) / total
            for point in points
        ]
        assert np.exp(place.log_density(points)) == pytest.approx(density, rel=1e-5)
    whole = none + sum(weight for found in last.values() for weight, _ in found)
    said = message(MOVEMENT, chain, fixed=False)
    # Of mixtures that are reduced.
    assert np.log(said.doubt) == pytest.approx(np.log(none / whole), abs=0.3)


def test_a_vague_picture_between_does_not_blur_what_is_known_sharply() -> None:
    """A photo minutes from a position is near it, though another was taken between."""
    fix = Fix(0.2, 46.5, 7.5)
    alone = moment_prior(MOVEMENT, Moment(fix, None))
    with_vague = moment_prior(MOVEMENT, told([(-0.1, sees(46.5, 7.6, 60.0))], Moment(fix, None)))
    point = unit_vectors(46.5, 7.5)
    km = 2 / EARTH_RADIUS_KM
    assert cap_mass(with_vague, point, km) > 0.8 * cap_mass(alone, point, km)


def told(chain: list[tuple[float, Mixture]], moment: Moment = NOTHING_KNOWN) -> Moment:
    """A moment with photos so many hours after it, by their pictures."""
    return with_session(
        MOVEMENT,
        moment,
        [(Seen(number, hours), picture) for number, (hours, picture) in enumerate(chain)],
    )


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_what_a_session_says_knows_neither_order_nor_direction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chain = [
        (float(hours), sight.mixture)
        for hours, sight in zip(rng.uniform(-8, 8, 4), sights(seed, 4), strict=True)
    ]
    before, after = Fix(9.0, 46.0, 7.0), Fix(20.0, 48.0, 9.0)
    points = unit_vectors(rng.uniform(45, 49, 30), rng.uniform(6, 10, 30))
    here = moment_prior(MOVEMENT, told(chain, Moment(before, after)))
    mixed = moment_prior(MOVEMENT, told(chain[::-1], Moment(before, after)))
    back = told([(-hours, picture) for hours, picture in chain], Moment(after, before))
    assert mixed.log_density(points) == pytest.approx(here.log_density(points), abs=1e-9)
    there = moment_prior(MOVEMENT, back).log_density(points)
    assert there == pytest.approx(here.log_density(points), abs=0.01)


def test_a_photo_of_nothing_has_the_place_that_the_pictures_of_its_session_show() -> None:
    session = [(hours, sees(*CITY, 5.0)) for hours in (-0.6, -0.3, 0.4)]
    answer = fused(Fusion(MOVEMENT), NOTHING, told(session))
    assert great_circle_km(*lat_lon(answer.estimate), *CITY) < 5
    assert answer.told.right(1) > 0.9


def test_pictures_of_nothing_say_nothing_but_that_somebody_was_there() -> None:
    empty = told([(-1.0, NOTHING), (2.0, NOTHING)])
    points = unit_vectors([45.0, 47.0, 49.0], [8.0, 8.0, 8.0])
    said = moment_prior(MOVEMENT, empty).log_density(points)
    assert said == pytest.approx(MOVEMENT.spread.mixture.log_density(points), abs=1.5)


def test_one_picture_that_is_wrong_is_outvoted() -> None:
    pictures = [sees(*CITY, 5.0), sees(*CITY, 5.0), sees(*ELSEWHERE, 5.0)]
    session = list(zip((-2.0, -1.0, -0.2), pictures, strict=True))
    prior = moment_prior(MOVEMENT, told(session))
    city, elsewhere = prior.log_density(unit_vectors([47.0, 52.0], [8.0, 13.0]))
    assert city > elsewhere + 2


def test_a_picture_that_is_surely_wrong_is_as_if_it_had_not_been_taken() -> None:
    fix = Fix(3.0, 46.5, 7.5)
    chain = [
        Sight(3.0, sees(46.5, 7.5, 0.001), MOVEMENT.doubt),
        Sight(1.0, sees(*ELSEWHERE, 2.0), 1 - 1e-12),
    ]
    said = message(MOVEMENT, chain, fixed=True)
    assert said.by_fix == pytest.approx(1.0)
    assert said.doubt == pytest.approx(MOVEMENT.doubt)
    points = unit_vectors([46.5, 46.6, 47.5], [7.5, 7.9, 8.0])
    alone = moment_prior(MOVEMENT, Moment(fix, None)).log_density(points)
    session = Session((), said, None)
    kept = moment_prior(MOVEMENT, Moment(fix, None, session)).log_density(points)
    assert kept == pytest.approx(alone, abs=0.15)  # bandwidths are rounded


def test_positions_at_the_ends_are_a_part_of_the_chain() -> None:
    """What two pictures cannot tell apart, a position an hour before both can."""
    either = Mixture.at([47.0, 52.0], [8.0, 13.0], [0.5, 0.5], 5.0)
    session = [(-0.5, either), (0.5, either)]
    points = unit_vectors([47.0, 52.0], [8.0, 13.0])
    here, there = moment_prior(MOVEMENT, told(session)).log_density(points)
    assert here == pytest.approx(there, abs=0.3)
    known = told(session, Moment(Fix(1.5, 47.1, 8.0), None))
    here, there = moment_prior(MOVEMENT, known).log_density(points)
    assert here > there + 3
    assert known.hours == 1.5


def test_without_pictures_between_them_positions_tell_as_ever() -> None:
    moment = Moment(Fix(0.5, 46.0, 7.0), Fix(2.0, 46.2, 7.1))
    assert with_session(MOVEMENT, moment, []) == moment


@given(st.integers(0, 2**32))
def test_a_message_is_read_back_as_it_was(seed: int) -> None:
    said = message(MOVEMENT, sights(seed, 3), fixed=False)
    assert Message.from_json(said.to_json()) == said
    assert said.like(replace(said, doubt=said.doubt * (1 + 1e-6)))
    assert not said.like(replace(said, doubt=said.doubt + 0.01))
    session = Session((Seen(1, -2.0),), said, None, True)
    assert Session.from_row(session.to_row()) == session


# ---- what it is worth ----------------------------------------------------------------------------


def test_an_answer_by_a_session_alone_fits_only_a_calibration_that_has_seen_sessions() -> None:
    session = told([(-1.0, sees(*CITY, 5.0))])
    placed = told([(-1.0, sees(*CITY, 5.0))], Moment(Fix(2.0, *CITY), None))
    for moment, chained, fits in (
        (session, 19, Fits.NO),
        (session, 20, Fits.YES),
        (placed, 0, Fits.YES),
    ):
        evidence = TimeEvidence(Dated(b""), moment, Fusion(MOVEMENT, photos=60, chained=chained))
        answer = replace(make_answer(*CITY), evidence=evidence)
        answer.__dict__["calibrated"] = SimpleNamespace(fits=lambda outside: Fits.YES)
        assert answer.calibration_fits is fits


# ---- in the database -----------------------------------------------------------------------------

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
DIMENSION, EACH = 16, 30
ASKED = Parameters(k=20, timeline=True)


@dataclass(frozen=True)
class World:
    """References in two towns, and Ann's photos of a day in one, none of which has a position.

    The first, of nothing, looks like either town; `session` are the others, from 11:00 to 13:00.
    """

    database: Database
    model: Model
    nothing: int
    session: list[int]

    def query(self, key: int) -> Query:
        with self.database.connection() as connection:
            return stored_query(connection, self.model, key)

    def ask(self, key: int, asked: Parameters = ASKED) -> Localization:
        return answer_query(self.database, self.model, self.query(key), asked, EVERYTHING, ITSELF)

    def told_by(self, key: int) -> list[int]:
        """The photos of its session that tell a photo something."""
        evidence = self.ask(key).evidence
        session = evidence and evidence.timeline and evidence.timeline.session
        return [seen.photo_id for seen in session.photos] if session else []


def towards(rng: np.random.Generator, axes: list[int], count: int) -> np.ndarray:
    """Embeddings that look like the mean of some, more than 0.02 apart."""
    vectors = 0.15 * rng.normal(size=(count, DIMENSION))
    vectors[:, axes] += 1.0
    return vectors


def build(database: Database) -> World:
    rng = np.random.default_rng(3)
    with database.connection() as connection:
        key = add_model(connection, DIMENSION)
        for axis, (lat, lon) in enumerate((CITY, ELSEWHERE)):
            spread = rng.normal(0, 0.02, (2, EACH))
            photos = add_photos(
                connection, lat + spread[0], lon + spread[1], collection="others", prefix=str(axis)
            )
            add_embeddings(connection, key, photos, towards(rng, [axis], EACH))
        minutes = (0, -60, -20, 15, 60)
        mine = add_photos(
            connection,
            np.zeros(5),
            np.zeros(5),
            collection="mine",
            authors=["ann"] * 5,
            taken_at=[NOON + timedelta(minutes=each) for each in minutes],
        )
        vectors = np.concatenate([towards(rng, [0, 1], 1), towards(rng, [0], 4)])
        vectors[0, 1] += 0.1  # rather like the town where it was not taken
        add_embeddings(connection, key, mine, vectors)
        for photo in mine:
            change(connection, photo.photo_id, "geom = NULL, position_source = NULL")
        model = find_model(connection, "test/model")
    ids = [photo.photo_id for photo in mine]
    return World(database, model, ids[0], ids[1:])


def change(connection: Connection, key: int, what: LiteralString) -> None:
    statement = sql.SQL("UPDATE geosearch.all_photos SET {}, taken_at_zone = 'known' WHERE id = %s")
    connection.execute(statement.format(sql.SQL(what)), (key,))


def show_the_same(connection: Connection, key: int, other: int) -> None:
    """Make one photo a near-duplicate of another."""
    connection.execute(
        "UPDATE geosearch.all_queries SET embedding = (SELECT embedding "
        "FROM geosearch.all_queries WHERE photo_id = %s) WHERE photo_id = %s",
        (other, key),
    )


KNOWN: LiteralString = "geom = ST_SetSRID(ST_Point(8, 47), 4326), position_source = 'exif'"
GUESSED: LiteralString = (
    "estimate = ST_SetSRID(ST_Point(8, 47), 4326), position_source = 'estimated'"
)


def before(answer: Localization) -> int | None:
    """The photo with a position that was taken before the one that was asked about."""
    assert answer.evidence is not None
    assert answer.evidence.timeline is not None
    assert answer.evidence.timeline.before is not None
    return answer.evidence.timeline.before.photo_id


@pytest.fixture(scope="module")
def world(module_database: Database) -> World:
    return build(module_database)


@pytest.fixture
def own_world(database: Database) -> World:
    return build(database)


def test_a_photo_of_nothing_is_placed_by_the_pictures_of_a_session_without_positions(
    world: World,
) -> None:
    answer = world.ask(world.nothing)
    alone = world.ask(world.nothing, replace(ASKED, timeline=False))
    evidence = answer.evidence
    assert alone.evidence is None
    assert evidence is not None
    assert evidence.timeline is not None
    assert (evidence.timeline.before, evidence.timeline.after) == (None, None)
    assert answer.lat is not None
    assert answer.lon is not None
    assert great_circle_km(answer.lat, answer.lon, *CITY) < 5
    assert alone.lat is not None
    assert alone.lon is not None
    assert great_circle_km(alone.lat, alone.lon, *ELSEWHERE) < 5
    assert evidence.believed["timeline"] > 0.9
    said = answer.to_json()["evidence"]["timeline"]["session"]
    assert [seen["photo_id"] for seen in said["photos"]] == world.session
    assert [seen["hours"] for seen in said["photos"]] == pytest.approx([-1, -1 / 3, 0.25, 1])
    assert "kernels" not in str(said)


@pytest.mark.parametrize("models", [1, 2])
def test_each_picture_is_searched_for_once_by_each_model(
    world: World, monkeypatch: pytest.MonkeyPatch, models: int
) -> None:
    searched = []

    def counted(database: Database, model: Model, query: Query, *asked: Any) -> Found:
        searched.append(query.uri)
        return find_neighbours(database, model, query, *asked)

    monkeypatch.setattr(pictures_module, "find_neighbours", counted)
    asked = ASKED if models == 1 else replace(ASKED, models=(world.model.id,) * models)
    asking = _Asking(
        [world.model] * models, (None,) * models, asked, EVERYTHING, ITSELF, NOTHING_MORE
    )
    queries = [(world.query(key),) * models for key in (world.nothing, *world.session)]
    answers = list(asking.answers(world.database, queries, 5, record=False, progress=None))
    assert sorted(searched) == sorted(models * [answer.photo for answer in answers])
    first = answers[0]
    assert isinstance(first, Localization)
    assert first.evidence is not None
    assert first.evidence.timeline is not None
    assert first.evidence.timeline.session is not None
    if models == 1:  # together or one by one, an answer is the same
        assert first.evidence == world.ask(world.nothing).evidence


def test_only_photos_that_could_be_on_its_timeline_are_of_a_session(own_world: World) -> None:
    world = own_world
    first, second, third, fourth = world.session
    with world.database.connection() as connection:
        change(connection, first, "author = 'bob'")
        change(connection, second, "taken_at = '2024-05-20 12:00+00'")
        change(connection, fourth, 'exif = \'{"Model": "R5"}\'')
    assert world.told_by(world.nothing) == [third, fourth]  # its camera is not known
    with world.database.connection() as connection:
        change(connection, world.nothing, 'exif = \'{"Model": "R5"}\'')
    assert world.told_by(world.nothing) == [fourth]
    with world.database.connection() as connection:
        change(connection, world.nothing, 'exif = \'{"Model": "D1"}\'')
    assert world.told_by(world.nothing) == [third, fourth]  # a camera alone, by the author's others
    assert world.told_by(third) == [world.nothing, fourth]
    with world.database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_photos SET taken_at_zone = 'assumed' WHERE id = %s", (fourth,)
        )
    assert world.told_by(world.nothing) == [third]
    assert world.told_by(fourth) == []


def test_copies_tell_nothing_and_located_photos_bound_a_session(own_world: World) -> None:
    world = own_world
    first, second, third, fourth = world.session
    with world.database.connection() as connection:
        show_the_same(connection, second, first)
    assert world.told_by(world.nothing) == [second, third, fourth]
    assert world.told_by(first) == [world.nothing, third, fourth]
    assert world.told_by(third) == [second, world.nothing, fourth]
    same = replace(world.query(fourth), sha256=world.query(third).sha256)
    near = [Seen(third, 0.1), Seen(fourth, 0.2)]
    stored = {third: world.query(third), fourth: same}
    assert nearest_in_time(near, stored, world.query(first)) == [(near[0], stored[third])]
    with world.database.connection() as connection:
        change(connection, second, KNOWN)
    assert before(world.ask(world.nothing)) == second
    assert world.told_by(world.nothing) == [third, fourth]
    # What others show may have been found by its position.
    assert world.told_by(second) == []


def test_an_answer_by_a_session_is_kept_and_computed_again(own_world: World) -> None:
    world = own_world
    given_ = recorded(world.database, world.ask(world.nothing))
    assert given_.id is not None
    read = load(world.database, given_.id)
    assert read.evidence == given_.evidence
    points = unit_vectors(*np.array([CITY, ELSEWHERE]).T)
    assert read.density is not None
    assert given_.density is not None
    assert read.density.log_density(points) == pytest.approx(given_.density.log_density(points))
    again = reproduce(world.database, given_.id)
    assert (again.same, again.changes) == (True, ())
    # A place that was found for the photo, or for another, is none that is known.
    with world.database.connection() as connection:
        decide(connection, given_.id, "accept")
        change(connection, world.session[1], GUESSED)
    assert reproduce(world.database, given_.id).same
    with world.database.connection() as connection:
        change(connection, world.session[0], "taken_at = '2020-06-01 11:00+00'")
    again = reproduce(world.database, given_.id)
    assert again.changes == (f"photo {world.session[0]} of its session tells nothing any more",)
    with world.database.connection() as connection:
        change(connection, world.session[0], "taken_at = '2024-06-01 11:00+00'")
        connection.execute("DELETE FROM geosearch.all_photos WHERE uri LIKE '/0/%%'")
    again = reproduce(world.database, given_.id)
    assert not again.same
    assert "what the photos of its session show is different" in again.changes


def test_time_is_asked_again_by_what_it_was_asked_by(own_world: World) -> None:
    """A near-duplicate that has a position is no reference for the answer, and yet before it."""
    world = own_world
    key = world.session[1]
    with world.database.connection() as connection:
        show_the_same(connection, key, world.nothing)
        change(connection, key, KNOWN)
    others = Exclusions(same_bytes=True, duplicate_distance=0.02)
    answer = answer_query(
        world.database, world.model, world.query(world.nothing), ASKED, EVERYTHING, others
    )
    assert key not in answer.neighbours.photo_id
    assert before(answer) == key
    again = reproduce(world.database, recorded(world.database, answer).id or 0)
    assert (again.same, again.changes) == (True, ())


def test_a_session_that_one_may_not_see_tells_nothing(own_world: World) -> None:
    world = own_world
    photo = Dated(b"", NOON, "known", "ann")
    with world.database.connection() as connection:
        seen = find_session(connection, photo, EVERYTHING, NOTHING_KNOWN)
        assert {each.photo_id for each in seen} == {world.nothing, *world.session}
        elsewhere = where(collection="others")
        assert find_session(connection, photo, elsewhere, NOTHING_KNOWN) == []
        set_private(connection, "mine", True)
        connection.execute("SET LOCAL ROLE geosearch_reader")
        assert find_session(connection, photo, EVERYTHING, NOTHING_KNOWN) == []
    given_ = recorded(world.database, world.ask(world.nothing))
    with world.database.connection() as connection:
        (note,) = connection.execute(
            "SELECT collection_ids FROM geosearch.all_localizations WHERE id = %s", (given_.id,)
        ).fetchone() or ([],)
        assert find_collection(connection, "mine") in note
        connection.execute("SET LOCAL ROLE geosearch_reader")
        assert connection.execute("SELECT FROM geosearch.localizations").fetchall() == []


def test_a_calibration_asks_of_photos_as_if_those_taken_near_had_no_position(
    own_world: World,
) -> None:
    world = own_world
    far = "geom = ST_SetSRID(ST_Point(40, 30), 4326), position_source = 'exif'"
    with world.database.connection() as connection:
        for key in (world.nothing, *world.session):
            change(connection, key, far)
    mine = stored_queries(world.database, world.model, where(author="ann"))
    how = _How(20, 0, EVERYTHING, ITSELF, False, None)
    asked = [
        example
        for _, example, _ in _answered(world.database, [(world.model, None)], mine, how, None)
    ]
    assert all((30.0, 40.0) in zip(one.lat, one.lon, strict=True) for one in asked)
    told = [one for each in asked for one in each.timed if one.session]
    assert told
    for one in told:
        hours = [abs(seen.hours) for seen, _ in one.session]
        assert one.moment is not None
        assert all(fix.hours > max(hours) for fix in one.moment.fixes)
        near = [example for _, example in one.session]
        # What was taken meanwhile is found by none of them.
        assert all(len(example.lat) == 20 for example in near)
        others = len(world.session) - len(one.session)
        assert all(np.sum(each.lat == 30) <= others for each in near)
    assert max(len(one.session) for one in told) == len(world.session)


def test_a_calibration_asks_as_if_no_position_told_the_zone_of_a_clock(own_world: World) -> None:
    # From Hungary to Romania, where clocks are an hour ahead: but not Ann's, which shows UTC and
    # says no zone. A photo whose position is not known tells what it shows, and no moment.
    world = own_world
    minutes = np.array([0, -60, -20, 15, 60])
    border = np.array([-60, -20, 0, 60]), np.array([20.0, 21.0, 22.5, 24.0])
    with world.database.connection() as connection:
        for key, minute in zip((world.nothing, *world.session), minutes.tolist(), strict=True):
            lon = np.interp(minute, *border)
            moment = NOON + timedelta(minutes=minute) - timedelta(hours=2 if lon < 22 else 3)
            connection.execute(
                "UPDATE geosearch.all_photos SET geom = ST_SetSRID(ST_Point(%s, 47), 4326), "
                "position_source = 'exif', taken_at_zone = 'position', taken_at = %s WHERE id = %s",
                (float(lon), moment, key),
            )
    walked = np.arange(-90.0, 91.0)
    hours, lon = NOON.timestamp() / 3600 + walked / 60, np.interp(walked, *border)
    track = Track("t", "00", hours, np.full(len(lon), 47.0), lon, np.full(len(lon), 0.01))
    how = _How(20, 0, EVERYTHING, ITSELF, False, None, TimeAsked(track))
    mine = stored_queries(world.database, world.model, where(author="ann"))
    asked = _answered(world.database, [(world.model, None)], mine, how, None)
    timed = [one for _, example, _ in asked for one in example.timed]
    assert len(asked) == 5
    assert any(one.session for one in timed)
    between = np.abs(np.subtract.outer(minutes, minutes)) / 60
    for one in timed:
        assert one.moment is not None
        fixes = [fix.hours for fix in one.moment.fixes]
        for gap in (*fixes, *(abs(seen.hours) for seen, _ in one.session)):
            assert np.abs(between - gap).min() < 1e-6
        fix = max(one.track, key=lambda chance: chance.probability).moment.before
        assert fix is not None
        assert great_circle_km(fix.lat, fix.lon, *one.truth) < 10  # a minute's way and more
