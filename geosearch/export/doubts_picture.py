"""The map picture of an audit: lines from the places that photos state to the likelier ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geosearch.audit.audit_rows import Doubt
from geosearch.database.connection import Connection
from geosearch.export import canvas
from geosearch.export.projections import AzimuthalEquidistant, view_of
from geosearch.export.surroundings import (
    add_attribution,
    add_locator,
    draw_names,
    draw_surroundings,
    read_surroundings,
)
from geosearch.sphere import Array, destination, great_circle_km, initial_bearing

#: Colours that are told apart on a light and on a dark ground.
_COLOURS = {
    "swapped": "#2f81f7",
    "lost_sign": "#a371f7",
    "null_island": "#12b5cb",
    "clock": "#d29922",
    "copied": "#f0723b",
    "home": "#db61a2",
    "speed": "#f0384b",
    "elsewhere": "#3fb950",
}
_MAP = (0.02, 0.125, 0.96, 0.79)  # left, bottom, width, height as shares of the page
_SMALLEST_KM = 0.5
#: More than so many only hide one another: an even choice is drawn.
_MOST = 5000


def draw_doubts(connection: Connection, doubts: Sequence[Doubt], path: Path) -> None:
    """Draw doubts as a PNG of 1600 x 900 pixels, coloured by reason.

    The view shows where the photos were likelier taken, where that is too wide, the world; lines
    come from the stated places, which may lie outside. Where only the time is wrong there is a
    ring.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    drawn = doubts[:: max(1, -(-len(doubts) // _MOST))]
    ends = np.array([_ends(doubt) for doubt in drawn], float).reshape(-1, 4)
    aspect = _MAP[2] * canvas.WIDTH / (_MAP[3] * canvas.HEIGHT)
    projection = view_of(ends[:, 2], ends[:, 3], aspect, _SMALLEST_KM)
    wide = 2 * projection.extent[1] >= canvas.BLUE_MARBLE_FROM_KM
    theme = canvas.DARK if wide else canvas.LIGHT
    if isinstance(projection, AzimuthalEquidistant):
        ends[:, :2] = _near(ends, 2 * projection.reach_km)
    around = read_surroundings(connection, projection)
    figure = canvas.new_figure()
    axes = canvas.add_map(figure, _MAP, projection, theme, coasts=False)
    draw_surroundings(axes, projection, around, theme)
    reasons = np.array([doubt.reason for doubt in drawn], str)
    for reason, colour in _COLOURS.items():
        lat, lon, likelier_lat, likelier_lon = ends[reasons == reason].T
        x, y = projection.forward(lat, lon)
        if reason == "clock":
            axes.scatter(x, y, 60, facecolors="none", edgecolors=colour, linewidths=2.2, zorder=6)
            continue
        canvas.add_great_circles(axes, projection, lat, lon, likelier_lat, likelier_lon, colour)
        axes.scatter(x, y, 30, color=colour, marker="x", linewidths=1.6, zorder=5)
        x, y = projection.forward(likelier_lat, likelier_lon)
        axes.scatter(x, y, 34, color=colour, edgecolors=theme.halo, linewidths=0.6, zorder=6)
    spots = zip(*projection.forward(*ends[:, 2:].T), strict=True)
    draw_names(axes, projection, around, theme, [(float(x), float(y)) for x, y in spots])
    if isinstance(projection, AzimuthalEquidistant):
        canvas.add_scale_bar(axes, 2 * projection.half_width, theme)
        add_locator(figure, (0.975, 0.14), projection)
    canvas.add_title(figure, f"{len(doubts):,} doubtful photo{'s' * (len(doubts) != 1)}")
    said = "from the stated place × to the likelier one ●"
    if "clock" in reasons:
        said += " · ring: the time is wrong"
    figure.text(0.97, 0.945, said, color=canvas.MUTED, fontsize=12, va="center", ha="right")
    if doubts:
        counts = np.array([sum(each.reason == reason for each in doubts) for reason in _COLOURS])
        names = [reason.replace("_", " ") for reason in _COLOURS]
        canvas.add_shares(figure, names, [*_COLOURS.values()], counts)
    add_attribution(figure, 0.98, theme)
    canvas.save(figure, path)


def _ends(doubt: Doubt) -> tuple[float, float, float, float]:
    """The stated place, and the likelier one; where that is none, the stated one again."""
    stated = doubt.stated_lat, doubt.stated_lon
    if doubt.mend_lat is None or doubt.mend_lon is None:
        return *stated, *stated
    return *stated, doubt.mend_lat, doubt.mend_lon


def _near(ends: Array, most_km: float) -> Array:
    """The stated places (n, 2), on the same way where they are farther off than that.

    Of a line that comes from afar no vertex may be on a small map.
    """
    lat, lon, likelier_lat, likelier_lon = ends.T
    km = great_circle_km(likelier_lat, likelier_lon, lat, lon)
    bearing = initial_bearing(likelier_lat, likelier_lon, lat, lon)
    nearer = destination(likelier_lat, likelier_lon, bearing, most_km)
    return np.where((km > most_km)[:, None], np.column_stack(nearer), ends[:, :2])
