"""From a decoded photo to the pixels a network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geosearch.errors import ModelError
from geosearch.json_record import Record

if TYPE_CHECKING:
    from PIL import Image

#: How many views of a photo may be taken: the first so many that `Preprocessing.apply` makes.
VIEWS = (1, 5, 9)
#: The side of a corner's view, as a share of the square's, and by what others are turned, degrees.
_CORNER, _TURNS = 0.7, (15, -15, 30, -30)

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing(Record):
    """Resize, centre crop and scaling of a network's input.

    The shorter side is resized to `resize` pixels and the central `crop` × `crop` square taken;
    with `fit` `squash`, both sides are resized to `resize`, whatever the photo's shape. JPEG may be
    decoded at a fraction of its size, never below `resize`. Channel values 0 to 255 become
    `(value − mean) / std` inside the network. `channels` is `RGB` or `BGR`.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    channels: str = "RGB"
    fit: str = "crop"

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize <= 4096:
            raise ModelError(
                f"preprocessing: crop {self.crop} and resize {self.resize} do not fit",
                "Give 1 <= crop <= resize <= 4096.",
            )
        if self.interpolation not in _INTERPOLATIONS:
            raise ModelError(
                f"preprocessing: unknown interpolation {self.interpolation!r}",
                f"Give one of {', '.join(_INTERPOLATIONS)}.",
            )
        if self.channels not in ("RGB", "BGR"):
            raise ModelError(
                f"preprocessing: unknown channel order {self.channels!r}", "Give RGB or BGR."
            )
        if self.fit not in ("crop", "squash"):
            raise ModelError(f"preprocessing: unknown fit {self.fit!r}", "Give crop or squash.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ModelError(
                "preprocessing: mean and std need three values each, std above 0",
                "Values are on the scale 0 to 255.",
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of `to_json`. Raises `ModelError` for missing or unknown keys."""
        known = dict(values)
        try:
            known["mean"] = tuple(float(value) for value in values["mean"])
            known["std"] = tuple(float(value) for value in values["std"])
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the preprocessing {values!r} cannot be used: {error}",
                "It needs resize, crop, mean and std.",
            ) from error

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's filter for `interpolation`."""
        from PIL import Image

        return Image.Resampling[self.interpolation.upper()]

    def apply(self, image: Image.Image, views: int = 1) -> NDArray[np.uint8]:
        """Pixels (crop, crop, 3), uint8 RGB, of an opened image; (views, crop, crop, 3) of several.

        They are, in this order: the central square; its four corners, 0.7 of its side; it turned by
        15 and by 30 degrees either way, without the corners that this leaves empty.

        Raises
        ------
        PhotoRejected
            The image cannot be decoded.
        """
        from geosearch.images import decode, room_for  # loads Pillow

        with room_for(image):
            least = self.resize if views == 1 else round(self.resize / _CORNER)
            image = decode(image, at_least=least)
            # One resampling of the part that is kept, rather than of everything and then a crop.
            share = self.crop / self.resize
            shape = image.size if self.fit == "squash" else [min(image.size)] * 2
            width, height = (share * side for side in shape)
            left, top = (image.width - width) / 2, (image.height - height) / 2
            box = (left, top, left + width, top + height)
            square = image.resize((self.crop, self.crop), self.resampling, box=box)
            if views == 1:
                return np.asarray(square, dtype=np.uint8)
            # One that is larger, of which corners are cut as they are.
            wide = round(self.crop / _CORNER)
            larger = image.resize((wide, wide), self.resampling, box=box)
        every = [square, *self._others(larger, views - 1)]
        return np.stack([np.asarray(one, dtype=np.uint8) for one in every])

    def _others(self, square: Image.Image, count: int) -> list[Image.Image]:
        """The first views after the central one, of a square whose corners have `crop` pixels."""
        last = square.width - self.crop
        corners = [(x, y) for y in (0, last) for x in (0, last)]
        made = [square.crop((x, y, x + self.crop, y + self.crop)) for x, y in corners]
        return [*made, *(self._turned(square, degrees) for degrees in _TURNS)][:count]

    def _turned(self, square: Image.Image, degrees: float) -> Image.Image:
        """A square, turned about its centre, without the corners that this leaves empty."""
        from PIL import Image

        angle = math.radians(abs(degrees))
        side = square.width / (math.cos(angle) + math.sin(angle))
        margin = (square.width - side) / 2
        return square.rotate(degrees, Image.Resampling.BICUBIC).resize(
            (self.crop, self.crop),
            self.resampling,
            box=(margin, margin, margin + side, margin + side),
        )
