"""Neighbour retrieval: filters, the plan, the HNSW indexes, the query."""

from geosearch.retrieval.filters import Filter
from geosearch.retrieval.neighbours import Neighbours, nearest
from geosearch.retrieval.plan import Plan

__all__ = ["Filter", "Neighbours", "Plan", "nearest"]
