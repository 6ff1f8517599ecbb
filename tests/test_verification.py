"""Geometric verification: the reference that shows the query's own scene goes first."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from geosearch.calibration.calibration_rows import latest_calibration
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import InputError, MissingExtraError
from geosearch.evaluation import evaluate_each
from geosearch.evaluation.calibrating import calibrate
from geosearch.evaluation.queries import Labelled, QuerySet
from geosearch.features.model_rows import Model, find_model
from geosearch.installation import remedy
from geosearch.localization import Localization, Parameters, Request
from geosearch.localization.answer_rows import save
from geosearch.localization.localizing import answer_query
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING
from geosearch.retrieval.duplicates import NOTHING
from geosearch.retrieval.neighbours import NOT_COMPARED, Verification
from geosearch.verification.local_features import chance, inliers, local_features
from tests.answers import make_answer
from tests.command_line import CommandLine
from tests.photo_files import bomb
from tests.rows import add_embeddings, add_model, add_photos, fetch

#: References, of which this one shows the scene of the query; its embedding says another.
COUNT, RIGHT, WRONG = 10, 5, 0


def scene(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """A picture full of corners, of which no two are alike."""
    rng = np.random.default_rng(seed)
    blocks = Image.fromarray(rng.integers(0, 256, (size[1] // 6, size[0] // 6, 3), dtype=np.uint8))
    return blocks.resize(size, Image.Resampling.BICUBIC)


def seen_again(picture: Image.Image) -> Image.Image:
    """The picture from elsewhere, in other light: a homography."""
    warp = (1.05, 0.12, -8.0, -0.06, 0.95, 6.0, 4e-4, -2e-4)
    turned = picture.transform(
        picture.size, Image.Transform.PERSPECTIVE, warp, Image.Resampling.BICUBIC
    )
    return ImageEnhance.Brightness(turned.crop((15, 10, 185, 140))).enhance(0.7)


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@dataclass
class World:
    """References with files, and a query whose embedding is nearest to a wrong one of them."""

    database: Database
    model: Model
    query: Query
    files: list[Path]
    vectors: NDArray[np.float32]

    def answer(self, verify: int = 0, query: Query | None = None, **how: Any) -> Localization:
        given: dict[str, Any] = {"method": "nearest", "k": COUNT, "verify": verify} | how
        parameters = Parameters(**given)
        asked = query or self.query
        return answer_query(self.database, self.model, asked, parameters, EVERYTHING, NOTHING)

    def name(self, answer: Localization, rank: int = 0) -> str:
        return Path(answer.neighbours.uri[rank]).name


@pytest.fixture(scope="module")
def world(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("verified")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(COUNT, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    files = [folder / f"{index}.png" for index in range(COUNT)]
    with module_database.connection() as connection:
        photos = add_photos(connection, np.linspace(0, 60, COUNT), np.linspace(0, 90, COUNT))
        for index, (file, photo) in enumerate(zip(files, photos, strict=True)):
            file.write_bytes(data := png(scene(index)))
            connection.execute(
                "UPDATE geosearch.photos SET uri = %s, sha256 = %s WHERE id = %s",
                (str(file), hashlib.sha256(data).digest(), photo.photo_id),
            )
        add_embeddings(connection, add_model(connection, 8), photos, vectors)
        model = find_model(connection, "test/model")
    file = folder / "query.png"
    file.write_bytes(data := png(seen_again(scene(RIGHT))))
    near = vectors[WRONG] + rng.normal(scale=0.1, size=8).astype(np.float32)
    query = Query(str(file), hashlib.sha256(data).digest(), near / np.linalg.norm(near))
    return World(module_database, model, query, files, vectors)


def test_the_reference_that_shows_the_scene_goes_first(world: World) -> None:
    before, after = world.answer(), world.answer(COUNT)
    assert world.name(before) == f"{WRONG}.png"
    assert world.name(after) == f"{RIGHT}.png"
    assert after.lat == after.neighbours.lat[0] != before.lat
    counts = after.neighbours.inliers
    assert counts is not None
    assert counts[0] > chance(8)
    assert not counts[1:].any()
    # The others keep their order.
    rest = [uri for uri in before.neighbours.uri if uri != after.neighbours.uri[0]]
    assert list(after.neighbours.uri[1:]) == rest


def test_only_so_many_are_compared_and_the_cost_is_told(world: World) -> None:
    made = world.answer(1).neighbours.verification
    assert made is not None
    assert (made.alike, made.compared, made.unreadable, made.query_read) == (0, 1, 0, True)
    answer = world.answer(COUNT)
    assert answer.elapsed_ms["verification"] > 0
    assert str(answer.neighbours.verification).startswith("verified in ")


def test_inliers_are_evidence_for_the_density_too(world: World) -> None:
    before = world.answer(method="density")
    after = world.answer(COUNT, method="density")
    rank = before.neighbours.uri.index(after.neighbours.uri[0])
    assert after.weights[0] > 0.9 > before.weights[rank]
    assert after.neighbours.distance[0] == before.neighbours.distance[rank]


def test_more_are_compared_than_vote(world: World) -> None:
    answer = world.answer(COUNT, k=2)
    assert len(answer.neighbours) == 2
    assert world.name(answer) == f"{RIGHT}.png"


def test_without_it_nothing_of_an_answer_changes(world: World) -> None:
    plain, none = world.answer(method="density"), world.answer(0, method="density")
    assert plain.neighbours.inliers is None
    assert plain.neighbours.verification is None
    np.testing.assert_array_equal(plain.neighbours.effective_distance, plain.neighbours.distance)
    given_, found = plain.to_json(), none.to_json()
    assert not {"verification"} & given_.keys()
    assert all(neighbour.keys() & {"inliers"} == set() for neighbour in given_["neighbours"])
    del given_["elapsed_ms"], found["elapsed_ms"]
    assert given_ == found


@pytest.mark.parametrize("what", ["missing", "another", "broken", "bomb", "folder"])
def test_a_file_that_cannot_be_compared_is_counted_and_stops_nothing(
    world: World, what: str
) -> None:
    """`another` is one whose bytes are not those that were ingested, as of a uri that was planted:
    the picture would match, and nothing tells so.
    """
    file = world.files[RIGHT]
    was = file.read_bytes()
    file.unlink()
    bytes_of = {"another": png(seen_again(scene(RIGHT))), "broken": b"\x89PNG", "bomb": bomb(60000)}
    if what == "folder":
        file.mkdir()
    elif what != "missing":
        file.write_bytes(bytes_of[what])
    known = hashlib.sha256(bytes_of.get(what, b"") if what != "another" else was).digest()
    change = "UPDATE geosearch.photos SET sha256 = %s WHERE uri = %s RETURNING id"
    try:
        fetch(world.database, change, known, str(file))
        answer = world.answer(COUNT)
    finally:
        file.rmdir() if what == "folder" else file.unlink(missing_ok=True)
        file.write_bytes(was)
        fetch(world.database, change, hashlib.sha256(was).digest(), str(file))
    made = answer.neighbours.verification
    assert made is not None
    assert (made.compared, made.unreadable, made.alike) == (COUNT - 1, 1, 0)
    assert world.name(answer) == f"{WRONG}.png"
    assert "1 could not be read" in str(made)
    rank = answer.neighbours.uri.index(str(file))
    assert answer.neighbours.to_json()[rank]["inliers"] is None


def test_no_private_address_is_asked_and_no_pipe_waited_for(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    planted = ("http://127.0.0.1:9/secret.jpg", str(tmp_path / "pipe"), "/proc/self/environ")
    change = "UPDATE geosearch.photos SET uri = %s WHERE uri = %s RETURNING id"
    for uri in planted:
        try:
            fetch(world.database, change, uri, str(world.files[RIGHT]))
            made = world.answer(COUNT).neighbours.verification
        finally:
            fetch(world.database, change, str(world.files[RIGHT]), uri)
        assert made is not None
        assert made.unreadable == 1


def test_a_query_without_its_file_says_so(world: World, tmp_path: Path) -> None:
    for sha256, uri in ((b"0" * 32, world.query.uri), (world.query.sha256, str(tmp_path / "no"))):
        stored = replace(world.query, uri=uri, sha256=sha256)
        answer = world.answer(COUNT, query=stored)
        made = answer.neighbours.verification
        assert made is not None
        assert (made.query_read, made.compared, made.unreadable) == (False, 0, 0)
        assert str(made).startswith("not verified: its own file cannot be read")
        assert world.name(answer) == f"{WRONG}.png"


def test_an_answer_keeps_its_inliers_and_is_reproduced_without_any_file(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    gs = Geosearch(world.database)
    answer = world.answer(COUNT, method="density", k=8)
    with world.database.connection() as connection:
        (key,) = save(connection, [answer])
    loaded = gs.load(key)
    assert loaded.to_json() == replace(answer, id=key).to_json()
    assert loaded.neighbours.verification == answer.neighbours.verification
    assert loaded.parameters.verify == COUNT
    folder = world.files[0].parent
    folder.rename(folder.with_name("away"))
    try:
        again = gs.reproduce(key)
    finally:
        folder.with_name("away").rename(folder)
    assert again.same
    assert again.changes == ("inliers are those recorded: no file was compared again",)
    (layer,) = fetch(
        world.database,
        "SELECT inliers FROM geosearch.gis_neighbours WHERE localization_id = %s AND rank = 1",
        key,
    )
    assert answer.neighbours.inliers is not None
    assert layer == (int(answer.neighbours.inliers[0]),)
    shown = CommandLine(world.database.url, capsys)("show", key).out
    assert "inliers" in shown
    assert f"1 of {COUNT} references show its very scene" in shown


def test_an_evaluation_verifies_with_and_without_one_pass(world: World) -> None:
    parameters = [
        Parameters(method, k, exact=exact, verify=COUNT)
        for exact in (True, False)
        for method, k in (("nearest", 1), ("density", 3))
    ]
    with world.database.connection() as connection:
        (stored,) = connection.execute(
            "SELECT id FROM geosearch.photos WHERE uri = %s", (str(world.files[RIGHT]),)
        ).fetchall()
    asked = Labelled(str(world.files[RIGHT]), (0, 0), photo_id=stored[0])
    own = QuerySet("own", (asked,), stored=True)
    for pair in (parameters[:2], parameters[2:]):
        first, second = evaluate_each(world.database, own, pair, model="test/model")
        assert first.parameters["verify"] == COUNT
        assert second.parameters["verify"] == COUNT
    with pytest.raises(InputError, match="all verify as many"):
        evaluate_each(
            world.database,
            own,
            [parameters[0], replace(parameters[1], verify=2)],
            model="test/model",
        )


def test_a_calibration_is_for_answers_that_verify_as_many(database: Database) -> None:
    rng = np.random.default_rng(1)
    with database.connection() as connection:
        lat, lon = rng.uniform(-60, 60, 60), rng.uniform(-170, 170, 60)
        photos = add_photos(connection, lat, lon)
        vectors = np.column_stack([lat, lon, rng.normal(size=(60, 2))]).astype(np.float32)
        add_embeddings(connection, add_model(connection, 4), photos, vectors)
    made = calibrate(database, None, model="test/model", k=10, verify=2, force=True)
    domain = made.fitted.domain
    assert domain is not None
    assert domain.verify == 2
    assert "2 neighbours verified" in str(domain)
    with database.connection() as connection:
        model = find_model(connection, "test/model")
        assert latest_calibration(connection, model.id) is None
        assert Request().parameters(connection, model, EVERYTHING).fitted is None
        assert Request(verify=2).parameters(connection, model, EVERYTHING).outside == ()
        forced = Request(calibration=made.id).parameters(connection, model, EVERYTHING)
    difference = "it was fitted with 2 neighbours verified, not 0"
    assert forced.outside == (difference,)
    (in_sql,) = fetch(
        database,
        "SELECT geosearch.calibration_for(model_id, filter), geosearch.domain_words(d), "
        "geosearch.calibration_differs(d, filter, 60) "
        "FROM geosearch.calibrations, LATERAL (SELECT parameters -> 'domain' AS d) AS one",
    )
    assert in_sql == (None, str(domain), difference)


def test_without_opencv_the_extra_is_named_before_any_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    gs = Geosearch(world.database)
    with pytest.raises(MissingExtraError, match="needs cv2") as raised:
        gs.evaluate(None, model="test/model", parameters=Request(verify=5))
    assert raised.value.remedy == f"Run: {remedy('verify')}"
    with pytest.raises(MissingExtraError, match="needs cv2"):
        gs.calibrate(None, model="test/model", verify=5)


def test_the_request_refuses_what_cannot_be_verified() -> None:
    with pytest.raises(InputError, match="verify: -1 is out of range"):
        Parameters(verify=-1)
    with pytest.raises(InputError, match="geocell does without"):
        Parameters("geocell", verify=3)
    assert "verify" not in Parameters().to_json()
    assert Parameters.from_json(Parameters(verify=4).to_json(), None).verify == 4


def test_pictures_without_any_feature_have_no_inliers() -> None:
    some = local_features(png(scene(1)))
    for picture in (Image.new("RGB", (1, 1)), Image.new("L", (90, 90), 128), scene(2, (2000, 6))):
        none = local_features(png(picture))
        assert inliers(none, some) == inliers(some, none) == inliers(none, none) == 0
    twice = np.repeat(some.at[:1], 40, axis=0)
    alone = replace(some, at=twice, descriptors=some.descriptors[:40])
    assert inliers(alone, alone) == 0


def test_a_picture_matches_itself_at_another_size_and_no_other() -> None:
    large = local_features(png(scene(1, (1500, 1100))))
    small = local_features(png(scene(1, (1500, 1100)).resize((500, 366))))
    assert inliers(large, small) > 100
    assert inliers(large, local_features(png(scene(2)))) == 0
    assert large.at.max() <= 640


@settings(max_examples=50)
@drawn(
    st.lists(st.integers(NOT_COMPARED, 500), min_size=5, max_size=5),
    st.integers(0, 4),
    st.integers(1, 400),
)
def test_more_inliers_never_rank_a_neighbour_lower(
    counts: list[int], which: int, more: int
) -> None:
    found = make_answer(np.arange(5.0), np.arange(5.0)).neighbours
    made = Verification(0, 5, 0, 0.1, True)
    more_of = np.array(counts)
    more_of[which] += more
    before = found.verified(np.array(counts), made).photo_id.tolist()
    after = found.verified(more_of, made).photo_id.tolist()
    key = int(found.photo_id[which])
    assert after.index(key) <= before.index(key)


def test_the_command_asks_for_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    command = CommandLine(world.database.url, capsys)
    options = ("--leave-one-out", "--model", "test/model", "--verify", 2, "--json")
    found = command("evaluate", *options, "--sample", 2)
    assert found.code == 0, found.err
    assert json.loads(found.out)["parameters"]["verify"] == 2
    swept = command("sweep", *options, "--sample", 2, "--k", "1,3")
    assert {item["parameters"]["verify"] for item in swept.json()["evaluations"]} == {2}
