"""A page for every command, from the command itself: what `--help` says, for reading."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from geosearch.cli.app import COMMANDS, app
from geosearch.errors import EXIT_CODES
from scripts.reference.json_schemas import FILE, fields, schemas
from scripts.reference.markdown import code, page, prose, table

FOLDER = "reference/commands"
_EXAMPLE = "Example: "


def command_pages() -> dict[str, str]:
    """Path → page: one that lists all commands, and one for each."""
    root: Any = typer.main.get_command(app)
    found = {name: root.get_command(None, name) for name in COMMANDS}
    listed = [
        (f"[`{name}`](commands/{name}.md)", prose(one.get_short_help_str(10_000)))
        for name, one in found.items()
    ]
    overview = page(
        "Commands",
        "`geosearch COMMAND --help` says the same in the terminal.",
        table(("command", "what it does"), listed),
        "Before any command:",
        _options(root, "geosearch"),
        "## Exit codes",
        table(("code", "what it says"), [(str(code), said) for code, said in EXIT_CODES.items()]),
        "## JSON",
        "With `--json` a command prints one document, on one line; `localize` one for each photo, "
        "`ingest --watch` one for each pass, `serve` one when it is ready. The page of each "
        "command has its fields: `a.b` is in `a`, `a[].b` in every element of the list `a`, and "
        f"`a.*` under every key of `a`. As JSON Schema they are [in a file](../{FILE.name}), under "
        "`$defs` by the command's name; more fields may come ([what stays as it is]"
        "(../stability.md)).",
    )
    pages = {f"{FOLDER}.md": overview}
    for name, one in found.items():
        children = getattr(one, "commands", {})
        parts = list(_described(one, f"geosearch {name}"))
        for child in children:
            line = f"geosearch {name} {child}"
            parts += [f"## {line}", *_described(one.get_command(None, child), line)]
        pages[f"{FOLDER}/{name}.md"] = page(f"geosearch {name}", *parts)
    return pages


def examples(command: Any) -> list[str]:
    """The lines that the help of a command gives as examples."""
    told = inspect.cleandoc(command.help or "").split("\n\n")
    found = (" ".join(part.split()) for part in told if part.startswith(_EXAMPLE))
    return [line.removeprefix(_EXAMPLE) for line in found]


def _described(command: Any, line: str) -> Iterator[str]:
    """The usage, the help, the examples and the options of one command."""
    alone = not hasattr(command, "commands") or command.invoke_without_command
    context = typer.Context(command, info_name=line)
    if alone:
        yield code(" ".join([line, *command.collect_usage_pieces(context)]), "text")
    told = inspect.cleandoc(command.help or "").split("\n\n")
    yield from (prose(part) for part in told if not part.startswith(_EXAMPLE))
    if lines := examples(command):
        yield code("\n".join(lines), "sh")
    if alone:
        yield _options(command, line)
    if schema := schemas().get(line.removeprefix("geosearch ")):
        yield f"With `--json` it prints this, by its [schema](../../{FILE.name}):"
        yield fields(schema)


def _options(command: Any, line: str) -> str:
    """Arguments and options, those of a group together."""
    context = typer.Context(command, info_name=line)
    groups: dict[str, list[tuple[str, str]]] = {}
    for one in command.get_params(context):
        if record := one.get_help_record(context):
            group = getattr(one, "rich_help_panel", None) or ""
            groups.setdefault(group, []).append((f"`{record[0]}`", prose(record[1])))
    parts = (
        [f"**{name}**"] * bool(name) + [table(("option", "what it says"), rows)]
        for name, rows in groups.items()
    )
    return "\n\n".join(part for group in parts for part in group)
