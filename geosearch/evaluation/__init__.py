"""How good are the answers: labelled queries, error statistics, stored results."""

from geosearch.evaluation.evaluating import LEAKAGE, Evaluation, evaluate, evaluate_each, leakage
from geosearch.evaluation.metrics import Accuracy, accuracy
from geosearch.evaluation.queries import TITLES, Labelled, QuerySet, text_queries

__all__ = [
    "LEAKAGE",
    "TITLES",
    "Accuracy",
    "Evaluation",
    "Labelled",
    "QuerySet",
    "accuracy",
    "evaluate",
    "evaluate_each",
    "leakage",
    "text_queries",
]
