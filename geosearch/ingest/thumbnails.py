"""Small pictures of photos, kept in the database for those who cannot reach the files."""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image

from geosearch import images

#: Pixels of the longer side of those that are kept, at most.
SIDE = 512
_QUALITY = 75


class Thumbnail(NamedTuple):
    """A picture as WebP, upright, without metadata, and its sides in pixels."""

    width: int
    height: int
    webp: bytes


def make_thumbnail(image: Image.Image, side: int = SIDE) -> Thumbnail:
    """Decode an opened image in place, and make its thumbnail; no picture is enlarged.

    `side` are the pixels of its longer side, at most.

    Raises
    ------
    PhotoRejected
        As `images.decode`.
    """
    # What a JPEG is decoded to: the shorter side that it has when the longer is small enough.
    shorter = -(-side * min(image.size) // max(image.size))
    small = images.decode(image, at_least=shorter)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    # Of all, the profile alone shapes what is seen.
    small.save(out, "WEBP", quality=_QUALITY, method=2, icc_profile=image.info.get("icc_profile"))
    return Thumbnail(*small.size, out.getvalue())
