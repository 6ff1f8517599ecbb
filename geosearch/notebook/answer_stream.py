"""Answers as they come: to be gone through, or put into a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from geosearch.localization import Failure, Localization
from geosearch.localization.answer import ROW
from geosearch.notebook.frames import Records

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from pandas import DataFrame

A = TypeVar("A", bound=Localization | Failure)


class Answers(Iterator[A], Generic[A]):
    """Answers, each computed when it is asked for, and given once.

    Examples
    --------
    >>> [type(answer).__name__ for answer in gs.localize_many([*photos, "missing.jpg"])]
    ['Localization', 'Localization', 'Failure']
    >>> gs.localize_many(photos)
    <answers that are not asked for yet: go through them, or call to_frame()>
    """

    def __init__(self, given: Iterator[A]) -> None:
        self._given = given

    def __next__(self) -> A:
        return next(self._given)

    def to_frame(self) -> DataFrame:
        """All that are left as a table of pandas, a row each.

        Of a photo that could not be read it has `photo`, `reason` and `message` alone. Of
        the answers `localization_id`, `lat`, `lon` (degrees), `place`, `agreement` and what else
        `geosearch show` prints.

        Errors as of `Records.to_frame`.

        Examples
        --------
        >>> gs.localize_many([*photos, "missing.jpg"]).to_frame()[["lat", "reason"]].shape
        (3, 2)
        """
        return self._records().to_frame()

    def to_geopandas(self) -> GeoDataFrame:
        """As `to_frame`, with the estimates as points in EPSG:4326, None where there is none.

        Examples
        --------
        >>> gs.localize_many(photos).to_geopandas().geometry.notna().all()
        np.True_
        """
        return self._records().to_geopandas()

    def _records(self) -> Records[dict[str, Any]]:
        rows = [each.to_row() for each in self]
        return Records(rows, [*dict.fromkeys((*ROW, *(name for row in rows for name in row)))])

    def __repr__(self) -> str:
        return "<answers that are not asked for yet: go through them, or call to_frame()>"
