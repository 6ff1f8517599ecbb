"""QGIS: the layers of a database with their styles, and projects of them. Needs no QGIS."""
