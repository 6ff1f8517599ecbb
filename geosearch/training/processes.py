"""One process or several, as `torchrun` starts them: who does what, and what they tell each other.

A batch is cut into as many parts as there are processes. Each embeds its own part; then all know
all embeddings, and each computes the same loss of the whole batch. So a loss over pairs sees the
pairs that a single process would, and several processes give the result of one, to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

T = TypeVar("T")

#: The others wait for the first as long as it validates.
_PATIENCE = timedelta(hours=4)


@dataclass(frozen=True)
class Processes:
    """This process and its siblings: `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that validates, writes and speaks."""
        return self.rank == 0

    def part(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch; the parts in order of rank are the batch."""
        return np.array_split(batch, self.count)[self.rank]

    def share(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, where alone it is called."""
        box = [make() if self.first else None]
        if self.count > 1:
            distributed.broadcast_object_list(box, src=0)
        return cast("T", box[0])

    def gather_rows(self, rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
        """The numbers, all 0 or more and at most `size` of them, that each process gives."""
        if self.count == 1:
            return [rows]
        padded = torch.full((size,), -1, dtype=torch.int64, device=_device())
        padded[: len(rows)] = torch.from_numpy(rows)
        gathered = [torch.empty_like(padded) for _ in range(self.count)]
        distributed.all_gather(gathered, padded)
        return [each[each >= 0].cpu().numpy() for each in gathered]

    def gather_embeddings(self, own: Tensor, counts: list[int]) -> Tensor:
        """The embeddings of all processes in order of rank, where each has so many.

        Gradients pass to the own ones alone, times the number of processes: DDP takes the mean
        of the processes' gradients, where their sum is that of the whole batch.
        """
        if self.count == 1:
            return own
        if own.requires_grad:
            own.register_hook(lambda gradient: gradient * self.count)  # type: ignore[no-untyped-call]
        padded = own.new_zeros((max(counts), own.shape[1]))
        padded[: len(own)] = own.detach()
        gathered = [torch.empty_like(padded) for _ in range(self.count)]
        distributed.all_gather(gathered, padded)
        parts = [each[:count] for each, count in zip(gathered, counts, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.count == 1:
            return flag
        told = torch.tensor([int(flag)], device=_device())
        distributed.all_reduce(told, distributed.ReduceOp.MAX)
        return bool(told.item())


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """This process among those that `torchrun` started with it, or alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def _device() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"
