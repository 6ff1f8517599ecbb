"""What all requests share: networks, loaded once, and whether the server is ready."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from geosearch.arguments import check_choice
from geosearch.database.connection import Database
from geosearch.errors import InputError, PhotoRejected
from geosearch.features import Backbone, Rejected, load_backbone
from geosearch.features.extraction import embed_batch
from geosearch.features.given_queries import embed_one, text_query
from geosearch.features.model_rows import Model, require_model
from geosearch.features.whitening import find_backbone
from geosearch.parallel import processors
from geosearch.query import Query

#: Photos that are read, decoded and embedded at once, for each processor: more only take memory.
_AT_ONCE = 2


class Engine:
    """The models that photos are embedded with, by spec; the first is that of who names none.

    `state` is `warming`, then `ready`, or `failed`, and then `message` says why.
    """

    def __init__(self, models: Sequence[str], device: str = "auto") -> None:
        self.models = tuple(dict.fromkeys(models))
        self.state = "warming"
        self.message: str | None = None
        self._device = device
        self._loading = threading.Lock()
        self._loaded: dict[str, Backbone] = {}
        self._found: WeakKeyDictionary[Database, dict[str, Backbone]] = WeakKeyDictionary()
        self._room = threading.BoundedSemaphore(_AT_ONCE * processors())

    def specs(self, asked: str | Sequence[str] | None) -> list[str]:
        """The models that are asked for, as they are named; without any, the server's first."""
        return [asked] if isinstance(asked, str) else list(asked or self.models[:1])

    def embedded(
        self,
        database: Database,
        asked: str | Sequence[str] | None,
        name: str,
        read: Callable[[], bytes],
    ) -> list[tuple[Model, Query]]:
        """A photo as a query of each model; `name` is what it is called, `read` gives its bytes.

        Raises
        ------
        InputError
            The server has not loaded such a model: none is ever loaded for a request.
        NotFoundError
            Nothing is embedded with the model here.
        PhotoRejected
            The photo cannot be decoded or embedded.
        """
        return [self._embedded(database, spec, name, read) for spec in self.specs(asked)]

    def _embedded(
        self, database: Database, spec: str, name: str, read: Callable[[], bytes]
    ) -> tuple[Model, Query]:
        backbone = self._backbone(database, spec)
        with self._room:
            (found,) = embed_batch(backbone, [name], read=lambda _: read())
        if isinstance(found, Rejected):
            said = found.rejection
            raise PhotoRejected(said.reason, f"{name}: {said.message}") from said
        with database.connection() as connection:
            return require_model(connection, backbone.description), found

    def words(
        self, database: Database, asked: str | Sequence[str] | None, text: str
    ) -> tuple[Model, Query]:
        """Words as a query of one model. Raises as `embedded`, and InputError if it knows none."""
        backbone = self._backbone(database, self.one(asked))
        with self._room:
            return embed_one(database, backbone, text_query(text))

    def one(self, asked: str | Sequence[str] | None) -> str:
        """The one model that is asked for, by what is no picture. Raises InputError."""
        spec, *others = self.specs(asked)
        if others:
            raise InputError("vectors and words are of one model", "Name one `model`.")
        return spec

    def _backbone(self, database: Database, spec: str) -> Backbone:
        check_choice("model", spec, self.models)
        known = self._found.setdefault(database, {})
        if spec not in known:
            known[spec] = find_backbone(database, spec, device=self._device, load=self._load)
        return known[spec]

    def _load(self, spec: str, *, device: str, at_once: bool) -> Backbone:
        with self._loading:
            if spec not in self._loaded:
                self._loaded[spec] = load_backbone(spec, device=device, at_once=at_once)
            return self._loaded[spec]
