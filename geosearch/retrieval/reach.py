"""How far a filter reaches in place, time and authors: what passes is in the parts it touches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

#: West, south, east, north in degrees; none crosses ±180°.
Box = tuple[float, float, float, float]

T = TypeVar("T")


@dataclass(frozen=True)
class Reach:
    """Nothing passes outside any of these; None: no limit.

    `places` are boxes, `after` and `before` moments, and what has no author passes only without a
    limit on `authors`.
    """

    places: tuple[Box, ...] | None = None
    after: datetime | None = None
    before: datetime | None = None
    authors: frozenset[str] | None = None

    def __and__(self, other: Reach) -> Reach:
        """That of two filters which both hold."""
        return Reach(
            _both(self.places, other.places, _common),
            _both(self.after, other.after, max),
            _both(self.before, other.before, min),
            _both(self.authors, other.authors, frozenset.intersection),
        )

    def __or__(self, other: Reach) -> Reach:
        """That of two filters of which one holds."""
        return Reach(
            _either(self.places, other.places, lambda one, two: one + two),
            _either(self.after, other.after, min),
            _either(self.before, other.before, max),
            _either(self.authors, other.authors, frozenset.union),
        )


#: That of a filter which may pass photos of anywhere.
ANYWHERE = Reach()


def _both(one: T | None, two: T | None, join: Callable[[T, T], T]) -> T | None:
    if one is None or two is None:
        return two if one is None else one
    return join(one, two)


def _either(one: T | None, two: T | None, join: Callable[[T, T], T]) -> T | None:
    return None if one is None or two is None else join(one, two)


def _common(one: tuple[Box, ...], two: tuple[Box, ...]) -> tuple[Box, ...]:
    boxes = [
        (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
        for a in one
        for b in two
    ]
    return tuple(box for box in boxes if box[0] <= box[2] and box[1] <= box[3])
