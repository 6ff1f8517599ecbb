"""Training: photos/s of the whole loop, beside the bare step on tensors in memory.

The bare step is forward, loss, backward and optimiser on features (or pixels, without --freeze)
that lie in memory on the device, with all cores of the processor. The loop is that of `geosearch
train` without validation and checkpoints: photos decoded and augmented in threads, or read from
the cache of frozen features once it is filled. The cache is the default here: on a CPU, decoding
and the frozen stages would take the cores that the step needs; the rate of the first epoch, which
fills the cache, is printed too. Loop and step alternate within one run; the ratio of the medians
is what counts. Memory is the process's own, without the pages of files that it maps.

    python benchmarks/train.py
    python benchmarks/train.py --photos 4000 --freeze 0 --cache-frozen 0 --device cuda
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scratch import scratch_database

from geosearch.defaults import DEFAULT_MODEL
from geosearch.features.backbones import find_device, resolve
from geosearch.geocells import Partition, make_partition
from geosearch.ingest import ingest
from geosearch.sample.space import SpaceSample, write_space_sample
from geosearch.training import Training
from geosearch.training.loading import Loader
from geosearch.training.losses import Target, make_loss
from geosearch.training.network import Network
from geosearch.training.photos import Photos, Split, read_photos
from geosearch.training.processes import Processes
from geosearch.training.trainer import Task, Trainer
from geosearch.training.training_state import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=512, help="views to cut")
    parser.add_argument("--backbone", default=DEFAULT_MODEL)
    parser.add_argument("--freeze", type=int, default=18)
    parser.add_argument("--cache-frozen", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.photos % arguments.batch_size:
        parser.error("--photos must be a multiple of --batch-size")

    training = Training(
        collection="space",
        backbone=arguments.backbone,
        partitions=("cells",),
        epochs=1,
        batch_size=arguments.batch_size,
        freeze=arguments.freeze,
        cache_frozen=arguments.cache_frozen,
        validation=0.0,
    )
    with tempfile.TemporaryDirectory() as made, scratch_database() as database:
        os.environ["GEOSEARCH_CACHE_DIR"] = made
        write_space_sample(SpaceSample(arguments.photos, 0), Path(made, "space"))
        ingest(database, [Path(made, "space", "references")], collection="space")
        cells = make_partition(database, "cells", max_photos=max(4, arguments.photos // 50))
        with database.connection() as connection:
            photos = read_photos(connection, "space")
        bench = Bench(training, photos, cells, find_device(arguments.device), Path(made))
        result = bench.measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{result['photos']} photos, {training.backbone}, {training.freeze} stages frozen, batches "
        f"of {training.batch_size}, on {result['device']}, {os.cpu_count()} cores"
    )
    for name, rate in result["photos_per_s"].items():
        print(f"{name:<44}{rate:>8.1f} photos/s")
    print(f"{'ratio of the loop to the bare step':<44}{result['ratio']:>8.2f}")
    print(f"{'memory after the first round':<44}{result['memory_mb'][0]:>8.0f} MB")
    print(f"{'memory after the last':<44}{result['memory_mb'][-1]:>8.0f} MB")


class Bench:
    """The loop and the bare step on the same network, loss and batches."""

    def __init__(
        self, training: Training, photos: Photos, cells: Partition, device: str, folder: Path
    ) -> None:
        torch.manual_seed(0)
        source = resolve(training.backbone)
        network = Network(source, training.freeze, device)
        loss = make_loss(
            training.loss, dimension=source.description.dimension, partitions=(cells,)
        ).to(device)
        split = Split(np.arange(len(photos)), np.zeros(0, np.int64))
        (folder / "state").mkdir()
        self.task = Task(
            training,
            photos,
            split,
            (cells,),
            network,
            loss,
            Loader(photos, network, training),
            Processes(),
            folder / "state",
            "benchmark",
        )

    def measure(self, rounds: int) -> dict[str, Any]:
        """Median rates over alternating rounds, after one unmeasured round of each."""
        photos = len(self.task.photos)
        first = _seconds(self.loop)  # fills the cache, if there is one
        step = self.bare()
        step()
        taken: dict[str, list[float]] = {"bare step on tensors in memory": [], "training loop": []}
        memory = [_own_memory_mb()]
        for _ in range(rounds):
            for seconds, run in zip(taken.values(), (step, self.loop), strict=True):
                seconds.append(_seconds(run))
            memory.append(_own_memory_mb())
        bare, loop = (photos / statistics.median(seconds) for seconds in taken.values())
        rates = dict(zip(taken, (bare, loop), strict=True))
        if self.task.training.cache_frozen:
            rates = {"first epoch, which fills the cache": photos / first} | rates
        return {
            "photos": photos,
            "device": self.task.network.device,
            "cores": os.cpu_count(),
            "photos_per_s": rates,
            "ratio": loop / bare,
            "memory_mb": memory,
        }

    def loop(self) -> None:
        """One epoch, as `geosearch train` runs it."""
        for _ in Trainer(self.task, Progress(), {}).epoch():
            pass

    def bare(self) -> Callable[[], None]:
        """As many steps, on one batch of features that is already where it is needed."""
        task, size = self.task, self.task.training.batch_size
        (batch,) = task.loader.load([np.arange(size)], 0)
        values = batch.values.to(task.network.device)

        target = Target.at(task.photos.lat[:size], task.photos.lon[:size], task.partitions)
        target = target.to(task.network.device)
        weights = [*task.network.trained.parameters(), *task.loss.parameters()]
        optimiser = torch.optim.AdamW(weights, lr=task.training.learning_rate)
        half = torch.autocast("cuda", torch.bfloat16, enabled=task.network.device == "cuda")

        def run() -> None:
            for _ in range(len(task.photos) // size):
                with half:
                    embeddings = task.network.embed(values)
                task.loss(embeddings, target).backward()
                torch.nn.utils.clip_grad_norm_(weights, task.training.clip)
                optimiser.step()
                optimiser.zero_grad()
            if task.network.device == "cuda":
                torch.cuda.synchronize()

        return run


def _seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _own_memory_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    main()
