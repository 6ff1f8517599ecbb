"""What a calibration fits, and what it says about an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from geosearch.calibration.evidence import evidence
from geosearch.calibration.kernels import Kernels
from geosearch.calibration.level_correction import LevelMap
from geosearch.calibration.presence import presence
from geosearch.calibration.summit import sharpened
from geosearch.density import Mixture, Place, Region, level_at
from geosearch.density.caps import cap_mass, cap_radii_km
from geosearch.density.regions import highest_density_regions
from geosearch.json_record import Record
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors

#: Distances, in km, for which an answer says how likely its error is smaller.
WITHIN_KM = (1, 25, 200, 750, 2500)

#: Concentration of the background: uniform to 1e-4.
_UNIFORM = 1e-4


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each kind of evidence, and the range met when fitting."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __call__(self, evidence: Array) -> Array:
        """Evidence (..., f), standardised; beyond the range it counts as the range's end."""
        within = np.clip(evidence, self.low, self.high)
        return np.asarray((within - np.array(self.mean)) / np.array(self.deviation))


@dataclass(frozen=True)
class Judgement:
    """How far an answer can be trusted.

    `probability_within_km`: of an error of at most so many km. `radius_km` and `regions`: by level.
    """

    probability_within_km: dict[float, float]
    radius_km: dict[float, float]
    regions: dict[float, Region]


@dataclass(frozen=True)
class Fitted(Record):
    """All that a calibration fitted.

    `k`, `bandwidth_km` and `weighting` are those of the smoothed density that has the estimate at
    a mode, and `sharpness` says at which (`geosearch.calibration.summit`). `kernels` are those of
    the truth's density, given the estimate; `region_levels` and `radius_levels` correct the levels
    of its regions and of caps round the estimate. Below `min_presence` an answer is not confident.
    """

    k: int
    bandwidth_km: float
    weighting: str
    sharpness: float
    scale: Scale
    kernels: Kernels
    region_levels: LevelMap
    radius_levels: LevelMap
    presence: tuple[float, ...] | None
    min_presence: float

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        kernels = value["kernels"]
        given = dict(value) | {
            "scale": Scale(**{name: tuple(each) for name, each in value["scale"].items()}),
            "kernels": Kernels(
                tuple(kernels["summit_km"]),
                tuple(kernels["neighbour_km"]),
                tuple(tuple(row) for row in kernels["gate"]),
            ),
            "region_levels": LevelMap(tuple(value["region_levels"]["raw"])),
            "radius_levels": LevelMap(tuple(value["radius_levels"]["raw"])),
            "presence": None if value["presence"] is None else tuple(value["presence"]),
        }
        return cls(**given)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The calibrated density of one answer: `fitted` applied to its neighbours and its estimate.

    `lat`, `lon` (degrees) and `distance` (cosine) are the neighbours', (k,); `place` is that of
    the smoothed density, with the mode behind the estimate first (`at_summit`).
    """

    fitted: Fitted
    lat: Array
    lon: Array
    distance: Array
    place: Place

    @property
    def estimate(self) -> tuple[float, float]:
        """Latitude and longitude of the place, degrees."""
        return self.place.lat, self.place.lon

    @property
    def evidence(self) -> Array:
        """The standardised evidence."""
        return self.fitted.scale(evidence(self.lat, self.lon, self.distance, self.place))

    @property
    def mixture(self) -> Mixture:
        """The density of the truth."""
        kernels = self.fitted.kernels
        shares = kernels.shares(self.evidence)
        summit, neighbours = unit_vectors(*self.estimate), unit_vectors(self.lat, self.lon)
        summits, copies = len(kernels.summit_km), len(kernels.neighbour_km)
        weights = sharpened(self.place.weights, self.fitted.sharpness)
        km = np.concatenate([kernels.summit_km, np.repeat(kernels.neighbour_km, len(neighbours))])
        return Mixture(
            np.concatenate(
                [np.tile(summit, (summits, 1)), np.tile(neighbours, (copies, 1)), summit[None]]
            ),
            np.concatenate(
                [shares[:summits], np.outer(shares[summits:-1], weights).ravel(), shares[-1:]]
            ),
            np.append((EARTH_RADIUS_KM / km) ** 2, _UNIFORM),
        )

    @property
    def presence(self) -> float | None:
        """Probability, at even odds, that the place is among the references; None if unknown."""
        coefficients = self.fitted.presence
        return None if coefficients is None else float(presence(coefficients, self.evidence))

    def level_of(self, lat: float, lon: float) -> float:
        """The level of the smallest region that contains a point in degrees."""
        return self.fitted.region_levels.level(level_at(self.mixture, lat, lon))

    def judge(self, levels: Sequence[float], *, regions: bool) -> Judgement:
        """What can be said of the answer, with radii and, if wanted, regions at `levels`."""
        mixture, centre = self.mixture, unit_vectors(*self.estimate)
        raw = {level: self.fitted.region_levels.raw_level(level) for level in levels}
        found = highest_density_regions(mixture, list(raw.values())) if regions and levels else {}
        shares = [self.fitted.radius_levels.raw_level(level) for level in levels]
        radii = cap_radii_km(mixture, centre, shares)
        return Judgement(
            probability_within_km={
                km: min(1.0, cap_mass(mixture, centre, km / EARTH_RADIUS_KM)) for km in WITHIN_KM
            },
            radius_km=dict(zip(levels, radii, strict=True)),
            regions={level: replace(found[raw[level]], level=level) for level in raw if found},
        )
