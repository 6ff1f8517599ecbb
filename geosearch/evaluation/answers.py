"""Answers to many queries: several at once, or with exact neighbours from one pass."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from geosearch.database.connection import Database
from geosearch.features import Backbone, Rejected, embed_files
from geosearch.features.extraction import Embedded, Outcome
from geosearch.features.models import Model
from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.localize import answer_from, answer_query, failure
from geosearch.parallel import ordered_map
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import ExactOthers, Exclusions


def answers(
    database: Database,
    backbone: Backbone,
    model: Model,
    uris: Sequence[str],
    parameters: Parameters,
    where: Filter,
    exclusions: Exclusions,
) -> Iterator[Localization | Failure]:
    """Answer photos in their order, without regions and without recording.

    With `parameters.exact` the neighbours of all photos come from one pass over the embeddings;
    otherwise searches run at once, on as many connections as the database may open.
    """
    outcomes = embed_files(backbone, uris)
    if parameters.exact:
        yield from _exactly(
            database, backbone, model, list(outcomes), parameters, where, exclusions
        )
        return

    def answer(outcome: Outcome) -> Localization | Failure:
        if isinstance(outcome, Rejected):
            return failure(outcome)
        return answer_query(
            database,
            model,
            outcome.uri,
            outcome.sha256,
            outcome.embedding,
            parameters,
            where,
            exclusions=exclusions,
            features_ms=outcome.ms,
            regions=False,
        )

    yield from ordered_map(answer, outcomes, database.pool_size)


def _exactly(
    database: Database,
    backbone: Backbone,
    model: Model,
    outcomes: Sequence[Outcome],
    parameters: Parameters,
    where: Filter,
    exclusions: Exclusions,
) -> Iterator[Localization | Failure]:
    queries = [outcome for outcome in outcomes if isinstance(outcome, Embedded)]
    if not queries:
        yield from (failure(outcome) for outcome in outcomes if isinstance(outcome, Rejected))
        return
    started = time.perf_counter()
    search = ExactOthers(
        database,
        model.id,
        np.stack([query.embedding for query in queries]),
        parameters.k,
        where,
        exclusions,
        sha256=[query.sha256 for query in queries],
        authors=[None for query in queries],
        device="cuda" if backbone.device == "cuda" else "cpu",
    )
    pass_ms = 1000 * (time.perf_counter() - started) / len(queries)
    numbers = {id(query): number for number, query in enumerate(queries)}

    def answer(outcome: Outcome) -> Localization | Failure:
        if isinstance(outcome, Rejected):
            return failure(outcome)
        started = time.perf_counter()
        found = search.neighbours(numbers[id(outcome)])
        return answer_from(
            found.neighbours,
            model,
            outcome.uri,
            outcome.sha256,
            outcome.embedding,
            parameters,
            found.where,
            excluded=found.excluded,
            features_ms=outcome.ms,
            retrieval_ms=pass_ms + 1000 * (time.perf_counter() - started),
            regions=False,
        )

    yield from ordered_map(answer, outcomes, database.pool_size)
