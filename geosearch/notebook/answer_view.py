"""How the answers of an open database are shown: with its borders, names and thumbnails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from types import NoneType
from typing import TYPE_CHECKING, Any

import shapely

from geosearch.database.connection import Database
from geosearch.database.pool import ClosedError
from geosearch.errors import DatabaseError, MissingExtraError, PhotoRejected
from geosearch.installation import optional
from geosearch.localization import Localization
from geosearch.localization.pictures import LEVELS
from geosearch.notebook.frames import geo_frame
from geosearch.retrieval.photo_list import read_thumbnails
from geosearch.storage import is_remote

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes
    from PIL import Image

    from geosearch.export.map import Scene

_WHAT = "a map"
#: Of a figure that is made for a plot, inches; the attribution stands below.
_WIDTH, _BELOW = 9.0, 0.25
#: What is left out of a picture because the database was closed, or is gone.
_GONE = (ClosedError, DatabaseError)


class AnswerView:
    """`geosearch.localization.answer.View` of the answers of a database.

    An answer is shown after the database was closed too, without what is in it alone. A copy of an
    answer, in another process or a file, has none.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __reduce__(self) -> tuple[Any, ...]:
        return NoneType, ()

    def html(self, answer: Localization) -> str:
        """The map, with the query where its file is here, and the neighbours."""
        from geosearch.notebook.answer_html import NEIGHBOURS, answer_html

        thumbnails: dict[int, bytes] = {}
        shown = answer.neighbours.photo_id[:NEIGHBOURS].tolist()
        with suppress(*_GONE), self._database.connection() as connection:
            thumbnails = read_thumbnails(connection, shown)
        drawn = None
        with suppress(MissingExtraError):
            drawn = self._drawn(answer)
        return answer_html(answer, drawn, thumbnails)

    def _drawn(self, answer: Localization) -> Image.Image:
        optional(_WHAT, "pictures", "matplotlib")
        from geosearch.export import canvas
        from geosearch.export.map import map_figure

        return canvas.image_of(map_figure(answer, self._scene(answer), query_picture(answer)))

    def plot(self, answer: Localization, axes: Axes | None) -> Axes:
        """The map without what stands beside it; the legend is its own."""
        optional(_WHAT, "pictures", "matplotlib")
        from geosearch.export import canvas
        from geosearch.export.map import draw_on, legend
        from geosearch.export.surroundings import attribution

        scene = self._scene(answer)
        if axes is None:
            from matplotlib import pyplot

            left, right, bottom, top = scene.projection.extent
            height = _WIDTH * (top - bottom) / (right - left) + _BELOW
            axes = pyplot.figure(figsize=(_WIDTH, height), layout="constrained").add_subplot()
        draw_on(axes, answer, scene)
        marks = legend(answer, scene)
        if marks:
            axes.legend(
                handles=marks,
                loc="upper right",
                fontsize=8,
                labelspacing=0.9,
                facecolor=canvas.PANEL,
                labelcolor=canvas.TEXT,
                framealpha=1,
            ).set_zorder(10)  # above the names
        axes.set_xlabel(attribution(scene.theme), fontsize=6, loc="right")
        return axes

    def geo_frame(self, answer: Localization) -> GeoDataFrame:
        """See `Localization.to_geopandas`."""
        rows = [*_places(answer)]
        columns = ("kind", "level", "area_km2", "rank", "photo_id", "uri", "distance", "weight")
        return geo_frame(rows, (*columns, "geometry"), geometry="geometry")

    def _scene(self, answer: Localization) -> Scene:
        from geosearch.export.map import Scene

        try:
            return Scene.of(answer, self._database)
        except _GONE:
            return Scene.of(answer)


def query_picture(answer: Localization) -> Image.Image | None:
    """The query: what is kept of it, or is in memory, or its file here; nothing is fetched."""
    from geosearch.export import canvas
    from geosearch.export.map import THUMBNAIL

    query = answer.query
    kept = query.picture
    if kept is None and query.read is not None:
        with suppress(PhotoRejected):
            kept = query.read()
    if kept is None and is_remote(query.uri):
        return None
    return canvas.thumbnail(kept or query.uri, THUMBNAIL)


def _places(answer: Localization) -> Iterator[dict[str, Any]]:
    if answer.lat is not None and answer.lon is not None:
        yield {"kind": "estimate", "geometry": shapely.Point(answer.lon, answer.lat)}
        for level, region in answer.regions_at(LEVELS).items():
            shape = {"level": level, "area_km2": region.area_km2, "geometry": region.geometry}
            yield {"kind": "region"} | shape
    if answer.truth is not None:
        yield {"kind": "truth", "geometry": shapely.Point(*answer.truth[::-1])}
    for one, weight in zip(answer.neighbours.to_json(), answer.weights, strict=False):
        names = ("rank", "photo_id", "uri", "distance")
        yield {
            "kind": "neighbour",
            **{name: one[name] for name in names},
            "weight": float(weight),
            "geometry": shapely.Point(one["lon"], one["lat"]),
        }
