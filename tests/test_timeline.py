"""Time as evidence: products of densities, movement, the photos before and after, and its fit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags
from psycopg.types.json import Jsonb

from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Connection, Database
from geosearch.density import Mixture
from geosearch.density.products import product, shares_of, together
from geosearch.retrieval import where
from geosearch.sphere import destination, lat_lon, unit_vectors
from geosearch.timeline import Fix, Moment, Movement, Spread, fit_movement, moment_prior
from geosearch.timeline.movement import ANYWHERE, MODES
from geosearch.timeline.movement_fit import (
    FEWEST,
    Timeline,
    log_density_at,
    mean_log_likelihood,
)
from geosearch.timeline.timeline_rows import (
    Dated,
    file_dated,
    find_moment,
    read_timelines,
    stored_dated,
)

from .photo_files import photo
from .rows import add_photos

Array = NDArray[np.float64]
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def random_mixture(rng: np.random.Generator, near: Array, km: float) -> Mixture:
    """A few kernels within some `km` of a unit vector, of bandwidths of 1 m to 10,000 km."""
    count = int(rng.integers(1, 6))
    centres = near + rng.normal(size=(count, 3)) * km / 6371
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    weights = rng.dirichlet(np.ones(count))
    return Mixture(centres, weights, (6371 / 10 ** rng.uniform(-3, 4, count)) ** 2)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mixture, Mixture, Array]:
    """Two mixtures near one another or far apart, and points near either and anywhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    near = rng.normal(size=3)
    near /= np.linalg.norm(near)
    km = 10 ** draw(st.floats(-2, 4))
    first, second = (random_mixture(rng, near, km) for _ in range(2))
    anywhere = rng.normal(size=(5, 3))
    points = np.vstack([first.centres, second.centres, anywhere])
    return first, second, points / np.linalg.norm(points, axis=1, keepdims=True)


@given(pairs())
def test_the_product_of_two_mixtures_is_a_density_and_their_product_at_every_point(
    pair: tuple[Mixture, Mixture, Array],
) -> None:
    first, second, points = pair
    with pytest.MonkeyPatch.context() as patched:
        # Of a kernel of metres, a millionth of the mass is still the densest point there is.
        patched.setattr("geosearch.density.products.PRUNED", 0.0)
        both, log_mass = product(first, second)
    assert both.weights.sum() == pytest.approx(1)
    assert np.linalg.norm(both.centres, axis=1) == pytest.approx(1)
    whole = first.log_density(points) + second.log_density(points)
    # Where nothing but a sum's own floor is felt is no matter.
    felt = whole > whole.max() - 9
    assert (both.log_density(points) + log_mass)[felt] == pytest.approx(whole[felt], abs=2e-2)
    pruned, same_mass = product(first, second)
    assert same_mass == log_mass
    assert len(pruned.weights) <= len(both.weights)


@given(pairs())
def test_the_mass_of_a_product_is_its_integral(pair: tuple[Mixture, Mixture, Array]) -> None:
    # Only where the lattice of the one resolves the other.
    first, second = pair[0], Mixture(pair[1].centres, pair[1].weights, (6371 / 3000) ** 2)
    points, mass = first.lattice(4_000)
    integral = np.log(mass @ np.exp(second.log_density(points)))
    assert product(first, second)[1] == pytest.approx(integral, abs=1e-2)
    assert product(second, first)[1] == pytest.approx(product(first, second)[1], abs=1e-9)


def test_evidence_that_agrees_is_believed_together_and_else_the_surer_one() -> None:
    def sees(lat: float, km: float) -> Mixture:
        return Mixture.at([lat], [0.0], [1.0], km)

    anywhere, level = ANYWHERE.mixture, ANYWHERE.log_level
    agreeing = together([(sees(0.0, 10), 0.1), (sees(0.1, 20), 0.1)], anywhere, level)
    assert agreeing.shares[3] > 0.99
    apart = together([(sees(0.0, 10), 0.3), (sees(60.0, 20), 0.1)], anywhere, level)
    assert apart.shares == pytest.approx((0.03 / 0.37, 0.07 / 0.37, 0.27 / 0.37, 0), rel=1e-6)
    assert apart.mixture.weights.sum() == pytest.approx(1)
    assert apart.right(1) == pytest.approx(0.27 / 0.37)
    certain = together([(sees(0.0, 10), 0.0), (sees(0.1, 20), 0.1)], anywhere, level)
    assert certain.shares[0] == certain.shares[2] == 0


def test_of_three_kinds_of_evidence_two_overrule_the_third() -> None:
    def sees(lat: float) -> tuple[Mixture, float]:
        return Mixture.at([lat], [0.0], [1.0], 10.0), 0.1

    told = together([sees(0.0), sees(60.0), sees(0.1)], ANYWHERE.mixture, ANYWHERE.log_level)
    assert told.shares.argmax() == 0b101
    assert [told.right(index) > 0.9 for index in range(3)] == [True, False, True]
    assert told.shares.sum() == pytest.approx(1)


def test_that_pictures_which_may_be_wrong_alike_agree_says_little() -> None:
    agreeing = np.array([0.0, 0, 0, 20])
    apart = shares_of(agreeing, (0.1, 0.1), -2.0)
    alike = shares_of(agreeing, (0.1, 0.1), -2.0, 0.3)
    assert apart[3] > 0.999
    assert alike == pytest.approx([0.3, 0, 0, 0.7], abs=1e-6)
    # The more so if a third sees another place.
    contradicted = np.array([0.0, 0, 0, 20, 0, -40, -40, -40])
    assert shares_of(contradicted, (0.1, 0.1, 0.05), -2.0)[3] > 0.999
    third = shares_of(contradicted, (0.1, 0.1, 0.05), -2.0, 0.3)
    assert third[4] == pytest.approx(0.3 * 0.95 / (0.3 + 0.7 * 0.05), abs=1e-3)


@given(st.floats(-50, 50), st.floats(0, 1), st.floats(0.01, 1), st.floats(-20, 20))
def test_shares_of_evidence_sum_to_one(mass: float, one: float, two: float, level: float) -> None:
    shares = shares_of(np.array([0, 0, 0, mass]), (one, two), level)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()


def moments(rng: np.random.Generator) -> Moment:
    lat, lon = rng.uniform(-80, 80), rng.uniform(-180, 180)
    others = destination(lat, lon, rng.uniform(0, 360), 10 ** rng.uniform(-2, 3.5))
    places = (lat, lon), (float(others[0]), float(others[1]))
    before, after = (
        Fix(float(10 ** rng.uniform(-3, 2)), *place, float(rng.uniform(0, 0.1))) for place in places
    )
    return Moment(before, after)


@given(st.integers(0, 2**32))
def test_a_place_between_two_photos_is_the_same_seen_from_either_end_of_time(seed: int) -> None:
    moment = moments(np.random.default_rng(seed))
    points = unit_vectors(*np.array([[fix.lat, fix.lon] for fix in moment.fixes]).T)
    there = moment_prior(Movement(), moment)
    back = moment_prior(Movement(), Moment(moment.after, moment.before))
    assert there.weights.sum() == pytest.approx(1)
    assert there.log_density(points) == pytest.approx(back.log_density(points), abs=1e-6)


@given(st.integers(0, 2**32))
def test_a_place_between_two_photos_turns_with_the_earth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    moment = moments(rng)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]

    def turned(fix: Fix | None) -> Fix:
        assert fix is not None
        lat, lon = lat_lon(unit_vectors(fix.lat, fix.lon) @ turn)
        return replace(fix, lat=float(lat), lon=float(lon))

    points = unit_vectors(*np.array([[fix.lat, fix.lon] for fix in moment.fixes]).T)
    lat, lon = lat_lon(points)
    here = Movement(spread=Spread.of(lat, lon))
    there = Movement(spread=Spread.of(*lat_lon(points @ turn)))
    moved = Moment(turned(moment.before), turned(moment.after))
    density = moment_prior(there, moved).log_density(points @ turn)
    assert density == pytest.approx(moment_prior(here, moment).log_density(points), abs=1e-4)


def test_one_place_by_many_moments_is_as_dense_as_by_each() -> None:
    rng = np.random.default_rng(3)
    many = [moments(rng) for _ in range(20)]
    many = [replace(m, before=replace(m.before, accuracy_km=0.0)) for m in many if m.before]
    many = [replace(m, after=replace(m.after, accuracy_km=0.0)) for m in many if m.after]
    first = many[0]
    many += [Moment(first.before, None), Moment(None, first.after), Moment(None, None)]
    place = unit_vectors(10.0, 20.0)[None]
    movement = Movement(spread=Spread(11.0, 19.0, 500.0, 3.0))
    one_by_one = [moment_prior(movement, moment).log_density(place)[0] for moment in many]
    found = log_density_at(movement, many, 10.0, 20.0)
    # Below a kernel's own floor sums differ, where nothing is.
    assert np.maximum(found, -30) == pytest.approx(np.maximum(one_by_one, -30), abs=1e-3)


def test_the_longer_the_time_the_farther_a_photographer_gets() -> None:
    movement, hours = Movement(), np.array([0, 0.1, 1, 10, 100, 1000])
    widths = movement.widths_km(hours)
    assert (np.diff(widths, axis=0) >= 0).all()
    assert widths[0] == pytest.approx(movement.floor_km)
    assert widths[-1, MODES.index("walk")] < movement.speeds_kmh[0] * movement.hours + 1
    assert np.exp(movement.log_shares(np.array(3.0))).sum() == pytest.approx(1)
    assert Movement.from_json(movement.to_json()) == movement


def test_without_neighbours_in_time_a_photo_is_where_the_others_are() -> None:
    movement = Movement(spread=Spread.of(np.array([47.0, 47.2]), np.array([8.0, 8.3])))
    nothing = moment_prior(movement, Moment(None, None))
    assert nothing.weights == pytest.approx(movement.spread.mixture.weights)
    one = moment_prior(movement, Moment(Fix(0.1, 10.0, 20.0), None))
    assert np.exp(one.log_density(unit_vectors([10.0], [20.0]))) > 1e4


def test_a_spread_at_one_place_and_one_on_both_sides_of_the_earth() -> None:
    assert Spread.of(np.zeros(3), np.zeros(3)).km == pytest.approx(0.1)
    assert Spread.of(np.array([0.0, 0.0]), np.array([0.0, 180.0])).km == ANYWHERE.km


def journeys(seed: int, photos: int, *, kmh: float = 40.0) -> list[Timeline]:
    """Walks and drives; a photo in twenty has a wrong clock."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(photos // 40):
        lat, lon, hour = 47.0 + rng.normal(), 8.0 + rng.normal(), 0.0
        rows = []
        for _ in range(40):
            hours, speed = rng.exponential(0.5), rng.choice([0.0, 3.0, kmh])
            to = destination(lat, lon, rng.uniform(0, 360), hours * speed)
            lat, lon, hour = float(to[0]), float(to[1]), hour + hours
            rows.append((hour + (rng.random() < 0.05) * rng.uniform(-12, 12), lat, lon))
        columns = np.array(sorted(rows)).T
        lines.append(Timeline(columns[0], columns[1], columns[2], np.arange(40)))
    return lines


def test_movement_is_fitted_to_the_photos_themselves() -> None:
    lines, others = journeys(0, 80), journeys(1, 400)
    fitted = fit_movement(lines)
    assert fitted.photos == 80
    default = Movement(spread=fitted.spread)
    # On journeys that it has not seen, too.
    assert mean_log_likelihood(fitted, others) > mean_log_likelihood(default, others) + 0.1
    fast = fit_movement(journeys(0, 80, kmh=90.0))
    assert fast.speeds_kmh[1] > 1.3 * fitted.speeds_kmh[1]


def test_the_fit_maximises_the_density_that_answers_are_given_by() -> None:
    (line,) = journeys(2, 40)
    movement = Movement(spread=Spread.of(line.lat, line.lon))
    points = unit_vectors(line.lat, line.lon)
    logs = [
        moment_prior(movement, line.moment(index)).log_density(points[index, None])[0]
        for index in range(len(line))
    ]
    assert mean_log_likelihood(movement, [line]) == pytest.approx(np.mean(logs), abs=1e-4)


def test_of_too_few_photos_the_defaults_stay() -> None:
    (line,) = journeys(3, 40)
    few = Timeline(*(values[: FEWEST - 1] for values in vars(line).values()))
    assert fit_movement([few]) == Movement(spread=Spread.of(few.lat, few.lon))
    assert fit_movement([]) == Movement()


def add(
    connection: Connection,
    minutes: Sequence[float],
    lat: Sequence[float],
    *,
    author: str | None = "ann",
    camera: str | None = None,
    collection: str = "test",
) -> list[int]:
    """Photos taken so many minutes after noon, on the meridian of 8° east."""
    keys = add_photos(
        connection,
        lat,
        [8.0] * len(lat),
        collection=collection,
        authors=[author] * len(lat),
        taken_at=[NOON + timedelta(minutes=each) for each in minutes],
        prefix=f"{author}-{camera}",
    )
    ids = [key.photo_id for key in keys]
    if camera:
        connection.execute(
            "UPDATE geosearch.all_photos SET exif = %s WHERE id = ANY (%s)",
            (Jsonb({"Make": "Canon", "Model": camera}), ids),
        )
    return ids


def asked(connection: Connection, **known: Any) -> Dated:
    """A photo of the collection `test`, taken at noon by Ann."""
    row = connection.execute("SELECT id FROM geosearch.collections WHERE name = 'test'").fetchone()
    assert row is not None
    return replace(Dated(b"", NOON, "known", "ann", None, row[0]), **known)


def ids(moment: Moment) -> tuple[int | None, ...]:
    return tuple(None if fix is None else fix.photo_id for fix in (moment.before, moment.after))


def test_the_photos_just_before_and_after_by_the_same_author_tell(database: Database) -> None:
    with database.connection() as connection:
        mine = add(connection, [-90, -30, 20, 50], [45.0, 46.0, 47.0, 48.0])
        add(connection, [-1, 1], [0.0, 0.0], author="bob")
        elsewhere = add(connection, [-5], [1.0], collection="other")
        moment = find_moment(connection, asked(connection))
        assert ids(moment) == (mine[1], mine[2])
        assert moment.before == Fix(0.5, 46.0, 8.0, 0.0, mine[1])
        assert moment.after is not None
        assert moment.after.hours == pytest.approx(1 / 3)
        # A file in no collection is told by whatever is visible of its author.
        file = asked(connection, collection_id=None)
        assert ids(find_moment(connection, file)) == (elsewhere[0], mine[2])
        assert ids(find_moment(connection, file, where(collection="test"))) == (mine[1], mine[2])
        # A copy of the photo itself, no time, or nobody's: nothing.
        row = connection.execute("SELECT sha256 FROM geosearch.photos WHERE id = %s", (mine[1],))
        (copy,) = row.fetchone() or (b"",)
        assert ids(find_moment(connection, asked(connection, sha256=copy)))[0] == mine[0]
        assert not find_moment(connection, asked(connection, taken_at=None))
        assert not find_moment(connection, asked(connection, collection_id=None, author=None))
        lines = read_timelines(connection)
        assert sorted(len(line) for line in lines) == [1, 2, 4]
        whole = next(line for line in lines if len(line) == 4)
        assert ids(whole.moment(0)) == (None, mine[1])
        assert whole.moment(2).after == Fix(0.5, 48.0, 8.0, 0.0, mine[3])


def test_a_camera_with_positions_of_its_own_is_told_by_these(database: Database) -> None:
    with database.connection() as connection:
        own = add(connection, [-600, 600], [45.0, 46.0], camera="R5")
        phone = add(connection, [-1, 1], [47.0, 48.0], camera="Phone")
        by_own = find_moment(connection, asked(connection, camera="Canon R5"))
        assert ids(by_own) == (own[0], own[1])
        # One without a receiver, by the others of its author.
        by_all = find_moment(connection, asked(connection, camera="Nikon F3"))
        assert ids(by_all) == (phone[0], phone[1])


def test_clocks_without_a_zone_are_compared_by_what_they_show(database: Database) -> None:
    with database.connection() as connection:
        # Taken in Tokyo at 10:00 and 13:00 there, 1:00 and 4:00 UTC; Ann's clock shows 12:00.
        keys = add(connection, [-11 * 60, -8 * 60], [35.7, 35.8])
        connection.execute(
            "UPDATE geosearch.all_photos SET geom = ST_SetSRID(ST_Point(139.7, "
            "ST_Y(geom)), 4326), taken_at_zone = 'position'"
        )
        shown = find_moment(connection, asked(connection, zone="assumed"))
        assert ids(shown) == (keys[0], keys[1])
        assert [fix.hours for fix in shown.fixes] == pytest.approx([2, 1])
        # Holes are of what the clock shows, too.
        assert ids(find_moment(connection, asked(connection, zone="assumed"), hole_hours=1.5)) == (
            keys[0],
            None,
        )
        assert ids(find_moment(connection, asked(connection))) == (keys[1], None)


def test_of_a_file_the_metadata_say_when_and_by_whom(tmp_path: Path) -> None:
    tag = ExifTags.Base
    file = tmp_path / "a.jpg"
    file.write_bytes(
        photo(
            image_tags={tag.Make: "Canon", tag.Model: "R5", tag.Artist: "Ann"},
            photo_tags={tag.DateTimeOriginal: "2024:06:01 12:00:00"},
        )
    )
    found = file_dated(b"none", str(file))
    assert found == Dated(b"none", NOON, "assumed", "Ann", "Canon R5")
    assert file_dated(b"none", "/no/such/file.jpg") == Dated(b"none")


def test_photos_that_one_may_not_see_tell_nothing(database: Database) -> None:
    with database.connection() as connection:
        hidden = add(connection, [-5, 5], [46.0, 46.0], collection="test")
        shown = add(connection, [-50], [47.0], collection="open")
        set_private(connection, "test", True)
        file = Dated(b"", NOON, "known", "ann")
        assert ids(find_moment(connection, file)) == (hidden[0], hidden[1])
        connection.execute("SET LOCAL ROLE geosearch_reader")
        assert ids(find_moment(connection, file)) == (shown[0], None)
        assert len(read_timelines(connection)) == 1
        assert stored_dated(connection, hashlib.sha256(b"/ann-None/test/0.jpg").digest()) is None
        connection.execute("RESET ROLE")
        assert stored_dated(connection, hashlib.sha256(b"/ann-None/test/0.jpg").digest())
