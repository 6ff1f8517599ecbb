"""What commands load: not what only others need, for it is the loading that one waits for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper

from geosearch.cli.app import COMMANDS, _Overview, app
from geosearch.database.connection import Database
from geosearch.features import embed, load_backbone, onnx
from geosearch.features.backbones import resolve
from geosearch.features.description import Description
from geosearch.ingest import ingest
from geosearch.localization import localize
from geosearch.sample.space import SpaceSample, write_space_sample
from tests import foreign_models

#: Packages of which each takes as long to load as a command may take, or longer.
HEAVY = {
    "alembic",
    "geoalchemy2",
    "matplotlib",
    "numba",
    "onnx",
    "onnxscript",
    "pandas",
    "pyarrow",
    "scipy",
    "sqlalchemy",
    "torch",
    "torchvision",
}
#: What it takes to embed a photo, and to search by it: even the latter is too much for help.
NETWORK = {"fsspec", "onnxruntime", "PIL"}
#: And to show it in a notebook.
TABLES = {"IPython", "geopandas", "pandas"}
SEARCHING = NETWORK | {"numpy", "psycopg", "rich", "shapely"}

RUN = """
import sys
from geosearch.cli.app import main
sys.argv[0] = "geosearch"
try:
    main()
except SystemExit as exit:
    code = exit.code or 0
print("\\nloaded", *{name.partition(".")[0] for name in sys.modules})
"""


def loaded(*arguments: object, **environment: str) -> tuple[str, set[str]]:
    """What a command prints, and the top-level modules it has loaded when it is done."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    printed, _, modules = ran.stdout.rpartition("loaded ")
    return printed, set(modules.split())


@pytest.fixture(scope="module")
def sample(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos in the database, of which the first is localized as answer 1."""
    folder = tmp_path_factory.mktemp("sample")
    write_space_sample(SpaceSample(references=12, queries=1), folder)
    ingest(module_database, [folder / "references"], collection="sample")
    embed(module_database, load_backbone(device="cpu"))
    for _ in localize(module_database, [folder / "queries" / "000001.jpg"], device="cpu"):
        pass
    return folder


def test_help_loads_nothing_that_searches() -> None:
    printed, modules = loaded("--help")
    assert "Estimate where photos were taken." in printed
    assert not modules & (HEAVY | SEARCHING)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "found"), [("geosearch lo", "localize"), ("geosearch localize --exa", "--exact")]
)
def test_completing_a_line_loads_nothing_that_searches(shell: str, line: str, found: str) -> None:
    printed, modules = loaded(
        _GEOSEARCH_COMPLETE=f"complete_{shell}",
        COMP_WORDS=line,
        COMP_CWORD=str(line.count(" ")),
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert found in printed
    # Typer draws the help that zsh and fish show with Rich.
    assert not modules & (HEAVY | SEARCHING - {"rich"})


def test_the_options_of_a_command_load_nothing_that_searches() -> None:
    # Those of `train` and `sample` are the fields of what they make.
    others = [name for name in COMMANDS if name not in {"train", "sample"}]
    code = "import sys, typer; from geosearch.cli.app import app; "
    code += "[typer.main.get_command(app).get_command(None, name) for name in sys.argv[1:]]; "
    code += "print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run(
        [sys.executable, "-c", code, *others], capture_output=True, text=True, check=True
    )
    # Those of servers, collections and roles are about the driver of the database.
    assert not set(ran.stdout.split()) & (HEAVY | SEARCHING - {"psycopg"})


@pytest.mark.parametrize(
    ("code", "left_out"),
    [
        ("import geosearch", HEAVY | SEARCHING),
        ("import geosearch; geosearch.connect", TABLES | HEAVY - {"pyarrow", "scipy"}),
    ],
)
def test_python_loads_what_shows_answers_when_they_are_shown(code: str, left_out: set[str]) -> None:
    code = f"import sys; {code}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert not set(printed.split()) & left_out


def test_help_says_of_every_command_what_the_command_itself_says() -> None:
    overview, root = _Overview(name="geosearch"), typer.main.get_command(app)
    for name in COMMANDS:
        short, itself = (group.get_command(None, name) for group in (overview, cast(Any, root)))
        assert short.get_short_help_str(60) == itself.get_short_help_str(60)


def test_showing_an_answer_loads_no_network(sample: Path, module_database: Database) -> None:
    printed, modules = loaded("show", 1, GEOSEARCH_DATABASE_URL=module_database.url)
    assert "000001.jpg" in printed
    assert not modules & (HEAVY | NETWORK)


def test_the_neighbours_of_a_stored_photo_need_no_network(
    sample: Path, module_database: Database
) -> None:
    photo = sample / "references" / "000001.jpg"
    printed, modules = loaded("nearest", photo, GEOSEARCH_DATABASE_URL=module_database.url)
    assert "000001.jpg" in printed
    assert not modules & (HEAVY | NETWORK)


def test_an_answer_loads_what_it_needs_and_no_more(sample: Path, module_database: Database) -> None:
    photo = sample / "queries" / "000001.jpg"
    printed, modules = loaded("localize", photo, GEOSEARCH_DATABASE_URL=module_database.url)
    assert "000001.jpg" in printed
    assert modules >= {"onnxruntime", "PIL", "shapely"}
    assert not modules & HEAVY


@pytest.mark.system
def test_a_model_of_a_library_needs_it_once(
    sample: Path, module_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEARCH_CACHE_DIR", str(tmp_path / "made"))
    spec = f"timm/test_vit@{foreign_models.timm_file(tmp_path)}"
    description = resolve(spec).description
    put_network(description)
    embed(module_database, load_backbone(spec, device="cpu"))
    photo = sample / "queries" / "000001.jpg"
    url = {"GEOSEARCH_DATABASE_URL": module_database.url}
    printed, modules = loaded("localize", photo, "--model", spec, **url)
    assert "000001.jpg" in printed
    assert "onnxruntime" in modules
    assert not modules & (HEAVY | {"huggingface_hub", "timm"})


def put_network(description: Description) -> None:
    """Put a network into the cache as the exported one: any, for an export takes long."""
    side, width = description.preprocessing.crop, description.dimension
    values = np.random.default_rng(1).normal(size=(side * side * 3, width)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["wide"]),
        helper.make_node("LpNormalization", ["wide"], ["embeddings"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "any",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", side, side, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(values, "weights")],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    onnx._folder().mkdir(parents=True)
    name = f"{onnx._key(description)}-{hashlib.sha256(model).hexdigest()}.onnx"
    (onnx._folder() / name).write_bytes(model)
