"""Borders of countries and regions: read from a file, kept in the database, found by name."""

from geosearch.borders.border_files import Border, Flaw, read_borders
from geosearch.borders.border_rows import Loaded, Place, find_border, list_borders, load_borders

__all__ = [
    "Border",
    "Flaw",
    "Loaded",
    "Place",
    "find_border",
    "list_borders",
    "load_borders",
    "read_borders",
]
