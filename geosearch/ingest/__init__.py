"""Ingest: photos with their positions from folders and manifests into the database."""

from geosearch.ingest.ingest_run import ingest
from geosearch.ingest.ingest_summary import IngestSummary

__all__ = ["IngestSummary", "ingest"]
