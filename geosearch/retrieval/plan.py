"""How a neighbour query will run: exact or by the index, and why. PostgreSQL's planner does not
know what an approximate index loses, so it never chooses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from psycopg import sql

from geosearch.database.connection import Connection
from geosearch.database.partitions import partition
from geosearch.retrieval.facts import Facts
from geosearch.retrieval.filters import EVERYTHING, Filter
from geosearch.retrieval.tuning import MAX_EF_SEARCH

Strategy = Literal["exact", "ann", "empty"]

#: Up to so many matching photos are compared before anything is estimated: one cheap statement
#: answers most filtered queries, exactly.
AT_ONCE = 2000
#: Photos looked at to estimate how many pass a filter.
_SAMPLE = 1000
#: An index search that may fail is worth trying where it costs at most this share of exact search.
_TRY_SHARE = 0.2
#: Candidates per wanted neighbour beyond what the share of matches asks for.
_MARGIN = 1.4


@dataclass(frozen=True)
class Plan:
    """How one query ran, or will run.

    `matches`: photos that pass the filter, exact where `matches_exact`, else an estimate.
    `rows_scanned`: embeddings compared (exact) or candidates taken from the index. `candidates`,
    `ef_search`: the index search. `expected_recall`: 1 for exact search, what was measured for the
    index, None where nothing was measured. `truncated` is True only if fewer rows than exist
    were returned, which `nearest` never does.
    """

    strategy: Strategy
    reason: str
    total: int
    matches: int
    matches_exact: bool
    expected_recall: float | None
    rows_scanned: int | None = None
    candidates: int | None = None
    ef_search: int | None = None
    index: str | None = None
    index_file: int | None = None
    truncated: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """A recorded plan. What an older geosearch recorded and this one does not is left out."""
        names = {field.name for field in fields(cls)}
        known = {name: item for name, item in value.items() if name in names}
        return cls(**({"expected_recall": None} | known))


def exact_plan(facts: Facts, matches: int, reason: str) -> Plan:
    """Compare all matching photos."""
    return Plan("exact", reason, facts.total, matches, False, 1.0)


def make_plan(facts: Facts, k: int, where: Filter, matches: int) -> Plan:
    """The cheaper way to `k` neighbours among about `matches` photos that pass `where`.

    Costs come from what was measured when the index was tuned.
    """
    if facts.index is None:
        return exact_plan(facts, matches, "the model has no index")
    return index_plan(facts, k, where, matches) or exact_plan(
        facts, matches, f"comparing about {matches} matching photos costs less than the index"
    )


def index_plan(facts: Facts, k: int, where: Filter, matches: int) -> Plan | None:
    """Search by the index, None where exact search is cheaper or the target cannot be met."""
    assert facts.index is not None
    tuning = facts.tuning
    share = min(1.0, matches / max(facts.total, 1))
    likely = k if where == EVERYTHING else math.ceil(_MARGIN * k / share) + 10
    # With a filter the settings are for the rank the k-th match is expected at. If that is out of
    # reach, a short search may still do where the matching photos are also the similar ones.
    sure = tuning.setting(likely) is not None
    candidates = likely if sure else min(2 * k, MAX_EF_SEARCH)
    ef_search = tuning.setting(candidates)
    if ef_search is None:
        return None
    exact_ms, index_ms = tuning.exact_ms(matches), tuning.index_ms(ef_search)
    if index_ms > (exact_ms if sure else _TRY_SHARE * exact_ms):
        return None
    reason = (
        "no filter that selects"
        if where == EVERYTHING
        else f"about {matches} matching photos of {facts.total} would cost {exact_ms:.1f} ms"
    )
    return Plan(
        "ann",
        reason,
        facts.total,
        matches,
        where == EVERYTHING,
        tuning.recall(ef_search, candidates),
        # Candidates by bits must be ranked by the whole embedding: take all there are.
        candidates=ef_search if facts.index.quantized else candidates,
        ef_search=ef_search,
        index=facts.index.name,
        index_file=facts.index.file_number,
    )


def estimate(connection: Connection, facts: Facts, where: Filter) -> int:
    """About how many photos pass `where`, by a sample of the table.

    PostgreSQL's own estimate is off by orders of magnitude for circles, for boxes that cross
    ±180°, and wherever conditions depend on each other.
    """
    if not where.selects:
        return facts.total
    condition, values = where.compile(connection)
    percent = min(100.0, 100 * _SAMPLE / max(facts.total, 1))
    row = connection.execute(
        sql.SQL(
            "SELECT count(*) FILTER (WHERE {condition}), count(*) "
            "FROM {table} TABLESAMPLE SYSTEM ({percent})"
        ).format(
            table=partition(facts.model_id),
            condition=condition,
            percent=sql.Literal(percent),
        ),
        values,
    ).fetchone()
    if row is None or row[1] == 0:
        return facts.total
    return int(facts.total * row[0] / row[1])
