"""What filters mean, in NumPy and without a database: the truth their SQL is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import shapely
from hypothesis import assume
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geosearch.retrieval import filters
from geosearch.retrieval.filters import Filter

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Photos:
    """Photos in memory; None where a photo lacks something."""

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    taken_at: Sequence[datetime | None]
    authors: Sequence[str | None]
    licences: Sequence[str | None] = ()
    accuracy_m: Sequence[float | None] = ()
    collections: Sequence[str] = ()
    sha256: Sequence[str] = ()
    borders: Mapping[str, BaseGeometry] = field(default_factory=dict)


def passing(where: Filter, photos: Photos) -> Mask:
    """Which photos (n,) pass; discards a hypothesis example that rounding would decide."""
    match where:
        case filters.And(parts):
            return _all([_everything(photos), *_each(parts, photos)])
        case filters.Or(parts):
            return _any([~_everything(photos), *_each(parts, photos)])
        case filters.Not(part):
            return ~passing(part, photos)
        case filters.BoundingBox(west, south, east, north):
            in_height = (photos.lat >= south) & (photos.lat <= north)
            # Both names of the 180th meridian are one place.
            return in_height & _any([_between(x, west, east) for x in _both_names(photos.lon)])
        case filters.Near(lat, lon, km):
            beyond = kilometres(photos.lat, photos.lon, lat, lon) - km
            assume(np.all(np.abs(beyond) > 1e-6))
            return beyond < 0
        case filters.Within(area):
            return _inside(area, photos)
        case filters.Country(names):
            return _any([_inside(photos.borders[name], photos) for name in names])
        case filters.TakenAfter(moment):
            return _known(photos.taken_at, lambda taken: taken >= moment)
        case filters.TakenBefore(moment):
            return _known(photos.taken_at, lambda taken: taken < moment)
        case filters.AccurateTo(metres):
            return _known(photos.accuracy_m, lambda accuracy: accuracy <= metres)
        case filters.ByAuthors(names):
            return _known(photos.authors, lambda author: author in names)
        case filters.HasLicence(names):
            return _known(photos.licences, lambda licence: licence in names)
        case filters.InCollections(names):
            return _known(photos.collections, lambda name: name in names)
        case filters.SameBytes(names):
            return _known(photos.sha256, lambda digest: digest in names)
        case _:
            raise NotImplementedError(f"no truth for {where!r}")


def kilometres(
    lat: NDArray[np.float64], lon: NDArray[np.float64], lat0: float, lon0: float
) -> NDArray[np.float64]:
    """Great-circle distances on a sphere of 6371 km, by the angle between unit vectors."""
    here, there = _unit(lat, lon), _unit(np.array([lat0]), np.array([lon0]))
    sine = np.linalg.norm(np.cross(here, there), axis=-1)
    return np.asarray(6371.0 * np.arctan2(sine, np.sum(here * there, axis=-1)))


def _unit(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def _everything(photos: Photos) -> Mask:
    return np.ones(len(photos.lat), dtype=bool)


def _each(parts: Sequence[Filter], photos: Photos) -> list[Mask]:
    return [passing(part, photos) for part in parts]


def _all(masks: Sequence[Mask]) -> Mask:
    return np.asarray(np.logical_and.reduce(masks))


def _any(masks: Sequence[Mask]) -> Mask:
    return np.asarray(np.logical_or.reduce(masks))


def _both_names(lon: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    return [np.where(np.abs(lon) == 180, name, lon) for name in (-180.0, 180.0)]


def _between(lon: NDArray[np.float64], west: float, east: float) -> Mask:
    if west <= east:
        return (lon >= west) & (lon <= east)
    return (lon >= west) | (lon <= east)


def _inside(area: BaseGeometry, photos: Photos) -> Mask:
    return np.asarray(shapely.intersects_xy(area, photos.lon, photos.lat))


def _known(values: Sequence[Any], holds: Callable[[Any], bool]) -> Mask:
    return np.array([value is not None and holds(value) for value in values], dtype=bool)
