"""Borders in the database: loaded as a whole, found by name or ISO code."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import shapely
from shapely.geometry.base import BaseGeometry

from geosearch.borders.border_files import Flaw, read_borders
from geosearch.borders.shipped import SOURCE, load_shipped_borders
from geosearch.database.connection import Connection, Database
from geosearch.database.inserting import insert_all
from geosearch.errors import NotFoundError
from geosearch.json_record import Record


@dataclass(frozen=True)
class Loaded(Record):
    """What a load stored, and the features it repaired or left out."""

    source: str
    countries: int
    regions: int
    flaws: tuple[Flaw, ...]


@dataclass(frozen=True)
class Place:
    """A country or region that `find_border` finds by any of its names."""

    kind: str
    name: str
    aliases: tuple[str, ...]
    iso_a2: str | None
    iso_a3: str | None
    continent: str | None
    subregion: str | None
    source: str


def load_borders(database: Database, path: str | Path | None = None) -> Loaded:
    """Replace all borders by those of a file (`read_borders` says which), or by geosearch's own.

    Raises
    ------
    InputError
        The file cannot be read, or holds no borders. Those in the database stay.
    """
    if path is None:
        with database.connection() as connection:
            load_shipped_borders(connection)
            own = Counter(place.kind for place in list_borders(connection))
        return Loaded(SOURCE, own["country"], own["region"], ())
    borders, flaws = read_borders(path)
    source = Path(path).name
    rows = [vars(border) | {"source": source} for border in borders]
    for row in rows:
        row["aliases"] = list(row["aliases"])
        row["geom"] = shapely.to_wkb(row.pop("geometry"))
    with database.connection() as connection:
        connection.execute("DELETE FROM geosearch.borders")
        insert_all(connection, "borders", rows, geom="ST_GeomFromWKB({}, 4326)")
    kinds = Counter(border.kind for border in borders)
    return Loaded(source, kinds["country"], kinds["region"], tuple(flaws))


_FIND = """
SELECT geom
FROM geosearch.borders
WHERE lower(%(name)s) IN (lower(name), lower(iso_a2), lower(iso_a3))
   OR lower(%(name)s) IN (SELECT lower(alias) FROM unnest(aliases) AS alias)
ORDER BY kind, lower(name) = lower(%(name)s) DESC, id
LIMIT 1
"""


def find_border(connection: Connection, name: str) -> BaseGeometry:
    """Area of a country or region by name, alias or ISO code, in any case.

    Where a country and a region share the name, the country is meant.

    Raises
    ------
    NotFoundError
        There is none, and the message lists similar names; or no borders are loaded.
    """
    row = connection.execute(_FIND, {"name": name.strip()}).fetchone()
    if row is not None:
        return shapely.from_wkb(row[0])
    places = list_borders(connection)
    if not places:
        raise NotFoundError(
            f"country {name!r}: no borders are loaded",
            "Load those that come with it: geosearch borders load",
        )
    similar = ", ".join(_similar(name, places)) or "none"
    raise NotFoundError(
        f"there is no country or region {name!r}",
        f"Similar names: {similar}. All names: geosearch borders list",
    )


def list_borders(connection: Connection) -> list[Place]:
    """All countries and regions, by name."""
    rows = connection.execute(
        """
        SELECT kind, name, aliases, iso_a2, iso_a3, continent, subregion, source
        FROM geosearch.borders ORDER BY kind, name
        """
    )
    return [Place(row[0], row[1], tuple(row[2]), *row[3:]) for row in rows]


def _similar(name: str, places: list[Place]) -> list[str]:
    """Names that contain `name`, then names spelt nearly like it."""
    spellings = {
        spelling.lower(): place.name
        for place in places
        for spelling in (place.name, *place.aliases)
    }
    wanted = name.strip().lower()
    close = difflib.get_close_matches(wanted, spellings, n=5, cutoff=0.6)
    containing = [spelling for spelling in spellings if wanted and wanted in spelling]
    return list(dict.fromkeys(spellings[spelling] for spelling in [*containing, *close]))[:5]
