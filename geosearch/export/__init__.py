"""Answers as files for people and for GIS: GeoJSON and map pictures."""
