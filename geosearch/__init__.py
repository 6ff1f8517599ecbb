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
    from geosearch.audit.audit_rows import Doubt
    from geosearch.audit.photo_copies import Duplicate
    from geosearch.calibration import Calibration
    from geosearch.client import Geosearch, LocalizeOptions, connect
    from geosearch.deletion.deleted import Deleted
    from geosearch.deletion.photo_moves import Moved
    from geosearch.deletion.run_undo import Undone
    from geosearch.density import Mode, Place, Region
    from geosearch.errors import (
        DatabaseError,
        GeosearchError,
        InputError,
        MissingExtraError,
        MissingFileError,
        ModelError,
        NotAllowedError,
        NotFoundError,
        PhotoRejected,
        Reason,
        RefusedError,
        UnreachableError,
    )
    from geosearch.evaluation import Evaluation, QuerySet
    from geosearch.evaluation.calibrating import Checked
    from geosearch.features import Backbone, EmbedSummary
    from geosearch.features.embedding_export import Exported
    from geosearch.features.embedding_import import Imported
    from geosearch.features.place_gallery import Gallery
    from geosearch.features.whitening import Whitened
    from geosearch.ingest import IngestSummary
    from geosearch.localization import Failure, Localization, Parameters, Reproduction, Request
    from geosearch.localization.reviews import Accepted, Review, TakenBack
    from geosearch.notebook.answer_stream import Answers
    from geosearch.notebook.frames import Records
    from geosearch.query import Query
    from geosearch.retrieval import Neighbours, Plan
    from geosearch.retrieval.duplicates import Exclusions
    from geosearch.retrieval.filters import (
        EVERYTHING,
        AccurateTo,
        BoundingBox,
        ByAuthors,
        Conditions,
        Country,
        Filter,
        HasLicence,
        IncludeEstimated,
        InCollections,
        Near,
        SameBytes,
        TakenAfter,
        TakenBefore,
        Within,
        where,
    )
    from geosearch.retrieval.indexing import Indexed
    from geosearch.retrieval.photo_list import StoredPhoto
    from geosearch.write_back.write_back_run import WrittenBack

#: Where the names below are from, what loads fastest first.
_HOMES = ("errors", "query", "retrieval.filters", "density", "retrieval", "localization", "client")

__all__ = [
    "EVERYTHING",
    "Accepted",
    "AccurateTo",
    "Answers",
    "Backbone",
    "BoundingBox",
    "ByAuthors",
    "Calibration",
    "Checked",
    "Conditions",
    "Country",
    "DatabaseError",
    "Deleted",
    "Doubt",
    "Duplicate",
    "EmbedSummary",
    "Evaluation",
    "Exclusions",
    "Exported",
    "Failure",
    "Filter",
    "Gallery",
    "Geosearch",
    "GeosearchError",
    "HasLicence",
    "Imported",
    "InCollections",
    "IncludeEstimated",
    "Indexed",
    "IngestSummary",
    "InputError",
    "Localization",
    "LocalizeOptions",
    "MissingExtraError",
    "MissingFileError",
    "Mode",
    "ModelError",
    "Moved",
    "Near",
    "Neighbours",
    "NotAllowedError",
    "NotFoundError",
    "Parameters",
    "PhotoRejected",
    "Place",
    "Plan",
    "Query",
    "QuerySet",
    "Reason",
    "Records",
    "RefusedError",
    "Region",
    "Reproduction",
    "Request",
    "Review",
    "SameBytes",
    "StoredPhoto",
    "TakenAfter",
    "TakenBack",
    "TakenBefore",
    "Undone",
    "UnreachableError",
    "Whitened",
    "Within",
    "WrittenBack",
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


def __dir__() -> list[str]:
    return __all__
