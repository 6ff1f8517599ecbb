"""The example of a model in a package of one's own, installed from its folder."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import geosearch
from geosearch.errors import ModelError
from geosearch.features import backbones, load_backbone
from tests.command_line import CommandLine
from tests.photo_files import photos_at

EXAMPLE = Path(__file__).parent.parent / "docs" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the example is installed in, on the path of modules."""
    place = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(place)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
    subprocess.run([*pip, str(EXAMPLE)], check=True, capture_output=True)
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    yield place
    sys.path.remove(str(place))


def test_the_example_is_short() -> None:
    assert len((EXAMPLE / "geosearch_colours.py").read_text().splitlines()) < 40


@pytest.mark.system
@pytest.mark.usefixtures("installed")
def test_the_example_embeds_and_searches(
    database: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos_at(tmp_path, [(10 + n, 20) for n in range(4)], size=(96, 72))
    run = CommandLine(database.url, capsys)
    assert run("ingest", tmp_path, "--collection", "mine").code == 0
    assert run("embed", "--model", "colours/3").code == 0
    (listed,) = run("models", "list", "--json").json()
    assert (listed["name"], listed["dimension"], listed["licence"]) == ("colours/3", 27, "CC0-1.0")
    (found, *_) = run("nearest", tmp_path / "2.jpg", "--model", "colours/3", "--json").json()[
        "neighbours"
    ]
    assert (found["lat"], found["distance"]) == pytest.approx((12, 0), abs=1e-3)
    with geosearch.connect(database.url) as gs:
        assert gs.localize(tmp_path / "1.jpg", model="colours/3").lat == pytest.approx(11)
    assert load_backbone("colours/3+views5").description.views == 5


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda _: 1 / 0, "fails: ZeroDivisionError: division by zero"),
        (lambda _: "a model", "gives no Source"),
    ],
)
def test_a_plug_in_that_fails_is_named(
    made: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Points(dict[str, Any]):
        names = ("mine",)

    point = SimpleNamespace(load=lambda: made, value="mine:source")
    monkeypatch.setattr(backbones, "entry_points", lambda group: Points(mine=point))
    with pytest.raises(ModelError, match=f"mine:source, {said}"):
        load_backbone("mine/x")
