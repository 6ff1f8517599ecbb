"""From a decoded photo to the pixels a network takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geosearch.errors import ModelError
from geosearch.json_record import Record

if TYPE_CHECKING:
    from PIL import Image

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing(Record):
    """Resize, centre crop and scaling of a network's input.

    The shorter side is resized to `resize` pixels and the central `crop` × `crop` square taken;
    JPEG may be decoded at a fraction of its size, never below `resize`. Channel values 0 to 255
    become `(value − mean) / std` inside the network. `channels` is `RGB` or `BGR`.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    channels: str = "RGB"

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

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Pixels (crop, crop, 3), uint8 RGB, of an opened image.

        Raises
        ------
        PhotoRejected
            The image cannot be decoded.
        """
        from geosearch.images import decode, room_for  # loads Pillow

        with room_for(image):
            image = decode(image, at_least=self.resize)
            # One resampling of the part that is kept, rather than of everything and then a crop.
            side = min(image.size) * self.crop / self.resize
            left, top = (image.width - side) / 2, (image.height - side) / 2
            square = image.resize(
                (self.crop, self.crop),
                self.resampling,
                box=(left, top, left + side, top + side),
            )
        return np.asarray(square, dtype=np.uint8)
