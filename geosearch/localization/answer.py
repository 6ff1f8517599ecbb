"""An answer: the estimate and everything it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosearch.density import METHODS, Mixture, Mode, Region, level_at
from geosearch.errors import InputError, Reason
from geosearch.retrieval import Filter, Neighbours
from geosearch.retrieval.duplicates import Excluded
from geosearch.sphere import great_circle_km


@dataclass(frozen=True)
class Parameters:
    """How to turn neighbours into a place.

    Parameters
    ----------
    method
        `density`, `im2gps` or `nearest`.
    k
        Neighbours retrieved; all of them vote.
    bandwidth_km
        Bandwidth of the kernel, kilometres; None is the method's default. The grid of `im2gps`
        keeps the authors' own.
    weighting
        How weight falls with feature distance (`geosearch.density.neighbour_weights`); None is
        the default.
    exact
        Compare all matching photos instead of using the index.

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

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(
                f"--method {self.method!r} is unknown", f"Choose one of {', '.join(METHODS)}."
            )
        if self.bandwidth_km is not None and not 0.001 <= self.bandwidth_km <= 20_000:
            raise InputError(
                f"--bandwidth-km {self.bandwidth_km:g} is out of range", "Choose 0.001 to 20000."
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Localization:
    """The answer for one photo.

    `lat`, `lon` (degrees), `score` (0 to 1) and `radius_km` (level → kilometres) are None or empty
    when no reference photo passed the filter. `weights` belong to `neighbours`, and sum to 1.
    `truth_level` is the level of the smallest region that holds the truth (0 to 1).
    `where` names all that was left out; `excluded` counts it, None if nothing was to be.
    """

    photo: str
    sha256: bytes
    embedding: NDArray[np.float32]
    model_id: int | None
    model: Mapping[str, str]
    parameters: Parameters
    where: Filter
    neighbours: Neighbours
    weights: NDArray[np.float64]
    lat: float | None
    lon: float | None
    score: float | None
    radius_km: Mapping[float, float]
    modes: tuple[Mode, ...]
    regions: Mapping[float, Region]
    elapsed_ms: Mapping[str, float]
    software: Mapping[str, str]
    truth: tuple[float, float] | None = None
    error_km: float | None = None
    truth_level: float | None = None
    excluded: Excluded | None = None
    id: int | None = None
    created_at: Any = field(default=None, compare=False)

    @property
    def plan(self) -> Mapping[str, Any]:
        """How the neighbours were retrieved."""
        return self.neighbours.plan.to_json()

    def with_truth(self, lat: float, lon: float) -> Localization:
        """The answer compared with the true position, in degrees."""
        if self.lat is None or self.lon is None or self.parameters.bandwidth_km is None:
            return replace(self, truth=(lat, lon))
        mixture = Mixture.of_neighbours(
            self.neighbours.lat, self.neighbours.lon, self.weights, self.parameters.bandwidth_km
        )
        return replace(
            self,
            truth=(lat, lon),
            error_km=float(great_circle_km(self.lat, self.lon, lat, lon)),
            truth_level=level_at(mixture, lat, lon),
        )

    def to_json(self) -> dict[str, Any]:
        """The object that `geosearch localize --json` prints."""
        return {
            "localization_id": self.id,
            "photo": self.photo,
            "estimate": None if self.lat is None else {"lat": self.lat, "lon": self.lon},
            "method": self.parameters.method,
            "score": self.score,
            "radius_km": {f"{100 * level:g}": km for level, km in self.radius_km.items()},
            "modes": [asdict(mode) for mode in self.modes],
            "neighbours": [
                neighbour | {"weight": float(weight)}
                for neighbour, weight in zip(self.neighbours.to_json(), self.weights, strict=True)
            ],
            "plan": dict(self.plan),
            "model": self.model["name"],
            "parameters": self.parameters.to_json(),
            "filter": self.where.to_json(),
            "excluded": None if self.excluded is None else self.excluded.to_json(),
            "truth": None if self.truth is None else {"lat": self.truth[0], "lon": self.truth[1]},
            "error_km": self.error_km,
            "truth_level": self.truth_level,
            "elapsed_ms": dict(self.elapsed_ms),
        }


@dataclass(frozen=True)
class Failure:
    """A query photo that could not be read, and why."""

    photo: str
    reason: Reason
    message: str

    def to_json(self) -> dict[str, Any]:
        """The object printed in place of an answer."""
        return {"photo": self.photo, "error": {"reason": self.reason, "message": self.message}}
