"""`geosearch ingest` and `geosearch rejects`: what they print and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from geosearch.database.connection import Database
from geosearch.errors import EXIT_SOME_REJECTED, InputError
from tests.command_line import CommandLine

from .photo_files import gps, photo


@pytest.fixture
def run(database: Database, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(database.url, capsys)


def test_a_clean_ingest_ends_with_0_and_its_json_adds_up(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(gps(1, 2)))
    (tmp_path / "b.jpg").write_bytes(photo())
    result = run("ingest", tmp_path, "--collection", "mine", "--json")
    assert result.code == 0
    summary = result.json()
    assert summary.pop("run_id") > 0
    assert summary == {
        "seen": 2,
        "added": 1,
        "duplicates": 0,
        "rejected": 0,
        "unlocated": 1,
        "estimated": 0,
        "kept_unlocated": 1,
        "replaced": 0,
        "unchanged": 0,
        "moved": 0,
        "updated": 0,
        "embedded": 0,
        "by_reason": {},
        "warnings": {},
        "unread": {},
    }


def test_an_ingest_with_rejects_ends_with_3_and_rejects_lists_them(
    run: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "[red]zero.jpg"
    file.write_bytes(photo(gps(0, 0)))
    result = run("ingest", tmp_path, "--collection", "mine")
    assert result.code == EXIT_SOME_REJECTED == 3
    assert "zero_zero" in result.out
    result = run("rejects", "--collection", "mine", "--json")
    assert result.code == 0
    (reject,) = result.json()
    assert reject["uri"] == str(file)
    assert (reject["collection"], reject["stage"], reject["reason"]) == (
        *("mine", "position", "zero_zero"),
    )
    shown = run("rejects", "--stage", "position").out
    assert f" {file} " in shown  # whole, though wider than the terminal
    assert max(map(len, shown.splitlines())) > 80
    assert run("rejects", "--stage", "read", "--json").json() == []


def test_a_dry_run_stores_nothing_and_its_options_reach_the_library(
    run: CommandLine, tmp_path: Path, database: Database
) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(gps(1, 2)))
    (tmp_path / "b.jpg").write_bytes(photo())
    (tmp_path / "c.jpg").write_bytes(photo(gps(1, 2), size=(300, 200))[:-50])
    command = ["ingest", tmp_path, "--collection", "mine", "--json"]
    command += ["--no-decode", "--workers", "1", "--author", "Ada", "--licence", "CC0-1.0"]
    dry = run(*command, "--dry-run").json()
    assert (dry["run_id"], dry["added"], dry["kept_unlocated"]) == (None, 2, 1)
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM geosearch.photos").fetchone() == (0,)
    assert run(*command).code == 0
    with database.connection() as connection:
        stored = connection.execute("SELECT DISTINCT author, licence FROM geosearch.photos")
        assert stored.fetchall() == [("Ada", "CC0-1.0")]


def test_an_ingest_ends_with_the_next_step(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(gps(1, 2)))
    ingest = ["ingest", tmp_path, "--collection", "my photos"]
    assert "next:" not in run(*ingest, "--dry-run").out
    said = run(*ingest).out
    assert said.endswith("next: geosearch embed --collection 'my photos'\n")
    assert "next:" not in run(*ingest).out


def test_photos_without_any_position_get_a_hint(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo())
    result = run("ingest", tmp_path, "--collection", "mine")
    assert result.code == 0
    assert "nothing to find them by yet" in result.err
    assert "next: geosearch embed" in result.out


def test_a_missing_source_is_an_input_error(run: CommandLine) -> None:
    result = run("ingest", "/no/such/folder", "--collection", "mine")
    assert result.code == InputError.exit_code == 2
    assert "/no/such/folder" in result.err


@pytest.mark.parametrize("command", ["ingest", "rejects"])
def test_help_has_an_example(run: CommandLine, command: str) -> None:
    result = run(command, "--help")
    assert result.code == 0
    assert f"Example: geosearch {command}" in result.out


def test_what_was_passed_over_is_said(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.CR3").write_bytes(b"x")
    (tmp_path / "raw" / "photos.csv").write_text("file,lat,lon\n")
    (tmp_path / "a.jpg").write_bytes(photo())
    (tmp_path / "m.csv").write_text("file,lat,lon,date\na.jpg,1,2,soon\n")
    result = run("ingest", tmp_path / "raw", "--collection", "c")
    assert result.code == 0
    assert "1 .cr3" in result.err
    assert "a manifest is read where named" in result.err
    result = run("ingest", tmp_path / "m.csv", "--collection", "c")
    assert "taken_at of 1" in result.err
    assert "next: geosearch embed" in result.out


def test_the_next_step_is_said_where_more_is_kept_without_a_position(
    run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(gps(1, 2)))
    (tmp_path / "b.jpg").write_bytes(photo(shade=1))
    result = run("ingest", tmp_path, "--collection", "c")
    assert "next: geosearch embed" in result.out


def test_a_home_folder_is_found_in_quotes_too(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.jpg").write_bytes(photo(gps(1, 2)))
    result = run("ingest", "~/a.jpg", "--collection", "c", "--json")
    assert result.json()["added"] == 1


def test_the_options_of_ingest_fit_a_screen(run: CommandLine) -> None:
    assert len(run("ingest", "--help").out.splitlines()) <= 40
