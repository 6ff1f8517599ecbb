"""One photo: from its bytes to a row, or to the reason why not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from geosearch import images
from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest import exif as exif_tags
from geosearch.ingest import xmp as xmp_properties
from geosearch.ingest.exif import Exif, read_exif
from geosearch.ingest.flir import flir_position
from geosearch.ingest.positions import Position
from geosearch.ingest.records import (
    LONGEST_BYTES,
    Candidate,
    Photo,
    Rejection,
    Stage,
    storable,
    too_long,
)
from geosearch.storage import read_bytes


def examine(candidate: Candidate, *, verify: bool = True) -> Photo | Rejection:
    """Read a candidate, check that it is an image, and read its metadata.

    What the source says of a photo goes before what the photo says of itself, but an estimate
    after it. `verify` decodes
    the pixels (JPEG at 1/8 scale), which finds truncated and corrupt files.
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
        data = read_bytes(candidate.uri)
        stage = "decode"
        image = images.open_image(data)
        width, height = image.size
        with images.room_for(image):
            if verify:
                images.verify(image)
            return _photo(candidate, data, image, width, height)
    except PhotoRejected as error:
        return Rejection.of(candidate.uri, stage, error, candidate.origin)
    except Exception as error:  # the last guard: whatever one file does, the run goes on
        failed = PhotoRejected(Reason.UNDECODABLE, f"{type(error).__name__}: {error}")
        return Rejection.of(candidate.uri, stage, failed, candidate.origin)


def _photo(candidate: Candidate, data: bytes, image: Image.Image, width: int, height: int) -> Photo:
    exif = read_exif(image)
    xmp = xmp_properties.read_xmp(image.info.get("xmp"))
    position, defect = candidate.position, None
    if position is None or position.is_estimate:
        try:
            found = find_position(exif, xmp, getattr(image, "applist", []))
        except PhotoRejected as error:
            if position is None:
                defect = Rejection.of(candidate.uri, "position", error, candidate.origin)
        else:
            if position is None or (found is not None and not found.is_estimate):
                position = found
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
        taken_at=candidate.taken_at or exif_tags.taken_at(exif),
        author=candidate.author or exif_tags.author(exif) or xmp_properties.author(xmp),
        licence=candidate.licence or xmp_properties.licence(xmp) or exif_tags.licence(exif),
        title=candidate.title,
        source_id=candidate.source_id,
        exif=exif_tags.as_json(exif),
    )


def find_position(
    exif: Exif, xmp: xmp_properties.Properties, applist: list[tuple[str, bytes]]
) -> Position | None:
    """The position in a photo's metadata: EXIF, else FLIR, else XMP; None if none has one.

    Neither a defective nor an estimated EXIF position hides a good one further on.

    Raises
    ------
    PhotoRejected
        All that are there are defective; it is the first one's reason.
    """
    defect: PhotoRejected | None = None
    estimate: Position | None = None
    readers: tuple[Callable[[], Position | None], ...] = (
        lambda: exif_tags.gps_position(exif.gps),
        lambda: flir_position(applist),
        lambda: xmp_properties.xmp_position(xmp),
    )
    for read in readers:
        try:
            position = read()
        except PhotoRejected as error:
            defect = defect or error
            continue
        if position is not None and not position.is_estimate:
            return position
        estimate = estimate or position
    if defect is not None and estimate is None:
        raise defect
    return estimate


def with_defaults(candidate: Candidate, author: str | None, licence: str | None) -> Candidate:
    """The candidate, with the author and licence given for the whole source where it has none."""
    return replace(
        candidate, author=candidate.author or author, licence=candidate.licence or licence
    )
