"""Whether shards hold what they should, and find what they should."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from geosearch.database.connection import Connection, Database
from geosearch.database.schema import SCHEMA
from geosearch.json_record import Record
from geosearch.retrieval.indexing import index_aims
from geosearch.retrieval.recall import Health
from geosearch.retrieval.recall import check as check_index
from geosearch.shards.shard_rows import find_shard, list_shards, open_shard, require_owner


@dataclass(frozen=True)
class ShardCheck(Record, ok="ok"):
    """What a shard is like: the numbers of photos and embeddings counted through this server and
    over there, photos that are on this side too, and the recall of each model's index, by its id.
    """

    shard: str
    trouble: str | None
    seen: dict[str, int]
    held: dict[str, int]
    twice: int
    recall: dict[int, Health]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        held = self.trouble is None and self.seen == self.held and not self.twice
        return held and all(each.holds for each in self.recall.values())


#: What is counted.
_COUNTED = ("photos", "embeddings", "thumbnails")


def check_shards(database: Database, name: str | None = None) -> list[ShardCheck]:
    """Count what each shard holds, or one, and measure its indexes again.

    Raises
    ------
    NotFoundError
        There is no such shard.
    DatabaseError
        This login does not own the tables.
    """
    with database.connection() as connection:
        require_owner(connection)
        if name is not None:
            find_shard(connection, name)
    return [
        ShardCheck(each.name, each.trouble, {}, {}, 0, {})
        if each.trouble
        else _check(database, each.id, each.name, each.moving)
        for each in list_shards(database)
        if name in (None, each.name)
    ]


def _check(database: Database, key: int, name: str, moving: int) -> ShardCheck:
    with database.connection() as connection:
        seen = _counts(connection, f"_s{key}")
        seen["photos"] += moving
        both = connection.execute(
            sql.SQL(
                "SELECT count(*) FROM geosearch.photos_open WHERE id IN (SELECT id FROM {})"
            ).format(sql.Identifier(SCHEMA, f"photos_s{key}"))
        ).fetchone()
        opened = open_shard(connection, name)
    with opened as shard:
        with shard.connection() as there:
            held = _counts(there, "_open")
            models = [aim.model_id for aim in index_aims(there) if aim.target is not None]
        recall = {model: check_index(shard, model) for model in models}
    if moving:  # what hangs on those is there and does not count
        seen = {**held, "photos": seen["photos"]}
    return ShardCheck(name, None, seen, held, int(both[0]) if both else 0, recall)


def _counts(connection: Connection, ending: str) -> dict[str, int]:
    counts = {}
    for table in _COUNTED:
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(SCHEMA, table + ending))
        ).fetchone()
        counts[table] = int(row[0]) if row else 0
    return counts
