"""Geocells: partitions of the world into cells, and classifiers of photos over them."""

from geosearch.geocells.classifier import (
    Classifier,
    load_classifiers,
    require_classifiers,
    store_classifiers,
)
from geosearch.geocells.clusters import clusters
from geosearch.geocells.geocell_rows import find_partition, make_partition
from geosearch.geocells.likely import Geocells, Likely, find_geocells
from geosearch.geocells.partition import Partition
from geosearch.geocells.quadtree import quadtree

__all__ = [
    "Classifier",
    "Geocells",
    "Likely",
    "Partition",
    "clusters",
    "find_geocells",
    "find_partition",
    "load_classifiers",
    "make_partition",
    "quadtree",
    "require_classifiers",
    "store_classifiers",
]
