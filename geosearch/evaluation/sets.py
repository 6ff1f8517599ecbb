"""The field's test sets: Im2GPS, Im2GPS3k, YFCC4k, YFCC26k, from their tables and images.

Ground truth comes as a table (IMG_ID, LAT, LON, and AUTHOR or PhotoPageURL) as published with
these sets, or, for Im2GPS, from the comments of its JPEG files, where the collectors wrote it.
The images are a folder of the user's.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from geosearch.arguments import check_choice
from geosearch.errors import InputError, PhotoRejected, Reason, unusable_file
from geosearch.evaluation.queries import Labelled, QuerySet
from geosearch.images import open_image
from geosearch.ingest.positions import checked
from geosearch.ingest.records import Candidate
from geosearch.ingest.sources import candidates, locate
from geosearch.localization.answer import Failure
from geosearch.storage import open_stream, read_bytes, resolve


@dataclass(frozen=True)
class FieldSet:
    """A test set: the labels its table has as published, and whether its images carry them."""

    name: str
    labels: int
    comments: bool = False


#: By name. Im2GPS3k has 3,000 images, of which three have no label.
SETS: Mapping[str, FieldSet] = {
    known.name: known
    for known in (
        FieldSet("im2gps", 237, comments=True),
        FieldSet("im2gps3k", 2997, comments=True),
        FieldSet("yfcc4k", 4536),
        FieldSet("yfcc26k", 25_600),
    )
}

_FLICKR_ID = re.compile(r"\d+@N\d+")
_PHOTO_PAGE = re.compile(r"/photos/([^/]+)/")


def read_set(set_name: str, images: str | Path, table: str | Path | None = None) -> QuerySet:
    """The queries of a test set.

    An image of the table is taken from the same path below `images`, or else from anywhere below
    it under the same file name; one that is not there is a failure `missing`, and an image there
    without a row in the table a failure `unlabelled`. Without a table, positions are those in the
    images' comments.

    Raises
    ------
    InputError
        There is no such set or folder, no photo below it is part of the set, or the table cannot
        be read or is needed and not given.
    """
    check_choice("set_name", set_name, SETS)
    known = SETS[set_name]
    folder = _Folder(images)
    if table is not None:
        queries, failures = _from_table(folder, table)
    elif known.comments:
        queries, failures = _from_comments(folder)
    else:
        raise InputError(
            f"`set_name`: {set_name}: its images carry no positions",
            "Give its ground-truth table (.csv).",
        )
    if not queries:
        raise InputError(
            f"{images}: none of the photos there is part of {set_name}",
            f"{len(folder)} photos are there. Check the folder and the table.",
        )
    return QuerySet(set_name, tuple(queries), tuple(failures))


class _Folder:
    """The photos below a folder, found by relative path or by file name; knows which were not."""

    def __init__(self, folder: str | Path) -> None:
        root = locate(str(folder)).rstrip("/") + "/"
        found = [item.uri for item in candidates(root) if isinstance(item, Candidate)]
        self._by_path = {uri.removeprefix(root): uri for uri in found}
        self._by_name = {PurePosixPath(uri).name: uri for uri in reversed(found)}
        self._unused = dict.fromkeys(found)

    def __len__(self) -> int:
        return len(self._by_path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_path.values())

    def find(self, image: str) -> str | None:
        """The uri of an image of the table."""
        path = PurePosixPath(image.replace("\\", "/"))
        uri = self._by_path.get(str(path)) or self._by_name.get(path.name)
        if uri is not None:
            self._unused.pop(uri, None)
        return uri

    def unused(self) -> list[str]:
        """Photos that were not found by `find`."""
        return list(self._unused)


def _from_table(folder: _Folder, table: str | Path) -> tuple[list[Labelled], list[Failure]]:
    queries: list[Labelled] = []
    failures: list[Failure] = []
    for number, row in enumerate(_rows(table), start=1):
        image = row["IMG_ID"]
        uri = folder.find(image)
        try:
            truth = _position(row["LAT"], row["LON"])
        except PhotoRejected as error:
            failures.append(Failure(uri or image, error.reason, f"row {number}: {error.message}"))
            continue
        if uri is None:
            failures.append(Failure(image, Reason.MISSING, "the folder has no such image"))
        else:
            queries.append(Labelled(uri, truth, _author(row)))
    failures += [
        Failure(uri, Reason.UNLABELLED, "the table has no row for this image")
        for uri in folder.unused()
    ]
    return queries, failures


def _rows(table: str | Path) -> Iterator[dict[str, str]]:
    try:
        with open_stream(resolve(str(table))) as stream:
            lines = (line.decode("utf-8-sig", "replace") for line in stream)
            reader = csv.DictReader(lines, restval="")
            missing = {"IMG_ID", "LAT", "LON"}.difference(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{table} has no column {', '.join(sorted(missing))}",
                    "The tables of these sets have IMG_ID, LAT and LON.",
                )
            yield from reader
    except (OSError, csv.Error) as error:
        raise unusable_file(f"cannot read the table {table}: {error}", error) from error


def _position(lat: str, lon: str) -> tuple[float, float]:
    try:
        position = checked(float(lat), float(lon), "manifest")
    except ValueError:
        raise PhotoRejected(
            Reason.NOT_A_NUMBER, f"the position is not a number: {lat[:40]!r}, {lon[:40]!r}"
        ) from None
    return position.lat, position.lon


def _author(row: Mapping[str, str]) -> str | None:
    """The Flickr account. The AUTHOR of a published Im2GPS table is not always whole: last."""
    page = row.get("PhotoPageURL") or ""
    for text in (row["IMG_ID"], page, row.get("AUTHOR") or ""):
        if found := _FLICKR_ID.search(text):
            return found[0]
    alias = _PHOTO_PAGE.search(page)
    return alias[1] if alias else row.get("AUTHOR") or None


# A comment is one line of "name: value"; all of Im2GPS is written so.
_LINE = re.compile(r"^\s*(latitude|longitude|owner)\s*:?\s+(\S+)", re.IGNORECASE | re.MULTILINE)


def _from_comments(folder: _Folder) -> tuple[list[Labelled], list[Failure]]:
    queries: list[Labelled] = []
    failures: list[Failure] = []
    for uri in folder:
        try:
            facts = _comments(uri)
            if not {"latitude", "longitude"} <= facts.keys():
                text = "its comments give no latitude and longitude"
                raise PhotoRejected(Reason.UNLABELLED, text)
            truth = _position(facts["latitude"], facts["longitude"])
        except PhotoRejected as error:
            failures.append(Failure(uri, error.reason, error.message))
            continue
        named = _FLICKR_ID.search(PurePosixPath(uri).name)
        queries.append(Labelled(uri, truth, named[0] if named else facts.get("owner")))
    return queries, failures


def _comments(uri: str) -> dict[str, str]:
    """What the comment segments of a JPEG say of latitude, longitude and owner."""
    image = open_image(read_bytes(uri))
    segments = [data for marker, data in getattr(image, "applist", ()) if marker == "COM"]
    text = "\n".join(segment.decode("latin-1") for segment in segments)
    return {name.lower(): value for name, value in _LINE.findall(text)}
