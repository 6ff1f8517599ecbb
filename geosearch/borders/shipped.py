"""The borders and places that geosearch carries, and what loads them into a database.

`scripts/make-places` makes the files: rows in PostgreSQL's text format, so that loading is a COPY.
"""

from __future__ import annotations

import lzma
from pathlib import Path

from geosearch.database.connection import Connection

_DATA = Path(__file__).parent / "data"
BORDERS, PLACES = _DATA / "borders.tsv.xz", _DATA / "places.tsv.xz"

#: What the borders loaded from here have as their source.
SOURCE = "Natural Earth 1:50m"
#: To be said wherever names or borders are shown.
ATTRIBUTION = "Place names: GeoNames, CC BY 4.0; borders: Natural Earth"

_INCOMING_BORDERS = """
CREATE TEMPORARY TABLE incoming (
    kind text, name text, aliases text[], iso_a2 text, iso_a3 text, continent text, subregion text,
    area text
) ON COMMIT DROP
"""
_INSERT_BORDERS = """
INSERT INTO geosearch.borders
    (kind, name, aliases, iso_a2, iso_a3, continent, subregion, geom, source)
SELECT kind, name, aliases, iso_a2, iso_a3, continent, subregion,
    ST_SetSRID(ST_GeomFromTWKB(decode(area, 'hex')), 4326), %s
FROM pg_temp.incoming
"""


def load_shipped_borders(connection: Connection) -> None:
    """Replace all borders by those of geosearch, in the open transaction."""
    connection.execute("DELETE FROM geosearch.borders")
    connection.execute(_INCOMING_BORDERS)
    _copy(connection, "pg_temp.incoming", BORDERS)
    connection.execute(_INSERT_BORDERS, (SOURCE,))
    connection.execute("DROP TABLE pg_temp.incoming")


def load_shipped_places(connection: Connection) -> None:
    """Replace all places, in the open transaction."""
    connection.execute("DELETE FROM geosearch.places")
    columns = "name, admin1, country, iso_a2, population, geom"
    _copy(connection, f"geosearch.places ({columns})", PLACES)


def _copy(connection: Connection, target: str, path: Path) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        copy.write(lzma.decompress(path.read_bytes()))
