"""A gallery of places: found as photos are, and nowhere taken for one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.database.coverage import refresh_coverage
from geosearch.errors import (
    DatabaseError,
    GeosearchError,
    InputError,
    MissingExtraError,
    ModelError,
    NotFoundError,
)
from geosearch.export.projections import AzimuthalEquidistant
from geosearch.export.surroundings import read_surroundings
from geosearch.features import backbones, geoclip_location, place_gallery
from geosearch.features.backbones import Backbone
from geosearch.features.description import Description
from geosearch.features.geoclip_location import encode_places, places_file
from geosearch.geocells.geocell_rows import photo_positions
from geosearch.localization import Localization
from geosearch.sphere import great_circle_km
from geosearch.training.photos import read_photos
from tests.command_line import CommandLine
from tests.photo_files import photo, photos_at
from tests.rows import fetch

pytest.importorskip("torch")
try:
    places_file()
except MissingExtraError:
    pytest.skip("geoclip is not installed", allow_module_level=True)

COUNT, MODEL = 150, "places:geoclip"
#: Between the places of the gallery, none of which it is.
ASKED = np.array([[48.2082, 16.3738], [-33.8688, 151.2093], [64.1466, -21.9426]])


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 places of the package's, the last twice, and two rows that are none."""
    lines = [*dict.fromkeys(places_file().read_text().splitlines())][: COUNT + 1]
    file = tmp_path_factory.mktemp("points") / "points.csv"
    file.write_text("\n".join([*lines, lines[-1], "91,0", "north,west"]) + "\n")
    return file


@pytest.fixture(scope="module")
def places(points: Path) -> NDArray[np.float64]:
    return np.loadtxt(points, delimiter=",", skiprows=1, max_rows=COUNT)


@pytest.fixture(scope="module")
def gs(
    module_database: Database, points: Path, tmp_path_factory: pytest.TempPathFactory
) -> Geosearch:
    """The places, and two photos in a collection of their own."""
    made = Geosearch(module_database)
    folder = tmp_path_factory.mktemp("photos")
    photos_at(folder, [(46, 7), (46, 8)])
    made.ingest(folder, collection="mine", workers=1)
    done = made.gallery(points=points)
    assert (done.points, done.added, done.there, done.rejected) == (COUNT + 3, COUNT, 1, 2)
    return made


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_the_encoder_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    root = places_file().parents[2]
    for name, folder in (("geoclip", root), ("geoclip.model", root / "model")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, name, package)  # without its `__init__`, which loads CLIP
    import torch

    theirs = importlib.import_module("geoclip.model.location_encoder").LocationEncoder().eval()
    with torch.inference_mode():
        made = theirs(torch.from_numpy(ASKED.astype(np.float32))).numpy()
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    monkeypatch.undo()
    assert encode_places(ASKED) == pytest.approx(made, abs=1e-5)


def test_a_places_own_vector_finds_it_and_the_answer_says_what_it_is(
    gs: Geosearch, places: NDArray[np.float64]
) -> None:
    vectors = encode_places(places)
    found = [gs.nearest(vector, 1, model=MODEL) for vector in vectors]
    lat, lon = (np.array([getattr(each, axis)[0] for each in found]) for axis in ("lat", "lon"))
    away = great_circle_km(lat, lon, *places.T)
    assert np.median(away) < 1e-3
    assert (away < 1).mean() > 0.99
    (answer,) = gs.localize_many(vectors[:1], model=MODEL, method="nearest", k=3)
    assert isinstance(answer, Localization)
    lat, lon = places[0]
    assert answer.neighbours.uri[0] == f"place:{lat:.6f},{lon:.6f}"
    assert answer.to_json()["neighbours"][0]["uri"].startswith("place:")
    assert answer.id is not None
    assert gs.reproduce(answer.id).same


def test_every_listing_and_layer_says_that_it_is_no_photo(
    gs: Geosearch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(gs.database.url, capsys)
    listed = gs.photos(collection="places")
    assert len(listed) == COUNT
    assert {(each.position_source, each.width, each.height) for each in listed} == {
        ("place", None, None)
    }
    assert all(each.uri.startswith("place:") for each in listed)
    assert "place\n" in command("photos", "list", "--collection", "places").out
    (about,) = {
        each["description"]
        for each in command("collections", "list", "--json").json()
        if each["name"] == "places"
    }
    assert about == "Places, and no photos: vectors of the location encoder of geoclip."
    assert "Places, and no" in command("collections", "list").out
    kinds = "SELECT DISTINCT position_source FROM geosearch.gis_photos WHERE uri LIKE 'place:%%'"
    assert fetch(gs.database, kinds) == [("place",)]


def test_nothing_takes_a_place_for_a_photo(
    gs: Geosearch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gs.embed().pending == 2
    with gs.database.connection() as connection:
        refresh_coverage(connection)
        counted = "SELECT sum(photos) FROM geosearch.gis_coverage WHERE cell_km > 100"
        assert connection.execute(counted).fetchone() == (2,)
        assert len(photo_positions(connection)[0]) == 2
        assert len(read_photos(connection, None)) == 2
    for refused in (
        lambda: gs.embed(MODEL),
        lambda: gs.ingest(tmp_path, collection="never", embed=MODEL),
        lambda: gs.duplicates(model=MODEL),
        lambda: gs.audit(model=MODEL),
        lambda: gs.evaluate(None, model=MODEL),
        lambda: gs.calibrate(None, model=MODEL),
        lambda: gs.correct_positions(1, 2, collection="places"),
    ):
        with pytest.raises(InputError, match="no photos") as said:
            refused()
        assert said.value.remedy
    with pytest.raises(NotFoundError, match="never"):  # said before anything was stored
        gs.photos(collection="never")
    assert gs.audit(collection="places") == []
    assert gs.duplicates(collection="places") == []
    gs.write_back(collection="places", csv=tmp_path / "x.csv")
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 1  # its header
    with pytest.raises(NotFoundError, match="no thumbnail"):
        gs.thumbnail(gs.photos(collection="places", limit=1)[0].id)
    with pytest.raises(GeosearchError):  # the database itself keeps a place a place
        fetch(
            gs.database,
            "UPDATE geosearch.all_photos SET position_source = 'exif'"
            " WHERE position_source = 'place' RETURNING id",
        )


def test_a_place_is_no_other_photo_of_a_map_and_no_review_moves_it(gs: Geosearch) -> None:
    before = gs.photos(collection="places", limit=1)
    (place,) = before
    assert place.lat is not None
    assert place.lon is not None
    with gs.database.connection() as connection:
        for lat, lon, count in ((place.lat, place.lon, 0), (46, 7, 1)):
            map_of = AzimuthalEquidistant(lat, lon, 10.0, 10.0)
            assert len(read_surroundings(connection, map_of).photos) == count
    answer = gs.localize(photo_id=place.id, model=MODEL)
    assert answer.id is not None
    gs.review(answer.id, "move", (1, 2), overwrite=True)
    assert gs.photos(collection="places", limit=1) == before


def test_run_again_it_goes_on_and_undone_it_is_gone(
    gs: Geosearch, points: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoded: list[int] = []

    def counting(part: Any) -> Any:
        encoded.append(len(part))
        if len(encoded) == 3:
            raise KeyboardInterrupt
        return encode_places(part)

    monkeypatch.setattr(place_gallery, "BLOCK", 40)
    monkeypatch.setattr(geoclip_location, "encode_places", counting)
    with pytest.raises(KeyboardInterrupt):
        gs.gallery(points=points, collection="again")
    command = CommandLine(gs.database.url, capsys)
    ran = command("gallery", "geoclip", "--points", points, "--collection", "again", "--json")
    assert ran.code == 3  # two points are no places
    assert (ran.json()["added"], ran.json()["there"]) == (COUNT - 80, 81)
    assert sum(encoded) == 40 * 3 + COUNT + 1 - 80
    done = gs.gallery(points=points, collection="again")
    assert (done.added, done.there) == (0, COUNT + 1)
    gs.undo_run(ran.json()["run_id"])
    assert len(gs.photos(collection="again")) == 120  # of the one that was killed


def test_an_ingester_makes_one_and_a_reader_finds_its_places(gs: Geosearch, points: Path) -> None:
    url = make_conninfo(gs.database.url, options="-c role=geosearch_ingester")
    with Database(url) as database:
        made = Geosearch(database).gallery(points=points, collection="theirs")
        assert (made.added, made.there) == (COUNT, 1)
    url = make_conninfo(gs.database.url, options="-c role=geosearch_reader")
    with Database(url) as database:
        reader = Geosearch(database)
        vector = encode_places(ASKED)[0]
        assert len(reader.nearest(vector, 3, model=MODEL, collection="theirs")) == 3
        with pytest.raises(DatabaseError):
            reader.gallery(points=points, collection="theirs")
    gs.delete_collection("theirs")


class Encoder(Backbone):
    """Stands for the image encoder: it takes every picture to the first of `ASKED`."""

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.repeat(encode_places(ASKED[:1]), len(pixels), axis=0)


def test_a_picture_asks_by_the_image_encoder(
    gs: Geosearch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packaged = backbones.load_backbone()
    told = vars(packaged.description) | {"name": "geoclip", "dimension": 512}
    loaded: list[str] = []

    def load(spec: str, **_: Any) -> Backbone:
        loaded.append(spec)
        return Encoder(Description(**told), packaged.network)

    monkeypatch.setattr("geosearch.client.load_backbone", load)
    fresh = Geosearch(gs.database)
    answer = fresh.localize(photo(shade=3), model=MODEL, k=5, method="nearest")
    assert set(loaded) == {"geoclip"}
    assert answer.model["name"] == MODEL
    with pytest.raises(InputError, match="begin with places:"):
        gs.rename_model(MODEL, "world")
    gs.rename_model(MODEL, "places:world")
    assert Geosearch(gs.database).localize(photo(shade=3), model="places:world").lat
    gs.rename_model("places:world", MODEL)
    same = gs.nearest(encode_places(ASKED[:1])[0], 5, model=MODEL)
    assert answer.neighbours.photo_id.tolist() == same.photo_id.tolist()


def test_what_cannot_be_made_is_refused(
    gs: Geosearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none.csv").write_text("lat,lon\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for file, says in (("none.csv", "no place"), ("other.csv", "column lat"), ("gone.csv", "read")):
        with pytest.raises(InputError, match=says):
            gs.gallery(points=tmp_path / file)
    with pytest.raises(InputError, match="kind"):
        gs.gallery("plonk")
    with pytest.raises(NotFoundError, match="no places:plonk") as refused:
        gs.localize(np.ones(512), model="places:plonk")
    assert "geosearch gallery" in (refused.value.remedy or "")
    monkeypatch.setattr(geoclip_location, "WEIGHTS_SHA256", "00")
    geoclip_location._weights.cache_clear()
    with pytest.raises(ModelError, match="its sha256 is 94b80ae3"):
        encode_places(ASKED)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="not installed"):
        places_file()
