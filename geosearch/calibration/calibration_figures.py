"""How a calibration does on queries that it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geosearch.calibration.fitted import Fitted, Judged
from geosearch.calibration.labelled_example import Example, by_model, calibrated
from geosearch.density import Mixture, level_at, locate_many
from geosearch.density.caps import cap_mass
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon, unit_vectors
from geosearch.timeline.fusion import fused

#: Levels whose coverage is measured.
LEVELS = (0.5, 0.9)

#: Share of a uniform density mixed into an uncalibrated one, so that its score is finite.
_BACKGROUND = 0.01


def measure(
    fitted: Fitted, present: Sequence[Example], absent: Sequence[Example]
) -> dict[str, Any]:
    """Figures of a calibration on queries it was not fitted to, as JSON.

    `before` are those of the density without calibration, by the defaults; of several models, those
    of the best alone, calibrated. `worse` says in words in which of them the calibration is worse
    by more than chance: then it is not to be used.
    """
    answers = [example.answer(fitted) for example in present]
    timed = [one for each in present for one in each.timed]
    within_km = fitted.within_km
    after = _Scores.of_calibrated(answers, present, within_km)
    before = _before(fitted, present)
    radii = np.array(
        [list(answer.judge(LEVELS, regions=False).radius_km.values()) for answer in answers]
    )
    return {
        "beside": "defaults" if fitted.pool is None else "best alone",
        "before": before.to_json(),
        **after.to_json(),
        "radius_coverage": {
            f"{100 * level:g}": float(np.mean(after.error_km <= radii[:, index]))
            for index, level in enumerate(LEVELS)
        },
        "reliability": {
            str(km): _reliability(after.within[:, index], after.error_km <= km)
            for index, km in enumerate(within_km)
        },
        "worse": after.worse_than(
            before, "the defaults" if fitted.pool is None else "the best alone"
        ),
        "timeline": _with_time(fitted, [one for one in timed if one.moment or one.session]),
        "track": _with_time(fitted, [one for one in timed if one.track], track=True),
        "absence": (
            None if fitted.presence is None or not absent else _absence(fitted, answers, absent)
        ),
    }


def _before(fitted: Fitted, present: Sequence[Example]) -> _Scores:
    """The scores that a calibration has to hold its own against."""
    if fitted.pool is None:
        return _Scores.by_default(present, fitted.within_km)
    alone = []
    for number, one in enumerate(fitted.alone):
        asked = by_model(present, number)
        answers = calibrated(one, asked)
        alone.append(_Scores.of_calibrated(answers, asked, fitted.within_km))
    return max(alone, key=lambda scores: float(scores.log_density.mean()))


def _with_time(
    fitted: Fitted, timed: Sequence[Example], *, track: bool = False
) -> dict[str, Any] | None:
    """Figures by picture and time together, and by the picture alone, of what time tells of.

    By the photos before and after, or also by a `track`.
    """
    if fitted.fusion is None or not timed:
        return None
    rows, fusion = [], fitted.fusion
    for example in timed:
        answer = example.answer(fitted)
        moment = example.told(fitted, fusion.movement)
        chances = example.track if track else ()
        told = fused(fusion, answer.mixture, moment, chances, fitted.within_km)
        lat, lon = lat_lon(told.estimate)
        rows.append(
            (
                example.error_km(*answer.estimate),
                great_circle_km(lat, lon, *example.truth),
                told.level_of(*example.truth),
            )
        )
    before, after, level = np.array(rows, float).T
    return {
        "n": len(rows),
        "chained": sum(bool(each.session) for each in timed),
        "median_km": {"picture": float(np.median(before)), "both": float(np.median(after))},
        "accuracy": {
            str(km): {"picture": float(np.mean(before <= km)), "both": float(np.mean(after <= km))}
            for km in fitted.within_km
        },
        "coverage": {f"{100 * each:g}": float(np.mean(level <= each)) for each in LEVELS},
    }


@dataclass(frozen=True, eq=False)
class _Scores:
    """Of n answers: log density and level of the truth, error, and P(error below each of d km)."""

    log_density: Array
    level: Array
    error_km: Array
    within: Array
    within_km: Sequence[float]

    @classmethod
    def of_calibrated(
        cls,
        answers: Sequence[Judged],
        asked: Sequence[Example],
        within_km: Sequence[float],
    ) -> _Scores:
        rows = [
            (
                answer.mixture.log_at(*example.truth),
                answer.level_of(*example.truth),
                example.error_km(*answer.estimate),
                *(answer.probability_within(km) for km in within_km),
            )
            for answer, example in zip(answers, asked, strict=True)
        ]
        return cls._of(rows, within_km)

    @classmethod
    def by_default(cls, asked: Sequence[Example], within_km: Sequence[float]) -> _Scores:
        found = locate_many(
            *([getattr(each, name) for each in asked] for name in ("lat", "lon", "distance")),
            levels=(),
        )["density"]
        rows = []
        for example, place in zip(asked, found, strict=True):
            lat, lon, _ = example.found(len(place.weights))
            mixture = Mixture.of_neighbours(lat, lon, place.weights, place.bandwidth_km)
            centre = unit_vectors(place.lat, place.lon)
            log_density = mixture.log_at(*example.truth)
            uniform = np.log(_BACKGROUND / (4 * np.pi))
            rows.append(
                (
                    np.logaddexp(np.log1p(-_BACKGROUND) + log_density, uniform),
                    level_at(mixture, *example.truth),
                    example.error_km(place.lat, place.lon),
                    *(cap_mass(mixture, centre, km / EARTH_RADIUS_KM) for km in within_km),
                )
            )
        return cls._of(rows, within_km)

    @classmethod
    def _of(cls, rows: Sequence[tuple[float, ...]], within_km: Sequence[float]) -> _Scores:
        values = np.array(rows, float)
        return cls(values[:, 0], values[:, 1], values[:, 2], values[:, 3:], within_km)

    @property
    def brier(self) -> Array:
        """Squared differences (n, d) between probability and outcome."""
        happened = self.error_km[:, None] <= np.array(self.within_km)
        return np.asarray((self.within - happened) ** 2)

    def coverage(self, level: float) -> float:
        """Share of the truths in the regions at a level."""
        return float(np.mean(self.level <= level))

    def worse_than(self, other: _Scores, named: str) -> list[str]:
        """In what these are worse than the scores of the same queries by other answers, `named` so.

        By more than two standard errors of the paired differences; coverage by as much farther
        from its level than the other is.
        """
        said = []
        n = len(self.error_km)
        scores = {
            "log-likelihood": (1, self.log_density, other.log_density),
            "Brier score": (-1, self.brier.mean(axis=1), other.brier.mean(axis=1)),
        }
        for name, (sign, mine, theirs) in scores.items():
            gain = sign * (mine - theirs)
            if gain.mean() < -2 * gain.std() / np.sqrt(n):
                said.append(f"{name} {mine.mean():.3f}, {theirs.mean():.3f} by {named}")
        for level in LEVELS:
            held, before = self.coverage(level), other.coverage(level)
            noise = 2 * np.sqrt(level * (1 - level) / n)
            if abs(held - level) > abs(before - level) + noise:
                said.append(
                    f"the {100 * level:g} % region holds {100 * held:.0f} % of the truths, "
                    f"{100 * before:.0f} % by {named}"
                )
        return said

    def to_json(self) -> dict[str, Any]:
        """The figures that tables show."""
        return {
            "log_likelihood": float(self.log_density.mean()),
            "coverage": {f"{100 * level:g}": self.coverage(level) for level in LEVELS},
            "accuracy": {str(km): float(np.mean(self.error_km <= km)) for km in self.within_km},
            "brier": dict(
                zip(map(str, self.within_km), self.brier.mean(axis=0).tolist(), strict=True)
            ),
        }


def _reliability(predicted: Array, happened: np.ndarray) -> list[dict[str, float]]:
    """By tenths of the predicted probability: how many, the mean of it, and how often it was."""
    tenth = np.minimum((10 * predicted).astype(int), 9)
    return [
        {
            "n": int(np.sum(tenth == each)),
            "predicted": float(predicted[tenth == each].mean()),
            "observed": float(happened[tenth == each].mean()),
        }
        for each in np.unique(tenth)
    ]


def _absence(
    fitted: Fitted, answers: Sequence[Judged], absent: Sequence[Example]
) -> dict[str, float]:
    there = np.array([answer.presence for answer in answers])
    gone = np.array([example.answer(fitted).presence for example in absent])
    least = answers[0].least
    return {
        "min_presence": least,
        "false_alarms": float(np.mean(there < least)),
        "caught": float(np.mean(gone < least)),
        "n_absent": len(gone),
    }
