"""What goes wrong where nobody foresaw it, in words: memory, files, libraries, faults of ours."""

from __future__ import annotations

import errno
import os
import sys
import traceback

from geosearch.errors import GeosearchError, InputError, MissingExtraError
from geosearch.installation import extra_of, remedy

# Of RuntimeError, ImportError and OSError, which loaders and libraries raise for want of memory.
_NO_MEMORY = (
    "can't start new thread",
    "failed to map segment",
    "cannot allocate memory",
    "can't allocate memory",
    "out of memory",
    "not enough memory",
    "bad_alloc",
    "cannot create new thread",
)


def in_words(error: Exception) -> GeosearchError:
    """An error as one of ours; with `-v` on the command line, what is no known one shows where."""
    if isinstance(error, GeosearchError):
        return error
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(sign in said.lower() for sign in _NO_MEMORY):
        return GeosearchError(
            "the memory that this process may use is not enough",
            "Raise its limit (ulimit -v, or the container's), or do less at once: smaller batches, "
            "fewer workers.",
        )
    if {"-v", "--verbose"} & set(sys.argv):
        traceback.print_exception(error)
    if isinstance(error, OSError):
        name = "" if error.filename is None else f"{error.filename}: "
        return GeosearchError(f"{name}{error.strerror or said}", "Check disk, names and rights.")
    if isinstance(error, ImportError):
        if extra := extra_of(error):
            told = f"this needs {error.name}, which is not installed"
            return MissingExtraError(told, f"Run: {remedy(extra)}")
        return GeosearchError(f"a library cannot be loaded: {said}", "Install geosearch again.")
    return GeosearchError(
        f"{type(error).__name__}: {said[:500]}",
        "This is a fault of geosearch. The same command with -v shows where.",
    )


def check_output() -> None:
    """Refuse to run where there is no stdout to answer to; without stderr, be silent.

    Raises
    ------
    InputError
        stdout is closed.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        raise InputError("stdout is closed", "Where no answer is wanted, add: > /dev/null")


def flush_output() -> None:
    """Write what stdout still holds: the interpreter, at its end, would complain in its own way.

    Raises
    ------
    GeosearchError
        It cannot be written, e.g. to a full disk.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # `geosearch … | head` has read enough
            sys.exit(1)
        raise GeosearchError(
            f"the answer cannot be written: {error.strerror}", "Make room where it goes."
        ) from error
