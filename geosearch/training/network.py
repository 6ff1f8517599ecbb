"""A backbone cut in two: stages that stay as they are, and stages that are trained.

The network stays in evaluation mode: batch normalisation keeps the statistics of the weights it
began with, and nothing is dropped at random. So an embedding in training is the embedding that
`geosearch embed` will give, does not depend on the rest of its batch, and is the same however a
batch is cut among processes or accumulated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geosearch.errors import ModelError
from geosearch.features.description import Source
from geosearch.features.networks import EmbeddingNetwork, Scaling, loaded, stages
from geosearch.features.onnx import OnnxNetwork, to_onnx

logger = logging.getLogger(__name__)

#: Largest relative difference of frozen features from those of eager PyTorch.
TOLERANCE = 1e-3

Features = NDArray[np.float16]

_GREATEST = float(np.finfo(np.float16).max)


class Network:
    """A backbone in training on a device: `frozen`, then `trained`."""

    def __init__(self, source: Source, freeze: int, device: str) -> None:
        description = source.description
        # Cloned: training writes into the weights it is given.
        weights = {name: value.clone() for name, value in source.weights().items()}
        self._whole, self._trunk = loaded(
            description.architecture, weights, description.preprocessing
        )
        steps = stages(self._trunk)
        trained = steps[freeze:]
        if not any(True for stage in trained for _ in stage.parameters()):
            raise ModelError(
                f"`freeze`: {freeze}: {description.name} has {len(steps)} stages, and no later one "
                "has weights to train",
                "Freeze fewer stages.",
            )
        self.device = device
        self.description = description
        # Without any frozen stage, the scaled pixels.
        frozen = nn.Sequential(Scaling(description.preprocessing), *steps[:freeze])
        self.frozen = frozen.requires_grad_(False).eval().to(device)
        self.trained = EmbeddingNetwork(trained, description.pooling).eval().to(device)
        self.trained.requires_grad_(True)
        for part in (self.frozen, self.trained):
            part.to(memory_format=torch.channels_last)

    def weights(self) -> dict[str, Tensor]:
        """The weights by the architecture's own names, on the CPU.

        Its classifier is left out: it belongs to the features the network began with.
        """
        own = {id(value) for value in self._trunk.state_dict(keep_vars=True).values()}
        return {
            name: value.detach().cpu()
            for name, value in self._whole.state_dict(keep_vars=True).items()
            if id(value) in own
        }

    def features(self, values: Tensor) -> Tensor:
        """What the trained stages take of a batch: of pixels (uint8), or of kept features."""
        there = values.to(self.device, non_blocking=True)
        if there.dtype == torch.uint8:
            with torch.no_grad():
                frozen: Tensor = self.frozen(there)
            return frozen
        there = there.float()
        return there.contiguous(memory_format=torch.channels_last) if there.ndim == 4 else there

    def embed(self, values: Tensor) -> Tensor:
        """Embeddings (n, D) of a batch of pixels or of kept features."""
        embeddings: Tensor = self.trained(self.features(values))
        return embeddings

    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one photo's features."""
        side = self.description.preprocessing.crop
        with torch.inference_mode():
            features = self.frozen(
                torch.zeros((1, side, side, 3), dtype=torch.uint8, device=self.device)
            )
        return tuple(features.shape[1:])

    def frozen_runner(self) -> Callable[[NDArray[np.uint8]], Features]:
        """The frozen part as a function that threads may call at once.

        On a CPU in ONNX Runtime, which is several times faster there than eager PyTorch.
        """
        exported = self._exported() if self.device == "cpu" else None
        if exported is not None:
            return lambda pixels: _half(exported(pixels))

        def run(pixels: NDArray[np.uint8]) -> Features:
            with torch.inference_mode():
                features = self.frozen(torch.from_numpy(pixels).to(self.device)).float()
            return _half(features.cpu().numpy())

        return run

    def _exported(self) -> OnnxNetwork | None:
        """The frozen part in ONNX Runtime, if that can be had and computes what PyTorch does."""
        side = self.description.preprocessing.crop
        pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
        with torch.inference_mode():
            expected = self.frozen(torch.from_numpy(pixels)).numpy()
        try:
            exported = OnnxNetwork(to_onnx(self.frozen, side))
            difference = np.linalg.norm(exported(pixels) - expected)
        except Exception as error:  # the exporter fails in many ways; PyTorch can always run it
            logger.warning("the frozen stages cannot be exported to ONNX (%s)", error)
            return None
        if not difference <= TOLERANCE * np.linalg.norm(expected):
            logger.warning("the frozen stages exported to ONNX differ by %.2g", difference)
            return None
        return exported


@dataclass(frozen=True)
class Stage:
    """A stage of a backbone: its kind and number of weights, and what leaves it for a photo.

    `shape` is that of its output, and `bytes` what a cache keeps of it, frozen up to here.
    """

    kind: str
    weights: int
    shape: tuple[int, ...]
    bytes: int


def describe_stages(source: Source) -> list[Stage]:
    """The stages of a backbone, first to last."""
    description = source.description
    _, trunk = loaded(description.architecture, source.weights(), description.preprocessing)
    side = description.preprocessing.crop
    features = torch.zeros(1, 3, side, side)
    found = []
    with torch.inference_mode():
        for stage in stages(trunk):
            features = stage(features)
            weights = sum(each.numel() for each in stage.parameters())
            shape = tuple(features.shape[1:])
            kept = np.dtype(np.float16).itemsize * features.numel()
            found.append(Stage(type(stage).__name__, weights, shape, kept))
    return found


def _half(features: NDArray[np.float32]) -> Features:
    return np.clip(features, -_GREATEST, _GREATEST).astype(np.float16)
