"""Fit a calibration to labelled queries, and measure it on others."""

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
from geosearch.calibration.presence import Presence, threshold
from geosearch.calibration.prior import Prior, log_prior
from geosearch.calibration.summit import sharpened
from geosearch.defaults import DEFAULT_WEIGHTING
from geosearch.density import Mixture, Place, level_at, locate_many
from geosearch.density.caps import cap_mass
from geosearch.density.level_correction import own_levels
from geosearch.density.pooling import Candidates
from geosearch.density.spacing import spacing_km
from geosearch.density.weights import neighbour_weights
from geosearch.sphere import EARTH_RADIUS_KM, Array, great_circle_km, lat_lon, unit_vectors
from geosearch.thresholds import WORLD_KM
from geosearch.timeline.fusion import Fusion, Question, fit_fusion, fused
from geosearch.timeline.movement import Movement
from geosearch.timeline.session_chain import Seen
from geosearch.timeline.timeline_prior import NOTHING_KNOWN, Chance, Moment, with_session

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

#: A copy of a query is absent if no reference is nearer to the truth than so many spacings.
ABSENT = 6.0

#: Fewer absent copies than this teach nothing about absence.
FEWEST_ABSENT = 20

#: Fewer questions with photos before or after them teach nothing about time, and more need not.
FEWEST_TIMED, MOST_TIMED = 60, 600

#: Parts of the queries that are in turn left out to learn levels and presences.
FOLDS = 5

#: How little or much a model's density counts in a pool, as logarithms.
_LOG_POWERS = (-4.0, 1.0)

#: Levels whose coverage is measured.
LEVELS = (0.5, 0.9)

#: Share of a uniform density mixed into an uncalibrated one, so that its score is finite.
_BACKGROUND = 0.01

Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Example:
    """Neighbours (k,) of a labelled query in order of rank, and its true position in degrees.

    `timed` is for queries with photos before and after them, as if some of these were not there:
    what is found then, and the others as the `moment`. Those in the `session` count as photos
    without a position: what is found for each of them then, which knows no truth of its own.
    `others` are the neighbours that other models find, where several are asked together. The
    `track` is where one had the photographer, by the clocks of others.
    """

    lat: Array
    lon: Array
    distance: Array
    truth: tuple[float, float]
    moment: Moment | None = None
    timed: tuple[Example, ...] = ()
    session: tuple[tuple[Seen, Example], ...] = ()
    others: tuple[Example, ...] = ()
    track: tuple[Chance, ...] = ()

    @property
    def spacing_km(self) -> float:
        """The spacing of the neighbours under the default weighting, kilometres."""
        return spacing_km(self.lat, self.lon, neighbour_weights(self.distance, DEFAULT_WEIGHTING))

    @property
    def near_km(self) -> float:
        """References nearer to the truth than this, in km, are hidden to learn what absence is.

        So many spacings, but no more than leaves half of the neighbours.
        """
        away = great_circle_km(*self.truth, self.lat, self.lon)
        return min(ABSENT * self.spacing_km, float(np.median(away)))

    def error_km(self, lat: float, lon: float) -> float:
        """Great-circle distance from a point in degrees to the truth."""
        return float(great_circle_km(lat, lon, *self.truth))

    def place(self, settings: Settings) -> Place:
        """The estimate under the settings."""
        return settings.place(*self.found(settings.k))

    def calibrated(self, fitted: Fitted, place: Place) -> Calibrated:
        """The answer of the first model under a calibration, whose place it is."""
        return Calibrated(fitted, *self.found(len(place.weights)), place)

    def answer(self, fitted: Fitted) -> Judged:
        """The answer of all models under a calibration."""
        alone = [
            each.calibrated(one, each.place(one))
            for each, one in zip((self, *self.others), fitted.alone, strict=True)
        ]
        return alone[0] if fitted.pool is None else Pooled(fitted, tuple(alone))

    def told(self, fitted: Fitted, movement: Movement) -> Moment:
        """What time says of it, with what its session shows the first model, when calibrated."""
        shown = [
            (seen, other.calibrated(fitted, other.place(fitted)).mixture)
            for seen, other in self.session
        ]
        return with_session(movement, self.moment or NOTHING_KNOWN, shown)

    def found(self, k: int) -> tuple[Array, Array, Array]:
        """Latitudes, longitudes and distances of the first k neighbours."""
        return self.lat[:k], self.lon[:k], self.distance[:k]


def calibrated(fitted: Fitted, examples: Sequence[Example]) -> list[Calibrated]:
    """The answers of the first model under a calibration."""
    return [example.calibrated(fitted, example.place(fitted)) for example in examples]


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
        _fit_alone(_by_model(present, number), _by_model(absent, number), within_km, one, folds)
        for number, one in enumerate(known)
    ]
    fitted, judges = alone[0].fitted, alone[0].judges
    if fingerprints:
        pool, judges = _fit_pool(alone, present, fingerprints)
        fitted = replace(fitted, pool=pool)
    if movement is None:
        return fitted
    return replace(fitted, fusion=_fusion(movement, present, judges))


def _by_model(examples: Sequence[Example], number: int) -> list[Example]:
    """What one of the models found."""
    return [(each, *each.others)[number] for each in examples]


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
        asked = _by_model(present, number)
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
