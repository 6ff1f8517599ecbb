"""Modes of mixtures of von Mises-Fisher kernels: their local maxima, found from every neighbour."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from geosearch.density import climb
from geosearch.density.kernel import Mixture
from geosearch.sphere import Array, lat_lon
from geosearch.waiting import announced

#: Components lighter than this, of a total of 1, are left out.
NO_WEIGHT = 1e-100

#: Pairs of a trajectory and a kernel that a process leaves to NumPy: 200 answers by 100 neighbours,
#: or two by 1000. By then NumPy has lost the time that machine code takes to load.
PATIENCE = 2_000_000


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
    light = mixture.weights < NO_WEIGHT
    if light.any():
        mixture = mixture.where(~light)
    kernels = np.vstack([mixture.centres.T, mixture.kappa, mixture.log_peaks])
    trajectories = np.empty((len(mixture.weights), 7))
    trajectories[:, : climb.REACH] = mixture.centres
    trajectories[:, climb.REACH] = climb.SAME_TRAJECTORY / math.sqrt(mixture.kappa.max())
    trajectories[:, climb.MASS] = mixture.weights
    trajectories[:, climb.MOVING] = True
    climber = _climber(len(kernels.T) * len(trajectories))
    trajectories = trajectories[: climber(kernels, trajectories)]
    lat, lon = lat_lon(trajectories[:, : climb.REACH])
    density = np.exp(trajectories[:, climb.LOG_DENSITY])
    columns = lat, lon, trajectories[:, climb.MASS], density
    modes = map(Mode, *(column.tolist() for column in columns))
    return tuple(sorted(modes, key=lambda mode: (-mode.density, -mode.mass)))


_pairs = 0
_loading = threading.Lock()


def _climber(pairs: int) -> Callable[[Array, Array], int]:
    """What takes trajectories to the tops, given how many pairs with kernels there are."""
    global _pairs
    _pairs += pairs
    return climb.climb if _pairs <= PATIENCE else machine_code()


def expect_many() -> None:
    """Have the machine code from now on, for who will find the modes of many answers."""
    global _pairs
    machine_code()
    _pairs = PATIENCE + 1


@cache
def machine_code() -> Callable[[Array, Array], int]:
    """The climb as machine code, loaded, or compiled where it is not on disk yet.

    In NumPy where the extra `fast` is not installed: the same modes, some five times later.
    """
    with _loading, announced("preparing the search for modes"):
        try:
            from geosearch.density import compiled_climb
        except ModuleNotFoundError:
            return climb.climb
        compiled_climb.climb(np.ones((5, 1)), np.zeros((1, 7)))
    return compiled_climb.climb
