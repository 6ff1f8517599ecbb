"""The distances, in kilometres, within which answers are counted: they fit where is searched."""

from __future__ import annotations

import math

#: Street, city, region, country, continent (Hays and Efros, IM2GPS, CVPR 2008).
WORLD_KM: tuple[float, ...] = (1, 25, 200, 750, 2500)

#: The names of those distances.
WORLD_NAMES = ("street", "city", "region", "country", "continent")

#: Half the pairs of photos all over the land are nearer to one another than this; photos that lie
#: at least half as far apart are of the world.
_WORLD_APART_KM = 8000.0

#: Leading digits of round numbers: those of the field's distances.
_ROUND = (1.0, 2.0, 2.5, 5.0, 7.5, 10.0)

#: Nobody's position is known better: a metre.
_LEAST_KM = 0.001


def fitting_km(apart_km: float) -> tuple[float, ...]:
    """The field's distances, or round numbers as much smaller as the collection is.

    `apart_km`: the median distance between two of its photos. From half the world's on, the
    distances are the field's.
    """
    share = apart_km / _WORLD_APART_KM
    if share >= 0.5:
        return WORLD_KM
    return tuple(dict.fromkeys(_rounded(max(_LEAST_KM, km * share)) for km in WORLD_KM))


def _rounded(km: float) -> float:
    """The nearest round number, by the ratio."""
    power = math.floor(math.log10(km))
    ratio = km / 10**power
    digits = min(_ROUND, key=lambda each: abs(math.log(each / ratio)))
    return whole_if_even(float(f"{digits}e{power}"))


def whole_if_even(km: float) -> float:
    """The number as it is written shortest: 25, not 25.0, which is then its name in JSON."""
    return int(km) if km % 1 == 0 else km
