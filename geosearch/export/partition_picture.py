"""The map picture of a partition: its cells, brighter the more photos they have for their area."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_rgba

from geosearch.export import canvas
from geosearch.export.projections import AzimuthalEquidistant, Projection, view_of
from geosearch.geocells import Partition
from geosearch.sphere import Array

_HEAT = LinearSegmentedColormap.from_list(
    "cells", ["#1f3a5f", "#2f7f8f", "#7cc4a0", "#fde68a", "#ffb454"]
)
_OPACITY, _BORDER_OPACITY = 0.6, 0.55
_MOST_MEDOIDS = 600  # more would hide the cells
_SMALLEST_KM = 50.0  # from the middle to the upper edge
_MAP = (0.02, 0.1, 0.96, 0.8)  # left, bottom, width, height as shares of the page


def draw_cells(partition: Partition, path: Path) -> None:
    """Draw a partition as a PNG of 1600 x 900 pixels.

    The view shows the medoids of all cells; where that is too wide, the world.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    aspect = _MAP[2] * canvas.WIDTH / (_MAP[3] * canvas.HEIGHT)
    projection = view_of(partition.lat, partition.lon, aspect, _SMALLEST_KM)
    figure = canvas.new_figure()
    axes = canvas.add_map(figure, _MAP, projection)
    density = partition.photos / partition.area_km2
    norm = LogNorm(density.min(), max(density.max(), density.min() * 1.01))
    _draw_cells(axes, projection, partition, _HEAT(norm(density)))
    if len(partition) <= _MOST_MEDOIDS:
        x, y = projection.forward(partition.lat, partition.lon)
        axes.scatter(x, y, s=7, color=canvas.NEIGHBOUR, linewidths=0, zorder=4)
    if isinstance(projection, AzimuthalEquidistant):
        canvas.add_scale_bar(axes, 2 * projection.half_width)
    cells, photos = len(partition), partition.photos.sum()
    canvas.add_title(figure, f"{partition.name}: {cells:,} cells of {photos:,} photos")
    bar = figure.colorbar(
        ScalarMappable(norm, _HEAT),
        cax=figure.add_axes((0.3, 0.06, 0.4, 0.018)),
        orientation="horizontal",
    )
    bar.set_label("photos per km²", color=canvas.MUTED, fontsize=11)
    bar.ax.tick_params(colors=canvas.MUTED, labelsize=10)
    canvas.save(figure, path)


def _draw_cells(
    axes: Axes, projection: Projection, partition: Partition, colours: np.ndarray
) -> None:
    left, right, bottom, top = projection.extent
    height = round(_MAP[3] * canvas.HEIGHT)
    shape = (height, round(height * (right - left) / (top - bottom)))

    def cell_at(lat: Array, lon: Array) -> np.ndarray:
        return partition.locate(lat, np.clip(lon, -180, 180))

    cell = canvas.painted(projection, shape, cell_at, -1)
    on_earth = cell >= 0
    image = np.zeros((*shape, 4))
    image[on_earth] = colours[cell[on_earth]]
    image[on_earth, 3] = _OPACITY
    # A border is where the next pixel to the right or below is in another cell.
    border = np.zeros(shape, bool)
    border[:, :-1] |= (cell[:, 1:] != cell[:, :-1]) & (cell[:, 1:] >= 0)
    border[:-1] |= (cell[1:] != cell[:-1]) & (cell[1:] >= 0)
    image[border & on_earth] = to_rgba(canvas.PAGE, _BORDER_OPACITY)
    axes.imshow(image, extent=projection.extent, interpolation="nearest", zorder=0.5)
