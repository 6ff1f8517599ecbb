"""The page of SQL, from the comments of the schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from geosearch.database import migrations
from geosearch.database.connection import Connection, Database
from geosearch.database.server import PrivateServer
from scripts.reference.markdown import code, page, prose, table

RELATIONS = """
    SELECT c.relname, coalesce(obj_description(c.oid), obj_description(t.oid)),
        array_agg(ARRAY[
            a.attname::text, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)
        ] ORDER BY a.attnum)
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type AS t ON t.oid = c.reltype
    WHERE c.relnamespace = 'geosearch'::regnamespace AND c.relkind = ANY (%s)
        AND NOT c.relispartition AND c.relname <> 'alembic_version'
    GROUP BY c.oid, t.oid
    ORDER BY c.relname
"""
FUNCTIONS = """
    SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid), prokind = 'a',
        obj_description(oid)
    FROM pg_proc WHERE pronamespace = 'geosearch'::regnamespace AND prorettype <> 'trigger'::regtype
    ORDER BY proname, pronargs
"""


def sql_page(connection: Connection) -> str:
    """Views, functions, types and tables of this database, with what each column means."""
    views = connection.execute(RELATIONS, (["v"],)).fetchall()
    tables = connection.execute(RELATIONS, (["r", "p"],)).fetchall()
    types = connection.execute(RELATIONS, (["c"],)).fetchall()
    return page(
        "SQL objects",
        "All that is in the schema `geosearch`, as its comments describe it. How to ask with it is "
        "in [SQL](../sql.md), what the layers mean in [layers](../layers.md), who may read and "
        "call what in [roles](../roles.md).",
        "## Views",
        *_relations(views),
        "## Functions",
        "Those that [SQL](../sql.md#functions) lists are for everybody; the others are parts of "
        "these, and may change.",
        *_functions(connection.execute(FUNCTIONS).fetchall()),
        "## Types",
        *_relations(types),
        "## Tables",
        "The table `all_x` is what the view `x` shows to whoever may see it.",
        *_relations(tables),
    )


@contextmanager
def newest_schema() -> Iterator[Connection]:
    """A connection to a server of its own, with the schema alone."""
    with TemporaryDirectory(prefix="geosearch-", dir="/tmp") as name:
        Path(name).chmod(0o711)  # root's server is another user's
        server = PrivateServer(Path(name), durable=False)
        server.start()
        try:
            migrations.upgrade(server.url)
            with Database(server.url) as database, database.connection() as connection:
                yield connection
        finally:
            server.stop()


def _relations(rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    for name, about, columns in rows:
        yield f"### {name}"
        yield prose(about or "")
        cells = [(f"`{column}`", f"`{kind}`", prose(said or "")) for column, kind, said in columns]
        yield table(("column", "type", "what"), cells)


def _functions(rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    previous = ""
    for name, arguments, result, aggregate, about in rows:
        if name != previous:
            yield f"### {name}"
        previous = name
        kind = "aggregate " if aggregate else ""
        yield code(f"{kind}{name}({arguments}) → {result}", "text")
        yield prose(about or "")
