"""Pictures that cannot tell a place are known for what they are, and real ones are not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geosearch.features.low_information import low_information
from geosearch.features.preprocessing import Preprocessing
from geosearch.images import open_image
from geosearch.sample.views import Difficulty, Role, draw_view, render

WORDS = [
    "error",
    "failed",
    "at",
    "line",
    "import",
    "numpy",
    "as",
    "np",
    "return",
    "None",
    "dear",
    "sir",
    "we",
    "write",
    "to",
    "you",
    "today",
]


def seen(picture: Image.Image, quality: int | None = None) -> NDArray[np.uint8]:
    """The pixels that the default network sees of a PNG, or of a JPEG of a quality."""
    stream = io.BytesIO()
    if quality is None:
        picture.save(stream, "PNG")
    else:
        picture.save(stream, "JPEG", quality=quality)
    return PREPROCESSING.apply(open_image(stream.getvalue()))


def picture(lightness: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(lightness, 0, 255).astype(np.uint8)).convert("RGB")


def kinds() -> Iterator[tuple[str, set[str], Image.Image]]:
    """Names, the reasons allowed, and pictures."""
    rng = np.random.default_rng(0)
    for colour in ("black", "white", "grey", "red", "#1450c8"):
        for size in ((1, 1), (640, 480)):
            yield f"{colour} {size}", {"blank"}, Image.new("RGB", size, colour)
    y, x = np.mgrid[:300, :400].astype(float)
    for name, lightness in (
        ("noisy grey", 128 + 4 * rng.normal(size=x.shape)),
        ("lens cap", np.abs(3 * rng.normal(size=x.shape))),
    ):
        yield name, {"blank"}, picture(lightness)
    for name, lightness in (
        ("ramp", x / 2),
        ("sky", 220 - y / 3),
        ("spot", 255 - np.hypot(x - 200, y - 150)),
        ("wave", 128 + 127 * np.sin(x / 60)),
    ):
        yield name, {"smooth"}, picture(lightness)
    yield "static", {"noise"}, picture(rng.integers(0, 256, x.shape))
    yield "faint static", {"noise"}, picture(128 + 40 * rng.normal(size=x.shape))
    for paper, ink in (("white", "black"), ("#1e1e1e", "#dcdcdc"), ("#fdf6e3", "#657b83")):
        for size, height in (((800, 600), 14), ((1920, 1080), 16), ((390, 844), 20)):
            for words in (8, 80):
                page = Image.new("RGB", size, paper)
                draw, font = ImageDraw.Draw(page), ImageFont.load_default(height)
                for top in range(4, size[1], round(1.3 * height)):
                    line = " ".join(rng.choice(WORDS, int(rng.integers(2, words))))
                    draw.text((4, top), line, fill=ink, font=font)
                # The middle of a page of short lines is blank.
                yield f"{ink} text {size}, {words} words", {"text", "noise", "blank"}, page
    window = Image.new("RGB", (1280, 800), "white")
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, 1280, 200), fill="#24292f")
    draw.rectangle((700, 400, 900, 500), fill="#1f883d")
    yield "window", {"drawing", "smooth"}, window
    yield "chess board", {"drawing"}, picture(255.0 * ((x // 32 + y // 32) % 2))


#: That of the default network.
PREPROCESSING = Preprocessing(224, 224, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0), "bicubic")
KINDS = list(kinds())


@pytest.mark.parametrize("quality", [None, 50, 90])
@pytest.mark.parametrize(
    ("reasons", "shown"), [kind[1:] for kind in KINDS], ids=[kind[0] for kind in KINDS]
)
def test_what_tells_no_place_is_found(
    reasons: set[str], shown: Image.Image, quality: int | None
) -> None:
    assert low_information(seen(shown, quality)) in reasons


@pytest.mark.parametrize("difficulty", Difficulty)
def test_views_of_the_earth_tell_enough(difficulty: Difficulty) -> None:
    """Among them deserts, ice, and coasts with much sea."""
    for index in range(80):
        view = render(draw_view(3, Role.QUERY, index, difficulty))
        assert low_information(seen(Image.fromarray(view), 90)) is None, index


def test_photos_tell_enough(shared_data: Path) -> None:
    for file in sorted((shared_data / "photos_open" / "img").iterdir()):
        pixels = PREPROCESSING.apply(open_image(file.read_bytes()))
        assert low_information(pixels) is None, file.name


def test_too_few_pixels_are_not_judged() -> None:
    assert low_information(np.zeros((32, 32, 3), np.uint8)) is None


def test_a_finer_network_sees_the_same() -> None:
    for _, reasons, shown in KINDS:
        fine = np.asarray(shown.resize((448, 448), Image.Resampling.BILINEAR))
        assert low_information(fine) is not None, reasons
