"""The photos to train on, and those held out to validate by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from geosearch.authors import source
from geosearch.database.collection_rows import find_collection
from geosearch.database.connection import Connection
from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM, Array
from geosearch.training.batches import Indices


@dataclass(frozen=True, eq=False)
class Photos:
    """Located photos in the order of their ids: what is known of them, never their pixels."""

    uris: Sequence[str]
    sha256: Sequence[bytes]
    lat: Array
    lon: Array
    authors: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.uris)

    def digest(self) -> str:
        """sha256, hex, of the photos' bytes and positions."""
        whole = hashlib.sha256(b"".join(self.sha256))
        whole.update(self.lat.tobytes() + self.lon.tobytes())
        return whole.hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the photos to train on, of those held out, and the number of those left out.

    A photo is left out if it has the place or the author of one held out without being one.
    `source` is an author who was taken for a source, and so may be on both sides.
    """

    training: Indices
    validation: Indices
    left_out: int = 0
    source: str | None = None


def read_photos(connection: Connection, collection: str | None) -> Photos:
    """All located photos of a collection, or of all.

    Raises
    ------
    NotFoundError
        There is no such collection.
    InputError
        It has no located photos.
    """
    chosen = None if collection is None else find_collection(connection, collection)
    rows = connection.execute(
        """
        SELECT uri, sha256, ST_Y(geom), ST_X(geom), author
        FROM geosearch.photos
        WHERE geom IS NOT NULL AND position_source <> 'place'
            AND (%(id)s::bigint IS NULL OR collection_id = %(id)s)
        ORDER BY id
        """,
        {"id": chosen},
    ).fetchall()
    if not rows:
        raise InputError(
            f"`collection`: {collection}: it has no located photos"
            if collection
            else "there are no located photos here",
            "Run geosearch ingest first.",
        )
    uris, sha256, lat, lon, authors = zip(*rows, strict=True)
    return Photos(uris, sha256, np.array(lat, float), np.array(lon, float), authors)


def split_photos(photos: Photos, share: float, *, place_km: float, seed: int) -> Split:
    """Hold out about this share of the photos.

    Whole authors are drawn at random, and with them the rest of nobody: photos of other authors in
    the same places are left out. Places are cells of about `place_km` × `place_km`. Photos without
    an author are drawn by place. The same for the same photos and seed.

    Raises
    ------
    InputError
        All photos are of one place or one author, so that none can be held out.
    """
    if share == 0:
        return Split(np.arange(len(photos)), np.zeros(0, np.int64))
    cells = place_cells(photos.lat, photos.lon, place_km)
    agency = source(photos.authors)
    names = [
        f"author {author}" if author and author != agency else f"place {cell}"
        for author, cell in zip(photos.authors, cells.tolist(), strict=True)
    ]
    _, owner = np.unique(np.array(names), return_inverse=True)
    sizes = np.bincount(owner)
    wanted = share * len(photos)
    drawn: list[int] = []
    taken = 0
    for each in np.random.default_rng(seed).permutation(len(sizes)):
        # An owner of far more than is wanted would take the photos of half the world along.
        if taken < wanted and sizes[each] <= max(2 * (wanted - taken), 1):
            drawn.append(int(each))
            taken += int(sizes[each])
    if not drawn:  # each of the few has more than is wanted
        drawn.append(int(np.argmin(sizes)))
    # A place drawn for its photos without author may have others; they are left out.
    held = np.isin(owner, drawn)
    shares_place = np.isin(cells, cells[held])
    training, validation = np.flatnonzero(~held & ~shares_place), np.flatnonzero(held)
    if not len(training) or not len(validation):
        raise InputError(
            "the photos are of so few places and authors that none can be held out",
            "Train on more photos, or give `validation` 0.",
        )
    return Split(training, validation, len(photos) - len(training) - len(validation), agency)


def place_cells(lat: ArrayLike, lon: ArrayLike, place_km: float) -> Indices:
    """Numbers of cells of about `place_km` × `place_km`: parallel bands, each cut evenly.

    Every point of the sphere is in exactly one, poles and ±180° included.
    """
    lat, lon = np.asarray(lat, float), np.asarray(lon, float)
    bands = max(1, round(np.pi * EARTH_RADIUS_KM / place_km))
    band = np.minimum((lat + 90) / 180 * bands, bands - 1).astype(np.int64)
    middle = np.radians((band + 0.5) / bands * 180 - 90)
    across = np.maximum(1, np.round(2 * np.pi * EARTH_RADIUS_KM * np.cos(middle) / place_km))
    column = ((lon + 180) % 360 / 360 * across).astype(np.int64)
    return band * (2 * bands + 2) + np.minimum(column, across.astype(np.int64) - 1)
