"""An answer: the estimate and everything it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from geosearch.arguments import check_choice, check_range, settle
from geosearch.calibration import Calibrated, Fits, Fitted
from geosearch.calibration.fitted import Judged, Pooled
from geosearch.density import METHODS as DENSITY_METHODS
from geosearch.density import Mixture, Mode, Place, Region, area_at, level_at
from geosearch.density.pooling import PooledDensity
from geosearch.density.regions import highest_density_regions
from geosearch.errors import InputError, PhotoRejected, Reason
from geosearch.json_record import plain
from geosearch.query import Query
from geosearch.retrieval import Filter, Neighbours
from geosearch.retrieval.duplicates import Excluded
from geosearch.retrieval.tuning import MAX_EF_SEARCH
from geosearch.sphere import great_circle_km
from geosearch.thresholds import WORLD_KM
from geosearch.timeline.fusion import Fused, Fusion
from geosearch.timeline.time_evidence import TimeEvidence
from geosearch.words import format_km, format_position

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes

    from geosearch.geocells import Geocells, Likely

#: From a query to a place: by its neighbours, or by its likely cells alone.
METHODS = (*DENSITY_METHODS, "geocell")


@dataclass(frozen=True)
class Parameters:
    """How to turn a query into a place.

    Parameters
    ----------
    method
        `density`, `im2gps` or `nearest`, which go by neighbours; `geocell`, by classifiers.
    k
        Neighbours retrieved; all of them vote. `geocell` needs none.
    bandwidth_km
        Bandwidth of the kernel, kilometres; None is the method's default. The grid of `im2gps`
        keeps the authors' own.
    weighting
        How weight falls with feature distance (`geosearch.density.neighbour_weights`); None is
        the default.
    exact
        Compare all matching photos instead of using the index.
    fitted, calibration_id
        What a calibration fitted, of which `k`, `bandwidth_km` and `weighting` are a part, and
        the calibration's id; None for an answer as it is.
    outside
        In what the references or the filter differ from those of the calibration, in words.
    min_presence
        Below this presence, 0 to 1, a calibrated answer is not confident; None leaves it to the
        calibration.
    restrict_cells
        Search only in the fewest cells that hold this share of the probability, between 0 and 1;
        None searches everywhere.
    verify
        Verify so many of the nearest neighbours geometrically (`geosearch.verification`).
    timeline
        Go by the photos before and after, too (`geosearch.timeline`), where there are such.
    words
        The query is words, or a vector of them.
    models
        Ids of the models, where several are asked together.
    partitions, classifiers, geocells
        Of `geocell` and of `restrict_cells`: names of the partitions, all that the model has
        classifiers over if there are none; ids of the classifiers; and these themselves, None
        until they are read from the database.

    Raises
    ------
    InputError
        A value is out of range.
    """

    method: str = "density"
    k: int = 100
    bandwidth_km: float | None = None
    weighting: str | None = None
    exact: bool = False
    min_presence: float | None = None
    calibration_id: int | None = None
    fitted: Fitted | None = None
    outside: tuple[str, ...] = ()
    restrict_cells: float | None = None
    verify: int = 0
    timeline: bool = False
    words: bool = False
    models: tuple[int, ...] = ()
    partitions: tuple[str, ...] = ()
    classifiers: tuple[int, ...] = ()
    geocells: Geocells | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        settle(self)
        check_choice("method", self.method, METHODS)
        check_range("bandwidth_km", self.bandwidth_km, 0.001, 20_000)
        check_range("verify", self.verify, 0, MAX_EF_SEARCH)
        if self.verify and not self.retrieves:
            raise InputError(
                "`verify` verifies neighbours, which `method` geocell does without",
                "Leave one of them out.",
            )
        if self.words and self.verify:
            raise InputError("`verify` compares pictures, and words are none", "Leave it out.")
        if self.fitted is not None and self.fitted.words != self.words:
            asked, other = ("words", "photos") if self.words else ("photos", "words")
            raise InputError(
                f"`calibration`: {self.calibration_id} was fitted to {other}; {asked} are asked",
                f"Choose one that was fitted to {asked}: geosearch calibrations list",
            )
        if self.models:
            self._check_several()
        elif self.fitted is not None and self.fitted.pool is not None:
            raise InputError(
                "what was fitted is for several models; here is one", "Ask all of these models."
            )
        if self.timeline and not self.retrieves:
            raise InputError(
                "`timeline` is fused with neighbours, which `method` geocell does without",
                "Leave one of them out.",
            )
        if self.min_presence is not None and not 0 <= self.min_presence <= 1:
            raise InputError(
                f"`min_presence`: {self.min_presence:g} is no probability", "Choose 0 to 1."
            )
        if self.restrict_cells is not None:
            if not 0 < self.restrict_cells < 1:
                raise InputError(
                    f"`restrict_cells`: {self.restrict_cells:g} is no share of the probability",
                    "Choose more than 0 and less than 1, for example 0.9.",
                )
            if not self.retrieves:
                raise InputError(
                    "`restrict_cells` restricts the search for neighbours, which `method` geocell "
                    "does without",
                    "Leave one of them out.",
                )

    def _check_several(self) -> None:
        given = {
            f"`method` {self.method}": self.method != "density",
            "`restrict_cells`": self.restrict_cells is not None,
            "`verify`": self.verify > 0,
            "what was fitted": self.fitted is not None
            and len(self.fitted.alone) != len(self.models),
        }
        for name, asked in given.items():
            if asked:
                remedy = "Leave it out" if self.method == "density" else "Choose density"
                raise InputError(
                    f"{name} is for one model; here are {len(self.models)}",
                    f"{remedy}, or ask one model.",
                )

    @property
    def most_k(self) -> int:
        """Neighbours that the model, or any of them, retrieves."""
        return self.k if self.fitted is None else max(each.k for each in self.fitted.alone)

    def alone(self, number: int) -> Self:
        """The parameters of one of the models, by its number."""
        own: dict[str, Any] = {}
        if self.fitted is not None:
            one = self.fitted.alone[number]
            own = {"k": one.k, "weighting": one.weighting, "fitted": one, "min_presence": None}
        return replace(self, models=(), timeline=False, **own)

    @property
    def retrieves(self) -> bool:
        """Whether the method goes by neighbours."""
        return self.method in DENSITY_METHODS

    @property
    def calibrated_for(self) -> str | None:
        """The calibration and, in one line, what it was fitted to; None without."""
        return None if self.fitted is None else f"{self.calibration_id}: {self.fitted.domain}"

    @property
    def fusion(self) -> Fusion:
        """How far picture and time are believed, by default where no calibration has learned it."""
        return Fusion() if self.fitted is None else self.fitted.fusion or Fusion.unlearned()

    @property
    def classifies(self) -> bool:
        """Whether the likely cells of a query are needed."""
        return not self.retrieves or self.restrict_cells is not None

    def with_geocells(self, geocells: Geocells) -> Self:
        """The parameters with what `classifies` needs, and without what the method does not."""
        found = replace(
            self,
            partitions=tuple(item.partition.name for item in geocells.classifiers),
            classifiers=geocells.ids,
            geocells=geocells,
        )
        return found if self.retrieves else replace(found, k=0, bandwidth_km=None, weighting=None)

    def to_json(self) -> dict[str, Any]:
        """As JSON, without what was fitted."""
        names = ("method", "k", "bandwidth_km", "weighting", "exact")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.fitted is not None:
            given |= {
                "calibration": self.calibration_id,
                "min_presence": self.min_presence,
                "outside": list(self.outside),
            }
        if self.classifies:
            given |= {"partitions": list(self.partitions), "classifiers": list(self.classifiers)}
        if self.restrict_cells is not None:
            given["restrict_cells"] = self.restrict_cells
        if self.verify:
            given["verify"] = self.verify
        given |= {name: True for name in ("timeline", "words") if getattr(self, name)}
        if self.models:
            given["models"] = list(self.models)
        return given

    @classmethod
    def from_json(cls, value: Mapping[str, Any], fitted: Mapping[str, Any] | None) -> Self:
        """What `to_json` wrote, with what was fitted."""
        given = dict(value)
        calibration_id = given.pop("calibration", None)
        for name in {"partitions", "classifiers", "outside", "models"} & given.keys():
            given[name] = tuple(given[name])
        return cls(
            **given,
            calibration_id=calibration_id,
            fitted=None if fitted is None else Fitted.from_json(fitted),
        )


#: Of the density of a model without calibration so much is uniform, as others may know better.
_BACKGROUND = 0.01


def calibrated(parameters: Parameters, found: Neighbours, place: Place | None) -> Calibrated | None:
    """The calibrated density of neighbours and the place they show; None without."""
    fitted, least = parameters.fitted, parameters.min_presence
    if fitted is None or place is None:
        return None
    return Calibrated(fitted, found.lat, found.lon, found.effective_distance, place, least)


_FITS = {
    Fits.YES: "It fits here",
    Fits.UNSURE: "It fits here if the place is in this collection, which is not likely",
    Fits.WIDENED: "The query is unlike them: its regions were widened",
    Fits.NO: "It does not fit here: the neighbours lie closer or sparser than theirs did",
}


#: What an answer may be marked with as not to be relied on.
FLAGS = (
    *("not_confident", "low_information", "calibration_widened", "calibration_does_not_fit"),
    "time_disagrees",
)


#: Columns of a table of answers; those that are calibrated have `probability_within_…_km`, too.
ROW = (
    *("localization_id", "photo", "lat", "lon", "place", "agreement", "confident"),
    *("radius_50_km", "radius_90_km", "error_km", "model", "reason", "message"),
)


class View(Protocol):
    """How an answer is shown: by what lies above it, with what its database has beside it."""

    def html(self, answer: Localization) -> str:
        """See `Localization._repr_html_`."""

    def plot(self, answer: Localization, axes: Axes | None) -> Axes:
        """See `Localization.plot`."""

    def geo_frame(self, answer: Localization) -> GeoDataFrame:
        """See `Localization.to_geopandas`."""


@dataclass(frozen=True, repr=False)
class Localization:
    """The answer to one query.

    `place` is None when no reference photo passed the filter: then `lat`, `lon` (degrees) and
    `agreement` (0 to 1) are None, `radius_km` and `regions` (by level) and `modes` empty. `weights`
    belong to `neighbours`, and sum to 1.
    `truth_level` is the level of the smallest region that holds the truth (0 to 1).
    `probability_within_km` (kilometres → probability of an error of at most that) and `confident`
    (False: the place is not in this collection) are empty and None without calibration. A query of
    low information is never confident.
    `place_name` says the estimate in words, as far as it is known (`geosearch.place_name` in SQL).
    `where` names all that was left out; `excluded` counts it, None if nothing was to be.
    `question` is the same in all answers to what was asked in the same way.
    `evidence` is what time says, if it was asked and says anything: then place, radii, regions and
    probabilities are those of picture and time together, and a place that time knows is confident.
    `members` are the answers of each model alone, where several were asked together: then model and
    query are those of the first, and the neighbours are those of all, by weight. `share` is, of one
    of these, the share of the density together that is its own, and `references` how many photos it
    had to search. `view` shows the answers of an open `Geosearch`; other answers cannot be drawn.

    Examples
    --------
    >>> answer = gs.localize(photo)
    >>> answer
    Localization(..., '...000001.jpg', ...)
    >>> answer.lat, answer.lon, answer.radius_km[0.9]
    (...)
    >>> answer.place_name, answer.neighbours.uri[0]
    ('...', '...jpg')
    """

    query: Query
    model_id: int | None
    model: Mapping[str, str]
    parameters: Parameters
    where: Filter
    neighbours: Neighbours
    place: Place | None
    elapsed_ms: Mapping[str, float]
    software: Mapping[str, str]
    truth: tuple[float, float] | None = None
    error_km: float | None = None
    truth_level: float | None = None
    probability_within_km: Mapping[float, float] = field(default_factory=dict)
    confident: bool | None = None
    excluded: Excluded | None = None
    place_name: str | None = None
    question: str | None = field(default=None, compare=False)
    evidence: TimeEvidence | None = None
    members: tuple[Localization, ...] = ()
    share: float | None = None
    references: int | None = None
    id: int | None = None
    created_at: datetime | None = field(default=None, compare=False)
    view: View | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        said = [repr(self.photo)]
        if self.id is not None:
            said.insert(0, str(self.id))
        if self.lat is None or self.lon is None:
            return f"Localization({', '.join(said)}, no neighbours)"
        said.append(format_position(self.lat, self.lon))
        if self.place_name is not None:
            said.append(repr(self.place_name))
        if 0.9 in self.radius_km:
            said.append(f"90 % within {format_km(self.radius_km[0.9])}")
        if self.parameters.retrieves:
            said.append(f"{len(self.neighbours):,} neighbours")
        return f"Localization({', '.join((*said, *self.flags))})"

    def _repr_html_(self) -> str | None:
        return None if self.view is None else self.view.html(self)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the map of the answer, on axes of Matplotlib or on those of a new figure.

        The axes are kilometres of a map round the estimate, or of a map of the world.

        Raises
        ------
        MissingExtraError
            Matplotlib is not installed: the extra `pictures`.
        InputError
            It is not an answer of an open `Geosearch`.

        Examples
        --------
        >>> axes = gs.localize(photo).plot()
        >>> axes.figure.savefig("map.png")
        """
        return self._shown.plot(self, axes)

    def to_geopandas(self) -> GeoDataFrame:
        """The estimate, the truth, the 50 % and 90 % regions and the neighbours, in EPSG:4326.

        A row each, told apart by the column `kind`; the neighbours have `rank`, `photo_id`, `uri`,
        `distance` and `weight`, the regions `level` and `area_km2`.

        Raises
        ------
        MissingExtraError
            GeoPandas is not installed.
        InputError
            It is not an answer of an open `Geosearch`.

        Examples
        --------
        >>> places = gs.localize(photo).to_geopandas()
        >>> places[places.kind == "region"][["level", "area_km2"]].shape
        (2, 2)
        """
        return self._shown.geo_frame(self)

    @property
    def _shown(self) -> View:
        if self.view is None:
            raise InputError(
                "this answer knows no database to be shown with",
                "Take it from one: geosearch.connect().load(id)",
            )
        return self.view

    @property
    def photo(self) -> str:
        """The query's path or URL."""
        return self.query.uri

    @property
    def lat(self) -> float | None:
        """Latitude of the estimate, degrees."""
        return self.place and self.place.lat

    @property
    def lon(self) -> float | None:
        """Longitude of the estimate, degrees."""
        return self.place and self.place.lon

    @property
    def agreement(self) -> float | None:
        """Share of the evidence behind the estimate, 0 to 1; not a probability of being right."""
        return self.place and self.place.agreement

    @property
    def truth_area_km2(self) -> float | None:
        """Area of the smallest region that holds the truth; None without truth or estimate."""
        if self.truth is None or self.place is None:
            return None
        likely, density = self.likely, self.density
        if likely is not None:
            return likely.area_at(*self.truth)
        return None if density is None else area_at(density, *self.truth)

    @property
    def radius_km(self) -> Mapping[float, float]:
        """Level → radius round the estimate that holds that share, kilometres."""
        return self.place.radius_km if self.place else {}

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes of the density, the estimate's first."""
        return self.place.modes if self.place else ()

    @property
    def regions(self) -> Mapping[float, Region]:
        """Level → the smallest area that holds that share."""
        return self.place.regions if self.place else {}

    def regions_at(self, levels: Sequence[float]) -> Mapping[float, Region]:
        """`regions` at these levels (0 to 1), computed again where they were not recorded.

        Examples
        --------
        >>> gs.load(1).regions_at([0.9])[0.9].area_km2 > 0
        True
        """
        if all(level in self.regions for level in levels):
            return {level: self.regions[level] for level in levels}
        if self.fused is not None and self.place is not None:
            return self.fused.place(tuple(levels), self.place, regions=True).regions
        if self.calibrated is not None:
            return self.calibrated.judge(tuple(levels), regions=True).regions
        return {} if self.density is None else highest_density_regions(self.density, levels)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The neighbours' weights (k,)."""
        return self.place.weights if self.place else np.zeros(0)

    @property
    def plan(self) -> Mapping[str, Any]:
        """How the neighbours were retrieved."""
        return self.neighbours.plan.to_json()

    @cached_property
    def calibrated(self) -> Judged | None:
        """The calibrated density by the picture; None without calibration or estimate."""
        fitted = self.parameters.fitted
        if self.members:
            found = [each.calibrated for each in self.members]
            alone = tuple(each for each in found if isinstance(each, Calibrated))
            if fitted is None or fitted.pool is None or len(alone) < len(found):
                return None
            return Pooled(fitted, alone, self.parameters.min_presence)
        place, evidence = self.place, self.evidence
        if place is not None and evidence is not None and evidence.by_picture is not None:
            place = replace(place, lat=evidence.by_picture[0], lon=evidence.by_picture[1])
        return calibrated(self.parameters, self.neighbours, place)

    @property
    def _unlearned(self) -> str | None:
        return None if self.evidence is None else self.evidence.unlearned

    @property
    def calibration_fits(self) -> Fits | None:
        """Whether the calibration holds for this answer; None without."""
        found = self.calibrated
        if found is None:
            return None
        if self._unlearned:
            return Fits.NO
        fits = found.fits(self.parameters.outside)
        tells = self.query.low_information is None or fits is Fits.WIDENED
        return fits if tells else Fits.NO

    @property
    def flags(self) -> tuple[str, ...]:
        """Those of `FLAGS` that it is marked with."""
        fits = self.calibration_fits
        marked = (
            self.confident is False,
            self.query.low_information is not None,
            fits is Fits.WIDENED,
            fits is Fits.NO,
            self.evidence is not None and self.evidence.disagrees,
        )
        return tuple(flag for flag, holds in zip(FLAGS, marked, strict=True) if holds)

    @property
    def calibration_remark(self) -> str:
        """In one line, what the calibration was fitted to, and whether that holds here."""
        said, fits = self.parameters.calibrated_for, self.calibration_fits
        if said is None or fits is None:
            return "none"
        if self.query.low_information is not None and fits is Fits.NO:
            return f"{said}. It does not fit here: the photo is {self.query.low_information}"
        if self.parameters.outside:
            return f"{said}. It does not fit here: {'; '.join(self.parameters.outside)}"
        if self._unlearned:
            return f"{said}. It does not fit here: {self._unlearned}"
        return f"{said}. {_FITS[fits]}"

    @property
    def presence(self) -> float | None:
        """Probability, at even odds, that the place is in this collection; None if unknown."""
        calibrated = self.calibrated
        return None if calibrated is None else calibrated.presence

    @cached_property
    def likely(self) -> Likely | None:
        """The likely cells that a fresh answer by method `geocell` rests on; else None."""
        geocells = None if self.parameters.retrieves else self.parameters.geocells
        return None if geocells is None else geocells.likely(self.query.embedding)

    @property
    def density(self) -> Mixture | None:
        """The density that radii and regions are of; None without estimate."""
        return self.by_picture if self.fused is None else self.fused.mixture

    @property
    def by_picture(self) -> Mixture | None:
        """The density of the neighbours, whatever time says; None without estimate."""
        if self.calibrated is not None:
            return self.calibrated.mixture
        if self.members:
            return None if self.pooled is None else self.pooled.mixture
        if self.place is None or not self.parameters.retrieves:
            return None
        found, place = self.neighbours, self.place
        return Mixture.of_neighbours(found.lat, found.lon, place.weights, place.bandwidth_km)

    @cached_property
    def pooled(self) -> PooledDensity | None:
        """The density by all models that have an estimate; None where one was asked."""
        if isinstance(self.calibrated, Pooled):
            return self.calibrated.told
        densities = [each.by_picture for each in self.members]
        known = [each.with_background(_BACKGROUND) for each in densities if each is not None]
        if not known:
            return None
        return PooledDensity.of(known, [1 / len(known)] * len(known), WORLD_KM)

    @cached_property
    def fused(self) -> Fused | None:
        """The density by picture and time; None if time says nothing."""
        picture, fitted = self.by_picture, self.parameters.fitted
        if self.evidence is None or picture is None:
            return None
        within_km = WORLD_KM if fitted is None else fitted.within_km
        return self.evidence.fused(picture, within_km, blank=bool(self.query.low_information))

    def with_truth(self, lat: float, lon: float) -> Localization:
        """The answer compared with the true position, in degrees.

        Examples
        --------
        >>> gs.localize(photo).with_truth(50, 10).error_km > 0
        True
        """
        if self.place is None:
            return replace(self, truth=(lat, lon))
        return replace(
            self,
            truth=(lat, lon),
            error_km=float(great_circle_km(self.place.lat, self.place.lon, lat, lon)),
            truth_level=self._level_of(lat, lon),
        )

    def _level_of(self, lat: float, lon: float) -> float | None:
        """Level of the smallest region that holds a point; None if regions are not known."""
        for source in (self.fused, self.calibrated, self.likely):
            if source is not None:
                return source.level_of(lat, lon)
        density = self.density
        return None if density is None else level_at(density, lat, lon)

    def to_json(self) -> dict[str, Any]:
        """The object that `geosearch localize --json` prints.

        Examples
        --------
        >>> gs.load(1).to_json()["estimate"]
        {'lat': ..., 'lon': ...}
        """
        verification = self.neighbours.verification
        return {
            "localization_id": self.id,
            "photo": self.photo,
            "estimate": self.place and {"lat": self.place.lat, "lon": self.place.lon},
            "place": self.place_name,
            "method": self.parameters.method,
            "agreement": self.agreement,
            "calibration": self.parameters.calibration_id,
            "calibration_fits": self.calibration_fits,
            "confident": self.confident,
            "low_information": self.query.low_information,
            "presence": self.presence,
            "evidence": self.evidence and self.evidence.to_json(),
            "probability_within_km": plain(self.probability_within_km) or None,
            "radius_km": {f"{100 * level:g}": km for level, km in self.radius_km.items()},
            "modes": plain(self.modes),
            "neighbours": [
                neighbour | {"weight": float(weight)}
                for neighbour, weight in zip(self.neighbours.to_json(), self.weights, strict=True)
            ],
            **({"models": [each._as_member() for each in self.members]} if self.members else {}),
            "plan": dict(self.plan),
            **({} if verification is None else {"verification": verification.to_json()}),
            "model": self.model["name"],
            "parameters": self.parameters.to_json(),
            "filter": self.where.to_json(),
            "excluded": plain(self.excluded),
            "truth": None if self.truth is None else {"lat": self.truth[0], "lon": self.truth[1]},
            "error_km": self.error_km,
            "truth_level": self.truth_level,
            "elapsed_ms": dict(self.elapsed_ms),
        }

    def to_row(self) -> dict[str, Any]:
        """The answer as a row of a table, with the fields of a `Failure`, which are empty.

        Examples
        --------
        >>> gs.load(1).to_row()["place"]
        '...'
        """
        likely = self.probability_within_km.items()
        own = (
            *(self.id, self.photo, self.lat, self.lon, self.place_name, self.agreement),
            *(self.confident, self.radius_km.get(0.5), self.radius_km.get(0.9), self.error_km),
            *(self.model["name"], None, None),
        )
        return dict(zip(ROW, own, strict=True)) | {
            f"probability_within_{km:g}_km": share for km, share in likely
        }

    def _as_member(self) -> dict[str, Any]:
        """What an answer of several models says of one of them."""
        whole = self.to_json()
        names = ("model", "estimate", "agreement", "presence", "plan", "excluded")
        return {name: whole[name] for name in names} | {
            "share": self.share,
            "references": self.references,
            "neighbours": self.neighbours.photo_id.tolist(),
        }


@dataclass(frozen=True)
class Failure:
    """A query photo that could not be read, and why.

    Examples
    --------
    >>> (failure,) = gs.localize_many("missing.jpg")
    >>> failure.reason
    <Reason.UNREADABLE: 'unreadable'>
    """

    photo: str
    reason: Reason
    message: str

    @property
    def error(self) -> PhotoRejected:
        """What is raised where it stops the work."""
        return PhotoRejected(self.reason, f"{self.photo}: {self.message}")

    def to_row(self) -> dict[str, Any]:
        """The failure as a row of a table: see `Localization.to_row`."""
        own = {"photo": self.photo, "reason": str(self.reason), "message": self.message}
        return dict.fromkeys(ROW) | own

    def to_json(self) -> dict[str, Any]:
        """The object printed in place of an answer."""
        return {"photo": self.photo, "error": {"reason": self.reason, "message": self.message}}
