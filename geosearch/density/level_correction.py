"""Levels that hold what they say: a density's own levels, corrected on labelled queries.

If the true places of n queries have the levels u (the mass where the density is higher), then the
region at the ⌈(n + 1) p⌉-th smallest of the u holds the truth of another query with probability
p or slightly more, whatever the density is worth (split conformal prediction with highest-density
regions: Izbicki, Shimizu and Stern, CD-split and HPD-split, JMLR 23, 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geosearch.sphere import Array

#: Nominal levels at which a map is stored; between them it is linear.
NOMINAL = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.99)

#: Raw levels stay so far from 0 and 1, where there is no region, and from one another.
_MARGIN = 1e-4


@dataclass(frozen=True)
class LevelMap:
    """The density's own level `raw[i]` for each of `NOMINAL`, ascending."""

    raw: tuple[float, ...] = NOMINAL

    @classmethod
    def cautious(cls) -> LevelMap:
        """For where nothing is known: of what the density itself leaves out, the square root."""
        return cls(tuple(1 - (1 - level) ** 2 for level in NOMINAL))

    @classmethod
    def fitted(cls, levels: Array) -> LevelMap:
        """The map under which the levels (n,) of true places would be evenly spread."""
        ordered, n = np.sort(levels), len(levels)
        ranks = np.ceil((n + 1) * np.array(NOMINAL)).astype(int)
        raw = np.append(ordered, 1.0)[np.minimum(ranks, n + 1) - 1]
        steps = _MARGIN * np.arange(len(raw))
        raw = np.maximum.accumulate(np.maximum(raw, _MARGIN) - steps) + steps
        return cls(
            tuple(float(value) for value in np.minimum(raw, 1 - _MARGIN + steps - steps[-1]))
        )

    def raw_level(self, level: float) -> float:
        """The density's own level of the region that holds `level`."""
        return float(np.interp(level, (0.0, *NOMINAL, 1.0), (0.0, *self.raw, 1.0)))

    def level(self, raw_level: float) -> float:
        """What the region at the density's own level holds."""
        return float(np.interp(raw_level, (0.0, *self.raw, 1.0), (0.0, *NOMINAL, 1.0)))
