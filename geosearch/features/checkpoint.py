"""`file:CHECKPOINT`: weights in a file that says what they are.

Format `geosearch.checkpoint/1`. A safetensors file holds the state dict of its architecture (the
classifier may be left out) and, as its metadata, `format` and `description`: a JSON object with

    architecture   e.g. "torchvision/resnet50" or "efficientnet-lite0"
    preprocessing  resize, crop, mean, std (scale 0 to 255), interpolation, channels, fit
    pooling        avg, max, gem or token
    licence        of the weights, or null
    notes          free text: what they were trained on
    training       how `geosearch train` made them, or null

A `.pt` file holds the same as a dict of `format`, `description` and `state_dict`; it is read with
`weights_only=True`. Safetensors loads without importing torch once the network is cached.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosearch.atomic_files import replacing
from geosearch.errors import ModelError
from geosearch.features.description import (
    Description,
    Source,
    check_pooling,
    file_sha256,
    weights_file,
)
from geosearch.features.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "geosearch.checkpoint/1"
_POOLINGS = ("avg", "max", "gem", "token")


def save_checkpoint(
    path: Path,
    weights: Mapping[str, Tensor],
    *,
    architecture: str,
    preprocessing: Preprocessing,
    pooling: str = "avg",
    licence: str | None = None,
    notes: str = "",
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all: safetensors, or PyTorch's format for `.pt`.

    Raises
    ------
    ModelError
        Unknown architecture, unknown pooling, or weights that do not fit.
    InputError
        The file cannot be written.
    """
    from geosearch.features.networks import extractor, feature_dimension, poolings

    check_pooling(architecture, pooling, poolings(architecture))
    extractor(architecture, weights, preprocessing)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    description = {
        "architecture": architecture,
        "preprocessing": preprocessing.to_json(),
        "pooling": pooling,
        "dimension": feature_dimension(architecture, preprocessing),
        "licence": licence,
        "notes": notes,
        "training": training,
    }
    with replacing(path) as part:
        if _is_safetensors(path):
            from safetensors.torch import save_file

            metadata = {"format": FORMAT, "description": json.dumps(description)}
            save_file(tensors, part, metadata)
        else:
            import torch

            torch.save({"format": FORMAT, "description": description, "state_dict": tensors}, part)


def source(spec: str | Path) -> Source:
    """Resolve a checkpoint.

    Raises
    ------
    ModelError
        The file is missing, or no checkpoint of this format.
    """
    path = weights_file(str(spec), "file:PATH of a checkpoint.")
    values = _read_description(path)
    try:
        description = Description(
            name=f"file:{path}",
            architecture=str(values["architecture"]),
            weights_source=f"file {path.name}",
            weights_sha256=file_sha256(path),
            preprocessing=Preprocessing.from_dict(values["preprocessing"]),
            pooling=str(values["pooling"]),
            dimension=int(values["dimension"]),
            licence=values.get("licence"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(path, f"its description lacks or garbles {error}") from error
    if description.pooling not in _POOLINGS:
        raise _unusable(path, f"its pooling is {description.pooling!r}")

    def load_weights() -> Mapping[str, Tensor]:
        if _is_safetensors(path):
            from safetensors.torch import load_file

            return load_file(path)
        weights: Mapping[str, Tensor] = _load_pt(path)["state_dict"]
        return weights

    return Source(description, load_weights)


def _read_description(path: Path) -> dict[str, Any]:
    if _is_safetensors(path):
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
            description = json.loads(metadata.get("description", "null"))
        except (SafetensorError, ValueError, OSError) as error:
            raise _unusable(path, str(error)) from error
    else:
        metadata = _load_pt(path)
        description = metadata.get("description")
    if metadata.get("format") != FORMAT or not isinstance(description, dict):
        raise _unusable(path, "it does not say that it is one")
    return description


def _load_pt(path: Path) -> dict[str, Any]:
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for files that are not its own
        raise _unusable(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(loaded, dict) or not isinstance(loaded.get("state_dict"), dict):
        raise _unusable(path, "it holds no state_dict")
    return loaded


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _unusable(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path} is no {FORMAT} checkpoint: {why}",
        "Write it with geosearch.features.checkpoint.save_checkpoint.",
    )
