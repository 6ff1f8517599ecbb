"""Photos of the collections: what is known of them, where they are, and what they look like."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from geosearch.errors import InputError
from geosearch.features.extraction import stored_query
from geosearch.features.model_rows import find_model
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import Exclusions, nearest_others
from geosearch.retrieval.filters import Near
from geosearch.retrieval.photo_list import find_photo, list_photos, nearest_photos
from geosearch.web.access import Asker
from geosearch.web.asking import MOST, Models
from geosearch.web.picture_bytes import Thumbnails, photo_file, stored_thumbnail
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import gives, has, said, shows, tagged

router = APIRouter(prefix="/photos", tags=["photos"], responses=PROBLEMS)

PHOTO: dict[str, Any] = {
    "id": 5,
    "collection": "mine",
    "uri": "/photos/5.jpg",
    "lat": 34.73,
    "lon": 10.75,
    "position_source": "exif",
    "accuracy_m": None,
    "localization_id": None,
    "taken_at": "2019-06-30T12:00:00+00:00",
    "author": "ann",
    "licence": "CC0",
    "title": None,
    "source_id": None,
    "width": 4000,
    "height": 3000,
    "direction_deg": None,
    "direction_reference": None,
    "field_of_view_deg": None,
    "pitch_deg": None,
    "altitude_m": None,
}

Id = Annotated[int, Path(ge=1, le=MOST, description="Id of the photo.")]
Where = Annotated[
    str | None, Query(alias="filter", description='A filter as JSON, such as {"country": "CH"}.')
]
Lat = Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False)]
Lon = Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get(
    "", summary="Photos that pass a filter", responses=shows({"photos": [PHOTO], "next": 5})
)
def listed(
    asker: Asker,
    where: Where = None,
    limit: Limit = 100,
    after: Annotated[int, Query(ge=0, le=MOST, description="Only those of a higher id.")] = 0,
) -> Response:
    """In order of their ids; `next` is where the next page begins."""
    with asker.database.connection() as connection:
        found = list_photos(connection, read_filter(where), limit=limit, after=after)
    return said({"photos": found, "next": found[-1].id if len(found) == limit else None})


@router.get(
    "/near",
    summary="Photos near a point",
    responses=shows({"photos": [PHOTO | {"distance_km": 1.2}]}),
)
def near(
    asker: Asker,
    lat: Lat,
    lon: Lon,
    km: Annotated[float, Query(gt=0, le=20016, allow_inf_nan=False)] = 10,
    limit: Limit = 20,
    where: Where = None,
) -> Response:
    """The nearest first, with their great-circle distance in kilometres."""
    passing = read_filter(where) & Near(lat, lon, km)
    with asker.database.connection() as connection:
        found = nearest_photos(connection, lat, lon, passing, limit)
    return said({"photos": [photo.to_json() | {"distance_km": away} for photo, away in found]})


@router.get("/{id}", summary="What is known of a photo", responses=shows(PHOTO))
def read(asker: Asker, id: Id) -> Response:
    """As `geosearch photos list --json` has it."""
    with asker.database.connection() as connection:
        return said(find_photo(connection, id))


@router.get(
    "/{id}/thumbnail", summary="What it looks like", responses=gives("image/webp", "A small WebP")
)
def thumbnail(
    request: Request, asker: Asker, id: Id, size: Literal["256", "1024"] = "256"
) -> Response:
    """At most so many pixels wide and high, without the photo's metadata."""
    with asker.database.connection() as connection:
        photo = photo_file(connection, id)
        tag = photo.tag(int(size))
        if has(request, tag):
            return tagged(request, b"", "image/webp", tag)
        stored = stored_thumbnail(connection, id) if photo.stored else None
    kept: Thumbnails = request.app.state.thumbnails
    return tagged(request, kept.thumbnail(photo, stored, int(size)), "image/webp", tag)


@router.get(
    "/{id}/like",
    summary="Photos like it",
    responses=shows({"neighbours": [{"rank": 1, "photo_id": 7, "distance": 0.1}], "plan": {}}),
)
def like(
    asker: Asker,
    engine: Models,
    id: Id,
    k: Annotated[int, Query(ge=1, le=1000)] = 20,
    where: Where = None,
    model: str | None = None,
) -> Response:
    """Its nearest neighbours without itself, by its stored embedding: `geosearch nearest`."""
    with asker.database.connection() as connection:
        row = find_model(connection, model or engine.models[0])
        query = stored_query(connection, row, id)
    exclusions = Exclusions(same_bytes=True)
    passing = read_filter(where)
    found = nearest_others(asker.database, row.id, query, k, passing, exclusions)
    plan = found.neighbours.plan
    return said({"neighbours": found.neighbours, "plan": plan, "filter": found.where})


def read_filter(text: str | None) -> Filter:
    """The filter of a parameter.

    Raises
    ------
    InputError
        It is not JSON, or no filter.
    """
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(
            f"the filter is not JSON: {error}", 'For example: {"country": "CH"}'
        ) from error
    return Filter.from_json(value)
