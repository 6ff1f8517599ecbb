"""How good are the answers: labelled queries, error statistics, stored results."""

from geosearch.evaluation.evaluate import Evaluation, evaluate
from geosearch.evaluation.metrics import THRESHOLDS_KM, Accuracy, accuracy

__all__ = ["THRESHOLDS_KM", "Accuracy", "Evaluation", "accuracy", "evaluate"]
