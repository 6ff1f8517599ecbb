"""Networks on a CPU: exported to ONNX once, kept in the cache, run by ONNX Runtime.

On two cores EfficientNet-Lite0 runs several times faster this way than in eager PyTorch, and a
cached network needs no torch, whose import alone takes seconds.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geosearch.atomic_files import replacing
from geosearch.errors import InputError, ModelError
from geosearch.features.description import Description, file_sha256
from geosearch.settings import CacheSettings
from geosearch.waiting import announced

if TYPE_CHECKING:
    from torch import nn

    from geosearch.features.networks import EmbeddingNetwork

logger = logging.getLogger(__name__)

#: Largest cosine distance between embeddings of the exported network and of eager PyTorch.
TOLERANCE = 1e-4

#: Networks that a wheel carries, so that whoever installs it needs no PyTorch.
CARRIED = Path(__file__).with_name("exported")

# Goes up when the export below changes, so that files of older versions are not used.
_EXPORT_VERSION = 2


class OnnxNetwork:
    """A network in ONNX Runtime, on the CPU.

    One call uses one core; callers run calls in parallel. Measured, that wastes no time waiting
    between the threads of one layer, and an embedding does not depend on how many run at once.
    """

    device = "cpu"

    def __init__(self, model: bytes | Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=["CPUExecutionProvider"],
        )

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, D) of pixels (n, height, width, 3)."""
        (embeddings,) = self._session.run(None, {"pixels": pixels})
        result: NDArray[np.float32] = embeddings
        return result


def onnx_network(
    description: Description, build: Callable[[], EmbeddingNetwork]
) -> OnnxNetwork | None:
    """The network from the cache, or built, exported, checked against PyTorch and cached.

    None where it cannot be exported, or embeds differently from PyTorch; the log says so.
    """
    for path in cached_files(description):
        try:
            if file_sha256(path) != path.stem.rpartition("-")[2]:
                raise ModelError("it is not what was written")
            return OnnxNetwork(path)
        except Exception as error:  # ONNX Runtime raises its own types for a broken file
            logger.warning("%s cannot be used and is made again: %s", path, error)
            with suppress(OSError):
                path.unlink()
    with announced(f"preparing {description.name} for this processor"):
        return _export(description, build())


def cached_files(description: Description) -> list[Path]:
    """The files that hold the exported network of a description, each named by its sha256.

    None, or that of the wheel, and one of the cache. Two processes may have made one each there:
    exports differ in their bytes.
    """
    name = f"{_key(description)}-*.onnx"
    return [file for folder in (CARRIED, _folder()) for file in sorted(folder.glob(name))]


def _folder() -> Path:
    return CacheSettings().folder() / "networks"


def _key(description: Description) -> str:
    # Not the versions of PyTorch and its exporter, without which a file that is there is used.
    text = f"{replace(description, views=1).fingerprint}|{_EXPORT_VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _export(description: Description, network: EmbeddingNetwork) -> OnnxNetwork | None:
    try:
        model = to_onnx(network, description.preprocessing.crop)
        exported = OnnxNetwork(model)
        difference = _difference(exported, network, description.preprocessing.crop)
    except Exception as error:  # the exporter fails in many ways; PyTorch can always run it
        logger.warning("%s cannot be exported to ONNX (%s)", description.name, error)
        return None
    if not difference <= TOLERANCE:
        logger.warning(
            "%s exported to ONNX differs from PyTorch by %.2g", description.name, difference
        )
        return None
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        sha256 = hashlib.sha256(model).hexdigest()
        with replacing(_folder() / f"{_key(description)}-{sha256}.onnx") as part:
            part.write_bytes(model)
    except (OSError, InputError) as error:
        logger.warning("the exported network cannot be cached: %s", error)
    return exported


def to_onnx(network: nn.Module, side: int) -> bytes:
    """A network of pixels (n, side, side, 3) as an ONNX model, for batches of any size."""
    import torch

    pixels = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    with TemporaryDirectory() as folder, warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        target = Path(folder, "network.onnx")
        torch.onnx.export(
            network,
            (pixels,),
            target,
            dynamo=True,
            input_names=["pixels"],
            output_names=["embeddings"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
        return target.read_bytes()


def _difference(exported: OnnxNetwork, network: EmbeddingNetwork, side: int) -> float:
    """Largest cosine distance between the two on three test patterns."""
    import torch

    rows, columns = np.mgrid[0:side, 0:side]
    pixels = np.stack(
        [
            np.stack([rows * a % 256, columns * b % 256, (rows + columns) * c % 256], axis=-1)
            for a, b, c in ((1, 1, 1), (7, 3, 5), (31, 17, 83))
        ]
    ).astype(np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)).numpy()
    return float((1 - (exported(pixels) * expected).sum(axis=1)).max())
