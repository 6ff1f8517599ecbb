"""Fit a calibration to labelled queries, and measure it on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from geosearch.calibration.evidence import FEATURES, evidence
from geosearch.calibration.fitted import WITHIN_KM, Calibrated, Fitted, Scale
from geosearch.calibration.kernels import Truths, fit_kernels
from geosearch.calibration.level_correction import LevelMap
from geosearch.calibration.presence import fit_presence, presence, threshold
from geosearch.calibration.summit import at_summit, sharpened
from geosearch.density import Mixture, Place, level_at, locate_many
from geosearch.density.caps import cap_mass
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, unit_vectors

#: Candidates for the density that has the estimate at a mode, and for the choice of that mode.
WEIGHTINGS = (
    *("power:5", "power:7", "power:10", "power:14"),
    *("softmax:0.01", "softmax:0.02", "softmax:0.04"),
)
BANDWIDTHS_KM = (50.0, 100.0, 200.0, 400.0, 600.0, 900.0, 1300.0)
SHARPNESS = (1.0, 1.5, 2.0, 3.0)
SIZES = (10, 30, 100)

#: Where the search among them begins, and the queries it uses.
START = (600.0, "power:10", 1.5)
SEARCH_QUERIES = 400

#: Fewer absent copies than this teach nothing about absence.
FEWEST_ABSENT = 20

#: Parts of the queries that are in turn left out to learn levels and presences.
FOLDS = 5

#: Levels whose coverage is measured.
LEVELS = (0.5, 0.9)

#: Share of a uniform density mixed into an uncalibrated one, so that its score is finite.
_BACKGROUND = 0.01


@dataclass(frozen=True, eq=False)
class Example:
    """Neighbours (k,) of a labelled query in order of rank, and its true position in degrees."""

    lat: Array
    lon: Array
    distance: Array
    truth: tuple[float, float]

    def evidence(self, place: Place) -> Array:
        """The evidence for the place."""
        return evidence(*self._found(place), place)

    def error_km(self, place: Place) -> float:
        """Great-circle distance from the place to the truth."""
        return float(great_circle_km(place.lat, place.lon, *self.truth))

    def calibrated(self, fitted: Fitted, place: Place) -> Calibrated:
        """The answer under a calibration, whose place it is."""
        return Calibrated(fitted, *self._found(place), place)

    def _found(self, place: Place) -> tuple[Array, Array, Array]:
        k = len(place.weights)
        return self.lat[:k], self.lon[:k], self.distance[:k]


def places(
    examples: Sequence[Example],
    k: int = 100,
    bandwidth_km: float | None = None,
    weighting: str | None = None,
    sharpness: float = 1.0,
) -> list[Place]:
    """The estimates by the first `k` neighbours."""
    found = locate_many(
        [example.lat[:k] for example in examples],
        [example.lon[:k] for example in examples],
        [example.distance[:k] for example in examples],
        bandwidth_km=bandwidth_km,
        weighting=weighting,
        levels=(),
    )["density"]
    return [
        at_summit(example.lat[:k], example.lon[:k], place, sharpness)
        for example, place in zip(examples, found, strict=True)
    ]


def calibrated(fitted: Fitted, examples: Sequence[Example]) -> list[Calibrated]:
    """The answers under a calibration."""
    found = places(examples, fitted.k, fitted.bandwidth_km, fitted.weighting, fitted.sharpness)
    return [
        example.calibrated(fitted, place) for example, place in zip(examples, found, strict=True)
    ]


def fit(present: Sequence[Example], absent: Sequence[Example]) -> Fitted:
    """Fit all parts of a calibration.

    `present` are queries as they are, `absent` copies whose references near the truth were hidden.
    """
    most = max(len(example.lat) for example in present)
    settings = _search(present[:SEARCH_QUERIES], most)
    found = places(present, *settings)
    known = _evidence(present, found)
    hidden = _evidence(absent, places(absent, *settings))
    enough = len(absent) >= FEWEST_ABSENT
    scale = _scale(known, np.concatenate([known, hidden]) if enough else known)
    known, hidden = scale(known), scale(hidden)
    truths = _truths(present, found, known, settings)
    kernels, _ = fit_kernels(truths)
    fitted = Fitted(
        **settings._asdict(),
        scale=scale,
        kernels=kernels,
        region_levels=LevelMap(),
        radius_levels=LevelMap(),
        presence=fit_presence(known, hidden) if enough else None,
        min_presence=0.0,
    )
    # Levels and presences of queries that the kernels and coefficients have not seen: those of the
    # queries fitted to look better than others will.
    levels, there = np.empty((len(present), 2)), np.empty(len(present))
    for fold in range(FOLDS):
        out = np.arange(len(present)) % FOLDS == fold
        unseen = replace(fitted, kernels=fit_kernels(truths.where(~out))[0])
        for row in np.flatnonzero(out).tolist():
            answer = present[row].calibrated(unseen, found[row])
            levels[row] = _raw_levels(answer, present[row].truth)
        if enough:
            other = np.arange(len(hidden)) % FOLDS != fold
            there[out] = presence(fit_presence(known[~out], hidden[other]), known[out])
    return replace(
        fitted,
        region_levels=LevelMap.fitted(levels[:, 0]),
        radius_levels=LevelMap.fitted(levels[:, 1]),
        min_presence=threshold(there) if enough else 0.0,
    )


def measure(
    fitted: Fitted, present: Sequence[Example], absent: Sequence[Example]
) -> dict[str, Any]:
    """Figures of a calibration on queries it was not fitted to, as JSON.

    `before` are those of the density without calibration, by the defaults.
    """
    answers = calibrated(fitted, present)
    errors = np.array(
        [
            great_circle_km(*answer.estimate, *example.truth)
            for example, answer in zip(present, answers, strict=True)
        ]
    )
    judged = [answer.judge(LEVELS, regions=False) for answer in answers]
    truth_levels = [
        answer.level_of(*example.truth) for example, answer in zip(present, answers, strict=True)
    ]
    log_density = [
        answer.mixture.log_density(unit_vectors(*example.truth)[None])[0]
        for example, answer in zip(present, answers, strict=True)
    ]
    radii = np.array([[item.radius_km[level] for level in LEVELS] for item in judged])
    within = {km: np.array([item.probability_within_km[km] for item in judged]) for km in WITHIN_KM}
    return {
        "before": _plain_figures(present, places(present)),
        "log_likelihood": float(np.mean(log_density)),
        "coverage": _coverage(truth_levels),
        "radius_coverage": {
            f"{100 * level:g}": float(np.mean(errors <= radii[:, index]))
            for index, level in enumerate(LEVELS)
        },
        "accuracy": _accuracy(errors),
        "brier": {str(km): float(np.mean((within[km] - (errors <= km)) ** 2)) for km in WITHIN_KM},
        "reliability": {str(km): _reliability(within[km], errors <= km) for km in WITHIN_KM},
        "absence": (
            None if fitted.presence is None or not absent else _absence(fitted, answers, absent)
        ),
    }


class _Settings(NamedTuple):
    k: int
    bandwidth_km: float
    weighting: str
    sharpness: float


def _search(present: Sequence[Example], most: int) -> _Settings:
    """The settings under which the truths are most likely, one changed at a time."""
    sizes = sorted({min(k, most) for k in SIZES} | {most})
    bandwidth_km, weighting, sharpness = START
    best = _Settings(most, bandwidth_km, weighting, sharpness)
    known: dict[_Settings, float] = {}

    def score(settings: _Settings) -> float:
        if settings not in known:
            found = places(present, *settings)
            raw = _evidence(present, found)
            truths = _truths(present, found, _scale(raw, raw)(raw), settings)
            _, known[settings] = fit_kernels(truths)
        return known[settings]

    while True:
        before = best
        best = max((best._replace(weighting=each) for each in WEIGHTINGS), key=score)
        best = max((best._replace(bandwidth_km=each) for each in BANDWIDTHS_KM), key=score)
        best = max((best._replace(sharpness=each) for each in SHARPNESS), key=score)
        best = max((best._replace(k=each) for each in sizes), key=score)
        if best == before:
            return best


def _evidence(examples: Sequence[Example], found: Sequence[Place]) -> Array:
    rows = [example.evidence(place) for example, place in zip(examples, found, strict=True)]
    return np.array(rows).reshape(len(examples), len(FEATURES))


def _scale(known: Array, met: Array) -> Scale:
    deviation = known.std(axis=0)
    return Scale(
        *(
            tuple(float(value) for value in values)
            for values in (
                known.mean(axis=0),
                np.where(deviation > 1e-9, deviation, 1.0),
                met.min(axis=0),
                met.max(axis=0),
            )
        )
    )


def _truths(
    examples: Sequence[Example], found: Sequence[Place], evidence: Array, settings: _Settings
) -> Truths:
    k = settings.k
    neighbours, weights = np.zeros((2, len(examples), k))
    summit = np.empty(len(examples))
    for row, (example, place) in enumerate(zip(examples, found, strict=True)):
        truth, count = unit_vectors(*example.truth), len(place.weights)
        positions = unit_vectors(example.lat[:k], example.lon[:k])
        neighbours[row, :count] = np.sum((positions - truth) ** 2, axis=1) / 2
        weights[row, :count] = sharpened(place.weights, settings.sharpness)
        summit[row] = np.sum((unit_vectors(place.lat, place.lon) - truth) ** 2) / 2
    return Truths(summit, neighbours, weights, evidence)


def _raw_levels(answer: Calibrated, truth: tuple[float, float]) -> tuple[float, float]:
    """The density's own levels of the truth: by density, and by distance from the estimate."""
    angle = float(great_circle_km(*answer.estimate, *truth)) / EARTH_RADIUS_KM
    mixture = answer.mixture
    return (
        level_at(mixture, *truth),
        cap_mass(mixture, unit_vectors(*answer.estimate), angle),
    )


def _plain_figures(present: Sequence[Example], found: Sequence[Place]) -> dict[str, Any]:
    logs, levels, errors = [], [], []
    for example, place in zip(present, found, strict=True):
        count = len(place.weights)
        mixture = Mixture.of_neighbours(
            example.lat[:count], example.lon[:count], place.weights, place.bandwidth_km
        )
        log_density = mixture.log_density(unit_vectors(*example.truth)[None])[0]
        uniform = np.log(_BACKGROUND / (4 * np.pi))
        logs.append(float(np.logaddexp(np.log1p(-_BACKGROUND) + log_density, uniform)))
        levels.append(level_at(mixture, *example.truth))
        errors.append(example.error_km(place))
    return {
        "log_likelihood": float(np.mean(logs)),
        "coverage": _coverage(levels),
        "accuracy": _accuracy(np.array(errors)),
    }


def _coverage(truth_levels: Sequence[float]) -> dict[str, float]:
    return {f"{100 * level:g}": float(np.mean(np.array(truth_levels) <= level)) for level in LEVELS}


def _accuracy(errors_km: Array) -> dict[str, float]:
    return {str(km): float(np.mean(errors_km <= km)) for km in WITHIN_KM}


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
    fitted: Fitted, answers: Sequence[Calibrated], absent: Sequence[Example]
) -> dict[str, float]:
    there = np.array([answer.presence for answer in answers])
    gone = np.array([answer.presence for answer in calibrated(fitted, absent)])
    return {
        "min_presence": fitted.min_presence,
        "false_alarms": float(np.mean(there < fitted.min_presence)),
        "caught": float(np.mean(gone < fitted.min_presence)),
        "n_absent": len(gone),
    }
