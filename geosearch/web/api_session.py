"""Who one is: logging in as a role of the database, and out again."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from geosearch.web.access import COOKIE, LONGEST_S, Asker, Caller, LoginGate
from geosearch.web.problems import PROBLEMS
from geosearch.web.said import UNKEPT, said, shows

router = APIRouter(prefix="/session", tags=["session"], responses=PROBLEMS)

_SESSION = {"role": "ann", "may_record": True, "csrf_token": "…"}


class Login(BaseModel):
    """A role of the database, and its password."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"role": "ann", "password": "secret"}}
    )

    role: str
    password: str


@router.get("", summary="Who am I?", responses=shows(_SESSION))
def read(asker: Asker) -> Response:
    """The role, whether its answers can be recorded, and the token that its page must send as the
    header X-CSRF-Token with all that is not read only; null where there is no session.
    """
    return said(_described(asker), headers=UNKEPT)


@router.post("", summary="Log in", responses=shows(_SESSION))
def log_in(request: Request, login: Login) -> Response:
    """Log in as a role of the database; the session is in a cookie that scripts cannot read."""
    gate = request.app.state.gate
    if not isinstance(gate, LoginGate):
        raise HTTPException(404, "this server has no logins: everybody is let in")
    address = request.client.host if request.client else ""
    key, caller = gate.log_in(login.role, login.password, address)
    response = said(_described(caller), headers=UNKEPT)
    response.set_cookie(
        COOKIE,
        key,
        max_age=int(LONGEST_S),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.delete("", summary="Log out", responses=shows({"role": "ann"}))
def log_out(request: Request, asker: Asker) -> Response:
    """End the session."""
    gate = request.app.state.gate
    if isinstance(gate, LoginGate):
        gate.log_out(request)
    response = said({"role": asker.role})
    response.delete_cookie(COOKIE)
    return response


def _described(caller: Caller) -> dict[str, object]:
    return {
        "role": caller.role,
        "may_record": caller.may_record,
        "csrf_token": caller.csrf_token,
    }
