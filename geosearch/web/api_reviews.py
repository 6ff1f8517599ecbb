"""What people decide on answers, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from starlette.responses import Response

from geosearch.localization.reviews import Decision, decide, list_reviews, undo
from geosearch.web.access import Asker
from geosearch.web.api_answers import Id
from geosearch.web.asking import Number
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import said, shows

router = APIRouter(prefix="/answers/{id}/reviews", tags=["reviews"], responses=PROBLEMS)

_REVIEW: dict[str, Any] = {
    "review_id": 4,
    "localization_id": 17,
    "photo": "holiday.jpg",
    "decision": "move",
    "lat": 34.75,
    "lon": 10.77,
    "accuracy_m": None,
    "as_reference": False,
    "overwrite": False,
    "shown": {"lat": 34.74, "lon": 10.76, "place": "in Sfax, Tunisia"},
    "remark": "the old harbour",
    "recorded_by": "ann",
    "created_at": "2026-11-27T12:00:00+00:00",
}


class Decided(BaseModel):
    """A decision on an answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"decision": "move", "to": [34.75, 10.77]}},
    )

    decision: Decision
    to: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Where it was taken, latitude and longitude: of a move alone."
    )
    remark: str | None = Field(None, description="Why, in the reviewer's words.")
    to_accuracy_m: Annotated[Number, Field(ge=0)] | None = Field(
        None, description="Of a move: how well that is known, metres."
    )
    as_reference: StrictBool = Field(False, description="Whether photos become references by it.")
    overwrite: StrictBool = Field(
        False, description="Whether it replaces positions that were known."
    )


@router.get("", summary="What was decided on an answer", responses=shows([_REVIEW]))
def reviews(asker: Asker, id: Id) -> Response:
    """Oldest first: `geosearch review list --json`."""
    with asker.database.connection() as connection:
        return said(list_reviews(connection, id))


@router.post("", summary="Decide on an answer", responses=shows(_REVIEW))
def review(asker: Asker, id: Id, decided: Decided) -> Response:
    """Accept it, move it to where the photo was taken, reject it, or say that one cannot tell."""
    with asker.database.connection() as connection:
        return said(decide(connection, id, **decided.model_dump()))


@router.delete(
    "/last",
    summary="Take a decision back",
    responses=shows({"review_id": 4, "localization_id": 17}),
)
def take_back(asker: Asker, id: Id) -> Response:
    """What one decided last on the answer."""
    with asker.database.connection() as connection:
        return said({"review_id": undo(connection, id), "localization_id": id})
