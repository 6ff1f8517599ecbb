"""Answers to many queries: several at once, or with exact neighbours from one pass."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from geosearch.database.connection import Database
from geosearch.features import Backbone, Rejected, embed_files
from geosearch.features.extraction import Embedded, Outcome
from geosearch.features.models import Model
from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.localize import answer_from, answer_query, failure, without_bytes
from geosearch.parallel import ordered_map
from geosearch.retrieval import Filter
from geosearch.retrieval.exact import ExactSearch


def answers(
    database: Database,
    backbone: Backbone,
    model: Model,
    uris: Sequence[str],
    parameters: Parameters,
    where: Filter,
    exclude_self: bool,
) -> Iterator[Localization | Failure]:
    """Answer photos in their order, without regions and without recording.

    With `parameters.exact` the neighbours of all photos come from one pass over the embeddings;
    otherwise searches run at once, on as many connections as the database may open.
    """
    outcomes = embed_files(backbone, uris)
    if parameters.exact:
        yield from _exactly(
            database, backbone, model, list(outcomes), parameters, where, exclude_self
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
            exclude_self=exclude_self,
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
    exclude_self: bool,
) -> Iterator[Localization | Failure]:
    queries = [outcome for outcome in outcomes if isinstance(outcome, Embedded)]
    if not queries:
        yield from (failure(outcome) for outcome in outcomes if isinstance(outcome, Rejected))
        return
    own = _same_bytes(database, queries) if exclude_self else {}
    started = time.perf_counter()
    search = ExactSearch(
        database,
        model.id,
        np.stack([query.embedding for query in queries]),
        parameters.k,
        where,
        excluded=[own.get(query.sha256, ()) for query in queries],
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
            found,
            model,
            outcome.uri,
            outcome.sha256,
            outcome.embedding,
            parameters,
            without_bytes(where, outcome.sha256) if exclude_self else where,
            features_ms=outcome.ms,
            retrieval_ms=pass_ms + 1000 * (time.perf_counter() - started),
            regions=False,
        )

    yield from ordered_map(answer, outcomes, database.pool_size)


def _same_bytes(database: Database, queries: Sequence[Embedded]) -> dict[bytes, list[int]]:
    """Ids of the stored photos with a query's bytes, by sha256."""
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT sha256, id FROM geosearch.photos WHERE sha256 = ANY(%s)",
            ([query.sha256 for query in queries],),
        ).fetchall()
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for sha256, photo_id in rows:
        found[bytes(sha256)].append(int(photo_id))
    return found
