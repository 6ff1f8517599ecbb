"""Answers to many queries: several at once, or with exact neighbours from one pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from geosearch.database.connection import Database
from geosearch.density import locate_many
from geosearch.evaluation.queries import Labelled
from geosearch.features import Rejected
from geosearch.features.extraction import Outcome
from geosearch.features.model_rows import Model
from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.localizing import answer_from, failure, find_neighbours
from geosearch.parallel import ordered_map
from geosearch.query import Query
from geosearch.retrieval import Filter, Neighbours
from geosearch.retrieval.duplicates import ExactOthers, Exclusions, Found
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
    database: Database, model: Model, asked: Iterable[tuple[Labelled, Outcome]], task: Task
) -> Iterator[Answered | Failure]:
    """Answer labelled queries in their order, without recording.

    If the main parameters ask for exact neighbours, those of all queries come from one pass over
    the embeddings, unless each is searched in cells of its own; otherwise searches run at once, on
    as many connections as the database may open.
    """
    main = task.parameters[task.main]
    if main.retrieves and main.exact and main.restrict_cells is None:
        asked = list(asked)
        search = _exact_search(database, model, [query for _, query in asked], task)
    else:
        search = _search_each(database, model, task)

    def answer(item: tuple[int, Labelled, Outcome]) -> Answered | Failure:
        number, labelled, query = item
        if isinstance(query, Rejected):
            return failure(query)
        started = time.perf_counter()
        found, shared_ms = search(number, query)
        given = answer_from(
            replace(found, neighbours=found.neighbours.first(main.k)),
            model,
            query,
            main,
            retrieval_ms=shared_ms + 1000 * (time.perf_counter() - started),
            regions=task.regions,
        )
        return Answered(given.with_truth(*labelled.truth), found.neighbours)

    yield from ordered_map(answer, _numbered(asked), database.pool_size)


#: From a query and its number among those that could be embedded to its neighbours, and the
#: milliseconds of a search made before for all of them that are its share.
_Search = Callable[[int, Query], tuple[Found, float]]


def _search_each(database: Database, model: Model, task: Task) -> _Search:
    asked = (task.parameters[task.main], task.where, task.exclusions)
    return lambda _, query: (find_neighbours(database, model, query, *asked, k=task.k), 0.0)


def _exact_search(
    database: Database, model: Model, outcomes: Sequence[Outcome], task: Task
) -> _Search:
    queries = [item for item in outcomes if isinstance(item, Query)]
    if not queries:
        return _search_each(database, model, task)  # never called
    started = time.perf_counter()
    others = ExactOthers(
        database, model.id, queries, task.k, task.where, task.exclusions, device=task.device
    )
    share_ms = 1000 * (time.perf_counter() - started) / len(queries)
    return lambda number, _: (others.neighbours(number), share_ms)


def _numbered(
    asked: Iterable[tuple[Labelled, Outcome]],
) -> Iterator[tuple[int, Labelled, Outcome]]:
    """Queries with their number among those that could be embedded."""
    number = 0
    for labelled, outcome in asked:
        yield number, labelled, outcome
        number += isinstance(outcome, Query)


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
    arrays = [[getattr(found[i], name) for i in answered] for name in ("lat", "lon", "distance")]
    fitted = parameters.fitted
    places = (
        locate_many(
            *arrays,
            methods=[parameters.method],
            bandwidth_km=parameters.bandwidth_km,
            weighting=parameters.weighting,
            levels=(),
        )[parameters.method]
        if fitted is None
        else [fitted.place(*each) for each in zip(*arrays, strict=True)]
    )
    errors = [math.inf] * len(batch)
    for index, place in zip(answered, places, strict=True):
        truth = batch[index].answer.truth
        assert truth is not None
        errors[index] = float(great_circle_km(place.lat, place.lon, *truth))
    return errors


def _errors_of_cells(batch: Sequence[Answered], parameters: Parameters) -> list[float]:
    """Errors of the likeliest cells."""
    if not batch:
        return []
    assert parameters.geocells is not None
    embeddings = np.stack([item.answer.query.embedding for item in batch])
    lat, lon = parameters.geocells.estimates(embeddings)
    truths = np.array([item.answer.truth for item in batch], float)
    return [float(error) for error in great_circle_km(lat, lon, truths[:, 0], truths[:, 1])]
