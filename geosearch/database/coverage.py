"""The coverage: how many photos there are in each cell of two grids of the Earth."""

from __future__ import annotations

from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection


def refresh_coverage(connection: Connection, collection: str | None = None) -> int:
    """Count the photos of a collection, or of all, again; returns the cells that hold any.

    Takes seconds for a million photos. Ingest does it by itself; it is for photos that were changed
    or removed by other means.

    Raises
    ------
    NotFoundError
        There is no such collection.
    """
    if collection is not None:
        find_collection(connection, collection)
    row = connection.execute("SELECT geosearch.refresh_coverage(%s)", (collection,)).fetchone()
    assert row is not None
    return int(row[0])
