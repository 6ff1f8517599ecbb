"""Fit a calibration to labelled queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.calibration.evidence import FEATURES, evidence
from geosearch.calibration.fitted import (
    Calibrated,
    Fitted,
    Judged,
    Kind,
    Pool,
    Pooled,
    Scale,
    Settings,
    Spacing,
)
from geosearch.calibration.kernels import Truths, fit_kernels, log_density
from geosearch.calibration.labelled_example import Example, by_model
from geosearch.calibration.presence import Presence, threshold
from geosearch.calibration.prior import Prior, log_prior
from geosearch.calibration.summit import sharpened
from geosearch.density import Place
from geosearch.density.level_correction import own_levels
from geosearch.density.pooling import Candidates
from geosearch.density.spacing import spacing_km
from geosearch.density.weights import neighbour_weights
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors
from geosearch.thresholds import WORLD_KM
from geosearch.timeline.fusion import Fusion, Question, fit_fusion
from geosearch.timeline.movement import Movement

#: Candidates for the density that has the estimate at a mode, and for the choice of that mode.
WEIGHTINGS = (
    *("power:5", "power:7", "power:10", "power:14"),
    *("softmax:0.01", "softmax:0.02", "softmax:0.04"),
)
BANDWIDTHS = (0.35, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
SHARPNESS = (1.0, 1.5, 2.0, 3.0)
SIZES = (10, 30, 100)

#: Where the search among them begins, and the queries it uses.
START = (2.0, "power:10", 1.5)
SEARCH_QUERIES = 400

#: Fewer absent copies than this teach nothing about absence.
FEWEST_ABSENT = 20

#: Fewer questions with photos before or after them teach nothing about time, and more need not.
FEWEST_TIMED, MOST_TIMED = 60, 600

#: Parts of the queries that are in turn left out to learn levels and presences.
FOLDS = 5

#: How little or much a model's density counts in a pool, as logarithms.
_LOG_POWERS = (-4.0, 1.0)

Index = NDArray[np.intp]


def fit(
    present: Sequence[Example],
    absent: Sequence[Example],
    within_km: tuple[float, ...] = WORLD_KM,
    *,
    settings: Settings | None = None,
    folds: tuple[Index, Index] | None = None,
    movement: Movement | None = None,
    fingerprints: tuple[str, ...] = (),
) -> Fitted:
    """Fit all parts of a calibration: of each model alone, and then of all together.

    `present` are queries as they are, `absent` copies whose references near the truth were hidden.
    `within_km` are the distances that answers are to speak of. `settings`, if None, are searched.
    `folds` are the numbers of the parts of either that are left out together, below `FOLDS`. With
    the `movement` of the photographers, it is learned what time is worth besides the picture, if
    enough of the queries have photos before or after them. `fingerprints` are those of the models
    that found the examples' `others`.
    """
    known = (None,) * (1 + len(fingerprints)) if settings is None else settings.alone
    alone = [
        _fit_alone(by_model(present, number), by_model(absent, number), within_km, one, folds)
        for number, one in enumerate(known)
    ]
    fitted, judges = alone[0].fitted, alone[0].judges
    if fingerprints:
        pool, judges = _fit_pool(alone, present, fingerprints)
        fitted = replace(fitted, pool=pool)
    if movement is None:
        return fitted
    return replace(fitted, fusion=_fusion(movement, present, judges))


@dataclass(frozen=True, eq=False)
class _Alone:
    """What was fitted for one model, and of each query the answer under a fit that left it out."""

    fitted: Fitted
    answers: list[Calibrated]

    @property
    def judges(self) -> list[Fitted]:
        """These fits, by query."""
        return [each.fitted for each in self.answers]


def _fit_alone(
    present: Sequence[Example],
    absent: Sequence[Example],
    within_km: tuple[float, ...],
    settings: Settings | None,
    folds: tuple[Index, Index] | None,
) -> _Alone:
    prior = Prior.fitted(_positions(present))
    settings = settings or _search(present[:SEARCH_QUERIES], prior)
    settings = replace(settings, spacing=_spacing(present, settings.k, settings.weighting))
    known, hidden = (_Group.of(part, settings, prior) for part in (present, absent))
    enough = len(absent) >= FEWEST_ABSENT
    scale = _scale(
        known.evidence,
        np.concatenate([known.evidence, hidden.evidence]) if enough else known.evidence,
    )
    truths, gone = known.truths(scale), scale(hidden.evidence)
    kernels, _ = fit_kernels(truths)
    distance = known.evidence[:, FEATURES.index("log_distance")]
    fitted = Fitted(
        **{each.name: getattr(settings, each.name) for each in fields(Settings)},
        scale_km=prior.scale_km,
        scale=scale,
        kernels=kernels,
        prior=prior,
        kinds=(),
        presence=Presence.fitted(truths.evidence, gone, distance) if enough else None,
        min_presence=0.0,
        within_km=within_km,
    )
    # Levels and presences of queries that the kernels and coefficients have not seen: those of the
    # queries fitted to look better than others will.
    mine, theirs = folds or (np.arange(len(part)) % FOLDS for part in (present, absent))
    unseen, there = [], np.empty(len(present))
    for fold in range(FOLDS):
        out, presence = mine == fold, fitted.presence
        if enough:
            other = gone[theirs != fold]
            presence = Presence.fitted(truths.evidence[~out], other, distance[~out])
            there[out] = presence(truths.evidence[out], distance[out])
        kernels, _ = fit_kernels(truths.where(~out))
        unseen.append(replace(fitted, kernels=kernels, presence=presence))
    least = threshold(there) if enough else 0.0
    judges = [replace(without, min_presence=least) for without in unseen]
    answers = [
        example.calibrated(judges[fold], place)
        for example, place, fold in zip(present, known.places, mine.tolist(), strict=True)
    ]
    kinds = Kind.fitted(known.spacing_km, _own_levels(answers, present))
    return _Alone(replace(fitted, kinds=kinds, min_presence=least), answers)


def _fit_pool(
    alone: Sequence[_Alone], present: Sequence[Example], fingerprints: tuple[str, ...]
) -> tuple[Pool, list[Fitted]]:
    """What the models are worth together, and the fits that have not seen each query.

    The powers maximise the mean log density of the truths under the pool of answers by fits that
    left them out; one imaginary query holds them where they sum to 1.
    """
    from scipy.optimize import minimize

    queries = list(zip(*(each.answers for each in alone), strict=True))
    pools, felt = [], []
    for answers, example in zip(queries, present, strict=True):
        pools.append(candidates := Candidates.of([each.mixture for each in answers]))
        kernels, truth = candidates.kernels, unit_vectors(*example.truth)
        drops = np.sum((kernels.centres - truth) ** 2, axis=1) / 2
        felt.append(np.log(kernels.peaks) - kernels.kappa * drops)

    start = np.full(len(alone), -np.log(len(alone)))

    def objective(logs: Array) -> float:
        powers = np.exp(np.clip(logs, *_LOG_POWERS))
        found = [
            np.logaddexp.reduce(each.log_weights(powers) + log)
            for each, log in zip(pools, felt, strict=True)
        ]
        return float(-np.mean(found) + np.sum((logs - start) ** 2) / (2 * len(found)))

    found = minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-2, "fatol": 1e-5})
    powers = tuple(np.exp(np.clip(found.x, *_LOG_POWERS)).tolist())
    pool = Pool(tuple(each.fitted for each in alone[1:]), fingerprints, powers)
    judges = [
        replace(first.fitted, pool=replace(pool, others=tuple(each.fitted for each in others)))
        for first, *others in queries
    ]
    pooled = [Pooled(*pair) for pair in zip(judges, queries, strict=True)]
    spacing_km = np.array([each.spacing_km for each in alone[0].answers])
    there = [each.presence for each in pooled if each.presence is not None]
    least = threshold(np.array(there)) if len(there) == len(pooled) else 0.0
    kinds = Kind.fitted(spacing_km, _own_levels(pooled, present))
    return replace(pool, kinds=kinds, min_presence=least), judges


def _fusion(
    movement: Movement, asked: Sequence[Example], judges: Sequence[Fitted]
) -> Fusion | None:
    """What picture and time are worth together; None if too few have photos before or after.

    Each picture is judged by a calibration that has not seen it.
    """
    pairs = zip(asked, judges, strict=True)
    timed = [(one, judge) for each, judge in pairs for one in each.timed]
    if len(timed) < FEWEST_TIMED:
        return None
    drawn = np.random.default_rng(0).permutation(len(timed))[:MOST_TIMED]
    chosen = [timed[index] for index in np.sort(drawn).tolist()]
    questions = [
        Question(one.answer(judge).mixture, one.truth, one.told(judge, movement), one.track)
        for one, judge in chosen
    ]
    return fit_fusion(movement, questions, chosen[0][1].within_km)


@dataclass(frozen=True, eq=False)
class _Group:
    """Queries under settings: their places, spacings (n,) in km and evidence (n, f)."""

    examples: Sequence[Example]
    places: Sequence[Place]
    spacing_km: Array
    evidence: Array
    prior: Prior
    sharpness: float

    @classmethod
    def of(cls, examples: Sequence[Example], settings: Settings, prior: Prior) -> _Group:
        places = [example.place(settings) for example in examples]
        spacing, rows = np.empty(len(examples)), np.empty((len(examples), len(FEATURES)))
        for row, (example, place) in enumerate(zip(examples, places, strict=True)):
            lat, lon, distance = example.found(settings.k)
            spacing[row] = settings.spacing.of(lat, lon, place.weights)
            rows[row] = evidence(lat, lon, distance, place, spacing[row], prior.scale_km)
        return cls(examples, places, spacing, rows, prior, settings.sharpness)

    def truths(self, scale: Scale) -> Truths:
        most = max(len(place.weights) for place in self.places)
        neighbours, weights = np.zeros((2, len(self.examples), most))
        summit = np.empty(len(self.examples))
        truths = unit_vectors(*np.array([example.truth for example in self.examples]).T)
        pairs = zip(self.examples, self.places, truths, strict=True)
        for row, (example, place, truth) in enumerate(pairs):
            count = len(place.weights)
            positions = unit_vectors(example.lat[:count], example.lon[:count])
            neighbours[row, :count] = np.sum((positions - truth) ** 2, axis=1) / 2
            weights[row, :count] = sharpened(place.weights, self.sharpness)
            summit[row] = np.sum((unit_vectors(place.lat, place.lon) - truth) ** 2) / 2
        return Truths(
            kappa=(EARTH_RADIUS_KM / self.spacing_km) ** 2,
            summit=summit,
            neighbours=neighbours,
            weights=weights,
            prior=log_prior(self.prior, truths),
            evidence=scale(self.evidence),
        )


def _search(present: Sequence[Example], prior: Prior) -> Settings:
    """The settings under which the truths are most likely, one changed at a time.

    They are changed for a gain of more than its standard error: what is about as good as where the
    search begins is left, so that the same photos at another scale lead to the same settings.
    """
    most = max(len(example.lat) for example in present)
    sizes = sorted({min(k, most) for k in SIZES} | {most})
    known: dict[Settings, Array] = {}

    def logs(settings: Settings) -> Array:
        if settings not in known:
            group = _Group.of(present, settings, prior)
            truths = group.truths(_scale(group.evidence, group.evidence))
            known[settings] = log_density(fit_kernels(truths)[0], truths)
        return known[settings]

    @cache
    def spacing(k: int, weighting: str) -> Spacing:
        return _spacing(present, k, weighting)

    def changed(settings: Settings, **values: Any) -> Settings:
        settings = replace(settings, **values)
        return replace(settings, spacing=spacing(settings.k, settings.weighting))

    best = changed(Settings(most, *START, spacing=Spacing(1, 1, 1)))
    while True:
        before = best
        for name, candidates in {
            "weighting": WEIGHTINGS,
            "bandwidth": BANDWIDTHS,
            "sharpness": SHARPNESS,
            "k": sizes,
        }.items():
            other = max(
                (changed(best, **{name: each}) for each in candidates),
                key=lambda settings: float(logs(settings).mean()),
            )
            gain = logs(other) - logs(best)
            best = other if gain.mean() > gain.std() / np.sqrt(len(gain)) else best
        if best == before:
            return best


def _spacing(examples: Sequence[Example], k: int, weighting: str) -> Spacing:
    """The range of the neighbours' spacings."""
    km = []
    for example in examples:
        lat, lon, distance = example.found(k)
        if len(lat) > 1:
            km.append(spacing_km(lat, lon, neighbour_weights(distance, weighting)))
    return Spacing.fitted(np.array(km))


def _positions(examples: Sequence[Example]) -> list[tuple[float, float]]:
    """The different positions of all neighbours, in the order in which they come first."""
    found: dict[tuple[float, float], None] = {}
    for example in examples:
        found.update(dict.fromkeys(zip(example.lat.tolist(), example.lon.tolist(), strict=True)))
    return list(found)


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


def _own_levels(answers: Sequence[Judged], asked: Sequence[Example]) -> Array:
    """The densities' own levels of the truths (n, 2)."""
    pairs = zip(answers, asked, strict=True)
    return np.array(
        [own_levels(one.mixture, unit_vectors(*one.estimate), each.truth) for one, each in pairs]
    )
