"""geosearch: find where a photo was taken.

import geosearch

with geosearch.connect() as gs:
    gs.ingest("photos/", collection="mine")
    gs.embed()
    answer = gs.localize("query.jpg")
    print(answer.lat, answer.lon, answer.radius_km[0.9])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from geosearch.client import Geosearch, connect
    from geosearch.errors import GeosearchError, PhotoRejected
    from geosearch.localization import Failure, Localization, Parameters
    from geosearch.retrieval.filters import (
        EVERYTHING,
        AccurateTo,
        BoundingBox,
        ByAuthors,
        Country,
        Filter,
        HasLicence,
        InCollections,
        Near,
        SameBytes,
        TakenAfter,
        TakenBefore,
        Within,
        where,
    )

#: Where the names below are from, what loads fastest first.
_HOMES = ("errors", "retrieval.filters", "localization", "client")

__all__ = [
    "EVERYTHING",
    "AccurateTo",
    "BoundingBox",
    "ByAuthors",
    "Country",
    "Failure",
    "Filter",
    "Geosearch",
    "GeosearchError",
    "HasLicence",
    "InCollections",
    "Localization",
    "Near",
    "Parameters",
    "PhotoRejected",
    "SameBytes",
    "TakenAfter",
    "TakenBefore",
    "Within",
    "__version__",
    "connect",
    "where",
]


def __getattr__(name: str) -> Any:
    # On demand: `import geosearch.errors` must not load NumPy, SciPy and a network runtime.
    homes = (import_module(f"geosearch.{home}") for home in _HOMES if name in __all__)
    for home in homes:
        if hasattr(home, name):
            return getattr(home, name)
    raise AttributeError(f"module 'geosearch' has no attribute {name!r}")
