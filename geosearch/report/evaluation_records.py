"""Evaluations read back from the database: what was asked, and the answers as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.database.connection import Connection
from geosearch.errors import InputError, NotFoundError
from geosearch.json_record import Record
from geosearch.sphere import Array
from geosearch.thresholds import WORLD_KM, whole_if_even
from geosearch.words import threshold


@dataclass(frozen=True)
class Evaluated(Record, id="evaluation_id", model_id=""):
    """One evaluation: what was asked, and the figures stored when it ended.

    `excluded` counts the references left out of the searches, by reason; `calibration` says what
    the one used was fitted to, and `flagged` counts the answers that warn, by flag: both are None
    of an evaluation without answers. `n` and what follows are None while it runs, or if it was
    killed.
    """

    id: int
    queries: str
    model_id: int | None
    model: str
    method: str
    parameters: Mapping[str, Any]
    filter: Mapping[str, Any]
    n: int | None
    failed: int | None
    unanswered: int | None
    accuracy: Mapping[str, float] | None
    median_km: float | None
    mean_km: float | None
    sweep_id: int | None
    excluded: Mapping[str, int] | None
    calibration: str | None
    flagged: Mapping[str, int] | None
    created_at: datetime

    @property
    def within_km(self) -> tuple[float, ...]:
        """The distances of its figures, kilometres; the field's if it has none."""
        return tuple(sorted(whole_if_even(float(km)) for km in self.accuracy or WORLD_KM))

    @property
    def title(self) -> str:
        """Method and what sets it apart: `density, k 100, 200 km, power:10`."""
        parts = [self.method]
        if self.parameters.get("k"):  # 0 for a method that needs no neighbours
            parts.append(f"k {self.parameters['k']}")
        if self.parameters.get("bandwidth_km") is not None:
            parts.append(threshold(self.parameters["bandwidth_km"]))
        if self.parameters.get("weighting"):
            parts.append(str(self.parameters["weighting"]))
        if self.parameters.get("restrict_cells"):
            parts.append(f"in cells of {self.parameters['restrict_cells']:g}")
        return ", ".join(parts)

    @property
    def name(self) -> str:
        """Its id and what sets it apart: `7: density, k 100`."""
        return f"{self.id}: {self.title}"


@dataclass(frozen=True)
class Answers:
    """The answers of an evaluation in the order of their ids; every array has one entry each.

    Positions are in degrees, NaN where there is none. `error_km` is infinite without an estimate.
    `agreement`, `truth_level` and the `probability` of an error of at most so many kilometres are
    NaN where the answer has none; `confident` is 1, 0, or NaN. `area_km2` is that of the smallest
    region which holds the truth, infinite without an estimate, NaN if it was not stored.
    `kind_above_km` and `calibration_fits` are those of `Localization`, NaN and None without.
    """

    localization_id: NDArray[np.int64]
    photo: tuple[str, ...]
    sha256: tuple[bytes, ...]
    lat: Array
    lon: Array
    true_lat: Array
    true_lon: Array
    error_km: Array
    area_km2: Array
    agreement: Array
    truth_level: Array
    confident: Array
    probability: Mapping[float, Array]
    calibration_fits: tuple[str | None, ...]
    kind_above_km: Array

    def __len__(self) -> int:
        return len(self.photo)


_EVALUATIONS = """
SELECT id, queries, model_id, model, method, parameters, filter, n, failed, unanswered, accuracy,
    median_km, mean_km, sweep_id, excluded, calibration, flagged, created_at
FROM geosearch.evaluations
"""

_ANSWERS = """
SELECT id, photo_uri, photo_sha256, ST_Y(estimate), ST_X(estimate), ST_Y(truth), ST_X(truth),
    error_km, agreement, truth_level, confident, probability_within_km,
    calibration_fits, kind_above_km
FROM geosearch.localizations
WHERE evaluation_id = %s AND truth IS NOT NULL
ORDER BY id
"""

_MISSES = "SELECT errors_km, areas_km2 FROM geosearch.evaluations WHERE id = %s"


def list_evaluations(connection: Connection, *, last: int | None = None) -> list[Evaluated]:
    """All evaluations, or the `last` so many, latest first."""
    rows = connection.execute(_EVALUATIONS + "ORDER BY id DESC LIMIT %s", (last,)).fetchall()
    return [Evaluated(*row) for row in rows]


def read_evaluation(connection: Connection, key: int) -> Evaluated:
    """One evaluation by its id.

    Raises
    ------
    NotFoundError
        There is none.
    """
    row = connection.execute(_EVALUATIONS + "WHERE id = %s", (key,)).fetchone()
    if row is None:
        raise NotFoundError(
            f"there is no evaluation {key}", "geosearch evaluations list shows all there are."
        )
    return Evaluated(*row)


def read_answers(connection: Connection, evaluation: Evaluated) -> Answers:
    """The answers of an evaluation.

    Of a sweep only one evaluation has its answers stored; of the others there are the errors and
    areas, for the same queries: their positions, agreements and probabilities are NaN.

    Raises
    ------
    InputError
        The evaluation has no answers: none of its queries could be used, or it was killed before
        the first.
    """
    rows = connection.execute(_ANSWERS, (evaluation.id,)).fetchall()
    errors_km, areas_km2 = connection.execute(_MISSES, (evaluation.id,)).fetchone() or (None, None)
    if rows:
        return _answers(rows, evaluation.within_km, [row[7] for row in rows], areas_km2)
    if evaluation.sweep_id is not None:
        rows = connection.execute(_ANSWERS, (evaluation.sweep_id,)).fetchall()
        if rows and errors_km is not None:
            bare = [(*row[:3], None, None, *row[5:7], *[None] * 7) for row in rows]
            return _answers(bare, evaluation.within_km, errors_km, areas_km2)
    raise InputError(
        f"evaluation {evaluation.id} has no answers",
        "It was stopped: run geosearch evaluate again."
        if evaluation.n is None
        else "None of its queries could be used: the table evaluation_failures says why.",
    )


def _answers(
    rows: Sequence[tuple[Any, ...]],
    within_km: Sequence[float],
    errors_km: Sequence[float | None],
    areas_km2: Sequence[float] | None,
) -> Answers:
    columns = list(zip(*rows, strict=True))
    probabilities = [row or {} for row in columns[11]]
    named = {whole_if_even(float(name)) for row in probabilities for name in row}
    return Answers(
        localization_id=np.array(columns[0], dtype=np.int64),
        photo=columns[1],
        sha256=tuple(bytes(digest) for digest in columns[2]),
        lat=_floats(columns[3]),
        lon=_floats(columns[4]),
        true_lat=_floats(columns[5]),
        true_lon=_floats(columns[6]),
        error_km=np.array([np.inf if error is None else error for error in errors_km], dtype=float),
        area_km2=_floats(areas_km2 or [None] * len(rows)),
        agreement=_floats(columns[8]),
        truth_level=_floats(columns[9]),
        confident=_floats(columns[10]),
        probability={
            km: _floats([row.get(str(km)) for row in probabilities])
            for km in sorted(named.union(within_km))
        },
        calibration_fits=columns[12],
        kind_above_km=_floats(columns[13]),
    )


def _floats(values: Sequence[Any]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
