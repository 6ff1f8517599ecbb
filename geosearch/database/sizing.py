"""PostgreSQL settings sized to the machine, or to the container's share of it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_MB = 2**20
_GB = 2**30


@dataclass(frozen=True)
class Machine:
    """What a server may use: bytes of memory, processors, bytes free in /dev/shm (None: none)."""

    memory: int
    processors: int
    shared: int | None

    @classmethod
    def here(cls) -> Self:
        """This machine, within the limits of the control group."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if hasattr(os, "sched_getaffinity"):
            processors = len(os.sched_getaffinity(0))
        else:
            processors = os.cpu_count() or 1
        shm = Path("/dev/shm")
        return cls(
            memory=min([memory, *_memory_limits()]),
            processors=max(1, min([processors, *_processor_limits()])),
            shared=shutil.disk_usage(shm).free if shm.is_dir() else None,
        )


def settings(machine: Machine) -> dict[str, str]:
    """PostgreSQL parameters for `machine`.

    The server shares the machine with feature extraction, so it takes an eighth of the memory,
    not the usual quarter.
    """
    maintenance = _clamp(machine.memory // 16, 64 * _MB, 2 * _GB)
    workers = machine.processors
    chosen = {
        "shared_buffers": _megabytes(_clamp(machine.memory // 8, 32 * _MB, 8 * _GB)),
        "effective_cache_size": _megabytes(machine.memory // 2),
        "work_mem": _megabytes(_clamp(machine.memory // 256, 4 * _MB, 128 * _MB)),
        "maintenance_work_mem": _megabytes(maintenance),
        "max_worker_processes": str(max(8, workers)),
        "max_parallel_workers": str(workers),
        "max_parallel_workers_per_gather": str(min(4, workers // 2)),
        "max_parallel_maintenance_workers": str(min(8, max(1, workers - 1))),
        # Bulk loads and index builds write much log; fewer checkpoints write fewer full pages.
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        # No replica reads the log, so index builds and loads into new tables need not write it.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        # A restore, or removing the schema, locks all relations at once: dozens for each private
        # collection.
        "max_locks_per_transaction": "512",
        "random_page_cost": "1.1",
        # Nearest-neighbour queries take milliseconds; compiling them takes longer.
        "jit": "off",
    }
    if machine.shared is not None:
        # Parallel index builds reserve maintenance_work_mem of shared memory at once. System V
        # memory is not bound by the size of /dev/shm, which containers often keep at 64 MB.
        roomy = machine.shared > maintenance + 256 * _MB
        chosen["dynamic_shared_memory_type"] = "posix" if roomy else "sysv"
    if sys.platform == "linux":
        chosen["effective_io_concurrency"] = "200"
    return chosen


def _memory_limits() -> Iterator[int]:
    for folder in _control_groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _number(folder / name)) is not None:
                yield limit


def _processor_limits() -> Iterator[int]:
    for folder in _control_groups("cpu"):
        quota, period = _number(folder / "cpu.max"), _number(folder / "cpu.max", 1)
        if quota is None:
            quota = _number(folder / "cpu.cfs_quota_us")
            period = _number(folder / "cpu.cfs_period_us")
        if quota is not None and quota > 0 and period:
            yield -(-quota // period)


def _control_groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control group and all above it, versions 1 and 2."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controllers if controllers else root
        group = mount / path.lstrip("/")
        yield group
        yield from (parent for parent in group.parents if parent.is_relative_to(mount))


def _number(file: Path, position: int = 0) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8").split()[position])
    except (OSError, ValueError, IndexError):
        return None


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _megabytes(value: int) -> str:
    return f"{value // _MB}MB"
