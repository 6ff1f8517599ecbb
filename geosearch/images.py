"""Opening images from strangers: every failure becomes a `PhotoRejected` with a reason code."""

from __future__ import annotations

import io
import struct
import warnings
from functools import cache

from PIL import Image, ImageOps, UnidentifiedImageError

from geosearch.errors import PhotoRejected, Reason
from geosearch.installation import remedy
from geosearch.settings import image_settings

#: File endings a folder is searched for, lower case.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif"}
)

# Pillow warns of every oddity in EXIF; ours are reject rows. For good, not by catch_warnings:
# that one is not safe in the threads photos are read in.
warnings.filterwarnings("ignore", module=r"PIL\.")

_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}


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
    """Open (not yet decode) an image held in memory.

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
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise PhotoRejected(Reason.TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        if not heif and data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
            raise PhotoRejected(
                Reason.UNSUPPORTED, f"HEIC needs pillow-heif; run: {remedy('heic')}"
            ) from error
        raise PhotoRejected(Reason.UNDECODABLE, "no decoder recognises the data") from error
    except DECODER_ERRORS as error:
        raise PhotoRejected(Reason.UNDECODABLE, _describe(error)) from error
    if image.width * image.height > limit:
        raise PhotoRejected(
            Reason.TOO_LARGE,
            f"{image.width} x {image.height} pixels is over GEOSEARCH_MAX_PIXELS={limit}",
        )
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
    verify(image, at_least=at_least)
    try:
        upright = _upright(image)
        return upright if upright.mode == "RGB" else upright.convert("RGB")
    except DECODER_ERRORS as error:
        raise PhotoRejected(Reason.UNDECODABLE, _describe(error)) from error


def verify(image: Image.Image, *, at_least: int | None = 1) -> None:
    """Decode an opened image in place, a JPEG at the lowest scale that `at_least` allows.

    Raises
    ------
    PhotoRejected
        As `decode`.
    """
    try:
        # Only JPEG: the draft of an HEIC is its embedded thumbnail, whatever the pixels hold.
        if at_least is not None and image.format in ("JPEG", "MPO"):
            scale = at_least / min(image.size)
            image.draft("RGB", (_up(image.width, scale), _up(image.height, scale)))
        image.load()
    except DECODER_ERRORS as error:
        text = _describe(error)
        truncated = "truncated" in text.lower() or "unexpected end" in text.lower()
        raise PhotoRejected(Reason.TRUNCATED if truncated else Reason.UNDECODABLE, text) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except DECODER_ERRORS:  # broken EXIF says nothing about the pixels
        return image


def _up(side: int, scale: float) -> int:
    return max(1, -int(-side * min(1.0, scale) // 1))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


#: What Pillow and its plugins raise on hostile files; a bug of ours would raise something else
#: first in the tests. MemoryError: a header can claim any size.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)
