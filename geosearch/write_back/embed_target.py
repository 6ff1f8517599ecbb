"""Positions in the photos themselves, as EXIF, by exiftool: the pictures stay as they are."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ImageSequence

from geosearch import images
from geosearch.atomic_files import replacing
from geosearch.errors import MissingExtraError, PhotoRejected, Reason
from geosearch.ingest.metadata import Metadata
from geosearch.ingest.positions import Position
from geosearch.write_back.own_files import (
    OwnFile,
    OwnFiles,
    changing,
    just_changed,
    position_in,
)
from geosearch.write_back.targets import Begin, Found, Known

#: Behind the name of a photo, for what it was before: exiftool's own, which no ingest reads.
BACKUP = "_original"
#: What exiftool adds to EXIF that it makes, and takes out with the rest.
_MANDATORY = {"ResolutionUnit", "XResolution", "YResolution", "YCbCrPositioning"}
#: Seconds for one photo.
_PATIENCE_S = 120
_GPS = (
    *("Latitude", "LatitudeRef", "Longitude", "LongitudeRef"),
    *("ProcessingMethod", "HPositioningError"),
)


class Embedded:
    """The EXIF of photos. What each was before its first change stays beside it.

    Raises
    ------
    MissingExtraError
        There is no exiftool.
    """

    kind = "embed"
    copies = True

    def __init__(self, *, tidy: bool) -> None:
        self._files = OwnFiles(tidy=tidy)
        found = shutil.which("exiftool")
        if found is None:
            raise MissingExtraError(
                "`embed` needs exiftool, which is not installed",
                "Install it, such as libimage-exiftool-perl; or write sidecars.",
            )
        self._program = found

    def find(self, known: Known, uri: str) -> Found:  # noqa: ARG002 - others look for it by more
        """What the photo says, and the files beside it."""
        file = self._files.read(uri)
        own = file.position(with_sidecars=False)
        return Found(str(file.path), own, file.position(), file, file.sha256)

    def check(self, found: Found, known: Known, *, overwrite: bool) -> None:  # noqa: ARG002
        """See that no file beside it would say otherwise."""
        read, own, position = found.read, found.own, known.position
        if known.undone or position is None or read is None or read == own:
            return
        if not read.is_at(position) or read.trust < position.trust:
            raise PhotoRejected(
                Reason.NOT_WRITABLE, "a file beside it says another position, and is believed first"
            )

    def write(self, found: Found, known: Known, begin: Begin, *, overwrite: bool) -> None:
        """Write a copy, see that all but the position is as it was, and let it take the place."""
        self.check(found, known, overwrite=overwrite)
        path, file = Path(found.at), found.thing
        assert isinstance(file, OwnFile)
        with changing(path) as part:
            if path.read_bytes() != file.data:
                raise just_changed(path)
            part.write_bytes(file.data)
            self._run(part, known)
            data = part.read_bytes()
            _compare(file.data, data, known.position)
            begin(hashlib.sha256(data).digest())
            _back_up(path)

    def _run(self, part: Path, known: Known) -> None:
        position = known.position
        said = dict.fromkeys(_GPS, "")
        if position is not None:
            values = [repr(abs(position.lat)), "NS"[position.lat < 0]]
            values += [repr(abs(position.lon)), "EW"[position.lon < 0], position.method or ""]
            values += ["" if position.accuracy_m is None else str(position.accuracy_m)]
            said = dict(zip(_GPS, values, strict=True))
        tags = [f"-EXIF:GPS{name}={value}" for name, value in said.items()]
        # XMP inside the photo would say another.
        tags += [f"-XMP-exif:GPS{name}=" for name in ("Latitude", "Longitude", "ProcessingMethod")]
        # No configuration: that is a program. Paths are absolute, so none looks like an option.
        command = [self._program, "-config", "", "-q", "-n", "-overwrite_original", *tags]
        try:
            ran = subprocess.run(
                [*command, str(part)],
                capture_output=True,
                timeout=_PATIENCE_S,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(f"is not done in {_PATIENCE_S} seconds") from error
        if ran.returncode != 0:
            said_so = ran.stderr.decode("utf-8", "replace").partition(" - ")[0].strip()
            raise _failed(f"cannot write it: {said_so or 'it does not say why'}")


def _failed(what: str) -> PhotoRejected:
    return PhotoRejected(Reason.NOT_WRITABLE, f"exiftool {what}")


def _compare(before: bytes, after: bytes, position: Position | None) -> None:
    """See that a photo has the position or none, the same pixels, and all other metadata."""
    if _pixels(before) != _pixels(after):
        raise _failed("would change the picture")
    read = position_in(after)
    same = read is None if position is None else read is not None and read.is_as(position)
    if not same:
        raise _failed("does not write what is read again")
    old, new = _others(before), _others(after)
    if position is None:  # with the last tag of EXIF go those that are there for it alone
        old = {name: value for name, value in old.items() if name in new or name not in _MANDATORY}
    if {name: new.get(name) for name in old} != old:
        raise _failed("would lose other metadata")


def _pixels(data: bytes) -> list[bytes]:
    """A digest of each picture in a file, as decoded."""
    image = images.open_image(data)
    with images.room_for(image):
        return [
            hashlib.sha256(repr((each.mode, each.size)).encode() + each.tobytes()).digest()
            for each in ImageSequence.Iterator(image)
        ]


def _others(data: bytes) -> Mapping[str, Any]:
    found = Metadata.of(images.open_image(data))
    tags = {name: value for name, value in (found.as_json() or {}).items() if "GPS" not in name}
    return {**tags, "author": found.author(), "title": found.title(), "time": found.taken_at()}


def _back_up(path: Path) -> None:
    """Keep what the photo was before its first change, which is not copied where it need not be."""
    kept = path.with_name(path.name + BACKUP)
    if os.path.lexists(kept):
        return
    try:
        os.link(path, kept)
    except OSError:  # file systems of cameras have no links
        with replacing(kept) as part:
            shutil.copy2(path, part)
