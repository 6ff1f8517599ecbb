"""Fit a calibration to labelled queries, and keep it with its figures on those held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import Paths
from geosearch.authors import source
from geosearch.calibration import Calibration, Fitted
from geosearch.calibration.calibration_figures import measure
from geosearch.calibration.calibration_fit import FOLDS, fit
from geosearch.calibration.calibration_rows import (
    count_passing,
    differences,
    find_calibration,
    save,
)
from geosearch.calibration.domain import Domain
from geosearch.calibration.labelled_example import Example
from geosearch.database.connection import Connection, Database
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError, NotFoundError
from geosearch.evaluation.answers import by_every_model
from geosearch.evaluation.evaluating import (
    LEAKAGE,
    Asked,
    distances_that_fit,
    embedded,
    find_queries,
)
from geosearch.evaluation.queries import Labelled, QuerySet
from geosearch.evaluation.query_sharing import Sharing, Usable
from geosearch.features.backbones import stored_spec
from geosearch.features.extraction import Outcome, queries_of
from geosearch.features.model_rows import Model, model_by_fingerprint, model_by_id
from geosearch.json_record import Record
from geosearch.localization.pictures import nearest_in_time
from geosearch.localization.several_models import Models, name_of
from geosearch.parallel import ordered_map
from geosearch.query import Query
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.duplicates import Exclusions, nearest_others
from geosearch.retrieval.place_conditions import Near
from geosearch.timeline import Movement, fit_movement
from geosearch.timeline.movement_fit import drawn_holes
from geosearch.timeline.time_asked import NOTHING_MORE, TimeAsked
from geosearch.timeline.timeline_rows import (
    Dated,
    find_moment,
    find_session,
    read_timelines,
    stored_dated,
)
from geosearch.timeline.track_files import read_tracks
from geosearch.verification import require_opencv, verified
from geosearch.versions import software_versions
from geosearch.waiting import Progress

#: Queries without which nothing can be fitted, and below which figures are loose.
FEWEST, FEW = 20, 100

#: Of about so many queries it is asked what time says of them: each takes up to 18 searches more.
MOST_ASKED_OF_TIME = 500

#: The smallest circle in which references are hidden, kilometres: a metre.
_NEAREST_KM = 1e-3


class CalibrateOptions(TypedDict, total=False):
    """Options of `calibrate`, for those who pass them on."""

    k: int
    verify: int
    exact: bool
    absent_km: float | None
    within_km: tuple[float, ...] | None
    sample: int | None
    seed: int
    force: bool
    track: Paths | None
    progress: Progress | None


def calibrate(
    database: Database,
    queries: str | PathLike[str] | QuerySet | None,
    *,
    model: Models = DEFAULT_MODEL,
    k: int = 100,
    verify: int = 0,
    where: Filter = EVERYTHING,
    exclusions: Exclusions = LEAKAGE,
    exact: bool = False,
    absent_km: float | None = None,
    within_km: tuple[float, ...] | None = None,
    sample: int | None = None,
    seed: int = 0,
    force: bool = False,
    track: Paths | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Calibration:
    """Fit a calibration to one half of labelled queries, measure it on the other, and record it.

    Parameters
    ----------
    queries
        A manifest (uri, lat, lon, author) or a set of queries; None takes the photos that pass
        `where` themselves, each answered by the others. Of texts, as those of `text_queries` and
        `TITLES`, the calibration is for words, and of anything else for photos.
    model
        A model, or several: then each is fitted alone, and what they are worth together.
    k
        Neighbours to retrieve; the calibration may settle on fewer.
    verify
        Verify so many of them geometrically; the calibration is for answers that do the same.
    absent_km
        To learn what absence looks like, each query is asked again without the references nearer
        to its true place than this, kilometres; None hides what is near at the scale
        of its neighbours (`Example.near_km`).
    within_km
        Distances, in km, for which answers are to say how likely a smaller error is; None takes
        those that fit the photos searched.
    sample, seed
        Take so many queries, drawn at random; the seed decides the halves too.
    force
        Record it even if the held-out half is worse off with it than without.
    track
        Files that say where the photographers were: it is learned what tracks are worth, too.

    Raises
    ------
    InputError
        The manifest or a track cannot be read, fewer than 20 of its queries can be used, or the
        calibration is worse than none.
    NotFoundError
        Nothing was embedded with this model, or a collection in the filter does not exist.
    """
    found, asked = find_queries(database, queries, model, where, device)
    asked = asked.sample(sample, seed)
    exclusions = asked.left_out(exclusions)
    models = [row for row, _ in found]
    row, *others = models
    if others and verify:
        raise InputError("`verify` is for one model", "Leave it out, or calibrate one model.")
    if asked.words and (verify or track is not None):
        raise InputError("`verify` and `track` are of photos, and words are asked", "Leave it out.")
    require_opencv(verify)
    times = TimeAsked(None if track is None else read_tracks(track))
    how = _How(k, verify, where, exclusions, exact, absent_km, times)
    usable = _answered(database, found, asked, how, progress)
    if len(usable) < FEWEST:
        raise InputError(
            f"{asked.name}: only {len(usable)} queries can be used; a calibration needs {FEWEST}",
            f"Label more photos: below {FEW} the figures are loose.",
        )
    if within_km is None:
        with database.connection() as connection:
            within_km = distances_that_fit(connection, row.id, where)
    shared = Sharing(seed, exclusions.same_author)
    fitting = shared.parts(usable, 2) == 0
    if not fitting.any() or fitting.all():
        raise InputError(
            f"{asked.name}: all queries are of one place, so none can be held out",
            "Add queries from elsewhere.",
        )
    with database.connection() as connection:
        movement = None if asked.words else fit_movement(read_timelines(connection, where))
    fingerprints = tuple(each.fingerprint for each in others)
    fitted, held = fit_to(usable, fitting, within_km, movement, fingerprints)
    figures = measure(fitted, *held)
    if figures["worse"] and not force:
        raise InputError(
            f"{asked.name}: {len(held[0])} held-out queries are worse off with this calibration, "
            f"so it is not recorded: {'; '.join(figures['worse'])}",
            "Label queries of the kind that will be asked, and more of them; or give `force`.",
        )
    with database.connection() as connection:
        references = [count_passing(connection, each.id, where) for each in models]
    domain = Domain(
        queries=asked.name,
        n=len(usable),
        made=f"{datetime.now(UTC):%Y-%m-%d}",
        references=references[0],
        where=where.to_json(),
        coverage=figures["coverage"],
        verify=verify,
        words=asked.words,
    )
    domains = [replace(domain, references=each) for each in references]
    fitted = refit(usable, fitted, shared, movement).with_domains(domains)
    calibration = Calibration(
        model_id=row.id,
        model=name_of(models),
        where=where,
        fitted=fitted,
        figures=figures,
        queries=asked.name,
        options={
            "k": k,
            "verify": verify,
            "exact": exact,
            "absent_km": absent_km,
            "force": force,
            "sample": sample,
            "seed": seed,
            "exclusions": exclusions.to_json(),
            "source": source([query.author for query in asked.queries]),
            "models": [each.id for each in models],
            **times.to_json(),
        },
        n_fit=int(fitting.sum()),
        n_check=len(held[0]),
        failed=len(asked) - len(usable) + len(asked.failures),
        software=software_versions(),
    )
    with database.connection() as connection:
        return save(connection, calibration)


@dataclass(frozen=True)
class Checked(Record):
    """How a calibration does on queries that it has not seen.

    `outside` says in what references and filter differ from those it was fitted for; `figures` are
    those of `Calibration`; `n` queries were answered and `failed` were not.
    """

    calibration_id: int
    queries: str
    n: int
    failed: int
    outside: tuple[str, ...]
    figures: Mapping[str, Any]


def check_calibration(
    database: Database,
    calibration_id: int,
    queries: str | PathLike[str] | QuerySet | None,
    *,
    where: Filter | None = None,
    exclusions: Exclusions = LEAKAGE,
    exact: bool = False,
    sample: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Checked:
    """Measure a calibration again, on fresh queries and the references as they are now.

    `queries` are as `calibrate` takes them, and so are the options; without a filter it is the
    calibration's own.

    Raises
    ------
    InputError
        The manifest cannot be read, or none of its queries can be used.
    NotFoundError
        There is no such calibration, or nothing was embedded with its model.
    """
    with database.connection() as connection:
        calibration = find_calibration(connection, calibration_id)
    where, fitted = where or calibration.where, calibration.fitted
    model = _models_of(database, calibration)
    if queries is not None:  # whose networks are loaded
        model = [stored_spec(each) for each in model]
    found, asked = find_queries(database, queries, model, where, device)
    if asked.words != fitted.words:
        raise InputError(
            f"calibration {calibration_id} was fitted to {'words' if fitted.words else 'photos'}",
            "Give texts, or titles." if fitted.words else "Give photos.",
        )
    asked, exclusions = asked.sample(sample, seed), asked.left_out(exclusions)
    verify = 0 if fitted.domain is None else fitted.domain.verify
    require_opencv(verify)
    absent_km = calibration.options.get("absent_km")
    k = max(each.k for each in fitted.alone)
    how = _How(k, verify, where, exclusions, exact, absent_km)
    usable = _answered(database, found, asked, how, progress)
    if not usable:
        raise InputError(f"{asked.name}: none of the queries can be used")
    with database.connection() as connection:
        outside = tuple(
            said
            for (row, _), one in zip(found, fitted.alone, strict=True)
            for said in differences(connection, row.id, where, one, verify)
        )
    return Checked(
        calibration_id,
        asked.name,
        len(usable),
        len(asked) - len(usable) + len(asked.failures),
        outside,
        measure(fitted, *_examples(usable)),
    )


def _models_of(database: Database, calibration: Calibration) -> list[str]:
    """The names of the models of a calibration."""
    fingerprints = calibration.fitted.fingerprints
    if not fingerprints:
        return [calibration.model]
    with database.connection() as connection:
        first = (
            None if calibration.model_id is None else model_by_id(connection, calibration.model_id)
        )
        found = [first, *(model_by_fingerprint(connection, each) for each in fingerprints)]
    names = [each.name for each in found if each is not None]
    if len(names) < len(found):
        raise NotFoundError(
            f"a model of calibration {calibration.id}, {calibration.model}, was deleted",
            "Embed the photos with it again.",
        )
    return names


class _How(NamedTuple):
    k: int
    verify: int
    where: Filter
    exclusions: Exclusions
    exact: bool
    absent_km: float | None
    times: TimeAsked = NOTHING_MORE


@dataclass(frozen=True)
class _Searches:
    """The searches for a labelled query, `queries` being its embeddings by the models."""

    database: Database
    models: Sequence[Model]
    labelled: Labelled
    queries: Sequence[Query]
    how: _How

    def usable(self, share_timed: float) -> Usable | None:
        """What is found, asked of time too if it is of such a share of all; None if nothing is."""
        found = self._by_all(self.how.where)
        if found is None:
            return None
        km = self.how.absent_km or max(found.near_km, _NEAREST_KM)
        if _drawn(self.queries[0], share_timed):
            found = replace(found, timed=tuple(self._timed(found)))
        absent = self._by_all(self.how.where & ~Near(*self.labelled.truth, km))
        return self.labelled, found, absent

    def _by_one(self, model: Model, query: Query, passing: Filter) -> Example | None:
        how, k = self.how, max(self.how.k, self.how.verify)
        found = nearest_others(
            self.database, model.id, query, k, passing, how.exclusions, exact=how.exact
        )
        near = verified(self.database, found, query, how.verify).neighbours.first(how.k)
        if not len(near):
            return None
        return Example(near.lat, near.lon, near.effective_distance, self.labelled.truth)

    def _by_all(self, passing: Filter) -> Example | None:
        pairs = zip(self.models, self.queries, strict=True)
        found = [self._by_one(*pair, passing) for pair in pairs]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        return replace(known[0], others=tuple(known[1:]))

    def _timed(self, found: Example) -> Iterator[Example]:
        # As if those who took it had taken nothing for a while that has a position: no photo to
        # place it by, and none that looks like it. What they took then tells by its pictures.
        query, first, where = self.queries[0], self.models[0], self.how.where
        with self.database.connection() as connection:
            known = _dated(connection, self.labelled, query)
            photo = known.without_position(*self.labelled.truth)
            on_track = self.how.times.on_track(connection, photo, where)
        track = on_track.chances if on_track else ()
        for hole in drawn_holes(np.random.default_rng(list(query.sha256))):
            with self.database.connection() as connection:
                moment = find_moment(connection, photo, where, hole)
                near = find_session(connection, photo, where, moment, hole) if hole else []
                stored = queries_of(connection, first, [seen.photo_id for seen in near])
            if not moment and not near and not track:
                return
            passing = known.without_meanwhile(where, hole)
            one = self._by_all(passing) if hole else found
            if one is None:
                return
            session = [
                (seen, shown)
                for seen, other in nearest_in_time(near, stored, query)
                if (shown := self._by_one(first, other, passing)) is not None
            ]
            if moment or session or track:
                yield replace(one, moment=moment, session=tuple(session), track=track)


def _answered(
    database: Database,
    models: Asked,
    asked: QuerySet,
    how: _How,
    progress: Progress | None,
) -> list[Usable]:
    """The queries that have neighbours, with these. A source may find its own photos."""
    agency = source([query.author for query in asked.queries])
    own = how._replace(exclusions=replace(how.exclusions, same_author=False))

    def ask(pair: tuple[Labelled, tuple[Outcome, ...]]) -> Usable | None:
        labelled, outcomes = pair
        queries = by_every_model(outcomes)
        if not queries:
            return None
        named = agency is not None and labelled.author == agency
        rows = [row for row, _ in models]
        searches = _Searches(database, rows, labelled, queries, own if named else how)
        return searches.usable(0 if asked.words else MOST_ASKED_OF_TIME / len(asked))

    usable = []
    pairs = embedded(database, models, asked)
    for done, item in enumerate(ordered_map(ask, pairs, database.pool_size), start=1):
        if item is not None:
            usable.append(item)
        if progress is not None:
            progress(done, len(asked))
    return usable


def _drawn(query: Query, share: float) -> bool:
    """Whether a query is of a share of all, drawn by its bytes."""
    return int.from_bytes(query.sha256[:4], "big") < share * 2**32


def _dated(connection: Connection, labelled: Labelled, query: Query) -> Dated:
    """When a query was taken and by whom: as the database has it, or its manifest."""
    known = Dated(query.sha256, labelled.taken_at, "known", labelled.author)
    return stored_dated(connection, query.sha256) or known


def fit_to(
    usable: Sequence[Usable],
    chosen: NDArray[np.bool_],
    within_km: tuple[float, ...],
    movement: Movement | None = None,
    fingerprints: tuple[str, ...] = (),
) -> tuple[Fitted, tuple[list[Example], list[Example]]]:
    """A calibration fitted to the chosen queries (n,), and the examples of the others."""
    mine, others = (
        _examples([one for one, use in zip(usable, chosen, strict=True) if use == half])
        for half in (True, False)
    )
    return fit(*mine, within_km, movement=movement, fingerprints=fingerprints), others


def refit(
    usable: Sequence[Usable], fitted: Fitted, shared: Sharing, movement: Movement | None = None
) -> Fitted:
    """A calibration with the settings of another, fitted to all queries.

    What is learned from queries that were not fitted to, such as levels, is learned from all of
    them: each part of `shared` is left out once. What time is worth may be learned from all where
    one half was too few.
    """
    fold = shared.parts(usable, FOLDS)
    hidden = np.array([one[2] is not None for one in usable])
    folds = fold, fold[hidden]
    return fit(
        *(*_examples(usable), fitted.within_km),
        settings=fitted,
        folds=folds,
        movement=movement,
        fingerprints=fitted.fingerprints,
    )


def _examples(items: Sequence[Usable]) -> tuple[list[Example], list[Example]]:
    return [item[1] for item in items], [item[2] for item in items if item[2] is not None]
