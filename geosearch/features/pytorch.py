"""Networks in PyTorch: on CUDA, on MPS, and on the CPU where ONNX Runtime cannot run them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from geosearch.features.networks import EmbeddingNetwork

#: Batches on a CUDA device at once: one computes while the next is copied there.
_AT_ONCE = 2


class TorchNetwork:
    """A network on a PyTorch device. Calls from several threads at once are safe."""

    def __init__(self, network: EmbeddingNetwork, device: str) -> None:
        self.device = device
        self._network = network.to(device).to(memory_format=torch.channels_last)
        # cuDNN plans every convolution anew for each thread that calls it, which takes as long as a
        # hundred batches: so a few threads that stay do it for all.
        on_cuda = device == "cuda"
        self._threads = ThreadPoolExecutor(
            _AT_ONCE if on_cuda else 1, "network", _own_stream if on_cuda else None
        )

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, D) of pixels (n, height, width, 3)."""
        return self._threads.submit(self._embed, pixels).result()

    def _embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = torch.from_numpy(np.require(pixels, requirements="W"))
        if self.device == "cuda":
            images = images.pin_memory()
        with torch.inference_mode():
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


def _own_stream() -> None:
    torch.cuda.set_stream(torch.cuda.Stream())  # type: ignore[no-untyped-call]


def available(device: str) -> bool:
    """Whether PyTorch can use `cuda`, `mps` or `cpu` here."""
    if device == "cuda":
        return torch.cuda.is_available()
    if device == "mps":
        return torch.backends.mps.is_available()
    return True
