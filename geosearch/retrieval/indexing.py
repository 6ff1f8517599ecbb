"""Index a model where that pays: build, and measure what searches by the index find."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

from geosearch.database.connection import Connection, Database
from geosearch.database.leases import Lease, only_one
from geosearch.errors import DatabaseError
from geosearch.json_record import plain
from geosearch.retrieval.facts import forget
from geosearch.retrieval.indexes import Built, build_index, count_rows, find_index, index_name
from geosearch.retrieval.leaves import (
    DEFAULT_FAMILIES,
    Leaves,
    check_families,
    find_leaves,
    grow_leaves,
    wanted_families,
)
from geosearch.retrieval.plan import index_pays
from geosearch.retrieval.recall import Check, Progress, check_aim, tune
from geosearch.retrieval.tuning import Point, search_setting


@dataclass(frozen=True)
class Measured:
    """The recall found for `k` neighbours at `ef_search`; `target` is what searches aim at."""

    target: float
    k: int
    ef_search: int
    recall: float
    curve: tuple[Point, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Indexed:
    """What `index_model` did: nothing where exact search among so few `rows` costs no more."""

    rows: int
    built: Built | None = None
    leaves: Leaves | None = None
    measured: Measured | None = None

    @property
    def needed(self) -> bool:
        """Whether an index pays, was asked for all the same, or was there before."""
        return self.built is not None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        known: dict[str, Any] = {"needed": self.needed, "rows": self.rows}
        for part in (self.built, self.measured):
            known |= {} if part is None else plain(part)
        return known | ({} if self.leaves is None else {"leaves": plain(self.leaves)})


class Aim(NamedTuple):
    """An index there is, and what it was measured for, if it was."""

    model_id: int
    dimension: int
    target: float | None
    k: int | None


def index_aims(connection: Connection) -> list[Aim]:
    """All indexes there are."""
    return [aim for aim in _aims(connection) if find_index(connection, aim.model_id) is not None]


def rebuild_indexes(database: Database, aims: Sequence[Aim] | None = None) -> None:
    """Build and measure again every index there is, or these, for what they were measured for.

    For photos that have moved to another shelf, or are deleted: an index keeps its shape when they
    have gone.
    """
    if aims is None:
        with database.connection() as connection:
            aims = index_aims(connection)
    _build_again(database, aims, rebuild=True)


def restore_indexes(database: Database, progress: Progress | None = None) -> list[str]:
    """Build and measure the indexes that were built once and are not there; their names.

    A restored database has none, and one that is not valid is of no use.
    """
    with database.connection() as connection:
        built = {key for (key,) in connection.execute("SELECT model_id FROM geosearch.indexes")}
        lost = [
            aim
            for aim in _aims(connection)
            if aim.model_id in built and count_rows(connection, aim.model_id)
        ]
        names = [name for aim in lost for name in _missing(connection, aim.model_id)]
        lost = [aim for aim in lost if _missing(connection, aim.model_id)]
    _build_again(database, lost, progress)
    return names


def _missing(connection: Connection, model_id: int) -> list[str]:
    """Names of a model's indexes that are not there, of leaves too."""
    whole = [] if find_index(connection, model_id) else [index_name(model_id)]
    return whole + [leaf.name for leaf in find_leaves(connection, model_id) if not leaf.valid]


def _aims(connection: Connection) -> list[Aim]:
    """Of all models."""
    rows = connection.execute(
        "SELECT m.id, m.dimension, t.target, t.k FROM geosearch.models AS m "
        "LEFT JOIN geosearch.tunings AS t ON t.model_id = m.id AND t.family IS NULL ORDER BY m.id"
    ).fetchall()
    return [Aim(*row) for row in rows]


def _build_again(
    database: Database,
    aims: Sequence[Aim],
    progress: Progress | None = None,
    *,
    rebuild: bool = False,
) -> None:
    for key, dimension, target, k in aims:
        with database.connection() as connection:
            if not count_rows(connection, key):  # there is nothing to measure by any more
                connection.execute("DELETE FROM geosearch.tunings WHERE model_id = %s", (key,))
                target = None
        if target is None or k is None:
            with _only_run(database, key):
                build_index(database, key, dimension, rebuild=rebuild, progress=progress)
                _grow(database, key, dimension, None, rebuild, progress)
        else:
            index_model(
                database, key, dimension, target, k, rebuild=rebuild, force=True, progress=progress
            )


def index_model(
    database: Database,
    model_id: int,
    dimension: int,
    recall: float = 0.98,
    k: int = 100,
    *,
    leaves: Sequence[str] | None = None,
    rebuild: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Indexed:
    """Build the model's index, and measure the settings that give `recall` for `k`.

    `leaves` are what its leaves are to be by (`leaves.FAMILIES`); by default as before, or at first
    by place. `rebuild` builds again an index that is there, `force` builds one where exact search
    costs no more.

    Errors are those of `build_index` and `tune`, `InputError` for unknown leaves, and
    `DatabaseError` where another run is at it.
    """
    check_aim(recall, k)
    families = None if leaves is None else check_families(leaves)
    with _only_run(database, model_id):
        return _index(database, model_id, dimension, recall, k, families, rebuild, force, progress)


def _only_run(database: Database, model_id: int) -> AbstractContextManager[Lease]:
    refusal = DatabaseError(
        f"another run is indexing model {model_id}", "Wait for it to end; nothing was changed."
    )
    return only_one(database, f"index {model_id}", refusal)


def _index(
    database: Database,
    model_id: int,
    dimension: int,
    recall: float,
    k: int,
    families: tuple[str, ...] | None,
    rebuild: bool,
    force: bool,
    progress: Progress | None,
) -> Indexed:
    with database.connection() as connection:
        rows = count_rows(connection, model_id)
        there = find_index(connection, model_id) is not None
        if rows and not there and not force and not index_pays(connection, rows, k):
            forget(database)  # an index that was there may have been dropped since
            return Indexed(rows)
        if families is None and wanted_families(connection, model_id) is None:
            families = DEFAULT_FAMILIES
    built = build_index(database, model_id, dimension, rebuild=rebuild, progress=progress)
    leaves = _grow(database, model_id, dimension, families, rebuild, progress)
    tuning, checks = tune(database, model_id, recall, k, progress=progress)
    with database.connection() as connection:
        setting = search_setting(connection, tuning, min(k, max(1, built.rows - 1)))
    assert setting is not None
    return Indexed(
        built.rows,
        built,
        leaves,
        Measured(tuning.target, k, *setting, tuning.points, tuple(checks)),
    )


def _grow(
    database: Database,
    model_id: int,
    dimension: int,
    families: tuple[str, ...] | None,
    rebuild: bool,
    progress: Progress | None,
) -> Leaves:
    """The leaves by these, or as before."""
    if families is None:
        with database.connection() as connection:
            families = wanted_families(connection, model_id) or ()
    return grow_leaves(database, model_id, dimension, families, rebuild=rebuild, progress=progress)
