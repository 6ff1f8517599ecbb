"""The state of a training in a file: enough to go on as if it had never been stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from geosearch.atomic_files import replacing
from geosearch.errors import InputError

FORMAT = "geosearch.training/1"

#: Its name in the folder of a training.
NAME = "checkpoint.pt"


@dataclass
class Progress:
    """How far a training is.

    `epoch` and `batch` count those finished, the batch within the epoch; `steps` those of the
    optimiser. `seen`: photos, with repetitions. `seconds`: of earlier sessions too. `best`: score
    of the best validation, and `stale` the validations since. `finished`: nothing is left to train.
    `loss_sum` over `loss_count` batches since the last of `rows`, those of the curves. `before`,
    `after`: the first validation and the last. `unreadable`: indices of photos.
    """

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    seen: int = 0
    seconds: float = 0.0
    best: float | None = None
    stale: int = 0
    finished: bool = False
    run_id: int | None = None
    loss_sum: float = 0.0
    loss_count: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    unreadable: list[int] = field(default_factory=list)


def save(path: Path, digest: str, progress: Progress, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    with replacing(path) as part:
        torch.save(
            {"format": FORMAT, "digest": digest, "progress": asdict(progress), "state": state},
            part,
        )


def restore(path: Path, digest: str) -> tuple[Progress, dict[str, Any]]:
    """The progress and state of a checkpoint of the same training.

    Raises
    ------
    InputError
        It cannot be read, or is of another training.
    """
    remedy = f"Give `restart` to begin anew, or another `output`; or remove {path.parent}."
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        same = found["format"] == FORMAT and found["digest"] == digest
        progress, state = Progress(**found["progress"]), dict(found["state"])
    except Exception as error:  # torch raises many types for files that are not its own
        raise InputError(f"{path} is no checkpoint of a training: {error}", remedy) from error
    if not same:
        raise InputError(
            f"{path} is the checkpoint of another training: other options, photos or partitions",
            remedy,
        )
    return progress, state
