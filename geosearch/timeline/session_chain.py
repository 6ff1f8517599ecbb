"""What photos without a position tell another one, by their pictures: a chain through a session.

On either side of the photo that is told, the others are in order of time, a photo with a position,
if there is one, at the end. Of each there is a density Vᵢ of its place: that of its picture. With
the probability aᵢ it tells nothing, its picture or its clock being wrong; it is then as if it had
not been taken. From one that is right to the next, whatever lies between, the photographer went by
the movement model. So, from the farthest to the nearest, photo i, if it is the last one right, has
its place with the density, not scaled to 1,

    αᵢ = (1-aᵢ) [ Πⱼ aⱼ · Vᵢ  +  1/ℓ Vᵢ × Σₕ Πⱼ aⱼ · moved(αₕ) ],   all j < i, and all h < j < i

where ℓ is the level at which photos lie if nothing is known. Densities are mixtures of kernels, and
× of two takes all pairs: each as likely as the density at which they meet, and where the narrower
of the two is. It gets no narrower than that, as a product would: pictures of one session are wrong
together. These are the forward probabilities of a hidden Markov model whose states are the places
that pictures and positions show; with those of the other side they are all that the session says of
a photo, and its own picture is in neither. None right, Πⱼ aⱼ, is the state "elsewhere".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from geosearch.density import Mixture
from geosearch.density.kernel import BANDWIDTH_RANGE_KM, log_sum, squared_chords
from geosearch.density.levels import CLOSE, LIGHTEST
from geosearch.density.products import log_constant, united
from geosearch.json_record import Record, plain
from geosearch.sphere import EARTH_RADIUS_KM, Array, lat_lon
from geosearch.timeline.movement import Movement

#: So many photos at most tell from either side, the nearest in time.
MOST_A_SIDE = 4

#: The probability that a picture is wrong, before it is compared with those of others.
_DOUBT = 0.3

#: Kernels of a picture's density that tell other photos.
_MOST_TELLING = 48

#: Where kernels are taken together, which needs one bandwidth, bandwidths are rounded to powers of
#: this, or more coarsely, in so many steps.
_STEP, _COARSEST = 1.1, 12

#: Kernels of a reduced mixture, such as a message, which is kept with the answer.
_MOST_KERNELS = 120


@dataclass(frozen=True, eq=False)
class Sight:
    """The density of a photo's place, so many `hours`, 0 or more, from the photo it tells.

    `doubt` is the probability that it tells nothing.
    """

    hours: float
    mixture: Mixture
    doubt: float

    @classmethod
    def of_picture(cls, movement: Movement, hours: float, picture: Mixture) -> Self:
        """By a picture, which is doubted, and by a clock, which is too, as any is.

        It is blurred by the bandwidth that half of it is narrower than: pictures of one session are
        like the same references, and that is no coincidence that would tell where it was taken.
        """
        km = _km(picture)
        order = np.argsort(km)
        half = int(np.searchsorted(np.cumsum(picture.weights[order]), picture.weights.sum() / 2))
        blurred = picture.blurred(float(km[order][half]))
        doubt = 1 - (1 - _DOUBT) * (1 - movement.doubt)
        return cls(hours, reduced(blurred, _MOST_TELLING), doubt)


@dataclass(frozen=True)
class Message(Record):
    """What all photos on one side say of another's place, by their pictures and the movement.

    `doubt` is the probability that none of them is right; if one is, the place has the density of
    `kernels`: latitude and longitude in degrees, bandwidth in km, weight. `by_fix` is the
    probability that it was the one with a position that was right last.
    """

    doubt: float
    by_fix: float
    kernels: tuple[tuple[float, float, float, float], ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(value["doubt"], value["by_fix"], tuple(map(tuple, value["kernels"])))

    @property
    def mixture(self) -> Mixture:
        """The density, if one of them is right."""
        lat, lon, km, weights = np.array(self.kernels).T
        return Mixture.at(lat, lon, weights / weights.sum(), km)

    def like(self, other: Message) -> bool:
        """Whether the two say the same, but for what rounding does."""
        return len(self.kernels) == len(other.kernels) and np.allclose(
            [(self.doubt, self.by_fix, 0, 0), *self.kernels],
            [(other.doubt, other.by_fix, 0, 0), *other.kernels],
            rtol=1e-4,
            atol=1e-4,
        )


@dataclass(frozen=True)
class Seen(Record):
    """A photo without a position that told another: so many hours after it, negative before."""

    photo_id: int
    hours: float


@dataclass(frozen=True)
class Session(Record, before="", after=""):
    """The photos without positions that told one, and what they said from either side.

    `confident` says whether a picture of theirs was.
    """

    photos: tuple[Seen, ...]
    before: Message | None
    after: Message | None
    confident: bool = False

    @classmethod
    def from_row(cls, value: Mapping[str, Any]) -> Self:
        """What `to_row` wrote."""
        before, after = (
            value[name] and Message.from_json(value[name]) for name in ("before", "after")
        )
        photos = tuple(Seen(**each) for each in value["photos"])
        return cls(photos, before, after, value["confident"])

    def to_row(self) -> dict[str, Any]:
        """As JSON, with what they said."""
        said = {"before": self.before, "after": self.after}
        return self.to_json() | {name: plain(each) for name, each in said.items()}

    def like(self, other: Session) -> bool:
        """Whether the same photos say the same, but for what rounding does."""
        pairs = (self.before, other.before), (self.after, other.after)
        return [each.photo_id for each in self.photos] == [
            each.photo_id for each in other.photos
        ] and all(mine.like(its) if mine and its else mine is its for mine, its in pairs)


def forward(
    movement: Movement, sights: Sequence[Sight], *, reduce: bool = True
) -> list[tuple[float, Mixture]]:
    """α of each photo, the farthest first: the log of its mass, and the density of the place."""
    doubts = np.log([sight.doubt for sight in sights])
    found: list[tuple[float, Mixture]] = []
    for number, sight in enumerate(sights):
        parts = [(float(doubts[:number].sum()), sight.mixture)]
        if number:
            mass, before = _arriving(movement, sights[:number], found, sight.hours)
            both, met = meeting(sight.mixture, reduced(before) if reduce else before)
            parts.append((mass + met - movement.spread.log_level, both))
        mass, place = _united(parts)
        mass += float(np.log1p(-sight.doubt))
        found.append((mass, reduced(place, _MOST_TELLING) if reduce else place))
    return found


def message(movement: Movement, sights: Sequence[Sight], *, fixed: bool) -> Message:
    """What photos on one side, the farthest first, at least one, say of the one they are told of.

    With `fixed`, the farthest is one with a position.
    """
    doubts = np.log([sight.doubt for sight in sights])
    found = forward(movement, sights)
    right, place = _arriving(movement, sights, found, 0.0)
    return Message(
        doubt=float(np.exp(doubts.sum() - np.logaddexp(right, doubts.sum()))),
        by_fix=float(np.exp(found[0][0] + doubts[1:].sum() - right)) if fixed else 0.0,
        kernels=_kernels(place),
    )


def _arriving(
    movement: Movement,
    sights: Sequence[Sight],
    found: Sequence[tuple[float, Mixture]],
    hours: float,
) -> tuple[float, Mixture]:
    """The density of a place so many hours off by those of all before it: its log mass, and it."""
    doubts = np.log([sight.doubt for sight in sights])
    return _united(
        [
            (mass + float(doubts[number + 1 :].sum()), _moved(movement, place, sight.hours - hours))
            for number, (sight, (mass, place)) in enumerate(zip(sights, found, strict=True))
        ]
    )


def _united(parts: Sequence[tuple[float, Mixture]]) -> tuple[float, Mixture]:
    """Densities with log masses as one."""
    total = float(np.logaddexp.reduce([mass for mass, _ in parts]))
    return total, united([(float(np.exp(mass - total)), each) for mass, each in parts])


def _moved(movement: Movement, mixture: Mixture, hours: float) -> Mixture:
    """The density so many hours later, or earlier."""
    time = np.array(hours)
    widths, shares = movement.widths_km(time, _km(mixture)), np.exp(movement.log_shares(time))
    return Mixture(
        np.repeat(mixture.centres, len(shares), axis=0),
        np.outer(mixture.weights, shares).ravel(),
        (EARTH_RADIUS_KM / widths.ravel()) ** 2,
    )


def meeting(first: Mixture, second: Mixture) -> tuple[Mixture, float]:
    """Two densities of one place as one, at the narrower kernel of each pair; and the log mass."""
    kappa = 1 / np.add.outer(1 / first.kappa, 1 / second.kappa)
    logs = log_constant(kappa) - kappa * squared_chords(first.centres, second.centres) / 2
    logs += np.add.outer(np.log(first.weights), np.log(second.weights))
    mass = float(log_sum(logs.ravel().copy()))
    shares = np.exp(logs - mass)
    narrower = (1 + np.sign(np.subtract.outer(first.kappa, second.kappa))) / 2  # of equals, half
    weights = [(shares * narrower).sum(axis=1), (shares * (1 - narrower)).sum(axis=0)]
    both = united([(1.0, first), (1.0, second)])
    met = Mixture(both.centres, np.concatenate(weights), both.kappa)
    return met.where(met.weights > 0), mass


def _kernels(mixture: Mixture) -> tuple[tuple[float, float, float, float], ...]:
    """The kernels of a message, rounded: what is kept is what is used."""
    mixture = reduced(mixture)
    low, high = BANDWIDTH_RANGE_KM
    columns = (
        *(np.round(each, 6) for each in lat_lon(mixture.centres)),
        np.clip(np.round(_km(mixture), 4), low, np.floor(high)),
        np.round(mixture.weights, 6),
    )
    return tuple(row for row in zip(*(each.tolist() for each in columns), strict=True) if row[3])


def reduced(mixture: Mixture, most: int = _MOST_KERNELS) -> Mixture:
    """About the same density by at most so many kernels: close ones are taken together.

    As one of the same mean and spread, so that nothing but its lightest kernels is lost.
    """
    mixture = mixture.without_lightest(LIGHTEST)
    for coarser in range(_COARSEST):
        step = _STEP * (1 + coarser / 2)
        km = step ** np.round(np.log(_km(mixture)) / np.log(step))
        even = Mixture(mixture.centres, mixture.weights, (EARTH_RADIUS_KM / km) ** 2)
        found = even.condensed(CLOSE * 2**coarser)
        if len(found.weights) <= most:
            break
    return found


def _km(mixture: Mixture) -> Array:
    return np.asarray(EARTH_RADIUS_KM * mixture.bandwidth)
