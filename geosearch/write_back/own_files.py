"""The files of photos, as they are to be written: whole, of the bytes that were ingested."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from geosearch import images
from geosearch.atomic_files import remove_left, replacing
from geosearch.errors import InputError, PhotoRejected, Reason
from geosearch.ingest.metadata import Metadata
from geosearch.ingest.positions import Position
from geosearch.ingest.sidecars import (
    NO_SIDECAR,
    SIDECARS,
    Sidecar,
    read_sidecars,
    sidecar_files,
)
from geosearch.ingest.unchanged import state
from geosearch.photo_endings import PHOTO_ENDINGS
from geosearch.storage import ending, is_remote, local_path, read_bytes


@dataclass(frozen=True)
class OwnFile:
    """A photo's file, its bytes, and what lies beside it.

    `sidecars` are read in this order, the last one believed; `alone`: no other photo in its folder
    has its name but for the ending.
    """

    path: Path
    data: bytes
    sidecars: tuple[Path, ...]
    alone: bool

    @property
    def sha256(self) -> bytes:
        """Of the bytes."""
        return hashlib.sha256(self.data).digest()

    def position(self, *, with_sidecars: bool = True) -> Position | None:
        """Where the next ingest would find that it was taken; what is defective says nothing."""
        beside = read_sidecars(map(str, self.sidecars)) if with_sidecars else NO_SIDECAR
        return position_in(self.data, beside)


def position_in(data: bytes, beside: Sidecar = NO_SIDECAR) -> Position | None:
    """The position that the bytes of a photo and what lies beside it say, if any is believed."""
    try:
        metadata = Metadata.of(images.open_image(data), beside)
    except PhotoRejected:
        raise
    except Exception as error:  # the last guard, as in an ingest
        said = f"{type(error).__name__}: {error}"
        raise PhotoRejected(Reason.UNDECODABLE, said) from error
    try:
        return metadata.position()
    except PhotoRejected:
        return None


class OwnFiles:
    """Finds the files of photos and what lies beside them; each folder is listed once.

    To be `tidy`, what killed runs left there is removed.
    """

    def __init__(self, *, tidy: bool) -> None:
        self._tidy = tidy
        self._folder: Path | None = None
        self._beside: dict[str, tuple[str, ...]] = {}
        self._stems: Counter[str] = Counter()

    def read(self, uri: str) -> OwnFile:
        """The file of a photo.

        Raises
        ------
        PhotoRejected
            `unreadable`, `too_large`, or `not_writable`: it is a link, or none of its own.
        """
        path = local_path(uri)
        if is_remote(uri) or not path.is_absolute():
            raise PhotoRejected(Reason.NOT_WRITABLE, "it is no file of its own on this machine")
        refuse_link(path)
        data = read_bytes(uri)
        self._list(path.parent)
        beside = tuple(path.parent / name for name in self._beside.get(path.name, ()))
        return OwnFile(path, data, beside, self._stems[path.stem] <= 1)

    def note(self, file: OwnFile, sidecar: Path) -> None:
        """Know from now on of a sidecar that was made."""
        if sidecar not in file.sidecars and file.path.parent == self._folder:
            names = (*self._beside.get(file.path.name, ()), sidecar.name)
            self._beside[file.path.name] = names

    def _list(self, folder: Path) -> None:
        if folder == self._folder:
            return
        if self._tidy:
            remove_left(folder)
        try:
            names = [each.name for each in folder.iterdir()]
        except OSError as error:  # one may open its files all the same
            said = f"its folder cannot be listed: {error.strerror}"
            raise PhotoRejected(Reason.NOT_WRITABLE, said) from error
        beside = {name for name in names if ending(name) in SIDECARS}
        photos = [name for name in names if name not in beside]
        self._beside = sidecar_files(photos, beside)
        self._stems = Counter(Path(each).stem for each in photos if ending(each) in PHOTO_ENDINGS)
        self._folder = folder


def refuse_link(path: Path) -> None:
    """Raise `PhotoRejected` for a link: who writes through it does not see where."""
    if path.is_symlink():
        raise PhotoRejected(Reason.NOT_WRITABLE, f"{path.name} is a link to another file")


def just_changed(path: Path) -> PhotoRejected:
    """What is to be said where another program has written meanwhile."""
    return PhotoRejected(Reason.NOT_WRITABLE, f"{path.name} has just been changed")


@contextmanager
def changing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of a file at the end, with its permissions.

    Raises
    ------
    PhotoRejected
        `not_writable`: one may not write there, or another program has written meanwhile.
    """
    refuse_link(path)
    before = state(str(path))
    if before is not None and not os.access(path, os.W_OK):
        raise PhotoRejected(Reason.NOT_WRITABLE, f"{path.name} is read-only")
    try:
        with replacing(path) as part:
            yield part
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
            if before is not None:
                shutil.copymode(path, part)
                with suppress(OSError):  # one's own files stay one's own; others' only root's can
                    owner = path.stat()
                    os.chown(part, owner.st_uid, owner.st_gid)
            refuse_link(path)
            if state(str(path)) != before:
                raise just_changed(path)
    except InputError as error:
        raise PhotoRejected(Reason.NOT_WRITABLE, error.message) from error
