"""Flickr: the lines of YFCC100M, photos as its API gives them, the texts beside those of Im2GPS.

A photo was placed on a map; its accuracy is how far in that map was zoomed: "World level is 1,
Country is ~3, Region ~6, City ~11, Street ~16" (flickr.photos.geo.setLocation). In metres it is
half of a tile of web maps at that zoom: 306 m for a street, 9.8 km for a city, 2,500 km for a
country.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import unquote_plus

from geosearch.errors import PhotoRejected
from geosearch.ingest.manifest_values import number, text

_USER = re.compile(r"\d+@N\d\d")
_CC = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/([\d.]+)")
_HALF_OF_THE_EQUATOR = 20_037_508  # metres
_PLACE = re.compile(r"geo:(lat|lon|long)=([-+.\d]+)")

# By the numbers of flickr.photos.licenses.getInfo.
_LICENCES = (
    *("All Rights Reserved", "CC-BY-NC-SA-2.0", "CC-BY-NC-2.0", "CC-BY-NC-ND-2.0", "CC-BY-2.0"),
    *("CC-BY-SA-2.0", "CC-BY-ND-2.0", "No known copyright restrictions"),
    *("United States Government Work", "CC0-1.0", "Public Domain Mark 1.0"),
)
_SIZES = tuple(f"url_{size}" for size in "okhlczm")

# What follows the user, whichever columns go before.
_FIELDS = (
    *("author", "nickname", "taken_at", "uploaded", "device", "title", "description", "tags"),
    *("machine_tags", "lon", "lat", "level", "page", "uri", "licence", "licence_url"),
    *("server", "farm", "secret", "original_secret", "ending", "marker"),
)
_BEFORE = 3  # the number of the line, the photo and its hash; releases lack the one or the other

Row = Mapping[str, Any]


def is_yfcc(line: str) -> bool:
    """Whether a line is one of YFCC100M, which has no header: 23 to 25 cells, one a user."""
    cells = line.rstrip("\n").split("\t")
    before = len(cells) - len(_FIELDS)
    return 0 < before <= _BEFORE and bool(_USER.fullmatch(cells[before]))


def yfcc_rows(lines: Iterator[str]) -> Iterator[Row | str]:
    """The fields of each line, or what is wrong with it."""
    for index, line in enumerate(lines, 1):
        try:
            yield _of_line(line) if is_yfcc(line) else f"line {index} is none of YFCC100M"
        except PhotoRejected as error:
            yield error.message


def _of_line(line: str) -> Row | str:
    cells = line.rstrip("\n").split("\t")
    before = len(cells) - len(_FIELDS)
    row: dict[str, Any] = dict(zip(_FIELDS, map(unquote_plus, cells[before:]), strict=True))
    if row["marker"] == "1":
        return "a video"
    # A hash is no number; the number of the line goes before that of the photo.
    row["source_id"] = next((cell for cell in cells[:before][::-1] if cell.isdecimal()), None)
    return _row(row, row["licence_url"] or row["licence"])


def flickr_row(item: Row) -> Row | None:
    """The fields of a photo as the API of Flickr gives it; None if it is none."""
    if not _USER.fullmatch(str(item.get("owner"))) or "id" not in item:
        return None
    address = next((item[size] for size in _SIZES if item.get(size)), None)
    if address is None and {"server", "secret"} <= item.keys():
        photo = f"{item['server']}/{item['id']}_{item['secret']}_b.jpg"
        address = f"https://live.staticflickr.com/{photo}"
    title = item.get("title")
    known = {
        "uri": address,
        "author": item["owner"],
        "taken_at": item.get("datetaken"),
        "title": title.get("_content") if isinstance(title, Mapping) else title,
        "machine_tags": text(item.get("machine_tags")) or "",
        "lat": item.get("latitude"),
        "lon": item.get("longitude"),
        "level": item.get("accuracy"),
        "source_id": item["id"],
    }
    return _row(known, text(item.get("license")) or "")


def im2gps_rows(lines: Iterator[str]) -> Iterator[Row | str]:
    """The fields of each photo in a text that the programs of Im2GPS wrote beside the photos.

    A block of `name: value` begins with `photo: id secret server`; the photo has all these in its
    name.
    """
    block: dict[str, str] = {}
    for line in chain(lines, ["photo:"]):
        name, _, value = line.partition(":")
        if name == "photo" and block:
            yield _of_block(block)
            block = {}
        if name == "photo" or block:
            block[name.strip()] = value.strip()


def _of_block(block: Row) -> Row | str:
    parts = [*block["photo"].split(), block.get("owner", "")]
    try:
        row = flickr_row({**block, "id": parts[0], "server": "", "secret": ""})
    except PhotoRejected as error:
        return error.message
    if row is None or len(parts) != 4:
        return f"neither the photo nor its owner can be told: {block['photo']}"
    return {**row, "uri": f"{'_'.join(parts)}.jpg"}


def _row(row: dict[str, Any], licence: str) -> Row:
    level = number("accuracy", row["level"]) if text(row["level"]) else None
    placed = text(row["lat"]) is not None and text(row["lon"]) is not None and level != 0
    if not placed:
        said = dict(_PLACE.findall(row["machine_tags"]))
        row |= {"lat": said.get("lat"), "lon": said.get("lon", said.get("long"))}
        level = None
    metres = _HALF_OF_THE_EQUATOR / 2**level if level is not None and 1 <= level <= 16 else None
    return row | {"accuracy_m": metres, "licence": _licence(licence)}


def _licence(said: str) -> str | None:
    """A licence by its number, its address, or its name."""
    if said.isdecimal():
        known = int(said) < len(_LICENCES)
        return _LICENCES[int(said)] if known else f"Flickr licence {said}"
    found = _CC.search(said)
    if found is None:
        return said or None
    kind, name, version = found.groups()
    if kind == "publicdomain":
        return f"CC0-{version}" if name == "zero" else f"Public Domain Mark {version}"
    return f"CC-{name.upper()}-{version}"
