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
    from geosearch.retrieval import Filter

_HOMES = {
    "Geosearch": "geosearch.client",
    "connect": "geosearch.client",
    "GeosearchError": "geosearch.errors",
    "PhotoRejected": "geosearch.errors",
    "Failure": "geosearch.localization",
    "Localization": "geosearch.localization",
    "Parameters": "geosearch.localization",
    "Filter": "geosearch.retrieval",
}

__all__ = [
    "Failure",
    "Filter",
    "Geosearch",
    "GeosearchError",
    "Localization",
    "Parameters",
    "PhotoRejected",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> Any:
    # On demand: `import geosearch.errors` must not load NumPy, SciPy and a network runtime.
    if name not in _HOMES:
        raise AttributeError(f"module 'geosearch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
