"""The layers: views of the database that maps, files and tiles show alike.

Which columns a layer has, of which types, and what they mean is said by its view (`sql/`); here is
what SQL cannot say.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """The view `gis_<name>` of schema `geosearch`, with an integer `id` first and `geom` last.

    `about` says what it shows, as does the comment of the view, and `kind` what one of its rows is.
    The column `label` names a row to people. `answer` is the column with the id of the answer that
    a row belongs to, where it belongs to one. `order` is that of the rows, SQL. An `editable` one
    may be changed through its view.
    """

    name: str
    title: str
    about: str
    kind: str
    geometry_type: str
    label: str
    answer: str | None = None
    order: str = "id"
    editable: bool = False

    @property
    def view(self) -> str:
        """Name of the view."""
        return f"gis_{self.name}"


PHOTOS = Layer(
    "photos", "Photos", "Reference photos that have a position.", "photo", "Point", "title"
)
COVERAGE = Layer(
    "coverage",
    "Photos by cell",
    "Reference photos in cells of equal area, as geosearch.refresh_coverage last counted them.",
    "cell",
    "MultiPolygon",
    "photos",
)
ESTIMATES = Layer(
    "estimates",
    "Estimates",
    "Answers, at the estimated positions of their photos.",
    "estimate",
    "Point",
    "photo",
    "id",
)
REGIONS = Layer(
    "regions",
    "Regions",
    "Regions that hold 50 % and 90 % of the density of answers.",
    "region",
    "MultiPolygon",
    "photo",
    "localization_id",
    # The largest first: in the order of the rows, the small ones are drawn on top.
    "localization_id, level DESC",
)
DENSITY = Layer(
    "density",
    "Density",
    "Densities of answers as cells, for the answers given to geosearch layers density.",
    "cell",
    "MultiPolygon",
    "photo",
    "localization_id",
)
NEIGHBOURS = Layer(
    "neighbours",
    "Neighbours",
    "Neighbours that answers rest on, with their ranks, distances and weights.",
    "neighbour",
    "Point",
    "neighbour",
    "localization_id",
    "localization_id, rank",
)
LINES = Layer(
    "lines",
    "Lines to neighbours",
    "Lines from estimates to the neighbours they rest on.",
    "line",
    "MultiLineString",
    "neighbour",
    "localization_id",
    "localization_id, rank",
)
ERRORS = Layer(
    "errors",
    "Errors",
    "Lines from estimates to known true positions.",
    "error",
    "MultiLineString",
    "photo",
    "id",
)
TRUTHS = Layer(
    "truths",
    "True positions",
    "Known true positions of the photos of answers.",
    "truth",
    "Point",
    "photo",
    "id",
)
UNLOCATED = Layer(
    "unlocated",
    "Photos without a position",
    "Photos without a known position, where their latest answers or reviews say; to be moved.",
    "photo",
    "Point",
    "uri",
    "localization_id",
    editable=True,
)
AUDIT = Layer(
    "audit",
    "Doubtful places",
    "Photos that were hardly taken where or when they say: lines to where they were likelier.",
    "doubt",
    "MultiLineString",
    "photo",
)
DUPLICATES = Layer(
    "duplicates",
    "Duplicates",
    "Pairs of photos that show the same, and lines between those that are not at one place.",
    "pair",
    "MultiLineString",
    "photo",
)
GEOCELLS = Layer(
    "geocells",
    "Geocells",
    "Cells of partitions, with the photos each holds.",
    "cell",
    "MultiPolygon",
    "number",
)
BORDERS = Layer(
    "borders",
    "Borders",
    "Borders of countries and regions, for a background.",
    "border",
    "MultiPolygon",
    "name",
)

#: By name, those of answers between those of references.
LAYERS = {
    layer.name: layer
    for layer in (
        PHOTOS,
        COVERAGE,
        ESTIMATES,
        REGIONS,
        DENSITY,
        NEIGHBOURS,
        LINES,
        ERRORS,
        TRUTHS,
        UNLOCATED,
        AUDIT,
        DUPLICATES,
        GEOCELLS,
        BORDERS,
    )
}
