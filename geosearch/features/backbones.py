"""Backbones by spec: `packaged/…`, `torchvision/…`, `file:…`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import check_choice
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError, ModelError
from geosearch.features import packaged
from geosearch.features.description import Description, Source
from geosearch.features.onnx import onnx_network
from geosearch.features.preprocessing import VIEWS

if TYPE_CHECKING:
    from PIL import Image

    from geosearch.features.networks import EmbeddingNetwork

DEVICES = ("auto", "cuda", "mps", "cpu")

_HELP = (
    "A model is one of: packaged/efficientnet-lite0; torchvision/NAME[@WEIGHTS][+avg|max|gem], "
    "such as torchvision/resnet50 or torchvision/vgg16+max; file:CHECKPOINT. "
    "+views5 or +views9 after it takes several views of a photo. whitened:NAME is one that "
    "geosearch whiten made, external:NAME embeddings that were imported"
)
_VIEWS = re.compile(r"\+views(\d+)$")


class Network(Protocol):
    """Something that embeds batches on a device; safe to call from several threads."""

    device: str

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, D), float32, of pixels (n, height, width, 3), uint8 RGB."""


class Backbone:
    """A network ready to embed photos, and its description. Made by `load_backbone`."""

    def __init__(self, description: Description, network: Network) -> None:
        self.description = description
        self.network = network

    @property
    def device(self) -> str:
        """Where it runs: `cuda`, `mps` or `cpu`."""
        return self.network.device

    @property
    def batch_size(self) -> int:
        """Photos per call that suit the device."""
        return max(1, (16 if self.device == "cpu" else 128) // self.description.views)

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Pixels (side, side, 3), uint8 RGB, of an image opened by `geosearch.images.open_image`.

        With several views (views, side, side, 3).

        Raises
        ------
        PhotoRejected
            The image cannot be decoded.
        """
        return self.description.preprocessing.apply(image, self.description.views)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, dimension), float32, L2-normalised, of what `preprocess` gave of n photos.

        Of several views it is the mean, normalised again. A row is zero or not finite where the
        network gave nothing usable.
        """
        if self.description.views == 1:
            return self.network(pixels)
        each = self.network(pixels.reshape(-1, *pixels.shape[2:]))
        return normalised(each.reshape(*pixels.shape[:2], -1).mean(axis=1))


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (n, D) of length 1; those that are zero stay so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return unit


class _Later:
    """A network that is made when it is first called; not safe to call from several threads."""

    def __init__(self, device: str, make: Callable[[], Network]) -> None:
        self.device = device
        self._make = make

    @cached_property
    def _network(self) -> Network:
        return self._make()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._network(pixels)


def load_backbone(
    spec: str = DEFAULT_MODEL, *, device: str = "auto", at_once: bool = True
) -> Backbone:
    """Load a backbone; `geosearch.features.whitening.find_backbone` finds whitened ones too.

    Parameters
    ----------
    spec
        `packaged/efficientnet-lite0`, `torchvision/<model>[@WEIGHTS][+avg|max|gem]` or
        `file:<checkpoint>`; each may end in `+views5` or `+views9`.
    device
        `auto` (CUDA, else MPS, else CPU), `cuda`, `mps` or `cpu`.
    at_once
        False leaves making the network to the first call, which may never come: then it is safe
        in one thread only, and wrong weights show there.
    Raises
    ------
    ModelError
        Unknown spec, or weights that are missing, altered or of another architecture.
    InputError
        The device is unknown or not there.
    """
    source = resolve(spec)
    place = find_device(device)

    def network() -> Network:
        if place == "cpu":
            exported = onnx_network(source.description, lambda: build_network(source))
            if exported is not None:
                return exported
        from geosearch.features.pytorch import TorchNetwork

        return TorchNetwork(build_network(source), place)

    return Backbone(source.description, network() if at_once else _Later(place, network))


def build_network(source: Source) -> EmbeddingNetwork:
    """A source's network in PyTorch, on the CPU, ready for inference. Raises ModelError."""
    from geosearch.features.networks import EmbeddingNetwork, Scaling, extractor

    wanted = source.description
    trunk = extractor(wanted.architecture, source.load_weights(), wanted.preprocessing)
    return EmbeddingNetwork([Scaling(wanted.preprocessing), trunk], wanted.pooling).eval()


def resolve(spec: str) -> Source:
    """What a spec stands for: its description, and where its weights are. Builds no network.

    Raises ModelError as `load_backbone` does.
    """
    spec = spec.strip()
    if several := _VIEWS.search(spec):
        views = _known_views(int(several[1]))
        source = resolve(spec[: several.start()])
        if _VIEWS.search(spec[: several.start()]):
            raise ModelError(f"the model {spec!r} says twice how many views it takes", _HELP)
        name = source.description.name + (several[0] if views > 1 else "")
        return replace(source, description=replace(source.description, name=name, views=views))
    if spec.startswith("packaged/"):
        return packaged.source(spec.removeprefix("packaged/"))
    if spec.startswith("torchvision/"):
        from geosearch.features import torchvision_models

        return torchvision_models.source(spec)
    if spec.startswith("file:"):
        from geosearch.features import checkpoint

        return checkpoint.source(Path(spec.removeprefix("file:")))
    raise ModelError(f"unknown model {spec!r}", _HELP)


def with_views(spec: str, views: int) -> str:
    """The spec of a model that takes so many views, one of `VIEWS`. Raises ModelError."""
    return f"{spec}+views{_known_views(views)}"


def _known_views(views: int) -> int:
    if views not in VIEWS:
        raise ModelError(f"there is no model of {views} views", "Choose 1, 5 or 9.")
    return views


def find_device(device: str) -> str:
    """`cuda`, `mps` or `cpu` for one of `DEVICES`. Raises InputError as `load_backbone` does."""
    check_choice("device", device, DEVICES)
    if device == "cpu" or (device == "auto" and not _accelerator_likely()):
        return "cpu"
    from geosearch.features.pytorch import available

    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available(name))
    if not available(device):
        raise InputError(
            f"`device`: PyTorch sees no {device} here", "Give `device` auto, or install its driver."
        )
    return device


def _accelerator_likely() -> bool:
    """Whether to ask PyTorch at all: importing it takes seconds."""
    drivers = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    return sys.platform != "linux" or any(Path(driver).exists() for driver in drivers)
