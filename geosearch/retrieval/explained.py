"""Why a search ran as it did: geosearch's plan, with PostgreSQL's beneath."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosearch.database.connection import Database
from geosearch.json_record import Record
from geosearch.retrieval.facts import facts
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.neighbours import nearest
from geosearch.retrieval.plan import Plan, part_plan
from geosearch.retrieval.search import Search


@dataclass(frozen=True)
class Explanation(Record):
    """The plan of the search that gave the answer, its statement's plan in PostgreSQL, its rows."""

    plan: Plan
    postgresql: tuple[str, ...]
    rows: int


def explain(
    database: Database,
    model_id: int,
    query: NDArray[np.float32],
    k: int,
    where: Filter = EVERYTHING,
    *,
    exact: bool = False,
) -> Explanation:
    """Search, then run the statement that gave the answer under EXPLAIN (ANALYZE, BUFFERS).

    PostgreSQL repeats the query wherever it is compared: of that, only the beginning is kept.
    """
    found = nearest(database, model_id, query, k, where, exact=exact)
    with database.searcher() as connection:
        known = facts(database, connection, model_id)
        references, plan = where.of_references, found.plan
        leaves = None
        if plan.strategy == "leaves":
            share = plan.matches / max(known.total, 1)
            reach = references.reach(connection)
            _, leaves = part_plan(connection, known, k, share, share, reach)
        search = Search(connection, known, query, k, references)
        lines = search.explain(connection, plan.ef_search, leaves)
    return Explanation(found.plan, tuple(map(_shortened, lines)), len(found))


_EMBEDDING = re.compile(r"'\[([^],]*),[^]]*\]'")
_SIGNS = re.compile(r"'([01]{8})[01]{56,}'")


def _shortened(line: str) -> str:
    line = _EMBEDDING.sub(lambda m: f"'[{m[1]}, … {m[0].count(',') + 1} numbers]'", line)
    return _SIGNS.sub(lambda m: f"'{m[1]}… {len(m[0]) - 2} bits'", line)
