"""The errors geosearch raises on purpose, the exit codes of its commands, and its HTTP statuses.

Every error says what is wrong, names the file or argument, and carries the remedy. It names an
argument in backquotes, as Python spells it, and each face spells it in its own way: the command
line writes `bandwidth_km` as --bandwidth-km.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

#: Exit code of a command that did its work but rejected some of its input.
EXIT_SOME_REJECTED = 3
#: Exit code of a command whose photo has no neighbours to be placed by.
EXIT_NO_NEIGHBOURS = 8

#: What each exit code says.
EXIT_CODES = {
    0: "all was done",
    1: "it failed, or a check found what it looks for: another answer, a recall that is lost",
    2: "an argument, option or file cannot be used",
    3: "done, but some photos, queries or features could not be used",
    4: "a collection, model, answer or the like does not exist",
    5: "the database cannot be reached or lacks something",
    6: "a model cannot be loaded",
    7: "an optional package is needed and missing",
    8: "done, but a photo has no neighbours, so no place",
    9: "a shard cannot be reached",
}

_FIELD = re.compile(r"`([a-z][a-z0-9_]*)`")


class GeosearchError(Exception):
    """Base of all deliberate errors: a message and, where there is one, a remedy.

    `fields` are the arguments that the message is about. `http_status` is what the server answers
    with.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, remedy: str | None = None) -> None:
        self._written = message, remedy
        self.message, self.remedy = self.spelt(str)
        self.fields = tuple(dict.fromkeys(_FIELD.findall(message)))
        super().__init__(self.message)

    def spelt(self, name: Callable[[str], str]) -> tuple[str, str | None]:
        """Message and remedy with each argument as `name` spells it."""
        message, remedy = (
            text and _FIELD.sub(lambda found: name(found[1]), text) for text in self._written
        )
        return message or "", remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class InputError(GeosearchError, ValueError):
    """An argument, file or manifest the user gave cannot be used."""

    exit_code = 2
    http_status = 400


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder the user named is not there."""


def unusable_file(message: str, error: Exception, remedy: str | None = None) -> InputError:
    """The error to raise where a file that the user named cannot be read or written."""
    kind = MissingFileError if isinstance(error, FileNotFoundError) else InputError
    return kind(message, remedy)


class NotFoundError(GeosearchError, KeyError):
    """A named row (collection, model, answer) does not exist."""

    exit_code = 4
    http_status = 404


def no_photo(photo_id: int) -> NotFoundError:
    """There is no photo of this id, as far as this login may see."""
    return NotFoundError(f"there is no photo {photo_id}", "Ids: geosearch photos list")


class DatabaseError(GeosearchError):
    """The database cannot be used: it is too old, or lacks the schema, an extension or a right."""

    exit_code = 5
    http_status = 503


class NotAllowedError(DatabaseError):
    """This login lacks a right, or what it asks for is another's."""

    http_status = 403


class RefusedError(DatabaseError):
    """A value that a function of the database, or the database itself, does not take."""

    http_status = 400


class UnreachableError(DatabaseError, ConnectionError):
    """The database does not answer, or went away; `state` is the SQLSTATE that it told, if any."""

    state: str | None = None


class ShardError(DatabaseError):
    """A server that holds a part of the photos cannot be reached; the others can."""

    exit_code = 9


class ServerError(DatabaseError):
    """The private PostgreSQL server cannot be found, started or stopped."""


class ModelError(GeosearchError):
    """A backbone or its weights cannot be loaded, or fail their check."""

    exit_code = 6
    http_status = 503


class MissingExtraError(GeosearchError, ImportError):
    """An optional dependency is needed and not installed."""

    exit_code = 7
    http_status = 501


class ClusterError(GeosearchError):
    """A Ray cluster cannot be reached, or broke off; what its nodes had done stays done."""


class Reason(StrEnum):
    """Why a photo, or its position, was rejected. Stored as the reason code of a reject row."""

    UNREADABLE = "unreadable"  # the bytes cannot be fetched (missing file, permission, network)
    UNSUPPORTED = "unsupported"  # a format no installed decoder reads
    UNDECODABLE = "undecodable"  # corrupt image data
    TRUNCATED = "truncated"  # the image data end early
    NOT_WRITABLE = "not_writable"  # what a position is to be written to, and cannot
    TOO_LARGE = "too_large"  # a decompression bomb, or over the size limit
    BAD_ROW = "bad_row"  # a manifest row, or JSON beside a photo, that cannot be parsed
    ZERO_ZERO = "zero_zero"  # latitude 0, longitude 0: a camera without a fix
    NOT_A_NUMBER = "not_a_number"  # NaN, infinity, or text where a number belongs
    ZERO_DENOMINATOR = "zero_denominator"  # an EXIF rational divided by zero
    INCOMPLETE = "incomplete"  # a latitude without longitude, or the other way round
    MISSING_REFERENCE = "missing_reference"  # EXIF degrees without N/S or E/W
    CONTRADICTION = "contradiction"  # a position with one hemisphere here and another there
    BAD_XMP = "bad_xmp"  # XMP that cannot be parsed, and no position elsewhere
    OUT_OF_RANGE = "out_of_range"  # |latitude| > 90 or |longitude| > 180
    MISSING = "missing"  # a test set's table names an image that the folder does not have
    UNLABELLED = "unlabelled"  # an image of a test set without a row in its table
    EXTRACTION_FAILED = "extraction_failed"  # the backbone gave no usable embedding

    @property
    def remedy(self) -> str | None:
        """What to give in place of such a photo; None where nothing can be said in general."""
        return _REMEDIES.get(self)


_REMEDIES = {
    Reason.UNREADABLE: "Give a file or an address that is there and may be read.",
    Reason.UNSUPPORTED: "Give it as JPEG, PNG, WebP or TIFF.",
    Reason.UNDECODABLE: "Give the whole file of a picture.",
    Reason.TRUNCATED: "Give the whole file of a picture.",
    Reason.TOO_LARGE: "Give a smaller one, or raise the limit.",
    Reason.NOT_A_NUMBER: "Give finite numbers.",
    Reason.EXTRACTION_FAILED: "Give another picture, or a vector that is not zero.",
}


class PhotoRejected(GeosearchError):  # noqa: N818 - an event of a run, not a failure of it
    """One photo cannot be used. Becomes a reject row; never stops a run."""

    exit_code = EXIT_SOME_REJECTED

    @property
    def http_status(self) -> int:  # type: ignore[override]
        """Too large, or nothing that can be worked with."""
        return 413 if self.reason is Reason.TOO_LARGE else 422

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, reason.remedy)
        self.reason = reason
