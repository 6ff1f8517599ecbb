"""The page of the REST API, from the description that the server gives of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from geosearch.web.application import make_application
from scripts.reference.markdown import code, page, prose, table

_Described = dict[str, Any]


def description() -> _Described:
    """The OpenAPI description of the server."""
    unused: Any = SimpleNamespace(admit=None)  # nothing is asked of it
    application: Any = make_application(unused, unused, None).app
    described: _Described = application.openapi()
    return described


def rest_page() -> str:
    """Every address, what it takes and gives."""
    described = description()
    groups: dict[str, list[str]] = {}
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            (tag,) = route["tags"]
            groups.setdefault(tag, []).extend(_route(path, method, route))
    schemas = described["components"]["schemas"].items()
    return page(
        "REST API",
        prose(described["info"]["description"]),
        "How to use it is in [the web page](../web.md). This page is made from the description by "
        "OpenAPI that each server gives at `/api/v1/openapi.json`; here it is [as a file]"
        "(openapi.json). Every address may also answer with a [`Problem`](#problem); which "
        "statuses there are is in [errors](../errors.md#over-http).",
        *(part for tag, parts in groups.items() for part in [f"## {tag.capitalize()}", *parts]),
        "## Bodies",
        *(part for name, schema in schemas for part in _schema(name, schema)),
    )


def _route(path: str, method: str, route: _Described) -> Iterator[str]:
    yield f"### {method.upper()} {path}"
    yield prose(route["summary"])
    yield prose(route.get("description", ""))
    if parameters := route.get("parameters"):
        yield table(
            ("parameter", "in", "type", "what"),
            [
                (f"`{one['name']}`", one["in"], _type(one["schema"]), prose(_said(one)))
                for one in parameters
            ],
        )
    for kind, body in route.get("requestBody", {}).get("content", {}).items():
        yield f"Takes `{kind}`: {_type(body['schema'])}."
    for status, answer in route["responses"].items():
        for kind, body in answer.get("content", {}).items():
            if status.startswith("2"):
                yield f"{status}, `{kind}`: {prose(answer['description'])}."
                if "example" in body:
                    yield code(json.dumps(body["example"], indent=2, ensure_ascii=False), "json")


def _schema(name: str, schema: _Described) -> Iterator[str]:
    yield f"### {name}"
    yield prose(schema.get("description", ""))
    needed = schema.get("required", ())
    yield table(
        ("field", "type", "what"),
        [
            (f"`{field}`", _type(one) + " (needed)" * (field in needed), prose(_said(one)))
            for field, one in schema.get("properties", {}).items()
        ],
    )


def _said(one: _Described) -> str:
    default = one.get("schema", one).get("default")
    said = one.get("description", "")
    return said if default in (None, "", []) else f"{said} Default: {default}.".strip()


def _type(schema: _Described) -> str:
    """A type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[`{name}`](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return f"`{schema.get('format', schema.get('type', schema.get('const', 'any')))}`"
