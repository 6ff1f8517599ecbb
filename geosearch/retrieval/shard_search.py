"""One search on several servers at once: what is asked here, and on shards by way of this server.

Shards are searched as this database is, by the same steps, from facts that are kept of each. What
their steps ask goes out in one round trip with what is asked here, and there it is a prepared
statement, asked as a reader. On a link that was lost and made anew nothing is prepared; PostgreSQL
says so, and the search is done once more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

from pgvector import HalfVector
from psycopg import Cursor
from psycopg.adapt import PyFormat, Transformer

from geosearch.database.connection import Link, Planner, SearchConnection
from geosearch.database.refusals import shard_away
from geosearch.errors import ShardError
from geosearch.retrieval.facts import ChangedError
from geosearch.retrieval.search import Asked, Rows, Steps, has_run, send, settings_of

T = TypeVar("T")

#: Statements that are kept prepared on a link, at most.
_KEPT = 200
#: From here on types are of extensions: their numbers are each server's own.
_FIRST_OF_EXTENSIONS = 16384


class AwayError(ShardError):
    """A shard cannot be reached, for the `trouble`."""

    def __init__(self, name: str, trouble: str) -> None:
        told = shard_away(trouble, [name])
        super().__init__(told.message, told.remedy)
        self.trouble = trouble


@dataclass(frozen=True)
class Answer:
    """Rows, as a cursor gives them."""

    rows: Rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first, if any."""
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All."""
        return list(self.rows)


class ShardLink:
    """The way to a shard that the server of a connection has: one statement after the other."""

    def __init__(self, connection: SearchConnection, name: str) -> None:
        self.name = name
        self._connection = connection

    def execute(
        self, statement: str | bytes, values: Sequence[Any] | dict[str, Any] = (), **_: Any
    ) -> Answer:
        """Rows of one statement, of any columns.

        Raises
        ------
        ShardError
            The shard cannot be reached.
        """
        text = statement if isinstance(statement, str) else statement.decode()
        if not isinstance(values, dict):
            text = text.replace("%s", "%({})s").format(*range(len(values)))
            values = {str(number): value for number, value in enumerate(values)}
        (rows,), _ = _exchange(self._connection, [(self, Asked(text, values, Planner(), 0))])
        if isinstance(rows, AwayError):
            raise rows
        return Answer(rows)

    def send(self, asked: Asked) -> Cursor[tuple[Any, ...]]:
        """Sends a statement, in a pipeline; what comes back is why it cannot be, or NULL."""
        connection = self._connection
        # Behind a pooler the next transaction may be another backend's, with a link of its own.
        link = Link() if connection.pooled else connection.links.setdefault(self.name, Link())
        if len(link.prepared) >= _KEPT:
            link.prepared.clear()
        afresh = not link.prepared
        settings = settings_of(None if afresh else link.planner, asked.planner)
        link.planner = asked.planner
        questions = [
            _question(connection, link, each) for each in (settings, asked) if each is not None
        ]
        values = (self.name, json.dumps(questions), afresh)
        return connection.execute(_SEND, values, prepare=True)


_SEND = "SELECT geosearch.put_to_shard(%s, %s, %s)"
_ANSWERS = """
SELECT geosearch.answer_of_shard(name), {watch} FROM unnest(%(names)s::text[]) AS name
"""


def search_together(
    connection: SearchConnection,
    watch: str,
    here: Steps[T],
    there: Mapping[ShardLink, Steps[T | None]],
    *,
    partial: bool,
) -> tuple[T, dict[ShardLink, T | AwayError | None]]:
    """What the steps here come to, and those on each shard.

    All are right only if the facts of which `watch` tells were true from the first step to the
    last.

    Raises
    ------
    ChangedError
        They were not.
    ShardError
        A shard cannot be reached, and not `partial`: with it, that is what the shard came to.
    """
    done: dict[ShardLink | None, Any] = {}
    steps: dict[ShardLink | None, Steps[T | None]] = {None: here, **there}
    asked: dict[ShardLink | None, Asked] = {}

    def go_on(link: ShardLink | None, rows: Rows | AwayError | None) -> None:
        try:
            if isinstance(rows, AwayError):
                raise rows
            asked[link] = next(steps[link]) if rows is None else steps[link].send(rows)
        except StopIteration as end:
            done[link] = end.value
        except AwayError as error:
            if not partial:
                raise
            done[link] = error

    for link in steps:
        go_on(link, None)
    while asked:
        at_home = asked.pop(None, None)
        away = [(link, each) for link, each in asked.items() if link is not None]
        asked.clear()
        answers, rows = _exchange(connection, away, at_home, watch)
        for (link, _), answer in zip(away, answers, strict=True):
            go_on(link, answer)
        if at_home is not None:
            go_on(None, rows)
    return done.pop(None), done


def _exchange(
    connection: SearchConnection,
    away: Sequence[tuple[ShardLink, Asked]],
    at_home: Asked | None = None,
    watch: str = "true",
) -> tuple[list[Rows | AwayError], Rows]:
    """The rows of a statement on each shard, and of one here, all under way at the same time."""
    with connection.pipeline():
        sent = [link.send(asked) for link, asked in away]
        cursor = None if at_home is None else send(connection, at_home)
        names = {"names": [link.name for link, _ in away]}
        answered = connection.execute(_ANSWERS.format(watch=watch).encode(), names, prepare=True)
    if at_home is not None:
        has_run(connection, at_home)
    found: list[Rows | AwayError] = []
    answers = answered.fetchall()
    for (link, asked), trouble, (answer, still) in zip(away, sent, answers, strict=True):
        if not still:
            raise ChangedError
        ((said,),) = trouble.fetchall()
        found.append(_rows(answer, asked.columns) if said is None else AwayError(link.name, said))
    return found, [] if cursor is None else cursor.fetchall()


def _question(connection: SearchConnection, link: Link, asked: Asked) -> dict[str, Any]:
    """As `geosearch.put_to_shard` takes it: with the statement where it is not prepared yet."""
    statement, names = _numbered(_as_one(asked))
    values = [
        value.to_text() if isinstance(value, HalfVector) else value
        for value in (asked.values[name] for name in names)
    ]
    transformer = Transformer(connection)
    given = transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))
    types = [0 if oid >= _FIRST_OF_EXTENSIONS else oid for oid in transformer.types or ()]
    key = blake2b(f"{types}{statement}".encode(), digest_size=16).hexdigest()
    question: dict[str, Any] = {
        "name": key,
        "types": types,
        "values": [None if value is None else bytes(value).decode() for value in given],
    }
    if key not in link.prepared:
        link.prepared.add(key)
        question["statement"] = statement
    return question


# Each column as a list of its values: rows as objects would take a quarter of a small search.
_AS_ROWS = "SELECT json_agg(q) FROM ({statement}) AS q"
_AS_LISTS = "SELECT json_build_array({lists}) FROM ({statement}) AS q ({columns})"


def _as_one(asked: Asked) -> str:
    """A statement of one row and column, which is JSON."""
    if not asked.columns:
        return _AS_ROWS.format(statement=asked.statement)
    columns = [f"c{number}" for number in range(asked.columns)]
    lists = ", ".join(f"json_agg({column})" for column in columns)
    return _AS_LISTS.format(statement=asked.statement, lists=lists, columns=", ".join(columns))


def _rows(answer: str | None, columns: int) -> Rows:
    if columns:
        lists = json.loads(answer or "[null]")
        return [] if lists[0] is None else list(zip(*lists, strict=True))
    return json.loads(answer or "[]", object_pairs_hook=lambda pairs: tuple(v for _, v in pairs))


_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@lru_cache(maxsize=256)
def _numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """A statement with parameters by number, as PREPARE takes it, and their names in this order."""
    names = tuple(dict.fromkeys(_PLACEHOLDER.findall(statement)))
    numbers = {name: f"${number}" for number, name in enumerate(names, start=1)}
    numbered = _PLACEHOLDER.sub(lambda found: numbers[found[1]], statement)
    return numbered.replace("%%", "%"), names
