"""What commands print with `--json`, as JSON schemas: docs/commands.schema.json.

Each document that a test has a command print must fit its command's schema, strictly: a field that
the schema does not know is a fault. `WIDEN_JSON_SCHEMAS=1 pytest tests/test_x.py` makes the schemas
wide enough for what is printed instead. What else they say stays as it was written by hand: maps
whose keys are free (`additionalProperties`), null, what may be anything (no `type`), descriptions.
A field that is gone is taken out by hand too.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache, reduce
from typing import Any

import typer

from geosearch.cli.app import COMMANDS, app
from scripts.reference.json_schemas import FILE, Schema, schemas

_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by the words that ask for it."""
    root: Any = typer.main.get_command(app)
    for name in COMMANDS:
        command = root.get_command(None, name)
        children = getattr(command, "commands", {})
        if not children or command.invoke_without_command:
            yield name, command
        yield from ((f"{name} {child}", item) for child, item in children.items())


def check_documents(words: Sequence[str], printed: str) -> None:
    """See that the documents that these words of a line printed, one a line, fit their schema."""
    name = asked(words)
    for line in printed.splitlines():
        document, known = json.loads(line), schemas().get(name)
        wide = widened(known, document)
        if "WIDEN_JSON_SCHEMAS" in os.environ:
            _keep(name, document)
        else:
            assert wide == known, f"{name} prints what is not in {FILE.name}: see json_schemas.py"


def widened(known: Schema | None, value: Any) -> Schema:
    """A schema that is as wide as needed for a value too: the same where it fits already."""
    if known is not None and "type" not in known:
        return known
    made = dict(known or {"type": []})
    kinds = {made["type"]} if isinstance(made["type"], str) else {*made["type"]}
    kinds.add("null" if value is None else _KINDS.get(type(value), "object"))
    if "number" in kinds:
        kinds.discard("integer")
    made["type"] = sorted(kinds) if len(kinds) > 1 else kinds.pop()
    if isinstance(value, list):
        for item in value:
            made["items"] = widened(made.get("items"), item)
    elif isinstance(value, dict) and "additionalProperties" in made:
        made["additionalProperties"] = reduce(widened, value.values(), made["additionalProperties"])
    elif isinstance(value, dict):
        needed = made.get("required", [] if "properties" in made else [*value])
        before = made.get("properties", {})
        found = {field: widened(before.get(field), item) for field, item in value.items()}
        made["properties"] = before | found
        made["required"] = [field for field in needed if field in value]
    return made


def asked(words: Sequence[str]) -> str:
    """The command that these words of a line ask for."""
    named = [word for word in words if not word.startswith("-")]
    two = " ".join(named[:2])
    return two if two in _names() else named[0]


@cache
def _names() -> frozenset[str]:
    return frozenset(name for name, _ in commands())


def _keep(name: str, document: Any) -> None:
    """Write the schema, widened, to the file; other processes do so at the same time."""
    with FILE.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        whole = json.load(file)
        whole["$defs"][name] = widened(whole["$defs"].get(name), document)
        whole["$defs"] = dict(sorted(whole["$defs"].items()))
        file.seek(0)
        file.truncate()
        file.write(_laid_out(whole) + "\n")
    schemas.cache_clear()


def _laid_out(value: Any, depth: int = 0) -> str:
    """JSON in lines of at most 100 columns, and as few as that takes."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + depth <= 100 or not value or not isinstance(value, dict | list):
        return line
    if isinstance(value, list):
        parts, (first, last) = [_laid_out(item, depth + 1) for item in value], "[]"
    else:
        parts = [f"{json.dumps(key)}: {_laid_out(item, depth + 1)}" for key, item in value.items()]
        first, last = "{}"
    indent = "\n" + " " * (depth + 1)
    return f"{first}{indent}{f',{indent}'.join(parts)}{indent[:-1]}{last}"
