"""The `geosearch` command: registers the command groups, turns errors into exit codes."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from geosearch import __version__
from geosearch.cli.command_groups import CommandGroup, VerboseOption, leaf, prepared, spelling
from geosearch.cli.mishaps import check_output, flush_output, in_words
from geosearch.errors import EXIT_CODES

#: Command → (module, attribute). Modules load when they are used, so that `geosearch db status`
#: does not wait for what `geosearch embed` needs.
COMMANDS = {
    "db": ("geosearch.cli.db", "app"),
    "ingest": ("geosearch.cli.ingest", "ingest"),
    "rejects": ("geosearch.cli.ingest", "rejects"),
    "runs": ("geosearch.cli.runs", "app"),
    "photos": ("geosearch.cli.stored_photos", "app"),
    "models": ("geosearch.cli.models", "app"),
    "embed": ("geosearch.cli.embed", "embed"),
    "embeddings": ("geosearch.cli.embeddings", "app"),
    "gallery": ("geosearch.cli.gallery", "gallery"),
    "whiten": ("geosearch.cli.embed", "whiten"),
    "index": ("geosearch.cli.index", "app"),
    "explain": ("geosearch.cli.nearest", "explain"),
    "nearest": ("geosearch.cli.nearest", "nearest"),
    "localize": ("geosearch.cli.localize", "localize"),
    "show": ("geosearch.cli.localize", "show"),
    "reproduce": ("geosearch.cli.localize", "reproduce"),
    "answers": ("geosearch.cli.recorded_answers", "app"),
    "write-back": ("geosearch.cli.write_back", "write_back"),
    "review": ("geosearch.cli.review", "app"),
    "audit": ("geosearch.cli.doubts", "audit"),
    "duplicates": ("geosearch.cli.doubts", "duplicates"),
    "evaluate": ("geosearch.cli.evaluate", "evaluate"),
    "sweep": ("geosearch.cli.evaluate", "sweep"),
    "evaluations": ("geosearch.cli.report", "app"),
    "report": ("geosearch.cli.report", "report"),
    "compare": ("geosearch.cli.report", "compare"),
    "partition": ("geosearch.cli.partitions", "partition"),
    "partitions": ("geosearch.cli.partitions", "app"),
    "train": ("geosearch.cli.train", "train"),
    "calibrate": ("geosearch.cli.calibrate", "calibrate"),
    "calibrations": ("geosearch.cli.calibrate", "app"),
    "export": ("geosearch.cli.export", "app"),
    "layers": ("geosearch.cli.layers", "app"),
    "sample": ("geosearch.cli.sample", "app"),
    "borders": ("geosearch.cli.borders", "app"),
    "collections": ("geosearch.cli.collections", "app"),
    "shards": ("geosearch.cli.shard_servers", "app"),
    "roles": ("geosearch.cli.roles", "app"),
    "tokens": ("geosearch.cli.tokens", "app"),
    "serve": ("geosearch.cli.serve", "serve"),
}


class _Overview(CommandGroup):
    """The commands above by name and help alone, without loading their modules."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # Names to suggest for a misspelt one.
        self.commands = dict.fromkeys(COMMANDS, self)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        return TyperCommand(cmd_name, help=_help(*COMMANDS[cmd_name]))


class _Commands(_Overview):
    """The commands above, imported on demand."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        _Overview(name=self.name).format_commands(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        ctx.command = _Overview(name=self.name, params=self.params)
        return ctx.command.shell_complete(ctx, incomplete)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            command = typer.main.get_command(target)
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(target)
            command = typer.main.get_command(single)
        command.name = cmd_name
        gc.enable()
        return prepared(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """`help COMMAND` is `COMMAND --help`."""
        if args[0] == "help":
            args = [*args[1:], "--help"]
            if len(args) == 1:
                typer.echo(ctx.get_help())
                ctx.exit()
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """What the exit codes say."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), said) for code, said in EXIT_CODES.items()])


def _help(module: str, attribute: str) -> str:
    """The docstring of a command, or the help that a group of commands is made with."""
    for node in _source(module).body:
        match node:
            case ast.FunctionDef(name=name) if name == attribute:
                return ast.get_docstring(node) or ""
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=args, keywords=named)):
                if name == attribute:  # help is the only argument, or that of this name
                    (about,) = [k.value for k in named if k.arg == "help"] or args
                    return str(ast.literal_eval(about))
    raise AssertionError(f"{module} has no {attribute}")


@cache
def _source(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


app = typer.Typer(
    name="geosearch",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"geosearch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    verbose: VerboseOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find where a photo was taken, by its nearest neighbours among geotagged photos.

    Without GEOSEARCH_DATABASE_URL, geosearch starts a private PostgreSQL and keeps its data there.

    Example: geosearch ingest ~/Pictures --collection mine

    Help for a command: geosearch help localize
    """


def main() -> None:
    """Entry point of the console script."""
    gc.disable()  # until a command is loaded: looking for garbage in what loads takes long
    try:
        try:
            check_output()
            app()
        finally:
            flush_output()
    except Exception as error:
        from geosearch.cli.console import note

        told = in_words(error)
        command = leaf(typer.main.get_command(app), sys.argv[1:])
        message, remedy = told.spelt(spelling(command))
        note(f"error: {message}", fg="red", bold=True)
        if remedy:
            note(remedy)
        sys.exit(told.exit_code)
    finally:
        gc.enable()
