"""Neighbour retrieval: filters, the plan, the HNSW indexes, the query."""

from geosearch.retrieval.filters import EVERYTHING, Conditions, Filter, where
from geosearch.retrieval.neighbours import Neighbours, nearest
from geosearch.retrieval.plan import Plan

__all__ = [
    "EVERYTHING",
    "Conditions",
    "Filter",
    "Neighbours",
    "Plan",
    "nearest",
    "where",
]
