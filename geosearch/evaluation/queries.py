"""Queries with their true positions, photos or texts, from a manifest or a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from os import PathLike
from typing import Any

import numpy as np
from psycopg import sql

from geosearch.arguments import check_range
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.errors import InputError, Reason
from geosearch.features.given_queries import text_query
from geosearch.features.model_rows import Model
from geosearch.features.places_model import refuse_places
from geosearch.ingest.manifests import Reading, read_manifest
from geosearch.ingest.photo_times import settled
from geosearch.ingest.records import Rejection
from geosearch.localization.answer import Failure
from geosearch.parallel import batched
from geosearch.query import Query
from geosearch.retrieval import Filter
from geosearch.retrieval.duplicates import Exclusions
from geosearch.storage import resolve

#: Embeddings read in one query.
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Labelled:
    """A photo to ask about, its true latitude and longitude in degrees, and what else is known.

    `photo_id` is set for a photo whose embedding is in the database. Or it is words, a `text`;
    `sha256` is then of the photo whose title they are.
    """

    uri: str
    truth: tuple[float, float]
    author: str | None = None
    photo_id: int | None = None
    taken_at: datetime | None = None
    text: str | None = None
    sha256: bytes | None = None


@dataclass(frozen=True)
class QuerySet:
    """Labelled photos under a name, and those that were to be queries and cannot be.

    `stored`: the queries are photos of the database, whose embeddings are read from there. `words`:
    they are texts.
    """

    name: str
    queries: tuple[Labelled, ...]
    failures: tuple[Failure, ...] = ()
    stored: bool = False
    words: bool = False

    def __len__(self) -> int:
        return len(self.queries)

    def left_out(self, exclusions: Exclusions) -> Exclusions:
        """The references to leave out of answers: no photo is a near-duplicate of words."""
        return replace(exclusions, duplicate_distance=None) if self.words else exclusions

    def sample(self, n: int | None, seed: int = 0) -> QuerySet:
        """`n` of the queries drawn at random, in their order; all if there are fewer, or None.

        Raises
        ------
        InputError
            `n` is below 1, or the seed negative.
        """
        if n is None:
            return self
        check_range("sample", n, 1)
        check_range("seed", seed, 0)
        if n >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), n, replace=False)
        return replace(self, queries=tuple(self.queries[index] for index in sorted(chosen)))


#: Stands for the titles of the photos that pass the filter, each asked of the other photos.
TITLES = QuerySet("titles", (), words=True)


def text_queries(manifest: str | PathLike[str]) -> QuerySet:
    """The labelled texts of a manifest (text, title or caption; lat, lon; author if it has that).

    Raises
    ------
    InputError
        The manifest cannot be read, or holds no labelled text.
    """
    return manifest_queries(manifest, words=True)


def manifest_queries(manifest: str | PathLike[str], *, words: bool = False) -> QuerySet:
    """The labelled photos of a manifest (uri, lat, lon, and author if it has that), or its texts.

    A photo that stands there twice is two queries.

    Raises
    ------
    InputError
        The manifest cannot be read, or holds no labelled photo.
    """
    queries: list[Labelled] = []
    failures: list[Failure] = []
    for item in read_manifest(resolve(str(manifest)), Reading(texts=words)):
        if isinstance(item, Rejection):
            failures.append(Failure(item.uri, item.reason, item.message))
        elif item.position is None:
            failures.append(Failure(item.uri, Reason.BAD_ROW, "the manifest gives no position"))
        elif item.position.trust < 2:
            said = f"the position is {item.position.source}: a guess"
            failures.append(Failure(item.uri, Reason.BAD_ROW, said))
        else:
            truth = (item.position.lat, item.position.lon)
            time = item.taken_at and settled(item.taken_at, item.position)[0]
            text = item.title if words else None
            queries.append(Labelled(item.uri, truth, item.author, taken_at=time, text=text))
    if not queries:
        key = "text" if words else "uri"
        raise InputError(
            f"{manifest}: no query has a position", f"The manifest needs columns {key}, lat, lon."
        )
    found = QuerySet(str(manifest), tuple(queries), tuple(failures), words=words)
    return _said(found) if words else found


def _said(found: QuerySet) -> QuerySet:
    """Texts as they are asked; those that cannot be are failures."""
    queries, failures = [], list(found.failures)
    for each in found.queries:
        try:
            asked = text_query(each.text or "")
        except InputError as error:
            failures.append(Failure(each.uri, Reason.BAD_ROW, error.message))
        else:
            queries.append(replace(each, uri=asked.name, text=asked.text))
    return replace(found, queries=tuple(queries), failures=tuple(failures))


def stored_queries(database: Database, model: Model, where: Filter) -> QuerySet:
    """The photos embedded with `model` that pass `where`, to be answered by one another.

    Raises
    ------
    InputError
        No photo passes, or the model has places.
    NotFoundError
        A collection or country in the filter does not exist.
    """
    rows = _stored(database, model, where)
    queries = tuple(Labelled(uri, (lat, lon), *known) for uri, lat, lon, *known, _, _ in rows)
    return QuerySet(f"leave-one-out: {where}", queries, stored=True)


def title_queries(database: Database, model: Model, where: Filter) -> QuerySet:
    """The titles of the photos embedded with `model` that pass `where`, to be asked of the others.

    Raises
    ------
    InputError
        None has a title; or as `stored_queries`.
    NotFoundError
        As `stored_queries`.
    """
    rows = _stored(database, model, where)
    queries = tuple(
        Labelled("", (lat, lon), author, key, taken_at, title, bytes(sha256))
        for _, lat, lon, author, key, taken_at, title, sha256 in rows
        if title
    )
    if not queries:
        raise InputError(
            f"no photo that passes the filter ({where}) has a title",
            "Give `texts`, and where they are of.",
        )
    return _said(QuerySet(f"titles: {where}", queries, words=True))


def _stored(database: Database, model: Model, where: Filter) -> list[tuple[Any, ...]]:
    """Address, position, author, id, time, title and sha256 of the photos that pass."""
    refuse_places(model.name, "photos are not answered by one another")
    with database.connection() as connection:
        condition, values = where.compile(connection)
        statement = sql.SQL(
            """
            SELECT p.uri, ST_Y(p.geom), ST_X(p.geom), p.author, p.id, p.taken_at, p.title, p.sha256
            FROM (SELECT photo_id FROM {table} AS embeddings WHERE {condition}) AS e
            JOIN geosearch.photos AS p ON p.id = e.photo_id
            ORDER BY p.id
            """
        ).format(table=visible_embeddings(connection, model.id), condition=condition)
        rows = connection.execute(statement, values).fetchall()
    if not rows:
        raise InputError(f"no photo embedded with {model.name} passes the filter ({where})")
    return rows


def stored_embeddings(
    database: Database, model: Model, queries: Sequence[Labelled]
) -> Iterator[Query]:
    """`stored_queries` with their embeddings, in order.

    Raises
    ------
    InputError
        A photo was deleted since.
    """
    statement = sql.SQL(
        """
        SELECT e.photo_id, p.sha256, e.embedding
        FROM {table} AS e JOIN geosearch.photos AS p ON p.id = e.photo_id
        WHERE e.photo_id = ANY(%s)
        """
    )
    for batch in batched(queries, _BATCH):
        with database.connection() as connection:
            rows = connection.execute(
                statement.format(table=visible_embeddings(connection, model.id)),
                ([query.photo_id for query in batch],),
            ).fetchall()
        found = {key: (sha256, embedding) for key, sha256, embedding in rows}
        for query in batch:
            if query.photo_id not in found:
                raise InputError(
                    f"{query.uri} was deleted while the evaluation ran", "Run it again."
                )
            sha256, embedding = found[query.photo_id]
            vector = np.asarray(embedding.to_numpy(), dtype=np.float32)
            yield Query(query.uri, bytes(sha256), vector)
