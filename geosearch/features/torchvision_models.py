"""`torchvision/<model>[@WEIGHTS][+avg|max|gem]`: torchvision's classifiers and their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import torchvision.models as zoo
from torch import Tensor

from geosearch.errors import ModelError
from geosearch.features.description import Description, Source, check_pooling, file_sha256
from geosearch.features.networks import architectures, feature_dimension, poolings
from geosearch.features.preprocessing import Preprocessing

_SPEC = re.compile(r"(?P<model>[a-z0-9_]+)(@(?P<weights>\w+))?(\+(?P<pooling>\w+))?", re.IGNORECASE)
_HASH = re.compile(r"-([0-9a-f]{8,})\.\w+$")


def source(spec: str) -> Source:
    """Resolve a spec; the weights are downloaded into torch's cache where they are not there.

    Raises
    ------
    ModelError
        Unknown model, weights or pooling; weights that cannot be downloaded or were altered.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ModelError(
            f"the model 'torchvision/{spec}' is malformed",
            "Write torchvision/NAME[@WEIGHTS][+avg|max|gem], such as torchvision/vgg16+max",
        )
    architecture = f"torchvision/{match['model']}"
    if architecture not in architectures():
        known = ", ".join(name for name in architectures() if name.startswith("torchvision/"))
        raise ModelError(f"there is no model {architecture!r}", f"Known: {known}")
    pooling = check_pooling(architecture, match["pooling"], poolings(architecture))
    weights = _weights(match["model"], match["weights"] or "DEFAULT")
    path = _download(weights)
    preprocessing = _preprocessing(weights)

    def load_weights() -> Mapping[str, Tensor]:
        loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded

    description = Description(
        name=f"torchvision/{spec}",
        architecture=architecture,
        weights_source=f"torchvision {weights}, {weights.url}",
        weights_sha256=file_sha256(path),
        preprocessing=preprocessing,
        pooling=pooling,
        dimension=feature_dimension(architecture, preprocessing),
        # The only terms torchvision states apart from those of the training data.
        licence="CC-BY-NC-4.0" if "SWAG" in weights.name else None,
    )
    return Source(description, load_weights, rests_on=(path,))


def _weights(model: str, name: str) -> Any:
    choices = zoo.get_model_weights(model)
    try:
        return choices[name]
    except KeyError as error:
        known = ", ".join(choices.__members__)
        raise ModelError(
            f"torchvision/{model} has no weights {name!r}", f"It has: {known}"
        ) from error


def _download(weights: Any) -> Path:
    """The weights' file in torch's cache, with the sha256 its name promises."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlsplit(weights.url).path).name
    promised = _HASH.search(path.name)
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                weights.url, str(path), promised and promised[1], progress=False
            )
        except (OSError, RuntimeError) as error:  # RuntimeError: the hash is another
            raise ModelError(
                f"{weights.url} cannot be downloaded: {error}",
                f"Download it elsewhere and put it at {path}",
            ) from error
    if promised and not file_sha256(path).startswith(promised[1]):
        raise ModelError(
            f"{path}: its sha256 does not begin with {promised[1]}", "Delete it and run again."
        )
    return path


def _preprocessing(weights: Any) -> Preprocessing:
    preset = weights.transforms()
    return Preprocessing(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(255 * value for value in preset.mean),
        std=tuple(255 * value for value in preset.std),
        interpolation=preset.interpolation.value,
    )
