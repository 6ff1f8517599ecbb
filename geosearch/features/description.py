"""What exactly a backbone is: all that shapes its embeddings, and a fingerprint of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from geosearch.features.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor

#: `avg`, `max` and `gem` pool a feature map; `token` is a transformer's class token.
POOLINGS = ("avg", "max", "gem", "token")


@dataclass(frozen=True)
class Description:
    """Provenance of a backbone; one row of `models`.

    `name` is the spec it was asked for by, `weights_source` where the weights came from,
    `dimension` the length of an embedding, `licence` that of the weights (None: not stated),
    `views` how many views of a photo an embedding is the mean of, one of `VIEWS`, and
    `whitening_sha256` that of the whitening (hex) embeddings pass through, None without one.
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


@dataclass(frozen=True)
class Source:
    """What a spec resolves to: a description, and how to get the weights of a network."""

    description: Description
    load_weights: Callable[[], Mapping[str, Tensor]]


def file_sha256(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
