"""Positions that geosearch knows, written to where the photos are."""
