"""How labelled queries are shared out: what is fitted to, and what is held out or left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from geosearch.authors import source
from geosearch.calibration.calibration_fit import Index
from geosearch.calibration.evidence import first_distances
from geosearch.calibration.labelled_example import Example
from geosearch.evaluation.queries import Labelled
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors

#: Queries nearer to one another than this, in spacings of their neighbours, are of one place.
SAME_PLACE = 0.1

#: Those nearer than this are of one site.
SITE = 10.0

#: Larger groups than this share of the queries are shared out before the others.
_LARGE = 0.02

#: So many queries for each part, alike as they are, are shared out among the parts at a time.
_BLOCK = 16

#: Queries each of which is compared with so many nearest others.
_COMPARED = 10

#: A query, its neighbours, and those that remain when what is near the truth is hidden.
Usable = tuple[Labelled, Example, Example | None]


@dataclass(frozen=True)
class Sharing:
    """How queries are shared out: drawn by a seed, and whether those by one author stay together.

    Queries of one place stay together, too; an author of over half of them is a source. Every kind
    of query is in each part as far as that allows. What decides does not change when all places
    shrink, so that the same queries are shared out alike at every scale.
    """

    seed: int = 0
    by_author: bool = True

    def parts(self, usable: Sequence[Usable], count: int) -> Index:
        """The part (n,), of so many about equal ones, that each query is in."""
        queries, found = [one[0] for one in usable], [one[1] for one in usable]
        spacing_km = np.array([one.spacing_km for one in found])
        authors = [query.author for query in queries] if self.by_author else []
        group = _groups(queries, SAME_PLACE * spacing_km, authors)
        sizes, n = np.bincount(group), len(queries)
        first = np.unique(group, return_index=True)[1]
        draw = np.random.default_rng(self.seed).random(n)[first]
        part, held = np.zeros(len(sizes), dtype=np.intp), np.zeros(count)
        large = sizes > max(_LARGE * n, 1)
        for each in np.lexsort((draw, -sizes))[: np.sum(large)]:
            part[each] = _of_most(-held, draw[each])
            held[part[each]] += sizes[each]
        # So much of the small ones, evenly along their order, makes the parts equal. Blocks do not
        # know of one another: where a group differs, only those of its own block go elsewhere.
        lack = np.maximum(n / count - held, 1e-9)
        rank = np.argsort(_in_order(queries, found, SITE * spacing_km))[first]
        blocks = rank // (_BLOCK * count)
        for block in np.unique(blocks):
            owed = np.zeros(count)
            for each in sorted(np.flatnonzero((blocks == block) & ~large), key=rank.__getitem__):
                owed += sizes[each] * lack / lack.sum()
                part[each] = _of_most(owed, draw[each])
                owed[part[each]] -= sizes[each]
        return part[group]


def _of_most(values: Array, draw: float) -> int:
    """Which of the values is the greatest; of equal ones as a draw (0 to 1) says."""
    best = np.flatnonzero(values >= values.max() - 1e-6)
    return int(best[int(draw * len(best))])


def _groups(queries: Sequence[Labelled], km: Array, authors: Sequence[str | None]) -> Index:
    """The number (n,) of each query's group: linked within `km` (n,) of both, or by one author."""
    n = len(queries)
    positions = unit_vectors([q.truth[0] for q in queries], [q.truth[1] for q in queries])
    chords, others = cKDTree(positions).query(positions, k=min(_COMPARED, n))
    near = np.argwhere(chords * EARTH_RADIUS_KM <= np.minimum(km[:, None], km[others]))
    links = np.column_stack([near[:, 0], others[near[:, 0], near[:, 1]]])
    agency = source(list(authors))
    first: dict[object, int] = {}
    same = [(first.setdefault(query.truth, index), index) for index, query in enumerate(queries)]
    same += [
        (first.setdefault(author, index), index)
        for index, author in enumerate(authors)
        if author and author != agency
    ]
    edges = np.concatenate([links, np.array(same)])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    group: Index = connected_components(graph, directed=False)[1]
    return group


def _in_order(queries: Sequence[Labelled], found: Sequence[Example], km: Array) -> Index:
    """The queries, those of one site together, and then as near as their first neighbours are.

    Sites are linked within `km` (n,); those of few queries count as one.
    """
    site = _groups(queries, km, [])
    site[np.bincount(site)[site] <= _LARGE * len(queries)] = -1
    return np.lexsort(([first_distances(one.distance)[0] for one in found], site))
