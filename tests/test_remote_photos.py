"""Photos at URLs: a server that misbehaves costs its photo, never the run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest

from geosearch.database.connection import Database
from geosearch.errors import InputError, PhotoRejected, Reason
from geosearch.ingest import ingest
from geosearch.ingest.rejects import list_rejects
from geosearch.settings import image_settings
from geosearch.storage import read_bytes

from .photo_files import gps, photo

web = pytest.importorskip("aiohttp.web")

PHOTO = photo(gps(1, 2))


@dataclass
class Site:
    """A web server in a thread; `asked` counts the requests by path with query."""

    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: Any) -> Any:
        self.asked[request.raw_path] += 1
        times = self.asked[request.raw_path]
        name = request.path.rpartition("/")[2]
        if name.startswith("busy") and times <= 2:
            return web.Response(status=int(request.query.get("status", 503)))
        if name.startswith("always"):
            return web.Response(status=429, headers={"Retry-After": "3600"})
        if name.startswith("gone"):
            return web.Response(status=404)
        if name.startswith("hang"):
            await asyncio.sleep(60)
        if name.startswith(("drip", "cut")):
            response = web.StreamResponse(headers={"Content-Length": str(len(PHOTO))})
            await response.prepare(request)
            await response.write(PHOTO[:100])
            while name.startswith("drip"):
                await asyncio.sleep(0.2)
                await response.write(b"x")
            if times == 1 or name.startswith("cutalways"):
                request.transport.close()
                return response
            await response.write(PHOTO[100:])
            return response
        if name.endswith(".csv"):
            return web.Response(text="file,lat,lon\nx.jpg?sig=1,1,2\nhang.jpg,1,2\nw.jpg,3,4\n")
        if name.startswith("big"):
            return web.Response(body=bytes(2000))
        if name == "empty":
            return web.Response(text="<html>nothing</html>", content_type="text/html")
        return web.Response(body=photo(gps(1, 2), shade=hash(name) % 1000))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("GEOSEARCH_PRIVATE_URLS", "yes")
    monkeypatch.setenv("GEOSEARCH_URL_TIMEOUT", "2")
    monkeypatch.setattr("geosearch.storage._PAUSES", (0.01, 0.02, 0.04))
    image_settings.cache_clear()
    fsspec.filesystem("http").clear_instance_cache()
    made, loop, ready = Site(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        application = web.Application()
        application.router.add_get("/{path:.*}", made.answer)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        server = web.TCPSite(runner, "127.0.0.1", 0)
        await server.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
        await runner.cleanup()

    stop = threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    yield made
    stop.set()
    thread.join(30)
    image_settings.cache_clear()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(site: Site, status: int) -> None:
    assert read_bytes(f"{site.url}/busy.jpg?status={status}")
    assert sum(site.asked.values()) == 3


@pytest.mark.parametrize(
    ("name", "said", "asked"),
    [
        ("gone.jpg", "the server answers 404 Not Found", 1),
        ("always.jpg", "the server answers 429 Too Many Requests", 1),  # it asks for an hour
        ("hang.jpg", "no answer within 2 seconds", 1),
        ("drip.jpg", "no answer within 2 seconds", 1),
        ("cutalways.jpg", "the server breaks off", 4),
    ],
)
def test_a_server_that_gives_nothing_is_a_reject_in_words(
    site: Site, name: str, said: str, asked: int
) -> None:
    started = time.monotonic()
    with pytest.raises(PhotoRejected) as raised:
        read_bytes(f"{site.url}/{name}")
    assert (raised.value.reason, raised.value.message) == (Reason.UNREADABLE, said)
    assert time.monotonic() - started < 20  # and not for ever
    assert site.asked[f"/{name}"] == asked


def test_a_transfer_that_was_cut_off_is_taken_up_again(site: Site) -> None:
    assert read_bytes(f"{site.url}/cut.jpg") == PHOTO


def test_a_server_that_is_not_there_is_named(site: Site) -> None:
    with pytest.raises(PhotoRejected, match=r"cannot connect to 127\.0\.0\.1:1"):
        read_bytes("http://127.0.0.1:1/a.jpg")


@pytest.mark.parametrize(
    "path",
    [
        "/a.jpg?x=1",
        "/a.jpg?X-Amz-Signature=ab%2Bcd%2F%3D&X-Amz-Date=2021%3A01",
        "/sub%20folder/a%2Fb.jpg?sig=%E2%82%AC",
    ],
)
def test_a_url_is_asked_for_as_it_is_written(site: Site, path: str) -> None:
    assert read_bytes(site.url + path)
    assert list(site.asked) == [path]


def test_letters_that_no_url_may_hold_are_escaped(site: Site) -> None:
    assert read_bytes(f"{site.url}/é 100%.jpg")
    assert list(site.asked) == ["/%C3%A9%20100%25.jpg"]


def test_no_more_is_taken_than_a_photo_may_have(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEARCH_MAX_BYTES", "1000")
    image_settings.cache_clear()
    with pytest.raises(PhotoRejected) as raised:
        read_bytes(f"{site.url}/big.jpg")
    assert raised.value.reason == Reason.TOO_LARGE


def test_sources_may_be_urls_with_queries(site: Site, database: Database) -> None:
    summary = ingest(database, [f"{site.url}/a.jpg?x=1"], collection="a")
    assert (summary.seen, summary.added) == (1, 1)
    summary = ingest(database, [f"{site.url}/sub/m.csv?sig=a/b"], collection="b")
    assert (summary.seen, summary.added, summary.rejected) == (3, 2, 1)
    (reject,) = list_rejects(database, collection="b")
    assert reject.uri == f"{site.url}/sub/hang.jpg"
    with database.connection() as connection:
        found = connection.execute("SELECT uri FROM geosearch.photos ORDER BY uri").fetchall()
    assert [uri for (uri,) in found] == [
        f"{site.url}/a.jpg?x=1",
        f"{site.url}/sub/w.jpg",
        f"{site.url}/sub/x.jpg?sig=1",
    ]


def test_a_url_with_nothing_at_it_is_an_error(site: Site, database: Database) -> None:
    with pytest.raises(InputError, match="nothing at"):
        ingest(database, [f"{site.url}/empty"], collection="a")


# ---- an object store ----------------------------------------------------------------------------


def test_photos_in_a_bucket_are_listed_and_read(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        bucket = fsspec.filesystem("s3", skip_instance_cache=True)
        bucket.mkdir("photos")
        bucket.pipe("photos/2019/a.jpg", photo(gps(1, 2), shade=1))
        bucket.pipe("photos/2019/b é.jpg", photo(gps(1, 2), shade=2))
        bucket.pipe("photos/2019/@eaDir/a.jpg", photo(gps(1, 2), shade=3))
        bucket.pipe("photos/2019/c.cr3", b"x")
        bucket.pipe("photos/m.csv", b"file,lat,lon\n2019/a.jpg,3,4\n2019/none.jpg,1,2\n")
        fsspec.filesystem("s3").clear_instance_cache()
        summary = ingest(database, ["s3://photos/2019"], collection="a")
        assert (summary.seen, summary.added, summary.unread) == (2, 2, {".cr3": 1})
        summary = ingest(database, ["s3://photos/m.csv"], collection="b")
        assert (summary.seen, summary.added, summary.rejected) == (2, 1, 1)
    finally:
        server.stop()
