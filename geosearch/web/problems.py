"""Errors over HTTP: problem details (RFC 9457), with the statuses of `geosearch.errors`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from geosearch.database.pool import ClosedError
from geosearch.errors import GeosearchError, PhotoRejected, UnreachableError
from geosearch.untrusted import for_terminal
from geosearch.web.said import said

MEDIA_TYPE = "application/problem+json"

_WHERE = "/api/v1/openapi.json describes all addresses that there are."
_LOG_IN = "POST /api/v1/session logs in; scripts send Authorization: Bearer TOKEN. See docs/web.md."
_HOW = (
    "Values are sent as JSON, with the header Content-Type: application/json, and photos as a "
    "form: curl -F photo=@holiday.jpg … Here it is {}."
)

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    title: str
    status: int
    detail: str
    remedy: str | None = None
    fields: list[str] = []
    reason: str | None = None


#: For `responses` of every route: what any of them may answer instead.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, description in {
        400: "A value cannot be used",
        401: "Nobody is logged in",
        403: "This role may not, or the request comes from another site",
        404: "It does not exist, as far as this role may see",
        405: "The address does not take this method",
        408: "The rest of the request did not come",
        413: "The request, or a photo in it, is too large",
        421: "The server is not known by the name that was asked for",
        422: "The request is not as described here, or a photo cannot be read",
        429: "Too many attempts",
        500: "A fault of geosearch",
        501: "An optional package is missing on the server",
        503: "The database or a model cannot be used",
    }.items()
}


def problem(
    status: int,
    detail: str,
    remedy: str | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """The answer that says a problem."""
    value = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    value |= {"remedy": remedy, "fields": [], "reason": None} | more
    return said(value, status, MEDIA_TYPE, headers)


def failed(error: GeosearchError) -> Response:
    """The problem of an error of ours; where the database is, and why it cannot be reached, is told
    to the log alone.
    """
    if isinstance(error, UnreachableError):
        logger.warning("%s", for_terminal(str(error)))
        return problem(
            error.http_status,
            "the database cannot be reached",
            "Try again in a minute. The log of the server says why.",
        )
    reason = error.reason if isinstance(error, PhotoRejected) else None
    fields = list(error.fields)
    return problem(error.http_status, error.message, error.remedy, fields=fields, reason=reason)


def refused(error: HTTPException, remedy: str | None = None) -> Response:
    """The problem of a refusal by the server."""
    headers = dict(error.headers or {})
    if error.status_code == 401:
        headers, remedy = headers | {"WWW-Authenticate": "Bearer"}, remedy or _LOG_IN
    return problem(error.status_code, str(error.detail), remedy, headers)


def add_handlers(app: FastAPI) -> None:
    """Have an application answer with problems where something goes wrong."""
    app.add_exception_handler(GeosearchError, lambda _, error: failed(error))

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> Response:
        if "Allow" in (error.headers or {}):  # it has those of one route, of several for an address
            error.headers = {"Allow": ", ".join(_methods(app, request.scope))}
        nowhere = error.detail == "Not Found" and request.url.path.startswith("/api/")
        return refused(error, _WHERE if nowhere else None)

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> Response:
        parts = [(".".join(map(str, one["loc"])), str(one["msg"])) for one in error.errors()]
        detail = "; ".join(f"{place}: {message}" for place, message in parts)
        kind = request.headers.get("content-type", "none")
        of_body = any(place.startswith("body") for place, _ in parts)
        told = of_body and not kind.startswith(("application/json", "multipart/"))
        remedy = _HOW.format(for_terminal(kind, keep="")) if told else _WHERE
        return problem(422, detail, remedy, fields=[place for place, _ in parts])

    for kind, status, detail in (
        (RecursionError, 400, "the request is nested too deep"),
        (UnicodeError, 400, "the request has text that is no Unicode"),
        (OverflowError, 400, "the request has a number that is too large"),
        (ClosedError, 401, "the session has ended"),
    ):
        app.add_exception_handler(kind, _refusing(status, detail))

    @app.exception_handler(Exception)
    def _(request: Request, error: Exception) -> Response:
        where = for_terminal(request.scope["path"], keep="")
        logger.error("%s %s", request.method, where, exc_info=error)
        remedy = "This is a fault of geosearch. The log of the server shows where."
        return problem(500, type(error).__name__, remedy)


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """Those that the address of a request takes."""
    taken = [
        method
        for method in ("GET", "POST", "DELETE")
        for route in app.router.routes
        if route.matches({**scope, "method": method})[0] is Match.FULL
    ]
    return ["HEAD", *taken] if "GET" in taken else taken


def _refusing(status: int, detail: str) -> Any:
    return lambda _request, _error: problem(status, detail)
