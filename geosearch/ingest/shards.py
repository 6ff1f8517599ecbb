"""Shards of webdataset and img2dataset: tar archives of samples, files of one name each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from geosearch.containers import tar_members
from geosearch.errors import PhotoRejected, Reason
from geosearch.ingest.records import decoded
from geosearch.photo_endings import PHOTO_ENDINGS
from geosearch.storage import ending, open_stream, parse_json, read_bytes

Row = Mapping[str, Any]

_DEGREES = ("lat", "lon", "lat_ref", "lon_ref")
# Fields by their names in the package exifread.
_EXIF = {
    "lat": "GPS GPSLatitude",
    "lon": "GPS GPSLongitude",
    "lat_ref": "GPS GPSLatitudeRef",
    "lon_ref": "GPS GPSLongitudeRef",
    "taken_at": "EXIF DateTimeOriginal",
    "offset": "EXIF OffsetTimeOriginal",
    "author": "Image Artist",
    "licence": "Image Copyright",
}
_RATIO = re.compile(r"(\d+)/(\d+)", re.ASCII)


def shard_rows(name: str, fields_of: Callable[[Any], Row | str]) -> Iterator[Row | str]:
    """The fields of each picture, from the JSON of its sample, or what is wrong with the sample.

    `fields_of` reads them from an object.
    """
    members, defect = tar_members(name, open_stream)
    for key, files in groupby(members, key=_key):
        yield from _sample(name, key, list(files), fields_of)
    if defect is not None:
        yield f"the archive is damaged after its {len(members):,} files: {defect}"


def _key(member: str) -> str:
    """The name of a sample: all before the first dot in the name of the file."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _sample(
    name: str, key: str, files: list[str], fields_of: Callable[[Any], Row | str]
) -> Iterator[Row | str]:
    pictures = [file for file in files if ending(file) in PHOTO_ENDINGS]
    if not pictures:
        yield f"{key}: no picture in this sample"
        return
    fields: Row | str = {}
    texts = {ending(file): f"tar://{name}!/{file}" for file in files}
    try:
        if ".json" in texts:
            item = parse_json(read_bytes(texts[".json"]))
            fields = with_exif(fields_of(item), item)
        if ".txt" in texts and not isinstance(fields, str) and not fields.get("title"):
            fields = {**fields, "title": decoded(read_bytes(texts[".txt"]))}
    except (PhotoRejected, ValueError) as error:
        fields = f"{key}: {error}"
    for picture in pictures:
        if isinstance(fields, str):
            yield fields
        else:
            own = {"source_id": PurePosixPath(key).name}
            yield {**own, **fields, "uri": f"tar://{name}!/{picture}"}


def with_exif(fields: Row | str, item: Any) -> Row | str:
    """The fields, with those that only the photo's EXIF has, which img2dataset keeps as text.

    The picture itself has lost its EXIF there.

    Raises
    ------
    PhotoRejected
        There are degrees with a denominator of zero.
    """
    said = item.get("exif") if isinstance(item, Mapping) else None
    tags = parse_json(said) if isinstance(said, str) else None
    if isinstance(fields, str) or not isinstance(tags, dict):
        return fields
    known = {field: tags[name] for field, name in _EXIF.items() if isinstance(tags.get(name), str)}
    if fields.get("lat") is not None or fields.get("lon") is not None:
        known = {field: value for field, value in known.items() if field not in _DEGREES}
    for axis in ("lat", "lon"):
        if axis in known:
            known[axis] = _RATIO.sub(_decimal, known[axis])
    return {**fields, **{field: known[field] for field in known if fields.get(field) is None}}


def _decimal(ratio: re.Match[str]) -> str:
    if int(ratio[2]) == 0:
        raise PhotoRejected(Reason.ZERO_DENOMINATOR, "EXIF has a denominator of zero")
    return str(int(ratio[1]) / int(ratio[2]))


#: Columns of the table that img2dataset writes beside a shard.
OF_SHARD = ("key", "status", "error_message", "exif")


def in_shard(row: Row, fields: Row | str, pictures: Mapping[str, str]) -> Row | str:
    """The fields of a row of that table, the picture being the shard's; or why there is none."""
    if isinstance(fields, str):
        return fields
    if row["status"] != "success":
        return f"img2dataset could not fetch it: {row.get('error_message') or row['status']}"
    if row["key"] not in pictures:
        return f"the shard has no picture {row['key']}"
    try:
        known = with_exif({"source_id": row["key"], **fields, "uri": pictures[row["key"]]}, row)
    except (PhotoRejected, ValueError) as error:
        return f"{row['key']}: {error}"
    return known


def pictures_beside(table: str) -> dict[str, str]:
    """Key → uri of the pictures in the shard or folder beside a table of img2dataset, if any."""
    stem = table.removesuffix(".parquet")
    try:
        files = [f"tar://{stem}.tar!/{name}" for name in tar_members(f"{stem}.tar", open_stream)[0]]
    except Exception:  # there is none; fsspec's backends raise errors of their own
        folder = Path(stem)
        files = list(map(str, folder.iterdir())) if folder.is_dir() else []
    return {PurePosixPath(_key(file)).name: file for file in files if ending(file) in PHOTO_ENDINGS}
