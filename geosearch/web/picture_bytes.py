"""Thumbnails of photos: those that are stored, or made of their files and kept for a while."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import NamedTuple

from geosearch.database.connection import Connection
from geosearch.errors import PhotoRejected, no_photo
from geosearch.images import open_image, room_for
from geosearch.ingest.thumbnails import make_thumbnail
from geosearch.storage import read_ingested

#: Longer sides that there are, pixels: for a strip, and for looking closely.
SIDES = (256, 1024)
#: Bytes of thumbnails kept in memory.
_KEPT = 64 * 2**20


class Thumbnails:
    """WebP by the sha256 of the photo and the longer side; who may have one is asked before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._size = 0

    def thumbnail(self, photo: PhotoFile, stored: bytes | None, side: int) -> bytes:
        """The small one of what the database has `stored`, where it has; else of the file.

        The file must still have its bytes: whoever names one that is none of the collections'
        cannot know its sha256, and so sees nothing of it.

        Raises
        ------
        PhotoRejected
            Nothing is stored, and the file cannot be read or decoded, or has changed.
        """
        if stored is not None and side == SIDES[0]:
            return small_webp(stored, side)
        try:
            return self._of_file(photo, side)
        except PhotoRejected:
            if stored is None:
                raise
            return stored

    def _of_file(self, photo: PhotoFile, side: int) -> bytes:
        key = photo.sha256, side
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = small_webp(read_ingested(photo.uri, photo.sha256), side)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._size += len(made)
            while self._size > _KEPT:
                self._size -= len(self._kept.popitem(last=False)[1])
        return made


class PhotoFile(NamedTuple):
    """Address and sha256 of a photo, and whether a thumbnail of it is stored."""

    uri: str
    sha256: bytes
    stored: bool

    def tag(self, side: int) -> str:
        """What changes when its thumbnail does; it does not tell the sha256."""
        return f"{hashlib.sha256(self.sha256 + bytes([self.stored])).hexdigest()[:32]}-{side}"


def photo_file(connection: Connection, photo_id: int) -> PhotoFile:
    """The file of a photo.

    Raises
    ------
    NotFoundError
        There is none, as far as this login may see.
    """
    row = connection.execute(
        "SELECT uri, sha256, EXISTS (SELECT FROM geosearch.thumbnails WHERE photo_id = p.id) "
        "FROM geosearch.photos AS p WHERE id = %s",
        (photo_id,),
    ).fetchone()
    if row is None:
        raise no_photo(photo_id)
    return PhotoFile(str(row[0]), bytes(row[1]), bool(row[2]))


def stored_thumbnail(connection: Connection, photo_id: int) -> bytes | None:
    """The thumbnail of a photo that is stored, WebP; None if there is none."""
    row = connection.execute("SELECT geosearch.thumbnail(%s)", (photo_id,)).fetchone()
    return None if row is None or row[0] is None else bytes(row[0])


def small_webp(data: bytes, side: int) -> bytes:
    """A photo as WebP whose longer side has at most so many pixels, without metadata.

    Raises
    ------
    PhotoRejected
        It cannot be decoded.
    """
    image = open_image(data)
    with room_for(image):
        return make_thumbnail(image, side).webp
