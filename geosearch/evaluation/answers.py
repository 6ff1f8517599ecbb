"""Answers to many queries: several at once, or with exact neighbours from one pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from geosearch.database.connection import Database
from geosearch.density import locate
from geosearch.evaluation.queries import Query
from geosearch.features import Rejected
from geosearch.features.extraction import Embedded, Outcome
from geosearch.features.models import Model
from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.localize import answer_from, failure
from geosearch.parallel import ordered_map
from geosearch.retrieval import Filter, Neighbours
from geosearch.retrieval.duplicates import ExactOthers, Exclusions, Found, nearest_others
from geosearch.sphere import great_circle_km


@dataclass(frozen=True)
class Task:
    """How queries are to be answered.

    `parameters` all see the same neighbours, retrieved once. `main` is the first of them with the
    largest k: its answers are kept whole, those of the others only as errors.
    """

    parameters: tuple[Parameters, ...]
    where: Filter
    exclusions: Exclusions
    regions: bool = False
    device: str = "cpu"

    @property
    def main(self) -> int:
        """Index of the parameters whose answers are kept."""
        sizes = [item.k for item in self.parameters]
        return sizes.index(max(sizes))


@dataclass(frozen=True)
class Answered:
    """The answer to a query by the main parameters, and the errors in km by all of them."""

    answer: Localization
    errors_km: tuple[float, ...]


def answers(
    database: Database,
    model: Model,
    queries: Sequence[Query],
    embedded: Iterable[Outcome],
    task: Task,
) -> Iterator[Answered | Failure]:
    """Answer embedded queries in their order, without recording.

    If the main parameters ask for exact neighbours, those of all queries come from one pass over
    the embeddings; otherwise searches run at once, on as many connections as the database may
    open.
    """
    main = task.parameters[task.main]
    pairs = zip(queries, embedded, strict=True)
    if main.exact:
        everything = list(pairs)
        search = _exact_search(database, model, everything, task)
        # Each is met once, in order: the counter is that of the queries that could be embedded.
        numbered = _numbered(everything)
    else:
        search = _search_each(database, model, task)
        numbered = _numbered(pairs)

    def answer(item: tuple[int, Query, Outcome]) -> Answered | Failure:
        number, query, outcome = item
        if isinstance(outcome, Rejected):
            return failure(outcome)
        started = time.perf_counter()
        found, shared_ms = search(number, query, outcome)
        retrieval_ms = shared_ms + 1000 * (time.perf_counter() - started)
        given = answer_from(
            found.neighbours.first(main.k),
            model,
            outcome.uri,
            outcome.sha256,
            outcome.embedding,
            main,
            found.where,
            excluded=found.excluded,
            features_ms=outcome.ms,
            retrieval_ms=retrieval_ms,
            regions=task.regions,
        )
        given = given.with_truth(*query.truth)
        errors = [
            _error(given)
            if index == task.main
            else _error_by(found.neighbours, query.truth, parameters)
            for index, parameters in enumerate(task.parameters)
        ]
        return Answered(given, tuple(errors))

    yield from ordered_map(answer, numbered, database.pool_size)


_Search = Callable[[int, Query, Embedded], tuple[Found, float]]


def _search_each(database: Database, model: Model, task: Task) -> _Search:
    k = task.parameters[task.main].k

    def search(_number: int, query: Query, outcome: Embedded) -> tuple[Found, float]:
        found = nearest_others(
            database,
            model.id,
            outcome.embedding,
            k,
            task.where,
            task.exclusions,
            sha256=outcome.sha256,
            author=query.author,
        )
        return found, 0.0

    return search


def _exact_search(
    database: Database, model: Model, pairs: Sequence[tuple[Query, Outcome]], task: Task
) -> _Search:
    asked = [(query, item) for query, item in pairs if isinstance(item, Embedded)]
    if not asked:
        return _search_each(database, model, task)  # never called
    started = time.perf_counter()
    others = ExactOthers(
        database,
        model.id,
        np.stack([item.embedding for _, item in asked]),
        task.parameters[task.main].k,
        task.where,
        task.exclusions,
        sha256=[item.sha256 for _, item in asked],
        authors=[query.author for query, _ in asked],
        device=task.device,
    )
    share_ms = 1000 * (time.perf_counter() - started) / len(asked)
    return lambda number, _query, _outcome: (others.neighbours(number), share_ms)


def _numbered(pairs: Iterable[tuple[Query, Outcome]]) -> Iterator[tuple[int, Query, Outcome]]:
    """Queries with their number among those that could be embedded."""
    number = 0
    for query, outcome in pairs:
        yield number, query, outcome
        number += isinstance(outcome, Embedded)


def _error(answer: Localization) -> float:
    return math.inf if answer.error_km is None else answer.error_km


def _error_by(found: Neighbours, truth: tuple[float, float], parameters: Parameters) -> float:
    """Error in km of the estimate that other parameters make of the same neighbours."""
    nearest = found.first(parameters.k)
    if not len(nearest):
        return math.inf
    place = locate(
        nearest.lat,
        nearest.lon,
        nearest.distance,
        method=parameters.method,
        bandwidth_km=parameters.bandwidth_km,
        weighting=parameters.weighting,
        levels=(),
        regions=False,
    )
    return float(great_circle_km(place.lat, place.lon, *truth))
