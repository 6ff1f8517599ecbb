"""Evaluations and answers that tests put straight into the database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from psycopg.types.json import Jsonb

from geosearch.database.connection import Database
from geosearch.density import Place
from geosearch.localization import Localization
from geosearch.sphere import destination, great_circle_km
from tests.answers import unanswered


def add_evaluation(database: Database, model_id: int | None = None, **columns: Any) -> int:
    """An evaluation row as it is before its answers, and with `columns`."""
    given = {
        "queries": "/data/queries.csv",
        "model_id": model_id,
        "model": "test/model",
        "method": "density",
        "parameters": Jsonb({"method": "density", "k": 100, "bandwidth_km": 200.0}),
        "filter": Jsonb({}),
        "software": Jsonb({}),
    } | columns
    names = ", ".join(given)
    places = ", ".join(f"%({name})s" for name in given)
    with database.connection() as connection:
        row = connection.execute(
            f"INSERT INTO geosearch.evaluations ({names}) VALUES ({places}) RETURNING id",  # noqa: S608
            given,
        ).fetchone()
    assert row is not None
    return int(row[0])


def answer(photo: str, truth: tuple[float, float], error_km: float, bearing: float) -> Localization:
    """An answer so far from the truth."""
    lat, lon = destination(*truth, bearing, error_km)
    place = Place(float(lat), float(lon), 0.5, {}, (), np.zeros(0), {})
    found = replace(unanswered(photo), truth=truth, place=place)
    return replace(found, error_km=float(great_circle_km(lat, lon, *truth)))
