"""What a calibration was fitted for, and in what a question differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from geosearch.json_record import Record
from geosearch.retrieval.filters import And, Filter

#: Of this share more or fewer references than there were, the calibration says nothing.
CHANGE = 0.5


class Fits(StrEnum):
    """Whether a calibration holds for an answer.

    `unsure`: it does if the place is among the references, but it is likelier elsewhere, at even
    odds. `widened`: the query is unlike those fitted to, and its regions were widened for it.
    """

    YES = "yes"
    UNSURE = "unsure"
    WIDENED = "widened"
    NO = "no"


@dataclass(frozen=True)
class Domain(Record):
    """What a calibration was fitted for.

    `n` queries on the day `made`; `references` that passed the filter `where`; `coverage`: for each
    level in per cent, the share of the queries held out whose truth was in the region; `verify`
    neighbours of each were verified. The queries were photos, or `words`.
    """

    queries: str
    n: int
    made: str
    references: int
    where: Mapping[str, Any]
    coverage: Mapping[str, float]
    verify: int = 0
    words: bool = False

    @property
    def most(self) -> int:
        """So many references are as many as one need count."""
        return int((1 + CHANGE) * self.references) + 1

    def differences(self, references: int, where: Filter, verify: int = 0) -> tuple[str, ...]:
        """In what a question to so many references by a filter differs, in words."""
        said, fitted = [], Filter.from_json(self.where)
        if verify != self.verify:
            said.append(f"it was fitted with {self.verify} neighbours verified, not {verify}")
        if _conditions(where) != _conditions(fitted):
            said.append(f"it was fitted for {fitted}, not for {where}")
        elif not (1 - CHANGE) * self.references <= references < self.most:
            over = "over " if references >= self.most else ""
            said.append(f"there were {self.references:,} references, now {over}{references:,}")
        return tuple(said)

    def __str__(self) -> str:
        held = ", ".join(
            f"its {level} % regions held {100 * share:.0f} %"
            for level, share in self.coverage.items()
        )
        kind = "texts" if self.words else "queries"
        asked = f"{self.n:,} {kind} of {self.queries} to {self.references:,} references"
        verified = f", {self.verify} neighbours verified," if self.verify else ""
        return f"{asked}{verified} on {self.made}; {held}"


def _conditions(where: Filter) -> frozenset[Filter]:
    """All that must hold, in whatever order."""
    return frozenset(where.parts if isinstance(where, And) else (where,))
