"""Answers made from given neighbours, without photos or a model."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from geosearch.density import locate
from geosearch.localization import Localization, Parameters
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, Neighbours, Plan
from geosearch.sphere import great_circle_km


def make_answer(
    lat: ArrayLike,
    lon: ArrayLike,
    *,
    photo: str = "/photos/query.jpg",
    truth: tuple[float, float] | None = None,
    method: str = "density",
    bandwidth_km: float = 200.0,
) -> Localization:
    """The answer that neighbours at these positions, in order of rank, lead to."""
    lat, lon = np.atleast_1d(np.asarray(lat, float)), np.atleast_1d(np.asarray(lon, float))
    distance = np.linspace(0.2, 0.4, len(lat))
    place = locate(lat, lon, distance, method=method, bandwidth_km=bandwidth_km)
    answer = replace(
        unanswered(photo),
        parameters=Parameters(method, len(lat), bandwidth_km, "power:10", True),
        neighbours=Neighbours(
            photo_id=np.arange(1, len(lat) + 1),
            uri=tuple(f"/photos/{index}.jpg" for index in range(len(lat))),
            lat=lat,
            lon=lon,
            distance=distance,
            plan=Plan("exact", "for a test", len(lat), len(lat), True, 1.0),
        ),
        place=place,
    )
    if truth is None:
        return answer
    error_km = float(great_circle_km(place.lat, place.lon, *truth))
    return replace(answer, truth=truth, error_km=error_km)


def unanswered(photo: str = "/photos/query.jpg") -> Localization:
    """The answer when no reference passed the filter."""
    nothing = np.zeros(0)
    return Localization(
        query=Query(
            photo, hashlib.sha256(photo.encode()).digest(), np.array([1.0, 0.0], np.float32)
        ),
        model_id=None,
        model={"name": "test/model", "fingerprint": "none"},
        parameters=Parameters(),
        where=EVERYTHING,
        neighbours=Neighbours(
            nothing.astype(np.int64),
            (),
            nothing,
            nothing,
            nothing,
            Plan("empty", "", 0, 0, True, 1.0),
        ),
        place=None,
        elapsed_ms={"total": 1.0},
        software={},
    )
