"""What embeds photos while they are ingested: they are read and decoded once for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from PIL import Image

from geosearch.database.connection import Connection
from geosearch.ingest.records import Photo


class Embedder(Protocol):
    """Takes part in an ingest. `see` and `embed` are called in the threads that read photos."""

    batch_size: int

    def start(self, connection: Connection, collection_id: int) -> None:
        """Prepare for photos of a collection, which is there now."""

    def see(self, image: Image.Image) -> Any:
        """What the network takes of an opened image, which may be decoded in place.

        Raises
        ------
        PhotoRejected
            It cannot be decoded.
        """

    def embed(self, photos: Sequence[Photo]) -> Sequence[Photo]:
        """The photos with their embeddings as `seen`, None where there is none, for what it was."""

    def store(self, connection: Connection, photos: Mapping[bytes, Photo]) -> int:
        """Write the embeddings of photos, by sha256, whose rows are new in the open transaction.

        How many there were.
        """
