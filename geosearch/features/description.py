"""What exactly a backbone is: all that shapes its embeddings, and a fingerprint of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import at_home
from geosearch.errors import ModelError
from geosearch.features.preprocessing import Preprocessing
from geosearch.storage import regular

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Exponent of generalised-mean pooling.
GEM_EXPONENT = 3.0
#: Numbers of an embedding, at most: what pgvector keeps.
LONGEST = 16_000


@dataclass(frozen=True)
class Description:
    """Provenance of a backbone; one row of `models`.

    `name` is the spec it was asked for by, `weights_source` where the weights came from, `pooling`
    how a feature map is pooled (`avg`, `max`, `gem`), or `token`, a transformer's class token, or
    `own`, what a network of another library gives for a photo by itself, `dimension` the length of
    an embedding, `licence` that of the weights (None: not stated), `views` how many views of a
    photo an embedding is the mean of, one of `VIEWS`, and `whitening_sha256` that of the whitening
    (hex) embeddings pass through, None without one.
    """

    name: str
    architecture: str
    weights_source: str
    weights_sha256: str
    preprocessing: Preprocessing
    pooling: str
    dimension: int
    licence: str | None
    views: int = 1
    whitening_sha256: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """sha256, hex, over all that shapes embeddings: equal fingerprints, equal embeddings."""
        shaping = {
            "architecture": self.architecture,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing.to_json(),
            "pooling": self.pooling,
            "dimension": self.dimension,
            "views": self.views,
            "whitening_sha256": self.whitening_sha256,
        }
        canonical = json.dumps(shaping, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class Network(Protocol):
    """Something that embeds batches on a device; safe to call from several threads."""

    device: str

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, D), float32, of length 1, of pixels (n, height, width, 3), uint8 RGB."""


@dataclass(frozen=True)
class Source:
    """What a spec resolves to: a description, and how to get its network: by one of three.

    `load_weights` gives the state dict of an architecture of `geosearch.features.networks`;
    `load_trunk` another library's network in PyTorch, ready for inference on the CPU, of scaled
    images (n, 3, side, side), that gives a feature map (n, D, height, width), or (n, D) where the
    pooling is `token` or `own`; `network` something else that embeds on a device. `load_words`
    gives, where the model has one, what embeds a text (D) in the same space. Any may raise
    `ModelError`. `rests_on` are the files and folders by which the description can be known again
    (`geosearch.features.remembered_models`), if it can.
    """

    description: Description
    load_weights: Callable[[], Mapping[str, Tensor]] | None = None
    load_trunk: Callable[[], nn.Module] | None = None
    network: Callable[[str], Network] | None = None
    load_words: Callable[[], Callable[[str], NDArray[np.float32]]] | None = None
    rests_on: tuple[Path, ...] = ()

    def weights(self) -> Mapping[str, Tensor]:
        """What `load_weights` gives.

        Raises
        ------
        ModelError
            It is not a network of geosearch's own, which alone can be trained.
        """
        if self.load_weights is None:
            raise ModelError(
                f"{self.description.name} is another library's network, which is not trained here",
                "Train one that begins with packaged/, torchvision/ or file:",
            )
        return self.load_weights()


def check_pooling(name: str, pooling: str | None, known: Sequence[str]) -> str:
    """The pooling asked for of a model, by default the first there is. Raises `ModelError`."""
    if pooling is not None and pooling not in known:
        raise ModelError(f"{name} has no pooling {pooling!r}", f"It has: {', '.join(known)}")
    return pooling or known[0]


def weights_file(text: str, spec: str) -> Path:
    """The path of a file that a spec, written as `spec` says, names. Raises `ModelError`."""
    path = _from_root(text)
    try:
        return regular(path)
    except OSError as error:
        raise ModelError(
            f"{path}: there is no such checkpoint: {error.strerror}", f"Give {spec}"
        ) from error


def full_name(spec: str) -> str:
    """A spec as its model is named, which is by the whole path of a file."""
    kind, _, rest = spec.partition(":")
    return f"{kind}:{_from_root(rest)}" if rest and kind in ("file", "onnx") else spec


def _from_root(path: str) -> Path:
    # Not where links lead: what lies beside it may be named by where it is.
    return Path(os.path.abspath(at_home(Path(path))))  # noqa: PTH100 - Path's own keeps `..`


def file_sha256(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def joined_sha256(each: Sequence[str]) -> str:
    """Of files by theirs: that of the one file, or over those of several, one after the other."""
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()
