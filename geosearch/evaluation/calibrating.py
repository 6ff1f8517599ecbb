"""Fit a calibration to labelled queries, and keep it with its figures on those held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from geosearch.authors import source
from geosearch.calibration import Calibration
from geosearch.calibration.calibration_fit import Example, fit, measure, with_levels_of
from geosearch.calibration.calibration_rows import (
    count_passing,
    differences,
    find_calibration,
    save,
)
from geosearch.calibration.domain import Domain
from geosearch.calibration.evidence import first_distances
from geosearch.database.connection import Database
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError
from geosearch.evaluation.evaluating import (
    LEAKAGE,
    distances_that_fit,
    embedded,
    find_queries,
)
from geosearch.evaluation.queries import Labelled, QuerySet
from geosearch.features import Backbone, Rejected
from geosearch.features.extraction import Outcome
from geosearch.features.model_rows import Model
from geosearch.json_record import Record
from geosearch.parallel import ordered_map
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.duplicates import Exclusions, nearest_others
from geosearch.retrieval.place_conditions import Near
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors
from geosearch.versions import software_versions
from geosearch.waiting import Progress

#: Queries nearer to one another than this, in spacings of their neighbours, are of one place.
SAME_PLACE = 0.1

#: Larger groups than this share of the queries are shared out before the others.
_LARGE = 0.02

#: Queries each of which is compared with so many nearest others.
_COMPARED = 10

#: Queries without which nothing can be fitted, and below which figures are loose.
FEWEST, FEW = 20, 100


#: The smallest circle in which references are hidden, kilometres: a metre.
_NEAREST_KM = 1e-3

Index = NDArray[np.intp]


class CalibrateOptions(TypedDict, total=False):
    """Options of `calibrate`, for those who pass them on."""

    k: int
    exact: bool
    absent_km: float | None
    within_km: tuple[float, ...] | None
    sample: int | None
    seed: int
    force: bool
    progress: Progress | None


def calibrate(
    database: Database,
    queries: str | PathLike[str] | QuerySet | None,
    *,
    model: str | Backbone = DEFAULT_MODEL,
    k: int = 100,
    where: Filter = EVERYTHING,
    exclusions: Exclusions = LEAKAGE,
    exact: bool = False,
    absent_km: float | None = None,
    within_km: tuple[float, ...] | None = None,
    sample: int | None = None,
    seed: int = 0,
    force: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Calibration:
    """Fit a calibration to one half of labelled queries, measure it on the other, and record it.

    Parameters
    ----------
    queries
        A manifest (uri, lat, lon, author) or a set of queries; None takes the photos that pass
        `where` themselves, each answered by the others.
    k
        Neighbours to retrieve; the calibration may settle on fewer.
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

    Raises
    ------
    InputError
        The manifest cannot be read, fewer than 20 of its queries can be used, or the calibration is
        worse than none.
    NotFoundError
        Nothing was embedded with this model, or a collection in the filter does not exist.
    """
    row, backbone, asked = find_queries(database, queries, model, where, device)
    asked = asked.sample(sample, seed)

    how = _How(k, where, exclusions, exact, absent_km)
    usable = _answered(database, row, backbone, asked, how, progress)
    if len(usable) < FEWEST:
        raise InputError(
            f"{asked.name}: only {len(usable)} queries can be used; a calibration needs {FEWEST}",
            f"Label more photos: below {FEW} the figures are loose.",
        )
    fitting = halves(
        [item for item, _, _ in usable],
        [found for _, found, _ in usable],
        seed,
        by_author=exclusions.same_author,
    )
    if not fitting.any() or fitting.all():
        raise InputError(
            f"{asked.name}: all queries are of one place, so none can be held out",
            "Add queries from elsewhere.",
        )
    mine, others = (
        [item for item, chosen in zip(usable, fitting, strict=True) if chosen == half]
        for half in (True, False)
    )
    if within_km is None:
        with database.connection() as connection:
            within_km = distances_that_fit(connection, row.id, where)
    fitted, held = fit(*_examples(mine), within_km), _examples(others)
    figures = measure(fitted, *held)
    if figures["worse"] and not force:
        raise InputError(
            f"{asked.name}: {len(others)} held-out queries are worse off with this calibration, so "
            f"it is not recorded: {'; '.join(figures['worse'])}",
            "Label queries of the kind that will be asked, and more of them; or give `force`.",
        )
    with database.connection() as connection:
        references = count_passing(connection, row.id, where)
    domain = Domain(
        queries=asked.name,
        n=len(usable),
        made=f"{datetime.now(UTC):%Y-%m-%d}",
        references=references,
        where=where.to_json(),
        coverage=figures["coverage"],
    )
    fitted = replace(with_levels_of(fitted, held[0]), domain=domain)
    calibration = Calibration(
        model_id=row.id,
        model=row.name,
        where=where,
        fitted=fitted,
        figures=figures,
        queries=asked.name,
        options={
            "k": k,
            "exact": exact,
            "absent_km": absent_km,
            "force": force,
            "sample": sample,
            "seed": seed,
            "exclusions": exclusions.to_json(),
            "source": source([query.author for query in asked.queries]),
        },
        n_fit=len(mine),
        n_check=len(others),
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
    row, backbone, asked = find_queries(database, queries, calibration.model, where, device)
    asked = asked.sample(sample, seed)
    how = _How(fitted.k, where, exclusions, exact, calibration.options.get("absent_km"))
    usable = _answered(database, row, backbone, asked, how, progress)
    if not usable:
        raise InputError(f"{asked.name}: none of the queries can be used")
    with database.connection() as connection:
        outside = differences(connection, row.id, where, fitted)
    return Checked(
        calibration_id,
        asked.name,
        len(usable),
        len(asked) - len(usable) + len(asked.failures),
        outside,
        measure(fitted, *_examples(usable)),
    )


#: A query, its neighbours, and those that remain when what is near the truth is hidden.
_Usable = tuple[Labelled, Example, Example | None]


class _How(NamedTuple):
    k: int
    where: Filter
    exclusions: Exclusions
    exact: bool
    absent_km: float | None


def _answered(
    database: Database,
    model: Model,
    backbone: Backbone | None,
    asked: QuerySet,
    how: _How,
    progress: Progress | None,
) -> list[_Usable]:
    """The queries that have neighbours, with these. A source may find its own photos."""
    agency = source([query.author for query in asked.queries])

    def ask(pair: tuple[Labelled, Outcome]) -> _Usable | None:
        labelled, query = pair
        if isinstance(query, Rejected):
            return None
        named = agency is not None and labelled.author == agency
        left_out = replace(how.exclusions, same_author=False) if named else how.exclusions

        def search(passing: Filter) -> Example | None:
            found = nearest_others(
                database, model.id, query, how.k, passing, left_out, exact=how.exact
            )
            near = found.neighbours
            return Example(near.lat, near.lon, near.distance, labelled.truth) if len(near) else None

        found = search(how.where)
        if found is None:
            return None
        km = how.absent_km or max(found.near_km, _NEAREST_KM)
        return labelled, found, search(how.where & ~Near(*labelled.truth, km))

    usable = []
    pairs = embedded(database, model, backbone, asked)
    for done, item in enumerate(ordered_map(ask, pairs, database.pool_size), start=1):
        if item is not None:
            usable.append(item)
        if progress is not None:
            progress(done, len(asked))
    return usable


def halves(
    queries: Sequence[Labelled],
    found: Sequence[Example],
    seed: int,
    *,
    by_author: bool = True,
) -> np.ndarray:
    """Which queries (n,) to fit to; those left out share no place and no author with them.

    Queries of one place and, unless `by_author` is False, by one author are kept together; an
    author of over half of them is a source. `found` are their neighbours. Every kind of query is
    on both sides as far as that allows: queries are put in order of place, spacing and how near
    their first neighbours are, and neighbours in that order are shared out. The same for the same
    seed.
    """
    n = len(queries)
    group = _groups(queries, np.array([one.spacing_km for one in found]), by_author)
    sizes = np.bincount(group)
    random = np.random.default_rng(seed)
    fitting, held = np.zeros(len(sizes), dtype=bool), np.zeros(2)
    large = np.flatnonzero(sizes > max(_LARGE * n, 1))
    for each in large[np.argsort(-(sizes[large] + random.random(len(large))))]:
        half = int(held[1] < held[0] or (held[1] == held[0] and random.random() < 0.5))
        fitting[each] = half == 1
        held[half] += sizes[each]
    small = _in_order(queries, found, group, np.flatnonzero(sizes <= max(_LARGE * n, 1)), random)
    # So much of the small ones, evenly along their order, makes the halves equal.
    left = sizes[small].sum()
    share = np.clip((n / 2 - held[1]) / left, 0, 1) if left else 0.0
    owed = 0.0
    for each in small:
        owed += share * sizes[each]
        fitting[each] = owed >= sizes[each] / 2
        owed -= sizes[each] * fitting[each]
    chosen: np.ndarray = fitting[group]
    return chosen


def _groups(queries: Sequence[Labelled], spacing_km: Array, by_author: bool) -> Index:
    """The number (n,) of each query's group: of one place, or by one author."""
    n = len(queries)
    positions = unit_vectors([q.truth[0] for q in queries], [q.truth[1] for q in queries])
    chords, others = cKDTree(positions).query(positions, k=min(_COMPARED, n))
    km = SAME_PLACE * np.minimum(spacing_km[:, None], spacing_km[others])
    near = np.argwhere(chords * EARTH_RADIUS_KM <= km)
    links = np.column_stack([near[:, 0], others[near[:, 0], near[:, 1]]])
    agency = source([query.author for query in queries])
    first: dict[object, int] = {}
    same = [(first.setdefault(query.truth, index), index) for index, query in enumerate(queries)]
    same += [
        (first.setdefault(query.author, index), index)
        for index, query in enumerate(queries)
        if query.author and query.author != agency and by_author
    ]
    edges = np.concatenate([links, np.array(same)])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    group: Index = connected_components(graph, directed=False)[1]
    return group


def _in_order(
    queries: Sequence[Labelled],
    found: Sequence[Example],
    group: Index,
    chosen: Index,
    random: np.random.Generator,
) -> Index:
    """The chosen groups so that those next to each other are alike; pairs are in random order."""
    positions = unit_vectors([q.truth[0] for q in queries], [q.truth[1] for q in queries])
    style = np.log([[one.spacing_km, first_distances(one.distance)[0]] for one in found])
    # Positions keep their proportions, so that what shrinks is shared out as it was.
    style /= np.maximum(style.std(axis=0), 1e-12)
    apart = positions - positions.mean(axis=0)
    known = np.column_stack([apart / max(np.sqrt(np.mean(apart**2)), 1e-12), style])
    sizes = np.bincount(group)
    means = np.stack([np.bincount(group, column) / sizes for column in known.T], axis=1)[chosen]
    if not len(chosen):
        return chosen
    # The leaves of a tree of halvings: near one another in all dimensions, at every scale.
    order = cKDTree(means, leafsize=1).indices
    pairs = np.arange(len(order)) // 2
    return np.asarray(chosen[order[np.lexsort((random.random(len(order)), pairs))]])


def _examples(items: Sequence[_Usable]) -> tuple[list[Example], list[Example]]:
    return [item[1] for item in items], [item[2] for item in items if item[2] is not None]
