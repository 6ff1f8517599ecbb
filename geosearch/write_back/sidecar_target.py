"""Positions in XMP sidecars: the photos stay as they are."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from geosearch import __version__
from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.xmp import read_xmp, xmp_position
from geosearch.storage import read_bytes
from geosearch.write_back.own_files import OwnFile, OwnFiles, changing, refuse_link
from geosearch.write_back.targets import Begin, Found, Known
from geosearch.write_back.xmp_edit import EMPTY, Entry, Names, put_position


class Sidecars:
    """`x.jpg.xmp` beside x.jpg; or x.xmp where there is one, and no other photo it describes."""

    kind = "sidecar"
    copies = True

    def __init__(self, *, tidy: bool) -> None:
        self._files = OwnFiles(tidy=tidy)

    def find(self, known: Known, uri: str) -> Found:  # noqa: ARG002 - others look for it by more
        """What the photo and the files beside it say."""
        file = self._files.read(uri)
        position = file.position()
        return Found(str(_sidecar(file)), position, position, file, file.sha256)

    def check(self, found: Found, known: Known, *, overwrite: bool) -> None:
        """See that its XMP can be edited."""
        self._edited(found, replace(known, names=Names, replaced=None), overwrite=overwrite)

    def write(self, found: Found, known: Known, begin: Begin, *, overwrite: bool) -> None:
        """Write the sidecar."""
        path = Path(found.at)
        with changing(path) as part:
            data = self._edited(found, known, overwrite=overwrite)
            part.write_bytes(data)
            begin(hashlib.sha256(data).digest())
        self._files.note(found.thing, path)

    def _edited(self, found: Found, known: Known, *, overwrite: bool) -> bytes:
        path, file = Path(found.at), found.thing
        assert isinstance(file, OwnFile)
        refuse_link(path)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Entry(now, f"geosearch {__version__}", known.why)
        packet = read_bytes(str(path)) if path.exists() else EMPTY
        names, replaced, position = known.names(), known.replaced, known.position
        if known.undone and position is not None and position.source in ("exif", "manifest"):
            position, names = None, Names()  # which is said elsewhere, and believed again
        edited = put_position(
            packet, position, names, entry, rename=overwrite, replaced=replaced and replaced()
        )
        properties: dict[str, str] = {}
        for other in file.sidecars:
            if other != path and other.suffix.lower() == ".xmp":
                properties |= read_xmp(read_bytes(str(other)))
        read = xmp_position(properties | read_xmp(edited))
        if position is not None and (read is None or not read.is_as(position)):
            others = ", ".join(each.name for each in file.sidecars if each != path)
            raise PhotoRejected(Reason.BAD_XMP, f"{others} would make another position of it")
        return edited


def _sidecar(file: OwnFile) -> Path:
    """The file to write: the one there is, if it is of this photo alone."""
    own = file.path.name
    for path in reversed(file.sidecars):
        if path.suffix.lower() == ".xmp" and (path.stem == own or file.alone):
            return path
    return file.path.with_name(f"{own}.xmp")
