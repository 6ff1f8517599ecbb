"""The page in a real Chromium, against the real server and a real PostgreSQL.

`GEOSEARCH_PICTURES=docs` has it write the pictures of docs/web.md there, from more photos.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from PIL import Image

from geosearch.database import migrations
from geosearch.database.connection import Database
from geosearch.features import embed, load_backbone
from geosearch.ingest import ingest
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.sphere import great_circle_km
from geosearch.web.page_files import FOLDER
from tests import photo_files
from tests.conftest import create_database, drop_database, free_port, running_server

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = os.environ.get("GEOSEARCH_PICTURES")
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1200 if PICTURES else 300),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(not (FOLDER / "index.html").is_file(), reason="the page is not built"),
]
playwright = pytest.importorskip("playwright.sync_api")

WIDE = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}
REFERENCES = 1500 if PICTURES else 120
#: Milliseconds: a map without a graphics card takes long on a busy machine.
PATIENCE = 60_000


@pytest.fixture(scope="module")
def folder(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views of the Earth in the database, by three authors; and some to ask about."""
    folder = tmp_path_factory.mktemp("sample")
    queries = 150 if PICTURES else 4
    write_space_sample(SpaceSample(references=REFERENCES, queries=queries), folder)
    ingest(module_database, [folder / "references"], collection="space")
    with module_database.connection() as connection:
        connection.execute(
            "UPDATE geosearch.photos SET author = 'Author ' || id % 3, "
            "taken_at = timestamptz '2012-01-01Z' + id * interval '1 day'"
        )
    embed(module_database, load_backbone(device="cpu"))
    if PICTURES:
        from geosearch.client import Geosearch

        Geosearch(module_database).calibrate(folder / "queries.csv")
    return folder


#: Has the server take this machine for another one on the Internet.
_TRUSTING = """
import runpy
from geosearch import storage
storage.is_public = lambda _: True
runpy.run_module("geosearch", run_name="__main__", alter_sys=True)
"""


@contextmanager
def serving(url: str, *arguments: str, trusting: bool = False, **settings: str) -> Iterator[str]:
    """The address of `geosearch serve` on a database."""
    program = ["-c", _TRUSTING] if trusting else ["-m", "geosearch"]
    command = [sys.executable, *program, "serve", "--port", "0", "--json", *arguments]
    environment = os.environ | {"GEOSEARCH_DATABASE_URL": url} | settings
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield str(json.loads(server.stdout.readline())["address"])
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def address(module_database: Database, folder: Path) -> Iterator[str]:
    with serving(module_database.url) as address:
        yield address


@pytest.fixture(scope="module")
def program() -> Iterator[Any]:
    with playwright.sync_playwright() as program:
        yield program


@pytest.fixture(scope="module")
def browser(program: Any) -> Iterator[Any]:
    with launched(program) as browser:
        yield browser


@pytest.fixture(scope="module")
def plain_browser(program: Any) -> Iterator[Any]:
    """One that draws no map, which takes long without a graphics card."""
    without = [] if PICTURES else ["--disable-gpu", "--disable-software-rasterizer"]
    with launched(program, *without) as browser:
        yield browser


@contextmanager
def launched(program: Any, *options: str) -> Iterator[Any]:
    # As root, Chromium has no sandbox of its own.
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = program.chromium.launch(executable_path=CHROMIUM, args=[*root, *options])
    yield browser
    browser.close()


Opener = Callable[..., Any]


@pytest.fixture
def opened(plain_browser: Any, address: str) -> Iterator[Opener]:
    """Open the page in a fresh profile, without a map: all is in words and pictures too."""
    with opener(plain_browser, address) as open_page:
        yield open_page


@pytest.fixture
def mapped(browser: Any, address: str) -> Iterator[Opener]:
    """Open the page in a fresh profile, with its map."""
    with opener(browser, address) as open_page:
        yield open_page


@contextmanager
def opener(browser: Any, address: str) -> Iterator[Opener]:
    """What opens pages; at the end, nothing has failed in them unseen."""
    contexts, failures = [], list[str]()

    def heard(said: Any) -> None:
        if "Content Security Policy" in said.text:
            failures.append(said.text)

    def open_page(path: str = "/", viewport: Any = WIDE, **options: Any) -> Any:
        context = browser.new_context(viewport=viewport, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", heard)
        page.goto(path if "://" in path else address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert failures == []


@pytest.fixture(scope="module")
def query(folder: Path) -> Path:
    return folder / "queries" / "000003.jpg"


def give(page: Any, *photos: Any) -> None:
    """Choose photos: paths, or what playwright takes for files."""
    page.wait_for_selector("#files", state="attached")
    page.set_input_files("#files", [*photos])


def sentence(page: Any) -> str:
    """The answer's first words, as soon as they are there."""
    page.wait_for_selector("main:not([aria-busy]) aside:not(.faint) .sentence h1")
    return str(page.inner_text(".sentence h1"))


def asked(page: Any) -> Any:
    """What the address says was asked."""
    return json.loads(parse_qs(urlsplit(page.url).query).get("f", ["{}"])[0])


def answered(page: Any, act: Callable[[], None]) -> Any:
    """The answer that the page gets for what is done to it."""
    with page.expect_response(lambda reply: reply.url.endswith("/again")) as found:
        act()
    return found.value.json()


def picture(page: Any, name: str) -> None:
    """Keep how the page looks, where that is asked for."""
    if PICTURES:
        page.wait_for_timeout(6000)
        shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        few = shown.quantize(256, kmeans=1, dither=Image.Dither.NONE)
        few.save(Path(PICTURES) / name, optimize=True)


# ---- in and out ---------------------------------------------------------------------------------


def test_a_dropped_photo_is_answered_in_words_and_on_the_map(mapped: Opener, query: Path) -> None:
    page = mapped(color_scheme="dark")
    page.wait_for_selector("canvas")
    data = page.evaluate_handle(
        """(bytes) => {
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(bytes)], 'where.jpg', {type: 'image/jpeg'}));
            return given;
        }""",
        list(query.read_bytes()),
    )
    for kind in ("dragover", "drop"):
        page.dispatch_event("main", kind, {"dataTransfer": data})
    said = sentence(page)
    assert re.search(r"/a/\d+", page.url)
    assert said in page.get_attribute(".map", "aria-label")
    assert page.locator(".head img").get_attribute("alt") == "Your photo, where.jpg"
    # The estimate is drawn: the colour is on the map, which has it nowhere else.
    page.wait_for_timeout(3000)
    assert shows(page, (255, 180, 84))
    picture(page, "web-answer.png")


def shows(page: Any, colour: tuple[int, int, int]) -> bool:
    """Whether a colour is on the map."""
    drawn = Image.open(io.BytesIO(page.locator(".map").screenshot())).convert("RGB")
    apart = np.abs(np.asarray(drawn, np.int16) - np.array(colour, np.int16))
    return bool((apart < 6).all(axis=-1).any())


def test_several_photos_wait_for_one_another(opened: Opener, folder: Path) -> None:
    page = opened()
    give(page, *sorted((folder / "queries").glob("*.jpg"))[:3])
    page.wait_for_selector(".queue .answered:nth-child(3)")
    first = page.url
    page.click(".queue li:nth-child(3) button")
    assert page.locator(".queue [aria-current]").count() == 1
    assert page.url != first


def test_neighbours_and_figures_are_those_of_the_api(
    opened: Opener, query: Path, address: str
) -> None:
    page = opened()
    give(page, query)
    sentence(page)
    number = re.search(r"/a/(\d+)", page.url)
    assert number is not None
    found = page.request.get(f"{address}/api/v1/answers/{number[1]}?include=regions").json()
    assert page.locator(".neighbours li").count() == len(found["neighbours"])
    region = found["regions"]["features"][-1]["properties"]
    assert f"50 % region, {region['area_km2']:,.0f} km²" in page.inner_text(".regions")
    page.click(".found summary")
    assert "packaged/efficientnet-lite0" in page.inner_text(".found")
    assert "100.0 % of the true neighbours" in page.inner_text(".found")


def test_a_photo_of_another_site_is_asked_about_by_its_address(
    opened: Opener, query: Path, module_database: Database
) -> None:
    class Elsewhere(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(query.parent))

        def log_message(self, *_: Any) -> None:
            pass

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other,
        serving(module_database.url, trusting=True) as address,
    ):
        Thread(target=other.serve_forever, daemon=True).start()
        page = opened(address)
        there = f"http://127.0.0.1:{other.server_address[1]}"
        page.fill("#address", f"{there}/{query.name}")
        page.keyboard.press("Enter")
        sentence(page)
        shown = page.get_attribute(".head img", "src")
        assert shown.startswith("data:image/webp;base64,")
        # Pasted as text, as from the address bar; and there is nothing.
        page.evaluate(
            """(address) => {
                const given = new DataTransfer();
                given.setData('text/plain', address);
                const paste = new ClipboardEvent('paste', {clipboardData: given, bubbles: true});
                document.body.dispatchEvent(paste);
            }""",
            f"{there}/nothing.jpg",
        )
        page.wait_for_selector("text=nothing.jpg: the server answers 404")
        other.shutdown()


def test_who_has_no_photo_tries_one_of_the_collections_without_itself(opened: Opener) -> None:
    page = opened()
    page.wait_for_selector(".samples li:nth-child(6)")
    with page.expect_response("**/localize/stored") as found:
        page.click(".samples li:nth-child(2) button")
    answer = found.value.json()
    assert answer["excluded"]["same_bytes"] == 1
    sentence(page)
    page.wait_for_selector("img.query[src*='/thumbnail']")
    page.reload()
    page.wait_for_selector("img.query[src$='/picture']")


def test_a_density_is_smooth_at_any_zoom(mapped: Opener, query: Path) -> None:
    page = mapped(color_scheme="dark")
    give(page, query)
    sentence(page)
    page.wait_for_timeout(4000)
    zoom, lat, lon = map(float, page.url.split("#")[1].split("/"))
    page = mapped(f"{page.url.split('#')[0]}#{max(zoom + 2, 6)}/{lat}/{lon}", color_scheme="dark")
    sentence(page)
    page.click(".position button")  # to the estimate, where it is densest
    page.wait_for_timeout(5000)
    drawn = Image.open(io.BytesIO(page.locator(".map").screenshot())).convert("RGB")
    red = np.asarray(drawn, np.int16)[60:560, 40:480, 0]  # where nothing lies over the map
    assert np.percentile(red, 99) - np.percentile(red, 1) > 20
    # Cells would have sides that go on through many rows; what is left are names and dots.
    assert np.abs(np.median(np.diff(red, axis=1), axis=0)).max() <= 1


def test_the_map_takes_another_theme_with_all_that_is_drawn_on_it(
    mapped: Opener, query: Path
) -> None:
    def drawn() -> NDArray[np.int16]:
        page.wait_for_timeout(4000)
        seen = Image.open(io.BytesIO(page.locator(".map").screenshot())).convert("RGB")
        return np.asarray(seen, np.int16)

    page = mapped(color_scheme="dark")
    give(page, query)
    sentence(page)
    drawn()
    page.reload()  # the map is now where the address says, to its last digit
    sentence(page)
    drawn()
    page.click("header >> text=◐")
    changed = drawn()
    page.reload()
    sentence(page)
    assert np.abs(drawn() - changed).mean() < 1


# ---- asking in another way ----------------------------------------------------------------------


def test_areas_drawn_on_the_map_change_the_answer(mapped: Opener, query: Path) -> None:
    page = mapped()
    give(page, query)
    before = sentence(page)
    # Much of the world: there are photos in any large area of it.
    page = mapped(page.url.split("#")[0] + "#1.5/25/20")
    sentence(page)
    page.wait_for_selector("canvas")

    def drawn(shape: str, hint: str, *corners: tuple[int, int]) -> Any:
        page.click(f".areas >> text={shape}")
        page.wait_for_selector(f"text={hint}")
        page.wait_for_timeout(500)
        ground = page.locator(".map").bounding_box()
        x, y = ground["x"] + ground["width"] / 2, ground["y"] + ground["height"] / 2

        def draw() -> None:
            for right, down in corners:
                page.mouse.move(x + right, y + down, steps=4)
                page.mouse.click(x + right, y + down)

        found = answered(page, draw)
        assert found["neighbours"]
        return found["neighbours"]

    found = drawn("Box", "Click two corners", (-250, -150), (100, 100))
    west, south, east, north = asked(page)["filter"]["bbox"]
    assert west < east
    assert south < north
    for one in found:
        assert south <= one["lat"] <= north
        assert west <= one["lon"] <= east
    page.wait_for_selector("text=of 120 photos pass" if not PICTURES else "text=pass")
    picture(page, "web-filter.png")
    found = drawn("Circle", "Click the middle", (0, 0), (150, 0))
    lat, lon, km = asked(page)["filter"]["near"]
    assert (lat, lon) == (pytest.approx(25, abs=2), pytest.approx(20, abs=2))
    for one in found:
        assert great_circle_km(lat, lon, one["lat"], one["lon"]) <= km
    drawn("Polygon", "Click the corners", (-200, -150), (200, -150), (0, 150), (0, 150))
    (ring,) = asked(page)["filter"]["within"]["coordinates"]
    assert len(ring) == 4
    page.click("text=Back to the recorded answer")
    page.wait_for_selector("text=This is a changed question", state="detached")
    assert sentence(page) == before


def test_a_country_is_outlined_on_the_map(mapped: Opener, query: Path) -> None:
    page = mapped("/#3/-25/134", color_scheme="light")
    page.wait_for_selector("canvas")
    page.wait_for_timeout(2000)
    assert not shows(page, (49, 86, 196))
    page.fill("#country", "Australia")
    with page.expect_response("**/countries/Australia"):
        page.keyboard.press("Enter")
    page.wait_for_timeout(3000)
    assert shows(page, (49, 86, 196))
    asked_for = list[str]()
    page.on("request", lambda request: asked_for.append(request.url))
    page.fill("#after", "2012-01-02")
    page.wait_for_timeout(3000)
    assert shows(page, (49, 86, 196))
    assert [url for url in asked_for if "/countries/" in url] == []  # it is known by now


def test_dates_are_chosen_by_two_thumbs(opened: Opener, query: Path) -> None:
    page = opened()
    give(page, query)
    sentence(page)
    assert page.locator(".dates .bars span").count() == 40
    page.focus("#taken-from")
    page.keyboard.press("ArrowRight")
    found = answered(page, lambda: page.keyboard.press("PageUp"))
    assert page.evaluate("document.activeElement.id") == "taken-from"
    first = asked(page)["filter"]["after"]
    assert first > "2012-01-03"
    assert page.get_attribute("#taken-from", "aria-valuetext") == first
    assert all(photo["taken_at"] >= first for photo in found["photos"])
    page.focus("#taken-until")
    found = answered(page, lambda: page.keyboard.press("PageDown"))
    bounds = {name: value for part in asked(page)["filter"]["and"] for name, value in part.items()}
    assert bounds["after"] == first
    assert all(first <= photo["taken_at"] < bounds["before"] for photo in found["photos"])
    assert found["photos"]
    said = page.inner_text(".dates output")
    assert said.startswith(f"{first} – ")
    # Neither passes the other.
    page.focus("#taken-until")
    answered(page, lambda: page.keyboard.press("Home"))
    assert page.input_value("#taken-until") == page.input_value("#taken-from")


def test_an_author_left_out_is_gone_and_can_come_back(opened: Opener, query: Path) -> None:
    page = opened()
    give(page, query)
    sentence(page)
    page.click(".neighbours li:first-child button")
    page.wait_for_selector(".comparison")
    author = page.inner_text(".comparison dt:has-text('Author') + dd")
    picture(page, "web-compare.png")
    found = answered(page, lambda: page.click("text=Leave out its author"))
    assert asked(page) == {"exclude_authors": [author]}
    assert author not in {photo["author"] for photo in found["photos"]}
    assert found["neighbours"]
    page.click("text=Bring them back")
    page.wait_for_selector("text=This is a changed question", state="detached")
    assert asked(page) == {}
    page.click(".neighbours li:first-child button")
    assert page.inner_text(".comparison dt:has-text('Author') + dd") == author


def test_back_and_forward_go_through_answers(opened: Opener, query: Path) -> None:
    page = opened()
    give(page, query)
    first = sentence(page)
    answered(page, lambda: page.select_option("#authors", "Author 1"))
    page.wait_for_selector("text=This is a changed question")
    page.go_back()
    page.wait_for_selector("text=This is a changed question", state="detached")
    assert sentence(page) == first
    answered(page, page.go_forward)
    page.wait_for_selector("text=This is a changed question")
    assert page.input_value("#authors") == "Author 1"


def test_a_filter_that_nothing_passes_says_which_condition_empties_it(
    opened: Opener, query: Path
) -> None:
    page = opened()
    give(page, query)
    sentence(page)
    page.fill("#after", "2031-01-01")
    answered(page, lambda: page.dispatch_event("#after", "change"))
    page.wait_for_selector("h1:has-text('No photo passes the filter.')")
    page.wait_for_selector("text=Without “after 2031-01-01")


def test_a_copied_address_shows_the_same_to_others(opened: Opener, query: Path) -> None:
    page = opened()
    give(page, query)
    sentence(page)
    answered(page, lambda: page.select_option("#authors", "Author 2"))
    page.wait_for_selector("text=This is a changed question")
    said = sentence(page)
    other = opened(page.url)
    other.wait_for_selector("text=This is a changed question")
    assert sentence(other) == said
    assert other.input_value("#authors") == "Author 2"
    alt = "The photo that was asked about, 000003.jpg"
    other.wait_for_function(
        "alt => [...document.images].some(each => each.alt === alt && each.naturalWidth > 0)",
        arg=alt,
    )
    # What its filter names is not there, or not theirs to see: the two are not told apart.
    hidden = json.dumps({"filter": {"collection": "somebody else's"}})
    other = opened(page.url.split("?")[0] + "?" + urlencode({"f": hidden}))
    other.wait_for_selector("text=The link asks for something that is not there, or not yours")
    assert other.locator(".neighbours li").count() > 10


# ---- guess, then reveal -------------------------------------------------------------------------


def test_a_photos_own_position_is_hidden_until_it_is_asked_for(
    opened: Opener, query: Path, address: str
) -> None:
    told = io.BytesIO()
    exif = Image.open(io.BytesIO(photo_files.photo(photo_files.gps(47.5, 8.5)))).getexif()
    with Image.open(query) as image:
        image.save(told, "JPEG", exif=exif.tobytes())
    page, sent = opened(), list[str]()
    page.on("request", lambda request: sent.append(request.url))
    give(page, {"name": "told.jpg", "mimeType": "image/jpeg", "buffer": told.getvalue()})
    sentence(page)
    assert not [url for url in sent if url.endswith("/position")]
    page.click("text=Reveal the photo's own position")
    page.wait_for_selector(".own:has-text('from the estimate')")
    assert [url for url in sent if url.endswith("/position")]
    number = page.url.split("/a/")[1].split("#")[0]

    def decided() -> list[Any]:
        return list(page.request.get(f"{address}/api/v1/answers/{number}/reviews").json())

    page.click("text=Ours is better")
    page.wait_for_selector("text=Noted: it was taken at the estimate.")
    page.click("text=Use it")
    page.wait_for_selector("text=Noted: it was taken at its own position.")
    ours, own = decided()
    assert (ours["decision"], own["decision"]) == ("accept", "move")
    assert (own["lat"], own["lon"]) == (pytest.approx(47.5), pytest.approx(8.5))
    page.click("text=Review all answers")
    page.wait_for_selector(".review td.move")


# ---- explore ------------------------------------------------------------------------------------


def test_exploring_leads_from_a_photo_to_its_likes_and_its_place(opened: Opener) -> None:
    page = opened("/explore?photo=7")
    page.click("text=Photos like this")
    page.wait_for_selector(".gallery li:nth-child(10)")
    picture(page, "web-explore.png")
    page.click("text=Place it without itself")
    sentence(page)
    assert page.locator(".neighbours li").count() > 10


def test_a_place_leads_to_the_nearest_photo_and_to_what_looks_like_it(
    mapped: Opener, address: str
) -> None:
    page = mapped("/explore#2/20/30")
    photos = page.request.get(f"{address}/api/v1/photos/near?lat=20&lon=30&km=20015").json()
    nearest = photos["photos"][0]["id"]
    page.wait_for_selector("canvas")
    page.wait_for_timeout(2000)
    ground = page.locator(".map").bounding_box()
    middle = ground["x"] + ground["width"] / 2, ground["y"] + ground["height"] / 2
    with page.expect_response(f"**/photos/{nearest}/like"):
        page.mouse.click(*middle, button="right")
    page.wait_for_selector("h1:has-text('What looks like this place')")
    page.wait_for_selector(".gallery li:nth-child(10)")
    page.click(".card")
    page.wait_for_url(f"**/explore?photo={nearest}*")
    # By its numbers, without a map; the nearest is shown large.
    page.click("nav >> text=Explore")
    page.fill("#here", "20, 30")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=near here")
    page.click("button:has-text('What looks like this place')")
    page.wait_for_selector(".gallery li:nth-child(10)")


# ---- review -------------------------------------------------------------------------------------


def test_answers_are_decided_on_by_the_keyboard(opened: Opener, folder: Path, address: str) -> None:
    page = opened()
    give(page, *sorted((folder / "queries").glob("*.jpg"))[:3])
    page.wait_for_selector(".queue .answered:nth-child(3)")
    page.click("nav >> text=Review")
    page.select_option("#order", "latest")
    page.wait_for_selector(".review tr[aria-current]")
    page.evaluate("document.activeElement.blur()")

    def listed() -> list[Any]:
        latest = page.request.get(f"{address}/api/v1/answers?limit=3").json()["answers"]
        return [answer["decision"] for answer in latest]

    def pressed(key: str, decided: str) -> None:
        with page.expect_response(re.compile("/reviews")) as replied:
            page.keyboard.press(key)
        assert replied.value.ok
        page.wait_for_selector(f".review .bar p:has-text('{decided}')")

    pressed("a", "accepted")
    pressed("r", "rejected")
    page.wait_for_selector(".head img[alt$='000001.jpg']")  # on to the next
    picture(page, "web-review.png")
    page.fill("#to", "47.5, 8.5")
    page.keyboard.press("Enter")
    page.wait_for_selector(".review .bar p:has-text('moved')")
    assert listed() == ["accept", "reject", "move"]
    page.evaluate("document.activeElement.blur()")
    page.click(".review tbody tr:nth-child(3)")
    for key, row in (("k", 2), ("j", 3)):
        page.keyboard.press(key)
        page.wait_for_selector(f".review tbody tr:nth-child({row})[aria-current]")
    pressed("u", "taken back")
    assert listed() == ["accept", "reject", None]


def test_many_are_accepted_once_their_number_was_said(
    opened: Opener, query: Path, address: str
) -> None:
    page = opened()
    give(page, query)
    sentence(page)
    page.click("nav >> text=Review")
    page.wait_for_selector(".review tr[aria-current]")
    page.click("text=Accept many …")
    page.fill("#many", "0")
    said = page.inner_text(".many .main")
    listed = page.request.get(f"{address}/api/v1/answers?limit=200").json()["answers"]
    undecided = [one["id"] for one in listed if one["decision"] is None and one["lat"] is not None]
    assert said == f"Accept {len(undecided)} answer{'s' * (len(undecided) != 1)}"
    page.click("text=Leave it")
    page.click("text=Accept many …")
    page.click(".many .main")
    page.wait_for_selector(f".review .bar p:has-text('{len(undecided)} answer')")
    listed = page.request.get(f"{address}/api/v1/answers?limit=200").json()["answers"]
    assert [one for one in listed if one["id"] in undecided and one["decision"] != "accept"] == []
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    page.wait_for_selector(".review .rows", state="hidden")
    page.keyboard.press("Space")
    page.wait_for_selector(".review .rows")
    page.wait_for_function("[...document.images].some(({src}) => src.endsWith('/picture'))")


# ---- states -------------------------------------------------------------------------------------


def test_what_is_no_photo_or_too_large_is_said_so(opened: Opener) -> None:
    page = opened()
    give(page, {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no picture at all"})
    page.wait_for_selector("text=notes.jpg is not a photo that can be read.")
    page.evaluate(
        """() => {
            const big = new File(['x'], 'big.jpg');
            Object.defineProperty(big, 'size', {value: 3e9});
            const given = new DataTransfer();
            given.items.add(big);
            const drop = new DragEvent('drop', {cancelable: true});
            const files = {files: [big], types: ['Files']};
            Object.defineProperty(drop, 'dataTransfer', {value: files});
            dispatchEvent(drop);
        }"""
    )
    page.wait_for_selector("text=big.jpg has 3,000.0 MB.")


def test_an_old_address_says_that_there_is_nothing(opened: Opener) -> None:
    page = opened("/a/999999")
    page.wait_for_selector("text=There is no answer 999999 that you may see.")
    page.wait_for_selector("text=or it rests on photos of which some are not yours to see")


def test_a_server_that_warms_up_or_goes_away_is_waited_for(opened: Opener, query: Path) -> None:
    page = opened("/explore")
    warming = {"state": "warming", "message": None, "login": False}
    page.route("**/api/v1/status", lambda route: route.fulfill(json=warming))
    page.goto(page.url.split("#")[0].replace("/explore", "/"))
    page.wait_for_selector("text=Warming up")
    page.unroute("**/api/v1/status")
    page.wait_for_selector("#files", state="attached")
    page.route("**/api/v1/**", lambda route: route.abort())
    give(page, query)
    page.wait_for_selector("text=The server does not answer.")
    page.unroute("**/api/v1/**")
    sentence(page)


def test_an_empty_database_says_how_to_fill_it(
    opened: Opener, template_database: str, server_url: str
) -> None:
    url = create_database(server_url, template_database)
    try:
        with serving(url) as address:
            page = opened(address)
            page.wait_for_selector("text=There are no photos to compare with yet.")
            page.wait_for_selector("text=geosearch ingest FOLDER")
    finally:
        drop_database(url)


def test_where_logins_are_asked_for_one_logs_in_and_out(opened: Opener) -> None:
    port = free_port()
    with running_server(port) as server:
        migrations.upgrade(server.url)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE ann LOGIN PASSWORD 'correct horse'")
            connection.execute("GRANT geosearch_analyst TO ann")
        with serving(str(server.tcp_url()), "--auth") as address:
            page = opened(address)
            for password in ("wrong", "correct horse"):
                page.fill("[name=username]", "ann")
                page.fill("[name=password]", password)
                page.keyboard.press("Enter")
                if password == "wrong":
                    page.wait_for_selector("text=Role or password is wrong.")
            page.wait_for_selector("#files", state="attached")
            # Others may see the answers: no picture is kept with them unless one says so.
            assert page.is_checked("#keep") is False
            page.click("text=Log out ann")
            page.wait_for_selector("[name=password]")


def test_names_of_strangers_are_text(opened: Opener, query: Path) -> None:
    name = "<img src=x onerror=alert(1)>.jpg"
    page = opened()
    page.on("dialog", lambda _: pytest.fail("a name was run as a script"))
    give(page, {"name": name, "mimeType": "image/jpeg", "buffer": query.read_bytes()})
    sentence(page)
    assert page.locator(".head img").get_attribute("alt") == f"Your photo, {name}"


# ---- for everyone -------------------------------------------------------------------------------


def test_it_fits_a_phone(mapped: Opener, query: Path) -> None:
    page = mapped(viewport=PHONE, has_touch=True, is_mobile=True, color_scheme="light")
    give(page, query)
    sentence(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    tops = {
        part: page.locator(part).bounding_box()["y"]
        for part in (".sentence", ".ground", ".strip", ".rest")
    }
    assert [*tops] == sorted(tops, key=lambda part: tops[part])
    picture(page, "web-phone.png")


def test_the_keyboard_reaches_what_the_mouse_does(opened: Opener, query: Path) -> None:
    page = opened()
    give(page, query)
    sentence(page)
    page.focus(".neighbours li:first-child button")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Neighbour 2,")
    page.keyboard.press("Enter")
    page.wait_for_selector(".comparison")
    assert page.evaluate("document.activeElement.innerText") == "Leave it out"
    page.keyboard.press("Escape")
    page.wait_for_selector(".comparison", state="detached")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Neighbour 2,")
    page.fill("#box", "-20, -40, 60, 40")
    found = answered(page, lambda: page.keyboard.press("Enter"))
    assert asked(page)["filter"] == {"bbox": [-20, -40, 60, 40]}
    assert all(-20 <= one["lon"] <= 60 for one in found["neighbours"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(mapped: Opener, query: Path, scheme: str) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make setup installs it where Node is")
    page = mapped(color_scheme=scheme)
    page.wait_for_selector("#files", state="attached")
    assert serious(page) == []
    give(page, query)
    sentence(page)
    page.click(".neighbours li:first-child button")
    page.wait_for_selector(".comparison")
    page.click(".found summary")
    assert serious(page) == []
    page.click("nav >> text=Explore")
    page.fill("#here", "20, 30")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=near here")
    assert serious(page) == []
    page.click("nav >> text=Review")
    page.wait_for_selector(".review tr[aria-current]")
    page.click("text=Accept many …")
    assert serious(page) == []


def serious(page: Any) -> list[str]:
    """What axe finds that keeps people out."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_another_map_style_is_taken_where_a_setting_names_it(
    browser: Any, query: Path, module_database: Database
) -> None:
    green = (0, 200, 100)
    style = {
        "version": 8,
        "sources": {},
        "layers": [
            {"id": "all", "type": "background", "paint": {"background-color": "#00c864"}},
        ],
    }

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(style).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        there = f"http://127.0.0.1:{other.server_address[1]}/style.json"
        with (
            serving(module_database.url, GEOSEARCH_BASEMAP_STYLE=there) as address,
            opener(browser, address) as mapped,
        ):
            page = mapped(color_scheme="dark")
            give(page, query)
            sentence(page)
            page.wait_for_timeout(4000)
            assert shows(page, green)
            assert shows(page, (255, 180, 84))  # and the answer on it
        other.shutdown()


def test_nothing_is_fetched_from_elsewhere(mapped: Opener, address: str, query: Path) -> None:
    page, asked_for = mapped(), list[str]()
    page.on("request", lambda request: asked_for.append(request.url))
    page.reload()
    give(page, query)
    sentence(page)
    page.wait_for_timeout(2000)
    assert len(asked_for) > 20
    assert [url for url in asked_for if not url.startswith((address, "blob:", "data:"))] == []


def test_its_code_is_small() -> None:
    code = sum(len(gzip.compress(file.read_bytes())) for file in FOLDER.rglob("*.js"))
    assert code < 450_000
