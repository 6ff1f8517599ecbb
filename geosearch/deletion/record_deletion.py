"""What was computed, deleted: models, answers, evaluations, calibrations, partitions."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from geosearch.calibration.calibration_rows import find_calibration
from geosearch.database.connection import Connection, Database
from geosearch.database.leases import only_one
from geosearch.database.schema import SCHEMA
from geosearch.deletion.deleted import (
    Counting,
    Deleted,
    count,
    require_own,
    require_right,
    rows_with,
)
from geosearch.errors import DatabaseError, InputError
from geosearch.features.model_rows import Model, find_model
from geosearch.geocells.geocell_rows import find_partition
from geosearch.layers.selection import Selection
from geosearch.retrieval.facts import forget
from geosearch.waiting import Progress

#: Answers in one statement, each with a hundred neighbours.
_PAGE = 500
_AS_MANY = sql.SQL("SELECT cardinality(%(id)s::bigint[])")


def delete_model(database: Database, name: str, *, dry_run: bool = False) -> Deleted:
    """Delete a model, given by name or id, with its embeddings, index and classifiers.

    Answers by it stay, and can be reproduced once its photos are embedded again; its calibrations
    stay as records, and are used no more.

    Raises
    ------
    NotFoundError
        There is no such model.
    DatabaseError
        This login may not, a run works with it, or whitened models come of it.
    """
    with database.connection() as connection:
        model = find_model(connection, name)
        require_right(connection, "models", "models")
        of_model = "model_id = %(id)s"
        _require_no_whitened(connection, model)
        kinds = ("embeddings", "queries", "indexes", "classifiers", "whitenings", "rejects", "runs")
        goes = rows_with(of_model, *kinds)
        stays = rows_with(of_model, "localizations", "evaluations", "calibrations")
        found = _counted(connection, f"the model {model.name} ({model.id})", model.id, goes, stays)
    if dry_run:
        return found
    refusal = DatabaseError(
        f"another run works with the model {model.name}", "Wait for it to end; nothing was changed."
    )
    with (
        only_one(database, f"embed {model.id}", refusal),
        only_one(database, f"index {model.id}", refusal),
        database.connection() as connection,
    ):
        connection.execute("SELECT geosearch.delete_model(%s)", (model.id,))
    forget(database)
    return found.done()


def _require_no_whitened(connection: Connection, model: Model) -> None:
    rows = connection.execute(
        "SELECT name FROM geosearch.models WHERE id IN "
        "(SELECT model_id FROM geosearch.whitenings WHERE base_id = %s) ORDER BY id",
        (model.id,),
    ).fetchall()
    if rows:
        names = ", ".join(name for (name,) in rows)
        raise DatabaseError(
            f"the model {model.name} ({model.id}) is what {names} whitens",
            f"First: geosearch models delete {rows[0][0]}",
        )


def delete_answers(
    database: Database,
    selection: Selection,
    *,
    everything: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Deleted:
    """Delete answers: one's own, or, as geosearch_owner, anybody's; `everything`: all of these.

    Raises
    ------
    InputError
        Nothing is said of which answers.
    NotFoundError
        A selected id or evaluation does not exist.
    DatabaseError
        Some are others'.
    """
    if (selection == Selection()) != everything:
        raise InputError(
            "nothing, or more than one thing, says which answers to delete",
            "Give ids, an evaluation or how many of the latest; or all.",
        )
    with database.connection() as connection:
        ids = selection.find(connection)
        require_own(connection, "localizations", ids, "answer")
        parts = ("neighbours", "models", "regions", "cells")
        of_answer = rows_with(
            "localization_id = ANY(%(id)s)", *(f"localization_{name}" for name in parts)
        )
        goes: dict[str, Counting] = {"answers": _AS_MANY}
        goes |= {
            name.removeprefix("localization_"): statement for name, statement in of_answer.items()
        }
        found = _counted(connection, "these answers", ids, goes)
        if not dry_run:
            _delete(connection, "localizations", ids, progress)
    return found if dry_run else found.done()


def delete_evaluations(database: Database, ids: Sequence[int], *, dry_run: bool = False) -> Deleted:
    """Delete evaluations with their answers, and with those that were made on these.

    Raises
    ------
    NotFoundError
        There is no such evaluation.
    DatabaseError
        Some are others'.
    """
    with database.connection() as connection:
        require_own(connection, "evaluations", ids, "evaluation")
        rows = connection.execute(
            "SELECT id FROM geosearch.evaluations "
            "WHERE id = ANY(%(id)s) OR sweep_id = ANY(%(id)s) ORDER BY id DESC",
            {"id": list(ids)},
        )
        every = [int(key) for (key,) in rows]  # those made on the answers of others first
        parts = rows_with("evaluation_id = ANY(%(id)s)", "localizations", "evaluation_failures")
        goes: dict[str, Counting] = {"evaluations": _AS_MANY}
        goes |= zip(("answers", "failures"), parts.values(), strict=True)
        named = ", ".join(map(str, sorted(ids)))
        what = f"evaluation {named}" if len(ids) == 1 else f"the evaluations {named}"
        found = _counted(connection, what, every, goes)
        if not dry_run:
            _delete(connection, "evaluations", every)
    return found if dry_run else found.done()


def delete_calibration(
    database: Database, calibration_id: int, *, dry_run: bool = False
) -> Deleted:
    """Delete a calibration; answers that used it keep what it had fitted.

    Raises
    ------
    NotFoundError
        There is no such calibration.
    DatabaseError
        This login may not.
    """
    with database.connection() as connection:
        find_calibration(connection, calibration_id)
        require_right(connection, "all_calibrations", "calibrations")
        stays = rows_with("calibration_id = %(id)s", "localizations")
        what = f"calibration {calibration_id}"
        found = _counted(connection, what, calibration_id, {}, stays)
        if not dry_run:
            _delete(connection, "calibrations", [calibration_id])
    return found if dry_run else found.done()


def delete_partition(database: Database, name: str, *, dry_run: bool = False) -> Deleted:
    """Delete a partition with its cells and the classifiers over it.

    Answers by it stay, but can no longer be reproduced.

    Raises
    ------
    NotFoundError
        There is no such partition.
    DatabaseError
        This login may not.
    """
    with database.connection() as connection:
        key = find_partition(connection, name).id
        assert key is not None
        require_right(connection, "all_partitions", "partitions")
        goes = rows_with("partition_id = %(id)s", "geocells", "classifiers")
        stays = rows_with(
            "parameters -> 'partitions' ? (SELECT p.name FROM geosearch.partitions AS p"
            " WHERE p.id = %(id)s)",
            "localizations",
        )
        found = _counted(connection, f"the partition {name!r}", key, goes, stays)
        if not dry_run:
            _delete(connection, "partitions", [key])
    return found if dry_run else found.done()


def _counted(
    connection: Connection,
    what: str,
    key: int | Sequence[int],
    goes: dict[str, Counting],
    stays: dict[str, Counting] | None = None,
) -> Deleted:
    values = {"id": key if isinstance(key, int) else list(key)}
    resting = count(connection, stays or {}, values)
    if "localizations" in resting:
        resting = {"answers": resting.pop("localizations")} | resting
    return Deleted(what, True, count(connection, goes, values), resting)


def _delete(
    connection: Connection, table: str, ids: Sequence[int], progress: Progress | None = None
) -> None:
    """Through the view, which lets nobody delete what is another's."""
    statement = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(sql.Identifier(SCHEMA, table))
    for first in range(0, len(ids), _PAGE):
        page = list(ids[first : first + _PAGE])
        connection.execute(statement, (page,))
        if progress is not None:
            progress(first + len(page), len(ids))
