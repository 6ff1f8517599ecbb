"""OGC API Features and Tiles by tipg, from the views as they are.

tipg runs in a process of its own: that of this Python, or of the one that GEOSEARCH_TEST_TIPG
names, such as /opt/tipg/bin/python. Tests skip where there is no tipg.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from geosearch.database.connection import Database
from geosearch.localization.answer_rows import save
from tests.answers import make_answer
from tests.conftest import free_port
from tests.rows import add_photos
from tests.vector_tiles import read_tile

PYTHON = os.environ.get("GEOSEARCH_TEST_TIPG", sys.executable)
COMPOSE = Path(__file__).parent.parent / "docker-compose.yml"
BERLIN = make_answer([52.5, 52.6, 52.4], [13.4, 13.3, 13.5], photo="/b.jpg")
START_S = 120


def settings() -> dict[str, str]:
    """The settings of the service in docker-compose.yml."""
    service = yaml.safe_load(COMPOSE.read_text())["services"]["tipg"]
    return {
        name: value for name, value in service["environment"].items() if name.startswith("TIPG_")
    }


def database_url(database: Database) -> str:
    """As tipg reads it: the folder of a Unix socket stands where the host does, encoded."""
    given = conninfo_to_dict(database.url)
    names = ("user", "password", "host", "port", "dbname")
    user, password, host, port, name = (quote(str(given.get(each, "")), safe="") for each in names)
    secret = f":{password}" if password else ""
    return f"postgresql://{user}{secret}@{host or 'localhost'}:{port or 5432}/{name}"


@pytest.fixture(scope="module")
def server(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a tipg that serves a few photos and an answer."""
    probe = subprocess.run([PYTHON, "-c", "import tipg, uvicorn"], capture_output=True)
    if probe.returncode:
        pytest.skip("tipg and uvicorn are not installed")
    with module_database.connection() as connection:
        add_photos(connection, [46.0, 47.0, -33.9], [8.0, 8.5, 18.4], authors=["ada", None, "bo"])
        save(connection, [BERLIN])
    port = free_port()
    log = tmp_path_factory.mktemp("tipg") / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [PYTHON, "-m", "uvicorn", "tipg.main:app", "--host", "127.0.0.1", "--port", str(port)],
            env={
                "PATH": os.environ["PATH"],
                "DATABASE_URL": database_url(module_database),
                **settings(),
            },
            stdout=stream,
            stderr=stream,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urlopen(f"{address}/healthz").close()
        except (URLError, HTTPError):
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"tipg did not start: {log.read_text()}")


def get(address: str, path: str) -> Any:
    with urlopen(f"{address}{path}") as answer:
        return json.load(answer)


def test_the_collections_are_the_views(server: str) -> None:
    found = {each["id"]: each for each in get(server, "/collections?f=json")["collections"]}
    names = {"gis_photos", "gis_estimates", "gis_regions", "gis_neighbours"}
    assert set(found) == {f"geosearch.{name}" for name in names}
    west, south, east, north = found["geosearch.gis_photos"]["extent"]["spatial"]["bbox"][0]
    assert (west, south, east, north) == (8.0, -33.9, 18.4, 47.0)


def test_features_are_read_whole_by_box_and_by_id(server: str) -> None:
    items = "/collections/geosearch.gis_photos/items"
    features = get(server, f"{items}?f=geojson&limit=100")["features"]
    assert len(features) == 3
    (ada,) = get(server, f"{items}?f=geojson&author=ada")["features"]
    assert ada["geometry"] == {"type": "Point", "coordinates": [8.0, 46.0]}
    assert ada["properties"]["collection"] == "test"
    box = get(server, f"{items}?f=geojson&bbox=8.2,46.5,9,48")["features"]
    assert [each["geometry"]["coordinates"] for each in box] == [[8.5, 47.0]]
    assert get(server, f"{items}/{ada['id']}?f=geojson")["properties"] == ada["properties"]


def test_answers_are_features_too(server: str) -> None:
    for name, count in (("estimates", 1), ("regions", 2), ("neighbours", 3)):
        path = f"/collections/geosearch.gis_{name}/items?f=geojson"
        features = get(server, path)["features"]
        assert [each["properties"]["photo"] for each in features] == ["/b.jpg"] * count


def test_a_tile_shows_the_photos_in_it(server: str) -> None:
    path = "/collections/geosearch.gis_photos/tiles/WebMercatorQuad"
    with urlopen(f"{server}{path}/3/4/2") as answer:
        assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
        (layer,) = read_tile(answer.read())
    assert sorted(each.properties["uri"] for each in layer.features) == [
        "/photo/test/0.jpg",
        "/photo/test/1.jpg",
    ]
