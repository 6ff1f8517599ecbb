"""Photos, and collections of them, deleted in one transaction; indexes made good afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import sql

from geosearch.database.collection_rows import (
    clean_up,
    find_collection,
    owns_tables,
    take_turns,
)
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import writable_tables
from geosearch.database.shard_calls import call_home
from geosearch.deletion.deleted import Deleted, count, refusal, require_right
from geosearch.errors import InputError, no_photo
from geosearch.retrieval.facts import forget
from geosearch.retrieval.filters import EVERYTHING, Filter, InCollections
from geosearch.retrieval.indexing import Aim, index_aims, rebuild_indexes
from geosearch.retrieval.photo_list import chosen_photos
from geosearch.waiting import Progress

#: Photos in one statement: memory does not grow with their number.
_PAGE = 5_000


def delete_photos(
    database: Database,
    where: Filter = EVERYTHING,
    *,
    ids: Sequence[int] = (),
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Deleted:
    """Delete the photos that pass `where` and have these ids.

    In one transaction: killed, it has deleted all or nothing. The files stay. Those who may not see
    private collections delete public photos alone.

    Raises
    ------
    InputError
        Nothing is said of which photos.
    NotFoundError
        There is no such photo, collection or country.
    DatabaseError
        This login may not delete photos, or not these.
    """
    if where == EVERYTHING and not ids:
        raise InputError(
            "nothing says which photos to delete",
            "Give conditions or ids; all of a collection: geosearch collections delete NAME.",
        )
    with database.connection() as connection:
        require_right(connection, "photos_open", "photos", "ingester")
        going = Going(connection, where, ids)
        going.check(ids)
        found = going.counted("these photos")
        if dry_run:
            return found
        going.delete(progress)
    return found.done(index_left=make_good(database, going))


def delete_collection(
    database: Database, name: str, *, dry_run: bool = False, progress: Progress | None = None
) -> Deleted:
    """Delete a collection with its photos, and all that is theirs, as `delete_photos`.

    Raises
    ------
    NotFoundError
        There is no such collection.
    DatabaseError
        This login may not.
    """
    with database.connection() as connection:
        key = find_collection(connection, name)
        require_right(connection, "all_collections", "collections")
        going = Going(connection, InCollections(name))
        found = going.counted(f"the collection {name!r}", key, name)
        if dry_run:
            return found
        private = connection.execute(
            "SELECT private FROM geosearch.collections WHERE id = %s", (key,)
        ).fetchone()
        if private != (True,):  # else its shelf goes as a whole, and no index has its photos
            going.delete(progress)
        connection.execute("SELECT geosearch.delete_collection(%s)", (key,))
    return found.done(index_left=make_good(database, going))


class Going:
    """The photos that are to go: of those that this login may write, and an ingest run added."""

    def __init__(
        self,
        connection: Connection,
        where: Filter,
        ids: Sequence[int] = (),
        run: int | None = None,
    ) -> None:
        self.connection = connection
        run_of = sql.SQL("(SELECT * FROM {} WHERE run_id = {}) AS added")

        def choose(table: sql.Composable) -> tuple[sql.Composed, dict[str, Any]]:
            if run is not None:
                table = run_of.format(table, sql.Literal(run))
            return chosen_photos(connection, where, ids, table)

        call_home(connection, choose)
        theirs = ("embeddings", "queries", "rejects", "files", "claims", "thumbnails")
        logs = ("photo_changes", "write_backs")
        self.tables = writable_tables(connection, "photos", *theirs, *logs)
        self.chosen, self.values = choose(self.tables["photos"])
        #: Embeddings that go from the open shelf, whose indexes hold them, by model.
        self.by_model: dict[int, int] = {}
        #: The indexes there are, and the models of those that lose so much that what was measured
        #: of them is forgotten: they are to be built again. Of others dead photos are cleaned out.
        self.indexed: list[Aim] = []
        self.forgotten: set[int] = set()
        self._photos = 0

    def check(self, ids: Sequence[int]) -> None:
        """See that photos named by id are there, and may be deleted."""
        if not ids:
            return
        there = {
            int(key)
            for (key,) in self.connection.execute(
                sql.SQL("SELECT id FROM {photos} WHERE id = ANY(%s)").format(**self.tables),
                (list(ids),),
            )
        }
        for key in sorted(set(ids) - there):
            seen = self.connection.execute(
                "SELECT FROM geosearch.photos WHERE id = %s", (key,)
            ).fetchone()
            if seen is not None:
                raise refusal("photos of a private collection")
            raise no_photo(key)

    def counted(self, what: str, collection: int | None = None, name: str = "") -> Deleted:
        """What goes with the photos, and what rests on them; of a collection, all of it."""
        named = {**self.values, "collection": collection, "name": name}
        parts = {"chosen": self.chosen, **self.tables}
        goes: dict[str, LiteralString] = {
            "photos": "SELECT count(*) FROM ({chosen}) AS chosen",
            "embeddings": "SELECT count(*) FROM {embeddings} WHERE photo_id IN ({chosen})",
            "queries": "SELECT count(*) FROM {queries} WHERE photo_id IN ({chosen})",
            "rejects": "SELECT count(*) FROM {rejects} WHERE photo_id IN ({chosen})",
        }
        stays: dict[str, LiteralString] = {"answers": _ANSWERS}
        if collection is not None:
            goes |= _GOES_WITH_COLLECTION
            stays |= _NAMES_COLLECTION
        counts, resting = (
            count(
                self.connection,
                {kind: sql.SQL(text).format(**parts) for kind, text in kinds.items()},
                named,
            )
            for kinds in (goes, stays)
        )
        self._photos = counts["photos"]
        return Deleted(what, True, counts, resting)

    def delete(self, progress: Progress | None) -> None:
        """Delete them, page by page, and count the coverage of their collections again."""
        connection = self.connection
        collections = connection.execute(
            sql.SQL(
                "SELECT id, name FROM geosearch.collections WHERE id IN ("
                "SELECT collection_id FROM {photos} WHERE id IN ({chosen})) ORDER BY id"
            ).format(chosen=self.chosen, **self.tables),
            self.values,
        ).fetchall()
        take_turns(connection, (key for key, _ in collections))
        rows = connection.execute(
            sql.SQL(
                "SELECT model_id, count(*) FROM {embeddings} "
                "WHERE photo_id IN ({chosen}) AND shelf = 0 GROUP BY 1"
            ).format(chosen=self.chosen, **self.tables),
            self.values,
        )
        self.by_model = dict(rows.fetchall())
        self.indexed = index_aims(connection)
        for aim in self.indexed:
            lost = self.by_model.get(aim.model_id, 0)
            found = connection.execute(
                "SELECT geosearch.forget_tuning(%s, %s)", (aim.model_id, lost)
            ).fetchone()
            if found == (True,) or (lost and aim.target is None):
                self.forgotten.add(aim.model_id)
        page = sql.SQL("{} AND photo_id > %(after)s ORDER BY photo_id LIMIT %(page)s").format(
            self.chosen
        )
        after, done = 0, 0
        while True:
            ids = [
                int(key)
                for (key,) in connection.execute(
                    page, self.values | {"after": after, "page": _PAGE}
                )
            ]
            if not ids:
                break
            connection.execute(sql.SQL(_DELETE).format(**self.tables), (ids,))
            after, done = ids[-1], done + len(ids)
            if progress is not None:
                progress(done, max(done, self._photos))
        for _, name in collections:
            connection.execute("SELECT geosearch.refresh_coverage(%s)", (name,))


# In the order of ids, in which an embed run locks photos too: neither waits for the other for ever.
_DELETE = """
DELETE FROM {photos}
WHERE id IN (SELECT id FROM {photos} WHERE id = ANY(%s) ORDER BY id FOR UPDATE)
"""

_ANSWERS = """
SELECT count(DISTINCT localization_id) FROM geosearch.localization_neighbours
WHERE photo_id IN ({chosen})
"""
_GOES_WITH_COLLECTION: dict[str, LiteralString] = {
    "rejects": "SELECT count(*) FROM {rejects} WHERE collection_id = %(collection)s",
    "coverage_cells": (
        "SELECT count(*) FROM geosearch.coverage WHERE collection_id = %(collection)s"
    ),
    "runs": "SELECT count(*) FROM geosearch.runs WHERE collection_id = %(collection)s",
}
_NAMED = """
SELECT count(*) FROM geosearch.{} WHERE jsonb_path_exists(
    filter, '$.**.collections[*] ? (@ == $name)', jsonb_build_object('name', %(name)s::text)
)
"""
#: Their filters name it: they stay, but can be computed no more.
_NAMES_COLLECTION: dict[str, LiteralString] = {
    "evaluations": _NAMED.replace("{}", "evaluations"),
    "calibrations": _NAMED.replace("{}", "calibrations"),
    "partitions": _NAMED.replace("{}", "partitions"),
}


def make_good(database: Database, going: Going) -> bool:
    """Let indexes and the planner's counts be as if the photos had never been there.

    True where this login may not: it does not own the tables.
    """
    forget(database)
    if not going.by_model:
        return False
    with database.connection() as connection:
        owned = owns_tables(connection)
    if not owned:
        return any(aim.model_id in going.by_model for aim in going.indexed)
    many = [aim for aim in going.indexed if aim.model_id in going.forgotten]
    rebuild_indexes(database, many)
    clean_up(database)
    forget(database)
    return False
