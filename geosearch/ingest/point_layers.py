"""Layers of points in files of GIS, read by GDAL: GeoPackage, Shapefile, FlatGeobuf, KML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow

from geosearch.errors import InputError
from geosearch.installation import optional
from geosearch.storage import ending, is_remote, regular

_BATCH = 1000
# GDAL goes by what a file holds, and some formats name other files: what an ending promises is seen
# to first. How files begin, and KML has it somewhere near.
_BEGINNINGS: Mapping[str, bytes] = {
    ".gpkg": b"SQLite format 3\0",
    ".shp": b"\0\0\x27\x0a",
    ".fgb": b"fgb\x03",
}
_KML, _VIRTUAL = b"<kml", b"<OGRVRT"
_NOT_POINTS = ("LineString", "Polygon", "Curve", "Surface", "None")


@dataclass(frozen=True)
class PointLayer:
    """A layer: its columns, and the EPSG code of its coordinates if it has one."""

    path: str
    name: str
    columns: Sequence[str]
    crs: str | None

    @contextmanager
    def batches(self) -> Iterator[tuple[str, Iterator[pyarrow.RecordBatch]]]:
        """The column of the geometry, as WKB, and the rows."""
        pyogrio = optional("reading layers of GIS", "gis", "pyogrio")
        opened = pyogrio.open_arrow(
            self.path,
            layer=self.name,
            batch_size=_BATCH,
            use_pyarrow=True,
            datetime_as_string=True,  # or their zones are lost
        )
        with opened as (about, reader):
            yield about["geometry_name"] or "wkb_geometry", reader


def point_layers(path: str, beginning: bytes) -> list[PointLayer]:
    """The layers of a local file that may have points.

    Raises
    ------
    InputError, OSError
        It is remote, or not what its ending says, or has no such layer.
    MissingExtraError
        The extra `gis` is not installed.
    """
    kind = ending(path)
    if is_remote(path):
        raise InputError(f"{path}: layers of GIS are read from local files", "Fetch it first.")
    is_kml = _KML in beginning and _VIRTUAL not in beginning
    if not (is_kml if kind == ".kml" else beginning.startswith(_BEGINNINGS[kind])):
        raise InputError(f"{path} is not what its ending {kind} says", "See that it is whole.")
    for beside in Path(path).parent.iterdir():  # which GDAL opens too, be it a pipe
        if beside.name.startswith(f"{Path(path).stem}.") and not beside.is_dir():
            regular(beside)
    pyogrio = optional("reading layers of GIS", "gis", "pyogrio")
    found = []
    for name, geometry in pyogrio.list_layers(path):
        if not any(kind in str(geometry) for kind in _NOT_POINTS):
            about: dict[str, Any] = pyogrio.read_info(path, layer=name)
            found.append(PointLayer(path, name, list(about["fields"]), about["crs"]))
    if not found:
        raise InputError(f"{path} has no layer of points")
    return found
