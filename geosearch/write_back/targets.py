"""What positions are written to: what all of these have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from geosearch.ingest.positions import Position
from geosearch.write_back.xmp_edit import Names

#: Told before anything is written: the sha256 of what the file will be, None where it is no file.
Begin = Callable[[bytes | None], None]


@dataclass(frozen=True)
class Known:
    """A photo, and the position of it to be written; `names` finds what that is called.

    It is None where one that was written is to be taken out, or what was there before if `undone`.
    `replaced` finds what the position that geosearch wrote there is called, if it did.
    """

    photo_id: int
    collection_id: int
    shelf: int
    uri: str
    sha256: bytes
    position: Position | None
    localization_id: int | None
    names: Callable[[], Names]
    undone: bool = False
    replaced: Callable[[], Names] | None = None

    @property
    def why(self) -> str:
        """What the history of the photo says."""
        if self.undone or self.position is None:
            return "position taken back"
        answer = "" if self.localization_id is None else f" by answer {self.localization_id}"
        return f"position {self.position.source}{answer}"


@dataclass(frozen=True)
class Found:
    """What is said now of where a photo was taken.

    `own`: by the very thing that is written; `read`: by all that an ingest would read. `at`: its
    path or address. `sha256` is of the photo's file as it is; `thing` is the target's.
    """

    at: str
    own: Position | None
    read: Position | None
    thing: Any
    sha256: bytes | None = None


class Target(Protocol):
    """Something positions are written to. Its methods raise `PhotoRejected` where that fails."""

    @property
    def kind(self) -> str:
        """What the log calls it."""

    @property
    def copies(self) -> bool:
        """Whether other files with the bytes of a photo are written too."""

    def find(self, known: Known, uri: str) -> Found:
        """What is there."""

    def check(self, found: Found, known: Known, *, overwrite: bool) -> None:
        """See that it could be written, as far as that can be known without."""

    def write(self, found: Found, known: Known, begin: Begin, *, overwrite: bool) -> None:
        """Write it, whole or not at all."""
