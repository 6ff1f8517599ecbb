"""Files beside a photo that describe it: XMP of photo programs, and the JSON of Google Takeout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.takeout import Takeout, takeout_files
from geosearch.ingest.xmp import read_xmp
from geosearch.storage import ending, parse_json, read_bytes


@dataclass(frozen=True)
class Sidecar:
    """What the files beside a photo say. `defect`: one of them cannot be read, or believed."""

    xmp: Mapping[str, str] = field(default_factory=dict)
    takeout: Takeout = field(default_factory=Takeout)
    defect: PhotoRejected | None = None


NO_SIDECAR = Sidecar()


def sidecar_files(photos: Sequence[str], files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Photo → the files that describe it, of the names in one folder.

    `x.jpg.xmp` is of x.jpg alone, so it goes before `x.xmp`, which is of every x.
    """
    kinds: dict[str, dict[str, str]] = {".xmp": {}, ".json": {}}
    for name in files:
        path = PurePosixPath(name)
        if path.suffix.lower() in kinds:
            kinds[path.suffix.lower()][path.stem] = name
    of_takeout = takeout_files(photos, kinds[".json"].values())
    found = {}
    for photo in photos:
        stem = PurePosixPath(photo).stem
        names = [kinds[".xmp"].get(stem), kinds[".xmp"].get(photo), of_takeout.get(photo)]
        found[photo] = tuple(filter(None, names))
    return found


def read_sidecars(uris: Iterable[str]) -> Sidecar:
    """The content of the files beside a photo; a later one goes before the others."""
    xmp: dict[str, str] = {}
    takeout, defect = Takeout(), None
    for uri in uris:
        try:
            data = read_bytes(uri)
            if ending(uri) == ".xmp":
                xmp |= read_xmp(data)
            else:
                takeout = Takeout.of(parse_json(data)) or takeout
        except PhotoRejected as error:
            defect = PhotoRejected(error.reason, f"{PurePosixPath(uri).name}: {error.message}")
        except ValueError as error:
            named = f"{PurePosixPath(uri).name}: not JSON: {error}"
            defect = PhotoRejected(Reason.BAD_ROW, named)
    return Sidecar(xmp, takeout, defect)
