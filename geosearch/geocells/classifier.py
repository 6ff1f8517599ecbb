"""Classifiers of photos over the cells of a partition, by a model's embeddings.

A classifier is one linear layer on the L2-normalised embedding: a stored embedding, or a query's,
is all it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray

from geosearch.database.connection import Connection
from geosearch.database.inserting import insert
from geosearch.errors import InputError, NotFoundError
from geosearch.features.model_rows import Model
from geosearch.geocells.geocell_rows import partition_by_id
from geosearch.geocells.partition import Partition
from geosearch.softmax import log_softmax
from geosearch.sphere import Array


@dataclass(frozen=True, eq=False)
class Classifier:
    """Softmax of `weights` (n, D) times an embedding plus `bias` (n,), over n cells.

    Raises
    ------
    InputError
        The shapes do not match the partition, or a number is not finite.
    """

    partition: Partition
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    id: int | None = None

    def __post_init__(self) -> None:
        cells = len(self.partition)
        if self.weights.ndim != 2 or len(self.weights) != cells or self.bias.shape != (cells,):
            raise InputError(
                f"a classifier over {cells} cells cannot have weights {self.weights.shape} and "
                f"bias {self.bias.shape}"
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise InputError(f"the classifier over {self.partition.name!r} is not finite")

    def log_probabilities(self, embeddings: NDArray[np.float32]) -> Array:
        """Log probabilities (m, n) of the cells, for L2-normalised embeddings (m, D)."""
        logits = embeddings.astype(np.float64) @ self.weights.T.astype(np.float64) + self.bias
        return log_softmax(logits)


def store_classifiers(
    connection: Connection, model_id: int, classifiers: Sequence[Classifier]
) -> None:
    """Store a model's classifiers over stored partitions, in place of those it had over them.

    Raises
    ------
    NotFoundError
        A partition is not stored, or was removed.
    """
    for item in classifiers:
        stored = connection.execute(
            "SELECT FROM geosearch.partitions WHERE id = %s", (item.partition.id,)
        ).fetchone()
        if stored is None:
            raise NotFoundError(
                f"the partition {item.partition.name!r} is not in the database",
                "If it was removed meanwhile, make it as it was and run the same command again.",
            )
        # Not updated: an answer must not take another classifier for the one it rests on.
        connection.execute(
            "DELETE FROM geosearch.classifiers WHERE model_id = %s AND partition_id = %s",
            (model_id, item.partition.id),
        )
        row = {
            "model_id": model_id,
            "partition_id": item.partition.id,
            "weights": item.weights.astype("<f4").tobytes(),
            "bias": item.bias.astype("<f4").tobytes(),
            "provenance": dict(item.provenance),
        }
        insert(connection, "classifiers", row)


def load_classifiers(connection: Connection, model_id: int) -> list[Classifier]:
    """A model's classifiers, over the partition with the fewest cells first."""
    return _select(connection, "WHERE model_id = %s", (model_id,))


def classifiers_by_id(connection: Connection, ids: Sequence[int]) -> list[Classifier]:
    """The classifiers with these ids, over the partition with the fewest cells first.

    Raises
    ------
    NotFoundError
        There is one no more.
    """
    found = _select(connection, "WHERE id = ANY(%s)", (list(ids),))
    for key in sorted(set(ids) - {item.id for item in found}):
        raise NotFoundError(f"there is no classifier {key}", "It was replaced or removed.")
    return found


_SELECT = "SELECT partition_id, weights, bias, provenance, id FROM geosearch.classifiers "
_COARSE_FIRST = " ORDER BY octet_length(bias), partition_id"


def _select(
    connection: Connection, condition: LiteralString, values: tuple[object, ...]
) -> list[Classifier]:
    rows = connection.execute(_SELECT + condition + _COARSE_FIRST, values).fetchall()
    found = []
    for partition_id, weights, bias, provenance, key in rows:
        biases = np.frombuffer(bias, "<f4")
        matrix = np.frombuffer(weights, "<f4").reshape(len(biases), -1)
        partition = partition_by_id(connection, partition_id)
        found.append(Classifier(partition, matrix, biases, provenance, key))
    return found


def require_classifiers(connection: Connection, model: Model) -> list[Classifier]:
    """As `load_classifiers`, at least one.

    Raises
    ------
    NotFoundError
        The model has none.
    """
    found = load_classifiers(connection, model.id)
    if not found:
        raise NotFoundError(
            f"the model {model.name} has no classifier over geocells",
            "Train a model that has: geosearch train; or fit one to the stored embeddings: "
            f"geosearch partitions fit NAME --model {model.name}",
        )
    return found
