"""Rows as tables of pandas and GeoPandas, and lists that become such."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

import shapely

from geosearch.errors import InputError
from geosearch.installation import optional
from geosearch.untrusted import for_terminal

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from pandas import DataFrame

#: Rows and letters of a cell that a notebook shows.
_ROWS, _LETTERS = 10, 60
_WGS84 = "EPSG:4326"

Row = Mapping[str, Any]
T = TypeVar("T")


def data_frame(rows: Iterable[Row], columns: Sequence[str]) -> DataFrame:
    """A table of pandas; rows may lack some of its `columns`.

    Raises
    ------
    MissingExtraError
        pandas is not installed.
    """
    pandas = optional("a table", "notebook", "pandas")
    listed = list(rows)
    frame: DataFrame = pandas.DataFrame(listed, columns=columns)
    for name in frame.select_dtypes("floating"):
        # Whole numbers of which some are missing, ids above all, stay whole.
        if all(isinstance(row.get(name), int | None) for row in listed):
            frame[name] = frame[name].astype("Int64")
    return frame


def geo_frame(
    rows: Iterable[Row], columns: Sequence[str], *, geometry: str | None = None
) -> GeoDataFrame:
    """A table of GeoPandas, of shapes in the column `geometry`, or of points at `lat` and `lon`.

    Points, and shapes that say no other, are in degrees of WGS 84, EPSG:4326.

    Raises
    ------
    MissingExtraError
        GeoPandas is not installed.
    """
    geopandas = optional("a table of places", "notebook", "geopandas")
    frame = data_frame(rows, columns)
    if geometry is not None:
        known = [shape for shape in frame[geometry] if shape is not None]
        srid = int(shapely.get_srid(known[0])) if known else 0
        crs = f"EPSG:{srid}" if srid else _WGS84
        return geopandas.GeoDataFrame(frame, geometry=geometry, crs=crs)
    lat, lon = (frame.pop(name).astype(float) for name in ("lat", "lon"))
    points = shapely.points(lon, lat)
    points[lat.isna() | lon.isna()] = None
    return geopandas.GeoDataFrame(frame, geometry=points, crs=_WGS84)


class Records(list[T]):
    """A list of rows that a notebook shows as a table, and that becomes one of pandas.

    Its items are dataclasses, or the rows of a query as dicts; `columns` are their names.

    Examples
    --------
    >>> photos = gs.photos(collection="views")
    >>> photos
    <60 rows of id, collection, uri, lat, lon, ...>
    >>> photos.to_frame().shape
    (60, 20)
    """

    def __init__(self, rows: Iterable[T], columns: Sequence[str]) -> None:
        super().__init__(rows)
        self.columns = tuple(columns)

    @classmethod
    def of(cls, kind: type[T], rows: Iterable[T]) -> Records[T]:
        """Dataclasses of a kind."""
        return cls(rows, [field.name for field in fields(kind)])  # type: ignore[arg-type]

    def to_frame(self) -> DataFrame:
        """The rows as a table of pandas.

        Raises
        ------
        MissingExtraError
            pandas is not installed: the extra `notebook`.

        Examples
        --------
        >>> gs.photos(collection="views").to_frame()["licence"].nunique()
        1
        """
        return data_frame(self._rows(), self.columns)

    def to_geopandas(self) -> GeoDataFrame:
        """The rows as a table of GeoPandas: by their first column of shapes, or `lat` and `lon`.

        Shapes keep their reference system; points are in EPSG:4326.

        Raises
        ------
        MissingExtraError
            GeoPandas is not installed: the extra `notebook`.
        InputError
            No column says where anything is.

        Examples
        --------
        >>> gs.photos(collection="views").to_geopandas().crs.to_epsg()
        4326
        """
        rows = [*self._rows()]
        shapes = (
            name
            for name in self.columns
            if any(isinstance(r.get(name), shapely.Geometry) for r in rows)
        )
        geometry = next(shapes, None)
        if geometry is None and not {"lat", "lon"} <= {*self.columns}:
            raise InputError(
                f"none of the columns {', '.join(self.columns)} says where anything is",
                "Select a geometry, or lat and lon.",
            )
        return geo_frame(rows, self.columns, geometry=geometry)

    def __repr__(self) -> str:
        names = ", ".join(self.columns[:5]) + ", ..." * (len(self.columns) > 5)
        return f"<{len(self):,} rows of {names}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{shown(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{shown(row.get(name))}</td>' for name in self.columns)}</tr>"
            for row in self._rows(_ROWS)
        )
        more = f"<p>{_ROWS} of {len(self):,} rows</p>" if len(self) > _ROWS else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def _rows(self, limit: int | None = None) -> Iterable[Row]:
        return (row if isinstance(row, Mapping) else vars(row) for row in self[:limit])


def shown(value: Any, letters: int = _LETTERS) -> str:
    """A value in a cell of HTML: as text without commands to a terminal or a browser, and short."""
    text = "" if value is None else for_terminal(str(value), keep="")
    return escape(text if len(text) <= letters else f"{text[: letters - 1]}…")
