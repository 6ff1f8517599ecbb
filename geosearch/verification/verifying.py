"""The nearest neighbours of a query, compared with it picture by picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from geosearch.database.connection import Database
from geosearch.errors import PhotoRejected
from geosearch.parallel import ordered_map, processors
from geosearch.query import Query
from geosearch.retrieval.duplicates import Found
from geosearch.retrieval.neighbours import NOT_COMPARED, Verification
from geosearch.storage import read_ingested
from geosearch.verification.local_features import (
    LocalFeatures,
    inliers,
    local_features,
    opencv,
)


def require_opencv(n: int) -> None:
    """See before any work that `n` neighbours can be verified.

    Raises
    ------
    MissingExtraError
        `n` is not 0, and OpenCV is not installed.
    """
    if n:
        opencv()


def verified(database: Database, found: Found, query: Query, n: int) -> Found:
    """The neighbours, the first `n` of them verified and all of them ranked anew.

    Files are read by their uris in the database, which come from whoever ingested them, and used
    only if their bytes are those that were ingested. A file that cannot be read or is another by
    now leaves its neighbour as it is, and is counted.
    """
    if not n:
        return found
    started = time.perf_counter()
    neighbours = found.neighbours
    inliers_of = np.full(len(neighbours), NOT_COMPARED)
    own = _features(query.read or partial(read_ingested, query.uri, query.sha256))
    if own is not None:
        ids = [int(key) for key in neighbours.photo_id[:n]]
        with database.connection() as connection:
            rows = connection.execute(
                "SELECT id, sha256 FROM geosearch.photos WHERE id = ANY(%s)", (ids,)
            ).fetchall()
        digests = {key: bytes(sha256) for key, sha256 in rows}

        def compare(rank: int) -> int:
            # A photo that was deleted in between has no bytes that would do.
            digest = digests.get(ids[rank], b"")
            theirs = _features(partial(read_ingested, neighbours.uri[rank], digest))
            return NOT_COMPARED if theirs is None else inliers(own, theirs)

        inliers_of[: len(ids)] = list(ordered_map(compare, range(len(ids)), processors()))
    compared = int(np.sum(inliers_of != NOT_COMPARED))
    made = Verification(
        alike=int(np.sum(inliers_of > 0)),
        compared=compared,
        unreadable=0 if own is None else min(n, len(neighbours)) - compared,
        seconds=round(time.perf_counter() - started, 3),
        query_read=own is not None,
    )
    return replace(found, neighbours=neighbours.verified(inliers_of, made))


def _features(read: Callable[[], bytes]) -> LocalFeatures | None:
    """The features of the picture with these bytes; None if it cannot be read."""
    try:
        return local_features(read())
    except PhotoRejected:
        return None
