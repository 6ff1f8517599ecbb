"""What each kind of spec resolves to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geosearch.features.description import Description

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Source:
    """A backbone's description, and how to get its weights (only where a network is built)."""

    description: Description
    load_weights: Callable[[], Mapping[str, Tensor]]
