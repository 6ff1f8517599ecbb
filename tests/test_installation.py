"""A hint at a missing package names what really mends the installation at hand."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from geosearch import installation
from geosearch.installation import DISTRIBUTION, remedy


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the package, as far as `remedy` looks."""
    monkeypatch.setattr(installation, "SCRIPTS", tmp_path / "scripts")
    monkeypatch.delenv("GEOSEARCH_IMAGE_EXTRAS", raising=False)
    return tmp_path


@pytest.fixture
def script(home: Path) -> Path:
    made = home / "scripts" / "make-venv"
    made.parent.mkdir()
    made.touch()
    return made


def test_a_checkout_with_its_environment_runs_its_script(
    script: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(home / ".venv"))
    assert remedy("heic") == f"{script} heic"
    assert remedy() == str(script)


def test_a_checkout_in_another_environment_is_installed_there(
    script: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", "/opt/conda")
    pip = [sys.executable, "-m", "pip", "install"]
    assert shlex.split(remedy("gis")) == [*pip, "--editable", f"{home}[gis]"]


def test_a_wheel_is_installed_with_the_extra(home: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install"]
    assert shlex.split(remedy("s3")) == [*pip, f"{DISTRIBUTION}[s3]"]
    assert shlex.split(remedy()) == [*pip, DISTRIBUTION]


@pytest.mark.parametrize(
    ("has", "adds", "extras"),
    [("heic,gis,s3", "bench", "heic,gis,s3,bench"), ("heic", "", "heic"), ("", "gis", "gis")],
)
def test_an_image_is_built_again_with_one_more(
    home: Path, monkeypatch: pytest.MonkeyPatch, has: str, adds: str, extras: str
) -> None:
    monkeypatch.setenv("GEOSEARCH_IMAGE_EXTRAS", has)
    assert remedy(adds) == f"docker compose build --build-arg EXTRAS={extras}"
