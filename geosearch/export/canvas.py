"""What all map pictures share: palette, background, coastlines, scale bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from PIL import Image, ImageOps

from geosearch.atomic_files import replacing
from geosearch.earth import blue_marble_at, coastlines
from geosearch.errors import PhotoRejected
from geosearch.export.projections import Projection
from geosearch.images import decode, open_image
from geosearch.sphere import Array, great_circle_line
from geosearch.storage import read_bytes
from geosearch.words import threshold

WIDTH, HEIGHT = 1600, 900
_DPI = 100

PAGE = "#0b111b"
PANEL = "#101826"
TEXT = "#eef2f7"
MUTED = "#8a97aa"
ESTIMATE = "#ffb454"
TRUTH = "#5eead4"
NEIGHBOUR = "#ffffff"


@dataclass(frozen=True)
class Theme:
    """Colours of a map: its ground, what is drawn on it, and the light round writing."""

    land: str
    sea: str
    line: str
    grid: str
    text: str
    muted: str
    halo: str
    photo: str
    neighbour: str
    outline: str


#: On the Blue Marble, which is for maps of much of the world, ...
DARK = Theme(
    land=PAGE,
    sea=PAGE,
    line="#ffffff40",
    grid="#ffffff18",
    text=TEXT,
    muted="#c3ccd8",
    halo="#0b111bc0",
    photo="#ffffff60",
    neighbour=NEIGHBOUR,
    outline=ESTIMATE,
)
#: ... and where its cells would blur: plain land and sea.
LIGHT = Theme(
    land="#f5f2ea",
    sea="#cfdfe8",
    line="#a89f90",
    grid="#8b98a838",
    text="#27313f",
    muted="#667284",
    halo="#fbfaf6e0",
    photo="#7a6a5a",
    neighbour="#1f3b63",
    outline="#c2570c",
)
#: The Blue Marble's cells of 7 km are good for maps from this width in kilometres.
BLUE_MARBLE_FROM_KM = 3500.0

_LINE_POINTS = 60

# The background stays dark and grey, so that the answer is what shines.
_SATURATION, _BRIGHTNESS, _FLOOR = 0.65, 0.68, 0.07
_COASTLINE_DETAIL = ((3000.0, "i"), (12000.0, "l"), (np.inf, "c"))  # up to that width in km


def new_figure() -> Figure:
    """A 1600 x 900 pixel page."""
    figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, facecolor=PAGE)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the page as PNG, whole or not at all."""
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=_DPI, facecolor=PAGE)


def image_of(figure: Figure) -> Image.Image:
    """The page as a picture in memory, RGB."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, facecolor=PAGE)
    with Image.open(stream) as image:
        return image.convert("RGB")


def add_map(
    figure: Figure,
    rectangle: tuple[float, float, float, float],
    projection: Projection,
    theme: Theme = DARK,
    *,
    coasts: bool = True,
) -> Axes:
    """Axes of a map on a page: `lay_out`.

    `rectangle`: left, bottom, width, height as shares of the page; the map is centred in it.
    """
    axes = figure.add_axes(rectangle)
    lay_out(axes, projection, theme, coasts=coasts)
    return axes


def lay_out(axes: Axes, projection: Projection, theme: Theme, *, coasts: bool) -> None:
    """Make axes those of `projection`, kilometres, with the Blue Marble where the theme is dark.

    `coasts` draws the coastlines, too.
    """
    axes.set_facecolor(theme.sea)
    left, right, bottom, top = projection.extent
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if theme is LIGHT:
        return
    room = axes.get_window_extent()
    shape = round(room.height), round(room.width)
    background = painted(projection, shape, _muted_earth)
    axes.imshow(background, extent=projection.extent, interpolation="bilinear", zorder=0)
    if not coasts:
        return
    width = right - left
    detail = next(name for limit, name in _COASTLINE_DETAIL if width <= limit)
    lines = list(projected(projection, *coastlines(detail)))
    add_lines(axes, lines, colors="white", linewidths=0.5, alpha=0.35, zorder=1)


def add_lines(axes: Axes, lines: Sequence[Array], **style: Any) -> None:
    """Draw lines (n, 2) of the map, which stays as wide as it is."""
    axes.add_collection(LineCollection(lines, **style), autolim=False)


def add_great_circles(
    axes: Axes,
    projection: Projection,
    lat: Array,
    lon: Array,
    other_lat: Array,
    other_lon: Array,
    colour: str,
) -> None:
    """Draw the shortest ways between places in degrees, all (n,)."""
    lines = []
    for ends in zip(lat, lon, other_lat, other_lon, strict=True):
        lines += list(projected(projection, *great_circle_line(*ends, _LINE_POINTS)))
    add_lines(axes, lines, colors=colour, linewidths=1.0, alpha=0.55, zorder=4)


def add_shares(
    figure: Figure, names: Sequence[str], colours: Sequence[str], counts: np.ndarray
) -> None:
    """A bar of all by class, which is the legend too, at the foot of the page."""
    axes = figure.add_axes((0.03, 0.035, 0.94, 0.075), xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    shares = counts / counts.sum()
    width = 1 / len(colours)
    left = 0.0
    for number, (label, colour, share) in enumerate(zip(names, colours, shares, strict=True)):
        axes.add_patch(Rectangle((left, 0.72), share, 0.2, facecolor=colour, linewidth=0))
        left += share
        x = number * width
        axes.add_patch(Rectangle((x, 0.22), 0.009, 0.22, facecolor=colour, linewidth=0))
        axes.text(x + 0.015, 0.33, label, color=TEXT, fontsize=12, va="center")
        axes.text(
            x + 0.015,
            0.0,
            f"{100 * share:.1f} %  ({counts[number]:,})",
            color=MUTED,
            fontsize=11,
            va="center",
        )


def add_title(figure: Figure, title: str) -> None:
    """A headline at the upper left of the page."""
    figure.text(
        0.03,
        0.945,
        title,
        color=TEXT,
        fontsize=20,
        fontweight="bold",
        va="center",
        parse_math=False,
    )


def thumbnail(photo: str | bytes, size: tuple[int, int]) -> Image.Image | None:
    """A photo, by its uri or its bytes, in at most so many pixels across and down.

    None where it cannot be read.
    """
    try:
        data = photo if isinstance(photo, bytes) else read_bytes(photo)
        image = decode(open_image(data), at_least=size[1])
    except PhotoRejected:
        return None
    return ImageOps.contain(image, size, Image.Resampling.LANCZOS)


def raster(projection: Projection, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Latitude and longitude under the pixels (rows, columns) of a map; NaN off the Earth."""
    left, right, bottom, top = projection.extent
    x = left + (np.arange(shape[1]) + 0.5) / shape[1] * (right - left)
    y = top - (np.arange(shape[0]) + 0.5) / shape[0] * (top - bottom)
    return projection.inverse(*np.meshgrid(x, y))


def painted(
    projection: Projection,
    shape: tuple[int, int],
    paint: Callable[[Array, Array], np.ndarray],
    blank: float = 0,
) -> np.ndarray:
    """What `paint` gives for the pixels (rows, columns, …) of a map; `blank` off the Earth."""
    lat, lon = raster(projection, shape)
    on_earth = np.isfinite(lat)
    values = paint(lat[on_earth], lon[on_earth])
    pixels = np.full((*shape, *values.shape[1:]), blank, values.dtype)
    pixels[on_earth] = values
    return pixels


def projected(projection: Projection, lat: ArrayLike, lon: ArrayLike) -> Iterator[Array]:
    """A line in degrees as lines (n, 2) on the map, cut at NaN, at jumps, and far outside."""
    left, right, bottom, top = projection.extent
    width, height = right - left, top - bottom
    x, y = projection.forward(lat, lon)
    visible = (np.abs(x) < width) & (np.abs(y) < height)
    # Neighbouring vertices half a map apart: the line left on one side and came back on the other.
    jumps = np.hypot(np.diff(x), np.diff(y)) > width / 2
    breaks = np.flatnonzero(jumps | (visible[1:] != visible[:-1])) + 1
    points = np.column_stack([x, y])
    for part, seen in zip(np.split(points, breaks), np.split(visible, breaks), strict=True):
        if len(part) > 1 and seen[0]:
            yield part


def round_length(goal: float) -> float:
    """The longest of 1, 2, 5, 10, … and their tenths that is not longer than `goal`."""
    unit = float(10.0 ** np.floor(np.log10(goal)))
    return max(step * unit for step in (1, 2, 5) if step * unit <= goal)


def add_scale_bar(axes: Axes, width_km: float, theme: Theme = DARK) -> None:
    """A bar of a round length, about a sixth of the map, at the lower left."""
    length = round_length(width_km / 6)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x, y = left + 0.03 * (right - left), bottom + 0.045 * (top - bottom)
    axes.plot(
        [x, x + length], [y, y], color=theme.text, linewidth=2.5, solid_capstyle="butt", zorder=9
    )
    axes.text(
        x + length / 2,
        y + 0.012 * (top - bottom),
        threshold(length),
        color=theme.text,
        fontsize=11,
        ha="center",
        va="bottom",
        zorder=9,
    )


def _muted_earth(lat: Array, lon: Array) -> Array:
    """The Blue Marble, muted, (n, 4) from 0 to 1."""
    colours = blue_marble_at(lat, lon).T / 255.0
    grey = colours.mean(axis=1, keepdims=True)
    muted = _FLOOR + _BRIGHTNESS * (grey + _SATURATION * (colours - grey)) ** 1.15
    return np.column_stack([np.clip(muted, 0.0, 1.0), np.ones(len(muted))])
