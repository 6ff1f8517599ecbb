"""Vector tiles of the layers, as `geosearch.mvt` makes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from psycopg.types.json import Json
from starlette.responses import Response

from geosearch.errors import NotFoundError
from geosearch.layers.layer import LAYERS
from geosearch.web.access import Asker
from geosearch.web.asking import MOST
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import gives, tagged

router = APIRouter(prefix="/tiles", tags=["tiles"], responses=PROBLEMS)

MEDIA_TYPE = "application/vnd.mapbox-vector-tile"

Number = Annotated[int, Path(ge=0, le=2**24 - 1)]


@router.get(
    "/{layer}/{z}/{x}/{y}.mvt",
    summary="A vector tile of a layer",
    responses=gives(MEDIA_TYPE, "The tile; empty where nothing is"),
)
def tile(
    request: Request,
    asker: Asker,
    layer: Annotated[str, Path(json_schema_extra={"enum": [*LAYERS]})],
    z: Annotated[int, Path(ge=0, le=24)],
    x: Number,
    y: Number,
    answer: Annotated[int | None, Query(ge=1, le=MOST, description="Of one answer.")] = None,
) -> Response:
    """Points are thinned with their numbers kept; see docs/layers.md for the layers."""
    if layer not in LAYERS:
        raise NotFoundError(f"there is no layer {layer!r}", f"Layers: {', '.join(LAYERS)}.")
    with asker.database.connection() as connection:
        row = connection.execute(
            "SELECT geosearch.mvt(%s, %s, %s, %s)",
            (z, x, y, Json({"layer": layer, "answer": answer})),
        ).fetchone()
    return tagged(request, bytes(row[0] or b"") if row else b"", MEDIA_TYPE)
