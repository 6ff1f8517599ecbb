"""Being asked to stop: what is under way ends well, and only then the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """The signal that asked this process to stop, if one has."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def asked(self) -> bool:
        """Whether to stop at the next good moment."""
        return self.signal is not None

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Have the process stop by a signal, unless it is to stop by another already."""
        if self.signal is None:
            self.signal = number


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Note SIGTERM and SIGINT instead of obeying them, and obey at the end of the block.

    A second one is obeyed at once. Outside the main thread, which alone gets signals, nothing is
    changed.
    """
    asked = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def take(number: int, _: FrameType | None) -> None:
        asked.ask(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, take)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked.signal is not None:
        signal.raise_signal(asked.signal)
