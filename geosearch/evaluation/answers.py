"""Answers to many queries: several at once, or with exact neighbours from one pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from geosearch.database.connection import Database
from geosearch.density import Place, locate_many
from geosearch.evaluation.queries import Labelled
from geosearch.features import Rejected
from geosearch.features.extraction import Outcome
from geosearch.features.model_rows import Model
from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.localizing import answer_from, failure
from geosearch.localization.pictures import find_neighbours, place_of
from geosearch.localization.several_models import pool_answers
from geosearch.parallel import ordered_map
from geosearch.query import Query
from geosearch.retrieval import Filter, Neighbours
from geosearch.retrieval.duplicates import ExactOthers, Exclusions, Found
from geosearch.retrieval.neighbours import NO_NEIGHBOURS
from geosearch.sphere import great_circle_km
from geosearch.verification import verified


@dataclass(frozen=True)
class Task:
    """How queries are to be answered.

    `parameters` all see the same neighbours: `k` of them, retrieved once, unless all do without.
    `main` is the first of those with a calibration, or else of those with the largest k: its
    answers are kept whole, those of the others only as errors and areas.
    """

    parameters: tuple[Parameters, ...]
    where: Filter
    exclusions: Exclusions
    regions: bool = False
    device: str = "cpu"

    @property
    def k(self) -> int:
        """Neighbours that are shared."""
        return max(item.most_k for item in self.parameters)

    @property
    def verify(self) -> int:
        """Neighbours to verify, the same for all that retrieve any."""
        return max(item.verify for item in self.parameters)

    @property
    def main(self) -> int:
        """Index of the parameters whose answers are kept."""
        ranks = [(item.fitted is None, not item.retrieves, -item.k) for item in self.parameters]
        return ranks.index(min(ranks))


@dataclass(frozen=True)
class Answered:
    """The answer to a query by the main parameters, and the neighbours that all of them share.

    `neighbours` are those of each model.
    """

    answer: Localization
    neighbours: tuple[Neighbours, ...]


def answers(
    database: Database,
    models: Sequence[Model],
    asked: Iterable[tuple[Labelled, tuple[Outcome, ...]]],
    task: Task,
) -> Iterator[Answered | Failure]:
    """Answer labelled queries, each with an outcome of every model, in order, without recording.

    If the main parameters ask for exact neighbours, those of all queries come from one pass over
    the embeddings, unless each is searched in cells of its own; otherwise searches run at once, on
    as many connections as the database may open.
    """
    main = task.parameters[task.main]
    if main.retrieves and main.exact and main.restrict_cells is None:
        asked = list(asked)
        usable = [queries for _, outcomes in asked if (queries := by_every_model(outcomes))]
        searches = [
            _exact_search(database, model, [queries[index] for queries in usable], task)
            for index, model in enumerate(models)
        ]
    else:
        searches = [_search_each(database, model, task) for model in models]

    def alone(index: int, number: int, query: Query) -> tuple[Localization, Neighbours]:
        parameters = main.alone(index) if len(models) > 1 else main
        started = time.perf_counter()
        found, shared_ms = searches[index](number, query)
        given = answer_from(
            found.first(parameters.k),
            models[index],
            query,
            parameters,
            retrieval_ms=shared_ms + 1000 * (time.perf_counter() - started),
            regions=task.regions and len(models) == 1,
        )
        return given, found.neighbours

    def answer(item: tuple[int, Labelled, tuple[Outcome, ...]]) -> Answered | Failure:
        number, labelled, outcomes = item
        for each in outcomes:
            if isinstance(each, Rejected):
                return failure(each)
        members = [
            alone(index, number, each) for index, each in enumerate(by_every_model(outcomes))
        ]
        given = members[0][0]
        if len(members) > 1:
            given = pool_answers([each for each, _ in members], main, regions=task.regions)
        return Answered(given.with_truth(*labelled.truth), tuple(near for _, near in members))

    yield from ordered_map(answer, _numbered(asked), database.pool_size)


#: From a query and its number among those that could be embedded to its neighbours, and the
#: milliseconds of a search made before for all of them that are its share.
_Search = Callable[[int, Query], tuple[Found, float]]


def _search_each(database: Database, model: Model, task: Task) -> _Search:
    asked = (task.parameters[task.main], task.where, task.exclusions)
    return lambda _, query: (find_neighbours(database, model, query, *asked, k=task.k), 0.0)


def _exact_search(
    database: Database, model: Model, queries: Sequence[Query], task: Task
) -> _Search:
    if not queries:
        return _search_each(database, model, task)  # never called
    started = time.perf_counter()
    k = max(task.k, task.verify)
    others = ExactOthers(
        database, model.id, queries, k, task.where, task.exclusions, device=task.device
    )
    share_ms = 1000 * (time.perf_counter() - started) / len(queries)

    def search(number: int, query: Query) -> tuple[Found, float]:
        found = verified(database, others.neighbours(number), query, task.verify)
        return found.first(task.k), share_ms

    return search


def _numbered(
    asked: Iterable[tuple[Labelled, tuple[Outcome, ...]]],
) -> Iterator[tuple[int, Labelled, tuple[Outcome, ...]]]:
    """Queries with their number among those that could be embedded."""
    number = 0
    for labelled, outcomes in asked:
        yield number, labelled, outcomes
        number += bool(by_every_model(outcomes))


def by_every_model(outcomes: Sequence[Outcome]) -> list[Query]:
    """The query as each model sees it; empty if one could not embed it."""
    found = [each for each in outcomes if isinstance(each, Query)]
    return found if len(found) == len(outcomes) else []


#: The error of a query in km, and the area in km² of the smallest region that holds its truth;
#: infinite without neighbours.
Miss = tuple[float, float]

_NO_ESTIMATE: Miss = (math.inf, math.inf)


def misses(batch: Sequence[Answered], task: Task) -> list[list[Miss]]:
    """How far off each of the parameters is, by query."""
    return [
        [_miss(item.answer) for item in batch]
        if index == task.main
        else _misses_by(batch, parameters)
        for index, parameters in enumerate(task.parameters)
    ]


def _miss(answer: Localization) -> Miss:
    error_km, area_km2 = answer.error_km, answer.truth_area_km2
    if error_km is None:
        return _NO_ESTIMATE
    return error_km, math.inf if area_km2 is None else area_km2


def _misses_by(batch: Sequence[Answered], parameters: Parameters) -> list[Miss]:
    """How far off the estimates are that other parameters make of the same queries or neighbours.

    Those of one model are located together, which is much faster than one by one.
    """
    if not parameters.retrieves:
        return [_miss(_by_cells(item, parameters)) for item in batch]
    if parameters.models:
        return [_miss(_pooled(item, parameters)) for item in batch]
    found = [item.neighbours[0].first(parameters.k) for item in batch]
    answered = [index for index, nearest in enumerate(found) if len(nearest)]
    names = ("lat", "lon", "effective_distance")
    arrays = [[getattr(found[i], name) for i in answered] for name in names]
    fitted = parameters.fitted
    located = (
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
    made = [_NO_ESTIMATE] * len(batch)
    for index, place in zip(answered, located, strict=True):
        made[index] = _miss(_asked(batch[index], parameters, found[index], place))
    return made


def _asked(item: Answered, parameters: Parameters, found: Neighbours, place: Place) -> Localization:
    """The answer that other parameters give, with its truth."""
    truth = item.answer.truth
    assert truth is not None
    error_km = float(great_circle_km(place.lat, place.lon, *truth))
    return replace(
        item.answer, parameters=parameters, neighbours=found, place=place, error_km=error_km
    )


def _pooled(item: Answered, parameters: Parameters) -> Localization:
    """The answer of several models by other parameters, with its truth."""
    members = []
    for number, (member, found) in enumerate(
        zip(item.answer.members, item.neighbours, strict=True)
    ):
        alone = parameters.alone(number)
        near = found.first(alone.k)
        place = place_of(near, member.query, alone, regions=False)
        members.append(replace(member, parameters=alone, neighbours=near, place=place))
    truth = item.answer.truth
    assert truth is not None
    return pool_answers(members, parameters, regions=False).with_truth(*truth)


def _by_cells(item: Answered, parameters: Parameters) -> Localization:
    assert parameters.geocells is not None
    likely = parameters.geocells.likely(item.answer.query.embedding)
    return _asked(item, parameters, NO_NEIGHBOURS, likely.place((), regions=False))
