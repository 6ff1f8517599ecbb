"""The queries of an evaluation: photos with their true positions, from a manifest or a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from os import PathLike

import numpy as np
from psycopg import sql

from geosearch.arguments import check_range
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.errors import InputError, Reason
from geosearch.features.model_rows import Model
from geosearch.features.places_model import refuse_places
from geosearch.ingest.manifests import read_manifest
from geosearch.ingest.photo_times import settled
from geosearch.ingest.records import Rejection
from geosearch.localization.answer import Failure
from geosearch.parallel import batched
from geosearch.query import Query
from geosearch.retrieval import Filter
from geosearch.storage import resolve

#: Embeddings read in one query.
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Labelled:
    """A photo to ask about, its true latitude and longitude in degrees, and what else is known.

    `photo_id` is set for a photo whose embedding is in the database.
    """

    uri: str
    truth: tuple[float, float]
    author: str | None = None
    photo_id: int | None = None
    taken_at: datetime | None = None


@dataclass(frozen=True)
class QuerySet:
    """Labelled photos under a name, and those that were to be queries and cannot be.

    `stored`: the queries are photos of the database, whose embeddings are read from there.
    """

    name: str
    queries: tuple[Labelled, ...]
    failures: tuple[Failure, ...] = ()
    stored: bool = False

    def __len__(self) -> int:
        return len(self.queries)

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


def manifest_queries(manifest: str | PathLike[str]) -> QuerySet:
    """The labelled photos of a manifest (uri, lat, lon, and author if it has that).

    A photo that stands there twice is two queries.

    Raises
    ------
    InputError
        The manifest cannot be read, or holds no labelled photo.
    """
    queries: list[Labelled] = []
    failures: list[Failure] = []
    for item in read_manifest(resolve(str(manifest))):
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
            queries.append(Labelled(item.uri, truth, item.author, taken_at=time))
    if not queries:
        raise InputError(
            f"{manifest}: no query has a position", "The manifest needs columns uri, lat, lon."
        )
    return QuerySet(str(manifest), tuple(queries), tuple(failures))


def stored_queries(database: Database, model: Model, where: Filter) -> QuerySet:
    """The photos embedded with `model` that pass `where`, to be answered by one another.

    Raises
    ------
    InputError
        No photo passes, or the model has places.
    NotFoundError
        A collection or country in the filter does not exist.
    """
    refuse_places(model.name, "photos are not answered by one another")
    with database.connection() as connection:
        condition, values = where.compile(connection)
        statement = sql.SQL(
            """
            SELECT p.uri, ST_Y(p.geom), ST_X(p.geom), p.author, p.id, p.taken_at
            FROM (SELECT photo_id FROM {table} AS embeddings WHERE {condition}) AS e
            JOIN geosearch.photos AS p ON p.id = e.photo_id
            ORDER BY p.id
            """
        ).format(table=visible_embeddings(connection, model.id), condition=condition)
        rows = connection.execute(statement, values).fetchall()
    if not rows:
        raise InputError(f"no photo embedded with {model.name} passes the filter ({where})")
    queries = tuple(Labelled(uri, (lat, lon), *known) for uri, lat, lon, *known in rows)
    return QuerySet(f"leave-one-out: {where}", queries, stored=True)


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
