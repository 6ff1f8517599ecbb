"""Models of places: a location encoder's vectors to find, an image encoder's to ask by.

Both encoders were trained together, into one space. The row of `models` is that of the location
encoder, whose vectors are stored; the image encoder is a backbone of its own, which is loaded when
the first picture is asked about: vectors need none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geosearch.database.connection import Database
from geosearch.errors import InputError, ModelError, NotFoundError
from geosearch.features.backbones import Backbone
from geosearch.features.description import Description
from geosearch.features.external_model import external_description, stored_description
from geosearch.features.model_rows import find_model

if TYPE_CHECKING:
    from PIL import Image

#: How the names of these models begin, and those of no others.
PREFIX = "places:"
#: The spec of the image encoder, by the name of the location encoder.
IMAGE_ENCODERS: Mapping[str, str] = {"geoclip": "geoclip"}


class PlacesBackbone(Backbone):
    """The image encoder that asks a model of places, loaded by `load` when it is needed."""

    def __init__(self, description: Description, load: Callable[[], Backbone]) -> None:
        super().__init__(description, self)  # type: ignore[arg-type]
        self._load, self._lock = load, Lock()

    @cached_property
    def _loaded(self) -> Backbone:
        made = self._load()
        if made.description.dimension != self.description.dimension:
            raise ModelError(
                f"{made.description.name} gives {made.description.dimension} numbers, and "
                f"{self.description.name} has {self.description.dimension}",
                "Make its places again: geosearch gallery",
            )
        return made

    @property
    def encoder(self) -> Backbone:
        """The image encoder."""
        with self._lock:
            return self._loaded

    @property
    def device(self) -> str:
        """Where the image encoder runs, as far as it is loaded."""
        made = self.__dict__.get("_loaded")
        return "cpu" if made is None else str(made.device)

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """As the image encoder."""
        return self.encoder.preprocess(image)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As the image encoder."""
        return self.encoder.embed(pixels)


def places_description(kind: str, weights_sha256: str, dimension: int, licence: str) -> Description:
    """What is known of the location encoder of this name."""
    return external_description(
        f"{PREFIX}{kind}", dimension, licence, f"{kind}, location encoder", weights_sha256
    )


def find_places(database: Database, spec: str, load: Callable[[str], Backbone]) -> PlacesBackbone:
    """The backbone that asks a model of places; `load` gives one by its spec.

    Raises
    ------
    NotFoundError
        There are no such places here.
    """
    kind = spec.removeprefix(PREFIX)
    try:
        with database.connection() as connection:
            row = find_model(connection, spec)
    except NotFoundError as error:
        raise NotFoundError(
            f"there are no {spec} here", f"Run: geosearch gallery {kind}"
        ) from error
    first = row.architecture.partition(",")[0]  # it may have another name by now
    return PlacesBackbone(stored_description(row), lambda: load(IMAGE_ENCODERS[first]))


def refuse_places(model: str | Backbone, what: str) -> None:
    """See that a model's rows are photos, and no places.

    Raises
    ------
    InputError
        They are places; `what` is what is not done with them.
    """
    name = model if isinstance(model, str) else model.description.name
    if name.startswith(PREFIX):
        raise InputError(
            f"{what}: {name} has places, and no photos", "Name a model of photos by `model`."
        )
