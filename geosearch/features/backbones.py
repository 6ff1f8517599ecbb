"""Backbones by spec: `packaged/…`, `torchvision/…`, `file:…`."""

from __future__ import annotations

import sys
from collections.abc import Callable
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

if TYPE_CHECKING:
    from PIL import Image

    from geosearch.features.networks import EmbeddingNetwork

DEVICES = ("auto", "cuda", "mps", "cpu")

_HELP = (
    "A model is one of: packaged/efficientnet-lite0; torchvision/NAME[@WEIGHTS][+avg|max|gem], "
    "such as torchvision/resnet50 or torchvision/vgg16+max; file:CHECKPOINT"
)


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
        return 16 if self.device == "cpu" else 128

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Pixels (side, side, 3), uint8 RGB, of an image opened by `geosearch.images.open_image`.

        Raises
        ------
        PhotoRejected
            The image cannot be decoded.
        """
        return self.description.preprocessing.apply(image)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, dimension), float32, L2-normalised, of pixels (n, side, side, 3).

        A row is zero or not finite where the network gave nothing usable.
        """
        return self.network(pixels)


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
    """Load a backbone.

    Parameters
    ----------
    spec
        `packaged/efficientnet-lite0`, `torchvision/<model>[@WEIGHTS][+avg|max|gem]` or
        `file:<checkpoint>`.
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
    if spec.startswith("packaged/"):
        return packaged.source(spec.removeprefix("packaged/"))
    if spec.startswith("torchvision/"):
        from geosearch.features import torchvision_models

        return torchvision_models.source(spec)
    if spec.startswith("file:"):
        from geosearch.features import checkpoint

        return checkpoint.source(Path(spec.removeprefix("file:")))
    raise ModelError(f"unknown model {spec!r}", _HELP)


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
