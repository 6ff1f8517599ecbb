"""Fit a calibration to labelled queries, and keep it with its figures on those held out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TypedDict

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from geosearch.calibration import Calibration
from geosearch.calibration.calibration_fit import Example, fit, measure
from geosearch.calibration.calibration_rows import save
from geosearch.database.connection import Database
from geosearch.defaults import ABSENT_KM, DEFAULT_MODEL
from geosearch.errors import InputError
from geosearch.evaluation.evaluating import LEAKAGE, embedded, find_queries
from geosearch.evaluation.queries import Labelled, QuerySet
from geosearch.features import Backbone, Rejected
from geosearch.features.extraction import Outcome
from geosearch.parallel import ordered_map
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.retrieval.duplicates import Exclusions, nearest_others
from geosearch.retrieval.place_conditions import Near
from geosearch.sphere import EARTH_RADIUS_KM, unit_vectors
from geosearch.versions import software_versions
from geosearch.waiting import Progress

#: Queries nearer to one another than this, in km, are held out together.
SAME_PLACE_KM = 1.0

#: Queries without which nothing can be fitted, and below which figures are loose.
FEWEST, FEW = 20, 100


class CalibrateOptions(TypedDict, total=False):
    """Options of `calibrate`, for those who pass them on."""

    k: int
    exact: bool
    absent_km: float
    sample: int | None
    seed: int
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
    absent_km: float = ABSENT_KM,
    sample: int | None = None,
    seed: int = 0,
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
        to its true place than this, kilometres.
    sample, seed
        Take so many queries, drawn at random; the seed decides the halves too.

    Raises
    ------
    InputError
        The manifest cannot be read, or fewer than 20 of its queries can be used.
    NotFoundError
        Nothing was embedded with this model, or a collection in the filter does not exist.
    """
    row, backbone, asked = find_queries(database, queries, model, where, device)
    asked = asked.sample(sample, seed)

    def ask(pair: tuple[Labelled, Outcome]) -> tuple[Labelled, Example, Example | None] | None:
        labelled, query = pair
        if isinstance(query, Rejected):
            return None

        def search(passing: Filter) -> Example | None:
            found = nearest_others(database, row.id, query, k, passing, exclusions, exact=exact)
            near = found.neighbours
            return Example(near.lat, near.lon, near.distance, labelled.truth) if len(near) else None

        found = search(where)
        hidden = found and search(where & ~Near(*labelled.truth, absent_km))
        return None if found is None else (labelled, found, hidden)

    usable = []
    pairs = embedded(database, row, backbone, asked)
    for done, item in enumerate(ordered_map(ask, pairs, database.pool_size), start=1):
        if item is not None:
            usable.append(item)
        if progress is not None:
            progress(done, len(asked))
    if len(usable) < FEWEST:
        raise InputError(
            f"{asked.name}: only {len(usable)} queries can be used; a calibration needs {FEWEST}",
            f"Label more photos: below {FEW} the figures are loose.",
        )
    fitting = halves([item for item, _, _ in usable], seed, by_author=exclusions.same_author)
    if not fitting.any() or fitting.all():
        raise InputError(
            f"{asked.name}: all queries are of one place or author, so none can be held out",
            "Add queries from elsewhere.",
        )
    mine, others = (
        [item for item, chosen in zip(usable, fitting, strict=True) if chosen == half]
        for half in (True, False)
    )
    fitted = fit(*_examples(mine))
    calibration = Calibration(
        model_id=row.id,
        model=row.name,
        where=where,
        fitted=fitted,
        figures=measure(fitted, *_examples(others)),
        queries=asked.name,
        options={
            "k": k,
            "exact": exact,
            "absent_km": absent_km,
            "sample": sample,
            "seed": seed,
            "exclusions": exclusions.to_json(),
        },
        n_fit=len(mine),
        n_check=len(others),
        failed=len(asked) - len(usable) + len(asked.failures),
        software=software_versions(),
    )
    with database.connection() as connection:
        return save(connection, calibration)


def halves(queries: Sequence[Labelled], seed: int, *, by_author: bool = True) -> np.ndarray:
    """Which queries (n,) to fit to; those left out share no place and no author with them.

    Queries within a kilometre of each other and, unless `by_author` is False, by one author are
    kept together. The halves are as equal as that allows, and the same for the same seed.
    """
    n = len(queries)
    positions = unit_vectors([q.truth[0] for q in queries], [q.truth[1] for q in queries])
    links = cKDTree(positions).query_pairs(SAME_PLACE_KM / EARTH_RADIUS_KM, output_type="ndarray")
    first: dict[str, int] = {}
    authors = [
        (first.setdefault(query.author, index), index)
        for index, query in enumerate(queries)
        if query.author and by_author
    ]
    edges = np.concatenate([links, np.array(authors, dtype=links.dtype).reshape(-1, 2)])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    count, group = connected_components(graph, directed=False)
    sizes = np.bincount(group, minlength=count)
    shuffled = np.random.default_rng(seed).permutation(count)
    largest_first = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fitting, held = np.zeros(count, dtype=bool), np.zeros(2, dtype=int)
    for each in largest_first:
        half = int(held[1] <= held[0])
        fitting[each] = half == 1
        held[half] += sizes[each]
    chosen: np.ndarray = fitting[group]
    return chosen


def _examples(
    items: Sequence[tuple[Labelled, Example, Example | None]],
) -> tuple[list[Example], list[Example]]:
    return [item[1] for item in items], [item[2] for item in items if item[2] is not None]
