"""Layers of GIS, each a view of the database: what they are, their styles, their rows."""
