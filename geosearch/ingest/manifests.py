"""Manifests: tables that name photos and say where they were taken. Read as a stream."""

from __future__ import annotations

import codecs
import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from geosearch.arguments import check_wgs84
from geosearch.errors import GeosearchError, InputError, PhotoRejected, Reason, unusable_file
from geosearch.ingest.positions import Position, checked
from geosearch.ingest.records import Candidate, Rejection, is_believable, shortened
from geosearch.storage import open_stream, resolve

#: Field → column names it goes by, lower case with `_`, the preferred first.
#: No plain `accuracy`: Flickr and YFCC use that name for a zoom level.
COLUMNS: Mapping[str, Sequence[str]] = {
    "uri": (
        *("uri", "path", "file", "filepath", "file_path", "filename", "file_name"),
        *("image", "image_path", "photo", "img", "url", "image_url", "img_id"),
    ),
    "lat": ("lat", "latitude", "gps_latitude", "y"),
    "lon": ("lon", "lng", "long", "longitude", "gps_longitude", "x"),
    "author": ("author", "user", "user_id", "username", "owner", "photographer", "creator"),
    "taken_at": ("taken_at", "date_taken", "datetaken", "captured_at", "datetime", "date"),
    "licence": ("licence", "license", "license_name", "licensename"),
    "accuracy_m": ("accuracy_m", "accuracy_metres", "accuracy_meters", "gps_accuracy_m"),
    "position_source": ("position_source",),
    "localization_id": ("localization_id",),
    "title": ("title", "caption"),
    "source_id": ("source_id", "photo_id", "id"),
}

_EMPTY = {"", "na", "n/a", "nan", "null", "none"}
_PARQUET_BATCH = 1000

Row = Mapping[str, Any]


def is_manifest(name: str) -> bool:
    """True if the file ending is that of a manifest."""
    return _suffix(name) in _READERS


def read_manifest(uri: str) -> Iterator[Candidate | Rejection]:
    """The photos a manifest names; a row that cannot be used is a `Rejection`.

    Raises
    ------
    InputError
        The manifest cannot be read, or lacks a column it must have.
    """
    rows = _READERS.get(_suffix(uri))
    if rows is None:
        raise InputError(
            f"{uri} is not a manifest by its name", f"A manifest ends in {', '.join(SUFFIXES)}."
        )
    with _opened(uri) as stream:
        for number, row in rows(stream, uri):
            origin = f"{uri}#{number}"
            if isinstance(row, str):
                yield _bad(origin, PhotoRejected(Reason.BAD_ROW, row))
                continue
            try:
                yield _candidate(row, uri, origin)
            except PhotoRejected as error:
                yield _bad(origin, error)


@contextmanager
def _opened(uri: str) -> Iterator[IO[bytes]]:
    try:
        with open_stream(uri) as stream:
            yield stream
    except (GeosearchError, MemoryError):
        raise
    except Exception as error:  # csv, Arrow and fsspec's backends raise types of their own
        raise unusable_file(
            f"cannot read the manifest {uri}: {error}",
            error,
            "Check the path, the permissions, and that the file is what its ending says.",
        ) from error


def count_rows(uri: str) -> int | None:
    """Rows of a manifest where that is known without reading it all."""
    if _suffix(uri) != ".parquet":
        return None
    with _opened(uri) as stream:
        return int(pyarrow.parquet.ParquetFile(stream).metadata.num_rows)


def _bad(origin: str, error: PhotoRejected) -> Rejection:
    return Rejection.of(origin, "manifest", error, origin)


def _candidate(row: Row, manifest: str, origin: str) -> Candidate:
    uri = _text(row, "uri")
    if uri is None:
        raise PhotoRejected(Reason.BAD_ROW, "no file or URL in this row")
    try:
        resolved = resolve(uri, manifest)
    except InputError as error:
        raise PhotoRejected(Reason.BAD_ROW, error.message) from error
    return Candidate(
        uri=resolved,
        origin=origin,
        position=_position(row),
        author=_text(row, "author"),
        taken_at=_time(row),
        licence=_text(row, "licence"),
        title=_text(row, "title"),
        source_id=_text(row, "source_id"),
    )


def _position(row: Row) -> Position | None:
    lat, lon = _number(row, "lat"), _number(row, "lon")
    accuracy = _number(row, "accuracy_m")
    if accuracy is not None and math.isnan(accuracy):
        accuracy = None
    if lat is None and lon is None:
        return None
    if lat is None or lon is None:
        missing = "latitude" if lat is None else "longitude"
        raise PhotoRejected(Reason.INCOMPLETE, f"half a position: the {missing} is missing")
    if accuracy is not None and not 0 <= accuracy < 1e9:
        raise PhotoRejected(Reason.BAD_ROW, f"accuracy_m is {accuracy}")
    # What geosearch writes of its answers names them, or says that they are estimates.
    said = (_text(row, "position_source") or "").lower()
    guessed = said == "estimated" or _text(row, "localization_id") is not None
    return checked(lat, lon, "estimated" if guessed else "manifest", accuracy)


def _text(row: Row, field: str) -> str | None:
    value = row.get(field)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip()
    if not text or (field != "uri" and text.lower() in _EMPTY):
        return None
    return text if field == "uri" else shortened(text)


def _number(row: Row, field: str) -> float | None:
    value = row.get(field)
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _EMPTY - {"nan"}:
            return None
        if text.count(",") == 1 and "." not in text:
            text = text.replace(",", ".")  # a decimal comma
    else:
        text = value
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        raise PhotoRejected(
            Reason.NOT_A_NUMBER, f"{field} is not a number: {str(value)[:80]!r}"
        ) from None


def _time(row: Row) -> datetime | None:
    value = row.get("taken_at")
    if not isinstance(value, datetime):
        text = _text(row, "taken_at")
        if text is None:
            return None
        if text[4:5] == ":" and text[7:8] == ":":  # EXIF writes 2020:01:31
            text = text[:10].replace(":", "-") + text[10:]
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            raise PhotoRejected(
                Reason.BAD_ROW, f"taken_at is not an ISO 8601 time: {text[:80]!r}"
            ) from None
    time = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not is_believable(time):
        raise PhotoRejected(Reason.BAD_ROW, f"taken_at is not of the years 1800 to 2199: {value}")
    return time


# ---- the kinds of manifests: row number and fields, or what is wrong with the row -------------

_Rows = Iterator[tuple[int, Row | str]]


def _csv_rows(stream: IO[bytes], name: str) -> _Rows:
    # surrogateescape: a stray Latin-1 letter in a title is no reason to stop.
    first = stream.readline()
    if b"\0" in first or first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{name} is not UTF-8", "Convert it, e.g. by iconv -f UTF-16 -t UTF-8.")
    lines = (line.decode("utf-8", "surrogateescape") for line in stream)
    header_line = first.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    delimiter = max(",;\t|", key=header_line.count)
    csv.field_size_limit(1 << 24)
    rows = csv.reader(_chain(header_line, lines), delimiter=delimiter)
    header = next(rows, [])
    columns = _columns(header, name)
    number = 0
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield number, f"line {rows.line_num}: {error}"
            continue
        if not any(cell.strip() for cell in cells):
            continue
        number += 1
        if len(cells) != len(header):
            yield number, f"line {rows.line_num}: {len(cells)} cells, {len(header)} columns"
            continue
        yield number, {field: cells[index] for field, index in columns.items()}


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _parquet_rows(stream: IO[bytes], name: str) -> _Rows:
    file = pyarrow.parquet.ParquetFile(stream)
    header = file.schema_arrow.names
    columns = {field: header[index] for field, index in _columns(header, name).items()}
    number = 0
    for batch in file.iter_batches(_PARQUET_BATCH, columns=list(columns.values())):
        for row in _python_rows(batch):
            number += 1
            yield (
                number,
                row
                if isinstance(row, str)
                else {field: row[column] for field, column in columns.items()},
            )


def _python_rows(batch: pyarrow.RecordBatch) -> list[Row | str]:
    """The rows of a batch; what is wrong with one that Python cannot hold (the year 10000)."""
    try:
        return list(_to_microseconds(batch).to_pylist())
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            return [f"a value cannot be read: {error}"]
    return [row for index in range(batch.num_rows) for row in _python_rows(batch.slice(index, 1))]


def _to_microseconds(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """The batch with its nanoseconds, which Python's times have none of, dropped."""
    for index, field in enumerate(batch.schema):
        if pyarrow.types.is_timestamp(field.type) and field.type.unit == "ns":
            micro = pyarrow.timestamp("us", field.type.tz)
            batch = batch.set_column(index, field.name, batch.column(index).cast(micro, safe=False))
    return batch


def _jsonl_rows(stream: IO[bytes], _name: str) -> _Rows:
    number = 0
    for line in stream:
        if not line.strip():
            continue
        number += 1
        try:
            item = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        yield number, _json_row(item)


def _geojson_rows(stream: IO[bytes], name: str) -> _Rows:
    try:
        document = json.load(stream)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}", "Give a GeoJSON FeatureCollection.") from (
            error
        )
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise InputError(
            f"{name} is not a GeoJSON FeatureCollection",
            "One JSON object per line goes in a .jsonl file.",
        )
    check_wgs84(name, document.get("crs"))
    for number, feature in enumerate(features, 1):
        yield number, _json_row(feature)


def _json_row(item: Any) -> Row | str:
    """Fields of a JSON object or a GeoJSON feature, whose geometry goes before its properties."""
    if not isinstance(item, dict):
        return f"not a JSON object: {str(item)[:80]}"
    if item.get("type") != "Feature":
        return _named(item)
    geometry, properties = item.get("geometry"), item.get("properties")
    row = _named(properties if isinstance(properties, dict) else {})
    if geometry is None:
        return row
    coordinates = geometry.get("coordinates") if isinstance(geometry, dict) else None
    if not isinstance(coordinates, list) or geometry.get("type") != "Point" or len(coordinates) < 2:
        return "the geometry is not a Point"
    return row | {"lon": coordinates[0], "lat": coordinates[1]}


def _named(item: Row) -> dict[str, Any]:
    keys = list(item)
    return {field: item[keys[index]] for field, index in _matches(keys).items()}


def _matches(header: Sequence[str]) -> dict[str, int]:
    """Field → index of its column; the preferred alias wins."""
    names = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in header]
    return {
        field: names.index(alias)
        for field, aliases in COLUMNS.items()
        if (alias := next((alias for alias in aliases if alias in names), None)) is not None
    }


def _columns(header: Sequence[str], name: str) -> dict[str, int]:
    columns = _matches(header)
    missing = [field for field in ("uri", "lat", "lon") if field not in columns]
    if missing:
        raise InputError(
            f"{name}: no column for {', '.join(missing)}; its columns are "
            f"{', '.join(header) or 'none'}",
            "Accepted: "
            + "; ".join(f"{field}: {', '.join(COLUMNS[field])}" for field in missing)
            + ". Latitude and longitude may be empty in a row: its EXIF is read then.",
        )
    return columns


_READERS: Mapping[str, Callable[[IO[bytes], str], _Rows]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".parquet": _parquet_rows,
    ".geojson": _geojson_rows,
    ".json": _geojson_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
}

#: File endings of manifests.
SUFFIXES = tuple(_READERS)


def _suffix(name: str) -> str:
    stem, dot, ending = name.lower().rpartition(".")
    return dot + ending if stem else ""
