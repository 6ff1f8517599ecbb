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
from typing import Any, NamedTuple, Self

import numpy as np

from geosearch.density import Mixture, Place
from geosearch.density.best_point import best_point, modes_from
from geosearch.density.level_correction import LevelCorrection, LevelMap, own_levels
from geosearch.density.products import Together, lean, product, together
from geosearch.json_record import Record
from geosearch.sphere import Array, lat_lon
from geosearch.thresholds import WORLD_KM
from geosearch.timeline.movement import Movement
from geosearch.timeline.session_chain import reduced
from geosearch.timeline.timeline_prior import Chance, Moment, chances_prior, moment_prior

#: The least and the most that a kind of evidence is doubted.
_DOUBTS = (1e-3, 0.99)

#: Into how many parts photos are parted by the time to the nearest, of so many photos or more.
_GAPS, _FEWEST_OF_A_GAP = 6, 40

#: Of a picture and its session together, whose kernels are many, so many are kept.
_MOST_KERNELS = 400

#: Fewer questions of a kind than this teach nothing of it.
FEWEST_OF_A_KIND = 20


class TimeKind(NamedTuple):
    """By what a density is: a track, and photos without positions in the session, or neither."""

    track: bool = False
    session: bool = False

    @classmethod
    def of(cls, timeline: Moment | None, track: Sequence[Chance]) -> Self:
        """That of what time says."""
        return cls(bool(track), bool(timeline and timeline.session))


@dataclass(frozen=True)
class GapLevels(LevelCorrection, Record):
    """Those of photos of a kind, the nearest in time being farther than so many hours."""

    above_hours: float = 0.0
    kind: TimeKind = field(default_factory=TimeKind)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(*cls.maps_read(value), value["above_hours"], TimeKind(*value["kind"]))

    @classmethod
    def fitted(cls, kind: TimeKind, hours: Array, levels: Array) -> tuple[Self, ...]:
        """Of photos with so many hours to the nearest (n,) and the density's own levels (n, 2)."""
        order = np.argsort(hours)
        count = max(1, min(_GAPS, len(hours) // _FEWEST_OF_A_GAP))
        parts = np.array_split(order, count)
        starts = [0.0, *(float(hours[part].min()) for part in parts[1:])]
        return tuple(
            cls(*cls.maps_fitted(levels[part]), start, kind)
            for start, part in zip(starts, parts, strict=True)
        )


#: Of a calibration that has not learned what a kind of time is worth.
_CAUTIOUS = GapLevels(LevelMap.cautious(), LevelMap.cautious())


@dataclass(frozen=True)
class Fusion(Record):
    """How far picture and time are believed; the defaults are for where nothing was fitted.

    `picture_doubt`, `time_doubt` and `track_doubt` are the probabilities that each tells nothing.
    `chain_doubt` is the probability that the pictures of photos without positions that tell others
    (`geosearch.timeline.session_chain`) are wrong in the same way as the photo's own; `chained` is
    how many questions were told by such, too: fewer than `FEWEST_OF_A_KIND` teach nothing of that.

    `gaps` correct the levels of fused densities: minutes after another photo and a day after it
    are not alike. `otherwise` is for kinds of which there were too few. `photos` and `on_tracks`
    are how many questions the timeline and tracks were fitted to.
    """

    movement: Movement = field(default_factory=Movement)
    picture_doubt: float = 0.3
    time_doubt: float = 0.05
    chain_doubt: float = 0.05
    track_doubt: float = 0.05
    gaps: tuple[GapLevels, ...] = ()
    otherwise: GapLevels = field(default_factory=GapLevels)
    photos: int = 0
    chained: int = 0
    on_tracks: int = 0

    @classmethod
    def unlearned(cls, movement: Movement | None = None) -> Self:
        """That of a calibration which has learned nothing of it.

        A density by time is of needles, the places that people stay at: its own levels would be
        too sure.
        """
        return cls(movement or Movement(), otherwise=_CAUTIOUS)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        read = {
            "movement": Movement.from_json(value["movement"]),
            "gaps": tuple(GapLevels.from_json(each) for each in value["gaps"]),
            "otherwise": GapLevels.from_json(value["otherwise"]),
        }
        return cls(**{**value, **read})

    def levels(self, kind: TimeKind, hours: float) -> GapLevels:
        """Those for a density of a kind, the nearest in time being so far."""
        known = [gap for gap in self.gaps if gap.kind == kind and gap.above_hours <= hours]
        return known[-1] if known else self.otherwise


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
        return self.levels.level_of(self.mixture, lat, lon)

    def probability_within(self, km: float) -> float:
        """Probability of an error of at most so many kilometres."""
        return self.levels.probability_within(self.mixture, self.estimate, km)

    def place(self, levels: Sequence[float], of: Place, *, regions: bool) -> Place:
        """The place, with radii and, if wanted, regions at `levels`; `of` is that by the picture.

        The modes are those of the fused density, first the one nearest to the estimate.
        """
        lat, lon = (float(each) for each in lat_lon(self.estimate))
        modes = modes_from(self.mixture, self.estimate)
        return replace(
            of,
            lat=lat,
            lon=lon,
            agreement=modes[0].mass,
            modes=modes,
            radius_km=self.levels.radii_km(self.mixture, self.estimate, levels),
            regions=self.levels.regions(self.mixture, levels) if regions else {},
        )


def fused(
    fusion: Fusion,
    picture: Mixture,
    timeline: Moment | None,
    track: Sequence[Chance] = (),
    within_km: tuple[float, ...] = WORLD_KM,
) -> Fused:
    """The density by a picture and by time; without either kind of time, the picture's alone."""
    densities = _densities(fusion.movement, picture, timeline, track)
    doubts, alike = _doubts(fusion, timeline, track)
    told = together(
        [*zip(densities, doubts, strict=True)],
        _otherwise(fusion.movement, timeline),
        fusion.movement.spread.log_level,
        alike=alike,
    )
    if timeline and timeline.session:
        told = replace(told, mixture=reduced(told.mixture, _MOST_KERNELS))
    return Fused(
        fusion.levels(TimeKind.of(timeline, track), hours_to(timeline, track)), told, within_km
    )


def _doubts(
    fusion: Fusion, timeline: Moment | None, track: Sequence[Chance]
) -> tuple[list[float], float]:
    """How each kind of evidence that there is is doubted, and that pictures are wrong alike."""
    if not timeline and not track:
        return [0.0], 0.0
    time = [fusion.time_doubt] if timeline else []
    doubts = [fusion.picture_doubt, *time, *([fusion.track_doubt] if track else [])]
    return doubts, fusion.chain_doubt if timeline and timeline.session else 0.0


def _otherwise(movement: Movement, timeline: Moment | None) -> Mixture:
    """Where a photo is if no evidence is right: by the places before and after a session alone."""
    if timeline and timeline.session:
        return moment_prior(movement, replace(timeline, session=None))
    return movement.spread.mixture


def hours_to(timeline: Moment | None, track: Sequence[Chance] = ()) -> float:
    """The time to the nearest photo or, where there is a track, most probably to its positions."""
    if track:
        return max(track, key=lambda each: each.probability).moment.hours
    return timeline.hours if timeline else 0.0


def _densities(
    movement: Movement, picture: Mixture, timeline: Moment | None, track: Sequence[Chance]
) -> list[Mixture]:
    densities = [lean(picture) if timeline or track else picture]
    if timeline:
        densities.append(moment_prior(movement, timeline))
    if track:
        densities.append(chances_prior(movement, track))
    return densities


@dataclass(frozen=True)
class Question:
    """A photo whose place, `truth` in degrees, is known: what picture, photos and track say."""

    picture: Mixture
    truth: tuple[float, float]
    timeline: Moment | None
    track: Sequence[Chance] = ()

    @property
    def kind(self) -> TimeKind:
        """The kind of its density."""
        return TimeKind.of(self.timeline, self.track)


def fit_fusion(
    movement: Movement,
    questions: Sequence[Question],
    within_km: tuple[float, ...] = WORLD_KM,
) -> Fusion:
    """How far to believe picture and time, by photos whose places are known.

    A doubt maximises the mean log likelihood of what a kind of evidence says, given the truth: that
    of its density there, or of the level at which photos lie if it is wrong. Then the levels are
    corrected, of each kind of answer apart. Too few of a kind leave it as it is by default.
    """
    told = [replace(each, track=()) for each in questions if each.timeline]
    on_track = [each for each in questions if each.track]
    known = [(each, _densities(movement, each.picture, each.timeline, ())) for each in told]
    fitted = Fusion.unlearned(movement)
    for name, right in {
        "picture_doubt": [picture.log_at(*each.truth) for each, (picture, _) in known],
        "time_doubt": [
            time.log_at(*each.truth) for each, (_, time) in known if not each.kind.session
        ],
        "track_doubt": [
            chances_prior(movement, each.track).log_at(*each.truth) for each in on_track
        ],
    }.items():
        wrong = [movement.spread.log_level] * len(right)
        fitted = _with_doubt(fitted, name, right, wrong)
    chained = [_alike(fitted, *each) for each in known if each[0].kind.session]
    if chained:
        fitted = _with_doubt(fitted, "chain_doubt", *zip(*chained, strict=True))
    gaps: list[GapLevels] = []
    for kind in dict.fromkeys(each.kind for each in (*told, *on_track)):
        same = [each for each in (*told, *on_track) if each.kind == kind]
        if len(same) >= FEWEST_OF_A_KIND:
            gaps += _gaps(fitted, kind, same, within_km)
    photos, on_tracks = (
        len(asked) if len(asked) >= FEWEST_OF_A_KIND else 0 for asked in (told, on_track)
    )
    return replace(
        fitted, gaps=tuple(gaps), photos=photos, chained=len(chained), on_tracks=on_tracks
    )


def _alike(fusion: Fusion, asked: Question, densities: Sequence[Mixture]) -> tuple[float, float]:
    """The log likelihood of a photo's picture and its session, each on its own; or wrong alike.

    `densities` are those of both.
    """
    movement, level = fusion.movement, fusion.movement.spread.log_level
    doubts, _ = _doubts(fusion, asked.timeline, ())
    own = [
        np.logaddexp(np.log1p(-doubt) + density.log_at(*asked.truth), np.log(doubt) + level)
        for doubt, density in zip(doubts, densities, strict=True)
    ]
    _, mass = product(*densities)
    otherwise = _otherwise(movement, asked.timeline).log_at(*asked.truth)
    return float(sum(own)), mass + otherwise + float(np.log1p(-np.array(doubts)).sum())


def _with_doubt(
    fusion: Fusion, name: str, right: Sequence[float], wrong: Sequence[float]
) -> Fusion:
    """With the doubt of a name fitted to log likelihoods (n,), if not doubted and if so.

    One imaginary photo holds the default; too few leave it.
    """
    if len(right) < FEWEST_OF_A_KIND:
        return fusion
    default, doubts = float(getattr(fusion, name)), np.geomspace(*_DOUBTS, 200)
    prior = default * np.log(doubts) + (1 - default) * np.log1p(-doubts)
    logs = np.logaddexp(
        np.log1p(-doubts) + np.array(right)[:, None], np.log(doubts) + np.array(wrong)[:, None]
    )
    found: dict[str, Any] = {name: float(doubts[np.argmax(logs.sum(axis=0) + prior)])}
    return replace(fusion, **found)


def _gaps(
    fusion: Fusion, kind: TimeKind, questions: Sequence[Question], within_km: tuple[float, ...]
) -> tuple[GapLevels, ...]:
    """The correction of the levels of answers to questions of a kind."""
    levels, hours = np.empty((len(questions), 2)), np.empty(len(questions))
    for row, each in enumerate(questions):
        answer = fused(fusion, each.picture, each.timeline, each.track, within_km)
        levels[row] = own_levels(answer.mixture, answer.estimate, each.truth)
        hours[row] = hours_to(each.timeline, each.track)
    return GapLevels.fitted(kind, hours, levels)
