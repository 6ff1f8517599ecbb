"""Great-circle lines, cut at the antimeridian."""

from __future__ import annotations

import antimeridian
import numpy as np
from shapely import LineString, MultiLineString

from geosearch.sphere import destination, great_circle_km, initial_bearing

_STEP_KM = 100.0


def great_circle_line(start: tuple[float, float], end: tuple[float, float]) -> MultiLineString:
    """The shortest way between two positions (lat, lon), cut where it meets the antimeridian.

    It has a vertex at least every 100 km, because lines of GIS are straight in degrees. A line
    that nothing cuts is a single part.
    """
    distance = float(great_circle_km(*start, *end))
    steps = max(2, int(distance // _STEP_KM) + 2)
    lat, lon = destination(*start, initial_bearing(*start, *end), np.linspace(0.0, distance, steps))
    lat[[0, -1]], lon[[0, -1]] = (start[0], end[0]), (start[1], end[1])
    line = LineString(np.column_stack([lon, lat]))
    if np.abs(np.diff(lon)).max() <= 180.0:
        return MultiLineString([line])
    cut = antimeridian.fix_line_string(line, great_circle=True)
    return cut if isinstance(cut, MultiLineString) else MultiLineString([cut])
