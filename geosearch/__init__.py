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

_HOMES = {
    "Geosearch": "geosearch.client",
    "connect": "geosearch.client",
    "GeosearchError": "geosearch.errors",
    "PhotoRejected": "geosearch.errors",
    "Failure": "geosearch.localization",
    "Localization": "geosearch.localization",
    "Parameters": "geosearch.localization",
    "EVERYTHING": "geosearch.retrieval.filters",
    "AccurateTo": "geosearch.retrieval.filters",
    "BoundingBox": "geosearch.retrieval.filters",
    "ByAuthors": "geosearch.retrieval.filters",
    "Country": "geosearch.retrieval.filters",
    "Filter": "geosearch.retrieval.filters",
    "HasLicence": "geosearch.retrieval.filters",
    "InCollections": "geosearch.retrieval.filters",
    "Near": "geosearch.retrieval.filters",
    "SameBytes": "geosearch.retrieval.filters",
    "TakenAfter": "geosearch.retrieval.filters",
    "TakenBefore": "geosearch.retrieval.filters",
    "Within": "geosearch.retrieval.filters",
    "where": "geosearch.retrieval.filters",
}

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
    if name not in _HOMES:
        raise AttributeError(f"module 'geosearch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
