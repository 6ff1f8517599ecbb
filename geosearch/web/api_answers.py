"""Recorded answers: read, listed, asked again, reproduced, exported, deleted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from geosearch.deletion.record_deletion import delete_answers
from geosearch.errors import NotFoundError
from geosearch.export.layer_files import write_layers
from geosearch.gis.data_source import connection_uri
from geosearch.gis.qgis_database import make_project
from geosearch.layers.layer import ESTIMATES, LINES, NEIGHBOURS, REGIONS
from geosearch.layers.layer_rows import read_answers
from geosearch.layers.selection import Selection
from geosearch.localization import load, reproduce
from geosearch.localization.answer_list import list_answers
from geosearch.localization.answer_rows import read_picture
from geosearch.localization.neighbour_sql import neighbours_in_sql
from geosearch.localization.reproduction import model_of
from geosearch.web.access import Asker
from geosearch.web.api_localize import ANSWER
from geosearch.web.api_photos import thumbnail
from geosearch.web.asking import MOST, Asked, Include, answer, density, regions, shown
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import gives, said, shows, tagged

router = APIRouter(prefix="/answers", tags=["answers"], responses=PROBLEMS)

Id = Annotated[int, InPath(ge=1, le=MOST, description="Id of the answer.")]
_LISTED = {
    "answers": [
        {
            "id": 17,
            "photo": "holiday.jpg",
            "created_at": "2026-11-27T12:00:00+00:00",
            "lat": 34.74,
            "lon": 10.76,
            "place": "in Sfax, Tunisia",
            "agreement": 0.71,
            "confident": True,
            "error_km": None,
            "method": "density",
            "model": "packaged/efficientnet-lite0",
            "photo_sha256": "00",
            "recorded_by": "ann",
            "decision": None,
        }
    ],
    "next": 16,
}
_GEOJSON = "application/geo+json"
_FORMS = {"geojson": _GEOJSON, "kml": "application/vnd.google-earth.kml+xml"}
_LAYERS = {layer.name: layer for layer in (ESTIMATES, REGIONS, NEIGHBOURS, LINES)}


@router.get("", summary="Earlier answers", responses=shows(_LISTED))
def listed(
    asker: Asker,
    search: Annotated[
        str | None, Query(description="In the photo's name or the place's, in any case.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int, Query(ge=1, le=MOST, description="Only those of a lower id.")] = MOST,
) -> Response:
    """The latest first, without those of evaluations; `next` is where the next page begins."""
    with asker.database.connection() as connection:
        found = list_answers(connection, search or "", limit, before)
    following = found[-1].id if len(found) == limit else None
    return said({"answers": found, "next": following})


@router.get("/{id}", summary="An earlier answer, as it was recorded", responses=shows(ANSWER))
def read(
    asker: Asker,
    id: Id,
    include: Annotated[list[Include], Query()] = [],  # noqa: B006
) -> Response:
    """What `geosearch show` prints, and what is to be shown beside it."""
    return said(shown(asker.database, load(asker.database, id), include))


@router.get("/{id}/neighbours", summary="What it rests on", responses=shows(ANSWER["neighbours"]))
def neighbours(asker: Asker, id: Id) -> Response:
    """The neighbours of an answer, nearest first, as they were."""
    return said(load(asker.database, id).to_json()["neighbours"])


@router.get(
    "/{id}/regions",
    summary="Its regions as GeoJSON",
    responses=shows({"type": "FeatureCollection", "features": []}, media_type=_GEOJSON),
)
def show_regions(asker: Asker, id: Id) -> Response:
    """Those that hold 50 and 90 % of the density, the larger first."""
    return said(regions(load(asker.database, id)), media_type=_GEOJSON)


@router.get(
    "/{id}/density",
    summary="Its density as cells",
    responses=shows(
        {
            "columns": ["west", "south", "east", "north", "density_per_km2", "level"],
            "cells": [[10.5, 34.5, 11.0, 35.0, 0.00021, 0.3]],
        }
    ),
)
def show_density(asker: Asker, id: Id) -> Response:
    """Rectangles in degrees with their probability per square kilometre, the densest first."""
    return said(density(load(asker.database, id)))


@router.get(
    "/{id}/picture",
    summary="The photo that was asked about, small",
    responses=gives("image/webp", "A small WebP"),
)
def picture(request: Request, asker: Asker, id: Id) -> Response:
    """What is kept with the answer, or the thumbnail of the photo of the collections that it is."""
    with asker.database.connection() as connection:
        kept, photo = read_picture(connection, id)
    if kept is not None:
        return tagged(request, kept, "image/webp")
    if photo is None:
        raise NotFoundError(f"no picture is kept with answer {id}")
    return thumbnail(request, asker, photo)


@router.post("/{id}/again", summary="The same photo, asked in another way", responses=shows(ANSWER))
def again(asker: Asker, id: Id, asked: Asked) -> Response:
    """Answer the photo once more, from the embedding that was recorded: nothing is uploaded.

    The new answer is not recorded unless `record` is true. It is by the models of the earlier one.
    """
    before = load(asker.database, id)
    queries = []
    with asker.database.connection() as connection:
        for each in before.members or (before,):
            model = model_of(connection, each)
            if model is None:
                raise NotFoundError(
                    f"a model of answer {id} was removed", "Upload the photo again."
                )
            queries.append((model, each.query))
    return said(answer(asker, queries, asked, record=False))


@router.post(
    "/{id}/reproduce",
    summary="Is it the same today?",
    responses=shows(
        {
            "localization_id": 17,
            "same": True,
            "neighbours_same": True,
            "shift_km": 0.0,
            "changes": [],
        }
    ),
)
def reproduced(asker: Asker, id: Id) -> Response:
    """Compute it again as it was asked, and say what changed; what is recorded stays."""
    return said(reproduce(asker.database, id))


@router.delete(
    "/{id}",
    summary="Delete an answer of one's own",
    responses=shows(
        {
            "what": "1 answer",
            "dry_run": False,
            "goes": {"localizations": 1},
            "stays": {},
            "index_left": False,
        }
    ),
)
def delete(asker: Asker, id: Id) -> Response:
    """Delete it with all that it rests on, as `geosearch answers delete`."""
    return said(delete_answers(asker.database, Selection((id,))))


_QGZ = "application/zip"


@router.get(
    "/{id}/export/project.qgz", summary="A QGIS project of it", responses=gives(_QGZ, "The file")
)
def export_qgis(asker: Asker, id: Id) -> Response:
    """It reads the database when it is opened, and holds no password."""
    source = connection_uri(asker.database.url)
    with asker.database.connection() as connection:
        project = make_project(connection, source, Selection((id,)))
    return _file(project.archive(), f"geosearch-{id}.qgz", _QGZ)


@router.get(
    "/{id}/export/neighbours.sql",
    summary="The SQL that gives its neighbours",
    responses=gives("application/sql", "The statement"),
)
def export_sql(asker: Asker, id: Id) -> Response:
    """For psql: what gives the same neighbours again, from the recorded embedding."""
    found = load(asker.database, id)
    with asker.database.connection() as connection:
        text = neighbours_in_sql(connection, found)
    return _file(text.encode(), f"neighbours-{id}.sql", "application/sql")


@router.get(
    "/{id}/export/{layer}.{form}",
    summary="A layer of it as GeoJSON or KML",
    responses={200: {"description": "The file", "content": {kind: {} for kind in _FORMS.values()}}},
)
def export_layer(
    asker: Asker,
    id: Id,
    layer: Literal["estimates", "regions", "neighbours", "lines"],
    form: Literal["geojson", "kml"],
) -> Response:
    """What `geosearch export LAYER --id ID` writes: for maps, and for Google Earth and the like."""
    with TemporaryDirectory(prefix="geosearch-") as folder:
        path = Path(folder) / f"layer.{form}"
        with asker.database.connection() as connection:
            rows = read_answers(connection, _LAYERS[layer], Selection((id,)))
            write_layers(path, [rows])
        return _file(path.read_bytes(), f"{layer}-{id}.{form}", _FORMS[form])


def _file(content: bytes, name: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, headers=headers, media_type=media_type)
