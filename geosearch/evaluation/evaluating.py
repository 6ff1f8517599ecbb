"""Localize labelled queries, compare with the truth, and keep every answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, TypedDict, Unpack

import numpy as np

from geosearch.arguments import path
from geosearch.database.connection import Connection, Database
from geosearch.defaults import DEFAULT_MODEL, DUPLICATE_DISTANCE
from geosearch.errors import InputError, Reason
from geosearch.evaluation.answers import Answered, Miss, Task, answers, misses
from geosearch.evaluation.evaluation_rows import finish, join, start
from geosearch.evaluation.metrics import Accuracy, Areas, Figures, areas, figures
from geosearch.evaluation.queries import (
    TITLES,
    Labelled,
    QuerySet,
    manifest_queries,
    stored_embeddings,
    stored_queries,
    title_queries,
)
from geosearch.features import Backbone, embed_files
from geosearch.features.external_model import ExternalBackbone
from geosearch.features.extraction import Outcome
from geosearch.features.given_queries import embed_given, text_query
from geosearch.features.model_rows import Model, find_model, require_model
from geosearch.json_record import plain
from geosearch.localization.answer import FLAGS, Failure, Parameters
from geosearch.localization.answer_rows import save, with_places
from geosearch.localization.localizing import asked_of, chosen_parameters
from geosearch.localization.request import Request
from geosearch.localization.several_models import (
    Models,
    find_backbones,
    in_order,
    name_of,
    specs,
)
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.duplicates import Excluded, Exclusions
from geosearch.retrieval.extent import apart_km
from geosearch.retrieval.neighbours import check_k
from geosearch.thresholds import WORLD_KM, fitting_km
from geosearch.waiting import Progress
from geosearch.words import format_km, number_of

#: What an evaluation leaves out unless told otherwise: all that would flatter it.
LEAKAGE = Exclusions(same_bytes=True, duplicate_distance=DUPLICATE_DISTANCE, same_author=True)

#: Answers written in one transaction.
_BATCH = 64


def leakage(
    exclude_self: bool = True,
    exclude_duplicates: float | bool | None = DUPLICATE_DISTANCE,
    exclude_author: bool = True,
) -> Exclusions:
    """`LEAKAGE`, less what is to be let in; with a query's own bytes, its near-duplicates are."""
    return Exclusions(exclude_self, exclude_duplicates if exclude_self else None, exclude_author)


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    `figures` are over the queries that could be read; one without neighbours counts as a miss.
    `errors_km` and `areas_km2` (n,), the areas of the smallest regions that hold the truths, are in
    the order of the stored answers, infinite without estimate. `calibration` is the line that says
    what the one used was fitted to, and `flagged` counts the answers with each of
    `Localization.flags`; both are None without stored answers. `failures`
    are the queries that could not be used (missing or unreadable, or without a known position):
    they are in the database too. `excluded` counts the references that were left out, of all
    queries together. `sweep_id` is the evaluation that has the answers to the same queries, by
    other parameters; None if this one was made alone.
    """

    id: int
    sweep_id: int | None
    queries: str
    model: str
    parameters: Mapping[str, Any]
    figures: Figures
    errors_km: tuple[float, ...]
    areas_km2: tuple[float, ...]
    failures: tuple[Failure, ...]
    excluded: Excluded
    calibration: str | None = None
    flagged: Mapping[str, int] | None = None

    @property
    def areas(self) -> Areas | None:
        """How large an area must be searched; None without queries."""
        return areas(np.array(self.areas_km2), self.within_km)

    @property
    def accuracy(self) -> Accuracy:
        """The figures without their intervals."""
        return self.figures.accuracy

    @property
    def within_km(self) -> tuple[float, ...]:
        """The distances of the figures, kilometres."""
        return tuple(self.accuracy.within)

    @property
    def unanswered(self) -> int:
        """Queries without neighbours."""
        return sum(math.isinf(error) for error in self.errors_km)

    @property
    def remark(self) -> str | None:
        """That queries have no neighbours, and what to do where their authors are why."""
        if self.unanswered == 0:
            return None
        said = f"{number_of(self.unanswered, 'query', 'queries')} without neighbours, a miss each"
        if self.excluded.author:
            said += (
                ": photos of a query's author are left out; geosearch evaluate --include-author "
            )
            said += "takes them, in Python exclude_same_author=False"
        return said

    def __repr__(self) -> str:
        said = [str(self.id), repr(self.queries), self.model, self.parameters["method"]]
        median = format_km(self.accuracy.median_km)
        said += [number_of(self.accuracy.n, "query", "queries"), f"median {median}"]
        return f"Evaluation({', '.join(said)})" + (f": {self.remark}" if self.remark else "")

    @property
    def failed(self) -> Mapping[str, int]:
        """Queries that could not be used, by reason."""
        return Counter(str(failure.reason) for failure in self.failures)

    def hits(self, km: float) -> int:
        """Queries whose error is at most `km`."""
        return sum(error <= km for error in self.errors_km)

    def named(self, reason: Reason) -> tuple[str, ...]:
        """Photos that could not be used for a reason."""
        return tuple(failure.photo for failure in self.failures if failure.reason is reason)

    @property
    def columns(self) -> dict[str, Any]:
        """What is stored of it when it ends, by column."""
        return {
            "n": self.accuracy.n,
            "failed": len(self.failures),
            "unanswered": self.unanswered,
            "accuracy": plain(self.accuracy.within),
            "median_km": self.accuracy.median_km,
            "mean_km": self.accuracy.mean_km,
            "errors_km": list(self.errors_km),
            "areas_km2": list(self.areas_km2),
            "excluded": self.excluded.to_json(),
            "calibration": self.calibration,
            "flagged": self.flagged,
        }

    def to_json(self) -> dict[str, Any]:
        """The object that `geosearch evaluate --json` prints."""
        return {
            "evaluation_id": self.id,
            "sweep_id": self.sweep_id,
            "queries": self.queries,
            "model": self.model,
            "method": self.parameters["method"],
            "parameters": dict(self.parameters),
            **self.figures.to_json(),
            "areas": plain(self.areas),
            "calibration": self.calibration,
            "flagged": plain(self.flagged),
            "unanswered": self.unanswered,
            "excluded": self.excluded.to_json(),
            "failed": len(self.failures),
            "failed_by_reason": dict(self.failed),
            "missing": list(self.named(Reason.MISSING)),
            "unlabelled": list(self.named(Reason.UNLABELLED)),
        }


class EvaluateOptions(TypedDict, total=False):
    """Options of `evaluate`, for those who pass them on."""

    model: Models
    where: Filter
    exclusions: Exclusions
    within_km: tuple[float, ...] | None
    regions: bool
    sample: int | None
    seed: int
    device: str
    progress: Progress | None


def evaluate(
    database: Database,
    queries: str | PathLike[str] | QuerySet | None,
    *,
    parameters: Parameters | Request | None = None,
    **options: Unpack[EvaluateOptions],
) -> Evaluation:
    """Answer labelled queries, and store answers and figures.

    Parameters
    ----------
    queries
        A manifest (uri, lat, lon, author) or a set of queries; None takes the photos that pass
        `where` themselves, each answered by the others: leave-one-out, from stored embeddings. A
        set of `text_queries` has words, and so has `TITLES`: those of the photos that pass.
    exclusions
        References that must not answer a query; by default those with its bytes, near-duplicates,
        and those of its author.
    within_km
        Distances of the figures, kilometres; None takes those that fit the photos searched.
    regions
        Store the regions of the answers.
    sample, seed
        Take so many queries, drawn at random; None takes all.

    Raises
    ------
    InputError
        The manifest cannot be read, or holds no labelled photo.
    NotFoundError
        Nothing was embedded with this model, or a collection in the filter does not exist.
    """
    (result,) = evaluate_each(database, queries, [parameters or Request()], **options)
    return result


def evaluate_each(
    database: Database,
    queries: str | PathLike[str] | QuerySet | None,
    parameters: Sequence[Parameters | Request],
    *,
    model: Models = DEFAULT_MODEL,
    where: Filter = EVERYTHING,
    exclusions: Exclusions = LEAKAGE,
    within_km: tuple[float, ...] | None = None,
    regions: bool = False,
    sample: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Evaluation]:
    """`evaluate` by several parameters, on neighbours that are retrieved once, at the largest k.

    Each becomes an evaluation with figures and errors. Answers are stored for the first of those
    with a calibration, or else with the largest k; all others name that one as their sweep. What
    a request leaves open comes from the latest calibration. Pictures alone are judged: what was
    taken before and after is not asked. Several models are judged together.

    Raises
    ------
    InputError, NotFoundError
        As `evaluate`; and `parameters` are none, or some are to be exact and some are not, or
        a k is out of range.
    """
    if not parameters or len({item.exact for item in parameters}) > 1:
        raise InputError("an evaluation needs parameters that are all exact, or all not")
    found, asked = find_queries(database, queries, model, where, device)
    asked = asked.sample(sample, seed)
    exclusions = asked.left_out(exclusions)
    models = [row for row, _ in found]
    row, *others = models
    parameters = [asked_of(item, words=asked.words) for item in parameters]
    backbone = found[0][1]
    on = backbone.device if backbone is not None else device
    with database.connection() as connection:
        chosen = tuple(
            replace(chosen_parameters(connection, row, where, item, others), timeline=False)
            for item in parameters
        )
        for k in {item.k for item in chosen if item.retrieves}:
            check_k(k)
        if len({item.restrict_cells for item in chosen if item.retrieves}) > 1:
            raise InputError("an evaluation needs parameters that all search in the same cells")
        if len({item.verify for item in chosen if item.retrieves}) > 1:
            raise InputError("an evaluation needs parameters that all verify as many neighbours")
        task = Task(chosen, where, exclusions, regions, "cuda" if on == "cuda" else "cpu")
        recorded = [_recorded(item, exclusions, sample, seed) for item in chosen]
        within_km = within_km or distances_that_fit(connection, row.id, where)

    keys: list[int] = []
    failures = list(asked.failures)
    missed: list[list[Miss]] = [[] for _ in parameters]
    flagged = Counter(dict.fromkeys(FLAGS, 0))
    excluded = Excluded()
    waiting: list[Answered] = []

    def store() -> None:
        # With the first answers, so that what fails before them leaves nothing behind.
        for column, found in zip(missed, misses(waiting, task), strict=True):
            column += found
        with database.connection() as connection:
            if not keys:
                keys.extend(start(connection, asked.name, models, item, where) for item in recorded)
                if len(keys) > 1:
                    join(connection, keys, keys[task.main])
            named = with_places(connection, [item.answer for item in waiting])
            save(connection, named, keys[task.main])
        waiting.clear()

    given = answers(database, models, embedded(database, found, asked), task)
    for done, outcome in enumerate(given, start=1):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            excluded += outcome.answer.excluded or Excluded()
            waiting.append(outcome)
            flagged.update(outcome.answer.flags)
            if len(waiting) == _BATCH:
                store()
        if progress is not None:
            progress(done, len(asked))
    store()

    main = keys[task.main]
    results = []
    with database.connection() as connection:
        for key, settings, item, own in zip(keys, recorded, chosen, missed, strict=True):
            errors_km, areas_km2 = map(tuple, zip(*own, strict=True)) if own else ((), ())
            result = Evaluation(
                id=key,
                sweep_id=main if len(keys) > 1 else None,
                queries=asked.name,
                model=name_of(models),
                parameters=settings,
                figures=figures(np.array(errors_km), within_km),
                errors_km=errors_km,
                areas_km2=areas_km2,
                failures=tuple(failures),
                excluded=excluded,
                calibration=item.calibrated_for if key == main else None,
                flagged=dict(flagged) if key == main else None,
            )
            finish(connection, key, result.columns, result.failures)
            results.append(result)
    return results


def distances_that_fit(connection: Connection, model_id: int, where: Filter) -> tuple[float, ...]:
    """The distances, in kilometres, that fit the photos a search may find: `fitting_km`."""
    apart = apart_km(connection, model_id, where)
    return WORLD_KM if apart is None else fitting_km(apart)


#: The rows of models, with their backbones unless embeddings are in the database.
Asked = Sequence[tuple[Model, Backbone | None]]


def find_queries(
    database: Database,
    queries: str | PathLike[str] | QuerySet | None,
    model: Models,
    where: Filter,
    device: str,
) -> tuple[Asked, QuerySet]:
    """The models, in the order of their ids, and the queries meant.

    `queries` are as `evaluate` takes them; stored ones are those that each model has embedded.

    Raises
    ------
    InputError
        The manifest cannot be read or holds no query, or words are asked of several models.
    ModelError
        A backbone cannot be loaded, or embeds no photo.
    """
    if queries is not None and not isinstance(queries, QuerySet):
        queries = manifest_queries(path("queries", queries))
    found: Asked
    if queries is not None and not queries.stored:
        if queries.words and len(specs(model)) > 1:
            raise InputError("words are asked of one model", "Give one.")
        found = find_backbones(database, model, device=device, at_once=not queries.words)
        for _, backbone in found:
            if isinstance(backbone, ExternalBackbone) and not queries.words:
                backbone.refuse()
    else:
        with database.connection() as connection:
            found = in_order([_stored(connection, each) for each in specs(model)])
    if queries is TITLES:
        return found, title_queries(database, found[0][0], where)
    if queries is not None:
        return found, queries
    sets = [stored_queries(database, row, where) for row, _ in found]
    kept = set.intersection(*({item.photo_id for item in each.queries} for each in sets))
    asked = tuple(item for item in sets[0].queries if item.photo_id in kept)
    if not asked:
        raise InputError("no photo that passes is embedded with each of these models")
    return found, replace(sets[0], queries=asked)


def _stored(connection: Connection, model: str | Backbone) -> tuple[Model, Backbone | None]:
    if isinstance(model, str):
        return find_model(connection, model), None
    return require_model(connection, model.description), model


def embedded(
    database: Database, models: Asked, asked: QuerySet
) -> Iterator[tuple[Labelled, tuple[Outcome, ...]]]:
    """The queries with their embeddings by each model, from the database or from their files."""
    outcomes = zip(*(_outcomes(database, *each, asked) for each in models), strict=True)
    yield from zip(asked.queries, outcomes, strict=True)


def _outcomes(
    database: Database, model: Model, backbone: Backbone | None, asked: QuerySet
) -> Iterator[Outcome]:
    outcomes: Iterator[Outcome]
    if asked.stored or backbone is None:
        outcomes = stored_embeddings(database, model, asked.queries)
    elif asked.words:
        texts = (text_query(item.text or "") for item in asked.queries)
        outcomes = embed_given(database, backbone, model, texts)
    else:
        outcomes = embed_files(backbone, [item.uri for item in asked.queries])
    for labelled, outcome in zip(asked.queries, outcomes, strict=True):
        if isinstance(outcome, Query):
            outcome = replace(
                outcome,
                sha256=labelled.sha256 or outcome.sha256,
                author=labelled.author,
                taken_at=labelled.taken_at,
            )
        yield outcome


def _recorded(
    parameters: Parameters, exclusions: Exclusions, sample: int | None, seed: int
) -> dict[str, Any]:
    drawn = {} if sample is None else {"sample": sample, "seed": seed}
    left_out = {
        "exclude_self": exclusions.same_bytes,
        "duplicate_distance": exclusions.duplicate_distance,
        "exclude_author": exclusions.same_author,
    }
    return parameters.to_json() | left_out | drawn
