"""IPTC-IIM of an opened image: texts that agencies and older programs write.

Field meanings: IPTC-NAA Information Interchange Model 4.2, chapter 6 (record 2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image, IptcImagePlugin

from geosearch.ingest.records import decoded, shortened

_RECORD, _DIGEST = 0x0404, 0x0425  # resources of Photoshop
_NAMES: Mapping[tuple[int, int], str] = {
    (2, 5): "ObjectName",
    (2, 55): "DateCreated",
    (2, 60): "TimeCreated",
    (2, 62): "DigitalCreationDate",
    (2, 63): "DigitalCreationTime",
    (2, 80): "By-line",
    (2, 90): "City",
    (2, 92): "Sub-location",
    (2, 95): "Province-State",
    (2, 100): "Country-PrimaryLocationCode",
    (2, 101): "Country-PrimaryLocationName",
    (2, 105): "Headline",
    (2, 110): "Credit",
    (2, 115): "Source",
    (2, 116): "CopyrightNotice",
    (2, 120): "Caption-Abstract",
}


@dataclass(frozen=True)
class Iptc:
    """Field name → text. `edited`: by a program that left the XMP beside it as it was."""

    fields: Mapping[str, str] = field(default_factory=dict)
    edited: bool = False


def read_iptc(image: Image.Image) -> Iptc:
    """IPTC of an opened image; empty where there is none or it cannot be parsed."""
    try:
        found = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]
    except Exception:  # of hostile files, Pillow's plugins raise all there is
        return Iptc()
    fields = {}
    for tag, name in _NAMES.items():
        values = found.get(tag, b"")
        parts = [decoded(part) for part in (values if isinstance(values, list) else [values])]
        text = shortened("; ".join(filter(None, map(shortened, parts))))
        if text:
            fields[name] = text
    # Programs that write both leave a digest of the IPTC, to know when another one changed it.
    resources = image.info.get("photoshop") or {}
    record, digest = resources.get(_RECORD), resources.get(_DIGEST)
    changed = bool(record and digest) and digest != hashlib.md5(record or b"").digest()
    return Iptc(fields, changed)
