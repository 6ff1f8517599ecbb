"""The map picture of many answers: every estimate, and how far each is from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geosearch.database.connection import Connection
from geosearch.export import canvas
from geosearch.export.projections import EqualEarth
from geosearch.export.surroundings import (
    add_attribution,
    draw_surroundings,
    read_surroundings,
)
from geosearch.layers.distance_colours import COLOURS, FARTHEST, class_names
from geosearch.layers.layer import ESTIMATES
from geosearch.layers.layer_rows import LayerRows, read_answers
from geosearch.layers.selection import Selection
from geosearch.sphere import Array
from geosearch.thresholds import WORLD_KM
from geosearch.words import format_km

_NO_TRUTH = canvas.ESTIMATE
#: More lines than this only hide each other; they are drawn for an even choice of the answers.
_MOST_LINES = 5000
#: What the layer of estimates says of the truth, NaN where it is unknown.
_KNOWN = ("truth_lat", "truth_lon", "error_km")


def draw_overview(connection: Connection, selection: Selection, path: Path) -> int:
    """Draw answers on the world as a PNG of 1600 x 900 pixels; returns how many have a position.

    With known truths, estimates and the lines to the truth are coloured by error, and a bar
    below shows the shares. Memory: five numbers an answer.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    figure, located = overview(connection, selection)
    canvas.save(figure, path)
    return located


def overview(
    connection: Connection, selection: Selection, within_km: Sequence[float] = WORLD_KM
) -> tuple[Figure, int]:
    """The page that `draw_overview` saves, and how many answers have a position.

    Errors are coloured by the first few of `within_km`.
    """
    limits = within_km[: len(COLOURS)]
    colours = (*COLOURS[: len(limits)], FARTHEST)
    estimates = read_answers(connection, ESTIMATES, selection)
    lat, lon, true_lat, true_lon, error, total = _columns(estimates)
    figure = canvas.new_figure()
    projection = EqualEarth()
    axes = canvas.add_map(figure, (0.02, 0.125, 0.96, 0.79), projection, coasts=False)
    around = read_surroundings(connection, projection)
    draw_surroundings(axes, projection, around, canvas.DARK)
    known = np.isfinite(error)
    classes = np.searchsorted(limits, error)
    _draw_points(axes, projection, lat[~known], lon[~known], _NO_TRUTH)
    for number in reversed(range(len(colours))):  # the good answers on top
        chosen = np.flatnonzero(known & (classes == number))
        colour = colours[number]
        step = max(1, -(-len(lat) // _MOST_LINES))
        drawn = chosen[::step]
        ends = lat[drawn], lon[drawn], true_lat[drawn], true_lon[drawn]
        canvas.add_great_circles(axes, projection, *ends, colour)
        _draw_points(axes, projection, lat[chosen], lon[chosen], colour)
    _draw_title(figure, total, len(lat), error[known])
    if known.any():
        counts = np.bincount(classes[known], minlength=len(colours))
        canvas.add_shares(figure, class_names(limits), colours, counts)
    add_attribution(figure, 0.98, canvas.DARK)
    return figure, len(lat)


def _columns(estimates: LayerRows) -> tuple[Array, Array, Array, Array, Array, int]:
    columns: list[Array] = [np.empty((5, 0))]
    total = 0
    for batch in estimates.batches:
        total += len(batch)
        located = batch.filter(batch["geometry"].is_valid())
        places = shapely.from_wkb(located["geometry"].to_numpy(zero_copy_only=False))
        known = (located[name].to_numpy(zero_copy_only=False) for name in _KNOWN)
        columns.append(np.array([shapely.get_y(places), shapely.get_x(places), *known], float))
    lat, lon, true_lat, true_lon, error_km = np.concatenate(columns, axis=1)
    return lat, lon, true_lat, true_lon, error_km, total


def _draw_points(axes: Axes, projection: EqualEarth, lat: Array, lon: Array, colour: str) -> None:
    x, y = projection.forward(lat, lon)
    size = 26.0 if len(lat) < 2000 else 6.0
    axes.scatter(x, y, s=size, color=colour, edgecolors=canvas.PAGE, linewidths=0.5, zorder=5)


def _draw_title(figure: Figure, total: int, located: int, error: Array) -> None:
    title = f"{total:,} answer{'s' * (total != 1)}"
    if len(error):
        title += f", median error {format_km(float(np.median(error)))}"
    canvas.add_title(figure, title)
    notes = ["lines lead from the estimate to the truth"] if len(error) else []
    if located < total:
        notes.append(f"{total - located:,} without a position")
    figure.text(
        0.97, 0.945, " · ".join(notes), color=canvas.MUTED, fontsize=12, va="center", ha="right"
    )
