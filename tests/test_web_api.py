"""The REST API, against the real application and a real PostgreSQL."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from PIL import Image
from starlette.testclient import TestClient

from geosearch import storage
from geosearch.database.connection import Database
from geosearch.deletion.photo_deletion import delete_collection
from geosearch.errors import InputError, UnreachableError
from geosearch.features import embed, load_backbone
from geosearch.ingest import ingest
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sphere import EARTH_RADIUS_KM, unit_vectors
from geosearch.web import warming
from geosearch.web.access import Caller, Gate, LoginGate
from geosearch.web.application import make_application
from geosearch.web.engine import Engine
from tests import photo_files
from tests.code_blocks import blocks_of
from tests.command_line import CommandLine
from tests.json_schemas import check_documents
from tests.vector_tiles import read_tile

MODEL = "packaged/efficientnet-lite0"


@pytest.fixture(scope="module")
def folder(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos in the database, and two to ask about."""
    folder = tmp_path_factory.mktemp("sample")
    write_space_sample(SpaceSample(references=12, queries=2), folder)
    ingest(module_database, [folder / "references"], collection="sample")
    embed(module_database, load_backbone(device="cpu"))
    return folder


@pytest.fixture(scope="module")
def client(module_database: Database, folder: Path) -> Iterator[TestClient]:
    """The API, as this machine asks it."""
    app = make_application(Engine([MODEL], "cpu"), Gate(module_database), {"localhost"})
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        client.base_url = client.base_url.join("/api/v1/")
        while client.get("status").json()["state"] == "warming":
            time.sleep(0.05)
        yield client


@pytest.fixture(scope="module")
def photo(folder: Path) -> bytes:
    return (folder / "queries" / "000001.jpg").read_bytes()


def localize(client: TestClient, photo: bytes, name: str = "query.jpg", **asked: Any) -> Any:
    answered = client.post(
        "localize", files={"photo": (name, photo)}, data={"request": json.dumps(asked)}
    )
    assert answered.status_code == 200, answered.text
    return answered.json()


def problem(answered: Any, status: int) -> Any:
    """The problem that an answer says."""
    assert (answered.status_code, answered.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answered.text
    value = answered.json()
    assert value["status"] == status
    return value


# ---- localize -----------------------------------------------------------------------------------


def test_an_upload_is_answered_as_the_command_answers_it(
    client: TestClient, photo: bytes, folder: Path, module_database: Database, capsys: Any
) -> None:
    found = localize(client, photo)
    path = folder / "queries" / "000001.jpg"
    command = CommandLine(module_database.url, capsys)
    said = command("localize", path, "--no-record", "--json").json()
    own = {"localization_id", "photo", "elapsed_ms", "created_at"}
    assert {name: found[name] for name in found.keys() - own} == {
        name: said[name] for name in said.keys() - own
    }
    assert found["photo"] == "query.jpg"
    shown = command("show", found["localization_id"], "--json").json()
    assert shown["estimate"] == found["estimate"]


def test_regions_density_and_photos_are_shown_where_asked_for(
    client: TestClient, photo: bytes
) -> None:
    found = localize(client, photo, include=["regions", "density", "photos"], record=False)
    assert found["localization_id"] is None
    levels = [feature["properties"]["level"] for feature in found["regions"]["features"]]
    assert levels == [0.9, 0.5]
    cells = [
        dict(zip(found["density"]["columns"], cell, strict=True))
        for cell in found["density"]["cells"]
    ]
    assert cells[-1]["level"] == pytest.approx(0.99, abs=0.01)
    assert cells[0]["density_per_km2"] >= cells[-1]["density_per_km2"]
    ids = {neighbour["photo_id"] for neighbour in found["neighbours"]}
    assert {photo["id"] for photo in found["photos"]} == ids


def test_kernels_are_the_density_that_cells_and_regions_are_of(
    client: TestClient, photo: bytes
) -> None:
    found = localize(client, photo, include=["density", "kernels", "regions"], record=False)
    cells, shown = np.array(found["density"]["cells"]), found["kernels"]
    lat, lon, log_peak, kappa = np.array(shown["kernels"]).T

    def log_density(points: Any) -> Any:
        cosine = np.clip(unit_vectors(*points) @ unit_vectors(lat, lon).T, -1, 1)
        return np.log(np.exp(log_peak - kappa * (1 - cosine)).sum(axis=1))

    west, south, east, north, per_km2, level = cells[:: len(cells) // 50].T
    middles = (south + north) / 2, (west + east) / 2
    logs = log_density(middles)
    assert np.exp(logs) / EARTH_RADIUS_KM**2 == pytest.approx(per_km2, rel=0.25)
    shares, thresholds = np.array(shown["levels"]).T
    assert (np.diff(shares) > 0).all()
    assert (np.diff(thresholds) < 0).all()
    assert np.interp(-logs, -thresholds, shares) == pytest.approx(level, abs=0.06)


def test_a_recorded_answer_is_asked_again_without_an_upload(
    client: TestClient, photo: bytes
) -> None:
    before = localize(client, photo)
    first = before["neighbours"][0]["photo_id"]
    asked = {"exclude_photos": [first], "filter": {"bbox": [-180, -90, 180, 90]}}
    again = client.post(f"answers/{before['localization_id']}/again", json=asked).json()
    ids = [neighbour["photo_id"] for neighbour in again["neighbours"]]
    assert ids == [one["photo_id"] for one in before["neighbours"]][1:]
    assert again["localization_id"] is None
    authors = {"exclude_authors": ["NASA Blue Marble"], "record": True}
    none = client.post(f"answers/{before['localization_id']}/again", json=authors).json()
    assert (none["neighbours"], none["estimate"]) == ([], None)


def test_a_small_picture_is_kept_with_an_answer_where_that_is_asked_for(
    client: TestClient, photo: bytes
) -> None:
    number = localize(client, photo)["localization_id"]
    problem(client.get(f"answers/{number}/picture"), 404)
    found = localize(client, photo, keep_picture=True, include=["picture"])
    kept = client.get(f"answers/{found['localization_id']}/picture")
    assert kept.headers["content-type"] == "image/webp"
    assert found["picture"] == f"data:image/webp;base64,{b64encode(kept.content).decode()}"
    with Image.open(io.BytesIO(kept.content)) as small:
        assert (max(small.size), dict(small.getexif())) == (256, {})
    copied = client.post(f"answers/{found['localization_id']}/again", json={"record": True}).json()
    again = client.get(f"answers/{copied['localization_id']}/picture")
    assert again.content == kept.content
    assert (
        client.get(again.url, headers={"If-None-Match": again.headers["etag"]}).status_code == 304
    )
    unrecorded = localize(client, photo, keep_picture=True, record=False, include=["picture"])
    assert unrecorded["picture"] == found["picture"]
    assert client.delete(f"answers/{found['localization_id']}").status_code == 200
    problem(client.get(f"answers/{found['localization_id']}/picture"), 404)


def test_the_picture_of_a_photo_of_the_collections_is_its_thumbnail(client: TestClient) -> None:
    asked = {"photo_id": 2, "record": True, "exclude_self": True}
    number = client.post("localize/stored", json=asked).json()["localization_id"]
    shown = client.get(f"answers/{number}/picture").content
    assert shown == client.get("photos/2/thumbnail").content


def test_a_photo_at_an_address_is_answered_as_if_it_were_uploaded(
    client: TestClient, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if "lake" in self.path else 404)
            self.end_headers()
            self.wfile.write(photo if self.path.endswith("jpg?size=9") else b"<html>")

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(storage, "is_public", lambda _: True)  # this machine stands for another
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_address[1]}"
        asked = {"url": f"{here}/a/the%20lake.jpg?size=9", "include": ["picture"]}
        found = client.post("localize/url", json=asked).json()
        none = problem(client.post("localize/url", json={"url": f"{here}/a.jpg"}), 422)
        page = problem(client.post("localize/url", json={"url": f"{here}/lake.html"}), 422)
        server.shutdown()
    assert (found["photo"], none["reason"], page["reason"]) == (
        *("the lake.jpg", "unreadable", "undecodable"),
    )
    assert none["detail"] == "the server answers 404 Not Found"
    assert found["estimate"] == localize(client, photo)["estimate"]
    assert found["picture"].startswith("data:image/webp;base64,")


def test_an_answer_that_was_not_recorded_is_asked_again_by_its_embedding(
    client: TestClient, photo: bytes
) -> None:
    found = localize(client, photo, record=False, include=["embedding"])
    asked = {"embedding": found["embedding"], "parameters": {"k": 5}}
    again = client.post("localize/embedding", json=asked).json()
    assert again["neighbours"][0]["photo_id"] == found["neighbours"][0]["photo_id"]
    assert (len(again["neighbours"]), again["localization_id"]) == (5, None)
    for embedding, status in (([1.0, 0.5], 400), ([0.0] * 1280, 400), ([1e300] * 1280, 422)):
        problem(client.post("localize/embedding", json={"embedding": embedding}), status)
    problem(client.post("localize/embedding", json=asked | {"record": True}), 422)


def test_a_model_without_words_is_the_wrong_one_to_ask_by_them(client: TestClient) -> None:
    told = problem(client.post("localize/text", json={"text": "a red barn"}), 400)
    assert "knows no words" in told["detail"]
    problem(client.post("localize/text", json={"text": "x" * 1001}), 422)


def test_neighbours_of_what_can_be_read_are_verified(
    client: TestClient, photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only a name is known, as of an upload of yesterday, no such file is looked for."""
    parameters: dict[str, Any] = {"parameters": {"verify": 3}}
    found = localize(client, photo, **parameters, include=["embedding"])
    assert found["verification"]["query_read"] is True
    stored = client.post("localize/stored", json={"photo_id": 1} | parameters).json()
    assert stored["verification"]["query_read"] is True
    monkeypatch.chdir(tmp_path)
    (tmp_path / "query.jpg").write_bytes(photo)
    again = client.post(f"answers/{found['localization_id']}/again", json=parameters)
    assert "not kept" in problem(again, 400)["detail"]
    by_embedding = {"embedding": found["embedding"], "photo": "/etc/passwd"} | parameters
    problem(client.post("localize/embedding", json=by_embedding), 400)


def test_a_stored_photo_is_placed_without_itself(client: TestClient) -> None:
    stored = client.get("photos/1").json()
    for which in ({"photo_id": 1}, {"uri": stored["uri"]}):
        found = client.post("localize/stored", json=which | {"exclude_self": True}).json()
        assert found["photo"] == stored["uri"]
        assert 1 not in [neighbour["photo_id"] for neighbour in found["neighbours"]]
        assert found["excluded"]["same_bytes"] == 1
    problem(client.post("localize/stored", json={}), 400)
    problem(client.post("localize/stored", json={"photo_id": 999}), 404)
    problem(client.post("localize/stored", json={"uri": "/no/such.jpg"}), 404)


def test_a_photos_own_position_is_told_when_asked_for_and_is_no_evidence(
    client: TestClient, photo: bytes
) -> None:
    told = photo_files.photo(photo_files.gps(47.5, 8.5), size=(64, 48))
    plain = photo_files.photo(size=(64, 48))
    assert client.post("position", files={"photo": told}).json()["position"] == {
        "lat": pytest.approx(47.5),
        "lon": pytest.approx(8.5),
        "source": "exif",
        "accuracy_m": None,
    }
    assert client.post("position", files={"photo": plain}).json() == {"position": None}
    first, second = (localize(client, each, record=False) for each in (told, plain))
    assert first["estimate"] == second["estimate"]
    assert (first["truth"], first["error_km"]) == (None, None)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"filter": {"nonsense": 1}}, 400),
        ({"filter": {"collection": "none"}}, 404),
        ({"parameters": {"k": 0}}, 400),
        ({"parameters": {"calibration": 99}}, 404),
        ({"parameters": {"nonsense": 1}}, 400),
        ({"model": "file:/etc/passwd"}, 400),
        ({"nonsense": 1}, 422),
        ({"include": ["nonsense"]}, 422),
    ],
)
def test_what_cannot_be_asked_is_a_problem(
    client: TestClient, photo: bytes, asked: dict[str, Any], status: int
) -> None:
    data = {"request": json.dumps(asked)}
    problem(client.post("localize", files={"photo": photo}, data=data), status)


def test_what_is_no_photo_is_a_problem_with_its_reason(client: TestClient) -> None:
    found = problem(client.post("localize", files={"photo": ("a.txt", b"no photo")}), 422)
    assert found["reason"] == "undecodable"
    assert "a.txt" in found["detail"]
    bomb = problem(client.post("localize", files={"photo": photo_files.bomb(100_000)}), 413)
    assert bomb["reason"] == "too_large"
    problem(client.post("localize"), 422)
    bare = client.post("localize", content=bytes(5 * 2**20), headers={"Content-Type": "image/jpeg"})
    assert "as a form" in problem(bare, 413)["remedy"]
    bare = client.post("localize", content=b"x", headers={"Content-Type": "image/jpeg"})
    assert "as a form: curl -F photo=@holiday.jpg … Here it is image/jpeg" in bare.json()["remedy"]
    named_otherwise = client.post("localize", files={"file": b"x"})
    assert "openapi.json" in problem(named_otherwise, 422)["remedy"]


# ---- answers ------------------------------------------------------------------------------------


def test_answers_are_listed_by_pages_and_found_by_name(client: TestClient, photo: bytes) -> None:
    ids = [localize(client, photo, name)["localization_id"] for name in ("Rome.jpg", "Oslo.jpg")]
    page = client.get("answers", params={"limit": 1}).json()
    assert [line["id"] for line in page["answers"]] == [ids[1]]
    page = client.get("answers", params={"limit": 1, "before": page["next"]}).json()
    assert [line["photo"] for line in page["answers"]] == ["Rome.jpg"]
    found = client.get("answers", params={"search": "rOmE"}).json()
    assert [line["id"] for line in found["answers"]] == [ids[0]]
    assert found["next"] is None


def test_an_answer_is_read_reproduced_and_deleted(client: TestClient, photo: bytes) -> None:
    found = localize(client, photo, include=["regions"])
    here = f"answers/{found['localization_id']}"
    assert client.get(here, params={"include": "regions"}).json() | {"created_at": None} == found
    assert client.get(f"{here}/neighbours").json() == found["neighbours"]
    assert client.get(f"{here}/regions").json() == found["regions"]
    assert client.get(f"{here}/density").json()["cells"]
    assert client.post(f"{here}/reproduce").json()["same"] is True
    assert client.delete(here).json()["goes"]["answers"] == 1
    for address in (here, f"{here}/neighbours", f"{here}/regions", f"{here}/density"):
        problem(client.get(address), 404)
    problem(client.delete(here), 404)


def test_an_answer_is_exported(client: TestClient, photo: bytes, module_database: Database) -> None:
    found = localize(client, photo, parameters={"k": 5})
    here = f"answers/{found['localization_id']}/export"
    layer = client.get(f"{here}/neighbours.geojson").json()
    assert len(layer["features"]) == 5
    kml = client.get(f"{here}/estimates.kml")
    assert "<kml" in kml.text
    assert kml.headers["content-type"] == "application/vnd.google-earth.kml+xml"
    problem(client.get(f"{here}/estimates.exe"), 422)
    assert client.get(f"{here}/project.qgz").content.startswith(b"PK")
    statement = client.get(f"{here}/neighbours.sql").text
    with module_database.connection() as connection:
        rows = connection.execute(statement.encode()).fetchall()
    assert [(row[0], row[1]) for row in rows] == [
        (neighbour["rank"], neighbour["photo_id"]) for neighbour in found["neighbours"]
    ]


# ---- photos -------------------------------------------------------------------------------------


def test_photos_are_listed_by_pages_under_a_filter(client: TestClient) -> None:
    page = client.get("photos", params={"limit": 10}).json()
    rest = client.get("photos", params={"limit": 10, "after": page["next"]}).json()
    assert [one["id"] for one in page["photos"] + rest["photos"]] == list(range(1, 13))
    assert rest["next"] is None
    some = client.get("photos", params={"filter": '{"photos": [3, 5]}'}).json()
    assert [one["id"] for one in some["photos"]] == [3, 5]
    problem(client.get("photos", params={"filter": "{"}), 400)
    assert client.get("photos/3").json() == some["photos"][0]
    problem(client.get("photos/99"), 404)


def test_photos_near_a_point_are_the_nearest_first(client: TestClient) -> None:
    third = client.get("photos/3").json()
    point = {"lat": third["lat"], "lon": third["lon"]}
    found = client.get("photos/near", params=point | {"km": 20016, "limit": 4}).json()["photos"]
    assert found[0] == third | {"distance_km": 0}
    assert [one["distance_km"] for one in found] == sorted(one["distance_km"] for one in found)
    assert len(found) == 4


def test_photos_like_one_are_its_neighbours(client: TestClient) -> None:
    found = client.get("photos/3/like", params={"k": 4}).json()
    ids = [neighbour["photo_id"] for neighbour in found["neighbours"]]
    assert len(ids) == 4
    assert 3 not in ids


def test_a_thumbnail_is_small_and_known_again(client: TestClient, folder: Path) -> None:
    from PIL import Image

    found = client.get("photos/3/thumbnail")
    assert found.headers["content-type"] == "image/webp"
    assert max(Image.open(io.BytesIO(found.content)).size) <= 256
    tag = {"If-None-Match": found.headers["etag"]}
    for known in (found.headers["etag"], f'"x", W/{found.headers["etag"]}', "*"):
        again = client.get("photos/3/thumbnail", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == found.headers["etag"]
    assert client.get("photos/3/thumbnail?size=1024", headers=tag).status_code == 200


def test_a_stored_thumbnail_is_not_read_for_who_has_it(
    client: TestClient, tmp_path: Path, module_database: Database, statements: list[str]
) -> None:
    path = tmp_path / "kept.jpg"
    path.write_bytes(photo_files.photo(photo_files.gps(1, 2), size=(300, 200)))
    ingest(module_database, [path], collection="kept", thumbnails=True)
    where = {"filter": '{"collection": "kept"}'}
    (photo,) = client.get("photos", params=where).json()["photos"]
    found = client.get(f"photos/{photo['id']}/thumbnail")
    assert "SELECT geosearch.thumbnail(%s)" in statements
    statements.clear()
    tag = {"If-None-Match": found.headers["etag"]}
    assert client.get(f"photos/{photo['id']}/thumbnail", headers=tag).status_code == 304
    assert [one for one in statements if "thumbnail(" in one] == []
    delete_collection(module_database, "kept")


def test_a_stored_thumbnail_is_shown_where_the_file_is_gone(
    client: TestClient, tmp_path: Path, module_database: Database
) -> None:
    from PIL import Image

    path = tmp_path / "large.jpg"
    path.write_bytes(photo_files.photo(photo_files.gps(1, 2), size=(1500, 900)))
    ingest(module_database, [path], collection="stored", thumbnails=True)
    where = '{"collection": "stored"}'
    (photo,) = client.get("photos", params={"filter": where}).json()["photos"]
    path.unlink()
    for size, side in (("256", 256), ("1024", 512)):
        found = client.get(f"photos/{photo['id']}/thumbnail", params={"size": size})
        assert Image.open(io.BytesIO(found.content)).width == side
    delete_collection(module_database, "stored")


# ---- what there is ------------------------------------------------------------------------------


def test_what_there_is_is_listed(client: TestClient) -> None:
    assert client.get("collections").json()[0]["photos"] == 12
    (model,) = client.get("models").json()
    assert (model["name"], model["photos"]) == (MODEL, 12)
    choices = client.get("choices").json()
    assert choices["authors"] == {"NASA Blue Marble": 12}
    assert (len(choices["taken_counts"]), sum(choices["taken_counts"])) in ((0, 0), (40, 12))
    west, south, east, north = choices["bbox"]
    assert west < east
    assert south < north
    assert client.get("session").json()["may_record"] is True


def test_countries_and_places_are_found_by_name(client: TestClient) -> None:
    (found,) = client.get("countries", params={"search": "switz"}).json()
    assert found["iso_a2"] == "CH"
    area = client.get("countries/CH").json()["geometry"]
    assert area["type"] == "MultiPolygon"
    problem(client.get("countries/Nowhereland"), 404)
    assert client.get("places", params={"search": "sfa"}).json()[0]["country"] == "Tunisia"
    name = client.get("places/name", params={"lat": 34.74, "lon": 10.76}).json()["name"]
    assert "Tunisia" in name


def test_a_filter_that_passes_nothing_names_the_condition_to_blame(client: TestClient) -> None:
    asked = {"bbox": [-180, -90, 180, 90], "licence": "none"}
    found = client.post("filters/check", json={"filter": asked}).json()
    assert (found["photos"], found["of"]) == (0, 12)
    assert [(one["alone"], one["without"]) for one in found["conditions"]] == [(12, 0), (0, 12)]


def test_tiles_show_the_photos_and_are_known_again(client: TestClient) -> None:
    found = client.get("tiles/photos/0/0/0.mvt")
    (layer,) = read_tile(found.content)
    assert sum(each.properties["count"] for each in layer.features) == 12
    tag = {"If-None-Match": found.headers["etag"]}
    assert client.get("tiles/photos/0/0/0.mvt", headers=tag).status_code == 304
    problem(client.get("tiles/nonsense/0/0/0.mvt"), 404)
    problem(client.get("tiles/photos/1/5/0.mvt"), 400)


def test_coverage_is_cells_of_a_size(client: TestClient) -> None:
    cells = client.get("coverage").json()["features"]
    assert sum(cell["properties"]["photos"] for cell in cells) == 12
    problem(client.get("coverage", params={"cell_km": 5}), 404)


# ---- the server itself --------------------------------------------------------------------------


def test_unknown_addresses_and_methods_are_problems(client: TestClient) -> None:
    assert "openapi.json" in problem(client.get("nonsense"), 404)["remedy"]
    refused = client.put("answers/1")
    problem(refused, 405)
    assert refused.headers["allow"] == "HEAD, GET, DELETE"


@pytest.mark.parametrize("address", ["status", "photos/3", "photos/3/thumbnail", "nonsense"])
def test_the_head_of_an_answer_is_that_of_the_answer(client: TestClient, address: str) -> None:
    whole, head = client.get(address), client.head(address)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert dict(head.headers) == dict(whole.headers)
    assert int(head.headers["content-length"]) > 0


def test_nobody_between_keeps_what_depends_on_who_asks(client: TestClient) -> None:
    for address in ("photos/3", "photos/3/thumbnail", "tiles/photos/0/0/0.mvt", "photos/99"):
        headers = client.get(address).headers
        assert headers["cache-control"] == "private, no-cache"
        assert "Cookie, Authorization" in headers["vary"]
    assert client.get("session").headers["cache-control"] == "no-store"


def test_large_answers_are_compressed(client: TestClient) -> None:
    assert client.get("countries").headers["content-encoding"] == "gzip"


def test_without_a_built_page_there_is_a_word_on_how_to_build_it(
    client: TestClient, tmp_path: Path
) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from geosearch.web.page_files import Page

    with TestClient(Starlette(routes=[Mount("/", Page(tmp_path))])) as page:
        missing = page.get("/")
        assert (missing.status_code, "make setup" in missing.text) == (503, True)
        (tmp_path / "index.html").write_text("<title>built</title>")
        for address in ("/", "/a/17"):
            assert "built" in page.get(address).text
        assert page.get("/no/such.js").status_code == 404


def test_what_fails_while_the_server_starts_is_said_and_tried_again(
    module_database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warming, "AGAIN_S", 0.01)
    tried: list[str] = []

    def late(_engine: Engine, _caller: Caller, spec: str) -> None:
        tried.append(spec)
        if len(tried) < 4:
            raise UnreachableError("cannot connect to /secret/socket", "Start it.")
        while status()["state"] != "failed":
            time.sleep(0.01)
        seen.append(status()["message"])

    def status() -> Any:
        return client.get("/api/v1/status").json()

    monkeypatch.setattr(warming, "_answer_once", late)
    for gate, told in (
        (Gate(module_database), "cannot connect to /secret/socket\nStart it."),
        (LoginGate(module_database, module_database.url), "the log of the server says why"),
    ):
        seen: list[str] = []
        tried.clear()
        caplog.clear()
        with TestClient(make_application(Engine([MODEL]), gate, None)) as client:
            while status()["state"] != "ready":
                time.sleep(0.01)
            assert seen == [told]
            assert status()["message"] is None
        assert caplog.text.count("/secret/socket") == 1


def test_a_failure_to_load_machine_code_is_said_too(
    module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "AGAIN_S", 60)

    def broken() -> None:
        raise OSError("no room to keep it")

    monkeypatch.setattr(warming, "expect_many", broken)
    with TestClient(make_application(Engine([MODEL]), Gate(module_database), None)) as client:
        while (status := client.get("/api/v1/status").json())["state"] == "warming":
            time.sleep(0.01)
    assert (status["state"], status["message"]) == ("failed", "OSError: no room to keep it")


# ---- jobs ---------------------------------------------------------------------------------------


def events(client: TestClient, job: str, **headers: str) -> list[tuple[str, Any]]:
    """The events of a job, to its end."""
    with client.stream("GET", f"jobs/{job}/events", headers=headers) as answered:
        assert answered.headers["content-type"].startswith("text/event-stream")
        text = "".join(answered.iter_text())
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_several_photos_are_answered_in_the_background(client: TestClient, photo: bytes) -> None:
    files = [("photos", (name, photo)) for name in ("a.jpg", "b.jpg")]
    files.insert(1, ("photos", ("not.txt", b"no photo")))
    begun = client.post("jobs", files=files, data={"request": '{"parameters": {"k": 3}}'})
    assert begun.status_code == 202
    job = begun.json()["id"]
    (*answers, (last, end)) = events(client, job)
    assert [kind for kind, _ in answers] == ["answer"] * 3
    assert [value["photo"] for _, value in answers] == ["a.jpg", "not.txt", "b.jpg"]
    assert answers[1][1]["error"]["reason"] == "undecodable"
    recorded = client.get(f"answers/{answers[2][1]['localization_id']}").json()
    assert len(recorded["neighbours"]) == 3
    assert (last, end["state"], end["answered"], end["failed"]) == ("end", "done", 3, 1)
    assert [kind for kind, _ in events(client, job, **{"Last-Event-ID": "2"})] == ["answer", "end"]
    assert len(client.get(f"jobs/{job}").json()["answers"]) == 3
    assert job in [one["id"] for one in client.get("jobs").json()]
    problem(client.get("jobs/nonsense"), 404)


def test_a_job_is_stopped(client: TestClient, photo: bytes) -> None:
    files = [("photos", (f"{number}.jpg", photo)) for number in range(40)]
    job = client.post("jobs", files=files).json()["id"]
    assert client.delete(f"jobs/{job}").json()["answered"] < 40
    problem(client.get(f"jobs/{job}"), 404)
    problem(client.delete(f"jobs/{job}"), 404)
    begun = client.post("jobs", files=files[:1]).json()["id"]
    assert events(client, begun)[-1][1]["state"] == "done"


# ---- the command --------------------------------------------------------------------------------

ROOT = Path(__file__).parent.parent
JSON = {"Content-Type": "application/json"}
#: The program of schemathesis, which has an environment of its own.
SCHEMATHESIS = os.environ.get(
    "GEOSEARCH_TEST_SCHEMATHESIS", str(ROOT / ".venv/schemathesis/bin/schemathesis")
)


@contextmanager
def serving(database: Database, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Host and port of a server that is ready, and its process, which has ended well at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "geosearch", "serve", "--port", "0", "--json", *options],
        env=os.environ | {"GEOSEARCH_DATABASE_URL": database.url, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        check_documents(["serve"], said)
        place = urlsplit(json.loads(said)["address"]).netloc
        while ask(place, "GET", "/api/v1/status")["state"] == "warming":
            time.sleep(0.1)
        yield place, process
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in errors) == (0, False), errors


def ask(place: str, method: str, address: str) -> Any:
    connection = http.client.HTTPConnection(place)
    connection.request(method, address)
    value = json.loads(connection.getresponse().read())
    connection.close()
    return value


def test_the_examples_of_the_documentation_work_and_answers_at_work_are_finished(
    module_database: Database, folder: Path, tmp_path: Path
) -> None:
    with serving(module_database) as (place, process):
        run_examples(module_database, place, folder, tmp_path)
        with psycopg.connect(module_database.url) as lock:
            lock.execute("LOCK TABLE geosearch.all_localizations IN SHARE MODE")
            connection = http.client.HTTPConnection(place)
            connection.request("POST", "/api/v1/answers/1/again", '{"record": true}', JSON)
            while not waits(lock):
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        answered = connection.getresponse()
        assert (answered.status, json.loads(answered.read())["place"] is not None) == (200, True)


def waits(connection: psycopg.Connection[Any]) -> bool:
    """Whether somebody waits for a lock."""
    row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return row is not None and row[0] > 0


def run_examples(database: Database, place: str, folder: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    for name, number in (("holiday", 1), ("other", 2)):
        shutil.copy(folder / "queries" / f"00000{number}.jpg", tmp_path / f"{name}.jpg")
    blocks = [block.text for block in blocks_of("docs/web.md") if block.not_run is None]
    script = 'set -euo pipefail\ncurl() { command curl --fail-with-body -sS "$@"; echo; }\n'
    script += f'geosearch() {{ {sys.executable} -m geosearch "$@"; }}\n'
    script += "".join(blocks).replace("localhost:8000", place)
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"GEOSEARCH_DATABASE_URL": database.url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout[-500:]
    assert ran.stdout.count('"estimate": {"lat"') >= 6
    assert "event: end" in ran.stdout
    for name, begin in {"lines.kml": b"<?xml", "thumbnail.webp": b"RIFF", "tile.mvt": b""}.items():
        assert (tmp_path / name).read_bytes().startswith(begin)


def test_what_cannot_be_served_is_said(
    module_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(module_database.url, capsys)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = command("serve", "--port", taken.getsockname()[1])
    assert (ran.code, "Stop what listens there" in ran.err) == (InputError.exit_code, True)
    ran = command("serve", "--host", "0.0.0.0")
    assert (ran.code, "--auth" in ran.err) == (InputError.exit_code, True)
    # Over the socket the private server lets in whoever reaches it.
    ran = command("serve", "--auth")
    assert (ran.code, "db start --port" in ran.err) == (InputError.exit_code, True)


FIRST = """
import json, sys, time
from pathlib import Path
from starlette.testclient import TestClient
from geosearch.database.connection import Database
from geosearch.density import compiled_climb, modes
from geosearch.web import warming
from geosearch.web.access import Caller, Gate, LoginGate
from geosearch.web.application import make_application
from geosearch.web.engine import Engine

url, model, photo = sys.argv[1:]
with Database(url) as database:
    app = make_application(Engine([model], "cpu"), Gate(database), None)
    with TestClient(app) as client:
        while client.get("/api/v1/status").json()["state"] == "warming":
            time.sleep(0.05)
        before = set(sys.modules)
        asked = {"include": ["regions", "density", "photos", "picture", "embedding"]}
        found = client.post(
            "/api/v1/localize",
            files={"photo": Path(photo).read_bytes()},
            data={"request": json.dumps(asked)},
        )
        client.get("/api/v1/photos/1/thumbnail")
        loaded = sorted(set(sys.modules) - before)
        compiled = modes._climber(1) is compiled_climb.climb
        print(json.dumps([found.status_code, compiled, loaded]))
"""


@pytest.mark.system
def test_the_first_answer_loads_nothing(module_database: Database, folder: Path) -> None:
    """What it needs is there when the server says that it is ready."""
    photo = folder / "queries" / "000002.jpg"
    ran = subprocess.run(
        [sys.executable, "-c", FIRST, module_database.url, MODEL, str(photo)],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [200, True, []]


def test_tokens_are_made_listed_and_revoked(
    module_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    command = CommandLine(module_database.url, capsys)
    made = command("tokens", "create", "--name", "nightly", "--json").json()
    assert made["token"].startswith("geosearch_")
    (listed,) = command("tokens", "list", "--json").json()
    assert (listed["id"], listed["name"]) == (made["id"], "nightly")
    assert made["token"] not in command("tokens", "list").out
    assert command("tokens", "revoke", made["id"], "--json").json() == {"revoked": made["id"]}
    assert command("tokens", "list", "--json").json() == []
    assert command("tokens", "revoke", made["id"]).code == 4
    assert command("tokens", "create", "--name", "x", "--days", 0).code == InputError.exit_code


@pytest.mark.system
@pytest.mark.timeout(600)
def test_no_request_that_the_description_allows_or_not_is_a_fault(
    module_database: Database, folder: Path, client: TestClient, photo: bytes, tmp_path: Path
) -> None:
    if shutil.which(SCHEMATHESIS) is None:
        pytest.skip("there is no schemathesis: scripts/install-test-programs installs it")
    for _ in range(3):
        number = localize(client, photo)["localization_id"]
        client.post(f"answers/{number}/reviews", json={"decision": "accept"})
    (tmp_path / "schemathesis.toml").write_text(
        # In a form all values are text, so no part of it is known for a number.
        '[[operations]]\ninclude-name = "POST /api/v1/jobs"\n'
        "checks.negative_data_rejection.enabled = false\n"
    )
    fixed = ("--generation-deterministic",) if os.environ.get("CI") else ()
    with serving(module_database) as (place, _):
        ran = subprocess.run(
            [
                *(SCHEMATHESIS, "run", f"http://{place}/api/v1/openapi.json", *fixed),
                # What a description cannot say, such as that a filter names a collection that is
                # there, is refused too.
                *("--exclude-checks", "positive_data_acceptance"),
                *("--max-examples", os.environ.get("GEOSEARCH_TEST_EXAMPLES", "6")),
                *("--continue-on-failure", "--no-color", "--workers", "2"),
            ],
            cwd=tmp_path,  # where it looks for its settings, and keeps what it found
            capture_output=True,
            text=True,
        )
    assert ran.returncode == 0, ran.stdout[-10_000:]


def test_a_decision_on_an_answer_is_kept_listed_and_taken_back(
    client: TestClient, photo: bytes
) -> None:
    number = localize(client, photo)["localization_id"]
    moved = client.post(
        f"answers/{number}/reviews", json={"decision": "move", "to": [34.7, 10.8], "remark": "pier"}
    ).json()
    assert (moved["lat"], moved["lon"], moved["remark"]) == (34.7, 10.8, "pier")
    assert client.get("answers").json()["answers"][0]["decision"] == "move"
    client.post(f"answers/{number}/reviews", json={"decision": "accept"})
    decisions = [one["decision"] for one in client.get(f"answers/{number}/reviews").json()]
    assert decisions == ["move", "accept"]
    client.delete(f"answers/{number}/reviews/last")
    assert client.get("answers").json()["answers"][0]["decision"] == "move"
    client.delete(f"answers/{number}/reviews/last")
    problem(client.delete(f"answers/{number}/reviews/last"), 404)
    problem(client.post(f"answers/{number}/reviews", json={"decision": "move"}), 400)
    for wrong in ({"to": [False, 0]}, {"to": [0, 0], "overwrite": 0}, {"to": [0, 0], "x": 1}):
        asked = {"decision": "move"} | wrong
        problem(client.post(f"answers/{number}/reviews", json=asked), 422)
    problem(client.post("answers/999999/reviews", json={"decision": "accept"}), 404)
