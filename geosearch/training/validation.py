"""Validation on photos held out: by the loss, and by what embeddings are for, retrieval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geosearch.density import locate_many
from geosearch.errors import InputError
from geosearch.geocells import Partition
from geosearch.json_record import Record
from geosearch.sphere import Array, great_circle_km
from geosearch.thresholds import WORLD_KM
from geosearch.training.batches import Indices, batches
from geosearch.training.loading import Loader
from geosearch.training.losses import Loss, Target
from geosearch.training.network import Network
from geosearch.training.photos import Photos, Split
from geosearch.training.training_options import Training

#: Neighbours that vote.
K = 100
#: The order of validation batches, which pairs of a metric loss depend on, is always this.
_EPOCH = 0


@dataclass(frozen=True)
class Validation(Record):
    """Figures of one validation.

    `nearest`, `density`: for each threshold in kilometres, the share of the queries whose error
    is at most that; `median_km`: of the density's errors.
    """

    loss: float
    nearest: dict[float, float]
    density: dict[float, float]
    median_km: float

    @property
    def score(self) -> float:
        """What is compared between validations: the mean of the density's shares."""
        return float(np.mean(list(self.density.values())))


class Validator:
    """Queries are photos held out, references photos trained on; neither is augmented.

    Both are drawn once: figures of different epochs, and of trainings with the same seed, can be
    compared.
    """

    def __init__(
        self,
        photos: Photos,
        split: Split,
        partitions: Sequence[Partition],
        training: Training,
        loader: Loader,
    ) -> None:
        random = np.random.default_rng(np.random.SeedSequence(training.seed, spawn_key=(1 << 32,)))
        self.queries = _some(split.validation, training.queries, random)
        self.references = _some(split.training, training.references, random)
        self._photos, self._partitions = photos, partitions
        self._size, self._seed = training.batch_size, training.seed
        self._loader = loader

    def __call__(self, network: Network, loss: Loss) -> Validation:
        """Embed queries and references with the network as it is, and measure.

        Raises
        ------
        InputError
            No query or no reference can be read.
        """
        photos = self._photos
        lat, lon = photos.lat[self.queries], photos.lon[self.queries]
        order = batches(lat, lon, self._size, paired=loss.paired, seed=self._seed, epoch=_EPOCH)
        losses, weights, rows, embeddings = [], [], [], []
        for at, embedded in self._embed(network, (self.queries[batch] for batch in order)):
            target = Target.at(photos.lat[at], photos.lon[at], self._partitions)
            with torch.inference_mode():
                value = float(loss(embedded, target.to(network.device)))
            losses.append(value)
            weights.append(len(at))
            rows.append(at)
            embeddings.append(embedded.cpu().numpy())
        known = [
            (at, embedded.cpu().numpy())
            for at, embedded in self._embed(network, _pieces(self.references, self._size))
        ]
        if not rows or not known:
            raise InputError(
                "none of the photos to validate by could be read",
                "See that the photos are where they were when they were ingested.",
            )
        queries = np.concatenate(rows)
        references = np.concatenate([at for at, _ in known])
        similarity = np.concatenate(embeddings) @ np.concatenate([each for _, each in known]).T
        found = _nearest(similarity, K)
        distance = 1 - np.take_along_axis(similarity, found, axis=1)
        places = locate_many(
            list(photos.lat[references[found]]),
            list(photos.lon[references[found]]),
            list(distance),
            methods=("nearest", "density"),
            levels=(),
        )
        errors = {
            method: great_circle_km(
                photos.lat[queries],
                photos.lon[queries],
                [place.lat for place in found_places],
                [place.lon for place in found_places],
            )
            for method, found_places in places.items()
        }
        return Validation(
            loss=float(np.average(losses, weights=weights)),
            nearest=_within(errors["nearest"]),
            density=_within(errors["density"]),
            median_km=float(np.median(errors["density"])),
        )

    def _embed(
        self, network: Network, pieces: Iterator[Indices]
    ) -> Iterator[tuple[Indices, torch.Tensor]]:
        for loaded in self._loader.load(pieces, None):
            if len(loaded.rows):
                with torch.inference_mode():
                    yield loaded.rows, network.embed(loaded.values)


def _within(errors: Array) -> dict[float, float]:
    return {km: float((errors <= km).mean()) for km in WORLD_KM}


def _nearest(similarity: NDArray[np.float32], k: int) -> Indices:
    """Columns of the `k` greatest numbers of each row, greatest first; ties in order."""
    ranked: Indices = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return ranked


def _some(rows: Indices, count: int, random: np.random.Generator) -> Indices:
    chosen: Indices = np.sort(random.permutation(rows)[:count])
    return chosen


def _pieces(rows: Indices, size: int) -> Iterator[Indices]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
