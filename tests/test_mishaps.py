"""What goes wrong around geosearch is told in words, not by a traceback."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from geosearch import Geosearch
from geosearch.cli.mishaps import in_words
from geosearch.database.connection import Database
from geosearch.database.server import PrivateServer
from geosearch.errors import GeosearchError, InputError, ModelError, ServerError
from geosearch.ingest import ingest
from geosearch.storage import read_bytes
from tests.command_line import CommandLine
from tests.photo_files import gps, photo

COMMAND = (sys.executable, "-m", "geosearch")


def _run(
    url: str, *arguments: object, redirected: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirected}', "sh", *COMMAND, *map(str, arguments)],
        env={**os.environ, "GEOSEARCH_DATABASE_URL": url, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("redirected", "code", "says"),
    [
        (">&-", 2, "error: stdout is closed\n"),
        ("> /dev/full", 1, "No space left on device\n"),
        ("2>&-", 0, ""),
    ],
)
def test_an_answer_that_nobody_can_read_is_an_error(
    redirected: str, code: int, says: str, database: Database
) -> None:
    ran = _run(database.url, "models", "list", "--json", redirected=redirected)
    assert ran.returncode == code
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr


def test_who_has_read_enough_hears_no_complaint(database: Database) -> None:
    ran = _run(database.url, "--help", redirected="| true")
    assert ran.stderr == ""


def test_little_memory_is_enough_to_say_so_or_to_do_it(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(gps(1, 2)))
    ingest(database, [tmp_path], collection="c")
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, (800 << 20,) * 2); "
        "runpy.run_module('geosearch')"
    )
    output = str(tmp_path / "a.gpkg")
    for line in (["embed"], ["export", "photos", "-o", output], ["models", "list"]):
        ran = subprocess.run(
            [sys.executable, "-c", limited, *line],
            env={**os.environ, "GEOSEARCH_DATABASE_URL": database.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode in (0, 1), ran.stderr
        assert "Traceback" not in ran.stderr
        assert ran.returncode == 0 or "error: the memory" in ran.stderr


def test_a_small_photo_takes_no_room_for_the_largest(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo())
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, before[1]))
    try:
        assert read_bytes(str(tmp_path / "a.jpg")) == photo()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("command", [["start"], ["status"], ["stop"], ["url"]])
def test_a_data_directory_that_is_not_utf8_is_refused(command: list[str], tmp_path: Path) -> None:
    ran = _run("", "db", *command, GEOSEARCH_DATA_DIR=f"{tmp_path}/\udcff")
    assert ran.returncode == InputError.exit_code
    assert "the name of the data directory is not UTF-8" in ran.stderr


@pytest.mark.parametrize("folder", ["/proc/nothing", "/dev/null"])
def test_a_data_directory_that_cannot_be_written_is_named(folder: str) -> None:
    with pytest.raises(ServerError, match=f"{folder}.* cannot be used"):
        PrivateServer(Path(folder) / "here").start()


def test_a_name_with_a_nul_is_refused_wherever_a_file_is_named(
    database: Database, tmp_path: Path
) -> None:
    gs = Geosearch(database)
    with pytest.raises(ModelError, match="no such checkpoint"):
        gs.embed("file:\0")
    manifest = tmp_path / "photos.jsonl"
    manifest.write_text('{"uri": "a\\u0000.jpg", "lat": 1, "lon": 2}')
    assert ingest(database, [manifest], collection="c", decode=True).rejected == 1
    for source in ("file:\0", "\0.csv", "file:///\0.jpg"):
        with pytest.raises(InputError):
            ingest(database, [source], collection="c")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b'"' + b"x" * (1 << 25)),
        ("a.parquet", b"PAR1 and nothing else PAR1"),
        ("a.parquet", b""),
    ],
)
def test_a_manifest_that_its_reader_cannot_read_is_named(
    name: str, content: bytes, database: Database, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / name).write_bytes(content)
    ran = CommandLine(database.url, capsys)("ingest", tmp_path / name, "--collection", "c")
    assert ran.code == InputError.exit_code
    assert str(tmp_path / name) in ran.err
    assert "Traceback" not in ran.err


def test_what_nobody_foresaw_is_one_sentence_and_shows_where_on_demand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        raise RuntimeError("on\ntwo lines")
    except RuntimeError as error:
        told = in_words(error)
        assert (told.message, told.exit_code) == ("RuntimeError: on two lines", 1)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(sys, "argv", ["geosearch", "models", "-v"])
        in_words(error)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        ImportError("libx.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_every_lack_of_memory_is_told_as_one(error: Exception) -> None:
    assert "memory that this process may use" in in_words(error).message


def test_an_error_of_ours_stays_what_it_is() -> None:
    ours = GeosearchError("no", "yes")
    assert in_words(ours) is ours
