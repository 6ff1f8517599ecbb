"""What commands print with `--json`, from their schemas, as tables for reading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from scripts.reference.markdown import prose, table

#: Tests keep it true: see tests/json_schemas.py.
FILE = Path(__file__).parents[2] / "docs" / "commands.schema.json"

Schema = dict[str, Any]


@cache
def schemas() -> dict[str, Schema]:
    """The words that ask for a command → the schema of each document that it prints."""
    read: dict[str, Schema] = json.loads(FILE.read_text(encoding="utf-8"))["$defs"]
    return read


def fields(schema: Schema) -> str:
    """A table of all fields of a document, those inside others by their paths."""
    return table(("field", "type", "what"), _rows(schema, "", needed=True))


def _rows(schema: Schema, path: str, *, needed: bool) -> Iterator[tuple[str, str, str]]:
    said = prose(schema.get("description", ""))
    yield f"`{path or '.'}`", _kinds(schema) + ("" if needed else ", or not there"), said
    for name, item in schema.get("properties", {}).items():
        inside = name in schema.get("required", ())
        yield from _rows(item, f"{path}.{name}".lstrip("."), needed=inside)
    for key, sign in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), dict):
            yield from _rows(schema[key], f"{path}{sign}", needed=True)


def _kinds(schema: Schema) -> str:
    kinds = schema.get("type", "anything")
    named = [kinds] if isinstance(kinds, str) else sorted(kinds, key="null".__eq__)
    return " or ".join(named)
