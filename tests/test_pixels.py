"""Pixels as a viewer shows them; whole pictures that look broken; memory bounded by pixels."""

from __future__ import annotations

import io
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from geosearch import images
from geosearch.errors import PhotoRejected, Reason
from geosearch.features.preprocessing import Preprocessing
from geosearch.settings import image_settings

from .photo_files import photo


def saved(values: np.ndarray, format: str = "TIFF", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, format, **options)
    return out.getvalue()


def shown(data: bytes) -> np.ndarray:
    return np.asarray(images.decode(images.open_image(data)))


RAMP = np.linspace(0, 1, 256).reshape(16, 16)
EIGHT_BIT = np.repeat(np.rint(255 * RAMP).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    "values",
    [
        (65535 * RAMP).astype(np.uint16),
        (4095 * RAMP).astype(np.uint16),  # 12 bits of a sensor in 16
        (1023 * RAMP).astype(np.uint16),
        (255 * RAMP).astype(np.uint16),
        (2**30 * RAMP).astype(np.int32),
        (4095 * RAMP).astype(np.int32),
        RAMP.astype(np.float32),
        (300 * RAMP - 20).astype(np.float32),  # degrees of a thermal camera
    ],
    ids=["16", "12", "10", "8", "integers", "12 in 32", "floats to 1", "floats"],
)
def test_more_than_eight_bits_are_scaled_to_eight(values: np.ndarray) -> None:
    assert np.abs(shown(saved(values)).astype(int) - EIGHT_BIT).max() <= 1


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_png_and_tiff_of_sixteen_bits_of_either_byte_order(mode: str) -> None:
    values = (65535 * RAMP).astype("<u2" if mode == "I;16" else ">u2")
    for data in (saved(values.astype(np.uint16), "PNG"), saved(values, "TIFF")):
        assert np.abs(shown(data).astype(int) - EIGHT_BIT).max() <= 1


def test_values_that_are_no_numbers_are_black_and_spoil_nothing() -> None:
    values = RAMP.astype(np.float32)
    values[3, 4] = np.nan
    values[5, 6] = np.inf
    found = shown(saved(values))
    assert found[3, 4].tolist() == [0, 0, 0]
    rest = np.ones((16, 16), bool)
    rest[3, 4] = rest[5, 6] = False
    assert np.abs(found[rest].astype(int) - EIGHT_BIT[rest]).max() <= 1


@settings(max_examples=50)
@given(
    st.sampled_from([np.uint16, np.int32, np.float32]),
    st.integers(0, 2**15),
    st.integers(300, 2**15),
)
def test_two_pictures_that_differ_are_not_shown_the_same(kind: type, low: int, high: int) -> None:
    rows: np.ndarray = np.zeros((8, 8), kind)
    rows[:4] = low + high
    columns = rows.T.copy()
    assert not np.array_equal(shown(saved(rows)), shown(saved(columns)))


def test_an_image_of_one_value_is_shown() -> None:
    for kind in (np.uint16, np.int32, np.float32):
        for value in (0, 70, 40_000):
            assert len(np.unique(shown(saved(np.full((4, 4), value, kind))))) == 1


def test_embedding_sees_what_is_shown() -> None:
    small = Preprocessing(resize=16, crop=16, mean=(124, 116, 104), std=(58, 57, 57))
    pixels = small.apply(images.open_image(saved((65535 * RAMP).astype(np.uint16), "PNG")))
    assert np.abs(pixels.astype(int) - EIGHT_BIT).max() <= 1


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_whole_and_one_without_more_is_not(
    quality: int, progressive: bool
) -> None:
    ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 2**20)
    noise = np.random.default_rng(1).integers(0, 256, (64, 80, 3), np.uint8)
    data = saved(noise, "JPEG", quality=quality, progressive=progressive)
    for missing in (1, 2):
        assert np.array_equal(shown(data[:-missing]), shown(data))
        images.verify(images.open_image(data[:-missing]))
    for missing in (6, 20, 100, len(data) // 2):
        with pytest.raises(PhotoRejected) as raised:
            images.verify(images.open_image(data[:-missing]))
        assert raised.value.reason == Reason.TRUNCATED


@pytest.mark.parametrize("compressed", [False, True])
def test_a_png_with_large_text_is_read(compressed: bool) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Comment", "x" * 3_000_000, zip=compressed)
    profile = bytes(2_000_000)
    data = saved(EIGHT_BIT, "PNG", pnginfo=text, icc_profile=profile)
    assert np.array_equal(shown(data), EIGHT_BIT)


def test_a_jpeg_without_its_end_is_not_decoded_where_it_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEOSEARCH_MAX_PIXELS", "100")
    image_settings.cache_clear()
    monkeypatch.setattr(images, "_with_end", lambda _: pytest.fail("it was decoded"))
    try:
        with pytest.raises(PhotoRejected) as raised:
            images.open_image(photo()[:-2])  # 16 x 12 = 192 pixels
        assert raised.value.reason == Reason.TOO_LARGE
    finally:
        image_settings.cache_clear()


def test_no_more_pixels_are_in_memory_than_one_image_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEOSEARCH_MAX_PIXELS", "500")
    image_settings.cache_clear()
    monkeypatch.setattr(images, "_taken", 0)
    data, lock, now, most = photo(format="PNG"), threading.Lock(), 0, 0  # 16 x 12 = 192 pixels

    def work() -> None:
        nonlocal now, most
        for _ in range(20):
            image = images.open_image(data)
            with images.room_for(image):
                with lock:
                    now += 1
                    most = max(most, now)
                images.verify(image)
                time.sleep(0.002)  # long enough to meet another
                with lock:
                    now -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert (now, most) == (0, 2)
    finally:
        image_settings.cache_clear()


def test_an_image_as_large_as_allowed_is_worked_on_alone() -> None:
    big, small = Image.new("1", (20_000, 20_000)), Image.new("1", (2, 2))
    entered = threading.Event()
    with images.room_for(big):  # more than all there is: nothing else is at work
        waiting = threading.Thread(target=lambda: enter(small, entered))
        waiting.start()
        assert not entered.wait(0.2)
    assert entered.wait(30)
    waiting.join(30)


def test_a_thread_that_has_room_for_an_image_does_not_wait_for_itself() -> None:
    big, entered = Image.new("1", (20_000, 20_000)), threading.Event()

    def work() -> None:
        with images.room_for(big):
            enter(big, entered)

    # A daemon: it would wait for ever.
    threading.Thread(target=work, daemon=True).start()
    assert entered.wait(30)


def enter(image: Image.Image, entered: threading.Event) -> None:
    with images.room_for(image):
        entered.set()
