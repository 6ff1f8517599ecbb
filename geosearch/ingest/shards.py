"""Shards of webdataset and img2dataset: tar archives of samples, files of one name each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from geosearch.containers import tar_members
from geosearch.errors import PhotoRejected
from geosearch.images import EXTENSIONS
from geosearch.ingest.records import decoded
from geosearch.storage import ending, open_stream, parse_json, read_bytes

Row = Mapping[str, Any]


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
    pictures = [file for file in files if ending(file) in EXTENSIONS]
    if not pictures:
        yield f"{key}: no picture in this sample"
        return
    fields: Row | str = {}
    texts = {ending(file): f"tar://{name}!/{file}" for file in files}
    try:
        if ".json" in texts:
            fields = fields_of(parse_json(read_bytes(texts[".json"])))
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


#: Columns of the table that img2dataset writes beside a shard.
OF_SHARD = ("key", "status", "error_message")


def in_shard(row: Row, fields: Row | str, pictures: Mapping[str, str]) -> Row | str:
    """The fields of a row of that table, the picture being the shard's; or why there is none."""
    if isinstance(fields, str):
        return fields
    if row["status"] != "success":
        return f"img2dataset could not fetch it: {row.get('error_message') or row['status']}"
    if row["key"] not in pictures:
        return f"the shard has no picture {row['key']}"
    return {"source_id": row["key"], **fields, "uri": pictures[row["key"]]}


def pictures_beside(table: str) -> dict[str, str]:
    """Key → uri of the pictures in the shard beside a table of img2dataset; empty without one."""
    shard = table.removesuffix(".parquet") + ".tar"
    try:
        members, _ = tar_members(shard, open_stream)
    except Exception:  # there is none; fsspec's backends raise errors of their own
        return {}
    return {_key(name): f"tar://{shard}!/{name}" for name in members if ending(name) in EXTENSIONS}
