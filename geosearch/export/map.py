"""The map picture of one answer: neighbours, density, regions, estimate and truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from textwrap import wrap
from typing import Any, Literal, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from PIL import Image
from shapely import contains_xy

from geosearch.database.connection import Database
from geosearch.export import canvas
from geosearch.export.projections import AzimuthalEquidistant, EqualEarth, Projection
from geosearch.export.surroundings import (
    Surroundings,
    add_attribution,
    add_locator,
    draw_names,
    draw_surroundings,
    read_surroundings,
)
from geosearch.localization import Localization
from geosearch.sphere import Array, destination, great_circle_km, initial_bearing, unit_vectors
from geosearch.words import format_km, format_position

_PANEL_SHARE = 0.27
_ASPECT = (1 - _PANEL_SHARE) * canvas.WIDTH / canvas.HEIGHT
_MARGIN = 1.3
# Half-heights; of an answer without radii; beyond the largest, the whole world.
_SMALLEST_KM, _USUAL_KM, _LARGEST_KM = 0.25, 25.0, 5000.0
_HEADLINE = 25  # letters in a line
#: Most pixels across and down of the query beside the map.
THUMBNAIL = (360, 270)
_DENSITY_PIXELS = 3  # the density is evaluated at every third pixel: it is smooth

_GLOWS = {
    canvas.DARK: LinearSegmentedColormap.from_list(
        "glow",
        [(0.0, "#ff7a1800"), (0.15, "#ff7a1855"), (0.6, "#ff8f2aa8"), (1.0, "#ffd27fe6")],
    ),
    canvas.LIGHT: LinearSegmentedColormap.from_list(
        "warmth",
        [(0.0, "#ffb45400"), (0.15, "#ffb4543c"), (0.6, "#ff9f4580"), (1.0, "#f9822ab0")],
    ),
}
_REGION_STYLES: dict[float, tuple[str, Any, float]] = {
    0.5: ("50 % region", "-", 1.6),
    0.9: ("90 % region", (0, (4, 2.5)), 1.2),
}


def draw_map(answer: Localization, path: Path, database: Database | None = None) -> None:
    """Draw an answer as a PNG of 1600 x 900 pixels: `map_figure`, with the query where it can
    still be read.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    photo = canvas.thumbnail(answer.photo, THUMBNAIL)
    canvas.save(map_figure(answer, Scene.of(answer, database), photo), path)


@dataclass(frozen=True)
class Scene:
    """What is round an answer: the part of the Earth in view, its colours, and what is there.

    In view are the estimate, the radius that holds 90 % of the probability, and the truth if it is
    known; where that is too wide, the world.
    """

    projection: Projection
    theme: canvas.Theme
    around: Surroundings

    @classmethod
    def of(cls, answer: Localization, database: Database | None = None) -> Self:
        """That of an answer, with the borders, names and photos of `database`, if it is given."""
        projection = _view(answer)
        wide = 2 * projection.extent[1] >= canvas.BLUE_MARBLE_FROM_KM
        around = Surroundings()
        if database is not None:
            with database.connection() as connection:
                around = read_surroundings(connection, projection)
        return cls(projection, canvas.DARK if wide else canvas.LIGHT, around)

    @property
    def local(self) -> bool:
        """Whether it is a part of the world."""
        return isinstance(self.projection, AzimuthalEquidistant)


def map_figure(answer: Localization, scene: Scene, photo: Image.Image | None = None) -> Figure:
    """A page of 1600 x 900 pixels: the map, and beside it what is known and the query's `photo`."""
    figure = canvas.new_figure()
    inset = 0.0 if scene.local else 0.012
    axes = figure.add_axes((inset, 0.0, 1 - _PANEL_SHARE - 2 * inset, 1.0))
    draw_on(axes, answer, scene)
    right = 1 - _PANEL_SHARE - 0.008
    if isinstance(scene.projection, AzimuthalEquidistant):
        add_locator(figure, (right, 0.035), scene.projection)
    add_attribution(figure, right, scene.theme)
    _draw_panel(figure, answer, scene, photo)
    return figure


def draw_on(axes: Axes, answer: Localization, scene: Scene) -> None:
    """Draw the map on axes, which are then kilometres of its projection."""
    projection, theme, around = scene.projection, scene.theme, scene.around
    canvas.lay_out(axes, projection, theme, coasts=not around.countries)
    draw_surroundings(axes, projection, around, theme)
    if answer.lat is not None and answer.lon is not None:
        if answer.parameters.retrieves:
            _draw_density(axes, projection, answer, theme)
            _draw_neighbours(axes, projection, answer, theme)
        else:
            _draw_cells(axes, projection, answer, theme)
        _draw_positions(axes, projection, answer)
    marked = [answer.truth, None if answer.lat is None else (answer.lat, answer.lon or 0.0)]
    taken = [projection.forward(*each) for each in marked if each is not None]
    draw_names(axes, projection, around, theme, [(float(x), float(y)) for x, y in taken])
    if scene.local:
        canvas.add_scale_bar(axes, 2 * projection.extent[1], theme)


def _view(answer: Localization) -> Projection:
    if answer.lat is None or answer.lon is None:
        return EqualEarth()
    reach = [km for level, km in answer.radius_km.items() if level == 0.9]
    reach += [answer.error_km] if answer.error_km is not None else []
    half_height = max(_SMALLEST_KM, _MARGIN * max(reach, default=_USUAL_KM))
    if half_height > _LARGEST_KM:
        return EqualEarth(answer.lon)
    return AzimuthalEquidistant(answer.lat, answer.lon, _ASPECT * half_height, half_height)


def _draw_density(
    axes: Axes, projection: Projection, answer: Localization, theme: canvas.Theme
) -> None:
    shape = (canvas.HEIGHT // _DENSITY_PIXELS, round(canvas.HEIGHT * _ASPECT) // _DENSITY_PIXELS)
    log_density = canvas.painted(projection, shape, partial(_log_density, answer), -np.inf)
    share = np.exp(log_density - log_density.max())
    _shade(axes, projection, share**0.7, theme, 1.0, "bilinear")
    for level, region in answer.regions_at(tuple(_REGION_STYLES)).items():
        # A region's outline is where the density has one value: draw that contour, which is
        # smooth, in place of the stored cells' steps and their cuts at the antimeridian.
        outline = np.concatenate([np.array(p.exterior.coords) for p in region.geometry.geoms])
        threshold = float(np.median(_log_density(answer, outline[:, 1], outline[:, 0])))
        values = np.maximum(log_density, threshold - 50.0)
        _outline(axes, projection, values, threshold, level, theme)


def _draw_cells(
    axes: Axes, projection: Projection, answer: Localization, theme: canvas.Theme
) -> None:
    """The regions of an answer that are whole geocells, by the pixels inside."""
    shape = (canvas.HEIGHT, round(canvas.HEIGHT * _ASPECT))

    def regions_at(lat: Array, lon: Array) -> Array:
        held = np.zeros(len(lat))
        for region in answer.regions.values():
            held += contains_xy(region.geometry, lon, lat)
        return held

    held = canvas.painted(projection, shape, regions_at)
    if not held.any():
        return
    _shade(axes, projection, held / held.max(), theme, 1.4, "nearest")
    for count, level in enumerate(sorted(answer.regions, reverse=True)):
        _outline(axes, projection, held, count + 0.5, level, theme)


def _shade(
    axes: Axes,
    projection: Projection,
    values: Array,
    theme: canvas.Theme,
    most: float,
    interpolation: Literal["bilinear", "nearest"],
) -> None:
    axes.imshow(
        values,
        extent=projection.extent,
        cmap=_GLOWS[theme],
        vmin=0.0,
        vmax=most,
        interpolation=interpolation,
        zorder=2,
    )


def _outline(
    axes: Axes,
    projection: Projection,
    values: Array,
    at: float,
    level: float,
    theme: canvas.Theme,
) -> None:
    _, style, width = _REGION_STYLES[level]
    axes.contour(
        values,
        levels=[at],
        extent=projection.extent,
        origin="upper",
        colors=[theme.outline],
        linestyles=[style],
        linewidths=[width],
        zorder=3,
    )


def _log_density(answer: Localization, lat: Array, lon: Array) -> Array:
    points, density = unit_vectors(lat, lon), answer.density
    if density is None:
        return np.full(points.shape[:-1], -np.inf)
    return density.log_density(points.reshape(-1, 3)).reshape(points.shape[:-1])


def _draw_neighbours(
    axes: Axes, projection: Projection, answer: Localization, theme: canvas.Theme
) -> None:
    x, y = projection.forward(answer.neighbours.lat, answer.neighbours.lon)
    share = np.sqrt(answer.weights / answer.weights.max())
    axes.scatter(
        x,
        y,
        s=8 + 110 * share,
        facecolors=[to_rgba(theme.neighbour, 0.1 + 0.2 * float(value)) for value in share],
        edgecolors=[to_rgba(theme.neighbour, 0.45 + 0.55 * float(value)) for value in share],
        linewidths=0.8,
        zorder=4,
    )


def _draw_positions(axes: Axes, projection: Projection, answer: Localization) -> None:
    estimate = (answer.lat or 0.0, answer.lon or 0.0)
    if answer.truth is not None:
        distance = float(great_circle_km(*estimate, *answer.truth))
        bearing = initial_bearing(*estimate, *answer.truth)
        line = destination(*estimate, bearing, np.linspace(0.0, distance, 200))
        for part in canvas.projected(projection, *line):
            axes.plot(*part.T, color=canvas.TRUTH, linewidth=1.6, linestyle=(0, (1, 1.5)), zorder=5)
        axes.plot(*projection.forward(*answer.truth), **_TRUTH_MARK, zorder=6)
    axes.plot(*projection.forward(*estimate), **_ESTIMATE_MARK, zorder=7)


_ESTIMATE_MARK: dict[str, Any] = {
    "marker": "o",
    "markersize": 13,
    "markerfacecolor": canvas.ESTIMATE,
    "markeredgecolor": canvas.PAGE,
    "markeredgewidth": 2.2,
    "linestyle": "none",
}
_TRUTH_MARK = _ESTIMATE_MARK | {
    "marker": "D",
    "markersize": 11,
    "markerfacecolor": canvas.TRUTH,
}


def _draw_panel(
    figure: Figure, answer: Localization, scene: Scene, photo: Image.Image | None
) -> None:
    left = 1 - _PANEL_SHARE
    panel = figure.add_axes((left, 0, _PANEL_SHARE, 1), xlim=(0, 432), ylim=(900, 0))
    panel.axis("off")
    panel.add_patch(Rectangle((0, 0), 432, 900, facecolor=canvas.PANEL))
    top = _draw_thumbnail(panel, photo)
    _write(panel, 36, top, _shortened(PurePosixPath(answer.photo).name), canvas.MUTED, 12)
    headline, position = "no neighbours", None
    if answer.lat is not None and answer.lon is not None:
        position = format_position(answer.lat, answer.lon)
        headline = answer.place_name or position
    for line in wrap(headline[0].upper() + headline[1:], _HEADLINE):
        top += 31
        _write(panel, 36, top + 6, line, canvas.TEXT, 18, weight="bold")
    if position not in (None, headline):
        top += 27
        _write(panel, 36, top + 6, position or "", canvas.MUTED, 12.5)
    for row, (name, value) in enumerate(_facts(answer)):
        _write(panel, 36, top + 46 + 27 * row, name, canvas.MUTED, 12)
        _write(panel, 396, top + 46 + 27 * row, value, canvas.TEXT, 12, ha="right")
    panel.legend(
        handles=legend(answer, scene),
        loc="lower left",
        bbox_to_anchor=(0.055, 0.025),
        frameon=False,
        labelcolor=canvas.TEXT,
        fontsize=11.5,
        labelspacing=0.7,
        handlelength=2.2,
    )


def _draw_thumbnail(panel: Axes, fitted: Image.Image | None) -> float:
    """Draw the photo, if there is one; returns where the text below may start."""
    if fitted is None:
        return 64.0
    panel.imshow(
        np.asarray(fitted),
        extent=(36, 36 + fitted.width, 36 + fitted.height, 36),
        aspect="auto",
        zorder=2,
    )
    panel.set(xlim=(0, 432), ylim=(900, 0))
    return 36.0 + fitted.height + 34.0


def _facts(answer: Localization) -> list[tuple[str, str]]:
    parameters = answer.parameters
    facts = [] if answer.agreement is None else [("agreement", f"{answer.agreement:.2f}")]
    # Only a calibration can say how often the truth is so near.
    held = "within" if parameters.fitted is not None else "of density"
    facts += [
        (f"{100 * level:g} % {held}", format_km(km)) for level, km in answer.radius_km.items()
    ]
    if answer.error_km is not None:
        facts.append(("error", format_km(answer.error_km)))
    if parameters.retrieves:
        facts.append(("neighbours", f"{len(answer.neighbours):,}"))
    facts.append(("method", parameters.method))
    if parameters.partitions:
        facts.append(("partitions", _shortened(", ".join(parameters.partitions), 28)))
    if parameters.retrieves and answer.lat is not None:
        facts.append(("bandwidth", format_km(parameters.bandwidth_km)))
    facts.append(("model", _shortened(answer.model["name"])))
    return facts


def legend(answer: Localization, scene: Scene) -> list[Line2D | Patch]:
    """What the marks on the map are."""
    if answer.lat is None:
        return []
    theme = scene.theme
    marks: list[Line2D | Patch] = [Line2D([], [], label="estimate", **_ESTIMATE_MARK)]
    if answer.truth is not None:
        marks.append(Line2D([], [], label="true position", **_TRUTH_MARK))
    neighbour = Line2D(
        [],
        [],
        label="neighbour, larger by weight",
        marker="o",
        markersize=10,
        markerfacecolor=to_rgba(canvas.NEIGHBOUR, 0.25),
        markeredgecolor=canvas.NEIGHBOUR,
        linestyle="none",
    )
    if answer.parameters.retrieves:
        marks.append(neighbour)
    if len(scene.around.photos):
        marks.append(
            Line2D([], [], label="other photo", marker=".", color=theme.photo, linestyle="")
        )
    marks += [
        Line2D([], [], label=label, color=canvas.ESTIMATE, linestyle=style, linewidth=width)
        for label, style, width in _REGION_STYLES.values()
    ]
    name = "density" if answer.parameters.retrieves else "likely geocells"
    marks.append(Patch(label=name, facecolor=_GLOWS[theme](0.7)))
    return marks


def _write(
    panel: Axes, x: float, y: float, text: str, colour: str, size: float, **how: Any
) -> None:
    panel.text(x, y, text, color=colour, fontsize=size, va="center", parse_math=False, **how)


def _shortened(text: str, length: int = 36) -> str:
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"
