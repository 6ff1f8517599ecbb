"""Nearest neighbours of a query among one model's embeddings: one SQL query, by the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from geosearch.arguments import check_range
from geosearch.database.connection import Database, SearchConnection
from geosearch.database.embedding_tables import ESTIMATED
from geosearch.errors import InputError, NotFoundError
from geosearch.json_record import Record
from geosearch.retrieval.facts import Asks, Facts, ShardFacts, facts, with_facts
from geosearch.retrieval.filters import EVERYTHING, Filter, Photos
from geosearch.retrieval.plan import (
    LeafPlan,
    Plan,
    ShardPart,
    exact_plan,
    few_enough,
    found_recall,
    index_plan,
    leaf_deeper,
    part_plan,
)
from geosearch.retrieval.reach import Reach
from geosearch.retrieval.search import Compared, Rows, Search, Steps, run
from geosearch.retrieval.shard_search import (
    AwayError,
    ShardLink,
    guessed_depths,
    search_together,
    settled,
)
from geosearch.retrieval.tuning import MAX_EF_SEARCH

#: The reason for an exact search that is not the plan's own choice.
ASKED_FOR = "exact search was asked for"

#: Half precision rounds numbers to zero up to the one, and to infinity from the other.
_SMALLEST, _LARGEST = 2.0**-25, 65520.0


#: In place of the inliers of a neighbour that was not compared.
NOT_COMPARED = -1

#: So many inliers, the least that are believed, count as half the distance (docs/verification.md).
_HALVING = 8.0


@dataclass(frozen=True)
class Verification(Record):
    """What comparing the first neighbours with the query picture by picture came to.

    So many were `compared`, of these so many are `alike`: they show the query's own scene. The
    files of others were `unreadable`: missing, forbidden, broken, or not what was ingested, and
    nothing tells which of it. Without `query_read`, the query's own file is. It took `seconds`.
    """

    alike: int
    compared: int
    unreadable: int
    seconds: float
    query_read: bool

    def __str__(self) -> str:
        if not self.query_read:
            return "not verified: its own file cannot be read, or has changed since it was embedded"
        lost = f"; {self.unreadable} could not be read" if self.unreadable else ""
        scene = f"{self.alike} of {self.compared} references show its very scene"
        return f"verified in {self.seconds:.1f} s: {scene}{lost}"


@dataclass(frozen=True)
class Here(Record):
    """Whether what words say is among the references at all, as a calibration of words judges.

    `presence` is the probability of it, at even odds, and `confident` says whether that is enough;
    None where the calibration has not learned what absence is like.
    """

    calibration: int | None
    presence: float | None
    confident: bool | None

    def __str__(self) -> str:
        if self.presence is None:
            return f"calibration {self.calibration} does not know what absence is like"
        said = "in" if self.confident else "not in"
        return (
            f"{said} this collection (presence {self.presence:.2f}, calibration {self.calibration})"
        )


@dataclass(frozen=True, repr=False)
class Neighbours:
    """k neighbours, nearest first: ids, uris, degrees, cosine distances (0 to 2), and the plan.

    Of a verified search, those with inliers come first: `inliers` (k,) are the matches of local
    features that agree with the query's, or `NOT_COMPARED`. Of several models together they are by
    weight, and `member` (k,) is the number of each one's model, from 1. Of words, `here` says
    whether what they say is among the references, where a calibration tells.
    """

    photo_id: NDArray[np.int64]
    uri: tuple[str, ...]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    distance: NDArray[np.float64]
    plan: Plan
    inliers: NDArray[np.int64] | None = None
    verification: Verification | None = None
    member: NDArray[np.int64] | None = None
    here: Here | None = None

    def __len__(self) -> int:
        return len(self.photo_id)

    def __repr__(self) -> str:
        nearest = f", nearest {self.uri[0]!r} at {self.distance[0]:.4f}" if len(self) else ""
        return f"Neighbours({len(self):,}{nearest}, {self.plan.strategy})"

    @property
    def effective_distance(self) -> NDArray[np.float64]:
        """What weights and calibrations go by (k,): the distances, less where there are inliers.

        Neighbours with inliers are at most half as far as the nearest, so nearer than all others.
        """
        if self.inliers is None:
            return self.distance
        effective = self.distance / (1 + np.maximum(self.inliers, 0) / _HALVING)
        alike = self.inliers > 0
        largest = effective[alike].max(initial=0)
        if largest > 0:
            effective[alike] *= min(1.0, float(self.distance.min() / 2 / largest))
        return effective

    def first(self, k: int) -> Self:
        """The `k` nearest of them."""
        return self._chosen(np.arange(min(k, len(self))))

    def verified(self, inliers: NDArray[np.int64], verification: Verification) -> Self:
        """The neighbours ranked by their distances and inliers (k,) together."""
        found = replace(self, inliers=inliers, verification=verification)
        return found._chosen(np.argsort(found.effective_distance, kind="stable"))

    def _chosen(self, index: NDArray[np.intp]) -> Self:
        columns = ("photo_id", "lat", "lon", "distance", "inliers", "member")
        values = ((name, getattr(self, name)) for name in columns)
        chosen = {name: value[index] for name, value in values if value is not None}
        return replace(self, uri=tuple(self.uri[each] for each in index), **chosen)

    def to_json(self) -> list[dict[str, Any]]:
        """The neighbours in order of rank, as JSON; `inliers` are there if some were verified, and
        `member` if several models were asked."""
        return [
            {
                "rank": index + 1,
                "photo_id": int(self.photo_id[index]),
                "uri": self.uri[index],
                "lat": float(self.lat[index]),
                "lon": float(self.lon[index]),
                "distance": float(self.distance[index]),
            }
            | ({} if self.inliers is None else {"inliers": self.counted(index)})
            | ({} if self.member is None else {"member": int(self.member[index])})
            for index in range(len(self))
        ]

    @classmethod
    def joined(cls, parts: Sequence[Neighbours], weights: Sequence[NDArray[np.float64]]) -> Self:
        """Those of several models, each with weights (k,), heaviest first."""
        member = np.repeat(np.arange(1, len(parts) + 1), [len(part) for part in parts])
        every = cls(
            photo_id=np.concatenate([part.photo_id for part in parts]),
            uri=tuple(each for part in parts for each in part.uri),
            lat=np.concatenate([part.lat for part in parts]),
            lon=np.concatenate([part.lon for part in parts]),
            distance=np.concatenate([part.distance for part in parts]),
            plan=parts[0].plan,
            member=member,
        )
        return every._chosen(np.argsort(-np.concatenate(weights), kind="stable"))

    def of_member(self, number: int, plan: Plan) -> Self:
        """Those of one of the models, in its order; `plan` is how they were found."""
        assert self.member is not None
        found = self._chosen(np.flatnonzero(self.member == number))
        return replace(found, plan=plan, member=None)

    def counted(self, index: int) -> int | None:
        """The inliers of a neighbour; None if it was not compared."""
        found = NOT_COMPARED if self.inliers is None else int(self.inliers[index])
        return None if found == NOT_COMPARED else found


#: Those of a query that nothing is searched for.
NO_NEIGHBOURS = Neighbours(
    np.zeros(0, np.int64),
    (),
    np.zeros(0),
    np.zeros(0),
    np.zeros(0),
    Plan("none", "the method needs no neighbours", 0, 0, True, None),
)


def nearest(
    database: Database,
    model_id: int,
    query: NDArray[np.float32],
    k: int,
    where: Filter = EVERYTHING,
    *,
    exact: bool = False,
) -> Neighbours:
    """The `k` photos nearest to `query` (D,) that pass `where`; fewer only if fewer match.

    A filter that passes few photos is answered exactly, at once. Otherwise the cheapest of exact
    search, the index and leaves is taken; an index search that comes back short, or whose last
    neighbour stood too far down for the recall aimed at, is followed by one of leaves or all.

    Raises
    ------
    InputError
        `k` is out of range, or the query is of another dimension or has no direction: it is zero,
        or not finite as halfvec.
    NotFoundError
        A collection or country in the filter does not exist.
    """
    check_k(k)
    # As halfvec, what is smaller becomes zero, and what is larger infinite.
    if query.ndim != 1 or not _SMALLEST < np.abs(query).max(initial=0) < _LARGEST:
        raise InputError("the query embedding is zero or not finite, so it has no direction")
    with database.searcher() as connection:

        def search(known: Facts) -> Neighbours:
            if len(query) != known.dimension:
                raise InputError(
                    f"the query embedding has {len(query)} dimensions, those of the model have "
                    f"{known.dimension}",
                    "Embed the query with the same model.",
                )
            references = where.of_references
            compiled = references.compile(connection)

            def found_here(k: int = k) -> Steps[Neighbours]:
                search = Search(connection, known, query, k, references, compiled=compiled)
                found = yield from _nearest_open(
                    connection, search, known, k, references, exact, reach
                )
                private = _admitted(connection, known, where)
                more = (*private, *([ESTIMATED] if where.includes_estimated else []))
                if more:
                    there = Search(
                        connection, known, query, k, references, shelves=more, compiled=compiled
                    )
                    compared = yield from there.exact()
                    kind = "private or estimated" if ESTIMATED in more else "private"
                    found = _merge(found, compared, sum(private.values()), k, kind)
                return found

            def found_there(link: ShardLink, k: int) -> Steps[Neighbours | None]:
                try:
                    its = facts(database, link, model_id, shard=link.name)
                except NotFoundError:  # nothing has moved there since the model came
                    return None
                search = Search(connection, its, query, k, counting, compiled=counted)
                return (yield from _nearest_open(link, search, its, k, counting, exact, reach))

            reach = cache(partial(references.reach, connection))
            touched = _touched(known.shards, reach) if known.shards else []
            if not touched:
                return run(connection, found_here())
            counting, counted = references, compiled
            if known.moving:
                counting = references & ~Photos(*known.moving)
                counted = counting.compile(connection)
            links = {shard: ShardLink(connection, shard.name, known.watch) for shard in touched}
            depths: dict[ShardLink | None, int] = dict.fromkeys((None, *links.values()), k)
            if counting == EVERYTHING and not (exact or known.private or where.includes_estimated):
                depths = guessed_depths(database, connection, known, links.values(), query, k)
            here = NO_NEIGHBOURS
            parts: dict[ShardLink, Neighbours | AwayError | None] = {}
            while True:
                here, more = search_together(
                    connection,
                    found_here(depths[None]) if None in depths else settled(here),
                    {link: found_there(link, depth) for link, depth in depths.items() if link},
                    partial=database.partial,
                )
                parts |= more
                whole = _with_shards(here, {shard: parts[links[shard]] for shard in touched}, k)
                depths = dict.fromkeys(_cut_short(here, parts, depths, whole, k), k)
                if not depths:
                    return whole

        return with_facts(database, connection, model_id, search)


def check_k(k: int) -> None:
    """Raise `InputError` for a number of neighbours that is out of range."""
    check_range("k", k, 1, MAX_EF_SEARCH)


def _touched(shards: Sequence[ShardFacts], reach: Callable[[], Reach]) -> list[ShardFacts]:
    """The shards that may have photos so far."""
    places = reach().places
    return [
        shard
        for shard in shards
        if places is None
        or any(
            box[0] <= shard.box[2]
            and box[2] >= shard.box[0]
            and box[1] <= shard.box[3]
            and box[3] >= shard.box[1]
            for box in places
        )
    ]


def _nearest_open(
    connection: Asks,
    search: Search,
    known: Facts,
    k: int,
    where: Filter,
    exact: bool,
    reach: Callable[[], Reach],
) -> Steps[Neighbours]:
    """Of the public collections, all that `search` is over; plans are asked of `connection`."""
    if exact:
        return (yield from _exactly(search, known, ASKED_FOR))
    if known.index is None:
        return (yield from _exactly(search, known, "the model has no index"))
    leaves: LeafPlan | None = None
    if where == EVERYTHING:
        plan = index_plan(connection, known, k)
    elif not where.selects:
        plan = index_plan(connection, known, k, share=1.0, likes=1.0)
    else:
        compared = yield from search.exact_if_few(few_enough(connection, known, k))
        if compared.complete:
            reason = "few matching photos: all were compared"
            return exact_neighbours(compared, known.total, reason)
        share = max(compared.share or 0.0, compared.matches / max(known.total, 1))
        # Unless most pass, photos like the query may be just those that do, or none of them.
        likes = share if share >= known.most else (yield from search.likes())
        if known.leaves:
            plan, leaves = part_plan(connection, known, k, share, likes, reach())
        else:
            plan = index_plan(connection, known, k, share, likes)
    if isinstance(plan, str):
        short = plan
    else:
        assert plan.ef_search is not None
        rows = yield from search.by_index(plan.ef_search)
        if len(rows) < k:
            short = f"the index gave {len(rows)} of {k}"
        else:
            last = max(row[-1] for row in rows)
            recall, enough = found_recall(connection, known, known.tuning, plan.ef_search, last)
            if enough:
                plan = replace(plan, rows_scanned=plan.candidates, expected_recall=recall)
                return _collect(rows, plan)
            short = f"the index gave recall {recall:.3f}"
    if leaves is not None:
        found = yield from _by_leaves(connection, search, known, leaves, k)
        if found is not None:
            return found
        short = "leaves would have to be searched deeper than pays"
    elif isinstance(plan, str):
        return (yield from _exactly(search, known, plan))
    return (yield from _exactly(search, known, f"{short}, so all matching photos were compared"))


def _by_leaves(
    connection: Asks, search: Search, known: Facts, planned: LeafPlan, k: int
) -> Steps[Neighbours | None]:
    """None if the leaves hold fewer than `k`, or would have to be searched deeper than pays."""
    again: LeafPlan | None = planned
    rows: Rows = ()
    recall, scanned = 1.0, 0
    while again is not None:
        rows, rank, short = yield from search.by_leaves(again, rows)
        scanned += len(again.conditions) * again.rank
        if rank:
            found, _ = found_recall(connection, known, again.tuning, again.ef_search, rank)
            recall = min(recall, recall if found is None else found)
        if not short:
            break
        again = leaf_deeper(connection, known, again, short)
    if again is None or len(rows) < k:
        return None
    plan = Plan(
        "leaves",
        planned.reason,
        known.total,
        planned.matches,
        False,
        recall,
        rows_scanned=scanned,
        candidates=planned.rank,
        ef_search=planned.ef_search,
        leaves=len(planned.conditions),
    )
    return _collect(rows, plan)


def _admitted(connection: SearchConnection, known: Facts, where: Filter) -> dict[int, int]:
    """The private shelves that the filter may pass photos of, and their embeddings: an answer that
    does not rest on the others says nothing of them.
    """
    if not known.private or where == EVERYTHING:
        return known.private
    asked = "SELECT geosearch.admitted_collections(%s)"
    row = connection.execute(asked, (Jsonb(where.to_json()),), prepare=True).fetchone()
    assert row is not None
    return {shelf: rows for shelf, rows in known.private.items() if shelf in row[0]}


def _merge(public: Neighbours, private: Compared, total: int, k: int, kind: str) -> Neighbours:
    """The nearest of both; all of `total` private photos that pass were compared, so recall is that
    of the public.
    """
    plan = public.plan
    return _nearest_of(
        [public, _collect([row[:5] for row in private.rows], plan)],
        k,
        replace(
            plan,
            strategy="exact" if plan.strategy == "empty" and private.matches else plan.strategy,
            reason=f"{plan.reason}; {private.matches} {kind} photos were compared",
            total=plan.total + total,
            matches=plan.matches + private.matches,
            rows_scanned=(plan.rows_scanned or 0) + private.matches,
        ),
    )


def _with_shards(
    here: Neighbours, there: Mapping[ShardFacts, Neighbours | AwayError | None], k: int
) -> Neighbours:
    """The nearest of those here and those that shards have found; the least recall of all."""
    plan = here.plan
    found = [each for each in there.values() if isinstance(each, Neighbours)]
    plans = [plan, *(each.plan for each in found)]
    recalls = [each.expected_recall for each in plans]
    # By an index, if any was; exactly, if any had something to compare.
    strategies = {each.strategy for each in plans}
    strategy = next(each for each in ("ann", "leaves", "exact", "empty") if each in strategies)
    parts = [_part(shard, each) for shard, each in there.items() if each is not None]
    said = (
        f"the shard {part.name} is missing"
        if part.trouble
        else f"shard {part.name}: {part.strategy}"
        for part in parts
    )
    return _nearest_of(
        [here, *found],
        k,
        replace(
            plan,
            strategy=strategy,
            reason="; ".join([plan.reason, *said]),
            total=sum(each.total for each in plans),
            matches=sum(each.matches for each in plans),
            matches_exact=all(each.matches_exact for each in plans),
            expected_recall=None if None in recalls else min(map(float, recalls)),  # type: ignore[arg-type]
            truncated=plan.truncated or len(found) < len(parts),
            shards=tuple(parts),
        ),
    )


def _cut_short(
    here: Neighbours,
    there: Mapping[ShardLink, Neighbours | AwayError | None],
    depths: Mapping[ShardLink | None, int],
    whole: Neighbours,
    k: int,
) -> list[ShardLink | None]:
    """The parts that were searched less deep than `k`, and may have more of the nearest."""
    last = whole.distance[-1] if len(whole) == k else np.inf
    met = {link: here if link is None else there[link] for link in depths}
    return [
        link
        for link, found in met.items()
        if isinstance(found, Neighbours)
        and len(found) == depths[link] < k
        and found.distance[-1] <= last
    ]


def _part(shard: ShardFacts, found: Neighbours | AwayError) -> ShardPart:
    if isinstance(found, AwayError):
        return ShardPart(shard.name, None, None, 0, None, found.trouble, shard.extent)
    plan = found.plan
    return ShardPart(shard.name, plan.strategy, plan.expected_recall, plan.matches, plan.reason)


def _nearest_of(parts: Sequence[Neighbours], k: int, plan: Plan) -> Neighbours:
    """The nearest of all parts, of at most `k` each, together."""
    parts = [part for part in parts if len(part)] or parts[:1]
    if len(parts) == 1:
        return replace(parts[0], plan=plan)
    every = Neighbours(
        np.concatenate([part.photo_id for part in parts]),
        tuple(uri for part in parts for uri in part.uri),
        np.concatenate([part.lat for part in parts]),
        np.concatenate([part.lon for part in parts]),
        np.concatenate([part.distance for part in parts]),
        plan,
    )
    return every._chosen(np.lexsort((every.photo_id, every.distance))[:k])


def _exactly(search: Search, known: Facts, reason: str) -> Steps[Neighbours]:
    return exact_neighbours((yield from search.exact()), known.total, reason)


def exact_neighbours(compared: Compared, total: int, reason: str) -> Neighbours:
    """What an exact search of a model with `total` embeddings met, as neighbours."""
    return _collect(compared.rows, exact_plan(total, compared.matches, reason))


def _collect(rows: Rows, plan: Plan) -> Neighbours:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    photo_id = np.array(columns[0], dtype=np.int64)
    lat, lon, distance = np.array(columns[2:5], dtype=np.float64)
    return Neighbours(photo_id, tuple(columns[1]), lat, lon, distance, plan)
