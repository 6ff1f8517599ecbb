"""From the neighbours of a photo to the place where it was taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack, final

import numpy as np
from numpy.typing import ArrayLike

from geosearch.arguments import check_choice
from geosearch.defaults import DEFAULT_WEIGHTING
from geosearch.density import im2gps
from geosearch.density.caps import cap_radii_km
from geosearch.density.kernel import Mixture
from geosearch.density.modes import Mode, find_modes
from geosearch.density.regions import Region, highest_density_regions
from geosearch.density.spacing import spacing_km
from geosearch.density.weights import neighbour_weights
from geosearch.errors import InputError
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, unit_vectors
from geosearch.waiting import Progress

METHODS = ("density", "nearest", "im2gps")

#: A bandwidth in kilometres, or those of the kernels whose mean each neighbour carries.
Bandwidth = float | tuple[float, ...]

#: The bandwidth of method im2gps, 4° of latitude, for its radii, regions and maps.
IM2GPS_BANDWIDTH_KM = float(np.radians(im2gps.SIGMA_DEG) * EARTH_RADIUS_KM)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a photo was taken, and how sure that is.

    `lat`, `lon`: the estimate in degrees. `agreement`: the mass of the mode behind it, from 0 to 1:
    how far the neighbours agree, which is not how sure the estimate is.
    `radius_km`: for each level, the great-circle radius round the estimate that holds that
    share of the probability. `modes`: the densest first. `weights`: those of the neighbours,
    (k,), summing to 1. `regions`: for each level, the highest-density region; empty if not
    asked for. `bandwidth_km`: the bandwidth, or the several, of the density behind all of these;
    none of likely cells.
    """

    lat: float
    lon: float
    agreement: float
    radius_km: dict[float, float]
    modes: tuple[Mode, ...]
    weights: Array
    regions: dict[float, Region]
    bandwidth_km: Bandwidth = ()


class Locating(TypedDict, total=False):
    """Keywords of `locate`, which says what they mean and what stands for None."""

    bandwidth_km: float | Sequence[float] | None
    bandwidth_weights: Sequence[float] | None
    weighting: str | None
    snap_km: float | None
    levels: Sequence[float]
    regions: bool


def locate(
    lat: ArrayLike,
    lon: ArrayLike,
    distance: ArrayLike,
    *,
    method: str = "density",
    **how: Unpack[Locating],
) -> Place:
    """Estimate a place from k neighbours in order of rank.

    `lat`, `lon`: positions in degrees, (k,). `distance`: cosine distances of the embeddings,
    (k,), in [0, 2]. `weighting`: see `neighbour_weights`. `bandwidth_km`: None follows the
    neighbours (`spacing_km`); of several, each neighbour carries the mean of the kernels, weighted
    by `bandwidth_weights` (None: equally).
    `levels`: shares in (0, 1) for the radii and regions. Methods:

    - ``density``: the densest mode of a von Mises-Fisher mixture. The agreement is the share of the
      weight whose neighbours climb to that mode. With `snap_km`, the estimate is the best-ranked
      neighbour nearer than this to the mode, if there is one.
    - ``nearest``: the first neighbour, with all the weight. Radii and regions are those of one
      kernel round it, so they say how wide the kernel is, not how sure the match; the agreement
      is 1.
    - ``im2gps``: the authors' grid algorithm (`geosearch.density.im2gps`). The one mode is that
      of the grid and the agreement the share of the weight within three of its standard deviations
      (12° of arc). The bandwidth, 4° unless given, is that of the radii and regions; the
      algorithm's own is fixed. It snaps within 100 km unless `snap_km` is given.

    Raises InputError for an unknown method, bandwidth, weighting, distance to snap or level, for
    no neighbours, and for arrays that do not match or hold values out of range.
    """
    question = _Question(method, **how)
    return question.answer(*_checked(lat, lon, distance))


def locate_many(
    lat: Sequence[ArrayLike],
    lon: Sequence[ArrayLike],
    distance: Sequence[ArrayLike],
    *,
    methods: Sequence[str] = ("density",),
    progress: Progress | None = None,
    **how: Unpack[Locating],
) -> dict[str, list[Place]]:
    """The places of many photos by each of several methods, as `locate` finds them one by one.

    `lat`, `lon`, `distance`: one array (k,) a photo, not necessarily of one length. Everything is
    checked before the first is located. Without `levels` no radii are computed, nor regions unless
    `regions` says so. `progress` is told how many photos of how many are done.

    Raises InputError as `locate` does, and for sequences of different lengths.
    """
    if not len(lat) == len(lon) == len(distance):
        raise InputError(
            f"There are latitudes of {len(lat)}, longitudes of {len(lon)} and distances of "
            f"{len(distance)} photos.",
            "Give one array of each for every photo.",
        )
    how = {"regions": False, **how}
    questions = [_Question(method, **how) for method in dict.fromkeys(methods)]
    photos = [_checked(*arrays) for arrays in zip(lat, lon, distance, strict=True)]
    places: dict[str, list[Place]] = {method: [] for method in methods}
    for done, photo in enumerate(photos, start=1):
        for question in questions:
            places[question.method].append(question.answer(*photo))
        if progress:
            progress(done, len(photos))
    return places


def density_at(
    lat: ArrayLike,
    lon: ArrayLike,
    *,
    neighbour_lat: ArrayLike,
    neighbour_lon: ArrayLike,
    weights: ArrayLike,
    bandwidth_km: float | Sequence[float],
    bandwidth_weights: Sequence[float] | None = None,
) -> Array:
    """Log of the density per steradian at points in degrees, of any shape, for maps.

    The neighbours' positions and weights are (k,), as `locate` was given and returned them.
    """
    points = unit_vectors(lat, lon)
    mixture = Mixture.of_neighbours(
        neighbour_lat, neighbour_lon, weights, bandwidth_km, bandwidth_weights
    )
    return mixture.log_density(points.reshape(-1, 3)).reshape(points.shape[:-1])


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of neighbours: the arguments of `locate`, checked, without the neighbours."""

    method: str
    bandwidth_km: float | Sequence[float] | None = None
    bandwidth_weights: Sequence[float] | None = None
    weighting: str | None = None
    snap_km: float | None = None
    levels: Sequence[float] = (0.5, 0.9)
    regions: bool = True

    def __post_init__(self) -> None:
        _check_levels(self.levels)
        check_choice("method", self.method, METHODS)
        if self.snap_km is not None and not self.snap_km >= 0:
            raise InputError(
                f"`snap_km`: {self.snap_km} is out of range", "Give kilometres, 0 or more."
            )

    def _bandwidth(self, lat: Array, lon: Array, weights: Array) -> Bandwidth:
        """The bandwidth, or the several, for neighbours (k,)."""
        if self.bandwidth_km is None:
            return IM2GPS_BANDWIDTH_KM if self.method == "im2gps" else spacing_km(lat, lon, weights)
        several = tuple(float(bandwidth) for bandwidth in np.atleast_1d(self.bandwidth_km))
        return several[0] if len(several) == 1 else several

    def answer(self, lat: Array, lon: Array, distance: Array) -> Place:
        """The place that neighbours show."""
        weights = neighbour_weights(distance, self.weighting or DEFAULT_WEIGHTING)
        bandwidth = self._bandwidth(lat, lon, weights)
        if self.method == "nearest":
            weights = np.zeros(len(lat))
            weights[0] = 1.0
        mixture = Mixture.of_neighbours(lat, lon, weights, bandwidth, self.bandwidth_weights)
        if self.method == "density":
            modes = find_modes(mixture)
            estimate = modes[0].lat, modes[0].lon
            if self.snap_km:
                estimate = im2gps.snap(lat, lon, estimate, self.snap_km)
        elif self.method == "nearest":
            estimate = float(lat[0]), float(lon[0])
            modes = (_mode_at(mixture, estimate, mass=1.0),)
        else:
            mode = im2gps.grid_mode(lat, lon, weights)
            snap_km = im2gps.SNAP_KM if self.snap_km is None else self.snap_km
            estimate = im2gps.snap(lat, lon, mode, snap_km)
            near = great_circle_km(*mode, lat, lon) <= 3 * IM2GPS_BANDWIDTH_KM
            modes = (_mode_at(mixture, mode, mass=min(1.0, float(weights[near].sum()))),)
        radii = cap_radii_km(mixture, unit_vectors(*estimate), self.levels)
        return Place(
            lat=estimate[0],
            lon=estimate[1],
            agreement=modes[0].mass,
            radius_km=dict(zip(self.levels, radii, strict=True)),
            modes=modes,
            weights=weights,
            regions=highest_density_regions(mixture, self.levels) if self.regions else {},
            bandwidth_km=bandwidth,
        )


def _mode_at(mixture: Mixture, position: tuple[float, float], mass: float) -> Mode:
    return Mode(*position, mass=mass, density=float(np.exp(mixture.log_at(*position))))


def _checked(lat: ArrayLike, lon: ArrayLike, distance: ArrayLike) -> tuple[Array, Array, Array]:
    lat, lon, distance = (np.asarray(a, float) for a in (lat, lon, distance))
    if not (lat.ndim == 1 and lat.shape == lon.shape == distance.shape):
        raise InputError(
            "Latitudes, longitudes and distances of neighbours do not match: their shapes are "
            f"{lat.shape}, {lon.shape} and {distance.shape}.",
            "Give three lists of the same length.",
        )
    if not len(lat):
        raise InputError("No neighbours: there is nothing to locate by.", "Widen the filter.")
    if not (np.abs(lat) <= 90).all() or not (np.abs(lon) <= 180).all():
        raise InputError("A neighbour's position is not on the Earth.", "Check lat and lon.")
    if not np.isfinite(distance).all():
        raise InputError("A neighbour's distance is not a number.", "Check the embeddings.")
    return lat, lon, distance


def _check_levels(levels: Sequence[float]) -> None:
    for level in levels:
        if not 0 < level < 1:
            raise InputError(
                f"{level} is not a share of probability.", "Give levels between 0 and 1."
            )
