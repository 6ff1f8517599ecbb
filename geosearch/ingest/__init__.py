"""Ingest: photos with their positions from folders and manifests into the database."""

from geosearch.ingest.pipeline import ingest
from geosearch.ingest.summary import IngestSummary

__all__ = ["IngestSummary", "ingest"]
