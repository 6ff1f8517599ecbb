"""Classifiers fitted to embeddings that are stored already: a network needs no training for them.

Multinomial logistic regression on the L2-normalised embeddings, one for each partition, as one
would probe what off-the-shelf features know (Alain and Bengio, ICLR 2017 workshop).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from psycopg import sql
from scipy.optimize import minimize_scalar
from torch import nn

from geosearch.arguments import check_range
from geosearch.database.connection import Connection, Database
from geosearch.database.embedding_tables import visible_embeddings
from geosearch.errors import InputError
from geosearch.features.backbones import Backbone
from geosearch.features.model_rows import find_model
from geosearch.geocells.classifier import Classifier, store_classifiers
from geosearch.geocells.geocell_rows import find_partition
from geosearch.geocells.partition import Partition
from geosearch.retrieval import EVERYTHING, Filter
from geosearch.softmax import log_softmax
from geosearch.sphere import Array
from geosearch.versions import software_versions
from geosearch.waiting import Progress

#: Passes over the photos, photos a step, and how fast and how freely weights may grow.
EPOCHS, BATCH, RATE, DECAY = 30, 256, 0.03, 1e-3

#: Embeddings are unit vectors: their products with weights of moderate size are scaled up by this.
SCALE = 16.0

#: One photo in so many is held out, for the temperature and the figures.
HELD_OUT = 10

#: The highest temperature that is tried.
MOST_TEMPERATURE = 20.0


@dataclass(frozen=True)
class Fitted:
    """A classifier, and how well it does on the photos held out of its fit.

    Only its temperature was chosen by them. `accuracy` is the share of them in the cell it gives
    the highest probability, `loss` the mean of -log of the probability of their cell, by the
    natural logarithm.
    """

    classifier: Classifier
    photos: int
    held_out: int
    accuracy: float
    loss: float

    def to_json(self) -> dict[str, Any]:
        """The object that `geosearch partitions fit --json` prints."""
        return {
            "partition": self.classifier.partition.name,
            "cells": len(self.classifier.partition),
            "photos": self.photos,
            "held_out": self.held_out,
            "accuracy": self.accuracy,
            "loss": self.loss,
        }


def fit_classifiers(
    database: Database,
    partitions: Sequence[str],
    *,
    model: str | Backbone,
    where: Filter = EVERYTHING,
    seed: int = 0,
    epochs: int = EPOCHS,
    progress: Progress | None = None,
) -> list[Fitted]:
    """Fit a classifier for each partition to a model's stored embeddings, and store them.

    They replace those that the model had over these partitions, and are as sure as they are right
    on the photos held out (`tempered`). All embeddings that pass `where` are kept in memory. The
    same embeddings and seed give the same classifiers on one machine.

    Raises
    ------
    NotFoundError
        There is no such model or partition.
    InputError
        Too few embeddings pass the filter, or a number is out of range.
    """
    if not partitions:
        raise InputError("there is nothing to fit", "Name partitions.")
    check_range("epochs", epochs, 1)
    check_range("seed", seed, 0)
    with database.connection() as connection:
        row = find_model(connection, model)
        found = [find_partition(connection, name) for name in dict.fromkeys(partitions)]
        embeddings, lat, lon = _embeddings(connection, row.id, row.dimension, where)
    if len(embeddings) < 2 * HELD_OUT:
        raise InputError(
            f"{len(embeddings)} embeddings pass the filter ({where}), too few to fit to",
            f"Embed at least {2 * HELD_OUT} photos: geosearch embed --model {model}",
        )
    given = {
        "kind": "fit",
        "model": row.name,
        "filter": where.to_json(),
        "seed": seed,
        "epochs": epochs,
        "software": software_versions(),
    }
    made = []
    for number, item in enumerate(found):

        def report(done: int, before: int = number * epochs) -> None:
            if progress is not None:
                progress(before + done, len(found) * epochs)

        made.append(_fit(item, embeddings, lat, lon, seed, epochs, given, report))
    with database.connection() as connection:
        store_classifiers(connection, row.id, [item.classifier for item in made])
    return made


_SELECT = """
SELECT ST_Y(geom), ST_X(geom), embedding FROM {table} AS embeddings
WHERE {condition} ORDER BY photo_id
"""


def _embeddings(
    connection: Connection, model_id: int, dimension: int, where: Filter
) -> tuple[NDArray[np.float16], Array, Array]:
    """Embeddings (n, D) that pass a filter, by photo, and where their photos are, in degrees."""
    condition, values = where.compile(connection)
    table = visible_embeddings(connection, model_id)
    statement = sql.SQL(_SELECT).format(table=table, condition=condition)
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(statement, values).fetchall()
    vectors = np.empty((len(rows), dimension), np.float16)
    for index, row in enumerate(rows):
        vectors[index] = row[2].to_numpy()
    lat, lon = np.array([row[:2] for row in rows], float).reshape(-1, 2).T
    return vectors, lat, lon


def _fit(
    partition: Partition,
    embeddings: NDArray[np.float16],
    lat: Array,
    lon: Array,
    seed: int,
    epochs: int,
    given: dict[str, Any],
    report: Callable[[int], None],
) -> Fitted:
    order = np.random.default_rng(seed).permutation(len(embeddings))
    checked, fitted = np.split(order, [len(order) // HELD_OUT])
    cells = torch.from_numpy(partition.locate(lat, lon))
    features = torch.from_numpy(embeddings)
    head = nn.Linear(embeddings.shape[1], len(partition))
    nn.init.zeros_(head.weight)
    # What is known before a photo is seen: how many photos each cell has.
    shares = partition.photos / partition.photos.sum()
    head.bias.data = torch.from_numpy(np.log(shares)).float() / SCALE
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * math.ceil(len(fitted) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = np.random.default_rng(seed)
    for epoch in range(epochs):
        for batch in np.array_split(generator.permutation(fitted), math.ceil(len(fitted) / BATCH)):
            rows = torch.from_numpy(batch)
            logits = SCALE * head(features[rows].float())
            loss = nn.functional.cross_entropy(logits, cells[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        report(epoch + 1)
    weights, bias = ((SCALE * part).detach().numpy() for part in (head.weight, head.bias))
    unseen, truth = embeddings[checked].astype(np.float32), cells.numpy()[checked]
    classifier = tempered(Classifier(partition, weights, bias, given), unseen, truth)
    logs = classifier.log_probabilities(unseen)
    return Fitted(
        classifier,
        photos=len(fitted),
        held_out=len(checked),
        accuracy=float((logs.argmax(axis=1) == truth).mean()),
        loss=float(-logs[np.arange(len(truth)), truth].mean()),
    )


def tempered(
    classifier: Classifier, embeddings: NDArray[np.float32], cells: NDArray[np.int64]
) -> Classifier:
    """The classifier as sure as it is right on photos it has not seen, and no surer than before.

    `embeddings` (m, D) and `cells` (m,) are theirs. Weights and bias are divided by the temperature
    of at least 1 with the least mean -log probability (Guo et al., ICML 2017): the order of the
    cells stays, and probabilities no longer exaggerate.
    """
    logits = classifier.log_probabilities(embeddings)
    rows = np.arange(len(cells))

    def loss(log_temperature: float) -> float:
        logs = log_softmax(logits / np.exp(log_temperature))
        return float(-logs[rows, cells].mean())

    found = minimize_scalar(loss, bounds=(0.0, np.log(MOST_TEMPERATURE)), method="bounded")
    temperature = np.float32(np.exp(found.x))
    return replace(
        classifier,
        weights=classifier.weights / temperature,
        bias=classifier.bias / temperature,
        provenance=dict(classifier.provenance) | {"temperature": float(temperature)},
    )
