"""Attempts on the server: by who is not let in, by who is, by other sites, and by hostile files."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import psycopg
import pytest
import uvicorn
from psycopg import sql
from psycopg.conninfo import make_conninfo
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from geosearch import storage
from geosearch.database import migrations, refusals
from geosearch.database.access_tokens import create_token, list_tokens, revoke_token
from geosearch.database.collection_rows import set_private
from geosearch.database.connection import Connection, Database
from geosearch.database.copying import PhotoKey
from geosearch.database.role_grants import grant_role
from geosearch.deletion.photo_deletion import delete_collection
from geosearch.errors import DatabaseError, NotFoundError, PhotoRejected, Reason
from geosearch.features.extraction import stored_query
from geosearch.features.model_rows import find_model
from geosearch.ingest import ingest
from geosearch.localization import Parameters
from geosearch.localization.localizing import answer_query, recorded
from geosearch.retrieval import EVERYTHING
from geosearch.settings import image_settings
from geosearch.storage import read_public
from geosearch.web import access, api_catalogue, guards, slow_clients
from geosearch.web.access import COOKIE, Caller, Gate, LoginGate, Throttle
from geosearch.web.application import make_application
from geosearch.web.engine import Engine
from geosearch.web.guards import Guard
from geosearch.web.slow_clients import Impatient
from tests import photo_files
from tests.conftest import free_port, running_server
from tests.rows import add_embeddings, add_model
from tests.test_web_api import problem
from tests.vector_tiles import read_tile

PASSWORD = "correct horse"
MODEL = "test/model"
#: Photos 1 to 3 are in the collection `open`, 4 to 6 in `secret`, which is private.
OPEN, SECRET = (1, 2, 3), (4, 5, 6)
#: An answer of the owner's, which rests on both.
ANSWER = 1


@dataclass
class World:
    """A server of the database that asks for passwords, and the API over it."""

    database: Database
    url: str
    client: TestClient
    gate: LoginGate
    app: Guard

    @contextmanager
    def new_role(self, name: str, level: str) -> Iterator[Connection]:
        """A role for so long, and a connection that can change it."""
        with self.database.own_connection(autocommit=True) as connection:
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(create.format(sql.Identifier(name), sql.Literal(PASSWORD)))
            grant_role(connection, level, name)
            try:
                yield connection
            finally:
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

    @contextmanager
    def connection(self, role: str) -> Iterator[Connection]:
        with (
            Database(make_conninfo(self.url, user=role, password=PASSWORD)) as database,
            database.connection() as connection,
        ):
            yield connection

    def client_at(self, address: str) -> TestClient:
        """Who asks from another address."""
        return TestClient(self.app, "http://photos.example", client=(address, 1))

    def log_in(self, role: str, password: str = PASSWORD) -> Any:
        self.client.cookies.clear()
        return self.client.post("session", json={"role": role, "password": password})

    def as_role(self, role: str) -> TestClient:
        """The client, with a session of the role."""
        answered = self.log_in(role)
        assert answered.status_code == 200, answered.text
        self.client.headers["X-CSRF-Token"] = answered.json()["csrf_token"]
        return self.client


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(["open"] * 3 + ["secret"] * 3):
        (folder / name).mkdir(exist_ok=True)
        picture = photo_files.photo(
            photo_files.gps(40 + number, 10 + number),
            shade=number,
            size=(64, 48),
            image_tags={0x013B: f"author of {name}"},
        )
        (folder / name / f"{number}.jpg").write_bytes(picture)
    port = free_port()
    with running_server(port) as server:
        migrations.upgrade(server.url)
        url = str(server.tcp_url())
        with Database(server.url) as database:
            for name in ("open", "secret"):
                ingest(database, [folder / name], collection=name)
            _fill(database)
            with Database(make_conninfo(url, user="web", password=PASSWORD)) as web:
                gate = LoginGate(web, url)
                app = make_application(Engine(["none"]), gate, None)
                with TestClient(app, "http://photos.example") as client:
                    client.base_url = client.base_url.join("/api/v1/")
                    yield World(database, url, client, gate, app)


def _fill(database: Database) -> None:
    with database.connection() as connection:
        for name, role in {
            "ann": "analyst",
            "rea": "reader",
            "ria": "reader",
            "web": "reader",
        }.items():
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(create.format(sql.Identifier(name), sql.Literal(PASSWORD)))
            grant_role(connection, role, name)
        connection.execute("CREATE ROLE mute LOGIN PASSWORD 'correct horse'; GRANT ann TO web")
        model = add_model(connection, 8)
        keys = connection.execute(
            "SELECT id, collection_id, ST_AsEWKB(geom), accuracy_m, taken_at, author, licence, "
            "shelf FROM geosearch.photos ORDER BY id"
        ).fetchall()
        vectors = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
        add_embeddings(connection, model, [PhotoKey(*key) for key in keys], vectors)
        connection.execute("SELECT geosearch.refresh_coverage()")
        row = find_model(connection, MODEL)
        query = stored_query(connection, row, 1)
    given = answer_query(database, row, query, Parameters(k=6), EVERYTHING)
    assert recorded(database, given).id == ANSWER
    with database.connection() as connection:
        set_private(connection, "secret", private=True)


# ---- who is let in ------------------------------------------------------------------------------


def test_nothing_but_the_state_is_told_to_who_is_not_logged_in(world: World) -> None:
    world.client.cookies.clear()
    open_to_all = {("get", "/api/v1/status"), ("post", "/api/v1/session")}
    described = world.client.get("openapi.json").json()["paths"]
    asked = 0
    for path, methods in described.items():
        for method in methods:
            if (method, path) in open_to_all:
                continue
            address = re.sub(r"\{[^}]*\}", "1", path).replace("tiles/1/1/1/1", "tiles/photos/1/1/1")
            refused = world.client.request(method, f"http://photos.example{address}")
            assert refused.status_code == 401, (method, path, refused.text)
            asked += 1
    assert asked > 30
    assert world.client.get("status").json()["login"] is True


def test_a_session_is_in_a_cookie_that_scripts_and_other_sites_do_not_get(world: World) -> None:
    answered = world.log_in("ann")
    cookie = answered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert answered.json()["role"] == "ann"
    assert world.client.cookies[COOKIE] not in answered.text
    client = world.as_role("ann")
    assert client.get("session").json()["may_record"] is True
    kept = client.cookies[COOKIE]
    client.delete("session")
    client.cookies.set(COOKIE, kept)
    problem(client.get("session"), 401)


@pytest.mark.parametrize(
    ("role", "password"),
    [("ann", "wrong"), ("nobody", PASSWORD), ("ann", ""), ("", ""), ("ann\0", PASSWORD)],
)
def test_who_is_unknown_and_whose_password_is_wrong_hear_the_same(
    world: World, role: str, password: str
) -> None:
    assert problem(world.log_in(role, password), 401)["detail"] == "role or password is wrong"


def test_a_role_without_rights_is_not_let_in(world: World) -> None:
    problem(world.log_in("mute"), 403)


def test_nobody_gets_in_where_the_database_asks_for_no_password(world: World) -> None:
    """The socket of the private server lets in whoever reaches it, under any name."""
    with Database(world.database.url) as database:
        gate = LoginGate(database, world.database.url)
        with TestClient(make_application(Engine(["none"]), gate, None)) as client:
            session = {"role": "ann", "password": "whatever"}
            refused = problem(client.post("/api/v1/session", json=session), 400)
    assert "without a password" in refused["detail"]


def test_guessing_takes_longer_each_time(world: World) -> None:
    throttle = Throttle()
    for _ in range(5):
        throttle.begin("ann", "10.0.0.1")
    with pytest.raises(HTTPException) as refused:
        throttle.begin("ann", "10.0.0.1")
    assert refused.value.status_code == 429
    throttle.begin("bob", "10.0.0.1")
    throttle.begin("ann", "10.0.0.2")
    for number in range(20):
        throttle.begin(f"role {number}", "10.0.0.3")
    with pytest.raises(HTTPException):
        throttle.begin("any other", "10.0.0.3")
    answers = [world.log_in("rea", "wrong").status_code for _ in range(6)]
    assert answers == [401] * 5 + [429]
    assert world.log_in("rea").status_code == 429


def test_guessing_takes_longer_in_any_language_of_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "_SAID", {})  # what it says is not understood
    session = {"role": "ann", "password": "wrong"}
    guesser = world.client_at("10.0.0.4")
    answers = [guesser.post("/api/v1/session", json=session).status_code for _ in range(6)]
    assert answers == [401] * 5 + [429]
    assert world.log_in("ann").status_code == 200


def test_where_the_database_is_and_why_it_is_gone_is_told_to_the_log_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = make_conninfo(world.url, port=1)
    monkeypatch.setattr(world.gate, "_url", gone)
    answers = [world.log_in("ann") for _ in range(8)]
    assert {problem(one, 503)["detail"] for one in answers} == {"the database cannot be reached"}
    assert "127.0.0.1" not in answers[0].text
    assert "127.0.0.1" in caplog.text
    monkeypatch.undo()
    assert world.log_in("ann").status_code == 200  # these were no guesses


def test_who_is_not_let_in_hears_how_to_log_in(world: World) -> None:
    world.client.cookies.clear()
    refused = world.client.get("photos")
    assert "/api/v1/session" in problem(refused, 401)["remedy"]
    assert refused.headers["www-authenticate"] == "Bearer"


def test_whether_the_database_asks_for_passwords_is_known(world: World) -> None:
    assert access.asks_for_passwords(world.url)
    assert not access.asks_for_passwords(world.database.url)
    assert access.asks_for_passwords(make_conninfo(world.url, port=1))  # who knows


def test_who_knows_the_password_is_never_made_to_wait_nor_ends_the_wait_of_who_guesses() -> None:
    throttle = Throttle()
    for _ in range(200):
        throttle.take_back(throttle.begin("ann", "10.0.0.1"))
        throttle.passed("ann", "10.0.0.1")
    for number in range(19):
        throttle.begin(f"role {number}", "10.0.0.1")
    own = throttle.begin("ann", "10.0.0.1")  # beside one that guesses
    with pytest.raises(HTTPException):
        throttle.begin("role 20", "10.0.0.1")
    throttle.take_back(own)
    throttle.begin("role 20", "10.0.0.1")
    with pytest.raises(HTTPException):
        throttle.begin("role 21", "10.0.0.1")


def test_many_guesses_at_once_are_many_guesses(world: World) -> None:
    guesser = world.client_at("10.0.0.5")
    with ThreadPoolExecutor(20) as pool:
        session = {"role": "ann", "password": "guess"}
        found = pool.map(lambda _: guesser.post("/api/v1/session", json=session), range(20))
        statuses = Counter(one.status_code for one in found)
    assert statuses == {401: 5, 429: 15}


def test_a_session_that_was_planted_is_nobodys(world: World) -> None:
    world.client.cookies.clear()
    world.client.cookies.set(COOKIE, "planted")
    problem(world.client.get("session"), 401)
    session = {"role": "ann", "password": PASSWORD}
    keys = [
        world.client.post("session", json=session).headers["set-cookie"].split(";")[0]
        for _ in range(2)
    ]
    assert len({*keys, f"{COOKIE}=planted"}) == 3
    other = {"Origin": "https://evil.example"}
    problem(world.client.post("session", json=session, headers=other), 403)


def test_a_session_by_tls_travels_by_tls_alone(world: World) -> None:
    client = TestClient(world.app, "https://photos.example")
    session = {"role": "ann", "password": PASSWORD}
    cookie = client.post("/api/v1/session", json=session).headers["set-cookie"].lower()
    assert "; secure" in cookie
    assert "domain=" not in cookie


@pytest.mark.parametrize(
    "change",
    [
        "ALTER ROLE tim PASSWORD 'another'",
        "ALTER ROLE tim NOLOGIN",
        "ALTER ROLE tim VALID UNTIL '2000-01-01'",
        "DROP ROLE tim",
    ],
)
def test_who_would_not_be_let_in_any_more_is_out(
    world: World, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.new_role("tim", "reader") as connection:
        client = world.as_role("tim")
        monkeypatch.setattr(access, "CHECK_S", 0)
        assert client.get("photos/1").status_code == 200
        connection.execute(change.encode())
        for _ in range(2):
            problem(client.get("photos/1"), 401)


def test_sessions_of_a_role_share_its_connections_and_give_them_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held() -> int:
        with world.database.connection() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ria'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    keys = []
    for _ in range(6):
        client = world.as_role("ria")
        assert client.get("photos/1/like", params={"model": MODEL}).status_code == 200
        keys.append(client.cookies[COOKIE])
    assert 1 <= held() <= 8
    client.cookies.clear()
    client.cookies.set(COOKIE, keys[0])
    client.headers["X-CSRF-Token"] = client.get("session").json()["csrf_token"]
    assert client.delete("session").status_code == 200
    client.cookies.set(COOKIE, keys[1])
    assert client.get("photos/1").status_code == 200  # the others go on
    monkeypatch.setattr(access, "CHECK_S", 0)
    monkeypatch.setattr(access, "_UNUSED_S", 0)
    world.as_role("ann").get("session")
    assert held() == 0


def test_what_is_asked_while_one_logs_out_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.new_role("tom", "reader"):
        client = world.as_role("tom")
        let_in = world.gate.caller

        def late(request: Request) -> Caller:
            found = let_in(request)
            world.gate.log_out(request)
            return found

        monkeypatch.setattr(world.gate, "caller", late)
        problem(client.get("photos/1"), 401)


# ---- other sites --------------------------------------------------------------------------------


def test_another_site_changes_nothing(world: World) -> None:
    client = world.as_role("ann")
    token = client.headers.pop("X-CSRF-Token")
    problem(client.post("filters/check", json={"filter": {}}), 403)
    client.headers["X-CSRF-Token"] = "wrong"
    problem(client.post("filters/check", json={"filter": {}}), 403)
    client.headers["X-CSRF-Token"] = token
    assert client.post("filters/check", json={"filter": {}}).status_code == 200
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://photos.example.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        problem(client.post("filters/check", json={"filter": {}}, headers=headers), 403)
    own = {"Origin": "http://photos.example"}
    assert client.post("filters/check", json={"filter": {}}, headers=own).status_code == 200


def test_a_name_that_leads_to_this_machine_is_not_answered(world: World) -> None:
    app = make_application(Engine(["none"]), LoginGate(world.database, world.url), {"localhost"})
    with TestClient(app, "http://localhost:8000") as client:
        assert client.get("/api/v1/status").status_code == 200
        for host in ("evil.example", "localhost.evil.example", "", "[", "127.0.0.1:8000"):
            problem(client.get("/api/v1/status", headers={"Host": host}), 421)


def test_every_answer_forbids_what_a_page_must_not_do(world: World) -> None:
    for address in ("status", "nonsense", "photos/1", "http://photos.example/"):
        headers = world.client.get(address).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"


# ---- private photos -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "address", "hidden"),
    [
        ("GET", "photos/{}", 4),
        ("GET", "photos/{}/thumbnail", 4),
        ("GET", "photos/{}/thumbnail?size=1024", 4),
        ("GET", "photos/{}/like?model=" + MODEL, 4),
        ("GET", 'photos?filter={{"photos":[{}]}}', 4),
        ("GET", "answers/{}", ANSWER),
        ("GET", "answers/{}/neighbours", ANSWER),
        ("GET", "answers/{}/regions", ANSWER),
        ("GET", "answers/{}/density", ANSWER),
        ("GET", "answers/{}/reviews", ANSWER),
        ("GET", "answers/{}/export/lines.geojson", ANSWER),
        ("GET", "answers/{}/export/lines.kml", ANSWER),
        ("GET", "answers/{}/export/project.qgz", ANSWER),
        ("GET", "answers/{}/export/neighbours.sql", ANSWER),
        ("GET", "tiles/estimates/0/0/0.mvt?answer={}", ANSWER),
        ("POST", "answers/{}/again", ANSWER),
        ("POST", "answers/{}/reproduce", ANSWER),
        ("DELETE", "answers/{}", ANSWER),
        ("POST", "localize/stored", 4),
    ],
)
def test_what_is_hidden_and_what_is_not_there_are_one_in_all_but_their_number(
    world: World, statements: list[str], method: str, address: str, hidden: int
) -> None:
    """In the answer, byte for byte, and in what is asked of the database: so in its time too."""
    client = world.as_role("ann")

    def met(key: int) -> tuple[int, str, list[tuple[str, str]], list[str]]:
        body = {"photo_id": key, "model": MODEL} if address == "localize/stored" else {}
        statements.clear()
        json_ = None if method == "GET" else body
        found = client.request(method, address.format(key), json=json_)
        text = re.sub(rf"\b{key}\b", "KEY", found.text)
        told = [(name, value) for name, value in found.headers.items() if name != "content-length"]
        return found.status_code, text, told, [*statements]

    absent = 987_654_321
    met(absent)  # what is asked once for a connection is asked
    assert met(hidden) == met(absent)
    assert statements
    assert client.get("photos/1").status_code == 200


def test_a_photo_by_a_hidden_address_and_by_none_are_one(
    world: World, statements: list[str]
) -> None:
    client = world.as_role("ann")
    with world.database.connection() as connection:
        row = connection.execute("SELECT uri FROM geosearch.photos WHERE id = 4").fetchone()
    assert row is not None
    met = []
    for uri in ("/no/such.jpg", row[0], "/no/such.jpg"):
        statements.clear()
        found = client.post("localize/stored", json={"uri": uri, "model": MODEL})
        met.append((problem(found, 404), [*statements]))
    assert met[1] == met[2]


def test_a_private_photo_is_no_query_and_no_neighbour(world: World) -> None:
    client = world.as_role("ann")
    with world.database.connection() as connection:
        row = connection.execute("SELECT uri FROM geosearch.photos WHERE id = 4").fetchone()
    assert row is not None
    for which in ({"photo_id": 4}, {"uri": row[0]}):
        problem(client.post("localize/stored", json=which | {"model": MODEL}), 404)
    found = client.post("localize/stored", json={"photo_id": 1, "model": MODEL}).json()
    assert {neighbour["photo_id"] for neighbour in found["neighbours"]} == set(OPEN)
    like = client.get("photos/1/like", params={"model": MODEL}).json()
    assert {neighbour["photo_id"] for neighbour in like["neighbours"]} == {2, 3}


def test_a_reader_asks_and_nothing_is_recorded(world: World) -> None:
    client = world.as_role("ria")
    assert client.get("session").json()["may_record"] is False
    asked = {"photo_id": 1, "model": MODEL, "include": ["embedding"]}
    found = client.post("localize/stored", json=asked).json()
    again = {"embedding": found["embedding"], "model": MODEL, "exclude_photos": [1]}
    assert client.post("localize/embedding", json=again).json()["localization_id"] is None
    problem(client.post("localize/stored", json=asked | {"record": True}), 403)


def test_no_count_list_or_tile_tells_of_private_photos(world: World) -> None:
    client = world.as_role("ann")
    assert [one["name"] for one in client.get("collections").json()] == ["open"]
    assert client.get("models").json()[0]["photos"] == 3
    choices = client.get("choices").json()
    assert (choices["photos"], choices["authors"]) == (3, {"author of open": 3})
    assert [one["id"] for one in client.get("photos").json()["photos"]] == list(OPEN)
    near = client.get("photos/near", params={"lat": 44, "lon": 14, "km": 20016}).json()
    assert {one["id"] for one in near["photos"]} == set(OPEN)
    check = client.post("filters/check", json={"filter": {"author": "author of secret"}}).json()
    assert (check["photos"], check["of"]) == (0, 3)
    problem(client.post("filters/check", json={"filter": {"collection": "secret"}}), 404)
    cells = client.get("coverage").json()["features"]
    assert sum(cell["properties"]["photos"] for cell in cells) == 3
    (layer,) = read_tile(client.get("tiles/photos/0/0/0.mvt").content)
    assert sum(each.properties["count"] for each in layer.features) == 3


def test_an_answer_that_rests_on_private_photos_is_not_there(world: World) -> None:
    client = world.as_role("ann")
    here = "answers/{}"
    export = [f"/export/{name}" for name in ("regions.geojson", "lines.kml", "project.qgz")]
    for address in (
        "",
        "/neighbours",
        "/regions",
        "/density",
        "/picture",
        *export,
        "/export/neighbours.sql",
    ):
        hidden, absent = (problem(client.get(here.format(key) + address), 404) for key in (1, 999))
        assert hidden["detail"].replace("1", "") == absent["detail"].replace("999", "")
    problem(client.post("answers/1/again", json={}), 404)
    problem(client.post("answers/1/reproduce"), 404)
    problem(client.delete("answers/1"), 404)
    assert client.get("answers").json()["answers"] == []
    assert client.get("tiles/estimates/0/0/0.mvt", params={"answer": 1}).content == b""


def test_a_thumbnail_that_another_has_asked_for_stays_hidden(world: World) -> None:
    """They are kept in memory for all: who may see one is asked each time."""
    with world.database.connection() as connection:
        connection.execute("ALTER ROLE mute PASSWORD 'correct horse'")
        grant_role(connection, "owner", "mute")
    client = world.as_role("mute")
    seen = client.get("photos/4/thumbnail")
    assert seen.status_code == 200
    client = world.as_role("ann")
    problem(client.get("photos/4/thumbnail"), 404)
    tag = {"If-None-Match": seen.headers["etag"]}
    problem(client.get("photos/4/thumbnail", headers=tag), 404)
    with world.database.connection() as connection:
        connection.execute("REVOKE geosearch_owner FROM mute")


def test_nobody_deletes_anothers_answer_nor_sees_anothers_jobs(world: World) -> None:
    client = world.as_role("ann")
    asked = {"photo_id": 1, "model": MODEL, "record": True}
    key = client.post("localize/stored", json=asked).json()["localization_id"]
    job = client.post("jobs", files=[("photos", photo_files.photo())]).json()["id"]
    with world.database.connection() as connection:
        connection.execute("CREATE ROLE bob LOGIN PASSWORD 'correct horse'")
        grant_role(connection, "analyst", "bob")
    client = world.as_role("bob")
    assert client.get(f"answers/{key}").status_code == 200
    problem(client.delete(f"answers/{key}"), 403)
    problem(client.get(f"jobs/{job}"), 404)
    problem(client.get(f"jobs/{job}/events"), 404)
    assert client.get("jobs").json() == []
    assert world.as_role("ann").delete(f"answers/{key}").status_code == 200


# ---- tokens -------------------------------------------------------------------------------------


def test_a_token_stands_for_who_made_it_until_it_is_revoked(world: World) -> None:
    with world.connection("ann") as connection:
        key, token = create_token(connection, "nightly", 1)
    world.client.cookies.clear()
    del world.client.headers["X-CSRF-Token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert world.client.get("session", headers=bearer).json()["role"] == "ann"
    found = world.client.post("filters/check", json={"filter": {}}, headers=bearer).json()
    assert found["of"] == 3
    problem(world.client.get("photos/4", headers=bearer), 404)
    for wrong in (f"{token}x", "", "x" * 5000, "geosearch_"):
        refused = world.client.get("session", headers={"Authorization": f"Bearer {wrong}"})
        problem(refused, 401)
    with world.connection("ann") as connection:
        revoke_token(connection, key)
    problem(world.client.get("session", headers=bearer), 401)


def test_a_token_works_only_for_roles_that_the_server_may_act_as(world: World) -> None:
    with world.connection("rea") as connection:
        _, token = create_token(connection, "nightly", 1)
    bearer = {"Authorization": f"Bearer {token}"}
    refused = problem(world.client.get("session", headers=bearer), 403)
    assert "cannot act as rea" in refused["detail"]


def test_a_token_ends_with_what_the_server_may(world: World) -> None:
    """At once, though connections that act as the role are open."""
    with world.new_role("tess", "reader") as connection:
        connection.execute("GRANT tess TO web")
        with world.connection("tess") as own:
            _, token = create_token(own, "nightly", 1)
        world.client.cookies.clear()
        bearer = {"Authorization": f"Bearer {token}"}
        assert world.client.get("photos/1", headers=bearer).status_code == 200
        connection.execute("REVOKE tess FROM web")
        problem(world.client.get("photos/1", headers=bearer), 403)
        connection.execute("GRANT tess TO web")
        assert world.client.get("photos/1", headers=bearer).status_code == 200
        connection.execute("DROP ROLE tess")
        problem(world.client.get("photos/1", headers=bearer), 403)


def test_a_token_is_made_and_revoked_by_who_is_logged_in_and_by_no_token(world: World) -> None:
    client = world.as_role("ann")
    made = client.post("tokens", json={"name": "mine", "days": 1})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    bearer = {"Authorization": f"Bearer {made.json()['token']}"}
    assert made.json()["id"] in [one["id"] for one in client.get("tokens").json()]
    assert made.json()["token"] not in client.get("tokens").text
    here = f"tokens/{made.json()['id']}"
    problem(world.as_role("rea").delete(here), 404)
    world.client.cookies.clear()
    assert world.client.get("session", headers=bearer).json()["role"] == "ann"
    problem(world.client.post("tokens", json={"name": "for ever"}, headers=bearer), 403)
    assert world.as_role("ann").delete(here).json() == {"revoked": made.json()["id"]}
    world.client.cookies.clear()
    problem(world.client.get("session", headers=bearer), 401)
    for wrong in ({"name": ""}, {"name": "x", "days": 0}, {"name": "x\0"}):
        refused = world.as_role("ann").post("tokens", json=wrong)
        assert refused.status_code in (400, 422)


def test_tokens_are_ones_own_and_are_kept_as_sums_alone(world: World) -> None:
    with world.connection("ann") as connection:
        key, token = create_token(connection, "mine", 1)
        assert [one.name for one in list_tokens(connection)] == ["mine"]
    with pytest.raises(DatabaseError, match="permission denied"), world.connection("ann") as own:
        own.execute("SELECT * FROM geosearch.tokens")
    with world.connection("rea") as connection:
        assert key not in [one.id for one in list_tokens(connection)]
        with pytest.raises(NotFoundError):
            revoke_token(connection, key)
    with world.database.connection() as connection:
        stored = connection.execute("SELECT tokens::text FROM geosearch.tokens").fetchall()
        assert token not in str(stored)
        assert key in [one.id for one in list_tokens(connection)]
        connection.execute("SET LOCAL ROLE geosearch_owner")
        assert key in [one.id for one in list_tokens(connection)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "INSERT INTO geosearch.tokens (role, name, sha256, expires_at) "
                "VALUES ('ann', 'forged', sha256('x'), now())"
            )


def test_an_expired_token_lets_nobody_in(world: World) -> None:
    with world.connection("ann") as connection:
        key, token = create_token(connection, "short", 1)
    with world.database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.tokens SET expires_at = now() - interval '1 s' WHERE id = %s", (key,)
        )
    problem(world.client.get("session", headers={"Authorization": f"Bearer {token}"}), 401)


# ---- hostile requests and files -----------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/....//....//etc/passwd",
        "//etc/passwd",
        "/assets/%00",
        "/api/v1/countries/..%2f..%2fetc%2fpasswd",
        "/api/v1/tiles/..%2f../0/0/0.mvt",
    ],
)
def test_no_address_leads_out_of_the_page(world: World, address: str) -> None:
    client = world.as_role("ann")
    found = client.get(f"http://photos.example{address}")
    assert found.status_code < 500 or "not built" in found.text
    assert "root:" not in found.text


def test_no_path_in_a_request_is_opened(world: World) -> None:
    client = world.as_role("ann")
    for uri in ("file:///etc/passwd", "/etc/passwd", "http://169.254.169.254/", "s3://b/k"):
        refused = client.post("localize/stored", json={"uri": uri, "model": MODEL})
        assert problem(refused, 404)["detail"] == "no photo of the collections has this address"
    within = {"filter": {"within": "/etc/passwd"}}
    assert "no file" not in problem(client.post("filters/check", json=within), 400)["detail"]
    photo = photo_files.photo(size=(64, 48))
    for model in ("file:/etc/passwd", "torchvision/resnet50", "../x"):
        data = {"request": json.dumps({"model": model})}
        files = {"photo": ("../../etc/passwd", photo)}
        problem(client.post("localize", files=files, data=data), 400)


def test_a_photo_row_that_names_another_file_shows_nothing_of_it(world: World) -> None:
    """An ingester may name any file; of one that is no photo of hers she does not know the sum."""
    asked: list[str] = []

    class Inner(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Inner) as inner:
        Thread(target=inner.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{inner.server_address[1]}/secret"
        with world.database.connection() as connection:
            before = connection.execute("SELECT uri FROM geosearch.photos WHERE id = 3").fetchone()
            assert before is not None
        client = world.as_role("ann")
        for uri in ("/etc/passwd", "/proc/self/environ", address, "/no/such/file"):
            with world.database.connection() as connection:
                set_uri = "UPDATE geosearch.all_photos SET uri = %s WHERE id = 3"
                connection.execute(set_uri, (uri,))
            problem(client.get("photos/3/thumbnail?size=1024"), 422)
        with world.database.connection() as connection:
            connection.execute(set_uri, before)
        inner.shutdown()
    assert asked == []


@contextmanager
def network(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> Iterator[Any]:
    """A server of an inner network that `names` lead to, and the hosts that it was asked as; where
    it sends on whoever asks for `/to/HOST` or `/on/NUMBER`.
    """
    asked: list[str] = []

    class Inner(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Host"].partition(":")[0])
            _, where, what = self.path.split("/", 2)
            if where == "photo":
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")  # what it says it is counts nothing
                self.end_headers()
                self.wfile.write(photo_files.photo(size=(64, 48)))
                return
            self.send_response(302)
            on = f"/on/{int(what) + 1}" if where == "on" else what
            self.send_header("Location", on)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def resolved(host: str, port: int, *_: Any, **__: Any) -> Any:
        found = names[host].pop(0) if len(names[host]) > 1 else names[host][0]
        if ":" in found:
            return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (found, port, 0, 0))]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))]

    with HTTPServer(("127.0.0.1", 0), Inner) as inner:
        Thread(target=inner.serve_forever, daemon=True).start()
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", resolved)
            yield inner.server_address[1], asked
        inner.shutdown()


INSIDE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("2002:7f00:1::", "64:ff9b:1::7f00:1", "fec0::1"),
)


def test_no_address_of_an_inner_network_is_fetched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number and by name, whatever the settings of ingest allow."""
    monkeypatch.setenv("GEOSEARCH_PRIVATE_URLS", "yes")
    client, names = world.as_role("ann"), {f"{n}.test": [ip] for n, ip in enumerate(INSIDE)}
    literal = [f"[{ip}]" if ":" in ip else ip for ip in INSIDE]
    with network(monkeypatch, names) as (port, asked):
        for host in (*names, *literal):
            refused = client.post("localize/url", json={"url": f"http://{host}:{port}/photo/1"})
            detail = problem(refused, 422)["detail"]
            assert detail == "nothing can be fetched from this address", host
    assert asked == []


def test_no_spelling_of_this_machine_is_fetched(world: World) -> None:
    asked: list[str] = []

    class Inner(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    client = world.as_role("ann")
    with HTTPServer(("127.0.0.1", 0), Inner) as inner:
        Thread(target=inner.serve_forever, daemon=True).start()
        for host in ("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "LOCALHOST."):
            url = f"http://{host}:{inner.server_address[1]}/photo/1"
            problem(client.post("localize/url", json={"url": url}), 422)
        inner.shutdown()
    assert asked == []


def test_what_is_no_web_address_is_not_opened(world: World) -> None:
    client = world.as_role("ann")
    for url in (
        *("file:///etc/passwd", "/etc/passwd", "ftp://example.org/a.jpg", "s3://bucket/a.jpg"),
        *("gopher://127.0.0.1:70/_x", "data:image/png;base64,AAAA", "http://", "https:///a.jpg"),
        *("http://[::1", "http://a\x00b/", "http://photos.test:99999/", "javascript:alert(1)", ""),
        "tar://http://photos.test/a.tar!/a.jpg",
    ):
        problem(client.post("localize/url", json={"url": url}), 422)


def test_a_name_or_a_redirect_that_leads_inside_is_not_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of the test stands for one outside; by another name, for one inside."""
    client, outside = world.as_role("ann"), "127.0.0.1"
    is_public = storage.is_public
    monkeypatch.setattr(storage, "is_public", lambda ip: ip == outside or is_public(ip))
    # A name that is public when it is looked up first, and private then: it is looked up once.
    names = {"outside.test": [outside], "inside.test": ["127.0.0.2"]}
    names |= {"rebound.test": [outside, "127.0.0.2"]}

    def fetched(url: str) -> bytes | str:
        try:
            return read_public(url, 10**6)
        except PhotoRejected as refused:
            return refused.message

    with network(monkeypatch, names) as (port, asked):
        here = f"http://outside.test:{port}"
        assert fetched(f"{here}/photo/1") == photo_files.photo(size=(64, 48))
        assert fetched(f"{here}/to/{here}/photo/1") == photo_files.photo(size=(64, 48))
        assert fetched(f"http://rebound.test:{port}/photo/1")[:2] == b"\xff\xd8"
        asked.clear()
        for inside in (f"http://inside.test:{port}/photo/1", "file:///etc/passwd", "//[::1]/"):
            assert fetched(f"{here}/to/{inside}") == "nothing can be fetched from this address"
        assert asked == ["outside.test"] * 3
        asked.clear()
        assert "photo" not in str(fetched(f"{here}/on/0"))  # for ever
        assert len(asked) < 10
    problem(client.post("localize/url", json={"url": "http://outside.invalid/"}), 422)


def test_what_never_ends_or_comes_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "is_public", lambda _: True)
    monkeypatch.setenv("GEOSEARCH_URL_TIMEOUT", "1")
    image_settings.cache_clear()
    sent = 0

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal sent
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip" if "zip" in self.path else "identity")
            self.end_headers()
            bomb = gzip.compress(b"x" * 10_000_000)
            with suppress(OSError):
                while "zip" not in self.path:
                    sent += self.wfile.write(b"x" * (1 if "slow" in self.path else 10_000))
                    time.sleep(0.3 if "slow" in self.path else 0)
                self.wfile.write(bomb)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with pytest.raises(PhotoRejected) as refused:
                read_public(f"{here}/endless", 200_000)
            assert refused.value.reason is Reason.TOO_LARGE
            with pytest.raises(PhotoRejected) as refused:
                read_public(f"{here}/slow", 200_000)
            assert refused.value.reason is Reason.UNREADABLE
            assert len(read_public(f"{here}/zip", 200_000)) < 20_000  # as it came
        finally:
            server.shutdown()
            image_settings.cache_clear()
    assert sent < 5_000_000


def test_many_slow_addresses_keep_nobody_waiting(world: World) -> None:
    client = world.as_role("ann")
    room, asked = world.client.app.app.state.fetching, {"url": "http://127.0.0.1/"}  # type: ignore[attr-defined]
    taken = list(takewhile(bool, (room.acquire(blocking=False) for _ in range(99))))
    assert "being fetched" in problem(client.post("localize/url", json=asked), 429)["detail"]
    for _ in taken:
        room.release()
    for _ in range(2 * len(taken)):
        problem(client.post("localize/url", json=asked), 422)


def test_a_file_name_is_text_and_nothing_else(world: World) -> None:
    from starlette.datastructures import UploadFile

    from geosearch.web.api_localize import named

    for given, kept in {
        "../../etc/passwd": "passwd",
        "C:\\photos\\a.jpg": "a.jpg",
        "a\x1b[2J\u202e.jpg": "a[2J.jpg",
        "": "photo",
        "..": "photo",
        "x" * 900: "x" * 255,
        "<img src=x onerror=alert(1)>.jpg": "<img src=x onerror=alert(1)>.jpg",
    }.items():
        assert named(UploadFile(None, filename=given)) == kept  # type: ignore[arg-type]
    client = world.as_role("ann")
    refused = client.post("localize", files={"photo": ("<script>.jpg", b"no photo")})
    assert refused.headers["content-type"] == "application/problem+json"


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
BEGIN = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'


def test_what_is_too_large_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOSEARCH_UPLOAD_BYTES", "100000")
    app = make_application(Engine(["none"]), Gate(world.database), None)
    client = TestClient(app)
    long = client.post("/api/v1/localize", content=b"x" * 100_001, headers=FORM)
    problem(long, 413)
    problem(client.post("/api/v1/session", content=b"{" * 100_001), 413)
    lying = FORM | {"Content-Length": "-5"}
    problem(client.post("/api/v1/localize", content=b"x", headers=lying), 413)
    # Nor where no length is told.
    assert sent(app, FORM, [BEGIN, *[b"x" * 30_000] * 100]) == (413, 5)


def test_nothing_is_read_of_photos_of_who_is_not_let_in(world: World) -> None:
    assert sent(world.app, FORM, [BEGIN, b"x" * 1000]) == (401, 0)
    assert sent(world.app, FORM | {"Authorization": "Bearer x"}, [BEGIN, b"x" * 1000]) == (401, 0)
    world.as_role("ann")
    cookie = {"Cookie": f"{COOKIE}={world.client.cookies[COOKIE]}"}
    assert sent(world.app, FORM | cookie, [BEGIN, b"x" * 1000]) == (403, 0)


def test_an_upload_that_does_not_come_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "NEXT_S", 0.05)
    app = make_application(Engine(["none"]), Gate(world.database), None)
    assert sent(app, FORM, [BEGIN, b"x", None]) == (408, 2)


def sent(app: Guard, headers: dict[str, str], parts: list[bytes | None]) -> tuple[int, int]:
    """The status of a request whose body is these parts; how many were taken; None: none comes."""
    taken, statuses = 0, []

    async def receive() -> Message:
        nonlocal taken
        part = parts[taken]
        if part is None:
            await asyncio.sleep(60)
        taken += 1
        return {"type": "http.request", "body": part, "more_body": taken < len(parts)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/api/v1/localize",
        "query_string": b"",
        "client": ("10.0.0.9", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(app(scope, receive, send))
    (status,) = statuses
    return status, taken


@pytest.mark.parametrize(
    "form",
    [
        b"".join(
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' for _ in range(1500)
        ),
        BEGIN.replace(b"a.jpg", b"a" * 100_000) + b"x\r\n",
        b"--x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"\r\nx\r\n",
        b"--x\r\n\r\nx\r\n",
        BEGIN,
        b"",
    ],
    ids=["many fields", "long name", "many headers", "no name", "cut off", "empty"],
)
def test_a_hostile_form_is_refused(world: World, form: bytes) -> None:
    client = world.as_role("ann")
    for address in ("localize", "jobs", "position"):
        refused = client.post(address, content=form + b"--x--\r\n", headers=FORM)
        problem(refused, refused.status_code)
        assert 400 <= refused.status_code < 500


def test_a_hostile_connection_is_closed_and_others_are_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers that do not come or do not end, what is no HTTP, upgrades to what is not spoken."""
    monkeypatch.setattr(slow_clients, "HEAD_S", 0.5)
    config = uvicorn.Config(world.app, http=Impatient, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        place = listening.getsockname()
        thread = Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            status = b"GET /api/v1/status HTTP/1.1\r\nHost: photos.example\r\n"
            upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"
            assert talk(place, b"") == b""
            assert talk(place, status) == b""  # its headers never end
            assert talk(place, status + b"X: " + b"y" * 100_000).startswith(b"HTTP/1.1 400")
            assert talk(place, b"\x16\x03\x01 no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")
            assert talk(place, status + upgrade + b"\r\n").startswith(b"HTTP/1.1 200")
            assert b"nobody" not in talk(place, status + b"Connection: close\r\n\r\n")
        finally:
            server.should_exit = True
            thread.join()


def talk(place: tuple[str, int], request: bytes) -> bytes:
    """All that comes back, until the server closes the connection or has answered."""
    with socket.create_connection(place, timeout=30) as connection:
        connection.sendall(request)
        found = connection.recv(65536)
        while found and b"}" not in found and (more := connection.recv(65536)):
            found += more
        return found


def test_no_websocket_is_opened(world: World) -> None:
    for address in ("/", "/api/v1/status", "/api/v1/jobs/1/events"):
        with pytest.raises(WebSocketDisconnect), world.client.websocket_connect(address):
            pass


def test_a_method_is_what_it_is(world: World) -> None:
    client = world.as_role("ann")
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        problem(client.post("answers/1", headers={name: "DELETE"}), 405)
        assert client.get("session?_method=DELETE", headers={name: "DELETE"}).status_code == 200
    assert client.get("session").status_code == 200
    for method in ("TRACE", "PATCH", "PUT", "CONNECT"):
        problem(client.request(method, "answers/1"), 405)


def test_a_fault_tells_nothing_outside_and_moves_no_cursor_in_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(*_: object) -> None:
        raise RuntimeError("the secret")

    monkeypatch.setattr(api_catalogue, "find_border", faulty)
    client = TestClient(world.app, "http://photos.example", raise_server_exceptions=False)
    client.cookies = world.as_role("ann").cookies
    refused = problem(client.get("/api/v1/countries/a%0aERROR forged%1b[2J%e2%80%ae"), 500)
    assert "secret" not in json.dumps(refused)
    (line,) = (one.getMessage() for one in caplog.records if one.name == "geosearch.web.problems")
    assert line == "GET /api/v1/countries/a\\nERROR forged\\x1b[2J\\u202e"


def test_what_strangers_wrote_is_data_and_never_a_page(world: World, tmp_path: Path) -> None:
    script = "<script>alert(1)</script>"
    picture = photo_files.photo(
        photo_files.gps(1, 2), size=(64, 48), image_tags={0x013B: script, 0x010E: script}
    )
    name = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    name.write_bytes(picture)
    ingest(world.database, [name], collection=script)
    with world.database.connection() as connection:
        row = connection.execute("SELECT max(id) FROM geosearch.photos").fetchone()
    assert row is not None
    client = world.as_role("ann")
    photo = client.get(f"photos/{row[0]}")
    assert (photo.json()["author"], photo.json()["collection"]) == (script, script)
    answers = [
        photo,
        client.get("choices"),
        client.get("collections"),
        client.get(f"countries/{script}"),
        client.get(f"http://photos.example/api/v1/{script}"),
        client.post("localize", files={"photo": (name.name, b"no photo")}),
        client.get(f"tiles/{script}/0/0/0.mvt"),
    ]
    for found in answers:
        assert found.headers["content-type"] in ("application/json", "application/problem+json")
        assert found.headers["x-content-type-options"] == "nosniff"
    delete_collection(world.database, script)


@pytest.mark.parametrize(
    "filter_",
    [
        '{"not":' * 2000 + "{}" + "}" * 2000,
        '{"authors": ["\\u0000"]}',
        '{"authors": ["\\ud800"]}',
        '{"photos": [1e400]}',
        '{"photos": [' + "9" * 400 + "]}",
        '{"bbox": [NaN, 0, 1, 1]}',
        '{"near": [0, 0, 1e999]}',
        '{"after": "9999-99-99"}',
        '{"sha256": ["zz"]}',
        "[]",
        "null",
        '"x"',
    ],
)
def test_a_hostile_filter_is_refused_or_passes_nothing(world: World, filter_: str) -> None:
    client = world.as_role("ann")
    found = client.get("photos", params={"filter": filter_})
    assert found.status_code < 500, found.text
    assert found.status_code >= 400 or found.json()["photos"] == []
    headers = {"Content-Type": "application/json"}
    found = client.post("filters/check", content=f'{{"filter": {filter_}}}', headers=headers)
    assert found.status_code < 500, found.text
