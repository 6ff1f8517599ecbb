"""Models from strangers: files that carry code, and that name files outside their folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from geosearch.errors import ModelError
from geosearch.features.backbones import build_network, resolve
from tests import foreign_models as made
from tests.test_backbones import Planted


def _timm(folder: Path) -> tuple[str, Path]:
    path = made.timm_file(folder).with_suffix(".pth")
    return f"timm/test_vit@{path}", path


def _open_clip(folder: Path) -> tuple[str, Path]:
    there = made.open_clip_folder(folder)
    (there / "open_clip_model.safetensors").unlink()
    return f"open_clip/{there}", there / "open_clip_pytorch_model.bin"


def _transformers(folder: Path) -> tuple[str, Path]:
    there = made.transformers_folder(folder)
    (there / "model.safetensors").unlink()
    return f"transformers/{there}", there / "pytorch_model.bin"


@pytest.mark.parametrize("kind", [_timm, _open_clip, _transformers])
def test_weights_that_carry_code_are_refused_and_the_code_is_not_run(
    kind: Callable[[Path], tuple[str, Path]], tmp_path: Path
) -> None:
    spec, path = kind(tmp_path)
    planted = tmp_path / "planted"
    torch.save({"state_dict": {"x": torch.zeros(1)}, "code": Planted(planted)}, path)
    with pytest.raises(ModelError, match="weights") as error:
        build_network(resolve(spec))
    assert str(path.parent) in str(error.value)
    assert not planted.exists()


def test_code_that_comes_with_a_model_of_transformers_is_not_run(tmp_path: Path) -> None:
    folder = made.transformers_folder(tmp_path)
    planted = tmp_path / "planted"
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "mine.py").write_text(f"open({str(planted)!r}, 'w')")
    with pytest.raises(ModelError, match="transformers cannot read this model") as error:
        resolve(f"transformers/{folder}")
    assert "is not run" in str(error.value)
    assert not planted.exists()


def test_an_index_of_weights_names_no_files_of_others(tmp_path: Path) -> None:
    folder = made.transformers_folder(tmp_path)
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"x": "model-1.safetensors", "y": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="names other files of weights"):
        resolve(f"transformers/{folder}")


@pytest.mark.parametrize(
    "name", ["../secret.bin", "/etc/hostname", "inside/../../secret.bin", "link.bin"]
)
def test_an_onnx_file_has_its_weights_in_its_own_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "inside").mkdir(parents=True)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(6 * 3 * 8 * 8 * 4))
    (folder / "link.bin").symlink_to(secret)
    path = made.onnx_file(folder, outside=name)
    with pytest.raises(ModelError, match="outside its folder"):
        resolve(f"onnx:{path}")


def test_weights_beside_an_onnx_file_are_part_of_the_model(tmp_path: Path) -> None:
    path = made.onnx_file(tmp_path, outside="weights.bin")
    fingerprints = set()
    for value in (b"\x00\x00\x80\x3f", b"\x00\x00\x00\x40"):
        (tmp_path / "weights.bin").write_bytes(6 * 3 * 8 * 8 * value)
        fingerprints.add(resolve(f"onnx:{path}").description.fingerprint)
    assert len(fingerprints) == 2
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match="No such file"):
        resolve(f"onnx:{path}")


@pytest.mark.parametrize(
    "spec",
    [
        "timm/../../etc/passwd",
        "timm/test_vit@/dev/zero",
        "transformers/../../../etc",
        "transformers/a/../../b",
        "open_clip/../../etc",
        "open_clip/RN50@../../etc/passwd",
        "hub/a/../..@b:c",
        "hub/a/b@../../c:d",
        "onnx:/proc/self/mem",
    ],
)
def test_a_spec_that_climbs_out_of_where_models_are_finds_none(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError):
        resolve(spec)
