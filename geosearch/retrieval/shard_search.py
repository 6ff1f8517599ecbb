"""One search on several servers at once: what is asked here, and on shards by way of this server.

Shards are searched as this database is, by the same steps, from facts that are kept of each. What
their steps ask goes out in one round trip with what is asked here, and there it is a prepared
statement, asked as a reader. On a link that was lost and made anew nothing is prepared; PostgreSQL
says so, and the search is done once more.

Each photo is met once, though photos move meanwhile: what counts where is among the facts, each
statement says whether they are still true, and a move waits for those that began before it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.adapt import PyFormat, Transformer

from geosearch.database.connection import Database, Link, Planner, SearchConnection
from geosearch.database.embedding_tables import embedding_table
from geosearch.database.refusals import shard_away
from geosearch.errors import NotFoundError, ShardError
from geosearch.retrieval.facts import Asks, ChangedError, Facts, facts
from geosearch.retrieval.search import Asked, Rows, Steps, ask, settings_of

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
    """The way to a shard that the server of a connection has: one statement after the other.

    `watch` is that of the facts by which the shard is known here.
    """

    def __init__(self, connection: SearchConnection, name: str, watch: str) -> None:
        self.name, self.watch = name, watch
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
        (rows,), _nothing = _exchange(self._connection, [(self, Asked(text, values, Planner(), 0))])
        if isinstance(rows, AwayError):
            raise rows
        return Answer(rows)

    def question(self, asked: Asked) -> dict[str, Any]:
        """A statement as `geosearch.put_to_shards` takes it, behind the settings it needs."""
        connection = self._connection
        # Behind a pooler the next transaction may be another backend's, with a link of its own.
        lasts = connection.quick and not connection.pooled
        link = connection.links.setdefault(self.name, Link()) if lasts else Link()
        if len(link.prepared) >= _KEPT:
            link.prepared.clear()
        afresh = not link.prepared
        settings = settings_of(None if afresh else link.planner, asked.planner)
        link.planner = asked.planner
        statements = [(settings, _AS_NOTHING)] if settings is not None else []
        statements.append((asked, _AS_LISTS if asked.columns else _AS_ROWS))
        questions = [_question(connection, link, each, form) for each, form in statements]
        return {"shard": self.name, "afresh": afresh, "questions": questions}


# One after the other: what is sent is under way while this server searches.
_TOGETHER = """
SELECT sent.troubles, here.rows, there.answers, {watch}
FROM (
    SELECT geosearch.put_to_shards(%(asked)s::text::jsonb, %(quick)s, %(query)s) AS troubles
) AS sent
CROSS JOIN LATERAL ({here} WHERE sent.troubles IS NOT NULL) AS here
CROSS JOIN LATERAL (
    SELECT geosearch.answers_of_shards(%(shards)s, %(quick)s) AS answers
    WHERE here.rows IS NOT NULL
) AS there
"""
_NOBODY = "SELECT '[null]'::json AS rows"


def search_together(
    connection: SearchConnection,
    here: Steps[T],
    there: Mapping[ShardLink, Steps[T | None]],
    *,
    partial: bool,
) -> tuple[T, dict[ShardLink, T | AwayError | None]]:
    """What the steps here come to, and those on each shard.

    Raises
    ------
    ChangedError
        The facts by which shards are known here were not true from the first step to the last.
    ShardError
        A shard cannot be reached, and not `partial`: with it, that is what the shard came to.
    """
    at_home: list[T] = []
    done: dict[ShardLink, T | AwayError | None] = {}
    own: list[Asked] = []
    others: dict[ShardLink, Asked] = {}

    def go_on_here(rows: Rows | None) -> None:
        try:
            own.append(next(here) if rows is None else here.send(rows))
        except StopIteration as end:
            at_home.append(end.value)

    def go_on(link: ShardLink, rows: Rows | AwayError | None) -> None:
        try:
            if isinstance(rows, AwayError):
                raise rows
            others[link] = next(there[link]) if rows is None else there[link].send(rows)
        except StopIteration as end:
            done[link] = end.value
        except AwayError as error:
            if not partial:
                raise
            done[link] = error

    go_on_here(None)
    for link in there:
        go_on(link, None)
    while own or others:
        asked, away = own.pop() if own else None, list(others.items())
        others.clear()
        if away:
            answers, rows = _exchange(connection, away, asked)
            for (link, _), answer in zip(away, answers, strict=True):
                go_on(link, answer)
        elif asked is not None:
            rows = ask(connection, asked).fetchall()
        if asked is not None:
            go_on_here(rows)
    return at_home[0], done


def settled(found: T) -> Steps[T]:
    """What is known already."""
    yield from ()
    return found


#: So many embeddings of each part tell where neighbours of a query are likely to be, for so many
#: seconds; fewer than these neighbours are asked of all parts alike.
_SAMPLE, _SERVES_S, _LEAST = 64, 300.0, 30
_DEPTHS = (0.1, 0.3, 0.5, 1.0)
_samples: WeakKeyDictionary[
    Database, dict[tuple[str | None, int], tuple[float, NDArray[np.float32]]]
] = WeakKeyDictionary()


def guessed_depths(
    database: Database,
    connection: SearchConnection,
    known: Facts,
    links: Iterable[ShardLink],
    query: NDArray[np.float32],
    k: int,
) -> dict[ShardLink | None, int]:
    """How many of the `k` nearest to ask of each part, by where a sample has some: with a margin.

    An index is searched the faster the fewer are asked of it. What turns out to be too few is
    asked again: it is a guess of time alone.
    """
    places: list[ShardLink | None] = [None, *links]
    if k < _LEAST:
        return dict.fromkeys(places, k)
    likeness, photos = [], []
    for link in places:
        name = None if link is None else link.name
        try:
            its = facts(database, link or connection, known.model_id, shard=name)
            vectors = _sample(database, link or connection, its, name)
        except (AwayError, NotFoundError):  # the search itself will say so
            return dict.fromkeys(places, k)
        likeness.append(vectors @ query)
        photos.append(np.full(len(vectors), its.total / max(len(vectors), 1)))
    every = np.concatenate(likeness)
    if not len(every):
        return dict.fromkeys(places, k)
    few = min(len(every), max(8, len(every) // 16))
    least = np.partition(every, -few)[-few]
    near = [float(stand[like >= least].sum()) for like, stand in zip(likeness, photos, strict=True)]
    shares = np.array(near) / sum(near)
    wanted = k * shares + 3 * np.sqrt(k * shares * (1 - shares)) + 5
    # Few different depths: how each is searched is asked of its shard, and remembered.
    steps = np.ceil(k * np.array(_DEPTHS)).astype(int)
    depths = steps[np.minimum(np.searchsorted(steps, wanted), len(steps) - 1)]
    return dict(zip(places, depths.tolist(), strict=True))


def _sample(
    database: Database, connection: Asks, known: Facts, name: str | None
) -> NDArray[np.float32]:
    """Some embeddings (n, D) of a part."""
    kept = _samples.setdefault(database, {})
    read_at, vectors = kept.get((name, known.model_id), (-np.inf, np.zeros((0, 0), np.float32)))
    now = time.monotonic()
    if now - read_at > _SERVES_S:
        statement = sql.SQL(_SAMPLED).format(table=embedding_table(known.model_id))
        percent = 100 * min(1.0, 8 * _SAMPLE / max(known.total, 1))
        rows = connection.execute(statement.as_bytes(), (percent, _SAMPLE)).fetchall()
        vectors = np.array([row[0] for row in rows], np.float32).reshape(-1, known.dimension)
        kept[name, known.model_id] = now, vectors
    return vectors


# Of many pages a few rows each: neighbours in a table are often of one place.
_SAMPLED = """
SELECT embedding::real[] FROM (
    SELECT embedding, row_number() OVER () AS number
    FROM {table} TABLESAMPLE SYSTEM (%s) REPEATABLE (0)
) AS s ORDER BY hashint8(number), number LIMIT %s
"""


def _exchange(
    connection: SearchConnection,
    away: Sequence[tuple[ShardLink, Asked]],
    at_home: Asked | None = None,
) -> tuple[list[Rows | AwayError], Rows]:
    """The rows of a statement on each shard, and of one here, all under way at the same time."""
    asked = {
        "query": away[0][1].values.get("query"),
        "asked": json.dumps([link.question(each) for link, each in away]),
        "shards": [link.name for link, _ in away],
        "quick": connection.quick,
    }
    here = _NOBODY if at_home is None else _listed(at_home.statement, at_home.columns)
    statement = _TOGETHER.format(watch=away[0][0].watch, here=here)
    values, planner = ({}, Planner()) if at_home is None else (at_home.values, at_home.planner)
    cursor = ask(connection, Asked(statement, values | asked, planner, 4))
    ((troubles, rows, answers, still),) = cursor.fetchall()
    if not still:
        raise ChangedError
    found = [
        AwayError(link.name, trouble) if trouble is not None else _rows(answer, each.columns)
        for (link, each), trouble, answer in zip(away, troubles, answers, strict=True)
    ]
    return found, _tuples(rows)


def _question(connection: SearchConnection, link: Link, asked: Asked, form: str) -> dict[str, Any]:
    statement, names = _numbered(asked.statement, form, asked.columns)
    # The query goes with all questions, once.
    values = [None if name == "query" else asked.values[name] for name in names]
    transformer = Transformer(connection)
    given = transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))
    types = [0 if oid >= _FIRST_OF_EXTENSIONS else oid for oid in transformer.types or ()]
    key = _key(statement, tuple(types))
    question: dict[str, Any] = {
        "name": key,
        "types": types,
        "values": [None if value is None else bytes(value).decode() for value in given],
        "query": names.index("query") + 1 if "query" in names else None,
    }
    if key not in link.prepared:
        link.prepared.add(key)
        question["statement"] = statement
    return question


# A statement of one row and column. Each column as a list of its values: as objects, the rows would
# take a quarter of a small search.
_AS_LISTS = "SELECT json_build_array({lists}) AS rows FROM ({statement}) AS q ({columns})"
_AS_ROWS = "SELECT json_agg(q) FROM ({statement}) AS q"
_AS_NOTHING = "SELECT left(json_agg(q)::text, 0) FROM ({statement}) AS q"

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@lru_cache(maxsize=256)
def _numbered(statement: str, form: str, columns: int) -> tuple[str, tuple[str, ...]]:
    """A statement in a form, with parameters by number, as PREPARE takes it, and their names."""
    formed = _listed(statement, columns, form)
    names = tuple(dict.fromkeys(_PLACEHOLDER.findall(formed)))
    numbers = {name: f"${number}" for number, name in enumerate(names, start=1)}
    return _PLACEHOLDER.sub(lambda found: numbers[found[1]], formed).replace("%%", "%"), names


def _listed(statement: str, columns: int, form: str = _AS_LISTS) -> str:
    names = [f"c{number}" for number in range(columns)]
    lists = ", ".join(f"json_agg({name})" for name in names)
    return form.format(statement=statement, lists=lists, columns=", ".join(names))


@lru_cache(maxsize=256)
def _key(statement: str, types: tuple[int, ...]) -> str:
    return blake2b(f"{types}{statement}".encode(), digest_size=16).hexdigest()


def _rows(answer: str | None, columns: int) -> Rows:
    if columns:
        return _tuples(json.loads(answer or "[null]"))
    rows = json.loads(answer or "[]", object_pairs_hook=lambda pairs: tuple(v for _, v in pairs))
    return list(rows)


def _tuples(lists: list[list[Any] | None]) -> Rows:
    """Rows of columns; without rows these are no lists."""
    return [] if lists[0] is None else list(zip(*lists, strict=True))
