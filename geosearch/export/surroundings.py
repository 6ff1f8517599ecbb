"""What a map shows round an answer, so that its reader knows where it is: land, borders, names.

The borders and names are those of the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Bbox
from shapely.geometry import Polygon, box

from geosearch.borders.shipped import ATTRIBUTION
from geosearch.database.connection import Connection
from geosearch.earth import is_land
from geosearch.export import canvas
from geosearch.export.projections import AzimuthalEquidistant, EqualEarth, Projection
from geosearch.sphere import Array
from geosearch.words import threshold

#: Borders are drawn on maps at least so wide, kilometres: they are too coarse for others ...
BORDERS_FROM_KM = 40.0
#: ... where other photos are shown instead.
PHOTOS_UP_TO_KM = 100.0
_MOST_LABELS = 14
#: The name of a country may be so much longer than its area is wide.
_NAME_WIDTH = 2.2


@dataclass(frozen=True)
class Surroundings:
    """What is near an answer.

    Countries (name, and a polygon for each piece of their land), towns (name, latitude, longitude;
    the largest first), and the positions (n, 2) of photos, latitude and longitude in degrees.
    """

    countries: tuple[tuple[str, Any], ...] = ()
    towns: tuple[tuple[str, float, float], ...] = ()
    photos: Array = field(default_factory=lambda: np.zeros((0, 2)))


# Islands of less than two pixels only make maps slow.
_COUNTRIES = """
SELECT name, ST_AsBinary(part.geom)
FROM geosearch.borders, ST_Dump(borders.geom) AS part
WHERE kind = 'country' AND part.geom && ST_MakeEnvelope(%(w)s, %(s)s, %(e)s, %(n)s, 4326)
    AND ST_Area(ST_Envelope(part.geom)) > (2 * %(pixel)s) ^ 2
ORDER BY borders.id, ST_Area(part.geom) DESC
"""
_TOWNS = """
SELECT name, ST_Y(geom), ST_X(geom) FROM geosearch.places
WHERE ST_DWithin(geom::geography, ST_Point(%(lon)s, %(lat)s)::geography, %(metres)s, false)
ORDER BY population DESC, id LIMIT 60
"""
_PHOTOS = """
SELECT ST_Y(geom), ST_X(geom) FROM geosearch.photos
WHERE ST_DWithin(geom::geography, ST_Point(%(lon)s, %(lat)s)::geography, %(metres)s, false)
    AND position_source <> 'place'
LIMIT 3000
"""


def read_surroundings(connection: Connection, projection: Projection) -> Surroundings:
    """What is near a map: towns where it is of a part of the world, photos where it is small."""
    world = {"w": -180, "s": -90, "e": 180, "n": 90}
    where = {"pixel": 2 * projection.extent[1] / canvas.WIDTH / 111}
    if not isinstance(projection, AzimuthalEquidistant):
        rows = connection.execute(_COUNTRIES, where | world)
        return Surroundings(tuple((name, shapely.from_wkb(part)) for name, part in rows))
    lat, lon = projection.lat, projection.lon
    where |= {"lat": lat, "lon": lon, "metres": 1000 * projection.reach_km}
    high, wide = projection.reach
    around = {"w": lon - wide, "s": lat - high, "e": lon + wide, "n": lat + high}
    rows = connection.execute(_COUNTRIES, where | (around if abs(lon) + wide < 180 else world))
    countries = tuple((name, shapely.from_wkb(part)) for name, part in rows)
    photos: list[Any] = []
    if 2 * projection.half_width <= PHOTOS_UP_TO_KM:
        photos = connection.execute(_PHOTOS, where).fetchall()
    towns = connection.execute(_TOWNS, where).fetchall()
    return Surroundings(countries, tuple(towns), np.array(photos, float).reshape(-1, 2))


def draw_surroundings(
    axes: Axes, projection: Projection, around: Surroundings, theme: canvas.Theme
) -> None:
    """Draw land and borders, a grid of degrees or rings of distance, and the photos."""
    width = 2 * projection.extent[1]
    if isinstance(projection, AzimuthalEquidistant) and width < BORDERS_FROM_KM:
        axes.set_facecolor(theme.land)
        _draw_rings(axes, projection, theme)
    else:
        _draw_grid(axes, projection, theme)
        if theme is canvas.LIGHT:
            for path in _land(projection, around):
                axes.add_patch(PathPatch(path, facecolor=theme.land, linewidth=0, zorder=0.2))
        rings = [np.array(ring.coords).T for _, part in around.countries for ring in _rings(part)]
        if rings:
            lon, lat = np.hstack([part for ring in rings for part in (ring, [[np.nan], [np.nan]])])
            # Where areas end at ±180° and at a pole, there is no border.
            lon = np.where((np.abs(lon) > 179.999) | (lat < -89.999), np.nan, lon)
            lines = list(canvas.projected(projection, lat, lon))
            canvas.add_lines(axes, lines, colors=theme.line, linewidths=0.7, zorder=1)
    if len(around.photos):
        x, y = projection.forward(*around.photos.T)
        axes.scatter(x, y, s=11, color=theme.photo, linewidths=0, zorder=3.5)


def _rings(part: Polygon) -> list[Any]:
    return [part.exterior, *part.interiors]


def _land(projection: Projection, around: Surroundings) -> Iterator[Path]:
    """The land in view, as shapes on the map."""
    for _, part in around.countries:
        rings = [_on_map(projection, ring) for ring in _rings(part)]
        if _in_view(projection, rings[0]):
            yield Path.make_compound_path(*(Path(ring, closed=True) for ring in rings))


def _on_map(projection: Projection, ring: Any) -> Array:
    lon, lat = np.array(ring.coords).T
    return np.column_stack(projection.forward(lat, lon))


def _in_view(projection: Projection, ring: Array) -> bool:
    # What holds the antipode comes out as a ring round everything: its vertices are all far away.
    left, right, bottom, top = projection.extent
    near = np.hypot(*ring.T).min() < 10_000
    (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
    return bool(near and west < right and east > left and south < top and north > bottom)


def _draw_rings(axes: Axes, projection: AzimuthalEquidistant, theme: canvas.Theme) -> None:
    step = canvas.round_length(projection.half_height / 2.2)
    turn = np.linspace(0.0, 2 * np.pi, 361)
    for radius in np.arange(step, np.hypot(projection.half_width, projection.half_height), step):
        axes.plot(
            radius * np.sin(turn),
            radius * np.cos(turn),
            color=theme.line,
            linewidth=0.8,
            alpha=0.6,
            zorder=0.5,
        )
        if radius < 0.95 * projection.half_height:
            _write(axes, 0.0, -radius, threshold(radius), theme, 9.5, theme.muted)


def _draw_grid(axes: Axes, projection: Projection, theme: canvas.Theme) -> None:
    lat, lon, high, wide = 0.0, 0.0, 90.0, 180.0
    if isinstance(projection, AzimuthalEquidistant):
        lat, lon, (high, wide) = projection.lat, projection.lon, projection.reach
    share, lines = np.linspace(-1, 1, 361), list[Array]()
    for parallel in _steps(lat, high):
        lines += canvas.projected(projection, np.full_like(share, parallel), lon + wide * share)
    for meridian in _steps(lon, wide):
        lats = np.clip(lat + high * share, -90, 90)
        lines += canvas.projected(projection, lats, np.full_like(share, meridian))
    canvas.add_lines(axes, lines, colors=theme.grid, linewidths=0.5, zorder=0.6)


def _steps(middle: float, reach: float) -> Array:
    """Round degrees round the middle, about eight of them."""
    step = float(_STEPS[np.searchsorted(_STEPS[:-1], reach / 4)])
    return step * np.arange(np.ceil((middle - reach) / step), (middle + reach) / step)


_STEPS = np.array([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30])


def draw_names(
    axes: Axes,
    projection: Projection,
    around: Surroundings,
    theme: canvas.Theme,
    taken: Iterable[tuple[float, float]],
) -> None:
    """Write the names of countries and towns where they cover neither one another nor `taken`.

    `taken` are points of the map, kilometres.
    """
    boxes = [_box(axes.transData.transform(point), 11) for point in taken]
    frame = axes.get_window_extent().padded(-8)
    boxes += [
        Bbox.from_bounds(frame.x0, frame.y0, 260, 64),
        Bbox.from_bounds(frame.x1 - 240, frame.y0, 240, 150),
    ]
    written = 0

    def place(
        x: float, y: float, text: str, size: float, colour: str, widest: float = 400, **how: Any
    ) -> bool:
        label = _write(axes, x, y, text, theme, size, colour, **how)
        found = label.get_window_extent()
        free = (
            found.width < widest
            and frame.x0 < found.x0
            and found.x1 < frame.x1
            and frame.y0 < found.y0 < frame.y1
        )
        if not free or found.y1 > frame.y1 or any(found.padded(5).overlaps(b) for b in boxes):
            label.remove()
            return False
        boxes.append(found)
        return True

    if projection.extent[1] - projection.extent[0] >= BORDERS_FROM_KM:
        for name, x, y, share in _countries_in_view(projection, around):
            size = 9.0 if share < 0.02 else 10.5
            widest = _NAME_WIDTH * float(np.sqrt(share * frame.width * frame.height))
            written += place(x, y, name.upper(), size, theme.muted, widest=widest, weight="bold")
            if written >= _MOST_LABELS:
                break
    written = 0
    for name, lat, lon in around.towns:
        x, y = (float(value) for value in projection.forward(lat, lon))
        spot = axes.transData.transform((x, y))
        dot = _box(spot, 12)
        if not frame.contains(*spot) or any(dot.overlaps(other) for other in boxes):
            continue
        if any(place(x, y, name, 10.5, theme.text, **how) for how in _BESIDE):
            axes.plot(x, y, "o", color=theme.text, markersize=3.5, zorder=8)
            boxes.append(dot)
            written += 1
        if written >= _MOST_LABELS:
            break


def _box(middle: Array, half: float) -> Bbox:
    return Bbox([middle - half, middle + half])


_BESIDE: tuple[dict[str, Any], ...] = (
    {"ha": "left", "offset": (6, 0)},
    {"ha": "right", "offset": (-6, 0)},
    {"va": "bottom", "offset": (0, 5)},
    {"va": "top", "offset": (0, -5)},
)


def _countries_in_view(
    projection: Projection, around: Surroundings
) -> list[tuple[str, float, float, float]]:
    """Name, a point inside and share of the map for each country, the largest first."""
    left, right, bottom, top = projection.extent
    view = box(left, bottom, right, top)
    found: dict[str, tuple[str, float, float, float]] = {}
    for name, part in around.countries:
        ring = _on_map(projection, part.exterior)
        # What is cut by the edge of a world map goes all the way across it.
        if not _in_view(projection, ring) or np.ptp(ring[:, 0]) > 1.2 * (right - left) + 9000:
            continue
        shape = shapely.make_valid(Polygon(ring)).intersection(view)
        share = shape.area / view.area
        if share > max(0.004, found[name][3] if name in found else 0.0):
            point = shapely.maximum_inscribed_circle(shape, tolerance=(right - left) / 300)
            found[name] = (name, *point.coords[0], share)
    return sorted(found.values(), key=lambda item: -item[3])


def _write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    theme: canvas.Theme,
    size: float,
    colour: str,
    offset: tuple[float, float] = (0, 0),
    **how: Any,
) -> Any:
    halo = [patheffects.withStroke(linewidth=2.6, foreground=theme.halo)]
    style: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 8, "parse_math": False}
    style |= {"color": colour, "fontsize": size, "path_effects": halo, **how}
    return axes.annotate(text, (x, y), offset, textcoords="offset points", **style)


def add_locator(figure: Figure, corner: tuple[float, float], projection: Projection) -> None:
    """A small world with the map on it; `corner` is its lower right, shares of the page."""
    width, height = 0.125, 0.125 * 0.4866 * canvas.WIDTH / canvas.HEIGHT
    world = EqualEarth()
    inset = figure.add_axes((corner[0] - width, corner[1], width, height))
    inset.axis("off")
    colours = np.array([[0.16, 0.22, 0.31, 1.0], [0.62, 0.68, 0.76, 1.0]])
    image = canvas.painted(
        world, (300, 616), lambda lat, lon: colours[is_land(lat, lon).astype(int)]
    )
    inset.imshow(image, extent=world.extent, interpolation="antialiased")
    _, right, _, top = projection.extent
    edge = np.linspace(-1, 1, 40)
    one = np.ones_like(edge)
    x = np.concatenate([edge, one, -edge, -one]) * right
    y = np.concatenate([-one, edge, one, -edge]) * top
    for part in canvas.projected(world, *projection.inverse(x, y)):
        inset.plot(*part.T, color=canvas.ESTIMATE, linewidth=1.6)
    if right < 600:  # too small to be seen
        spot = world.forward(*projection.inverse(0.0, 0.0))
        inset.plot(*spot, "o", color=canvas.ESTIMATE, markersize=6, markeredgecolor=canvas.PAGE)
    inset.set(xlim=world.extent[:2], ylim=world.extent[2:])


def add_attribution(figure: Figure, right: float, theme: canvas.Theme) -> None:
    """Whose names, borders and picture they are, at the bottom, up to `right` of the page."""
    figure.text(right, 0.012, attribution(theme), color=theme.muted, fontsize=8, ha="right")


def attribution(theme: canvas.Theme) -> str:
    """Whose names, borders and picture the map shows."""
    return ATTRIBUTION + ("" if theme is canvas.LIGHT else "; image: NASA Blue Marble")
