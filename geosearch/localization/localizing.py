"""Query photo → embedding → neighbours → place, timed and recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosearch.calibration.fitted import SCORE_KM
from geosearch.calibration.summit import at_summit
from geosearch.database.connection import Connection, Database
from geosearch.density import DEFAULT_WEIGHTING, Place, locate
from geosearch.features import DEFAULT_MODEL, Backbone, Rejected, embed_files, load_backbone
from geosearch.features.extraction import Outcome
from geosearch.features.model_rows import Model, require_model
from geosearch.geocells import find_geocells
from geosearch.localization.answer import Failure, Localization, Parameters
from geosearch.localization.answer_rows import save
from geosearch.localization.request import Request
from geosearch.parallel import ordered_map
from geosearch.retrieval import EVERYTHING, Filter, Neighbours
from geosearch.retrieval.duplicates import NOTHING, Excluded, Exclusions, Found, nearest_others
from geosearch.retrieval.neighbours import NO_NEIGHBOURS
from geosearch.retrieval.place_conditions import Within
from geosearch.storage import resolve
from geosearch.versions import software_versions

#: Levels of the radii and regions of an answer.
LEVELS = (0.5, 0.9)

Progress = Callable[[int, int | None], None]


def localize(
    database: Database,
    photos: Sequence[str | Path],
    *,
    model: str | Backbone = DEFAULT_MODEL,
    parameters: Parameters | Request | None = None,
    where: Filter | None = None,
    exclusions: Exclusions = NOTHING,
    device: str = "auto",
    record: bool = True,
    progress: Progress | None = None,
) -> Iterator[Localization | Failure]:
    """Localize photos; every answer is recorded before it is yielded, unless `record` is false.

    Without `parameters`, the latest calibration for the model and the filter is used, or the
    defaults if there is none. Parameters are used as they are.
    `exclusions` says which references must not answer: the query's own file, near-duplicates.

    Raises
    ------
    NotFoundError
        Nothing was embedded with this model, or a collection in the filter does not exist.
    ModelError
        The backbone cannot be loaded.
    """
    backbone = model if isinstance(model, Backbone) else load_backbone(model, device=device)
    with database.connection() as connection:
        row = require_model(connection, backbone.description)
        where = where or EVERYTHING
        chosen = chosen_parameters(connection, row, where, parameters)
    uris = [resolve(str(photo)) for photo in photos]

    def answer(outcome: Outcome) -> Localization | Failure:
        if isinstance(outcome, Rejected):
            return failure(outcome)
        return answer_query(
            database,
            row,
            outcome.uri,
            outcome.sha256,
            outcome.embedding,
            chosen,
            where,
            exclusions=exclusions,
            features_ms=outcome.ms,
        )

    embedded = embed_files(backbone, uris)
    for done, given in enumerate(ordered_map(answer, embedded, database.pool_size), start=1):
        if isinstance(given, Failure) or not record:
            yield given
        else:
            with database.connection() as connection:
                (key,) = save(connection, [given])
            yield replace(given, id=key)
        if progress is not None:
            progress(done, len(uris))


def chosen_parameters(
    connection: Connection,
    model: Model,
    where: Filter,
    parameters: Parameters | Request | None,
) -> Parameters:
    """The parameters themselves, or what a request comes to; None is the request for defaults.

    They have the classifiers they need.

    Raises
    ------
    InputError, NotFoundError
        As `Request.parameters` and `find_geocells`.
    """
    chosen = parameters or Request()
    if isinstance(chosen, Request):
        chosen = chosen.parameters(connection, model, where)
    if not chosen.classifies or chosen.geocells is not None:
        return chosen
    return chosen.with_geocells(
        find_geocells(
            connection,
            model,
            where,
            partitions=chosen.partitions,
            classifiers=chosen.classifiers,
        )
    )


def searched(where: Filter, parameters: Parameters, embedding: NDArray[np.float32]) -> Filter:
    """The filter for the neighbours of a query: with `restrict_cells`, in its likely cells."""
    share, geocells = parameters.restrict_cells, parameters.geocells
    if share is None or geocells is None:
        return where
    return where & Within(geocells.likely(embedding).area(share))


def failure(rejected: Rejected) -> Failure:
    """What is given in place of an answer."""
    return Failure(rejected.uri, rejected.rejection.reason, rejected.rejection.message)


def answer_query(
    database: Database,
    model: Model,
    uri: str,
    sha256: bytes,
    embedding: NDArray[np.float32],
    parameters: Parameters,
    where: Filter,
    *,
    exclusions: Exclusions = NOTHING,
    author: str | None = None,
    features_ms: float = 0.0,
    regions: bool = True,
) -> Localization:
    """Answer one embedded query, without recording it.

    `author` is the query's, where known; `exclusions` may leave out references by it. The answer's
    filter says all that was left out.
    """
    started = time.perf_counter()
    if not parameters.retrieves:
        found = Found(NO_NEIGHBOURS, where, None)
    else:
        found = nearest_others(
            database,
            model.id,
            embedding,
            parameters.k,
            searched(where, parameters, embedding),
            exclusions,
            sha256=sha256,
            author=author,
            exact=parameters.exact,
        )
    return answer_from(
        found.neighbours,
        model,
        uri,
        sha256,
        embedding,
        parameters,
        found.where,
        excluded=found.excluded,
        features_ms=features_ms,
        retrieval_ms=1000 * (time.perf_counter() - started),
        regions=regions,
    )


def answer_from(
    found: Neighbours,
    model: Model,
    uri: str,
    sha256: bytes,
    embedding: NDArray[np.float32],
    parameters: Parameters,
    where: Filter,
    *,
    excluded: Excluded | None = None,
    features_ms: float,
    retrieval_ms: float,
    regions: bool,
) -> Localization:
    """The answer that a query's neighbours or cells lead to, without recording it."""
    started = time.perf_counter()
    fitted = parameters.fitted
    place = None
    if not parameters.retrieves:
        assert parameters.geocells is not None
        place = parameters.geocells.likely(embedding).place(LEVELS, regions=regions)
    elif len(found):
        place = locate(
            found.lat,
            found.lon,
            found.distance,
            method=parameters.method,
            bandwidth_km=parameters.bandwidth_km,
            weighting=parameters.weighting,
            levels=LEVELS if fitted is None else (),
            regions=regions and fitted is None,
        )
        if fitted is not None:
            place = at_summit(found.lat, found.lon, place, fitted.sharpness)
    answer = Localization(
        photo=uri,
        sha256=sha256,
        embedding=embedding,
        model_id=model.id,
        model={"name": model.name, "fingerprint": model.fingerprint},
        parameters=parameters if place is None else _resolved(parameters, place),
        where=where,
        neighbours=found,
        weights=np.zeros(0) if place is None else place.weights,
        lat=None if place is None else place.lat,
        lon=None if place is None else place.lon,
        score=None if place is None else place.score,
        radius_km={} if place is None else place.radius_km,
        modes=() if place is None else place.modes,
        regions={} if place is None else place.regions,
        elapsed_ms={},
        software=software_versions(),
        excluded=excluded,
    )
    answer = _judged(answer, regions=regions)
    elapsed = {
        "features": features_ms,
        "retrieval": retrieval_ms,
        "density": 1000 * (time.perf_counter() - started),
    }
    elapsed["total"] = sum(elapsed.values())
    return replace(answer, elapsed_ms={name: round(ms, 3) for name, ms in elapsed.items()})


def _judged(answer: Localization, *, regions: bool) -> Localization:
    """The answer with what its calibration says of it; as it is without one."""
    calibrated, least = answer.calibrated, answer.parameters.min_presence
    if calibrated is None:
        return answer
    judgement, presence = calibrated.judge(LEVELS, regions=regions), calibrated.presence
    return replace(
        answer,
        score=judgement.probability_within_km[SCORE_KM],
        probability_within_km=judgement.probability_within_km,
        confident=None if presence is None or least is None else presence >= least,
        radius_km=judgement.radius_km,
        regions=judgement.regions,
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
