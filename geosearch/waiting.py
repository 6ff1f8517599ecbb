"""What to say where a user has to wait and sees nothing happen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

#: Called with what is done and all there is to do, None where that is not known.
Progress = Callable[[int, int | None], None]

#: Seconds of waiting about which nothing is said.
SILENCE_S = 1.0


@contextmanager
def announced(work: str) -> Iterator[None]:
    """Warn that `work` takes some seconds, once on this machine, unless it is done at once."""
    message = f"{work}: some seconds, once on this machine"
    notice = threading.Timer(SILENCE_S, logger.warning, [message])
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()
