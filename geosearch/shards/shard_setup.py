"""Shards made and removed: the foreign server, who may ask it, and the relations it is read by."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from geosearch.database.connection import Connection, Database, parse
from geosearch.database.refusals import unreached
from geosearch.database.schema import EXTENSIONS, SCHEMA, current_revision
from geosearch.errors import DatabaseError, InputError, ShardError
from geosearch.retrieval.algebra import check_references
from geosearch.retrieval.filters import Filter
from geosearch.shards.shard_rows import (
    REACHED_BY,
    Shard,
    find_shard,
    list_shards,
    open_shard,
    require_owner,
)

#: A name is part of the name of a server, and of commands.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
#: Of connections from one server to the other: one that hangs is given up, and rows come in pages.
_LIMITS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
_PAGES = {"fetch_size": "5000", "batch_size": "500", "async_capable": "true"}


def add_shard(database: Database, name: str, url: str, where: Filter) -> Shard:
    """Let another server hold the public photos that pass `where`, from the next move on.

    It is empty, with the schema of the same revision, reached over TCP by its owner's login with a
    password, and may create a login: searches go by one that may do there what readers may.

    Raises
    ------
    InputError
        The name or the URL cannot be used.
    ShardError
        The server cannot be reached, from here or from this database's server.
    DatabaseError
        It is not fit for it, or this login does not own the tables.
    """
    check_references(where)
    if not _NAME.fullmatch(name):
        raise InputError(
            f"`name`: {name[:80]!r} is no name for a shard",
            "Give up to 32 letters, digits, - and _, beginning with a letter or digit.",
        )
    reached = _checked(url)
    with database.connection() as connection:
        require_owner(connection)
        where.compile(connection)  # what it names is there
        taken = connection.execute("SELECT FROM geosearch.shards WHERE name = %s", (name,))
        if taken.fetchone() is not None:
            raise InputError(f"`name`: there is a shard {name!r}", "Give another name.")
        with _connected(name, reached) as there:
            _check(connection, there, name)
            reader = _make_reader(there)
            there.commit()
        try:
            _link(connection, name, where, reached, reader)
        except BaseException:
            with _connected(name, reached) as there:
                there.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(reader["user"])))
            raise
    return next(each for each in list_shards(database) if each.name == name)


def remove_shard(database: Database, name: str) -> None:
    """Do without a shard that holds no photos; what is left of them stays there.

    Raises
    ------
    NotFoundError
        There is no such shard.
    DatabaseError
        It holds photos, cannot be reached (`ShardError`), or this login does not own the tables.
    """
    with database.connection() as connection:
        require_owner(connection)
        key = find_shard(connection, name)
        connection.execute("SELECT FROM geosearch.shards WHERE id = %s FOR UPDATE", (key,))
        held = connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(SCHEMA, f"photos_f{key}"))
        ).fetchone()
        if held != (0,):
            raise DatabaseError(
                f"the shard {name} holds {(held or (0,))[0]:,} photos",
                f"First: geosearch shards move --home {name}",
            )
        readers = connection.execute(_READERS, (name,)).fetchall()
        with open_shard(connection, name) as shard, shard.connection() as there:
            for (user,) in readers:
                there.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(user)))
        connection.execute("SELECT geosearch.drop_shard(%s)", (key,))


_READERS = """
SELECT substr(o, 6) FROM pg_user_mappings AS u, unnest(u.umoptions) AS o
WHERE u.srvname = geosearch.shard_server(%s) || ' search' AND o LIKE 'user=%%'
"""


def _checked(url: str) -> dict[str, str]:
    """What the URL of a shard says.

    Raises
    ------
    InputError
        It is malformed, lacks what a server needs to reach another, or has options besides.
    """
    reached = parse(url)
    other = sorted(reached.keys() - {*REACHED_BY})
    if other:
        raise InputError(
            f"`url` has the option {other[0]}, which shards do not take",
            f"It may say: {', '.join(REACHED_BY)}.",
        )
    for part in ("host", "user", "password", "dbname"):
        if not reached.get(part):
            raise InputError(
                f"`url` does not say the {part}",
                "Give postgresql://user:password@host:5432/name: the server of this database uses "
                "it, not this program. geosearch db url shows that of a private server.",
            )
    if reached["host"][:1] in "/@" or "," in reached["host"] + reached.get("port", ""):
        raise InputError(
            "`url` names a socket or several hosts", "Give the name or address of one host."
        )
    return {"port": "5432", **reached}


def _connected(name: str, reached: Mapping[str, str]) -> Connection:
    try:
        return psycopg.connect(
            make_conninfo(**reached), connect_timeout=10, application_name="geosearch"
        )
    except psycopg.Error as error:
        told = unreached(error, f"the shard {name}")
        raise ShardError(told.message, "Check `url`, and that the server runs.") from error


def _check(connection: Connection, there: Connection, name: str) -> None:
    """See that a server is fit to be a shard of this one."""
    if not there.pgconn.used_password:
        raise DatabaseError(
            f"the server of the shard {name} lets this login in without its password",
            "Have it ask for one (scram-sha-256 in pg_hba.conf): else who may speak to it is not "
            "decided by who knows it.",
        )
    if there.info.server_version // 10000 < connection.info.server_version // 10000:
        raise DatabaseError(
            f"the shard {name} is PostgreSQL {there.info.server_version // 10000}, older than here",
            "Use the same major version or a newer one.",
        )
    revision, wanted = current_revision(there), current_revision(connection)
    if revision != wanted:
        raise DatabaseError(
            f"the database of the shard {name} "
            + (
                "has no geosearch schema"
                if revision is None
                else f"is at {revision}, here {wanted}"
            ),
            "Run there, with GEOSEARCH_DATABASE_URL set to its URL: geosearch db upgrade",
        )
    versions = "SELECT extname, extversion FROM pg_extension WHERE extname = ANY(%s)"
    here, other = (
        {str(key): str(value) for key, value in each.execute(versions, (list(EXTENSIONS),))}
        for each in (connection, there)
    )
    for extension, version in here.items():
        if version.split(".")[:2] != other[extension].split(".")[:2]:
            raise DatabaseError(
                f"the shard {name} has {extension} {other[extension]}, here it is {version}",
                "Install the same version, so that both find the same.",
            )
    marks = [
        each.execute("SELECT number FROM geosearch.shelf_changes").fetchone()
        for each in (connection, there)
    ]
    used = there.execute(
        "SELECT EXISTS (SELECT FROM geosearch.all_photos) OR EXISTS (SELECT FROM geosearch.models) "
        "OR EXISTS (SELECT FROM geosearch.all_collections) OR EXISTS (SELECT FROM geosearch.shards)"
    ).fetchone()
    if marks[0] == marks[1] or used != (False,):
        raise DatabaseError(
            f"the database of the shard {name} is in use",
            "Give one of its own, with an empty schema of geosearch: it is written by moves alone.",
        )
    owned = there.execute(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class "
        "WHERE oid = 'geosearch.photos_open'::regclass"
    ).fetchone()
    if owned != (True,):
        raise DatabaseError(
            f"the login of the shard {name} does not own the tables there",
            "Give the URL of the login that does.",
        )


def _make_reader(there: Connection) -> dict[str, str]:
    """A login that may do what readers may, as which searches ask."""
    user, password = f"geosearch_shard_{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    hashed = there.pgconn.encrypt_password(
        password.encode(), user.encode(), b"scram-sha-256"
    ).decode()
    try:
        there.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE geosearch_reader").format(
                sql.Identifier(user), sql.Literal(hashed)
            )
        )
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            "the login of the shard may not create the login that searches ask as",
            "Give it CREATEROLE, and geosearch_reader WITH ADMIN OPTION, while the shard is added.",
        ) from error
    return {"user": user, "password": password}


def _link(
    connection: Connection,
    name: str,
    where: Filter,
    reached: Mapping[str, str],
    reader: Mapping[str, str],
) -> None:
    """The servers, who uses which login there, and the relations."""
    _make_extensions(connection)
    owner = {part: reached[part] for part in ("user", "password")}
    at = {part: value for part, value in reached.items() if part not in owner} | _LIMITS
    extensions = {"extensions": ", ".join(EXTENSIONS)}
    for ending, options, login in (
        ("", at | _PAGES | extensions, owner),
        (" search", at, dict(reader)),
    ):
        server = sql.Identifier(f"geosearch shard {name}{ending}")
        connection.execute(
            sql.SQL("CREATE SERVER {} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({})").format(
                server, _options(options)
            )
        )
        connection.execute(
            sql.SQL("CREATE USER MAPPING FOR CURRENT_USER SERVER {} OPTIONS ({})").format(
                server, _options(login)
            )
        )
    row = connection.execute(
        "INSERT INTO geosearch.shards (name, filter) VALUES (%s, %s) RETURNING id",
        (name, Jsonb(where.to_json())),
    ).fetchone()
    assert row is not None
    connection.execute("SELECT geosearch.make_shard(%s), geosearch.make_views()", row)
    trouble = connection.execute("SELECT geosearch.shard_trouble(%s)", row).fetchone()
    if trouble != (None,):
        raise ShardError(
            f"the server of this database cannot reach the shard {name}: {(trouble or ' ')[0]}",
            "The host in `url` is as that server sees it, not as this program does.",
        )


def _options(values: Mapping[str, str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(key), sql.Literal(value))
        for key, value in values.items()
    )


def _make_extensions(connection: Connection) -> None:
    """Of PostgreSQL's own. What is made here is for the owner: nobody else connects out by it."""
    for extension in ("postgres_fdw", "dblink"):
        there = connection.execute(
            "SELECT FROM pg_extension WHERE extname = %s", (extension,)
        ).fetchone()
        if there is not None:
            continue
        schema = connection.execute(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
        assert schema is not None
        try:
            connection.execute(
                sql.SQL("CREATE EXTENSION {} SCHEMA {}").format(
                    sql.Identifier(extension), sql.Identifier(schema[0])
                )
            )
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFile) as error:
            raise DatabaseError(
                f"the database cannot have the extension {extension}",
                "Ask the server's administrator to install it and to run, in this database: "
                f"CREATE EXTENSION {extension} SCHEMA {schema[0]}",
            ) from error
        functions = connection.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p JOIN pg_depend AS d "
            "ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' "
            "JOIN pg_extension AS e ON e.oid = d.refobjid "
            "WHERE d.refclassid = 'pg_extension'::regclass AND e.extname = %s",
            (extension,),
        ).fetchall()
        for (function,) in functions:
            connection.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC".encode())
