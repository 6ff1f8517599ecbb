"""Photos as tensors, batch after batch: read, decoded and augmented in threads, a few ahead.

With a cache, the frozen part of the network is run on each version of a photo once, and its output
kept in a file that is read by position: memory holds the batches in flight, however many photos
and versions there are.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosearch.errors import InputError, PhotoRejected
from geosearch.features.description import Description
from geosearch.images import open_image
from geosearch.parallel import ordered_map, processors
from geosearch.settings import CacheSettings
from geosearch.storage import read_ingested
from geosearch.training.augment import Augmentation
from geosearch.training.batches import Indices
from geosearch.training.network import Features, Network
from geosearch.training.photos import Photos
from geosearch.training.training_options import Training
from geosearch.versions import software_versions

#: Photos a thread decodes at once, and batches that are loaded ahead of the one trained on.
_CHUNK, _AHEAD = 8, 2
_MISSING, _THERE = 0, 1

#: Rows that could be read, and what the network takes of them, (n, …).
_Chunk = tuple[list[int], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Loaded:
    """What the network takes, (n, …), of the photos `rows` (n,) that could be read."""

    rows: Indices
    values: Tensor


class Pixels:
    """Versions of photos as pixels (side, side, 3), uint8 RGB; None: as they are embedded."""

    def __init__(self, photos: Photos, description: Description, how: Augmentation) -> None:
        self.photos, self.how = photos, how
        self.preprocessing = description.preprocessing
        self.failures: dict[int, PhotoRejected] = {}

    def __call__(self, row: int, version: int | None) -> NDArray[np.uint8] | None:
        """One photo's pixels; None and an entry in `failures` where it cannot be read."""
        sha256 = self.photos.sha256[row]
        try:
            image = open_image(read_ingested(self.photos.uris[row], sha256))
            if version is None:
                return self.preprocessing.apply(image)
            return self.how.apply(image, self.preprocessing, sha256, version)
        except PhotoRejected as rejection:
            self.failures[row] = rejection
            return None

    def stacked(self, rows: Sequence[int], version: int | None) -> _Chunk:
        """Those of some photos that can be read, and their pixels (n, side, side, 3)."""
        made = [(row, self(row, version)) for row in rows]
        found = [(row, each) for row, each in made if each is not None]
        side = self.preprocessing.crop
        pixels = np.array([each for _, each in found], np.uint8).reshape(-1, side, side, 3)
        return [row for row, _ in found], pixels


class FrozenCache:
    """Frozen features of photos in a file, computed where they are first asked for.

    The file is the same for all trainings with the same photos, backbone, frozen stages and
    augmentation, whatever their loss and seed; it is filled by one after the other, by several
    processes at once, and is whole after a kill at any moment.
    """

    def __init__(self, folder: Path, pixels: Pixels, network: Network, versions: int) -> None:
        self.folder, self.versions = folder, versions
        self._pixels = pixels
        self._network, self._begin = network, Lock()
        shape = (versions + 1, len(pixels.photos), *network.feature_shape())
        folder.mkdir(parents=True, exist_ok=True)
        self.bytes = 2 * int(np.prod(shape))
        path = folder / "features.f16"
        free = shutil.disk_usage(folder).free + _blocks(path)
        if free < self.bytes:
            raise InputError(
                f"`cache_frozen`: {versions}: {self.bytes / 1e9:.1f} GB are needed in {folder} "
                f"and {free / 1e9:.1f} GB are free",
                "Keep fewer versions, freeze a later stage, or set GEOSEARCH_CACHE_DIR.",
            )
        self._features = _mapped(path, np.float16, shape)
        self._states = _mapped(folder / "states.u1", np.uint8, shape[:2])

    def __call__(self, rows: Sequence[int], version: int | None) -> tuple[list[int], Features]:
        """Those of some photos that can be read, and their features (n, …)."""
        place = self.versions if version is None else version
        states = self._states[place]
        missing = [row for row in rows if states[row] == _MISSING]
        found, pixels = self._pixels.stacked(missing, version)
        if found:
            for row, each in zip(found, self._run(pixels), strict=True):
                self._features[place, row] = each
                states[row] = _THERE  # only now: a killed run leaves no half-written photo
        kept = [row for row in rows if states[row] == _THERE]
        return kept, np.asarray(self._features[place, kept])

    @cached_property
    def _runner(self) -> Callable[[NDArray[np.uint8]], Features]:
        return self._network.frozen_runner()

    def _run(self, pixels: NDArray[np.uint8]) -> Features:
        with self._begin:  # made once, by the first thread; never for a cache that is full
            run = self._runner
        return run(pixels)


class Loader:
    """Batches of versions of photos, in order, a bounded number of them in memory."""

    def __init__(
        self, photos: Photos, network: Network, training: Training, workers: int | None = None
    ) -> None:
        self.pixels = Pixels(photos, network.description, training.augmentation)
        self.workers = workers or processors()
        chunks = -(-training.batch_size // _CHUNK)
        self._ahead = max(1, -(-_AHEAD * chunks // self.workers))
        self.cache: FrozenCache | None = None
        if training.cache_frozen:
            folder = CacheSettings().folder() / "training" / _key(photos, network, training)
            self.cache = FrozenCache(folder, self.pixels, network, training.cache_frozen)

    def version(self, epoch: int) -> int:
        """The version of every photo in an epoch."""
        return epoch % self.cache.versions if self.cache else epoch

    @property
    def failures(self) -> dict[int, PhotoRejected]:
        """Photos that could not be read so far, by their index."""
        return self.pixels.failures

    def load(
        self, batches: Iterable[Indices], version: int | None
    ) -> Generator[Loaded, None, None]:
        """Each batch without its unreadable photos; `version` None: not augmented."""
        sizes: list[int] = []

        def chunks() -> Iterable[list[int]]:
            for batch in batches:
                parts = [
                    batch[start : start + _CHUNK].tolist()
                    for start in range(0, max(len(batch), 1), _CHUNK)
                ]
                sizes.append(len(parts))
                yield from parts

        results = ordered_map(self._work(version), chunks(), self.workers, ahead=self._ahead)
        waiting: list[_Chunk] = []
        done = 0
        try:
            for result in results:
                waiting.append(result)
                if len(waiting) == sizes[done]:
                    yield _joined(waiting)
                    waiting, done = [], done + 1
        finally:
            results.close()

    def _work(self, version: int | None) -> Callable[[list[int]], _Chunk]:
        cache = self.cache
        if cache is not None:
            return lambda rows: cache(rows, version)
        return lambda rows: self.pixels.stacked(rows, version)


def _joined(parts: list[_Chunk]) -> Loaded:
    rows = np.array([row for rows, _ in parts for row in rows], np.int64)
    return Loaded(rows, torch.from_numpy(np.concatenate([values for _, values in parts])))


def _key(photos: Photos, network: Network, training: Training) -> str:
    """Names the folder of a cache: all that shapes the features."""
    versions = software_versions()
    shaping = {
        "photos": hashlib.sha256(b"".join(photos.sha256)).hexdigest(),
        "backbone": network.description.fingerprint,
        "freeze": training.freeze,
        "augmentation": training.augmentation.to_json(),
        "versions": training.cache_frozen,
        "software": [versions.get(name) for name in ("pillow", "torch", "onnxruntime")],
        "device": network.device,
    }
    canonical = json.dumps(shaping, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _mapped(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> np.memmap:
    """A file as an array; a new one holds zeros, and takes no space until it is written to."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    with path.open("ab") as file:
        file.truncate(size)
    return np.memmap(path, kind, "r+", shape=shape)


def _blocks(path: Path) -> int:
    """Bytes that a file, which may be missing, takes on the disk already."""
    return path.stat().st_blocks * 512 if path.exists() else 0
