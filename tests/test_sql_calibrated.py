"""Calibrated answers in SQL: those of `geosearch.calibration`, by the same calibration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgvector import HalfVector
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from shapely import box, from_wkb

from geosearch.calibration import Calibration, Fitted
from geosearch.calibration.calibration_fit import START, fit
from geosearch.calibration.calibration_rows import count_passing, list_calibrations, save
from geosearch.calibration.domain import Domain
from geosearch.calibration.fitted import Spacing
from geosearch.calibration.kernels import STARTS
from geosearch.calibration.labelled_example import Example, calibrated
from geosearch.calibration.prior import Prior
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Connection, Database
from geosearch.database.role_grants import grant_role
from geosearch.density.caps import cap_mass
from geosearch.errors import DatabaseError
from geosearch.features.model_rows import find_model
from geosearch.localization import Localization, Request, load, reproduce
from geosearch.localization.localizing import answer_query, chosen_parameters
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, Filter, where
from geosearch.retrieval.filters import Photos, SameBytes
from geosearch.sphere import EARTH_RADIUS_KM, destination, great_circle_km, unit_vectors
from tests.mixtures import Spread, mixtures
from tests.rows import add_embeddings, add_model, add_photos
from tests.test_calibration import (
    DIMENSION,
    _embeddings,
    _examples,
    _positions,
    _shrunk,
)
from tests.test_sql_nearest import MODEL, call

REFERENCES = 600


@pytest.fixture(scope="module")
def fits() -> dict[str, Fitted]:
    """What was fitted to queries of a world, of both a world and a city, of a city alone."""
    world, hidden = _examples(17, 32), _examples(17, 20, 1500)
    city, gone = _shrunk(world, 1000), _shrunk(hidden, 1000)
    with pytest.MonkeyPatch.context() as patch:  # which settings are best matters little here
        patch.setattr("geosearch.calibration.kernels.STARTS", STARTS[:1])
        patch.setattr("geosearch.calibration.calibration_fit.FOLDS", 2)
        patch.setattr("geosearch.calibration.calibration_fit.SIZES", ())
        for name, value in zip(("BANDWIDTHS", "WEIGHTINGS", "SHARPNESS"), START, strict=True):
            patch.setattr(f"geosearch.calibration.calibration_fit.{name}", (value,))
        made = {
            "world": fit(world, hidden),
            "mixed": fit(world + city, hidden + gone, (0.5, 2, 25, 750)),
            "city": fit(city, [], (0.1, 1)),
        }
    assert [len(made[name].kinds) for name in made] == [1, 2, 1]
    return made


def answered(
    connection: Connection, fitted: Fitted, example: Example, min_presence: float | None = None
) -> Any:
    """The row of `geosearch.calibrated_place`."""
    lat, lon, distance = (values.tolist() for values in example.found(fitted.k))
    (row,) = call(
        connection,
        "calibrated_place",
        fitted=Jsonb(fitted.to_json()),
        lats=lat,
        lons=lon,
        distances=distance,
        min_presence=min_presence,
    )
    return row


@pytest.mark.parametrize(
    ("name", "sharpness"), [("world", 1.0), ("world", 3.0), ("mixed", 1.5), ("city", 1.5)]
)
def test_a_calibrated_place_is_that_of_python(
    module_database: Database, fits: dict[str, Fitted], name: str, sharpness: float
) -> None:
    fitted = replace(fits[name], sharpness=sharpness)
    fresh = _examples(18, 6) + _examples(19, 6, hide_km=1500)
    one = Example(np.array([10.0]), np.array([20.0]), np.array([0.0]), (10.0, 20.0))
    asked = {"world": fresh, "mixed": fresh[::2], "city": []}[name] + [one]
    if name != "world":
        asked += _shrunk(fresh[1::2], 1000)
    doubts = set()
    with module_database.connection() as connection:
        for example in asked:
            (answer,) = calibrated(fitted, [example])
            row = answered(connection, fitted, example)
            judged = answer.judge((0.5, 0.9), regions=False)
            centre = unit_vectors(*answer.estimate)
            away = great_circle_km(row["lat"], row["lon"], *answer.estimate)
            assert away < 1e-6 * answer.spacing_km + 1e-7
            assert row["agreement"] == pytest.approx(answer.place.agreement, abs=1e-6)
            assert row["bandwidth_km"] == pytest.approx(answer.place.bandwidth_km)
            assert row["presence"] == pytest.approx(answer.presence, abs=1e-6)
            assert (row["confident"], row["strange"]) == (answer.confident, answer.strange)
            within = {float(km): share for km, share in row["probability_within_km"].items()}
            assert within == pytest.approx(judged.probability_within_km, abs=1e-5)
            for level, km in zip((0.5, 0.9), row["radii_km"], strict=True):
                # Between far kernels many radii hold the same.
                held = cap_mass(answer.mixture, centre, km / EARTH_RADIUS_KM)
                assert held == pytest.approx(answer.kind.radius_levels.raw_level(level), abs=1e-5)
                assert km == pytest.approx(judged.radius_km[level], rel=1e-3)
            doubts.add(row["confident"])
    assert doubts == ({None} if name == "city" else {True, False})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fitted": None}, "no parameters of a calibration"),
        ({"fitted": Jsonb({"k": 3})}, "no parameters of a calibration"),
        ({"min_presence": float("nan")}, "min_presence NaN is no probability"),
        ({"levels": [0.5, 1.0]}, "levels are 0.5, 1"),
        ({"levels": None}, "levels are NULL"),
        ({"lats": [95.0, 1.0]}, "a kernel at latitude 95"),
        ({"lats": [1.0]}, "a kernel at latitude NULL"),
        ({"distances": [0.1, float("nan")]}, "distances are 0.1, NaN"),
    ],
)
def test_a_calibrated_place_of_what_cannot_be_used_is_refused(
    module_database: Database, fits: dict[str, Fitted], wrong: dict[str, Any], says: str
) -> None:
    usual = {"lats": [1.0, 2.0], "lons": [3.0, 4.0], "distances": [0.1, 0.2]}
    asked = {"fitted": Jsonb(fits["world"].to_json()), **usual, **wrong}
    with (
        module_database.connection() as connection,
        pytest.raises(psycopg.DataError, match=says),
        connection.transaction(),
    ):
        call(connection, "calibrated_place", **asked)


def shrunk_fit(fitted: Fitted, centre: tuple[float, float], factor: float) -> Fitted:
    """The same for places round a centre, and so many times nearer to it."""
    known, km = fitted.spacing, np.array(fitted.prior.km)
    rng = np.random.default_rng(0)
    bearing, away = rng.uniform(0, 360, len(km)), rng.uniform(0, 900, len(km))
    prior = [*destination(*centre, bearing, away / factor), km / factor]
    return replace(
        fitted,
        sharpness=1.0,
        scale_km=fitted.scale_km / factor,
        spacing=Spacing(known.low / 20 / factor, known.middle / factor, known.high / factor),
        prior=Prior(*(tuple(values.tolist()) for values in prior)),
        kinds=tuple(replace(kind, above_km=kind.above_km / factor) for kind in fitted.kinds),
        within_km=tuple(distance / factor for distance in (50, 200, 750)),
    )


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(mixture=mixtures(), shrunk=st.sampled_from([10, 100, 1000]))
def test_calibrated_answers_shrink_with_the_places(
    module_database: Database, fits: dict[str, Fitted], mixture: Spread, shrunk: int
) -> None:
    rows = []
    with module_database.connection() as connection:
        for factor in (1, shrunk):
            example = Example(*mixture.positions(factor), mixture.distance, mixture.centre)
            fitted = shrunk_fit(fits["world"], mixture.centre, factor)
            rows.append(answered(connection, fitted, example))
    here, there = rows
    away = [
        mixture.offset_km(row["lat"], row["lon"], factor)
        for row, factor in zip(rows, (1, shrunk), strict=True)
    ]
    assert away[1] == pytest.approx(away[0], rel=0.02, abs=0.02 * here["radii_km"][0])
    assert there["presence"] == pytest.approx(here["presence"], abs=0.02)
    assert [shrunk * km for km in there["radii_km"]] == pytest.approx(here["radii_km"], rel=0.02)
    within = [list(row["probability_within_km"].values()) for row in rows]
    assert sorted(within[1]) == pytest.approx(sorted(within[0]), abs=0.01)


# In the database

#: A polygon whose coordinates need all their digits.
AREA = box(-170.1, -80, 170.123456789012345, 80)
OPEN, IN_AREA = where(collections="open"), where(within=AREA, collections="open")


class World:
    """Public and private references, a login that sees the public ones, and calibrations.

    `calibrations` are those for the public ones, for these in an area, and for all.
    """

    def __init__(self, database: Database, reader: str, fitted: Fitted) -> None:
        self.owner, self.fitted = database, fitted
        self.reader = Database(make_conninfo(database.url, user=reader))
        with database.connection() as connection:
            self.model = add_model(connection, DIMENSION, MODEL)
            for collection, count, seed in (("secret", 100, 2), ("open", REFERENCES, 1)):
                lat, lon = _positions(count, seed)
                photos = add_photos(connection, lat, lon, collection=collection)
                add_embeddings(connection, self.model, photos, _embeddings(lat, lon, 0.1, seed))
            self.photo = photos[0].photo_id
            set_private(connection, "secret", private=True)
        self.calibrations = [self.add(passing) for passing in (OPEN, IN_AREA, EVERYTHING)]

    def add(self, passing: Filter, references: int = REFERENCES) -> int:
        """A calibration fitted for a filter, when there were so many references."""
        held = {"50": 0.485, "90": 0.91}
        domain = Domain("q.csv", 1060, "2026-11-27", references, passing.to_json(), held)
        fitted = replace(self.fitted, domain=domain)
        with self.owner.connection() as connection:
            made = save(
                connection,
                Calibration(self.model, MODEL, passing, fitted, {}, "q.csv", {}, 30, 30, 0, {}),
            )
        assert made.id is not None
        return made.id

    def fitted_as(self, calibration: int) -> Fitted:
        """What a calibration fitted."""
        return next(one.fitted for one in self._listed() if one.id == calibration)

    def _listed(self) -> list[Calibration]:
        with self.owner.connection() as connection:
            return list_calibrations(connection)

    def remove(self, calibration: int) -> None:
        with self.owner.connection() as connection:
            connection.execute(
                "DELETE FROM geosearch.all_calibrations WHERE id = %s", (calibration,)
            )

    def query(self, seed: int) -> Query:
        (vector,) = _embeddings(*_positions(1, seed), 0.4, seed)
        return Query("/query.jpg", bytes(32), vector)

    def python(self, database: Database, query: Query, passing: Filter, **asked: Any) -> Any:
        """The answer of Python; `asked` is of a `Request`."""
        with database.connection() as connection:
            model = find_model(connection, MODEL)
            chosen = chosen_parameters(connection, model, passing, Request(**asked))
        return answer_query(database, model, query, chosen, passing, regions=False)

    def sql(self, database: Database, query: Query, **asked: Any) -> dict[str, Any]:
        """The row of `geosearch.localize`."""
        with database.connection() as connection:
            vector = HalfVector(query.embedding)
            (row,) = call(connection, "localize", query=vector, model=MODEL, **asked)
            return row


@pytest.fixture(scope="module")
def world(module_database: Database, fits: dict[str, Fitted]) -> Iterator[World]:
    login = sql.Identifier(reader := f"geosearch_test_{uuid4().hex[:12]}")
    with module_database.connection() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(login))
        grant_role(connection, "reader", reader)
    made = World(module_database, reader, fits["world"])
    yield made
    made.reader.close()
    with module_database.connection() as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(login))
        connection.execute(sql.SQL("DROP ROLE {}").format(login))


def assert_same(row: dict[str, Any], answer: Localization) -> None:
    """The answer of SQL is that of Python."""
    printed = answer.to_json()
    assert (row["calibration_remark"] or "none") == answer.calibration_remark
    for name in ("calibration", "calibration_fits", "confident"):
        assert row[name] == printed[name]
    point = from_wkb(row["estimate"])
    assert great_circle_km(point.y, point.x, answer.lat or 0, answer.lon or 0) < 1e-3
    assert row["agreement"] == pytest.approx(answer.agreement, abs=1e-6)
    assert row["presence"] == pytest.approx(answer.presence, abs=1e-6)
    assert row["probability_within_km"] == pytest.approx(printed["probability_within_km"], abs=1e-5)
    radii = [row["radius_50_km"], row["radius_90_km"]]
    assert radii == pytest.approx(list(answer.radius_km.values()), rel=1e-3)
    assert row["neighbours"] == len(answer.neighbours)


NEAR = {"near": "SRID=4326;POINT(20 10)", "near_km": 12000}


@pytest.mark.parametrize("login", ["owner", "reader"])
@pytest.mark.parametrize(
    ("passing", "asked", "number"),
    [
        (OPEN, {"collections": ["open"]}, 0),
        (IN_AREA, {"collections": ["open"], "within": f"SRID=4326;{AREA.wkt}"}, 1),
        (where(near=(10, 20, 12000), exclude_authors="me"), {**NEAR, "not_authors": ["me"]}, None),
    ],
)
def test_localize_answers_as_python_does(
    world: World, login: str, passing: Filter, asked: dict[str, Any], number: int | None
) -> None:
    database: Database = getattr(world, login)
    # What rests on private photos too, and so may be used with any filter, is the owner's alone.
    usual = world.calibrations[2] if login == "owner" else None
    for seed in (20, 21):
        query = world.query(seed)
        row = world.sql(database, query, **asked)
        assert row["calibration"] == (usual if number is None else world.calibrations[number])
        assert_same(row, world.python(database, query, passing))
    for least in (0.0, 1.0):
        one = {"calibration": world.calibrations[0], "min_presence": least}
        row = world.sql(database, query, **asked, **one)
        assert_same(row, world.python(database, query, passing, **one))
    none = world.sql(database, query, **asked, calibration=0)
    assert_same(none, world.python(database, query, passing, calibrate=False))


def test_sql_is_unsure_where_python_is(world: World) -> None:
    one = {"calibration": world.calibrations[0], "min_presence": 0.0}
    said = set()
    for seed in range(20, 32):
        query = world.query(seed)
        # Ever less like any reference: from present to absent.
        noise = np.random.default_rng(seed).standard_normal(len(query.embedding))
        blurred = query.embedding + 0.05 * (seed - 20) * noise
        query = replace(query, embedding=(blurred / np.linalg.norm(blurred)).astype(np.float32))
        row = world.sql(world.owner, query, collections=["open"], **one)
        assert_same(row, world.python(world.owner, query, OPEN, **one))
        said.add(row["calibration_fits"])
    assert said >= {"yes", "unsure"}


def test_the_latest_calibration_for_the_conditions_is_used(world: World) -> None:
    query = world.query(20)
    with world.owner.connection() as connection:
        connection.execute("UPDATE geosearch.all_photos SET taken_at = '2020-01-01'")
    asked = {"collections": ["open"], "taken_after": "2001-02-03", "not_photos": [1, 2]}
    # In whatever order, and by whatever clock.
    conditions = where(collections="open") & ~Photos(1, 2) & where(after="2001-02-03T01:00+01:00")
    made = [world.add(conditions) for _ in range(2)]
    row = world.sql(world.owner, query, **asked)
    assert (row["calibration"], row["calibration_fits"] != "no") == (made[1], True)
    others = ~Photos(1, 2) & where(after="2001-02-03T00:00Z", collections="open")
    assert_same(row, world.python(world.owner, query, others))
    for value in ({"k": 7}, {"bandwidth_km": 50}, {"weighting": "uniform"}, {"calibration": 0}):
        assert world.sql(world.owner, query, **asked, **value)["calibration"] is None
    for one in made:
        world.remove(one)
    assert world.sql(world.owner, query, **asked)["calibration"] == world.calibrations[2]


def test_a_calibration_that_cannot_be_used_is_refused(world: World) -> None:
    query, first = world.query(20), world.calibrations[0]
    with world.owner.connection() as connection:
        add_model(connection, DIMENSION, "test/other")
    usual = {"query": HalfVector(query.embedding), "model": MODEL}
    for wrong, says in (
        ({"calibration": 999}, "there is no calibration 999"),
        ({"calibration": -1}, "there is no calibration -1"),
        ({"calibration": first, "model": "test/other"}, "the model test/model, not test/other"),
        ({"calibration": first, "k": 7}, f"calibration {first} fixes k, bandwidth_km and"),
        ({"min_presence": 0.5, "k": 7}, "min_presence 0.5 needs a calibration, and none applies"),
        ({"min_presence": 1.5}, "min_presence 1.5 is no probability"),
    ):
        with (
            world.owner.connection() as connection,
            pytest.raises(psycopg.DataError, match=says) as raised,
            connection.transaction(),
        ):
            call(connection, "localize", **(usual | wrong))
        assert raised.value.diag.message_hint


def test_what_rests_on_private_photos_is_not_there_for_others(world: World) -> None:
    query, hidden = world.query(20), world.calibrations[2]
    assert world.sql(world.owner, query)["calibration"] == hidden
    assert world.sql(world.reader, query)["calibration"] is None
    with pytest.raises(DatabaseError, match=f"there is no calibration {hidden}"):
        world.sql(world.reader, query, calibration=hidden)


def test_an_answer_says_when_the_references_changed(world: World) -> None:
    query = world.query(20)
    for before, says in ((REFERENCES // 3, "there were 200 references, now "), (1201, "now 600")):
        made = world.add(OPEN, before)
        row = world.sql(world.owner, query, collections=["open"])
        assert (row["calibration"], row["calibration_fits"]) == (made, "no")
        assert says in row["calibration_remark"]
        assert world.python(world.owner, query, OPEN).calibration_fits == "no"
        world.remove(made)


@pytest.mark.parametrize("login", ["owner", "reader"])
def test_matching_photos_are_counted_as_in_python(world: World, login: str) -> None:
    database: Database = getattr(world, login)
    with database.connection() as connection:
        for conditions, near in ((EVERYTHING, None), (where(near=(10, 20, 12000)), NEAR["near"])):
            row = connection.execute(
                "SELECT geosearch.count_matching(%s, geosearch.make_filter("
                "NULL, %s, %s, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))",
                (world.model, near, near and NEAR["near_km"]),
            ).fetchone()
            assert row == (count_passing(connection, world.model, conditions),)


def test_a_stored_photo_is_calibrated_without_itself(world: World) -> None:
    with world.owner.connection() as connection:
        (row,) = call(
            connection, "localize_photo", photo=world.photo, model=MODEL, collections=["open"]
        )
        vector = connection.execute(
            "SELECT embedding::text FROM geosearch.embeddings WHERE photo_id = %s", (world.photo,)
        ).fetchone()
    assert vector is not None
    query = Query("/own.jpg", bytes(32), np.array(json.loads(vector[0]), np.float32))
    expected = world.python(
        world.owner, query, OPEN & ~Photos(world.photo), calibration=row["calibration"]
    )
    assert row["calibration"] == world.calibrations[0]
    assert "was fitted for" not in row["calibration_remark"]
    assert row["presence"] == pytest.approx(expected.presence, abs=1e-6)
    assert row["radius_90_km"] == pytest.approx(expected.radius_km[0.9], rel=1e-3)


def test_an_answer_recorded_in_sql_is_one_like_others(world: World) -> None:
    with world.owner.connection() as connection:
        (answered,) = call(
            connection, "localize_photo", photo=world.photo, model=MODEL, collections=["open"]
        )
        row = connection.execute(
            "SELECT geosearch.record_photo(%s, %s, filter => %s)",
            (world.photo, MODEL, Jsonb({"collection": "open"})),
        ).fetchone()
        assert row is not None
    recorded = load(world.owner, row[0])
    assert recorded.parameters.calibration_id == answered["calibration"] == world.calibrations[0]
    assert recorded.parameters.fitted == world.fitted_as(world.calibrations[0])
    assert great_circle_km(recorded.lat or 0, recorded.lon or 0, *at(answered)) < 1e-6
    assert recorded.modes[0].lat == pytest.approx(recorded.lat, abs=1e-6)
    assert list(recorded.radius_km.values()) == pytest.approx(
        [answered["radius_50_km"], answered["radius_90_km"]]
    )
    assert len(recorded.neighbours) == len(recorded.weights) == answered["neighbours"]
    assert recorded.weights.sum() == pytest.approx(1)
    assert world.photo not in recorded.neighbours.photo_id
    assert recorded.place_name
    again = reproduce(world.owner, row[0])
    assert again.neighbours_same
    assert again.shift_km is not None
    assert again.shift_km < 1e-3


@pytest.mark.parametrize("given", [None, {}])
def test_an_answer_recorded_in_sql_without_conditions_is_reproduced(
    world: World, given: dict[str, Any] | None
) -> None:
    with world.owner.connection() as connection:
        row = connection.execute(
            "SELECT geosearch.record_photo(%s, %s, filter => %s)",
            (world.photo, MODEL, None if given is None else Jsonb(given)),
        ).fetchone()
    assert row is not None
    recorded = load(world.owner, row[0])
    assert recorded.query.sha256 is not None
    assert str(recorded.where) == str(~SameBytes(recorded.query.sha256.hex()))
    assert reproduce(world.owner, row[0]).neighbours_same


def test_who_may_not_record_answers_may_not_in_sql(world: World) -> None:
    with (
        world.reader.connection() as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        connection.transaction(),
    ):
        connection.execute("SELECT geosearch.record_photo(%s, %s)", (world.photo, MODEL))


def at(row: dict[str, Any]) -> tuple[float, float]:
    """Latitude and longitude of the estimate of a row."""
    point = from_wkb(row["estimate"])
    return point.y, point.x


@pytest.mark.parametrize(
    "passing",
    [
        EVERYTHING,
        where(collections=["a", "b"], accuracy_m=10, include_estimated=True),
        ~(where(authors="me") | where(near=(1.5, 2, 3))),
        where(within=AREA) | (where(licence="x") & ~where(country="CH")),
    ],
)
def test_a_filter_is_said_as_in_python(module_database: Database, passing: Filter) -> None:
    with module_database.connection() as connection:
        row = connection.execute(
            "SELECT geosearch.filter_words(%s)", (Jsonb(passing.to_json()),)
        ).fetchone()
    assert row == (str(passing),)
