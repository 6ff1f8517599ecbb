"""What the server says: values as JSON, as `--json` prints them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import Response

from geosearch.json_record import plain
from geosearch.untrusted import for_json

#: Headers of what no browser may keep either.
UNKEPT = {"Cache-Control": "no-store"}


def said(
    value: Any,
    status: int = 200,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A value as JSON; of things of ours, their `to_json` or their fields."""
    text = for_json(json.dumps(value, ensure_ascii=False, default=plain))
    return Response(text.encode(), status, headers, media_type)


def tagged(request: Request, content: bytes, media_type: str, tag: str | None = None) -> Response:
    """Bytes with their ETag, or 304 where the client has them."""
    tag = tag or hashlib.sha256(content).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"'}
    if has(request, tag):
        return Response(None, 304, headers)
    return Response(content, 200, headers, media_type)


def has(request: Request, tag: str) -> bool:
    """Whether the client says that it has what this ETag, without its quotes, is of."""
    known = request.headers.get("if-none-match", "").split(",")
    wanted = {f'"{tag}"', "*"}
    return not wanted.isdisjoint(each.strip().removeprefix("W/") for each in known)


def shows(
    example: Any, description: str = "Found", media_type: str = "application/json"
) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route: what it answers, by an example."""
    kind = "array" if isinstance(example, list) else "object"
    content = {media_type: {"schema": {"type": kind}, "example": example}}
    return {200: {"description": description, "content": content}}


def gives(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route that gives bytes, with an ETag."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {
        200: {"description": description, "content": content},
        304: {"description": "The client has it already"},
    }
