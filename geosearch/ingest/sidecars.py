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


#: Endings of such files, lower case.
SIDECARS = frozenset({".xmp", ".json"})


def sidecar_files(photos: Sequence[str], files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Photo → the files that describe it, of the names in one folder; those with one alone.

    `x.jpg.xmp` is of x.jpg alone, so it goes before `x.xmp`, which is of every x.
    """
    kinds: dict[str, dict[str, str]] = {kind: {} for kind in SIDECARS}
    for name in files:
        stem, _, kind = name.rpartition(".")
        kinds[f".{kind.lower()}"][stem] = name
    xmp, of_takeout = kinds[".xmp"], takeout_files(photos, kinds[".json"].values())
    if not xmp and not of_takeout:
        return {}
    named = {
        photo: (xmp.get(photo.rpartition(".")[0]), xmp.get(photo), of_takeout.get(photo))
        for photo in photos
    }
    found = {photo: tuple(filter(None, names)) for photo, names in named.items()}
    return {photo: names for photo, names in found.items() if names}


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
