"""The command line as a whole: every command is documented and speaks JSON."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from geosearch.cli.app import COMMANDS, app
from geosearch.cli.console import progress_bar
from geosearch.database.connection import Database
from geosearch.errors import DatabaseError, InputError
from tests.command_line import CommandLine
from tests.rows import add_model


def _commands() -> Iterator[tuple[str, Any]]:
    root: Any = typer.main.get_command(app)
    for name in COMMANDS:
        command = root.get_command(None, name)
        children = getattr(command, "commands", {})
        if children:
            yield from ((f"{name} {child}", item) for child, item in children.items())
        else:
            yield name, command


ALL = dict(_commands())


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_an_example(name: str) -> None:
    _, _, example = " ".join((ALL[name].help or "").split()).partition("Example: ")
    assert f"geosearch {name}" in example


@pytest.mark.parametrize("name", [name for name in ALL if name != "db psql"])
def test_every_command_prints_json_when_asked(name: str) -> None:
    options = {option for parameter in ALL[name].params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_explained(name: str) -> None:
    for parameter in ALL[name].params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    ran = CommandLine("postgresql:///unused", capsys)("--help")
    assert ran.code == 0
    assert all(f" {name} " in ran.out for name in COMMANDS)


def test_an_error_is_one_message_with_its_remedy_and_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran = CommandLine("postgresql:///unused", capsys)("localize", "x.jpg", "--bbox", "1,2,3")
    assert ran.code == InputError.exit_code
    assert "bbox" in ran.err
    assert "expected west,south,east,north, found '1,2,3'" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("size", ["abc", "0", "201"])
def test_a_setting_that_cannot_be_used_is_named(
    size: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEARCH_POOL_SIZE", size)
    ran = CommandLine("postgresql:///unused", capsys)("models", "list")
    assert ran.code == InputError.exit_code
    assert f"GEOSEARCH_POOL_SIZE={size} cannot be used" in ran.err


def test_verbose_names_a_database_that_cannot_be_reached(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran = CommandLine(f"postgresql://me:secret@/db?host={tmp_path}", capsys)("-v", "models", "list")
    assert ran.code == DatabaseError.exit_code
    assert ran.err.startswith(f"database: user=me dbname=db host={tmp_path}\n")
    assert "secret" not in ran.err


def test_no_progress_is_drawn_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("photos") as bar:
        bar.update(bar.add_task("embed", total=2), completed=2)
    assert capsys.readouterr().err == ""


def test_a_models_name_is_listed_whole(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "somebody/a-network-with-quite-a-long-name"
    with database.connection() as connection:
        add_model(connection, 3, name)
    assert f" {name} " in CommandLine(database.url, capsys)("models", "list").out


def test_looking_at_help_loads_no_network_runtime() -> None:
    code = (
        "import sys; sys.argv = ['geosearch', 'db', 'status', '--help']\n"
        "from geosearch.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'onnxruntime', 'scipy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from geosearch import __version__

    assert f"geosearch {__version__}" in CommandLine("postgresql:///x", capsys)("--version").out
