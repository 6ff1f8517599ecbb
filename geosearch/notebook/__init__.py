"""Answers, photos and rows as notebooks show them: HTML, tables of pandas and GeoPandas."""
