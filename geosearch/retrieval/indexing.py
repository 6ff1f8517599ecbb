"""Index a model where that pays: build, and measure what searches by the index find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geosearch.database.connection import Database
from geosearch.database.leases import only_one
from geosearch.errors import DatabaseError
from geosearch.json_record import plain
from geosearch.retrieval.facts import forget
from geosearch.retrieval.indexes import Built, build_index, count_rows, find_index
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
        return known


def rebuild_indexes(database: Database) -> None:
    """Build and measure again every index there is, for what it was measured for.

    For photos that have moved to another shelf: an index keeps its shape when they have gone.
    """
    with database.connection() as connection:
        models = connection.execute(
            "SELECT m.id, m.dimension, t.target, t.k "
            "FROM geosearch.models AS m LEFT JOIN geosearch.tunings AS t ON t.model_id = m.id"
        ).fetchall()
        indexed = [model for model in models if find_index(connection, model[0]) is not None]
    for key, dimension, *aim in indexed:
        with database.connection() as connection:
            if not count_rows(connection, key):  # there is nothing to measure by any more
                connection.execute("DELETE FROM geosearch.tunings WHERE model_id = %s", (key,))
                aim = [None, None]
        if aim[0] is None:
            build_index(database, key, dimension, rebuild=True)
        else:
            index_model(database, key, dimension, *aim, rebuild=True)


def index_model(
    database: Database,
    model_id: int,
    dimension: int,
    recall: float = 0.98,
    k: int = 100,
    *,
    rebuild: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Indexed:
    """Build the model's index, and measure the settings that give `recall` for `k`.

    `rebuild` builds again an index that is there, `force` builds one where exact search costs no
    more.

    Errors are those of `build_index` and `tune`, and `DatabaseError` where another run is at it.
    """
    check_aim(recall, k)
    refusal = DatabaseError(
        f"another run is indexing model {model_id}", "Wait for it to end; nothing was changed."
    )
    with only_one(database, f"index {model_id}", refusal):
        return _index(database, model_id, dimension, recall, k, rebuild, force, progress)


def _index(
    database: Database,
    model_id: int,
    dimension: int,
    recall: float,
    k: int,
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
    built = build_index(database, model_id, dimension, rebuild=rebuild, progress=progress)
    tuning, checks = tune(database, model_id, recall, k, progress=progress)
    with database.connection() as connection:
        setting = search_setting(connection, tuning, min(k, max(1, built.rows - 1)))
    assert setting is not None
    return Indexed(
        built.rows, built, Measured(tuning.target, k, *setting, tuning.points, tuple(checks))
    )
