"""Photos whose files are gone, taken out of a collection."""

from __future__ import annotations

from psycopg import sql

from geosearch.arguments import Paths, paths
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Database
from geosearch.database.embedding_tables import writable_tables
from geosearch.deletion.photo_deletion import delete_photos
from geosearch.errors import InputError
from geosearch.ingest.unchanged import is_gone
from geosearch.storage import resolve

_BELOW = "SELECT {}uri FROM {} WHERE collection_id = %s AND starts_with(uri, %s)"
_FORGET = "DELETE FROM {} WHERE collection_id = %s AND uri = ANY(%s)"


def delete_missing(database: Database, sources: Paths, *, collection: str) -> int:
    """Delete the photos of a collection whose files below these folders are gone; how many.

    Their rejects go too. A moved file is none once an ingest has found it under its new name.

    Raises
    ------
    InputError
        Of a folder, no file that the collection knows is there any more: a disk that is not
        mounted looks like that.
    NotFoundError
        There is no such collection.
    DatabaseError
        This login may not delete photos.
    """
    folders = [resolve(str(source)) for source in paths("sources", sources)]
    gone: list[int] = []
    with database.connection() as connection:
        key = find_collection(connection, collection)
        tables = writable_tables(connection, "photos", "rejects", "files")
        for folder in folders:
            values = (key, f"{folder.rstrip('/')}/")
            stored = connection.execute(
                sql.SQL(_BELOW).format(sql.SQL("id, "), tables["photos"]), values
            ).fetchall()
            missing = [photo for photo, uri in stored if is_gone(uri, [folder])]
            if missing and len(missing) == len(stored):
                raise InputError(
                    f"none of the {len(stored):,} photos from {folder} is there any more",
                    "Is its disk mounted? To delete them all the same: geosearch photos delete",
                )
            gone += missing
            for table in (tables["rejects"], tables["files"]):
                known = connection.execute(
                    sql.SQL(_BELOW).format(sql.SQL(""), table), values
                ).fetchall()
                uris = [uri for (uri,) in known if is_gone(uri, [folder])]
                connection.execute(sql.SQL(_FORGET).format(table), (key, uris))
    return delete_photos(database, ids=gone).goes["photos"] if gone else 0
