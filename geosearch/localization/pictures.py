"""What photos show by their neighbours: found, placed, and each searched for once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from geosearch.database.connection import Database
from geosearch.defaults import DUPLICATE_DISTANCE
from geosearch.density import Mixture, Place, locate
from geosearch.features.extraction import queries_of
from geosearch.features.model_rows import Model
from geosearch.localization.answer import Parameters, calibrated
from geosearch.query import Query
from geosearch.retrieval import Filter, Neighbours
from geosearch.retrieval.duplicates import NOTHING, Exclusions, Found, nearest_others
from geosearch.retrieval.neighbours import NO_NEIGHBOURS
from geosearch.retrieval.place_conditions import Within
from geosearch.timeline.session_chain import MOST_A_SIDE, Seen
from geosearch.timeline.time_evidence import TimeEvidence
from geosearch.timeline.timeline_prior import NOTHING_KNOWN, with_session
from geosearch.timeline.timeline_rows import find_session
from geosearch.verification import verified

#: Levels of the radii and regions of an answer.
LEVELS = (0.5, 0.9)

#: What so many photos show is kept for those taken before and after them.
_KEPT = 500

T = TypeVar("T")


class _Once(Generic[T]):
    """Values by key, each made once, by whichever thread needs it first; the latest are kept."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: OrderedDict[Hashable, Future[T]] = OrderedDict()

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            found = self._made.get(key)
            mine = found is None
            if found is None:
                found = self._made[key] = Future()
                if len(self._made) > _KEPT:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
        if mine:
            try:
                found.set_result(make())
            except BaseException as error:
                found.set_exception(error)
                with self._lock:
                    self._made.pop(key, None)
                raise
        return found.result()


def find_neighbours(
    database: Database,
    model: Model,
    query: Query,
    parameters: Parameters,
    where: Filter,
    exclusions: Exclusions = NOTHING,
    *,
    k: int | None = None,
) -> Found:
    """What a query is answered by: its nearest neighbours, with `restrict_cells` in likely cells.

    None for a method that goes without. `k` instead of that of the parameters finds more. Those
    that the parameters have verified are.
    """
    if not parameters.retrieves:
        return Found(NO_NEIGHBOURS, where, None)
    share, geocells = parameters.restrict_cells, parameters.geocells
    if share is not None and geocells is not None:
        where &= Within(geocells.likely(query.embedding).area(share))
    k = k or parameters.k
    found = nearest_others(
        *(database, model.id, query, max(k, parameters.verify), where, exclusions),
        exact=parameters.exact,
    )
    return verified(database, found, query, parameters.verify).first(k)


def place_of(
    found: Neighbours, query: Query, parameters: Parameters, *, regions: bool
) -> Place | None:
    """The place before any calibration has judged it; None without neighbours."""
    fitted = parameters.fitted
    if not parameters.retrieves:
        assert parameters.geocells is not None
        return parameters.geocells.likely(query.embedding).place(LEVELS, regions=regions)
    if not len(found):
        return None
    if fitted is not None:
        return fitted.place(found.lat, found.lon, found.effective_distance)
    return locate(
        found.lat,
        found.lon,
        found.effective_distance,
        method=parameters.method,
        bandwidth_km=parameters.bandwidth_km,
        weighting=parameters.weighting,
        levels=LEVELS,
        regions=regions,
    )


class Look(NamedTuple):
    """The density of a photo by its picture, and whether its place seems to be known."""

    mixture: Mixture
    confident: bool


@dataclass(frozen=True, eq=False)
class Pictures:
    """What photos show by the same model, parameters, filter and exclusions; for many threads.

    With `again`, what is asked about may tell others of its session too: it is searched for once.
    """

    database: Database
    model: Model
    parameters: Parameters
    where: Filter
    exclusions: Exclusions = NOTHING
    again: bool = False
    _found: _Once[Found] = field(default_factory=_Once, repr=False)
    _looks: _Once[Look | None] = field(default_factory=_Once, repr=False)

    def found(self, query: Query) -> Found:
        """What a query is answered by."""
        asked = self.parameters, self.where, self.exclusions

        def search() -> Found:
            return find_neighbours(self.database, self.model, query, *asked)

        return self._found(_key(query), search) if self.again else search()

    def look(self, query: Query) -> Look | None:
        """What a picture shows; None without neighbours."""
        return self._looks(_key(query), lambda: self._look(query))

    def _look(self, query: Query) -> Look | None:
        near, parameters = self.found(query).neighbours, self.parameters
        place = place_of(near, query, parameters, regions=False)
        if place is None:
            return None
        known = calibrated(parameters, near, place)
        if known is not None:
            return Look(known.mixture, known.confident is not False)
        mixture = Mixture.of_neighbours(near.lat, near.lon, place.weights, place.bandwidth_km)
        return Look(mixture, confident=True)

    def with_session(self, query: Query, evidence: TimeEvidence) -> TimeEvidence:
        """The evidence with what photos without positions tell that were taken near in time.

        By their stored embeddings, those nearest in time. A picture that shows next to nothing
        tells none, nor does a near-duplicate of the query or of another that tells.
        """
        moment = evidence.timeline or NOTHING_KNOWN
        asked = {
            "filter": self.where.to_json(),
            "exclusions": self.exclusions.to_json(),
            "bandwidth_km": self.parameters.bandwidth_km,
        }
        evidence = replace(evidence, asked=asked)
        with self.database.connection() as connection:
            near = find_session(connection, evidence.photo, self.where, moment)
            keys = [seen.photo_id for seen in near]
            stored = queries_of(connection, self.model, keys) if keys else {}
        seen = [(each, self.look(other)) for each, other in nearest_in_time(near, stored, query)]
        told = [(each, look) for each, look in seen if look is not None]
        if not told:
            return evidence
        moment = with_session(
            evidence.fusion.movement,
            moment,
            [(each, look.mixture) for each, look in told],
            confident=any(look.confident for _, look in told),
        )
        return replace(evidence, timeline=moment)


def _key(query: Query) -> Hashable:
    """What a query is searched by; photos by its author may be left out."""
    return query.sha256, query.author, query.embedding.tobytes()


def nearest_in_time(
    near: list[Seen], stored: dict[int, Query], query: Query
) -> list[tuple[Seen, Query]]:
    """Of the photos near one in time, those that tell something of it, with their embeddings."""
    kept: list[tuple[Seen, Query]] = []
    count = {True: 0, False: 0}
    for seen in sorted(near, key=lambda each: abs(each.hours)):
        other, after = stored.get(seen.photo_id), seen.hours > 0
        if other is None or not len(other.embedding) or other.low_information is not None:
            continue
        alike = (query, *(one for _, one in kept))
        if count[after] == MOST_A_SIDE or any(_same(other, one) for one in alike):
            continue
        kept.append((seen, other))
        count[after] += 1
    return kept


def _same(query: Query, other: Query) -> bool:
    """Whether the one is a near-duplicate of the other."""
    near = float(query.embedding @ other.embedding) > 1 - DUPLICATE_DISTANCE
    return near or query.sha256 == other.sha256
