"""The page in Chromium without a network: how soon it is there, how soon a photo is answered.

Each round loads the page in a fresh profile, with nothing but the server to be reached, then drops
a JPEG of 12 megapixels and 3 MB. Times are medians over the rounds, milliseconds.

    python benchmarks/page.py --rounds 9
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from arguments import read_arguments
from PIL import Image
from serve import server, space

from geosearch.web.page_files import FOLDER

#: Pixels and bytes of the photo that is dropped.
SIZE, BYTES = (4000, 3000), 3_000_000

#: In the page: when one can drop a photo, and when the map was drawn, after the navigation began.
LOADED = """async () => {
    const there = (what) => new Promise((resolve) => {
        const look = () => what() ? resolve(performance.now()) : requestAnimationFrame(look);
        look();
    });
    const ready = await there(() => document.querySelector('#files'));
    const map = await there(() => performance.getEntriesByName('map drawn').length > 0);
    const [paint] = performance.getEntriesByName('first-contentful-paint');
    return {paint: paint.startTime, ready, map};
}"""

#: In the page: a photo is dropped, and its answer painted; of its request, when what was sent.
DROPPED = """async (text) => {
    const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
    const given = new DataTransfer();
    given.items.add(new File([bytes], 'dropped.jpg', {type: 'image/jpeg'}));
    performance.clearResourceTimings();
    const start = performance.now();
    document.querySelector('main').dispatchEvent(
        new DragEvent('drop', {dataTransfer: given, bubbles: true, cancelable: true}));
    // When the frame with the answer's first words was on the screen.
    const end = await new Promise((resolve) => new PerformanceObserver((list) => {
        for (const each of list.getEntries()) {
            if (each.identifier === 'answer') resolve(each.renderTime);
        }
    }).observe({type: 'element', buffered: true}));
    const asked = performance.getEntriesByType('resource')
        .filter(({name}) => name.endsWith('/localize'))[0];
    return {
        answer: end - start,
        before: asked.requestStart - start,
        server: asked.responseStart - asked.requestStart,
        download: asked.responseEnd - asked.responseStart,
        shown: end - asked.responseEnd,
        kb: asked.transferSize / 1000,
    };
}"""


def main() -> None:
    arguments = read_arguments(__doc__, references=1500, queries=150, rounds=9)
    from playwright.sync_api import sync_playwright

    with space(arguments.references, arguments.queries) as (gs, folder):
        gs.calibrate(folder / "queries.csv")
        photo = dropped_photo(folder / "queries" / "000003.jpg")
        with server(gs.database) as (address, _), sync_playwright() as program:
            root = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = program.chromium.launch(executable_path=shutil.which("chromium"), args=root)
            rounds = [measured(browser, address, photo) for _ in range(arguments.rounds + 1)]
    # The first has the browser's own caches to fill.
    result = {name: statistics.median(one[name] for one in rounds[1:]) for name in rounds[0]}
    result["javascript_kb"] = javascript_kb()
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.references} references, {os.cpu_count()} cores, {len(photo):,} bytes")
    for name, value in result.items():
        print(f"{name:<24}{value:>10,.0f}")


def measured(browser: Any, address: str, photo: bytes) -> dict[str, float]:
    """Milliseconds of one load and one drop, by what was waited for."""
    from base64 import b64encode

    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    # The cable is pulled: only the server is there.
    page.route(lambda url: not url.startswith(f"http://{address}"), lambda route: route.abort())
    page.goto(f"http://{address}/", wait_until="commit")
    found = {f"load_{name}": ms for name, ms in page.evaluate(LOADED).items()}
    with page.expect_response("**/localize") as reply:
        dropped = page.evaluate(DROPPED, b64encode(photo).decode())
    found |= {f"drop_{name}": ms for name, ms in dropped.items()}
    elapsed = reply.value.json()["elapsed_ms"]
    found |= {f"answer_{name}": ms for name, ms in elapsed.items()}
    context.close()
    return found


def dropped_photo(picture: Path) -> bytes:
    """The picture as a camera would have taken it: of `SIZE`, and of about `BYTES` as a JPEG."""
    with Image.open(picture) as image:
        large = np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC), np.float32)
    noisy = large + np.random.default_rng(0).normal(0, 5, large.shape).astype(np.float32)
    grown = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    for quality in range(95, 40, -3):
        stream = io.BytesIO()
        grown.save(stream, "JPEG", quality=quality)
        if stream.tell() <= BYTES:
            break
    return stream.getvalue()


def javascript_kb() -> float:
    """All code of the page, gzipped, kilobytes."""
    return sum(len(gzip.compress(file.read_bytes())) for file in FOLDER.rglob("*.js")) / 1000


if __name__ == "__main__":
    main()
