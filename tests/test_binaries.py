"""Which PostgreSQL installations the private server accepts, and what it says of the others."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from geosearch.database import binaries
from geosearch.errors import ServerError


def install(
    root: Path, version: str = "17.4", vector: str | None = "0.8.1", postgis: str | None = "3.5.2"
) -> Path:
    """A PostgreSQL of shell scripts; returns its program folder."""
    folder, extensions = root / "bin", root / "share" / "extension"
    folder.mkdir(parents=True)
    extensions.mkdir(parents=True)
    for name, says in {
        "initdb": "",
        "postgres": f"postgres (PostgreSQL) {version}",
        "pg_config": str(root / "share"),
    }.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
    for name, default in {"vector": vector, "postgis": postgis}.items():
        if default is not None:
            (extensions / f"{name}.control").write_text(f"default_version = '{default}'\n")
    return folder


def verdict(folder: Path) -> tuple[str, ...]:
    inspected = binaries.inspect(folder)
    assert inspected is not None
    return inspected.missing


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Hides the installations of this machine."""
    monkeypatch.delenv("GEOSEARCH_POSTGRES_BIN", raising=False)
    monkeypatch.setattr(binaries, "_PATTERNS", ())
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    return monkeypatch


def test_a_complete_installation_lacks_nothing(tmp_path: Path) -> None:
    inspected = binaries.inspect(install(tmp_path))
    assert inspected == binaries.Installation(tmp_path / "bin", (17, 4))
    assert str(inspected) == f"PostgreSQL 17.4 in {tmp_path}/bin: suitable"


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ({"vector": None}, "vector"),
        ({"postgis": None}, "postgis"),
        ({"vector": "0.6.0"}, "vector 0.8 or newer (has 0.6.0)"),
        ({"version": "14.9"}, "version 15 or newer"),
        ({"version": "19beta1", "vector": None}, "vector"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, lacks: dict[str, str | None], said: str) -> None:
    assert verdict(install(tmp_path, **lacks)) == (said,)  # type: ignore[arg-type]


def test_a_folder_without_the_whole_server_is_none(tmp_path: Path) -> None:
    folder = install(tmp_path)
    (folder / "initdb").unlink()
    assert binaries.inspect(folder) is None


def test_a_program_that_is_not_postgres_is_none(tmp_path: Path) -> None:
    folder = install(tmp_path)
    (folder / "postgres").write_text("#!/bin/sh\nexit 1\n")
    assert binaries.inspect(folder) is None


def test_extensions_are_found_without_pg_config(tmp_path: Path) -> None:
    folder = install(tmp_path)
    (folder / "pg_config").unlink()
    assert verdict(folder) == ()


def test_the_newest_suitable_installation_is_taken(
    tmp_path: Path, only: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "15", version="15.9")
    install(tmp_path / "16", version="16.10")
    install(tmp_path / "17", version="17.1", vector=None)
    only.setattr(binaries, "_PATTERNS", (f"{tmp_path}/*/bin",))
    assert binaries.suitable().major == 16
    assert binaries.suitable(15).major == 15


def test_links_on_the_path_lead_to_the_real_folder(
    tmp_path: Path, only: pytest.MonkeyPatch
) -> None:
    folder = install(tmp_path / "real")
    stray = tmp_path / "initdb"
    stray.symlink_to(folder / "initdb")
    only.setattr(shutil, "which", {"initdb": str(stray)}.get)
    assert binaries.suitable().bin == folder.resolve()


def test_the_error_lists_what_was_found_and_how_to_install(
    tmp_path: Path, only: pytest.MonkeyPatch
) -> None:
    folder = install(tmp_path / "17", vector="0.5.0", postgis=None)
    only.setattr(binaries, "_PATTERNS", (f"{tmp_path}/*/bin",))
    only.setattr(shutil, "which", {"apt-get": "/usr/bin/apt-get"}.get)
    only.setattr(sys, "platform", "linux")
    with pytest.raises(ServerError) as raised:
        binaries.suitable()
    assert (
        f"PostgreSQL 17.4 in {folder}: lacks postgis, vector 0.8 or newer" in raised.value.message
    )
    assert str(raised.value.remedy).endswith("/scripts/install-postgres")
    only.setattr(binaries, "SCRIPTS", tmp_path)  # of a wheel, which has none
    with pytest.raises(ServerError, match="apt-get install postgresql postgresql-postgis"):
        binaries.suitable()
    with pytest.raises(ServerError, match="postgresql-16-pgvector"):
        binaries.suitable(16)


@pytest.mark.parametrize(
    ("platform", "line"),
    [
        ("darwin", "brew install postgresql@17 postgis pgvector"),
        ("linux", "GEOSEARCH_DATABASE_URL"),
    ],
)
def test_other_systems_get_their_own_remedy(
    only: pytest.MonkeyPatch, platform: str, line: str
) -> None:
    only.setattr(sys, "platform", platform)
    with pytest.raises(ServerError, match="no PostgreSQL at all") as raised:
        binaries.suitable()
    assert line in str(raised.value.remedy)


def test_a_chosen_folder_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = install(tmp_path / "mine", version="16.2")
    monkeypatch.setenv("GEOSEARCH_POSTGRES_BIN", str(folder))
    assert [found.bin for found in binaries.installations()] == [folder]
    monkeypatch.setenv("GEOSEARCH_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(ServerError, match="has no PostgreSQL server"):
        binaries.installations()
