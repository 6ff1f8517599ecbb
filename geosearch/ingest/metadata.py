"""What EXIF, IPTC, XMP and the files beside it together say of a photo.

A sidecar of XMP goes first: whoever wrote it knew the photo. Google Takeout goes last, but for what
was corrected there. Between them, the precedence of the MWG guidelines:
Metadata Working Group, Guidelines for Handling Image Metadata 2.0, chapter 5: EXIF goes first, then
XMP, then IPTC; IPTC goes before XMP where its digest shows that it was changed after.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from PIL import ExifTags, Image

from geosearch.errors import PhotoRejected
from geosearch.ingest import exif as exif_tags
from geosearch.ingest.camera_view import View
from geosearch.ingest.exif import Exif, read_exif
from geosearch.ingest.flir import flir_position
from geosearch.ingest.iptc import Iptc, read_iptc
from geosearch.ingest.photo_times import believed, first_believable, read_time
from geosearch.ingest.positions import Position
from geosearch.ingest.sidecars import NO_SIDECAR, Sidecar
from geosearch.ingest.xmp import (
    CC,
    DC,
    EXIF,
    PHOTOSHOP,
    XMP,
    Properties,
    read_xmp,
    xmp_position,
    xmp_view,
)

Value = TypeVar("Value", str, datetime)

# What cameras write where a description belongs, and the tools of Mapillary.
_NO_DESCRIPTION = re.compile(
    r"(\w+ )*DIGITAL CAMERA|SONY DSC|DCIM\W.*|Untitled|\{\"MAP.*", re.IGNORECASE
)

_STARS = re.compile(r"-1|[0-5]")


@dataclass(frozen=True)
class Metadata:
    """The metadata of a photo; `bad_xmp` where there is XMP that cannot be parsed."""

    exif: Exif
    iptc: Iptc
    xmp: Properties
    bad_xmp: PhotoRejected | None
    applist: list[tuple[str, bytes]]
    beside: Sidecar

    @classmethod
    def of(cls, image: Image.Image, beside: Sidecar = NO_SIDECAR) -> Metadata:
        """The metadata of an opened image. A PNG is decoded: its EXIF may follow the pixels."""
        exif, bad = read_exif(image), None
        try:
            xmp = read_xmp(image.info.get("xmp"))
        except PhotoRejected as error:
            xmp, bad = {}, error
        return cls(exif, read_iptc(image), xmp, bad, getattr(image, "applist", []), beside)

    def position(self) -> Position | None:
        """The position: the sidecar's, else of EXIF, FLIR, XMP, or Takeout; None if none has one.

        Neither a defective nor an estimated EXIF position hides a good one further on.

        Raises
        ------
        PhotoRejected
            All that are there are defective; it is the first one's reason.
        """
        defect = self.beside.defect
        estimate: Position | None = None
        takeout = self.beside.takeout
        readers: tuple[Callable[[], Position | None], ...] = (
            lambda: xmp_position(self.beside.xmp),
            lambda: takeout.position if takeout.moved else None,
            lambda: exif_tags.gps_position(self.exif.gps),
            lambda: flir_position(self.applist),
            self._xmp_position,
            lambda: takeout.position,
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

    def _xmp_position(self) -> Position | None:
        if self.bad_xmp is not None:
            raise self.bad_xmp
        return xmp_position(self.xmp)

    def view(self, width: int, height: int) -> View:
        """How the camera stood, of a picture of these sides: the sidecar, else EXIF, else XMP.

        But of a panorama the focal length is that of its parts.
        """
        said = xmp_view(self.xmp)
        across = View(field_of_view_deg=said.field_of_view_deg)
        own = across.or_else(exif_tags.view(self.exif, width, height)).or_else(said)
        return xmp_view(self.beside.xmp).or_else(own)

    def taken_at(self) -> datetime | None:
        """When the photo was taken, naive where no zone is named; None if not known."""
        iptc = self.iptc.fields
        created = self._either(
            _xmp_time(self.xmp, f"{PHOTOSHOP}DateCreated"),
            _iptc_time(iptc.get("DateCreated"), iptc.get("TimeCreated")),
        )
        camera = first_believable(
            (
                _xmp_time(self.beside.xmp, f"{EXIF}DateTimeOriginal"),
                _xmp_time(self.beside.xmp, f"{PHOTOSHOP}DateCreated"),
                exif_tags.original_time(self.exif),
                _xmp_time(self.xmp, f"{EXIF}DateTimeOriginal"),
                created,
                exif_tags.digitized_time(self.exif),
                _xmp_time(self.xmp, f"{XMP}CreateDate"),
                _iptc_time(iptc.get("DigitalCreationDate"), iptc.get("DigitalCreationTime")),
            )
        )
        receiver = first_believable(
            (exif_tags.gps_time(self.exif.gps), _xmp_time(self.xmp, f"{EXIF}GPSTimeStamp"))
        )
        time = believed(camera, receiver if receiver and receiver.tzinfo else None)
        takeout = self.beside.takeout
        return takeout.taken_at if takeout.corrects(time) else time

    def author(self) -> str | None:
        """`Artist`, else `XPAuthor`, else `dc:creator` and the IPTC by-line."""
        either = self._either(self.xmp.get(f"{DC}creator"), self.iptc.fields.get("By-line"))
        beside = self.beside.xmp.get(f"{DC}creator")
        return beside or self._exif("Artist") or self._exif("XPAuthor") or either

    def licence(self) -> str | None:
        """`cc:license`, else the `Copyright` of EXIF, else `dc:rights` and IPTC's notice."""
        rights = self._either(self.xmp.get(f"{DC}rights"), self.iptc.fields.get("CopyrightNotice"))
        beside = self.beside.xmp.get(f"{CC}license") or self.beside.xmp.get(f"{DC}rights")
        return beside or self.xmp.get(f"{CC}license") or self._exif("Copyright") or rights

    def title(self) -> str | None:
        """A title (`dc:title`, IPTC's object name, `XPTitle`), else a description."""
        title = self._either(self.xmp.get(f"{DC}title"), self.iptc.fields.get("ObjectName"))
        described = self._exif("ImageDescription")
        if described and _NO_DESCRIPTION.fullmatch(described):
            described = None
        description = self._either(
            self.xmp.get(f"{DC}description"), self.iptc.fields.get("Caption-Abstract")
        )
        beside, takeout = self.beside.xmp, self.beside.takeout
        return (
            beside.get(f"{DC}title")
            or beside.get(f"{DC}description")
            or (title or self._exif("XPTitle") or described or description)
            or takeout.title
        )

    def source_id(self) -> str | None:
        """The address of the photo at Google, where Takeout names it."""
        return self.beside.takeout.source_id

    def as_json(self) -> dict[str, Any] | None:
        """EXIF tags by name, and IPTC's fields under `IPTC`; None if there are none.

        `Rating` (stars, -1 for a rejected photo) is the sidecar's, else that of EXIF, else of XMP.
        """
        found = exif_tags.as_json(self.exif) or {}
        beside, own = _rating(self.beside.xmp), _rating(self.xmp)
        rating = found.get("Rating", own) if beside is None else beside
        if rating is not None:
            found["Rating"] = rating
        if self.iptc.fields:
            found["IPTC"] = dict(self.iptc.fields)
        return found or None

    def _exif(self, name: str) -> str | None:
        return exif_tags.text(self.exif, ExifTags.Base[name])

    def _either(self, xmp: Value | None, iptc: Value | None) -> Value | None:
        return iptc or xmp if self.iptc.edited else xmp or iptc


def _xmp_time(properties: Mapping[str, str], name: str) -> datetime | None:
    return read_time(properties.get(name, ""))


def _rating(properties: Mapping[str, str]) -> int | None:
    text = properties.get(f"{XMP}Rating", "")
    return int(text) if _STARS.fullmatch(text) else None


def _iptc_time(date: str | None, time: str | None) -> datetime | None:
    """`20210615` and `143000+0200`."""
    return read_time(f"{date} {time}") or read_time(date) if date else None
