"""What time tells of a photo's place: the photos before and after it, and a track."""

from geosearch.timeline.movement import Movement, Spread
from geosearch.timeline.movement_fit import fit_movement
from geosearch.timeline.timeline_prior import Fix, Moment, moment_prior

__all__ = ["Fix", "Moment", "Movement", "Spread", "fit_movement", "moment_prior"]
