"""What may be asked about: every kind of query, what its answer says of it, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import GeosearchError, InputError, ModelError, NotFoundError, PhotoRejected
from geosearch.features.given_queries import Given, given_queries
from geosearch.features.unit_vectors import unit_vectors
from geosearch.localization import Failure, Localization
from geosearch.settings import image_settings
from tests.command_line import CommandLine
from tests.photo_files import photo, photos_at
from tests.rows import fetch

COUNT = 6
EXTERNAL = "external:elsewhere"
Vectors = NDArray[np.float32]


@dataclass
class World:
    """Photos 1 to 6, 60 degrees apart, with embeddings of the default model and from elsewhere."""

    gs: Geosearch
    folder: Path
    vectors: Vectors

    def photo(self, number: int) -> Path:
        return self.folder / "photos" / f"{number}.jpg"

    def stored(self, number: int) -> Vectors:
        """Its embedding by the default model."""
        ((vector,),) = fetch(
            self.gs.database,
            "SELECT embedding FROM geosearch.embeddings WHERE photo_id = %s AND model_id = 1",
            number,
        )
        return np.asarray(vector.to_numpy(), np.float32)


@pytest.fixture(scope="module")
def world(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("given")
    made = World(
        Geosearch(module_database),
        folder,
        np.random.default_rng(7).normal(size=(COUNT, 8)).astype(np.float32),
    )
    places = [(10, 60 * number - 180) for number in range(1, COUNT + 1)]
    photos_at(folder / "photos", places, first=1, size=(64, 48))
    made.gs.ingest(folder / "photos", collection="mine", workers=1)
    made.gs.embed()
    np.save(folder / "vectors.npy", made.vectors)
    made.gs.import_embeddings(
        folder / "vectors.npy", model="elsewhere", collection="mine", match="row"
    )
    return made


@pytest.fixture
def command(world: World, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(world.gs.database.url, capsys)


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


Make = Callable[[World], Any]
ppm = b"P6 64 48 255\n"
KINDS: dict[str, tuple[Make, Callable[[World], tuple[str, bytes]]]] = {
    "path": (lambda w: w.photo(3), lambda w: (str(w.photo(3)), w.photo(3).read_bytes())),
    "bytes": (lambda w: w.photo(3).read_bytes(), lambda w: ("bytes:", w.photo(3).read_bytes())),
    "memoryview": (
        lambda w: memoryview(w.photo(3).read_bytes()),
        lambda w: ("bytes:", w.photo(3).read_bytes()),
    ),
    "file": (lambda w: w.photo(3).open("rb"), lambda w: (str(w.photo(3)), w.photo(3).read_bytes())),
    "stream": (
        lambda w: io.BytesIO(w.photo(3).read_bytes()),
        lambda w: ("bytes:", w.photo(3).read_bytes()),
    ),
    "image": (
        lambda w: Image.open(w.photo(3)),
        lambda w: ("image:", ppm + pixels(w.photo(3)).tobytes()),
    ),
    "pixels": (
        lambda w: pixels(w.photo(3)),
        lambda w: ("image:", ppm + pixels(w.photo(3)).tobytes()),
    ),
    "vector": (
        lambda w: 5 * w.stored(3).astype(np.float64),
        lambda w: ("vector:", unit(w.stored(3)).tobytes()),
    ),
    "numbers": (
        lambda w: w.stored(3).tolist(),
        lambda w: ("vector:", unit(w.stored(3)).tobytes()),
    ),
}


def unit(vector: Vectors) -> Vectors:
    ((only,), _) = unit_vectors(vector[None])
    return np.asarray(only)


@given(st.integers(-37, 37))
def test_a_vector_of_any_scale_comes_to_length_1(power: int) -> None:
    vectors = np.array([[3, -4], [0.5, 0.5]]) * [[10.0**power], [1]]
    units, unusable = unit_vectors(vectors.astype(np.float32))
    assert unusable == {}
    np.testing.assert_allclose(units, [[0.6, -0.8], [0.5**0.5] * 2], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_answered_says_what_it_was_and_is_reproduced(world: World, kind: str) -> None:
    make, said = KINDS[kind]
    answer = world.gs.localize(make(world), method="nearest", k=2)
    assert (answer.neighbours.photo_id[0], answer.lon) == (3, 0)
    assert answer.neighbours.distance[0] < 2e-3
    name, data = said(world)
    if name.endswith(":"):
        name += answer.query.sha256.hex()[:16]
    assert answer.photo == name
    if kind not in ("vector", "numbers"):  # of these the scale is lost within float32
        assert answer.query.sha256 == sha256(data).digest()
    assert answer.id is not None
    read = world.gs.load(answer.id)
    assert (read.photo, read.query.sha256) == (answer.photo, answer.query.sha256)
    if name.startswith("vector:"):
        assert sha256(read.query.embedding.astype("<f4").tobytes()).digest() == read.query.sha256
    assert world.gs.reproduce(answer.id).same
    assert world.gs.nearest(make(world), 1).photo_id.tolist() == [3]


def test_many_are_given_as_a_folder_a_manifest_an_array_or_a_list_of_any(
    world: World, tmp_path: Path, command: CommandLine
) -> None:
    def found(asked: Any, **options: Any) -> list[float | str | None]:
        answers = world.gs.localize_many(asked, method="nearest", k=1, record=False, **options)
        return [a.lon if isinstance(a, Localization) else str(a.reason) for a in answers]

    everywhere = [60.0 * number - 180 for number in range(1, COUNT + 1)]
    rows = [*map(str, (world.photo(2), tmp_path / "gone.jpg", world.photo(4)))]
    (tmp_path / "asked.csv").write_text("\n".join(["uri", *rows]) + "\n")
    assert found(world.folder / "photos") == everywhere
    assert found(tmp_path / "asked.csv") == [-60, "unreadable", 60]
    (tmp_path / "wrong.csv").write_text(f"uri,lat,lon\n{rows[0]},0,0\n{rows[2]},999,\n")
    assert found([tmp_path / "wrong.csv"]) == [-60, 60]  # of a place it is not asked
    assert found(world.vectors, model=EXTERNAL) == everywhere
    assert found(np.stack([pixels(world.photo(n)) for n in (1, 5)])) == [-120, 120]
    mixed = [world.photo(1), world.photo(2).read_bytes(), world.stored(3), pixels(world.photo(4))]
    assert found(mixed) == everywhere[:4]
    assert found(open_file for open_file in [world.photo(6).open("rb")]) == [180]
    ran = command("localize", tmp_path / "asked.csv", "--method", "nearest", "--json")
    assert ran.code == 3
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line.get("estimate", {}).get("lon") for line in lines] == [-60, None, 60]
    told = command("localize", tmp_path / "asked.csv")
    assert "unreadable: No such file" in told.err
    assert "Give a file or an address" in told.err
    refused = command("localize", world.folder / "photos", "--map", tmp_path / "x.png")
    assert (refused.code, "--map draws one answer" in refused.err) == (2, True)


def test_vectors_of_a_file_and_photos_of_the_database_ask_models_without_a_network(
    world: World, command: CommandLine
) -> None:
    file, model = world.folder / "vectors.npy", ("--model", EXTERNAL)
    ran = command("localize", "--vectors", file, *model, "--method", "nearest", "--json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["estimate"]["lon"] for line in lines] == [60 * n - 180 for n in range(1, 7)]
    assert [line["photo"] for line in lines] == [f"{file}#{n}" for n in range(1, 7)]
    np.save(world.folder / "one.npy", world.vectors[4:5])
    one = ("--vectors", world.folder / "one.npy", *model)
    near = command("nearest", *one, "--k", 2, "--json").json()
    assert (near["neighbours"][0]["photo_id"], near["photo"]) == (5, f"{world.folder}/one.npy#1")
    stored = command("nearest", "--photo-id", 5, *model, "--k", 1, "--json").json()
    assert stored["neighbours"][0]["photo_id"] == near["neighbours"][1]["photo_id"]  # not itself
    assert command("explain", *one, "--json").json()["rows"] == COUNT
    # A file whose bytes are in the database has the embedding that is stored there.
    assert world.gs.localize(world.photo(2), model=EXTERNAL, method="nearest").lon == -60
    assert world.gs.nearest(world.photo(2).read_bytes(), 1, model=EXTERNAL).photo_id == [2]
    assert world.gs.nearest(photo_id=2, k=9).photo_id.tolist().count(2) == 0


def closed(world: World) -> Any:
    file = world.photo(1).open("rb")
    file.close()
    return file


def at_its_end(world: World) -> Any:
    file = io.BytesIO(world.photo(1).read_bytes())
    file.read()
    return file


NAN = np.full(1280, np.nan, np.float32)
WRONG: list[tuple[Make, type[GeosearchError], str, str]] = [
    (lambda w: w.vectors[0], InputError, "^the query: a vector of 8 .* have 1,280", "models list"),
    (lambda w: w.vectors, InputError, "6 queries in this", "localize_many"),
    (lambda w: w.folder / "photos", InputError, "6 queries in this", "localize_many"),
    (lambda _: NAN, PhotoRejected, "^the query: .*NaN", "finite"),
    (lambda _: np.zeros(1280), PhotoRejected, "it is zero", "not zero"),
    (lambda _: [True, "x"], InputError, "array", "uint8"),
    (lambda _: np.zeros((4, 4), np.uint8), InputError, "uint8 of shape", "height, width, 3"),
    (lambda _: np.zeros((4, 4, 3)), InputError, "float64 of shape", "height, width, 3"),
    (lambda _: np.array(["a"]), InputError, "no picture and no vector", "floats"),
    (lambda _: np.zeros((0, 1280)), InputError, "no picture and no vector", "floats"),
    (lambda _: b"", PhotoRejected, "the file is empty", "whole file"),
    (lambda _: b"no picture", PhotoRejected, "no decoder", "whole file"),
    (closed, PhotoRejected, "1.jpg: it is closed", "may be read"),
    (at_its_end, PhotoRejected, r"read to its end already: seek\(0\)", "may be read"),
    (lambda w: w.photo(1).open(encoding="latin-1"), PhotoRejected, "'rb'", "may be read"),
    (lambda w: w.folder / "gone.jpg", PhotoRejected, "No such file", "may be read"),
    (lambda w: f"file://{w.folder}/gone.jpg", PhotoRejected, "No such file", "may be read"),
    (lambda w: w.folder / "gone.csv", InputError, "there is no", "that exists"),
    (lambda _: "https://photos.invalid/a.jpg", PhotoRejected, "photos.invalid", "may be read"),
    (lambda _: "", InputError, "a path is empty", "this one"),
    (lambda _: 5, InputError, "found int", ""),
    (lambda w: [w.photo(1)], InputError, "found list", ""),
]


@pytest.mark.parametrize(("make", "kind", "says", "remedy"), WRONG)
def test_what_cannot_be_asked_about_is_refused_with_what_to_do(
    world: World, make: Make, kind: type[GeosearchError], says: str, remedy: str
) -> None:
    for ask in (world.gs.localize, world.gs.nearest):
        with pytest.raises(kind, match=says) as refused:
            ask(make(world))
        assert remedy in (refused.value.remedy or "")


def test_models_without_a_network_and_unknown_photos_say_what_to_ask_by(
    world: World, command: CommandLine
) -> None:
    for ask in (world.gs.localize, world.gs.nearest):
        with pytest.raises(ModelError, match="made elsewhere") as refused:
            ask(photo(shade=99), model=EXTERNAL)
        assert "a vector of 8 numbers" in (refused.value.remedy or "")
        with pytest.raises(NotFoundError, match="no photo 99"):
            ask(photo_id=99)
        with pytest.raises(InputError, match="not both"):
            ask(world.photo(1), photo_id=1)
        with pytest.raises(InputError, match="not both"):
            ask()
    for name in ("localize", "nearest", "explain"):
        ran = command(name)
        assert (ran.code, "--vectors FILE" in ran.err) == (2, True)
    assert "6 queries" in command("nearest", "--vectors", world.folder / "vectors.npy").err


def test_a_bad_query_stops_no_other(world: World) -> None:
    vectors = np.stack([world.stored(1), np.zeros(1280), NAN, world.stored(4)])
    asked = [*vectors, b"", world.photo(5)]
    answers = [*world.gs.localize_many(asked, method="nearest", record=False)]
    assert [a.reason if isinstance(a, Failure) else a.lon for a in answers] == [
        *(-120, "extraction_failed", "not_a_number", 60, "undecodable", 120)
    ]


def test_a_picture_in_memory_is_verified_as_a_file_is(world: World) -> None:
    pytest.importorskip("cv2")
    for asked in (world.photo(3), world.photo(3).read_bytes(), Image.open(world.photo(3))):
        answer = world.gs.localize(asked, k=3, verify=3, record=False)
        assert answer.neighbours.verification is not None
        assert answer.neighbours.verification.query_read


def test_an_open_file_over_the_limit_is_not_read_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEARCH_MAX_BYTES", "1000")
    image_settings.cache_clear()
    try:
        file = io.BytesIO(bytes(10**6))
        with pytest.raises(PhotoRejected, match="over GEOSEARCH_MAX_BYTES=1000"):
            world.gs.localize(file)
        assert file.tell() == 1001
    finally:
        image_settings.cache_clear()


def test_an_image_of_any_mode_is_asked_about_upright(world: World) -> None:
    turned = Image.open(world.photo(3)).convert("RGB").rotate(90, expand=True)
    turned.getexif()[0x0112] = 6  # to be turned back by 90 degrees
    turned.info["exif"] = turned.getexif().tobytes()
    (upright,) = given_queries(Image.open(world.photo(3)))
    (same,) = given_queries(turned)
    assert isinstance(upright, Given)
    assert isinstance(same, Given)
    assert same.name == upright.name
    for mode in ("L", "RGBA", "P", "CMYK", "1", "I;16"):
        made = Image.new(mode, (40, 30))
        assert world.gs.localize(made, record=False).query.low_information is not None
