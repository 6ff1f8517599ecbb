"""Training: networks whose embeddings tell places apart, from a collection in the database."""

from geosearch.training.augment import Augmentation
from geosearch.training.training_options import Training

__all__ = ["Augmentation", "Training"]
