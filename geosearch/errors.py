"""The errors geosearch raises on purpose.

Every error says what is wrong, names the file or argument, and carries the remedy. `exit_code`
is what the command line returns; `http_status` is what a web service answers.
"""

from __future__ import annotations

from enum import StrEnum

#: Exit code of a command that did its work but rejected some of its input.
EXIT_SOME_REJECTED = 3


class GeosearchError(Exception):
    """Base of all deliberate errors: a message and, where there is one, a remedy."""

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class InputError(GeosearchError):
    """An argument, file or manifest the user gave cannot be used."""

    exit_code = 2
    http_status = 422


class NotFoundError(GeosearchError):
    """A named row (collection, model, localization) does not exist."""

    exit_code = 4
    http_status = 404


class DatabaseError(GeosearchError):
    """The database cannot be reached, is too old, or lacks the schema or an extension."""

    exit_code = 5
    http_status = 503


class ServerError(DatabaseError):
    """The private PostgreSQL server cannot be found, started or stopped."""


class ModelError(GeosearchError):
    """A backbone or its weights cannot be loaded, or fail their check."""

    exit_code = 6
    http_status = 422


class MissingExtraError(GeosearchError):
    """An optional dependency is needed and not installed."""

    exit_code = 7
    http_status = 501


class Reason(StrEnum):
    """Why a photo, or its position, was rejected. Stored as the reason code of a reject row."""

    UNREADABLE = "unreadable"  # the bytes cannot be fetched (missing file, permission, network)
    UNSUPPORTED = "unsupported"  # a format no installed decoder reads
    UNDECODABLE = "undecodable"  # corrupt image data
    TRUNCATED = "truncated"  # the image data end early
    TOO_LARGE = "too_large"  # a decompression bomb, or over the size limit
    BAD_ROW = "bad_row"  # a manifest row that cannot be parsed
    ZERO_ZERO = "zero_zero"  # latitude 0, longitude 0: a camera without a fix
    NOT_A_NUMBER = "not_a_number"  # NaN, infinity, or text where a number belongs
    ZERO_DENOMINATOR = "zero_denominator"  # an EXIF rational divided by zero
    INCOMPLETE = "incomplete"  # a latitude without longitude, or the other way round
    MISSING_REFERENCE = "missing_reference"  # EXIF degrees without N/S or E/W
    OUT_OF_RANGE = "out_of_range"  # |latitude| > 90 or |longitude| > 180
    MISSING = "missing"  # a test set's table names an image that the folder does not have
    UNLABELLED = "unlabelled"  # an image of a test set without a row in its table
    EXTRACTION_FAILED = "extraction_failed"  # the backbone gave no usable embedding


class PhotoRejected(GeosearchError):  # noqa: N818 - an event of a run, not a failure of it
    """One photo cannot be used. Becomes a reject row; never stops a run."""

    exit_code = EXIT_SOME_REJECTED
    http_status = 422

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
