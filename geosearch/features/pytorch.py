"""Networks in PyTorch: on CUDA, on MPS, and on the CPU where ONNX Runtime cannot run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray

from geosearch.features.networks import EmbeddingNetwork

#: Batches on a CUDA device at once: one computes while the next is copied there.
_STREAMS = 2


class TorchNetwork:
    """A network on a PyTorch device. Calls from several threads at once are safe."""

    def __init__(self, network: EmbeddingNetwork, device: str) -> None:
        self.device = device
        self._network = network.to(device).to(memory_format=torch.channels_last)
        self._streams: SimpleQueue[torch.cuda.Stream | None] = SimpleQueue()
        for _ in range(_STREAMS if device == "cuda" else 1):
            self._streams.put(torch.cuda.Stream() if device == "cuda" else None)  # type: ignore[no-untyped-call]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, D) of pixels (n, height, width, 3)."""
        images = torch.from_numpy(pixels)
        if self.device == "cuda":
            images = images.pin_memory()
        with self._stream(), torch.inference_mode():
            images = images.to(self.device, non_blocking=True)
            embeddings: NDArray[np.float32] = self.forward(images).cpu().numpy()
        return embeddings

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings on the device of pixels on the device."""
        if self.device != "cuda":
            result: torch.Tensor = self._network(images)
            return result
        with torch.autocast("cuda", dtype=torch.float16):
            result = self._network(images)
        # An activation beyond float16's range: the same batch in float32.
        return result if bool(torch.isfinite(result).all()) else self._network(images)

    @contextmanager
    def _stream(self) -> Iterator[None]:
        stream = self._streams.get()
        try:
            with torch.cuda.stream(stream):  # no effect for None
                yield
        finally:
            self._streams.put(stream)


def available(device: str) -> bool:
    """Whether PyTorch can use `cuda`, `mps` or `cpu` here."""
    if device == "cuda":
        return torch.cuda.is_available()
    if device == "mps":
        return torch.backends.mps.is_available()
    return True
