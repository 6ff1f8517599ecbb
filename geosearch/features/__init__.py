"""Backbones and their embeddings: from photos to unit vectors, with the model's provenance."""

from geosearch.features.backbones import Backbone, load_backbone
from geosearch.features.description import Description
from geosearch.features.embedding_run import EmbedSummary, embed
from geosearch.features.extraction import (
    Outcome,
    Rejected,
    embed_files,
    embed_query,
)

__all__ = [
    "Backbone",
    "Description",
    "EmbedSummary",
    "Outcome",
    "Rejected",
    "embed",
    "embed_files",
    "embed_query",
    "load_backbone",
]
