"""Opening images from strangers: every failure becomes a `PhotoRejected` with a reason code."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeGuard

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from geosearch.errors import PhotoRejected, Reason
from geosearch.installation import remedy
from geosearch.raw_previews import is_raw, raw_preview
from geosearch.settings import image_settings

# Pillow warns of every oddity in EXIF; ours are reject rows. For good, not by catch_warnings:
# that one is not safe in the threads photos are read in.
warnings.filterwarnings("ignore", module=r"PIL\.")

# The XMP of a panorama and a printer's colour profile are over the megabyte that Pillow takes for
# a bomb.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 64 * 2**20

_END_OF_JPEG, _SCAN_OF_JPEG = b"\xff\xd9", b"\xff\xda"
_ROWS = 256
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_WHOLE = 2**31

_room = threading.Condition()
_taken = 0
_mine = threading.local()


@contextmanager
def room_for(image: Image.Image) -> Iterator[None]:
    """Wait until the pixels of an opened image fit in memory beside those other threads work on.

    All together have no more than one image may have: `GEOSEARCH_MAX_PIXELS`. A thread that has
    room does not wait for more: it works on one image.
    """
    global _taken
    if getattr(_mine, "has_room", False):
        yield
        return
    pixels, most = image.width * image.height, image_settings().max_pixels
    with _room:
        _room.wait_for(lambda: _taken == 0 or _taken + pixels <= most)
        _taken += pixels
    _mine.has_room = True
    try:
        yield
    finally:
        _mine.has_room = False
        with _room:
            _taken -= pixels
            _room.notify_all()


@cache
def register_heif() -> bool:
    """Teach Pillow HEIC/HEIF when the `heic` extra is installed. True if it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@cache
def _raise_pillow_limit(pixels: int) -> None:
    # Pillow refuses images of more than twice its limit, which is less than phones take today.
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, pixels // 2 + 1)


def open_image(data: bytes) -> Image.Image:
    """Open (not yet decode) an image held in memory; of a raw file the picture it has inside.

    Raises
    ------
    PhotoRejected
        Empty or unknown data (`undecodable`, `unsupported`), or more pixels than
        `GEOSEARCH_MAX_PIXELS` (`too_large`).
    """
    heif = register_heif()
    limit = image_settings().max_pixels
    _raise_pillow_limit(limit)
    if not data:
        raise PhotoRejected(Reason.UNDECODABLE, "the file is empty")
    exif = None
    if is_raw(data):
        preview = raw_preview(data)
        if preview is None:
            raise PhotoRejected(Reason.UNSUPPORTED, "a raw file without a JPEG inside")
        data, exif = preview
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise PhotoRejected(Reason.TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        if not heif and data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
            raise PhotoRejected(
                Reason.UNSUPPORTED, f"HEIC needs pillow-heif; run: {remedy('heic')}"
            ) from error
        raise PhotoRejected(Reason.UNDECODABLE, "no decoder recognises the data") from error
    except Exception as error:
        raise PhotoRejected(Reason.UNDECODABLE, _describe(error)) from error
    if image.width * image.height > limit:
        raise PhotoRejected(
            Reason.TOO_LARGE,
            f"{image.width} x {image.height} pixels is over GEOSEARCH_MAX_PIXELS={limit}",
        )
    if has_scales(image) and data.find(_SCAN_OF_JPEG, data.rfind(_END_OF_JPEG) + 1) >= 0:
        with room_for(image):  # it is decoded here
            image = _with_end(data) or image
    if exif is not None:
        image.info["exif"] = exif
    return image


def decode(image: Image.Image, *, at_least: int | None = None) -> Image.Image:
    """Decode an opened image to upright RGB.

    `at_least` lets JPEG decode at 1/2, 1/4 or 1/8 scale as long as the shorter side stays at
    or above that many pixels; other formats ignore it.

    Raises
    ------
    PhotoRejected
        Corrupt (`undecodable`) or incomplete (`truncated`) image data.
    """
    _load(image, "RGB", at_least)
    try:
        upright = _eight_bit(_upright(image))
        return upright if upright.mode == "RGB" else upright.convert("RGB")
    except Exception as error:
        raise PhotoRejected(Reason.UNDECODABLE, _describe(error)) from error


def has_scales(image: Image.Image) -> TypeGuard[JpegImageFile]:
    """Whether an image can be decoded at less than its size: then it depends on what it is for."""
    return isinstance(image, JpegImageFile)


def verify(image: Image.Image) -> None:
    """Decode an opened image in place, to see that it is whole: of a JPEG the brightness, at 1/8.

    Raises
    ------
    PhotoRejected
        As `decode`.
    """
    _load(image, "L", 1)


def _load(image: Image.Image, mode: str, at_least: int | None) -> None:
    try:
        # Only JPEG: the draft of an HEIC is its embedded thumbnail, whatever the pixels hold.
        if at_least is not None and has_scales(image):
            scale = at_least / min(image.size)
            image.draft(mode, (_up(image.width, scale), _up(image.height, scale)))
            # In one piece: Pillow would cut the file into many, at whose ends libjpeg is slow.
            image.decodermaxblock = _WHOLE
        image.load()
    except Exception as error:
        text = _describe(error)
        truncated = "truncated" in text.lower() or "unexpected end" in text.lower()
        raise PhotoRejected(Reason.TRUNCATED if truncated else Reason.UNDECODABLE, text) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF says nothing about the pixels
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image as it is, or its one channel of more than 8 bits as a viewer shows it.

    Pillow itself cuts these off at 255, which leaves white. White is the end of the 16 bits, or of
    the 10 or 12 that the values keep to; of other numbers, 1 if they lie from 0 to 1, else the
    largest.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    black, white = _range(values)
    shown = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):  # the whole as floats would take eight times that
        rows = np.nan_to_num(values[start : start + _ROWS].astype(np.float64), nan=black)
        share = (rows - black) / (white - black)
        shown[start : start + _ROWS] = np.rint(255 * share.clip(0, 1))
    return Image.fromarray(shown)


def _range(values: np.ndarray) -> tuple[float, float]:
    """The values that are shown as black and white."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if values.dtype.kind == "f":
        if low >= 0 and high <= 1:
            return 0.0, 1.0
    elif low >= 0 and high < 2**16:
        return 0.0, float(next(2**bits - 1 for bits in (8, 10, 12, 16) if high < 2**bits))
    return low, max(high, np.nextafter(low, np.inf))


def _with_end(data: bytes) -> Image.Image | None:
    """The JPEG opened with its end put to it, if nothing else is missing; else None.

    All of it is there if what follows makes no difference to what is decoded.
    """
    data = data.rstrip(b"\xff")  # half of an end
    try:
        fillings = (b"", b"\x55" * 64, b"\xaa" * 64)
        none, *others = (Image.open(io.BytesIO(data + each + _END_OF_JPEG)) for each in fillings)
        pixels = none.tobytes()
        whole = all(other.tobytes() == pixels for other in others)
    except Exception:  # of hostile files Pillow's plugins raise all there is
        return None
    return Image.open(io.BytesIO(data + _END_OF_JPEG)) if whole else None


def _up(side: int, scale: float) -> int:
    return max(1, -int(-side * min(1.0, scale) // 1))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
