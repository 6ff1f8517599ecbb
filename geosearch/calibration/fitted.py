"""What a calibration fits, and what it says about an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from geosearch.calibration.domain import Domain, Fits
from geosearch.calibration.evidence import evidence, first_distances
from geosearch.calibration.kernels import Kernels
from geosearch.calibration.presence import Presence
from geosearch.calibration.prior import Prior
from geosearch.calibration.summit import at_summit, sharpened
from geosearch.density import Mixture, Place, Region, locate
from geosearch.density.kernel import BANDWIDTH_RANGE_KM
from geosearch.density.level_correction import LevelCorrection
from geosearch.density.pooling import PooledDensity
from geosearch.density.spacing import spacing_km
from geosearch.density.weights import neighbour_weights
from geosearch.json_record import Record
from geosearch.sphere import EARTH_RADIUS_KM, Array, unit_vectors
from geosearch.thresholds import WORLD_KM
from geosearch.timeline.fusion import Fusion

#: A gap of more than this factor between spacings, so many queries on either side, parts kinds.
_GAP, _FEWEST_OF_A_KIND = 5.0, 30

#: A spacing beyond those of nearly all queries by more than this factor is strange.
_STRANGE = 1.5

#: Below this presence a place is likelier elsewhere than among the references, at even odds.
_EVEN = 0.5


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
class Spacing:
    """Of the queries' neighbours, in km: the spacing of most is from `low` to `high`.

    `middle` is that of a query whose neighbours do not tell: of one alone.
    """

    low: float
    middle: float
    high: float

    @classmethod
    def fitted(cls, km: Array) -> Spacing:
        """That of the queries' spacings (n,)."""
        known = km[km > 0]
        low, middle, high = np.quantile(known, (0.01, 0.5, 0.99)) if len(known) else (1e-3,) * 3
        return cls(float(low), float(middle), float(high))

    def of(self, lat: Array, lon: Array, weights: Array) -> float:
        """The spacing of neighbours (k,) in degrees with weights (k,), kilometres."""
        if len(lat) < 2:
            return self.middle
        return float(np.clip(spacing_km(lat, lon, weights), self.low, self.high))


@dataclass(frozen=True)
class Kind(LevelCorrection):
    """Queries whose neighbours' spacing is above so many km, and the levels that hold for them."""

    above_km: float = 0.0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What was kept."""
        return cls(*cls.maps_read(value), value["above_km"])

    @classmethod
    def fitted(cls, spacing_km: Array, levels: Array) -> tuple[Kind, ...]:
        """The kinds of queries with spacings (n,) and the density's own levels (n, 2), ascending.

        A city and a continent in one collection are two kinds: their spacings leave a gap in which
        there are none, and photos of the one say little of how sure those of the other are.
        """
        order = np.argsort(spacing_km)
        logs = np.log(spacing_km[order])
        wide = 1 + np.flatnonzero(np.diff(logs) > np.log(_GAP))
        starts = [0]
        for start in wide.tolist():
            if min(start - starts[-1], len(order) - start) >= _FEWEST_OF_A_KIND:
                starts.append(start)
        return tuple(
            cls(
                *cls.maps_fitted(levels[order[first:last]]),
                float(np.exp(logs[first - 1 : first + 1].mean())) if first else 0.0,
            )
            for first, last in zip(starts, [*starts[1:], len(order)], strict=True)
        )


@dataclass(frozen=True)
class Judgement:
    """How far an answer can be trusted.

    `probability_within_km`: of an error of at most so many km. `radius_km` and `regions`: by level.
    """

    probability_within_km: dict[float, float]
    radius_km: dict[float, float]
    regions: dict[float, Region]


@dataclass(frozen=True)
class Settings:
    """What leads from neighbours to an estimate.

    `k`, `bandwidth` (in spacings of the neighbours) and `weighting` are those of the smoothed
    density that has the estimate at a mode, and `sharpness` says at which
    (`geosearch.calibration.summit`).
    """

    k: int
    bandwidth: float
    weighting: str
    sharpness: float
    spacing: Spacing

    @property
    def alone(self) -> tuple[Settings, ...]:
        """Those of each model alone, in their order."""
        return (self,)

    def place(self, lat: Array, lon: Array, distance: Array) -> Place:
        """The estimate by neighbours, given in order of rank, without radii and regions."""
        weights = neighbour_weights(distance, self.weighting)
        spacing = self.spacing.of(lat, lon, weights)
        found = locate(
            *(lat, lon, distance),
            bandwidth_km=float(np.clip(self.bandwidth * spacing, *BANDWIDTH_RANGE_KM)),
            weighting=self.weighting,
            levels=(),
            regions=False,
        )
        return at_summit(lat, lon, found, self.sharpness)


@dataclass(frozen=True)
class Fitted(Settings, Record):
    """All that a calibration fitted.

    `scale_km` is the references' own scale. `kernels` are those of the truth's density, given the
    estimate; `prior` is where it lies if nothing is known. `kinds` correct the levels of its
    regions and of caps round the estimate. Below `min_presence` an answer is not confident.
    `within_km` are the distances for which an answer says how likely its error is smaller, `domain`
    says what all of this was fitted for. Where several models answer together, this is what was
    fitted for the first, and `pool` has the others.
    """

    scale_km: float
    scale: Scale
    kernels: Kernels
    prior: Prior
    kinds: tuple[Kind, ...]
    presence: Presence | None
    min_presence: float
    within_km: tuple[float, ...] = WORLD_KM
    domain: Domain | None = None
    fusion: Fusion | None = None
    pool: Pool | None = None

    @property
    def words(self) -> bool:
        """Whether it was fitted to words; else it was to photos."""
        return self.domain is not None and self.domain.words

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Those of the models that answer together with the first."""
        return () if self.pool is None else self.pool.fingerprints

    @property
    def alone(self) -> tuple[Fitted, ...]:
        """What was fitted for each model alone, in their order."""
        return (self,) if self.pool is None else (replace(self, pool=None), *self.pool.others)

    def with_domains(self, domains: Sequence[Domain]) -> Self:
        """With what it was fitted for, for each model."""
        first, *others = domains
        if self.pool is None:
            return replace(self, domain=first)
        pairs = zip(self.pool.others, others, strict=True)
        pool = replace(self.pool, others=tuple(one.with_domains([each]) for one, each in pairs))
        return replace(self, domain=first, pool=pool)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        kernels = value["kernels"]
        given = dict(value) | {
            "spacing": Spacing(**value["spacing"]),
            "scale": Scale(**_tuples(value["scale"])),
            "kernels": Kernels(
                tuple(kernels["summit"]),
                tuple(kernels["neighbour"]),
                tuple(tuple(row) for row in kernels["gate"]),
            ),
            "prior": Prior(**_tuples(value["prior"])),
            "kinds": tuple(map(Kind.from_json, value["kinds"])),
            "presence": None if value["presence"] is None else _presence(value["presence"]),
            "within_km": tuple(value["within_km"]),
            "domain": None if value["domain"] is None else Domain(**value["domain"]),
            "fusion": None if value["fusion"] is None else Fusion.from_json(value["fusion"]),
            "pool": None if value["pool"] is None else Pool.from_json(value["pool"]),
        }
        return cls(**given)


@dataclass(frozen=True)
class Pool(Record):
    """What was fitted for models that answer together, besides what was for the first alone.

    `others` are what was fitted for each of the other models, and `fingerprints` say which these
    are. `powers` are those of all their densities (`geosearch.density.pooling`); `kinds` correct
    the levels of the pool, and below `min_presence` its answers are not confident.
    """

    others: tuple[Fitted, ...]
    fingerprints: tuple[str, ...]
    powers: tuple[float, ...]
    kinds: tuple[Kind, ...] = ()
    min_presence: float = 0.0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(
            tuple(Fitted.from_json(each) for each in value["others"]),
            tuple(value["fingerprints"]),
            tuple(value["powers"]),
            tuple(map(Kind.from_json, value["kinds"])),
            value["min_presence"],
        )


class Judged:
    """What any calibrated answer says: where its density is, and how far it can be trusted.

    Below `min_presence`, that of the calibration if None, the answer is not confident.
    """

    fitted: Fitted
    min_presence: float | None

    @property
    def estimate(self) -> tuple[float, float]:
        """Latitude and longitude of the estimate, degrees."""
        raise NotImplementedError

    @property
    def mixture(self) -> Mixture:
        """The density of the truth."""
        raise NotImplementedError

    @property
    def presence(self) -> float | None:
        """Probability, at even odds, that the place is among the references; None if unknown."""
        raise NotImplementedError

    @property
    def least(self) -> float:
        """The presence below which the calibration takes a place for absent."""
        return self.fitted.min_presence

    @property
    def confident(self) -> bool | None:
        """Whether the place seems to be among the references; None if unknown."""
        least = self.least if self.min_presence is None else self.min_presence
        return None if self.presence is None else self.presence >= least

    @property
    def strange(self) -> bool:
        """Whether the neighbours lie much closer or sparser than those of the queries did."""
        raise NotImplementedError

    def fits(self, outside: Sequence[str] = ()) -> Fits:
        """Whether the calibration holds, `outside` being what else differs from its domain."""
        if outside or (self.confident is not False and self.strange):
            return Fits.NO
        if self.confident is False:
            return Fits.WIDENED
        return Fits.UNSURE if self.presence is not None and self.presence < _EVEN else Fits.YES

    @property
    def kind(self) -> Kind:
        """The kind of query."""
        raise NotImplementedError

    def level_of(self, lat: float, lon: float) -> float:
        """The level of the smallest region that contains a point in degrees."""
        return self.kind.level_of(self.mixture, lat, lon)

    def probability_within(self, km: float) -> float:
        """Probability of an error of at most so many kilometres."""
        return self.kind.probability_within(self.mixture, unit_vectors(*self.estimate), km)

    def judge(self, levels: Sequence[float], *, regions: bool) -> Judgement:
        """What can be said of the answer, with radii and, if wanted, regions at `levels`."""
        mixture, kind = self.mixture, self.kind
        return Judgement(
            probability_within_km={km: self.probability_within(km) for km in self.fitted.within_km},
            radius_km=kind.radii_km(mixture, unit_vectors(*self.estimate), levels),
            regions=kind.regions(mixture, levels) if regions else {},
        )


@dataclass(frozen=True, eq=False)
class Calibrated(Judged):
    """The answer of one model under a calibration.

    `lat`, `lon`, `distance` are those of the neighbours, (k,), in order of rank; the place is that
    of the fitted settings. Below `min_presence`, that of the calibration if None, the answer is not
    confident: then the prior has the share of the density that the presence leaves.
    """

    fitted: Fitted
    lat: Array
    lon: Array
    distance: Array
    place: Place
    min_presence: float | None = None

    @property
    def estimate(self) -> tuple[float, float]:
        """Latitude and longitude of the place, degrees."""
        return self.place.lat, self.place.lon

    @cached_property
    def spacing_km(self) -> float:
        """The neighbours' spacing."""
        return self.fitted.spacing.of(self.lat, self.lon, self.place.weights)

    @cached_property
    def raw_evidence(self) -> Array:
        """The evidence as it is."""
        found = self.lat, self.lon, self.distance
        return evidence(*found, self.place, self.spacing_km, self.fitted.scale_km)

    @property
    def evidence(self) -> Array:
        """The standardised evidence."""
        return self.fitted.scale(self.raw_evidence)

    @cached_property
    def mixture(self) -> Mixture:
        """The density of the truth."""
        kernels, prior = self.fitted.kernels, self.fitted.prior.mixture
        shares = kernels.shares(self.evidence)
        shares[:-1] *= 1 - self.doubt
        shares[-1] = 1 - shares[:-1].sum()
        summit, neighbours = unit_vectors(*self.estimate), unit_vectors(self.lat, self.lon)
        summits, copies = len(kernels.summit), len(kernels.neighbour)
        weights = sharpened(self.place.weights, self.fitted.sharpness)
        widths = np.concatenate([kernels.summit, np.repeat(kernels.neighbour, len(neighbours))])
        return Mixture(
            np.concatenate(
                [np.tile(summit, (summits, 1)), np.tile(neighbours, (copies, 1)), prior.centres]
            ),
            np.concatenate(
                [
                    shares[:summits],
                    np.outer(shares[summits:-1], weights).ravel(),
                    shares[-1] * prior.weights,
                ]
            ),
            np.concatenate([(EARTH_RADIUS_KM / (widths * self.spacing_km)) ** 2, prior.kappa]),
        )

    @cached_property
    def presence(self) -> float | None:
        """Probability, at even odds, that the place is among the references; None if unknown."""
        presence = self.fitted.presence
        if presence is None:
            return None
        log_distance = np.log(first_distances(self.distance)[0])
        return float(presence(self.evidence, log_distance))

    @property
    def doubt(self) -> float:
        """Share of the density that is the prior's because the answer is not confident."""
        return 0.0 if self.confident is not False else 1 - (self.presence or 0.0)

    @property
    def strange(self) -> bool:
        """Whether the neighbours lie much closer or sparser than those of the queries did."""
        known = self.fitted.spacing
        if len(self.lat) < 2:
            return True
        km = spacing_km(self.lat, self.lon, self.place.weights)
        return not known.low / _STRANGE <= km <= known.high * _STRANGE

    @property
    def kind(self) -> Kind:
        """The kind of query."""
        return _kind_of(self.fitted.kinds, self.spacing_km)


@dataclass(frozen=True, eq=False)
class Pooled(Judged):
    """The answer of several models together, from those of each alone, in their order.

    `fitted` is that of the first model, with the `pool`. The presence is the mean of theirs. One
    that doubts its own answer has widened it, so that the others count for more.
    """

    fitted: Fitted
    members: tuple[Calibrated, ...]
    min_presence: float | None = None

    @property
    def pool(self) -> Pool:
        """What was fitted for the models together."""
        assert self.fitted.pool is not None
        return self.fitted.pool

    @cached_property
    def told(self) -> PooledDensity:
        """The density of all, and what each has in it."""
        densities = [each.mixture for each in self.members]
        return PooledDensity.of(densities, self.pool.powers, self.fitted.within_km)

    @property
    def estimate(self) -> tuple[float, float]:
        """The point that is most probably near enough, degrees."""
        return self.told.estimate

    @property
    def mixture(self) -> Mixture:
        """The density of the truth."""
        return self.told.mixture

    @property
    def presence(self) -> float | None:
        """The mean of the models' presences; None if that of one is unknown."""
        known = [each.presence for each in self.members if each.presence is not None]
        return float(np.mean(known)) if len(known) == len(self.members) else None

    @property
    def least(self) -> float:
        """The presence below which the calibration takes a place for absent."""
        return self.pool.min_presence

    @property
    def strange(self) -> bool:
        """Whether the neighbours of one lie much closer or sparser than those of the queries."""
        return any(each.strange for each in self.members)

    @property
    def kind(self) -> Kind:
        """The kind of query, by the first model's neighbours."""
        return _kind_of(self.pool.kinds, self.members[0].spacing_km)


def _kind_of(kinds: Sequence[Kind], spacing_km: float) -> Kind:
    return [one for one in kinds if one.above_km <= spacing_km][-1]


def _tuples(value: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(each) for name, each in value.items()}


def _presence(value: Mapping[str, Any]) -> Presence:
    return Presence(**(dict(value) | {"logit": tuple(value["logit"])}))
