"""Groups of commands: their help in whole words, `-v` anywhere, and options as errors name them."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

_UsageError: Any = typer.BadParameter.__base__

#: Below this width of its explanations, a list has them under its terms instead of beside them.
_NARROW = 30


def _speak(context: typer.Context, given: bool) -> None:
    if given:
        context.find_root().params["verbose"] = True


VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_speak,
        expose_value=False,
        help="Say which database the command talks to.",
    ),
]


def _do_without(given: bool) -> None:
    if given:  # for all that is opened from now on, in whatever thread or process
        os.environ["GEOSEARCH_PARTIAL"] = "yes"


PartialOption = Annotated[
    bool,
    typer.Option(
        "--partial",
        callback=_do_without,
        expose_value=False,
        help="Do without shards that cannot be reached.",
    ),
]


def _with_both(verbose: VerboseOption = False, partial: PartialOption = False) -> None:
    """A command to take the options from."""


_sample = typer.Typer(add_completion=False)
_sample.command()(_with_both)
_EVERYWHERE = typer.main.get_command(_sample).params


class _WholeWords(typer.Context.formatter_class):  # type: ignore[misc, valid-type]
    """Help that is wrapped at spaces only: options, paths and names stay whole."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.width: int = min(self.width, shutil.get_terminal_size().columns)  # not 50 at the least

    def write_text(self, text: str) -> None:
        """Paragraphs, a blank line between them."""
        indent = " " * self.current_indent
        filled = (_fill(part, self.width, indent) for part in text.split("\n\n"))
        self.write("\n\n".join(filled) + "\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, *_: int) -> None:
        """Terms and what they mean, side by side where there is room."""
        indent = " " * self.current_indent
        first = min(max(len(term) for term, _ in rows), col_max) + 2
        beside = self.width - len(indent) - first >= _NARROW
        gap = indent + " " * (first if beside else 4)
        for term, meaning in rows:
            lines = _fill(meaning, self.width, gap)
            if beside and len(term) + 2 <= first:
                self.write(f"{indent}{term:<{first}}{lines.lstrip()}\n")
            else:
                self.write(f"{indent}{term}\n" + (f"{lines}\n" if meaning else ""))


class _Context(typer.Context):
    formatter_class = _WholeWords


class CommandGroup(TyperGroup):
    """Commands that take `-v` too, and a list of them with whole sentences."""

    context_class = _Context

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Take the options off the line."""
        return _suggesting(super().parse_args)(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name, None if there is none."""
        command: Any = super().get_command(ctx, cmd_name)
        return command and prepared(command)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The first sentence of each command's help."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(10_000)) for name, one in found])


def prepared(command: Any) -> Any:
    """The command with `-v`, which counts wherever on the line it stands, and with our help."""
    command.context_class = _Context
    command.rich_markup_mode = None
    command.parse_args = _suggesting(command.parse_args)
    command.format_options = partial(_format_options, command)
    if "ignore_unknown_options" not in command.context_settings and all(
        one.name != "verbose" for one in command.params
    ):
        command.params.extend(_EVERYWHERE)
    return command


def _format_options(command: Any, context: Any, formatter: Any) -> None:
    """Arguments and options, and then those of each group together."""
    groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for one in command.get_params(context):
        if (record := one.get_help_record(context)) is not None:
            plain = "Options" if one.param_type_name == "option" else "Arguments"
            groups.setdefault(getattr(one, "rich_help_panel", None) or plain, []).append(record)
    for title, records in groups.items():
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
    if hasattr(command, "commands"):
        command.format_commands(context, formatter)


def _suggesting(parse: Callable[..., Any]) -> Callable[..., Any]:
    """`parse`, with the nearest option for a misspelt one, in the words used for commands."""

    def parse_args(context: Any, words: list[str]) -> Any:
        try:
            return parse(context, words)
        except _UsageError as error:
            if nearest := getattr(error, "possibilities", None):
                said = f"{error.message}. Did you mean {nearest[0]}?"
                raise _UsageError(said, context) from error
            raise

    return parse_args


def command_group(about: str, alone: Callable[..., None] | None = None) -> typer.Typer:
    """A group of commands, which alone shows its help, or does something itself.

    `alone` is told by its context whether there is a command after it.
    """
    helps = alone is None
    made = typer.Typer(
        cls=CommandGroup,
        help=about,
        no_args_is_help=helps,
        add_completion=False,
        rich_markup_mode=None,
    )
    # With a callback, one command alone is a group too.
    made.callback(invoke_without_command=not helps)(alone or (lambda: None))
    return made


def leaf(command: Any, words: Sequence[str]) -> Any:
    """The command that these words of a line ask for."""
    for word in words:
        context = typer.Context(command)
        if isinstance(command, TyperGroup) and word in command.list_commands(context):
            command = command.get_command(context, word)
    return command


def spelling(command: Any) -> Callable[[str], str]:
    """How the line of a command spells what the library calls by an argument's name.

    Its option of that name or of the singular, since an option is given once for each value; as it
    is where there is none: it came in a JSON object then.
    """
    options = {one.name: one for one in command.params}

    def spelt(name: str) -> str:
        found = options.get(name) or options.get(name.removesuffix("s"))
        if found is None:
            return name
        return str(found.opts[0] if found.param_type_name == "option" else name.upper())

    return spelt


def _fill(text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
