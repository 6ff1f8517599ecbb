"""From what a request asks for to an answer as `geosearch localize --json` prints it, or more."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from shapely.geometry import mapping

from geosearch.database.connection import Database
from geosearch.density.density_cells import DensityCells
from geosearch.density.levels import Levels
from geosearch.errors import InputError
from geosearch.features.model_rows import Model
from geosearch.localization import Localization
from geosearch.localization import Request as Parameters
from geosearch.localization.localizing import (
    answer_together,
    asked_of,
    chosen_parameters,
    pictures_of,
    recorded,
)
from geosearch.localization.several_models import MOST as MOST_MODELS
from geosearch.localization.several_models import count_references, in_order
from geosearch.parallel import processors
from geosearch.query import Query
from geosearch.retrieval import Filter
from geosearch.retrieval.conditions import ByAuthors, Photos
from geosearch.retrieval.duplicates import Exclusions
from geosearch.retrieval.photo_list import list_photos
from geosearch.sphere import lat_lon
from geosearch.web.access import Caller
from geosearch.web.engine import Engine
from geosearch.web.picture_bytes import small_webp

#: What may be shown beside an answer.
Include = Literal["regions", "density", "kernels", "photos", "embedding", "picture"]

#: Pixels of the longer side of a query's small picture, at most.
PICTURE_SIDE = 320
_beside = ThreadPoolExecutor(processors(), thread_name_prefix="geosearch-picture")

#: Levels of a density by which it is drawn.
_LEVELS = (0.01, *(n / 20 for n in range(1, 20)), 0.97, 0.98, 0.99, 0.995)

#: Ids in the database.
MOST = 2**63 - 1

#: A number of a body, which true and false are not.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Asked(BaseModel):
    """What to answer by."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "filter": {"country": "CH", "after": "2015-01-01"},
                "parameters": {"k": 50},
                "exclude_authors": ["ann"],
                "include": ["regions"],
            }
        },
    )

    model: str | Annotated[list[str], Field(min_length=1, max_length=MOST_MODELS)] | None = Field(
        None, description="One of the server's, by default its first; or several, together."
    )
    filter: dict[str, Any] = Field({}, description="Which photos may be neighbours: docs/filters.")
    parameters: dict[str, Any] = Field({}, description="Fields of geosearch.localization.Request.")
    exclude_photos: list[Annotated[int, Field(ge=1, le=MOST)]] = Field(
        [], description="Photos that must not be neighbours, by id."
    )
    exclude_authors: list[str] = Field([], description="Authors whose photos must not be.")
    exclude_self: StrictBool = Field(False, description="Leave out photos with the query's bytes.")
    exclude_duplicates: Annotated[Number, Field(gt=0, le=2)] | StrictBool | None = Field(
        None, description="Leave out photos at a smaller cosine distance; true: 0.02."
    )
    record: StrictBool | None = Field(
        None, description="Store the answer; by default where one may."
    )
    keep_picture: StrictBool = Field(
        False,
        description="With the recorded answer, keep a small picture of what was uploaded or "
        "fetched, for all who may see the answer.",
    )
    include: list[Include] = Field(
        [],
        description="Also show these: photos are the neighbours' metadata, picture is a small one "
        "of what was uploaded or fetched, as a data URL.",
    )


def answer(
    caller: Caller,
    queries: Sequence[tuple[Model, Query]],
    asked: Asked,
    *,
    record: bool | None = None,
    picture: Callable[[], bytes] | None = None,
    stored: bool = False,
    words: bool | None = False,
) -> dict[str, Any]:
    """The answer to a query of these models, recorded as `asked` or `record` says, or if one may.

    `picture` gives its bytes, or it is one of the photos `stored`, or of `words`; None stands for a
    vector, which may be of words. Neighbours of these cannot be verified: what a request calls a
    photo is no file to be read.
    """
    database, where = caller.database, Filter.from_json(asked.filter)
    ordered = in_order(queries)
    models = [model for model, _ in ordered]
    parameters = asked_of(Parameters.from_json(asked.parameters), words=words)
    passing = where
    if asked.exclude_photos:
        passing &= ~Photos(*asked.exclude_photos)
    if asked.exclude_authors:
        passing &= ~ByAuthors(*asked.exclude_authors)
    with database.connection() as connection:
        chosen = chosen_parameters(connection, models[0], where, parameters, models[1:])
        references = count_references(connection, models, passing)
    if chosen.verify and picture is None and not stored:
        raise InputError(
            "`verify` compares pictures, and that of an earlier question is not kept",
            "Leave it out, or upload the photo again.",
        )
    exclusions = Exclusions(asked.exclude_self, asked.exclude_duplicates)
    wanted = record if asked.record is None else asked.record
    record = caller.may_record if wanted is None else wanted
    keep, show = record and asked.keep_picture, "picture" in asked.include
    # Made while others search.
    small = None
    if picture is not None and (keep or show):
        small = _beside.submit(lambda: small_webp(picture(), PICTURE_SIDE))
    given = [replace(query, read=picture) for _, query in ordered]
    pictures = pictures_of(database, models, chosen, passing, exclusions)
    found = answer_together(pictures, given, chosen, references)
    webp = given[0].picture if small is None else small.result()
    if keep:
        found = replace(found, query=replace(found.query, picture=webp))
    found = recorded(database, found, record=record)
    value = shown(database, found, asked.include)
    if show:
        value["picture"] = webp and f"data:image/webp;base64,{b64encode(webp).decode()}"
    return value


def shown(database: Database, found: Localization, include: list[Include]) -> dict[str, Any]:
    """An answer as JSON, with what is to be shown beside it."""
    value = found.to_json()
    value["created_at"] = found.created_at
    if "regions" in include:
        value["regions"] = regions(found)
    if "density" in include:
        value["density"] = density(found)
    if "kernels" in include:
        value["kernels"] = kernels(found)
    if "embedding" in include:
        value["embedding"] = None if found.members else found.query.embedding
    if "photos" in include:
        ids = found.neighbours.photo_id.tolist()
        with database.connection() as connection:
            value["photos"] = list_photos(connection, ids=ids) if ids else []
    return value


def regions(found: Localization) -> dict[str, Any]:
    """The regions of an answer as GeoJSON, the largest first."""
    features = [
        {
            "type": "Feature",
            "geometry": mapping(region.geometry),
            "properties": {"level": level, "area_km2": region.area_km2},
        }
        for level, region in sorted(found.regions.items(), reverse=True)
    ]
    return {"type": "FeatureCollection", "features": features}


def density(found: Localization) -> dict[str, Any]:
    """The density of an answer as cells, the densest first; none for a method without one.

    Each is west, south, east, north in degrees, probability per square kilometre, and the share of
    the probability in it and all denser ones.
    """
    names = ["west", "south", "east", "north", "density_per_km2", "level"]
    if found.density is None:
        return {"columns": names, "cells": []}
    cells = DensityCells.of(found.density)
    sides = (cells.west, cells.south, cells.east, cells.north)
    per_km2 = (float(f"{value:.4g}") for value in cells.share / cells.area_km2)
    rows = zip(*(side.round(6).tolist() for side in sides), per_km2, strict=True)
    levels = cells.level.round(5).tolist()
    return {
        "columns": names,
        "cells": [[*row, level] for row, level in zip(rows, levels, strict=True)],
    }


def kernels(found: Localization) -> dict[str, Any]:
    """The density of an answer itself, as `Levels` have it; nothing for a method without one.

    Its logarithm per steradian at a point is the log of the sum of exp(log_peak - kappa (1 - cos
    a)) over the kernels, a being the angle to each. `levels` says which share of the probability
    lies where it is higher than that.
    """
    value: dict[str, Any] = {
        "columns": ["lat", "lon", "log_peak", "kappa"],
        "kernels": [],
        "levels": [],
    }
    if found.density is None:
        return value
    levels = Levels.of(found.density)
    mixture = levels.mixture
    lat, lon = lat_lon(mixture.centres)
    columns = (lat.round(7), lon.round(7), mixture.log_peaks.round(4), mixture.kappa.round(2))
    value["kernels"] = [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]
    value["levels"] = [[each, round(levels.threshold(each), 4)] for each in _LEVELS]
    return value


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


#: The models, as a parameter of a route.
Models = Annotated[Engine, Depends(_engine)]
