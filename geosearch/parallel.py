"""Work in threads: results in order, a bounded number of them in flight."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], workers: int, *, ahead: int = 2
) -> Generator[R, None, None]:
    """`map` over `workers` threads: in order, at most `ahead` items per worker in flight.

    Memory does not grow with the number of items. Closing the generator waits for the calls at
    work and drops the rest.
    """
    source = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="geosearch") as pool:
        try:
            waiting: deque[Future[R]] = deque(
                pool.submit(function, item) for item in islice(source, workers * ahead)
            )
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Successive tuples of at most `size` items."""
    source = iter(items)
    while batch := tuple(islice(source, size)):
        yield batch


def processors() -> int:
    """Processors this process may use: a container or taskset may allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
