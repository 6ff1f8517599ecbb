"""Manifests: tables that name photos and say where they were taken. Read as a stream."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import PurePosixPath
from typing import IO, Any, cast

import pyarrow
import pyarrow.parquet

from geosearch.arguments import check_wgs84
from geosearch.containers import picture_column
from geosearch.errors import GeosearchError, InputError, PhotoRejected, Reason, unusable_file
from geosearch.ingest import manifest_values as values
from geosearch.ingest.camera_view import north
from geosearch.ingest.delimited import UTF_8, checked_encoding, delimited_rows, text_lines
from geosearch.ingest.flickr import flickr_row, im2gps_rows, is_yfcc, yfcc_rows
from geosearch.ingest.point_layers import point_layers
from geosearch.ingest.positions import Position, checked
from geosearch.ingest.records import Candidate, Rejection, shortened, storable
from geosearch.ingest.shards import OF_SHARD, in_shard, pictures_beside, shard_rows
from geosearch.ingest.street_level import mapillary_row, stac_row
from geosearch.storage import ending, local_path, open_stream, parse_json, resolve

#: Field → column names it goes by, lower case with `_`, the preferred first. Those of exiftool have
#: no `_` and may have a group. No plain `accuracy`: with Flickr and YFCC that is a zoom level.
COLUMNS: Mapping[str, Sequence[str]] = {
    "uri": (
        *("uri", "path", "file", "filepath", "file_path", "filename", "file_name", "sourcefile"),
        *("image", "image_path", "photo", "img", "url", "image_url", "img_id"),
    ),
    "lat": (
        *("lat", "latitude", "gps_latitude", "composite:gpslatitude", "gpslatitude"),
        *("exif:gpslatitude", "y"),
    ),
    "lon": (
        *("lon", "lng", "long", "longitude", "gps_longitude", "composite:gpslongitude"),
        *("gpslongitude", "exif:gpslongitude", "x"),
    ),
    "epsg": ("epsg", "srid"),
    "lat_ref": ("gps_latitude_ref", "gpslatituderef", "exif:gpslatituderef"),
    "lon_ref": ("gps_longitude_ref", "gpslongituderef", "exif:gpslongituderef"),
    "author": (
        *("author", "user", "user_id", "username", "owner", "photographer", "creator"),
        *("artist", "exif:artist"),
    ),
    "taken_at": (
        *("taken_at", "date_taken", "datetaken", "captured_at", "datetime", "date"),
        *("subsecdatetimeoriginal", "composite:subsecdatetimeoriginal", "date_time_original"),
        *("datetimeoriginal", "exif:datetimeoriginal"),
    ),
    "offset": ("offset_time_original", "offsettimeoriginal", "exif:offsettimeoriginal"),
    "licence": (
        *("licence", "license", "license_name", "licensename", "copyright", "exif:copyright"),
    ),
    "accuracy_m": (
        *("accuracy_m", "accuracy_metres", "accuracy_meters", "gps_accuracy_m"),
        *("gpshpositioningerror", "exif:gpshpositioningerror"),
    ),
    "position_source": ("position_source",),
    "direction_deg": (
        *("direction_deg", "direction", "heading", "azimuth", "bearing", "compass_angle"),
        *("gpsimgdirection", "exif:gpsimgdirection", "gimbalyawdegree", "xmp:gimbalyawdegree"),
    ),
    "direction_reference": (
        *("direction_reference", "gpsimgdirectionref", "exif:gpsimgdirectionref"),
    ),
    "field_of_view_deg": ("field_of_view_deg", "field_of_view", "fov", "hfov", "composite:fov"),
    "pitch_deg": ("pitch_deg", "pitch", "gimbalpitchdegree", "xmp:gimbalpitchdegree"),
    "altitude_m": (
        *("altitude_m", "altitude", "alt", "elevation", "ele", "composite:gpsaltitude"),
        *("gpsaltitude", "exif:gpsaltitude"),
    ),
    "altitude_ref": ("gpsaltituderef", "exif:gpsaltituderef"),
    "localization_id": ("localization_id",),
    "title": ("title", "caption", "text"),
    "source_id": ("source_id", "photo_id", "id"),
}

#: What else columns might say of a position that is a geometry.
_IN_DEGREES: Mapping[str, Any] = {"lat_ref": None, "lon_ref": None, "epsg": None}
_EPSG = re.compile(r"EPSG:\d+")
_PLACE = re.compile("lat|lon|epsg")
_PARQUET_BATCH = 1000
_LARGEST_DOCUMENT = 2**31  # a small packed file may hold one that fills the memory
_MOST_LOST = 1_000_000  # rows of a damaged part; a damaged count may be any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """How sources are read.

    Of manifests the column of a field where its name does not tell, the encoding, and whether they
    are to say positions; of folders patterns of names and of paths below them that are left out
    (`*` and `?` stand for letters). With `texts` the rows of manifests are of texts, their titles,
    and need name no photos.

    Raises
    ------
    InputError
        There is no such field or encoding.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    encoding: str = UTF_8
    exclude: Sequence[str] = ()
    positions: bool = True
    texts: bool = False

    def __post_init__(self) -> None:
        checked_encoding(self.encoding)
        for name in self.columns:
            if name not in COLUMNS:
                raise InputError(f"no field is called {name}", f"Fields: {', '.join(COLUMNS)}.")

    @property
    def key(self) -> str:
        """The field without which a row says nothing."""
        return "title" if self.texts else "uri"

    def epsg(self) -> str | None:
        """The EPSG code of all coordinates, where it is given in place of a column."""
        given = self.columns.get("epsg", "").upper().removeprefix("EPSG:")
        return given if given.isdecimal() else None

    @classmethod
    def of(
        cls,
        columns: str | Mapping[str, str] | None,
        encoding: str | None,
        exclude: Sequence[str] | None,
    ) -> Reading:
        """As options give it, columns as in `lat=Breite,lon=Länge`."""
        if isinstance(columns, str):
            pairs = [part.partition("=") for part in columns.split(",")]
            if not all(name and column for name, _, column in pairs):
                raise InputError(
                    f"the columns cannot be told from {columns!r}",
                    "Write field=column, separated by commas: lat=Breite,lon=Länge",
                )
            columns = {name.strip(): column.strip() for name, _, column in pairs}
        return cls(columns or {}, encoding or UTF_8, exclude or ())


#: As the sources themselves say.
AS_THEY_SAY = Reading()


def is_manifest(name: str) -> bool:
    """True if the file ending is that of a manifest, packed by gzip or bzip2 or not."""
    return _kind(name) in _READERS


def _kind(name: str) -> str:
    """The ending of a manifest, unpacked. Those of YFCC100M have none."""
    kind = ending(name)
    if kind in _PACKED:
        inner = PurePosixPath(local_path(name).stem)
        name, kind = inner.name, inner.suffix.lower()
        if kind not in _UNPACKED:
            kind = ""
    is_yfcc100m = PurePosixPath(name).name.lower().startswith("yfcc100m_dataset")
    return ".tsv" if is_yfcc100m and not kind else kind


def read_manifest(uri: str, reading: Reading = AS_THEY_SAY) -> Iterator[Candidate | Rejection]:
    """The photos a manifest names; a row that cannot be used is a `Rejection`.

    Raises
    ------
    InputError
        The manifest cannot be read, or lacks a column it must have.
    """
    rows = _READERS.get(_kind(uri))
    if rows is None:
        raise InputError(
            f"{uri} is not a manifest by its name", f"A manifest ends in {', '.join(SUFFIXES)}."
        )
    fixed = reading.epsg()
    with _opened(uri) as stream:
        for number, row in enumerate(rows(stream, uri, reading), 1):
            origin = f"{uri}#{number}"
            if isinstance(row, str):
                yield _bad(origin, PhotoRejected(Reason.BAD_ROW, row))
                continue
            try:
                row = row if fixed is None else {**row, "epsg": fixed}
                yield _candidate(row, _text_uri(row) if reading.texts else _uri(row, uri), origin)
            except PhotoRejected as error:
                yield _bad(origin, error)


@contextmanager
def _opened(uri: str) -> Iterator[IO[bytes]]:
    try:
        with open_stream(uri) as stream:
            unpack = _PACKED.get(ending(uri))
            yield stream if unpack is None else cast("IO[bytes]", unpack(stream))
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
    if _kind(uri) != ".parquet":
        return None
    with _opened(uri) as stream:
        return int(pyarrow.parquet.ParquetFile(stream).metadata.num_rows)


def _bad(origin: str, error: PhotoRejected) -> Rejection:
    return Rejection.of(origin, "manifest", error, origin)


def _candidate(row: Row, uri: str, origin: str) -> Candidate:
    warnings: list[str] = []

    def optional(name: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except PhotoRejected:
            warnings.append(name)
            return None

    position = _position(row, optional)
    taken_at = optional("taken_at", lambda: values.moment(row.get("taken_at"), row.get("offset")))
    view: dict[str, Any] = {
        name: optional(name, partial(values.measure, name, row.get(name)))
        for name in ("direction_deg", "field_of_view_deg", "pitch_deg", "altitude_m")
    }
    view["direction_reference"] = north(_text(row, "direction_reference") or "")
    if view["altitude_m"] is not None and values.is_below(row.get("altitude_ref")):
        view["altitude_m"] = -abs(view["altitude_m"])
    return Candidate(
        uri=uri,
        origin=origin,
        position=position,
        author=_text(row, "author"),
        taken_at=taken_at,
        licence=_text(row, "licence"),
        title=_text(row, "title"),
        source_id=_text(row, "source_id"),
        warnings=tuple(warnings),
        **view,
    )


def _uri(row: Row, manifest: str) -> str:
    value = row.get("uri")
    if isinstance(value, Mapping):  # a picture with its path, as data sets keep it
        value = value.get("path")
    # A file may be called "none".
    uri = value.strip() if isinstance(value, str) else values.text(value)
    if not uri:
        raise PhotoRejected(Reason.BAD_ROW, "no file or URL in this row")
    if not storable(uri):
        raise PhotoRejected(
            Reason.BAD_ROW,
            f"the name is not UTF-8: {uri!r}; say what the manifest is: `encoding` cp1252",
        )
    try:
        return resolve(uri, manifest)
    except InputError as error:
        raise PhotoRejected(Reason.BAD_ROW, error.message) from error


def _text_uri(row: Row) -> str:
    text = _text(row, "title")
    if text is None:
        raise PhotoRejected(Reason.BAD_ROW, "no text in this row")
    return f"text:{text}"


def _position(row: Row, optional: Callable[[str, Callable[[], Any]], Any]) -> Position | None:
    if values.text(row.get("epsg")) is not None:
        lat, lon = values.unprojected(row["epsg"], row.get("lat"), row.get("lon"))
    else:
        lat = values.degrees("latitude", "lat", row.get("lat"), row.get("lat_ref"))
        lon = values.degrees("longitude", "lon", row.get("lon"), row.get("lon_ref"))
    accuracy = optional("accuracy_m", lambda: values.metres(row.get("accuracy_m")))
    if lat is None and lon is None:
        return None
    if lat is None or lon is None:
        missing = "latitude" if lat is None else "longitude"
        raise PhotoRejected(Reason.INCOMPLETE, f"half a position: the {missing} is missing")
    # What geosearch writes of its answers names them, or says what they are.
    said = (_text(row, "position_source") or "").lower()
    if said == "reviewed":
        return checked(lat, lon, "reviewed", accuracy)
    guessed = said == "estimated" or _text(row, "localization_id") is not None
    return checked(lat, lon, "estimated" if guessed else "manifest", accuracy)


def _text(row: Row, field: str) -> str | None:
    found = values.text(row.get(field))
    return found and shortened(found)


# ---- the kinds of manifests: the fields of each row, or what is wrong with it ------------------

_Rows = Iterator[Row | str]


def _csv_rows(stream: IO[bytes], name: str, reading: Reading) -> _Rows:
    lines = text_lines(stream, name, reading.encoding)
    first = next(lines, "")
    lines = chain([first], lines)
    if is_yfcc(first):
        yield from yfcc_rows(lines)
        return
    rows = delimited_rows(lines, name)
    _, header = next(rows, (1, []))
    if isinstance(header, str):
        raise InputError(f"{name}: {header}", "The first line names the columns.")
    columns = _columns(header, name, reading)
    for _, cells in rows:
        yield (
            cells
            if isinstance(cells, str)
            else {field: cells[index] for field, index in columns.items()}
        )


def _parquet_rows(stream: IO[bytes], name: str, reading: Reading) -> _Rows:
    file = pyarrow.parquet.ParquetFile(stream)
    header = file.schema_arrow.names
    geometry = _geometry_column(file, name)
    indices = _columns(header, name, reading, located=geometry is not None)
    columns = {field: header[index] for field, index in indices.items()}
    pictures = None if reading.texts else picture_column(file.schema_arrow, columns["uri"])
    beside = pictures_beside(name) if {"key", "status"} <= set(header) else {}
    wanted = [*columns.values(), *filter(None, [geometry]), *filter(header.count, OF_SHARD)]
    if pictures is not None:
        # Not the bytes: they are read where they lie, when their turn comes.
        wanted[wanted.index(columns["uri"])] = f"{columns['uri']}.path"
    number = 0
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        left = about.num_rows
        try:
            for batch in file.iter_batches(_PARQUET_BATCH, row_groups=[group], columns=wanted):
                for row in _python_rows(batch):
                    left -= 1
                    number += 1
                    if isinstance(row, str):
                        yield row
                        continue
                    fields = {field: row.get(column) for field, column in columns.items()}
                    if pictures is not None and _has_values(about, pictures):
                        fields["uri"] = f"parquet://{name}!/{columns['uri']}/{number}"
                    found = _with_geometry(fields, row[geometry]) if geometry else fields
                    yield in_shard(row, found, beside) if beside else found
        except (OSError, pyarrow.ArrowException) as error:
            number += left
            for _ in range(min(left, _MOST_LOST)):
                yield f"this part of the file is damaged: {error}"


def _has_values(group: Any, column: str) -> bool:
    """Whether a part of a Parquet file has any value in a column, as far as is known."""
    about = (group.column(index) for index in range(group.num_columns))
    known = next(each.statistics for each in about if each.path_in_schema == column)
    return known is None or not known.has_null_count or known.null_count < group.num_rows


def _geometry_column(file: pyarrow.parquet.ParquetFile, name: str) -> str | None:
    """The column of points of a GeoParquet file; None if it is none."""
    try:
        said = parse_json((file.metadata.metadata or {}).get(b"geo", b"{}"))
        column = said.get("primary_column")
        about = said.get("columns", {}).get(column, {})
        crs = about.get("crs")
        if isinstance(crs, dict):
            known = crs.get("id") or {}
            crs = f"{known.get('authority')}:{known.get('code')}" if known else crs.get("name")
    except (ValueError, AttributeError, TypeError):
        return None
    if column not in file.schema_arrow.names or about.get("encoding") != "WKB":
        return None
    check_wgs84(name, crs)
    return str(column)


def _with_geometry(row: Row, wkb: bytes | None) -> Row | str:
    if wkb is None:
        return {**row, "lat": None, "lon": None}
    import shapely

    point = shapely.from_wkb(wkb, on_invalid="ignore")
    if not isinstance(point, shapely.Point) or point.is_empty:
        return "the geometry is not a Point"
    return {**row, "lat": point.y, "lon": point.x, **_IN_DEGREES}


def _layer_rows(stream: IO[bytes], name: str, reading: Reading) -> _Rows:
    """Of all layers of points that name photos, or say texts."""
    layers = point_layers(name, stream.read(4096))
    named = [(layer, _matches(layer.columns, name, reading, located=True)) for layer in layers]
    if not any(reading.key in indices for _, indices in named):
        _columns(layers[0].columns, name, reading, located=True)  # says what is missing
    for layer, indices in named:
        if reading.key not in indices:
            continue
        epsg = _epsg(f"{name}, layer {layer.name}", layer.crs)
        columns = {field: layer.columns[index] for field, index in indices.items()}
        with layer.batches() as (geometry, batches):
            for batch in batches:
                for row in _python_rows(batch):
                    if isinstance(row, str):
                        yield row
                        continue
                    fields = {field: row[column] for field, column in columns.items()}
                    found = _with_geometry(fields, row[geometry])
                    yield found if isinstance(found, str) else {**found, "epsg": epsg}


def _epsg(name: str, crs: str | None) -> str | None:
    """The code of a system other than WGS 84, which has to have one."""
    if crs is not None and _EPSG.fullmatch(crs):
        return crs
    check_wgs84(name, crs)
    return None


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


def _jsonl_rows(stream: IO[bytes], name: str, reading: Reading) -> _Rows:
    lines = text_lines(stream, name, reading.encoding)
    named = partial(_json_row, name=name, reading=reading)
    for number, line in enumerate(filter(str.strip, lines), 1):
        try:
            item = parse_json(line)
        except ValueError as error:
            yield f"not JSON: {error}"
            continue
        yield named(item, is_first=number == 1)


def _text_rows(stream: IO[bytes], name: str, reading: Reading) -> _Rows:
    found = im2gps_rows(text_lines(stream, name, reading.encoding))
    first = next(found, None)
    if first is None:
        raise InputError(f"{name} is no list of photos as the programs of Im2GPS write it")
    yield from chain([first], found)


def _shard_rows(_stream: IO[bytes], name: str, reading: Reading) -> _Rows:
    return shard_rows(name, partial(_json_row, name=name, reading=reading, is_first=False))


def _json_rows(stream: IO[bytes], name: str, reading: Reading) -> _Rows:
    """Of a GeoJSON FeatureCollection, or of a list of objects such as exiftool writes."""
    try:
        data = stream.read(_LARGEST_DOCUMENT + 1)
        if len(data) > _LARGEST_DOCUMENT:
            raise InputError(f"{name} is over 2 GiB", "JSON lines (.jsonl) are read as a stream.")
        document = parse_json(
            data if reading.encoding == UTF_8 else data.decode(reading.encoding, "replace")
        )
    except ValueError as error:
        raise InputError(f"{name} is not JSON: {error}", "Give a GeoJSON FeatureCollection.") from (
            error
        )
    items = document
    if isinstance(document, dict):
        pages = (document.get("features"), document.get("data"), document.get("photos"))
        items = next(filter(None, pages), pages[0])
        items = items.get("photo") if isinstance(items, dict) else items
    if not isinstance(items, list):
        raise InputError(
            f"{name} is neither a GeoJSON FeatureCollection nor a list of objects",
            "One JSON object per line goes in a .jsonl file.",
        )
    if isinstance(document, dict):
        check_wgs84(name, document.get("crs"))
    for number, item in enumerate(items, 1):
        yield _json_row(item, name=name, reading=reading, is_first=number == 1)


def _json_row(item: Any, *, name: str, reading: Reading, is_first: bool) -> Row | str:
    """Fields of a JSON object, or what is wrong with it."""
    if not isinstance(item, dict):
        return f"not a JSON object: {str(item)[:80]}"
    try:
        known = (layout(item) for layout in _LAYOUTS if not reading.columns)
        found = next((row for row in known if row is not None), None)
        return _plain_row(item, name, reading, is_first) if found is None else found
    except PhotoRejected as error:
        return error.message
    except (TypeError, ValueError, AttributeError) as error:  # a list where there should be a text
        return f"not as such files are: {error}"


def _plain_row(item: dict[str, Any], name: str, reading: Reading, is_first: bool) -> Row | str:
    """Fields of an object or a GeoJSON feature, whose geometry goes before its properties."""
    is_feature = item.get("type") == "Feature"
    properties = item.get("properties") if is_feature else item
    geometry = item.get("geometry") if is_feature else None
    keys = properties if isinstance(properties, dict) else {}
    try:
        matches = _matches(list(keys), name, reading, located=geometry is not None)
    except InputError as error:
        if is_first:
            raise
        return error.message
    cells = list(keys.values())
    row = {field: cells[index] for field, index in matches.items()}
    if geometry is None:
        return row
    lat, lon = values.point(geometry)
    return {**row, "lat": lat, "lon": lon, **_IN_DEGREES}


def _matches(
    header: Sequence[str], name: str, reading: Reading, *, located: bool = False
) -> dict[str, int]:
    """Field → index of its column; the preferred alias wins, but for a position there is one.

    `located`: the position does not come from a column.
    """
    names = [column.strip().lower().replace(" ", "_").replace("-", "_") for column in header]
    if set(names) >= _BOX:
        names = ["" if column in ("x", "y") else column for column in names]
    found = {
        field: names.index(alias)
        for field, aliases in COLUMNS.items()
        if (alias := next((alias for alias in aliases if alias in names), None)) is not None
    }
    for field, column in reading.columns.items():
        if field == "epsg" and reading.epsg() is not None:
            continue
        exact = column if column in header else column.lower()
        known = list(header) if column in header else names
        if exact in known:
            found[field] = known.index(exact)
        else:
            raise InputError(
                f"{name}: no column is called {column}; its columns are {', '.join(header)}",
                "Correct `columns`.",
            )
    if not reading.positions:
        return {field: index for field, index in found.items() if not _PLACE.match(field)}
    if located:
        return found
    several = [
        column
        for field in ("lat", "lon")
        if field not in reading.columns
        and len({_base(alias) for alias in COLUMNS[field] if alias in names}) > 1
        for column, known in zip(header, names, strict=True)
        if known in COLUMNS[field]
    ]
    if several:
        raise InputError(
            f"{name}: the position could be in any of {', '.join(several)}",
            "Say which: `columns` lat=…,lon=…",
        )
    return found


#: Beside these, x and y are the corner of a box in the picture.
_BOX = {"w", "h"}


def _base(alias: str) -> str:
    """One word for the names of one thing: with a group of exiftool's, with `_` or without."""
    return alias.rpartition(":")[2].replace("_", "")


def _columns(
    header: Sequence[str], name: str, reading: Reading, *, located: bool = False
) -> dict[str, int]:
    columns = _matches(header, name, reading, located=located)
    key = reading.key
    needed = (key,) if located or not reading.positions else (key, "lat", "lon")
    missing = [field for field in needed if field not in columns]
    if missing:
        raise InputError(
            f"{name}: no column for {', '.join(missing)}; its columns are "
            f"{', '.join(header) or 'none'}",
            "Accepted: "
            + "; ".join(f"{field}: {', '.join(COLUMNS[field])}" for field in missing)
            + f". Or say which: `columns` {missing[0]}=… "
            + "Latitude and longitude may be empty in a row: its EXIF is read then.",
        )
    return columns


#: Objects that are known by what they are called; the rest go by the names of columns.
_LAYOUTS = (mapillary_row, stac_row, flickr_row)
_PACKED: Mapping[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
}
_UNPACKED = frozenset({"", ".csv", ".tsv", ".json", ".geojson", ".jsonl", ".ndjson"})

_READERS: Mapping[str, Callable[[IO[bytes], str, Reading], _Rows]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".parquet": _parquet_rows,
    ".geojson": _json_rows,
    ".json": _json_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".txt": _text_rows,
    ".tar": _shard_rows,
    **dict.fromkeys((".gpkg", ".shp", ".fgb", ".kml"), _layer_rows),
}

#: File endings of manifests.
SUFFIXES = tuple(_READERS)
