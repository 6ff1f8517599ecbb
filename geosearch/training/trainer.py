"""The loop: batches in, steps out, figures and checkpoints on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from geosearch.errors import InputError
from geosearch.training import training_state
from geosearch.training.batches import Indices, batches
from geosearch.training.curves import Curves, Row, validation_columns
from geosearch.training.interruption import Interruption
from geosearch.training.loading import Loaded, Loader
from geosearch.training.losses import POSITIVE_KM, Loss, Metric, Target
from geosearch.training.network import Network
from geosearch.training.photos import Photos, Split
from geosearch.training.processes import Processes
from geosearch.training.training_options import Training
from geosearch.training.validation import Validation, Validator
from geosearch.waiting import Progress

#: Rows of the curves that a whole training leaves, beside those of validations.
_ROWS = 200


@dataclass(frozen=True)
class Task:
    """What is trained on what, and where its state is kept."""

    training: Training
    photos: Photos
    split: Split
    partitions: tuple[Any, ...]
    network: Network
    loss: Loss
    loader: Loader
    processes: Processes
    folder: Path
    digest: str

    @property
    def checkpoint(self) -> Path:
        """The file that `checkpoint` writes."""
        return self.folder / training_state.NAME


class Trainer:
    """Trains a task's network and loss in place."""

    def __init__(
        self, task: Task, progress: training_state.Progress, state: dict[str, Any]
    ) -> None:
        self.task, self.progress = task, progress
        self._began = time.monotonic() - progress.seconds
        self._training = training = task.training
        self._device = task.network.device
        self._validator = (
            Validator(task.photos, task.split, task.partitions, training, task.loader)
            if task.processes.first and len(task.split.validation)
            else None
        )
        self._embed: nn.Module = task.network.trained
        if task.processes.count > 1:
            place = [torch.cuda.current_device()] if self._device == "cuda" else None
            self._embed = DistributedDataParallel(
                self._embed, device_ids=place, broadcast_buffers=False
            )
        self._optimiser = torch.optim.AdamW(self._parameters(), foreach=self._device == "cuda")
        half = self._device == "cuda" and training.mixed_precision
        self._precision = (
            None if not half else torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.half
        )
        self._scaler = torch.amp.GradScaler(enabled=self._precision == torch.half)
        self._best: dict[str, Any] | None = None
        if state:
            self._restore(state)
        per_epoch = math.ceil(len(task.split.training) / training.batch_size)
        self._steps = training.epochs * math.ceil(per_epoch / training.accumulate)
        self._curves = Curves(task.folder, progress.rows) if task.processes.first else None

    def run(
        self,
        checkpoint_s: float,
        interruption: Interruption,
        told: Progress | None = None,
    ) -> None:
        """Train to the end; write a checkpoint every so many seconds and when interrupted."""
        now, training = self.progress, self._training
        saved = time.monotonic()
        total = training.epochs * len(self.task.split.training)
        if not now.finished and now.steps == 0 and now.before is None:
            self._validate()
        while not now.finished:
            for _ in self.epoch():
                if told is not None:
                    told(now.seen, total)
                if self.task.processes.any(interruption.asked):
                    interruption.ask()  # where it was another process that was asked
                    self._save()
                    return
                if time.monotonic() - saved >= checkpoint_s:
                    self._save()
                    saved = time.monotonic()
            now.epoch, now.batch = now.epoch + 1, 0
            last = now.epoch == training.epochs
            if last or now.epoch % training.validate_every == 0:
                self._validate()
            tired = training.patience is not None and now.stale >= training.patience
            now.finished = self.task.processes.share(lambda: last or tired)  # noqa: B023
        if self._best is not None:
            self._load(self._best)
        if self._curves is not None:
            self._curves.draw()
        self._save()

    def epoch(self) -> Iterator[None]:
        """The rest of the epoch, a step of the optimiser at a time."""
        now, training, split = self.progress, self._training, self.task.split
        photos, loss = self.task.photos, self.task.loss
        radius_km = loss.positive_km if isinstance(loss, Metric) else POSITIVE_KM
        order = [
            split.training[batch]
            for batch in batches(
                photos.lat[split.training],
                photos.lon[split.training],
                training.batch_size,
                paired=loss.paired,
                seed=training.seed,
                epoch=now.epoch,
                radius_km=radius_km,
            )
        ]
        left = order[now.batch :]
        own = (self.task.processes.part(batch) for batch in left)
        loaded = self.task.loader.load(own, self.task.loader.version(now.epoch))
        try:
            for batch, values in zip(left, loaded, strict=True):
                begun = now.batch % training.accumulate
                together = min(training.accumulate, len(order) - (now.batch - begun))
                step = begun == together - 1
                self._backward(batch, values, together, step)
                now.batch += 1
                now.seen += len(batch)
                if step:
                    self._step()
                    yield
        finally:
            loaded.close()

    def _backward(self, batch: Indices, values: Loaded, together: int, step: bool) -> None:
        """Add the gradient of one batch, one of `together` whose mean makes a step."""
        task, now = self.task, self.progress
        size = math.ceil(len(batch) / task.processes.count)
        parts = task.processes.gather_rows(values.rows, size)
        rows = np.concatenate(parts)
        if len(rows) < len(batch):
            self._missing(batch, rows)
        alone = isinstance(self._embed, DistributedDataParallel) and not step
        with self._embed.no_sync() if alone else nullcontext():  # type: ignore[operator]
            features = task.network.features(values.values)
            with torch.autocast(
                self._device, dtype=self._precision, enabled=self._precision is not None
            ):
                own = self._embed(features)
            embeddings = task.processes.gather_embeddings(own, [len(part) for part in parts])
            target = Target.at(task.photos.lat[rows], task.photos.lon[rows], task.partitions)
            value = task.loss(embeddings, target.to(self._device))
            self._scaler.scale(value / together).backward()
        mean = float(value.detach())
        if not math.isfinite(mean):
            raise InputError(
                f"the loss is {mean} in step {now.steps + 1}: the training diverges",
                "Give a lower `learning_rate` or `head_learning_rate`, or a longer `warm_up`.",
            )
        now.loss_sum += mean
        now.loss_count += 1

    def _step(self) -> None:
        now, training = self.progress, self._training
        rate = schedule(now.steps, self._steps, training.warm_up)
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["full_lr"]
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(
            [each for group in self._optimiser.param_groups for each in group["params"]],
            training.clip,
        )
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad(set_to_none=True)
        now.steps += 1
        if now.steps % max(1, self._steps // _ROWS) == 0:
            mean = now.loss_sum / now.loss_count
            rate *= training.learning_rate
            self._row({"learning_rate": rate, "gradient_norm": float(norm), "loss": mean})
            now.loss_sum, now.loss_count = 0.0, 0

    def _validate(self) -> None:
        now = self.progress
        found: Validation | None = None
        if self._validator is not None:
            found = self._validator(self.task.network, self.task.loss)
            self._row(validation_columns(found))
        if self._curves is not None:
            self._curves.draw_if_due()
        if found is None:
            return
        now.after = found.to_json()
        if now.steps == 0:
            now.before = now.after
        elif now.best is None or found.score > now.best:
            now.best, now.stale = found.score, 0
            if self._training.patience is not None:
                self._best = _copied(self._weights())
        else:
            now.stale += 1

    def _seconds(self) -> float:
        """Seconds of all sessions so far."""
        return time.monotonic() - self._began

    def _row(self, figures: Row) -> None:
        now = self.progress
        if self._curves is None:
            return
        row: Row = {
            "step": now.steps,
            "epoch": now.epoch,
            "photos": now.seen,
            "seconds": round(self._seconds(), 3),
        }
        self._curves.add(row | figures)
        now.rows = self._curves.rows

    def _missing(self, batch: Indices, rows: Indices) -> None:
        """Note the photos of a batch that no process could read."""
        missing = np.setdiff1d(batch, rows)
        self.progress.unreadable = sorted({*self.progress.unreadable, *missing.tolist()})
        if not len(rows):
            why = self.task.loader.failures.get(int(missing[0]))
            raise InputError(
                f"none of {len(batch)} photos could be read, such as "
                f"{self.task.photos.uris[missing[0]]}{f': {why}' if why else ''}",
                "See that the photos are where they were when they were ingested.",
            )

    def _parameters(self) -> list[dict[str, Any]]:
        """Groups for the optimiser: norms, biases and scales are not decayed."""
        training, groups = self._training, []
        for module, rate in (
            (self.task.network.trained, training.learning_rate),
            (self.task.loss, training.head_learning_rate),
        ):
            for decay, chosen in (
                (training.weight_decay, [p for p in module.parameters() if p.ndim > 1]),
                (0.0, [p for p in module.parameters() if p.ndim <= 1]),
            ):
                if chosen:
                    groups.append({"params": chosen, "full_lr": rate, "weight_decay": decay})
        return groups

    def _weights(self) -> dict[str, Any]:
        return {
            "trained": self.task.network.trained.state_dict(),
            "loss": self.task.loss.state_dict(),
        }

    def _load(self, weights: dict[str, Any]) -> None:
        self.task.network.trained.load_state_dict(weights["trained"])
        self.task.loss.load_state_dict(weights["loss"])

    def _save(self) -> None:
        if not self.task.processes.first:
            return
        self.progress.seconds = self._seconds()
        state = self._weights() | {
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "best": self._best,
        }
        training_state.save(self.task.checkpoint, self.task.digest, self.progress, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self._load(state)
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        self._best = state["best"]


def schedule(step: int, steps: int, warm_up: float) -> float:
    """The learning rate of a step, counted from 0, as a share of the greatest.

    It rises evenly over the first `warm_up` share of the steps and falls by half a cosine to 0
    (I. Loshchilov and F. Hutter, SGDR, ICLR 2017, without restarts).
    """
    rising = round(warm_up * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def _copied(weights: dict[str, Any]) -> dict[str, Any]:
    return {
        part: {name: value.detach().cpu().clone() for name, value in values.items()}
        for part, values in weights.items()
    }
