"""`db destroy`: counted and confirmed first, and then nothing is left but what is others'."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from geosearch.database import migrations
from geosearch.database.server import PrivateServer
from tests.command_line import CommandLine
from tests.conftest import server_folder


def schemas(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname = 'geosearch'")
        return found.fetchall()


@pytest.fixture
def destroy(empty_url: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    migrations.upgrade(empty_url)
    with psycopg.connect(empty_url) as connection:
        connection.execute("INSERT INTO geosearch.all_collections (name) VALUES ('mine')")
    command = CommandLine(empty_url, capsys)
    return lambda *given: command("db", "destroy", *given)


def test_a_dry_run_counts_and_removes_nothing(destroy: Callable[..., Any], empty_url: str) -> None:
    ran = destroy("--dry-run", "--json")
    assert ran.code == 0
    assert ran.json()["rows"]["all_collections"] == 1
    assert ran.json()["destroyed"] is False
    assert schemas(empty_url)


def test_nothing_is_removed_unless_confirmed(
    destroy: Callable[..., Any], empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = destroy()
    assert (ran.code, "--yes" in ran.err) == (2, True)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    ran = destroy()
    assert (ran.code, "not confirmed" in ran.err) == (2, True)
    assert schemas(empty_url)
    monkeypatch.setattr(sys, "stdin", Terminal("destroy\n"))
    assert destroy().code == 0
    assert not schemas(empty_url)


def test_not_while_others_use_it_unless_forced(destroy: Callable[..., Any], empty_url: str) -> None:
    with psycopg.connect(empty_url):
        ran = destroy("--yes")
        assert (ran.code, "1 other programs" in ran.err) == (5, True)
        assert schemas(empty_url)
        assert destroy("--yes", "--force").code == 0
    assert not schemas(empty_url)
    assert destroy("--yes", "--json").json()["destroyed"] is False


def test_what_others_built_on_it_is_not_removed(
    destroy: Callable[..., Any], empty_url: str
) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE FUNCTION public.f(geosearch.place) RETURNS int RETURN 1")
    ran = destroy("--yes")
    assert (ran.code, "public.f(geosearch.place)" in ran.err) == (5, True)
    assert schemas(empty_url)


def test_the_private_server_goes_with_its_files_and_no_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*given: str) -> Any:
        ran = CommandLine("", capsys)("db", "destroy", "--json", *given)
        return ran.err if ran.code else ran.json()

    with server_folder() as folder:
        monkeypatch.setenv("GEOSEARCH_DATA_DIR", str(folder))
        assert run("--yes")["destroyed"] is False
        server = PrivateServer(folder, durable=False)
        server.start()
        migrations.upgrade(server.url)
        (folder / "mine.txt").write_text("kept")
        server.stop()
        counted = run("--dry-run")
        assert counted["rows"]["places"] > 1000
        with psycopg.connect(server.url):
            assert "1 other programs" in run("--yes")
            assert server.status().running
        assert run("--yes")["destroyed"] is True
        assert [path.name for path in folder.iterdir()] == ["mine.txt"]
        server.start()  # a new one may be made there
        assert server.destroy() is True
        assert server.destroy() is False


def test_a_folder_that_is_not_a_servers_is_left_alone() -> None:
    with server_folder() as folder:
        (folder / "postgres").mkdir()
        (folder / "postgres" / "holiday.jpg").touch()
        with pytest.raises(Exception, match="is not a server's"):
            PrivateServer(folder).destroy()
        assert (folder / "postgres" / "holiday.jpg").exists()
