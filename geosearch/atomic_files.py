"""Writing files whole or not at all."""

from __future__ import annotations

import csv
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from geosearch.errors import GeosearchError, InputError, unusable_file

#: Begin and end of the names of the folders in which files are written.
_BEGIN, _END = ".geosearch-", ".part"


def write_table(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as CSV, whole or not at all; errors as for `replacing`."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def remove_left(parent: Path) -> None:
    """Remove what killed writers left in a folder."""
    for left in parent.glob(f"{_BEGIN}*{_END}"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path of the same name that takes the place of `path` at the end.

    It lies in a hidden folder beside `path`, which goes with all that a library leaves there.
    Readers see the old file or the new one. A killed run leaves its folder; the next run that
    writes beside it removes it.

    Raises
    ------
    InputError
        The folder is missing, full, or cannot be written to; or `path` is a device or a pipe.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # all programs would lose it
            raise InputError(f"{path} cannot be written: not a regular file", "Give another path.")
        with _held_folder(path.parent) as folder:
            part = folder / path.name
            yield part
            part.replace(path)
    except GeosearchError:
        raise
    except OSError as error:
        raise unusable_file(
            f"{path} cannot be written: {error.strerror or error}",
            error,
            "Give another path, make its folder, or make room on the disk.",
        ) from error


@contextmanager
def _held_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, locked for as long as its writer lives."""
    remove_left(parent)
    folder, lock = _made_and_locked(parent)
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made_and_locked(parent: Path) -> tuple[Path, ExitStack]:
    """A new folder under its lock, where folders can be locked; where not none is ever removed.

    Until it is locked another writer may take it for what a killed one left, and remove it: it is
    made again then. So a kill at any moment leaves nothing that the next writer does not remove.
    """
    while True:
        folder = Path(mkdtemp(dir=parent, prefix=_BEGIN, suffix=_END))
        lock = ExitStack()
        try:
            lock.enter_context(_locked(folder))
        except (BlockingIOError, FileNotFoundError):
            continue
        except OSError:
            return folder, lock
        if folder.exists():
            return folder, lock
        lock.close()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder under a lock that ends with this process; an OSError if another holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
