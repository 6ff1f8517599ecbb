"""What the picture, the photos before and after, and a track say together.

Each is a density of the place on the sphere, a mixture of von Mises-Fisher kernels; each may be
wrong: the picture of a photo that shows nothing, the time of a wrong clock, somebody else's track.
If all are right, the density is proportional to their product, which is again a mixture in closed
form (`geosearch.density.products`). If one is wrong it says nothing. How often which is wrong is
fitted to photos whose places are known, each told by the others; so is the correction of the levels
of what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from geosearch.density import Mixture, Place, level_at
from geosearch.density.best_point import best_point, modes_from
from geosearch.density.caps import cap_mass, cap_radii_km
from geosearch.density.level_correction import LevelMap
from geosearch.density.levels import CLOSE
from geosearch.density.products import Together, product, shares_of, together
from geosearch.density.regions import highest_density_regions
from geosearch.json_record import Record
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon, unit_vectors
from geosearch.thresholds import WORLD_KM
from geosearch.timeline.movement import Movement
from geosearch.timeline.session_chain import reduced
from geosearch.timeline.timeline_prior import Moment, moment_prior

#: The least and the most that a kind of evidence is doubted.
_DOUBTS = (1e-3, 0.995)

#: Into how many parts photos are parted by the time to the nearest, of so many photos or more.
_GAPS, _FEWEST_OF_A_GAP = 6, 40

#: Fewer photos that are told by others without positions teach nothing of what that is worth.
FEWEST_CHAINED = 20

#: Of a picture and its session together, whose kernels are many, so many are kept.
_MOST_KERNELS = 400

#: Of a density by picture, so much is its kernels' lightest, which fusing leaves out.
_LIGHTEST = 1e-4


@dataclass(frozen=True)
class GapLevels(Record):
    """Levels that hold for photos of which the nearest in time is farther than so many hours.

    `region_levels` correct the levels of regions, `radius_levels` those of caps round the estimate.
    """

    above_hours: float = 0.0
    region_levels: LevelMap = field(default_factory=LevelMap)
    radius_levels: LevelMap = field(default_factory=LevelMap)

    @classmethod
    def fitted(cls, hours: Array, levels: Array) -> tuple[Self, ...]:
        """Of photos with so many hours to the nearest (n,) and the density's own levels (n, 2)."""
        order = np.argsort(hours)
        count = max(1, min(_GAPS, len(hours) // _FEWEST_OF_A_GAP))
        parts = np.array_split(order, count)
        starts = [0.0, *(float(hours[part].min()) for part in parts[1:])]
        return tuple(
            cls(start, *(LevelMap.fitted(levels[part, column]) for column in (0, 1)))
            for start, part in zip(starts, parts, strict=True)
        )


@dataclass(frozen=True)
class Fusion(Record):
    """How far picture and time are believed; the defaults are for where nothing was fitted.

    `picture_doubt`, `time_doubt` and `track_doubt` are the probabilities that each tells nothing.
    `gaps` correct the levels of fused densities: minutes after another photo and a day after it
    are not alike. `photos` is how many it was fitted to.

    `chained` is how many of these were told by a session, too: fewer than `FEWEST_CHAINED` teach
    nothing of that.
    """

    movement: Movement = field(default_factory=Movement)
    picture_doubt: float = 0.3
    time_doubt: float = 0.05
    track_doubt: float = 0.05
    gaps: tuple[GapLevels, ...] = (GapLevels(),)
    photos: int = 0
    chained: int = 0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        gaps = tuple(
            GapLevels(
                gap["above_hours"],
                *(LevelMap(tuple(gap[name]["raw"])) for name in ("region_levels", "radius_levels")),
            )
            for gap in value["gaps"]
        )
        return cls(**{**value, "movement": Movement.from_json(value["movement"]), "gaps": gaps})


@dataclass(frozen=True, eq=False)
class Fused:
    """The density of a photo by its picture and by time, and what it says.

    `told` says how far each was believed: the picture, the photos before and after, the track, as
    far as there are such. `within_km` are the distances that the estimate should be within.
    """

    levels: GapLevels
    told: Together
    within_km: tuple[float, ...] = WORLD_KM

    @property
    def mixture(self) -> Mixture:
        """The density."""
        return self.told.mixture

    @cached_property
    def estimate(self) -> Array:
        """The unit vector (3,) most probably near enough."""
        return best_point(self.mixture, self.within_km)

    def level_of(self, lat: float, lon: float) -> float:
        """The level of the smallest region that contains a point in degrees."""
        return self.levels.region_levels.level(level_at(self.mixture, lat, lon))

    def probability_within(self, km: float) -> float:
        """Probability of an error of at most so many kilometres."""
        held = cap_mass(self.mixture, self.estimate, km / EARTH_RADIUS_KM)
        return self.levels.radius_levels.level(min(1.0, held))

    def place(self, levels: Sequence[float], of: Place, *, regions: bool) -> Place:
        """The place, with radii and, if wanted, regions at `levels`; `of` is that by the picture.

        The modes are those of the fused density, first the one nearest to the estimate.
        """
        corrected, mixture = self.levels, self.mixture
        lat, lon = (float(each) for each in lat_lon(self.estimate))
        modes = modes_from(mixture, self.estimate)
        raw = {level: corrected.region_levels.raw_level(level) for level in levels}
        areas = highest_density_regions(mixture, list(raw.values())) if regions else {}
        shares = [corrected.radius_levels.raw_level(level) for level in levels]
        radii = cap_radii_km(mixture, self.estimate, shares)
        return replace(
            of,
            lat=lat,
            lon=lon,
            agreement=modes[0].mass,
            modes=modes,
            radius_km=dict(zip(levels, radii, strict=True)),
            regions={level: replace(areas[raw[level]], level=level) for level in raw if areas},
        )


def fused(
    fusion: Fusion,
    picture: Mixture,
    timeline: Moment | None,
    track: Moment | None = None,
    within_km: tuple[float, ...] = WORLD_KM,
) -> Fused:
    """The density by a picture and by time; without either kind of time, the picture's alone."""
    told = [(picture, 0.0)]
    for moment, doubt in ((timeline, fusion.time_doubt), (track, fusion.track_doubt)):
        if moment:
            told.append((moment_prior(fusion.movement, moment), doubt))
    if len(told) > 1:
        told[0] = (_lean(picture), fusion.picture_doubt)
    spread = fusion.movement.spread
    hours = min((moment.hours for moment in (timeline, track) if moment), default=0.0)
    levels = [gap for gap in fusion.gaps if gap.above_hours <= hours][-1]
    both = together(told, spread.mixture, spread.log_level)
    if timeline and timeline.session:
        both = replace(both, mixture=reduced(both.mixture, _MOST_KERNELS))
    return Fused(levels, both, within_km)


def fit_fusion(
    movement: Movement,
    pictures: Sequence[Mixture],
    moments: Sequence[Moment],
    truths: Sequence[tuple[float, float]],
    within_km: tuple[float, ...] = WORLD_KM,
) -> Fusion:
    """How far to believe picture and time, by photos whose places, in degrees, are known.

    `pictures` are the densities by their pictures and `moments` what was before and after. The
    doubts maximise the mean log density of the truths; one imaginary photo each holds the defaults.
    Then the levels are corrected.
    """
    start = Fusion(movement)
    from scipy.optimize import minimize  # an answer needs no SciPy, only a fit does

    spread = movement.spread
    points = unit_vectors(*np.array(truths).T)
    logs, masses = np.empty((len(points), 4)), np.zeros((len(points), 4))
    logs[:, 0] = spread.mixture.log_density(points)
    for row, (picture, moment) in enumerate(zip(pictures, moments, strict=True)):
        point, lean, prior = points[row, None], _lean(picture), moment_prior(movement, moment)
        masses[row, 3] = product(lean, prior)[1]
        logs[row, 1:3] = lean.log_density(point)[0], prior.log_density(point)[0]
        logs[row, 3] = logs[row, 1] + logs[row, 2] - masses[row, 3]

    def odds(doubts: Sequence[float]) -> Array:
        return np.asarray(np.log(doubts) - np.log1p(-np.array(doubts)))

    origin = odds([start.picture_doubt, start.time_doubt])
    low, high = odds(_DOUBTS)

    def doubts_of(values: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-np.clip(values, low, high))))

    def objective(values: Array) -> float:
        shares = shares_of(masses, doubts_of(values).tolist(), spread.log_level)
        with np.errstate(divide="ignore"):
            mean = np.logaddexp.reduce(np.log(shares) + logs, axis=1).mean()
        return float(-mean + np.sum((values - origin) ** 2) / (8 * len(points)))

    found = minimize(objective, origin, method="Nelder-Mead", options={"xatol": 1e-3})
    picture_doubt, time_doubt = doubts_of(found.x).tolist()
    fitted = replace(start, picture_doubt=picture_doubt, time_doubt=time_doubt, photos=len(points))
    levels = np.empty((len(points), 2))
    for row, (picture, moment) in enumerate(zip(pictures, moments, strict=True)):
        answer = fused(fitted, picture, moment, within_km=within_km)
        lat, lon = lat_lon(answer.estimate)
        away = float(great_circle_km(lat, lon, *truths[row]))
        levels[row, 0] = level_at(answer.mixture, *truths[row])
        levels[row, 1] = cap_mass(answer.mixture, answer.estimate, away / EARTH_RADIUS_KM)
    hours = np.array([moment.hours for moment in moments])
    return replace(fitted, gaps=GapLevels.fitted(hours, levels))


def _lean(picture: Mixture) -> Mixture:
    """A density without its lightest kernels, close ones as one: every pair is looked at."""
    return picture.without_lightest(_LIGHTEST).condensed(CLOSE / 2)
