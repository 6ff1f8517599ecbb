"""The `models` table: one row per backbone with exactly its weights and preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from geosearch.database.connection import Connection
from geosearch.database.embedding_tables import create_embedding_table
from geosearch.database.inserting import insert_statement
from geosearch.errors import ModelError, NotFoundError
from geosearch.features.description import LONGEST, Description, full_name
from geosearch.versions import software_versions

if TYPE_CHECKING:
    from geosearch.features.backbones import Backbone


@dataclass(frozen=True)
class Model:
    """A row of `models`; `framework` holds library versions at registration."""

    id: int
    name: str
    architecture: str
    weights_source: str
    weights_sha256: str
    preprocessing: dict[str, Any]
    pooling: str
    dimension: int
    fingerprint: str
    framework: dict[str, str]
    licence: str | None
    views: int
    whitening_sha256: str | None
    created_at: datetime


_SELECT = """
    SELECT
        id, name, architecture, weights_source, weights_sha256, preprocessing, pooling,
        dimension, fingerprint, framework, licence, views, whitening_sha256, created_at
    FROM geosearch.models
"""


def register_model(connection: Connection, description: Description) -> Model:
    """The row of a backbone, inserted with its partition of `embeddings` where it is new.

    Two specs that come to the same weights, preprocessing and pooling share a row.

    Raises
    ------
    ModelError
        Its embeddings are longer than can be kept.
    """
    if description.dimension > LONGEST:
        raise ModelError(
            f"the embeddings of {description.name} have {description.dimension:,} numbers",
            f"At most {LONGEST:,} are kept: choose another pooling, or output.",
        )
    found = model_by_fingerprint(connection, description.fingerprint)
    if found is not None:
        return found
    # A partition needs all of `models`, which no two transactions that insert there can have: one
    # after the other, until the commit.
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('geosearch models'))")
    row = vars(description) | {
        "fingerprint": description.fingerprint,
        "preprocessing": Jsonb(description.preprocessing.to_json()),
        "framework": Jsonb(software_versions()),
    }
    unless_known = sql.SQL(" ON CONFLICT (fingerprint) DO NOTHING RETURNING id")
    statement = insert_statement("models", row) + unless_known
    inserted = connection.execute(statement, row).fetchone()
    if inserted is not None:
        create_embedding_table(connection, inserted[0])
    return require_model(connection, description)


def require_model(connection: Connection, description: Description) -> Model:
    """The row of a backbone.

    Raises
    ------
    NotFoundError
        Nothing was embedded with it yet.
    """
    found = model_by_fingerprint(connection, description.fingerprint)
    if found is None:
        raise NotFoundError(
            f"nothing is embedded with {description.name} (weights "
            f"{description.weights_sha256[:8]}) here",
            _how_to_embed(connection, description.name) + _others(connection, "\n"),
        )
    return found


def find_model(connection: Connection, name: str | Backbone) -> Model:
    """The row of a model by its name or its id as digits; of several with a name, the newest.

    Of a backbone it is its own (`require_model`).

    Raises
    ------
    NotFoundError
        There is none; the message lists those that exist.
    """
    if not isinstance(name, str):
        return require_model(connection, name.description)
    model = model_by_id(connection, int(name)) if name.isdecimal() else None
    if model is not None:
        return model
    found = _select(connection, "WHERE name = %s ORDER BY id DESC LIMIT 1", (full_name(name),))
    if not found:
        raise NotFoundError(
            f"nothing is embedded with the model {name!r} here",
            _others(connection) or _how_to_embed(connection, name),
        )
    return found[0]


def model_by_id(connection: Connection, model_id: int) -> Model | None:
    """The row with this id, None if there is none."""
    found = _select(connection, "WHERE id = %s", (model_id,))
    return found[0] if found else None


def model_by_fingerprint(connection: Connection, fingerprint: str) -> Model | None:
    """The row of the model with exactly these weights and preprocessing, None if there is none."""
    found = _select(connection, "WHERE fingerprint = %s", (fingerprint,))
    return found[0] if found else None


def list_models(connection: Connection) -> list[Model]:
    """All models, oldest first."""
    return _select(connection, "ORDER BY id", ())


def count_embeddings(connection: Connection) -> dict[int, int]:
    """Model id → photos embedded with it (models without any are left out)."""
    rows = connection.execute("SELECT model_id, count(*) FROM geosearch.embeddings GROUP BY 1")
    return dict(rows.fetchall())


def _others(connection: Connection, before: str = "") -> str:
    names = ", ".join(model.name for model in list_models(connection))
    return f"{before}Models here: {names}" if names else ""


def _how_to_embed(connection: Connection, name: str) -> str:
    found = connection.execute("SELECT 1 FROM geosearch.photos LIMIT 1").fetchone()
    first = (
        "" if found else "There are no photos yet. Run: geosearch ingest FOLDER --collection NAME\n"
    )
    return f"{first}Run: geosearch embed --model {name}"


def _select(connection: Connection, condition: str, values: Sequence[object]) -> list[Model]:
    with connection.cursor(row_factory=class_row(Model)) as cursor:
        return cursor.execute(_SELECT + condition, values).fetchall()
