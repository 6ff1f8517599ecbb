"""Embeddings of photos that are in no database, in Parquet files that `import_embeddings` takes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geosearch.arguments import Paths, check_range, paths
from geosearch.atomic_files import replacing
from geosearch.defaults import DEFAULT_MODEL
from geosearch.errors import InputError
from geosearch.features.backbones import Backbone, load_backbone, resolve
from geosearch.features.extraction import embed_files
from geosearch.features.ray_cluster import ray_cluster
from geosearch.ingest.records import Candidate, Rejection
from geosearch.ingest.sources import candidates, locate
from geosearch.parallel import batched
from geosearch.query import Query
from geosearch.storage import filesystem, is_remote, said
from geosearch.waiting import Progress

#: What of a photo is written beside its embedding, by the names that manifests have for it.
_TEXTS = ("uri", "author", "taken_at", "licence", "title", "source_id")
_NUMBERS = ("lat", "lon", "accuracy_m")


@dataclass(frozen=True)
class EmbeddedFiles:
    """What was written: `parts` files, and those that `were_there`, in `folder`.

    Of `photos` those that are `rejected` have no embedding, but an `error`, and the manifest rows
    that are `unusable` are in no file.
    """

    folder: str
    model: str
    dimension: int
    parts: int
    were_there: int
    photos: int
    rejected: int
    unusable: int
    seconds: float
    photos_per_s: float


class Part(NamedTuple):
    """A file to be written: its path or URL, the model, and what is said of each photo."""

    target: str
    model: str
    device: str
    rows: Sequence[dict[str, Any]]


def embed_into_files(
    sources: Paths,
    output: str | Path,
    *,
    model: str = DEFAULT_MODEL,
    device: str = "auto",
    rows: int = 1024,
    ray: str | None = None,
    progress: Progress | None = None,
) -> EmbeddedFiles:
    """Embed the photos of folders and manifests into Parquet files in the folder `output`.

    A file has the columns uri, lat, lon, accuracy_m, author, taken_at, licence, title, source_id,
    sha256, embedding and error. It is written whole, under a name that says of which model and
    photos it is: run again after a kill, only files that are missing are made.

    Parameters
    ----------
    output
        A folder, or a URL of one in an object store.
    rows
        Photos of a file.
    ray
        Address of a Ray cluster, on whose nodes it is done: they read and write by the same uris.
    progress
        Called with (photos done, None).

    Raises
    ------
    GeosearchError
        A source or model cannot be used, `output` cannot be written, or as `ray_cluster`.
    """
    check_range("rows", rows, 1)
    description = resolve(model).description
    folder = str(output) if is_remote(str(output)) else str(Path(output).resolve())
    started, there = time.perf_counter(), _names(folder)
    counts = {"were_there": 0, "parts": 0, "photos": 0, "rejected": 0, "unusable": 0}

    def parts() -> Iterator[Part]:
        for number, block in enumerate(batched(_said(paths("sources", sources), counts), rows)):
            name = _name(number, description.fingerprint, block)
            if name in there:
                counts["were_there"] += 1
            else:
                yield Part(f"{folder}/{name}", model, device, block)

    def report() -> None:
        if progress is not None:
            progress(counts["photos"], None)

    with nullcontext() if ray is None else ray_cluster(ray) as cluster:
        made = (
            map(write_part, parts())
            if cluster is None
            else cluster.run(write_part, ((part,) for part in parts()), report)
        )
        for photos, rejected in made:
            counts["parts"] += 1
            counts["photos"] += photos
            counts["rejected"] += rejected
            report()
    seconds = time.perf_counter() - started
    return EmbeddedFiles(
        folder=folder,
        model=description.name,
        dimension=description.dimension,
        **counts,
        seconds=seconds,
        photos_per_s=counts["photos"] / seconds,
    )


def _said(sources: Iterable[str | Path], counts: dict[str, int]) -> Iterator[dict[str, Any]]:
    """What sources say of each photo, in an order that is always the same."""
    for source in sources:
        for item in candidates(locate(source)):
            if isinstance(item, Candidate):
                values: dict[str, Any] = {name: getattr(item, name) for name in _TEXTS}
                values |= {name: getattr(item.position, name, None) for name in _NUMBERS}
                if item.taken_at is not None:
                    values["taken_at"] = item.taken_at.isoformat()
                yield values
            elif isinstance(item, Rejection):
                counts["unusable"] += 1


def _name(number: int, fingerprint: str, rows: Sequence[dict[str, Any]]) -> str:
    digest = hashlib.sha256(f"{fingerprint}{json.dumps(rows)}".encode()).hexdigest()
    return f"part-{number:06d}-{digest[:12]}.parquet"


def _names(folder: str) -> set[str]:
    """The names of the files in a folder, which is made if it is missing."""
    try:
        if is_remote(folder):
            store = filesystem(folder)
            listed = store.ls(folder, detail=False) if store.exists(folder) else []
            return {name.rpartition("/")[2] for name in listed}
        Path(folder).mkdir(parents=True, exist_ok=True)
        return {path.name for path in Path(folder).iterdir()}
    except Exception as error:  # fsspec's backends raise types of their own
        raise InputError(
            f"`output`: {folder} cannot be read: {said(error)}",
            "Give a folder that may be written.",
        ) from error


@lru_cache(maxsize=1)
def _backbone(model: str, device: str) -> Backbone:
    return load_backbone(model, device=device)


def write_part(part: Part) -> tuple[int, int]:
    """Embed the photos of a part and write its file; how many there are, and how many rejected."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    backbone = _backbone(part.model, part.device)
    outcomes = list(embed_files(backbone, (row["uri"] for row in part.rows)))

    def column(read: Callable[[Query], Any], kind: pa.DataType) -> pa.Array:
        values = (read(each) if isinstance(each, Query) else None for each in outcomes)
        return pa.array(values, kind)

    vector = pa.list_(pa.float32(), backbone.description.dimension)
    errors = [None if isinstance(each, Query) else each.rejection.message for each in outcomes]
    columns = {name: pa.array([row[name] for row in part.rows], pa.string()) for name in _TEXTS}
    columns |= {name: pa.array([row[name] for row in part.rows], pa.float64()) for name in _NUMBERS}
    columns["sha256"] = column(lambda each: each.sha256.hex(), pa.string())
    columns["embedding"] = column(lambda each: each.embedding.astype(np.float32), vector)
    columns["error"] = pa.array(errors, pa.string())
    about = {"geosearch_model": json.dumps({"name": backbone.description.name})}
    table = pa.table(columns).replace_schema_metadata(about)
    if is_remote(part.target):
        with filesystem(part.target).open(part.target, "wb") as stream:  # there once it is closed
            pq.write_table(table, stream, compression="zstd")
    else:
        with replacing(Path(part.target)) as path:
            pq.write_table(table, path, compression="zstd")
    return len(errors), len(errors) - errors.count(None)
