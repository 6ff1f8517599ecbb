"""One photo: from its bytes to a row, or to the reason why not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PIL import Image

from geosearch import images
from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.corrections import said_by
from geosearch.ingest.metadata import Metadata
from geosearch.ingest.photo_times import settled
from geosearch.ingest.records import (
    LONGEST_BYTES,
    Candidate,
    Photo,
    Rejection,
    Stage,
    storable,
    too_long,
)
from geosearch.ingest.sidecars import read_sidecars
from geosearch.ingest.thumbnails import make_thumbnail
from geosearch.storage import as_it_is_there, is_remote, read_bytes


def examine(
    candidate: Candidate,
    *,
    decode: bool = True,
    thumbnails: bool = False,
    see: Callable[[Image.Image], Any] | None = None,
) -> Photo | Rejection:
    """Read a candidate, check that it is an image, and read its metadata.

    What the source says of a photo goes before what the photo and the files beside it say, but an
    estimate after it. `decode` reads the pixels (JPEG at 1/8 scale), which finds truncated and
    corrupt files; so does making a thumbnail, and `see`, which makes of the picture what an
    `Embedder` takes.
    """
    if too_long(candidate.uri):
        error = PhotoRejected(
            Reason.BAD_ROW, f"the uri is over {LONGEST_BYTES} bytes: {candidate.uri[:80]}…"
        )
        stage: Stage = "read" if candidate.origin is None else "manifest"
        return Rejection.of(candidate.origin or candidate.uri, stage, error, candidate.origin)
    stage = "read"
    try:
        if not storable(candidate.uri):
            raise PhotoRejected(
                Reason.UNREADABLE, "the file name is not valid UTF-8; rename the file"
            )
        if candidate.origin is not None and not is_remote(candidate.uri):
            candidate = replace(candidate, uri=as_it_is_there(candidate.uri))
        data = read_bytes(candidate.uri)
        stage = "decode"
        image = images.open_image(data)
        width, height = image.size
        with images.room_for(image):
            thumbnail = make_thumbnail(image) if thumbnails else None
            # A thumbnail's JPEG is decoded at a scale of its own.
            own = (
                images.open_image(data) if see and thumbnail and images.has_scales(image) else image
            )
            seen = None if see is None else _seen(see, own)
            if decode and thumbnail is None and seen is None:
                # What the network cannot take may be whole all the same.
                image = image if see is None else images.open_image(data)
                images.verify(image)
            found = _photo(candidate, data, image, width, height)
            return replace(found, thumbnail=thumbnail, seen=seen)
    except PhotoRejected as error:
        return Rejection.of(candidate.uri, stage, error, candidate.origin)
    except FileNotFoundError as error:
        missing = PhotoRejected(Reason.UNREADABLE, str(error.strerror))
        return Rejection.of(candidate.uri, stage, missing, candidate.origin)
    except Exception as error:  # the last guard: whatever one file does, the run goes on
        failed = PhotoRejected(Reason.UNDECODABLE, f"{type(error).__name__}: {error}")
        return Rejection.of(candidate.uri, stage, failed, candidate.origin)


def _seen(see: Callable[[Image.Image], Any], image: Image.Image) -> Any:
    try:
        return see(image)
    except PhotoRejected:
        return None


def _photo(candidate: Candidate, data: bytes, image: Image.Image, width: int, height: int) -> Photo:
    beside = read_sidecars(candidate.sidecars)
    metadata = Metadata.of(image, beside)
    position, defect = candidate.position, None
    if position is None or position.is_estimate:
        try:
            found = metadata.position()
        except PhotoRejected as error:
            if position is None:
                defect = Rejection.of(candidate.uri, "position", error, candidate.origin)
        else:
            if position is None or (found is not None and not found.is_estimate):
                position = found
    clock = candidate.taken_at or metadata.taken_at()
    taken_at, zone = (None, None) if clock is None else settled(clock, position)
    return Photo(
        uri=candidate.uri,
        origin=candidate.origin,
        sha256=hashlib.sha256(data).digest(),
        size_bytes=len(data),
        width=width,
        height=height,
        format=str(image.format),
        position=position,
        defect=defect,
        taken_at=taken_at,
        taken_at_zone=zone,
        author=candidate.author or metadata.author(),
        licence=candidate.licence or metadata.licence(),
        title=candidate.title or metadata.title(),
        source_id=candidate.source_id or metadata.source_id(),
        exif=metadata.as_json(),
        said=said_by(candidate),
        warnings=candidate.warnings + ("sidecar",) * (beside.defect is not None),
        **vars(candidate.or_else(metadata.view(width, height))),
    )


def with_defaults(candidate: Candidate, author: str | None, licence: str | None) -> Candidate:
    """The candidate, with the author and licence given for the whole source where it has none."""
    return replace(
        candidate, author=candidate.author or author, licence=candidate.licence or licence
    )
