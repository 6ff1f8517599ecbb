"""Measures what an index finds, against exact search, and what searches cost; keeps the figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from geosearch.arguments import check_range
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import OPEN, embedding_table
from geosearch.database.inserting import insert_all
from geosearch.errors import NotFoundError
from geosearch.json_record import Record
from geosearch.retrieval.batch import nearest_batch
from geosearch.retrieval.facts import Facts, facts, forget
from geosearch.retrieval.filters import EVERYTHING, BoundingBox, Filter, Near
from geosearch.retrieval.leaves import LEAF_OPTIONS, Leaf, find_leaves
from geosearch.retrieval.neighbours import check_k, nearest
from geosearch.retrieval.search import Search, run
from geosearch.retrieval.tuning import (
    EF_SEARCHES,
    MAX_EF_SEARCH,
    RANKS,
    TIE,
    Point,
    Tuning,
    load_tuning,
    load_tunings,
    recall_by_rank,
    save_tuning,
    search_setting,
)

Progress = Callable[[str, int, int], None]

#: Stored embeddings that serve as queries of the curve, and of each filter of the sweep.
CURVE_SAMPLE = 200
SWEEP_SAMPLE = 20
#: And of the curve of leaves, each in one of them, mostly not its own.
LEAF_SAMPLE = 100
SELECTIVITIES = (0.1, 0.01, 0.001)
#: Exact search is timed in so many circles that hold so many photos, and in some that hold one.
_COST_QUERIES, _COST_SIZE = 9, 10_000


@dataclass(frozen=True)
class Check:
    """Recall of the plans geosearch chose, for one kind of filter.

    `by_index`: how many of the `queries` the index answered; the others were exact. `complete`:
    no query came back with fewer than min(k, matching) neighbours.
    """

    placement: str
    selectivity: float
    k: int
    queries: int
    by_index: int
    complete: bool
    recall: float
    ms: float


@dataclass(frozen=True)
class Health(Record):
    """Whether the recall an index was tuned for still holds.

    `recall` (with its standard error) is measured now, at the setting in use; `tuned_recall` was
    measured when the index was tuned, when there were `tuned_rows` embeddings.
    """

    target: float
    k: int
    ef_search: int
    recall: float
    standard_error: float
    tuned_recall: float
    rows: int
    tuned_rows: int
    holds: bool
    checks: tuple[Check, ...]
    leaves: tuple[LeafHealth, ...] = ()


@dataclass(frozen=True)
class LeafHealth:
    """The same of the leaves of one family and level, alone."""

    family: str
    level: int
    ef_search: int
    recall: float
    standard_error: float
    holds: bool


@dataclass(frozen=True)
class _Sample:
    photo_id: NDArray[np.int64]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    embedding: NDArray[np.float32]


def tune(
    database: Database,
    model_id: int,
    target: float = 0.98,
    k: int = 100,
    *,
    progress: Progress | None = None,
) -> tuple[Tuning, list[Check]]:
    """Measure the index of a model and store the figures, which all its plans rest on from now.

    The curve: recall by rank and time, for each setting. The costs of exact search. The sweep:
    what filtered searches really find, near the query and far from it. Where no setting reaches the
    target, the best recall there is becomes the target.

    Raises
    ------
    InputError
        `target` or `k` is out of range.
    NotFoundError
        The model has no index, or no embeddings.
    """
    check_aim(target, k)
    forget(database)
    with database.connection() as connection:
        known = facts(database, connection, model_id)
        if known.index is None:
            raise NotFoundError(f"model {model_id} has no index", "Run: geosearch index")
        sample = _sample(connection, model_id, CURVE_SAMPLE, salt=0)
    curve = _index_curve(database, known, sample, EF_SEARCHES, progress)
    fixed_ms, row_ms = _exact_cost(database, known, sample)
    measured = Tuning(
        target=target,
        k=k,
        sample=len(sample.photo_id),
        rows=known.total,
        index_definition=known.index.definition,
        exact_fixed_ms=fixed_ms,
        exact_row_ms=row_ms,
        points=tuple(point for point, _ in curve),
    )
    with database.connection() as connection:
        tuning = save_tuning(connection, model_id, measured, min(k, _deepest(known)))
        leaves = find_leaves(connection, model_id)
    for (family, level), searches in _searches_of_leaves(database, known, leaves, salt=1):
        measured = replace(
            measured,
            family=family,
            level=level,
            index_definition=LEAF_OPTIONS,
            sample=len(searches),
            points=tuple(point for point, _ in _curve(searches, EF_SEARCHES, progress)),
        )
        with database.connection() as connection:
            save_tuning(connection, model_id, measured, min(k, searches[0].depth))
    forget(database)
    return tuning, sweep(database, known, k, progress=progress)


def check_aim(target: float, k: int) -> None:
    """Raise `InputError` for a recall or a number of neighbours that no index can be tuned for."""
    check_range("recall", target, 0, 1, above=True)
    check_k(k)


def check(database: Database, model_id: int, *, progress: Progress | None = None) -> Health:
    """Measure again, with other queries than the tuning's, whether its recall still holds.

    It holds if the recall now is not below the target by more than two standard errors, and
    every filtered search returned all it should.

    Raises
    ------
    NotFoundError
        The model has no index or no embeddings, or it was never tuned, or with so few embeddings
        that the curve does not reach down to its k.
    """
    forget(database)
    with database.connection() as connection:
        known = facts(database, connection, model_id)
        tuning = load_tuning(connection, model_id)
        if known.index is None or tuning is None:
            raise NotFoundError(f"model {model_id} has no tuned index", "Run: geosearch index")
        sample = _sample(connection, model_id, CURVE_SAMPLE, salt=known.total + 1)
        rank = min(tuning.k, _deepest(known))
        setting = search_setting(connection, tuning, rank)
    if setting is None:
        raise NotFoundError(
            f"the recall of {rank} neighbours was never measured: the index was tuned with "
            f"{tuning.rows} embeddings, now there are {known.total}",
            "Run: geosearch index",
        )
    ef_search, tuned_recall = setting
    ((point, errors),) = _index_curve(database, known, sample, (ef_search,), progress)
    recall, error = _at(rank, point, errors)
    of_leaves = _check_leaves(database, known, progress)
    checks = sweep(database, known, tuning.k, progress=progress)
    return Health(
        target=tuning.target,
        k=tuning.k,
        ef_search=ef_search,
        recall=recall,
        standard_error=error,
        tuned_recall=tuned_recall,
        rows=known.total,
        tuned_rows=tuning.rows,
        holds=recall >= tuning.target - 2 * error
        and all(item.complete for item in checks)
        and all(item.holds for item in of_leaves),
        checks=tuple(checks),
        leaves=of_leaves,
    )


def _check_leaves(
    database: Database, known: Facts, progress: Progress | None
) -> tuple[LeafHealth, ...]:
    """Of those that were measured."""
    with database.connection() as connection:
        leaves = find_leaves(connection, known.model_id)
        tunings = {
            (tuning.family, tuning.level): tuning
            for tuning in load_tunings(connection, known.model_id)
        }
    found = []
    salt = known.total + 2
    for (family, level), searches in _searches_of_leaves(database, known, leaves, salt=salt):
        if (family, level) not in tunings:
            continue
        tuning = tunings[family, level]
        rank = min(tuning.k, searches[0].depth)
        with database.connection() as connection:
            setting = search_setting(connection, tuning, rank)
        if setting is not None:
            ((point, errors),) = _curve(searches, setting[:1], progress)
            recall, error = _at(rank, point, errors)
            holds = recall >= tuning.target - 2 * error
            found.append(LeafHealth(family, level, setting[0], recall, error, holds))
    return tuple(found)


def _at(rank: int, point: Point, errors: NDArray[np.float64]) -> tuple[float, float]:
    """The recall at a rank, and its standard error."""
    recall, error = (
        float(np.interp(np.log(rank), np.log(point.ranks), values))
        for values in (point.recalls, errors)
    )
    return recall, error


def sweep(
    database: Database, known: Facts, k: int, *, progress: Progress | None = None
) -> list[Check]:
    """Recall of the plans chosen for circles of several sizes, near each query and far from it."""
    with database.connection() as connection:
        sample = _sample(connection, known.model_id, SWEEP_SAMPLE, salt=7)
    kinds = [("none", 1.0)] + [
        (placement, share) for share in SELECTIVITIES for placement in ("near", "far")
    ]
    checks = []
    for number, (placement, share) in enumerate(kinds):
        if progress is not None:
            progress("sweep of filters", number, len(kinds))
        checks.append(_check(database, known, sample, k, placement, share))
    with database.connection() as connection:
        connection.execute(
            "DELETE FROM geosearch.recall_checks WHERE model_id = %s", (known.model_id,)
        )
        rows = [{"model_id": known.model_id, **vars(item)} for item in checks]
        insert_all(connection, "recall_checks", rows)
    return checks


def _check(
    database: Database, known: Facts, sample: _Sample, k: int, placement: str, share: float
) -> Check:
    recalls, times, by_index_count, complete = [], [], 0, True
    count = len(sample.photo_id)
    for index in range(count):
        where: Filter = EVERYTHING
        if placement != "none":
            # Far: round another photo's place. Near: round the query's own.
            centre = index if placement == "near" else (index + count // 2) % count
            where = _circle(database, known, sample, centre, int(share * known.total))
        query = sample.embedding[index]
        started = time.perf_counter()
        found = nearest(database, known.model_id, query, k, where)
        times.append(1000 * (time.perf_counter() - started))
        truth = nearest(database, known.model_id, query, k, where, exact=True)
        by_index_count += found.plan.strategy in ("ann", "leaves")
        complete &= len(found) == len(truth)
        if len(truth):
            there = (found.distance <= truth.distance[-1] + TIE).sum()
            recalls.append(min(there, len(truth)) / len(truth))
    return Check(
        placement,
        share,
        k,
        count,
        by_index_count,
        complete,
        float(np.mean(recalls)) if recalls else 1.0,
        float(np.median(times)),
    )


class _Measured(NamedTuple):
    """A query: distances of its true neighbours (depth,), and what a search finds by a setting."""

    truth: NDArray[np.float64]
    find: Callable[[int], list[float]]

    @property
    def depth(self) -> int:
        """How deep is known."""
        return len(self.truth)


def _index_curve(
    database: Database,
    known: Facts,
    sample: _Sample,
    settings: tuple[int, ...],
    progress: Progress | None,
) -> list[tuple[Point, NDArray[np.float64]]]:
    """That of the index over all."""
    if progress is not None:
        progress("exact search for comparison", 0, len(settings))
    truth = nearest_batch(
        database,
        known.model_id,
        sample.embedding,
        min(max(settings), _deepest(known)),
        excluded=[{int(key)} for key in sample.photo_id],
        shelves=(OPEN,),
    ).distance.astype(np.float64)

    def find(index: int, ef_search: int) -> list[float]:
        query, own = sample.embedding[index], sample.photo_id[index]
        with database.searcher() as connection:
            search = Search(connection, known, query, ef_search)
            rows = run(connection, search.by_index(ef_search))
        # The query is stored too, and finds itself: not a neighbour.
        return [row[4] for row in rows if row[0] != own]

    searches = [_Measured(truth[index], partial(find, index)) for index in range(len(truth))]
    return _curve(searches, settings, progress)


def _searches_of_leaves(
    database: Database, known: Facts, leaves: Sequence[Leaf], *, salt: int
) -> Iterator[tuple[tuple[str, int], list[_Measured]]]:
    """For each family and level, searches of its leaves by stored embeddings.

    In leaves drawn by chance, and so mostly from elsewhere: that is what leaves are asked, and
    where an index finds least.
    """
    serving = [leaf for leaf in leaves if leaf.replaces is None]
    if not serving:
        return
    with database.connection() as connection:
        sample = _sample(connection, known.model_id, LEAF_SAMPLE, salt=salt)
    table = embedding_table(known.model_id)
    rng = np.random.default_rng(salt)

    def find(index: int, leaf: Leaf, ef_search: int) -> list[float]:
        query, own = sample.embedding[index], sample.photo_id[index]
        with database.searcher() as connection:
            search = Search(connection, known, query, ef_search)
            rows = run(connection, search.of_leaf(leaf.condition, ef_search, ef_search))
        return [distance for key, distance in rows if key != own]

    for of, group in groupby(
        sorted(serving, key=lambda leaf: (leaf.family, leaf.level)),
        key=lambda leaf: (leaf.family, leaf.level),
    ):
        own = list(group)
        drawn = [own[each] for each in rng.integers(0, len(own), len(sample.photo_id))]
        truths = []
        for index, leaf in enumerate(drawn):
            exact = sql.SQL(
                "SELECT embedding <=> %s AS distance FROM {} AS embeddings "
                "WHERE {} AND photo_id <> %s ORDER BY distance LIMIT %s"
            ).format(table, sql.SQL(leaf.condition))
            with database.connection() as connection:
                asked = (HalfVector(sample.embedding[index]), int(sample.photo_id[index]))
                rows = connection.execute(exact, (*asked, MAX_EF_SEARCH)).fetchall()
            truths.append(np.array(rows, dtype=np.float64).ravel())
        depth = min(map(len, truths))
        if not depth:  # one is empty: there is nothing to measure by
            continue
        yield (
            of,
            [
                _Measured(truth[:depth], partial(find, index, leaf))
                for index, (truth, leaf) in enumerate(zip(truths, drawn, strict=True))
            ],
        )


def _curve(
    searches: Sequence[_Measured], settings: tuple[int, ...], progress: Progress | None
) -> list[tuple[Point, NDArray[np.float64]]]:
    """A point for each setting, with the standard error of its recalls."""
    truth = np.stack([each.truth for each in searches])
    depth = truth.shape[1]
    curve = []
    for number, ef_search in enumerate(settings):
        if progress is not None:
            progress(f"recall at ef_search {ef_search}", number, len(settings))
        found = np.full((len(searches), ef_search), np.inf)
        times = []
        for index, search in enumerate(searches):
            started = time.perf_counter()
            distances = search.find(ef_search)
            times.append(1000 * (time.perf_counter() - started))
            found[index, : len(distances)] = distances
        last = min(ef_search - 1, depth)  # the query itself takes a place
        ranks = (*(rank for rank in RANKS if rank < last), last)
        recalls = recall_by_rank(found, truth, ranks)
        curve.append(
            (
                Point(ef_search, ranks, tuple(recalls.mean(axis=0).tolist()), _typical(times)),
                recalls.std(axis=0) / np.sqrt(len(recalls)),
            )
        )
    return curve


def _exact_cost(database: Database, known: Facts, sample: _Sample) -> tuple[float, float]:
    """Milliseconds of exact search: fixed, and per photo compared."""
    times, sizes = [], []
    for wanted in (1, min(_COST_SIZE, known.total)):
        taken, matches = [], []
        for index in range(min(_COST_QUERIES, len(sample.photo_id))):
            circle = _circle(database, known, sample, index, wanted)
            with database.searcher() as connection:
                search = Search(connection, known, sample.embedding[index], 10, _box(circle))
                run(connection, search.exact())
                started = time.perf_counter()
                matches.append(run(connection, search.exact()).matches)
                taken.append(1000 * (time.perf_counter() - started))
        times.append(_typical(taken))
        sizes.append(float(np.mean(matches)))
    more = max(sizes[1] - sizes[0], 1.0)
    return times[0], max((times[1] - times[0]) / more, 1e-5)


def _box(circle: Near) -> BoundingBox:
    """A box about as large: what exact search costs is measured with the cheapest of filters."""
    half = min(circle.km / 111, 90.0)
    across = min(half / max(np.cos(np.radians(circle.lat)), 1e-3), 179.0)
    west, east = circle.lon - across, circle.lon + across
    return BoundingBox(
        west + 360 if west < -180 else west,
        max(circle.lat - half, -90.0),
        east - 360 if east > 180 else east,
        min(circle.lat + half, 90.0),
    )


def _typical(times: list[float]) -> float:
    """Of a search while the machine does little else: the lower quartile."""
    return float(np.percentile(times, 25))


def _circle(database: Database, known: Facts, sample: _Sample, index: int, size: int) -> Near:
    """The circle round a sample photo that holds about `size` photos."""
    lat, lon = float(sample.lat[index]), float(sample.lon[index])
    with database.connection() as connection:
        row = connection.execute(
            sql.SQL(
                """
                SELECT ST_Distance(geom::geography, centre, false) / 1000
                FROM {table}, (SELECT ST_SetSRID(ST_Point(%s, %s), 4326)::geography) AS c (centre)
                ORDER BY geom::geography <-> (SELECT ST_SetSRID(ST_Point(%s, %s), 4326)::geography)
                LIMIT 1 OFFSET %s
                """
            ).format(table=embedding_table(known.model_id)),
            (lon, lat, lon, lat, max(0, min(size, known.total - 1) - 1)),
        ).fetchone()
    radius = 1.0 if row is None else float(row[0])
    return Near(lat, lon, min(max(radius, 0.001), 20_000))


def _sample(connection: Connection, model_id: int, count: int, *, salt: int) -> _Sample:
    """Stored embeddings, the same for the same salt; `NotFoundError` where there are none."""
    rows = connection.execute(
        sql.SQL(
            """
            SELECT photo_id, ST_Y(geom), ST_X(geom), embedding
            FROM {table}
            JOIN (
                SELECT photo_id FROM {table} ORDER BY hashint8extended(photo_id, %s) LIMIT %s
            ) AS chosen USING (photo_id)
            ORDER BY photo_id
            """
        ).format(table=embedding_table(model_id)),
        (salt, count),
    ).fetchall()
    if not rows:
        raise NotFoundError(f"model {model_id} has no embeddings", "Run: geosearch embed")
    return _Sample(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows]),
        np.array([row[3].to_numpy() for row in rows], dtype=np.float32),
    )


def _deepest(known: Facts) -> int:
    """The deepest rank that exists for a query that is stored itself."""
    return max(1, min(MAX_EF_SEARCH, known.total - 1))
