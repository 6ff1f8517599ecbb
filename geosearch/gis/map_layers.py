"""Which layers a project shows, in which groups, at which scales."""

from __future__ import annotations

from dataclasses import dataclass, replace

from geosearch.export.estimates import Selection

#: Answers whose neighbours are shown where none are chosen: those of all would hide the map.
LATEST = 20

#: Title of the group at the bottom.
BACKGROUND = "Background"

#: Scales (denominators) between which photos are shown as cells: below they are shown one by one.
_COUNTRY, _WORLD = 5_000_000, 25_000_000


@dataclass(frozen=True)
class MapLayer:
    """A view of the database, drawn in a style of `geosearch.export.styles`.

    `where` is an SQL condition on the view. The layer is drawn at scales from 1:`closest` to
    1:`farthest`, where these are given. `labels` may switch off the labels of the style.
    """

    id: str
    title: str
    view: str
    geometry_type: str
    style: str
    where: str = ""
    shown: bool = True
    closest: int | None = None
    farthest: int | None = None
    labels: bool = True


@dataclass(frozen=True)
class Group:
    """Layers under one heading, the topmost first."""

    title: str
    layers: tuple[MapLayer, ...]
    shown: bool = True


ESTIMATES = MapLayer("estimates", "Estimates", "gis_estimates", "Point", "estimates")
NEIGHBOURS = MapLayer("neighbours", "Neighbours", "gis_neighbours", "Point", "neighbours")
LINES = MapLayer("lines", "Lines to neighbours", "gis_lines", "MultiLineString", "lines")
REGIONS = MapLayer("regions", "Regions", "gis_regions", "MultiPolygon", "regions")
DENSITY = MapLayer("density", "Density", "gis_density", "MultiPolygon", "density", shown=False)
ERRORS = MapLayer("errors", "Errors", "gis_errors", "MultiLineString", "errors")
PHOTOS = MapLayer("photos", "Photos", "gis_photos", "Point", "photos", farthest=_COUNTRY)
COVERAGE = MapLayer("coverage", "Photos by cell", "gis_coverage", "MultiPolygon", "coverage")
GEOCELLS = MapLayer("geocells", "Geocells", "gis_geocells", "MultiPolygon", "geocells", shown=False)
BORDERS = MapLayer(
    "borders", "Countries", "gis_borders", "MultiPolygon", "borders", "\"kind\" = 'country'"
)

#: The style of every view, for whoever adds one to a map without the project.
STYLED = (
    ESTIMATES,
    NEIGHBOURS,
    LINES,
    REGIONS,
    DENSITY,
    ERRORS,
    PHOTOS,
    COVERAGE,
    GEOCELLS,
    BORDERS,
)

_FINE = replace(
    COVERAGE,
    id="coverage_56",
    title="Photos by cell of 56 km",
    where='"cell_km" = 56',
    closest=_COUNTRY,
    farthest=_WORLD,
)
_COARSE = replace(
    COVERAGE,
    id="coverage_222",
    title="Photos by cell of 222 km",
    where='"cell_km" = 222',
    closest=_WORLD,
)


def groups(selection: Selection) -> tuple[Group, ...]:
    """The groups of a project, the topmost first.

    Where `selection` chooses nothing, there are the answers of `geosearch localize`, with the
    neighbours of the latest, and those of evaluations, at first not shown.
    """
    references = (
        Group("Photos", (PHOTOS, _FINE, _COARSE)),
        Group("Geocells", (GEOCELLS,)),
        Group(BACKGROUND, (BORDERS,)),
    )
    if selection.evaluation is not None:
        title = f"Evaluation {selection.evaluation}"
        chosen = f'"evaluation_id" = {selection.evaluation}'
        return _evaluation(title, chosen, shown=True), *references
    if selection.ids:
        keys = ", ".join(map(str, selection.ids))
        return _answers(keys, keys), *references
    if selection.last is not None:
        keys = _latest("true", selection.last)
        return _answers(keys, keys), *references
    own = '"evaluation_id" IS NULL'
    answers = _answers(None, _latest(own, LATEST), f" of the latest {LATEST} answers")
    evaluations = _evaluation("Evaluations", '"evaluation_id" IS NOT NULL', shown=False)
    return answers, evaluations, *references


def _answers(keys: str | None, keys_of_neighbours: str, note: str = "") -> Group:
    """Answers by SQL for their ids; None for all that are not of an evaluation."""
    own = '"evaluation_id" IS NULL'
    neighbours = f'"localization_id" IN ({keys_of_neighbours})'
    areas = own if keys is None else f'"localization_id" IN ({keys})'
    return Group(
        "Answers",
        (
            replace(ESTIMATES, where=own if keys is None else f'"id" IN ({keys})'),
            replace(NEIGHBOURS, title=NEIGHBOURS.title + note, where=neighbours),
            # Lines of many answers hide the map.
            replace(LINES, title=LINES.title + note, where=neighbours, shown=keys is not None),
            replace(REGIONS, where=areas),
            replace(DENSITY, where=areas, shown=keys is not None),
        ),
    )


def _evaluation(title: str, chosen: str, *, shown: bool) -> Group:
    return Group(
        title,
        (
            replace(ERRORS, where=chosen),
            replace(
                ESTIMATES,
                id="evaluated",
                title="Estimates with known truth",
                where=chosen,
                labels=False,
            ),
            replace(REGIONS, id="evaluated_regions", where=chosen, shown=False),
            replace(DENSITY, id="evaluated_density", where=chosen),
        ),
        shown,
    )


def _latest(condition: str, count: int) -> str:
    estimates = "SELECT id FROM geosearch.gis_estimates"
    return f"{estimates} WHERE {condition} ORDER BY id DESC LIMIT {count}"
