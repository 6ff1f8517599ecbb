"""How a neighbour query will run: exact or by the index, and why.

The rule is SQL (`plan.sql`), where `geosearch.nearest` asks it too; what it decides is believed for
as long as the facts it decides by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, LiteralString, NamedTuple

from geosearch.json_record import Record
from geosearch.retrieval.facts import Asks, Facts
from geosearch.retrieval.reach import Reach

Strategy = Literal["exact", "ann", "leaves", "empty", "none"]


@dataclass(frozen=True)
class ShardPart(Record):
    """How a shard found its part of an answer, as in `Plan`; or the `trouble` for which it did not,
    and then the `extent`, a box as WKT, in which there may be photos that are missing.
    """

    name: str
    strategy: Strategy | None
    expected_recall: float | None
    matches: int
    reason: str | None
    trouble: str | None = None
    extent: str | None = None


@dataclass(frozen=True)
class Plan(Record):
    """How one query ran, or will run; with strategy `none`, nothing was searched for.

    `matches`: photos that pass the filter, exact where `matches_exact`, else an estimate.
    `rows_scanned`: embeddings compared (exact) or candidates asked of the index, the last of which
    are fetched only where they are needed. `candidates`, `ef_search`: the index search, or the
    first of each of so many `leaves`.
    `expected_recall`: 1 for exact search, what was measured for the index, None where nothing was
    measured. `truncated` is True only if fewer rows than exist were returned, which `nearest` never
    does, unless shards are missing and a part is enough: `shards` says how each that was asked
    found its part, and the recall is the least of all.
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
    leaves: int | None = None
    shards: tuple[ShardPart, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """A recorded plan."""
        shards = tuple(ShardPart(**part) for part in value.get("shards", ()))
        return cls(**{**value, "shards": shards})

    def to_json(self) -> dict[str, Any]:
        """As JSON; `shards` are there if some were asked."""
        known = super().to_json()
        return known if self.shards else {name: known[name] for name in known if name != "shards"}


def exact_plan(total: int, matches: int, reason: str) -> Plan:
    """All `matches` photos that pass, of `total`, are compared."""
    return Plan(
        "exact" if matches else "empty", reason, total, matches, True, 1.0, rows_scanned=matches
    )


def few_enough(connection: Asks, known: Facts, k: int) -> int:
    """Up to so many matching photos are compared before an index search is thought of."""
    (few,) = _decided(connection, known, "SELECT geosearch.few_enough(%s, %s)", known.tuning, k)
    return int(few)


def index_plan(
    connection: Asks,
    known: Facts,
    k: int,
    share: float | None = None,
    likes: float | None = None,
) -> Plan | str:
    """Search by the index, or why exact search is to be preferred.

    About a `share` of the photos pass the filter, None where there is none, and of those most like
    the query the share `likes`.
    """
    decided = _decided(connection, known, _INDEX_PLAN, known.tuning, known.total, k, share, likes)
    return _index_plan(known, k, share is None, *decided)


def _index_plan(
    known: Facts, k: int, everything: bool, ef_search: int | None, matches: int, reason: str
) -> Plan | str:
    if ef_search is None:
        return reason
    assert known.index is not None
    return Plan(
        "ann",
        reason,
        known.total,
        matches,
        False,
        None,
        # Candidates by bits must be ranked by the whole embedding: all there are are taken.
        candidates=k if everything and not known.index.quantized else ef_search,
        ef_search=ef_search,
        index=known.index.name,
        index_file=known.index.file_number,
    )


def index_pays(connection: Asks, rows: int, k: int) -> bool:
    """Whether an index over so many rows would be taken for `k` neighbours of all photos."""
    row = connection.execute(_INDEX_PLAN, (None, rows, k, None, None)).fetchone()
    return row is not None and row[0] is not None


_INDEX_PLAN = "SELECT * FROM geosearch.index_plan(%s, %s, %s, %s, %s)"


class LeafPlan(NamedTuple):
    """The leaves that a filter touches, and how they would be searched: docs/retrieval.md.

    Each is known by its condition in SQL, and gives `rank` candidates.
    """

    tuning: int
    conditions: list[str]
    rank: int
    ef_search: int
    ms: float
    matches: int
    reason: str


def part_plan(
    connection: Asks, known: Facts, k: int, share: float, likes: float, reach: Reach
) -> tuple[Plan | str, LeafPlan | None]:
    """As `index_plan`, for what passes a filter that reaches so far; and how leaves are searched.

    None where these do not pay.
    """
    asked = {
        "model": known.model_id,
        "tuning": known.tuning,
        "total": known.total,
        "k": k,
        "share": share,
        "likes": likes,
        "places": None if reach.places is None else [list(box) for box in reach.places],
        "after": reach.after,
        "before": reach.before,
        "authors": None if reach.authors is None else sorted(reach.authors),
    }
    row = connection.execute(_PART_PLAN, asked, prepare=True).fetchone()
    assert row is not None
    leaves = None if row[0] is None else LeafPlan(*row[:-3])
    return _index_plan(known, k, False, *row[-3:]), leaves


_PART_PLAN = """
SELECT leaf.*, index.*
FROM geosearch.leaf_plan(
    %(model)s, %(tuning)s, %(total)s, %(k)s, %(share)s, %(places)s::float8[], %(after)s, %(before)s,
    %(authors)s::text[]
) AS leaf,
geosearch.index_plan(
    %(tuning)s, %(total)s, %(k)s, %(share)s, %(likes)s, leaf.ms
) AS index
"""


def leaf_deeper(
    connection: Asks, known: Facts, plan: LeafPlan, short: list[int]
) -> LeafPlan | None:
    """How those leaves (numbers from 1) are searched again that were not searched deep enough."""
    asked = (known.tuning, plan.tuning, plan.matches, len(short), plan.rank)
    statement: LiteralString = "SELECT * FROM geosearch.leaf_deeper(%s, %s, %s, %s, %s)"
    rank, ef_search = _decided(connection, known, statement, *asked)
    if ef_search is None:
        return None
    conditions = [plan.conditions[leaf - 1] for leaf in short]
    return plan._replace(conditions=conditions, rank=rank, ef_search=ef_search)


def found_recall(
    connection: Asks, known: Facts, tuning: int | None, ef_search: int, rank: int
) -> tuple[float | None, bool]:
    """The recall of an index search whose last neighbour stood at `rank`, and if it is enough.

    By what was measured of the index, or of leaves.
    """
    asked = (tuning, ef_search, rank)
    statement: LiteralString = "SELECT * FROM geosearch.found_recall(%s, %s, %s)"
    recall, enough = _decided(connection, known, statement, *asked)
    return recall, bool(enough)


def _decided(
    connection: Asks, known: Facts, statement: LiteralString, *asked: Any
) -> tuple[Any, ...]:
    key = (statement, *asked)
    if key not in known.decided:
        row = connection.execute(statement, asked, prepare=True).fetchone()
        assert row is not None
        known.decided[key] = row
    return known.decided[key]
