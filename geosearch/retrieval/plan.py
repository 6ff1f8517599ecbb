"""How a neighbour query will run: exact or by the index, and why.

The rule is SQL (`plan.sql`), where `geosearch.nearest` asks it too; what it decides is believed for
as long as the facts it decides by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, LiteralString

from geosearch.database.connection import Connection
from geosearch.json_record import Record
from geosearch.retrieval.facts import Facts

Strategy = Literal["exact", "ann", "empty", "none"]


@dataclass(frozen=True)
class Plan(Record):
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

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """A recorded plan."""
        return cls(**value)


def exact_plan(total: int, matches: int, reason: str) -> Plan:
    """All `matches` photos that pass, of `total`, are compared."""
    return Plan(
        "exact" if matches else "empty", reason, total, matches, True, 1.0, rows_scanned=matches
    )


def few_enough(connection: Connection, known: Facts, k: int) -> int:
    """Up to so many matching photos are compared before an index search is thought of."""
    (few,) = _decided(connection, known, "SELECT geosearch.few_enough(%s, %s)", known.tuning, k)
    return int(few)


def index_plan(
    connection: Connection,
    known: Facts,
    k: int,
    share: float | None = None,
    likes: float | None = None,
) -> Plan | str:
    """Search by the index, or why exact search is to be preferred.

    About a `share` of the photos pass the filter, None where there is none, and of those most like
    the query the share `likes`.
    """
    asked = (known.tuning, known.total, k, share, likes)
    ef_search, matches, reason = _decided(connection, known, _INDEX_PLAN, *asked)
    if ef_search is None:
        return str(reason)
    assert known.index is not None
    return Plan(
        "ann",
        reason,
        known.total,
        matches,
        False,
        None,
        # Candidates by bits must be ranked by the whole embedding: all there are are taken.
        candidates=k if share is None and not known.index.quantized else ef_search,
        ef_search=ef_search,
        index=known.index.name,
        index_file=known.index.file_number,
    )


def index_pays(connection: Connection, rows: int, k: int) -> bool:
    """Whether an index over so many rows would be taken for `k` neighbours of all photos."""
    row = connection.execute(_INDEX_PLAN, (None, rows, k, None, None)).fetchone()
    return row is not None and row[0] is not None


_INDEX_PLAN = "SELECT * FROM geosearch.index_plan(%s, %s, %s, %s, %s)"


def found_recall(
    connection: Connection, known: Facts, ef_search: int, rank: int
) -> tuple[float | None, bool]:
    """The recall of an index search whose last neighbour stood at `rank`, and if it is enough."""
    asked = (known.tuning, ef_search, rank)
    statement: LiteralString = "SELECT * FROM geosearch.found_recall(%s, %s, %s)"
    recall, enough = _decided(connection, known, statement, *asked)
    return recall, bool(enough)


def _decided(
    connection: Connection, known: Facts, statement: LiteralString, *asked: Any
) -> tuple[Any, ...]:
    key = (statement, *asked)
    if key not in known.decided:
        row = connection.execute(statement, asked, prepare=True).fetchone()
        assert row is not None
        known.decided[key] = row
    return known.decided[key]
