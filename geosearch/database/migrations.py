"""Runs alembic from inside the package: a user never needs alembic.ini or a checkout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
from alembic import command, context, op
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from geosearch.database.connection import PINS, Connection, check_version, parse, redact
from geosearch.database.refusals import refused, unreached
from geosearch.database.resources import resource
from geosearch.database.schema import EXTENSIONS, SCHEMA
from geosearch.errors import DatabaseError

# For a role named geosearch our schema would be the default one, which SQLAlchemy reflects without
# its name, and where CREATE EXTENSION would put PostGIS.
_WITHOUT_USER_SCHEMA = """
SELECT set_config(
    'search_path',
    regexp_replace(current_setting('search_path'), '"\\$user",? *', ''),
    true
)
"""


def upgrade(url: str, revision: str = "head") -> None:
    """Create extensions and schema where missing, then migrate up to `revision`.

    Raises
    ------
    InputError
        The URL is malformed.
    DatabaseError
        The server cannot be reached, is too old, lacks an extension, or refuses a migration.
    """
    with migrating(url) as migration:
        migration.upgrade(revision)


def downgrade(url: str, revision: str) -> None:
    """Migrate down to `revision` (`base` for none)."""
    with migrating(url) as migration:
        migration.downgrade(revision)


def run_files(revision: str, *names: str) -> None:
    """Run files of `sql/<revision>`, e.g. "tables/photos layers/lines"; for a migration to call."""
    for name in " ".join(names).split():
        # As it is: the driver would take a % for a parameter, and SQLAlchemy a colon.
        op.get_bind().exec_driver_sql(
            _where_extensions_are(resource(f"sql/{revision}/{name}.sql").read_text("utf-8")),
            execution_options={"no_parameters": True},
        )


def wants_shipped() -> bool:
    """Whether a migration is to load what geosearch carries; not where rows follow, or none do."""
    return bool(context.config.attributes["shipped"])


def _where_extensions_are(statements: str) -> str:
    """Statements that look for extensions in `public`, looking in the schemas they are in here."""
    found = op.get_bind().execute(
        text("SELECT extname, extnamespace::regnamespace::text FROM pg_extension")
    )
    schemas = {str(name): str(schema) for name, schema in found}
    statements = statements.replace("public.vector_dims", f"{schemas['vector']}.vector_dims")
    both = ", ".join(dict.fromkeys(schemas[name] for name in EXTENSIONS))
    return re.sub(r"(?<=search_path = )(.*)\bpublic\b", rf"\1{both}", statements)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resource("alembic")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def sqlalchemy_engine(url: str) -> Engine:
    """An engine over psycopg 3 for a libpq URL (Unix-socket `host=` parameters included).

    Nothing is prepared: behind a pooler it would stay at a backend that the next transaction may
    not reach.
    """
    # SQLAlchemy would parse the URL its own way; hand libpq the string as it is instead.
    engine = create_engine(
        "postgresql+psycopg://",
        creator=partial(psycopg.connect, url, prepare_threshold=None, client_encoding="utf8"),
    )
    # For each transaction anew, for the same reason.
    event.listen(engine, "begin", lambda connection: connection.execute(text(_WITHOUT_USER_SCHEMA)))
    return engine


class Migrating:
    """The open transaction of a migration, over one connection."""

    def __init__(self, engine_connection: SqlConnection) -> None:
        self._connection = engine_connection
        driver = engine_connection.connection.driver_connection
        assert driver is not None
        #: The same connection, as psycopg has it.
        self.connection: Connection = driver

    def upgrade(self, revision: str = "head", *, shipped: bool = True) -> None:
        """Migrate up to `revision`; `shipped`: with the borders and places that geosearch carries.

        Raises
        ------
        DatabaseError
            There is no such revision here.
        """
        self._to(command.upgrade, revision, shipped)

    def downgrade(self, revision: str) -> None:
        """Migrate down to `revision`."""
        self._to(command.downgrade, revision, False)

    def _to(self, work: Callable[[Config, str], None], revision: str, shipped: bool) -> None:
        config = _config()
        config.attributes.update(connection=self._connection, shipped=shipped)
        try:
            work(config, revision)
        except CommandError as error:
            raise DatabaseError(
                f"there is no way to the revision {revision}: {error}",
                "A database, or a dump, of a newer geosearch needs that geosearch.",
            ) from error


@contextmanager
def migrating(url: str, work: str = "migrating", *, keep: bool = True) -> Iterator[Migrating]:
    """A transaction that alone migrates, with extensions and schema made where missing.

    Committed at the end, if it is to be kept; an error leaves everything as it was. Errors, which
    name the `work`, are those of `upgrade`.
    """
    parse(url)
    try:
        with psycopg.connect(url, connect_timeout=10) as probe:
            check_version(probe, redact(url))
    except psycopg.Error as error:
        raise unreached(error, redact(url)) from error
    engine = sqlalchemy_engine(url)
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            # Two upgrades at once would both find no schema; the second waits here.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('geosearch upgrade'))"))
            _prepare(connection)
            yield Migrating(connection)
            if not keep:
                transaction.rollback()
    except (DBAPIError, psycopg.Error) as error:
        raise _failed(error, f"{work} {redact(url)} failed, and changed nothing") from error
    finally:
        engine.dispose()


def _failed(error: DBAPIError | psycopg.Error, what: str) -> DatabaseError:
    """The error for a statement of ours that failed."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    assert isinstance(cause, psycopg.Error)
    made = refused(cause, what)
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        owner = "The role must own the schema geosearch, or be allowed to create it."
        return DatabaseError(made.message, owner)
    return made


# What PostgreSQL says of an extension that is not installed, or that this role may not create.
_LACKING = (
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.InvalidSchemaName,  # none that the login may create in
    psycopg.errors.UndefinedFile,
)


def _prepare(connection: SqlConnection) -> None:
    for name, minimum in EXTENSIONS.items():
        try:
            connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {name}"))
        except DBAPIError as error:
            failed = _failed(error, f"the database cannot have the extension {name}")
            if not isinstance(error.orig, _LACKING):
                raise failed from error
            raise DatabaseError(
                failed.message,
                "Ask the server's administrator to install it there and to run, in this database: "
                + " ".join(f"CREATE EXTENSION IF NOT EXISTS {each};" for each in EXTENSIONS),
            ) from error
        found = connection.execute(
            text("SELECT extversion FROM pg_extension WHERE extname = :name"), {"name": name}
        ).scalar_one()
        if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < minimum:
            raise DatabaseError(
                f"the extension {name} is {found}; geosearch needs "
                f"{'.'.join(map(str, minimum))} or newer",
                f"Upgrade it and run: ALTER EXTENSION {name} UPDATE",
            )
    # Loads pgvector: before, only a superuser may create functions that set its parameters.
    connection.execute(text(PINS.format(local="true")))
    connection.execute(text("SELECT '[1]'::vector"))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
