"""Modes of mixtures of von Mises-Fisher kernels: their local maxima, found from every neighbour."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geosearch.density.kernel import Mixture
from geosearch.sphere import lat_lon

#: Components lighter than this, of a total of 1, are left out.
NO_WEIGHT = 1e-100


@dataclass(frozen=True, slots=True)
class Mode:
    """A local maximum of the density.

    Latitude and longitude in degrees, `mass` the share of the neighbours' weight that climbs to
    this mode, `density` the density per steradian there.
    """

    lat: float
    lon: float
    mass: float
    density: float


def find_modes(mixture: Mixture) -> tuple[Mode, ...]:
    """All modes of the mixture that its components climb to, the densest first.

    From each component a trajectory climbs the density; those that meet go on as one.
    """
    from geosearch.density import climb  # loads Numba: half a second, only where modes are sought

    light = mixture.weights < NO_WEIGHT
    if light.any():
        mixture = mixture.where(~light)
    kernels = np.vstack([mixture.centres.T, mixture.kappa, mixture.log_peaks])
    trajectories = np.empty((len(mixture.weights), 7))
    trajectories[:, : climb.REACH] = mixture.centres
    trajectories[:, climb.REACH] = climb.SAME_TRAJECTORY / math.sqrt(mixture.kappa.max())
    trajectories[:, climb.MASS] = mixture.weights
    trajectories[:, climb.MOVING] = True
    trajectories = trajectories[: climb.climb(kernels, trajectories)]
    lat, lon = lat_lon(trajectories[:, : climb.REACH])
    density = np.exp(trajectories[:, climb.LOG_DENSITY])
    columns = lat, lon, trajectories[:, climb.MASS], density
    modes = map(Mode, *(column.tolist() for column in columns))
    return tuple(sorted(modes, key=lambda mode: (-mode.density, -mode.mass)))
