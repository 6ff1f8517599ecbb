"""The command line as a whole: every command is documented and speaks JSON."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from geosearch.cli.app import COMMANDS, app
from geosearch.cli.command_groups import leaf
from geosearch.cli.console import Table, left_out
from geosearch.database.connection import Database
from geosearch.errors import DatabaseError, InputError
from geosearch.progress_bar import make_bar
from scripts.reference.command_pages import examples
from tests.command_line import CommandLine
from tests.json_schemas import asked, commands
from tests.rows import add_model

UNUSED = "postgresql:///unused"
ALL = dict(commands())
ROOT: Any = typer.main.get_command(app)
EXAMPLES = sorted(
    {line for name in (*ALL, *COMMANDS) for line in examples(leaf(ROOT, name.split()))}
)
#: What begins with other work than to open the database, or loads PyTorch before.
ONLY_READ = (
    *("db ", "embeddings make", "evaluate im2gps3k", "models stages", "partitions fit"),
    *("sample ", "train "),
)


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_with_an_example(name: str) -> None:
    _, _, example = " ".join((ALL[name].help or "").split()).partition("Example: ")
    assert f"geosearch {name}" in example


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_understood(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to where the command would open the database."""
    monkeypatch.chdir(tmp_path)
    Path("im2gps3ktest").mkdir()
    Path("texts.csv").write_text("text,lat,lon\na lake,46,7\n")
    np.save("queries.npy", np.eye(2, dtype=np.float32))
    words = shlex.split(re.search(r"\bgeosearch (.+?)(?:\)\"$|$)", line)[1])  # type: ignore[index]

    class Opening(BaseException):
        pass

    if line.partition("geosearch ")[2].startswith(ONLY_READ):
        name = asked(words)
        ALL[name].make_context(name, words[len(name.split()) :])
        return
    with patch("geosearch.database.session.open_database", side_effect=Opening):
        try:
            ran = CommandLine(UNUSED, capsys)(*words)
        except Opening:
            return
    pytest.fail(ran.err)


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("db psql", "review")])
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
    with make_bar("photos") as bar:
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


@pytest.mark.parametrize("name", ["localize", "db start", "export regions"])
def test_help_can_be_asked_for_by_a_word(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = CommandLine(UNUSED, capsys)
    asked = command("help", *name.split())
    assert asked.code == 0
    assert asked.out == command(*name.split(), "--help").out
    assert command("help").out == command("--help").out


@pytest.mark.parametrize(
    ("line", "suggested"),
    [
        (("locallize", "x.jpg"), "'localize'"),
        (("db", "strat"), "'start'"),
        (("localize", "--colection", "x"), "Did you mean --collection?"),
        (("models", "list", "--jsn"), "Did you mean --json?"),
        (("--versoin",), "Did you mean --version?"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(
    line: tuple[str, ...], suggested: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = CommandLine(UNUSED, capsys)(*line)
    assert ran.code == 2
    assert suggested in ran.err


@pytest.mark.parametrize(
    "line", [("-v", "models", "list"), ("models", "-v", "list"), ("models", "list", "--verbose")]
)
def test_verbose_counts_wherever_it_stands(
    line: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran = CommandLine(f"postgresql://me:secret@/db?host={tmp_path}", capsys)(*line)
    assert ran.err.startswith(f"database: user=me dbname=db host={tmp_path}\n")


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_help_breaks_and_cuts_no_word_at_any_width(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    root: Any = typer.main.get_command(app)
    sentences = [
        f"{item.get_short_help_str(1000)}" for item in (leaf(root, [name]) for name in COMMANDS)
    ]
    for name in ("", *ALL):
        command = leaf(root, name.split())
        context = command.context_class(command, info_name=f"geosearch {name}")
        _, _, said = context.get_help().partition("\n\n")
        texts = [command.help, *(one.help or "" for one in command.params)]
        texts += [] if name else sentences
        assert {word for text in texts for word in text.split()} <= set(said.split())
        # Wider than the line is only one word, or a term with its metavar.
        assert all(len(line.split()) <= 3 for line in said.splitlines() if len(line) > width)


def _table(capsys: pytest.CaptureFixture[str], *rows: tuple[str, str], **options: Any) -> list[str]:
    made = Table("name", "n", text={"name"})
    for row in rows:
        made.add_row(*row)
    made.print(**options)
    return capsys.readouterr().out.splitlines()


@given(
    names=st.lists(st.lists(st.text("ab/é日-", min_size=1, max_size=30), min_size=1, max_size=9)),
    width=st.integers(20, 120),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_table_breaks_no_word_and_fits_where_it_can(
    names: list[list[str]], width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with patch.dict("os.environ", {"COLUMNS": str(width)}):
        lines = _table(capsys, *((" ".join(words), "7") for words in names))
    shown = [word for line in lines[2:] for word in line.split() if word != "7"]
    assert shown == [word for words in names for word in words]
    longest = max((cell_len(word) for words in names for word in words), default=0)
    assert all(cell_len(line) <= max(width, longest + 4, 8) for line in lines)


def test_a_table_has_figures_to_the_right_and_says_what_it_leaves_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    lines = _table(capsys, ("one two three four five", "1"), ("x", "1,000"), left_out="2 of 3")
    assert lines == [
        " name                  n",
        " ───────────────────────",
        " one two three         1",
        " four five",
        " x                 1,000",
        "2 of 3",
    ]
    assert left_out(20, 431) == "20 of 431 shown; --limit N shows more, --json all"
    assert left_out(431, 431) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("collections", "list"), "geosearch ingest FOLDER --collection NAME makes one"),
        (("models", "list"), "geosearch embed registers one"),
        (("evaluations", "list"), "geosearch evaluate QUERIES.csv makes one"),
        (("calibrations", "list"), "geosearch calibrate QUERIES.csv makes one"),
        (("partitions", "list"), "geosearch partition NAME makes one"),
        (("rejects",), "none: every photo could be used"),
    ],
)
def test_an_empty_list_says_what_fills_it(
    module_database: Database,
    line: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran = CommandLine(module_database.url, capsys)(*line)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].endswith(says)
    assert CommandLine(module_database.url, capsys)(*line, "--json").json() == []
