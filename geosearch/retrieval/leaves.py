"""Leaves: HNSW indexes over parts of a model's embeddings, by place, time or author.

A search of a region, a time or some authors looks into the few leaves that it touches, whatever
their share of all photos: docs/retrieval.md. Those of one family and level divide all embeddings;
the next level's are larger, for larger parts.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import LiteralString, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from geosearch.arguments import check_known
from geosearch.database.connection import Connection, Database, pooled
from geosearch.database.embedding_tables import embedding_table
from geosearch.database.inserting import insert_all
from geosearch.retrieval.indexes import (
    EF_CONSTRUCTION,
    MAX_DIMENSION,
    BuildProgress,
    M,
    build,
    build_bytes,
    count_rows,
    cut_off,
)

#: What leaves may be by, and what they are by if nobody says.
FAMILIES = ("place", "time", "author")
DEFAULT_FAMILIES = ("place",)
#: Most embeddings of a leaf when it is cut; one that has grown to twice as many is cut again.
LEAF_ROWS = 8000
#: How many times as large the leaves of the next level are.
LEVEL_FACTOR = 16
#: A level that would have fewer leaves is none: the index over all does as well.
_LEAST_LEAVES = 4
#: The options of their indexes, by which one that was built in another way is known.
LEAF_OPTIONS = f"m={M}, ef_construction={EF_CONSTRUCTION}"
#: Embeddings by whose keys leaves are cut.
_SAMPLE = 200_000
#: Of a leaf's embeddings that a half must have at least: else they are all in one place.
_LEAST_SHARE = 0.1

Bounds = tuple[float, float, float, float]
Keys = NDArray[np.float64]


class _Family(NamedTuple):
    """The key of an embedding in SQL, all there is of it, and the steps to which cuts are rounded.

    By rounding, bounds tell nothing of a single photo, and are between the keys that are common.
    """

    key: LiteralString
    whole: Bounds
    step: float


_BY = {
    "place": _Family("ST_X(geom), ST_Y(geom)", (-180.0, -90.0, 180.0, 90.0), 0.01),
    "time": _Family(
        "extract(epoch FROM taken_at)::float8, 0::float8", (-np.inf, 0.0, np.inf, 0.0), 86_400.0
    ),
    "author": _Family("hashtext(author)::float8, 0::float8", (-(2.0**31), 0.0, 2.0**31, 0.0), 1.0),
}


class Leaf(NamedTuple):
    """One that searches may use, or that takes the place of one (`replaces`) when it is built."""

    id: int
    family: str
    level: int
    bounds: list[float]
    name: str
    condition: LiteralString
    replaces: int | None
    valid: bool


@dataclass(frozen=True)
class Leaves:
    """A model's leaves: by what, how many there are, how many of them were built now, bytes."""

    families: tuple[str, ...]
    count: int
    built: int
    seconds: float
    bytes: int


def check_families(families: Sequence[str]) -> tuple[str, ...]:
    """The families, each once; raises `InputError` for an unknown one."""
    check_known("leaves by", families, FAMILIES)
    return tuple(family for family in FAMILIES if family in families)


def wanted_families(connection: Connection, model_id: int) -> tuple[str, ...] | None:
    """What the leaves of a model's index are by; None where it has no index yet."""
    row = connection.execute(
        "SELECT leaves FROM geosearch.indexes WHERE model_id = %s", (model_id,)
    ).fetchone()
    return None if row is None else tuple(row[0])


def grow_leaves(
    database: Database,
    model_id: int,
    dimension: int,
    families: tuple[str, ...],
    *,
    rebuild: bool = False,
    progress: BuildProgress | None = None,
) -> Leaves:
    """Build the leaves that are missing, cut those that have grown too large, drop all others.

    Searches have the old ones meanwhile; what was built before a kill stays. Embeddings that are
    indexed by their signs have none. Only one process may do so at a time.

    Raises
    ------
    DatabaseError
        A build failed.
    """
    started = time.perf_counter()
    if dimension > MAX_DIMENSION:
        families = ()
    with database.connection() as connection:
        _plan(connection, model_id, families)
        planned = find_leaves(connection, model_id)
        missing = [
            leaf for leaf in planned if rebuild or not leaf.valid or cut_off(connection, leaf.name)
        ]
    # The order of inner products is that of cosines, as embeddings have length 1; and no search of
    # leaves can be given the index over all.
    over = sql.SQL("((embedding::halfvec({})) halfvec_ip_ops)").format(sql.Literal(dimension))
    for number, leaf in enumerate(missing):
        if progress is not None:
            progress(f"leaves by {leaf.family}", number, len(missing))
        memory = build_bytes(2 * LEAF_ROWS * LEVEL_FACTOR**leaf.level, dimension)
        build(database, leaf.name, model_id, over, memory, None, condition=sql.SQL(leaf.condition))
    with database.connection() as connection:
        _replace(connection, model_id)
        kept = find_leaves(connection, model_id)
    _drop_others(database, model_id, [leaf.name for leaf in kept])
    with database.connection() as connection:
        row = connection.execute(
            "SELECT coalesce(sum(pg_relation_size(format('geosearch.%%I', name)::regclass)), 0) "
            "FROM unnest(%s::text[]) AS name",
            ([leaf.name for leaf in kept],),
        ).fetchone()
    assert row is not None
    seconds = time.perf_counter() - started
    return Leaves(families, len(kept), len(missing), seconds, int(row[0]))


def find_leaves(connection: Connection, model_id: int) -> list[Leaf]:
    """All leaves of a model, in order, those too whose indexes are yet to be built."""
    rows = connection.execute(
        """
        SELECT l.id, l.family, l.level, l.bounds, geosearch.leaf_name(l),
            geosearch.leaf_condition(l.family, l.bounds), l.replaces,
            EXISTS (
                SELECT FROM pg_index AS i WHERE i.indisvalid
                    AND i.indexrelid = to_regclass('geosearch.' || geosearch.leaf_name(l))
            )
        FROM geosearch.leaves AS l WHERE l.model_id = %s ORDER BY l.id
        """,
        (model_id,),
    ).fetchall()
    return [Leaf(*row) for row in rows]


def _plan(connection: Connection, model_id: int, families: tuple[str, ...]) -> None:
    """Rows for the leaves that there should be."""
    for table in ("leaves", "tunings"):
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE model_id = %s AND NOT family = ANY(%s)").format(
                sql.Identifier("geosearch", table)
            ),
            (model_id, list(families)),
        )
    connection.execute(
        "UPDATE geosearch.indexes SET leaves = %s WHERE model_id = %s", (list(families), model_id)
    )
    there = find_leaves(connection, model_id)
    divided = {leaf.replaces for leaf in there}
    share = min(1.0, _SAMPLE / max(count_rows(connection, model_id), 1))
    for family in families:
        keys = _keys(connection, model_id, family, share)
        for level in count():
            most = share * LEAF_ROWS * LEVEL_FACTOR**level
            own = [leaf for leaf in there if (leaf.family, leaf.level) == (family, level)]
            new: list[tuple[int | None, list[float]]] = []
            for leaf in own:
                inside = keys[_inside(keys, leaf.bounds)]
                if leaf.replaces is None and leaf.id not in divided and len(inside) > 2 * most:
                    parts = cut(inside, family, leaf.bounds, most)
                    new += [(leaf.id, part) for part in parts if len(parts) > 1]
            if not own:
                new = [(None, part) for part in cut(keys, family, _BY[family].whole, most)]
                if len(new) < _LEAST_LEAVES:
                    break
            of = {"model_id": model_id, "family": family, "level": level}
            rows = [of | {"replaces": replaces, "bounds": bounds} for replaces, bounds in new]
            insert_all(connection, "leaves", rows)


def cut(keys: Keys, family: str, bounds: Sequence[float], most: float) -> list[list[float]]:
    """`bounds`, which hold the keys (n, 2), in parts of at most `most` keys, by halving.

    Across the longer side; where too many keys are the same, a part may hold more.
    """
    if len(keys) <= most:
        return [list(bounds)]
    middle_y = np.radians(keys[:, 1].mean())
    sides = np.ptp(keys, axis=0) * (np.cos(middle_y) if family == "place" else 1.0, 1.0)
    step = _BY[family].step
    for axis in np.argsort(-sides, kind="stable"):
        middle = float((np.floor(np.median(keys[:, axis]) / step) + 0.5) * step)
        below = keys[:, axis] < middle
        if not _LEAST_SHARE <= below.mean() <= 1 - _LEAST_SHARE:
            continue
        low, high = list(bounds), list(bounds)
        low[2 + axis] = high[axis] = middle
        return cut(keys[below], family, low, most) + cut(keys[~below], family, high, most)
    return [list(bounds)]


def _inside(keys: Keys, bounds: Sequence[float]) -> NDArray[np.bool_]:
    low, high = np.array(bounds).reshape(2, 2)
    return np.asarray(((keys >= low) & (keys <= high)).all(axis=1))


def _keys(connection: Connection, model_id: int, family: str, share: float) -> Keys:
    """Keys (n, 2) of about this share of the embeddings that have one."""
    statement = sql.SQL(
        "SELECT x, y FROM ("
        "SELECT {key} FROM {table} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0)"
        ") AS keys (x, y) WHERE x IS NOT NULL"
    ).format(
        key=sql.SQL(_BY[family].key),
        table=embedding_table(model_id),
        percent=sql.Literal(100 * share),
    )
    return np.array(connection.execute(statement).fetchall(), dtype=np.float64).reshape(-1, 2)


def _replace(connection: Connection, model_id: int) -> None:
    """Leaves that are built take the place of those that they divide."""
    divided = connection.execute(
        """
        DELETE FROM geosearch.leaves AS l WHERE l.id IN (
            SELECT new.replaces
            FROM geosearch.leaves AS new
            LEFT JOIN pg_index AS i ON i.indisvalid
                AND i.indexrelid = to_regclass('geosearch.' || geosearch.leaf_name(new))
            WHERE new.model_id = %s AND new.replaces IS NOT NULL
            GROUP BY new.replaces HAVING count(*) = count(i.indexrelid)
        )
        """,
        (model_id,),
    )
    if divided.rowcount:  # searches that know the old ones are to look again
        connection.execute("UPDATE geosearch.shelf_changes SET number = number + 1")


def _drop_others(database: Database, model_id: int, kept: Collection[str]) -> None:
    with database.own_connection(autocommit=True) as connection:
        concurrently = sql.SQL("" if pooled(connection) else "CONCURRENTLY")
        rows = connection.execute(
            """
            SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = to_regclass(format('geosearch.embeddings_m%%s', %s::bigint))
                AND c.relname ~ '_(place|time|author)[0-9]+_hnsw(_new)?$'
                AND NOT c.relname = ANY(%s)
            """,
            (model_id, list(kept)),
        ).fetchall()
        for (name,) in rows:
            connection.execute(
                sql.SQL("DROP INDEX {} IF EXISTS {}").format(
                    concurrently, sql.Identifier("geosearch", name)
                )
            )
