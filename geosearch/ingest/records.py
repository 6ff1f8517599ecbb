"""What passes between the steps of an ingest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.camera_view import View
from geosearch.ingest.positions import Position
from geosearch.ingest.thumbnails import Thumbnail

Stage = Literal["read", "decode", "position", "manifest"]
#: How the zone of a time is known: it is named, it is that of the position, or UTC is assumed.
Zone = Literal["known", "position", "assumed"]

#: Bytes of UTF-8 in an indexed text: a row of a B-tree index holds 2704.
LONGEST_BYTES = 2000
#: Characters of an author, licence, title or identifier; the rest is cut.
LONGEST_TEXT = 1000

# Years outside are a clock never set, or a placeholder; PostgreSQL and Python part ways at theirs.
_EARLIEST = datetime(1800, 1, 1, tzinfo=UTC)
_END = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Candidate(View):
    """A photo a source names, not yet read, with what the source says of it.

    `origin` is the manifest row (`manifest.csv#3`) that names it; None for a photo in a folder.
    `taken_at` is naive where the source names no zone. `warnings` are fields left out of the row
    because they could not be read; `sidecars` the files beside it that describe it.
    """

    uri: str
    origin: str | None = None
    position: Position | None = None
    author: str | None = None
    taken_at: datetime | None = None
    licence: str | None = None
    title: str | None = None
    source_id: str | None = None
    sidecars: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejection:
    """A photo or manifest row that cannot be used: one reject row."""

    uri: str
    stage: Stage
    reason: Reason
    message: str
    origin: str | None = None

    @classmethod
    def of(cls, uri: str, stage: Stage, error: PhotoRejected, origin: str | None = None) -> Self:
        """The reject row of an error, its texts made fit for the table."""
        return cls(_cut(cleaned(uri)), stage, error.reason, shortened(error.message), origin)


@dataclass(frozen=True)
class Unread:
    """A file in a folder that is no photo we read; `kind` is its ending."""

    kind: str


@dataclass(frozen=True)
class Photo(View):
    """A photo read and checked. `defect` says why a position it carries is not believed.

    `said` are the groups of columns, by their first, that an update takes from it even where
    something else is stored: what the row of a manifest says, or all where there is none. `seen` is
    what an `Embedder` made of the picture.
    """

    uri: str
    origin: str | None
    sha256: bytes
    size_bytes: int
    width: int
    height: int
    format: str
    position: Position | None
    defect: Rejection | None
    taken_at: datetime | None
    taken_at_zone: Zone | None
    author: str | None
    licence: str | None
    title: str | None
    source_id: str | None
    exif: dict[str, Any] | None
    said: frozenset[str] = frozenset()
    thumbnail: Thumbnail | None = None
    seen: Any = None
    warnings: tuple[str, ...] = ()


def storable(text: str) -> bool:
    """True if PostgreSQL can hold the text: no NUL, valid Unicode."""
    return "\0" not in text and _is_unicode(text)


def cleaned(text: str) -> str:
    """The text with what PostgreSQL cannot hold (NUL, stray surrogates) replaced by `\\xNN`."""
    if not _is_unicode(text):
        text = text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "replace").decode(
            "utf-8", "backslashreplace"
        )
    return text.replace("\0", "\\x00")


def decoded(data: bytes) -> str:
    """Text of bytes that do not say how: UTF-8, else what Western computers wrote before it."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def shortened(text: str) -> str:
    """The text cleaned, stripped, and cut to `LONGEST_TEXT` characters, `LONGEST_BYTES` bytes."""
    return _cut(cleaned(text).strip()[:LONGEST_TEXT])


def too_long(uri: str) -> bool:
    """True if the uri does not fit an index."""
    return len(uri.encode("utf-8", "surrogatepass")) > LONGEST_BYTES


def is_believable(time: datetime) -> bool:
    """True for an aware time of the years 1800 to 2199, UTC."""
    return _EARLIEST <= time < _END


def _cut(text: str) -> str:
    return text.encode()[:LONGEST_BYTES].decode(errors="ignore")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_escaped(text: str) -> bool:
    return all(
        "\udc80" <= character <= "\udcff" for character in text if "\ud800" <= character <= "\udfff"
    )
