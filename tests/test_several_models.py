"""Several models at once: one density out of those of each, fitted, recorded and reproduced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, LiteralString

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from psycopg import sql
from starlette.testclient import TestClient

from geosearch.calibration import Calibration, Fits, Fitted
from geosearch.calibration.calibration_rows import save
from geosearch.calibration.fitted import Pooled
from geosearch.database.collection_rows import ensure_collection
from geosearch.database.connection import Database
from geosearch.deletion.record_deletion import delete_answers, delete_model
from geosearch.density import Mixture
from geosearch.density.pooling import PooledDensity
from geosearch.errors import InputError, ModelError, RefusedError
from geosearch.evaluation import evaluate, evaluate_each
from geosearch.evaluation.calibrating import calibrate, check_calibration
from geosearch.features import Backbone
from geosearch.features.external_model import external_description
from geosearch.features.model_rows import register_model
from geosearch.layers.selection import Selection
from geosearch.localization import (
    Localization,
    Parameters,
    Request,
    load,
    localizing,
    reproduce,
)
from geosearch.localization.localizing import localize, localize_stored
from geosearch.localization.neighbour_sql import neighbours_in_sql
from geosearch.retrieval.conditions import InCollections, Photos
from geosearch.sphere import great_circle_km
from geosearch.thresholds import WORLD_KM
from geosearch.timeline.time_evidence import TimeEvidence
from geosearch.web.access import Gate
from geosearch.web.application import make_application
from geosearch.web.engine import Engine
from tests.code_blocks import blocks_of
from tests.command_line import CommandLine
from tests.photo_files import photo
from tests.quick_fits import quick_fits
from tests.rows import add_embeddings, add_photos, fetch, looks, places

BOTH = ["external:one", "external:two"]
#: Photos, and those of them that the second model has no embedding of.
PHOTOS, UNSEEN = 80, 8


def mixture(lat: float, lon: float, km: float = 200) -> Mixture:
    """Nearly all of it at one place, the rest anywhere."""
    return Mixture.at([lat], [lon], [1.0], km).with_background(0.01)


@given(st.floats(0.05, 1), st.floats(0.05, 1))
def test_a_pool_of_one_density_twice_is_that_density(one: float, other: float) -> None:
    total = one + other
    alone = mixture(10, 20)
    told = PooledDensity.of([alone, alone], [one / total, other / total], WORLD_KM)
    points = alone.lattice(64)[0]
    assert told.mixture.log_density(points) == pytest.approx(alone.log_density(points), abs=1e-6)
    assert told.shares == pytest.approx([one / total, other / total])


def test_where_models_agree_counts_for_more() -> None:
    # Each sees two places, and they agree on one.
    first = Mixture.at([0, 40], [0, 40], [0.4, 0.6], 200).with_background(0.01)
    second = Mixture.at([0, -40], [0, -40], [0.4, 0.6], 200).with_background(0.01)
    told = PooledDensity.of([first, second], [0.5, 0.5], WORLD_KM)
    assert told.mixture.weights.sum() == pytest.approx(1)
    assert great_circle_km(*told.estimate, 0, 0) < 20
    # A power of nearly nothing is no say.
    alone = PooledDensity.of([first, second], [1, 1e-6], WORLD_KM)
    assert great_circle_km(*alone.estimate, 40, 40) < 20


@dataclass(frozen=True)
class World:
    """Photos at random places, as two models see them; the last ones only as the first does."""

    database: Database
    calibration: Calibration

    def answer(self, photo: int = 1, **asked: Any) -> Localization:
        """The answer of both models about a stored photo."""
        (given,) = localize_stored(self.database, [photo], **{"model": BOTH, **asked})
        assert isinstance(given, Localization)
        return given


@pytest.fixture(scope="module")
def world(module_database: Database) -> Iterator[World]:
    rng = np.random.default_rng(7)
    lat, lon = places(rng, PHOTOS)
    with module_database.connection() as connection:
        photos = add_photos(connection, lat, lon, collection="all")
        for name, count in zip(BOTH, (PHOTOS, PHOTOS - UNSEEN), strict=True):
            model = register_model(connection, external_description(name, 24))
            seen = looks(rng, lat, lon, 24)[:count]
            add_embeddings(connection, model.id, photos[:count], seen)
    with quick_fits():
        made = calibrate(module_database, None, model=BOTH, k=20, force=True)
        yield World(module_database, made)


def same(one: Localization, other: Localization) -> bool:
    """Whether two answers are of one estimate, radii and neighbours."""
    return (
        (one.lat, one.lon) == pytest.approx((other.lat, other.lon), abs=1e-9)
        and one.radius_km == pytest.approx(other.radius_km)
        and one.neighbours.photo_id.tolist() == other.neighbours.photo_id.tolist()
    )


def test_without_calibration_all_count_alike_and_nothing_is_promised(world: World) -> None:
    answer = world.answer(parameters=Request(k=10))
    assert answer.parameters.calibration_id is None
    assert (answer.calibration_fits, answer.confident, answer.presence) == (None, None, None)
    assert answer.to_json()["probability_within_km"] is None
    alone = [each.by_picture for each in answer.members]
    told = PooledDensity.of(
        [each.with_background(0.01) for each in alone if each], [0.5, 0.5], WORLD_KM
    )
    assert (answer.lat, answer.lon) == pytest.approx(told.estimate)
    for number, each in enumerate(answer.members):
        (one,) = localize_stored(world.database, [1], model=BOTH[number], parameters=Request(k=10))
        assert isinstance(one, Localization)
        assert one.members == ()
        assert same(replace(each, place=one.place), one)
        assert each.share == pytest.approx(told.shares[number])
    assert set(answer.radius_km) == set(answer.regions) == {0.5, 0.9}


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_neighbours_of_each_model_are_kept_and_the_answer_can_be_made_again(
    world: World, calibrated: bool
) -> None:
    answer = world.answer(2, parameters=Request(calibrate=calibrated))
    assert answer.id is not None
    found = load(world.database, answer.id)
    assert same(found, answer)
    assert found.to_json()["neighbours"] == answer.to_json()["neighbours"]
    assert found.weights.sum() == pytest.approx(1)
    assert (np.diff(found.weights) <= 0).all()
    for before, after in zip(answer.members, found.members, strict=True):
        assert after.model == before.model
        assert after.references == before.references
        assert after.share == pytest.approx(before.share)
        assert after.neighbours.photo_id.tolist() == before.neighbours.photo_id.tolist()
        assert after.weights == pytest.approx(before.weights)
        assert after.query.embedding == pytest.approx(before.query.embedding)
    assert found.density is not None
    assert answer.density is not None
    points = answer.density.lattice(64)[0]
    assert found.density.log_density(points) == pytest.approx(
        answer.density.log_density(points), abs=1e-6
    )
    assert found.calibration_fits == answer.calibration_fits
    again = reproduce(world.database, answer.id)
    assert (again.same, again.changes) == (True, ())
    (documented,) = (block for block in blocks_of("docs/models.md") if block.language == "sql")
    with world.database.connection() as connection:
        statement = neighbours_in_sql(connection, found)
        rows = connection.execute(documented.text.encode()).fetchall()
    told = {row[1]: row for row in rows if row[0] == answer.id}
    assert [*told] == BOTH
    for each in answer.members:
        _, _, percent, references, km = told[each.model["name"]]
        assert percent == round(100 * (each.share or 0))
        assert references == each.references
        away = great_circle_km(each.lat or 0, each.lon or 0, answer.lat or 0, answer.lon or 0)
        assert km == pytest.approx(away, abs=1)
    assert [statement.count(f"by '{name}'") for name in BOTH] == [1, 1]


def test_a_calibration_is_used_where_its_models_are_asked_and_no_others(world: World) -> None:
    made = world.calibration
    assert made.model == "external:one + external:two"
    for models in (BOTH, BOTH[::-1]):
        answer = world.answer(3, model=models)
        assert answer.parameters.calibration_id == made.id
        assert answer.model["name"] == made.model
        assert isinstance(answer.calibrated, Pooled)
        assert answer.calibration_fits in (Fits.YES, Fits.UNSURE, Fits.WIDENED)
        assert set(answer.probability_within_km) == set(made.fitted.within_km)
        assert answer.presence == pytest.approx(
            np.mean([each.presence for each in answer.members if each.presence is not None])
        )
    assert world.answer(3, model=BOTH[0]).parameters.fitted is None
    with pytest.raises(InputError, match="is of the model external:one \\+ external:two"):
        world.answer(3, model=BOTH[0], parameters=Request(calibration=made.id))
    vector = world.answer(3).query.embedding.tolist()
    asked: LiteralString = (
        "SELECT calibration FROM geosearch.localize(%s::halfvec, %s, calibration => %s)"
    )
    assert fetch(world.database, asked, vector, BOTH[0], None) == [(None,)]
    with pytest.raises(RefusedError, match="is of the model external:one"):
        fetch(world.database, asked, vector, BOTH[0], made.id)


def test_what_was_fitted_is_read_back_and_can_be_measured_again(world: World) -> None:
    fitted = world.calibration.fitted
    assert fitted == Fitted.from_json(fitted.to_json())
    assert fitted.pool is not None
    assert len(fitted.pool.powers) == 2
    assert all(power > 0 for power in fitted.pool.powers)
    first, second = (each.domain for each in fitted.alone)
    assert first is not None
    assert second is not None
    assert (first.references, second.references) == (PHOTOS, PHOTOS - UNSEEN)
    checked = check_calibration(world.database, world.calibration.id or 0, None, sample=8)
    assert (checked.n, checked.outside) == (8, ())
    assert set(checked.figures["coverage"]) == {"50", "90"}


def test_both_are_judged_together(world: World) -> None:
    judged = evaluate(world.database, None, model=BOTH, sample=8)
    exact = evaluate(world.database, None, model=BOTH, sample=8, parameters=Request(exact=True))
    assert judged.accuracy.n == 8
    assert judged.errors_km == pytest.approx(exact.errors_km)
    assert all(np.isfinite(judged.areas_km2))
    assert judged.calibration is not None
    assert judged.model == "external:one + external:two"
    rows = fetch(
        world.database,
        "SELECT count(*), count(DISTINCT localization_id) FROM geosearch.localization_models AS m "
        "JOIN geosearch.localizations AS l ON l.id = localization_id WHERE evaluation_id = %s",
        judged.id,
    )
    assert rows == [(16, 8)]


def test_a_sweep_of_several_models_gives_what_each_of_its_parameters_gives_alone(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [Parameters(k=5), Parameters(k=12), Parameters(k=5, weighting="uniform")]
    swept = evaluate_each(world.database, None, grid, model=BOTH, sample=6)
    for parameters, one in zip(grid, swept, strict=True):
        alone = evaluate(world.database, None, model=BOTH, sample=6, parameters=parameters)
        assert one.errors_km == pytest.approx(alone.errors_km)
        assert one.areas_km2 == pytest.approx(alone.areas_km2)
        assert one.sweep_id == swept[1].id
    run = CommandLine(world.database.url, capsys)
    asked = ("--leave-one-out", "--sample", 6, "--model", BOTH[0], "--model", BOTH[1])
    given = run("sweep", *asked, "--method", "density", "--k", "5,12", "--json").json()
    medians = [each["median_km"] for each in given["evaluations"]]
    assert medians == pytest.approx([each.accuracy.median_km for each in swept[:2]])
    refused = run("sweep", *asked)
    assert (refused.code, "Choose density" in refused.err) == (2, True)


class Blind:
    """All pictures look alike to it."""

    device = "cpu"

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(pixels), 24), 24**-0.5, np.float32)


class Broken(Blind):
    """It embeds nothing."""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise ModelError(f"{len(pixels)} pictures are too many", "Ask for none.")


def test_an_evaluation_that_fails_before_its_first_answer_leaves_nothing_behind(
    world: World, tmp_path: Path
) -> None:
    count = "SELECT count(*) FROM geosearch.evaluations"
    before = fetch(world.database, count)
    (tmp_path / "a.jpg").write_bytes(photo())
    manifest = tmp_path / "queries.csv"
    manifest.write_text("uri,lat,lon\na.jpg,1,2\n")
    with pytest.raises(ModelError, match="were made elsewhere") as refused:
        evaluate(world.database, manifest, model=BOTH)
    assert "--leave-one-out" in str(refused.value)
    broken = Backbone(external_description(BOTH[0], 24), Broken())
    with pytest.raises(ModelError, match="are too many"):
        evaluate(world.database, manifest, model=broken)
    assert fetch(world.database, count) == before


def test_a_model_answers_by_what_it_has(world: World) -> None:
    answer = world.answer(5)
    assert [each.references for each in answer.members] == [PHOTOS, PHOTOS - UNSEEN]
    unseen = Photos(*range(PHOTOS - UNSEEN + 1, PHOTOS + 1))
    alone = world.answer(5, where=unseen)
    assert [each.lat is None for each in alone.members] == [False, True]
    assert [each.share for each in alone.members] == pytest.approx([1, 0], abs=1e-6)
    assert {int(number) for number in alone.neighbours.member} == {1}  # type: ignore[union-attr]
    assert alone.calibration_fits is None


def test_time_is_fused_with_what_all_models_say(world: World) -> None:
    with world.database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.photos SET author = 'ann', "
            "taken_at = '2020-05-01 12:00Z'::timestamptz + (id - 9) * '5 minutes'::interval "
            "WHERE id IN (9, 10)"
        )
    answer = world.answer(9, parameters=Request(timeline=True))
    assert answer.evidence is not None
    assert answer.evidence.by_picture is not None
    alone = world.answer(9)
    assert (alone.lat, alone.lon) == pytest.approx(answer.evidence.by_picture)
    ((lat, lon),) = fetch(
        world.database, "SELECT ST_Y(geom), ST_X(geom) FROM geosearch.photos WHERE id = 10"
    )
    assert answer.lat is not None
    assert answer.lon is not None
    assert great_circle_km(answer.lat, answer.lon, lat, lon) < 100
    assert answer.id is not None
    assert reproduce(world.database, answer.id).same
    # Of a photo without a time it says nothing, and takes nothing away.
    untimed = world.answer(11, parameters=Request(timeline=True))
    assert same(untimed, world.answer(11))
    assert set(untimed.regions) == {0.5, 0.9}


def test_what_is_asked_of_time_takes_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ask = [0.0], localizing._evidence

    def slow(*asked: Any) -> TimeEvidence | None:
        clock[0] += 5
        return ask(*asked)

    monkeypatch.setattr(localizing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(localizing, "_evidence", slow)
    ms = world.answer(4).elapsed_ms
    assert ms["retrieval"] == 15_000  # of each model, which time tells nothing, and of both
    assert ms["total"] == pytest.approx(sum(ms.values()) - ms["total"], abs=0.01)


def test_what_cannot_be_asked_of_several_is_refused(world: World) -> None:
    for models, said in (
        ([*BOTH, BOTH[0]], "named twice"),
        ([], "0 models"),
        ([str(number) for number in range(5)], "5 models"),
    ):
        with pytest.raises(InputError, match=said):
            world.answer(model=models)
    second = world.calibration.fitted.alone[1]
    for asked in (
        *(Request("nearest"), Request(verify=3), Request(restrict_cells=0.9)),
        Parameters(fitted=second),
    ):
        with pytest.raises(InputError, match="is for one model; here are 2"):
            world.answer(parameters=asked)
    together = world.answer().parameters
    with pytest.raises(InputError, match="is for several models; here is one"):
        world.answer(model=BOTH[0], parameters=together)
    # Without what was fitted to both, they are those of the one that is asked.
    alone = world.answer(model=BOTH[0], parameters=replace(together, fitted=None))
    assert (alone.parameters.models, alone.members) == ((), ())
    vector = np.ones(24, np.float32)
    with pytest.raises(InputError, match="vectors and words are of one model"):
        list(localize(world.database, [vector], model=BOTH))


def test_the_command_line_says_what_each_model_has_in_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(world.database.url, capsys)
    asked = ["--model", BOTH[0], "--model", BOTH[1]]
    given = command("localize", "--photo-id", 6, *asked, "--json").json()
    assert [each["model"] for each in given["models"]] == BOTH
    assert {each["member"] for each in given["neighbours"]} == {1, 2}
    said = command("show", given["localization_id"]).out
    assert f"external:one {given['models'][0]['share']:.0%} of {PHOTOS} photos" in said
    assert command("reproduce", given["localization_id"]).code == 0


def test_the_server_answers_by_several_models_too(world: World) -> None:
    engine = Engine(BOTH)
    for name in BOTH:
        engine._found.setdefault(world.database, {})[name] = Backbone(
            external_description(name, 24), Blind()
        )
    app = make_application(engine, Gate(world.database), None)
    asked = {"photo_id": 5, "exclude_self": True, "model": BOTH[::-1], "record": True}
    alone = world.answer(5, record=False).to_json()
    with TestClient(app, "http://localhost/api/v1/") as client:
        given = client.post("localize/stored", json=asked).json()
        for name in ("estimate", "calibration", "presence", "probability_within_km", "radius_km"):
            assert given[name] == pytest.approx(alone[name])
        assert [each["model"] for each in given["models"]] == BOTH
        assert [each["references"] for each in given["models"]] == [PHOTOS, PHOTOS - UNSEEN]
        assert {each["member"] for each in given["neighbours"]} == {1, 2}
        again = client.post(
            f"answers/{given['localization_id']}/again", json={"exclude_self": True}
        )
        assert again.json()["estimate"] == pytest.approx(given["estimate"])
        upload = client.post(
            "localize",
            files={"photo": photo()},
            data={"request": json.dumps({"model": BOTH, "include": ["density", "embedding"]})},
        ).json()
        assert [each["model"] for each in upload["models"]] == BOTH
        assert upload["density"]["cells"]
        assert upload["embedding"] is None
        for way, body in (
            ("stored", asked | {"model": [BOTH[0]] * 2}),
            ("stored", asked | {"parameters": {"verify": 3}}),
            ("embedding", {"embedding": [0.1] * 24, "model": BOTH}),
            ("text", {"text": "a barn", "model": BOTH}),
        ):
            refused = client.post(f"localize/{way}", json=body)
            assert (refused.status_code, "one" in refused.text) == (400, True), refused.text
        many = client.post("localize/stored", json=asked | {"model": ["x"] * 5})
        assert many.status_code == 422


def test_an_answer_rests_on_what_any_of_its_models_was_fitted_to(world: World) -> None:
    asked = InCollections("all")
    with world.database.connection() as connection:
        elsewhere = ensure_collection(connection, "elsewhere")
        connection.execute(
            "INSERT INTO geosearch.all_whitenings (model_id, base_id, base_spec, mean, axes, "
            "power, eigenvalues, filter, options, photos, figures, software) "
            "SELECT max(id), min(id), '', '[1]', '{}', 0, '{}', "
            "'{\"collections\": [\"elsewhere\"]}', '{}', 1, '{}', '{}' FROM geosearch.models"
        )
        save(connection, replace(world.calibration, where=asked))
    world.answer(8, where=asked)
    noted = sql.SQL("SELECT collection_ids FROM {} ORDER BY id DESC LIMIT 1")
    for table in ("all_calibrations", "all_localizations"):
        with world.database.connection() as connection:
            row = connection.execute(noted.format(sql.Identifier("geosearch", table))).fetchone()
        assert row is not None
        assert elsewhere in row[0]


def test_a_model_that_is_deleted_leaves_what_it_answered(world: World) -> None:
    answer = world.answer(7)
    assert answer.id is not None
    gone = delete_answers(world.database, Selection((answer.id,)), dry_run=True)
    assert (gone.goes["models"], gone.goes["neighbours"]) == (2, len(answer.neighbours))
    delete_model(world.database, BOTH[1])
    assert load(world.database, answer.id).members[1].model["name"] == BOTH[1]
    again = reproduce(world.database, answer.id)
    assert not again.same
    assert "external:two" in again.changes[0]
