"""How far to believe the pictures of a session's other photos, by photos whose places are known.

Each is told by those taken near it in time as if these had no positions: the doubt is the one under
which the densities that come of it are highest where the photos were (leave one out).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from geosearch.density import Mixture
from geosearch.sphere import unit_vectors
from geosearch.timeline.movement import Movement
from geosearch.timeline.session_chain import Seen
from geosearch.timeline.timeline_prior import Moment, moment_prior, with_session

#: Doubts that are tried, and the photos that they are tried on; fewer teach nothing.
_DOUBTS, MOST, FEWEST = (0.1, 0.2, 0.35, 0.5, 0.7, 0.9), 80, 20


class Chained(NamedTuple):
    """A photo at a place in degrees, what is known before and after it, and what others show."""

    truth: tuple[float, float]
    moment: Moment
    told: Sequence[tuple[Seen, Mixture]]

    def by(self, movement: Movement, doubt: float) -> Moment:
        """What is said of it, if pictures are so far doubted."""
        return with_session(movement, self.moment, self.told, doubt)


def fit_session_doubt(movement: Movement, photos: Sequence[Chained], default: float) -> float:
    """The probability that a picture tells no other photo anything; too few leave the default."""
    chained = [photo for photo in photos if photo.told]
    if len(chained) < FEWEST:
        return default
    drawn = np.random.default_rng(0).permutation(len(chained))[:MOST]

    def score(doubt: float) -> float:
        logs = [
            moment_prior(movement, chained[index].by(movement, doubt)).log_density(
                unit_vectors(*chained[index].truth)[None]
            )[0]
            for index in drawn.tolist()
        ]
        return float(np.mean(logs))

    return max(_DOUBTS, key=score)
