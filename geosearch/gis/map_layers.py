"""Which layers a project shows, in which groups, at which scales."""

from __future__ import annotations

from dataclasses import dataclass

from geosearch.layers.layer import (
    AUDIT,
    BORDERS,
    COVERAGE,
    DENSITY,
    DUPLICATES,
    ERRORS,
    ESTIMATES,
    GEOCELLS,
    LINES,
    NEIGHBOURS,
    PHOTOS,
    REGIONS,
    TRUTHS,
    UNLOCATED,
    Layer,
)
from geosearch.layers.selection import Selection

#: Answers whose neighbours are shown where none are chosen: those of all would hide the map.
LATEST = 20

#: Answers whose regions are filled at first: those of many would add up to one colour.
FILLED = 5

#: Title of the group at the bottom.
BACKGROUND = "Background"

#: What is seen in each theme: ids of layers. The background is in all.
THEMES = {
    "photos": ("photos", "coverage_56", "coverage_222"),
    "answers": ("estimates", "truths", "regions"),
    "evidence": ("estimates", "truths", "neighbours", "lines", "regions", "density", "photos"),
    "errors": ("errors", "evaluated", "evaluated_truths", "evaluated_regions"),
}

#: Scales (denominators) between which photos are shown as cells: below they are shown one by one.
_COUNTRY, _WORLD = 5_000_000, 25_000_000


@dataclass(frozen=True)
class MapLayer:
    """A layer in a project: the rows of `source` that meet `where`, an SQL condition on its view.

    `id` and `title` are the layer's own where they are not given. It is drawn at scales from
    1:`closest` to 1:`farthest`, where these are. `labels` may switch off the labels of the style.
    """

    source: Layer
    where: str = ""
    id: str = ""
    title: str = ""
    shown: bool = True
    closest: int | None = None
    farthest: int | None = None
    labels: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.id or self.source.name)
        object.__setattr__(self, "title", self.title or self.source.title)


@dataclass(frozen=True)
class Group:
    """Layers under one heading, the topmost first."""

    title: str
    layers: tuple[MapLayer, ...]
    shown: bool = True


_REFERENCES = (
    Group(
        "Photos",
        (
            MapLayer(PHOTOS, farthest=_COUNTRY),
            MapLayer(
                COVERAGE,
                '"cell_km" = 56',
                "coverage_56",
                "Photos by cell of 56 km",
                closest=_COUNTRY,
                farthest=_WORLD,
            ),
            MapLayer(
                COVERAGE,
                '"cell_km" = 222',
                "coverage_222",
                "Photos by cell of 222 km",
                closest=_WORLD,
            ),
        ),
    ),
    Group("To be decided on", (MapLayer(UNLOCATED),), shown=False),
    Group("Doubts", (MapLayer(AUDIT), MapLayer(DUPLICATES)), shown=False),
    Group("Geocells", (MapLayer(GEOCELLS, shown=False),)),
    Group(BACKGROUND, (MapLayer(BORDERS, "\"kind\" = 'country'", title="Countries"),)),
)


def groups(selection: Selection) -> tuple[Group, ...]:
    """The groups of a project, the topmost first.

    Where `selection` chooses nothing, there are the answers of `geosearch localize`, with the
    neighbours of the latest, and those of evaluations, at first not shown.
    """
    if selection.evaluation is not None:
        title = f"Evaluation {selection.evaluation}"
        chosen = f'"evaluation_id" = {selection.evaluation}'
        return _evaluation(title, chosen, shown=True), *_REFERENCES
    if selection.ids:
        keys = ", ".join(map(str, selection.ids))
        return _answers(keys, keys), *_REFERENCES
    if selection.last is not None:
        keys = _latest("true", selection.last)
        return _answers(keys, keys), *_REFERENCES
    own = '"evaluation_id" IS NULL'
    answers = _answers(None, _latest(own, LATEST), f" of the latest {LATEST} answers")
    evaluations = _evaluation("Evaluations", '"evaluation_id" IS NOT NULL', shown=False)
    return answers, evaluations, *_REFERENCES


def _answers(keys: str | None, keys_of_neighbours: str, note: str = "") -> Group:
    """Answers by SQL for their ids; None for all that are not of an evaluation."""
    own = '"evaluation_id" IS NULL'
    neighbours = f'"localization_id" IN ({keys_of_neighbours})'
    answers = own if keys is None else f'"id" IN ({keys})'
    areas = own if keys is None else f'"localization_id" IN ({keys})'
    return Group(
        "Answers",
        (
            MapLayer(ESTIMATES, answers),
            MapLayer(TRUTHS, answers),
            MapLayer(NEIGHBOURS, neighbours, title=NEIGHBOURS.title + note),
            # Lines of many answers hide the map.
            MapLayer(LINES, neighbours, title=LINES.title + note, shown=keys is not None),
            MapLayer(REGIONS, areas),
            MapLayer(DENSITY, areas, shown=keys is not None),
        ),
    )


def _evaluation(title: str, chosen: str, *, shown: bool) -> Group:
    return Group(
        title,
        (
            MapLayer(ESTIMATES, chosen, "evaluated", "Estimates with known truth", labels=False),
            MapLayer(TRUTHS, chosen, "evaluated_truths"),
            MapLayer(ERRORS, chosen),
            MapLayer(REGIONS, chosen, "evaluated_regions"),
            MapLayer(DENSITY, chosen, "evaluated_density", shown=False),
        ),
        shown,
    )


def _latest(condition: str, count: int) -> str:
    estimates = "SELECT id FROM geosearch.gis_estimates"
    return f"{estimates} WHERE {condition} ORDER BY id DESC LIMIT {count}"
