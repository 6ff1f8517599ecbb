"""A query: one photo whose place is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A photo with its embedding: what searches, answers and evaluations are asked about.

    `sha256` is of its bytes, or of what `geosearch.features.given_queries` says, and `embedding` a
    unit vector (D,). `author` and `taken_at` are its own where they are known. `ms` are the
    milliseconds that its features took. `low_information` says why the picture can hardly tell a
    place, if so (`geosearch.features.low_information`). `picture` is a small WebP of it, where one
    is to be kept with the answer. `read` gives the bytes of what cannot be read by its `uri`.
    """

    uri: str
    sha256: bytes
    embedding: NDArray[np.float32] = field(repr=False)
    author: str | None = None
    taken_at: datetime | None = None
    ms: float = 0.0
    low_information: str | None = None
    picture: bytes | None = field(default=None, repr=False)
    read: Callable[[], bytes] | None = None
