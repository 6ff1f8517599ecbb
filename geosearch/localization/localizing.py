"""Query photo → embedding → neighbours → place, timed and recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Self

import numpy as np
from psycopg.types.json import Jsonb

from geosearch.arguments import Paths, check_range
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection, Database
from geosearch.defaults import DEFAULT_MODEL, DEFAULT_WEIGHTING
from geosearch.density import Place
from geosearch.errors import InputError
from geosearch.features import Backbone, Rejected
from geosearch.features.extraction import Outcome, embed_stored
from geosearch.features.given_queries import Given, GivenQueries, embed_given, given_queries
from geosearch.features.model_rows import Model
from geosearch.localization.answer import Failure, Localization, Parameters, calibrated
from geosearch.localization.answer_rows import save, with_places
from geosearch.localization.pictures import LEVELS, Pictures, place_of
from geosearch.localization.request import Request
from geosearch.localization.several_models import (
    Models,
    count_references,
    find_backbones,
    pool_answers,
    spent,
)
from geosearch.parallel import ordered_map
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.duplicates import NOTHING, Exclusions, Found
from geosearch.retrieval.neighbours import Here
from geosearch.retrieval.photo_list import find_photo
from geosearch.timeline.time_asked import NOTHING_MORE, TimeAsked
from geosearch.timeline.time_evidence import TimeEvidence
from geosearch.timeline.track_files import read_tracks
from geosearch.verification import require_opencv
from geosearch.versions import software_versions
from geosearch.waiting import Progress

#: A stored photo is no answer to itself.
ITSELF = Exclusions(same_bytes=True)

#: Clocks that were never set are decades off, not more.
_MOST_OFFSET_S = 2e9


def localize(
    database: Database,
    photos: GivenQueries,
    *,
    model: Models = DEFAULT_MODEL,
    parameters: Parameters | Request | None = None,
    where: Filter | None = None,
    exclusions: Exclusions = NOTHING,
    track: Paths | None = None,
    clock_offset: float | None = None,
    device: str = "auto",
    record: bool = True,
    progress: Progress | None = None,
) -> Iterator[Localization | Failure]:
    """Localize photos; every answer is recorded before it is yielded, unless `record` is false.

    They are given in any way of `geosearch.features.given_queries`. An answer without a place, for
    want of neighbours, is not recorded.

    Several models answer together (`geosearch.localization.several_models`). Without `parameters`,
    the latest calibration for the model, or these, and the filter is used, or the
    defaults if there is none. Parameters are used as they are.
    `exclusions` says which references must not answer: the query's own file, near-duplicates.
    `track` are files that say where the photographer was (`geosearch.timeline.track_files`) and
    `clock_offset` how many seconds the camera's clock is ahead: None finds out by photos whose
    positions are known.

    Raises
    ------
    InputError
        The track cannot be read; or as `given_queries`; or a vector is of another length.
    NotFoundError
        Nothing was embedded with this model, or a collection in the filter does not exist.
    ModelError
        The backbone cannot be loaded, or embeds no photo, and one has no embedding.
    """
    given = given_queries(photos)
    queries = [each for each in given if isinstance(each, Given)]
    pictures = any(each.read is not None for each in queries)
    words = any(each.text is not None for each in queries)
    if words and not all(each.text is not None for each in queries):
        raise InputError("words and others are asked apart", "Ask about one, then the other.")
    parameters = asked_of(parameters, words=words or (False if pictures else None))
    found = find_backbones(database, model, device=device, at_once=pictures)
    if len(found) > 1 and any(each.read is None for each in queries):
        raise InputError("vectors and words are of one model", "Ask one, or give pictures.")
    with database.connection() as connection:
        times = _times(track, clock_offset, files=True)
        models = [row for row, _ in found]
        asking = _Asking.of(connection, models, where, parameters, exclusions, times)
    streams = (embed_given(database, backbone, row, given) for row, backbone in found)
    outcomes = zip(*streams, strict=True)
    yield from asking.answers(database, outcomes, len(given), record=record, progress=progress)


def localize_stored(
    database: Database,
    ids: Sequence[int] | None = None,
    *,
    of: Sequence[str] = (),
    model: Models = DEFAULT_MODEL,
    parameters: Parameters | Request | None = None,
    where: Filter | None = None,
    exclusions: Exclusions = ITSELF,
    track: Paths | None = None,
    clock_offset: float | None = None,
    device: str = "auto",
    record: bool = True,
    progress: Progress | None = None,
) -> Iterator[Localization | Failure]:
    """Localize photos of the database: those of these ids, or else all without a position.

    Of the latter those in the collections `of`, by default in all that the filter lets through, and
    new ones alone: not what the same question (model, parameters, filter, exclusions) has a
    recorded answer to, so that a run that was killed goes on. Stored embeddings are used where
    there are any. All else is as in `localize`, but that references with a photo's own bytes do
    not answer by default.

    Raises
    ------
    NotFoundError
        There is no such photo or collection; or as `localize`.
    InputError
        There are both ids and collections `of`; or as `localize`.
    ModelError
        As `localize`.
    """
    if ids is not None and of:
        raise InputError("`of` is for all photos without a position, and here are ids", "Give one.")
    parameters = asked_of(parameters, words=False)
    found = find_backbones(database, model, device=device, at_once=False)
    with database.connection() as connection:
        times = _times(track, clock_offset)
        models = [row for row, _ in found]
        asking = _Asking.of(connection, models, where, parameters, exclusions, times)
        if ids is not None:
            for key in ids:
                find_photo(connection, key)
        else:
            asked = {
                "of": [find_collection(connection, name) for name in of] or None,
                "filter": Jsonb(asking.where.to_json()),
                "question": asking.question,
            }
            rows = connection.execute(_UNLOCATED, asked).fetchall()
            ids = [int(key) for (key,) in rows]
    outcomes = _stored(database, found, ids)
    yield from asking.answers(database, outcomes, len(ids), record=record, progress=progress)


def _stored(
    database: Database, found: Sequence[tuple[Model, Backbone]], ids: Sequence[int]
) -> Iterator[tuple[Outcome, ...]]:
    """Photos of the database as each model sees them."""
    if len(found) == 1:
        ((model, backbone),) = found
        for outcome in embed_stored(database, backbone, model, ids):
            yield (outcome,)
        return
    # One by one: of those that are deleted meanwhile the models would skip different ones.
    for key in ids:
        yield from zip(
            *(embed_stored(database, backbone, model, [key]) for model, backbone in found),
            strict=False,
        )


# Of those with the same bytes the first, in order of time: photos tell those taken near. Answers
# first: they may come out of a function.
_UNLOCATED = """
WITH answered AS MATERIALIZED (
    SELECT photo_sha256 FROM geosearch.localizations WHERE question = %(question)s
)
SELECT min(id) FROM geosearch.photos
WHERE position_source IS NULL
    AND collection_id IN (
        SELECT unnest(coalesce(%(of)s::bigint[], geosearch.admitted_collections(%(filter)s)))
    )
    AND sha256 NOT IN (SELECT photo_sha256 FROM answered)
GROUP BY sha256
ORDER BY min(taken_at), 1
"""


def _times(track: Paths | None, clock_offset: float | None, *, files: bool = False) -> TimeAsked:
    if track is None and clock_offset is not None:
        raise InputError("`clock_offset` is for a `track`", "Give one, or leave it out.")
    check_range("clock_offset", clock_offset, -_MOST_OFFSET_S, _MOST_OFFSET_S)
    return TimeAsked(None if track is None else read_tracks(track), clock_offset, files)


@dataclass(frozen=True)
class _Asking:
    """What all photos of a run are answered by."""

    models: Sequence[Model]
    references: tuple[int | None, ...]
    parameters: Parameters
    where: Filter
    exclusions: Exclusions
    times: TimeAsked

    @classmethod
    def of(
        cls,
        connection: Connection,
        models: Sequence[Model],
        where: Filter | None,
        parameters: Parameters | Request | None,
        exclusions: Exclusions,
        times: TimeAsked,
    ) -> Self:
        passing = where or EVERYTHING
        first, *others = models
        chosen = chosen_parameters(connection, first, passing, parameters, others)
        references = count_references(connection, models, passing)
        return cls(models, references, chosen, passing, exclusions, times)

    @property
    def question(self) -> str:
        """By what the same question is known again: sha256, hex."""
        asked = [
            " ".join(each.fingerprint for each in self.models),
            self.parameters.to_json(),
            self.where.to_json(),
            self.exclusions.to_json(),
            self.times.to_json(),
        ]
        return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def answers(
        self,
        database: Database,
        outcomes: Iterable[tuple[Outcome, ...]],
        total: int,
        *,
        record: bool,
        progress: Progress | None,
    ) -> Iterator[Localization | Failure]:
        """The answers to queries, in their order, each recorded before it is given.

        Each query has an outcome of every model.
        """
        question = self.question
        pictures = pictures_of(
            database, self.models, self.parameters, self.where, self.exclusions, again=True
        )

        def answer(outcomes: tuple[Outcome, ...]) -> Localization | Failure:
            queries = [each for each in outcomes if isinstance(each, Query)]
            for each in outcomes:
                if isinstance(each, Rejected):
                    return failure(each)
            given = answer_together(
                pictures, queries, self.parameters, self.references, times=self.times
            )
            return replace(given, question=question)

        for done, given in enumerate(ordered_map(answer, outcomes, database.pool_size), start=1):
            if isinstance(given, Localization):
                yield recorded(database, given, record=record)
            else:
                yield given
            if progress is not None:
                progress(done, total)


def recorded(database: Database, answer: Localization, *, record: bool = True) -> Localization:
    """The answer with its place in words and, unless `record` is false, stored under an id.

    One without a place, for want of neighbours, is left as it is.
    """
    if answer.lat is None:
        return answer
    with database.connection() as connection:
        (named,) = with_places(connection, [answer])
        (key,) = save(connection, [named]) if record else (None,)
    return replace(named, id=key)


def chosen_parameters(
    connection: Connection,
    model: Model,
    where: Filter,
    parameters: Parameters | Request | None,
    others: Sequence[Model] = (),
) -> Parameters:
    """The parameters themselves, or what a request comes to; None is the request for defaults.

    With `others`, those of several models together. They have the classifiers they need.

    Raises
    ------
    InputError, NotFoundError
        As `Request.parameters` and `find_geocells`.
    MissingExtraError
        Neighbours are to be verified, and OpenCV is not installed.
    """
    chosen = parameters or Request()
    if isinstance(chosen, Request):
        chosen = chosen.parameters(connection, model, where, others)
    else:
        every = (model.id, *(each.id for each in others))
        chosen = replace(chosen, models=every if others else ())
    require_opencv(chosen.verify)
    if not chosen.classifies or chosen.geocells is not None:
        return chosen
    from geosearch.geocells import find_geocells  # few questions need them

    return chosen.with_geocells(
        find_geocells(
            connection,
            model,
            where,
            partitions=chosen.partitions,
            classifiers=chosen.classifiers,
        )
    )


def asked_of(
    parameters: Parameters | Request | None, *, words: bool | None
) -> Parameters | Request:
    """What words are asked by, or pictures; None stands for vectors, which may be of either.

    Raises
    ------
    InputError
        Pictures are asked by what is for words, or words by what was fitted to pictures.
    """
    chosen = parameters or Request()
    if words is False and chosen.words:
        raise InputError("`words` is for a vector of them, and photos are asked", "Leave it out.")
    return replace(chosen, words=True) if words else chosen


def with_here(
    database: Database,
    model: Model,
    query: Query,
    found: Found,
    asked: Parameters | Request | None,
    where: Filter,
    exclusions: Exclusions = NOTHING,
) -> Found:
    """What words find, with whether what they say is here at all.

    That is by the calibration that `asked` comes to; without one they are as they were.
    """
    with database.connection() as connection:
        chosen = chosen_parameters(connection, model, where, asked_of(asked, words=True))
    if chosen.fitted is None:
        return found
    answer = answer_query(database, model, query, chosen, where, exclusions, regions=False)
    here = Here(chosen.calibration_id, answer.presence, answer.confident)
    return replace(found, neighbours=replace(found.neighbours, here=here))


def failure(rejected: Rejected) -> Failure:
    """What is given in place of an answer."""
    return Failure(rejected.uri, rejected.rejection.reason, rejected.rejection.message)


def answer_query(
    database: Database,
    model: Model,
    query: Query,
    parameters: Parameters,
    where: Filter,
    exclusions: Exclusions = NOTHING,
    *,
    regions: bool = True,
    times: TimeAsked = NOTHING_MORE,
) -> Localization:
    """Answer a query, without recording it.

    `exclusions` may leave out references by the query's author, where that is known. The answer's
    filter says all that was left out. `times` is what is asked of time besides.
    """
    pictures = Pictures(database, model, parameters, where, exclusions)
    return answer_by(pictures, query, regions=regions, times=times)


def answer_by(
    pictures: Pictures, query: Query, *, regions: bool = True, times: TimeAsked = NOTHING_MORE
) -> Localization:
    """Answer a query by what pictures show, its own and those of its session, as `answer_query`."""
    started = time.perf_counter()
    parameters = pictures.parameters
    found = pictures.found(query)
    evidence = _evidence(pictures, query, parameters, times)
    ms = 1000 * (time.perf_counter() - started)
    return answer_from(
        *(found, pictures.model, query, parameters),
        retrieval_ms=ms,
        regions=regions,
        evidence=evidence or None,
    )


def pictures_of(
    database: Database,
    models: Sequence[Model],
    parameters: Parameters,
    where: Filter,
    exclusions: Exclusions = NOTHING,
    *,
    again: bool = False,
) -> list[Pictures]:
    """What pictures show each model by its part of the parameters; `again` as in `Pictures`."""
    several = len(models) > 1
    return [
        Pictures(
            *(database, model, parameters.alone(number) if several else parameters),
            *(where, exclusions),
            again=again and parameters.timeline and number == 0,
        )
        for number, model in enumerate(models)
    ]


def answer_together(
    pictures: Sequence[Pictures],
    queries: Sequence[Query],
    parameters: Parameters,
    references: Sequence[int | None],
    *,
    times: TimeAsked = NOTHING_MORE,
) -> Localization:
    """Answer a query by several models, of each what pictures show and the query's embedding.

    By one, it is the answer of that. `references` are how many photos each has to search. What the
    session of a photo shows is what it shows to the first model. All else is as in `answer_query`.
    """
    if len(pictures) == 1:
        return answer_by(pictures[0], queries[0], times=times)
    members = [
        replace(answer_by(each, query, regions=False), references=count)
        for each, query, count in zip(pictures, queries, references, strict=True)
    ]
    started = time.perf_counter()
    evidence = _evidence(pictures[0], queries[0], parameters, times) or None
    found = time.perf_counter()
    answer = pool_answers(members, parameters, regions=evidence is None)
    answer = with_time(answer, evidence, regions=True)
    seconds = {"retrieval": found - started, "density": time.perf_counter() - found}
    return replace(answer, elapsed_ms=spent(members, **seconds))


def _evidence(
    pictures: Pictures, query: Query, parameters: Parameters, times: TimeAsked
) -> TimeEvidence | None:
    """What time says of a query, if it is asked."""
    if not parameters.timeline and times.track is None:
        return None
    asked = query.sha256, query.uri, pictures.where, parameters.fusion
    with pictures.database.connection() as connection:
        evidence = times.evidence(connection, *asked, timeline=parameters.timeline)
    if evidence is not None and parameters.timeline:
        return pictures.with_session(query, evidence)
    return evidence


def answer_from(
    found: Found,
    model: Model,
    query: Query,
    parameters: Parameters,
    *,
    retrieval_ms: float,
    regions: bool,
    evidence: TimeEvidence | None = None,
) -> Localization:
    """The answer that a query's neighbours or cells lead to, without recording it.

    `retrieval_ms` were spent to find them; those of their verification are in it. With `evidence`
    it is by picture and time together.
    """
    started = time.perf_counter()
    neighbours, place = (
        found.neighbours,
        place_of(found.neighbours, query, parameters, regions=regions),
    )
    verification = neighbours.verification
    if place is not None:
        parameters = _resolved(parameters, place)
    within: Mapping[float, float] = {}
    confident = None
    density = calibrated(parameters, neighbours, place)
    if density is not None and place is not None:
        picture_alone = regions and evidence is None
        judgement, confident = density.judge(LEVELS, regions=picture_alone), density.confident
        within = judgement.probability_within_km
        place = replace(
            place,
            radius_km=judgement.radius_km,
            regions=judgement.regions,
        )
    if query.low_information is not None:
        confident = False
    elapsed = {
        "features": query.ms,
        "retrieval": retrieval_ms,
        "density": 1000 * (time.perf_counter() - started),
    }
    if verification is not None:
        elapsed["verification"] = 1000 * verification.seconds
        elapsed["retrieval"] -= elapsed["verification"]
    answer = Localization(
        query=query,
        model_id=model.id,
        model={"name": model.name, "fingerprint": model.fingerprint},
        parameters=parameters,
        where=found.where,
        neighbours=neighbours,
        place=place,
        elapsed_ms=elapsed,
        software=software_versions(),
        probability_within_km=within,
        confident=confident,
        excluded=found.excluded,
    )
    started = time.perf_counter()
    answer = with_time(answer, evidence, regions=regions)
    elapsed["density"] += 1000 * (time.perf_counter() - started)
    elapsed["total"] = sum(elapsed.values())
    return replace(answer, elapsed_ms={name: round(ms, 3) for name, ms in elapsed.items()})


def with_time(
    answer: Localization, evidence: TimeEvidence | None, *, regions: bool
) -> Localization:
    """The answer by picture and time together, where time says anything."""
    if answer.place is not None:
        answer = replace(answer, evidence=evidence)
    told, place = answer.fused, answer.place
    if told is None or evidence is None or place is None:
        return answer
    evidence = replace(evidence.weighed(told), by_picture=(place.lat, place.lon))
    confident = answer.confident
    return replace(
        answer,
        place=told.place(LEVELS, place, regions=regions),
        evidence=evidence,
        probability_within_km={
            km: told.probability_within(km) for km in answer.probability_within_km
        },
        confident=True if confident is False and evidence.time_believed else confident,
    )


def _resolved(parameters: Parameters, place: Place) -> Parameters:
    """The parameters with the defaults that were used: an answer must not depend on ours."""
    if not parameters.retrieves:
        return parameters
    (bandwidth_km,) = np.atleast_1d(place.bandwidth_km)
    return replace(
        parameters,
        bandwidth_km=float(bandwidth_km),
        weighting=parameters.weighting or DEFAULT_WEIGHTING,
    )
