"""Answers to many queries: several at once, or with exact neighbours from one pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from geosearch.calibration.summit import at_summit
from geosearch.database.connection import Database
from geosearch.density import locate_many
from geosearch.evaluation.queries import Query
from geosearch.features import Rejected
from geosearch.features.extraction import Embedded, Outcome
from geosearch.features.model_rows import Model
from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.localizing import answer_from, failure, searched
from geosearch.parallel import ordered_map
from geosearch.retrieval import Filter, Neighbours
from geosearch.retrieval.duplicates import ExactOthers, Exclusions, Found, nearest_others
from geosearch.retrieval.neighbours import NO_NEIGHBOURS
from geosearch.sphere import great_circle_km


@dataclass(frozen=True)
class Task:
    """How queries are to be answered.

    `parameters` all see the same neighbours: `k` of them, retrieved once, unless all do without.
    `main` is the first of those with a calibration, or else of those with the largest k: its
    answers are kept whole, those of the others only as errors.
    """

    parameters: tuple[Parameters, ...]
    where: Filter
    exclusions: Exclusions
    regions: bool = False
    device: str = "cpu"

    @property
    def k(self) -> int:
        """Neighbours to retrieve."""
        return max(item.k for item in self.parameters)

    @property
    def main(self) -> int:
        """Index of the parameters whose answers are kept."""
        ranks = [(item.fitted is None, not item.retrieves, -item.k) for item in self.parameters]
        return ranks.index(min(ranks))


@dataclass(frozen=True)
class Answered:
    """The answer to a query by the main parameters, and the neighbours that all of them share."""

    answer: Localization
    neighbours: Neighbours


def answers(
    database: Database,
    model: Model,
    queries: Sequence[Query],
    embedded: Iterable[Outcome],
    task: Task,
) -> Iterator[Answered | Failure]:
    """Answer embedded queries in their order, without recording.

    If the main parameters ask for exact neighbours, those of all queries come from one pass over
    the embeddings, unless each is searched in cells of its own; otherwise searches run at once, on
    as many connections as the database may open.
    """
    main = task.parameters[task.main]
    pairs = zip(queries, embedded, strict=True)
    if main.retrieves and main.exact and main.restrict_cells is None:
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
        return Answered(given.with_truth(*query.truth), found.neighbours)

    yield from ordered_map(answer, numbered, database.pool_size)


_Search = Callable[[int, Query, Embedded], tuple[Found, float]]


def _search_each(database: Database, model: Model, task: Task) -> _Search:
    k, main = task.k, task.parameters[task.main]

    def search(_number: int, query: Query, outcome: Embedded) -> tuple[Found, float]:
        if not main.retrieves:
            return Found(NO_NEIGHBOURS, task.where, None), 0.0
        found = nearest_others(
            database,
            model.id,
            outcome.embedding,
            k,
            searched(task.where, main, outcome.embedding),
            task.exclusions,
            sha256=outcome.sha256,
            author=query.author,
            exact=main.exact,
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
        task.k,
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


def errors_km(batch: Sequence[Answered], task: Task) -> list[list[float]]:
    """Errors in km for each of the parameters, by query; infinite for one without neighbours."""
    return [
        [math.inf if item.answer.error_km is None else item.answer.error_km for item in batch]
        if index == task.main
        else _errors_by(batch, parameters)
        for index, parameters in enumerate(task.parameters)
    ]


def _errors_by(batch: Sequence[Answered], parameters: Parameters) -> list[float]:
    """Errors of the estimates that other parameters make of the same queries or neighbours."""
    if not parameters.retrieves:
        return _errors_of_cells(batch, parameters)
    found = [item.neighbours.first(parameters.k) for item in batch]
    answered = [index for index, nearest in enumerate(found) if len(nearest)]
    places = locate_many(
        [found[index].lat for index in answered],
        [found[index].lon for index in answered],
        [found[index].distance for index in answered],
        methods=[parameters.method],
        bandwidth_km=parameters.bandwidth_km,
        weighting=parameters.weighting,
        levels=(),
    )[parameters.method]
    errors = [math.inf] * len(batch)
    for index, place in zip(answered, places, strict=True):
        if parameters.fitted is not None:
            nearest = found[index]
            place = at_summit(nearest.lat, nearest.lon, place, parameters.fitted.sharpness)
        truth = batch[index].answer.truth
        assert truth is not None
        errors[index] = float(great_circle_km(place.lat, place.lon, *truth))
    return errors


def _errors_of_cells(batch: Sequence[Answered], parameters: Parameters) -> list[float]:
    """Errors of the likeliest cells."""
    if not batch:
        return []
    assert parameters.geocells is not None
    lat, lon = parameters.geocells.estimates(np.stack([item.answer.embedding for item in batch]))
    truths = np.array([item.answer.truth for item in batch], float)
    return [float(error) for error in great_circle_km(lat, lon, truths[:, 0], truths[:, 1])]
