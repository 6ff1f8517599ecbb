"""What there is: collections, models, what filters can choose from, countries, places, coverage."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict
from shapely.geometry import mapping
from starlette.responses import Response

from geosearch import __version__
from geosearch.borders.border_rows import find_border, list_borders
from geosearch.database.collection_rows import list_collections
from geosearch.errors import NotFoundError
from geosearch.features.model_rows import count_embeddings, list_models
from geosearch.retrieval import Filter
from geosearch.retrieval.filter_check import check_filter, list_choices
from geosearch.web.access import Asker
from geosearch.web.api_photos import Lat, Limit, Lon
from geosearch.web.asking import Models
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import said, shows

router = APIRouter(tags=["catalogue"], responses=PROBLEMS)

_BORDER = {
    "kind": "country",
    "name": "Switzerland",
    "aliases": ["Schweiz"],
    "iso_a2": "CH",
    "iso_a3": "CHE",
    "continent": "Europe",
    "subregion": "Western Europe",
    "source": "shipped",
}
_PLACES = """
SELECT name, admin1, country, iso_a2, population, ST_Y(geom), ST_X(geom)
FROM geosearch.places
WHERE starts_with(lower(name), lower(%s)) ORDER BY population DESC, id LIMIT %s
"""
_CELLS = """
SELECT json_build_object('type', 'FeatureCollection', 'features', coalesce(json_agg(
    json_build_object('type', 'Feature', 'id', id, 'geometry', ST_AsGeoJSON(geom, 5)::json,
        'properties', json_build_object('photos', photos, 'collections', collections))
), '[]'))
FROM geosearch.gis_coverage WHERE cell_km = %s
"""


class Passing(BaseModel):
    """A filter to look into."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"filter": {"country": "CH"}}}
    )

    filter: dict[str, Any]


@router.get(
    "/status",
    summary="Is the server ready?",
    responses=shows(
        {
            "state": "ready",
            "message": None,
            "version": __version__,
            "login": False,
            "models": ["packaged/efficientnet-lite0"],
            "max_upload_bytes": 2**28,
            "basemap_style": None,
        }
    ),
)
def status(request: Request, engine: Models) -> Response:
    """`warming` while models are loaded, then `ready`; or `failed`, and why, unless one could log
    in to be told more.
    """
    state = request.app.state
    why = (
        engine.message and "the log of the server says why" if state.gate.closed else engine.message
    )
    return said(
        {
            "state": engine.state,
            "message": why,
            "version": __version__,
            "login": state.gate.closed,
            "models": engine.models,
            "max_upload_bytes": state.settings.upload_bytes,
            "basemap_style": state.settings.basemap_style,
        }
    )


@router.get(
    "/collections",
    summary="The collections",
    responses=shows(
        [
            {
                "name": "mine",
                "description": None,
                "photos": 240,
                "private": False,
                "shared_with": [],
            }
        ]
    ),
)
def collections(asker: Asker) -> Response:
    """Those that one may see: `geosearch collections list --json`."""
    with asker.database.connection() as connection:
        return said(list_collections(connection))


@router.get(
    "/models",
    summary="The models",
    responses=shows([{"id": 1, "name": "packaged/efficientnet-lite0", "photos": 240}]),
)
def models(asker: Asker) -> Response:
    """What photos are embedded with, and how many: `geosearch models list --json`."""
    with asker.database.connection() as connection:
        rows, photos = list_models(connection), count_embeddings(connection)
    return said([asdict(row) | {"photos": photos.get(row.id, 0)} for row in rows])


@router.post(
    "/filters/check",
    summary="What does a filter let through?",
    responses=shows(
        {
            "filter": {"country": "CH", "authors": ["ann"]},
            "text": "country CH and authors ann",
            "photos": 0,
            "of": 240,
            "conditions": [
                {"condition": {"country": "CH"}, "text": "country CH", "alone": 9, "without": 3}
            ],
        }
    ),
)
def filters_check(asker: Asker, asked: Passing) -> Response:
    """Photos with a position that pass; and for each condition, how many pass it alone, and all
    the others `without` it: where none pass, that says which of them is to blame.
    """
    where = Filter.from_json(asked.filter)
    with asker.database.connection() as connection:
        return said(check_filter(connection, where))


@router.get(
    "/choices",
    summary="What filters can choose from",
    responses=shows(
        {
            "photos": 240,
            "taken": ["2012-01-21T12:00:00+00:00", "2019-06-30T12:00:00+00:00"],
            "taken_counts": [60, 0, 180],
            "bbox": [-171.8, -18.2, 178.5, 78.3],
            "authors": {"ann": 60},
            "licences": {"CC0": 80},
        }
    ),
)
def choices(asker: Asker, limit: Limit = 100) -> Response:
    """Photos with a position, their first and last time, how many there are in 40 equal parts of
    the time between, their box, and the authors and licences with most photos.
    """
    with asker.database.connection() as connection:
        return said(list_choices(connection, limit))


@router.get("/countries", summary="Countries and regions", responses=shows([_BORDER]))
def countries(
    asker: Asker,
    search: Annotated[str | None, Query(description="In a name, in any case.")] = None,
) -> Response:
    """Those that a filter finds by any of their names: `geosearch borders list --json`."""
    with asker.database.connection() as connection:
        found = list_borders(connection)
    wanted = (search or "").lower()
    return said([one for one in found if wanted in " ".join([one.name, *one.aliases]).lower()])


@router.get(
    "/countries/{name}",
    summary="The area of a country or region",
    responses=shows(
        {"type": "Feature", "geometry": {}, "properties": {"name": "CH"}},
        media_type="application/geo+json",
    ),
)
def country(
    asker: Asker, name: Annotated[str, Path(description="Name or ISO code.", examples=["CH"])]
) -> Response:
    """As GeoJSON, by the borders that are loaded."""
    with asker.database.connection() as connection:
        area = find_border(connection, name)
    value = {"type": "Feature", "geometry": mapping(area), "properties": {"name": name}}
    return said(value, media_type="application/geo+json")


@router.get(
    "/places",
    summary="Places by name",
    responses=shows(
        [
            {
                "name": "Sfax",
                "admin1": "Sfax",
                "country": "Tunisia",
                "iso_a2": "TN",
                "population": 277278,
                "lat": 34.74,
                "lon": 10.76,
            }
        ]
    ),
)
def places(
    asker: Asker,
    search: Annotated[str, Query(min_length=1, description="How the name begins.")],
    limit: Limit = 20,
) -> Response:
    """Cities, towns and villages, the most populous first (GeoNames, CC BY 4.0)."""
    names = ("name", "admin1", "country", "iso_a2", "population", "lat", "lon")
    with asker.database.connection() as connection:
        rows = connection.execute(_PLACES, (search, limit)).fetchall()
    return said([dict(zip(names, row, strict=True)) for row in rows])


@router.get(
    "/places/name", summary="A position in words", responses=shows({"name": "in Sfax, Tunisia"})
)
def place_name(
    asker: Asker,
    lat: Lat,
    lon: Lon,
    radius_km: Annotated[float, Query(ge=0, le=20016, allow_inf_nan=False)] = 0,
) -> Response:
    """In words that fit the radius within which it is known; null where there are none."""
    with asker.database.connection() as connection:
        row = connection.execute(
            "SELECT geosearch.place_name(ST_SetSRID(ST_Point(%s, %s), 4326), %s)",
            (lon, lat, radius_km),
        ).fetchone()
    return said({"name": row and row[0]})


@router.get(
    "/coverage",
    summary="Photos by cell",
    responses=shows(
        {"type": "FeatureCollection", "features": []}, media_type="application/geo+json"
    ),
)
def coverage(
    asker: Asker,
    cell_km: Annotated[
        int, Query(description="Side of a cell.", json_schema_extra={"enum": [222, 56]})
    ] = 222,
) -> Response:
    """Cells of equal area with the photos last counted in them, as GeoJSON."""
    if cell_km not in (222, 56):
        raise NotFoundError(f"there are no cells of {cell_km} km", "There are 222 and 56.")
    with asker.database.connection() as connection:
        row = connection.execute(_CELLS, (cell_km,)).fetchone()
    return said(row and row[0], media_type="application/geo+json")
