"""How a neighbour query will run: exact or by the index, and why. PostgreSQL's planner does not
know what an approximate index loses, so it never chooses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from geosearch.retrieval.facts import Facts
from geosearch.retrieval.tuning import MAX_EF_SEARCH

Strategy = Literal["exact", "ann", "empty", "none"]

#: Candidates per wanted neighbour beyond what the share of matches asks for.
_MARGIN = 1.3
#: An index search that may come back short is worth this share of the time of exact search, and
#: this one where at least `MOST` of the photos most like the query pass the filter.
_GAMBLE, _GOOD_GAMBLE = 0.15, 0.6
MOST = 0.7
#: Exact search is the first thing tried if it costs at most so many index searches.
_FIRST = 2.0
#: Bounds of what `few_enough` gives.
_FEW = (500, 10_000)


@dataclass(frozen=True)
class Plan:
    """How one query ran, or will run; with strategy `none`, nothing was searched for.

    `matches`: photos that pass the filter, exact where `matches_exact`, else an estimate.
    `rows_scanned`: embeddings compared (exact) or candidates asked of the index, the last of which
    are fetched only where they are needed. `candidates`, `ef_search`: the index search.
    `expected_recall`: 1 for exact search, what was measured for the index, None where nothing was
    measured. `truncated` is True only if fewer rows than exist were returned, which `nearest` never
    does.
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


def exact_plan(total: int, matches: int, reason: str) -> Plan:
    """All `matches` photos that pass, of `total`, are compared."""
    return Plan(
        "exact" if matches else "empty", reason, total, matches, True, 1.0, rows_scanned=matches
    )


def few_enough(facts: Facts, k: int) -> int:
    """Up to so many matching photos are compared before an index search is thought of."""
    tuning = facts.tuning
    ef_search = tuning.setting(min(2 * k, MAX_EF_SEARCH)) or MAX_EF_SEARCH
    least, most = _FEW
    return min(most, max(least, 2 * k, tuning.exact_rows(_FIRST * tuning.index_ms(ef_search))))


def whole_plan(facts: Facts, k: int) -> Plan | None:
    """Search all photos by the index; None if comparing them costs less."""
    ef_search = facts.tuning.setting(k)
    if ef_search is None or facts.tuning.index_ms(ef_search) > facts.tuning.exact_ms(facts.total):
        return None
    reason = "no filter that selects"
    return _by_index(facts, reason, facts.total, ef_search, k)


def filtered_plan(facts: Facts, k: int, share: float, likes: float) -> Plan | None:
    """Search by the index for photos of which about a `share` pass the filter.

    `likes` is the share that passes among those most like the query. None if exact search would
    cost less, by what was measured when the index was tuned.
    """
    matches = round(share * facts.total)
    exact_ms = facts.tuning.exact_ms(matches)
    worth = _GOOD_GAMBLE if likes >= MOST else _GAMBLE
    # The setting is for the rank at which the k-th match is expected.
    rank = math.ceil(_MARGIN * k / max(share, likes, 1e-9)) + 10
    ef_search = facts.tuning.setting(rank)
    if ef_search is None or facts.tuning.index_ms(ef_search) > worth * exact_ms:
        return None
    reason = f"about {matches} matching photos of {facts.total} would cost {exact_ms:.1f} ms"
    return _by_index(facts, reason, matches, ef_search, ef_search)


def _by_index(facts: Facts, reason: str, matches: int, ef_search: int, candidates: int) -> Plan:
    assert facts.index is not None
    return Plan(
        "ann",
        reason,
        facts.total,
        matches,
        False,
        facts.tuning.recall(ef_search, candidates),
        # Candidates by bits must be ranked by the whole embedding: all there are are taken.
        candidates=ef_search if facts.index.quantized else candidates,
        ef_search=ef_search,
        index=facts.index.name,
        index_file=facts.index.file_number,
    )
