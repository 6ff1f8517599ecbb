"""Augmentation: a photo as it might have been taken otherwise, the same for the same seed.

A version of a photo follows from the augmentation's seed, the photo's bytes and the number of the
version alone: neither the order of photos nor the number of threads or processes matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from geosearch.errors import InputError
from geosearch.features.preprocessing import Preprocessing
from geosearch.images import decode
from geosearch.json_record import Record

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation(Record):
    """How far versions stray from a photo; what is drawn, is drawn uniformly.

    `crop`: least and greatest area of the cut, as shares of the photo's largest square; beyond
    its edges, a photo goes on mirrored. `stretch`: greatest ratio of the cut's sides, one to the
    other. `rotation`: greatest turn, degrees, either way. `flip`: mirror every other version;
    off unless asked for, because a mirrored photo shows a place that does not exist: signs, coasts
    and the side of the road change hands. `colour`: greatest change of brightness, of contrast and
    of saturation, as a share. `blur`: greatest radius in pixels of the network's input, for every
    other version.
    """

    crop: tuple[float, float] = (0.35, 1.0)
    stretch: float = 1.25
    rotation: float = 0.0
    flip: bool = False
    colour: float = 0.3
    blur: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        least, greatest = self.crop
        for wrong, option, remedy in (
            (not 0.01 <= least <= greatest <= 4, "crop", "two areas, 0.01 <= A <= B <= 4"),
            (not 1 <= self.stretch <= 4, "stretch", "a ratio from 1 to 4"),
            (not 0 <= self.rotation <= 180, "rotation", "degrees from 0 to 180"),
            (not 0 <= self.colour < 1, "colour", "a share of at least 0 and below 1"),
            (not 0 <= self.blur <= 20, "blur", "pixels from 0 to 20"),
            (self.seed < 0, "augment_seed", "0 or more"),
        ):
            if wrong:
                value = getattr(self, option.replace("augment_", ""))
                raise InputError(f"`{option}`: {value} is out of range", f"Give {remedy}.")

    def apply(
        self, image: Image.Image, preprocessing: Preprocessing, sha256: bytes, version: int
    ) -> Pixels:
        """Pixels (crop, crop, 3), uint8 RGB, of one version of an opened image.

        Raises
        ------
        PhotoRejected
            The image cannot be decoded.
        """
        key = int.from_bytes(sha256[:8], "big")
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(key, version)))
        cut = _Cut.draw(self, random)
        side = preprocessing.crop
        photo = decode(image, at_least=math.ceil(side / min(1.0, math.sqrt(cut.area))))
        made = cut.take(photo, side, preprocessing.resampling)
        flip, blur, radius = random.random(3)
        if self.flip and flip < 0.5:
            made = made.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        changes = random.uniform(1 - self.colour, 1 + self.colour, 3)
        if self.colour:
            for enhance, change in zip(_COLOURS, changes, strict=True):
                made = enhance(made).enhance(float(change))
        if self.blur and blur < 0.5:
            made = made.filter(ImageFilter.GaussianBlur(self.blur * float(radius)))
        return np.asarray(made, dtype=np.uint8)


_COLOURS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass(frozen=True)
class _Cut:
    """A turned rectangle of a photo: `area` of its square, `ratio` of sides, `turn` in radians.

    `across`, `down`: where its middle lies in the room that is left, 0 to 1.
    """

    area: float
    ratio: float
    turn: float
    across: float
    down: float

    @classmethod
    def draw(cls, how: Augmentation, random: np.random.Generator) -> _Cut:
        stretch = math.log(how.stretch)
        return cls(
            area=float(random.uniform(*how.crop)),
            ratio=math.exp(random.uniform(-stretch, stretch)),
            turn=math.radians(random.uniform(-how.rotation, how.rotation)),
            across=float(random.random()),
            down=float(random.random()),
        )

    def take(self, photo: Image.Image, side: int, resampling: Image.Resampling) -> Image.Image:
        """The rectangle as a picture of `side` × `side` pixels."""
        short = min(photo.size) * math.sqrt(self.area)
        width, height = short * math.sqrt(self.ratio), short / math.sqrt(self.ratio)
        middle = (
            _between(self.across, width, photo.width),
            _between(self.down, height, photo.height),
        )
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        reach = (
            (width * abs(cos) + height * abs(sin)) / 2,
            (width * abs(sin) + height * abs(cos)) / 2,
        )
        left, top = middle[0] - reach[0], middle[1] - reach[1]
        right, bottom = middle[0] + reach[0], middle[1] + reach[1]
        inside = left >= 0 and top >= 0 and right <= photo.width and bottom <= photo.height
        if self.turn == 0 and inside:
            return photo.resize((side, side), resampling, box=(left, top, right, bottom))
        # To the scale of the result first, by a filter that does not alias; then turned.
        scale = side / math.sqrt(width * height)
        patch, origin = _patch(photo, (left, top, right, bottom), scale, resampling)
        x, y = (scale * at - start for at, start in zip(middle, origin, strict=True))
        across, down = scale * width / side, scale * height / side
        a, b, d, e = cos * across, -sin * down, sin * across, cos * down
        half = side / 2
        terms = (a, b, x - (a + b) * half, d, e, y - (d + e) * half)
        # Image.transform knows no filter of wider support.
        smooth = Image.Resampling.BICUBIC if resampling != Image.Resampling.NEAREST else resampling
        return patch.transform((side, side), Image.Transform.AFFINE, terms, resample=smooth)


def _between(share: float, length: float, room: int) -> float:
    """The middle of a stretch of `length` in `room`: centred where it does not fit."""
    return room / 2 if length >= room else length / 2 + share * (room - length)


def _patch(
    photo: Image.Image,
    box: tuple[float, float, float, float],
    scale: float,
    resampling: Image.Resampling,
) -> tuple[Image.Image, tuple[float, float]]:
    """The part of a photo in `box`, `scale` as large, and where it begins at that scale.

    What the box has beyond the photo is mirrored at its edges.
    """
    edges = (0.0, 0.0, float(photo.width), float(photo.height))
    inner = (
        max(box[0], edges[0]),
        max(box[1], edges[1]),
        min(box[2], edges[2]),
        min(box[3], edges[3]),
    )
    size = [max(1, round(scale * (inner[i + 2] - inner[i]))) for i in (0, 1)]
    patch = photo.resize((size[0], size[1]), resampling, box=inner)
    # A pixel more on each side, for the filter of the turn.
    before = [math.ceil(scale * (inner[i] - box[i])) + 1 for i in (0, 1)]
    after = [math.ceil(scale * (box[i] - inner[i])) + 1 for i in (2, 3)]
    margins = ((before[1], after[1]), (before[0], after[0]), (0, 0))
    padded = np.pad(np.asarray(patch), margins, mode="symmetric")
    origin = (scale * inner[0] - before[0], scale * inner[1] - before[1])
    return Image.fromarray(padded), origin
