"""Whitened models: embeddings of another model, in which every direction counts about as much.

Minus the mean, onto the principal axes, over each one's eigenvalue to a power, to length 1 (Jégou
and Chum, "Negative evidences and co-occurences in image retrieval", ECCV 2012). Such a model is a
row of `models` with one of `whitenings`; its spec is `whitened:NAME`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from geosearch.database.connection import Connection, Database
from geosearch.database.inserting import insert_statement
from geosearch.errors import InputError, ModelError, NotFoundError
from geosearch.features.backbones import Backbone, load_backbone, stored_spec
from geosearch.features.external_model import PREFIX as EXTERNAL
from geosearch.features.external_model import find_external
from geosearch.features.model_rows import Model, list_models, model_by_id, register_model
from geosearch.features.places_model import PREFIX as PLACES
from geosearch.features.places_model import find_places
from geosearch.features.unit_vectors import normalised
from geosearch.versions import software_versions
from geosearch.waiting import Progress

if TYPE_CHECKING:
    from PIL import Image

#: How the names of whitened models begin, and those of no others.
PREFIX = "whitened:"


@dataclass(frozen=True)
class Whitening:
    """A transform of embeddings (D): `mean` (D), unit `axes` (dim, D) and `eigenvalues` (dim).

    All are float32 but the eigenvalues, which are float64; `power` is what these are raised to.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    eigenvalues: NDArray[np.float64]
    power: float

    def apply(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (n, D) whitened: (n, dim), of length 1; zero where one is the mean itself."""
        return normalised(((embeddings - self.mean) @ self._scaled.T).astype(np.float32))

    @cached_property
    def _scaled(self) -> NDArray[np.float32]:
        return (self.axes / self.eigenvalues[:, None] ** self.power).astype(np.float32)

    @property
    def sha256(self) -> str:
        """Of all its values, hex."""
        values = (self.mean, self.axes, self.eigenvalues, np.float64(self.power))
        return hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()


@dataclass(frozen=True)
class Whitened:
    """What `whiten` made.

    `hits` is the mean share of held-out references (`held_out`, at `places` places) whose nearest
    neighbour lies within `hit_km`, by the model itself (`base_hits`) and whitened. `gain` is the
    difference with its 95 % interval over places. `photos` were embedded by it.
    """

    model: str
    base: str
    dimension: int
    power: float
    references: int
    held_out: int
    places: int
    hit_km: tuple[float, ...]
    base_hits: float
    hits: float
    gain: tuple[float, float, float]
    photos: int


class WhitenOptions(TypedDict, total=False):
    """Options of `whiten`, for those who pass them on."""

    collections: Sequence[str]
    name: str | None
    dim: int
    power: float | str
    seed: int
    force: bool
    device: str
    progress: Progress | None


class WhitenedBackbone(Backbone):
    """A backbone whose embeddings are whitened. Made by `find_backbone`.

    `collection_ids` are those of the collections it rests on.
    """

    def __init__(
        self,
        name: str,
        base: Backbone,
        base_id: int,
        whitening: Whitening,
        collection_ids: Sequence[int] = (),
    ) -> None:
        described = replace(
            base.description,
            name=name,
            dimension=len(whitening.axes),
            whitening_sha256=whitening.sha256,
        )
        super().__init__(described, base.network)
        self.base, self.base_id, self.whitening = base, base_id, whitening
        self.collection_ids = list(collection_ids)

    def check_collection(self, connection: Connection, asked: int | None) -> int | None:
        """The collection to embed photos of if this one is asked for; None for all.

        Raises
        ------
        InputError
            It was fitted to another, private one, or to several of which one is private by now.
        """
        only = only_private(connection, self.collection_ids)
        if only is not None and asked not in (None, only):
            raise InputError(
                f"{self.description.name} was fitted to a private collection and embeds no other",
                "Fit one to this collection: geosearch whiten --collection NAME",
            )
        return asked if only is None else only

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """As the backbone it comes of."""
        return self.base.preprocess(image)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, dimension) of what `preprocess` gave of n photos."""
        return self.whitening.apply(self.base.embed(pixels))

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """The embedding (dimension,) of a text, by the backbone it comes of."""
        (vector,) = self.whitening.apply(self.base.embed_text(text)[None])
        unit: NDArray[np.float32] = vector
        return unit


def find_backbone(
    database: Database,
    spec: str | Backbone,
    *,
    device: str = "auto",
    at_once: bool = True,
    load: Callable[..., Backbone] = load_backbone,
) -> Backbone:
    """The backbone of any spec: `whitened:`, `external:` and `places:NAME` out of the database.

    Others as of `load_backbone`; one that is loaded already is itself.

    `load` may be another that gives what that does, such as one that keeps it.

    Raises
    ------
    NotFoundError
        There is no such model, or this login may not see all that it was fitted to.
    ModelError
        The model it comes of cannot be loaded, or has other weights by now.
    """
    if isinstance(spec, Backbone):
        return spec
    if spec.startswith(EXTERNAL):
        return find_external(database, spec)
    if spec.startswith(PLACES):
        return find_places(
            database, spec, lambda encoder: load(encoder, device=device, at_once=True)
        )
    if not spec.startswith(PREFIX):
        return load(spec, device=device, at_once=at_once)
    with database.connection() as connection:
        row = connection.execute(
            """
            SELECT
                m.name, m.id, w.base_id, w.base_spec, w.mean, w.eigenvalues, w.power,
                w.collection_ids
            FROM geosearch.whitenings AS w JOIN geosearch.models AS m ON m.id = w.model_id
            WHERE m.name = %s ORDER BY m.id DESC LIMIT 1
            """,
            (spec,),
        ).fetchone()
        if row is None:
            raise _unknown(connection, spec)
        name, key, base_id, base_spec, mean, eigenvalues, power, collections = row
        axes = connection.execute(
            "SELECT unnest(axes)::real[] FROM geosearch.whitenings WHERE model_id = %s",
            (key,),
            binary=True,
        ).fetchall()
        known = model_by_id(connection, base_id)
    base = load(stored_spec(base_spec), device=device, at_once=at_once)
    if known is None or known.fingerprint != base.description.fingerprint:
        raise ModelError(
            f"{spec} was fitted to embeddings of {base_spec} with other weights or preprocessing",
            "Fit another: geosearch whiten.",
        )
    whitening = Whitening(
        np.asarray(mean.to_numpy(), np.float32),
        np.array([axis for (axis,) in axes], np.float32),
        np.array(eigenvalues, np.float64),
        float(power),
    )
    return WhitenedBackbone(name, base, base_id, whitening, collections)


def only_private(connection: Connection, collections: list[int]) -> int | None:
    """Which private collection a whitening rests on, None if on public ones.

    What is fitted to a private collection tells of it: it embeds no other's photos.

    Raises
    ------
    InputError
        It would rest on a private one and others.
    """
    rows = connection.execute(
        "SELECT id, name FROM geosearch.collections WHERE private AND id = ANY(%s)", (collections,)
    ).fetchall()
    if rows and len(collections) > 1:
        raise InputError(
            f"a whitening that rests on the private collection {rows[0][1]!r} rests on no other",
            "Name one private collection, or public ones, by `collection`.",
        )
    return int(rows[0][0]) if rows else None


def store_whitening(
    connection: Connection,
    name: str,
    base: Backbone,
    known: Model,
    whitening: Whitening,
    about: Mapping[str, Any],
) -> WhitenedBackbone:
    """Store a whitened model `name` of the model `known`; `about` are more columns of its row.

    Raises
    ------
    InputError
        The name is taken, or the same was fitted before; or as `only_private`.
    """
    made = WhitenedBackbone(name, base, known.id, whitening)
    mark = made.description.fingerprint
    others = [m for m in list_models(connection) if m.name == name or m.fingerprint == mark]
    if others:
        raise InputError(
            f"there is a model {others[0].name!r} already, or the same by this name",
            "Choose another `name`, or: geosearch models delete " + others[0].name,
        )
    row = {
        "model_id": register_model(connection, made.description).id,
        "base_id": known.id,
        "base_spec": base.description.name,
        "mean": _vector(whitening.mean),
        "axes": [_vector(axis) for axis in whitening.axes],
        "eigenvalues": whitening.eigenvalues.tolist(),
        "power": whitening.power,
        "software": Jsonb(software_versions()),
    } | {key: Jsonb(value) if isinstance(value, dict) else value for key, value in about.items()}
    stored = insert_statement("whitenings", row, mean="{}::vector", axes="{}::text[]::vector[]")
    connection.execute(stored, row)
    # Noted by the database, and so not yet there in what the statement returns.
    found = connection.execute(
        "SELECT collection_ids FROM geosearch.whitenings WHERE model_id = %s", (row["model_id"],)
    ).fetchone()
    assert found is not None
    made.collection_ids = list(found[0])
    only_private(connection, made.collection_ids)
    return made


def _vector(values: NDArray[np.float32]) -> str:
    """As pgvector reads one. The shortest digits that give the same float32."""
    return "[" + ",".join(map(str, values)) + "]"


def _unknown(connection: Connection, spec: str) -> NotFoundError:
    names = [m.name for m in list_models(connection) if m.name.startswith(PREFIX)]
    return NotFoundError(
        f"there is no model {spec!r} here, or it was fitted to what you may not see",
        f"Whitened models here: {', '.join(names) or 'none yet'}. Make one: geosearch whiten",
    )
