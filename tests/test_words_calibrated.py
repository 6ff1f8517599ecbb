"""Calibrations of words: another scale than that of photos, and what is not here at all."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from pgvector import HalfVector
from starlette.testclient import TestClient

import geosearch
from geosearch.calibration import Calibrated, Calibration
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.evaluation import TITLES, evaluate, text_queries
from geosearch.evaluation.calibrating import calibrate
from geosearch.features import backbones
from geosearch.features.description import Source
from geosearch.features.model_rows import register_model
from geosearch.localization import Localization
from geosearch.retrieval.filters import where
from geosearch.web.access import Gate
from geosearch.web.application import make_application
from geosearch.web.engine import Engine
from tests.command_line import CommandLine
from tests.quick_fits import quick_fits
from tests.rows import add_embeddings, add_photos, fetch, looks
from tests.test_embed import DESCRIPTION
from tests.test_several_models import Blind

DIMENSION, PHOTOS, TEXTS, FRESH = 24, 300, 120, 40
MODEL = "two-towers/test"
DESCRIBED = replace(DESCRIPTION, name=MODEL, dimension=DIMENSION)

#: How far all texts are from all photos, as words and pictures of CLIP are.
GAP = 4.0


def north(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places where there are photos."""
    return rng.uniform(5, 80, n), rng.uniform(-170, 170, n)


def seen(
    rng: np.random.Generator, lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The tower of pictures: of photos at these places."""
    vectors = looks(rng, lat, lon, DIMENSION - 1)
    found: NDArray[np.float32] = np.hstack([vectors, np.zeros((len(lat), 1), np.float32)])
    return found


def said(text: str) -> NDArray[np.float32]:
    """The tower of words: near the looks of "place LAT LON", but for the gap; else of nothing."""
    rng = np.random.default_rng(list(text.encode()))
    found = re.fullmatch(r"place (-?[\d.]+) (-?[\d.]+)", text)
    place = found.groups() if found else (0.0, 0.0)
    look: NDArray[np.float32] = seen(rng, *(np.array([float(each)]) for each in place))[0]
    if not found:
        look[:3] = 0
    look[-1] = GAP
    return look


def of(lat: float, lon: float) -> str:
    return f"place {lat:.4f} {lon:.4f}"


@dataclass(frozen=True)
class World:
    """Photos, with calibrations of photos and of words, and texts that neither has seen."""

    gs: Geosearch
    photos: Calibration
    words: Calibration
    manifest: Path
    fresh: list[tuple[float, float]]

    def ask(self, text: str) -> Localization:
        return self.gs.localize(text=text, model=MODEL, record=False)


def two_towers(_: str) -> Source:
    """A model of pictures and words, as another package adds one."""
    return Source(DESCRIBED, network=lambda _: Blind(), load_words=lambda: said)


@pytest.fixture(scope="module")
def model() -> Iterator[None]:
    """The spec of the model, and calibrations that search few settings."""
    with quick_fits(30, ("power:10", "softmax:0.02")) as patch:
        module = ModuleType("geosearch.features.two_towers")
        module.source = two_towers  # type: ignore[attr-defined]
        patch.setitem(sys.modules, module.__name__, module)
        patch.setitem(backbones.SOURCES, "two-towers/", "two_towers")
        yield


@pytest.fixture(scope="module")
def world(
    module_database: Database, tmp_path_factory: pytest.TempPathFactory, model: None
) -> Iterator[World]:
    rng = np.random.default_rng(3)
    lat, lon = north(rng, PHOTOS)
    with module_database.connection() as connection:
        photos = add_photos(connection, lat, lon, collection="all")
        row = register_model(connection, DESCRIBED)
        add_embeddings(connection, row.id, photos, seen(rng, lat, lon))
    manifest = tmp_path_factory.mktemp("texts") / "texts.csv"
    asked = list(zip(*(each.tolist() for each in north(rng, TEXTS + FRESH)), strict=True))
    lines = [f'"{of(*each)}",{each[0]},{each[1]}' for each in asked[:TEXTS]]
    manifest.write_text("\n".join(["text,lat,lon", *lines]))
    of_photos = calibrate(module_database, None, model=MODEL, k=20, sample=100, force=True)
    of_words = calibrate(module_database, text_queries(manifest), model=MODEL, k=20)
    with geosearch.connect(module_database.url) as gs:
        yield World(gs, of_photos, of_words, manifest, asked[TEXTS:])


@pytest.mark.system
def test_words_are_judged_by_what_was_fitted_to_words_and_photos_by_what_was_to_photos(
    world: World,
) -> None:
    assert world.words.fitted.words
    assert not world.photos.fitted.words
    by_words = [world.ask(of(*each)) for each in world.fresh]
    assert {each.parameters.calibration_id for each in by_words} == {world.words.id}
    # The later one is of words.
    (of_photo,) = world.gs.localize_stored([1], model=MODEL, record=False)
    assert isinstance(of_photo, Localization)
    assert of_photo.parameters.calibration_id == world.photos.id

    there = [each.confident is True for each in by_words]
    held = [
        answer.with_truth(*truth).truth_level or 1
        for answer, truth in zip(by_words, world.fresh, strict=True)
    ]
    assert np.mean(there) > 0.85
    assert np.mean(np.array(held) <= 0.5) == pytest.approx(0.5, abs=0.2)
    assert np.mean(np.array(held) <= 0.9) == pytest.approx(0.9, abs=0.1)
    # By what was fitted to photos nothing that is said would be here.
    fitted = world.photos.fitted
    for answer in by_words:
        near = answer.neighbours.first(fitted.k)
        found = near.lat, near.lon, near.distance
        assert not Calibrated(fitted, *found, fitted.place(*found)).confident


@pytest.mark.system
def test_what_is_not_here_is_said_of_words(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of nothing that any photo shows, and of places far from all of them.
    strangers = [f"stranger {number}" for number in range(20)]
    south = [of(-60.0 - number / 2, 17.0 * number - 170) for number in range(20)]
    for texts in (strangers, south):
        assert np.mean([world.ask(text).confident is False for text in texts]) > 0.8
    here, not_here = of(*world.fresh[0]), strangers[0]
    for text, confident in ((here, True), (not_here, False)):
        found = world.gs.nearest(text=text, model=MODEL, k=3)
        assert len(found) == 3
        answer = world.ask(text)
        assert found.here is not None
        assert (found.here.calibration, found.here.confident) == (world.words.id, confident)
        assert found.here.presence == answer.presence
        assert answer.confident is confident
    run = CommandLine(world.gs.database.url, capsys)
    asked = ("nearest", "--text", not_here, "--model", MODEL, "--k", 2)
    told = run(*asked, "--json").json()["here"]
    assert (told["confident"], told["calibration"]) == (False, world.words.id)
    assert "not in this collection" in run(*asked).out
    assert "not in this collection" in run("localize", "--text", not_here, "--model", MODEL).out
    assert "in this collection" in run("nearest", "--text", here, "--model", MODEL).out
    assert "here" not in run("nearest", "--photo-id", 1, "--model", MODEL, "--json").json()


@pytest.mark.system
def test_every_way_in_gives_words_the_same_answer(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    text = of(*world.fresh[1])
    answer = world.gs.localize(text=text, model=MODEL)
    wanted = answer.to_json()
    assert answer.id is not None
    assert world.gs.load(answer.id).to_json()["parameters"]["words"] is True
    assert world.gs.reproduce(answer.id).same
    run = CommandLine(world.gs.database.url, capsys)
    told = [run("localize", "--text", text, "--model", MODEL, "--no-record", "--json").json()]
    vector = answer.query.embedding
    told.append(world.gs.localize(vector, words=True, model=MODEL, record=False).to_json())
    app = make_application(Engine([MODEL]), Gate(world.gs.database), None)
    with TestClient(app, "http://localhost") as client:
        for way, body in (
            ("text", {"text": text}),
            ("embedding", {"embedding": vector.tolist(), "parameters": {"words": True}}),
        ):
            asked = body | {"record": False, "model": MODEL}
            told.append(client.post(f"/api/v1/localize/{way}", json=asked).json())
        by_photo = {"photo_id": 1, "parameters": {"words": True}, "model": MODEL}
        assert client.post("/api/v1/localize/stored", json=by_photo).status_code == 400
    for each in told:
        for name in ("calibration", "calibration_fits", "confident"):
            assert each[name] == wanted[name]
        assert each["presence"] == pytest.approx(wanted["presence"], abs=1e-6)
        assert each["estimate"] == pytest.approx(wanted["estimate"])
        assert list(each["probability_within_km"].values()) == pytest.approx(
            list(wanted["probability_within_km"].values()), abs=1e-6
        )
    (row,) = fetch(
        world.gs.database,
        "SELECT calibration, presence, confident, calibration_remark "
        "FROM geosearch.localize(%s, %s, words => true)",
        *(HalfVector(vector), MODEL),
    )
    assert row[:1] + row[2:] == (world.words.id, answer.confident, answer.calibration_remark)
    assert f"{TEXTS} texts of" in row[3]
    assert row[1] == pytest.approx(answer.presence, abs=1e-3)
    # Said of nothing, an embedding is that of a photo.
    (other,) = fetch(
        world.gs.database,
        "SELECT calibration FROM geosearch.localize(%s, %s)",
        *(HalfVector(vector), MODEL),
    )
    assert other == (world.photos.id,)


@pytest.mark.system
def test_neither_is_used_for_the_other(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    text, (words, photos) = of(*world.fresh[2]), (world.words.id, world.photos.id)
    with pytest.raises(InputError, match="was fitted to photos; words are asked"):
        world.gs.localize(text=text, model=MODEL, calibration=photos)
    with pytest.raises(InputError, match="was fitted to words; photos are asked"):
        world.gs.localize(photo_id=1, model=MODEL, calibration=words)
    with pytest.raises(InputError, match="words is for a vector"):
        world.gs.localize(photo_id=1, model=MODEL, words=True)
    for arguments, remedy in (((photos, "true"), "words => f"), ((words, "false"), "words => t")):
        with pytest.raises(Exception, match=r"was fitted to (photos|words)") as refused:
            fetch(
                world.gs.database,
                "SELECT geosearch.localize(%s, %s, calibration => %s, words => %s::boolean)",
                *(HalfVector(said(text)), MODEL, *arguments),
            )
        assert remedy in str(refused.value)
    # Without one, answers are as they are, and say so.
    elsewhere = where(collections="all", near=(45, 0, 9000))
    with world.gs.database.connection() as connection:
        connection.execute("UPDATE geosearch.all_calibrations SET filter = %s", ['{"photos": [1]}'])
    try:
        run = CommandLine(world.gs.database.url, capsys)
        given = ("--text", text, "--model", MODEL)
        plain = run("localize", *given, "--json").json()
        assert (plain["calibration"], plain["confident"], plain["presence"]) == (None, None, None)
        assert plain["probability_within_km"] is None
        assert "no calibration was fitted to words" in " ".join(run("localize", *given).out.split())
        assert "no calibration was fitted to words" in " ".join(run("nearest", *given).out.split())
        assert run("nearest", *given, "--json").json()["here"] is None
        assert world.gs.localize(text=text, model=MODEL, where=elsewhere).confident is None
        with pytest.raises(InputError, match="geosearch calibrate --texts"):
            world.gs.localize(text=text, model=MODEL, min_presence=0.5)
    finally:
        with world.gs.database.connection() as connection:
            connection.execute("UPDATE geosearch.all_calibrations SET filter = '{}'")


@pytest.mark.system
def test_calibrations_of_words_are_made_listed_and_checked(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    database, words = world.gs.database, world.words.id
    assert words is not None
    run = CommandLine(database.url, capsys)
    assert "words" in run("calibrations", "list").out
    checked = run("calibrations", "check", words, "--texts", world.manifest, "--json").json()
    assert (checked["n"], checked["figures"]["worse"]) == (TEXTS, [])
    refused = run("calibrations", "check", words, "--leave-one-out")
    assert (refused.code, "was fitted to words" in refused.err) == (2, True)
    for more in (["--titles"], ["x.csv"]):
        ran = run("calibrate", "--texts", world.manifest, *more, "--model", MODEL)
        assert (ran.code, "--texts says which queries" in ran.err) == (2, True)
    with pytest.raises(InputError, match="are of photos"):
        calibrate(database, text_queries(world.manifest), model=MODEL, verify=2)
    with pytest.raises(InputError, match="words are asked of one model"):
        calibrate(database, text_queries(world.manifest), model=[MODEL, MODEL + "+views5"])


@pytest.mark.system
def test_titles_are_asked_of_the_other_photos(world: World) -> None:
    database = world.gs.database
    with pytest.raises(InputError, match="has a title"):
        evaluate(database, TITLES, model=MODEL)
    with database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.all_photos SET title = "
            "format('place %s %s', round(ST_Y(geom)::numeric, 4), round(ST_X(geom)::numeric, 4)) "
            "WHERE id % 10 = 0"
        )
    judged = evaluate(database, TITLES, model=MODEL)
    assert judged.parameters["words"] is True
    assert judged.accuracy.n == PHOTOS // 10
    assert judged.excluded.same_bytes == PHOTOS // 10
    assert judged.calibration is not None
    assert judged.calibration.startswith(f"{world.words.id}: ")


def test_texts_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    table = tmp_path / "texts.jsonl"
    table.write_text(
        '{"caption": "a barn", "lat": 10, "lon": 20}\n'
        '{"caption": "", "lat": 10, "lon": 20}\n'
        '{"caption": "a lake", "lat": null, "lon": null}\n'
    )
    found = text_queries(table)
    assert [(each.text, each.truth) for each in found.queries] == [("a barn", (10, 20))]
    assert [each.message for each in found.failures] == [
        "no text in this row",
        "the manifest gives no position",
    ]
    photos = tmp_path / "photos.csv"
    photos.write_text("uri,lat,lon\nx.jpg,1,2\n")
    with pytest.raises(InputError, match="no column for title"):
        text_queries(photos)
