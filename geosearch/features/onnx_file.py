"""`onnx:FILE[+POOLING][+sideN]`: a network in a file, run by ONNX Runtime on the processor."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.errors import InputError, ModelError
from geosearch.features.description import (
    GEM_EXPONENT,
    Description,
    Network,
    Source,
    check_pooling,
    file_sha256,
    joined_sha256,
    weights_file,
)
from geosearch.features.hugging_face import preprocessing_of
from geosearch.features.onnx import OnnxNetwork
from geosearch.features.preprocessing import Preprocessing
from geosearch.features.unit_vectors import normalised
from geosearch.storage import regular

_SPEC = re.compile(r"(?P<file>.+?)(\+(?P<pooling>[a-z]+))?(\+side(?P<side>\d+))?")
#: Outputs that are taken before others.
_WANTED = ("image_embeds", "embeddings", "pooler_output")
#: The types of pictures that are given to a network.
_TYPES = {1: np.float32, 2: np.uint8, 10: np.float16}


@dataclass(frozen=True)
class _Ends:
    """What goes into a network and comes out: names, type, and the batch, None where any."""

    taken: str
    type: Any
    batch: int | None
    side: int | None
    given: str


class OnnxFile(OnnxNetwork):
    """A network out of a file: scaled pixels in, features out, which are pooled here."""

    def __init__(self, path: Path, ends: _Ends, preprocessing: Preprocessing, pooling: str) -> None:
        super().__init__(path)
        self._ends, self._pooling = ends, pooling
        self._mean = np.array(preprocessing.mean, np.float32)
        self._std = np.array(preprocessing.std, np.float32)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, D) of pixels (n, height, width, 3)."""
        return normalised(pooled(self.features(pixels), self._pooling))

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network gives of pixels (n, height, width, 3)."""
        batch: NDArray[Any] = pixels
        if self._ends.type is not np.uint8:
            scaled = (pixels - self._mean) / self._std
            batch = scaled.transpose(0, 3, 1, 2).astype(self._ends.type)
        count, size = len(batch), self._ends.batch or len(batch)
        if count % size:  # it takes no fewer: the last picture stands for those that are missing
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - count % size, axis=0)])
        every = [
            self._session.run([self._ends.given], {self._ends.taken: batch[at : at + size]})[0]
            for at in range(0, count, size)
        ]
        return np.concatenate(every)[:count].astype(np.float32)


def source(spec: str) -> Source:
    """Resolve a spec. `preprocessor_config.json`, in the file's folder or the one above, says how
    pictures are prepared, as with transformers; without one, by ImageNet's mean and deviation.

    Raises
    ------
    ModelError
        The file is missing or no network of one picture to features; its side is not known; its
        weights lie outside its folder.
    """
    match = _SPEC.fullmatch(spec)
    path = weights_file(match["file"] if match else spec, "onnx:FILE")
    assert match is not None  # of any text but none, which is no file
    model, outside = _read(path)
    ends = _ends(path, model)
    side = int(match["side"]) if match["side"] else None
    preprocessing = _preprocessing(path, side or ends.side)
    for asked in (ends.side, side):
        if asked not in (None, preprocessing.crop):
            raise ModelError(
                f"{path}: pictures of {asked} pixels are asked for, and of {preprocessing.crop}",
                "Leave out +side, or correct preprocessor_config.json beside it.",
            )
    shape = (ends.batch or 1, preprocessing.crop, preprocessing.crop, 3)
    try:
        probe = OnnxFile(path, ends, preprocessing, "own")
        features = probe.features(np.zeros(shape, np.uint8))
        known = {2: ("own",), 3: ("token", "avg", "max", "gem"), 4: ("avg", "max", "gem")}
        pooling = check_pooling(f"onnx:{path.name}", match["pooling"], known[features.ndim])
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime raises its own types
        raise ModelError(
            f"{path} gives no features for pictures of {preprocessing.crop} pixels: {error}",
            "Give the side that it takes, as +side322.",
        ) from error
    files = (path, *outside)
    stated = {each.key.lower(): each.value for each in model.metadata_props}
    ending = f"+{pooling}" * bool(match["pooling"]) + f"+side{side}" * bool(side)
    description = Description(
        name=f"onnx:{path}{ending}",
        architecture=f"onnx, output {ends.given}",
        weights_source=f"file {', '.join(each.name for each in files)}",
        weights_sha256=joined_sha256([file_sha256(each) for each in files]),
        preprocessing=preprocessing,
        pooling=pooling,
        dimension=pooled(features, pooling).shape[1],
        licence=stated.get("license") or stated.get("licence"),
    )

    def network(device: str) -> Network:
        if device != "cpu":
            raise InputError(f"`device`: onnx: models run on the processor, not on {device}")
        return OnnxFile(path, ends, preprocessing, pooling)

    return Source(description, network=network)


def _read(path: Path) -> tuple[Any, list[Path]]:
    """The model without its weights, and the files beside it that hold them."""
    import onnx
    from onnx.external_data_helper import (
        ExternalDataInfo,
        _get_all_tensors,
        uses_external_data,
    )

    try:
        model = onnx.load(str(path), load_external_data=False)
        named = {
            ExternalDataInfo(tensor).location
            for tensor in _get_all_tensors(model)
            if uses_external_data(tensor)
        }
    except Exception as error:  # protobuf raises its own types
        raise ModelError(f"{path} is no ONNX file: {error}", "Give onnx:FILE") from error
    return model, [_beside(path, name) for name in sorted(named)]


def _beside(path: Path, name: str) -> Path:
    """A file of weights that a model names, which must lie in the model's own folder."""
    beside = path.parent / name
    try:
        regular(beside)
        real = beside.resolve()
        # Hugging Face's cache has links in the folder of a model, to files that lie together.
        places = path.parent.resolve(), path.resolve().parent
        inside = any(map(real.is_relative_to, places)) and ".." not in Path(name).parts
    except OSError as error:
        raise ModelError(f"{path}: its weights are in {name}: {error.strerror}") from error
    if not inside:
        raise ModelError(
            f"{path}: its weights are in {name}, outside its folder", "Files from strangers do that"
        )
    return beside


def _ends(path: Path, model: Any) -> _Ends:
    graph = model.graph
    weights = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    outputs = [each.name for each in graph.output]
    kind = inputs[0].type.tensor_type if len(inputs) == 1 else None
    if kind is None or kind.elem_type not in _TYPES or len(kind.shape.dim) != 4 or not outputs:
        raise ModelError(
            f"{path} is no network of one picture: it takes {[each.name for each in inputs]}",
            "Pictures are float (n, 3, side, side), or uint8 (n, side, side, 3).",
        )
    batch, *sides = (int(each.dim_value) or None for each in kind.shape.dim)
    dtype = _TYPES[kind.elem_type]
    side = sides[0] if dtype is np.uint8 else sides[1]
    given = next((name for name in _WANTED if name in outputs), outputs[0])
    return _Ends(inputs[0].name, dtype, batch, side, given)


def _preprocessing(path: Path, side: int | None) -> Preprocessing:
    for folder in (path.parent, path.parent.parent):
        said = folder / "preprocessor_config.json"
        if said.is_file():
            try:
                return preprocessing_of(json.loads(said.read_text(encoding="utf-8")), side)
            except ValueError as error:
                raise ModelError(f"{said} cannot be read: {error}") from error
    if side is None:
        raise ModelError(f"{path} does not say which side its pictures have", "Add +side224.")
    return preprocessing_of({"size": {"shortest_edge": side}})


def pooled(features: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """Pool tokens (n, count, D), or a map (n, D, height, width), to (n, D), as `networks.pool`."""
    if pooling == "own":
        return features
    if pooling == "token":
        return features[:, 0]
    axis = 1 if features.ndim == 3 else (2, 3)
    result: NDArray[np.float32]
    if pooling == "max":
        result = features.max(axis)
    elif pooling == "avg":
        result = features.mean(axis)
    else:
        powers = np.maximum(features, 1e-6) ** GEM_EXPONENT
        result = powers.mean(axis) ** (1 / GEM_EXPONENT)
    return result
