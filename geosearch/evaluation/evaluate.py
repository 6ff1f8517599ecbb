"""Localize labelled queries, compare with the truth, and keep every answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from psycopg.types.json import Jsonb

from geosearch.database.connection import Connection, Database
from geosearch.errors import InputError, Reason
from geosearch.evaluation.answers import answers
from geosearch.evaluation.metrics import Accuracy, accuracy
from geosearch.features import DEFAULT_MODEL, Backbone, load_backbone
from geosearch.features.models import Model, require_model
from geosearch.ingest.manifests import read_manifest
from geosearch.ingest.records import Rejection
from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.store import save
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.duplicates import Exclusions
from geosearch.sphere import great_circle_km
from geosearch.storage import resolve
from geosearch.versions import software_versions

#: Answers written in one transaction.
_BATCH = 64


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    `accuracy` is over the queries that could be read; one without neighbours counts as a miss.
    `failed` queries could not be used (unreadable, or no truth in the manifest): they are listed
    in the database with their reasons, and counted here by reason.
    """

    id: int
    queries: str
    model: str
    parameters: Mapping[str, Any]
    accuracy: Accuracy
    unanswered: int
    failed: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The object that `geosearch evaluate --json` prints."""
        figures = self.accuracy
        return {
            "evaluation_id": self.id,
            "queries": self.queries,
            "model": self.model,
            "method": self.parameters["method"],
            "parameters": dict(self.parameters),
            "n": figures.n,
            "accuracy": {str(km): share for km, share in figures.within.items()},
            "median_km": _finite(figures.median_km),
            "mean_km": figures.mean_km,
            "unanswered": self.unanswered,
            "failed": sum(self.failed.values()),
            "failed_by_reason": dict(self.failed),
        }


def evaluate(
    database: Database,
    queries: str | Path,
    *,
    model: str | Backbone = DEFAULT_MODEL,
    parameters: Parameters | None = None,
    where: Filter | None = None,
    exclude_self: bool = True,
    device: str = "auto",
    progress: Callable[[int, int | None], None] | None = None,
) -> Evaluation:
    """Answer the queries of a manifest (uri, lat, lon) and store answers and figures.

    References with the same bytes as a query are left out unless `exclude_self` is False, so a
    collection's own manifest is evaluated leave-one-out.

    Raises
    ------
    InputError
        The manifest cannot be read, or holds no labelled photo.
    NotFoundError
        Nothing was embedded with this model, or a collection in the filter does not exist.
    """
    backbone = model if isinstance(model, Backbone) else load_backbone(model, device=device)
    parameters, where = parameters or Parameters(), where or EVERYTHING
    failures: list[Failure] = []
    labelled = _read_queries(queries, failures)
    with database.connection() as connection:
        row = require_model(connection, backbone.description)
        recorded = parameters.to_json() | {"exclude_self": exclude_self}
        key = _start(connection, str(queries), row, recorded, where)

    errors: list[float] = []
    waiting: list[Localization] = []

    def store() -> None:
        with database.connection() as connection:
            save(connection, waiting, key)
        waiting.clear()

    uris = [uri for uri, _ in labelled]
    given = answers(database, backbone, row, uris, parameters, where, Exclusions(exclude_self))
    for done, ((_, truth), answer) in enumerate(zip(labelled, given, strict=True), start=1):
        if isinstance(answer, Failure):
            failures.append(answer)
        else:
            answer = _with_truth(answer, truth)
            errors.append(math.inf if answer.error_km is None else answer.error_km)
            waiting.append(answer)
            if len(waiting) == _BATCH:
                store()
        if progress is not None:
            progress(done, len(labelled))
    store()
    figures = accuracy(np.array(errors))
    unanswered = sum(math.isinf(error) for error in errors)
    with database.connection() as connection:
        _finish(connection, key, figures, unanswered, failures)
    reasons = Counter(str(failure.reason) for failure in failures)
    return Evaluation(key, str(queries), row.name, recorded, figures, unanswered, reasons)


def _read_queries(
    queries: str | Path, failures: list[Failure]
) -> list[tuple[str, tuple[float, float]]]:
    """Queries with their true positions; a photo that stands there twice is two queries."""
    labelled: list[tuple[str, tuple[float, float]]] = []
    for item in read_manifest(resolve(str(queries))):
        if isinstance(item, Rejection):
            failures.append(Failure(item.uri, item.reason, item.message))
        elif item.position is None:
            failures.append(Failure(item.uri, Reason.BAD_ROW, "the manifest gives no position"))
        else:
            labelled.append((item.uri, (item.position.lat, item.position.lon)))
    if not labelled:
        raise InputError(
            f"{queries}: no query has a position", "The manifest needs columns uri, lat, lon."
        )
    return labelled


def _with_truth(answer: Localization, truth: tuple[float, float]) -> Localization:
    if answer.lat is None or answer.lon is None:
        return replace(answer, truth=truth)
    error = float(great_circle_km(answer.lat, answer.lon, *truth))
    return replace(answer, truth=truth, error_km=error)


def _start(
    connection: Connection,
    queries: str,
    model: Model,
    parameters: Mapping[str, Any],
    where: Filter,
) -> int:
    row = connection.execute(
        """
        INSERT INTO geosearch.evaluations
            (queries, model_id, model, method, parameters, filter, software)
        VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
        """,
        (
            queries,
            model.id,
            model.name,
            parameters["method"],
            Jsonb(dict(parameters)),
            Jsonb(where.to_json()),
            Jsonb(software_versions()),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def _finish(
    connection: Connection,
    key: int,
    figures: Accuracy,
    unanswered: int,
    failures: list[Failure],
) -> None:
    connection.execute(
        """
        UPDATE geosearch.evaluations
        SET n = %s, failed = %s, unanswered = %s, accuracy = %s, median_km = %s, mean_km = %s
        WHERE id = %s
        """,
        (
            figures.n,
            len(failures),
            unanswered,
            Jsonb({str(km): share for km, share in figures.within.items()}),
            figures.median_km,
            figures.mean_km,
            key,
        ),
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO geosearch.evaluation_failures (evaluation_id, uri, reason, message) "
            "VALUES (%s, %s, %s, %s)",
            [(key, item.photo, str(item.reason), item.message) for item in failures],
        )


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value
