"""`geosearch db`: the private server from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from geosearch.cli.app import main
from geosearch.database import schema
from geosearch.database.server import PrivateServer
from tests.command_line import CommandLine
from tests.conftest import server_folder

Db = Callable[..., str]
MAIN = "from geosearch.cli.app import main; main()"


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder
        PrivateServer(folder).stop()


@pytest.fixture
def db(data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Db:
    """Runs `geosearch db …` on a private server of this module; gives what it prints."""
    monkeypatch.setenv("GEOSEARCH_DATA_DIR", str(data_dir))
    monkeypatch.delenv("GEOSEARCH_DATABASE_URL", raising=False)

    def run(*arguments: str) -> str:
        selected = os.environ.get("GEOSEARCH_DATABASE_URL", "")  # empty: the private server
        ran = CommandLine(selected, capsys)("db", *arguments)
        assert ran.code == 0, ran.err
        return ran.out

    return run


def test_start_creates_a_server_that_status_describes_and_stop_stops(
    db: Db, data_dir: Path
) -> None:
    started = json.loads(db("start", "--json"))
    assert started["running"] is True
    assert started["data_dir"] == str(data_dir)
    assert started["tcp_url"] is None
    assert json.loads(db("url", "--json")) == {"url": started["url"]}
    status = json.loads(db("status", "--json"))
    assert (status["pid"], status["port"]) == (started["pid"], None)
    assert json.loads(db("stop", "--json")) == {"stopped": True}
    assert json.loads(db("stop", "--json")) == {"stopped": False}
    assert json.loads(db("status", "--json"))["running"] is False


def test_upgrade_starts_the_server_and_makes_the_schema(db: Db) -> None:
    done = json.loads(db("upgrade", "--json"))
    assert done["revision"] == schema.head_revision()
    with psycopg.connect(done["database"]) as connection:
        assert schema.current_revision(connection) == schema.head_revision()


def test_psql_gets_its_own_arguments_and_returns_its_exit_code(data_dir: Path) -> None:
    environment = {**os.environ, "GEOSEARCH_DATA_DIR": str(data_dir), "PGPORT": "1"}
    environment.pop("GEOSEARCH_DATABASE_URL", None)
    command = [sys.executable, "-c", MAIN, "db", "psql", "-v", "n=6", "-At"]
    done = subprocess.run(
        [*command, "-v", "ON_ERROR_STOP=1"],
        input="SELECT :n * 7;\nSELECT 1/0;",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "42\n")
    assert "division by zero" in done.stderr


def test_the_plain_url_is_for_copying(db: Db, data_dir: Path) -> None:
    assert db("url") == f"{PrivateServer(data_dir).url}\n"


def test_a_url_in_the_environment_is_the_selected_database(
    db: Db, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEARCH_DATABASE_URL", empty_url)
    assert json.loads(db("url", "--json")) == {"url": empty_url}
    db("upgrade")
    with psycopg.connect(empty_url) as connection:
        assert schema.current_revision(connection) == schema.head_revision()


def test_an_empty_url_selects_nothing(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = db("url")
    monkeypatch.setenv("GEOSEARCH_DATABASE_URL", "")
    assert db("url") == plain


def test_server_commands_say_when_another_database_is_selected(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEOSEARCH_DATA_DIR", str(data_dir))
    monkeypatch.setenv("GEOSEARCH_DATABASE_URL", "postgresql://me:secret@db.example/photos")
    monkeypatch.setattr(sys, "argv", ["geosearch", "db", "status"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "GEOSEARCH_DATABASE_URL selects user=me dbname=photos host=db.example;" in said


@pytest.mark.parametrize("command", [["upgrade"], ["url"], ["psql", "-c", "SELECT 1"]])
def test_verbose_names_the_database_before_connecting(command: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"GEOSEARCH_DATABASE_URL": f"postgresql://me:x@/db?host={tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "-v", "db", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith(f"database: user=me dbname=db host={tmp_path}\n")
    assert (done.returncode == 0) == (command == ["url"])


def test_verbose_names_the_private_server(db: Db, data_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "-v", "db", "status"], capture_output=True, text=True
    )
    assert done.stderr == f"database: private server in {data_dir}\n"


def test_a_tcp_url_that_does_not_exist_has_a_remedy(
    db: Db, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    db("start")
    monkeypatch.setattr(sys, "argv", ["geosearch", "db", "url", "--tcp"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 5
    assert "geosearch db start --port 5433" in capsys.readouterr().err
