"""What people decide on answers: `geosearch review`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from geosearch.localization.reviews import Decision, decide, list_reviews, undo
from geosearch.web.access import Asker
from geosearch.web.api_answers import Id
from geosearch.web.asking import MOST
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import said, shows

router = APIRouter(tags=["reviews"], responses=PROBLEMS)

_REVIEW = {
    "review_id": 3,
    "localization_id": 17,
    "photo": "holiday.jpg",
    "decision": "move",
    "lat": 34.74,
    "lon": 10.76,
    "shown": {},
    "remark": "the old bridge",
    "recorded_by": "ann",
    "created_at": "2026-11-27T12:00:00+00:00",
}


class Decided(BaseModel):
    """A decision on an answer; `to` is latitude and longitude in degrees, where it is moved."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"decision": "move", "to": [34.74, 10.76]}}
    )

    decision: Decision
    to: list[float] | None = Field(None, min_length=2, max_length=2)
    remark: str | None = None


@router.get("/reviews", summary="What was decided", responses=shows([_REVIEW]))
def listed(
    asker: Asker,
    answer: Annotated[int | None, Query(ge=1, le=MOST, description="On one answer.")] = None,
) -> Response:
    """All decisions on answers that one may see, or those on one, the oldest first."""
    with asker.database.connection() as connection:
        return said(list_reviews(connection, answer))


@router.post("/answers/{id}/reviews", summary="Decide on an answer", responses=shows(_REVIEW))
def decided(asker: Asker, id: Id, given: Decided) -> Response:
    """Accept it, move it, reject it, or say that one cannot tell."""
    with asker.database.connection() as connection:
        return said(decide(connection, id, given.decision, given.to, given.remark))


@router.delete(
    "/answers/{id}/reviews", summary="Take a decision back", responses=shows({"undone": 3})
)
def undone(asker: Asker, id: Id) -> Response:
    """What one decided last on the answer."""
    with asker.database.connection() as connection:
        return said({"undone": undo(connection, id)})
