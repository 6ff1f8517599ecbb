"""Which photos are to be embedded, and which process embeds which: any number share a model.

A process claims some photos that nobody is at, embeds them, and writes what came of them together
with the end of its claim. A claim counts for as long as its holder has a lease, so what a killed
process had claimed is soon anybody's; who finds that his claim is gone writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg import sql
from psycopg.rows import class_row

from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import writable_tables
from geosearch.database.leases import Lease

#: Most photos that are claimed at once.
MOST = 4096
#: Seconds that embedding what is claimed at once takes, about: what a killed process holds up is
#: little, and so is what claiming costs.
_CLAIM_S = 1.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A photo to be embedded."""

    id: int
    uri: str
    sha256: bytes
    reference: bool


# Photos to embed: without an embedding of the model but with one of the model it comes of, if it
# comes of one, and not rejected for good, nor since those who share the work began. What ends
# with {each} is asked photo by photo, by index, where few are wanted: the tables grow meanwhile,
# and the planner does not know of it.
_TO_DO = """
    FROM {photos} AS photos
    WHERE (%(collection)s::bigint IS NULL OR photos.collection_id = %(collection)s)
        AND photos.position_source IS DISTINCT FROM 'place'
        AND NOT EXISTS (
            SELECT FROM {embeddings} AS embeddings
            WHERE embeddings.model_id = %(model)s AND embeddings.photo_id = photos.id
                AND embeddings.shelf = photos.shelf {each}
        )
        AND NOT EXISTS (
            SELECT FROM {queries} AS queries
            WHERE queries.model_id = %(model)s AND queries.photo_id = photos.id
                AND queries.shelf = photos.shelf {each}
        )
        AND (
            %(base)s::bigint IS NULL
            OR EXISTS (
                SELECT FROM {embeddings} AS embeddings
                WHERE embeddings.model_id = %(base)s AND embeddings.photo_id = photos.id
                    AND embeddings.shelf = photos.shelf
            )
            OR EXISTS (
                SELECT FROM {queries} AS queries
                WHERE queries.model_id = %(base)s AND queries.photo_id = photos.id
                    AND queries.shelf = photos.shelf
            )
        )
        AND photos.id >= %(first)s
"""
_REJECTED = """
        EXISTS (
            SELECT FROM {rejects} AS rejects
            WHERE rejects.model_id = %(model)s
                AND rejects.photo_id = photos.id
                AND rejects.shelf = photos.shelf
                AND (
                    rejects.created_at >= %(since)s
                    OR NOT %(retry)s AND rejects.stage <> 'read'
                )
            {each}
        )
"""
_SURVEY: LiteralString = """
    WITH to_do AS (SELECT photos.id, {rejected} AS skipped {to_do})
    SELECT
        min(id) FILTER (WHERE NOT skipped), coalesce(max(id), 0),
        count(*) FILTER (WHERE NOT skipped), count(*) FILTER (WHERE skipped)
    FROM to_do
    WHERE %(last)s::bigint IS NULL OR id <= %(last)s
"""
_LIVE = """
    EXISTS (
        SELECT FROM geosearch.leases AS leases
        WHERE leases.holder = claims.holder AND leases.expires_at > now()
    )
"""
# Two who claim at once pass by what the other has locked; who sees the photos as they were before
# another claimed them meets his claim.
_CLAIM: LiteralString = """
    WITH free AS (
        SELECT photos.id, photos.collection_id, photos.uri, photos.sha256,
            photos.geom IS NOT NULL AS reference, photos.shelf
        {to_do}
            AND NOT {rejected} AND photos.id <= %(last)s
            AND NOT EXISTS (
                SELECT FROM {claims} AS claims
                WHERE claims.model_id = %(model)s AND claims.photo_id = photos.id
                    AND claims.shelf = photos.shelf AND {live} {each}
            )
        ORDER BY photos.id
        LIMIT %(count)s
        FOR NO KEY UPDATE OF photos SKIP LOCKED
    ), claimed AS (
        INSERT INTO {claims} AS claims (photo_id, model_id, collection_id, shelf, holder)
        SELECT id, %(model)s, collection_id, shelf, %(holder)s FROM free
        ON CONFLICT (model_id, photo_id, shelf) DO UPDATE SET holder = excluded.holder
        WHERE NOT {live}
        RETURNING photo_id
    )
    SELECT id, uri, sha256, reference
    FROM free JOIN claimed ON photo_id = id
    ORDER BY id
"""
# What another embedded after all, who had it before us and was late, is not ours.
_END: LiteralString = """
    WITH ended AS (
        DELETE FROM {claims}
        WHERE model_id = %(model)s AND holder = %(holder)s AND photo_id = ANY(%(photos)s)
        RETURNING photo_id
    )
    SELECT photo_id FROM ended
    WHERE photo_id NOT IN (
        SELECT photo_id FROM {embeddings} AS embeddings
        WHERE model_id = %(model)s AND photo_id = ANY(%(photos)s)
        UNION ALL
        SELECT photo_id FROM {queries} AS queries
        WHERE model_id = %(model)s AND photo_id = ANY(%(photos)s)
    )
"""


def filled(
    connection: Connection, template: LiteralString, each: LiteralString = ""
) -> sql.Composed:
    """A statement over what this login may write."""
    names = ("photos", "rejects", "claims", "embeddings", "queries")
    parts: dict[str, sql.Composable] = dict(writable_tables(connection, *names))
    parts["each"] = sql.SQL(each)
    for name, part in (("to_do", _TO_DO), ("rejected", _REJECTED), ("live", _LIVE)):
        parts[name] = sql.SQL(part).format(**parts)
    return sql.SQL(template).format(**parts)


@dataclass
class Claims:
    """What is to be embedded with a model, and what of it one process, with a lease, has claimed.

    `base` is the model that it comes of, if it comes of one; `retry` takes in what was rejected
    before. `counted` photos were claimed by it so far.
    """

    database: Database
    model: int
    lease: Lease
    collection: int | None
    base: int | None
    retry: bool
    counted: int = 0
    _last: int | None = field(default=None, init=False)

    def survey(self, connection: Connection) -> tuple[int | None, int, int]:
        """The first photo to do, how many there are, and how many are skipped.

        Later photos are the next run's.
        """
        first, self._last, pending, skipped = self._look(connection, 0)
        return first, pending, skipped

    def first(self, start: int) -> int | None:
        """The first photo to do from this id on, claimed or not; None once all is done."""
        with self.database.connection() as connection:
            return self._look(connection, start)[0]

    def _look(self, connection: Connection, start: int) -> tuple[int | None, int, int, int]:
        asked = self._asked() | {"first": start}
        row = connection.execute(filled(connection, _SURVEY), asked).fetchone()
        assert row is not None
        return row[0], row[1], row[2], row[3]

    def walk(self, start: int, least: int) -> Iterator[Pending]:
        """Photos from this id on that nobody is at, claimed by and by, at least so many at once."""
        count, begun = min(least, MOST), time.monotonic()
        while claimed := self._claim(start, count):
            yield from claimed
            start, now = claimed[-1].id + 1, time.monotonic()
            count = 2 * count if now - begun < _CLAIM_S / 2 else count
            count = count // 2 if now - begun > 2 * _CLAIM_S else count
            count, begun = min(max(count, least), MOST), now

    def _claim(self, first: int, count: int) -> list[Pending]:
        with (
            self.database.connection() as connection,
            connection.cursor(row_factory=class_row(Pending)) as cursor,
        ):
            asked = self._asked() | {"first": first, "count": count}
            claimed = cursor.execute(filled(connection, _CLAIM, "OFFSET 0"), asked).fetchall()
        self.counted += len(claimed)
        return claimed

    def end(self, connection: Connection, photos: Sequence[int]) -> set[int]:
        """Those of these photos, under a lock, of which we are to write what came of them."""
        asked = self._asked() | {"photos": list(photos)}
        return {int(key) for (key,) in connection.execute(filled(connection, _END), asked)}

    def _asked(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "base": self.base,
            "collection": self.collection,
            "retry": self.retry,
            "since": self.lease.since,
            "holder": self.lease.holder,
            "last": self._last,
        }
