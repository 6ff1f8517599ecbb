"""Folders looked at again and again: when something in them has changed and come to rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

from geosearch.arguments import Paths, check_range, paths
from geosearch.errors import InputError
from geosearch.ingest.manifests import Reading, is_manifest
from geosearch.ingest.records import Candidate
from geosearch.ingest.sources import candidates, locate
from geosearch.ingest.unchanged import state
from geosearch.storage import is_remote


def changes(
    sources: Paths,
    *,
    interval: float = 10,
    exclude: Sequence[str] | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[None]:
    """Give something at once, and then whenever what is in the sources has changed.

    They are looked at every `interval` seconds: once a file is new, gone, moved or changed, and
    twice the same was found there, so that no file is read while it is written. Of manifests the
    file itself counts, not what it names.

    Raises
    ------
    InputError
        A source is not on this machine, or does not exist; `interval` is below a second.
    """
    check_range("interval", interval, 1)
    located = [locate(source) for source in paths("sources", sources)]
    if remote := next(filter(is_remote, located), None):
        raise InputError(f"{remote} cannot be watched", "Watch folders of this machine.")
    reading = Reading.of(None, None, exclude)
    known = before = _fingerprint(located, reading)
    yield
    while True:
        wait(interval)
        now = _fingerprint(located, reading)
        if now == before != known:
            known = now
            yield
        before = now


def _fingerprint(located: Sequence[str], reading: Reading) -> bytes:
    """One of all files with their sizes and times."""
    found = sha256()
    for source in located:
        items = [Candidate(source)] if is_manifest(source) else candidates(source, reading)
        for item in items:
            if isinstance(item, Candidate):
                files = (item.uri, *getattr(item, "sidecars", ()))
                found.update(repr([(each, state(each)) for each in files]).encode())
    return found.digest()
