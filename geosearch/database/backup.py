"""A database as one file, and the file as a database: any PostgreSQL, version, owner and login.

A dump is a zip of the tables' rows in PostgreSQL's binary format, one file for each, and of what
else there is to know, as JSON. It holds no SQL: tables, functions, views, rights and indexes are
made by the migrations, for the schemas that extensions are in at the place and by the login that
restores. So a dump from a stranger can bring rows, and nothing that runs.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from geosearch.atomic_files import replacing
from geosearch.database.connection import Connection, Database, redact
from geosearch.database.copying import copy_into
from geosearch.database.embedding_tables import PRIVATE_SHELF
from geosearch.database.migrations import Migrating, migrating
from geosearch.database.refusals import refused
from geosearch.database.resources import resource
from geosearch.database.role_grants import ROLES
from geosearch.database.schema import SCHEMA, current_revision
from geosearch.database.schema_check import (
    check_schema_objects,
    embedded_models,
    lay_out,
    set_aside,
)
from geosearch.database.schema_objects import dependants
from geosearch.errors import DatabaseError, InputError, unusable_file
from geosearch.json_record import Record
from geosearch.storage import parse_json, regular
from geosearch.versions import software_versions
from geosearch.waiting import Progress

FORMAT = 1
_CONTENTS = "geosearch.json"
_CHUNK = 1 << 20
#: Most that is read of the part that says what a dump contains.
_MOST_CONTENTS = 32 << 20
#: Tables of what goes on at the moment, of what alembic itself writes, of what lets others in, and
#: of other servers, which are dumped by themselves.
_NOT_KEPT = {
    *("leases", "all_claims", "shelf_changes", "embedding_marks"),
    *("alembic_version", "tokens", "shards"),
}
#: Filled by geosearch itself at the start.
_SHIPPED = {"borders", "places"}
_OUR_ROLES = tuple(f"geosearch_{role}" for role in ROLES)
_RIGHTS = {"SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "USAGE"}
_GRANT_KEYS = ("kind", "name", "column", "arguments", "right", "to", "option")


@dataclass(frozen=True)
class Dumped(Record):
    """What a dump holds. `left_out`: relations in the schema that are not geosearch's."""

    file: Path
    bytes: int
    revision: str
    rows: Mapping[str, int]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Restored(Record):
    """What was restored. `for_administrator`: statements that this login may not run itself."""

    revision: str
    rows: Mapping[str, int]
    granted: tuple[str, ...]
    for_administrator: tuple[str, ...]


def stored_rows(connection: Connection) -> dict[str, int]:
    """Rows of each table that is kept."""
    return {name: _count(connection, name) for name in _tables(connection)[0]}


def dump(database: Database, path: Path, progress: Progress | None = None) -> Dumped:
    """Write all that is in the schema to a file, as of one moment, while others go on.

    Whole or not at all, readable by its owner alone.

    Raises
    ------
    InputError
        The file cannot be written.
    DatabaseError
        The login may not read all of it: who owns the tables may.
    """
    with replacing(path) as part, database.own_connection() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        part.touch(0o600)
        revision = current_revision(connection)
        tables, left_out = _tables(connection)
        rows = {name: _count(connection, name) for name in tables}
        done, total = 0, sum(rows.values())
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, columns in tables.items():
                with (
                    archive.open(_member(name), "w", force_zip64=True) as stream,
                    connection.cursor() as cursor,
                    cursor.copy(_copy_out(name, columns)) as copy,
                ):
                    for number, data in enumerate(copy):
                        stream.write(data)
                        if progress is not None and number % 1000 == 0:
                            progress(done + number, total)
                done += rows[name]
            members, grants = _members(connection), _grants(connection)
            contents = {
                "geosearch": FORMAT,
                "revision": revision,
                "made_at": datetime.now(UTC).isoformat(),
                "software": software_versions(),
                "tables": {
                    name: {"columns": columns, "rows": rows[name]}
                    for name, columns in tables.items()
                },
                "embedded_models": embedded_models(connection),
                "sequences": _sequences(connection),
                "members": members,
                "users": _users(connection, members, grants),
                "grants": grants,
            }
            archive.writestr(_CONTENTS, json.dumps(contents))
        size = part.stat().st_size
    return Dumped(path, size, str(revision), rows, tuple(left_out))


def restore(
    url: str,
    path: Path,
    *,
    replace: bool = False,
    roles: bool = True,
    progress: Progress | None = None,
) -> Restored:
    """Make the schema as it was dumped, in one transaction: an error leaves what was there.

    Whoever reads meanwhile sees the old one until the end. Indexes over embeddings are not in it:
    `restore_indexes` builds them. `roles`: with users, their roles, and what they were granted.

    Raises
    ------
    InputError
        The file cannot be read, or is no dump, or not whole.
    DatabaseError
        There is something to be overwritten and not to `replace`; something outside the schema
        rests on it; or the server refuses.
    """
    with _opened(path) as (archive, contents), migrating(url, "restoring") as migration:
        connection = migration.connection
        label = redact(url)
        _check_may_replace(connection, label, replace)
        with set_aside(migration, contents.revision, keep=True) as aside:
            _load(migration, archive, contents, path, progress)
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(aside)))
        migration.upgrade()
        for name in contents.tables:
            connection.execute(_named("ANALYZE {}", name))
        granted, refused_ = _grant(connection, contents) if roles else ([], [])
        _check_search(connection, contents)
    # By itself, as it needs as many locks again.
    checked = check_schema_objects(url)
    faults = [fault for fault in checked.faults if not fault.later]
    if faults:
        raise DatabaseError(
            f"{label} was restored with all rows, but {len(faults)} objects are not as they should "
            f"be, such as: {faults[0]}",
            "Run: geosearch db upgrade --repair",
        )
    rows = {name: table.rows for name, table in contents.tables.items()}
    return Restored(checked.revision, rows, tuple(granted), tuple(refused_))


@dataclass(frozen=True)
class _Table:
    columns: list[str]
    rows: int


@dataclass(frozen=True)
class _Contents:
    """What a dump says that it contains, in the types that it must have."""

    revision: str
    tables: dict[str, _Table]
    embedded_models: list[int]
    sequences: dict[str, tuple[int, bool]]
    members: list[tuple[str, str]]
    users: dict[str, bool]
    grants: list[dict[str, str]]

    @classmethod
    def read(cls, value: Any) -> _Contents:
        """Raises KeyError, TypeError, ValueError or AttributeError where it is no such thing."""
        if value["geosearch"] != FORMAT:
            raise ValueError(f"its format is {value['geosearch']!r}, not {FORMAT}")
        grants = [{str(key): str(item) for key, item in each.items()} for each in value["grants"]]
        for grant in grants:
            if grant["right"] not in _RIGHTS or grant.keys() != set(_GRANT_KEYS):
                raise ValueError(f"it grants {grant['right']!r}")
        members = [(str(role), str(member)) for role, member in value["members"]]
        for role, _ in members:
            if role not in _OUR_ROLES:
                raise ValueError(f"it gives the role {role}, which is not of geosearch")
        return cls(
            str(value["revision"]),
            {
                str(name): _Table([str(each) for each in table["columns"]], _number(table["rows"]))
                for name, table in value["tables"].items()
            },
            [_number(key) for key in value["embedded_models"]],
            {
                str(name): (_number(last), bool(called))
                for name, (last, called) in value["sequences"].items()
            },
            members,
            {_user(name): bool(login) for name, login in value["users"].items()},
            grants,
        )


def _number(value: Any) -> int:
    """A number of rows, or of a row."""
    if not 0 <= (number := int(value)) < 2**63:
        raise ValueError(f"{number} is no number of a row")
    return number


def _user(name: Any) -> str:
    """A name that a role may have."""
    if not 0 < len(str(name).encode()) < 64 or "\0" in str(name):
        raise ValueError(f"{name!r:.80} is no name of a user")
    return str(name)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, _Contents]]:
    """A dump; what cannot be read of it, now or in the block, is an `InputError`."""
    remedy = "Give a file that geosearch db dump has made, whole."
    try:
        with regular(path).open("rb") as stream:
            if stream.read(5) == b"PGDMP":
                raise InputError(
                    f"{path} was made by pg_dump, which geosearch db restore does not run: it may "
                    "hold any SQL",
                    "Restore it by pg_restore into an empty database, and run geosearch db upgrade "
                    "--repair there.",
                )
            stream.seek(0)
            with zipfile.ZipFile(stream) as archive:
                if any(part.flag_bits & 1 for part in archive.infolist()):
                    raise ValueError("it is encrypted")
                with archive.open(_CONTENTS) as part:
                    contents = _Contents.read(parse_json(part.read(_MOST_CONTENTS)))
                strange = set(archive.namelist()) - {_CONTENTS, *map(_member, contents.tables)}
                if strange:
                    raise ValueError(f"it holds {min(strange)!r}, which is no part of a dump")
                yield archive, contents
    except OSError as error:
        raise unusable_file(f"{path} cannot be read: {error.strerror or error}", error) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(
            f"{path} is no dump of geosearch, or not whole: {error}", remedy
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no dump of geosearch: {error}", remedy) from error


def _check_may_replace(connection: Connection, label: str, replace: bool) -> None:
    filled = {
        name: rows
        for name, rows in stored_rows(connection).items()
        if name not in _SHIPPED and rows
    }
    if filled and not replace:
        shown = ", ".join(f"{rows:,} in {name}" for name, rows in filled.items())
        raise DatabaseError(
            f"{label} has rows that would be overwritten: {shown}",
            "`replace` overwrites them; geosearch db dump FILE keeps them first.",
        )
    check_nothing_rests_on_it(connection, label)


def check_nothing_rests_on_it(connection: Connection, label: str) -> None:
    """Raise `DatabaseError` if what is not geosearch's would go with the schema."""
    outside = dependants(connection)
    if outside:
        raise DatabaseError(
            f"what is not geosearch's rests on its schema in {label} and would go with it: "
            + ", ".join(outside[:8]),
            "Drop it first, and make it again afterwards.",
        )


def _load(
    migration: Migrating,
    archive: zipfile.ZipFile,
    contents: _Contents,
    path: Path,
    progress: Progress | None,
) -> None:
    """All rows into the empty tables, each after those it refers to, and what follows from them."""
    connection = migration.connection
    tables, _ = _tables(connection)
    for name, table in contents.tables.items():
        strange = set(table.columns) - set(tables.get(name, ()))
        if name not in tables or strange:
            what = f"a column {name}.{min(strange)}" if name in tables else f"a table {name}"
            raise InputError(
                f"{path} has {what}, which revision {contents.revision} of geosearch has not",
                "It was altered, or made by a version that was never released.",
            )
    # Rows are as they were: photos have their places, and the roles that gave them may come later.
    reviews = _named("{}", "all_reviews")
    trigger = sql.SQL("ALTER TABLE {} {} TRIGGER place_reviewed")
    connection.execute(trigger.format(reviews, sql.SQL("DISABLE")))
    done, total = 0, sum(table.rows for table in contents.tables.values())
    first = ["all_collections", "models"]
    for name in [*first, *(name for name in _by_reference(connection) if name not in first)]:
        table = contents.tables.get(name, _Table([], 0))
        try:
            for rows in _copy_in(connection, archive, name, table):
                if progress is not None:
                    progress(done + rows, total)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            said = refused(error, f"{path} has rows of {name} that cannot be").message
            raise InputError(said, "Give a file that geosearch db dump has made.") from error
        done += table.rows
        if name == first[-1]:
            lay_out(connection, contents.embedded_models)
    connection.execute(trigger.format(reviews, sql.SQL("ENABLE")))
    known = {
        str(name)
        for (name,) in connection.execute(
            "SELECT sequencename FROM pg_sequences WHERE schemaname = %s", (SCHEMA,)
        )
    }
    for name, (last, called) in contents.sequences.items():
        if name in known:
            whole = _named("{}", name).as_string(connection)
            connection.execute("SELECT setval(%s::regclass, %s, %s)", (whole, last, called))


def _copy_in(
    connection: Connection, archive: zipfile.ZipFile, name: str, table: _Table
) -> Iterator[int]:
    """Load a table; gives now and then about how many rows are there."""
    if not table.columns:
        if table.rows:
            raise ValueError(f"{name} has rows without columns")
        return
    size = max(archive.getinfo(_member(name)).file_size, 1)
    with (
        archive.open(_member(name)) as stream,
        copy_into(connection, sql.Identifier(SCHEMA, name), table.columns) as copy,
    ):
        read = 0
        while data := stream.read(_CHUNK):
            copy.write(data)
            read += len(data)
            yield min(read, size) * table.rows // size
    if (found := _count(connection, name)) != table.rows:
        raise ValueError(f"{name} has {found} rows, and should have {table.rows}")


@cache
def _known_tables() -> set[str]:
    """Those that revisions make; what else is in the schema is not geosearch's."""
    return {
        name
        for file in resource("sql").rglob("*.sql")
        for name in re.findall(r"CREATE TABLE geosearch\.(\w+) ", file.read_text("utf-8"))
    }


def _tables(connection: Connection) -> tuple[dict[str, list[str]], list[str]]:
    """Of the tables that are kept, the columns that are stored; and relations not of geosearch."""
    known = _known_tables()
    found: dict[str, list[str]] = {}
    left_out = []
    for name, kind, columns in connection.execute(
        """
        SELECT c.relname, c.relkind, ARRAY(
            SELECT a.attname::text FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
            ORDER BY a.attnum
        )
        FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace('geosearch') AND c.relkind IN ('r', 'p', 'm', 'f')
            AND NOT c.relispartition
        ORDER BY c.relname
        """
    ):
        if name in known and kind in ("r", "p", b"r", b"p"):
            if name not in _NOT_KEPT:
                found[str(name)] = list(columns)
        elif name not in _NOT_KEPT:
            left_out.append(str(name))
    return found, left_out


def _by_reference(connection: Connection) -> list[str]:
    """Tables, each after those that its keys refer to."""
    graph = TopologicalSorter[str]({name: set() for name in _tables(connection)[0]})
    for table, other in connection.execute(
        """
        SELECT t.relname, o.relname
        FROM pg_constraint AS k
        JOIN pg_class AS t ON t.oid = k.conrelid JOIN pg_class AS o ON o.oid = k.confrelid
        WHERE k.contype = 'f' AND k.connamespace = 'geosearch'::regnamespace
            AND NOT t.relispartition AND NOT o.relispartition AND t.oid <> o.oid
        """
    ):
        graph.add(table, other)
    return list(graph.static_order())


def _sequences(connection: Connection) -> dict[str, tuple[int, bool]]:
    names = connection.execute(
        "SELECT sequencename FROM pg_sequences WHERE schemaname = %s", (SCHEMA,)
    ).fetchall()
    found = {}
    for (name,) in names:
        row = connection.execute(_named("SELECT last_value, is_called FROM {}", name)).fetchone()
        assert row is not None
        found[str(name)] = (int(row[0]), bool(row[1]))
    return found


def _members(connection: Connection) -> list[tuple[str, str]]:
    """Who was given which of our roles."""
    return [
        (str(role), str(member))
        for role, member in connection.execute(
            """
            SELECT r.rolname, m.rolname
            FROM pg_auth_members AS g
            JOIN pg_roles AS r ON r.oid = g.roleid JOIN pg_roles AS m ON m.oid = g.member
            WHERE r.rolname = ANY (%(roles)s) AND m.rolname <> ALL (%(roles)s)
                AND m.rolname <> current_user
            ORDER BY 1, 2
            """,
            {"roles": list(_OUR_ROLES)},
        )
    ]


def _users(
    connection: Connection, members: Iterable[tuple[str, str]], grants: Iterable[dict[str, str]]
) -> dict[str, bool]:
    """Roles of the server that have rights here, and whether each may log in."""
    names = {member for _, member in members}
    names |= {grant["to"] for grant in grants} - {*_OUR_ROLES}
    return dict(
        connection.execute(
            "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = ANY (%s)", (list(names),)
        ).fetchall()
    )


# What nobody but geosearch grants is granted again by geosearch. Private collections may be shared
# with its roles too.
_GRANTS = """
SELECT kind, name, part, arguments, privilege_type,
    coalesce((SELECT rolname FROM pg_roles WHERE oid = grantee), ''), is_grantable
FROM (
    SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind, relname AS name,
        '' AS part, '' AS arguments, relowner AS owner, a.*
    FROM pg_class, aclexplode(relacl) AS a
    WHERE relnamespace = 'geosearch'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
    UNION ALL
    SELECT 'table', c.relname, t.attname, '', c.relowner, a.*
    FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
    WHERE c.relnamespace = 'geosearch'::regnamespace AND NOT t.attisdropped
    UNION ALL
    SELECT 'function', proname, '', pg_get_function_identity_arguments(oid), proowner, a.*
    FROM pg_proc, aclexplode(proacl) AS a WHERE pronamespace = 'geosearch'::regnamespace
    UNION ALL
    SELECT 'schema', nspname, '', '', nspowner, a.*
    FROM pg_namespace, aclexplode(nspacl) AS a WHERE nspname = 'geosearch'
) AS given
WHERE grantee <> owner AND grantee <> 0 AND privilege_type = ANY (%s)
    AND (
        (SELECT rolname FROM pg_roles WHERE oid = grantee) <> ALL (%s)
        OR name ~ %s AND (SELECT rolname FROM pg_roles WHERE oid = grantee) <> 'geosearch_owner'
    )
ORDER BY 1, 2, 3, 4, 5, 6
"""


def _grants(connection: Connection) -> list[dict[str, str]]:
    """Rights that somebody gave to users: those that see a private collection, and others."""
    values = (sorted(_RIGHTS), list(_OUR_ROLES), PRIVATE_SHELF)
    rows = connection.execute(_GRANTS.encode(), values)
    return [dict(zip(_GRANT_KEYS, map(str, row), strict=True)) for row in rows]


def _grant(connection: Connection, contents: _Contents) -> tuple[list[str], list[str]]:
    """Give users, roles and rights again; what was given, and statements for an administrator."""
    row = connection.execute("SELECT geosearch.create_roles()").fetchone()
    granted: list[str] = []
    refused_: list[str] = []
    if row is None or row[0]:
        refused_.append("SELECT geosearch.create_roles(), geosearch.grant_rights()")
    for statement in _statements(connection, contents):
        try:
            with connection.transaction():
                connection.execute(statement.encode())
            granted.append(statement)
        except psycopg.errors.DuplicateObject:
            pass  # another command has just made the user
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.UndefinedObject,
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedColumn,
            psycopg.errors.UndefinedFunction,
        ):
            refused_.append(statement)
    return granted, refused_


def _statements(connection: Connection, contents: _Contents) -> Iterator[str]:
    there = {str(name) for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    me = connection.info.user
    for name, login in sorted(contents.users.items()):
        if name not in there:
            kind = sql.SQL("LOGIN" if login else "NOLOGIN")
            made = sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), kind)
            yield made.as_string(connection)
    for role, member in contents.members:
        if member != me:
            given = sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member))
            yield given.as_string(connection)
    for grant in contents.grants:
        what = _granted_on(connection, grant)
        if grant["to"] != me and what is not None:
            column = sql.SQL(" ({})").format(sql.Identifier(grant["column"]))
            given = sql.SQL("GRANT {}{} ON {} TO {}{}").format(
                sql.SQL(grant["right"]),  # of _RIGHTS
                column if grant["column"] else sql.SQL(""),
                what,
                sql.Identifier(grant["to"]),
                sql.SQL(" WITH GRANT OPTION" if grant["option"] == "True" else ""),
            )
            yield given.as_string(connection)


def _granted_on(connection: Connection, grant: Mapping[str, str]) -> sql.Composable | None:
    """The relation, function or schema, if it is there."""
    if grant["kind"] == "schema":
        return sql.SQL("SCHEMA {}").format(sql.Identifier(SCHEMA))
    if grant["kind"] == "function":
        row = connection.execute(
            "SELECT 'FUNCTION ' || oid::regprocedure FROM pg_proc WHERE proname = %s "
            "AND pronamespace = %s::regnamespace AND pg_get_function_identity_arguments(oid) = %s",
            (grant["name"], SCHEMA, grant["arguments"]),
        ).fetchone()
    else:
        row = connection.execute(
            "SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END || oid::regclass "
            "FROM pg_class WHERE relname = %s AND relnamespace = %s::regnamespace "
            "AND relkind IN ('r', 'p', 'v', 'S')",
            (grant["name"], SCHEMA),
        ).fetchone()
    return None if row is None else sql.SQL(row[0])


def _check_search(connection: Connection, contents: _Contents) -> None:
    """Ask for the neighbours of a photo of each model: an error undoes the restoring."""
    for model in contents.embedded_models:
        connection.execute(
            """
            SELECT (geosearch.nearest(embedding, model_id::text, 1)).photo_id
            FROM geosearch.all_embeddings WHERE model_id = %s LIMIT 1
            """,
            (model,),
        )


def _member(table: str) -> str:
    return f"rows/{table}"


def _list(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _named(statement: LiteralString, table: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(SCHEMA, table))


def _count(connection: Connection, table: str) -> int:
    row = connection.execute(_named("SELECT count(*) FROM {}", table)).fetchone()
    assert row is not None
    return int(row[0])


def _copy_out(table: str, columns: Sequence[str]) -> sql.Composed:
    # A partitioned table can only be copied as a query.
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT BINARY)").format(
        _list(columns), sql.Identifier(SCHEMA, table)
    )
