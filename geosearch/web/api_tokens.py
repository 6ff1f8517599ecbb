"""Tokens by which scripts ask as a role: made, listed and taken back over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from geosearch.database.access_tokens import create_token, list_tokens, revoke_token
from geosearch.web.access import Asker
from geosearch.web.asking import MOST
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import UNKEPT, said, shows

router = APIRouter(prefix="/tokens", tags=["tokens"], responses=PROBLEMS)

_TOKEN = {
    "id": 3,
    "role": "ann",
    "name": "nightly",
    "created_at": "2026-11-27T12:00:00+00:00",
    "expires_at": "2027-11-27T12:00:00+00:00",
}
_MADE = {"id": 3, "name": "nightly", "token": "geosearch_…"}


class Wanted(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "nightly", "days": 90}}
    )

    name: str = Field(description="What it is for.")
    days: int = Field(365, ge=1, le=3660, description="Days for which it is taken.")


@router.get("", summary="One's tokens", responses=shows([_TOKEN]))
def listed(asker: Asker) -> Response:
    """Without the tokens themselves; for geosearch_owner, those of all roles."""
    with asker.database.connection() as connection:
        return said(list_tokens(connection))


@router.post(
    "", summary="Make a token", status_code=201, responses={201: shows(_MADE, "Made")[200]}
)
def create(asker: Asker, wanted: Wanted) -> Response:
    """It stands for one's role, and is told only now. A token makes no other: where it is stolen,
    to revoke it must be enough.
    """
    if asker.csrf_token is None:
        raise HTTPException(403, "tokens are made by who is logged in with a password")
    with asker.database.connection() as connection:
        key, token = create_token(connection, wanted.name, wanted.days)
    return said({"id": key, "name": wanted.name, "token": token}, 201, headers=UNKEPT)


@router.delete("/{id}", summary="Revoke a token", responses=shows({"revoked": 3}))
def revoke(
    asker: Asker, id: Annotated[int, Path(ge=1, le=MOST, description="Id of the token.")]
) -> Response:
    """From now on it lets nobody in."""
    with asker.database.connection() as connection:
        revoke_token(connection, id)
    return said({"revoked": id})
