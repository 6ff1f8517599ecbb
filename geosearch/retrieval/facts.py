"""What a plan rests on, for one model: rows, places, index, the rule. Kept while it is true."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, LiteralString, NamedTuple, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from psycopg import errors, sql

from geosearch.database.connection import Database, SearchConnection
from geosearch.database.embedding_tables import embedding_table
from geosearch.errors import DatabaseError, NotFoundError
from geosearch.retrieval.indexes import HnswIndex
from geosearch.retrieval.reach import Box

#: Seconds after which numbers of rows and places are read again; a query must not cost more than
#: its search. What a search would err by, `Facts.watch` tells at once.
_FRESH_S = 2.0

#: Searches in a row that may find their facts no longer true.
_TRIES = 5

T = TypeVar("T")


class ChangedError(DatabaseError):
    """The facts that a search went by were no longer true when it ran."""

    def __init__(self) -> None:
        super().__init__(
            "collections or the index changed while this ran", "Run it again, once they are still."
        )


class ShardFacts(NamedTuple):
    """A shard that has photos, and the box that holds them, in degrees and as WKT."""

    name: str
    box: Box
    extent: str


class Fetched(Protocol):
    """The rows of a statement."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next, if any."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All that are left."""


class Asks(Protocol):
    """Where statements are asked: a connection, or the way to a shard."""

    def execute(
        self, query: LiteralString | bytes, params: Any = ..., /, *, prepare: bool | None = ...
    ) -> Fetched:
        """The rows of one."""


@dataclass(frozen=True)
class Facts:
    """Embeddings of the model (estimated), their dimension, its index if it has one, what was
    measured of that (`tuning`, an id), whether it has `leaves` that were measured, and the places
    of some embeddings: latitudes and longitudes (2, n) in degrees.

    All of the open shelf here; `shards` have photos besides, of which those that are `moving` do
    not count there. `private`: the shelves of private collections that this login may read, and
    the number of embeddings on each, which are compared one by one. `sample`, `most` and `probe`
    are numbers of the rule; `decided` is what it has decided since. They are true for as long as
    the SQL expression `watch` is.
    """

    model_id: int
    dimension: int
    total: int
    private: dict[int, int]
    index: HnswIndex | None
    tuning: int | None
    leaves: bool
    sample: int
    most: float
    probe: int
    shards: tuple[ShardFacts, ...]
    moving: tuple[int, ...]
    places: NDArray[np.float64]
    watch: str
    decided: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)


_Known: TypeAlias = dict[tuple[str | None, int], tuple[float, Facts]]
_known: WeakKeyDictionary[Database, _Known] = WeakKeyDictionary()


def facts(
    database: Database, connection: Asks, model_id: int, *, shard: str | None = None
) -> Facts:
    """The model's facts, at most two seconds old; or those of a `shard`, to which `connection`
    leads.

    Raises
    ------
    NotFoundError
        There is no such model.
    """
    known = _known.setdefault(database, {})
    read_at, found = known.get((shard, model_id), (0.0, None))
    now = time.monotonic()
    if found is None or now - read_at > _FRESH_S:
        # First: what changes from now on is found by the next search.
        watch = connection.execute(_WATCH, (model_id,)).fetchone()
        row = connection.execute(_FACTS, {"model": model_id}).fetchone()
        if row is None or row[0] is None or watch is None:
            raise NotFoundError(f"there is no model {model_id}", "Models: geosearch models list")
        dimension, rows, private, private_rows, *indexed = row[:8]
        tuning, leaves, wanted, sample, most, probe, names, boxes, extents, moving = row[8:]
        found = Facts(
            model_id,
            dimension,
            rows,
            dict(zip(private, private_rows, strict=True)),
            None if indexed[0] is None else HnswIndex(*indexed),
            tuning,
            leaves,
            sample,
            most,
            probe,
            tuple(map(ShardFacts, names, map(tuple, boxes), extents)),
            tuple(moving),
            _places(connection, model_id, rows, wanted),
            *watch,
        )
        known[shard, model_id] = (now, found)
    return found


def forget(database: Database) -> None:
    """Read the facts again at the next query: an index was built or measured."""
    _known.pop(database, None)


#: What shows that facts are no longer true; whoever moves photos locks their tables one by one.
#: The first of a link to a shard that is another than it was.
_CHANGED = (
    ChangedError,
    errors.UndefinedTable,
    errors.InsufficientPrivilege,
    errors.DeadlockDetected,
    errors.InvalidSqlStatementName,
)
#: What shows that a shard was restarted since it was last asked, or is away.
_LOST = (
    errors.ConnectionException,
    errors.ConnectionFailure,
    errors.AdminShutdown,
    errors.CrashShutdown,
)


def with_facts(
    database: Database, connection: SearchConnection, model_id: int, search: Callable[[Facts], T]
) -> T:
    """What `search` finds by the model's facts; it is repeated where these had changed meanwhile.

    `connection` is one on which each statement commits itself.

    Raises
    ------
    NotFoundError
        There is no such model.
    ChangedError
        They change faster than it can be searched.
    """
    lost = False
    try:
        for left in reversed(range(_TRIES)):
            try:
                return search(facts(database, connection, model_id))
            except errors.QueryCanceled as error:
                # A shard gave up what was to be quick; now it may take its time.
                given_up = connection.quick and "dblink" in (error.diag.context or "")
                if not left or not given_up:
                    raise
                connection.quick = False
            except (*_CHANGED, *_LOST) as error:
                if not left or connection.broken or (lost and isinstance(error, _LOST)):
                    raise
                lost |= isinstance(error, _LOST)
            forget(database)
            connection.links.clear()
    finally:
        connection.quick = True
    raise AssertionError


_WATCH = "SELECT geosearch.watch_facts(%s)"
_FACTS = """
SELECT
    f.dimension, f.total, f.private,
    ARRAY(
        SELECT geosearch.rows_of(format('embeddings_c%%s_m%%s', shelf, %(model)s::bigint))
        FROM unnest(f.private) AS shelf
    ),
    f.index_name, f.index_file, f.quantized, f.index_definition, f.tuning,
    f.leaves, r.places, r.sample, r.most, r.probe,
    s.names, s.boxes, s.extents, geosearch.hidden_on()
FROM geosearch.search_facts(%(model)s) AS f, geosearch.search_rule() AS r, (
    SELECT
        coalesce(array_agg(name ORDER BY id), '{}') AS names,
        coalesce(array_agg(
            ARRAY[ST_XMin(extent), ST_YMin(extent), ST_XMax(extent), ST_YMax(extent)] ORDER BY id
        ), '{}') AS boxes,
        coalesce(array_agg(ST_AsText(extent, 5) ORDER BY id), '{}') AS extents
    FROM geosearch.shards WHERE extent IS NOT NULL
) AS s
"""


def _places(connection: Asks, model_id: int, rows: int, wanted: int) -> NDArray[np.float64]:
    """Latitudes and longitudes of about `wanted` photos, or of all; always of the same pages."""
    statement = sql.SQL(
        "SELECT ST_Y(geom), ST_X(geom) FROM {} TABLESAMPLE SYSTEM (%s) REPEATABLE (0)"
    ).format(embedding_table(model_id))
    percent = 100 * min(1.0, wanted / max(rows, 1))
    found = connection.execute(statement.as_bytes(), (percent,)).fetchall()
    return np.array(found, dtype=np.float64).reshape(-1, 2).T.copy()
