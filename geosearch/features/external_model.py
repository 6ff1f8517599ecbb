"""Models whose embeddings were made elsewhere: rows of `models` without a network."""

from __future__ import annotations

from typing import NoReturn

from geosearch.database.connection import Database
from geosearch.errors import ModelError
from geosearch.features.backbones import Backbone
from geosearch.features.description import Description
from geosearch.features.model_rows import Model, find_model
from geosearch.features.preprocessing import Preprocessing

#: What their names begin with.
PREFIX = "external:"


class ExternalBackbone(Backbone):
    """A model of which there are embeddings, and no network."""

    def __init__(self, description: Description) -> None:
        super().__init__(description, self)  # type: ignore[arg-type]

    @property
    def device(self) -> str:
        """None: it embeds nothing."""
        return "cpu"

    def preprocess(self, image: object) -> NoReturn:  # noqa: ARG002
        """Raise `ModelError`."""
        self.refuse()

    def refuse(self) -> NoReturn:
        """Raise `ModelError`: it embeds nothing."""
        raise ModelError(
            f"the embeddings of {self.description.name} were made elsewhere: no photo is embedded",
            "Ask about a photo of the database that has one, or a vector of "
            f"{self.description.dimension:,} numbers (docs/queries.md). To judge it: "
            "geosearch evaluate --leave-one-out, or calibrate.",
        )

    def embed(self, pixels: object) -> NoReturn:  # noqa: ARG002
        """Raise `ModelError`."""
        self.refuse()


def external_description(
    name: str,
    dimension: int,
    licence: str | None = None,
    first_name: str | None = None,
    weights_sha256: str = "",
) -> Description:
    """What is known of a model whose embeddings were made elsewhere, once of its `first_name`."""
    nothing = Preprocessing(1, 1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Description(
        name=name,
        architecture=first_name or name,  # so that another name is another model
        weights_source="elsewhere",
        weights_sha256=weights_sha256,
        preprocessing=nothing,
        pooling="elsewhere",
        dimension=dimension,
        licence=licence,
    )


def find_external(database: Database, spec: str) -> ExternalBackbone:
    """The model of a name that embeddings were imported under.

    Raises
    ------
    NotFoundError
        There is none.
    """
    with database.connection() as connection:
        row = find_model(connection, spec)
    return ExternalBackbone(stored_description(row))


def stored_description(row: Model) -> Description:
    """The `external_description` that a row was made of."""
    return external_description(
        row.name, row.dimension, row.licence, row.architecture, row.weights_sha256
    )
