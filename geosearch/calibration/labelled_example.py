"""A labelled query as calibrations are fitted to it: its neighbours, and where it was taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geosearch.calibration.fitted import Calibrated, Fitted, Judged, Pooled, Settings
from geosearch.defaults import DEFAULT_WEIGHTING
from geosearch.density import Place
from geosearch.density.spacing import spacing_km
from geosearch.density.weights import neighbour_weights
from geosearch.sphere import Array, great_circle_km
from geosearch.timeline.movement import Movement
from geosearch.timeline.session_chain import Seen
from geosearch.timeline.timeline_prior import NOTHING_KNOWN, Chance, Moment, with_session

#: A copy of a query is absent if no reference is nearer to the truth than so many spacings.
ABSENT = 6.0


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


def by_model(examples: Sequence[Example], number: int) -> list[Example]:
    """What one of the models found."""
    return [(each, *each.others)[number] for each in examples]
