"""A city that is nowhere: its map is drawn by a seed, and looked at straight down."""

from __future__ import annotations

import math
from operator import mul

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from geosearch.sample.views import PIXELS, View

SIDE_PIXELS = 3200
METRES_PER_PIXEL = 2.5
_METRES_PER_DEGREE = 111_194.93  # of latitude, on the sphere that all distances here are on
#: Blocks in a row, and of these how many lie between two avenues.
_BLOCKS, _AVENUE = 64, 6
_DISTRICTS = 8
#: Nothing is placed nearer to the edge than the corner of a turned view.
_MARGIN_PIXELS = 260
_WATER, _PARK, _SQUARE = (96, 146, 192), (112, 160, 92), (214, 206, 190)
_STREET, _WIDE = (236, 234, 228), (250, 214, 110)

Corner = tuple[float, float]
Colour = tuple[int, int, int]
Block = list[list[list[float]]]


class City:
    """A map 8 km wide round a centre in degrees, with districts, blocks, parks and water.

    Blocks take after their district, whose colours change smoothly: what is near looks alike, and
    each place has its own roofs, trees and squares.
    """

    def __init__(self, seed: int, lat: float, lon: float) -> None:
        self.lat, self.lon = lat, lon
        stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1_000_000,)))
        self._image, self._wet = _draw(stream)

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Latitude and longitude of a pixel of the map."""
        up = (SIDE_PIXELS / 2 - y) * METRES_PER_PIXEL / _METRES_PER_DEGREE
        right = (x - SIDE_PIXELS / 2) * METRES_PER_PIXEL / _METRES_PER_DEGREE
        return self.lat + up, self.lon + right / math.cos(math.radians(self.lat))

    def pixel(self, lat: float, lon: float) -> tuple[float, float]:
        """The pixel of a position."""
        right = (lon - self.lon) * math.cos(math.radians(self.lat))
        x, y = (each * _METRES_PER_DEGREE / METRES_PER_PIXEL for each in (right, lat - self.lat))
        return SIDE_PIXELS / 2 + x, SIDE_PIXELS / 2 - y

    def holds(self, lat: float, lon: float) -> bool:
        """Whether one can stand there: on the map, with a view all round, and not in the water."""
        x, y = self.pixel(lat, lon)
        inside = all(_MARGIN_PIXELS <= each < SIDE_PIXELS - _MARGIN_PIXELS for each in (x, y))
        return inside and not self._wet[int(y), int(x)]

    def draw_place(self, stream: np.random.Generator) -> tuple[float, float]:
        """Somewhere one can stand."""
        while True:
            place = self.position(*stream.uniform(_MARGIN_PIXELS, SIDE_PIXELS - _MARGIN_PIXELS, 2))
            if self.holds(*place):
                return place

    def render(self, view: View) -> npt.NDArray[np.uint8]:
        """The (256, 256, 3) RGB image of a view, `scale` · 640 m wide."""
        x, y = self.pixel(view.lat, view.lon)
        cos = math.cos(math.radians(view.rotation)) * view.scale
        sin = math.sin(math.radians(view.rotation)) * view.scale
        half = PIXELS / 2
        matrix = (cos, -sin, x - half * (cos - sin), sin, cos, y - half * (cos + sin))
        seen = self._image.transform(
            (PIXELS, PIXELS), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        lit = np.asarray(seen, np.float32) * np.float32(view.brightness)
        picture: npt.NDArray[np.uint8] = np.minimum(lit + np.float32(0.5), 255).astype(np.uint8)
        return picture


def _draw(stream: np.random.Generator) -> tuple[Image.Image, npt.NDArray[np.bool_]]:
    """The map, and where there is water (both `SIDE_PIXELS` square)."""
    corners = _corners(stream)
    roofs = _smooth(stream.integers(60, 236, (_DISTRICTS, _DISTRICTS, 3)), _BLOCKS)
    leafy, wet, dense = (
        _smooth(stream.integers(0, 256, (n, n)), _BLOCKS) for n in (11, 6, _DISTRICTS)
    )
    parks = leafy > np.quantile(leafy, 0.86)
    lakes = wet > np.quantile(wet, 0.95)
    map_, water = Image.new("RGB", (SIDE_PIXELS,) * 2, _STREET), Image.new("1", (SIDE_PIXELS,) * 2)
    pen, under = ImageDraw.Draw(map_), ImageDraw.Draw(water)
    for row in range(_BLOCKS):
        for column in range(_BLOCKS):
            quad = corners[row : row + 2, column : column + 2].tolist()
            red, green, blue = (int(each) for each in roofs[row, column])
            colour = red, green, blue
            if lakes[row, column]:
                outline = _inset(quad)
                pen.polygon(outline, _WATER)
                under.polygon(outline, 1)
            elif parks[row, column]:
                _draw_park(pen, quad, stream)
            elif stream.random() < 0.03:
                _draw_square(pen, quad, colour, stream)
            else:
                _draw_roofs(pen, quad, colour, float(dense[row, column]) / 255, stream)
    for line in range(0, _BLOCKS + 1, _AVENUE):
        for way in (corners[line], corners[:, line]):
            pen.line([tuple(point) for point in way.tolist()], _WIDE, 8)
    river = _river(stream)
    pen.line(river, _WATER, 90, joint="curve")
    under.line(river, 1, 90, joint="curve")
    for crossing in range(2, _BLOCKS, 9):  # bridges
        pen.line([tuple(point) for point in corners[:, crossing].tolist()], _WIDE, 6)
    return map_, np.asarray(water)


def _corners(stream: np.random.Generator) -> npt.NDArray[np.float64]:
    """Corners of the blocks (rows, columns, x and y), in pixels: a grid bent by smooth noise."""
    along = np.linspace(0, SIDE_PIXELS, _BLOCKS + 1)
    x, y = np.meshgrid(along, along)
    bend = [_smooth(stream.integers(0, 256, (6, 6)), _BLOCKS + 1) for _ in range(2)]
    rough = stream.uniform(-7, 7, (2, _BLOCKS + 1, _BLOCKS + 1))
    return np.stack(
        [
            grid + (bent - 128) * 1.2 + jitter
            for grid, bent, jitter in zip((x, y), bend, rough, strict=True)
        ],
        axis=-1,
    )


def _smooth(values: npt.NDArray[np.int64], side: int) -> npt.NDArray[np.float64]:
    """A few values of 0 to 255 as many, smoothly."""
    image = Image.fromarray(values.astype(np.uint8))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float64)


def _inset(
    quad: Block, left: float = 0, top: float = 0, right: float = 1, bottom: float = 1
) -> list[Corner]:
    """The part of a block between shares of its sides."""
    (a, b), (c, d) = quad
    found: list[Corner] = []
    for u, v in ((left, top), (right, top), (right, bottom), (left, bottom)):
        shares = (1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u
        x, y = (sum(map(mul, shares, along)) for along in zip(a, b, c, d, strict=True))
        found.append((x, y))
    return found


def _varied(colour: Colour, by: int, stream: np.random.Generator) -> Colour:
    red, green, blue = (
        min(max(each + change, 0), 255)
        for each, change in zip(colour, stream.integers(-by, by + 1, 3).tolist(), strict=True)
    )
    return red, green, blue


def _draw_park(pen: ImageDraw.ImageDraw, quad: Block, stream: np.random.Generator) -> None:
    pen.polygon(_inset(quad), _varied(_PARK, 8, stream))
    for u, v, size in stream.uniform(
        (0.1, 0.1, 2), (0.9, 0.9, 6), (int(stream.integers(2, 14)), 3)
    ):
        (x, y), *_ = _inset(quad, u, v)
        pen.ellipse((x - size, y - size, x + size, y + size), _varied((70, 118, 60), 24, stream))


def _draw_square(
    pen: ImageDraw.ImageDraw,
    quad: Block,
    colour: Colour,
    stream: np.random.Generator,
) -> None:
    pen.polygon(_inset(quad, 0.05, 0.05, 0.95, 0.95), _SQUARE)
    (x, y), *_ = _inset(quad, 0.5, 0.5)
    for size in sorted(stream.uniform(3, 20, int(stream.integers(1, 4))), reverse=True):
        pen.regular_polygon(
            (x, y, size), int(stream.integers(3, 9)), fill=_varied(colour, 90, stream)
        )


def _draw_roofs(
    pen: ImageDraw.ImageDraw,
    quad: Block,
    colour: Colour,
    dense: float,
    stream: np.random.Generator,
) -> None:
    """Houses in rows; where it is less dense, with gardens between them."""
    pen.polygon(_inset(quad, 0.08, 0.08, 0.92, 0.92), _varied((196, 196, 172), 12, stream))
    rows, columns = stream.integers(1, 4, 2)
    for row in range(rows):
        for column in range(columns):
            if stream.random() < 0.25 * (1 - dense):
                continue
            gap = (stream.uniform(0.0, 0.12, 2) * (1.5 - dense)).tolist()
            left, top = 0.1 + 0.8 * column / columns, 0.1 + 0.8 * row / rows
            roof = _inset(
                quad, left + gap[0], top + gap[1], left + 0.75 / columns, top + 0.75 / rows
            )
            pen.polygon(roof, _varied(colour, 40, stream))


def _river(stream: np.random.Generator) -> list[Corner]:
    """A way from one side of the map to the opposite one."""
    along = np.linspace(-200, SIDE_PIXELS + 200, 200)
    phases, slow = stream.uniform(0, 2 * np.pi, 2), stream.uniform(0.3, 0.7)
    across = SIDE_PIXELS * slow + 260 * np.sin(along / 420 + phases[0])
    across += 120 * np.sin(along / 170 + phases[1])
    points = np.stack([along, across] if stream.random() < 0.5 else [across, along], axis=-1)
    return [tuple(point) for point in points.tolist()]
