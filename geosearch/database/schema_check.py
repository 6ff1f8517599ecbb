"""Whether the schema is what its revision installs, and making it so.

What it should be is found out by installing that revision beside it, in a transaction that is
rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from uuid import uuid4

import psycopg
from psycopg import sql

from geosearch.database.connection import Connection, Database, redact
from geosearch.database.embedding_tables import PRIVATE_SHELF, create_embedding_table
from geosearch.database.migrations import Migrating, migrating
from geosearch.database.schema import SCHEMA, current_revision, head_revision
from geosearch.database.schema_objects import KINDS, SchemaObject, dependants, describe
from geosearch.errors import DatabaseError
from geosearch.json_record import Record

_ROLES = re.compile(r" TO (geosearch_(reader|analyst|ingester|owner)|PUBLIC)( WITH GRANT OPTION)?$")
#: Private collections may be shared with our roles.
_SHARED = re.compile(rf"SELECT ON \w+\.\w+{PRIVATE_SHELF.rstrip('$')} TO geosearch_(?!owner)\w+")
#: What others may have put into the schema without changing what geosearch does.
_HARMLESS = {"table", "sequence", "type", "function", "view", "index", "comment", "statistics"}


class State(StrEnum):
    """What is wrong with an object."""

    MISSING = "missing"
    DIFFERENT = "differs"
    INVALID = "invalid"
    UNKNOWN = "is not geosearch's"


@dataclass(frozen=True)
class Fault(Record, make="", mendable="mendable"):
    """One object that is not as it should be. `make` mends it; None: `repair` cannot."""

    kind: str
    name: str
    state: State
    make: str | None

    @property
    def mendable(self) -> bool:
        """Whether `repair_schema` may mend it, or `restore_indexes`."""
        return self.make is not None or self.later

    @property
    def later(self) -> bool:
        """Whether it is an index of embeddings, which `restore_indexes` builds and measures."""
        return self.kind == "index" and self.make is None

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {_IS.get(self.state, self.state)}"


_IS = {State.MISSING: "is missing", State.INVALID: "is invalid"}


@dataclass(frozen=True)
class Checked(Record):
    """What came of a check: nothing is wrong where there are no `faults`.

    `mended` is what was wrong before a repair, `foreign` what is in the schema beside geosearch's.
    """

    revision: str
    faults: tuple[Fault, ...]
    mended: tuple[Fault, ...] = ()
    foreign: tuple[str, ...] = ()


def missing_index(name: str) -> Fault:
    """An index of embeddings that was built and is not there: `restore_indexes` makes it."""
    return Fault("index", f"{SCHEMA}.{name}", State.MISSING, None)


def is_installed(url: str) -> bool:
    """Whether there is a schema with tables, whatever its state."""
    with Database(url) as database, database.connection() as connection:
        return any(item.kind == "table" for item in describe(connection).values())


def check_schema_objects(url: str) -> Checked:
    """Compare all objects of the schema with those of the revision that the database says it is at.

    Raises
    ------
    DatabaseError
        There is no schema; the login does not own it, or cannot write.
    """
    with migrating(url, "checking", keep=False) as migration:
        return _check(migration, redact(url), repair=False)


def repair_schema(url: str) -> Checked:
    """Make again what is missing or differs, but never rows: wholly, or nothing after an error.

    `faults` are what is left: tables and columns, whose rows are gone, and what others have put in.
    """
    with migrating(url, "repairing") as migration:
        return _check(migration, redact(url), repair=True)


def _check(migration: Migrating, label: str, *, repair: bool) -> Checked:
    connection = migration.connection
    found = describe(connection)
    if not any(item.kind == "table" for item in found.values()):
        raise DatabaseError(f"{label} has no geosearch schema", "Run: geosearch db upgrade")
    stamped = current_revision(connection)
    revision = stamped or head_revision()
    with set_aside(migration, revision) as aside:
        _lay_out_as(connection, aside)
        truth = describe(connection)
    before = faults = _faults(connection, found, truth, revision, stamped)
    if repair:
        for _ in range(_ROUNDS):
            done = [_mend(connection, fault) for fault in faults]
            if not any(done):
                break
            faults = _faults(
                connection, describe(connection), truth, revision, current_revision(connection)
            )
    left = {(fault.kind, fault.name) for fault in faults}
    foreign = [
        str(item)
        for key, item in found.items()
        if key not in truth and item.kind in {"table", "view", "function", "type", "sequence"}
    ]
    return Checked(
        revision,
        tuple(faults),
        tuple(fault for fault in before if (fault.kind, fault.name) not in left),
        tuple(sorted(foreign)),
    )


#: What rests on another thing that is missing can only be made after it.
_ROUNDS = 9


@contextmanager
def set_aside(migration: Migrating, revision: str, *, keep: bool = False) -> Iterator[str]:
    """The schema made anew at `revision`, empty, while the one there is has the name given.

    Rolled back at the end unless it is to be kept. Others see the old one until all is committed.
    """
    connection = migration.connection
    aside = f"{SCHEMA}_{uuid4().hex[:12]}"
    rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
    with connection.transaction(force_rollback=not keep):
        connection.execute(rename.format(sql.Identifier(SCHEMA), sql.Identifier(aside)))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
        migration.upgrade(revision, shipped=False)
        yield aside


def lay_out(connection: Connection, embedded: Sequence[int]) -> None:
    """Make the relations of private collections, of shards, and of the models `embedded`."""
    for statement in (
        "SELECT geosearch.make_shelf(id) FROM geosearch.all_collections WHERE private ORDER BY id",
        "SELECT geosearch.make_shard(s.id) FROM geosearch.shards AS s "
        "JOIN pg_foreign_server ON srvname = geosearch.shard_server(s.name) ORDER BY s.id",
        "SELECT geosearch.make_views()",
        "SELECT geosearch.grant_shelf(id) FROM geosearch.all_collections WHERE private",
    ):
        connection.execute(statement.encode())
    for model in embedded:
        create_embedding_table(connection, model)


def embedded_models(connection: Connection, schema: str = SCHEMA) -> list[int]:
    """Models that have a table of embeddings, or should have."""
    query = sql.SQL(
        """
        SELECT id FROM {schema}.models AS m
        WHERE to_regclass(format('%I.%I', {name}, 'embeddings_m' || id)) IS NOT NULL
            OR EXISTS (SELECT FROM {schema}.indexes AS i WHERE i.model_id = m.id)
            OR EXISTS (
                SELECT FROM {schema}.all_runs AS r WHERE r.model_id = m.id AND r.kind = 'embed'
            )
        ORDER BY id
        """
    ).format(schema=sql.Identifier(schema), name=sql.Literal(schema))
    return [int(key) for (key,) in connection.execute(query)]


def _lay_out_as(connection: Connection, aside: str) -> None:
    """With the shelves and models of the schema set aside, as far as these can be read."""
    try:
        with connection.transaction():
            for table, columns in (
                (
                    "models",
                    "id, name, architecture, weights_source, weights_sha256, preprocessing, "
                    "pooling, dimension, fingerprint, framework",
                ),
                ("all_collections", "id, name, private"),
                ("shards", "id, name, filter"),
            ):
                connection.execute(
                    f"INSERT INTO geosearch.{table} ({columns}) "  # noqa: S608 - constants above
                    f"SELECT {columns} FROM {aside}.{table}".encode()
                )
            lay_out(connection, embedded_models(connection, aside))
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        pass  # what is missing is reported as such


def _faults(
    connection: Connection,
    found: dict[str, SchemaObject],
    truth: dict[str, SchemaObject],
    revision: str,
    stamped: str | None,
) -> list[Fault]:
    faults = [*_lacking(found, truth), *_added(found, truth), *_bad_indexes(connection, found)]
    if stamped is None:
        stamp = f"INSERT INTO geosearch.alembic_version VALUES ('{revision}')"  # noqa: S608
        faults.append(Fault("row", "of geosearch.alembic_version", State.MISSING, stamp))
    return sorted(faults, key=lambda fault: (_order(fault.kind), fault.name))


def _order(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _lacking(found: dict[str, SchemaObject], truth: dict[str, SchemaObject]) -> Iterator[Fault]:
    there = {item.of for item in found.values()} | {None}
    for key, item in truth.items():
        here = found.get(key)
        whole = item.kind in {"table", "view", "function", "sequence", "type"}
        # Of what is not there, nothing else is said.
        if here is None and (whole or item.of in there):
            yield Fault(item.kind, item.name, State.MISSING, item.make)
        elif here is not None and here.definition != item.definition:
            bad = item.kind == "index"
            make = f"REINDEX INDEX {_index(here)}" if bad else item.make
            yield Fault(item.kind, item.name, State.INVALID if bad else State.DIFFERENT, make)


def _index(item: SchemaObject) -> str:
    named = re.search(r" INDEX (\S+) ON ", item.make or "")
    return f"{SCHEMA}.{named[1]}" if named else item.name


def _added(found: dict[str, SchemaObject], truth: dict[str, SchemaObject]) -> Iterator[Fault]:
    ours = {item.of for item in truth.values()} | {None}
    for key, item in found.items():
        if key in truth or item.kind in _HARMLESS or item.of not in ours:
            continue
        if item.kind != "right":
            yield Fault(item.kind, item.name, State.UNKNOWN, None)
        elif _ROLES.search(item.name) and not _SHARED.fullmatch(item.name):
            what, _, who = item.name.removesuffix(" WITH GRANT OPTION").rpartition(" TO ")
            take = f"REVOKE {what} FROM {who} CASCADE"
            yield Fault("right", item.name, State.UNKNOWN, take)


def _bad_indexes(connection: Connection, found: dict[str, SchemaObject]) -> Iterator[Fault]:
    """Indexes that are not told by what they are over: of keys, of partitions, of embeddings."""
    known = {_index(item) for item in found.values() if item.kind == "index"}
    rows = connection.execute(
        """
        SELECT format('geosearch.%I', c.relname)
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind = 'i'
            AND NOT (i.indisvalid AND i.indisready)
        """
    ).fetchall()
    for (name,) in rows:
        if name not in known:
            yield Fault("index", str(name), State.INVALID, f"REINDEX INDEX {name}")
    if {"table geosearch.indexes", "function geosearch.leaf_name(geosearch.leaves)"} <= set(found):
        for (name,) in connection.execute(
            """
            SELECT names.name
            FROM geosearch.indexes AS i
            CROSS JOIN LATERAL (
                SELECT i.name
                UNION ALL
                SELECT geosearch.leaf_name(l) FROM geosearch.leaves AS l
                WHERE l.model_id = i.model_id AND l.replaces IS NULL
            ) AS names
            WHERE i.rows > 0 AND to_regclass(format('geosearch.%I', names.name)) IS NULL
            """
        ):
            yield missing_index(str(name))


def _mend(connection: Connection, fault: Fault) -> bool:
    """Whether it was mended, as far as one can know before looking again."""
    if fault.make is None:
        return False
    try:
        with connection.transaction():
            connection.execute(fault.make.encode())
        return True
    except psycopg.Error:
        drop = _drop(fault)
    if drop is None or fault.state is not State.DIFFERENT:
        return False
    try:
        with connection.transaction():
            kept = _kept(connection)
            connection.execute(drop.encode())
            connection.execute(fault.make.encode())
            if _kept(connection) != kept:
                raise psycopg.Rollback
            return True
    except psycopg.Error:
        pass
    return False


def _drop(fault: Fault) -> str | None:
    """What drops what cannot be replaced, with all that rests on it: that is made again too."""
    if fault.kind in {"view", "type"}:
        return f"DROP {fault.kind} {fault.name} CASCADE"
    if fault.kind == "function":
        return f"DROP ROUTINE {fault.name} CASCADE"
    if fault.kind == "constraint":
        name, _, table = fault.name.partition(" of ")
        return f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE"
    return None


def _kept(connection: Connection) -> list[str]:
    """What must still be there after a repair: columns with their rows, and what is others'."""
    columns = [key for key, item in describe(connection).items() if item.kind == "column"]
    return [*sorted(columns), *dependants(connection)]
