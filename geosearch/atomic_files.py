"""Writing files whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from geosearch.errors import GeosearchError, InputError, unusable_file


def write_table(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as CSV, whole or not at all; errors as for `replacing`."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name at the end; gone after an error.

    It has the same ending, by which many libraries choose a format. Readers see the old file or the
    new one, and a killed run leaves no half-written one.

    Raises
    ------
    InputError
        The folder is missing, full, or cannot be written to; or `path` is a device or a pipe.
    """
    part = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.part{path.suffix}")
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # all programs would lose it
            raise InputError(f"{path} cannot be written: not a regular file", "Give another path.")
        part.touch()
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except GeosearchError:
        raise
    except OSError as error:
        raise unusable_file(
            f"{path} cannot be written: {error.strerror or error}",
            error,
            "Give another path, make its folder, or make room on the disk.",
        ) from error
